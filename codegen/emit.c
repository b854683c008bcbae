/* codegen/emit.c -- the kernel function: arguments, scratch memory, the loop over tasks. */
#include "codegen/emit.h"

#include <string.h>

#include "codegen/device_internal.h"
#include "codegen/emit_internal.h"
#include "targets/object.h"

/* -- small helpers ------------------------------------------------------------------------------- */

bool emit_has(const Emit *e, const char *need)
{
	size_t n = strlen(need);

	if (strcmp(e->t->arch, "arm") == 0)
		return strcmp(need, "fma") == 0;
	if (e->t->gpu)
		return strcmp(need, "lrint") != 0;
	if (strcmp(e->t->arch, "riscv64") == 0)
		return strcmp(need, "f16c") != 0 && (strcmp(need, "lrint") != 0 || !*e->t->needs); /* of vectors, LLVM makes scalars */
	if (e->t->arch[0] != 'x' || strcmp(need, "lrint") == 0)
		return true;
	for (const char *p = e->t->needs; (p = strstr(p, need)); p += n)
		if ((p == e->t->needs || p[-1] == ',') && (p[n] == 0 || p[n] == ','))
			return true;
	return false;
}

bool emit_takes_memory(const Emit *e)
{
	return e->t->arch[0] == 'x' && emit_has(e, "avx");
}

bool emit_has_masks(const Emit *e, unsigned bytes)
{
	if (e->t->arch[0] != 'x')
		return false;
	return emit_has(e, "avx512bw") || (bytes >= 4 && emit_has(e, "avx2"));
}

LLVMValueRef emit_index(Emit *e, int64_t v)
{
	return LLVMConstInt(e->index, (unsigned long long)v, true);
}

LLVMTypeRef emit_type(Emit *e, MloElem elem)
{
	if (elem == EL_bool)
		return LLVMInt1TypeInContext(e->ctx);
	if (elem == EL_f32 || elem == EL_tf32 || elem == EL_f16 || elem == EL_bf16)
		return LLVMFloatTypeInContext(e->ctx);
	if (elem == EL_f64)
		return LLVMDoubleTypeInContext(e->ctx);
	MLO_ASSERT(mlo_elem_is_int(elem) && mlo_elem_bits(elem) >= 8);
	return LLVMIntTypeInContext(e->ctx, mlo_elem_bits(elem));
}

static bool is_vector(LLVMTypeRef t)
{
	return LLVMGetTypeKind(t) == LLVMVectorTypeKind;
}

int emit_lanes(LLVMValueRef v)
{
	LLVMTypeRef t = LLVMTypeOf(v);

	return is_vector(t) ? (int)LLVMGetVectorSize(t) : 0;
}

LLVMTypeRef emit_vec(LLVMTypeRef scalar, int lanes)
{
	return lanes ? LLVMVectorType(scalar, (unsigned)lanes) : scalar;
}

LLVMTypeRef emit_scalar_type(LLVMTypeRef t)
{
	return is_vector(t) ? LLVMGetElementType(t) : t;
}

LLVMTypeRef emit_int_like(Emit *e, LLVMTypeRef t)
{
	bool wide = LLVMGetTypeKind(emit_scalar_type(t)) == LLVMDoubleTypeKind;
	LLVMTypeRef i = wide ? LLVMInt64TypeInContext(e->ctx) : LLVMInt32TypeInContext(e->ctx);

	return emit_vec(i, is_vector(t) ? (int)LLVMGetVectorSize(t) : 0);
}

static LLVMValueRef splat_const(LLVMValueRef c, int lanes)
{
	LLVMValueRef v[64];

	MLO_ASSERT(lanes <= 64);
	for (int i = 0; i < lanes; i++)
		v[i] = c;
	return LLVMConstVector(v, (unsigned)lanes);
}

LLVMValueRef emit_splat(Emit *e, LLVMValueRef v, int lanes)
{
	LLVMTypeRef t;

	if (lanes == 0 || emit_lanes(v)) {
		MLO_ASSERT(emit_lanes(v) == lanes);
		return v;
	}
	if (LLVMIsConstant(v))
		return splat_const(v, lanes);
	t = emit_vec(LLVMTypeOf(v), lanes);
	v = LLVMBuildInsertElement(e->b, LLVMGetPoison(t), v, emit_index(e, 0), "");
	return LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(t),
	                              LLVMConstNull(emit_vec(LLVMInt32TypeInContext(e->ctx), lanes)), "");
}

LLVMValueRef emit_iota(Emit *e, LLVMTypeRef scalar, int lanes, int64_t step)
{
	LLVMValueRef v[64];

	(void)e;
	MLO_ASSERT(lanes <= 64);
	for (int i = 0; i < lanes; i++)
		v[i] = LLVMConstInt(scalar, (unsigned long long)(i * step), true);
	return LLVMConstVector(v, (unsigned)lanes);
}

