/* codegen/device_wgmma.c -- contractions on Hopper's tensor cores: products of groups of four warps.
 *
 * Sums are registers of the kernel's that PTX declares once, and that only the instructions here name: while products are on their way
 * nothing may read or write them, and LLVM, which knows nothing of that, has no copies of them to make.  A stage is one group of
 * products; that of the stage before it may still be multiplied while the next one is brought. */
#include "codegen/device_wgmma.h"

#include <string.h>

enum { STEP_BYTES = STEP * 4, SUMS = 4 /* of a thread, in each 8 columns */ };

/* -- descriptors of matrices ------------------------------------------------------------------------- */

/* (PTX ISA, "Matrix Descriptor Format": addresses and distances in 16 bytes; from each eight rows to the next ones; how pieces are turned.
 * Along a row, where it is not used, the distance is to be 1.) */
static int64_t descriptor(const Mma *m)
{
	int64_t swizzle = m->words == MMA_MOST_WORDS ? 1 : 2, rows = 8 * m->words * 4 / PIECE;

	return (int64_t)((uint64_t)swizzle << 62) | rows << 32 | (int64_t)1 << 16;
}

/* Of the matrix so many bytes behind dynamic shared memory. */
static LLVMValueRef describe(Mma *m, LLVMValueRef at)
{
	Emit *e = m->t.e;
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);
	LLVMValueRef p = LLVMBuildPtrToInt(e->b, device_dynamic_shared(e), i32_type(m), "");

	p = LLVMBuildLShr(e->b, LLVMBuildAdd(e->b, p, at, ""), word_const(m, 4), "");
	p = LLVMBuildIntCast2(e->b, p, i64, false, "");
	return LLVMBuildOr(e->b, p, emit_const_i(i64, descriptor(m)), "");
}

static LLVMValueRef moved(Mma *m, LLVMValueRef matrix, LLVMValueRef bytes)
{
	Emit *e = m->t.e;
	LLVMValueRef pieces = LLVMBuildLShr(e->b, bytes, word_const(m, 4), "");

	return LLVMBuildAdd(e->b, matrix, LLVMBuildIntCast2(e->b, pieces, LLVMInt64TypeInContext(e->ctx), false, ""), "");
}

/* -- sums -------------------------------------------------------------------------------------------- */

static int sums_of(const Mma *m)
{
	return m->t.columns / 8 * SUMS;
}

void wgmma_begin(Mma *m)
{
	Emit *e = m->t.e;
	LLVMValueRef group = tile_div(e, m->t.f->team.thread, GROUP_THREADS), arg[4];
	MloStr s = {.arena = e->arena};

	LLVMSetAlignment(device_dynamic_shared(e), 8 * MMA_MOST_WORDS * 4); /* what the turn of pieces repeats after */
	mlo_str_add(&s, ".reg .%s sum<%d>;", mlo_contract_sum(m->t.c) == EL_i32 ? "b32" : "f32", sums_of(m));
	device_code(e, mlo_str_text(&s), NULL, NULL, 0);
	/* descriptors are those of a whole warp */
	arg[0] = word_const(m, -1);
	arg[1] = group;
	arg[2] = word_const(m, 0);
	arg[3] = word_const(m, DEVICE_WARP - 1);
	group = emit_intrinsic(e, "llvm.nvvm.shfl.sync.idx.i32", NULL, 0, arg, 4);
	m->a_matrix = describe(m, tile_mul(e, group, (int64_t)GROUP_ROWS * m->words * 4));
	m->b_matrix = describe(m, emit_index(e, a_bytes(m)));
}

void wgmma_clear(Mma *m)
{
	MloStr s = {.arena = m->t.e->arena};
	bool whole = mlo_contract_sum(m->t.c) == EL_i32;

	for (int i = 0; i < sums_of(m); i++)
		mlo_str_add(&s, "mov.%s sum%d, %s; ", whole ? "b32" : "f32", i, whole ? "0" : "0f00000000");
	device_code(m->t.e, mlo_str_text(&s), NULL, NULL, 0);
}

