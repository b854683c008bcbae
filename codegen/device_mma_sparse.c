/* codegen/device_mma_sparse.c -- contractions on sparse tensor cores: products that leave out half of their terms.
 *
 * The operand that is sparse is A of the instruction: weights stand in its rows, and what is a row of the tile elsewhere, a position, is a
 * column here.  Fragments are 16 channels by 8 positions.  Weights lie in shared memory as lanes take them (codegen/kept.h), 16 bytes each;
 * positions come by ldmatrix, 16 words of 8 of them at a time.  Which position is which column is free: columns 2t and 2t + 1, of which a
 * lane has sums, are positions t and t + 4, so that sums of a register are those of four positions beside each other when
 * they are stored, in different banks. */
#include "codegen/device_mma_stage.h"
#include "codegen/kept.h"

#include <stdio.h>

enum { COLUMNS = 8 /* of a fragment */, MAX_CHANNELS = 4, WORDS = 4 /* of each operand that a lane has */ };

/* Fragments of a warp. */
static int along_channels(const Mma *m) { return m->nt * 8 / KEPT_CHANNELS; }
static int along_positions(const Mma *m) { return m->mt * 16 / COLUMNS; }

/* The position that is column `column`, in fragments of 8. */
static LLVMValueRef position_of(Emit *e, LLVMValueRef column)
{
	return tile_add(e, tile_div(e, column, 2), tile_mul(e, tile_rem(e, column, 2), COLUMNS / 2));
}

void mma_sparse_plan(Mma *m)
{
	const KContract *c = m->t.c;
	Emit *e = m->t.e;
	LLVMValueRef row = position_of(e, LLVMBuildAnd(e->b, m->lane, emit_index(e, COLUMNS - 1), "")), piece = tile_div(e, m->lane, COLUMNS), at;
	LLVMValueRef channels = tile_mul(e, m->warp_n, along_channels(m));

	row = tile_add(e, row, tile_mul(e, m->warp_m, (int64_t)m->mt * 16));
	at = tile_add(e, tile_mul(e, channels, (int64_t)kept_products(c) * KEPT_A_BYTES), tile_mul(e, m->lane, WORDS * 4));
	m->meta_from = tile_add(e, tile_mul(e, channels, (int64_t)kept_metas(c) * KEPT_META_BYTES), tile_mul(e, m->lane, 4));
	m->meta_from = tile_addc(e, tile_add(e, m->own, m->meta_from), a_bytes(m) + kept_a_bytes(c));
	for (int k = 0; k < kept_products(c); k++) {
		m->a_from[k] = tile_add(e, m->own, mma_piece_at(m, row, tile_addc(e, piece, (int64_t)k * WORDS)));
		m->b_from[k] = tile_addc(e, tile_add(e, m->own, at), a_bytes(m) + (int64_t)k * KEPT_A_BYTES);
	}
}

/* -- products ---------------------------------------------------------------------------------------- */

/* n words of the stage at `base`, so many bytes behind `from`. */
static void load_words(Mma *m, LLVMValueRef base, LLVMValueRef from, int64_t behind, int n, LLVMValueRef *out)
{
	Emit *e = m->t.e;
	LLVMValueRef p = byte_at(m, tile_add(e, base, from)), v;

	p = LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), p, (LLVMValueRef[]){emit_index(e, behind)}, 1, "");
	v = LLVMBuildLoad2(e->b, n > 1 ? LLVMVectorType(i32_type(m), (unsigned)n) : i32_type(m), p, "");
	LLVMSetAlignment(v, (unsigned)n * 4);
	for (int i = 0; i < n; i++)
		out[i] = n > 1 ? LLVMBuildExtractElement(e->b, v, emit_index(e, i), "") : v;
}

static const char *instruction(const Mma *m)
{
	static const struct { MloElem a, word; const char *shape; } known[] = {
		{EL_none, EL_f16, "m16n8k32.row.col.f32.f16.f16.f32"}, {EL_none, EL_bf16, "m16n8k32.row.col.f32.bf16.bf16.f32"},
		{EL_none, EL_tf32, "m16n8k16.row.col.f32.tf32.tf32.f32"},
		{EL_u8, EL_i8, "m16n8k64.row.col.s32.s8.u8.s32"}, {EL_i8, EL_i8, "m16n8k64.row.col.s32.s8.s8.s32"}};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].word == m->kind->word && (!known[i].a || known[i].a == m->kind->a))
			return known[i].shape;
	MLO_BUG("no sparse products of %s", mlo_elem_text(m->kind->word));
}

