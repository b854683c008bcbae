/* codegen/emit_loop.c -- loops: sequential, in vectors with tails, and accumulators.
 *
 * A vec loop of n iterations and L lanes becomes up to three loops: `unroll` vectors at a time, one
 * vector at a time, and the rest: a masked vector where the machine has masks, else a scalar loop.
 * Accumulators of an outer context get `unroll` vectors of their own that start at the identity
 * and are combined into the outer one before the rest. */
#include <math.h>

#include "codegen/emit_internal.h"

LLVMValueRef emit_for(Emit *e, EmitLoop *l, LLVMValueRef lo, LLVMValueRef hi, LLVMValueRef step, const char *name)
{
	LLVMBasicBlockRef from = LLVMGetInsertBlock(e->b), body;

	l->head = LLVMAppendBasicBlockInContext(e->ctx, e->fn, name);
	body = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "body");
	l->exit = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "done");
	l->step = step;
	LLVMBuildBr(e->b, l->head);
	LLVMPositionBuilderAtEnd(e->b, l->head);
	l->phi = LLVMBuildPhi(e->b, LLVMTypeOf(lo), name);
	LLVMAddIncoming(l->phi, &lo, &from, 1);
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, l->phi, hi, ""), body, l->exit);
	LLVMPositionBuilderAtEnd(e->b, body);
	return l->phi;
}

void emit_end(Emit *e, EmitLoop *l)
{
	LLVMValueRef next = LLVMBuildNSWAdd(e->b, l->phi, l->step, "");
	LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);

	LLVMBuildBr(e->b, l->head);
	LLVMAddIncoming(l->phi, &next, &latch, 1);
	LLVMMoveBasicBlockAfter(l->exit, latch);
	LLVMPositionBuilderAtEnd(e->b, l->exit);
}

/* -- accumulators -------------------------------------------------------------------------------- */

void emit_acc_init(Emit *e, const KStmt *s)
{
	LLVMTypeRef t = emit_vec(emit_type(e, e->k->value.items[s->value].type), e->lanes);

	e->acc[s->acc] = emit_alloca(e, t, "acc");
	e->acc_lanes[s->acc] = e->lanes;
	LLVMBuildStore(e->b, emit_splat(e, e->val[s->value], e->lanes), e->acc[s->acc]);
}

LLVMValueRef emit_accum(Emit *e, int acc)
{
	return LLVMBuildLoad2(e->b, LLVMGetAllocatedType(e->acc[acc]), e->acc[acc], "");
}

LLVMValueRef emit_identity(Emit *e, KOp op, MloElem type, int lanes)
{
	LLVMTypeRef t = emit_vec(emit_type(e, type), lanes);
	unsigned bits = type == EL_bool ? 1 : mlo_elem_bits(type);
	bool sign = mlo_elem_class(type) == EC_INT;
	uint64_t top = bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;

	if (op == K_add)
		return LLVMConstNull(t);
	if (mlo_elem_is_float(type))
		return emit_const_f(t, op == K_mul ? 1 : op == K_min ? INFINITY : -INFINITY);
	if (op == K_mul)
		return emit_const_i(t, 1);
	if (!sign)
		return emit_const_i(t, op == K_min ? (int64_t)top : 0);
	return emit_const_i(t, op == K_min ? (int64_t)(top >> 1) : -(int64_t)(top >> 1) - 1);
}

/* Combines the lanes of v: halves of the vector, then halves of these. */
static LLVMValueRef across(Emit *e, KOp op, MloElem type, LLVMValueRef v)
{
	for (int n = emit_lanes(v) / 2; n >= 1; n /= 2) {
		LLVMValueRef lo[64], hi[64], poison = LLVMGetPoison(LLVMTypeOf(v));
		LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);

		MLO_ASSERT(n <= 64);
		for (int i = 0; i < n; i++) {
			lo[i] = emit_const_i(i32, i);
			hi[i] = emit_const_i(i32, i + n);
		}
		v = emit_combine(e, op, type,
		                 LLVMBuildShuffleVector(e->b, v, poison, LLVMConstVector(lo, (unsigned)n), ""),
		                 LLVMBuildShuffleVector(e->b, v, poison, LLVMConstVector(hi, (unsigned)n), ""));
	}
	return LLVMBuildExtractElement(e->b, v, emit_index(e, 0), "");
}

