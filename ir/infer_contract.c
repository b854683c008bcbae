/* ir/infer_contract.c -- result types of convolutions, matrix products and poolings. */
#include "ir/geometry.h"
#include "ir/infer.h"

/* b must be a vector of m elements, of x's type. */
static MloStatus check_bias(InferCx *c, MloDim m)
{
	const MloType *b = infer_in(c, 2);
	MloDim ignored;

	if (!b)
		return MLO_OK;
	MLO_TRY(infer_same_elem(c, 0, 2));
	if (b->rank >= 0 && (b->rank != 1 || !infer_meet(b->dim[0], m, &ignored)))
		return infer_error(c, "bias '%s' is %s, the result has %s channels", infer_name(c, 2),
		                   infer_type_text(c, b), infer_dim_text(c, m));
	return MLO_OK;
}

static MloStatus check_group(InferCx *c, int64_t group)
{
	if (group < 1 || group > MLO_MAX_ELEMS)
		return infer_error(c, "group is %lld", (long long)group);
	return MLO_OK;
}

static MloStatus conv_dims(InferCx *c, MloDim channels, MloType *t)
{
	MloGeometry geo;

	MLO_TRY(mlo_geometry(c->syms, c->n, infer_in(c, 0), infer_in(c, 1), &geo, c->d));
	t->dim[1] = channels;
	for (int i = 0; i < geo.spatial; i++)
		t->dim[i + 2] = geo.out[i];
	return infer_out(c, 0, t);
}

/* x, w and the number of groups fit; with_bias: operand 2 is one. Result elements are of type `e`. */
static MloStatus conv(InferCx *c, int64_t group, bool with_bias, MloElem e)
{
	const MloType *w = infer_in(c, 1);
	MloType t = *infer_in(c, 0);
	MloDim want, ignored;

	t.elem = e;
	MLO_TRY(check_group(c, group));
	if (t.rank < 0 || w->rank < 0)
		return infer_out(c, 0, &(MloType){.elem = t.elem, .rank = MLO_RANK_UNKNOWN});
	if (t.rank < 3 || w->rank != t.rank)
		return infer_error(c, "input '%s' is %s, weight '%s' is %s: equal ranks of at least 3 expected",
		                   infer_name(c, 0), infer_type_text(c, &t), infer_name(c, 1),
		                   infer_type_text(c, w));
	want = infer_mul(c, w->dim[1], mlo_dim(group));
	if (!infer_meet(t.dim[1], want, &ignored))
		return infer_error(c, "weight expects %s input channels, input '%s' has %s (group=%lld)",
		                   infer_dim_text(c, want), infer_name(c, 0), infer_dim_text(c, t.dim[1]),
		                   (long long)group);
	if (mlo_dim_known(w->dim[0]) && w->dim[0].k % group)
		return infer_error(c, "%lld output channels do not divide into %lld groups",
		                   (long long)w->dim[0].k, (long long)group);
	if (with_bias)
		MLO_TRY(check_bias(c, w->dim[0]));
	return conv_dims(c, w->dim[0], &t);
}

MloStatus infer_conv(InferCx *c)
{
	MLO_TRY(infer_same_elem(c, 0, 1));
	return conv(c, mlo_attr_i(c->n, ATTR_conv_group), true, infer_in(c, 0)->elem);
}

/* Zero points: of the operand's type, with one element, or one per line (row, column, channel). */
static MloStatus check_zero(InferCx *c, uint32_t i, const char *of)
{
	const MloType *x = infer_in(c, i - 2);

	if (x->elem != EL_u8 && x->elem != EL_i8)
		return infer_error(c, "%s '%s' is %s, 8-bit integers are expected", of, infer_name(c, i - 2),
		                   mlo_elem_text(x->elem));
	return infer_in(c, i) ? infer_same_elem(c, i - 2, i) : MLO_OK;
}

static MloStatus check_zeros(InferCx *c, MloDim lines, uint32_t i)
{
	const MloType *z = infer_in(c, i);
	int64_t n = z ? mlo_type_elems(z) : 1;

	if (n < 0 || n == 1 || dim_is_unknown(lines) || lines.e)
		return MLO_OK;
	if (n == 0 || lines.k == 0 || n % lines.k || (z->rank == 1 && n != lines.k))
		return infer_error(c, "zero point '%s' is %s for %s lines of '%s'", infer_name(c, i),
		                   infer_type_text(c, z), infer_dim_text(c, lines), infer_name(c, i - 2));
	return MLO_OK;
}

