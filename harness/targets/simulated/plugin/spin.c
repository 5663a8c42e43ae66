/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU in a PAUSE loop is skipped while that provably changes nothing: two turns (iterations) of
 * the loop began with the same registers, stored nothing, read no device or counter, and read only
 * lines that have not changed since. Then only a store to one of these lines or an interrupt can
 * end the loop. When that happens, the vCPU continues at the end of the turn that it would have
 * been in, so its time is the same as if it had executed the loop.
 */
#include "sim.h"

#include <string.h>

#define GIVE_UP_AFTER 6    /* turns with equal loads but other registers: a counted loop */
#define TRY_AGAIN_AFTER 64 /* turns */

/* Read the first REGISTERS registers; false if one cannot be read. */
static bool read_registers(struct vcpu *v, uint64_t *into)
{
	static __thread GByteArray *bytes;
	unsigned found = 0;

	if (!bytes)
		bytes = g_byte_array_new();
	if (!v->register_list)
		v->register_list = qemu_plugin_get_registers();
	for (unsigned i = 0; i < v->register_list->len && found < REGISTERS; i++) {
		const qemu_plugin_reg_descriptor *descriptor =
			&((qemu_plugin_reg_descriptor *)v->register_list->data)[i];
		uint64_t value = 0;
		int size;

		g_byte_array_set_size(bytes, 0);
		size = qemu_plugin_read_register(descriptor->handle, bytes);
		if (size <= 0)
			return false;
		memcpy(&value, bytes->data, size < 8 ? size : 8);
		into[found++] = value;
	}
	return found == REGISTERS;
}

/* Note its callers: the first kernel text addresses on its stack. */
static void note_callers(struct vcpu *v)
{
	static __thread GByteArray *buffer;
	const uint8_t *stack = read_guest(v->spin.registers[RSP], 32 * 8, &buffer);
	unsigned found = 0;

	memset(v->spin.caller, 0, sizeof(v->spin.caller));
	for (unsigned i = 0; stack && i < 32 * 8 && found < 3; i += 8) {
		uint64_t word;

		memcpy(&word, stack + i, 8);
		if (is_kernel_text(word))
			v->spin.caller[found++] = word;
	}
}

/* Record a load of the current turn; a device, or a line too many, ends the recording. */
void note_load(struct vcpu *v, qemu_plugin_meminfo_t info, uint64_t address, uint64_t version)
{
	struct spin *spin = &v->spin;
	uint64_t tag = address >> 6;
	const struct qemu_plugin_hwaddr *where;

	for (unsigned i = 0; i < spin->lines; i++)
		if (spin->line[i] == tag) {
			spin->changed |= spin->version[i] != version;
			return;
		}
	where = qemu_plugin_get_hwaddr(info, address);
	if (spin->lines == MAX_WATCHED || !where || qemu_plugin_hwaddr_is_io(where)) {
		spin->changed = true;
		spin->armed = false;
		return;
	}
	spin->line[spin->lines] = tag;
	spin->version[spin->lines++] = version;
}

static bool lines_unchanged(const struct spin *spin)
{
	for (unsigned i = 0; i < spin->lines; i++)
		if (!spin->version[i] || version_of(spin->line[i]) != spin->version[i])
			return false;
	return spin->lines > 0;
}

static void begin_turn(struct vcpu *v)
{
	v->spin.paused_at = now_of(v);
	v->spin.lines = 0;
	v->spin.changed = false;
	v->spin.armed = true;
	v->score->opaque = 0;
}

/* Whether the registers are those of the previous turn. */
static bool same_registers(struct vcpu *v)
{
	uint64_t registers[REGISTERS];
	bool same;

	if (!read_registers(v, registers)) {
		v->spin.have_registers = false;
		return false;
	}
	same = v->spin.have_registers &&
	       !memcmp(registers, v->spin.registers, sizeof(registers));
	memcpy(v->spin.registers, registers, sizeof(registers));
	v->spin.have_registers = true;
	return same;
}

/* Callback of PAUSE: skip the vCPU if this turn and the previous one were the same. */
void on_pause(unsigned int vcpu, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];
	struct spin *spin = &v->spin;

	if (!v->score)
		return;
	if (fast) {
		spin->armed = false; /* what it reads is not noted: later turns are no like this one */
		spin_fast(v);
		return;
	}
	if (spin->pc != (uint64_t)pc || spin->changed || !spin->armed || v->score->opaque ||
	    !lines_unchanged(spin)) {
		if (spin->pc != (uint64_t)pc)
			spin->tries = 0;
		spin->pc = (uint64_t)pc;
		spin->turns = 0;
		spin->have_registers = false;
	} else if (++spin->turns % TRY_AGAIN_AFTER == 0 || spin->tries < GIVE_UP_AFTER) {
		spin->tries++;
		if (same_registers(v)) {
			spin->period = now_of(v) - spin->paused_at;
			spin->period += !spin->period;
			note_callers(v);
			for (unsigned i = 0; i < spin->lines; i++)
				watch(spin->line[i], 1);
			leave_out(v);
			spin->turns = spin->tries = 0;
			spin->have_registers = false;
		}
	}
	begin_turn(v);
}

/* `line` is being written and becomes visible at `when`. */
void line_written(uint64_t line, uint64_t when)
{
	for (unsigned i = 0; i < vcpu_count; i++) {
		struct vcpu *v = &vcpus[i];

		if (v->state != SPINNING)
			continue;
		for (unsigned j = 0; j < v->spin.lines; j++)
			if (v->spin.line[j] == line) {
				bring_back(v, when);
				break;
			}
	}
}
