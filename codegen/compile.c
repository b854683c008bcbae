/* codegen/compile.c -- all kernels of a program to machine code, in parallel, and the variant's blobs. */
#include "codegen/compile.h"

#include <llvm-c/Core.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/cache.h"
#include "codegen/emit.h"
#include "codegen/program.h"
#include "runtime/format.h"

typedef struct Job {
	const MloKernel *kernel;
	const char *symbol;
	const char *text;      /* the kernel's text without its name */
	size_t ntext;
	MloBytes object;
	MloBytes asm_text;
	char *llvm_text;
	bool hit;
	double weight;         /* expected effort: big ones first */
} Job;

typedef struct Work {
	const MloTarget *target;
	const MloCodegenOptions *opt;
	Job *job;
	size_t *order;
	size_t n;
	atomic_size_t next;
	pthread_mutex_t lock;  /* of the diagnostics */
	MloDiag *diag;
	MloStatus status;
} Work;

/* -- one kernel ----------------------------------------------------------------------------- */

typedef struct Emission {
	LLVMModuleRef m;
	const MloTarget *target;
	const Job *job;
	MloDiag *diag;
	MloStatus status;
} Emission;

static void emit(void *arg)
{
	Emission *e = arg;

	e->status = mlo_emit_kernel(e->m, e->target, e->job->kernel, e->job->symbol, e->diag);
}

/* A worker thread is outside the guard of the compilation, and LLVM's objects must be given back. */
static MloStatus emit_guarded(const Work *w, const Job *j, LLVMModuleRef m, MloDiag *d)
{
	Emission e = {.m = m, .target = w->target, .job = j, .diag = d};

	return mlo_guarded(emit, &e) ? e.status : mlo_error(d, MLO_ERR_NOMEM, "out of memory");
}

static MloStatus compile_kernel(Work *w, Job *j, MloDiag *d)
{
	LLVMContextRef ctx = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext(j->symbol, ctx);
	MloStatus st = mlo_object_prepare(w->target, m, d);

	if (st == MLO_OK)
		st = emit_guarded(w, j, m, d);
	if (st == MLO_OK && w->opt->dump_llvm)
		j->llvm_text = LLVMPrintModuleToString(m);
	if (st == MLO_OK)
		st = mlo_object_emit(w->target, m, &j->object, w->opt->dump_asm ? &j->asm_text : NULL, d);
	LLVMDisposeModule(m);
	LLVMContextDispose(ctx);
	return st;
}

static MloStatus run_job(Work *w, Job *j, MloDiag *d)
{
	CacheKey key;
	bool cached = w->opt->cache_dir && !w->opt->dump_llvm && !w->opt->dump_asm;

	if (!cached)
		return compile_kernel(w, j, d);
	/* the symbol is derived from the text, so equal keys mean equal objects */
	key = cache_key(w->target, j->text, j->ntext);
	j->hit = cache_get(w->opt->cache_dir, key, &j->object);
	if (j->hit)
		return MLO_OK;
	MLO_TRY(compile_kernel(w, j, d));
	cache_put(w->opt->cache_dir, key, &j->object);
	return MLO_OK;
}

typedef struct Attempt {
	Work *work;
	Job *job;
	MloDiag *diag;
	MloStatus status;
} Attempt;

static void attempt(void *arg)
{
	Attempt *a = arg;

	a->status = run_job(a->work, a->job, a->diag);
}

static void *worker(void *arg)
{
	Work *w = arg;

	for (;;) {
		size_t i = atomic_fetch_add(&w->next, 1);
		MloDiag d = {0};
		Attempt a = {.work = w, .diag = &d};
		MloStatus st;

		if (i >= w->n)
			return NULL;
		a.job = &w->job[w->order[i]];
		st = mlo_guarded(attempt, &a) ? a.status : mlo_error(&d, MLO_ERR_NOMEM, "out of memory");
		if (st != MLO_OK) {
			pthread_mutex_lock(&w->lock);
			w->status = st;
			for (size_t k = 0; k < d.n; k++)
				if (d.lines[k].severity == MLO_DIAG_ERROR)
					mlo_error(w->diag, st, "kernel '%s': %s", w->job[w->order[i]].kernel->name, d.lines[k].text);
			pthread_mutex_unlock(&w->lock);
		}
		mlo_diag_free(&d);
	}
}

static int heavier_first(const void *x, const void *y, void *jobs)
{
	const Job *a = (Job *)jobs + *(const size_t *)x, *b = (Job *)jobs + *(const size_t *)y;

	if (a->weight != b->weight)
		return a->weight < b->weight ? 1 : -1;
	return *(const size_t *)x < *(const size_t *)y ? -1 : 1;
}