void emit_acc(Emit *e, const KStmt *s)
{
	MloElem type = e->k->value.items[s->value].type;
	const KInst *in = &e->k->value.items[s->value];
	LLVMValueRef old = emit_accum(e, s->acc), v = e->val[s->value];

	if (s->accop == K_add && in->op == K_mul && mlo_elem_is_float(type)) { /* one multiply-add */
		v = emit_fma(e, emit_splat(e, e->val[in->a], e->acc_lanes[s->acc]),
		             emit_splat(e, e->val[in->b], e->acc_lanes[s->acc]), old);
		if (e->mask && e->acc_lanes[s->acc])
			v = emit_select(e, e->mask, v, old);
		LLVMBuildStore(e->b, v, e->acc[s->acc]);
		return;
	}
	v = emit_splat(e, v, e->acc_lanes[s->acc]);
	if (e->mask && e->acc_lanes[s->acc])
		v = emit_select(e, e->mask, v, emit_identity(e, s->accop, type, e->lanes));
	LLVMBuildStore(e->b, emit_combine(e, s->accop, type, old, v), e->acc[s->acc]);
}

/* -- what a vec loop's body is like ---------------------------------------------------------------- */

enum { MAX_UNROLL = 4, MAX_OUTER = 16 };

typedef struct Outer {
	const KStmt *update;       /* one of the ACC statements: operation and type */
	LLVMValueRef scalar;       /* the accumulator outside */
	LLVMValueRef vec[MAX_UNROLL];
} Outer;

typedef struct VecLoop {
	const KStmt *s;
	int lanes, unroll, nouter;
	Outer outer[MAX_OUTER];
	int weight;                /* instructions in the body, roughly */
	unsigned min_bytes, max_bytes;
	bool straight;             /* no inner loop */
} VecLoop;

static bool initialised_in(const KStmt *s, int acc)
{
	for (; s; s = s->next)
		if ((s->kind == KS_ACC_INIT && s->acc == acc) || initialised_in(s->body, acc))
			return true;
	return false;
}

static void add_outer(VecLoop *v, const KStmt *s)
{
	if (initialised_in(v->s->body, s->acc))
		return;
	for (int i = 0; i < v->nouter; i++)
		if (v->outer[i].update->acc == s->acc)
			return;
	MLO_ASSERT(v->nouter < MAX_OUTER);
	v->outer[v->nouter++].update = s;
}

static void note_bytes(VecLoop *v, MloElem t)
{
	unsigned n = mlo_elem_bits(t) / 8;

	v->max_bytes = n > v->max_bytes ? n : v->max_bytes;
	v->min_bytes = n < v->min_bytes ? n : v->min_bytes;
}

static void inspect(Emit *e, VecLoop *v, const KStmt *s)
{
	for (; s; s = s->next) {
		if (s->kind == KS_LET) {
			const KInst *in = &e->k->value.items[s->value];

			v->weight += in->op >= K_exp && in->op <= K_sigmoid ? 12 : in->op == K_pow ? 40 : 1;
			if (in->op != K_const && in->type != EL_bool)
				note_bytes(v, in->type);
			if (in->op == K_load)
				note_bytes(v, e->k->arg.items[in->arg].elem);
		} else if (s->kind == KS_STORE) {
			v->weight++;
			note_bytes(v, e->k->arg.items[s->arg].elem);
		} else if (s->kind == KS_ACC) {
			v->weight++;
			add_outer(v, s);
		} else if (s->kind == KS_LOOP) {
			v->straight = false;
		}
		inspect(e, v, s->body);
	}
}

/* -- sequential ------------------------------------------------------------------------------------ */

static void seq_loop(Emit *e, const KStmt *s, LLVMValueRef lo, LLVMValueRef hi)
{
	EmitLoop l;

	e->var[s->var] = emit_for(e, &l, lo, hi, emit_index(e, 1), "i");
	emit_stmts(e, s->body);
	emit_end(e, &l);
}

/* -- in vectors ------------------------------------------------------------------------------------ */

static void set_outer(Emit *e, VecLoop *v, int u)
{
	for (int i = 0; i < v->nouter; i++) {
		int acc = v->outer[i].update->acc;

		e->acc[acc] = u < 0 ? v->outer[i].scalar : v->outer[i].vec[u];
		e->acc_lanes[acc] = u < 0 ? 0 : v->lanes;
	}
}

static void outer_begin(Emit *e, VecLoop *v)
{
	for (int i = 0; i < v->nouter; i++) {
		Outer *o = &v->outer[i];
		MloElem type = e->k->value.items[o->update->value].type;
		LLVMTypeRef t = emit_vec(emit_type(e, type), v->lanes);

		o->scalar = e->acc[o->update->acc];
		for (int u = 0; u < v->unroll; u++) {
			o->vec[u] = emit_alloca(e, t, "acc");
			LLVMBuildStore(e->b, emit_identity(e, o->update->accop, type, v->lanes), o->vec[u]);
		}
	}
}

