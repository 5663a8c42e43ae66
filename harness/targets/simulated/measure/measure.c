/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Measures what a machine model needs, on this x86-64 machine, and prints one line per figure:
 *
 *   measure topology            cpu N core LIST complex LIST die ID package ID
 *   measure core CPU            NAME VALUE: clock_mhz, pause_cycles, atomic_cycles, ...
 *   measure pair CPU CPU        transfer_ns: half of a compare-exchange round trip, median
 *   measure contended CPU...    contended_ns: between two updates of one line by all of them
 *   measure latency CPU KIB     latency_ns: of a dependent load within so much memory
 *
 * Every figure is the best or the median of many short runs, so that other programs hardly affect
 * it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 200 /* each so short that some are undisturbed on a busy machine */
#define MOST_CPUS 1024
#define LINE 64

static double now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void run_on(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		fprintf(stderr, "CPU %u: ", cpu);
		perror("sched_setaffinity");
		exit(1);
	}
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), by_size);
	return values[count / 2];
}

/* --- one core --- */

/* Dependent additions take one cycle each. */
static void add_chain(uint64_t turns)
{
	uint64_t value = 1;

	for (uint64_t i = 0; i < turns; i++)
		asm volatile("add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\t"
			     "add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0"
			     : "+r"(value)
			     :
			     : "cc");
}

static void pauses(uint64_t turns)
{
	for (uint64_t i = 0; i < turns; i++)
		asm volatile("pause\n\tpause\n\tpause\n\tpause\n\tpause\n\tpause\n\tpause\n\tpause");
}

static void atomics(uint64_t turns)
{
	static uint64_t line __attribute__((aligned(LINE)));

	for (uint64_t i = 0; i < turns * 8; i++)
		__atomic_fetch_add(&line, 1, __ATOMIC_SEQ_CST);
}

#define CLEARED 16384

static void clearing(uint64_t turns)
{
	static char page[CLEARED] __attribute__((aligned(4096)));

	for (uint64_t i = 0; i < turns; i++) {
		void *to = page;
		uint64_t count = CLEARED;

		asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0) : "memory");
	}
}

/* The least ns of an iteration of `body`: an interrupt makes a run longer, never shorter. */
static double best(void (*body)(uint64_t), uint64_t turns)
{
	double least = 1e18;

	for (unsigned run = 0; run < BATCHES; run++) {
		double began = now_ns(), took;

		body(turns);
		took = (now_ns() - began) / turns;
		if (took < least)
			least = took;
	}
	return least;
}

static void measure_core(unsigned cpu)
{
	double cycle;

	run_on(cpu);
	best(add_chain, 200000); /* until the clock has risen */
	cycle = best(add_chain, 20000) / 8;
	printf("clock_mhz %.0f\n", 1000 / cycle);
	printf("pause_cycles %.1f\n", best(pauses, 200) / 8 / cycle);
	printf("atomic_cycles %.1f\n", best(atomics, 1000) / 8 / cycle);
	printf("string_bytes_per_cycle %.1f\n", CLEARED / (best(clearing, 100) / cycle));
}

/* --- loads --- */

