/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A many-core machine in virtual time on top of QEMU's multi-threaded TCG.
 *
 * Every vCPU counts the cost of what it executes. A single run token is passed around: its holder
 * is always the actor with the least virtual time (ties: the lower index), so the order in which
 * vCPUs access shared state is that of a parallel machine, and the same in every run. Actors are
 * the vCPUs and QEMU's main loop, whose next event is its nearest timer. Since the clock that QEMU
 * reads is virtual as well, an idle machine costs no host time.
 *
 *   schedule.c   who runs: the token, virtual time, slices
 *   interpose.c  what QEMU sees of the host: clock, poll, condition variables (LD_PRELOAD)
 *   coherence.c  what a memory access costs: which core has the line, how far away it is
 *   arbitration.c  which of several waiting atomics gets a line next
 *   spin.c       skips PAUSE loops that cannot end until their input changes
 *   profile.c    where the virtual time went
 *   sampling.c   windows of detail in a load that is too long for it, where that is asked for
 *   locks.c      who waits for a lock and who holds it, where that is asked for
 *   stacks.c     who called what is running, likewise
 *   decode.c     the little that must be known of x86 instructions
 *   guest.c      the guest's registers and memory
 *   model.c      the options: the machine that is simulated
 *   score.c      the counters of generated code
 *   plugin.c     instrumentation; calls the others and is called by none of them
 *
 * Time is counted in ticks of 1/1024 cycle of the simulated clock: fine enough for costs below a
 * cycle, and 64 bits of them last for an hour and more after conversion to ns.
 */
#ifndef SIM_H
#define SIM_H

#include <stdio.h>

#include "decode.h"
#include "qemu_plugin_api.h"

#define MAX_VCPUS 512
#define TICKS_PER_CYCLE 1024
#define NEVER UINT64_MAX
#define MAX_WATCHED 4 /* lines that one spin loop may read */
#define MAX_COUNTED 8
#define MAX_SITES 32
#define MAX_LOCKS 16 /* functions that take one */
#define KERNEL_HALF UINT64_C(0xffff800000000000)
#define REGISTERS 18  /* 16 general, rip, eflags */

/* The slice of a vCPU ends at the first block that finds its counter at or past this value. */
#define SLICE_END (UINT64_C(1) << 62)

enum state {
	HALTED,   /* sleeps on QEMU's halt condition and is not scheduled */
	WAKING,   /* was kicked; its thread has not reached its first block yet */
	RUNNABLE, /* holds the token or waits for it */
	SPINNING, /* skipped until a watched line is written or an interrupt arrives */
	QUEUED,   /* its next instruction is an atomic on a line that others get first */
};

/* Written by generated code: must stay plain 64-bit fields. */
struct score {
	uint64_t count;  /* ticks; see SLICE_END */
	uint64_t opaque; /* set by blocks that may not repeat identically; see spin.c */
};

struct spin {
	uint64_t pc;         /* of the last PAUSE */
	uint64_t paused_at;  /* virtual time of the last PAUSE */
	uint64_t period;     /* ticks of one turn (iteration) of the loop */
	unsigned turns;      /* equal turns so far */
	unsigned tries;      /* turns that looked equal, but whose registers differed */
	bool armed;          /* the loads since the last PAUSE are being recorded */
	bool changed;        /* a store or something unknown: this turn differs from the last */
	unsigned lines;
	uint64_t line[MAX_WATCHED];
	uint64_t version[MAX_WATCHED];
	bool have_registers;
	uint64_t registers[REGISTERS];
	uint64_t caller[3]; /* return addresses found on the stack when it was skipped */
};

struct vcpu {
	struct score *score; /* QEMU may move it when it adds vCPUs: valid for a running vCPU */
	enum state state;
	unsigned index, core;
	/* virtual time = slice_start + progress of the counter, more if the sibling runs */
	uint64_t slice_start, slice_count, slice_stall;
	uint64_t stalled_from; /* it waited for memory from then until slice_start */
	bool sibling_runs;
	uint64_t stores_done; /* when the last store in the store buffer becomes visible */
	uint64_t next_sample;
	struct spin spin;
	struct {
		uint64_t pc, end, left;
	} string; /* the repeated string instruction that it was charged for last */
	uint64_t wants;    /* tag of the line that its atomic waits for or is given; 0: none */
	uint64_t asked_at; /* virtual time of that request */
	void *halt_cond; /* QEMU's CPUState::halt_cond; known once the vCPU has slept on it */
	int wake;        /* futex word */
	uint64_t misses, atomics, parks, skipped, slices, queued;
	GArray *register_list;
} __attribute__((aligned(64)));

