/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counts on one CPU what causes contention on many: for every place that takes a spin lock, how
 * often it does, how much work is done while holding it, and how many cache lines this work
 * accesses that an earlier holder of the same lock wrote. On many CPUs these lines must be fetched
 * from the earlier holder; on one they cost nothing, so they are counted, not timed.
 *
 * A lock is taken when _raw_spin_lock() or a variant is entered (there is no contention), and
 * released by the store of one byte to it (queued_spin_unlock(), include/asm-generic/qspinlock.h).
 * Work is counted as instructions, atomics and bytes of string instructions, not as time.
 *
 * Each mark of the guest writes a part to the file: `part N` with the work since the last mark;
 * `lock CALLER LOCK COUNT` with the work of all holds, the lines that others wrote, and the lines
 * by age; `atomic ADDRESS COUNT` for atomics on the kernel's own data. harness/model/calibration.py
 * reads it.
 */
#include "decode.h"
#include "qemu_plugin_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

PLUGIN_EXPORT int qemu_plugin_version = PLUGIN_API_VERSION;

#define MAX_LOCK_FUNCTIONS 16
#define MAX_HELD 16
#define SITES (1u << 14)
#define LINES (1u << 20)
#define GLOBALS (1u << 12)
#define LOCKS (1u << 14)
#define AGES 16
#define IMAGE UINT64_C(0xffffffff80000000) /* start of the kernel's own data */

struct work {
	uint64_t instructions, atomics, bytes;
};
struct lock {
	uint64_t address, holds;
};
struct site { /* one place in the code that takes one lock */
	uint64_t caller, lock, count;
	uint64_t lines[AGES]; /* written by this lock's holder 1, 2, 3-4, 5-8 ... holds ago */
	uint64_t others;      /* written earlier, not under this lock */
	struct work held;
	struct lock *state;
};
struct held {
	struct site *site;
	uint64_t lock, number;
	struct work since;
};
struct held_line {
	uint64_t tag, lock, number, seen;
	bool written;
};
struct global { /* an atomic in the kernel's own data */
	uint64_t address, count;
};

static struct qemu_plugin_scoreboard *scores;
static qemu_plugin_u64 instructions, atomics;
static uint64_t string_bytes, functions[MAX_LOCK_FUNCTIONS];
static unsigned function_count, depth, part;
static struct held stack[MAX_HELD];
static struct site sites[SITES];
static struct held_line *lines;
static struct lock locks[LOCKS];
static struct global globals[GLOBALS];
static struct work part_began;
static const char *out = "locks.txt";
static FILE *file;
static struct qemu_plugin_register *rdi, *rsp;

static struct work work_so_far(void)
{
	const uint64_t *counts = qemu_plugin_scoreboard_find(scores, 0);

	return (struct work){ counts[0], counts[1], string_bytes };
}

static struct work difference(struct work to, struct work from)
{
	return (struct work){ to.instructions - from.instructions, to.atomics - from.atomics,
			      to.bytes - from.bytes };
}

