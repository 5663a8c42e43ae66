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
#define COMPLEX_BITS 18        /* lines per core complex, as a power of 2: 16 MiB of L3 */
/*
 * Only the kernel's memory is followed: a user address means another page in each process, and
 * the fixmap at the very top holds device registers, one address for all CPUs.
 */
#define FIXMAP UINT64_C(0xffffffffff000000)

struct copy {
	uint64_t tag, version;
};

static struct line *directory;
static struct copy *caches;
static struct copy *complexes; /* what the caches of a complex have between them; NULL: not kept */
static uint64_t versions;

/* The line of an address. One variable may be asked to have a line of its own, for ablations. */
static inline uint64_t tag_of(uint64_t address)
{
	return address == model.apart ? UINT64_MAX >> 6 : address >> 6;
}

static inline uint64_t hash(uint64_t tag)
{
	return tag * UINT64_C(0x9e3779b97f4a7c15);
}

static inline struct line *slot_of(uint64_t tag)
{
	return &directory[hash(tag) >> 44];
}

static inline struct copy *copy_of(const struct vcpu *v, uint64_t tag)
{
	return &caches[(uint64_t)v->core * CACHE + (tag & (CACHE - 1))];
}

static inline struct copy *copy_in_complex(const struct vcpu *v, uint64_t tag)
{
	uint64_t complex = v->index / model.per_ccx;

	return &complexes[(complex << COMPLEX_BITS) + (hash(tag) >> (64 - COMPLEX_BITS))];
}

/* Some core of the complex has the line as it is now. */
static bool has_a_neighbour(const struct vcpu *v, const struct line *line)
{
	const struct copy *copy;

	if (!complexes)
		return false;
	copy = copy_in_complex(v, line->tag);
	return copy->tag == line->tag && copy->version == line->version;
}

static void note_copy(const struct vcpu *v, const struct line *line)
{
	const struct copy copy = { line->tag, line->version };

	*copy_of(v, line->tag) = copy;
	if (complexes)
		*copy_in_complex(v, line->tag) = copy;
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

/* To read the line: from its owner, or from a neighbour that has read it already. */
static uint64_t read_cost(const struct vcpu *v, const struct line *line)
{
	uint64_t cost = transfer_cost(v, line->owner);

	if (cost > model.transfer_ccx && has_a_neighbour(v, line))
		return model.transfer_ccx + perturbation();
	return cost;
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
		stall(v, read_cost(v, line));
		if (vcpus[line->owner].core != v->core)
			line->reader = v->index;
		v->misses++;
		if (v->score->count >= SLICE_END)
			profile_sample(v, (uint64_t)pc);
	}
	note_copy(v, line);
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
		note_copy(v, line);
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
	if (line->owner == NOBODY || line->owner / model.per_ccx != v->index / model.per_ccx)
		line->arrived = now;
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
 * Without that, whoever frees a test-and-set lock and takes it again would always win. Then wait
 * for the line, if others want it as well.
 */
void before_atomic(unsigned int vcpu, void *userdata)
{
	const struct operand *operand = userdata;
	struct vcpu *v = &vcpus[vcpu];
	struct line *line;
	uint64_t address;

	if (!v->score)
		return;
	leave_line(v); /* of an atomic before this one, which ended in a fault */
	if (model.store_buffer && v->stores_done > now_of(v)) {
		stall_until(v, v->stores_done);
		if (v->score->count >= SLICE_END)
			slice_over(vcpu, (void *)operand->pc);
	}
	if (!model.nearest_first || !operand->known)
		return;
	address = address_of(v, operand);
	if (elsewhere(address))
		return;
	line = line_of(tag_of(address));
	if (line) {
		wait_for_line(v, line);
		profile_sample(v, operand->pc);
	}
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
	leave_line(v);
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

/* NULL: not in the directory, since nobody has used it lately. */
struct line *line_of(uint64_t tag)
{
	struct line *line = slot_of(tag);

	return line->tag == tag ? line : NULL;
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
	if (model.near_copies && model.per_ccx > model.per_core)
		complexes = calloc((size_t)(vcpu_count / model.per_ccx + 1) << COMPLEX_BITS,
				   sizeof(*complexes));
}
