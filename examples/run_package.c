/* examples/run_package.c -- how an application runs a compiled model with libmlopt_rt.
 *
 *   cc -std=gnu11 run_package.c $(pkg-config --cflags --libs mlopt_rt) -pthread -o run_package
 *   ./run_package model.mlopt                 what the model takes and gives, and one timed run
 *   ./run_package -j 4 -n 100 model.mlopt     four threads, each with a session, 100 runs each
 *   ./run_package -a model.mlopt              with the application's own allocator
 *   ./run_package -p 2 model.mlopt            with the application's own threads, two of them
 *   ./run_package -t model.mlopt              and the time of each step
 *   ./run_package -k release.pub model.mlopt  only if it is signed by that key (mlopt package keygen, sign)
 *   ./run_package -g model.mlopt              check this machine with the package's golden vectors first
 *
 * Inputs are filled with a fixed pattern, so that every run must give the same outputs; the program
 * compares them and fails if they differ. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mlopt/runtime.h>

enum { MAX_JOBS = 64 };

/* ---- An allocator of the application: here one that counts what is in use. ---- */

typedef struct Heap {
	pthread_mutex_t lock;
	size_t used, peak;
} Heap;

static void *heap_alloc(void *user, size_t bytes)
{
	Heap *h = user;
	void *p = NULL;

	if (posix_memalign(&p, 64, bytes) != 0)
		return NULL;
	pthread_mutex_lock(&h->lock);
	h->used += bytes;
	if (h->used > h->peak)
		h->peak = h->used;
	pthread_mutex_unlock(&h->lock);
	return p;
}

static void heap_release(void *user, void *p, size_t bytes)
{
	Heap *h = user;

	pthread_mutex_lock(&h->lock);
	h->used -= bytes;
	pthread_mutex_unlock(&h->lock);
	free(p);
}

/* ---- A thread pool of the application.  A real one would keep its threads; starting them anew is
 * enough to show the contract: call task(arg, i) for each i in [0, n), return when all have returned. ---- */

typedef struct Part {
	void (*task)(void *arg, int i);
	void *arg;
	int i;
} Part;

static void *run_part(void *arg)
{
	const Part *p = arg;

	p->task(p->arg, p->i);
	return NULL;
}

