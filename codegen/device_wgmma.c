/* codegen/device_wgmma.c -- products of matrices on Hopper, by groups of four warps.
 *
 * Sums are registers of the kernel's that PTX declares once, and that only the instructions here name: while products are on their way
 * nothing may read or write them, and LLVM, which knows nothing of that, has no copies of them to make.  A stage is one group of
 * products; that of the stage before it may still be multiplied while the next one is brought. */
#include "codegen/device_wgmma.h"

#include <stdio.h>
#include <string.h>

enum { PIECE = 16 /* the unit of descriptors, in bytes */, CORE_ROWS = 8 };

/* Bytes: multiples of 16 from 32 on (PTX ISA, wgmma.mma_async, .shape). */
bool wgmma_takes(const MmaKind *kind, int columns)
{
	return columns >= 8 && columns <= GROUP_MOST_COLUMNS && columns % 8 == 0 && (kind->word != EL_i8 || columns <= 32 || columns % 16 == 0);
}

static bool whole(const Wgmma *w)
{
	return w->kind->word == EL_i8;
}

static int sums_of(const Wgmma *w)
{
	return w->columns / 8 * GROUP_SUMS;
}

/* -- descriptors of matrices ------------------------------------------------------------------------- */

/* (PTX ISA, "Matrix Descriptor Format": addresses and distances in 16 bytes: bit 0, where it begins; 16, along the terms; 32, from each
 * eight rows to the next ones; 62, how pieces are turned, 1: over 128 bytes, 2: 64 bytes.) */
static LLVMValueRef descriptor(Emit *e, LLVMValueRef at, int64_t along, int64_t down, int turn)
{
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx), i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef p = LLVMBuildPtrToInt(e->b, device_dynamic_shared(e), i32, "");
	uint64_t rest = (uint64_t)turn << 62 | (uint64_t)(down / PIECE) << 32 | (uint64_t)(along / PIECE) << 16;

	p = LLVMBuildAdd(e->b, p, LLVMBuildIntCast2(e->b, at, i32, false, ""), "");
	p = LLVMBuildLShr(e->b, p, emit_const_i(i32, 4), "");
	p = LLVMBuildIntCast2(e->b, p, i64, false, "");
	return LLVMBuildOr(e->b, p, LLVMConstInt(i64, rest, false), "");
}

/* Along the terms, where a step of a product is inside of what is turned, the distance is to be 1. */
LLVMValueRef wgmma_turned_rows(Emit *e, LLVMValueRef at, int words)
{
	return descriptor(e, at, PIECE, (int64_t)CORE_ROWS * words * 4, words == MMA_MOST_WORDS ? 1 : 2);
}

LLVMValueRef wgmma_planes(Emit *e, LLVMValueRef at, int64_t along)
{
	return descriptor(e, at, along, CORE_ROWS * PIECE, 0);
}

static LLVMValueRef moved(Emit *e, LLVMValueRef matrix, LLVMValueRef bytes)
{
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);

	if (!bytes)
		return matrix;
	bytes = LLVMBuildLShr(e->b, bytes, emit_index(e, 4), "");
	return LLVMBuildAdd(e->b, matrix, LLVMBuildIntCast2(e->b, bytes, i64, false, ""), "");
}

/* Descriptors are those of a whole warp. */
LLVMValueRef wgmma_group(Emit *e, LLVMValueRef thread)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef group = LLVMBuildUDiv(e->b, thread, emit_index(e, GROUP_THREADS), ""), arg[4];

	arg[0] = emit_const_i(i32, -1);
	arg[1] = LLVMBuildIntCast2(e->b, group, i32, false, "");
	arg[2] = emit_const_i(i32, 0);
	arg[3] = emit_const_i(i32, DEVICE_WARP - 1);
	return LLVMBuildIntCast2(e->b, emit_intrinsic(e, "llvm.nvvm.shfl.sync.idx.i32", NULL, 0, arg, 4), e->index, false, "");
}

/* -- sums -------------------------------------------------------------------------------------------- */

void wgmma_begin(const Wgmma *w)
{
	MloStr s = {.arena = w->e->arena};

	LLVMSetAlignment(device_dynamic_shared(w->e), CORE_ROWS * MMA_MOST_WORDS * 4); /* what the turn of pieces repeats after */
	mlo_str_add(&s, ".reg .%s sum<%d>;", whole(w) ? "b32" : "f32", sums_of(w));
	device_code(w->e, mlo_str_text(&s), NULL, NULL, 0);
}