LLVMValueRef emit_const_f(LLVMTypeRef t, double v)
{
	LLVMValueRef c = LLVMConstReal(emit_scalar_type(t), v);

	return is_vector(t) ? splat_const(c, (int)LLVMGetVectorSize(t)) : c;
}

LLVMValueRef emit_const_i(LLVMTypeRef t, int64_t v)
{
	LLVMValueRef c = LLVMConstInt(emit_scalar_type(t), (unsigned long long)v, true);

	return is_vector(t) ? splat_const(c, (int)LLVMGetVectorSize(t)) : c;
}

LLVMValueRef emit_intrinsic(Emit *e, const char *name, LLVMTypeRef *over, unsigned n, LLVMValueRef *args,
                            unsigned nargs)
{
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
	LLVMValueRef fn;

	MLO_ASSERT(id);
	fn = LLVMGetIntrinsicDeclaration(e->mod, id, over, n);
	return LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->ctx, id, over, n), fn, args, nargs, "");
}

LLVMValueRef emit_unary(Emit *e, const char *name, LLVMValueRef x)
{
	LLVMTypeRef t = LLVMTypeOf(x);

	return emit_intrinsic(e, name, &t, 1, &x, 1);
}

LLVMValueRef emit_select(Emit *e, LLVMValueRef c, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildSelect(e->b, c, a, b, "");
}

LLVMValueRef emit_alloca(Emit *e, LLVMTypeRef t, const char *name)
{
	LLVMBasicBlockRef at = LLVMGetInsertBlock(e->b), entry = LLVMGetEntryBasicBlock(e->fn);
	LLVMValueRef first = LLVMGetFirstInstruction(entry), v;

	if (first)
		LLVMPositionBuilderBefore(e->b, first);
	else
		LLVMPositionBuilderAtEnd(e->b, entry);
	v = LLVMBuildAlloca(e->b, t, name);
	LLVMPositionBuilderAtEnd(e->b, at);
	return v;
}

/* -- statements ---------------------------------------------------------------------------------- */

void emit_stmt(Emit *e, const KStmt *s)
{
	if (e->team && device_stmt(e, s))
		return;
	switch (s->kind) {
	case KS_LET:
		e->val[s->value] = emit_value(e, &e->k->value.items[s->value]);
		break;
	case KS_STORE:
		emit_store(e, s);
		break;
	case KS_LOOP:
		emit_loop(e, s);
		break;
	case KS_ACC_INIT:
		emit_acc_init(e, s);
		break;
	case KS_ACC:
		emit_acc(e, s);
		break;
	case KS_CONTRACT:
		emit_contract_inside(e, s);
		break;
	default:
		MLO_BUG("statement kind %d inside a loop", (int)s->kind);
	}
}

void emit_stmts(Emit *e, const KStmt *first)
{
	for (const KStmt *s = first; s; s = s->next)
		emit_stmt(e, s);
}

/* -- the function ----------------------------------------------------------------------------------- */

/* args: the table of pointers; NULL: they are parameters of the function. */
static void bind_args(Emit *e, LLVMValueRef args)
{
	LLVMTypeRef ptr = LLVMPointerTypeInContext(e->ctx, 0), i8 = LLVMInt8TypeInContext(e->ctx);
	unsigned param = 0;
	uint64_t at = 0;

	for (size_t i = 0; i < e->k->arg.n; i++) {
		const KArg *a = &e->k->arg.items[i];
		LLVMValueRef n = emit_index(e, a->dir == KA_SCRATCH ? (int64_t)at : (int64_t)i);

		if (a->dir == KA_SCRATCH) {
			e->arg[i] = LLVMBuildInBoundsGEP2(e->b, i8, e->scratch, &n, 1, "scratch");
			at += ((uint64_t)a->count * mlo_elem_bits(a->elem) / 8 + 63) / 64 * 64;
		} else if (!args) {
			e->arg[i] = LLVMGetParam(e->fn, param++);
		} else {
			e->arg[i] = LLVMBuildLoad2(e->b, ptr,
						   LLVMBuildInBoundsGEP2(e->b, ptr, args, &n, 1, ""), "arg");
		}
	}
}

void emit_bind_sizes(Emit *e)
{
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);

	for (size_t i = 0; i < e->k->size.n; i++) {
		LLVMValueRef n = emit_index(e, (int64_t)i);
		LLVMValueRef at = LLVMBuildInBoundsGEP2(e->b, i64, e->arg[e->k->sizes_arg], &n, 1, "");

		e->size[i] = LLVMBuildIntCast2(e->b, LLVMBuildLoad2(e->b, i64, at, "size"), e->index, true, "");
	}
}

void emit_bind_task(Emit *e, LLVMValueRef task, const KStmt **par, int n)
{
	for (int i = n - 1; i > 0; i--) {
		LLVMValueRef k = emit_idx(e, par[i]->extent);

		e->var[par[i]->var] = LLVMBuildURem(e->b, task, k, "task");
		task = LLVMBuildUDiv(e->b, task, k, "");
	}
	if (n)
		e->var[par[0]->var] = task;
}

