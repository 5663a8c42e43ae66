// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cases that lib/test_vmalloc.c lacks, with the same parameters and the same log format.
 *
 * Each loop of a case is an allocation and a free:
 *
 *   vmalloc_test      vmalloc and vfree of nr_pages pages, to compare the others with
 *   vmap_test         vmap and vunmap of nr_pages existing pages
 *   map_only_test     the same within the CPU's vmap block (vm_map_ram of at most BITS_PER_LONG
 *                     pages): neither an area nor a page is allocated
 *   ioremap_test      ioremap and iounmap of nr_pages pages of no device, which are not accessed
 *   remote_free_test  vmalloc on one CPU, vfree on another: each worker, bound to a CPU, passes
 *                     the areas that it allocates to the next one
 *   mixed_sizes_test  replaces a random one of 256 areas per worker; sizes as recorded (sizes.h)
 *
 * With time_calls=1 every call is timed, and the log has for each case and call, of all workers:
 *
 *   Latency: vmap_test alloc calls: 2000 p50: 1407 p99: 2111 p999: 3967 max: 51200 nsec
 *
 * Like test_vmalloc it fails to load on purpose when it is done. It calls only functions that every
 * supported kernel exports to modules.
 */
#include <linux/cpumask.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timex.h>
#include <linux/vmalloc.h>

#include "histogram.h"

#define __param(type, name, init, msg)		\
	static type name = init;		\
	module_param(name, type, 0444);		\
	MODULE_PARM_DESC(name, msg)

__param(int, nr_threads, 1, "Number of workers (min: 1 max: 65535)");
__param(bool, sequential_test_order, true, "Run the cases in order; there is no other order");
__param(int, test_repeat_count, 1, "Passes of each case");
__param(int, test_loop_count, 1000000, "Loops of one pass");
__param(int, nr_pages, 1, "Pages of an area, unless the case defines it");
__param(bool, time_calls, false, "Time every call, and report percentiles");
__param(int, run_test_mask, 63, "Set tests specified in the mask.\n\n"
	"\t\tid: 1,  name: vmalloc_test\n"
	"\t\tid: 2,  name: vmap_test\n"
	"\t\tid: 4,  name: map_only_test\n"
	"\t\tid: 8,  name: ioremap_test\n"
	"\t\tid: 16, name: remote_free_test\n"
	"\t\tid: 32, name: mixed_sizes_test\n");

enum call { ALLOC, FREE, CALLS };

static const char * const call_names[CALLS] = { "alloc", "free" };

/* Areas that a worker passes to the next one: single producer, single consumer. */
#define RING 64

struct ring {
	void *slot[RING];
	unsigned long written ____cacheline_aligned_in_smp;
	unsigned long taken ____cacheline_aligned_in_smp;
};

struct worker {
	struct task_struct *task;
	int number;
	u64 random;
	struct histogram *times; /* CALLS of them; NULL without time_calls */
	struct ring ring; /* filled by this worker, emptied by the next */
	unsigned long cycles;
};

static struct worker *workers;
static bool all_started;
static DECLARE_COMPLETION(start);
static DECLARE_COMPLETION(all_done);
static atomic_t unfinished = ATOMIC_INIT(0);

static __always_inline u64 call_begins(void)
{
	return time_calls ? ktime_get_ns() : 0;
}

static __always_inline void call_ends(struct worker *w, enum call call, u64 began)
{
	if (time_calls)
		count_time(&w->times[call], ktime_get_ns() - began);
}

/* xorshift64*: the same numbers in every boot. */
static u32 random_below(struct worker *w, u32 limit)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return ((w->random * 2685821657736338717ULL) >> 32) % limit;
}

static void *timed_vmalloc(struct worker *w, unsigned long pages)
{
	u64 began = call_begins();
	void *area = vmalloc(pages << PAGE_SHIFT);

	call_ends(w, ALLOC, began);
	if (area)
		*(u8 *)area = 1;
	return area;
}

static void timed_vfree(struct worker *w, void *area)
{
	u64 began = call_begins();

	vfree(area);
	call_ends(w, FREE, began);
}

static int vmalloc_test(struct worker *w)
{
	int i;

	for (i = 0; i < test_loop_count; i++) {
		void *area = timed_vmalloc(w, nr_pages);

		if (!area)
			return -1;
		timed_vfree(w, area);
	}
	return 0;
}

static void free_pages_of(struct page **pages, int count)
{
	while (count--)
		__free_page(pages[count]);
	kvfree(pages);
}

static struct page **new_pages(int count)
{
	struct page **pages = kvcalloc(count, sizeof(*pages), GFP_KERNEL);
	int i;

	for (i = 0; pages && i < count; i++) {
		pages[i] = alloc_page(GFP_KERNEL);
		if (!pages[i]) {
			free_pages_of(pages, i);
			return NULL;
		}
	}
	return pages;
}

