/* SPDX-License-Identifier: GPL-2.0-only */
/* The simulated machine, as described by the options of the plugin. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

struct model model = {
	.clock_mhz = 1000,
	.instruction = TICKS_PER_CYCLE,
	.pause = 40 * TICKS_PER_CYCLE,
	.atomic = 20 * TICKS_PER_CYCLE,
	.rep_byte = TICKS_PER_CYCLE / 32,
	.per_core = 1,
	.per_ccx = 1,
	.per_die = 1,
	.quantum = 1000 * TICKS_PER_CYCLE,
	.fast_quantum = 100000 * TICKS_PER_CYCLE,
	.sample = 10000 * TICKS_PER_CYCLE,
	.l2_lines = 1 << 13, /* 512 KiB */
	.l3_lines = 1 << 18, /* 16 MiB */
	.l2_ways = 1,
	.l3_ways = 1,
	.tlb_entries = 1,
	.marks = 64,
	.follow_from = KERNEL_HALF,
	.full_coherence = true,
	.lock_coherence = true,
	.skip_spins = true,
	.store_buffer = true,
	.out = ".",
};

static bool set_number(const char *name, uint64_t value)
{
	const struct {
		const char *name;
		uint64_t *to;
	} numbers[] = {
		{ "clock_mhz", &model.clock_mhz },
		{ "instruction", &model.instruction },
		{ "pause", &model.pause },
		{ "atomic", &model.atomic },
		{ "rep_byte", &model.rep_byte },
		{ "smt_extra", &model.smt_extra },
		{ "transfer_smt", &model.transfer_smt },
		{ "transfer_ccx", &model.transfer_ccx },
		{ "transfer_die", &model.transfer_die },
		{ "transfer_package", &model.transfer_package },
		{ "l3", &model.l3 },
		{ "memory", &model.memory },
		{ "walk", &model.walk },
		{ "l2_lines", &model.l2_lines },
		{ "l3_lines", &model.l3_lines },
		{ "tlb_entries", &model.tlb_entries },
		{ "quantum", &model.quantum },
		{ "fast_quantum", &model.fast_quantum },
		{ "detail_after", &model.detail_after },
		{ "sample", &model.sample },
		{ "seed", &model.seed },
		{ "follow_from", &model.follow_from },
		{ "apart", &model.apart },
		{ "window", &model.window },
		{ "prepare_gap", &model.prepare_gap },
		{ "gap", &model.gap },
		{ "warm", &model.warm },
		{ "marks", &model.marks },
	};
	const struct {
		const char *name;
		unsigned *to;
	} counts[] = {
		{ "per_core", &model.per_core },
		{ "per_ccx", &model.per_ccx },
		{ "per_die", &model.per_die },
		{ "l2_ways", &model.l2_ways },
		{ "l3_ways", &model.l3_ways },
	};
	const struct {
		const char *name;
		bool *to;
	} switches[] = {
		{ "full_coherence", &model.full_coherence },
		{ "lock_coherence", &model.lock_coherence },
		{ "skip_spins", &model.skip_spins },
		{ "store_buffer", &model.store_buffer },
		{ "charge_strings", &model.charge_strings },
		{ "fast_boot", &model.fast_boot },
		{ "nearest_first", &model.nearest_first },
		{ "near_copies", &model.near_copies },
		{ "idle_stalls", &model.idle_stalls },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if (!strcmp(name, numbers[i].name))
			return *numbers[i].to = value, true;
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
		if (!strcmp(name, counts[i].name))
			return *counts[i].to = value, true;
	for (size_t i = 0; i < sizeof(switches) / sizeof(*switches); i++)
		if (!strcmp(name, switches[i].name))
			return *switches[i].to = value, true;
	return false;
}

/* Set an option, given as `NAME=VALUE`; false if there is no such option. */
bool set_option(const char *argument)
{
	const char *equals = strchr(argument, '=');
	char name[32];

	if (!equals || equals - argument >= (long)sizeof(name))
		return false;
	memcpy(name, argument, equals - argument);
	name[equals - argument] = '\0';
	if (!strcmp(name, "out")) {
		model.out = strdup(equals + 1);
		return true;
	}
	if (!strcmp(name, "count")) {
		if (model.counted == MAX_COUNTED)
			return false;
		model.count[model.counted++] = strtoull(equals + 1, NULL, 16);
		return true;
	}
	if (!strcmp(name, "site") || !strcmp(name, "prepare")) {
		if (model.sites == MAX_SITES)
			return false;
		model.site[model.sites].prepares = *name == 'p';
		model.site[model.sites++].offset = strtoull(equals + 1, NULL, 16);
		return true;
	}
	if (!strcmp(name, "lock")) {
		if (model.locks == MAX_LOCKS)
			return false;
		model.lock[model.locks++] = strtoull(equals + 1, NULL, 16);
		return true;
	}
	return set_number(name, strtoull(equals + 1, NULL, 10));
}