static void emit_tasks(Emit *e)
{
	const KStmt *par[MLO_KERNEL_MAX_PAR], *body;
	EmitLoop l;
	int n;

	body = mlo_kernel_nest(e->k, par, MLO_KERNEL_MAX_PAR, &n);
	if (n)
		for (const KStmt *s = e->k->body; s->kind == KS_LET; s = s->next)
			emit_stmt(e, s);
	emit_bind_task(e, emit_for(e, &l, e->begin, e->end, emit_index(e, 1), "task"), par, n);
	emit_stmts(e, body);
	emit_end(e, &l);
}

static void emit_body(Emit *e)
{
	const KStmt *s = e->k->body;

	if (s && s->kind == KS_CONTRACT)
		emit_contract(e, s);
	else if (s && s->kind == KS_FOREST)
		emit_forest(e, s);
	else if (s && s->kind == KS_CALL)
		emit_call(e, s);
	else if (s)
		emit_tasks(e);
}

unsigned mlo_emit_pointers(const MloKernel *k)
{
	unsigned n = 0;

	for (size_t i = 0; i < k->arg.n; i++)
		n += k->arg.items[i].dir != KA_SCRATCH;
	return n;
}

/* `pointers` of them in front of the range of tasks and the scratch memory. */
static void new_function(Emit *e, const char *symbol, unsigned pointers)
{
	LLVMTypeRef ptr = LLVMPointerTypeInContext(e->ctx, 0);
	LLVMTypeRef *params = MLO_NEWN(e->arena, LLVMTypeRef, pointers + 3);
	unsigned kind = LLVMGetEnumAttributeKindForName("nounwind", 8);
	LLVMValueRef fn;

	for (unsigned i = 0; i < pointers + 3; i++)
		params[i] = i == pointers || i == pointers + 1 ? e->index : ptr;
	fn = LLVMAddFunction(e->mod, symbol, LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), params, pointers + 3, false));
	LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
	                        LLVMCreateEnumAttribute(e->ctx, kind, 0));
	mlo_object_function(e->t, fn);
	e->fn = fn;
	e->begin = LLVMGetParam(fn, pointers);
	e->end = LLVMGetParam(fn, pointers + 1);
	e->scratch = LLVMGetParam(fn, pointers + 2);
}

static void dispose_builder(void *b)
{
	LLVMDisposeBuilder(b);
}

void emit_tables(Emit *e)
{
	const MloKernel *k = e->k;

	e->arg = MLO_NEWN(e->arena, LLVMValueRef, k->arg.n + 1);
	e->size = MLO_NEWN(e->arena, LLVMValueRef, k->size.n + 1);
	e->var = MLO_NEWN(e->arena, LLVMValueRef, (size_t)k->nvar + 1);
	e->val = MLO_NEWN(e->arena, LLVMValueRef, k->value.n + 1);
	e->acc = MLO_NEWN(e->arena, LLVMValueRef, (size_t)k->nacc + 1);
	e->acc_lanes = MLO_NEWN(e->arena, int, (size_t)k->nacc + 1);
	e->b = LLVMCreateBuilderInContext(e->ctx);
	mlo_defer(e->arena, dispose_builder, e->b);
}

static MloStatus emit_function(LLVMModuleRef m, const MloTarget *t, const MloKernel *k, const char *symbol, bool direct, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	Emit e = {.ctx = LLVMGetModuleContext(m), .mod = m, .t = t, .k = k, .vec_var = -1, .diag = d, .arena = a};
	size_t before = d ? d->nerrors : 0;
	LLVMBasicBlockRef entry, body;

	if (!a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory for code generation");
	e.index = LLVMIntTypeInContext(e.ctx, 8 * mlo_target_pointer_bytes(t));
	emit_tables(&e);
	new_function(&e, symbol, direct ? mlo_emit_pointers(k) : 1);
	entry = LLVMAppendBasicBlockInContext(e.ctx, e.fn, "entry");
	body = LLVMAppendBasicBlockInContext(e.ctx, e.fn, "start");
	LLVMPositionBuilderAtEnd(e.b, body);
	bind_args(&e, direct ? NULL : LLVMGetParam(e.fn, 0));
	emit_bind_sizes(&e);
	emit_body(&e);
	LLVMBuildRetVoid(e.b);
	LLVMPositionBuilderAtEnd(e.b, entry);
	LLVMBuildBr(e.b, body);
	mlo_arena_free(a);
	return d && d->nerrors > before ? MLO_ERR_UNSUPPORTED : MLO_OK;
}

MloStatus mlo_emit_kernel(LLVMModuleRef m, const MloTarget *t, const MloKernel *k, const char *symbol, MloDiag *d)
{
	return emit_function(m, t, k, symbol, false, d);
}

MloStatus mlo_emit_direct(LLVMModuleRef m, const MloTarget *t, const MloKernel *k, const char *symbol, MloDiag *d)
{
	return emit_function(m, t, k, symbol, true, d);
}
