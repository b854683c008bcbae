/* codegen/program_interp.c -- runs a plan with the Kernel IR interpreter, or what a test brings, in place of machine code. */
#include <string.h>

#include "codegen/program.h"

typedef struct Run {
	MloArena *a;
	const Plan *plan;
	const Program *p;
	const MloKernelRunner *runner;
	const MloTensor *const *inputs;
	int64_t *slot;
	char **own;              /* per buffer: OWN, OUTPUT */
	char *arena, *planned;
	MloDiag *d;
} Run;

static MloStatus too_large(Run *r, int64_t bytes)
{
	return mlo_error(r->d, MLO_ERR_LIMIT, "a buffer of %lld bytes", (long long)bytes);
}

static MloStatus evaluate(Run *r, const MlrtExpr *e)
{
	int64_t a = r->slot[e->a], b = r->slot[e->b];
	bool holds = true;

	if (slots_is_check(e->op)) {
		holds = slots_holds(e->op, a, b);
		return holds ? MLO_OK : mlo_error(r->d, MLO_ERR_MODEL, "sizes do not fit: %lld and %lld", (long long)a, (long long)b);
	}
	if (e->op == MLRT_X_CONST)
		r->slot[e->dst] = e->imm;
	else if (e->op == MLRT_X_COPY)
		r->slot[e->dst] = a;
	else
		holds = slots_compute((enum MlrtExprOp)e->op, a, b, e->imm, &r->slot[e->dst]);
	return holds ? MLO_OK : mlo_error(r->d, MLO_ERR_MODEL, "a size does not fit 64 bits");
}

static MloStatus evaluate_all(Run *r, const MlrtExpr *e, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		MLO_TRY(evaluate(r, &e[i]));
	return MLO_OK;
}

static int64_t arg_bytes(const Run *r, const StepArg *sa)
{
	return sa->bytes_slot < 0 ? sa->bytes : r->slot[sa->bytes_slot];
}

static MloStatus address(Run *r, const StepArg *sa, char **out)
{
	const Buffer *b = sa->buffer < 0 ? NULL : &r->p->buffer.items[sa->buffer];
	int64_t bytes = arg_bytes(r, sa);

	if (sa->buffer == STEP_SIZES) {
		*out = (char *)(r->slot + sa->slot);
		return MLO_OK;
	}
	if (!b || sa->reserve || (b->kind == BUF_OUTPUT && !r->own[sa->buffer])) {
		int64_t need = !b || b->bytes_slot < 0 ? bytes : r->slot[b->bytes_slot];

		if (b && !sa->reserve && b->bytes_slot < 0)
			need = b->bytes;
		if (need < 0 || need > MLO_MAX_ELEMS)
			return too_large(r, need);
		*out = mlo_alloc(r->a, 1, (size_t)need + 64);
		if (b)
			r->own[sa->buffer] = *out;
		*out += sa->offset;
		return MLO_OK;
	}
	*out = b->kind == BUF_ARENA     ? r->arena + b->offset
	       : b->kind == BUF_PLANNED ? r->planned + r->slot[b->offset_slot]
	       : b->kind == BUF_WEIGHT  ? (char *)r->plan->weight.items[b->index].data->data
	       : b->kind == BUF_INPUT   ? (char *)r->inputs[b->index]->data
	                                : r->own[sa->buffer];
	*out += sa->offset;
	return MLO_OK;
}

static MloStatus run_step(Run *r, const Step *s)
{
	void **args;

	if (s->kind != MLRT_STEP_KERNEL)
		return mlo_error(r->d, MLO_ERR_UNSUPPORTED, "the kernel interpreter runs no %s", s->info.name);
	args = MLO_NEWN(r->a, void *, s->kernel->arg.n + 1);
	for (size_t k = 0; k < s->kernel->arg.n; k++) {
		char *p;

		MLO_TRY(address(r, &s->arg[k], &p));
		args[k] = p;
	}
	return r->runner->run(r->runner->user, s->kernel, args,
	                      s->tasks_slot < 0 ? s->kernel->ntasks : r->slot[s->tasks_slot], r->d);
}