/* LLVM has no intrinsics of these. */
static void multiply_fragment(Mma *m, LLVMValueRef *a, LLVMValueRef *b, LLVMValueRef *sum, LLVMValueRef meta, int selector)
{
	static const char floats[] = "=f,=f,=f,=f,r,r,r,r,r,r,r,r,f,f,f,f,r", ints[] = "=r,=r,=r,=r,r,r,r,r,r,r,r,r,r,r,r,r,r";
	enum { SUMS = 4, ARGS = 2 * WORDS + SUMS + 1 };
	Emit *e = m->t.e;
	bool whole = mlo_contract_sum(m->t.c) == EL_i32;
	LLVMTypeRef param[ARGS], results[SUMS], type;
	LLVMValueRef arg[ARGS], r;
	char text[200];
	int n;

	for (int i = 0; i < SUMS; i++) {
		arg[i] = a[i];
		arg[WORDS + i] = b[i];
		arg[2 * WORDS + i] = LLVMBuildLoad2(e->b, m->sum_type, sum[i], "");
		results[i] = m->sum_type;
	}
	arg[ARGS - 1] = meta;
	for (int i = 0; i < ARGS; i++)
		param[i] = LLVMTypeOf(arg[i]);
	type = LLVMFunctionType(LLVMStructTypeInContext(e->ctx, results, SUMS, false), param, ARGS, false);
	n = snprintf(text, sizeof text, "mma.sp.sync.aligned.%s {$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9, $10, $11}, {$12, $13, $14, $15}, $16, %d;",
	             instruction(m), selector);
	r = LLVMGetInlineAsm(type, text, (size_t)n, whole ? ints : floats, sizeof floats - 1, true, false, LLVMInlineAsmDialectATT, false);
	r = LLVMBuildCall2(e->b, type, r, arg, ARGS, "");
	LLVMAddCallSiteAttribute(r, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
	                         LLVMCreateEnumAttribute(e->ctx, LLVMGetEnumAttributeKindForName("convergent", 10), 0));
	for (unsigned i = 0; i < SUMS; i++)
		LLVMBuildStore(e->b, LLVMBuildExtractValue(e->b, r, i, ""), sum[i]);
}

void mma_sparse_multiply(Mma *m, LLVMValueRef base, int64_t behind)
{
	const KContract *c = m->t.c;
	Emit *e = m->t.e;
	int channels = along_channels(m), positions = along_positions(m), products = kept_products(c);
	LLVMValueRef a[MAX_CHANNELS * WORDS], b[WORDS], meta[MAX_CHANNELS];

	MLO_ASSERT(channels <= MAX_CHANNELS);
	for (int k = 0; k < products; k++) {
		int word = kept_shares(c) ? k / 2 : k, selector = kept_shares(c) ? k % 2 : 0;

		for (int i = 0; i < channels; i++) {
			load_words(m, base, m->b_from[k], behind + (int64_t)i * products * KEPT_A_BYTES, WORDS, a + i * WORDS);
			if (!selector)
				load_words(m, base, m->meta_from, behind + ((int64_t)i * kept_metas(c) + word) * KEPT_META_BYTES, 1, meta + i);
		}
		for (int j = 0; j < positions; j++) {
			mma_load_fragments(m, byte_at(m, tile_add(e, base, m->a_from[k])), behind + (int64_t)j * COLUMNS * m->words * 4, b);
			for (int i = 0; i < WORDS; i++)
				b[i] = mma_rounded(m, b[i], m->kind->a);
			for (int i = 0; i < channels; i++)
				multiply_fragment(m, a + i * WORDS, b, m->sum + 4 * (i * positions + j), meta[i], selector);
		}
	}
}

/* -- sums -------------------------------------------------------------------------------------------- */

/* Of columns 2t and 2t + 1, a lane has two sums each, those of channels 2g and 2g + 1. */
void mma_sparse_store(Mma *m)
{
	Emit *e = m->t.e;
	int positions = along_positions(m);
	LLVMValueRef g = tile_div(e, m->lane, 4), t = tile_rem(e, m->lane, 4);
	LLVMValueRef first = tile_add(e, tile_mul(e, m->warp_n, (int64_t)m->nt * 8), tile_mul(e, g, 2));

	for (int i = 0; i < along_channels(m) * positions * 2; i++) {
		int fragment = i / 2;
		LLVMValueRef row = tile_addc(e, t, (int64_t)(fragment % positions) * COLUMNS + i % 2 * (COLUMNS / 2));
		LLVMValueRef column = tile_addc(e, first, (int64_t)(fragment / positions) * KEPT_CHANNELS);
		LLVMValueRef v = LLVMGetPoison(LLVMVectorType(m->sum_type, 2));

		for (int k = 0; k < 2; k++) {
			LLVMValueRef sum = LLVMBuildLoad2(e->b, m->sum_type, m->sum[fragment * 4 + k * 2 + i % 2], "");

			v = LLVMBuildInsertElement(e->b, v, sum, emit_index(e, k), "");
		}
		LLVMSetAlignment(LLVMBuildStore(e->b, v, device_word(e, device_sum_at(&m->t, m->t.slice, m->mt * 16, row, column))), 8);
	}
}

/* -- single weights ------------------------------------------------------------------------------------ */

