// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's only program. It executes /vmapbench/script line by line and powers off:
 *
 *   report DEVICE       first line; where frames go
 *   nonce HEX           second line; in every frame, so that a kernel log cannot forge one
 *   write PATH VALUE    write VALUE to PATH (tracefs, sysfs)
 *   load PARAMETERS     load the module once; report errno and wall time of the call
 *   fragment PARAMETERS load the module that fragments memory, and keep it; report errno
 *   mark                execute the instruction that the simulated machine looks for
 *   sleep MILLISECONDS
 *   realtime PREFIX     set SCHED_FIFO for every task whose name begins with PREFIX
 *   toggle MILLISECONDS PATH OFF ON
 *                       from now on write OFF and ON to PATH in turn, in another process
 *   untoggle            end every toggle, with ON written last; report the number of writes
 *   moment NAME         report that the files collected from here on are of this moment
 *   collect PATH        report a file
 *   lazy                report how much vmap space is freed but not yet purged
 *   log                 report the whole kernel log
 *   send PATH DEVICE    copy a file that is too large for a frame to a device
 *
 * Reports are frames on a serial port other than the console's, so that nothing that the kernel
 * prints to its console gets into them:
 *
 *   <<NONCE begin NAME>>\n  content  \n<<NONCE end NAME LENGTH>>\n
 *
 * The module is loaded by a single call of finit_module: its init returns -EAGAIN on purpose after
 * the test (lib/test_vmalloc.c), and a tool that then tries init_module, as busybox does, runs the
 * test twice.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MODULE "/vmapbench/module.ko"
#define FRAGMENT "/vmapbench/fragment.ko"
#define SCRIPT "/vmapbench/script"

static char nonce[65] = "none";
static int report = -1;

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Write everything to the report. */
static void put(const char *data, size_t length)
{
	while (length) {
		ssize_t n = write(report, data, length);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (n > 0) {
			data += n;
			length -= n;
		}
	}
}

__attribute__((format(printf, 1, 2)))
static void putf(const char *format, ...)
{
	char line[512];
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	put(line, n < (int)sizeof(line) ? n : (int)sizeof(line) - 1);
}

static void frame(const char *name, const char *content, size_t length)
{
	putf("<<%s begin %s>>\n", nonce, name);
	put(content, length);
	putf("\n<<%s end %s %zu>>\n", nonce, name, length);
}

__attribute__((format(printf, 2, 3)))
static void framef(const char *name, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	frame(name, text, strlen(text));
}

/* Return the content of a file, NUL-terminated; NULL with errno if it cannot be read. */
static char *read_file(const char *path, size_t *length)
{
	size_t room = 1 << 16;
	char *text = malloc(room + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	*length = 0;
	while (fd >= 0 && text) {
		ssize_t n = read(fd, text + *length, room - *length);

		if (n <= 0)
			break;
		*length += n;
		if (*length == room)
			text = realloc(text, (room *= 2) + 1);
	}
	if (fd < 0 || !text)
		return NULL;
	close(fd);
	text[*length] = 0;
	return text;
}

static void collect(const char *path)
{
	size_t length;
	char *text = read_file(path, &length);

	if (text)
		frame(path, text, length);
	else
		framef("error", "collect %s: %s", path, strerror(errno));
	free(text);
}

/*
 * Lazily freed areas are in /proc/vmallocinfo as "START-END BYTES unpurged vm_area"
 * (mm/vmalloc.c, show_purge_info). Only their sum is reported, since the list can be megabytes.
 */
static void collect_lazy(void)
{
	size_t length;
	char *text = read_file("/proc/vmallocinfo", &length), *rest = text, *line;
	long long areas = 0, bytes = 0, size;

	while (text && (line = strsep(&rest, "\n")))
		if (strstr(line, " unpurged vm_area") && sscanf(line, "%*s %lld", &size) == 1) {
			areas++;
			bytes += size;
		}
	if (text)
		framef("lazy", "areas=%lld kib=%lld", areas, bytes / 1024);
	else
		framef("error", "lazy: /proc/vmallocinfo: %s", strerror(errno));
	free(text);
}

static void collect_log(void)
{
	int size = klogctl(10 /* SYSLOG_ACTION_SIZE_BUFFER */, NULL, 0);
	char *text = size > 0 ? malloc(size) : NULL;
	int n = text ? klogctl(3 /* SYSLOG_ACTION_READ_ALL */, text, size) : -1;

	if (n >= 0)
		frame("log", text, n);
	else
		framef("error", "log: %s", strerror(errno));
	free(text);
}

/* Write a value to a file; return 0 or errno. */
static int write_value(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int failed = fd < 0 || write(fd, value, strlen(value)) < 0;
	int error = failed ? errno : 0;

	if (fd >= 0)
		close(fd);
	return error;
}

static void write_file(char *arguments)
{
	char *path = strsep(&arguments, " ");
	int error = write_value(path, arguments ? arguments : "");

	if (error)
		framef("error", "write %s: %s", path, strerror(error));
}

static void send_file(char *arguments)
{
	const char *path = strsep(&arguments, " ");
	int from = open(path, O_RDONLY | O_CLOEXEC);
	int to = open(arguments ? arguments : "", O_WRONLY | O_CLOEXEC);
	static char buffer[1 << 16];
	long long sent = 0;
	ssize_t n = 0;

	while (from >= 0 && to >= 0 && (n = read(from, buffer, sizeof(buffer))) > 0) {
		if (write(to, buffer, n) != n) {
			n = -1;
			break;
		}
		sent += n;
	}
	if (from < 0 || to < 0 || n < 0)
		framef("error", "send %s: %s", path, strerror(errno));
	else
		framef("sent", "path=%s bytes=%lld", path, sent);
	close(from);
	close(to);
}

/* Load a module, and report errno and duration in a frame NAME. */
static void load(const char *name, const char *path, const char *parameters)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long long began = now_ns();
	long status = syscall(SYS_finit_module, fd, parameters, 0);
	int error = status < 0 ? errno : 0;
	long long elapsed = now_ns() - began;

	close(fd);
	framef(name, "errno=%d elapsed_ns=%lld", error, elapsed);
}

