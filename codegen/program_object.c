/* codegen/program_object.c -- a flat program as one object: kernels, weights, and a function that runs them in order.
 *
 * The walk over the steps is code: each is a call with the addresses of its operands, which are constants but for the
 * bases that the caller gives.  Everything but that function is private to the object; kernels take their pointers as
 * parameters, so that LLVM sees which of them are always the same. */
#include <llvm-c/Target.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/emit.h"
#include "codegen/program.h"

typedef struct Whole {
	const Plan *p;
	const Program *g;
	LLVMContextRef ctx;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	LLVMValueRef run, weights;
	LLVMValueRef *kernel;    /* of Plan.unique */
	MloDiag *diag;
} Whole;

/* -- what cannot be one function ------------------------------------------------------------------ */

static MloStatus open_type(MloDiag *d, const char *what, const char *name, const MloType *t, MloArena *a)
{
	MloStr text = {.arena = a};

	mlo_type_print(&text, t);
	mlo_error(d, MLO_ERR_UNSUPPORTED, "%s '%s' is %s: one function takes tensors of numbers whose sizes are all known", what, name,
		  mlo_str_text(&text));
	if (!mlo_type_object(t) && t->elem != EL_str)
		mlo_hint(d, "fix the sizes: --shape %s=1x3x224x224, or batch=1 for one that has a name; or compile a package",
			 strcmp(what, "input") == 0 ? name : "INPUT");
	return MLO_ERR_UNSUPPORTED;
}

/* Says why the program is no flat one. */
static MloStatus refuse(const Plan *p, MloDiag *d)
{
	const MloGraph *g = p->program.items[0]->graph;

	for (uint32_t i = 0; i < g->ninputs; i++)
		if (!mlo_type_static(&g->inputs[i]->type) || g->inputs[i]->type.elem == EL_str)
			return open_type(d, "input", g->inputs[i]->name, &g->inputs[i]->type, p->arena);
	for (const MloNode *n = g->first; n; n = n->next) {
		if (mlo_node_static(n))
			continue;
		mlo_node_error(d, MLO_ERR_UNSUPPORTED, n,
			       "what a run computes decides about sizes or branches, which one function cannot follow");
		mlo_hint(d, "compile a package instead, whose runtime does");
		return MLO_ERR_UNSUPPORTED;
	}
	for (uint32_t i = 0; i < g->noutputs; i++)
		if (!mlo_type_static(&g->outputs[i]->type) || g->outputs[i]->type.elem == EL_str)
			return open_type(d, "output", g->output_names[i], &g->outputs[i]->type, p->arena);
	MLO_BUG("a flat program was refused");
}

/* Addresses and sizes of a small machine have 32 bits. */
static MloStatus check_addresses(const Whole *w)
{
	uint64_t most = INT32_MAX, arena = (uint64_t)w->g->arena_bytes + (uint64_t)w->p->scratch_bytes;

	if (LLVMPointerSize(LLVMGetModuleDataLayout(w->m)) > 4 || ((uint64_t)w->p->weight_bytes <= most && arena <= most))
		return MLO_OK;
	return mlo_error(w->diag, MLO_ERR_UNSUPPORTED, "%s has 32-bit addresses: weights take %lld bytes, activations %llu",
			 w->p->target->name, (long long)w->p->weight_bytes, (unsigned long long)arena);
}

/* -- pieces of the module --------------------------------------------------------------------------- */

static LLVMTypeRef pointer(const Whole *w)
{
	return LLVMPointerTypeInContext(w->ctx, 0);
}

static MloStatus add_weights(Whole *w)
{
	size_t n, at = 0, bytes = (size_t)w->p->weight_bytes;
	const MloPiece *piece = plan_weight_pieces(w->p, &n);
	char *all;
	LLVMValueRef data;

	if (bytes == 0)
		return MLO_OK;
	all = calloc(1, bytes);
	if (!all)
		return mlo_error(w->diag, MLO_ERR_NOMEM, "out of memory for %zu bytes of weights", bytes);
	for (size_t i = 0; i < n; at += piece[i++].n)
		if (piece[i].data)
			memcpy(all + at, piece[i].data, piece[i].n);
	MLO_ASSERT(at == bytes);
	data = LLVMConstStringInContext2(w->ctx, all, bytes, true);
	free(all);
	w->weights = LLVMAddGlobal(w->m, LLVMTypeOf(data), "weights");
	LLVMSetInitializer(w->weights, data);
	LLVMSetGlobalConstant(w->weights, true);
	LLVMSetLinkage(w->weights, LLVMInternalLinkage);
	LLVMSetAlignment(w->weights, 64);
	return MLO_OK;
}

static MloStatus add_kernels(Whole *w)
{
	LLVMAttributeIndex at = (LLVMAttributeIndex)LLVMAttributeFunctionIndex;
	unsigned noinline = LLVMGetEnumAttributeKindForName("noinline", 8);

	w->kernel = MLO_NEWN(w->p->arena, LLVMValueRef, w->p->unique.n + 1);
	for (size_t i = 0; i < w->p->unique.n; i++) {
		const char *name = mlo_sprintf(w->p->arena, "kernel%zu", i);

		MLO_TRY(mlo_emit_direct(w->m, w->p->target, w->p->unique.items[i], name, w->diag));
		w->kernel[i] = LLVMGetNamedFunction(w->m, name);
		LLVMSetLinkage(w->kernel[i], LLVMInternalLinkage);
		LLVMAddAttributeAtIndex(w->kernel[i], at, LLVMCreateEnumAttribute(w->ctx, noinline, 0));
	}
	return MLO_OK;
}

