/* SPDX-License-Identifier: GPL-2.0-only */
/* Which vCPU runs, and the virtual time of each. See sim.h for an overview. */
#define _GNU_SOURCE
#include "sim.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct vcpu vcpus[MAX_VCPUS];
unsigned vcpu_count;
bool engaged, fast, warms;

/* Guards all below. Never held while waiting; QEMU's own locks are taken before it, never after. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned running;  /* 1 while an actor has the token */
static unsigned waking;   /* vCPUs in state WAKING; see set_state() */
static bool started;      /* the machine is set up and the main loop has begun */
static unsigned draining; /* holders that wait for others to leave their blocks */
static bool granted[MAX_VCPUS];
static int *woken; /* futex word of the actor to wake for the token; NULL: none */
uint64_t ahead_most, drains;
static uint64_t last_clock_ns; /* so that no reader sees time go backwards */

/* QEMU's main loop: runs timers, and handles everything that reaches QEMU from outside. */
static struct {
	bool waits, granted;
	uint64_t deadline; /* ticks: its nearest timer, or when it was notified */
	uint64_t now;
	int wake;
} main_loop;

static __thread int this_vcpu = -1;
static __thread bool about_to_sleep;

static void futex_wait(int *word, const struct timespec *timeout)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, timeout, NULL, 0);
}

static void futex_wake(int *word)
{
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/*
 * Wake the waiter on `word` when the lock is released: a thread woken before would block on the
 * lock at once, which doubles the cost of handing over the token. Lock held.
 */
static void wake_after_unlock(int *word)
{
	if (woken)
		futex_wake(woken);
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
	woken = word;
}

static void unlock(void)
{
	int *word = woken;

	woken = NULL;
	pthread_mutex_unlock(&lock);
	if (word)
		syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static bool in_main_thread(void)
{
	static __thread int answer;

	if (!answer)
		answer = syscall(SYS_gettid) == getpid() ? 1 : -1;
	return answer > 0;
}

/*
 * The thread of a kicked vCPU takes some host time to reach its first block, or to sleep again if
 * there is nothing to do. Until then no token is handed out: otherwise the order of events would
 * depend on the host.
 */
static void set_state(struct vcpu *v, enum state state)
{
	waking += (state == WAKING) - (v->state == WAKING);
	v->state = state;
}

static bool wants_to_run(const struct vcpu *v)
{
	return v->state == RUNNABLE && !granted[v->index];
}

/* The waiting vCPU with the least virtual time other than `but`; the lower index wins a tie. */
static struct vcpu *least_waiting(const struct vcpu *but)
{
	struct vcpu *least = NULL;

	for (unsigned i = 0; i < vcpu_count; i++) {
		struct vcpu *v = &vcpus[i];

		if (v != but && wants_to_run(v) && (!least || v->slice_start < least->slice_start))
			least = v;
	}
	return least;
}

/* Hand out the token if it is free. At equal times timers go first, as on a real machine. */
static void grant_next(void)
{
	struct vcpu *v;

	if (running || waking)
		return;
	v = least_waiting(NULL);
	if (main_loop.waits && !main_loop.granted && main_loop.deadline != NEVER &&
	    (!v || main_loop.deadline <= v->slice_start)) {
		main_loop.granted = true;
		running++;
		wake_after_unlock(&main_loop.wake);
	} else if (v) {
		granted[v->index] = true;
		running++;
		wake_after_unlock(&v->wake);
	}
}

static void give_up_token(struct vcpu *v)
{
	if (granted[v->index]) {
		granted[v->index] = false;
		running--;
	}
}

/* Make the virtual time reached so far the new slice_start. */
static void settle(struct vcpu *v)
{
	v->slice_start = now_of(v);
	v->stalled_from = v->slice_start - v->slice_stall; /* a stall nearly always ends the slice */
	v->slice_count = v->score->count;
	v->slice_stall = 0;
}

/* Whether `v` waits for memory, and so leaves its core to the other thread. */
static bool waits_for_memory(const struct vcpu *v, uint64_t now)
{
	return model.idle_stalls && v->stalled_from <= now && now < v->slice_start;
}

/* Whether another thread of the core executes instructions. */
static bool sibling_executes(const struct vcpu *v)
{
	uint64_t now = v->slice_start;
	unsigned first = v->index - v->index % model.per_core;

	for (unsigned i = first; i < first + model.per_core && i < vcpu_count; i++)
		if (i != v->index && vcpus[i].state == RUNNABLE && !waits_for_memory(&vcpus[i], now))
			return true;
	return false;
}

/*
 * Fast mode is for what precedes the measured part of a run. Lines cost nothing, slices are a
 * thousand times as long, and a vCPU that spins lets the others run. It is repeatable bit for bit,
 * but CPUs interleave differently than in detail.
 */
static uint64_t quantum(void)
{
	return fast ? model.fast_quantum : model.quantum;
}

/* Let `v` run until it is a quantum ahead of the next vCPU, or a timer or sample is due. */
static void start_slice(struct vcpu *v)
{
	const struct vcpu *next = least_waiting(v);
	uint64_t until = v->next_sample, length;

	if (next && next->slice_start + quantum() < until)
		until = next->slice_start + quantum();
	if (main_loop.waits && main_loop.deadline < until)
		until = main_loop.deadline;
	length = until > v->slice_start ? until - v->slice_start : 1;
	v->sibling_runs = model.smt_extra && sibling_executes(v);
	if (v->sibling_runs)
		length = length * 1024 / (1024 + model.smt_extra) + 1;
	v->score->count = SLICE_END - length;
	v->slice_count = v->score->count;
	v->slice_stall = 0;
	v->slices++;
}

/* End the slice of `v` at its next block, without changing its virtual time. */
void end_slice(struct vcpu *v)
{
	if (v->score->count < SLICE_END) {
		v->slice_count += SLICE_END - v->score->count;
		v->score->count = SLICE_END;
	}
}

/* Called by `v` itself, lock held: sleep until it has the token, then begin a slice. */
static void wait_for_token(struct vcpu *v)
{
	grant_next();
	while (!granted[v->index] && !draining) {
		v->wake = 0;
		unlock();
		while (!__atomic_load_n(&v->wake, __ATOMIC_ACQUIRE))
			futex_wait(&v->wake, NULL);
		pthread_mutex_lock(&lock);
	}
	if (granted[v->index])
		start_slice(v);
}

/* Record how far `v` is ahead. Waiting for a line of another vCPU does not count. */
static void note_skew(const struct vcpu *v)
{
	const struct vcpu *least = least_waiting(v);
	uint64_t own = now_of(v) - v->slice_stall;

	if (least && granted[v->index] && own > least->slice_start &&
	    own - least->slice_start > ahead_most)
		ahead_most = own - least->slice_start;
}

/* The least virtual time of those that run, `v` among them. */
static uint64_t earliest(const struct vcpu *v)
{
	const struct vcpu *least = least_waiting(v);

	return least && least->slice_start < v->slice_start ? least->slice_start : v->slice_start;
}

static uint64_t latest(void)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < vcpu_count; i++)
		if (vcpus[i].state == RUNNABLE && vcpus[i].slice_start > most)
			most = vcpus[i].slice_start;
	return most;
}

