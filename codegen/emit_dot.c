/* codegen/emit_dot.c -- one step of a contraction: `dot` products for each lane of 32 bits.
 *
 * Where the target has an instruction for it (MloDots), a step is that instruction.  Elsewhere it is made of pieces:
 * even and odd bytes become pairs of i16, whose products are added in pairs of i32 without loss (u8 times i8 with sums
 * of 16 bits would saturate), or single i32; halves of bf16 become f32.
 */
#include <string.h>

#include "codegen/emit_contract.h"

static LLVMTypeRef lanes_of(Emit *e, unsigned bits, int64_t n)
{
	return LLVMVectorType(LLVMIntTypeInContext(e->ctx, bits), (unsigned)n);
}

static LLVMValueRef cast_to(Emit *e, LLVMValueRef v, LLVMTypeRef type)
{
	return LLVMBuildBitCast(e->b, v, type, "");
}

/* -- what the target has ------------------------------------------------------------------------ */

static const char *instruction(const MloTarget *t, const KContract *c)
{
	const MloDots *d = t->dots;
	bool pairs = contract_pairs(c);

	return c->dot == 1            ? NULL
	       : c->a.elem == EL_bf16 ? pairs ? d->mm_bf16 : d->bf16
	       : contract_takes_signed(t, c->a.elem) ? pairs ? d->mm_s8s8 : d->s8s8
	       : pairs                ? d->mm_u8s8
	                              : d->u8s8;
}

bool contract_takes_signed(const MloTarget *t, MloElem a)
{
	return a == EL_i8 ? t->dots->s8s8 || !t->dots->u8s8 : mlo_dots_signed(t->dots);
}

bool contract_by_halves(const MloTarget *t, const KContract *c)
{
	return t->dots->half_s8s8 && mlo_elem_bits(c->a.elem) == 8 && t->register_bytes == t->vector_bytes &&
	       (c->dot == 4 || contract_slides(c));
}

void contract_choose_part(const MloTarget *t, KContract *c)
{
	c->b.part = c->dot == 4 && contract_by_halves(t, c) ? 2 : 0;
}

void contract_choose_pairs(const MloTarget *t, KContract *c)
{
	KContract p = *c;

	p.dot = 2 * c->dot;
	if (c->dot > 1 && contract_pairs(&p) && instruction(t, &p) && c->b.packed && c->nx != 1 && c->a.k == 1 && c->nk >= 2 * p.dot &&
	    c->group_k % p.dot == 0 && c->a.block % p.dot == 0)
		c->dot = p.dot;
}

void contract_choose_sign(const MloTarget *t, KContract *c)
{
	c->a.flip = (contract_lane_dot(c) == 4 || contract_by_halves(t, c)) && !c->depth && contract_takes_signed(t, c->a.elem) != (c->a.elem == EL_i8);
	c->zero.sums = c->a.flip || c->zero.given || c->zero.at;
}

int contract_dot_pieces(const MloTarget *t, const KContract *c)
{
	if (c->dot == 1 || instruction(t, c))
		return 1;
	return c->dot == 2 || t->dots->i16 || c->b.part ? 2 : 4;
}

double contract_dot_cost(const MloTarget *t, const KContract *c)
{
	int pieces = contract_dot_pieces(t, c);

	if (c->b.part)
		return c->b.small ? 3 : 4;
	return pieces == 1 || c->dot == 2 ? pieces : 2 * pieces;
}

/* -- operands ------------------------------------------------------------------------------------ */

/* Part `part` of the `bits` wide elements in each lane of x, as a lane of i32. */
static LLVMValueRef lane_part(Emit *e, LLVMValueRef x, int part, unsigned bits, bool sign)
{
	LLVMTypeRef t = LLVMTypeOf(x);
	LLVMValueRef v = x;

	if (sign)
		v = LLVMBuildShl(e->b, v, emit_const_i(t, 32 - bits * (unsigned)(part + 1)), "");
	else
		v = LLVMBuildLShr(e->b, v, emit_const_i(t, bits * (unsigned)part), "");
	return sign ? LLVMBuildAShr(e->b, v, emit_const_i(t, 32 - bits), "")
	            : LLVMBuildAnd(e->b, v, emit_const_i(t, (1 << bits) - 1), "");
}

/* Even or odd bytes, each widened to i16. */
static LLVMValueRef byte_pairs(Emit *e, LLVMValueRef x, int odd, bool sign)
{
	LLVMTypeRef t = LLVMTypeOf(x);
	LLVMValueRef eight = emit_const_i(t, 8);

	if (!odd && !sign)
		return LLVMBuildAnd(e->b, x, emit_const_i(t, 0xff), "");
	if (!odd)
		x = LLVMBuildShl(e->b, x, eight, "");
	return sign ? LLVMBuildAShr(e->b, x, eight, "") : LLVMBuildLShr(e->b, x, eight, "");
}

