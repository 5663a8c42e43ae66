/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a memory access costs beyond its instruction: nothing when the core has the line, a
 * transfer from the core that wrote it last when not.
 *
 * A directory keeps for every line who wrote it last and when; a small table per core stands for
 * its private caches and remembers which version of which lines it has seen. The times also keep
 * cause before effect between vCPUs that are up to a quantum apart: whoever reads a line cannot
 * be earlier than its writing. That makes a lock hand over at the right time whatever the quantum.
 *
 * Loads and atomics wait for the transfer. A plain store does not: it goes to the store buffer,
 * becomes visible after the transfer and is waited for by the next atomic, as on x86 (AMD64
 * Architecture Programmer's Manual, volume 2, 7.1 and 7.5).
 *
 * Not modelled: capacity misses and DRAM, instruction fetch, page walks, bandwidth.
 */
#include "sim.h"

#include <stdlib.h>

#define DIRECTORY (1u << 20)   /* lines followed at a time */
#define CACHE (1u << 13)       /* lines per core: 512 KiB, the size of a Zen 2 core's L2 */
#define NOBODY UINT16_MAX
/*
 * Only the kernel's memory is followed: a user address means another page in each process, and
 * the fixmap at the very top holds device registers, one address for all CPUs.
 */
#define FIXMAP UINT64_C(0xffffffffff000000)

struct line {
	uint64_t tag;
	uint64_t version;    /* changes when a core must fetch the line anew */
	uint64_t written_at; /* virtual time at which the last store is visible */
	uint16_t owner;      /* vCPU that wrote it last */
	uint16_t reader;     /* vCPU of another core that read it since */
	uint16_t watchers;   /* spinning vCPUs to bring back when it is written */
	bool contended;      /* an atomic or a spin loop uses it: followed in any case */
};

struct copy {
	uint64_t tag, version;
};

static struct line *directory;
static struct copy *caches;
static uint64_t versions;

/* The line of an address. One variable may be asked to have a line of its own, for ablations. */
static inline uint64_t tag_of(uint64_t address)
{
	return address == model.apart ? UINT64_MAX >> 6 : address >> 6;
}

static inline struct line *slot_of(uint64_t tag)
{
	return &directory[(tag * UINT64_C(0x9e3779b97f4a7c15)) >> 44];
}

static inline struct copy *copy_of(const struct vcpu *v, uint64_t tag)
{
	return &caches[(uint64_t)v->core * CACHE + (tag & (CACHE - 1))];
}

/*
 * Up to three cycles more, from a generator that the seed starts. One simulated run is one sample
 * of many possible interleavings; slightly different latencies give others, so that repeats with
 * other seeds show how much a result depends on chance (Alameldeen and Wood, Variability in
 * Architectural Simulations of Multi-threaded Workloads, HPCA 2003).
 */
static uint64_t perturbation(void)
{
	static uint64_t state;

	if (!model.seed)
		return 0;
	if (!state)
		state = model.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 32) % (3 * TICKS_PER_CYCLE);
}

static uint64_t distance_cost(const struct vcpu *v, unsigned other)
{
	if (v->index / model.per_core == other / model.per_core)
		return model.transfer_smt;
	if (v->index / model.per_ccx == other / model.per_ccx)
		return model.transfer_ccx;
	if (v->index / model.per_die == other / model.per_die)
		return model.transfer_die;
	return model.transfer_package;
}

static uint64_t transfer_cost(const struct vcpu *v, unsigned other)
{
	uint64_t cost = distance_cost(v, other);

	return cost ? cost + perturbation() : 0;
}

/* Take the line into the directory; whoever watches the one it displaces must look again. */
static void enter(struct line *line, uint64_t tag, uint64_t now)
{
	uint64_t old = line->tag;
	bool watched = line->watchers;

	*line = (struct line){ .tag = tag, .version = ++versions, .owner = NOBODY,
			       .reader = NOBODY };
	if (watched)
		line_written(old, now);
}

static inline bool elsewhere(uint64_t address)
{
	return address < model.follow_from || address >= FIXMAP;
}

static inline bool follow(const struct line *line, uint64_t tag)
{
	return model.full_coherence || (line->tag == tag && line->contended);
}

