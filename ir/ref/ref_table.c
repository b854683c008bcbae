/* ir/ref/ref_table.c -- lookups in tables, and probabilities from pairwise decisions. */
#include "ir/ref/ref_elem.h"

static int compare_text(const RefText *a, const RefText *b)
{
	int64_t n = a->n < b->n ? a->n : b->n;

	for (int64_t i = 0; i < n; i++)
		if (a->s[i] != b->s[i])
			return (unsigned char)a->s[i] < (unsigned char)b->s[i] ? -1 : 1;
	return a->n < b->n ? -1 : a->n > b->n;
}

/* Below, at or above key k; NaN stands above all numbers. */
static int compare(const RefTensor *x, int64_t i, const RefTensor *keys, int64_t k)
{
	if (x->elem == EL_str)
		return compare_text((const RefText *)x->data + i, (const RefText *)keys->data + k);
	if (ref_is_float(x->elem)) {
		double a = ref_get_f64(x, i), b = ref_get_f64(keys, k);
		bool na = refm_isnan(a), nb = refm_isnan(b);

		return na || nb ? na - nb : a < b ? -1 : a > b;
	}
	int64_t a = ref_get_i64(x, i), b = ref_get_i64(keys, k);
	if (ref_is_unsigned(x->elem))
		return (uint64_t)a < (uint64_t)b ? -1 : (uint64_t)a > (uint64_t)b;
	return a < b ? -1 : a > b;
}

void ref_lookup(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *keys = &c->in[1], *values = &c->in[2], *other = &c->in[3],
			*y = &c->out[0];
	int64_t n = ref_count(y), nkeys = keys->dim[0];
	int bits = ref_elem_bits(y->elem);

	for (int64_t i = 0; i < n; i++) {
		int64_t lo = 0, hi = nkeys;

		while (lo < hi) {
			int64_t mid = lo + (hi - lo) / 2;

			if (compare(x, i, keys, mid) > 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		if (lo < nkeys && compare(x, i, keys, lo) == 0)
			ref_copy_elem(y->data, i, values->data, lo, bits);
		else
			ref_copy_elem(y->data, i, other->data, 0, bits);
	}
}

/* -- pairwise coupling ---------------------------------------------------------------------------- */

/* The probability that i wins against j, from those of pairs (0,1), (0,2), ... */
REF_INLINE float against(const float *r, int64_t n, int64_t i, int64_t j)
{
	if (i < j)
		return r[i * (2 * n - i - 1) / 2 + j - i - 1];
	return 1 - r[j * (2 * n - j - 1) / 2 + i - j - 1];
}

/* Element (i, j) of the matrix Q whose quadratic form p'Qp the probabilities minimise. */
static float quadratic(const float *r, int64_t n, int64_t i, int64_t j)
{
	float sum = 0;

	if (i != j)
		return -against(r, n, j, i) * against(r, n, i, j);
	for (int64_t k = 0; k < n; k++)
		if (k != i)
			sum += against(r, n, k, i) * against(r, n, k, i);
	return sum;
}

static float row_product(const float *r, int64_t n, const float *p, int64_t i)
{
	float sum = 0;

	for (int64_t j = 0; j < n; j++)
		sum += quadratic(r, n, i, j) * p[j];
	return sum;
}

/* One round of Gauss-Seidel over the classes, each followed by normalisation; false: p had converged. */
static bool improve(const float *r, int64_t n, float *p)
{
	float form = 0, worst = 0;

	for (int64_t i = 0; i < n; i++)
		form += p[i] * row_product(r, n, p, i);
	for (int64_t i = 0; i < n; i++) {
		float error = (float)refm_abs(row_product(r, n, p, i) - form);

		worst = error > worst ? error : worst;
	}
	if (worst < 0.005f / (float)n)
		return false;
	for (int64_t i = 0; i < n; i++) {
		float q = quadratic(r, n, i, i), product = row_product(r, n, p, i),
		      diff = (form - product) / q;

		form = (form + diff * (diff * q + 2 * product)) / (1 + diff) / (1 + diff);
		p[i] += diff;
		for (int64_t j = 0; j < n; j++)
			p[j] /= 1 + diff;
	}
	return true;
}

void ref_pairwise_coupling(const RefCall *c)
{
	const float *r = c->in[0].data;
	float *p = c->out[0].data;
	int64_t n = c->out[0].dim[1], rows = c->out[0].dim[0], pairs = n * (n - 1) / 2;

	for (int64_t row = 0; row < rows; row++, r += pairs, p += n) {
		for (int64_t i = 0; i < n; i++)
			p[i] = 1 / (float)n;
		for (int round = 0; round < 100 && improve(r, n, p); round++)
			;
	}
}
