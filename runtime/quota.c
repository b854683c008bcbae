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
#include <unistd.h>

#include "runtime/internal.h"

enum { MAX_PATH = 4096, MAX_CPUS = 1 << 16 };

static int affinity_count(void)
{
	for (int cpus = 1024; cpus <= MAX_CPUS; cpus *= 4) {
		const size_t bytes = CPU_ALLOC_SIZE(cpus);
		cpu_set_t *set = CPU_ALLOC(cpus);
		int n = 0;

		if (!set)
			break;
		if (sched_getaffinity(0, bytes, set) == 0)
			n = CPU_COUNT_S(bytes, set);
		CPU_FREE(set);
		if (n > 0)
			return n;
	}
	return 1;
}

/* First line of root/dir/name into `line`. */
static bool read_line(const char *root, const char *dir, const char *name, char *line, int n)
{
	char path[3 * MAX_PATH];
	FILE *f;
	bool ok;

	if (snprintf(path, sizeof path, "%s%s/%s", root, dir, name) >= (int)sizeof path)
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(line, n, f) != NULL;
	fclose(f);
	return ok;
}

/* Quota of one cgroup folder in whole CPUs; 0: none stated. */
static long quota_at(const char *root, const char *dir, bool v2)
{
	char line[128];
	long long quota, period;

	if (v2) {
		if (!read_line(root, dir, "cpu.max", line, sizeof line) ||
		    sscanf(line, "%lld %lld", &quota, &period) != 2)
			return 0;
	} else {
		if (!read_line(root, dir, "cpu.cfs_quota_us", line, sizeof line) ||
		    sscanf(line, "%lld", &quota) != 1 ||
		    !read_line(root, dir, "cpu.cfs_period_us", line, sizeof line) ||
		    sscanf(line, "%lld", &period) != 1)
			return 0;
	}
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

/* Is `word` one of the comma-separated words of `list`? */
static bool has_word(const char *list, const char *word)
{
	const size_t len = strlen(word);

	for (; list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL)
		if (strncmp(list, word, len) == 0 && (list[len] == 0 || list[len] == ','))
			return true;
	return false;
}

typedef struct Mounts {
	char v1[MAX_PATH], v2[MAX_PATH]; /* "": not mounted */
} Mounts;

/* Where the hierarchies that count CPU time are mounted. */
static void find_mounts(const char *root, Mounts *m)
{
	char path[MAX_PATH], line[3 * MAX_PATH], where[MAX_PATH], type[64], opts[1024];
	FILE *f;

	m->v1[0] = m->v2[0] = 0;
	snprintf(path, sizeof path, "%s/proc/self/mounts", root);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%*s %4095s %63s %1023s", where, type, opts) != 3)
			continue;
		if (!m->v2[0] && strcmp(type, "cgroup2") == 0)
			strcpy(m->v2, where);
		if (!m->v1[0] && strcmp(type, "cgroup") == 0 && has_word(opts, "cpu"))
			strcpy(m->v1, where);
	}
	fclose(f);
}

/* This process's folder in that hierarchy: a line "number:controllers:path". */
static bool find_path(const char *root, bool v2, char *out)
{
	char path[MAX_PATH], line[2 * MAX_PATH];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof line, f)) {
		char *list = strchr(line, ':'), *where = list ? strchr(list + 1, ':') : NULL;

		if (!where)
			continue;
		*where++ = 0;
		where[strcspn(where, "\n")] = 0;
		if (v2 ? list[1] != 0 : !has_word(list + 1, "cpu"))
			continue;
		found = true;
		snprintf(out, MAX_PATH, "%.*s", MAX_PATH - 1, strcmp(where, "/") == 0 ? "" : where);
	}
	fclose(f);
	return found;
}

MLRT_LOCAL int mlrt_cpu_count(const char *root)
{
	char path[MAX_PATH];
	int n = affinity_count();
	Mounts m;

	find_mounts(root, &m);
	for (int v2 = 0; v2 <= 1; v2++) {
		const char *mount = v2 ? m.v2 : m.v1;
		long q;

		if (!mount[0] || !find_path(root, v2, path))
			continue;
		q = quota_up(root, mount, path, v2);
		if (q > 0 && q < n)
			n = (int)q;
	}
	return n;
}