/* A channel is a row of A, of eight for even ones or of eight for odd ones: which of these. */
static LLVMValueRef low_row(Emit *e, LLVMValueRef lane)
{
	return tile_div(e, tile_rem(e, lane, KEPT_CHANNELS), 2);
}

/* The 4 bits of metadata of a group; places are those of kept_meta_at(). */
static LLVMValueRef group_bits(Emit *e, const KContract *c, LLVMValueRef stage, LLVMValueRef lane, LLVMValueRef product, LLVMValueRef group)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef high = tile_rem(e, lane, 2), word = product, thread, bit, v;

	thread = tile_mul(e, low_row(e, lane), 4);
	if (kept_shares(c)) {
		word = tile_div(e, product, 2);
		thread = tile_add(e, thread, tile_add(e, tile_mul(e, tile_rem(e, product, 2), 2), tile_div(e, group, 4)));
		bit = tile_add(e, tile_mul(e, high, 16), tile_mul(e, tile_rem(e, group, 4), 4));
	} else {
		thread = tile_add(e, thread, tile_add(e, tile_mul(e, tile_div(e, group, 8), 2), high));
		bit = tile_mul(e, tile_rem(e, group, 8), 4);
	}
	word = tile_add(e, tile_mul(e, tile_div(e, lane, KEPT_CHANNELS), kept_metas(c)), word);
	word = tile_addc(e, tile_add(e, tile_mul(e, word, KEPT_META_BYTES), tile_mul(e, thread, 4)), kept_a_bytes(c));
	word = tile_add(e, tile_mul(e, stage, kept_stage_bytes(c)), word);
	v = LLVMBuildLoad2(e->b, i32, LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), e->arg[c->b_arg], &word, 1, ""), "");
	LLVMSetAlignment(v, 4);
	v = LLVMBuildLShr(e->b, v, LLVMBuildIntCast2(e->b, bit, i32, false, ""), "");
	return LLVMBuildIntCast2(e->b, LLVMBuildAnd(e->b, v, emit_const_i(i32, 15), ""), e->index, false, "");
}

/* Is term `in` of a group there?  Which it is of those that are. */
static LLVMValueRef is_there(Emit *e, const KContract *c, LLVMValueRef bits, LLVMValueRef in, LLVMValueRef *which)
{
	LLVMValueRef first, second;

	if (c->b.elem == EL_tf32) {
		*which = emit_index(e, 0);
		return LLVMBuildICmp(e->b, LLVMIntEQ, LLVMBuildLShr(e->b, bits, emit_index(e, 3), ""), in, "");
	}
	first = LLVMBuildICmp(e->b, LLVMIntEQ, tile_rem(e, bits, 4), in, "");
	second = LLVMBuildICmp(e->b, LLVMIntEQ, tile_div(e, bits, 4), in, "");
	*which = LLVMBuildZExt(e->b, second, e->index, "");
	return LLVMBuildOr(e->b, first, second, "");
}

LLVMValueRef device_kept_weight(Emit *e, const KContract *c, LLVMValueRef stage, LLVMValueRef lane, LLVMValueRef k)
{
	int n = kept_word_elems(c), size = (int)mlo_elem_bits(c->b.elem) / 8, terms = kept_group(c->b.elem);
	LLVMTypeRef mem = emit_mem_type(e, c->b.elem);
	LLVMValueRef product = tile_div(e, k, (int64_t)n * KEPT_WORDS), group = tile_div(e, tile_rem(e, k, (int64_t)n * KEPT_WORDS), terms);
	LLVMValueRef there, which, i, word, at, v;

	there = is_there(e, c, group_bits(e, c, stage, lane, product, group), tile_rem(e, k, terms), &which);
	i = tile_add(e, tile_mul(e, group, terms / 2), which);
	word = tile_div(e, i, n);
	at = tile_add(e, tile_mul(e, tile_div(e, lane, KEPT_CHANNELS), kept_products(c)), product);
	at = tile_add(e, tile_mul(e, stage, kept_stage_bytes(c)), tile_mul(e, at, KEPT_A_BYTES));
	at = tile_add(e, at, tile_mul(e, tile_add(e, tile_mul(e, low_row(e, lane), 4), tile_rem(e, word, 4)), WORDS * 4));
	at = tile_add(e, at, tile_mul(e, tile_add(e, tile_rem(e, lane, 2), tile_mul(e, tile_div(e, word, 4), 2)), 4));
	at = tile_add(e, at, tile_mul(e, tile_rem(e, i, n), size));
	v = LLVMBuildLoad2(e->b, mem, LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), e->arg[c->b_arg], &at, 1, ""), "");
	LLVMSetAlignment(v, (unsigned)size);
	v = emit_from_memory(e, c->b.elem, v);
	return LLVMBuildSelect(e->b, there, v, LLVMConstNull(LLVMTypeOf(v)), "");
}
