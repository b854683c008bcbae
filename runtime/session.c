/* runtime/session.c -- running a model: memory of one run at a time, arguments resolved once.
 *
 * Everything is prepared by mlrt_session_new().  A run writes the application's pointers into the
 * argument table and then calls kernel after kernel. */
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "runtime/float_mode.h"
#include "runtime/internal.h"

enum { MAX_THREADS = 1024, SCRATCH_LINE = 128 };

typedef void Kernel(void *const *args, int64_t begin, int64_t end, void *scratch);

/* UBSan looks for a function's type in front of its first instruction; kernels carry none, and the
 * first one of an image has nothing in front of it. */
#if defined(__clang__)
#define CALLS_KERNELS __attribute__((no_sanitize("function")))
#else
#define CALLS_KERNELS
#endif

typedef struct Call {
	Kernel *kernel;
	void *const *args;
	int64_t ntasks;
	int parts; /* threads that share the tasks */
} Call;

/* An argument that follows an input or output of the run. */
typedef struct Patch {
	uint32_t slot, index;
	uint64_t offset;
} Patch;

/* What is left of one part of a call, on a cache line of its own. */
typedef struct Share {
	_Alignas(MLRT_ALIGN) _Atomic int64_t next;
	int64_t end;
} Share;

struct MlrtSession {
	const MlrtModel *model;
	MlrtAllocator allocator;
	MlrtPool foreign; /* threads of the application; parallel NULL: none */
	Pool *pool;       /* own threads, or NULL */
	int threads;
	bool profiling;
	atomic_flag running;
	size_t bytes;          /* of this block, tables included */
	unsigned char *memory; /* arena, then the scratch of each thread */
	size_t memory_bytes;
	unsigned char *scratch;
	size_t scratch_stride;
	Share *share;     /* one per thread; NULL for one thread */
	void **arg;
	Call *call;
	uint64_t *ns;
	Patch *input, *output;
	size_t ninputs, noutputs; /* patches */
};

typedef struct Split {
	const MlrtSession *session;
	const Call *call;
} Split;

/* Part i of a call: its own contiguous share of the tasks, so that a thread meets the data it made
 * before, then what other parts have not begun: cores of a virtual machine are seldom equally fast.
 * Which thread runs a task changes nothing in its result. */
CALLS_KERNELS static void run_part(void *arg, int i)
{
	enum { GRAINS = 8 }; /* a share is handed out in about that many pieces */
	const Split *split = arg;
	const Call *c = split->call;
	const int64_t grain = c->ntasks / ((int64_t)c->parts * GRAINS) + 1;
	unsigned char *scratch = split->session->scratch + (size_t)i * split->session->scratch_stride;
	const uint64_t mode = mlrt_float_enter();

	for (int v = 0; v < c->parts; v++) {
		Share *share = &split->session->share[(i + v) % c->parts];

		while (atomic_load_explicit(&share->next, memory_order_relaxed) < share->end) {
			const int64_t first = atomic_fetch_add_explicit(&share->next, grain, memory_order_relaxed);
			const int64_t left = share->end - first;

			if (left <= 0)
				break;
			c->kernel(c->args, first, first + (left < grain ? left : grain), scratch);
		}
	}
	mlrt_float_leave(mode);
}

static void deal(const MlrtSession *s, const Call *c)
{
	for (int i = 0; i < c->parts; i++) {
		atomic_store_explicit(&s->share[i].next, c->ntasks * i / c->parts, memory_order_relaxed);
		s->share[i].end = c->ntasks * (i + 1) / c->parts;
	}
}

CALLS_KERNELS static void run_call(const MlrtSession *s, const Call *c)
{
	Split split = {s, c};

	if (c->parts == 1) {
		c->kernel(c->args, 0, c->ntasks, s->scratch);
		return;
	}
	deal(s, c);
	if (s->pool)
		mlrt_pool_run(s->pool, run_part, &split, c->parts);
	else
		s->foreign.parallel(s->foreign.user, run_part, &split, c->parts);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static MlrtStatus check_pointer(const Tensor *t, const char *what, const void *p, MlrtError *err)
{
	if (!p && t->info.bytes > 0)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%s '%.200s' is NULL", what, t->info.name);
	if ((uintptr_t)p % t->align != 0)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%s '%.200s' at %p is not aligned to %zu bytes",
				 what, t->info.name, p, t->align);
	return MLRT_OK;
}

