/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What QEMU sees of the host. This object is loaded twice under one path, as a plugin and through
 * LD_PRELOAD: one instance is called by QEMU, and also interposes functions of libc.
 *
 * - the monotonic clock, which QEMU_CLOCK_VIRTUAL follows under TCG, is virtual time.
 *   (The plugin interface's own time control does nothing under TCG in QEMU 10.0.)
 * - the main loop's poll sleeps in virtual time, until its nearest timer is the next event.
 * - the time stamp counter counts virtual cycles. QEMU reads it for the guest's RDTSC, which the
 *   guest's random number generator executes whatever CPUID reports.
 * - condition variables show when a vCPU goes to sleep, and at what virtual time it is woken.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <dlfcn.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <time.h>
#include <unistd.h>

#define CLOCK_BASE_NS UINT64_C(1000000000) /* any constant: QEMU uses offsets from the start */
#define OUTSIDE_POLL_MS 50

static int (*real_ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
static int (*real_wait)(pthread_cond_t *, pthread_mutex_t *);
static int (*real_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*real_broadcast)(pthread_cond_t *);
static int (*real_signal)(pthread_cond_t *);
static uintptr_t program_start, program_end;

/* QEMU's big lock: the mutex that vCPUs release to sleep. Unknown until the first has slept. */
static pthread_mutex_t *big_lock;

static bool holds_big_lock(void)
{
	return big_lock && big_lock->__data.__owner == syscall(SYS_gettid);
}

static int find_program(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)size, (void)data;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
		uintptr_t end = start + info->dlpi_phdr[i].p_memsz;

		if (info->dlpi_phdr[i].p_type != PT_LOAD)
			continue;
		if (!program_start || start < program_start)
			program_start = start;
		if (end > program_end)
			program_end = end;
	}
	return 1; /* the program itself comes first */
}

__attribute__((constructor)) static void find_real_functions(void)
{
	/* Unversioned dlsym may return the condition variables of glibc 2.2.5, which differ. */
	real_ppoll = dlsym(RTLD_NEXT, "ppoll");
	real_wait = dlvsym(RTLD_NEXT, "pthread_cond_wait", "GLIBC_2.3.2");
	real_timedwait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
	real_broadcast = dlvsym(RTLD_NEXT, "pthread_cond_broadcast", "GLIBC_2.3.2");
	real_signal = dlvsym(RTLD_NEXT, "pthread_cond_signal", "GLIBC_2.3.2");
	dl_iterate_phdr(find_program, NULL);
}

/* Whether an address is in QEMU's program, once the simulation has begun. */
static bool called_from_qemu(const void *address)
{
	return engaged && (uintptr_t)address >= program_start && (uintptr_t)address < program_end;
}

PLUGIN_EXPORT int clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t ns;

	if (clock != CLOCK_MONOTONIC || !called_from_qemu(__builtin_return_address(0)))
		return syscall(SYS_clock_gettime, clock, ts);
	ns = CLOCK_BASE_NS + clock_of_this_thread();
	ts->tv_sec = ns / 1000000000;
	ts->tv_nsec = ns % 1000000000;
	return 0;
}

/*
 * QEMU calls this whenever it flushes a TLB, which the firmware causes 100,000 times. The vDSO uses
 * RDTSC, which would be trapped (below) and take twenty times as long as a system call.
 */
PLUGIN_EXPORT int gettimeofday(struct timeval *tv, void *zone)
{
	return syscall(SYS_gettimeofday, tv, zone);
}

static uint64_t real_time_stamp(void)
{
	uint32_t low, high;

	prctl(PR_SET_TSC, PR_TSC_ENABLE);
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
	return (uint64_t)high << 32 | low;
}