struct model {
	uint64_t clock_mhz;
	/* ticks */
	uint64_t instruction, pause, atomic, rep_byte;
	uint64_t smt_extra; /* extra cost of a vCPU while its sibling runs, in 1/1024 */
	uint64_t transfer_smt, transfer_ccx, transfer_die, transfer_package;
	uint64_t l3, memory, walk; /* memory 0: caches of unlimited size */
	uint64_t l2_lines, l3_lines, tlb_entries; /* of a core, of a complex, of a core */
	unsigned l2_ways, l3_ways;
	/* vCPUs in one core, one core complex, one die */
	unsigned per_core, per_ccx, per_die;
	uint64_t quantum, fast_quantum, sample;
	/*
	 * Until the first mark (fast_boot), or until the first counted instruction has been
	 * executed that many times (detail_after), memory accesses cost no time: see schedule.c.
	 */
	bool fast_boot;
	uint64_t detail_after;
	uint64_t seed; /* 0: no perturbation */
	uint64_t follow_from; /* lowest address whose lines are tracked */
	bool full_coherence, lock_coherence, skip_spins, store_buffer, charge_strings;
	bool nearest_first, near_copies, idle_stalls;
	uint64_t apart;                /* address of a variable with a line of its own; 0: none */
	uint64_t window;               /* 0: no windows */
	/* see sampling.c; prepare_gap 0: the whole load is in detail */
	uint64_t prepare_gap, gap; /* calls */
	uint64_t warm;
	struct {
		uint64_t offset; /* of a call in the module's text */
		bool prepares;
	} site[MAX_SITES];
	unsigned sites;
	uint64_t marks;                /* of the guest that are written out; any more are not */
	uint64_t count[MAX_COUNTED];   /* addresses of instructions to count */
	unsigned counted;
	uint64_t lock[MAX_LOCKS];      /* addresses of functions that take a spin lock */
	unsigned locks;
	const char *out; /* folder for profiles and counts */
};

#define NOBODY UINT16_MAX

struct line {
	uint64_t tag;        /* address / 64 */
	uint64_t version;    /* changes when other cores must fetch the line again */
	uint64_t written_at; /* virtual time at which the last store is visible */
	uint64_t arrived;    /* virtual time at which its owner's complex got it */
	uint16_t owner;      /* vCPU that wrote it last */
	uint16_t reader;     /* vCPU of another core that read it since */
	uint16_t watchers;   /* skipped vCPUs to resume when it is written */
	bool contended;      /* an atomic or a spin loop uses it: tracked in any case */
	bool wanted;         /* some vCPU waits to use it in an atomic */
};

extern struct model model;
extern struct vcpu vcpus[MAX_VCPUS];
extern unsigned vcpu_count;
extern bool engaged;
extern bool fast; /* no detail yet: see fast_boot */
extern bool warms; /* fast, but who has which line is followed: see sampling.c */
extern uint64_t ahead_most; /* ticks that a vCPU was ahead of one that waited, at most */
extern uint64_t drains; /* times that a holder had to wait for the others */

/* --- virtual time --- */

/* The virtual time of a vCPU, in ticks. */
static inline uint64_t now_of(const struct vcpu *v)
{
	uint64_t progress = v->score->count - v->slice_count;

	if (v->sibling_runs)
		progress += ((progress - v->slice_stall) * model.smt_extra) >> 10;
	return v->slice_start + progress;
}

/* Let `v` wait for memory for so many ticks; a running sibling does not make that longer. */
static inline void stall(struct vcpu *v, uint64_t ticks)
{
	v->score->count += ticks;
	v->slice_stall += ticks;
}

/* Let `v` wait until this virtual time, unless it has passed. */
static inline void stall_until(struct vcpu *v, uint64_t when)
{
	uint64_t now = now_of(v);

	if (when > now)
		stall(v, when - now);
}

static inline uint64_t ticks_to_ns(uint64_t ticks)
{
	return (unsigned __int128)ticks * 1000 / (TICKS_PER_CYCLE * model.clock_mhz);
}

/* Rounded up, so that a timer that is due does not look early. */
static inline uint64_t ns_to_ticks(uint64_t ns)
{
	return ((unsigned __int128)ns * TICKS_PER_CYCLE * model.clock_mhz + 999) / 1000;
}

