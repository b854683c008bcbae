/* ir/ref/ref_nest.c -- loop nests over broadcast and strided operands, and strided copies. */
#include "ir/ref/ref_elem.h"

static bool mergeable(const RefNest *s, int last, int64_t n, int nop, const int64_t *const *stride, int d)
{
	for (int k = 0; k < nop; k++)
		if (s->stride[k][last] != stride[k][d] * n)
			return false;
	return true;
}

void ref_nest(RefNest *s, int rank, const int64_t *dim, int noperands, const int64_t *const *stride)
{
	s->rank = 0;
	s->noperands = noperands;
	s->rows = 1;
	for (int d = 0; d < rank; d++) {
		if (dim[d] == 0)
			s->rows = 0;
		if (dim[d] == 1)
			continue;
		int to = s->rank - 1;
		if (to >= 0 && mergeable(s, to, dim[d], noperands, stride, d)) {
			s->dim[to] *= dim[d];
		} else {
			to = s->rank++;
			s->dim[to] = dim[d];
		}
		for (int k = 0; k < noperands; k++)
			s->stride[k][to] = stride[k][d];
	}
	if (s->rank == 0) {
		s->rank = 1;
		s->dim[0] = 1;
		for (int k = 0; k < noperands; k++)
			s->stride[k][0] = 0;
	}
	for (int d = 0; d < s->rank; d++) {
		s->at[d] = 0;
		if (d < s->rank - 1)
			s->rows *= s->dim[d];
	}
	for (int k = 0; k < noperands; k++)
		s->offset[k] = 0;
	s->total = s->rows;
}

void ref_nest_broadcast(RefNest *s, int rank, const int64_t *dim, int noperands,
                        const RefTensor *const *in)
{
	int64_t stride[REF_NEST_OPERANDS][REF_MAX_RANK];
	const int64_t *p[REF_NEST_OPERANDS];
	for (int k = 0; k < noperands; k++) {
		int64_t step = 1;
		for (int d = rank; d-- > 0;) {
			int e = d - (rank - in[k]->rank);
			int64_t n = e >= 0 ? in[k]->dim[e] : 1;
			stride[k][d] = n == 1 ? 0 : step;
			step *= n;
		}
		p[k] = stride[k];
	}
	ref_nest(s, rank, dim, noperands, p);
}

void ref_nest_next(RefNest *s)
{
	s->rows--;
	for (int d = s->rank - 1; d-- > 0;) {
		s->at[d]++;
		for (int k = 0; k < s->noperands; k++)
			s->offset[k] += s->stride[k][d];
		if (s->at[d] < s->dim[d])
			return;
		s->at[d] = 0;
		for (int k = 0; k < s->noperands; k++)
			s->offset[k] -= s->stride[k][d] * s->dim[d];
	}
}

void ref_copy(void *dst, int64_t i, const void *src, int64_t j, int64_t n, int bits)
{
	if (bits < 8) {
		for (int64_t k = 0; k < n; k++)
			ref_copy_elem(dst, i + k, src, j + k, bits);
		return;
	}
	int64_t bytes = bits / 8;
	uint8_t *d = (uint8_t *)dst + i * bytes;
	const uint8_t *s = (const uint8_t *)src + j * bytes;
	int64_t k = 0, size = n * bytes;
	for (; k + 32 <= size; k += 32)
		__builtin_memcpy(d + k, s + k, 32); /* of constant size: plain moves, no call */
	for (; k < size; k++)
		d[k] = s[k];
}

REF_INLINE void copy_row(void *dst, int64_t to, const void *src, int64_t from, int64_t step, int64_t n,
                         int bits)
{
	for (int64_t i = 0; i < n; i++)
		ref_copy_elem(dst, to + i, src, from + i * step, bits);
}

void ref_gather_strided(const RefTensor *dst, int rank, const int64_t *dim, const void *src,
                        int64_t offset, const int64_t *stride)
{
	RefNest s;
	ref_nest(&s, rank, dim, 1, &stride);
	int bits = ref_elem_bits(dst->elem);
	int64_t n = s.dim[s.rank - 1], step = s.stride[0][s.rank - 1], to = 0;
	for (; s.rows > 0; ref_nest_next(&s), to += n) {
		int64_t from = offset + s.offset[0];
		if (step == 1)
			ref_copy(dst->data, to, src, from, n, bits);
		else if (bits == 32)
			copy_row(dst->data, to, src, from, step, n, 32);
		else if (bits == 64)
			copy_row(dst->data, to, src, from, step, n, 64);
		else
			copy_row(dst->data, to, src, from, step, n, bits);
	}
}
