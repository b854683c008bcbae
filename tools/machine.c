/* tools/machine.c -- measures the multiply-add peak of this machine, and the bandwidth of its memory. */
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
	const float *memory;  /* to read, of MEMORY_BYTES; NULL: multiply-adds */
	double seconds, rate; /* GFLOP/s, GB/s */
} Worker;

/* The rate over the whole time: what else runs on the machine takes from it as it takes from a model. */
static void burn(Worker *w)
{
	enum { ROUNDS = 100000 };
	double start = cli_now(), now = start, rounds = 0;

	while (now - start < w->seconds) {
		_Alignas(256) float sink[64] = {0.999f, 1e-3f};

		w->m->burn(ROUNDS, sink);
		rounds += ROUNDS;
		now = cli_now();
	}
	w->rate = rounds * w->m->code.flops_per_round / (now - start) / 1e9;
}

enum { MEMORY_BYTES = 64 << 20, LINE_FLOATS = 16 };

/* One load per cache line is all that memory feels of it. */
static void read_memory(Worker *w)
{
	double start = cli_now(), now = start, bytes = 0;
	float sum[8] = {0};

	while (now - start < w->seconds) {
		for (size_t i = 0; i < MEMORY_BYTES / sizeof(float); i += 8 * LINE_FLOATS)
			for (size_t k = 0; k < 8; k++)
				sum[k] += w->memory[i + k * LINE_FLOATS];
		bytes += MEMORY_BYTES;
		now = cli_now();
	}
	__asm__ volatile("" : : "r"(sum) : "memory"); /* the reads stay */
	w->rate = bytes / (now - start) / 1e9;
}

static void *work(void *arg)
{
	Worker *w = arg;

	if (w->memory)
		read_memory(w);
	else
		burn(w);
	return NULL;
}

enum { MAX_THREADS = 1024 };

static int clamp_threads(int threads)
{
	return threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
}

/* Sum of the rates of n workers, the first on this thread. */
static double work_together(Worker *worker, int n)
{
	int started = 1;
	double sum = 0;

	while (started < n && pthread_create(&worker[started].thread, NULL, work, &worker[started]) == 0)
		started++;
	work(&worker[0]);
	for (int i = 1; i < started; i++)
		pthread_join(worker[i].thread, NULL);
	for (int i = 0; i < started; i++)
		sum += worker[i].rate;
	return sum;
}

double machine_peak(const Machine *m, int threads, double seconds)
{
	static Worker worker[MAX_THREADS];
	int n = clamp_threads(threads);

	for (int i = 0; i < n; i++)
		worker[i] = (Worker){.m = m, .seconds = seconds};
	return work_together(worker, n);
}

double machine_bandwidth(int threads, double seconds)
{
	static Worker worker[MAX_THREADS];
	int n = clamp_threads(threads);
	float *memory = malloc((size_t)n * MEMORY_BYTES);
	double rate;

	if (!memory)
		return 0;
	for (size_t i = 0; i < (size_t)n * MEMORY_BYTES / sizeof *memory; i++)
		memory[i] = 1; /* pages that are really there */
	for (int i = 0; i < n; i++)
		worker[i] = (Worker){.memory = memory + (size_t)i * (MEMORY_BYTES / sizeof *memory),
				     .seconds = seconds};
	rate = work_together(worker, n);
	free(memory);
	return rate;
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
