// SPDX-License-Identifier: GPL-2.0-only
/*
 * load MODULE PARAMETERS RESULT: loads a module once and writes to the file RESULT
 *
 *   errno=11 elapsed_ns=123456789
 *
 * With finit_module and never again: test_vmalloc's init returns -EAGAIN on purpose
 * (lib/test_vmalloc.c), and a tool that then falls back to init_module, as busybox does, runs the
 * test twice.
 *
 * The load happens in a session of its own, so that it goes on when the connection that asked for
 * it is cut. RESULT appears whole, by a rename.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int load(const char *module, const char *parameters, const char *result)
{
	char partial[4096];
	long long began, elapsed;
	int error, fd = open(module, O_RDONLY | O_CLOEXEC);
	FILE *file;

	snprintf(partial, sizeof(partial), "%s.part", result);
	file = fopen(partial, "we");
	if (fd < 0 || !file) {
		perror(fd < 0 ? module : partial);
		return 2;
	}
	began = now_ns();
	error = syscall(SYS_finit_module, fd, parameters, 0) < 0 ? errno : 0;
	elapsed = now_ns() - began;
	fprintf(file, "errno=%d elapsed_ns=%lld\n", error, elapsed);
	if (fclose(file) || rename(partial, result)) {
		perror(result);
		return 2;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int status = 0;
	pid_t child;

	if (argc != 4) {
		fprintf(stderr, "usage: load MODULE PARAMETERS RESULT\n");
		return 2;
	}
	child = fork();
	if (child == 0) {
		setsid();
		return load(argv[1], argv[2], argv[3]);
	}
	return child < 0 || waitpid(child, &status, 0) < 0 || status ? 2 : 0;
}