static MlrtStatus check_pointers(const Manifest *m, const void *const *inputs, void *const *outputs,
				 MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	if ((!inputs && m->ninputs) || (!outputs && m->noutputs))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "no list of inputs or outputs");
	for (size_t i = 0; !st && i < m->ninputs; i++)
		st = check_pointer(&m->input[i], "input", inputs[i], err);
	for (size_t o = 0; !st && o < m->noutputs; o++) {
		const uintptr_t out = (uintptr_t)outputs[o];
		const size_t out_bytes = m->output[o].info.bytes;

		st = check_pointer(&m->output[o], "output", outputs[o], err);
		for (size_t i = 0; !st && i < m->ninputs; i++) {
			const uintptr_t in = (uintptr_t)inputs[i];

			if (in < out + out_bytes && out < in + m->input[i].info.bytes)
				return mlrt_fail(err, MLRT_ERR_ARGUMENT,
						 "input '%.200s' and output '%.200s' overlap",
						 m->input[i].info.name, m->output[o].info.name);
		}
	}
	return st;
}

MlrtStatus mlrt_session_run(MlrtSession *s, const void *const *inputs, void *const *outputs, MlrtError *err)
{
	const uint32_t ncalls = s->model->program.head->nsteps;
	uint64_t mode;
	MlrtStatus st = check_pointers(&s->model->manifest, inputs, outputs, err);

	if (st)
		return st;
	if (atomic_flag_test_and_set_explicit(&s->running, memory_order_acquire))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "the session is in use by another thread");
	for (size_t i = 0; i < s->ninputs; i++)
		s->arg[s->input[i].slot] = (char *)inputs[s->input[i].index] + s->input[i].offset;
	for (size_t i = 0; i < s->noutputs; i++)
		s->arg[s->output[i].slot] = (char *)outputs[s->output[i].index] + s->output[i].offset;
	mode = mlrt_float_enter();
	if (s->profiling) {
		for (uint32_t i = 0; i < ncalls; i++) {
			const uint64_t start = now_ns();

			run_call(s, &s->call[i]);
			s->ns[i] += now_ns() - start;
		}
	} else {
		for (uint32_t i = 0; i < ncalls; i++)
			run_call(s, &s->call[i]);
	}
	mlrt_float_leave(mode);
	atomic_flag_clear_explicit(&s->running, memory_order_release);
	return MLRT_OK;
}

/* Addresses that stay; those that follow inputs and outputs become patches. */
static void resolve_args(MlrtSession *s)
{
	const Program *p = &s->model->program;

	for (uint32_t i = 0; i < p->head->nargs; i++) {
		const MlrtArg *a = &p->arg[i];

		if (a->space == MLRT_ARENA)
			s->arg[i] = s->memory + a->offset;
		else if (a->space == MLRT_WEIGHT)
			s->arg[i] = (void *)(uintptr_t)(s->model->weights.data + a->offset);
		else if (a->space == MLRT_INPUT)
			s->input[s->ninputs++] = (Patch){i, a->index, a->offset};
		else if (a->space == MLRT_OUTPUT)
			s->output[s->noutputs++] = (Patch){i, a->index, a->offset};
	}
}

static void resolve_calls(MlrtSession *s)
{
	const Program *p = &s->model->program;

	for (uint32_t i = 0; i < p->head->nsteps; i++) {
		const MlrtStep *step = &p->step[i];
		const int most = step->ntasks < (uint32_t)s->threads ? (int)step->ntasks : s->threads;

		s->call[i].kernel = (Kernel *)(uintptr_t)(s->model->code.data + step->code);
		s->call[i].args = s->arg + step->first_arg;
		s->call[i].ntasks = step->ntasks;
		s->call[i].parts = step->flags & 1 ? 1 : most;
	}
}

static size_t count_args(const Program *p, uint32_t space)
{
	size_t n = 0;

	for (uint32_t i = 0; i < p->head->nargs; i++)
		n += p->arg[i].space == space;
	return n;
}

static void *allocate(const MlrtAllocator *al, size_t bytes, MlrtError *err)
{
	void *p = al->alloc(al->user, bytes);

	if (!p) {
		mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for %zu bytes", bytes);
	} else if ((uintptr_t)p % MLRT_ALIGN != 0) {
		mlrt_fail(err, MLRT_ERR_ARGUMENT, "the allocator's block of %zu bytes is not aligned to %d",
			  bytes, MLRT_ALIGN);
		al->release(al->user, p, bytes);
		p = NULL;
	}
	return p;
}