/* Of a convolution of integers; output channels run along `axis` of the weight. */
static MloStatus check_conv_zeros(InferCx *c, int axis)
{
	const MloType *z = infer_in(c, 2), *w = infer_in(c, 1);

	MLO_TRY(check_zero(c, 2, "input"));
	MLO_TRY(check_zero(c, 3, "weight"));
	if (z && mlo_type_static(z) && mlo_type_elems(z) != 1)
		return infer_error(c, "zero point '%s' is %s, not a scalar", infer_name(c, 2), infer_type_text(c, z));
	return w->rank > axis ? check_zeros(c, w->dim[axis], 3) : MLO_OK;
}

MloStatus infer_conv_integer(InferCx *c)
{
	MLO_TRY(check_conv_zeros(c, 0));
	return conv(c, mlo_attr_i(c->n, ATTR_conv_integer_group), false, EL_i32);
}

/* As conv() above. */
static MloStatus conv_transpose(InferCx *c, int64_t group, bool with_bias, MloElem e)
{
	const MloType *w = infer_in(c, 1);
	MloType t = *infer_in(c, 0);
	MloDim m, ignored;

	t.elem = e;
	MLO_TRY(check_group(c, group));
	if (t.rank < 0 || w->rank < 0)
		return infer_out(c, 0, &(MloType){.elem = t.elem, .rank = MLO_RANK_UNKNOWN});
	if (t.rank < 3 || w->rank != t.rank)
		return infer_error(c, "input '%s' is %s, weight '%s' is %s: equal ranks of at least 3 expected",
		                   infer_name(c, 0), infer_type_text(c, &t), infer_name(c, 1),
		                   infer_type_text(c, w));
	if (!infer_meet(t.dim[1], w->dim[0], &ignored))
		return infer_error(c, "weight expects %s input channels, input '%s' has %s",
		                   infer_dim_text(c, w->dim[0]), infer_name(c, 0), infer_dim_text(c, t.dim[1]));
	if (mlo_dim_known(w->dim[0]) && w->dim[0].k % group)
		return infer_error(c, "%lld input channels do not divide into %lld groups",
		                   (long long)w->dim[0].k, (long long)group);
	m = infer_mul(c, w->dim[1], mlo_dim(group));
	if (with_bias)
		MLO_TRY(check_bias(c, m));
	return conv_dims(c, m, &t);
}

MloStatus infer_conv_transpose(InferCx *c)
{
	MLO_TRY(infer_same_elem(c, 0, 1));
	return conv_transpose(c, mlo_attr_i(c->n, ATTR_conv_transpose_group), true, infer_in(c, 0)->elem);
}

MloStatus infer_conv_transpose_integer(InferCx *c)
{
	MLO_TRY(check_conv_zeros(c, 1));
	return conv_transpose(c, 1, false, EL_i32);
}

/* numpy's matmul: vectors are promoted to matrices and the added dimension is dropped again. */
static MloStatus matmul(InferCx *c, MloElem e)
{
	MloType a = *infer_in(c, 0), b = *infer_in(c, 1), t;
	MloDim k;
	bool va = a.rank == 1, vb = b.rank == 1;

	a.elem = e;
	if (a.rank == 0 || b.rank == 0)
		return infer_error(c, "'%s' is a scalar", infer_name(c, a.rank == 0 ? 0 : 1));
	if (a.rank < 0 || b.rank < 0)
		return infer_out(c, 0, &(MloType){.elem = a.elem, .rank = MLO_RANK_UNKNOWN});
	if (!infer_meet(a.dim[a.rank - 1], b.dim[vb ? 0 : b.rank - 2], &k))
		return infer_error(c, "'%s' %s has %s columns, '%s' %s has %s rows", infer_name(c, 0),
		                   infer_type_text(c, &a), infer_dim_text(c, a.dim[a.rank - 1]),
		                   infer_name(c, 1), infer_type_text(c, &b),
		                   infer_dim_text(c, b.dim[vb ? 0 : b.rank - 2]));
	t = (MloType){.elem = a.elem, .rank = va ? 0 : a.rank - 2};
	for (int i = 0; i < t.rank; i++)
		t.dim[i] = a.dim[i];
	b.rank = vb ? 0 : b.rank - 2;
	MLO_TRY(infer_broadcast(c, &t, &b));
	if (!va)
		t.dim[t.rank++] = a.dim[a.rank - 2];
	if (!vb)
		t.dim[t.rank++] = b.dim[b.rank + 1];
	return infer_out(c, 0, &t);
}

MloStatus infer_matmul(InferCx *c)
{
	MLO_TRY(infer_same_elem(c, 0, 1));
	return matmul(c, infer_in(c, 0)->elem);
}