static int vmap_test(struct worker *w)
{
	struct page **pages = new_pages(nr_pages);
	int i, failed = !pages;

	for (i = 0; i < test_loop_count && !failed; i++) {
		u64 began = call_begins();
		void *area = vmap(pages, nr_pages, VM_MAP, PAGE_KERNEL);

		call_ends(w, ALLOC, began);
		failed = !area;
		began = call_begins();
		vunmap(area);
		call_ends(w, FREE, began);
	}
	if (pages)
		free_pages_of(pages, nr_pages);
	return failed;
}

static int map_only_test(struct worker *w)
{
	int count = min(nr_pages, BITS_PER_LONG), i;
	struct page **pages = new_pages(count);
	int failed = !pages;

	for (i = 0; i < test_loop_count && !failed; i++) {
		u64 began = call_begins();
		void *area = vm_map_ram(pages, count, NUMA_NO_NODE);

		call_ends(w, ALLOC, began);
		failed = !area;
		if (failed)
			break;
		began = call_begins();
		vm_unmap_ram(area, count);
		call_ends(w, FREE, began);
	}
	if (pages)
		free_pages_of(pages, count);
	return failed;
}

static int ioremap_test(struct worker *w)
{
#ifdef CONFIG_HAS_IOMEM
	struct resource place = { .name = "vmapbench_cases", .flags = IORESOURCE_MEM };
	unsigned long size = (unsigned long)nr_pages << PAGE_SHIFT;
	int i, failed;

	/* Above the first MiB, where x86 has its legacy ranges. */
	failed = allocate_resource(&iomem_resource, &place, size, SZ_1M, iomem_resource.end,
				   PAGE_SIZE, NULL, NULL);
	if (failed)
		return failed;
	for (i = 0; i < test_loop_count && !failed; i++) {
		u64 began = call_begins();
		void __iomem *area = ioremap(place.start, size);

		call_ends(w, ALLOC, began);
		failed = !area;
		if (failed)
			break;
		began = call_begins();
		iounmap(area);
		call_ends(w, FREE, began);
	}
	release_resource(&place);
	return failed;
#else
	return -ENODEV;
#endif
}

/* Free the areas passed by the previous worker; return how many. */
static int free_handed_over(struct worker *w)
{
	struct ring *ring = &workers[(w->number + nr_threads - 1) % nr_threads].ring;
	unsigned long taken = ring->taken;
	int count = smp_load_acquire(&ring->written) - taken, i;

	for (i = 0; i < count; i++)
		timed_vfree(w, ring->slot[taken++ % RING]);
	smp_store_release(&ring->taken, taken);
	return count;
}

/* Pass an area to the next worker; false if the ring is full. */
static bool hand_over(struct worker *w, void *area)
{
	struct ring *ring = &w->ring;
	unsigned long written = ring->written;

	if (written - smp_load_acquire(&ring->taken) == RING)
		return false;
	ring->slot[written % RING] = area;
	smp_store_release(&ring->written, written + 1);
	return true;
}

/*
 * Every worker passes on test_loop_count areas and frees as many, so that all of them finish. If an
 * allocation fails, NULL is passed on, so that the next worker gets its number.
 */
static int remote_free_test(struct worker *w)
{
	int made = 0, freed = 0, failed = 0;
	void *area = NULL;
	int cpu = w->number % num_online_cpus(), i;

	if (nr_threads < 2 || !all_started)
		return -EINVAL;
	for_each_online_cpu(i)
		if (!cpu--)
			set_cpus_allowed_ptr(current, cpumask_of(i));
	while (made < test_loop_count || freed < test_loop_count) {
		if (made < test_loop_count && !area) {
			area = timed_vmalloc(w, nr_pages);
			failed |= !area;
		}
		if (made < test_loop_count && hand_over(w, area)) {
			area = NULL;
			made++;
		}
		i = free_handed_over(w);
		freed += i;
		if (!i)
			cond_resched();
	}
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	return failed;
}

/* Recorded sizes of areas; benchmarks/area_sizes.py writes sizes.h. */
static const struct { u32 pages, count; } sizes[] = {
#include "sizes.h"
};

/* A size in pages, at random with the recorded frequencies. */
static u32 recorded_size(struct worker *w)
{
	u32 all = 0, chosen, i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		all += sizes[i].count;
	chosen = random_below(w, all);
	for (i = 0; chosen >= sizes[i].count; i++)
		chosen -= sizes[i].count;
	return sizes[i].pages;
}

#define HELD 256

static int mixed_sizes_test(struct worker *w)
{
	void **held = kvcalloc(HELD, sizeof(*held), GFP_KERNEL);
	int i, failed = !held;

	for (i = 0; i < test_loop_count && !failed; i++) {
		void **slot = &held[random_below(w, HELD)];

		if (*slot)
			timed_vfree(w, *slot);
		*slot = timed_vmalloc(w, recorded_size(w));
		failed = !*slot;
	}
	for (i = 0; held && i < HELD; i++)
		vfree(held[i]);
	kvfree(held);
	return failed;
}

static const struct {
	const char *name;
	int (*run)(struct worker *w);
} cases[] = {
	{ "vmalloc_test", vmalloc_test },
	{ "vmap_test", vmap_test },
	{ "map_only_test", map_only_test },
	{ "ioremap_test", ioremap_test },
	{ "remote_free_test", remote_free_test },
	{ "mixed_sizes_test", mixed_sizes_test },
};