/* The session and its tables in one block. */
static MlrtSession *new_tables(const MlrtModel *m, const MlrtAllocator *al, MlrtError *err)
{
	const Program *p = &m->program;
	const size_t nargs = p->head->nargs, nsteps = p->head->nsteps;
	const size_t nin = count_args(p, MLRT_INPUT), nout = count_args(p, MLRT_OUTPUT);
	const size_t bytes = sizeof(MlrtSession) + nsteps * (sizeof(Call) + sizeof(uint64_t)) +
			     (nin + nout) * sizeof(Patch) + nargs * sizeof(void *);
	MlrtSession *s = allocate(al, bytes, err);

	if (!s)
		return NULL;
	memset(s, 0, bytes);
	s->model = m;
	s->allocator = *al;
	s->bytes = bytes;
	s->call = (Call *)(s + 1);
	s->ns = (uint64_t *)(s->call + nsteps);
	s->input = (Patch *)(s->ns + nsteps);
	s->output = s->input + nin;
	s->arg = (void **)(s->output + nout);
	atomic_flag_clear(&s->running);
	return s;
}

static MlrtStatus new_memory(MlrtSession *s, MlrtError *err)
{
	const MlrtProgram *h = s->model->program.head;
	const size_t arena = (h->arena_bytes + SCRATCH_LINE - 1) / SCRATCH_LINE * SCRATCH_LINE;

	const size_t shares = s->threads > 1 ? sizeof(Share) * (size_t)s->threads : 0;

	/* Never the same line for two threads; the sums cannot overflow, see check_head(). */
	s->scratch_stride = (h->scratch_bytes + SCRATCH_LINE - 1) / SCRATCH_LINE * SCRATCH_LINE;
	s->memory_bytes = arena + s->scratch_stride * (size_t)s->threads + shares;
	if (s->memory_bytes == 0)
		return MLRT_OK;
	s->memory = allocate(&s->allocator, s->memory_bytes, err);
	if (!s->memory)
		return err->status;
	s->scratch = s->memory + arena;
	if (shares)
		s->share = (Share *)(void *)(s->scratch + s->scratch_stride * (size_t)s->threads);
	return MLRT_OK;
}

static MlrtStatus set_threads(MlrtSession *s, const MlrtSessionOptions *opt, MlrtError *err)
{
	const MlrtPool *foreign = opt ? opt->pool : NULL;
	int n = opt ? opt->threads : 0;

	if (n < 0 || n > MAX_THREADS)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%d threads, between 1 and %d are possible", n,
				 MAX_THREADS);
	if (foreign && (foreign->threads < 1 || foreign->threads > MAX_THREADS || !foreign->parallel))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT,
				 "a pool of %d threads, between 1 and %d are possible", foreign->threads,
				 MAX_THREADS);
	if (foreign) {
		s->foreign = *foreign;
		s->threads = n > 0 && n < foreign->threads ? n : foreign->threads;
		return MLRT_OK;
	}
	s->threads = n ? n : mlrt_cpu_count("");
	if (s->threads > MAX_THREADS)
		s->threads = MAX_THREADS;
	if (s->threads == 1)
		return MLRT_OK;
	s->pool = mlrt_pool_new(s->threads, &s->allocator, err);
	return s->pool ? MLRT_OK : err->status;
}

MlrtStatus mlrt_session_new(MlrtModel *m, const MlrtSessionOptions *opt, MlrtSession **out, MlrtError *err)
{
	MlrtError local;
	MlrtAllocator al = mlrt_default_allocator();
	MlrtSession *s;

	if (!err)
		err = &local;
	*err = (MlrtError){0};
	if (!m || !out)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "no model, or nowhere to put the session");
	*out = NULL;
	if (opt && opt->allocator && opt->allocator->alloc && opt->allocator->release)
		al = *opt->allocator;
	else if (opt && opt->allocator && (opt->allocator->alloc || opt->allocator->release))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "an allocator needs both alloc and release");
	s = new_tables(m, &al, err);
	if (!s)
		return err->status;
	if (set_threads(s, opt, err) || new_memory(s, err)) {
		mlrt_session_free(s);
		return err->status;
	}
	resolve_args(s);
	resolve_calls(s);
	*out = s;
	return MLRT_OK;
}

void mlrt_session_free(MlrtSession *s)
{
	MlrtAllocator al;

	if (!s)
		return;
	al = s->allocator;
	mlrt_pool_free(s->pool);
	if (s->memory)
		al.release(al.user, s->memory, s->memory_bytes);
	al.release(al.user, s, s->bytes);
}

int mlrt_session_threads(const MlrtSession *s)
{
	return s->threads;
}

void mlrt_session_profile(MlrtSession *s, int on)
{
	s->profiling = on != 0;
}

size_t mlrt_session_steps(const MlrtSession *s)
{
	return s->model->program.head->nsteps;
}

uint64_t mlrt_session_step_ns(const MlrtSession *s, size_t step)
{
	return step < s->model->program.head->nsteps ? s->ns[step] : 0;
}
