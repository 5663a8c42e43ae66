/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who has a line next that several atomics want.
 *
 * A request reaches the core complex that has the line before it reaches the rest of the machine.
 * So those of the holder's complex that waited when the line came there have it first, once each,
 * the holder's own core before the others; then it leaves for the oldest request of all. Machines
 * may say `first-come` instead: then atomics take a line in the order of their virtual time.
 *
 * The decision falls when the line is free: the vCPU that looks likely then comes back at that
 * time, and whoever has asked by then is considered. What other accesses do to the line in the
 * meantime is not arbitrated, as they cost the same whoever comes first.
 *
 * Lines are handed on with the scheduler's lock held, since vCPUs that QEMU wants to stop leave
 * their places at any time.
 */
#include "sim.h"

#include <string.h>

/* A register of `v`, by its place in QEMU's list. */
uint64_t register_at(struct vcpu *v, int place)
{
	static __thread GByteArray *bytes;
	const qemu_plugin_reg_descriptor *registers;
	uint64_t value = 0;

	if (!bytes)
		bytes = g_byte_array_new();
	if (!v->register_list)
		v->register_list = qemu_plugin_get_registers();
	registers = (const qemu_plugin_reg_descriptor *)v->register_list->data;
	g_byte_array_set_size(bytes, 0);
	if (qemu_plugin_read_register(registers[place].handle, bytes) >= 8)
		memcpy(&value, bytes->data, 8);
	return value;
}

/* The address that the instruction about to be executed has its operand at. */
uint64_t address_of(struct vcpu *v, const struct operand *operand)
{
	uint64_t address = operand->offset;

	if (operand->base >= 0)
		address += register_at(v, operand->base);
	if (operand->index >= 0)
		address += register_at(v, operand->index) * operand->scale;
	return address;
}

static bool in_complex(const struct vcpu *v, unsigned other)
{
	return v->index / model.per_ccx == other / model.per_ccx;
}

/* Of those who want the line `tag`, whose turn it is; NULL: nobody's. */
static struct vcpu *next_for(uint64_t tag, const struct line *line)
{
	const struct vcpu *holder = line && line->owner != NOBODY ? &vcpus[line->owner] : NULL;
	struct vcpu *oldest = NULL, *nearest = NULL;
	bool near_core = false;

	for (unsigned i = 0; i < vcpu_count; i++) {
		struct vcpu *v = &vcpus[i];
		bool same_core;

		if (v->wants != tag)
			continue;
		if (!oldest || v->asked_at < oldest->asked_at)
			oldest = v;
		if (!holder || !in_complex(v, holder->index) || v->asked_at > line->arrived)
			continue;
		same_core = v->core == holder->core;
		if (!nearest || same_core > near_core ||
		    (same_core == near_core && v->asked_at < nearest->asked_at)) {
			nearest = v;
			near_core = same_core;
		}
	}
	return nearest ? nearest : oldest;
}

/* `v` is about to execute an atomic on the line: return when it has it, or will have it next. */
void wait_for_line(struct vcpu *v, struct line *line)
{
	uint64_t tag = line->tag, now = now_of(v);
	enum state state;
	struct vcpu *next;

	if (!line->wanted && (line->owner == v->index || line->written_at <= now))
		return;
	schedule_lock();
	v->wants = tag;
	v->asked_at = now;
	v->queued++;
	state = line->wanted ? QUEUED : RUNNABLE; /* the first one need only wait till it is free */
	line->wanted = true;
	while (let_others_run(v, state, line->tag == tag ? line->written_at : 0)) {
		next = next_for(tag, line->tag == tag ? line : NULL);
		if (next == v)
			break;
		goes_on(next, now_of(v));
		state = QUEUED;
	}
	if (v->state == QUEUED) { /* to be stopped: it goes on out of turn */
		v->wants = 0;
		goes_on(v, 0);
	}
	schedule_unlock();
}

/* The atomic of `v` has been executed, or will not be: on to the next who wants its line. */
void leave_line(struct vcpu *v)
{
	uint64_t tag = v->wants;
	struct line *line;
	struct vcpu *next;

	if (!tag)
		return;
	schedule_lock();
	line = line_of(tag);
	v->wants = 0;
	next = next_for(tag, line);
	if (next)
		goes_on(next, line ? line->written_at : now_of(v));
	else if (line)
		line->wanted = false;
	schedule_unlock();
}
