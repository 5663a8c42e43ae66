/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which of several waiting atomics gets a line next, for machines with `nearest-first`.
 *
 * A request reaches the core complex that has the line before it reaches the rest of the machine.
 * So the CPUs of the holder's complex that waited when the line arrived there get it first, once
 * each, the holder's own core before the others; then the line leaves for the oldest request. With
 * `first-come` atomics take a line in the order of their virtual time, and none of this happens.
 *
 * The decision is made when the line becomes free: the most likely vCPU is resumed at that time,
 * and every request made by then is considered. Other accesses to the line in the meantime are not
 * arbitrated, since they cost the same in any order.
 *
 * Lines are handed over with the scheduler's lock held, since a vCPU that QEMU wants to stop may
 * leave the queue at any time.
 */
#include "sim.h"

static bool in_complex(const struct vcpu *v, unsigned other)
{
	return v->index / model.per_ccx == other / model.per_ccx;
}

/* The vCPU that gets the line `tag` next; NULL if none waits for it. */
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

/* `v` is about to execute an atomic on the line: wait until it has the line, or is the next. */
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
	state = line->wanted ? QUEUED : RUNNABLE; /* the first waits until it is free */
	line->wanted = true;
	while (let_others_run(v, state, line->tag == tag ? line->written_at : 0)) {
		next = next_for(tag, line->tag == tag ? line : NULL);
		if (next == v)
			break;
		goes_on(next, now_of(v));
		state = QUEUED;
	}
	if (v->state == QUEUED) { /* QEMU stops it: it continues out of turn */
		v->wants = 0;
		goes_on(v, 0);
	}
	schedule_unlock();
}

/* The atomic of `v` was executed, or never will be: hand its line to the next vCPU. */
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
