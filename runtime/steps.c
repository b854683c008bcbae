/* runtime/steps.c -- running a frame: step after step, kernels with their arguments, all else by kind. */
#include "runtime/more.h"

static MlrtStatus reserve(Frame *f, const FrameStep *p, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	for (uint32_t k = 0; !st && k < p->nlate; k++) {
		const MlrtBodyArg *a = &f->body->arg[f->late[p->first_late + k]];
		int64_t bytes;

		if (!(a->flags & MLRT_ARG_RESERVE))
			continue;
		bytes = f->slot[f->body->buffer[a->index].bytes_slot];
		if (bytes < 0)
			return mlrt_fail(err, MLRT_ERR_ARGUMENT, "a result of %lld bytes", (long long)bytes);
		st = mlrt_own_reserve(f, a->index, (uint64_t)bytes, 0, err);
	}
	return st;
}

static MlrtStatus run_kernel(Frame *f, const MlrtBodyStep *step, FrameStep *p, MlrtError *err)
{
	MlrtSession *s = f->session;
	MlrtStatus st = p->reserves ? reserve(f, p, err) : MLRT_OK;

	for (uint32_t k = 0; !st && k < p->nlate; k++) {
		const uint32_t arg = f->late[p->first_late + k];
		Place place;

		st = mlrt_arg_place(f, arg, &place, err);
		if (!st)
			f->arg[arg] = place.data;
	}
	if (st)
		return st;
	if (step->ntasks_slot != MLRT_ABSENT) {
		const int64_t n = f->slot[step->ntasks_slot];

		if (n < 0 || n > INT64_MAX / (2 * MAX_THREADS))
			return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%lld tasks", (long long)n);
		p->call.ntasks = n;
		if (n == 0)
			return MLRT_OK;
		p->call.parts = step->flags & MLRT_STEP_WHOLE ? 1 : n < s->threads ? (int)n : s->threads;
	}
	mlrt_call(s, &p->call);
	return MLRT_OK;
}

static MlrtStatus run_step(Frame *f, const MlrtBodyStep *step, FrameStep *p, MlrtError *err)
{
	MlrtStatus st = MLRT_OK;

	/* Sizes that kernels find are looked at by expressions first. */
	if (step->nexprs || step->kind != MLRT_STEP_KERNEL)
		st = mlrt_session_wait(f->session, err);
	if (!st && step->nexprs)
		st = mlrt_exprs_run(f, step->first_expr, step->nexprs, err);
	if (st)
		return st;
	switch (step->kind) {
	case MLRT_STEP_KERNEL: return run_kernel(f, step, p, err);
	case MLRT_STEP_COPY: return mlrt_take_value(f, f->body->ref[step->first + 1], f, f->body->ref[step->first], err);
	case MLRT_STEP_NEVER:
		return mlrt_fail(err, MLRT_ERR_ARGUMENT,
				 "this branch cannot run with the sizes that the model was compiled for");
	default: return mlrt_more("", err)->list_run(f, step, p->loop, err); /* it is there: the package is open */
	}
}

/* Nanoseconds of a step without those of the steps in its bodies. */
static MlrtStatus run_timed(Frame *f, uint32_t i, MlrtError *err)
{
	MlrtSession *s = f->session;
	const uint64_t outer = s->inner_ns, start = mlrt_profile_ns(s);
	MlrtStatus st;
	uint64_t all;

	s->inner_ns = 0;
	st = run_step(f, &f->body->step[i], &f->step[i], err);
	if (!st)
		st = mlrt_session_wait(s, err);
	all = mlrt_profile_ns(s) - start;
	s->ns[f->body->first_step + i] += all > s->inner_ns ? all - s->inner_ns : 0;
	s->inner_ns = outer + all;
	return st;
}

/* Puts the user's name of the step before the error, unless a step within it has done that. */
static void blame(Frame *f, uint32_t i, MlrtError *err)
{
	const MlrtModel *m = f->session->model;
	char name[160];

	if (f->session->blamed)
		return;
	f->session->blamed = true;
	mlrt_manifest_step(&m->container, m->variant->name, f->body->first_step + i, name, sizeof name);
	if (name[0])
		mlrt_error_prefix(err, name);
}

MLRT_LOCAL MlrtStatus mlrt_frame_run(Frame *f, MlrtError *err)
{
	const bool timed = f->session->profiling;

	for (uint32_t i = 0; i < f->body->head->nsteps; i++) {
		const MlrtStatus st = timed ? run_timed(f, i, err)
					    : run_step(f, &f->body->step[i], &f->step[i], err);

		if (st) {
			blame(f, i, err);
			return st;
		}
	}
	return MLRT_OK;
}

MLRT_LOCAL bool mlrt_frame_repeats(const Frame *f)
{
	const Body *b = f->body;

	for (uint32_t i = 0; i < b->head->nsteps; i++)
		if (b->step[i].kind != MLRT_STEP_KERNEL || b->step[i].nexprs > 0)
			return false;
	for (uint32_t i = 0; i < b->head->nbuffers; i++)
		if (b->buffer[i].kind != MLRT_PLANNED)
			return false;
	return true;
}

MLRT_LOCAL void mlrt_frame_repeat(Frame *f)
{
	for (uint32_t i = 0; i < f->body->head->nsteps; i++)
		if (f->step[i].call.ntasks > 0)
			mlrt_call(f->session, &f->step[i].call);
}
