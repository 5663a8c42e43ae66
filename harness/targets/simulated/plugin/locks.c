/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who waits for which lock, and who holds it: only where addresses of functions that take a spin
 * lock are given (`lock`), for it costs host time. Virtual time is the same with and without.
 *
 * A call of such a function asks for the lock whose address is its first argument; the vCPU has it
 * when it is back at the return address, and gives it up with the next store of one byte there.
 * A mark of the guest writes out what was gathered since the last one: lock, return address, how
 * often it was taken and given up, ticks of waiting and of holding, and the longest of each.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES (1u << 14)
#define NESTED 16 /* locks that one vCPU has asked for and not given up, interrupts included */
#define RDI 5     /* places in QEMU's list of registers */
#define RSP 7

struct asked {
	uint64_t lock, caller, asked_at, got_at; /* got_at 0: not yet */
};

struct use {
	uint64_t lock, caller, taken, freed, wait, hold, longest_wait, longest_hold;
};

static struct asked asked[MAX_VCPUS][NESTED];
static unsigned depth[MAX_VCPUS];
static struct use *uses;
static uint64_t *returns; /* the addresses that the functions return to */

static uint64_t *place_of(uint64_t address)
{
	for (uint64_t i = address * UINT64_C(0x9e3779b97f4a7c15) >> 50;; i++) {
		uint64_t *place = &returns[i & (PLACES - 1)];

		if (!*place || *place == address)
			return place;
	}
}

/* An instruction is translated: note where its call of a lock function will return to. */
void takes_lock(const uint8_t *bytes, size_t length, uint64_t pc)
{
	int32_t distance;

	if (length != 5 || bytes[0] != 0xe8)
		return;
	memcpy(&distance, bytes + 1, sizeof(distance));
	for (unsigned i = 0; i < model.locks; i++)
		if (model.lock[i] == pc + 5 + distance)
			*place_of(pc + 5) = pc + 5;
}

bool is_lock_function(uint64_t pc)
{
	for (unsigned i = 0; i < model.locks; i++)
		if (model.lock[i] == pc)
			return true;
	return false;
}

bool returns_with_lock(uint64_t pc)
{
	return model.locks && *place_of(pc) == pc;
}

static uint64_t word_at(uint64_t address)
{
	static __thread GByteArray *bytes;
	uint64_t value = 0;

	if (!bytes)
		bytes = g_byte_array_new();
	if (qemu_plugin_read_memory_vaddr(address, bytes, 8) && bytes->len == 8)
		memcpy(&value, bytes->data, 8);
	return value;
}

static void drop(unsigned vcpu, unsigned which)
{
	memmove(&asked[vcpu][which], &asked[vcpu][which + 1],
		(--depth[vcpu] - which) * sizeof(struct asked));
}

/* The first instruction of a function that takes a lock. */
void on_lock_function(unsigned int vcpu, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];

	(void)pc;
	if (!v->score)
		return;
	if (depth[vcpu] == NESTED)
		drop(vcpu, 0); /* given up in a way that is not seen */
	asked[vcpu][depth[vcpu]++] = (struct asked){
		.lock = register_at(v, RDI),
		.caller = word_at(register_at(v, RSP)),
		.asked_at = now_of(v),
	};
}

/* An address that such a function returns to; other ways may lead there as well. */
void on_lock_return(unsigned int vcpu, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];
	struct asked *last = depth[vcpu] ? &asked[vcpu][depth[vcpu] - 1] : NULL;

	if (v->score && last && !last->got_at && last->caller == (uint64_t)pc)
		last->got_at = now_of(v);
}

static struct use *use_of(const struct asked *one)
{
	uint64_t hash = (one->lock * UINT64_C(0x9e3779b97f4a7c15) ^ one->caller) *
			UINT64_C(0x9e3779b97f4a7c15);

	for (uint64_t i = hash >> 50, tries = 0; tries < PLACES; i++, tries++) {
		struct use *use = &uses[i & (PLACES - 1)];

		if (use->taken && (use->lock != one->lock || use->caller != one->caller))
			continue;
		use->lock = one->lock;
		use->caller = one->caller;
		return use;
	}
	return NULL;
}

/* One byte is stored: if that is a lock this vCPU has, it gives it up. */
void on_byte_store(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];
	uint64_t now;

	(void)info, (void)pc;
	if (!v->score)
		return;
	now = now_of(v);
	for (unsigned i = depth[vcpu]; i-- > 0;) {
		struct asked *one = &asked[vcpu][i];
		struct use *use;

		if (one->lock != address)
			continue;
		use = use_of(one);
		if (use) {
			use->taken++;
			if (one->got_at) {
				uint64_t wait = one->got_at - one->asked_at;
				uint64_t hold = now - one->got_at;

				use->freed++;
				use->wait += wait;
				use->hold += hold;
				if (wait > use->longest_wait)
					use->longest_wait = wait;
				if (hold > use->longest_hold)
					use->longest_hold = hold;
			}
		}
		drop(vcpu, i);
		return;
	}
}

void write_locks(unsigned part)
{
	FILE *file = model.locks ? open_part("locks", part) : NULL;

	if (!file)
		return;
	for (unsigned i = 0; i < PLACES; i++)
		if (uses[i].taken)
			fprintf(file, "%lx %lx %lu %lu %lu %lu %lu %lu\n", uses[i].lock,
				uses[i].caller, uses[i].taken, uses[i].freed,
				ticks_to_ns(uses[i].wait), ticks_to_ns(uses[i].hold),
				ticks_to_ns(uses[i].longest_wait), ticks_to_ns(uses[i].longest_hold));
	memset(uses, 0, PLACES * sizeof(*uses));
	fclose(file);
}

void locks_init(void)
{
	uses = calloc(PLACES, sizeof(*uses));
	returns = calloc(PLACES, sizeof(*returns));
	if (!uses || !returns)
		abort();
}
