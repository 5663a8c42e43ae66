/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where virtual time was spent: the program counter of every vCPU is sampled every `sample` ticks
 * of its own time. Skipped turns of a spin loop count for its PAUSE, and also by the callers of the
 * waiting vCPU. A mark of the guest writes profile-N.txt and waits-N.txt with the samples since the
 * last mark, for the first `marks` marks. With `window`, the same is written for each window of
 * that many ticks to windows.txt, with how often the `count`ed instructions were executed.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PLACES (1u << 16)

struct place {
	uint64_t key[4]; /* program counter, up to three return addresses */
	uint64_t ticks;
};

struct profile {
	struct place *samples, *waits;
};

static struct profile part, window; /* since the last mark, since the last window */
static unsigned marks;
static uint64_t window_end;
static uint64_t executed[MAX_COUNTED];

/* Add ticks to the row of a key; if the table is full, they are lost. */
static void add(struct place *table, const uint64_t key[4], uint64_t ticks)
{
	for (uint64_t i = hash_of(key, 4) >> 48, tries = 0; tries < PLACES; i++, tries++) {
		struct place *place = &table[i & (PLACES - 1)];

		if (place->ticks && memcmp(place->key, key, sizeof(place->key)))
			continue;
		memcpy(place->key, key, sizeof(place->key));
		place->ticks += ticks;
		return;
	}
}

/* Write and clear a table. */
static void empty_table(FILE *file, const char *prefix, struct place *table)
{
	for (unsigned i = 0; i < PLACES; i++)
		if (table[i].ticks)
			fprintf(file, "%s%lx %lx %lx %lx %lu\n", prefix, table[i].key[0],
				table[i].key[1], table[i].key[2], table[i].key[3], table[i].ticks);
	memset(table, 0, PLACES * sizeof(*table));
}

/*
 * windows.txt: one line for each window, followed by its samples (s), its waits (w), and what
 * `more` writes, if anything.
 */
void write_window(uint64_t now, void (*more)(FILE *))
{
	static FILE *file;
	char path[4096];

	if (!file) {
		snprintf(path, sizeof(path), "%s/windows.txt", model.out);
		file = fopen(path, "w");
		if (!file)
			return;
	}
	fprintf(file, "window %lu", ticks_to_ns(now));
	for (unsigned i = 0; i < model.counted; i++)
		fprintf(file, " %lu", executed[i]);
	fputc('\n', file);
	empty_table(file, "s ", window.samples);
	empty_table(file, "w ", window.waits);
	if (more)
		more(file);
	fflush(file);
	window_end = now + model.window;
}

static bool in_window(void)
{
	return model.prepare_gap ? window_is_open() : model.window;
}

void profile_sample(struct vcpu *v, uint64_t pc)
{
	uint64_t now = now_of(v), due;

	if (now < v->next_sample)
		return;
	due = (now - v->next_sample) / model.sample + 1;
	v->next_sample += due * model.sample;
	add(part.samples, (uint64_t[4]){ pc }, due * model.sample);
	if (in_window())
		add(window.samples, (uint64_t[4]){ pc }, due * model.sample);
	if (model.window && !model.prepare_gap && now >= window_end && marks)
		write_window(now, NULL);
}

/* The vCPU has slept until its slice_start: skip the samples due by then. */
void profile_skip(struct vcpu *v)
{
	uint64_t now = v->slice_start;

	stacks_skip(v);
	if (now >= v->next_sample)
		v->next_sample += ((now - v->next_sample) / model.sample + 1) * model.sample;
}

/* Add the ticks of skipped turns, by the callers of the vCPU that waits. */
void profile_wait(struct vcpu *v, uint64_t ticks)
{
	const uint64_t *caller = v->spin.caller;
	const uint64_t key[4] = { v->spin.pc, caller[0], caller[1], caller[2] };

	add(part.waits, key, ticks);
	if (in_window())
		add(window.waits, key, ticks);
}

/* Callback of a counted instruction; `which` is its index among the options. */
void on_counted(unsigned int vcpu, void *which)
{
	(void)vcpu;
	executed[(uintptr_t)which]++;
	if (!which && model.detail_after && executed[0] >= model.detail_after)
		fast = false;
}

/* Open the file of one kind for the part of the run that ends with this mark. */
FILE *open_part(const char *kind, unsigned number)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s-%u.txt", model.out, kind, number);
	return fopen(path, "w");
}

static void write_table(const char *kind, struct place *table)
{
	FILE *file = open_part(kind, marks);

	if (!file)
		return;
	empty_table(file, "", table);
	fclose(file);
}

static void write_counts(uint64_t now)
{
	static FILE *file;
	uint64_t misses = 0, atomics = 0, parks = 0, skipped = 0, slices = 0, queued = 0;
	struct timespec host;
	char path[4096];

	if (!file) {
		snprintf(path, sizeof(path), "%s/counts.txt", model.out);
		file = fopen(path, "w");
		if (!file)
			return;
	}
	for (unsigned i = 0; i < vcpu_count; i++) {
		misses += vcpus[i].misses;
		atomics += vcpus[i].atomics;
		parks += vcpus[i].parks;
		skipped += vcpus[i].skipped;
		queued += vcpus[i].queued;
		slices += vcpus[i].slices;
	}
	timespec_get(&host, TIME_UTC);
	fprintf(file,
		"mark %u virtual_ns %lu host_ms %lu misses %lu atomics %lu queued %lu spins_left_out %lu "
		"turns_left_out %lu slices %lu drains %lu ahead_most_ns %lu\n",
		marks, ticks_to_ns(now), host.tv_sec * 1000UL + host.tv_nsec / 1000000, misses,
		atomics, queued, parks, skipped, slices, drains, ticks_to_ns(ahead_most));
	fflush(file);
}

/* Callback of a mark: everything since the last one is one part of the run. */
void on_mark(unsigned int vcpu, void *pc)
{
	(void)pc;
	if (!vcpus[vcpu].score || marks >= model.marks)
		return;
	if (!model.detail_after && !model.prepare_gap)
		fast = false;
	write_counts(now_of(&vcpus[vcpu]));
	if (model.prepare_gap)
		sampling_marks();
	else if (model.window && marks)
		write_window(now_of(&vcpus[vcpu]), NULL);
	write_table("profile", part.samples);
	write_table("waits", part.waits);
	write_locks(marks);
	write_stacks(marks);
	marks++;
}

void profile_finish(void)
{
	on_mark(0, NULL);
}

void profile_init(void)
{
	struct place **tables[] = { &part.samples, &part.waits, &window.samples, &window.waits };

	for (unsigned i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		*tables[i] = calloc(PLACES, sizeof(**tables[i]));
		if (!*tables[i])
			abort();
	}
}
