/* codegen/emit_pairs.c -- steps that are products of matrices: two columns of outputs by two channels (contract_pairs).
 *
 * In 128 bits an instruction has the sums of two channels for one column and for the next one.  Accumulators hold them like that while
 * terms are added; before and after, a vector has the channels of one column, as everything else expects. */
#include "codegen/emit_contract.h"

/* -- sums ------------------------------------------------------------------------------------------- */

/* The sums of two columns, 64 bits of each in turn; or, of sums in that form, those of each column. */
static void shuffle_pair(Tile *t, const LLVMValueRef *sum, bool weave, LLVMValueRef *out)
{
	Emit *e = t->e;
	unsigned n = (unsigned)t->c->lanes / 2;
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx), words = LLVMVectorType(LLVMInt64TypeInContext(e->ctx), n);
	LLVMValueRef at[32], two[2];

	for (int i = 0; i < 2; i++)
		two[i] = LLVMBuildBitCast(e->b, sum[i], words, "");
	for (unsigned h = 0; h < 2; h++) {
		for (unsigned k = 0; k < n; k++)
			at[k] = LLVMConstInt(i32, weave ? k % 2 * n + h * n / 2 + k / 2 : 2 * k + h, 0);
		out[h] = LLVMBuildShuffleVector(e->b, two[0], two[1], LLVMConstVector(at, n), "");
		out[h] = LLVMBuildBitCast(e->b, out[h], t->vec, "");
	}
}

static void shuffle_sums(Tile *t, int cols, bool weave)
{
	const KContract *c = t->c;
	Emit *e = t->e;

	for (int at = 0; contract_pairs(c) && at < t->rows * c->cols; at += 2) {
		if (at % c->cols >= cols)
			continue;
		for (int j = 0; j < c->vecs; j++) {
			LLVMValueRef *acc = &t->acc[at * c->vecs + j], sum[2], out[2];

			sum[0] = LLVMBuildLoad2(e->b, t->vec, acc[0], "");
			sum[1] = LLVMBuildLoad2(e->b, t->vec, acc[c->vecs], "");
			shuffle_pair(t, sum, weave, out);
			LLVMBuildStore(e->b, out[0], acc[0]);
			LLVMBuildStore(e->b, out[1], acc[c->vecs]);
		}
	}
}

void contract_weave(Tile *t, int cols)
{
	shuffle_sums(t, cols, true);
}

void contract_unweave(Tile *t, int cols)
{
	shuffle_sums(t, cols, false);
}

/* -- terms ------------------------------------------------------------------------------------------ */

/* Of columns i and i + 1 of row r, of which one may be left out, or the second not be there, the terms of a step; NULL: both are left out. */
static LLVMValueRef pair_input(Tile *t, int r, int i, int cols, LLVMValueRef a_off, int live, const bool *skip)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef row = addn(e, a_off, r * c->sy, c->a.y), at[2];

	for (int k = 0; k < 2; k++)
		at[k] = skip && i + k < cols && skip[i + k] ? NULL : addn(e, row, (i + k) * c->sx, c->a.x);
	if (i + 1 >= cols)
		at[1] = at[0];
	return at[0] || at[1] ? contract_pair_input(t, at[0], at[1], live) : NULL;
}

/* The inputs stay in registers while weights pass. */
void contract_pair_step(Tile *t, int cols, LLVMValueRef a_off, int live, const bool *skip, LLVMValueRef b_off)
{
	const KContract *c = t->c;
	LLVMValueRef x[64];
	int n = 0;

	for (int r = t->row; r < t->row + t->nrow; r++)
		for (int i = 0; i < cols; i += 2)
			x[n++] = pair_input(t, r, i, cols, a_off, live, skip);
	for (int h = 0; h < 2 * c->vecs; h++) {
		LLVMValueRef w = contract_pair_weights(t, b_off, h), *in = x;

		for (int r = t->row; r < t->row + t->nrow; r++)
			for (int i = 0; i < cols; i += 2, in++)
				if (*in)
					contract_multiply_pair(t, *in, w, t->acc[(r * c->cols + i + h % 2) * c->vecs + h / 2]);
	}
}
