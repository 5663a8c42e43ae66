/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who called what is running: where locks are followed, a vCPU's stack is searched each `sample`
 * ticks for what follows a direct call. What such words say together with the function that each
 * call goes to is left to the reader, who has the symbols: words of calls long over are among them.
 * A mark writes out: program counter, pairs of return address and called address, ticks.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES (1u << 15)
#define CALLS 12
#define WORDS (1 + 2 * CALLS)
#define STACK (UINT64_C(16) << 10) /* of a thread or of interrupts, aligned to its size */
#define SEARCHED 1024              /* bytes */
#define RSP 7                      /* its place in QEMU's list of registers */

struct stack {
	uint64_t key[WORDS], ticks;
};

static struct stack *stacks;
static uint64_t next_stack[MAX_VCPUS];

static void add_stack(const uint64_t *key, uint64_t ticks)
{
	uint64_t hash = 0;

	for (unsigned i = 0; i < WORDS; i++)
		hash = (hash ^ key[i]) * UINT64_C(0x9e3779b97f4a7c15);
	for (uint64_t i = hash >> 49, tries = 0; tries < PLACES; i++, tries++) {
		struct stack *place = &stacks[i & (PLACES - 1)];

		if (place->ticks && memcmp(place->key, key, sizeof(place->key)))
			continue;
		memcpy(place->key, key, sizeof(place->key));
		place->ticks += ticks;
		return;
	}
}

static bool read_guest(uint64_t address, GByteArray *into, size_t length)
{
	return qemu_plugin_read_memory_vaddr(address, into, length) && into->len == length;
}

/* Return where the call before `address` goes to, 0 where there is no direct call. */
static uint64_t called_before(uint64_t address)
{
	static __thread GByteArray *bytes;
	int32_t distance;

	if (!bytes)
		bytes = g_byte_array_new();
	if (address < UINT64_C(0xffffffff81000000) || address >= UINT64_C(0xffffffffff000000) ||
	    !read_guest(address - 5, bytes, 5) || bytes->data[0] != 0xe8)
		return 0;
	memcpy(&distance, bytes->data + 1, sizeof(distance));
	return address + distance;
}

static void search_stack(uint64_t top, uint64_t *calls)
{
	static __thread GByteArray *bytes;
	uint64_t length = STACK - (top & (STACK - 1));
	unsigned found = 0;

	if (!bytes)
		bytes = g_byte_array_new();
	if (!read_guest(top, bytes, length < SEARCHED ? length : SEARCHED))
		return;
	for (unsigned i = 0; i + 8 <= bytes->len && found < CALLS; i += 8) {
		uint64_t word, target;

		memcpy(&word, bytes->data + i, 8);
		target = called_before(word);
		if (!target)
			continue;
		calls[2 * found] = word;
		calls[2 * found++ + 1] = target;
	}
}

/* The vCPU has slept until its slice_start; see profile_skip(). */
void stacks_skip(struct vcpu *v)
{
	if (v->slice_start >= next_stack[v->index])
		next_stack[v->index] = v->slice_start + model.sample;
}

/* As slice_over(), where the registers may be read. */
void slice_over_with_stack(unsigned int vcpu, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];
	uint64_t key[WORDS] = { (uint64_t)pc };

	if (v->score && now_of(v) >= next_stack[vcpu]) {
		uint64_t due = (now_of(v) - next_stack[vcpu]) / model.sample + 1;

		if (key[0] >= KERNEL_HALF)
			search_stack(register_at(v, RSP), key + 1);
		add_stack(key, due * model.sample);
		next_stack[vcpu] += due * model.sample;
	}
	slice_over(vcpu, pc);
}

void write_stacks(unsigned part)
{
	FILE *file = model.locks ? open_part("stacks", part) : NULL;

	if (!file)
		return;
	for (unsigned i = 0; i < PLACES; i++) {
		if (!stacks[i].ticks)
			continue;
		for (unsigned k = 0; k < WORDS && (!k || stacks[i].key[k]); k++)
			fprintf(file, "%lx ", stacks[i].key[k]);
		fprintf(file, "%lu\n", stacks[i].ticks);
	}
	memset(stacks, 0, PLACES * sizeof(*stacks));
	fclose(file);
}

void stacks_init(void)
{
	stacks = calloc(PLACES, sizeof(*stacks));
	if (!stacks)
		abort();
}