void on_load(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];
	uint64_t tag = tag_of(address);
	struct line *line = slot_of(tag);
	struct copy *copy = copy_of(v, tag);

	if (v->spin.armed)
		note_load(v, info, address, line->tag == tag ? line->version : 0);
	if (line->tag == tag && copy->tag == tag && copy->version == line->version)
		return;
	if ((!follow(line, tag) && !v->spin.armed) || elsewhere(address) || !v->score)
		return;
	if (line->tag != tag)
		enter(line, tag, now_of(v));
	line->contended |= v->spin.armed;
	if (line->owner != NOBODY && line->owner != v->index) {
		stall_until(v, line->written_at);
		stall(v, transfer_cost(v, line->owner));
		if (vcpus[line->owner].core != v->core)
			line->reader = v->index;
		v->misses++;
		if (v->score->count >= SLICE_END)
			profile_sample(v, (uint64_t)pc);
	}
	*copy = (struct copy){ tag, line->version };
}

static void take_line(struct vcpu *v, uint64_t tag, bool atomic, uint64_t pc)
{
	struct line *line = slot_of(tag);
	uint64_t now = now_of(v), cost = 0;

	if (line->tag != tag)
		enter(line, tag, now);
	line->contended |= atomic;
	if (line->owner == v->index && line->reader == NOBODY) {
		cost = 0;
	} else {
		/* Either the data comes from its owner, or its readers must give it up. */
		if (line->owner != NOBODY && line->owner != v->index)
			cost = transfer_cost(v, line->owner);
		else if (line->reader != NOBODY)
			cost = transfer_cost(v, line->reader);
		line->version = ++versions;
		*copy_of(v, tag) = (struct copy){ tag, line->version };
		if (cost)
			v->misses++;
	}
	if (atomic || !model.store_buffer) {
		if (line->owner != v->index)
			stall_until(v, line->written_at);
		stall(v, cost);
		now = now_of(v);
	} else {
		now = now_of(v) + cost;
		if (now < line->written_at)
			now = line->written_at;
		if (now < v->stores_done) /* stores become visible in order */
			now = v->stores_done;
		v->stores_done = now;
	}
	line->owner = v->index;
	line->reader = NOBODY;
	line->written_at = now;
	if (line->watchers)
		line_written(tag, now);
	if (v->score->count >= SLICE_END && cost)
		profile_sample(v, pc);
}

void on_store(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];
	uint64_t tag = tag_of(address);

	(void)info;
	v->spin.changed = true;
	if (!v->score || elsewhere(address) || !follow(slot_of(tag), tag))
		return;
	take_line(v, tag, false, (uint64_t)pc);
}

/*
 * Before an atomic: wait for the store buffer, and let those run first who are now earlier.
 * Without that, whoever frees a test-and-set lock and takes it again would always win.
 */
void before_atomic(unsigned int vcpu, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];

	if (!v->score || v->stores_done <= now_of(v))
		return;
	stall_until(v, v->stores_done);
	if (v->score->count >= SLICE_END)
		slice_over(vcpu, pc);
}

/* Called for the load and for the store of an atomic: the line is taken by the first. */
void on_atomic(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];

	(void)info;
	v->spin.changed = true;
	v->atomics++;
	if (v->score && !elsewhere(address))
		take_line(v, tag_of(address), true, (uint64_t)pc);
}

/* REP MOVS, STOS ...: QEMU reports each element; hardware moves many bytes a cycle. */
void on_string(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];
	uint64_t size = UINT64_C(1) << qemu_plugin_mem_size_shift(info);

	if (v->score)
		v->score->count += size * model.rep_byte;
	if ((address & 63) < size || (address & 4095) < size)
		on_store(vcpu, info, address, pc);
}

uint64_t version_of(uint64_t tag)
{
	const struct line *line = slot_of(tag);

	return line->tag == tag ? line->version : 0;
}

void watch(uint64_t tag, int change)
{
	struct line *line = slot_of(tag);

	if (line->tag == tag)
		line->watchers += change;
}

void coherence_init(void)
{
	directory = calloc(DIRECTORY, sizeof(*directory));
	caches = calloc((size_t)MAX_VCPUS * CACHE, sizeof(*caches));
	if (!directory || !caches)
		abort();
}
