// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fragments the machine's free memory, in the same way each time, for as long as it is loaded.
 *
 * It allocates single pages until it has `percent` of the free memory, then frees all of them but
 * the first of each naturally aligned group of 2^order pages. Pages that it keeps cannot be moved,
 * so compaction cannot create a free block of 2^order pages there.
 *
 *   vmapbench_fragment: order 4 percent 80: took 160211 pages, kept 10034
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

static int order = 4;
module_param(order, int, 0444);
MODULE_PARM_DESC(order, "No free block has 2^order pages or more afterwards (1 to 10)");

static int percent = 80;
module_param(percent, int, 0444);
MODULE_PARM_DESC(percent, "Share of the free memory that is fragmented (1 to 95)");

/* A list: each page begins with the address of the next. */
static void **held;

static void give_back(void **page)
{
	free_page((unsigned long)page);
}

/* Allocate so many pages, or fewer if there are no more; return how many. */
static unsigned long take(unsigned long wanted)
{
	unsigned long taken = 0;

	while (taken < wanted) {
		void **page = (void **)__get_free_page(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);

		if (!page)
			break;
		*page = held;
		held = page;
		if (!(++taken & 1023))
			cond_resched();
	}
	return taken;
}

/* Free all but one page of each group; return how many are kept. */
static unsigned long keep_one_of(unsigned long group)
{
	void **page = held, **next;
	unsigned long kept = 0, seen = 0;

	for (held = NULL; page; page = next) {
		next = *page;
		if ((__pa(page) >> PAGE_SHIFT) & (group - 1)) {
			give_back(page);
		} else {
			*page = held;
			held = page;
			kept++;
		}
		if (!(++seen & 1023))
			cond_resched();
	}
	return kept;
}

static void __exit vmapbench_fragment_exit(void)
{
	while (held) {
		void **next = *held;

		give_back(held);
		held = next;
	}
}

static int __init vmapbench_fragment_init(void)
{
	struct sysinfo memory;
	unsigned long taken, kept;

	if (order < 1 || order > 10 || percent < 1 || percent > 95)
		return -EINVAL;
	si_meminfo(&memory);
	taken = take(memory.freeram / 100 * percent);
	kept = keep_one_of(1UL << order);
	pr_info("vmapbench_fragment: order %d percent %d: took %lu pages, kept %lu\n",
		order, percent, taken, kept);
	return 0;
}

module_init(vmapbench_fragment_init);
module_exit(vmapbench_fragment_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Fragments free memory in a repeatable way");