/* Of rows lane / 4 and 8 behind it of the 16 of a warp, a lane has columns 2 * (lane % 4) and the next one, in each 8; rows eight apart are
 * turned alike. */
void wgmma_store(Mma *m)
{
	Emit *e = m->t.e;
	LLVMValueRef thread = device_opaque(e, m->t.thread), lane = tile_rem(e, thread, DEVICE_WARP), row, column, first, at;
	MloStr s;

	row = tile_add(e, tile_mul(e, tile_div(e, thread, DEVICE_WARP), GROUP_ROWS / GROUP_WARPS), tile_div(e, lane, 4));
	column = tile_mul(e, tile_rem(e, lane, 4), 2);
	first = device_sum_at(&m->t, emit_index(e, 0), m->t.rows, row, column);
	for (int j = 0; j < m->t.columns / 8; j++) {
		s = (MloStr){.arena = e->arena};
		mlo_str_add(&s, "st.shared.v2.b32 [$0], {sum%d, sum%d}; ", SUMS * j, SUMS * j + 1);
		mlo_str_add(&s, "st.shared.v2.b32 [$0+%d], {sum%d, sum%d};", 8 * m->t.columns * 4, SUMS * j + 2, SUMS * j + 3);
		at = device_word(e, LLVMBuildXor(e->b, first, emit_index(e, (int64_t)j * 8), ""));
		device_code(e, mlo_str_text(&s), "r", &at, 1);
	}
}

/* -- products ---------------------------------------------------------------------------------------- */

void wgmma_publish(Mma *m)
{
	device_code(m->t.e, "fence.proxy.async.shared::cta;", NULL, NULL, 0);
}

void wgmma_wait(Mma *m, int pending)
{
	MloStr s = {.arena = m->t.e->arena};

	mlo_str_add(&s, "wgmma.wait_group.sync.aligned %d;", pending);
	device_code(m->t.e, mlo_str_text(&s), NULL, NULL, 0);
}

/* Terms of a product, types, and what stands behind the operands: signs of these, and which of them are transposed, none. */
static void type_of(const Mma *m, MloStr *s, const char **behind)
{
	*behind = "";
	if (m->kind->word == EL_i8) {
		mlo_str_add(s, "k32.s32.%s.s8", m->kind->a == EL_u8 ? "u8" : "s8");
		return;
	}
	*behind = m->kind->word == EL_tf32 ? ", 1, 1" : ", 1, 1, 0, 0";
	if (m->kind->word == EL_tf32)
		mlo_str_add(s, "k8.f32.tf32.tf32");
	else
		mlo_str_add(s, m->kind->word == EL_f16 ? "k16.f32.f16.f16" : "k16.f32.bf16.bf16");
}

static void add_product(const Mma *m, MloStr *s, int64_t behind)
{
	const char *end;

	mlo_str_add(s, "add.s64 a, $0, %lld; add.s64 b, $1, %lld; ", (long long)(behind / PIECE), (long long)(behind / PIECE));
	mlo_str_add(s, "wgmma.mma_async.sync.aligned.m64n%d", m->t.columns);
	type_of(m, s, &end);
	for (int i = 0; i < sums_of(m); i++)
		mlo_str_add(s, "%ssum%d", i ? ", " : " {", i);
	mlo_str_add(s, "}, a, b, p%s; ", end);
}

void wgmma_multiply(Mma *m, LLVMValueRef base, int64_t behind)
{
	LLVMValueRef arg[2] = {moved(m, m->a_matrix, base), moved(m, m->b_matrix, base)};
	MloStr s = {.arena = m->t.e->arena};

	mlo_str_add(&s, "{ .reg .pred p; .reg .b64 a, b; setp.eq.u32 p, 0, 0; wgmma.fence.sync.aligned; ");
	for (int k = 0; k < m->words / STEP; k++)
		add_product(m, &s, behind + (int64_t)k * STEP_BYTES);
	mlo_str_add(&s, "wgmma.commit_group.sync.aligned; }");
	device_code(m->t.e, mlo_str_text(&s), "l,l", arg, 2);
}