/* Multiplicative hash of some words: the high bits are well mixed. */
static inline uint64_t hash_of(const uint64_t *words, unsigned count)
{
	uint64_t hash = 0;

	for (unsigned i = 0; i < count; i++)
		hash = (hash ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
	return hash;
}

/* The kernel's image and its modules. */
static inline bool is_kernel_text(uint64_t address)
{
	return address >= UINT64_C(0xffffffff81000000) && address < UINT64_C(0xffffffffff000000);
}

/* --- guest.c --- */
uint64_t register_at(struct vcpu *v, int place);
uint64_t address_of(struct vcpu *v, const struct operand *operand);
const uint8_t *read_guest(uint64_t address, size_t length, GByteArray **buffer);
uint64_t word_at(uint64_t address);

/* --- model.c --- */
bool set_option(const char *argument);

/* --- score.c --- */
extern qemu_plugin_u64 count_entry, opaque_entry;
void score_init(void);
struct score *score_of(unsigned int vcpu);

/* --- schedule.c --- */
void schedule_init(void);
void slice_over(unsigned int vcpu, void *pc);
void vcpu_started(qemu_plugin_id_t id, unsigned int vcpu);
void vcpu_idles(qemu_plugin_id_t id, unsigned int vcpu);
void vcpu_resumes(qemu_plugin_id_t id, unsigned int vcpu);
void vcpu_sleeps(void *cond);
bool vcpu_about_to_sleep(void);
void kicked(void *cond);
void main_loop_waits(uint64_t deadline_ns);
bool main_loop_granted(uint64_t timeout_ms);
void main_loop_resumes(void);
void main_loop_notified(void);
bool this_thread_runs(void);
void others_may_finish(bool may);
uint64_t clock_of_this_thread(void);
void leave_out(struct vcpu *v);
void schedule_lock(void);
void schedule_unlock(void);
bool let_others_run(struct vcpu *v, enum state state, uint64_t until);
void goes_on(struct vcpu *v, uint64_t when);
void bring_back(struct vcpu *v, uint64_t when);
void end_slice(struct vcpu *v);
void spin_fast(struct vcpu *v);
void step_back(struct vcpu *v, uint64_t ticks);
void end_waits(void);

/* --- interpose.c --- */
void trap_time_stamps(void);
void use_small_pages(void);

/* --- coherence.c --- */
void coherence_init(void);
void on_load(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc);
void on_store(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc);
void on_atomic(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc);
void before_atomic(unsigned int vcpu, void *operand);
struct line *line_of(uint64_t tag);
uint64_t version_of(uint64_t line);
void watch(uint64_t line, int change);

/* --- string.c --- */
void on_string(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc);
void before_string(unsigned int vcpu, void *operand);

/* --- arbitration.c --- */
void wait_for_line(struct vcpu *v, struct line *line);
void leave_line(struct vcpu *v);

/* --- spin.c --- */
void on_pause(unsigned int vcpu, void *pc);
void line_written(uint64_t line, uint64_t when);
void note_load(struct vcpu *v, qemu_plugin_meminfo_t info, uint64_t address, uint64_t version);

/* --- profile.c --- */
void profile_init(void);
void profile_sample(struct vcpu *v, uint64_t pc);
void profile_skip(struct vcpu *v);
void profile_wait(struct vcpu *v, uint64_t ticks);
void on_mark(unsigned int vcpu, void *pc);
void on_counted(unsigned int vcpu, void *which);
void profile_finish(void);
FILE *open_part(const char *kind, unsigned number);
void write_window(uint64_t now, void (*more)(FILE *));

/* --- sampling.c --- */
void sampling_init(void);
int site_at(uint64_t pc, const uint8_t *bytes, size_t length);
void on_site(unsigned int vcpu, void *which);
bool window_is_open(void);
bool sampling_due(uint64_t now);
void sampling_goes_on(uint64_t earliest, uint64_t latest);
void sampling_marks(void);

/* --- locks.c --- */
void locks_init(void);
void takes_lock(const uint8_t *bytes, size_t length, uint64_t pc);
bool is_lock_function(uint64_t pc);
bool returns_with_lock(uint64_t pc);
void on_lock_function(unsigned int vcpu, void *pc);
void on_lock_return(unsigned int vcpu, void *pc);
void on_byte_store(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc);
void write_locks(unsigned part);

/* --- stacks.c --- */
void stacks_init(void);
void stacks_skip(struct vcpu *v);
void slice_over_with_stack(unsigned int vcpu, void *pc);
void write_stacks(unsigned part);

#endif