static void measure_latency(unsigned cpu, size_t kib)
{
	size_t count = kib * 1024 / LINE;
	void **lines = mmap(NULL, count * LINE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t *order = malloc(count * sizeof(*order));
	uint64_t random = 88172645463325252u;
	void **at;
	double least = 1e18;

	run_on(cpu);
	if (lines == MAP_FAILED || !order || !count) {
		fprintf(stderr, "no %zu KiB of memory\n", kib);
		exit(1);
	}
	madvise(lines, count * LINE, MADV_HUGEPAGE); /* to avoid page walks */
	for (size_t i = 0; i < count; i++)
		order[i] = i;
	for (size_t i = count - 1; i > 0; i--) { /* one cycle through all of them */
		uint32_t kept = order[i];
		size_t j;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		j = random % i;
		order[i] = order[j];
		order[j] = kept;
	}
	for (size_t i = 0; i < count; i++)
		lines[order[i] * (LINE / sizeof(void *))] =
			&lines[order[(i + 1) % count] * (LINE / sizeof(void *))];
	at = lines;
	for (size_t i = 0; i < count && i < 4000000; i++)
		at = *at;
	for (unsigned run = 0; run < BATCHES; run++) {
		const unsigned loads = 2000;
		double began = now_ns(), took;

		for (unsigned i = 0; i < loads; i++)
			at = *(void **volatile *)at;
		took = (now_ns() - began) / loads;
		if (took < least)
			least = took;
	}
	printf("latency_ns %.2f\n", least);
}

/* --- two CPUs and more --- */

static struct {
	uint64_t ball __attribute__((aligned(LINE)));
	unsigned ready __attribute__((aligned(LINE)));
	bool stop;
} shared;

#define TRIPS 100

/* Increment the ball in turn with the other CPU. `times`: when each batch began, or NULL. */
static void play(uint64_t from, double *times)
{
	for (uint64_t i = 0; i < BATCHES * TRIPS; i++) {
		uint64_t expected;

		if (times && i % TRIPS == 0)
			times[i / TRIPS] = now_ns();
		do
			expected = 2 * i + from;
		while (!__atomic_compare_exchange_n(&shared.ball, &expected, 2 * i + from + 1,
						    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	}
	if (times)
		times[BATCHES] = now_ns();
}

static void *answer(void *cpu)
{
	run_on((uintptr_t)cpu);
	play(1, NULL);
	return NULL;
}

static void measure_pair(unsigned first, unsigned second)
{
	static double times[BATCHES + 1];
	pthread_t other;

	run_on(first);
	pthread_create(&other, NULL, answer, (void *)(uintptr_t)second);
	play(0, times);
	pthread_join(other, NULL);
	for (unsigned i = 0; i < BATCHES; i++)
		times[i] = (times[i + 1] - times[i]) / TRIPS / 2;
	printf("transfer_ns %.1f\n", median(times, BATCHES));
}

static void *update(void *cpu)
{
	run_on((uintptr_t)cpu);
	__atomic_fetch_add(&shared.ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&shared.stop, __ATOMIC_RELAXED))
		__atomic_fetch_add(&shared.ball, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void measure_contended(unsigned count, char **cpus)
{
	pthread_t threads[MOST_CPUS];
	double began;

	for (unsigned i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, update,
			       (void *)(uintptr_t)strtoul(cpus[i], NULL, 10));
	while (__atomic_load_n(&shared.ready, __ATOMIC_ACQUIRE) < count)
		usleep(1000);
	__atomic_store_n(&shared.ball, 0, __ATOMIC_SEQ_CST);
	began = now_ns();
	usleep(200000);
	printf("contended_ns %.1f\n", (now_ns() - began) / __atomic_load_n(&shared.ball, __ATOMIC_SEQ_CST));
	__atomic_store_n(&shared.stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

/* --- topology --- */

static const char *word_of(unsigned cpu, const char *name)
{
	static char word[256];
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/%s", cpu, name);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%255s", word) != 1)
		strcpy(word, "-");
	if (file)
		fclose(file);
	return word;
}

static void show_topology(void)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		printf("cpu %u", cpu);
		printf(" core %s", word_of(cpu, "topology/thread_siblings_list"));
		printf(" complex %s", word_of(cpu, "cache/index3/shared_cpu_list"));
		printf(" die %s", word_of(cpu, "topology/die_id"));
		printf(" package %s\n", word_of(cpu, "topology/physical_package_id"));
	}
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "";

	if (!strcmp(what, "topology"))
		show_topology();
	else if (!strcmp(what, "core") && count == 3)
		measure_core(atoi(words[2]));
	else if (!strcmp(what, "pair") && count == 4)
		measure_pair(atoi(words[2]), atoi(words[3]));
	else if (!strcmp(what, "latency") && count == 4)
		measure_latency(atoi(words[2]), strtoul(words[3], NULL, 10));
	else if (!strcmp(what, "contended") && count > 2 && count - 2 <= MOST_CPUS)
		measure_contended(count - 2, words + 2);
	else {
		fprintf(stderr, "usage: measure topology | core CPU | pair CPU CPU | "
				"latency CPU KIB | contended CPU...\n");
		return 2;
	}
	return 0;
}