static void parallel(void *user, void (*task)(void *arg, int i), void *arg, int n)
{
	pthread_t thread[MAX_JOBS];
	Part part[MAX_JOBS];
	int started = 0;

	(void)user;
	while (started < n - 1) {
		part[started] = (Part){task, arg, started + 1};
		if (pthread_create(&thread[started], NULL, run_part, &part[started]) != 0)
			break;
		started++;
	}
	task(arg, 0);
	for (int i = started + 1; i < n; i++) /* no thread to be had: do it here */
		task(arg, i);
	for (int i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
}

/* ---- Inputs and outputs. ---- */

typedef struct Buffers {
	const void **input;
	void **output;
	size_t ninputs, noutputs;
} Buffers;

static void *aligned(size_t bytes)
{
	void *p = NULL;

	if (posix_memalign(&p, 64, bytes ? bytes : 1) != 0)
		return NULL;
	return memset(p, 0, bytes ? bytes : 1);
}

/* Numbers between 0 and 1 for float32; all other types are left zero, which every model accepts. */
static void fill(const MlrtTensorInfo *info, void *p)
{
	float *f = p;

	if (strcmp(info->elem, "f32") == 0)
		for (size_t i = 0; i < info->bytes / sizeof *f; i++)
			f[i] = (float)(i * 2654435761u % 1000) / 1000;
}

static void free_buffers(Buffers *b)
{
	for (size_t i = 0; b->input && i < b->ninputs; i++)
		free((void *)b->input[i]);
	for (size_t i = 0; b->output && i < b->noutputs; i++)
		free(b->output[i]);
	free(b->input);
	free(b->output);
}

static int new_buffers(const MlrtModel *m, Buffers *b)
{
	MlrtTensorInfo info;

	b->ninputs = mlrt_model_inputs(m);
	b->noutputs = mlrt_model_outputs(m);
	b->input = calloc(b->ninputs + 1, sizeof *b->input);
	b->output = calloc(b->noutputs + 1, sizeof *b->output);
	if (!b->input || !b->output)
		return -1;
	for (size_t i = 0; i < b->ninputs; i++) {
		void *p;

		mlrt_model_input(m, i, &info);
		p = aligned(info.bytes);
		if (!p)
			return -1;
		fill(&info, p);
		b->input[i] = p;
	}
	for (size_t i = 0; i < b->noutputs; i++) {
		mlrt_model_output(m, i, &info);
		b->output[i] = aligned(info.bytes);
		if (!b->output[i])
			return -1;
	}
	return 0;
}

/* A sum over all output bytes, to compare runs. */
static uint64_t checksum(const MlrtModel *m, const Buffers *b)
{
	uint64_t sum = 14695981039346656037u;
	MlrtTensorInfo info;

	for (size_t i = 0; i < b->noutputs; i++) {
		const unsigned char *p = b->output[i];

		mlrt_model_output(m, i, &info);
		for (size_t k = 0; k < info.bytes; k++)
			sum = (sum ^ p[k]) * 1099511628211u;
	}
	return sum;
}

/* ---- One job: a session of its own.  The model is shared, a session is not. ---- */

typedef struct Job {
	MlrtModel *model;
	MlrtSessionOptions options;
	int runs, profile;
	uint64_t sum;
	double best_ms;
	int threads;
	MlrtError err; /* status 0 if all went well */
} Job;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void run_all(Job *j, MlrtSession *s, const Buffers *b)
{
	for (int i = 0; i < j->runs; i++) {
		const double start = now_ms();
		uint64_t sum;
		double ms;

		if (mlrt_session_run(s, b->input, b->output, &j->err) != MLRT_OK)
			return;
		ms = now_ms() - start;
		if (i == 0 || ms < j->best_ms)
			j->best_ms = ms;
		sum = checksum(j->model, b);
		if (i > 0 && sum != j->sum) {
			j->err.status = MLRT_ERR_FORMAT;
			snprintf(j->err.text, sizeof j->err.text, "run %d gave other outputs than run 0", i);
			return;
		}
		j->sum = sum;
	}
}

static void *run_job(void *arg)
{
	Job *j = arg;
	MlrtSession *s = NULL;
	Buffers b = {0};

	if (mlrt_session_new(j->model, &j->options, &s, &j->err) != MLRT_OK)
		return NULL;
	j->threads = mlrt_session_threads(s);
	mlrt_session_profile(s, j->profile);
	if (new_buffers(j->model, &b) == 0)
		run_all(j, s, &b);
	else
		j->err = (MlrtError){MLRT_ERR_NOMEM, "no memory for inputs and outputs"};
	for (size_t i = 0; j->profile && i < mlrt_session_steps(s); i++)
		printf("  step %3zu %10.1f us\n", i, (double)mlrt_session_step_ns(s, i) / 1e3 / j->runs);
	free_buffers(&b);
	mlrt_session_free(s);
	return NULL;
}

static void print_tensor(const char *what, const MlrtTensorInfo *info)
{
	printf("%s %s: %s[", what, info->name, info->elem);
	for (int k = 0; k < info->rank; k++)
		printf("%s%" PRId64, k ? "," : "", info->dims[k]);
	printf("], %zu bytes\n", info->bytes);
}

static void describe(const MlrtModel *m)
{
	MlrtTensorInfo info;

	printf("variant %s, %zu bytes of activations\n", mlrt_model_variant(m), mlrt_model_arena_bytes(m));
	for (size_t i = 0; mlrt_model_input(m, i, &info) == MLRT_OK; i++)
		print_tensor("input ", &info);
	for (size_t i = 0; mlrt_model_output(m, i, &info) == MLRT_OK; i++)
		print_tensor("output", &info);
}

/* Runs `njobs` copies of `first` at once; 0 if all succeeded and agree. */
static int run_jobs(const Job *first, int njobs)
{
	Job job[MAX_JOBS];
	pthread_t thread[MAX_JOBS];
	int failed = 0, started = 0;

	for (int i = 0; i < njobs; i++)
		job[i] = *first;
	while (started < njobs && pthread_create(&thread[started], NULL, run_job, &job[started]) == 0)
		started++;
	for (int i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < njobs; i++) {
		if (i >= started)
			fprintf(stderr, "run_package: thread %d could not be started\n", i);
		else if (job[i].err.status != MLRT_OK)
			fprintf(stderr, "run_package: thread %d: %s\n", i, job[i].err.text);
		else if (job[i].sum != job[0].sum)
			fprintf(stderr, "run_package: thread %d got other outputs than thread 0\n", i);
		else
			continue;
		failed = 1;
	}
	if (!failed)
		printf("%d x %d runs on %d thread%s each: best %.3f ms, outputs %016" PRIx64 "\n", njobs, first->runs,
		       job[0].threads, job[0].threads == 1 ? "" : "s", job[0].best_ms, job[0].sum);
	return failed;
}

/* The key in a file of `mlopt package keygen`, behind the word "key". */
static int read_key(const char *path, MlrtPublicKey *key)
{
	FILE *f = fopen(path, "r");
	char hex[2 * sizeof key->bytes + 1];
	int ok = f && fscanf(f, "mlopt public key 1 id %*16s key %64s", hex) == 1 && strlen(hex) == sizeof hex - 1;

	for (size_t i = 0; ok && i < sizeof key->bytes; i++)
		ok = sscanf(hex + 2 * i, "%2hhx", &key->bytes[i]) == 1;
	if (f)
		fclose(f);
	return ok;
}

static int usage(void)
{
	fputs("usage: run_package [-j JOBS] [-n RUNS] [-T THREADS] [-p POOL_THREADS] [-a] [-t] [-g] [-k KEY.pub] MODEL.mlopt\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	Heap heap = {PTHREAD_MUTEX_INITIALIZER, 0, 0};
	const MlrtAllocator allocator = {&heap, heap_alloc, heap_release};
	MlrtPool pool = {NULL, 0, parallel};
	Job job = {.runs = 1};
	MlrtError err;
	MlrtPublicKey key;
	MlrtOpenOptions open = {.keys = &key};
	MlrtReplay replay;
	int njobs = 1, option, failed, golden = 0;

	while ((option = getopt(argc, argv, "j:n:T:p:atgk:")) != -1) {
		switch (option) {
		case 'j': njobs = atoi(optarg); break;
		case 'n': job.runs = atoi(optarg); break;
		case 'T': job.options.threads = atoi(optarg); break;
		case 'p': pool.threads = atoi(optarg); break;
		case 'a': job.options.allocator = &allocator; break;
		case 't': job.profile = 1; break;
		case 'g': golden = 1; break;
		case 'k':
			open.nkeys = 1;
			if (read_key(optarg, &key))
				break;
			fprintf(stderr, "run_package: %s is no public key\n", optarg);
			return 2;
		default: return usage();
		}
	}
	if (optind != argc - 1 || njobs < 1 || njobs > MAX_JOBS || job.runs < 1 || pool.threads < 0 ||
	    pool.threads > MAX_JOBS)
		return usage();
	if (pool.threads > 0)
		job.options.pool = &pool;

	/* Who signed, damage, version, and whether this CPU can run it; weights are checked with the first session. */
	if (mlrt_model_open(argv[optind], &open, &job.model, &err) != MLRT_OK) {
		fprintf(stderr, "run_package: %s\n", err.text);
		return 1;
	}
	describe(job.model);
	if (golden && mlrt_model_replay(job.model, &job.options, NULL, NULL, &replay, &err) != MLRT_OK) {
		fprintf(stderr, "run_package: %s\n", err.text);
		mlrt_model_close(job.model);
		return 1;
	}
	if (golden)
		printf("%zu golden vectors: NMSE at most %.3g of %.3g\n", replay.vectors, replay.nmse, replay.nmse_allowed);
	failed = run_jobs(&job, njobs);
	if (job.options.allocator)
		printf("own allocator: at most %zu bytes in use, %zu left at the end\n", heap.peak, heap.used);
	mlrt_model_close(job.model);
	return failed;
}