static void outer_end(Emit *e, VecLoop *v)
{
	set_outer(e, v, -1);
	for (int i = 0; i < v->nouter; i++) {
		Outer *o = &v->outer[i];
		KOp op = o->update->accop;
		MloElem type = e->k->value.items[o->update->value].type;
		LLVMTypeRef t = emit_vec(emit_type(e, type), v->lanes);
		LLVMValueRef sum[MAX_UNROLL], r;

		for (int u = 0; u < v->unroll; u++)
			sum[u] = LLVMBuildLoad2(e->b, t, o->vec[u], "");
		for (int n = v->unroll / 2; n >= 1; n /= 2)
			for (int u = 0; u < n; u++)
				sum[u] = emit_combine(e, op, type, sum[u], sum[u + n]);
		r = emit_combine(e, op, type, emit_accum(e, o->update->acc), across(e, op, type, sum[0]));
		LLVMBuildStore(e->b, r, o->scalar);
	}
}

/* for (i = lo; i < hi; i += unroll * lanes), all lanes real unless `end`: then lanes below end are. */
static void vector_part(Emit *e, VecLoop *v, LLVMValueRef lo, LLVMValueRef hi, int unroll, LLVMValueRef end)
{
	LLVMValueRef base, left, i64s;
	EmitLoop l;

	base = emit_for(e, &l, lo, hi, emit_index(e, (int64_t)v->lanes * unroll), "v");
	e->lanes = v->lanes;
	e->vec_var = v->s->var;
	e->vec_aligned = true;
	for (int u = 0; u < unroll; u++) {
		e->var[v->s->var] = u ? LLVMBuildNSWAdd(e->b, base, emit_index(e, (int64_t)u * v->lanes), "") : base;
		if (end) {
			LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);

			left = LLVMBuildSub(e->b, end, base, "");
			i64s = emit_splat(e, LLVMBuildTrunc(e->b, left, i32, ""), v->lanes);
			e->mask = LLVMBuildICmp(e->b, LLVMIntULT, emit_iota(e, i32, v->lanes, 1), i64s, "");
		}
		set_outer(e, v, u);
		emit_stmts(e, v->s->body);
	}
	e->lanes = 0;
	e->vec_var = -1;
	e->vec_aligned = false;
	e->mask = NULL;
	emit_end(e, &l);
}

static int power_of_two_below(int64_t n)
{
	int p = 1;

	while (p * 2 <= n && p < 64)
		p *= 2;
	return p;
}

/* Lanes and unrolling from the target's vectors, the body and the (most) iterations. */
static void choose(Emit *e, VecLoop *v, int64_t n, bool masks)
{
	int lanes = e->t->vector_bytes / (int)(v->max_bytes ? v->max_bytes : 4);

	lanes = lanes < 4 ? 4 : lanes > 64 ? 64 : lanes;
	while (n < lanes && lanes > 1 && (n <= lanes / 2 || !masks))
		lanes /= 2;
	v->lanes = lanes;
	v->unroll = 1;
	if (v->straight && v->weight <= 40)
		v->unroll = v->nouter && v->nouter <= 2 && v->weight <= 16 ? 4 : v->weight <= 16 || v->nouter ? 2 : 1;
	while (v->unroll > 1 && n < (int64_t)v->lanes * v->unroll)
		v->unroll /= 2;
	MLO_ASSERT(power_of_two_below(lanes) == lanes);
}

static LLVMValueRef round_down(Emit *e, LLVMValueRef n, int64_t m)
{
	return LLVMBuildAnd(e->b, n, emit_index(e, -m), "");
}

static void vec_loop(Emit *e, const KStmt *s)
{
	VecLoop v = {.s = s, .straight = true, .min_bytes = 8};
	LLVMValueRef n = emit_idx(e, s->extent), at = emit_index(e, 0), whole;
	int64_t lo, hi, block;
	bool masks, fixed;

	kx_range(e->k, s->extent, &lo, &hi);
	inspect(e, &v, s->body);
	masks = emit_has_masks(e, v.min_bytes);
	choose(e, &v, hi, masks);
	if (v.lanes == 1) {
		seq_loop(e, s, at, n);
		return;
	}
	fixed = lo == hi;
	outer_begin(e, &v);
	block = (int64_t)v.lanes * v.unroll;
	if (v.unroll > 1 && hi >= block) {
		whole = round_down(e, n, block);
		vector_part(e, &v, at, whole, v.unroll, NULL);
		at = whole;
	}
	if (hi >= v.lanes && !(fixed && v.unroll > 1 && hi % block < v.lanes)) {
		whole = round_down(e, n, v.lanes);
		vector_part(e, &v, at, whole, 1, NULL);
		at = whole;
	}
	if (!(fixed && hi % v.lanes == 0) && masks)
		vector_part(e, &v, at, n, 1, n);
	outer_end(e, &v);
	if (!(fixed && hi % v.lanes == 0) && !masks)
		seq_loop(e, s, at, n);
}

void emit_loop(Emit *e, const KStmt *s)
{
	if (s->loop == KL_VEC && e->lanes == 0)
		vec_loop(e, s);
	else if (s->loop == KL_VEC || !emit_crossing(e, s))
		seq_loop(e, s, emit_index(e, 0), emit_idx(e, s->extent));
}