/* Callback of generated code: the counter has reached the end of the slice. */
void slice_over(unsigned int index, void *pc)
{
	struct vcpu *v = &vcpus[index];

	pthread_mutex_lock(&lock);
	v->score = score_of(index);
	set_state(v, RUNNABLE);
	if (!draining) {
		note_skew(v);
		settle(v);
		end_slice(v);
		profile_sample(v, (uint64_t)pc);
		if (sampling_due(v->slice_start))
			sampling_goes_on(earliest(v), latest());
		give_up_token(v);
		wait_for_token(v);
	}
	unlock();
}

/* The virtual time of the calling thread. */
static uint64_t now_here(void)
{
	if (this_vcpu >= 0 && vcpus[this_vcpu].score)
		return now_of(&vcpus[this_vcpu]);
	return main_loop.now;
}

static void end_own_slice(void)
{
	if (this_vcpu >= 0 && granted[this_vcpu])
		end_slice(&vcpus[this_vcpu]);
}

/*
 * What `v` was spinning for happened at `when`. It notices at the end of its turn of the loop, so
 * whole turns are added. Lock held, or called by the only vCPU that runs.
 */
static void bring_back_locked(struct vcpu *v, uint64_t when)
{
	uint64_t turns;

	if (v->state != SPINNING)
		return;
	set_state(v, RUNNABLE);
	if (when > v->slice_start) {
		turns = (when - v->slice_start + v->spin.period - 1) / v->spin.period;
		v->slice_start += turns * v->spin.period;
		v->skipped += turns;
		profile_wait(v, turns * v->spin.period);
		profile_sample(v, v->spin.pc);
	}
	for (unsigned i = 0; i < v->spin.lines; i++)
		watch(v->spin.line[i], -1);
}

