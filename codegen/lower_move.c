/* codegen/lower_move.c -- movement operators as index maps: where an element of the result comes from. */
#include <string.h>

#include "codegen/lower_loops.h"

typedef int MoveFn(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix);

static int64_t clamp64(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

Ix ix_clamp(Lower *w, Ix a, MloDim extent)
{
	if (ix_within(a, extent))
		return a;
	const KIdx *last = kx_add(w->k, kx_dim(w->k, extent), kx_const(w->k, -1));
	return (Ix){kx_max(w->k, kx_min(w->k, a.e, last), kx_const(w->k, 0)), mlo_dim(0), extent};
}

static int move_transpose(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	int count, rank = v->type.rank;
	const int64_t *perm = mlo_attr_ints(n, ATTR_transpose_perm, &count);
	Ix in[MLO_MAX_RANK];
	for (int d = 0; d < rank; d++)
		in[count ? perm[d] : rank - 1 - d] = ix[d];
	return lw_expr(w, n->in[0], in);
}

/* Index maps of one stretch of dimensions with equal products on both sides. */
static void resplit(Lower *w, const Ix *ix, const MloDim *from, int nfrom, Ix *out, const MloDim *to, int nto)
{
	Ix flat = ix_const(w, 0);
	for (int d = 0; d < nfrom; d++)
		flat = d ? ix_add(w, ix_mul(w, flat, from[d]), ix[d]) : ix[d];
	for (int d = nto - 1; d > 0; d--) {
		out[d] = ix_mod(w, flat, to[d]);
		flat = ix_div(w, flat, to[d]);
	}
	if (nto)
		out[0] = flat;
}

static int move_reshape(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	const MloType *o = &v->type, *t = &n->in[0]->type;
	Ix in[MLO_MAX_RANK];
	for (int i = 0, j = 0; i < o->rank || j < t->rank;) {
		int i0 = i, j0 = j;
		MloDim po = i < o->rank ? o->dim[i++] : mlo_dim(1), pi = j < t->rank ? t->dim[j++] : mlo_dim(1);
		while (!mlo_dim_same(po, pi)) {
			if (i < o->rank && (j == t->rank || mlo_dim_le(po, pi)))
				po = mlo_dim_mul(w->k->syms, po, o->dim[i++]);
			else if (j < t->rank)
				pi = mlo_dim_mul(w->k->syms, pi, t->dim[j++]);
			else
				MLO_BUG("reshape of another number of elements");
		}
		resplit(w, ix + i0, o->dim + i0, i - i0, in + j0, t->dim + j0, j - j0);
	}
	return lw_expr(w, n->in[0], in);
}

#define move_flatten move_reshape
#define move_squeeze move_reshape
#define move_unsqueeze move_reshape

bool lw_is_reshape(const MloNode *n)
{
	return n->op == OP_reshape || n->op == OP_flatten || n->op == OP_squeeze || n->op == OP_unsqueeze;
}

static int move_expand(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	const MloType *t = &n->in[0]->type;
	Ix in[MLO_MAX_RANK];
	for (int d = 0; d < t->rank; d++)
		in[d] = lw_is(t->dim[d], 1) ? ix_const(w, 0) : ix[d + v->type.rank - t->rank];
	return lw_expr(w, n->in[0], in);
}

static int move_tile(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	Ix in[MLO_MAX_RANK];
	for (int d = 0; d < v->type.rank; d++)
		in[d] = ix_mod(w, ix[d], lw_size(n->in[0], d));
	return lw_expr(w, n->in[0], in);
}

static int move_relayout(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	(void)v;
	return lw_expr(w, n->in[0], ix);
}

static int move_depth_to_space(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	int64_t b = mlo_attr_i(n, ATTR_depth_to_space_blocksize);
	const char *mode = mlo_attr_s(n, ATTR_depth_to_space_mode);
	Ix block = ix_add(w, ix_mulc(w, ix_modc(w, ix[2], b), b), ix_modc(w, ix[3], b));
	Ix c = mode && mode[0] == 'C' ? ix_add(w, ix_mulc(w, ix[1], b * b), block)
	                              : ix_add(w, ix_mulc(w, block, lw_dim(v, 1)), ix[1]);
	Ix in[4] = {ix[0], c, ix_divc(w, ix[2], b), ix_divc(w, ix[3], b)};
	return lw_expr(w, n->in[0], in);
}

static int move_space_to_depth(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	int64_t b = mlo_attr_i(n, ATTR_space_to_depth_blocksize), ch = lw_dim(n->in[0], 1);
	Ix block = ix_divc(w, ix[1], ch);
	Ix in[4] = {ix[0], ix_modc(w, ix[1], ch), ix_add(w, ix_mulc(w, ix[2], b), ix_divc(w, block, b)),
	            ix_add(w, ix_mulc(w, ix[3], b), ix_modc(w, block, b))};
	(void)v;
	return lw_expr(w, n->in[0], in);
}

/* -- slice and split ---------------------------------------------------------------------- */

static int move_slice(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	int64_t start[MLO_MAX_RANK], axis[MLO_MAX_RANK], step[MLO_MAX_RANK];
	int ns, na, nt, rank = v->type.rank;
	bool ok = lw_const_i64s(n->in[1], start, &ns, MLO_MAX_RANK);
	ok = ok && lw_const_i64s(n->nin > 3 ? n->in[3] : NULL, axis, &na, MLO_MAX_RANK);
	ok = ok && lw_const_i64s(n->nin > 4 ? n->in[4] : NULL, step, &nt, MLO_MAX_RANK);
	MLO_ASSERT(ok);
	Ix in[MLO_MAX_RANK];
	for (int d = 0; d < rank; d++)
		in[d] = ix[d];
	for (int i = 0; i < ns; i++) {
		int d = na ? lw_axis(axis[i], rank) : i;
		MloDim k = lw_size(n->in[0], d);
		int64_t by = nt ? step[i] : 1, from = start[i];
		if (mlo_dim_known(k)) {
			from = from < 0 ? from + k.k : from;
			from = by > 0 ? clamp64(from, 0, k.k) : clamp64(from, 0, k.k - 1);
		}
		in[d] = ix_addc(w, ix_mulc(w, ix[d], by), from);
	}
	return lw_expr(w, n->in[0], in);
}

static int move_split(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	int axis = lw_axis(mlo_attr_i(n, ATTR_split_axis), v->type.rank);
	int64_t sizes[256], from = 0;
	int given;
	bool ok = lw_const_i64s(n->nin > 1 ? n->in[1] : NULL, sizes, &given, 256);
	MLO_ASSERT(ok);
	int64_t part = (lw_dim(n->in[0], axis) + n->nout - 1) / n->nout;
	for (uint32_t i = 0; i < v->out_index; i++)
		from += given ? sizes[i] : part;
	Ix in[MLO_MAX_RANK];
	for (int d = 0; d < v->type.rank; d++)
		in[d] = d == axis ? ix_addc(w, ix[d], from) : ix[d];
	return lw_expr(w, n->in[0], in);
}

/* -- pad ---------------------------------------------------------------------------------- */

/* Elements put before and after each dimension. */
static bool pad_amounts(const MloNode *n, int64_t *before, int64_t *after)
{
	int rank = n->in[0]->type.rank, np, na;
	int64_t pads[2 * MLO_MAX_RANK], axes[MLO_MAX_RANK];
	if (!lw_const_i64s(n->in[1], pads, &np, 2 * MLO_MAX_RANK) ||
	    !lw_const_i64s(n->nin > 3 ? n->in[3] : NULL, axes, &na, MLO_MAX_RANK))
		return false;
	for (int d = 0; d < rank; d++)
		before[d] = after[d] = 0;
	for (int i = 0; i < np / 2; i++) {
		int d = na ? lw_axis(axes[i], rank) : i;
		before[d] = pads[i];
		after[d] = pads[i + np / 2];
	}
	return true;
}

/* A bool: is every index inside the operand? -1: always. Channels that only pad a block count as inside
 * unless `strict`. */
static int inside(Lower *w, const MloValue *x, const Ix *in, bool strict)
{
	int cond = -1;
	for (int d = 0; d < x->type.rank; d++) {
		if (ix_within(in[d], lw_size(x, d)) || (d == 1 && x->layout.block && !strict))
			continue;
		int i = lw_number(w, EL_i64, in[d].e);
		int low = lw_op(w, K_le, EL_bool, lw_const_i(w, EL_i64, 0), i, -1);
		int high = lw_op(w, K_lt, EL_bool, i, lw_number_of(w, EL_i64, lw_size(x, d)), -1);
		int both = lw_op(w, K_and, EL_bool, low, high, -1);
		cond = cond < 0 ? both : lw_op(w, K_and, EL_bool, cond, both, -1);
	}
	return cond;
}

int lw_padded(Lower *w, const MloValue *x, const Ix *in, double fill, bool strict)
{
	if (!lw_inside(w, x))
		return lw_load(w, x, in, fill, !strict);
	int v = lw_expr(w, x, in);
	int cond = inside(w, x, in, strict);
	MloElem t = x->type.elem;
	return cond < 0 ? v : lw_op(w, K_select, t, cond, v, lw_const(w, t, fill));
}

static int pad_constant(Lower *w, const MloNode *n, const Ix *in)
{
	const MloValue *x = n->in[0], *fill = n->nin > 2 ? n->in[2] : NULL;
	if (!fill || fill->data)
		return lw_padded(w, x, in, fill ? mlo_tensor_f64(fill->data, 0) : 0, true);
	int v = lw_expr(w, x, in);
	int cond = inside(w, x, in, true);
	Ix zero[1] = {ix_const(w, 0)};
	return cond < 0 ? v : lw_op(w, K_select, x->type.elem, cond, v, lw_expr(w, fill, zero));
}

static int move_pad(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	const char *mode = mlo_attr_s(n, ATTR_pad_mode);
	int64_t before[MLO_MAX_RANK], after[MLO_MAX_RANK];
	bool ok = pad_amounts(n, before, after);
	MLO_ASSERT(ok);
	Ix in[MLO_MAX_RANK];
	for (int d = 0; d < v->type.rank; d++) {
		MloDim k = lw_size(n->in[0], d);
		Ix i = in[d] = ix_addc(w, ix[d], -before[d]);
		if (!mode || mode[0] == 'c' || ix_within(i, k))
			continue;
		if (mode[0] == 'r') { /* mirrored at both ends */
			const KIdx *a = kx_max(w->k, i.e, kx_mul(w->k, i.e, -1));
			const KIdx *last = kx_add(w->k, kx_dim(w->k, k), kx_const(w->k, -1));
			const KIdx *b = kx_add(w->k, kx_mul(w->k, a, -1), kx_mul(w->k, last, 2));
			i = (Ix){kx_min(w->k, a, b), i.lo, i.end};
		}
		in[d] = mode[0] == 'w' ? ix_mod(w, i, k) : ix_clamp(w, i, k);
	}
	if (!mode || mode[0] == 'c')
		return pad_constant(w, n, in);
	return lw_expr(w, n->in[0], in);
}

static bool can_pad(const MloNode *n)
{
	const char *mode = mlo_attr_s(n, ATTR_pad_mode);
	int64_t before[MLO_MAX_RANK], after[MLO_MAX_RANK];
	if (!pad_amounts(n, before, after))
		return false;
	for (int d = 0; mode && mode[0] == 'r' && d < n->in[0]->type.rank; d++)
		if (mlo_dim_le(lw_size(n->in[0], d), mlo_dim(before[d])) || mlo_dim_le(lw_size(n->in[0], d), mlo_dim(after[d])))
			return false;
	return true;
}

/* -- gather and concat -------------------------------------------------------------------- */

/* Constant indices that grow by the same step along each of their dimensions: at = their index as an expression. */
static bool even_indices(Lower *w, const MloValue *indices, const Ix *ix, Ix *at)
{
	const MloTensor *t = indices->data;
	int64_t first = 0, stride = 1, step[MLO_MAX_RANK], n = t ? mlo_tensor_elems(t) : 0;

	if (n < 1)
		return false;
	first = mlo_tensor_i64(t, 0);
	*at = ix_const(w, first);
	for (int d = t->rank - 1; d >= 0; stride *= t->dim[d--]) {
		step[d] = t->dim[d] > 1 ? mlo_tensor_i64(t, stride) - first : 0;
		*at = ix_add(w, *at, ix_mulc(w, ix[d], step[d]));
	}
	for (int64_t i = 0; i < n; i++) {
		int64_t want = first, rest = i;

		for (int d = t->rank - 1; d >= 0; rest /= t->dim[d--])
			want += rest % t->dim[d] * step[d];
		if (mlo_tensor_i64(t, i) != want)
			return false;
	}
	return true;
}

/* Any data is memory safe: negative indices count from the end, then all are clamped. */
static int move_gather(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	const MloType *t = &n->in[0]->type, *it = &n->in[1]->type;
	int axis = lw_axis(mlo_attr_i(n, ATTR_gather_axis), t->rank);
	MloDim extent = t->dim[axis];
	Ix in[MLO_MAX_RANK];
	(void)v;
	for (int d = 0; d < t->rank; d++)
		in[d] = d < axis ? ix[d] : ix[d + it->rank - 1 + (d == axis)];
	if (even_indices(w, n->in[1], ix + axis, &in[axis]) && ix_within(in[axis], extent))
		return lw_expr(w, n->in[0], in);
	int i = lw_expr(w, n->in[1], ix + axis);
	if (it->elem != EL_i64)
		i = lw_op(w, K_cast, EL_i64, i, -1, -1);
	int neg = lw_op(w, K_lt, EL_bool, i, lw_const_i(w, EL_i64, 0), -1);
	int wrapped = lw_op(w, K_add, EL_i64, i, lw_number_of(w, EL_i64, extent), -1);
	i = lw_op(w, K_select, EL_i64, neg, wrapped, i);
	i = lw_op(w, K_max, EL_i64, i, lw_const_i(w, EL_i64, 0), -1);
	i = lw_op(w, K_min, EL_i64, i, lw_number_of(w, EL_i64, mlo_dim_sub(w->k->syms, extent, mlo_dim(1))), -1);
	in[axis] = (Ix){kx_value(w->k, i), mlo_dim(0), extent};
	return lw_expr(w, n->in[0], in);
}

/* In the middle of an expression: every operand under guards, then a choice. */
static int move_concat(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	int axis = lw_axis(mlo_attr_i(n, ATTR_concat_axis), v->type.rank), r = -1;
	MloDim from = mlo_dim(0);
	for (uint32_t i = 0; i < n->nin; i++) {
		MloDim k = lw_size(n->in[i], axis);
		Ix in[MLO_MAX_RANK];
		memcpy(in, ix, (size_t)v->type.rank * sizeof *in);
		in[axis] = ix_move(w, ix[axis], mlo_dim_sub(w->k->syms, mlo_dim(0), from));
		from = mlo_dim_add(w->k->syms, from, k);
		bool last = i + 1 == n->nin;
		if (mlo_dim_le(in[axis].end, mlo_dim(0)) || (mlo_dim_le(k, in[axis].lo) && !(last && r < 0)))
			continue;
		int x = lw_expr(w, n->in[i], in);
		if (r >= 0) {
			int at = lw_number(w, EL_i64, in[axis].e);
			int here = lw_op(w, K_le, EL_bool, lw_const_i(w, EL_i64, 0), at, -1);
			x = lw_op(w, K_select, v->type.elem, here, x, r);
		}
		r = x;
	}
	return r;
}

static int move_resize(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	(void)v;
	return lw_resize(w, n, ix);
}

/* -- table -------------------------------------------------------------------------------- */

#define PICK_ELTWISE(id) NULL
#define PICK_CONTRACT(id) NULL
#define PICK_REDUCE(id) NULL
#define PICK_POOL(id) NULL
#define PICK_ROWWISE(id) NULL
#define PICK_MOVE(id) move_##id
#define PICK_SHAPE(id) NULL
#define PICK_OTHER(id) NULL
static MoveFn *const move_fn[OP_COUNT] = {
#define OP(id, lo, hi, olo, ohi, kind, ...) [OP_##id] = PICK_##kind(id),
#define ATTR(...)
#include "ir/ops.def"
};

int lw_move(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix)
{
	return move_fn[n->op](w, n, v, ix);
}

static bool steps_back(const MloNode *n)
{
	int64_t step[MLO_MAX_RANK];
	int count;
	lw_const_i64s(n->nin > 4 ? n->in[4] : NULL, step, &count, MLO_MAX_RANK);
	for (int i = 0; i < count; i++)
		if (step[i] < 0)
			return true;
	return false;
}

/* Where an open size is cut, the first element is known only if it surely exists. */
static bool can_slice(const MloNode *n)
{
	int64_t tmp[MLO_MAX_RANK], start[MLO_MAX_RANK], axis[MLO_MAX_RANK], lo, hi;
	int count, na, rank = n->in[0]->type.rank;
	for (uint32_t i = 1; i < n->nin; i++)
		if (i != 2 && !lw_const_i64s(n->in[i], tmp, &count, MLO_MAX_RANK))
			return false;
	lw_const_i64s(n->in[1], start, &count, MLO_MAX_RANK);
	lw_const_i64s(n->nin > 3 ? n->in[3] : NULL, axis, &na, MLO_MAX_RANK);
	for (int i = 0; i < count; i++) {
		MloDim k = lw_size(n->in[0], na ? lw_axis(axis[i], rank) : i);
		mlo_dim_range(k, &lo, &hi);
		if (!mlo_dim_known(k) && (start[i] < 0 || start[i] > lo || steps_back(n)))
			return false;
	}
	return true;
}

static bool can_split(const MloNode *n)
{
	int64_t tmp[256];
	int count;
	int axis = lw_axis(mlo_attr_i(n, ATTR_split_axis), n->in[0]->type.rank);
	return mlo_dim_known(n->in[0]->type.dim[axis]) && n->nout <= LW_STORES && lw_const_i64s(n->nin > 1 ? n->in[1] : NULL, tmp, &count, 256);
}

static bool can_gather(const MloNode *n)
{
	MloElem e = n->in[1]->type.elem;
	return e == EL_i64 || e == EL_i32;
}

/* Every dimension is the result's or for sure 1. */
static bool can_expand(const MloNode *n)
{
	const MloType *t = &n->in[0]->type, *y = &n->out[0]->type;
	for (int d = 0; d < t->rank; d++)
		if (!lw_is(t->dim[d], 1) && !mlo_dim_same(t->dim[d], y->dim[d + y->rank - t->rank]))
			return false;
	return true;
}

static bool can_reshape(const MloNode *n)
{
	const MloType *t = &n->in[0]->type, *y = &n->out[0]->type;
	return mlo_type_as_many(NULL, t, y);
}

static bool can_shuffle(const MloNode *n)
{
	return mlo_dim_known(n->in[0]->type.dim[1]) && mlo_dim_known(n->out[0]->type.dim[1]);
}

static const struct { MloOp op; bool (*ok)(const MloNode *n); } limits[] = {
	{OP_slice, can_slice}, {OP_split, can_split}, {OP_pad, can_pad},
	{OP_gather, can_gather}, {OP_resize, lw_can_resize}, {OP_expand, can_expand}, {OP_reshape, can_reshape},
	{OP_flatten, can_reshape}, {OP_squeeze, can_reshape}, {OP_unsqueeze, can_reshape},
	{OP_depth_to_space, can_shuffle}, {OP_space_to_depth, can_shuffle},
};

bool lw_can_move(const MloNode *n)
{
	if (!move_fn[n->op])
		return false;
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		if (limits[i].op == n->op)
			return limits[i].ok(n);
	return true;
}