/* RDTSC or RDTSCP in this process: virtual for QEMU itself, real for the C library's clocks. */
static void on_trapped_rdtsc(int number, siginfo_t *info, void *data)
{
	ucontext_t *context = data;
	greg_t *registers = context->uc_mcontext.gregs;
	const uint8_t *code = (const uint8_t *)registers[REG_RIP];
	uint64_t stamp;
	size_t length;

	/* A real fault of QEMU has an address; a trapped instruction has none. */
	if (info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR || code[0] != 0x0f) {
		signal(number, SIG_DFL);
		return;
	}
	length = code[1] == 0x31 ? 2 : 3; /* 0f 31 rdtsc, 0f 01 f9 rdtscp */
	if (called_from_qemu(code))
		stamp = clock_of_this_thread() * model.clock_mhz / 1000;
	else
		stamp = real_time_stamp();
	registers[REG_RAX] = (uint32_t)stamp;
	registers[REG_RDX] = stamp >> 32;
	if (length == 3)
		registers[REG_RCX] = 0;
	registers[REG_RIP] += length;
}

/* Threads inherit the trap from their creator, so this is called before any is started. */
void trap_time_stamps(void)
{
	struct sigaction action = { .sa_sigaction = on_trapped_rdtsc,
				    .sa_flags = SA_SIGINFO | SA_NODEFER };

	if (sigaction(SIGSEGV, &action, NULL) || prctl(PR_SET_TSC, PR_TSC_SIGSEGV))
		fputs("simulated: cannot trap RDTSC: runs will not repeat exactly\n", stderr);
}

/* Guests that hold many pages that nobody touches: the host gives memory for those that are. */
void use_small_pages(void)
{
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

PLUGIN_EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
			const sigset_t *mask)
{
	static const struct timespec at_once;
	uint64_t deadline = NEVER;
	int ready;

	if (!engaged || syscall(SYS_gettid) != getpid() ||
	    (timeout && !timeout->tv_sec && !timeout->tv_nsec))
		return real_ppoll(fds, n, timeout, mask);
	ready = real_ppoll(fds, n, &at_once, mask);
	if (ready)
		return ready;
	/*
	 * The main loop polls without the big lock. A poll with it (aio_poll() in the monitor)
	 * waits for another thread of QEMU; letting the guest run meanwhile would be a deadlock,
	 * since woken vCPUs need the lock.
	 */
	if (holds_big_lock())
		return real_ppoll(fds, n, timeout, mask);
	if (timeout)
		deadline = clock_of_this_thread() + timeout->tv_sec * UINT64_C(1000000000) +
			   timeout->tv_nsec;
	main_loop_waits(deadline);
	while (!main_loop_granted(OUTSIDE_POLL_MS))
		if (real_ppoll(fds, n, &at_once, mask) > 0)
			main_loop_notified();
	main_loop_resumes();
	return real_ppoll(fds, n, &at_once, mask);
}

/* QEMU wakes its main loop by writing eight bytes to an eventfd. */
PLUGIN_EXPORT ssize_t write(int fd, const void *data, size_t size)
{
	ssize_t written = syscall(SYS_write, fd, data, size);

	if (size == 8 && called_from_qemu(__builtin_return_address(0)) &&
	    syscall(SYS_gettid) != getpid())
		main_loop_notified();
	return written;
}

PLUGIN_EXPORT int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	bool held;
	int result;

	if (engaged && vcpu_about_to_sleep()) {
		big_lock = mutex;
		vcpu_sleeps(cond);
	}
	held = engaged && this_thread_runs();
	if (held)
		others_may_finish(true);
	result = real_wait(cond, mutex);
	if (held)
		others_may_finish(false);
	return result;
}

PLUGIN_EXPORT int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
					 const struct timespec *until)
{
	bool held = engaged && this_thread_runs();
	int result;

	if (held)
		others_may_finish(true);
	result = real_timedwait(cond, mutex, until);
	if (held)
		others_may_finish(false);
	return result;
}

PLUGIN_EXPORT int pthread_cond_broadcast(pthread_cond_t *cond)
{
	if (engaged)
		kicked(cond);
	return real_broadcast(cond);
}

PLUGIN_EXPORT int pthread_cond_signal(pthread_cond_t *cond)
{
	if (engaged)
		kicked(cond);
	return real_signal(cond);
}