static LLVMValueRef offset(Whole *w, LLVMValueRef base, uint64_t bytes)
{
	LLVMValueRef n = LLVMConstInt(LLVMInt64TypeInContext(w->ctx), bytes, false);

	return LLVMBuildInBoundsGEP2(w->b, LLVMInt8TypeInContext(w->ctx), base, &n, 1, "");
}

/* -- the function ------------------------------------------------------------------------------------- */

static LLVMValueRef base_of(const Whole *w, const MlrtArg *a)
{
	uint32_t nin = w->g->graph->ninputs, nout = w->g->graph->noutputs;

	switch (a->space) {
	case MLRT_INPUT:
		return LLVMGetParam(w->run, a->index);
	case MLRT_OUTPUT:
		return LLVMGetParam(w->run, nin + a->index);
	case MLRT_ARENA:
		return LLVMGetParam(w->run, nin + nout);
	default:
		MLO_ASSERT(a->space == MLRT_WEIGHT);
		return w->weights;
	}
}

/* Scratch memory lies behind the activations. */
static void call_step(Whole *w, const Step *s)
{
	unsigned n = 0, npointers = mlo_emit_pointers(s->kernel);
	LLVMValueRef fn = w->kernel[s->unique], *arg = MLO_NEWN(w->p->arena, LLVMValueRef, npointers + 3);
	LLVMTypeRef *param = MLO_NEWN(w->p->arena, LLVMTypeRef, npointers + 3);

	for (size_t i = 0; i < s->kernel->arg.n; i++) {
		MlrtArg a = plan_flat_arg(w->p, w->g, &s->arg[i]);

		if (s->kernel->arg.items[i].dir == KA_SCRATCH)
			continue;
		arg[n++] = a.space == MLRT_NONE ? LLVMConstNull(pointer(w)) : offset(w, base_of(w, &a), a.offset);
	}
	MLO_ASSERT(n == npointers);
	LLVMGetParamTypes(LLVMGlobalGetValueType(fn), param);
	arg[n] = LLVMConstInt(param[n], 0, false);
	arg[n + 1] = LLVMConstInt(param[n + 1], (uint64_t)s->kernel->ntasks, false);
	arg[n + 2] = offset(w, LLVMGetParam(w->run, w->g->graph->ninputs + w->g->graph->noutputs), (uint64_t)w->g->arena_bytes);
	LLVMBuildCall2(w->b, LLVMGlobalGetValueType(fn), fn, arg, n + 3, "");
}

static void add_run(Whole *w, const char *name)
{
	unsigned n = w->g->graph->ninputs + w->g->graph->noutputs + 1;
	LLVMTypeRef *param = MLO_NEWN(w->p->arena, LLVMTypeRef, n);
	unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);

	for (unsigned i = 0; i < n; i++)
		param[i] = pointer(w);
	w->run = LLVMAddFunction(w->m, name, LLVMFunctionType(LLVMVoidTypeInContext(w->ctx), param, n, false));
	mlo_object_function(w->p->target, w->run);
	LLVMAddAttributeAtIndex(w->run, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
	                        LLVMCreateEnumAttribute(w->ctx, nounwind, 0));
	LLVMPositionBuilderAtEnd(w->b, LLVMAppendBasicBlockInContext(w->ctx, w->run, "entry"));
	for (size_t i = 0; i < w->g->step.n; i++)
		call_step(w, &w->g->step.items[i]);
	LLVMBuildRetVoid(w->b);
}

static void dump(const Whole *w, const MloBytes *text)
{
	const MloCodegenOptions *o = w->p->opt;

	for (size_t i = 0; i < w->p->unique.n && o->dump && o->dump_kernels; i++) {
		MloStr s = {.arena = w->p->arena};

		mlo_kernel_print(&s, w->p->unique.items[i], false);
		o->dump(o->dump_user, "kernels", w->p->unique.items[i]->name, mlo_str_text(&s));
	}
	if (o->dump && text->data)
		o->dump(o->dump_user, "asm", o->function, (const char *)text->data);
}

static MloStatus build(Whole *w, MloVariant *out)
{
	const MloCodegenOptions *o = w->p->opt;
	MloBytes text = {0};
	MloStatus st;

	MLO_TRY(mlo_object_prepare(w->p->target, w->m, w->diag));
	MLO_TRY(check_addresses(w));
	MLO_TRY(add_weights(w));
	MLO_TRY(add_kernels(w));
	add_run(w, o->function);
	if (o->dump && o->dump_llvm) {
		char *llvm = LLVMPrintModuleToString(w->m);

		o->dump(o->dump_user, "llvm", o->function, llvm);
		LLVMDisposeMessage(llvm);
	}
	st = mlo_object_emit_whole(w->p->target, w->m, o->function, &out->object, o->dump_asm ? &text : NULL, &out->facts, w->diag);
	dump(w, &text);
	free(text.data);
	if (st == MLO_OK)
		out->facts.constants -= (uint64_t)w->p->weight_bytes;
	return st;
}

MloStatus plan_object(const Plan *p, MloVariant *out, MloDiag *d)
{
	Whole w = {.p = p, .g = p->program.items[0], .diag = d};
	MloStatus st;

	if (!p->flat)
		return refuse(p, d);
	w.ctx = LLVMContextCreate();
	w.m = LLVMModuleCreateWithNameInContext(p->opt->function, w.ctx);
	w.b = LLVMCreateBuilderInContext(w.ctx);
	st = build(&w, out);
	LLVMDisposeBuilder(w.b);
	LLVMDisposeModule(w.m);
	LLVMContextDispose(w.ctx);
	return st;
}
