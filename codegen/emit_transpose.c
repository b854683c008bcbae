/* codegen/emit_transpose.c -- transposing in registers. */
#include "codegen/emit_internal.h"

enum { MAX_TILE = 64, LANE_BYTES = 16 };

/* Lanes of a and b: at[i] below the number of lanes is one of a, else one of b. */
static LLVMValueRef shuffle(Emit *e, LLVMValueRef a, LLVMValueRef b, const int *at)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	int n = emit_lanes(a);
	LLVMValueRef mask[MAX_TILE];

	for (int i = 0; i < n; i++)
		mask[i] = emit_const_i(i32, at[i]);
	return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, (unsigned)n), "");
}

/* Units of `unit` lanes of a and b in turn, those of the lower or the upper half of each piece of `piece` lanes. */
static LLVMValueRef interleave(Emit *e, LLVMValueRef a, LLVMValueRef b, int unit, int piece, bool high)
{
	int n = emit_lanes(a), at[MAX_TILE];

	for (int i = 0; i < n; i++) {
		int in = i % piece, from = i - in + (high ? piece / 2 : 0) + in / (2 * unit) * unit + in % unit;

		at[i] = from + (in / unit % 2 ? n : 0);
	}
	return shuffle(e, a, b, at);
}

/* Every second piece of `piece` lanes of a, then of b. */
static LLVMValueRef every_second(Emit *e, LLVMValueRef a, LLVMValueRef b, int piece, bool odd)
{
	int n = emit_lanes(a), at[MAX_TILE];

	for (int i = 0; i < n; i++) {
		int p = i / piece * 2 + odd;

		at[i] = p * piece + i % piece; /* beyond n: lanes of b */
	}
	return shuffle(e, a, b, at);
}

/* Halves of a and b. */
static LLVMValueRef halves(Emit *e, LLVMValueRef a, LLVMValueRef b, bool high)
{
	int n = emit_lanes(a), at[MAX_TILE];

	for (int i = 0; i < n; i++)
		at[i] = i % (n / 2) + (high ? n / 2 : 0) + (i < n / 2 ? 0 : n);
	return shuffle(e, a, b, at);
}

/* Vectors of more than 128 bits: within 128 bits first, then those as a whole (as vunpck and vshuf do it). */
static void transpose_wide(Emit *e, LLVMValueRef *r, int n)
{
	enum { P = 4 };
	LLVMValueRef t[MAX_TILE], u[MAX_TILE];

	for (int i = 0; i < n; i += P) {
		for (int h = 0; h < 2; h++) {
			t[i + h] = interleave(e, r[i], r[i + 1], 1, P, h);
			t[i + 2 + h] = interleave(e, r[i + 2], r[i + 3], 1, P, h);
		}
		for (int c = 0; c < P; c++)
			u[i + c] = interleave(e, t[i + c / 2], t[i + 2 + c / 2], 2, P, c % 2);
	}
	for (int c = 0; c < P; c++) {
		LLVMValueRef x[2], y[2];

		if (n == 2 * P) {
			r[c] = halves(e, u[c], u[P + c], false);
			r[P + c] = halves(e, u[c], u[P + c], true);
			continue;
		}
		for (int h = 0; h < 2; h++) {
			x[h] = halves(e, u[c], u[P + c], h);
			y[h] = halves(e, u[2 * P + c], u[3 * P + c], h);
		}
		for (int l = 0; l < P; l++)
			r[l * P + c] = every_second(e, x[l / 2], y[l / 2], P, l % 2);
	}
}

void emit_transpose_pieces(Emit *e, LLVMValueRef *r, int n)
{
	for (int step = n / 2; step >= 1; step /= 2) { /* a perfect shuffle of all rows, log2(n) times */
		LLVMValueRef t[MAX_TILE];

		for (int i = 0; i < n / 2; i++)
			for (int h = 0; h < 2; h++)
				t[2 * i + h] = interleave(e, r[i], r[i + n / 2], 1, n, h);
		for (int i = 0; i < n; i++)
			r[i] = t[i];
	}
}

void emit_transpose(Emit *e, LLVMValueRef *r, int n, unsigned bytes)
{
	if (bytes == 4 && n * 4 > LANE_BYTES && !emit_scalable(e)) { /* SVE weaves whole registers */
		transpose_wide(e, r, n);
		return;
	}
	emit_transpose_pieces(e, r, n);
}
