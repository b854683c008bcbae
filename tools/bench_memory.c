/* tools/bench_memory.c -- what a process grows by when it opens a package and runs it once. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench.h"

/* A line of /proc/self/status in bytes; 0 where there is none of that name. */
static size_t status_bytes(const char *name)
{
	FILE *f = fopen("/proc/self/status", "r");
	const size_t n = strlen(name);
	unsigned long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, name, n) == 0 && sscanf(line + n, ": %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return (size_t)kib * 1024;
}

static size_t growth(const char *path, const ModelOptions *opt, MloTensor *const *in, MloTensor *const *out)
{
	const size_t before = status_bytes("VmRSS");
	MloDiag quiet = {0};
	Model m;
	size_t most;

	if (model_open(&m, path, opt, &quiet) != MLO_OK || model_run(&m, in, out, &quiet) != MLO_OK)
		return 0;
	most = status_bytes("VmHWM");
	return most > before ? most - before : 0;
}

size_t bench_memory(const char *path, const ModelOptions *opt, MloTensor *const *in, MloTensor *const *out)
{
	size_t bytes = 0;
	int ends[2];
	pid_t child;

	if (pipe(ends) != 0)
		return 0;
	child = fork();
	if (child == 0) {
		bytes = growth(path, opt, in, out);
		_exit(write(ends[1], &bytes, sizeof bytes) != sizeof bytes);
	}
	close(ends[1]);
	if (child < 0 || read(ends[0], &bytes, sizeof bytes) != sizeof bytes)
		bytes = 0;
	close(ends[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	return bytes;
}
