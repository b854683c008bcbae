/* tests/ptx/mma_sparse.c -- A of which half of each row is zero: which half, says the metadata.
 *
 * Each 4 columns keep two (2:4), each 2 columns of float32 one (1:2); each is told by 4 bits. Lanes 4g ... 4g + 3 hold
 * those of rows g and g + 8. Words of 16 and 8 bit elements differ: of floats a word has 16 bits of row g and, above
 * them, 16 bits of row g + 8; of bytes a word has 32 bits of one row, words of rows g and g + 8 lie in neighbouring
 * lanes. The selector says which lane, or which pair of lanes, has them. Sources: the PTX ISA on mma.sp; where words of
 * bytes lie, the order in which NVIDIA's CUTLASS stores metadata for ldmatrix. */
#include "tests/ptx/mma.h"

/* 4 bits of metadata for group n of 4 columns (of 2, of float32) of a row. */
static unsigned indices(const PtxWarp *w, const PtxMma *s, unsigned row, unsigned n)
{
	const uint32_t *word = SLOT(const uint32_t, s->metadata) + 4 * (row % 8);
	const unsigned high = row / 8, groups = s->kept / (s->type[1] == PTX_TF32 ? 1 : 2);

	if (ptx_type_bytes(s->type[1]) > 1) { /* 4 groups of both rows in a word */
		const unsigned first = groups > 4 ? 2 * s->selector : s->selector;

		return word[first + n / 4] >> (16 * high + 4 * (n % 4)) & 15;
	}
	return word[(groups > 8 ? 2 * (n / 8) : 2 * s->selector) + high] >> 4 * (n % 8) & 15;
}

/* One group: kept columns to their places. False: no valid metadata. */
static bool expand_group(const PtxMma *s, unsigned bits, const int32_t *kept, int32_t *to)
{
	const unsigned first = bits & 3, second = bits >> 2;

	if (s->type[1] == PTX_TF32) { /* a column is two halves: 0 and 1, or 2 and 3 */
		if (bits != 0x4 && bits != 0xe)
			return false;
		to[0] = to[1] = 0;
		to[bits == 0xe] = kept[0];
		return true;
	}
	if (first == second)
		return false;
	to[0] = to[1] = to[2] = to[3] = 0;
	to[first] = kept[0];
	to[second] = kept[1];
	return true;
}

bool ptx_mma_expand(PtxWarp *w, const PtxInst *i, const PtxMma *s, PtxTile *t)
{
	const unsigned take = s->type[1] == PTX_TF32 ? 1 : 2;

	for (unsigned row = 0; row < s->rows; row++) {
		int32_t kept[PTX_MMA_DEPTH / 2];

		memcpy(kept, t->a.i[row], sizeof *kept * s->kept);
		for (unsigned n = 0; n < s->kept / take; n++) {
			const unsigned bits = indices(w, s, row, n);

			if (!expand_group(s, bits, kept + take * n, t->a.i[row] + 2 * take * n)) {
				ptx_finding(w, i, -1, PTX_ILLEGAL_INSTRUCTION,
					    "metadata %#x of row %u, group %u is not valid", bits, row, n);
				return false;
			}
		}
	}
	return true;
}