struct result {
	int passed, failed;
	u64 usec;
};

static struct result *results; /* per worker and case */
static struct histogram *latencies; /* per case and call, of all workers */
static DEFINE_MUTEX(latencies_lock);

/* Run all passes of a case, and add its histograms to those of all workers. */
static void run_case(struct worker *w, int number)
{
	struct result *result = &results[w->number * ARRAY_SIZE(cases) + number];
	ktime_t began;
	int i;

	w->random = (w->number + 1) * 88172645463325252ULL;
	if (w->times)
		memset(w->times, 0, CALLS * sizeof(*w->times));
	began = ktime_get();
	for (i = 0; i < test_repeat_count; i++) {
		if (cases[number].run(w))
			result->failed++;
		else
			result->passed++;
	}
	result->usec = div64_u64(ktime_us_delta(ktime_get(), began), test_repeat_count);
	if (!w->times)
		return;
	mutex_lock(&latencies_lock);
	for (i = 0; i < CALLS; i++)
		add_histogram(&latencies[number * CALLS + i], &w->times[i]);
	mutex_unlock(&latencies_lock);
}

static int work(void *private)
{
	struct worker *w = private;
	int i;

	wait_for_completion(&start);
	w->cycles = get_cycles();
	for (i = 0; i < ARRAY_SIZE(cases); i++)
		if (run_test_mask & 1 << i)
			run_case(w, i);
	w->cycles = get_cycles() - w->cycles;
	if (atomic_dec_and_test(&unfinished))
		complete(&all_done);
	while (!kthread_should_stop())
		msleep(10);
	return 0;
}

static void run_all(void)
{
	int i;

	all_started = true;
	atomic_set(&unfinished, 1); /* 1 until all are started */
	for (i = 0; i < nr_threads; i++) {
		struct worker *w = &workers[i];

		w->number = i;
		w->task = kthread_run(work, w, "vmapbench/%d", i);
		if (IS_ERR(w->task)) {
			pr_err("Failed to start %d kthread\n", i);
			all_started = false;
		} else {
			atomic_inc(&unfinished);
		}
	}
	complete_all(&start);
	if (atomic_dec_and_test(&unfinished))
		complete(&all_done);
	while (!wait_for_completion_timeout(&all_done, HZ))
		; /* with a timeout, so that it is not reported as a hung task */
	for (i = 0; i < nr_threads; i++)
		if (!IS_ERR(workers[i].task))
			kthread_stop(workers[i].task);
}

static void report_worker(int number)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct result *result = &results[number * ARRAY_SIZE(cases) + i];

		if (run_test_mask & 1 << i)
			pr_info("Summary: %s passed: %d failed: %d xfailed: 0 repeat: %d loops: %d avg: %llu usec\n",
				cases[i].name, result->passed, result->failed,
				test_repeat_count, test_loop_count, result->usec);
	}
	pr_info("All test took worker%d=%lu cycles\n", number, workers[number].cycles);
}

static void report_latencies(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(cases) * CALLS; i++) {
		struct histogram *h = &latencies[i];

		if (h->calls)
			pr_info("Latency: %s %s calls: %llu p50: %llu p99: %llu p999: %llu max: %llu nsec\n",
				cases[i / CALLS].name, call_names[i % CALLS], h->calls,
				per_mille(h, 500), per_mille(h, 990), per_mille(h, 999),
				h->longest);
	}
}

static void free_all(void)
{
	int i;

	for (i = 0; workers && i < nr_threads; i++)
		kvfree(workers[i].times);
	kvfree(latencies);
	kvfree(results);
	kvfree(workers);
}

/* Limit the parameters to valid values, and allocate; free_all() also frees after an error. */
static int prepare(void)
{
	int i;

	nr_threads = clamp(nr_threads, 1, 65535);
	test_repeat_count = max(test_repeat_count, 1);
	test_loop_count = max(test_loop_count, 1);
	nr_pages = max(nr_pages, 1);
	workers = kvcalloc(nr_threads, sizeof(*workers), GFP_KERNEL);
	results = kvcalloc(nr_threads, ARRAY_SIZE(cases) * sizeof(*results), GFP_KERNEL);
	latencies = kvcalloc(ARRAY_SIZE(cases) * CALLS, sizeof(*latencies), GFP_KERNEL);
	if (!workers || !results || !latencies)
		return -ENOMEM;
	for (i = 0; time_calls && i < nr_threads; i++) {
		workers[i].times = kvcalloc(CALLS, sizeof(*workers[i].times), GFP_KERNEL);
		if (!workers[i].times)
			return -ENOMEM;
	}
	return 0;
}

static int __init vmapbench_cases_init(void)
{
	int error = prepare(), i;

	if (!error) {
		run_all();
		for (i = 0; i < nr_threads; i++)
			report_worker(i);
		report_latencies();
	}
	free_all();
	return error ? error : -EAGAIN; /* -EAGAIN: it is unloaded at once */
}

module_init(vmapbench_cases_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Cases of vmap, ioremap and vmalloc that test_vmalloc lacks");
