/* tools/machine.c -- measures the multiply-add peak of this machine. */
#include "tools/machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "targets/peak.h"
#include "tools/cli.h"

typedef void BurnFn(int64_t n, float *sink);

struct Machine {
	MloPeakCode code;
	void *map;
	BurnFn *burn;
};

static void close_machine(void *p)
{
	Machine *m = p;

	if (m->map)
		munmap(m->map, m->code.image.n);
	free(m->code.image.data);
}

MloStatus machine_open(MloArena *a, Machine **out, MloDiag *d)
{
	Machine *m = MLO_NEW(a, Machine);
	void *entry;

	MLO_TRY(mlo_peak_code(mlo_target_native(), &m->code, d));
	mlo_defer(a, close_machine, m);
	m->map = mmap(NULL, m->code.image.n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->map == MAP_FAILED) {
		m->map = NULL;
		return mlo_error(d, MLO_ERR_IO, "cannot map code: %s", strerror(errno));
	}
	memcpy(m->map, m->code.image.data, m->code.image.n);
	if (mprotect(m->map, m->code.image.n, PROT_READ | PROT_EXEC) != 0)
		return mlo_error(d, MLO_ERR_IO, "cannot make code executable: %s", strerror(errno));
	__builtin___clear_cache(m->map, (char *)m->map + m->code.image.n);
	entry = (char *)m->map + m->code.entry;
	memcpy(&m->burn, &entry, sizeof entry);
	*out = m;
	return MLO_OK;
}

typedef struct Worker {
	pthread_t thread;
	const Machine *m;
	double seconds, gflops;
} Worker;

/* The rate over the whole time: what else runs on the machine takes from it as it takes from a model. */
static void *work(void *arg)
{
	Worker *w = arg;
	enum { ROUNDS = 100000 };
	double start = cli_now(), now = start, rounds = 0;

	while (now - start < w->seconds) {
		_Alignas(256) float sink[64] = {0.999f, 1e-3f};

		w->m->burn(ROUNDS, sink);
		rounds += ROUNDS;
		now = cli_now();
	}
	w->gflops = rounds * w->m->code.flops_per_round / (now - start) / 1e9;
	return NULL;
}

double machine_peak(const Machine *m, int threads, double seconds)
{
	enum { MAX_THREADS = 1024 };
	static Worker worker[MAX_THREADS];
	int n = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads, started = 1;
	double sum = 0;

	for (int i = 0; i < n; i++)
		worker[i] = (Worker){.m = m, .seconds = seconds};
	while (started < n && pthread_create(&worker[started].thread, NULL, work, &worker[started]) == 0)
		started++;
	work(&worker[0]);
	for (int i = 1; i < started; i++)
		pthread_join(worker[i].thread, NULL);
	for (int i = 0; i < started; i++)
		sum += worker[i].gflops;
	return sum;
}

const char *machine_cpu(MloArena *a)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];
	const char *name = "unknown CPU";

	while (f && fgets(line, sizeof line, f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) == 0 && colon) {
			colon[strcspn(colon, "\n")] = 0;
			name = mlo_strdup(a, colon + 1 + strspn(colon + 1, " "));
			break;
		}
	}
	if (f)
		fclose(f);
	return name;
}
