/* runtime/session.c -- running a model: memory of one run at a time, arguments resolved once.
 *
 * Everything is prepared by mlrt_session_new().  A run of a flat program writes the application's pointers
 * into the argument table and then calls kernel after kernel; tensors.c does what is more than that. */
#include "runtime/device.h"
#include "runtime/session.h"

#include <string.h>

#include "runtime/float_mode.h"

MLRT_LOCAL MlrtStatus mlrt_check_pointer(const Tensor *t, const char *what, const void *p, uint64_t bytes, MlrtError *err)
{
	if (!p && bytes > 0)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%s '%.200s' is NULL", what, t->info.name);
	if ((uintptr_t)p % t->elem->align != 0)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%s '%.200s' at %p is not aligned to %u bytes",
				 what, t->info.name, p, t->elem->align);
	return MLRT_OK;
}

MLRT_LOCAL MlrtStatus mlrt_check_overlap(const Tensor *in, Place from, const Tensor *out, Place to, MlrtError *err)
{
	const uintptr_t x = (uintptr_t)from.data, y = (uintptr_t)to.data;

	return x < y + to.bytes && y < x + from.bytes
		       ? mlrt_fail(err, MLRT_ERR_ARGUMENT, "input '%.200s' and output '%.200s' overlap", in->info.name,
				   out->info.name)
		       : MLRT_OK;
}

static Place place_of_tensor(const Tensor *t, const void *p)
{
	return (Place){(unsigned char *)(uintptr_t)p, t->info.bytes};
}

static MlrtStatus check_pointers(const Manifest *m, const void *const *inputs, void *const *outputs,
				 MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	if ((!inputs && m->ninputs) || (!outputs && m->noutputs))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "no list of inputs or outputs");
	for (size_t i = 0; !st && i < m->ninputs; i++)
		st = mlrt_check_pointer(&m->input[i], "input", inputs[i], m->input[i].info.bytes, err);
	for (size_t o = 0; !st && o < m->noutputs; o++) {
		const Tensor *out = &m->output[o];

		st = mlrt_check_pointer(out, "output", outputs[o], out->info.bytes, err);
		for (size_t i = 0; !st && i < m->ninputs; i++)
			st = mlrt_check_overlap(&m->input[i], place_of_tensor(&m->input[i], inputs[i]), out,
						place_of_tensor(out, outputs[o]), err);
	}
	return st;
}

MLRT_LOCAL bool mlrt_session_enter(MlrtSession *s, MlrtError *err)
{
	if (!atomic_flag_test_and_set_explicit(&s->running, memory_order_acquire))
		return true;
	mlrt_fail(err, MLRT_ERR_ARGUMENT, "the session is in use by another thread");
	return false;
}

MLRT_LOCAL void mlrt_session_leave(MlrtSession *s)
{
	atomic_flag_clear_explicit(&s->running, memory_order_release);
}

/* Caller memory at an offset; an empty tensor may come as NULL, to which C adds nothing. */
static void *at(const void *base, uint64_t offset)
{
	return (void *)((uintptr_t)base + (uintptr_t)offset);
}

MLRT_LOCAL MlrtStatus mlrt_run_flat(MlrtSession *s, const void *const *inputs, void *const *outputs, MlrtError *err)
{
	uint64_t mode;

	if (s->device)
		return s->device->run(s, inputs, outputs, err);
	for (size_t i = 0; i < s->ninputs; i++)
		s->arg[s->input[i].slot] = at(inputs[s->input[i].index], s->input[i].offset);
	for (size_t i = 0; i < s->noutputs; i++)
		s->arg[s->output[i].slot] = at(outputs[s->output[i].index], s->output[i].offset);
	mlrt_pace_begin(s);
	mode = mlrt_float_enter();
	mlrt_call_all(s);
	mlrt_float_leave(mode);
	mlrt_pace_end(s);
	return MLRT_OK;
}

MlrtStatus mlrt_session_run(MlrtSession *s, const void *const *inputs, void *const *outputs, MlrtError *err)
{
	MlrtStatus st;

	if (!s->simple)
		return mlrt_run_pointers(s, inputs, outputs, err);
	st = check_pointers(&s->model->manifest, inputs, outputs, err);
	if (st)
		return st;
	if (!mlrt_session_enter(s, err))
		return MLRT_ERR_ARGUMENT;
	st = mlrt_run_flat(s, inputs, outputs, err);
	mlrt_session_leave(s);
	return st;
}

