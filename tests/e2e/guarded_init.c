/* Replaces a host's own init in tests of the guard; HOST=idle, confirm or shutdown. */
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void first_line(const char *pid, const char *name, char *text, size_t room)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	text[0] = 0;
	file = fopen(path, "r");
	if (file && !fgets(text, room, file))
		text[0] = 0;
	if (file)
		fclose(file);
}

int main(void)
{
	const char *host = getenv("HOST") ? getenv("HOST") : "idle";
	char comm[64], line[256];
	struct dirent *entry;
	DIR *proc;

	mkdir("/proc", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	printf("host init runs as %d, %s\n", getpid(), host);
	fflush(stdout);
	sleep(2);
	proc = opendir("/proc");
	while ((entry = readdir(proc))) {
		if (!isdigit(entry->d_name[0]) || atoi(entry->d_name) == 1)
			continue;
		first_line(entry->d_name, "comm", comm, sizeof(comm));
		first_line(entry->d_name, "cmdline", line, sizeof(line));
		if (!strcmp(host, "confirm") && !strcmp(comm, "vmapbench-guard\n"))
			kill(atoi(entry->d_name), SIGUSR1);
		if (!strcmp(host, "shutdown") && line[0] && line[0] != '@') /* as systemd does */
			kill(atoi(entry->d_name), SIGKILL);
		if (!strcmp(host, "shutdown") && line[0])
			kill(atoi(entry->d_name), SIGTERM);
	}
	for (;;)
		pause();
}
