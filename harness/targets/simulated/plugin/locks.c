/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time spent waiting for and holding each spin lock. Done only if addresses of functions that take
 * one are given (`lock`), since it costs host time; virtual time is the same with and without.
 *
 * A call of such a function requests the lock whose address is its first argument. The vCPU has the
 * lock when it reaches the return address, and releases it by the next store of one byte to it.
 * A mark of the guest writes locks-N.txt, with the uses since the last mark: lock, return address,
 * how often it was taken and released, ns of waiting and of holding, and the longest of each.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES (1u << 14)
#define NESTED 16 /* locks that one vCPU has requested and not released, including interrupts */

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

/* The place of a return address in the table, or the free place for it. */
static uint64_t *place_of(uint64_t address)
{
	for (uint64_t i = hash_of(&address, 1) >> 50;; i++) {
		uint64_t *place = &returns[i & (PLACES - 1)];

		if (!*place || *place == address)
			return place;
	}
}

/* An instruction is translated: if it calls a lock function, note its return address. */
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

/* Forget one of the locks that a vCPU has requested. */
static void drop(unsigned vcpu, unsigned which)
{
	memmove(&asked[vcpu][which], &asked[vcpu][which + 1],
		(--depth[vcpu] - which) * sizeof(struct asked));
}

/* Callback of the first instruction of a function that takes a lock. */
void on_lock_function(unsigned int vcpu, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];

	(void)pc;
	if (!v->score)
		return;
	if (depth[vcpu] == NESTED)
		drop(vcpu, 0); /* released in an unknown way */
	asked[vcpu][depth[vcpu]++] = (struct asked){
		.lock = register_at(v, RDI),
		.caller = word_at(register_at(v, RSP)),
		.asked_at = now_of(v),
	};
}

/* Callback of a return address of such a function, which may be reached in other ways as well. */
void on_lock_return(unsigned int vcpu, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];
	struct asked *last = depth[vcpu] ? &asked[vcpu][depth[vcpu] - 1] : NULL;

	if (v->score && last && !last->got_at && last->caller == (uint64_t)pc)
		last->got_at = now_of(v);
}

/* The row of this lock and caller; NULL if the table is full. */
static struct use *use_of(const struct asked *one)
{
	uint64_t hash = hash_of((uint64_t[]){ one->lock, one->caller }, 2);

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

/* Callback of a store of one byte: if that is a lock of this vCPU, it is released. */
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

/* Write and clear the uses since the last mark. */
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
