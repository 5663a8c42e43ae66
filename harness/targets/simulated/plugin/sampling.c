/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Windows of detail in a load that is too long to simulate (`prepare_gap`), in the style of SMARTS
 * (Wunderlich and others, ISCA 2003).
 *
 * Everything runs fast, but for a window of virtual time now and then: `warm` ticks of detail that
 * are not measured, so that the CPUs' times come together and caches fill, then `window` ticks that
 * are. What is measured is how long the module's threads are at each of some call instructions of
 * its code (`site`, `prepare`), until they come to the next one. So a site in a loop tells how long
 * a turn of that loop takes, whatever CPU the thread is on, if it is on one at all.
 *
 * `prepare` are sites that come before the part that matters. While a thread is at one, there are
 * `prepare_gap` calls at sites between windows, and the threads that are past them go slowly in the
 * fast parts: what they do is repeated a million times anyway. Otherwise there are `gap` calls; 0: no
 * gaps. Gaps are not counted in virtual time, which runs away where CPUs that spin take turns.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#define THREADS (1u << 14)
#define STACK_BITS 14 /* of a kernel thread's stack, aligned to its size */
#define RSP 7         /* its place in QEMU's list of registers */
#define MODULES_START UINT64_C(0xffffffffa0000000)
#define MODULES_END UINT64_C(0xffffffffff000000)

struct thread {
	uint64_t stack;
	uint64_t since; /* virtual time at which it came to the site that it is at */
	unsigned site;
};

static struct thread *threads;
static enum { OFF, BETWEEN, WARMING, OPEN } stage;
static uint64_t opens, closes; /* of the present or next window */
static uint64_t due = NEVER; /* the next step of stage WARMING or OPEN */
static uint64_t left;        /* calls at sites, in stage BETWEEN */
static unsigned preparing; /* threads that are at a site of the preparation */
static uint64_t calls[MAX_SITES], ticks[MAX_SITES];

/* The place of the call among the sites, -1: it is none. Modules are at page boundaries. */
int site_at(uint64_t pc, const uint8_t *bytes, size_t length)
{
	if (length != 5 || bytes[0] != 0xe8 || pc < MODULES_START || pc >= MODULES_END)
		return -1;
	for (unsigned i = 0; i < model.sites; i++)
		if ((model.site[i].offset & 4095) == (pc & 4095))
			return i;
	return -1;
}

static struct thread *thread_of(uint64_t stack)
{
	for (uint64_t i = stack * UINT64_C(0x9e3779b97f4a7c15) >> 50, tries = 0; tries < THREADS;
	     i++, tries++) {
		struct thread *thread = &threads[i & (THREADS - 1)];

		if (!thread->stack || thread->stack == stack)
			return thread;
	}
	return NULL;
}

/* Ticks of the window in which the thread is at its site, up to `now`. */
static uint64_t ticks_in_window(const struct thread *thread, uint64_t now)
{
	uint64_t from = thread->since > opens ? thread->since : opens;
	uint64_t to = now < closes ? now : closes;

	return from < to ? to - from : 0;
}

static bool measures(void)
{
	return stage == WARMING || stage == OPEN; /* who is ahead may be in the window already */
}

bool window_is_open(void)
{
	return stage == OPEN;
}

/* A thread of the module has come to site number `which`. */
void on_site(unsigned int vcpu, void *which)
{
	struct vcpu *v = &vcpus[vcpu];
	unsigned site = (uintptr_t)which;
	struct thread *thread;
	uint64_t now;
	bool waits;

	if (!v->score || stage == OFF)
		return;
	now = now_of(v);
	schedule_lock();
	thread = thread_of(register_at(v, RSP) >> STACK_BITS);
	if (thread) {
		if (thread->stack) {
			if (measures()) {
				ticks[thread->site] += ticks_in_window(thread, now);
				calls[thread->site] += now >= opens && now < closes;
			}
			preparing -= model.site[thread->site].prepares;
		}
		thread->stack = register_at(v, RSP) >> STACK_BITS;
		thread->site = site;
		thread->since = now;
		preparing += model.site[site].prepares;
	}
	if (stage == BETWEEN && left && !--left)
		due = 0;
	waits = fast && preparing && !model.site[site].prepares;
	schedule_unlock();
	if (waits)
		step_back(v, model.fast_quantum);
}

static void write_sites(FILE *file)
{
	for (unsigned i = 0; i < model.sites; i++)
		fprintf(file, "c %u %lu %lu\n", i, calls[i], ticks_to_ns(ticks[i]));
	fputs("end\n", file); /* for who reads while it is written */
	memset(calls, 0, sizeof(calls));
	memset(ticks, 0, sizeof(ticks));
}

static void close_window(void)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (threads[i].stack)
			ticks[threads[i].site] += ticks_in_window(&threads[i], closes);
	write_window(closes, write_sites);
}

static void open_next(uint64_t after)
{
	opens = due = after;
	closes = opens + model.window;
	stage = WARMING;
}

bool sampling_due(uint64_t now)
{
	return now >= due;
}

/* All that run have come to `earliest` at least, and none further than `latest`. Lock held. */
void sampling_goes_on(uint64_t earliest, uint64_t latest)
{
	if (earliest < due)
		return;
	switch (stage) {
	case OFF:
		break;
	case BETWEEN:
		fast = false;
		open_next(latest + model.warm);
		break;
	case WARMING:
		stage = OPEN;
		due = closes;
		break;
	case OPEN:
		close_window();
		left = preparing ? model.prepare_gap : model.gap;
		if (!left) {
			open_next(closes);
			break;
		}
		stage = BETWEEN;
		due = NEVER;
		fast = true;
		end_waits();
		break;
	}
}

/* A load begins, or has ended. */
void sampling_marks(void)
{
	if (stage == OFF) {
		stage = BETWEEN;
		left = model.prepare_gap;
		warms = true;
		return;
	}
	stage = OFF;
	due = NEVER;
	warms = false;
	preparing = 0;
	memset(threads, 0, THREADS * sizeof(*threads));
	schedule_lock();
	fast = true;
	end_waits();
	schedule_unlock();
}

void sampling_init(void)
{
	threads = calloc(THREADS, sizeof(*threads));
	if (!threads)
		abort();
	if (model.prepare_gap)
		use_small_pages();
}
