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
#include "codegen/device.h"
#include "codegen/emit.h"
#include "codegen/program.h"
#include "runtime/format.h"

typedef struct Job {
	const MloKernel *kernel;
	const char *symbol;
	const char *text;      /* the kernel's text without its name */
	size_t ntext;
	MloBytes object;       /* of a GPU: MloLaunch, then PTX */
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
	MloLaunch launch;      /* of a GPU */
	MloDiag *diag;
	MloStatus status;
} Emission;

static void emit(void *arg)
{
	Emission *e = arg;

	e->status = e->target->gpu ? mlo_device_emit(e->m, e->job->kernel, e->target, e->job->symbol, &e->launch, e->diag)
	                           : mlo_emit_kernel(e->m, e->target, e->job->kernel, e->job->symbol, e->diag);
	if (e->target->gpu && e->status == MLO_OK)
		mlo_ptx_local_names(e->m, e->job->symbol);
}

/* A worker thread is outside the guard of the compilation, and LLVM's objects must be given back. */
static MloStatus emit_guarded(const Work *w, const Job *j, LLVMModuleRef m, MloLaunch *launch, MloDiag *d)
{
	Emission e = {.m = m, .target = w->target, .job = j, .diag = d};

	if (!mlo_guarded(emit, &e))
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	*launch = e.launch;
	return e.status;
}

/* How a kernel is started belongs to its code: they are made and kept together. */
static MloStatus put_launch(MloBytes *object, const MloLaunch *launch, MloDiag *d)
{
	unsigned char *both = malloc(sizeof *launch + object->n + 1);

	if (!both)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	memcpy(both, launch, sizeof *launch);
	memcpy(both + sizeof *launch, object->data, object->n + 1);
	free(object->data);
	*object = (MloBytes){both, object->n + sizeof *launch};
	return MLO_OK;
}

static MloStatus compile_kernel(Work *w, Job *j, MloDiag *d)
{
	LLVMContextRef ctx = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext(j->symbol, ctx);
	MloStatus st = mlo_object_prepare(w->target, m, d);
	MloLaunch launch;

	if (st == MLO_OK)
		st = emit_guarded(w, j, m, &launch, d);
	if (st == MLO_OK && w->opt->dump_llvm)
		j->llvm_text = LLVMPrintModuleToString(m);
	if (st == MLO_OK)
		st = mlo_object_emit(w->target, m, &j->object, w->opt->dump_asm ? &j->asm_text : NULL, d);
	if (st == MLO_OK && w->target->gpu)
		st = put_launch(&j->object, &launch, d);
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
	j->hit = cache_get(w->opt->cache_dir, key, CACHE_OBJECT, &j->object) == CACHE_FOUND;
	if (j->hit)
		return MLO_OK;
	MLO_TRY(compile_kernel(w, j, d));
	cache_put(w->opt->cache_dir, key, CACHE_OBJECT, &j->object);
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

static Job *make_jobs(Plan *p)
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

/* One module of PTX; a kernel's place is the number of its record. */
static MloStatus join_kernels(Plan *p, MloBytes *objects, const char *const *symbols, MloVariant *out, uint64_t *code, MloDiag *d)
{
	MloLaunch *launch = MLO_NEWN(p->arena, MloLaunch, p->unique.n + 1);

	for (size_t i = 0; i < p->unique.n; i++) {
		memcpy(&launch[i], objects[i].data, sizeof *launch);
		objects[i].data += sizeof *launch;
		objects[i].n -= sizeof *launch;
		code[i] = i;
	}
	p->launch = launch;
	MLO_TRY(mlo_ptx_join(p->target, objects, p->unique.n, &out->code, d));
	return mlo_device_records(launch, symbols, p->unique.n, &out->launches, d);
}

static MloStatus link_kernels(Plan *p, const Job *job, MloVariant *out, uint64_t *code, MloDiag *d)
{
	MloBytes *objects = MLO_NEWN(p->arena, MloBytes, p->unique.n + 1);
	const char **symbols = MLO_NEWN(p->arena, const char *, p->unique.n + 1);

	for (size_t i = 0; i < p->unique.n; i++) {
		objects[i] = job[i].object;
		symbols[i] = job[i].symbol;
		out->cache_hits += job[i].hit;
	}
	if (p->target->gpu)
		return join_kernels(p, objects, symbols, out, code, d);
	if (p->unique.n == 0)
		return MLO_OK;
	return mlo_image_link(p->target, objects, p->unique.n, symbols, p->unique.n, &out->code, code, d);
}

/* Steps of main, then of each body. */
static void report_steps(const Plan *p, MloVariant *out)
{
	for (size_t i = 0; i < p->program.n; i++) {
		out->arena_bytes += (uint64_t)p->program.items[i]->arena_bytes;
		out->nsteps += p->program.items[i]->step.n;
	}
	out->steps = MLO_NEWN(out->arena, MloStepInfo, out->nsteps + 1);
	for (size_t i = 0, at = 0; i < p->program.n; i++)
		for (size_t j = 0; j < p->program.items[i]->step.n; j++)
		{
			const Step *s = &p->program.items[i]->step.items[j];

			out->steps[at] = s->info;
			out->steps[at].launch = s->kernel && p->launch ? &p->launch[s->unique] : NULL;
			out->steps[at++].beside = s->beside;
		}
}

/* Kernels to code and program. */
static MloStatus make_image(Plan *p, MloVariant *out, MloDiag *d)
{
	Work w = {.target = p->target, .opt = p->opt, .diag = d};
	uint64_t *code = MLO_NEWN(out->arena, uint64_t, p->unique.n + 1);
	MloStatus st;

	w.n = p->unique.n;
	w.job = make_jobs(p);
	w.order = MLO_NEWN(out->arena, size_t, w.n + 1);
	for (size_t i = 0; i < w.n; i++)
		w.order[i] = i;
	st = compile_all(&w);
	if (st == MLO_OK)
		dump_all(&w);
	if (st == MLO_OK)
		st = link_kernels(p, w.job, out, code, d);
	for (size_t i = 0; i < w.n; i++) {
		free(w.job[i].object.data);
		free(w.job[i].asm_text.data);
		LLVMDisposeMessage(w.job[i].llvm_text);
	}
	MLO_TRY(st);
	return plan_write(p, code, &out->program, d);
}

static MloStatus codegen(const MloGraph *g, const MloTarget *t, const MloCodegenOptions *opt, MloVariant *out, MloDiag *d)
{
	Plan p;

	MLO_TRY(plan_build(&p, out->arena, g, t, opt, d));
	MLO_TRY(opt->function ? plan_object(&p, out, d) : make_image(&p, out, d));
	out->pooled = p.pooled;
	if (!p.pooled)
		out->weight = plan_weight_pieces(&p, &out->nweight);
	out->weight_bytes = (uint64_t)p.weight_bytes;
	out->lookup_bytes = (uint64_t)p.lookup_bytes;
	out->scratch_bytes = (uint64_t)p.scratch_bytes;
	out->nkernels = p.unique.n;
	report_steps(&p, out);
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
	free(v->launches.data);
	free(v->cubin.data);
	free(v->object.data);
	mlo_arena_free(v->arena);
	*v = (MloVariant){0};
}