void wgmma_clear(const Wgmma *w)
{
	MloStr s = {.arena = w->e->arena};

	for (int i = 0; i < sums_of(w); i++)
		mlo_str_add(&s, "mov.%s sum%d, %s; ", whole(w) ? "b32" : "f32", i, whole(w) ? "0" : "0f00000000");
	device_code(w->e, mlo_str_text(&s), NULL, NULL, 0);
}

LLVMValueRef wgmma_sum(const Wgmma *w, int sum, LLVMTypeRef type)
{
	const char *to = whole(w) ? "=r" : "=f";
	LLVMTypeRef call = LLVMFunctionType(type, NULL, 0, false);
	LLVMValueRef code;
	char text[40];
	int n = snprintf(text, sizeof text, "mov.%s $0, sum%d;", whole(w) ? "b32" : "f32", sum);

	code = LLVMGetInlineAsm(call, text, (size_t)n, to, strlen(to), true, false, LLVMInlineAsmDialectATT, false);
	return LLVMBuildCall2(w->e->b, call, code, NULL, 0, "");
}

void wgmma_store(const Wgmma *w, int sum, int n, LLVMValueRef at, int64_t behind)
{
	MloStr s = {.arena = w->e->arena};

	if (n == 2)
		mlo_str_add(&s, "st.shared.v2.b32 [$0+%lld], {sum%d, sum%d};", (long long)behind, sum, sum + 1);
	else
		mlo_str_add(&s, "st.shared.b32 [$0+%lld], sum%d;", (long long)behind, sum);
	device_code(w->e, mlo_str_text(&s), "r", &at, 1);
}

/* -- products ---------------------------------------------------------------------------------------- */

void wgmma_publish(const Wgmma *w)
{
	device_code(w->e, "fence.proxy.async.shared::cta;", NULL, NULL, 0);
}

void wgmma_wait(const Wgmma *w, int pending)
{
	MloStr s = {.arena = w->e->arena};

	mlo_str_add(&s, "wgmma.wait_group.sync.aligned %d;", pending);
	device_code(w->e, mlo_str_text(&s), NULL, NULL, 0);
}

/* Terms of a product, types, and what stands behind the operands: signs of these, and which of them are transposed, none. */
static void type_of(const Wgmma *w, MloStr *s, const char **behind)
{
	const char *a = w->kind->a == EL_u8 ? "u8" : "s8", *b = "s8";

	*behind = "";
	if (whole(w)) {
		mlo_str_add(s, "k32.s32.%s.%s", w->turned ? b : a, w->turned ? a : b);
		return;
	}
	*behind = w->kind->word == EL_tf32 ? ", 1, 1" : ", 1, 1, 0, 0";
	if (w->kind->word == EL_tf32)
		mlo_str_add(s, "k8.f32.tf32.tf32");
	else
		mlo_str_add(s, w->kind->word == EL_f16 ? "k16.f32.f16.f16" : "k16.f32.bf16.bf16");
}

static void add_product(const Wgmma *w, MloStr *s, int64_t a, int64_t b)
{
	const char *end;

	mlo_str_add(s, "add.s64 a, $0, %lld; add.s64 b, $1, %lld; ", (long long)(a / PIECE), (long long)(b / PIECE));
	mlo_str_add(s, "wgmma.mma_async.sync.aligned.m64n%d", w->columns);
	type_of(w, s, &end);
	for (int i = 0; i < sums_of(w); i++)
		mlo_str_add(s, "%ssum%d", i ? ", " : " {", i);
	mlo_str_add(s, "}, a, b, p%s; ", end);
}

void wgmma_multiply(const Wgmma *w, LLVMValueRef a, int64_t a_behind, LLVMValueRef b, int64_t b_behind)
{
	LLVMValueRef arg[2] = {moved(w->e, w->a, a), moved(w->e, w->b, b)};
	MloStr s = {.arena = w->e->arena};

	mlo_str_add(&s, "{ .reg .pred p; .reg .b64 a, b; setp.eq.u32 p, 0, 0; wgmma.fence.sync.aligned; ");
	for (int k = 0; k < w->steps; k++)
		add_product(w, &s, a_behind + k * w->a_step, b_behind + k * w->b_step);
	mlo_str_add(&s, "wgmma.commit_group.sync.aligned; }");
	device_code(w->e, mlo_str_text(&s), "l,l", arg, 2);
}
