/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A histogram of times in ns with log2-linear buckets: 32 for each power of two, so that a bucket
 * is at most 1/32 of its times wide (3.2 %), and exact below 64 ns. Of the kernel it needs only the
 * types and div64_u64, or replacements for them.
 */
#ifndef VMAPBENCH_HISTOGRAM_H
#define VMAPBENCH_HISTOGRAM_H

#define SUB_BITS 5
#define TOP_BITS 40 /* 18 minutes; longer times are in the last bucket */
#define BUCKETS ((TOP_BITS - SUB_BITS + 1) << SUB_BITS)

struct histogram {
	u64 calls;
	u64 longest;
	u32 bucket[BUCKETS];
};

static inline unsigned int bucket_of(u64 ns)
{
	unsigned int shift;

	if (ns >> TOP_BITS)
		return BUCKETS - 1;
	if (ns >> (SUB_BITS + 1) == 0)
		return ns;
	shift = 63 - __builtin_clzll(ns) - SUB_BITS;
	return (shift << SUB_BITS) + (ns >> shift);
}

/* Return the longest time of a bucket. */
static inline u64 bucket_end(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < 2 << SUB_BITS)
		return bucket;
	shift = (bucket >> SUB_BITS) - 1;
	return ((u64)(bucket - (shift << SUB_BITS) + 1) << shift) - 1;
}

static inline void count_time(struct histogram *h, u64 ns)
{
	h->calls++;
	if (ns > h->longest)
		h->longest = ns;
	h->bucket[bucket_of(ns)]++;
}

static inline void add_histogram(struct histogram *sum, const struct histogram *h)
{
	unsigned int i;

	sum->calls += h->calls;
	if (h->longest > sum->longest)
		sum->longest = h->longest;
	for (i = 0; i < BUCKETS; i++)
		sum->bucket[i] += h->bucket[i];
}

/* Return the time that `share` of 1000 calls do not exceed, rounded up to the end of its bucket. */
static inline u64 per_mille(const struct histogram *h, unsigned int share)
{
	u64 wanted = div64_u64(h->calls * share + 999, 1000), seen = 0;
	unsigned int i;

	for (i = 0; i < BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= wanted && seen)
			return bucket_end(i) < h->longest ? bucket_end(i) : h->longest;
	}
	return 0;
}

#endif