/* Addresses that stay; those that follow inputs and outputs become patches. */
static void resolve_args(MlrtSession *s)
{
	const Program *p = &s->model->program;

	for (uint32_t i = 0; i < p->head->nargs; i++) {
		const MlrtArg *a = &p->arg[i];

		const uint32_t space = mlrt_arg_space(a);

		if (space == MLRT_ARENA)
			s->arg[i] = s->memory + a->offset;
		else if (space == MLRT_WEIGHT)
			s->arg[i] = (void *)(uintptr_t)(s->weights + a->offset);
		else if (space == MLRT_INPUT)
			s->input[s->ninputs++] = (Patch){i, a->index, a->offset};
		else if (space == MLRT_OUTPUT)
			s->output[s->noutputs++] = (Patch){i, a->index, a->offset};
	}
}

static void resolve_calls(MlrtSession *s)
{
	const Program *p = &s->model->program;

	for (uint32_t i = 0; i < p->head->nsteps; i++) {
		const MlrtStep *step = &p->step[i];
		const int most = step->ntasks < (uint32_t)s->threads ? (int)step->ntasks : s->threads;

		s->call[i].kernel = s->device ? NULL : (Kernel *)(uintptr_t)(s->model->code.data + step->code);
		s->call[i].code = step->code;
		s->call[i].nargs = step->nargs;
		s->call[i].args = s->arg + step->first_arg;
		s->call[i].ntasks = step->ntasks;
		s->call[i].parts = step->flags & MLRT_STEP_WHOLE ? 1 : most;
		s->call[i].cost = step->flags >> MLRT_STEP_COST;
	}
}

static size_t count_args(const Program *p, uint32_t space)
{
	size_t n = 0;

	for (uint32_t i = 0; p->head && i < p->head->nargs; i++)
		n += mlrt_arg_space(&p->arg[i]) == space;
	return n;
}

MLRT_LOCAL void *mlrt_allocate(const MlrtAllocator *al, size_t bytes, MlrtError *err)
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

MLRT_LOCAL MlrtStatus mlrt_block_reserve(const MlrtSession *s, Block *b, uint64_t bytes, uint64_t keep,
					 MlrtError *err)
{
	uint64_t n = bytes;
	unsigned char *p;

	if (bytes <= b->capacity)
		return MLRT_OK;
	if (bytes > SIZE_MAX / 4)
		return mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for %llu bytes", (unsigned long long)bytes);
	if (b->capacity > 0 && n < b->capacity + b->capacity / 2) /* what grows once will grow again */
		n = b->capacity + b->capacity / 2;
	n = (n + MLRT_ALIGN - 1) / MLRT_ALIGN * MLRT_ALIGN;
	p = mlrt_allocate(&s->allocator, n, err);
	if (!p)
		return err->status;
	mlrt_populate(p, bytes);
	if (keep > 0)
		memcpy(p, b->data, keep);
	mlrt_block_free(s, b);
	*b = (Block){p, n};
	return MLRT_OK;
}

MLRT_LOCAL void mlrt_block_free(const MlrtSession *s, Block *b)
{
	if (b->data)
		s->allocator.release(s->allocator.user, b->data, b->capacity);
	*b = (Block){0};
}

/* The session and its tables in one block. */
static MlrtSession *new_tables(const MlrtModel *m, const MlrtAllocator *al, MlrtError *err)
{
	const Program *p = &m->program;
	const size_t nargs = p->head ? p->head->nargs : 0, ncalls = p->head ? p->head->nsteps : 0;
	const size_t nin = count_args(p, MLRT_INPUT), nout = count_args(p, MLRT_OUTPUT);
	const size_t bytes = sizeof(MlrtSession) + ncalls * sizeof(Call) + p->nsteps * sizeof(uint64_t) +
			     (nin + nout) * sizeof(Patch) + nargs * sizeof(void *);
	MlrtSession *s = mlrt_allocate(al, bytes, err);

	if (!s)
		return NULL;
	memset(s, 0, bytes);
	s->model = m;
	s->allocator = s->store.allocator = *al;
	s->bytes = bytes;
	s->call = (Call *)(s + 1);
	s->ns = (uint64_t *)(s->call + ncalls);
	s->input = (Patch *)(s->ns + p->nsteps);
	s->output = s->input + nin;
	s->arg = (void **)(s->output + nout);
	s->weights = m->weights.data;
	s->device = m->device;
	s->simple = p->head != NULL;
	mlrt_pace_forget(s);
	atomic_flag_clear(&s->running);
	return s;
}