/* -- instructions for single registers -------------------------------------------------------------- */

static LLVMTypeRef type_of(Emit *e, const char *name, LLVMTypeRef *over, unsigned nover)
{
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));

	MLO_ASSERT(id);
	return LLVMIntrinsicGetType(e->ctx, id, over, nover);
}

/* Pairs of i16 are multiplied in registers of 32 bits: by one instruction for each lane. */
static bool by_lanes(Emit *e)
{
	const char *name = e->t->dots->i16;

	return name && LLVMGetTypeKind(LLVMGetReturnType(type_of(e, name, NULL, 0))) == LLVMIntegerTypeKind;
}

/* Such an instruction for all lanes of vectors. */
static LLVMValueRef each_lane(Emit *e, const char *name, LLVMValueRef *args, unsigned n)
{
	LLVMTypeRef fn = type_of(e, name, NULL, 0);
	LLVMValueRef callee = LLVMGetIntrinsicDeclaration(e->mod, LLVMLookupIntrinsicID(name, strlen(name)), NULL, 0);
	LLVMValueRef all = LLVMGetPoison(LLVMTypeOf(args[0])), lane[3];

	MLO_ASSERT(n <= 3 && LLVMCountParamTypes(fn) == n);
	for (int i = 0; i < emit_lanes(args[0]); i++) {
		LLVMValueRef at = emit_index(e, i);

		for (unsigned k = 0; k < n; k++)
			lane[k] = LLVMBuildExtractElement(e->b, args[k], at, "");
		all = LLVMBuildInsertElement(e->b, all, LLVMBuildCall2(e->b, fn, callee, lane, n, ""), at, "");
	}
	return all;
}

/* Even or odd bytes of lanes of i32, each widened to i16. (Armv7-M ARM, UXTB16 and SXTB16, which rotate first.) */
static LLVMValueRef lane_pairs(Emit *e, LLVMValueRef x, int odd, bool sign)
{
	LLVMTypeRef t = LLVMTypeOf(x);

	if (odd)
		x = emit_intrinsic(e, "llvm.fshr", &t, 1, (LLVMValueRef[]){x, x, emit_const_i(t, 8)}, 3);
	return sign ? each_lane(e, "llvm.arm.sxtb16", &x, 1) : LLVMBuildAnd(e->b, x, emit_const_i(t, 0x00ff00ff), "");
}

DotOperand contract_split(Tile *t, LLVMValueRef x, bool sign)
{
	Emit *e = t->e;
	const KContract *c = t->c;
	LLVMTypeRef i32 = lanes_of(e, 32, c->lanes);
	DotOperand out = {.n = contract_dot_pieces(e->t, c)};

	if (out.n == 1) {
		out.v[0] = x;
	} else if (c->dot == 2) {
		out.v[0] = cast_to(e, LLVMBuildShl(e->b, x, emit_const_i(i32, 16), ""), t->vec);
		out.v[1] = cast_to(e, LLVMBuildAnd(e->b, x, emit_const_i(i32, -65536), ""), t->vec);
	} else if (by_lanes(e)) {
		for (int i = 0; i < out.n; i++)
			out.v[i] = lane_pairs(e, x, i, sign);
	} else {
		LLVMValueRef pairs = cast_to(e, x, lanes_of(e, 16, 2 * (int64_t)c->lanes));

		for (int i = 0; i < out.n; i++)
			out.v[i] = out.n == 2 ? byte_pairs(e, pairs, i, sign) : lane_part(e, x, i, 8, sign);
	}
	return out;
}

LLVMValueRef contract_element(const Tile *t, int arg, MloElem elem, LLVMValueRef off)
{
	return LLVMBuildInBoundsGEP2(t->e->b, emit_mem_type(t->e, elem), t->e->arg[arg], &off, 1, "");
}

LLVMValueRef contract_address(Tile *t, bool weights, LLVMValueRef off)
{
	const KContract *c = t->c;

	return weights ? contract_element(t, t->b_arg, c->b.elem, off) : contract_element(t, c->a_arg, c->a.elem, off);
}

