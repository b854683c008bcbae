/* codegen/emit_registers.c -- instructions of the target on vectors that are several of its registers, or registers of SVE.
 *
 * Code is written in vectors of MloTarget.vector_bytes.  LLVM splits what it knows itself; an intrinsic takes registers as they
 * are: pieces of the vector one after the other, or, where their length is known but not part of their type (SVE), a
 * scalable vector that the fixed one is the beginning and end of. */
#include <string.h>

#include "codegen/emit_internal.h"

bool emit_scalable(const Emit *e)
{
	return mlo_target_sve(e->t);
}

static unsigned bits_of(LLVMTypeRef elem)
{
	switch (LLVMGetTypeKind(elem)) {
	case LLVMIntegerTypeKind:
		return LLVMGetIntTypeWidth(elem);
	case LLVMBFloatTypeKind:
	case LLVMHalfTypeKind:
		return 16;
	case LLVMDoubleTypeKind:
		return 64;
	default:
		return 32;
	}
}

/* A register of such elements, with its real length; and as SVE has it. */
static LLVMTypeRef fixed_register(const Emit *e, LLVMTypeRef elem)
{
	return LLVMVectorType(elem, (unsigned)e->t->register_bytes * 8 / bits_of(elem));
}

static LLVMTypeRef scalable_register(LLVMTypeRef elem)
{
	return LLVMScalableVectorType(elem, MLO_NEON_BYTES * 8 / bits_of(elem));
}

static LLVMValueRef to_scalable(Emit *e, LLVMValueRef v)
{
	LLVMTypeRef type = scalable_register(LLVMGetElementType(LLVMTypeOf(v)));
	LLVMTypeRef over[] = {type, LLVMTypeOf(v)};

	return emit_intrinsic(e, "llvm.vector.insert", over, 2, (LLVMValueRef[]){LLVMGetPoison(type), v, emit_index(e, 0)}, 3);
}

static LLVMValueRef to_fixed(Emit *e, LLVMValueRef v)
{
	LLVMTypeRef type = fixed_register(e, LLVMGetElementType(LLVMTypeOf(v)));
	LLVMTypeRef over[] = {type, LLVMTypeOf(v)};

	return emit_intrinsic(e, "llvm.vector.extract", over, 2, (LLVMValueRef[]){v, emit_index(e, 0)}, 2);
}

/* Register `i` of v, in the type that parameter `param` has. */
static LLVMValueRef piece_of(Emit *e, LLVMValueRef v, int i, LLVMTypeRef param)
{
	LLVMTypeRef type = LLVMTypeOf(v);
	unsigned lanes = LLVMGetVectorSize(type), n = (unsigned)e->t->register_bytes * 8 / bits_of(LLVMGetElementType(type));
	LLVMValueRef at[64];

	MLO_ASSERT(n <= lanes && n <= 64);
	for (unsigned k = 0; k < n; k++)
		at[k] = LLVMConstInt(LLVMInt32TypeInContext(e->ctx), (unsigned)i * n + k, 0);
	if (n < lanes)
		v = LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(type), LLVMConstVector(at, n), "");
	/* LLVM knows vectors of bf16 among SVE's own only */
	return LLVMBuildBitCast(e->b, emit_scalable(e) ? to_scalable(e, v) : v, param, "");
}

LLVMValueRef emit_joined(Emit *e, LLVMValueRef *v, int n)
{
	for (; n > 1; n /= 2) {
		unsigned lanes = LLVMGetVectorSize(LLVMTypeOf(v[0]));
		LLVMValueRef at[64];

		MLO_ASSERT(n % 2 == 0 && 2 * lanes <= 64);
		for (unsigned k = 0; k < 2 * lanes; k++)
			at[k] = LLVMConstInt(LLVMInt32TypeInContext(e->ctx), k, 0);
		for (int i = 0; i < n / 2; i++)
			v[i] = LLVMBuildShuffleVector(e->b, v[2 * i], v[2 * i + 1], LLVMConstVector(at, 2 * lanes), "");
	}
	return v[0];
}

LLVMValueRef emit_instruction(Emit *e, const char *name, LLVMTypeRef sum, LLVMTypeRef narrow, LLVMValueRef *args, unsigned n)
{
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
	LLVMTypeRef over[2] = {fixed_register(e, sum), narrow ? fixed_register(e, narrow) : NULL}, fn, param[3];
	unsigned nover = !LLVMIntrinsicIsOverloaded(id) ? 0 : emit_scalable(e) || !narrow ? 1 : 2;
	int pieces = (int)LLVMGetVectorSize(LLVMTypeOf(args[0])) * (int)bits_of(LLVMGetElementType(LLVMTypeOf(args[0]))) / 8 / e->t->register_bytes;
	LLVMValueRef out[8], arg[3];

	if (emit_scalable(e))
		over[0] = scalable_register(sum);
	fn = LLVMIntrinsicGetType(e->ctx, id, over, nover);
	MLO_ASSERT(id && LLVMCountParamTypes(fn) == n && n <= 3 && pieces >= 1 && pieces <= 8);
	LLVMGetParamTypes(fn, param);
	for (int p = 0; p < pieces; p++) {
		for (unsigned i = 0; i < n; i++)
			arg[i] = piece_of(e, args[i], p, param[i]);
		out[p] = LLVMBuildCall2(e->b, fn, LLVMGetIntrinsicDeclaration(e->mod, id, over, nover), arg, n, "");
		if (emit_scalable(e))
			out[p] = to_fixed(e, out[p]);
	}
	return emit_joined(e, out, pieces);
}

/* -- the same in all lanes -------------------------------------------------------------------------- */