static MloStatus compile_all(Work *w)
{
	pthread_t thread[64];
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t jobs = w->opt->jobs > 0 ? (size_t)w->opt->jobs : cores > 0 ? (size_t)cores : 1, started = 0;

	qsort_r(w->order, w->n, sizeof *w->order, heavier_first, w->job);
	pthread_mutex_init(&w->lock, NULL);
	jobs = jobs > 64 ? 64 : jobs > w->n ? w->n : jobs;
	while (started + 1 < jobs && !pthread_create(&thread[started], NULL, worker, w))
		started++;
	worker(w);
	for (size_t i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	pthread_mutex_destroy(&w->lock);
	return w->status;
}

static void dump_all(const Work *w)
{
	const MloCodegenOptions *o = w->opt;

	for (size_t i = 0; i < w->n && o->dump; i++) {
		Job *j = &w->job[i];

		if (o->dump_kernels)
			o->dump(o->dump_user, "kernels", j->kernel->name, j->text);
		if (j->llvm_text)
			o->dump(o->dump_user, "llvm", j->kernel->name, j->llvm_text);
		if (j->asm_text.data)
			o->dump(o->dump_user, "asm", j->kernel->name, (const char *)j->asm_text.data);
	}
}

static Job *make_jobs(Program *p)
{
	Job *job = MLO_NEWN(p->arena, Job, p->unique.n + 1);

	for (size_t i = 0; i < p->unique.n; i++) {
		MloStr s = {.arena = p->arena};

		mlo_kernel_print(&s, p->unique.items[i], false);
		job[i].kernel = p->unique.items[i];
		job[i].text = mlo_str_text(&s);
		job[i].ntext = s.n;
		job[i].symbol = mlo_sprintf(p->arena, "k%016llx", (unsigned long long)mlo_kernel_key(p->unique.items[i]));
		job[i].weight = (double)s.n;
		if (p->unique.items[i]->body && p->unique.items[i]->body->kind == KS_CONTRACT)
			job[i].weight += 1e5 * (double)p->unique.items[i]->body->contract->nkx;
	}
	return job;
}

/* -- blobs ---------------------------------------------------------------------------------- */

static void make_weights(const Program *p, MloVariant *out)
{
	MloPiece *piece = MLO_NEWN(p->arena, MloPiece, 2 * p->buffer.n + 1);
	uint64_t at = 0;

	for (size_t i = 0; i < p->buffer.n; i++) {
		const Buffer *b = &p->buffer.items[i];

		if (b->kind != BUF_WEIGHT)
			continue;
		if ((uint64_t)b->offset > at)
			piece[out->nweight++] = (MloPiece){NULL, (size_t)((uint64_t)b->offset - at)};
		piece[out->nweight++] = (MloPiece){b->data->data, (size_t)b->bytes};
		at = (uint64_t)(b->offset + b->bytes);
	}
	if ((uint64_t)p->weight_bytes > at)
		piece[out->nweight++] = (MloPiece){NULL, (size_t)((uint64_t)p->weight_bytes - at)};
	out->weight = piece;
	out->weight_bytes = (uint64_t)p->weight_bytes;
}

/* Steps shorter than about a fork and join of threads run on the caller alone. */
static bool too_small(const MloTarget *t, const MloStepInfo *s)
{
	double lanes = t->vector_bytes / 4.0;
	double cycles = s->flops / (2 * lanes * t->fma_per_cycle) + s->bytes / (2 * t->bytes_per_cycle);

	return s->ntasks < 2 || cycles / t->clock_ghz < 4000; /* ns */
}

static MlrtArg make_arg(const Program *p, const StepArg *sa)
{
	static const uint32_t space[] = {[BUF_ARENA] = MLRT_ARENA, [BUF_WEIGHT] = MLRT_WEIGHT,
	                                 [BUF_INPUT] = MLRT_INPUT, [BUF_OUTPUT] = MLRT_OUTPUT};
	const Buffer *b;

	if (sa->buffer < 0)
		return (MlrtArg){.space = MLRT_NONE};
	b = &p->buffer.items[sa->buffer];
	return (MlrtArg){space[b->kind], b->index, (uint64_t)(b->offset + sa->offset), (uint64_t)sa->bytes};
}

static MloStatus make_program(const Program *p, const uint64_t *code, MloBytes *out, MloDiag *d)
{
	MlrtProgram head = {.magic = MLRT_PROGRAM_MAGIC, .nsteps = (uint32_t)p->step.n,
	                    .arena_bytes = (uint64_t)p->arena_bytes, .scratch_bytes = (uint64_t)p->scratch_bytes};
	MlrtStep *step;
	MlrtArg *arg;

	for (size_t i = 0; i < p->step.n; i++)
		head.nargs += (uint32_t)p->step.items[i].kernel->arg.n;
	out->n = sizeof head + head.nsteps * sizeof *step + head.nargs * sizeof *arg;
	out->data = calloc(1, out->n);
	if (!out->data)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory for the program");
	memcpy(out->data, &head, sizeof head);
	step = (MlrtStep *)(out->data + sizeof head);
	arg = (MlrtArg *)(step + head.nsteps);
	for (size_t i = 0, a = 0; i < p->step.n; i++) {
		const Step *s = &p->step.items[i];

		step[i] = (MlrtStep){code[s->unique], (uint32_t)a, (uint32_t)s->kernel->arg.n, (uint32_t)s->kernel->ntasks,
		                     too_small(p->target, &s->info)};
		for (size_t k = 0; k < s->kernel->arg.n; k++)
			arg[a++] = make_arg(p, &s->arg[k]);
	}
	return MLO_OK;
}

static MloStatus link_kernels(const Program *p, const Job *job, MloVariant *out, uint64_t *code, MloDiag *d)
{
	MloBytes *objects = MLO_NEWN(p->arena, MloBytes, p->unique.n + 1);
	const char **symbols = MLO_NEWN(p->arena, const char *, p->unique.n + 1);

	for (size_t i = 0; i < p->unique.n; i++) {
		objects[i] = job[i].object;
		symbols[i] = job[i].symbol;
		out->cache_hits += job[i].hit;
	}
	if (p->unique.n == 0)
		return MLO_OK;
	return mlo_image_link(p->target, objects, p->unique.n, symbols, p->unique.n, &out->code, code, d);
}

static MloStatus codegen(const MloGraph *g, const MloTarget *t, const MloCodegenOptions *opt, MloVariant *out, MloDiag *d)
{
	Program p;
	Work w = {.target = t, .opt = opt, .diag = d};
	uint64_t *code;
	MloStatus st;

	MLO_TRY(program_build(&p, out->arena, g, t, d));
	w.n = p.unique.n;
	w.job = make_jobs(&p);
	w.order = MLO_NEWN(out->arena, size_t, w.n + 1);
	for (size_t i = 0; i < w.n; i++)
		w.order[i] = i;
	st = compile_all(&w);
	if (st == MLO_OK)
		dump_all(&w);
	code = MLO_NEWN(out->arena, uint64_t, w.n + 1);
	if (st == MLO_OK)
		st = link_kernels(&p, w.job, out, code, d);
	for (size_t i = 0; i < w.n; i++) {
		free(w.job[i].object.data);
		free(w.job[i].asm_text.data);
		LLVMDisposeMessage(w.job[i].llvm_text);
	}
	MLO_TRY(st);
	MLO_TRY(make_program(&p, code, &out->program, d));
	make_weights(&p, out);
	out->arena_bytes = (uint64_t)p.arena_bytes;
	out->scratch_bytes = (uint64_t)p.scratch_bytes;
	out->nkernels = p.unique.n;
	out->nsteps = p.step.n;
	out->steps = MLO_NEWN(out->arena, MloStepInfo, p.step.n + 1);
	for (size_t i = 0; i < p.step.n; i++)
		out->steps[i] = p.step.items[i].info;
	return MLO_OK;
}

MloStatus mlo_codegen(const MloGraph *g, const MloTarget *t, const MloCodegenOptions *opt, MloVariant *out, MloDiag *d)
{
	static const MloCodegenOptions defaults;
	MloStatus st;

	*out = (MloVariant){.arena = mlo_arena_new()};
	if (!out->arena)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	st = codegen(g, t, opt ? opt : &defaults, out, d);
	if (st != MLO_OK)
		mlo_variant_free(out);
	return st;
}

void mlo_variant_free(MloVariant *v)
{
	free(v->code.data);
	free(v->program.data);
	mlo_arena_free(v->arena);
	*v = (MloVariant){0};
}

/* -- the Kernel IR interpreter in place of machine code ---------------------------------------- */

MloStatus mlo_codegen_interp(const MloGraph *g, const MloTarget *t, const void *const *inputs, void *const *outputs, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	Program p;
	MloStatus st;
	char *arena;

	if (!a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	st = program_build(&p, a, g, t, d);
	arena = st == MLO_OK ? mlo_alloc(a, 1, (size_t)p.arena_bytes) : NULL;
	for (size_t i = 0; i < p.step.n && st == MLO_OK; i++) {
		const Step *s = &p.step.items[i];
		void **args = MLO_NEWN(a, void *, s->kernel->arg.n + 1);

		for (size_t k = 0; k < s->kernel->arg.n; k++) {
			const Buffer *b = s->arg[k].buffer < 0 ? NULL : &p.buffer.items[s->arg[k].buffer];
			char *base = !b                      ? mlo_alloc(a, 1, (size_t)s->arg[k].bytes)
			             : b->kind == BUF_ARENA  ? arena + b->offset
			             : b->kind == BUF_WEIGHT ? (char *)b->data->data
			             : b->kind == BUF_INPUT  ? (char *)inputs[b->index]
			                                     : (char *)outputs[b->index];

			args[k] = base + (b ? s->arg[k].offset : 0);
		}
		st = mlo_kernel_interp(s->kernel, args, 0, s->kernel->ntasks, d);
	}
	mlo_arena_free(a);
	return st;
}