void schedule_lock(void)
{
	pthread_mutex_lock(&lock);
}

void schedule_unlock(void)
{
	unlock();
}

/*
 * Called by `v` itself, lock held: give up the token and wait in `state`, if that is RUNNABLE until
 * the virtual time `until` at least. Return when it has the token again, or false without it if
 * QEMU wants it to leave its block.
 */
bool let_others_run(struct vcpu *v, enum state state, uint64_t until)
{
	if (draining)
		return false;
	settle(v);
	end_slice(v);
	if (state == RUNNABLE && v->slice_start < until)
		v->slice_start = until;
	set_state(v, state);
	give_up_token(v);
	wait_for_token(v);
	return granted[v->index];
}

/* `v` was QUEUED, and is runnable from `when` on. Lock held. */
void goes_on(struct vcpu *v, uint64_t when)
{
	if (v->state != QUEUED)
		return;
	if (v->slice_start < when)
		v->slice_start = when;
	set_state(v, RUNNABLE);
	end_own_slice();
	grant_next();
}

/* Let the others run until they are `ticks` ahead of `v`. */
void step_back(struct vcpu *v, uint64_t ticks)
{
	pthread_mutex_lock(&lock);
	let_others_run(v, RUNNABLE, now_of(v) + ticks);
	unlock();
}

/*
 * `v` spins in fast mode: let the others do what it waits for. Where the load is sampled, nearly all
 * of them wait for one lock, and long steps would leave time for nothing but timer interrupts.
 */
void spin_fast(struct vcpu *v)
{
	step_back(v, warms ? model.fast_quantum / 32 : model.fast_quantum);
}

/* Called by `v` itself, which spins: it is skipped until bring_back(). */
void leave_out(struct vcpu *v)
{
	pthread_mutex_lock(&lock);
	if (!draining) {
		v->parks++;
		let_others_run(v, SPINNING, 0);
		if (v->state == SPINNING) /* drained: it was not brought back */
			bring_back_locked(v, 0);
	}
	unlock();
}

/* Lines are followed no longer: nobody would be told that one has been written. Lock held. */
void end_waits(void)
{
	uint64_t now = latest();

	for (unsigned i = 0; i < vcpu_count; i++)
		bring_back_locked(&vcpus[i], now);
}

void bring_back(struct vcpu *v, uint64_t when)
{
	pthread_mutex_lock(&lock);
	bring_back_locked(v, when);
	end_own_slice();
	grant_next();
	unlock();
}

/* --- QEMU's callbacks --- */

void vcpu_started(qemu_plugin_id_t id, unsigned int index)
{
	(void)id;
	this_vcpu = index;
}

void vcpu_idles(qemu_plugin_id_t id, unsigned int index)
{
	(void)id;
	this_vcpu = index;
	about_to_sleep = true;
}

bool vcpu_about_to_sleep(void)
{
	return this_vcpu >= 0 && about_to_sleep;
}

/* The vCPU of this thread is about to wait on its halt condition (QEMU's big lock held). */
void vcpu_sleeps(void *cond)
{
	struct vcpu *v = &vcpus[this_vcpu];

	pthread_mutex_lock(&lock);
	v->score = score_of(this_vcpu);
	v->halt_cond = cond;
	settle(v);
	end_slice(v);
	set_state(v, HALTED);
	give_up_token(v);
	grant_next();
	unlock();
}

void vcpu_resumes(qemu_plugin_id_t id, unsigned int index)
{
	struct vcpu *v = &vcpus[index];

	(void)id;
	about_to_sleep = false;
	pthread_mutex_lock(&lock);
	v->score = score_of(index);
	if (v->state == HALTED) {
		set_state(v, WAKING);
		grant_next();
	}
	unlock();
}