/* SVE loads an element into all lanes without help of the units that multiply; LLVM sees that in its own vectors only. */
static LLVMValueRef scalable_splat(Emit *e, LLVMValueRef v)
{
	LLVMTypeRef type = scalable_register(LLVMTypeOf(v)), mask = LLVMScalableVectorType(LLVMInt32TypeInContext(e->ctx), LLVMGetVectorSize(type));
	LLVMValueRef one = LLVMBuildInsertElement(e->b, LLVMGetPoison(type), v, emit_index(e, 0), "");

	return LLVMBuildShuffleVector(e->b, one, LLVMGetPoison(type), LLVMConstNull(mask), "");
}

LLVMValueRef emit_broadcast(Emit *e, LLVMValueRef v, int lanes)
{
	LLVMTypeRef type = LLVMTypeOf(v), bits;


	if (!emit_scalable(e) || emit_lanes(v) || (unsigned)lanes * bits_of(type) != (unsigned)e->t->register_bytes * 8)
		return emit_splat(e, v, lanes);
	/* as whole numbers: LLVM makes a load and a move of floats */
	bits = LLVMIntTypeInContext(e->ctx, bits_of(type));
	v = to_fixed(e, scalable_splat(e, LLVMBuildBitCast(e->b, v, bits, "")));
	return LLVMBuildBitCast(e->b, v, emit_vec(type, lanes), "");
}

bool emit_takes_lanes(const Emit *e)
{
	return mlo_target_by_lane(e->t);
}

bool emit_converts_nan(const Emit *e)
{
	return emit_takes_lanes(e);
}

LLVMValueRef emit_load_lane(Emit *e, LLVMValueRef at, int lane, int lanes)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef v = LLVMBuildLoad2(e->b, LLVMVectorType(i32, 2), at, ""), from[64];

	MLO_ASSERT(lanes <= 64);
	LLVMSetAlignment(v, 1);
	for (int i = 0; i < lanes; i++)
		from[i] = LLVMConstInt(i32, (unsigned)lane, 0);
	return LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(from, (unsigned)lanes), "");
}

/* The pair of 64 bits in each 128 bits of a vector of `bytes`. */
static LLVMValueRef quads(Emit *e, LLVMValueRef pair, int bytes)
{
	unsigned n = (unsigned)bytes / 8;
	LLVMValueRef at[64];

	MLO_ASSERT(n <= 64);
	for (unsigned k = 0; k < n; k++)
		at[k] = LLVMConstInt(LLVMInt32TypeInContext(e->ctx), k % 2, 0);
	return LLVMBuildShuffleVector(e->b, pair, LLVMGetPoison(LLVMTypeOf(pair)), LLVMConstVector(at, n), "");
}

LLVMValueRef emit_pair_load(Emit *e, LLVMValueRef at, int bytes)
{
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx), type = scalable_register(i64), i1 = LLVMInt1TypeInContext(e->ctx);
	LLVMValueRef v;

	if (emit_scalable(e)) {
		LLVMValueRef all = LLVMConstAllOnes(LLVMScalableVectorType(i1, LLVMGetVectorSize(type)));

		return to_fixed(e, emit_intrinsic(e, "llvm.aarch64.sve.ld1rq", &type, 1, (LLVMValueRef[]){all, at}, 2));
	}
	v = LLVMBuildLoad2(e->b, LLVMVectorType(i64, 2), at, "");
	LLVMSetAlignment(v, 1);
	return quads(e, v, bytes);
}

LLVMValueRef emit_pair(Emit *e, LLVMValueRef a, LLVMValueRef b, int bytes)
{
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx), type = scalable_register(i64);
	LLVMValueRef v = LLVMGetPoison(LLVMVectorType(i64, 2));

	if (emit_scalable(e)) {
		LLVMValueRef both[] = {scalable_splat(e, a), scalable_splat(e, b)};

		return to_fixed(e, emit_intrinsic(e, "llvm.aarch64.sve.trn1", &type, 1, both, 2));
	}
	v = LLVMBuildInsertElement(e->b, v, a, emit_index(e, 0), "");
	v = LLVMBuildInsertElement(e->b, v, b, emit_index(e, 1), "");
	return quads(e, v, bytes);
}

/* -- conversions that LLVM lacks -------------------------------------------------------------------- */

LLVMValueRef emit_bf16_bits(Emit *e, LLVMValueRef x)
{
	int lanes = emit_lanes(x);
	LLVMTypeRef half = LLVMBFloatTypeInContext(e->ctx), i16 = emit_vec(LLVMInt16TypeInContext(e->ctx), lanes);
	LLVMTypeRef i1 = LLVMInt1TypeInContext(e->ctx), type = scalable_register(half);
	LLVMValueRef args[3];

	if (!emit_scalable(e))
		return LLVMBuildBitCast(e->b, LLVMBuildFPTrunc(e->b, x, emit_vec(half, lanes), ""), i16, "");
	if ((unsigned)lanes * 4 != (unsigned)e->t->register_bytes)
		return NULL;
	args[0] = LLVMGetPoison(type);
	args[1] = LLVMConstAllOnes(LLVMScalableVectorType(i1, LLVMGetVectorSize(type)));
	args[2] = to_scalable(e, x);
	/* each result in the lower half of its lane */
	x = emit_intrinsic(e, "llvm.aarch64.sve.fcvt.bf16f32", NULL, 0, args, 3);
	x = LLVMBuildBitCast(e->b, x, scalable_register(LLVMInt32TypeInContext(e->ctx)), "");
	return LLVMBuildTrunc(e->b, to_fixed(e, x), i16, "");
}
