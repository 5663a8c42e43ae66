// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dead man's switch of a trial kernel. It runs first (rdinit=/vmapbench/guard), forks a child,
 * and executes the host's own /init. The child resets the machine when its time is up; the firmware
 * then starts the host's known-good kernel.
 *
 *   vmapbench.trial=NONCE      identifies the trial; shown in the log
 *   vmapbench.confirm=SECONDS  time until the first SIGUSR1
 *   vmapbench.lease=SECONDS    time until the next SIGUSR1
 *   vmapbench.watchdog=SECONDS timeout of the kernel's watchdogs; 0: they are not used
 *
 * It depends on nothing that the host installs, and works before there is a root file system, a
 * network, or systemd. Its name begins with @ so that systemd does not kill it when it changes the
 * root or shuts down (https://systemd.io/ROOT_STORAGE_DAEMONS).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/watchdog.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PET_S 10
#define WATCHDOGS 4

static int kmsg = -1, sysrq = -1;
static int watchdogs[WATCHDOGS], watchdog_count;

__attribute__((format(printf, 1, 2)))
static void say(const char *format, ...)
{
	char line[256] = "<4>vmapbench: guard: ";
	size_t start = strlen(line);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line + start, sizeof(line) - start, format, arguments);
	va_end(arguments);
	if (kmsg >= 0 && write(kmsg, line, strlen(line)) < 0)
		return;
}

static long now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec;
}

/* Return the number after `key` on the command line, or -1. */
static long number_of(const char *line, const char *key)
{
	const char *found = strstr(line, key);

	return found ? atol(found + strlen(key)) : -1;
}

static void read_command_line(char *line, size_t room)
{
	int fd = open("/vmapbench/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, room - 1) : -1;

	line[n > 0 ? n : 0] = 0;
	close(fd);
}

static void open_watchdogs(int timeout)
{
	char path[40];

	for (int i = 0; timeout > 0 && i < WATCHDOGS; i++) {
		int fd, asked = timeout;

		snprintf(path, sizeof(path), "/vmapbench/dev/watchdog%d", i);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		ioctl(fd, WDIOC_SETTIMEOUT, &asked);
		watchdogs[watchdog_count++] = fd;
	}
}

static void pet(void)
{
	for (int i = 0; i < watchdog_count; i++)
		ioctl(watchdogs[i], WDIOC_KEEPALIVE, 0);
}

/* Do a step in a child, since it may hang in a broken kernel, and wait so many seconds. */
static void in_child(void (*step)(void), int seconds)
{
	if (fork() == 0) {
		step();
		_exit(0);
	}
	sleep(seconds);
}

static void restart(void)
{
	reboot(RB_AUTOBOOT);
}

static void reset_machine(void)
{
	in_child(sync, 5);
	in_child(restart, 20);
	if (write(sysrq, "b", 1) < 0)
		say("no sysrq: only the watchdogs are left");
	for (;;)
		pause();
}

/* Reset the machine when a deadline passes; each SIGUSR1 sets a new one. Does not return. */
static void keep_watch(long confirm_s, long lease_s)
{
	long deadline = now_s() + confirm_s, left;
	sigset_t renewal;
	int renewed = 0;

	sigemptyset(&renewal);
	sigaddset(&renewal, SIGUSR1);
	while ((left = deadline - now_s()) > 0) {
		struct timespec wait = {.tv_sec = left < PET_S ? left : PET_S};

		pet();
		if (sigtimedwait(&renewal, NULL, &wait) == SIGUSR1) {
			deadline = now_s() + lease_s;
			say("confirmed, for %ld s", lease_s);
			renewed = 1;
		}
	}
	say("%s: going back to the known-good kernel",
	    renewed ? "the lease was not renewed" : "nobody confirmed this kernel");
	reset_machine();
}

/* Make this process survive the host's init, the OOM killer and a busy kernel. */
static void become_guard(char *name)
{
	struct sched_param first = {.sched_priority = 1};
	sigset_t all;
	int fd = open("/vmapbench/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "-1000", 5) > 0)
		close(fd);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL); /* SIGUSR1 is for sigtimedwait(), others are ignored */
	setsid();
	mlockall(MCL_CURRENT | MCL_FUTURE);
	sched_setscheduler(0, SCHED_FIFO, &first); /* a kernel under test may be busy on every CPU */
	prctl(PR_SET_NAME, "vmapbench-guard");
	name[0] = '@';
}

int main(int argc, char **argv)
{
	static char line[4096];
	long confirm_s, lease_s;

	(void)argc;
	mkdir("/vmapbench/proc", 0700);
	mkdir("/vmapbench/dev", 0700);
	mount("proc", "/vmapbench/proc", "proc", 0, NULL);
	mount("dev", "/vmapbench/dev", "devtmpfs", 0, NULL);
	kmsg = open("/vmapbench/dev/kmsg", O_WRONLY | O_CLOEXEC);
	sysrq = open("/vmapbench/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	read_command_line(line, sizeof(line));
	confirm_s = number_of(line, "vmapbench.confirm=");
	lease_s = number_of(line, "vmapbench.lease=");
	if (confirm_s > 0 && fork() == 0) {
		become_guard(argv[0]);
		open_watchdogs(number_of(line, "vmapbench.watchdog="));
		umount2("/vmapbench/proc", MNT_DETACH);
		umount2("/vmapbench/dev", MNT_DETACH);
		say("%ld s to confirm this kernel, %d watchdogs", confirm_s, watchdog_count);
		keep_watch(confirm_s, lease_s > 0 ? lease_s : confirm_s);
	}
	/* The mounts stay for the guard, which unmounts them. */
	execv("/init", (argv[0] = "/init", argv));
	say("the host's initial file system has no /init");
	return 1; /* the kernel panics, and restarts because of panic= */
}
