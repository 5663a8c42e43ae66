/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cost of a memory access beyond its instruction: nothing if the core has the line, otherwise a
 * transfer from the core that wrote it last.
 *
 * A directory records who wrote each line last and when; a small table per core represents its
 * private caches, and records which version of which lines it has seen. Although vCPUs are up to a
 * quantum apart, cause comes before effect: a vCPU that reads a line waits until it was written. So
 * a lock is handed over at the right time, whatever the quantum.
 *
 * Loads and atomics wait for the transfer. A plain store does not: it goes to the store buffer and
 * becomes visible after the transfer, and the next atomic waits for it, as on x86 (AMD64
 * Architecture Programmer's Manual, volume 2, 7.1 and 7.5).
 *
 * A machine model may also define the cost of a miss in the core's second-level cache: an access to
 * the third level of its complex or to memory, and a walk of the page tables. Loads and atomics
 * pay it; stores do not, since the store buffer hides them.
 *
 * Not modelled: instruction fetch, bandwidth, the first-level cache.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#define DIRECTORY (1u << 20)   /* lines tracked at a time */
/*
 * The vmalloc area has small pages, the rest of the kernel's memory large ones. Its addresses with
 * four levels of page tables and without randomisation.
 */
#define VMALLOC_START UINT64_C(0xffffc90000000000)
#define VMALLOC_END UINT64_C(0xffffe90000000000)
/*
 * Only the kernel's memory is tracked: a user address is another page in each process, and the
 * fixmap at the top holds device registers, at one address for all CPUs.
 */
#define FIXMAP UINT64_C(0xffffffffff000000)

struct copy {
	uint64_t tag, version;
};

static struct line *directory;
static struct copy *caches;    /* the most recently used of each set comes first */
static struct copy *complexes; /* the third level, likewise; NULL: not modelled */
static uint64_t *walked;       /* pages that each core has translations of; NULL: not modelled */
static uint64_t core_sets, complex_sets;
static uint64_t versions;

/* The line of an address. For ablations, one variable may have a line of its own. */
static inline uint64_t tag_of(uint64_t address)
{
	return address == model.apart ? UINT64_MAX >> 6 : address >> 6;
}

static inline uint64_t hash(uint64_t tag)
{
	return hash_of(&tag, 1);
}

/* One of `slots`, which need not be a power of two. */
static inline uint64_t slot_among(uint64_t tag, uint64_t slots)
{
	return (hash(tag) >> 32) * slots >> 32;
}

static inline struct line *slot_of(uint64_t tag)
{
	return &directory[hash(tag) >> 44];
}

/* The copy of the line in a set, moved to its front; NULL if there is none. */
static inline struct copy *find_copy(struct copy *set, unsigned ways, uint64_t tag)
{
	struct copy found;

	if (set->tag == tag)
		return set;
	for (unsigned i = 1; i < ways; i++)
		if (set[i].tag == tag) {
			found = set[i];
			memmove(set + 1, set, i * sizeof(*set));
			*set = found;
			return set;
		}
	return NULL;
}

/* Put the line into a set; it replaces its older version or the least recently used copy. */
static inline void keep_copy(struct copy *set, unsigned ways, const struct line *line)
{
	if (!find_copy(set, ways, line->tag))
		memmove(set + 1, set, (ways - 1) * sizeof(*set));
	*set = (struct copy){ line->tag, line->version };
}

static inline struct copy *set_in_core(const struct vcpu *v, uint64_t tag)
{
	return &caches[v->core * model.l2_lines + (tag & (core_sets - 1)) * model.l2_ways];
}

static inline struct copy *copy_of(const struct vcpu *v, uint64_t tag)
{
	return find_copy(set_in_core(v, tag), model.l2_ways, tag);
}

static inline struct copy *set_in_complex(const struct vcpu *v, uint64_t tag)
{
	uint64_t complex = v->index / model.per_ccx;

	return &complexes[complex * model.l3_lines + slot_among(tag, complex_sets) * model.l3_ways];
}

static inline struct copy *copy_in_complex(const struct vcpu *v, uint64_t tag)
{
	return find_copy(set_in_complex(v, tag), model.l3_ways, tag);
}

/* Whether some core of the complex has the current version of the line. */
static bool has_a_neighbour(const struct vcpu *v, const struct line *line)
{
	const struct copy *copy;

	if (!complexes || !model.near_copies)
		return false;
	copy = copy_in_complex(v, line->tag);
	return copy && copy->version == line->version;
}

static void note_copy(const struct vcpu *v, const struct line *line)
{
	keep_copy(set_in_core(v, line->tag), model.l2_ways, line);
	if (complexes)
		keep_copy(set_in_complex(v, line->tag), model.l3_ways, line);
}

/*
 * Up to three more cycles, from a seeded generator. One simulated run is one sample of many
 * possible interleavings. Slightly different latencies give others, so that repeats with other
 * seeds show how much a result depends on chance (Alameldeen and Wood, Variability in Architectural
 * Simulations of Multi-threaded Workloads, HPCA 2003).
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

/* Ticks of a transfer from the core of vCPU `other`, by its distance. */
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

/* Ticks of reading the line from its owner, or from a neighbour that has already read it. */
static uint64_t read_cost(const struct vcpu *v, const struct line *line)
{
	uint64_t cost = transfer_cost(v, line->owner);

	if (cost > model.transfer_ccx && has_a_neighbour(v, line))
		return model.transfer_ccx + perturbation();
	return cost;
}

/* Whether the core has to walk the page tables for an address whose line it does not have. */
static bool walks(const struct vcpu *v, uint64_t address)
{
	bool small = address >= VMALLOC_START && address < VMALLOC_END;
	uint64_t page = small ? address >> 12 : (address >> 21) | UINT64_C(1) << 63, *slot;

	slot = &walked[v->core * model.tlb_entries + slot_among(page, model.tlb_entries)];
	if (*slot == page)
		return false;
	*slot = page;
	return true;
}

/* Ticks of getting a line that no other core wrote from the third level or from memory. */
static uint64_t memory_cost(const struct vcpu *v, uint64_t tag, uint64_t address)
{
	uint64_t cost;

	cost = copy_in_complex(v, tag) ? model.l3 : model.memory;
	return walks(v, address) ? cost + model.walk : cost;
}

/* Enter the line into the directory; vCPUs that watch the one that it replaces are resumed. */
static void enter(struct line *line, uint64_t tag, uint64_t now)
{
	uint64_t old = line->tag;
	bool watched = line->watchers;

	*line = (struct line){ .tag = tag, .version = ++versions, .owner = NOBODY,
			       .reader = NOBODY };
	if (watched)
		line_written(old, now);
}

/* Whether the address is not tracked. */
static inline bool elsewhere(uint64_t address)
{
	return address < model.follow_from || address >= FIXMAP;
}

static inline bool follow(const struct line *line, uint64_t tag)
{
	return model.full_coherence || (line->tag == tag && line->contended);
}

/*
 * Between windows of detail lines are followed without their times, or a core would later find
 * what others have written since (functional warming; see sampling.c).
 */
static void follow_load(const struct vcpu *v, uint64_t address)
{
	uint64_t tag = tag_of(address);
	struct line *line = slot_of(tag);
	const struct copy *copy = copy_of(v, tag);

	if ((line->tag == tag && copy && copy->version == line->version) || elsewhere(address))
		return;
	if (line->tag != tag)
		enter(line, tag, 0);
	if (line->owner != NOBODY && vcpus[line->owner].core != v->core)
		line->reader = v->index;
	note_copy(v, line);
}

static void follow_store(const struct vcpu *v, uint64_t address)
{
	uint64_t tag = tag_of(address);
	struct line *line = slot_of(tag);

	if (elsewhere(address))
		return;
	if (line->tag != tag)
		enter(line, tag, 0);
	if (line->owner == v->index && line->reader == NOBODY && copy_of(v, tag))
		return;
	line->owner = v->index;
	line->reader = NOBODY;
	line->version = ++versions;
	note_copy(v, line);
}

void on_load(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	struct vcpu *v = &vcpus[vcpu];
	uint64_t tag = tag_of(address);
	struct line *line = slot_of(tag);
	const struct copy *copy;

	if (fast) {
		if (warms)
			follow_load(v, address);
		return;
	}
	copy = copy_of(v, tag);
	if (v->spin.armed)
		note_load(v, info, address, line->tag == tag ? line->version : 0);
	if (line->tag == tag && copy && copy->version == line->version)
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
	} else if (model.memory && !copy) {
		stall(v, memory_cost(v, tag, address));
		if (v->score->count >= SLICE_END)
			profile_sample(v, (uint64_t)pc);
	}
	note_copy(v, line);
}

