/* codegen/kept.c -- where weights for sparse tensor cores and their metadata lie. */
#include "codegen/kept.h"

#include "codegen/contract.h"

enum { QUAD = 4, ROWS = 8 /* that a register of a product has */ };

int64_t kept_elems(const KContract *c)
{
	int64_t stages = mlo_contract_ctiles(c) * c->nky * c->nkx * mlo_contract_steps(c);

	return stages * kept_stage_bytes(c) * 8 / mlo_elem_bits(c->b.elem);
}

/* The row of A that a channel is. */
static int64_t row_of(int64_t lane)
{
	return lane % 2 * ROWS + lane % KEPT_CHANNELS / 2;
}

int64_t kept_meta_at(const KContract *c, int64_t lane, int64_t k, int *bit)
{
	int64_t product = k / kept_word_elems(c) / KEPT_WORDS, row = row_of(lane), word, thread;
	int64_t group = k % ((int64_t)kept_word_elems(c) * KEPT_WORDS) / kept_group(c->b.elem);

	if (kept_shares(c)) {
		word = product / 2;
		thread = row % ROWS * QUAD + product % 2 * 2 + group / 4;
		*bit = (int)(row / ROWS * 16 + group % 4 * 4);
	} else {
		word = product;
		thread = row % ROWS * QUAD + group / 8 * 2 + row / ROWS;
		*bit = (int)(group % 8 * 4);
	}
	return kept_a_bytes(c) + (lane / KEPT_CHANNELS * kept_metas(c) + word) * KEPT_META_BYTES + thread * 4;
}

int64_t kept_term_at(const KContract *c, int64_t lane, int64_t k, int which)
{
	int64_t n = kept_word_elems(c), product = k / n / KEPT_WORDS, row = row_of(lane);
	int64_t i = k % (n * KEPT_WORDS) / kept_group(c->b.elem) * (kept_group(c->b.elem) / 2) + which, word = i / n;
	int64_t thread = row % ROWS * QUAD + word % QUAD, reg = row / ROWS + word / QUAD * 2;

	return (lane / KEPT_CHANNELS * kept_products(c) + product) * KEPT_A_BYTES + thread * 16 + reg * 4 +
	       i % n * (int64_t)(mlo_elem_bits(c->b.elem) / 8);
}

int kept_which(const KContract *c, int64_t k, unsigned bits)
{
	int64_t in = k % kept_group(c->b.elem);

	if (c->b.elem == EL_tf32)
		return (bits == 0xe) == in ? 0 : -1;
	return in == (bits & 3) ? 0 : in == bits >> 2 ? 1 : -1;
}