/* A thread signals `cond`: if that is a vCPU's halt condition, this is an interrupt. */
void kicked(void *cond)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < vcpu_count; i++) {
		struct vcpu *v = &vcpus[i];

		if (v->halt_cond != cond)
			continue;
		if (v->state == HALTED) {
			uint64_t when = now_here();

			set_state(v, WAKING);
			if (v->slice_start < when)
				v->slice_start = when;
			profile_skip(v); /* sleep is not CPU time */
		} else {
			bring_back_locked(v, now_here());
		}
		end_own_slice();
		grant_next();
		break;
	}
	unlock();
}

/* --- the main loop --- */

/* It is about to sleep until `deadline_ns` (of the virtual clock; NEVER: no timer). */
void main_loop_waits(uint64_t deadline_ns)
{
	pthread_mutex_lock(&lock);
	started = true;
	main_loop.deadline = deadline_ns == NEVER ? NEVER : ns_to_ticks(deadline_ns);
	if (!main_loop.waits)
		running -= running > 0;
	main_loop.waits = true;
	main_loop.granted = false;
	main_loop.wake = 0;
	grant_next();
	unlock();
}

/* Wait for its turn, `timeout_ms` of real time at most. */
bool main_loop_granted(uint64_t timeout_ms)
{
	const struct timespec timeout = { .tv_nsec = timeout_ms * 1000000 };

	if (!__atomic_load_n(&main_loop.wake, __ATOMIC_ACQUIRE))
		futex_wait(&main_loop.wake, &timeout);
	return __atomic_load_n(&main_loop.wake, __ATOMIC_ACQUIRE);
}

void main_loop_resumes(void)
{
	pthread_mutex_lock(&lock);
	if (!main_loop.granted) /* drained: its deadline has not come */
		running++;
	else if (main_loop.deadline != NEVER && main_loop.now < main_loop.deadline)
		main_loop.now = main_loop.deadline;
	main_loop.waits = main_loop.granted = false;
	unlock();
}

/* A vCPU has work for the main loop (such as a new timer), or there is input from outside. */
void main_loop_notified(void)
{
	uint64_t when;

	pthread_mutex_lock(&lock);
	/* From outside: at once, in no virtual time, so that the guest does not see when. */
	when = now_here();
	if (main_loop.waits && !main_loop.granted && when < main_loop.deadline) {
		main_loop.deadline = when;
		end_own_slice();
		grant_next();
	}
	unlock();
}

/* --- waits inside QEMU --- */

/* Whether the calling thread holds the token. */
bool this_thread_runs(void)
{
	if (this_vcpu >= 0)
		return granted[this_vcpu];
	return started && in_main_thread() && !main_loop.waits;
}

/*
 * The holder of the token waits until other vCPUs have left their blocks (exclusive sections,
 * stopping the machine). Those that wait for the token continue to the end of their block.
 */
void others_may_finish(bool may)
{
	pthread_mutex_lock(&lock);
	draining += may ? 1 : -1;
	drains += may;
	if (may) {
		for (unsigned i = 0; i < vcpu_count; i++)
			futex_wake(&vcpus[i].wake);
		if (!in_main_thread())
			futex_wake(&main_loop.wake);
	}
	unlock();
}

/* Virtual ns of the calling thread: a vCPU's own time, for other threads the main loop's. */
uint64_t clock_of_this_thread(void)
{
	uint64_t ns = ticks_to_ns(now_here()), last;

	/* Timers use the main loop's time, even if some vCPU is already a quantum ahead. */
	if (this_vcpu < 0)
		return ns;
	last = __atomic_load_n(&last_clock_ns, __ATOMIC_RELAXED);
	while (ns > last && !__atomic_compare_exchange_n(&last_clock_ns, &last, ns, false,
							 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	return ns > last ? ns : last;
}

void schedule_init(void)
{
	running = 1; /* the main thread holds a token until its first poll */
	for (unsigned i = 0; i < vcpu_count; i++) {
		vcpus[i].index = i;
		/*
		 * None runs until all have slept once: the threads start in the host's order, and
		 * each may make QEMU move the scores.
		 */
		set_state(&vcpus[i], WAKING);
		vcpus[i].core = i / model.per_core;
		/* spread, so that they are not all sampled at the same time */
		vcpus[i].next_sample = model.sample + i * (model.sample / 64 + 1);
		vcpus[i].spin.period = 1;
	}
	fast = model.fast_boot || model.detail_after || model.prepare_gap;
	engaged = true;
}
