/* ir/ref/ref_matrix.c -- triangles, unit matrices, and pixels to channels. */
#include "ir/ref/ref_elem.h"

static void clear(const RefTensor *y)
{
	int64_t bytes = (ref_count(y) * ref_elem_bits(y->elem) + 7) / 8;
	for (int64_t i = 0; i < bytes; i++)
		((uint8_t *)y->data)[i] = 0;
}

/* Elements with column - row >= k (upper) or <= k (lower) stay, the others become 0. */
void ref_trilu(const RefCall *c)
{
	const RefTensor *x = &c->in[0], *kt = ref_in(c, 1), *y = &c->out[0];
	int64_t k = kt ? ref_get_i64(kt, 0) : 0, columns = x->dim[x->rank - 1], rows = x->dim[x->rank - 2];
	bool upper = c->attr[ATTR_trilu_upper].i != 0;
	int bits = ref_elem_bits(x->elem);
	/* Beyond the corners nothing changes any more; clamped, r + k cannot overflow. */
	k = k > columns ? columns : k < -rows ? -rows : k;
	clear(y);
	for (int64_t i = 0, n = ref_count_dims(x->dim, 0, x->rank - 1); i < n; i++) {
		int64_t diagonal = i % rows + k;
		int64_t from = upper ? diagonal : 0, to = upper ? columns : diagonal + 1;
		from = from < 0 ? 0 : from;
		to = to > columns ? columns : to;
		if (from < to)
			ref_copy(y->data, i * columns + from, x->data, i * columns + from, to - from, bits);
	}
}

void ref_eye_like(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	int64_t k = c->attr[ATTR_eye_like_k].i, rows = y->dim[0], columns = y->dim[1];
	clear(y);
	if (k >= columns || k <= -rows)
		return;
	for (int64_t r = k < 0 ? -k : 0; r < rows && r + k < columns; r++)
		ref_put_f64(y, r * columns + r + k, 1);
}

/* Result channel (by, bx, c) is the pixel (by, bx) of each block of channel c. */
void ref_space_to_depth(const RefCall *c)
{
	const RefTensor *x = &c->in[0];
	int64_t b = c->attr[ATTR_space_to_depth_blocksize].i, ch = x->dim[1], h = x->dim[2], w = x->dim[3];
	int64_t dim[6] = {x->dim[0], b, b, ch, h / b, w / b};
	int64_t stride[6] = {ch * h * w, w, 1, h * w, b * w, b};
	ref_gather_strided(&c->out[0], 6, dim, x->data, 0, stride);
}
