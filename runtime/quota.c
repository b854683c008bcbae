/* runtime/quota.c -- how many threads may run at once: affinity mask and cgroup CPU quotas.
 *
 * A quota of 2.5 CPUs counts as 2: a third thread would be stopped for part of every period, and the
 * others would wait for it at each barrier. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/internal.h"

enum { MAX_PATH = 4096, MAX_CPUS = 1 << 16, WORD = 8 * sizeof(unsigned long) };

static int affinity_count(void)
{
	unsigned long set[MAX_CPUS / WORD] = {0};
	int n = 0;

	if (sched_getaffinity(0, sizeof set, (cpu_set_t *)(void *)set) != 0)
		return 1;
	for (size_t i = 0; i < MAX_CPUS / WORD; i++)
		for (unsigned long w = set[i]; w; w &= w - 1)
			n++;
	return n > 0 ? n : 1;
}

static FILE *open_text(const char *root, const char *dir, const char *name)
{
	char path[3 * MAX_PATH];

	return snprintf(path, sizeof path, "%s%s/%s", root, dir, name) < (int)sizeof path ? fopen(path, "re") : NULL;
}

/* First line of root/dir/name into `line`. */
static bool read_line(const char *root, const char *dir, const char *name, char *line, int n)
{
	FILE *f = open_text(root, dir, name);
	bool ok;

	if (!f)
		return false;
	ok = fgets(line, n, f) != NULL;
	fclose(f);
	return ok;
}

/* Quota of one cgroup folder in whole CPUs; 0: none stated. */
static long quota_at(const char *root, const char *dir, bool v2)
{
	char line[128], *end = line;
	long long quota, period;

	if (!read_line(root, dir, v2 ? "cpu.max" : "cpu.cfs_quota_us", line, sizeof line))
		return 0;
	quota = strtoll(line, &end, 10); /* "max" is none */
	if (!v2 && !read_line(root, dir, "cpu.cfs_period_us", end = line, sizeof line))
		return 0;
	period = strtoll(end, NULL, 10);
	if (quota <= 0 || period <= 0)
		return 0;
	return quota < period ? 1 : (long)(quota / period);
}

/* The least quota from mount + path up to the mount point: every level above limits too.  Inside a
 * container the path may be the host's, which is not there; then the mount point itself counts. */
static long quota_up(const char *root, const char *mount, const char *path, bool v2)
{
	char dir[2 * MAX_PATH];
	const size_t base = strlen(mount);
	long least = 0;

	if (snprintf(dir, sizeof dir, "%s%s", mount, path) >= (int)sizeof dir)
		return 0;
	for (;;) {
		long q = quota_at(root, dir, v2);
		char *slash = strrchr(dir + base, '/');

		if (q > 0 && (least == 0 || q < least))
			least = q;
		if (!slash)
			return least;
		*slash = 0;
	}
}

/* Is "cpu" one of the comma-separated words of `list`, which is taken apart? */
static bool has_cpu(char *list)
{
	while (list)
		if (strcmp(strsep(&list, ","), "cpu") == 0)
			return true;
	return false;
}

/* Where the hierarchy that counts CPU time is mounted (a line of mounts: "device place type options ..."), or this
 * process's folder in it (of cgroup: "number:controllers:path"); false: there is none. */
static bool find(const char *root, bool v2, bool mount, char out[MAX_PATH])
{
	FILE *f = open_text(root, "/proc/self", mount ? "mounts" : "cgroup");
	char line[3 * MAX_PATH];
	bool found = false;

	while (f && !found && fgets(line, sizeof line, f)) {
		char *rest = line, *where, *list;

		strsep(&rest, mount ? " " : ":");
		if (mount) {
			where = strsep(&rest, " ");
			list = strsep(&rest, " ");
			found = list && strcmp(list, v2 ? "cgroup2" : "cgroup") == 0 && (v2 || has_cpu(strsep(&rest, " ")));
		} else {
			list = strsep(&rest, ":");
			where = strsep(&rest, "\n");
			found = where && (v2 ? *list == 0 : has_cpu(list));
		}
		if (found)
			found = snprintf(out, MAX_PATH, "%s", where[0] && where[1] ? where : "") < MAX_PATH; /* not "/" */
	}
	if (f)
		fclose(f);
	return found;
}

MLRT_LOCAL int mlrt_cpu_count(const char *root)
{
	char mount[MAX_PATH], path[MAX_PATH];
	int n = affinity_count();

	for (int v2 = 0; v2 <= 1; v2++) {
		long q;

		if (!find(root, v2, true, mount) || !find(root, v2, false, path))
			continue;
		q = quota_up(root, mount, path, v2);
		if (q > 0 && q < n)
			n = (int)q;
	}
	return n;
}