/* A real-time task runs as soon as it is woken, without waiting for a tick to preempt another. */
static void make_realtime(const char *prefix)
{
	const struct sched_param lowest = { .sched_priority = 1 };
	DIR *processes = opendir("/proc");
	struct dirent *process;
	int changed = 0;

	while (processes && (process = readdir(processes))) {
		pid_t pid = atoi(process->d_name);
		char path[32], *name;
		size_t length;

		if (pid <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		name = read_file(path, &length);
		if (name && !strncmp(name, prefix, strlen(prefix))) {
			if (sched_setscheduler(pid, SCHED_FIFO, &lowest))
				framef("error", "realtime %s: %s", prefix, strerror(errno));
			else
				changed++;
		}
		free(name);
	}
	if (!changed)
		framef("error", "realtime %s: no such task", prefix);
	if (processes)
		closedir(processes);
}

#define TOGGLES 16

/* Shared with the processes that toggle. */
static struct toggle {
	pid_t process;
	char path[128];
	char value[2][32];
	int written, failed, error;
	int stop;
} *toggles;
static int toggling;

/* Write both values in turn until told to stop; end with the second one, ON. */
static void keep_toggling(struct toggle *toggle, int milliseconds)
{
	int turn = 0;

	while (!toggle->stop || turn) {
		int error = write_value(toggle->path, toggle->value[turn]);

		if (error) {
			toggle->failed++;
			toggle->error = error;
		} else
			toggle->written++;
		turn = !turn;
		usleep(milliseconds * 1000);
	}
	_exit(0);
}

static void start_toggling(char *arguments)
{
	char *milliseconds = strsep(&arguments, " "), *path = strsep(&arguments, " ");
	char *off = strsep(&arguments, " ");
	struct toggle *toggle;

	if (!toggles)
		toggles = mmap(NULL, TOGGLES * sizeof(*toggles), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (toggles == MAP_FAILED || toggling == TOGGLES || !arguments) {
		framef("error", "toggle: cannot be started");
		return;
	}
	toggle = &toggles[toggling++];
	snprintf(toggle->path, sizeof(toggle->path), "%s", path);
	snprintf(toggle->value[0], sizeof(toggle->value[0]), "%s", off);
	snprintf(toggle->value[1], sizeof(toggle->value[1]), "%s", arguments);
	toggle->process = fork();
	if (!toggle->process)
		keep_toggling(toggle, atoi(milliseconds));
	if (toggle->process < 0)
		framef("error", "toggle %s: %s", path, strerror(errno));
}

static void stop_toggling(void)
{
	for (int i = 0; i < toggling; i++)
		toggles[i].stop = 1;
	for (int i = 0; i < toggling; i++) {
		waitpid(toggles[i].process, NULL, 0);
		framef("toggled", "path=%s written=%d failed=%d errno=%d", toggles[i].path,
		       toggles[i].written, toggles[i].failed, toggles[i].error);
	}
	toggling = 0;
}

/* A no-op for a CPU, and a mark for the simulated machine, which is x86-64. */
static void mark(void)
{
#ifdef __x86_64__
	__asm__ volatile("xchgq %%rdx, %%rdx" ::: "memory");
#else
	framef("error", "mark: none is defined for this architecture");
#endif
}

/* Open the serial port of the report in raw mode; without it, report to standard output. */
static void open_report(const char *device)
{
	struct termios mode;

	report = open(device, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (report < 0) {
		fprintf(stderr, "vmapbench: %s: %s\n", device, strerror(errno));
		report = STDOUT_FILENO;
	} else if (!tcgetattr(report, &mode)) {
		cfmakeraw(&mode);
		cfsetspeed(&mode, B115200);
		tcsetattr(report, TCSANOW, &mode);
	}
}

/*
 * Return the number of bits of a program's addresses, from which the depth of the page tables
 * follows. A kernel maps at the highest addresses only if asked for one of them (for x86:
 * Documentation/arch/x86/x86_64/5level-paging.rst).
 */
static int user_bits(void)
{
	long page = sysconf(_SC_PAGESIZE);

	for (int bit = 62; bit > 30; bit--) {
		void *wanted = (void *)(1UL << bit);
		void *got = mmap(wanted, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (got != MAP_FAILED)
			munmap(got, page);
		if (got == wanted)
			return bit + 1;
	}
	return 0;
}

/* Report the kernel's ELF notes in hex; its build id is among them. */
static void say_notes(void)
{
	size_t length;
	char *notes = read_file("/sys/kernel/notes", &length);
	char *hex = notes ? malloc(2 * length + 1) : NULL;

	for (size_t i = 0; hex && i < length; i++)
		sprintf(hex + 2 * i, "%02x", (unsigned char)notes[i]);
	if (hex)
		frame("notes", hex, 2 * length);
	free(hex);
	free(notes);
}

static void say_ready(void)
{
	struct utsname name;
	char *clock;
	size_t length;

	uname(&name);
	clock = read_file("/sys/devices/system/clocksource/clocksource0/current_clocksource",
			  &length);
	framef("ready", "release=%s machine=%s cpus=%ld clocksource=%.*s uptime_ns=%lld page_size=%ld "
	       "user_bits=%d",
	       name.release, name.machine, sysconf(_SC_NPROCESSORS_ONLN),
	       clock ? (int)strcspn(clock, "\n") : 0, clock ? clock : "", now_ns(),
	       sysconf(_SC_PAGESIZE), user_bits());
	free(clock);
}

static void carry_out(char *line)
{
	char *verb = strsep(&line, " ");
	char *arguments = line ? line : "";

	if (!strcmp(verb, "report"))
		open_report(arguments);
	else if (!strcmp(verb, "nonce")) {
		snprintf(nonce, sizeof(nonce), "%s", arguments);
		say_ready();
		say_notes();
	} else if (!strcmp(verb, "write"))
		write_file(arguments);
	else if (!strcmp(verb, "load"))
		load("load", MODULE, arguments);
	else if (!strcmp(verb, "fragment"))
		load("fragment", FRAGMENT, arguments);
	else if (!strcmp(verb, "mark"))
		mark();
	else if (!strcmp(verb, "sleep"))
		usleep(atoi(arguments) * 1000);
	else if (!strcmp(verb, "realtime"))
		make_realtime(arguments);
	else if (!strcmp(verb, "toggle"))
		start_toggling(arguments);
	else if (!strcmp(verb, "untoggle"))
		stop_toggling();
	else if (!strcmp(verb, "moment"))
		frame("moment", arguments, strlen(arguments));
	else if (!strcmp(verb, "collect"))
		collect(arguments);
	else if (!strcmp(verb, "lazy"))
		collect_lazy();
	else if (!strcmp(verb, "log"))
		collect_log();
	else if (!strcmp(verb, "send"))
		send_file(arguments);
	else if (*verb)
		framef("error", "unknown verb %s", verb);
}

int main(void)
{
	size_t length;
	char *script, *line;

	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("trace", "/sys/kernel/tracing", "tracefs", 0, NULL); /* if the kernel has it */
	mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL); /* likewise */
	script = read_file(SCRIPT, &length);
	while ((line = strsep(&script, "\n")))
		carry_out(line);
	framef("done", "uptime_ns=%lld", now_ns());
	tcdrain(report);
	reboot(RB_POWER_OFF);
	return 1;
}