static uint64_t hash(uint64_t a, uint64_t b)
{
	return (a ^ b * 31) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The record of a lock, created at its first use. */
static struct lock *lock_of(uint64_t address)
{
	for (uint64_t i = hash(address, 1) >> 50;; i = (i + 1) % LOCKS) {
		if (!locks[i].address)
			locks[i].address = address;
		if (locks[i].address == address)
			return &locks[i];
	}
}

static struct site *site_of(uint64_t caller, uint64_t lock)
{
	for (uint64_t i = hash(caller, lock) >> 50;; i = (i + 1) % SITES) {
		struct site *site = &sites[i];

		if (!site->caller)
			*site = (struct site){ .caller = caller, .lock = lock,
					       .state = lock_of(lock) };
		if (site->caller == caller && site->lock == lock)
			return site;
	}
}

static uint64_t read_register(struct qemu_plugin_register *handle)
{
	static GByteArray *bytes;
	uint64_t value = 0;

	if (!bytes)
		bytes = g_byte_array_new();
	g_byte_array_set_size(bytes, 0);
	if (qemu_plugin_read_register(handle, bytes) >= 8)
		memcpy(&value, bytes->data, 8);
	return value;
}

static void find_registers(void)
{
	GArray *list = qemu_plugin_get_registers();

	for (unsigned i = 0; i < list->len; i++) {
		const qemu_plugin_reg_descriptor *each =
			&((qemu_plugin_reg_descriptor *)list->data)[i];

		if (!strcmp(each->name, "rdi"))
			rdi = each->handle;
		if (!strcmp(each->name, "rsp"))
			rsp = each->handle;
	}
}

static void on_lock(unsigned int vcpu, void *pc)
{
	static GByteArray *bytes;
	uint64_t caller = 0, lock;

	(void)pc;
	if (vcpu)
		return;
	if (!rdi)
		find_registers();
	if (!bytes)
		bytes = g_byte_array_new();
	lock = read_register(rdi);
	if (qemu_plugin_read_memory_vaddr(read_register(rsp), bytes, 8))
		memcpy(&caller, bytes->data, 8);
	if (depth == MAX_HELD) { /* a lock that was released in an unknown way */
		memmove(stack, stack + 1, sizeof(stack) - sizeof(*stack));
		depth--;
	}
	stack[depth] = (struct held){ site_of(caller, lock), lock, 0, work_so_far() };
	stack[depth].number = ++stack[depth].site->state->holds;
	depth++;
}

/* The lock at this place of the stack is released: add the work done while it was held. */
static void release(unsigned at)
{
	struct held *held = &stack[at];
	struct work spent = difference(work_so_far(), held->since);

	held->site->count++;
	held->site->held.instructions += spent.instructions;
	held->site->held.atomics += spent.atomics;
	held->site->held.bytes += spent.bytes;
	memmove(held, held + 1, (depth - at - 1) * sizeof(*held));
	depth--;
}

/* The bucket of an age in holds: 1, 2, 3-4, 5-8, ... */
static unsigned age_of(uint64_t holds)
{
	unsigned bucket = holds > 1 ? 64 - __builtin_clzll(holds - 1) : 0;

	return bucket < AGES ? bucket : AGES - 1;
}

/* A number that is different for each hold of each lock. */
static uint64_t numbers_of(const struct held *held)
{
	return held->lock * 31 + held->number;
}

static void note_writer(struct held_line *line, const struct held *held)
{
	line->lock = held->lock;
	line->number = held->number;
	line->written = true;
}

/* An access to a line: count it once per hold if an earlier holder, or anyone else, wrote it. */
static void touch(uint64_t address, bool write)
{
	const struct held *top = depth ? &stack[depth - 1] : NULL;
	uint64_t tag = address >> 6;
	struct held_line *line = &lines[(tag * UINT64_C(0x9e3779b97f4a7c15)) >> 44];

	if (line->tag != tag)
		*line = (struct held_line){ .tag = tag };
	if (!top) {
		if (write) {
			line->lock = 0;
			line->written = true;
		}
		return;
	}
	if (tag == top->lock >> 6 || line->seen == numbers_of(top))
		return write ? note_writer(line, top) : (void)0;
	line->seen = numbers_of(top);
	if (line->lock == top->lock && line->number != top->number)
		top->site->lines[age_of(top->number - line->number)]++;
	else if (line->written && line->lock != top->lock)
		top->site->others++;
	if (write)
		note_writer(line, top);
}

static void lock_on_load(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	(void)info, (void)pc;
	if (!vcpu && depth)
		touch(address, false);
}

static void lock_on_store(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	(void)pc;
	if (vcpu)
		return;
	if (depth && !qemu_plugin_mem_size_shift(info))
		for (unsigned at = depth; at-- > 0;)
			if (stack[at].lock == address)
				return release(at);
	touch(address, true);
}

static void lock_on_atomic(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	(void)info, (void)pc;
	if (vcpu || address < IMAGE || (depth && stack[depth - 1].lock == address))
		return;
	for (uint64_t i = hash(address, 0) >> 52;; i = (i + 1) % GLOBALS) {
		if (!globals[i].address)
			globals[i].address = address;
		if (globals[i].address == address) {
			globals[i].count++;
			return;
		}
	}
}

static void lock_on_string(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	(void)address, (void)pc;
	if (!vcpu)
		string_bytes += UINT64_C(1) << qemu_plugin_mem_size_shift(info);
}

/* Callback of a mark: write the part since the last one, and reset the counts. */
static void lock_on_mark(unsigned int vcpu, void *pc)
{
	struct work spent = difference(work_so_far(), part_began);

	(void)pc;
	if (vcpu)
		return;
	fprintf(file, "part %u %lu %lu %lu\n", part++, spent.instructions, spent.atomics,
		spent.bytes);
	for (unsigned i = 0; i < SITES; i++)
		if (sites[i].count) {
			const struct site *s = &sites[i];

			fprintf(file, "lock %lx %lx %lu %lu %lu %lu %lu", s->caller, s->lock,
				s->count, s->held.instructions, s->held.atomics, s->held.bytes,
				s->others);
			for (unsigned age = 0; age < AGES; age++)
				fprintf(file, " %lu", s->lines[age]);
			fprintf(file, "\n");
			sites[i].count = sites[i].others = 0;
			memset(sites[i].lines, 0, sizeof(sites[i].lines));
			sites[i].held = (struct work){ 0 };
		}
	for (unsigned i = 0; i < GLOBALS; i++)
		if (globals[i].count) {
			fprintf(file, "atomic %lx %lu\n", globals[i].address, globals[i].count);
			globals[i].count = 0;
		}
	fflush(file);
	part_began = work_so_far();
}

static void instrument(struct qemu_plugin_insn *insn, uint64_t *atomic)
{
	uint8_t bytes[16];
	struct decoded what = decode(bytes, qemu_plugin_insn_data(insn, bytes, sizeof(bytes)));
	uint64_t pc = qemu_plugin_insn_vaddr(insn);

	for (unsigned i = 0; i < function_count; i++)
		if (functions[i] == pc)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_lock, PLUGIN_CB_R_REGS,
							       NULL);
	if (what.mark)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, lock_on_mark, PLUGIN_CB_NO_REGS, NULL);
	if (what.string) {
		qemu_plugin_register_vcpu_mem_cb(insn, lock_on_string, PLUGIN_CB_NO_REGS, PLUGIN_MEM_W,
						 NULL);
		return;
	}
	*atomic += what.atomic;
	if (!what.tracked)
		return;
	if (what.atomic)
		qemu_plugin_register_vcpu_mem_cb(insn, lock_on_atomic, PLUGIN_CB_NO_REGS, PLUGIN_MEM_R,
						 NULL);
	qemu_plugin_register_vcpu_mem_cb(insn, lock_on_load, PLUGIN_CB_NO_REGS, PLUGIN_MEM_R, NULL);
	qemu_plugin_register_vcpu_mem_cb(insn, lock_on_store, PLUGIN_CB_NO_REGS, PLUGIN_MEM_W, NULL);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t length = qemu_plugin_tb_n_insns(tb);
	uint64_t atomic = 0;

	(void)id;
	for (size_t i = 0; i < length; i++)
		instrument(qemu_plugin_tb_get_insn(tb, i), &atomic);
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, PLUGIN_INLINE_ADD_U64, instructions,
							  length);
	if (atomic)
		qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, PLUGIN_INLINE_ADD_U64,
								  atomics, atomic);
}

PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
				      char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
		else if (!strncmp(argv[i], "lock=", 5) && function_count < MAX_LOCK_FUNCTIONS)
			functions[function_count++] = strtoull(argv[i] + 5, NULL, 16);
	}
	file = fopen(out, "w");
	lines = calloc(LINES, sizeof(*lines));
	if (!file || !lines)
		return 1;
	scores = qemu_plugin_scoreboard_new(2 * sizeof(uint64_t));
	instructions = (qemu_plugin_u64){ scores, 0 };
	atomics = (qemu_plugin_u64){ scores, sizeof(uint64_t) };
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