/* Make `v` the owner of the line, for a store or an atomic, and charge it for that. */
static void take_line(struct vcpu *v, uint64_t address, bool atomic, uint64_t pc)
{
	uint64_t tag = tag_of(address), now = now_of(v), cost = 0;
	struct line *line = slot_of(tag);

	if (line->tag != tag)
		enter(line, tag, now);
	line->contended |= atomic;
	if (model.memory && line->reader == NOBODY &&
	    (line->owner == NOBODY || line->owner == v->index) && !copy_of(v, tag)) {
		if (atomic)
			cost = memory_cost(v, tag, address);
		line->version = ++versions;
		note_copy(v, line);
	} else if (line->owner != v->index || line->reader != NOBODY) {
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
	if (warms && fast)
		follow_store(v, address);
	if (fast || !v->score || elsewhere(address) || !follow(slot_of(tag), tag))
		return;
	take_line(v, address, false, (uint64_t)pc);
}

/*
 * Before an atomic: wait for the store buffer, and let vCPUs run first that are now earlier.
 * Without that, the vCPU that frees a test-and-set lock and takes it again would always win. Then
 * wait for the line, if others want it as well.
 */
void before_atomic(unsigned int vcpu, void *userdata)
{
	const struct operand *operand = userdata;
	struct vcpu *v = &vcpus[vcpu];
	struct line *line;
	uint64_t address;

	if (fast || !v->score)
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
	if (warms && fast)
		follow_store(v, address);
	if (!fast && v->score && !elsewhere(address))
		take_line(v, address, true, (uint64_t)pc);
	leave_line(v);
}

/* The line's entry in the directory; NULL if it has none. */
struct line *line_of(uint64_t tag)
{
	struct line *line = slot_of(tag);

	return line->tag == tag ? line : NULL;
}

/* The line's version; 0 if it is not in the directory. */
uint64_t version_of(uint64_t tag)
{
	const struct line *line = slot_of(tag);

	return line->tag == tag ? line->version : 0;
}

/* Change the number of skipped vCPUs that watch the line. */
void watch(uint64_t tag, int change)
{
	struct line *line = slot_of(tag);

	if (line->tag == tag)
		line->watchers += change;
}

void coherence_init(void)
{
	directory = calloc(DIRECTORY, sizeof(*directory));
	core_sets = model.l2_lines / model.l2_ways;
	complex_sets = model.l3_lines / model.l3_ways;
	caches = calloc(MAX_VCPUS * model.l2_lines, sizeof(*caches));
	if (!directory || !caches)
		abort();
	if (model.memory || (model.near_copies && model.per_ccx > model.per_core)) {
		complexes = calloc((vcpu_count / model.per_ccx + 1) * model.l3_lines,
				   sizeof(*complexes));
		if (!complexes)
			abort();
	}
	if (model.memory) {
		walked = calloc(MAX_VCPUS * model.tlb_entries, sizeof(*walked));
		if (!walked)
			abort();
	}
}