/* Elements as values that are multiplied and added. */
LLVMValueRef contract_widen(Tile *t, MloElem elem, LLVMValueRef v)
{
	Emit *e = t->e;
	LLVMTypeRef i32 = emit_vec(LLVMInt32TypeInContext(e->ctx), emit_lanes(v));

	if (mlo_elem_is_float(elem))
		return emit_from_memory(e, elem, v);
	return mlo_elem_class(elem) == EC_INT ? LLVMBuildSExt(e->b, v, i32, "") : LLVMBuildZExt(e->b, v, i32, "");
}

static LLVMValueRef load_as(Tile *t, bool weights, LLVMValueRef off, LLVMTypeRef type)
{
	LLVMValueRef v = LLVMBuildLoad2(t->e->b, type, contract_address(t, weights, off), "");

	LLVMSetAlignment(v, mlo_elem_bits(weights ? t->c->b.elem : t->c->a.elem) / 8);
	return v;
}

LLVMValueRef contract_step_word(Tile *t, LLVMValueRef off, int live)
{
	Emit *e = t->e;
	const KContract *c = t->c;
	unsigned bits = mlo_elem_bits(c->a.elem);
	LLVMTypeRef word = LLVMIntTypeInContext(e->ctx, bits * (unsigned)c->dot);
	LLVMValueRef all = NULL;

	if (live == c->dot || (bits == 8 && c->a.block % c->dot == 0))
		return load_as(t, false, off, word);
	for (int i = 0; i < live; i++) {
		LLVMValueRef v = load_as(t, false, addc(e, off, i), LLVMIntTypeInContext(e->ctx, bits));

		v = LLVMBuildShl(e->b, LLVMBuildZExt(e->b, v, word, ""), emit_const_i(word, (int64_t)bits * i), "");
		all = all ? LLVMBuildOr(e->b, all, v, "") : v;
	}
	return all;
}

static DotOperand whole(LLVMValueRef v)
{
	return (DotOperand){.n = 1, .v = {v}};
}

/* Elements of A, alone in their lanes. */
static LLVMValueRef widen_input(Tile *t, LLVMValueRef v)
{
	const KContract *c = t->c;

	if (!c->a.flip)
		return contract_widen(t, c->a.elem, v);
	return contract_widen(t, c->a.elem == EL_u8 ? EL_i8 : EL_u8, LLVMBuildXor(t->e->b, v, emit_const_i(LLVMTypeOf(v), 0x80), ""));
}

/* The terms of a step one by one: instructions that multiply by a scalar take them as they were loaded. */
static DotOperand terms_alone(Tile *t, LLVMValueRef off, int live)
{
	Emit *e = t->e;
	LLVMTypeRef raw = emit_mem_type(e, t->c->a.elem);
	DotOperand out = {.n = live};

	for (int i = 0; i < live; i++)
		out.v[i] = emit_broadcast(e, widen_input(t, load_as(t, false, addc(e, off, i), raw)), t->c->lanes);
	return out;
}

DotOperand contract_input(Tile *t, LLVMValueRef off, int live)
{
	Emit *e = t->e;
	const KContract *c = t->c;
	LLVMTypeRef raw = emit_vec(emit_mem_type(e, c->a.elem), t->depthwise ? c->lanes : 0);
	LLVMValueRef x;

	if (c->dot == 1)
		return whole(emit_broadcast(e, widen_input(t, load_as(t, false, off, raw)), c->lanes));
	if (contract_dot_pieces(e->t, c) == 4)
		return terms_alone(t, off, live);
	if (t->lane >= 0 && emit_takes_lanes(e))
		x = emit_load_lane(e, contract_address(t, false, addc(e, off, -t->lane * c->dot)), t->lane, c->lanes);
	else
		x = emit_broadcast(e, contract_step_word(t, off, live), c->lanes);
	if (c->a.flip)
		x = LLVMBuildXor(e->b, x, emit_const_i(LLVMTypeOf(x), (int32_t)0x80808080), "");
	return contract_split(t, x, contract_takes_signed(e->t, c->a.elem));
}

LLVMValueRef contract_pair_input(Tile *t, LLVMValueRef a, LLVMValueRef b, int live)
{
	Emit *e = t->e;
	const KContract *c = t->c;
	int bytes = c->lanes * 4;
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);
	LLVMValueRef flip = emit_const_i(i64, (int64_t)0x8080808080808080), x[2] = {a, b}, v;

	if (a && b && a != b && contract_pair_adjacent(c) && (live == c->dot || c->a.block % c->dot == 0)) {
		v = emit_pair_load(e, contract_address(t, false, a), bytes);
		v = c->a.flip ? LLVMBuildXor(e->b, v, emit_splat(e, flip, bytes / 8), "") : v;
	} else {
		for (int i = 0; i < 2; i++) {
			v = x[i] ? contract_step_word(t, x[i], live) : emit_index(e, 0);
			x[i] = x[i] && c->a.flip ? LLVMBuildXor(e->b, v, flip, "") : v;
		}
		v = emit_pair(e, x[0], x[1], bytes);
	}
	return cast_to(e, v, lanes_of(e, 32, c->lanes));
}