MloStatus infer_matmul_integer(InferCx *c)
{
	const MloType *a = infer_in(c, 0), *b = infer_in(c, 1);

	MLO_TRY(check_zero(c, 2, "operand"));
	MLO_TRY(check_zero(c, 3, "operand"));
	if (a->rank > 0)
		MLO_TRY(check_zeros(c, a->rank > 1 ? a->dim[a->rank - 2] : mlo_dim(1), 2));
	if (b->rank > 0)
		MLO_TRY(check_zeros(c, b->rank > 1 ? b->dim[b->rank - 1] : mlo_dim(1), 3));
	return matmul(c, EL_i32);
}

MloStatus infer_gemm(InferCx *c)
{
	const MloType *a = infer_in(c, 0), *b = infer_in(c, 1);
	bool ta = mlo_attr_i(c->n, ATTR_gemm_transA) != 0, tb = mlo_attr_i(c->n, ATTR_gemm_transB) != 0;
	MloType t = {.elem = a->elem, .rank = 2, .dim = {DIM_UNKNOWN, DIM_UNKNOWN}}, wide;
	MloDim k;

	MLO_TRY(infer_same_elem(c, 0, 1));
	MLO_TRY(infer_same_elem(c, 0, 2));
	for (uint32_t i = 0; i < 2; i++)
		if (infer_in(c, i)->rank != 2 && infer_in(c, i)->rank >= 0)
			return infer_error(c, "'%s' is %s, a matrix is expected", infer_name(c, i),
			                   infer_type_text(c, infer_in(c, i)));
	if (a->rank == 2)
		t.dim[0] = a->dim[ta];
	if (b->rank == 2)
		t.dim[1] = b->dim[!tb];
	if (a->rank == 2 && b->rank == 2 && !infer_meet(a->dim[!ta], b->dim[tb], &k))
		return infer_error(c, "the inner dimensions differ: '%s' %s%s, '%s' %s%s", infer_name(c, 0),
		                   infer_type_text(c, a), ta ? " transposed" : "", infer_name(c, 1),
		                   infer_type_text(c, b), tb ? " transposed" : "");
	wide = t;
	if (infer_in(c, 2)) {
		MLO_TRY(infer_broadcast(c, &wide, infer_in(c, 2)));
		for (int i = 0; wide.rank >= 0 && i < wide.rank; i++)
			if (wide.rank != 2 || (dim_is(t.dim[i], 1) && !dim_is(wide.dim[i], 1)))
				return infer_error(c, "'%s' %s does not broadcast to %s", infer_name(c, 2),
				                   infer_type_text(c, infer_in(c, 2)), infer_type_text(c, &t));
	}
	return infer_out(c, 0, &t);
}

/* -- pooling -------------------------------------------------------------------------------- */

MloStatus infer_pool(InferCx *c)
{
	MloType t = *infer_in(c, 0), index;
	MloGeometry geo;

	if (t.rank >= 0) {
		MLO_TRY(mlo_geometry(c->syms, c->n, infer_in(c, 0), NULL, &geo, c->d));
		for (int i = 0; i < geo.spatial; i++)
			t.dim[i + 2] = geo.out[i];
	}
	MLO_TRY(infer_out(c, 0, &t));
	index = t;
	if (c->n->out[0])
		index = c->n->out[0]->type; /* the same fresh symbols */
	index.elem = EL_i64;
	return infer_out(c, 1, &index);
}

/* p: the order of the norm, with the name of its slot in every operator that has one. */
static MloStatus check_order(InferCx *c, int64_t most)
{
	int64_t p = mlo_attr_i(c->n, mlo_attr_slot(c->n->op, "p", 1));

	if (p < 1 || p > most)
		return infer_error(c, "p is %lld, 1 to %lld are possible", (long long)p, (long long)most);
	return MLO_OK;
}

MloStatus infer_lp_pool(InferCx *c)
{
	MLO_TRY(check_order(c, 1 << 20));
	return infer_pool(c);
}

MloStatus infer_global_lp_pool(InferCx *c)
{
	MLO_TRY(check_order(c, 1 << 20));
	return infer_global_pool(c);
}

MloStatus infer_lp_norm(InferCx *c)
{
	MLO_TRY(check_order(c, 2));
	return infer_softmax(c);
}

MloStatus infer_global_pool(InferCx *c)
{
	MloType t = *infer_in(c, 0);

	if (t.rank >= 0 && t.rank < 2)
		return infer_error(c, "'%s' is %s, batch and channels are expected", infer_name(c, 0),
		                   infer_type_text(c, &t));
	for (int i = 2; i < t.rank; i++)
		t.dim[i] = mlo_dim(1);
	return infer_out(c, 0, &t);
}