static MlrtStatus new_memory(MlrtSession *s, MlrtError *err)
{
	const Program *h = &s->model->program;
	/* Programs of a list have arenas of their own. */
	const size_t in_block = h->head ? h->arena_bytes : 0;
	const size_t arena = (in_block + SCRATCH_LINE - 1) / SCRATCH_LINE * SCRATCH_LINE;
	size_t most;
	const size_t cuts = mlrt_set_cuts(h, s->threads, &most) * sizeof *s->cut;
	const size_t shares = s->threads > 1 ? sizeof(Share) * most * (size_t)s->threads : 0;

	/* Never the same line for two threads; the sums cannot overflow, see check_head(). */
	s->scratch_stride = (h->scratch_bytes + SCRATCH_LINE - 1) / SCRATCH_LINE * SCRATCH_LINE;
	s->memory_bytes = arena + s->scratch_stride * (size_t)s->threads + shares + cuts;
	if (s->memory_bytes == 0)
		return MLRT_OK;
	s->memory = mlrt_allocate(&s->allocator, s->memory_bytes, err);
	if (!s->memory)
		return err->status;
	mlrt_populate(s->memory, s->memory_bytes);
	s->scratch = s->memory + arena;
	if (shares)
		s->share = (Share *)(void *)(s->scratch + s->scratch_stride * (size_t)s->threads);
	s->cut = (int64_t *)(void *)(s->scratch + s->scratch_stride * (size_t)s->threads + shares);
	return MLRT_OK;
}

static MlrtStatus set_threads(MlrtSession *s, const MlrtSessionOptions *opt, MlrtError *err)
{
	const MlrtPool *foreign = opt ? opt->pool : NULL;
	int n = opt ? opt->threads : 0, cpus;

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
	cpus = n == 1 ? 1 : mlrt_cpu_count("");
	s->threads = n ? n : cpus;
	if (s->threads > MAX_THREADS)
		s->threads = MAX_THREADS;
	if (s->threads == 1)
		return MLRT_OK;
	s->pool = mlrt_pool_new(s->threads, cpus, &s->allocator, err);
	return s->pool ? MLRT_OK : err->status;
}

static MlrtStatus new_program(MlrtSession *s, MlrtError *err)
{
	if (s->model->program.list.head)
		return mlrt_frames_new(s, err);
	resolve_args(s);
	resolve_calls(s);
	if (!s->device)
		mlrt_sets_deal(s);
	return MLRT_OK;
}

static MlrtStatus new_host(MlrtSession *s, const MlrtSessionOptions *opt, MlrtError *err)
{
	const MlrtStatus st = set_threads(s, opt, err);

	return st ? st : new_memory(s, err);
}

/* The arena is the device's, and so are threads. */
static MlrtStatus new_device(MlrtModel *m, MlrtSession *s, const MlrtSessionOptions *opt, MlrtError *err)
{
	s->threads = 1;
	return s->device->session_new(m, s, opt ? opt->device : 0, opt ? opt->stream : NULL, err);
}

MLRT_LOCAL MlrtStatus mlrt_session_wait(MlrtSession *s, MlrtError *err)
{
	return s->device ? s->device->wait(s, err) : MLRT_OK;
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
	if (mlrt_model_check(m, err))
		return err->status;
	s = new_tables(m, &al, err);
	if (!s)
		return err->status;
	if ((s->device ? new_device(m, s, opt, err) : new_host(s, opt, err)) || new_program(s, err) || mlrt_states_new(s, err)) {
		mlrt_session_free(s);
		return err->status;
	}
	*out = s;
	return MLRT_OK;
}

void mlrt_session_free(MlrtSession *s)
{
	MlrtAllocator al;

	if (!s)
		return;
	al = s->store.allocator;
	mlrt_pool_free(s->pool);
	mlrt_frames_free(s);
	mlrt_tensors_free(s);
	mlrt_states_free(s);
	mlrt_store_free(&s->store);
	if (s->on)
		s->device->session_free(s);
	else if (s->memory)
		al.release(al.user, s->memory, s->memory_bytes);
	al.release(al.user, s, s->bytes);
}

int mlrt_session_threads(const MlrtSession *s)
{
	return s->threads;
}

void mlrt_session_profile(MlrtSession *s, int on)
{
	s->profiling = on;
}

size_t mlrt_session_steps(const MlrtSession *s)
{
	return s->model->program.nsteps;
}

uint64_t mlrt_session_step_ns(const MlrtSession *s, size_t step)
{
	return step < s->model->program.nsteps ? s->ns[step] : 0;
}