DotOperand contract_weights(Tile *t, LLVMValueRef off, int j)
{
	Emit *e = t->e;
	const KContract *c = t->c;
	LLVMTypeRef raw = c->dot == 1 ? emit_vec(emit_mem_type(e, c->b.elem), c->lanes) : lanes_of(e, 32, c->lanes);

	off = addc(e, off, j * contract_vector(c));
	if (t->bmask[j]) {
		LLVMTypeRef over[] = {raw, LLVMPointerTypeInContext(e->ctx, 0)};
		LLVMValueRef align = emit_const_i(LLVMInt32TypeInContext(e->ctx), mlo_elem_bits(c->b.elem) / 8);
		LLVMValueRef args[] = {contract_address(t, true, off), align, t->bmask[j], LLVMConstNull(raw)};

		return whole(contract_widen(t, c->b.elem, emit_intrinsic(e, "llvm.masked.load", over, 2, args, 4)));
	}
	if (c->dot == 1)
		return whole(contract_widen(t, c->b.elem, load_as(t, true, off, raw)));
	return contract_split(t, load_as(t, true, off, raw), true);
}

/* -- products ------------------------------------------------------------------------------------- */

static LLVMValueRef multiply_add(Tile *t, LLVMValueRef a, LLVMValueRef b, LLVMValueRef sum)
{
	Emit *e = t->e;
	LLVMValueRef args[] = {a, b, sum};

	if (mlo_contract_sum(t->c) == EL_i32)
		return LLVMBuildAdd(e->b, LLVMBuildMul(e->b, a, b, ""), sum, "");
	return emit_intrinsic(e, "llvm.fmuladd", &t->vec, 1, args, 3);
}

/* An instruction that the target has for a step. */
static LLVMValueRef by_instruction(Tile *t, LLVMValueRef a, LLVMValueRef b, LLVMValueRef sum)
{
	Emit *e = t->e;
	LLVMTypeRef elem = t->c->a.elem == EL_bf16 ? LLVMBFloatTypeInContext(e->ctx) : LLVMInt8TypeInContext(e->ctx);

	return emit_instruction(e, instruction(e->t, t->c), t->sum, elem, (LLVMValueRef[]){sum, a, b}, 3);
}

LLVMValueRef contract_multiply(Tile *t, const DotOperand *a, const DotOperand *b, LLVMValueRef sum)
{
	Emit *e = t->e;
	bool pairs = t->c->dot == 4 && contract_dot_pieces(e->t, t->c) == 2;

	if (instruction(e->t, t->c)) {
		/* Where both operands are of a kind, which is which makes no difference; LLVM knows those with the lane at the end. */
		bool swap = emit_takes_lanes(e) && (t->c->a.elem == EL_bf16 || contract_takes_signed(e->t, t->c->a.elem));

		return by_instruction(t, swap ? b->v[0] : a->v[0], swap ? a->v[0] : b->v[0], sum);
	}
	if (pairs && by_lanes(e)) {
		for (int i = 0; i < 2; i++)
			sum = each_lane(e, e->t->dots->i16, (LLVMValueRef[]){a->v[i], b->v[i], sum}, 3);
		return sum;
	}
	if (pairs) {
		for (int i = 0; i < 2; i++)
			sum = LLVMBuildAdd(e->b, sum, emit_instruction(e, e->t->dots->i16, t->sum, NULL, (LLVMValueRef[]){a->v[i], b->v[i]}, 2), "");
		return sum;
	}
	for (int i = 0; i < a->n; i++)
		sum = multiply_add(t, a->v[i], b->v[i], sum);
	return sum;
}

/* -- products of matrices --------------------------------------------------------------------------- */

LLVMValueRef contract_pair_weights(Tile *t, LLVMValueRef off, int h)
{
	return load_as(t, true, addc(t->e, off, h * contract_vector(t->c) / 2), lanes_of(t->e, 32, t->c->lanes));
}

void contract_multiply_pair(Tile *t, LLVMValueRef a, LLVMValueRef b, LLVMValueRef acc)
{
	Emit *e = t->e;

	LLVMBuildStore(e->b, by_instruction(t, a, b, LLVMBuildLoad2(e->b, t->vec, acc, "")), acc);
}