static MloStatus give_output(Run *r, uint32_t i, MloTensor **out)
{
	const MloType *t = &r->p->graph->outputs[i]->type;
	const RunValue *v = r->plan->flat ? NULL : &r->p->value.items[r->p->output[i]];
	MloTensor *o = MLO_NEW(r->a, MloTensor);
	char *p = NULL;

	o->elem = t->elem;
	o->rank = t->rank;
	for (int d = 0; d < t->rank; d++)
		o->dim[d] = v ? r->slot[v->first_dim + d] : t->dim[d].k;
	o->nbytes = (size_t)((mlo_tensor_elems(o) * (int64_t)mlo_elem_bits(o->elem) + 7) / 8);
	if (v) {
		MLO_TRY(address(r, &v->arg, &p));
	} else {
		for (size_t k = 0; k < r->p->buffer.n; k++)
			if (r->p->buffer.items[k].kind == BUF_OUTPUT && r->p->buffer.items[k].index == i)
				p = r->own[k];
	}
	o->data = p ? p : "";
	*out = o;
	return MLO_OK;
}

static MloStatus start(Run *r)
{
	const MloGraph *g = r->p->graph;

	for (uint32_t i = 0; i < g->ninputs && !r->plan->flat; i++) {
		const RunValue *v = &r->p->value.items[r->p->input[i]];

		if (v->kind != MLRT_V_TENSOR || r->inputs[i]->rank != v->rank)
			return mlo_error(r->d, MLO_ERR_UNSUPPORTED, "the kernel interpreter takes no such input '%s'", g->inputs[i]->name);
		memcpy(r->slot + v->first_dim, r->inputs[i]->dim, (size_t)v->rank * sizeof *r->slot);
	}
	MLO_TRY(evaluate_all(r, r->p->slots.early.items, 0, r->p->slots.early.n));
	r->arena = mlo_alloc(r->a, 1, (size_t)r->p->arena_bytes + 1);
	if (r->p->arena_slot >= 0) {
		if (r->slot[r->p->arena_slot] > MLO_MAX_ELEMS)
			return too_large(r, r->slot[r->p->arena_slot]);
		r->planned = mlo_alloc(r->a, 1, (size_t)r->slot[r->p->arena_slot] + 1);
	}
	return MLO_OK;
}

static MloStatus interpret(void *user, const MloKernel *k, void *const *args, int64_t tasks, MloDiag *d)
{
	(void)user;
	return mlo_kernel_interp(k, args, 0, tasks, d);
}

MloStatus mlo_codegen_interp(MloArena *a, const MloGraph *g, const MloTarget *t, const MloTensor *const *inputs,
                             MloTensor **outputs, MloDiag *d)
{
	return mlo_codegen_run(a, g, t, &(MloKernelRunner){interpret, NULL}, inputs, outputs, d);
}

MloStatus mlo_codegen_run(MloArena *a, const MloGraph *g, const MloTarget *t, const MloKernelRunner *runner,
                          const MloTensor *const *inputs, MloTensor **outputs, MloDiag *d)
{
	static const MloCodegenOptions defaults;
	Plan plan;
	Run r = {.a = a, .plan = &plan, .runner = runner, .inputs = inputs, .d = d};
	size_t late = 0;

	MLO_TRY(plan_build(&plan, a, g, t, &defaults, d));
	r.p = plan.program.items[0];
	r.slot = MLO_NEWN(a, int64_t, r.p->slots.slot.n + 1);
	r.own = MLO_NEWN(a, char *, r.p->buffer.n + 1);
	MLO_TRY(start(&r));
	for (size_t i = 0; i < r.p->step.n; i++) {
		const Step *s = &r.p->step.items[i];

		MLO_TRY(evaluate_all(&r, r.p->slots.late.items, late, s->late_end));
		late = s->late_end;
		MLO_TRY(run_step(&r, s));
	}
	for (uint32_t i = 0; i < g->noutputs; i++)
		MLO_TRY(give_output(&r, i, &outputs[i]));
	return MLO_OK;
}
