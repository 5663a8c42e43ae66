/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Call stacks. If locks are followed, the stack of a vCPU is searched every `sample` ticks for
 * addresses after a direct call. Words left over from earlier calls are among them; the reader has
 * the symbols, and sorts them out by the function that each call goes to. A mark of the guest
 * writes stacks-N.txt: program counter, pairs of return address and called address, ticks.
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

struct stack {
	uint64_t key[WORDS], ticks;
};

static struct stack *stacks;
static uint64_t next_stack[MAX_VCPUS];

/* Add ticks to the row of a stack; if the table is full, they are lost. */
static void add_stack(const uint64_t *key, uint64_t ticks)
{
	for (uint64_t i = hash_of(key, WORDS) >> 49, tries = 0; tries < PLACES; i++, tries++) {
		struct stack *place = &stacks[i & (PLACES - 1)];

		if (place->ticks && memcmp(place->key, key, sizeof(place->key)))
			continue;
		memcpy(place->key, key, sizeof(place->key));
		place->ticks += ticks;
		return;
	}
}

/* The target of the direct call before `address`; 0 if there is none. */
static uint64_t called_before(uint64_t address)
{
	static __thread GByteArray *buffer;
	const uint8_t *bytes;
	int32_t distance;

	if (!is_kernel_text(address))
		return 0;
	bytes = read_guest(address - 5, 5, &buffer);
	if (!bytes || bytes[0] != 0xe8)
		return 0;
	memcpy(&distance, bytes + 1, sizeof(distance));
	return address + distance;
}

/* Fill `calls` with pairs of return address and target, from the stack pointer upwards. */
static void search_stack(uint64_t top, uint64_t *calls)
{
	static __thread GByteArray *buffer;
	uint64_t length = STACK - (top & (STACK - 1));
	const uint8_t *bytes;
	unsigned found = 0;

	if (length > SEARCHED)
		length = SEARCHED;
	bytes = read_guest(top, length, &buffer);
	for (unsigned i = 0; bytes && i + 8 <= length && found < CALLS; i += 8) {
		uint64_t word, target;

		memcpy(&word, bytes + i, 8);
		target = called_before(word);
		if (!target)
			continue;
		calls[2 * found] = word;
		calls[2 * found++ + 1] = target;
	}
}

/* The vCPU has slept until its slice_start: skip the samples due by then. */
void stacks_skip(struct vcpu *v)
{
	if (v->slice_start >= next_stack[v->index])
		next_stack[v->index] = v->slice_start + model.sample;
}

/* slice_over() for callbacks that may read registers: samples the stack as well. */
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

/* Write and clear the stacks since the last mark. */
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
