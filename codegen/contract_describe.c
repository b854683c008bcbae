/* codegen/contract_describe.c -- convolutions and matrix products as sums of products (KContract). */
#include <string.h>

#include "codegen/contract_lower.h"
#include "codegen/winograd.h"
#include "ir/geometry.h"

static bool is_const_f32(const MloValue *v)
{
	return v && v->data && v->data->elem == EL_f32;
}

static int64_t round_up(int64_t n, int64_t to)
{
	return (n + to - 1) / to * to;
}

/* -- views ---------------------------------------------------------------------------------- */

static void view_dense(MloValue *v, StridedView *out)
{
	int64_t stride = 1;

	*out = (StridedView){.base = v, .rank = v->type.rank};
	for (int d = v->type.rank - 1; d >= 0; d--) {
		out->dim[d] = v->type.dim[d].k;
		out->stride[d] = stride;
		stride *= out->dim[d];
	}
}

/* Reshape of a strided view without copying: every new dimension must be a split or a merge of old
 * ones that lie behind each other in memory. */
static bool view_reshape(const StridedView *in, const MloType *to, StridedView *out)
{
	int i = in->rank - 1;
	int64_t room = 1, stride = 1; /* elements of the current contiguous run not yet given away */

	*out = (StridedView){.base = in->base, .rank = to->rank};
	for (int d = to->rank - 1; d >= 0; d--) {
		int64_t want = to->dim[d].k, have = 1;

		out->dim[d] = want;
		out->stride[d] = stride;
		while (have < want) {
			if (room == 1) {
				while (i >= 0 && in->dim[i] == 1)
					i--;
				if (i < 0 || (have > 1 && in->stride[i] != stride))
					return false;
				room = in->dim[i];
				stride = in->stride[i];
				if (have == 1)
					out->stride[d] = stride;
				i--;
			}
			if (room % (want / have) == 0 && want % have == 0) {
				int64_t take = want / have;

				room /= take;
				stride *= take;
				have = want;
			} else if ((want / have) % room == 0 && want % have == 0) {
				have *= room;
				stride *= room;
				room = 1;
			} else {
				return false;
			}
		}
	}
	return true;
}

static bool in_group_before(const MloNode *first, const MloNode *anchor, const MloNode *n)
{
	for (const MloNode *m = first; m && m != anchor; m = m->next)
		if (m == n)
			return true;
	return false;
}

bool contract_view(const MloNode *first, const MloNode *anchor, MloValue *v, StridedView *out)
{
	StridedView in;
	const int64_t *perm;
	int n;

	if (!v->def || !in_group_before(first, anchor, v->def)) {
		if (v->layout.block)
			return false;
		view_dense(v, out);
		return true;
	}
	if (!contract_view(first, anchor, v->def->in[0], &in))
		return false;
	if (v->def->op == OP_reshape)
		return view_reshape(&in, &v->type, out);
	if (v->def->op != OP_transpose)
		return false;
	perm = mlo_attr_ints(v->def, ATTR_transpose_perm, &n);
	*out = in;
	for (int d = 0; d < in.rank; d++) {
		int64_t from = n ? perm[d] : in.rank - 1 - d;

		out->dim[d] = in.dim[from];
		out->stride[d] = in.stride[from];
	}
	return true;
}

/* -- weights -------------------------------------------------------------------------------- */

/* Element of w at (output channel c, term k, tap) as the plan counts them; 0 where there is none. */
typedef float WeightAt(const void *user, int64_t c, int64_t k, int64_t ky, int64_t kx);

static const MloTensor *pack(MloLowerCx *cx, const KContract *c, WeightAt *at, const void *user)
{
	int64_t w = (int64_t)c->vecs * c->lanes, tiles = mlo_contract_ctiles(c);
	int64_t dims[] = {tiles, c->nky, c->nkx, c->nk, w};
	MloTensor *t = mlo_tensor_new(cx->arena, EL_f32, 5, dims);
	float *p = (float *)t->data;

	for (int64_t ct = 0; ct < tiles; ct++)
		for (int64_t ky = 0; ky < c->nky; ky++)
			for (int64_t kx = 0; kx < c->nkx; kx++)
				for (int64_t k = 0; k < c->nk; k++)
					for (int64_t j = 0; j < w; j++, p++)
						*p = ct * w + j < c->nc ? at(user, ct * w + j, k, ky, kx) : 0;
	return t;
}

static float raw_f32(const MloTensor *t, int64_t i)
{
	float v;

	memcpy(&v, (const char *)t->data + i * 4, 4);
	return v;
}

typedef struct ConvWeights {
	const MloTensor *w;         /* [M][C/g][kh][kw], or [C][M/g][kh][kw] when transposed */
	int64_t kh, kw, icg, ocg;
	int64_t tile_groups;        /* groups that share one run of terms (block-diagonal), else 1 */
	int64_t phase_c, phase_x;   /* transposed: channel = (ky * phase_x + kx) * phase_c + oc */
	int64_t oc;
} ConvWeights;

static float conv_weight(const void *user, int64_t c, int64_t k, int64_t ky, int64_t kx)
{
	const ConvWeights *w = user;
	int64_t group = c / w->ocg % w->tile_groups;

	if (k / w->icg != group && w->tile_groups > 1)
		return 0;
	return raw_f32(w->w, ((c * w->icg + k % w->icg) * w->kh + ky) * w->kw + kx);
}

static float transposed_weight(const void *user, int64_t c, int64_t k, int64_t ky, int64_t kx)
{
	const ConvWeights *w = user;
	int64_t tap = c / w->phase_c, oc = c % w->phase_c;

	(void)ky;
	(void)kx;
	return oc < w->oc ? raw_f32(w->w, (k * w->oc + oc) * w->kh * w->kw + tap) : 0;
}

static const MloTensor *pack_winograd(MloLowerCx *cx, const KContract *c, const ConvWeights *w)
{
	int64_t width = (int64_t)c->vecs * c->lanes, points = wino_points(c), tiles = mlo_contract_ctiles(c);
	MloTensor *t = mlo_tensor_new(cx->arena, EL_f32, 4, (int64_t[]){tiles, points, c->nk, width});
	float *at = (float *)t->data;

	for (int64_t oc = 0; oc < c->nc; oc++) {
		for (int64_t k = 0; k < c->nk; k++) {
			float tap[9];

			for (int i = 0; i < 9; i++)
				tap[i] = raw_f32(w->w, (oc * c->nk + k) * 9 + i);
			for (int p = 0; p < points; p++)
				at[((oc / width * points + p) * c->nk + k) * width + oc % width] = wino_weight(c->wino, tap, p);
		}
	}
	return t;
}

typedef struct MatWeights {
	const MloTensor *w;
	int64_t stride_k, stride_c;
} MatWeights;

static float mat_weight(const void *user, int64_t c, int64_t k, int64_t ky, int64_t kx)
{
	const MatWeights *w = user;

	(void)ky;
	(void)kx;
	return raw_f32(w->w, k * w->stride_k + c * w->stride_c);
}

/* -- convolution ---------------------------------------------------------------------------- */

/* How A is walked: x[N, C, H, W], dense or in channel blocks; icg channels per group. */
static void image_strides(const MloValue *x, int64_t ch, int64_t h, int64_t w, int64_t icg, KContract *c)
{
	int64_t b = x->layout.block;

	if (b) {
		c->a.block = b;
		c->a.blk = h * w * b;
		c->a.k = 1;
		c->a.x = b;
		c->a.y = w * b;
		c->a.b0 = round_up(ch, b) * h * w;
	} else {
		c->a.block = icg;
		c->a.blk = icg * h * w;
		c->a.k = h * w;
		c->a.x = 1;
		c->a.y = w;
		c->a.b0 = ch * h * w;
	}
}

/* Chooses how groups map to runs of terms; false: no good form. */
static bool conv_groups(const MloTarget *t, const MloValue *x, int64_t ch, int64_t oc, int64_t groups, KContract *c,
                        ConvWeights *w)
{
	int64_t lanes = t->vector_bytes / 4;

	w->tile_groups = 1;
	if (groups == 1) {
		c->nk = ch;
		c->group_c = oc;
		c->group_k = 0;
	} else if (w->icg == 1 && w->ocg == 1) {
		c->nk = c->group_c = c->group_k = 1;
		return x->layout.block == lanes;
	} else if (w->ocg % lanes == 0) {
		c->nk = c->group_k = w->icg;
		c->group_c = w->ocg;
	} else if (lanes % w->ocg == 0 && oc % lanes == 0) {
		w->tile_groups = lanes / w->ocg;
		c->nk = c->group_k = w->tile_groups * w->icg;
		c->group_c = lanes;
	} else {
		/* every output sees every input, most weights being zero */
		w->tile_groups = groups;
		c->nk = ch;
		c->group_c = oc;
		c->group_k = 0;
	}
	return true;
}

/* Spatial extents as two dimensions; a missing one is 1. */
static bool spatial_2d(const MloType *t, int64_t *h, int64_t *w)
{
	if (t->rank < 3 || t->rank > 4)
		return false;
	*h = t->rank == 4 ? t->dim[2].k : 1;
	*w = t->dim[t->rank - 1].k;
	return true;
}

/* Images of one column are lines: tiles go along x. */
static void turn_column(ContractPlan *p, ConvWeights *w)
{
	KContract *c = &p->c;

	if (c->in_x != 1 || c->nx != 1 || c->nkx != 1 || c->px || c->ny == 1)
		return;
	c->nx = c->ny;
	c->nkx = w->kw = c->nky;
	c->sx = c->sy;
	c->dx = c->dy;
	c->px = c->py;
	c->in_x = c->in_y;
	c->a.x = c->a.y;
	c->ny = c->nky = w->kh = c->sy = c->dy = c->in_y = 1;
	c->py = c->a.y = 0;
	p->merged = 2;
}

static MloStatus describe_conv(MloLowerCx *cx, const MloNode *first, const MloNode *n, ContractPlan *p)
{
	KContract *c = &p->c;
	const MloType *xt = &n->in[0]->type, *yt = &n->out[0]->type;
	ConvWeights w = {.w = n->in[1]->data};
	MloGeometry g;
	int64_t groups = mlo_attr_i(n, ATTR_conv_group), ch, oh, ow;
	int two;

	(void)first;
	if (!is_const_f32(n->in[1]) || (n->nin > 2 && n->in[2] && !is_const_f32(n->in[2])) ||
	    !spatial_2d(xt, &c->in_y, &c->in_x) || !spatial_2d(yt, &oh, &ow) || mlo_node_geometry(cx->graph, n, &g, NULL) != MLO_OK)
		return MLO_ERR_UNSUPPORTED;
	two = xt->rank == 4;
	ch = xt->dim[1].k;
	p->oc = yt->dim[1].k;
	w.kh = two ? g.kernel[0] : 1;
	w.kw = g.kernel[two];
	w.icg = ch / groups;
	w.ocg = p->oc / groups;
	image_strides(n->in[0], ch, c->in_y, c->in_x, w.icg, c);
	*c = (KContract){.nb0 = xt->dim[0].k, .nb1 = 1, .ny = oh, .nx = ow, .nc = p->oc, .nky = w.kh, .nkx = w.kw,
	                 .sy = two ? g.stride[0] : 1, .sx = g.stride[two], .dy = two ? g.dilation[0] : 1,
	                 .dx = g.dilation[two], .py = two ? g.pad_lo[0] : 0, .px = g.pad_lo[two],
	                 .in_y = c->in_y, .in_x = c->in_x, .a = c->a, .b = {.packed = true}};
	if (!conv_groups(cx->target, n->in[0], ch, p->oc, groups, c, &w))
		return MLO_ERR_UNSUPPORTED;
	if (w.kh == 1 && w.kw == 1 && c->sy == 1 && c->sx == 1 && !c->py && !c->px && oh == c->in_y && ow == c->in_x) {
		/* pixels in one row: tiles need not end at each row's end */
		c->nx = c->in_x = oh * ow;
		c->ny = c->in_y = 1;
		c->a.y = 0;
		p->merged = two ? 2 : 1;
	} else {
		turn_column(p, &w);
	}
	mlo_schedule_contract(cx->target, c);
	if (!cx->direct_only && n->out[0]->layout.block == c->lanes)
		mlo_schedule_winograd(cx->target, c);
	p->a = n->in[0];
	p->bias = n->nin > 2 ? n->in[2] : NULL;
	if (!p->dry)
		p->packed = c->wino ? pack_winograd(cx, c, &w) : pack(cx, c, conv_weight, &w);
	return MLO_OK;
}

/* Transposed convolution whose taps do not overlap: one product per tap, stored side by side. */
static MloStatus describe_conv_transpose(MloLowerCx *cx, const MloNode *first, const MloNode *n, ContractPlan *p)
{
	KContract *c = &p->c;
	const MloType *xt = &n->in[0]->type, *yt = &n->out[0]->type;
	ConvWeights w = {.w = n->in[1]->data};
	MloGeometry g;
	int64_t lanes = cx->target->vector_bytes / 4, ch, h, ww, oh, ow;
	int two;

	(void)first;
	if (!is_const_f32(n->in[1]) || (n->nin > 2 && n->in[2] && !is_const_f32(n->in[2])) || !spatial_2d(xt, &h, &ww) ||
	    !spatial_2d(yt, &oh, &ow) || mlo_node_geometry(cx->graph, n, &g, NULL) != MLO_OK || mlo_attr_i(n, ATTR_conv_transpose_group) != 1)
		return MLO_ERR_UNSUPPORTED;
	two = xt->rank == 4;
	for (int d = 0; d < xt->rank - 2; d++)
		if (g.kernel[d] != g.stride[d] || g.dilation[d] != 1 || g.pad_lo[d] || g.pad_hi[d])
			return MLO_ERR_UNSUPPORTED;
	ch = xt->dim[1].k;
	p->oc = w.oc = yt->dim[1].k;
	w.kh = two ? g.kernel[0] : 1;
	w.kw = g.kernel[two];
	if (oh != h * w.kh || ow != ww * w.kw)
		return MLO_ERR_UNSUPPORTED;
	p->phase_c = w.phase_c = round_up(p->oc, lanes);
	p->phase_y = w.kh;
	p->phase_x = w.phase_x = w.kw;
	*c = (KContract){.nb0 = xt->dim[0].k, .nb1 = 1, .ny = h, .nx = ww, .nc = w.kh * w.kw * p->phase_c, .nk = ch,
	                 .nky = 1, .nkx = 1, .sy = 1, .sx = 1, .dy = 1, .dx = 1, .in_y = h, .in_x = ww,
	                 .b = {.packed = true}};
	c->group_c = c->nc;
	image_strides(n->in[0], ch, h, ww, ch, c);
	mlo_schedule_contract(cx->target, c);
	p->a = n->in[0];
	p->bias = n->nin > 2 ? n->in[2] : NULL;
	p->packed = p->dry ? NULL : pack(cx, c, transposed_weight, &w);
	return MLO_OK;
}

/* -- matrix products ------------------------------------------------------------------------ */

/* Collapses the batch dimensions [0, n) of result shape `dim` with operand strides as, bs into at
 * most two; false when that cannot be done. */
static bool batch_dims(const int64_t *dim, const int64_t *as, const int64_t *bs, int n, KContract *c)
{
	int64_t size[2] = {1, 1}, sa[2] = {0, 0}, sb[2] = {0, 0};
	int used = 0; /* 0: innermost collapsed dimension in slot 1, then slot 0 */

	for (int d = n - 1; d >= 0; d--) {
		if (dim[d] == 1)
			continue;
		if (used && as[d] == sa[2 - used] * size[2 - used] && bs[d] == sb[2 - used] * size[2 - used]) {
			size[2 - used] *= dim[d];
			continue;
		}
		if (++used > 2)
			return false;
		size[2 - used] = dim[d];
		sa[2 - used] = as[d];
		sb[2 - used] = bs[d];
	}
	c->nb0 = size[0];
	c->nb1 = size[1];
	c->a.b0 = sa[0];
	c->a.b1 = sa[1];
	c->b.b0 = sb[0];
	c->b.b1 = sb[1];
	return true;
}

/* Strides of a batch dimension d (of n, right-aligned) of a view whose last two are the matrix. */
static int64_t batch_stride(const StridedView *v, int d, int n)
{
	int at = v->rank - 2 - (n - d);

	return at < 0 || v->dim[at] == 1 ? 0 : v->stride[at];
}

static MloStatus finish_mat(MloLowerCx *cx, const MloNode *n, const StridedView *a, const MloValue *bconst,
                            const StridedView *b, ContractPlan *p)
{
	KContract *c = &p->c;
	const MloType *yt = &n->out[0]->type;
	int64_t as[MLO_MAX_RANK], bs[MLO_MAX_RANK], dim[MLO_MAX_RANK];
	int nb = yt->rank - 2;

	*c = (KContract){.nb0 = 1, .nb1 = 1, .ny = 1, .nx = a->dim[a->rank - 2], .nc = p->oc, .nk = a->dim[a->rank - 1],
	                 .nky = 1, .nkx = 1, .sy = 1, .sx = 1, .dy = 1, .dx = 1, .in_y = 1};
	c->group_c = c->nc;
	c->a.x = a->stride[a->rank - 2];
	c->a.k = a->stride[a->rank - 1];
	c->a.block = c->nk;
	p->merged = 1;
	for (int d = 0; d < nb; d++) {
		dim[d] = yt->dim[d].k;
		as[d] = batch_stride(a, d, nb);
		bs[d] = b ? batch_stride(b, d, nb) : 0;
	}
	/* batches that share B are more rows */
	while (nb > 0 && (dim[nb - 1] == 1 || (bs[nb - 1] == 0 && (c->nx == 1 || as[nb - 1] == c->a.x * c->nx)))) {
		if (c->nx == 1 && dim[nb - 1] > 1)
			c->a.x = as[nb - 1];
		c->nx *= dim[nb - 1];
		nb--;
		p->merged++;
	}
	if (!batch_dims(dim, as, bs, nb, c))
		return MLO_ERR_UNSUPPORTED;
	c->in_x = c->nx;
	if (c->nk == 0)
		return MLO_ERR_UNSUPPORTED;
	p->a = a->base;
	if (!b) {
		MatWeights w = {.w = bconst->data};
		int r = bconst->type.rank;
		bool trans = n->op == OP_gemm && mlo_attr_i(n, ATTR_gemm_transB);

		w.stride_k = trans ? 1 : bconst->type.dim[r - 1].k;
		w.stride_c = trans ? bconst->type.dim[r - 1].k : 1;
		c->b.packed = true;
		mlo_schedule_contract(cx->target, c);
		p->packed = p->dry ? NULL : pack(cx, c, mat_weight, &w);
		return MLO_OK;
	}
	c->b.k = b->stride[b->rank - 2];
	if (b->stride[b->rank - 1] != 1 && b->dim[b->rank - 1] != 1)
		return MLO_ERR_UNSUPPORTED;
	p->b = b->base;
	mlo_schedule_contract(cx->target, c);
	return MLO_OK;
}

static MloStatus describe_matmul(MloLowerCx *cx, const MloNode *first, const MloNode *n, ContractPlan *p)
{
	StridedView a, b;
	MloValue *bv = n->in[1];

	/* vectors as operands are rare: the library tier has them */
	if (n->in[0]->type.rank < 2 || bv->type.rank < 2 || n->out[0]->type.rank < 2 ||
	    !contract_view(first, n, n->in[0], &a))
		return MLO_ERR_UNSUPPORTED;
	p->oc = bv->type.dim[bv->type.rank - 1].k;
	if (is_const_f32(bv)) {
		bool flat = true;

		for (int d = 0; d < bv->type.rank - 2; d++)
			flat = flat && bv->type.dim[d].k == 1;
		if (flat)
			return finish_mat(cx, n, &a, bv, NULL, p);
	}
	if (!contract_view(first, n, bv, &b))
		return MLO_ERR_UNSUPPORTED;
	return finish_mat(cx, n, &a, NULL, &b, p);
}

static MloStatus describe_gemm(MloLowerCx *cx, const MloNode *first, const MloNode *n, ContractPlan *p)
{
	StridedView a;

	if (mlo_attr_f(n, ATTR_gemm_alpha) != 1 || (n->nin > 2 && n->in[2] && mlo_attr_f(n, ATTR_gemm_beta) != 1) ||
	    !is_const_f32(n->in[1]) || !contract_view(first, n, n->in[0], &a))
		return MLO_ERR_UNSUPPORTED;
	p->oc = n->out[0]->type.dim[1].k;
	if (n->nin > 2 && n->in[2]) {
		if (!is_const_f32(n->in[2]) || mlo_type_elems(&n->in[2]->type) != p->oc)
			return MLO_ERR_UNSUPPORTED;
		p->bias = n->in[2];
	}
	if (mlo_attr_i(n, ATTR_gemm_transA)) {
		StridedView s = a;

		a.dim[0] = s.dim[1];
		a.dim[1] = s.dim[0];
		a.stride[0] = s.stride[1];
		a.stride[1] = s.stride[0];
	}
	return finish_mat(cx, n, &a, n->in[1], NULL, p);
}

MloStatus contract_describe(MloLowerCx *cx, const MloNode *first, const MloNode *anchor, ContractPlan *p)
{
	static const struct {
		MloOp op;
		MloStatus (*describe)(MloLowerCx *, const MloNode *, const MloNode *, ContractPlan *);
	} table[] = {{OP_conv, describe_conv}, {OP_conv_transpose, describe_conv_transpose},
	             {OP_matmul, describe_matmul}, {OP_gemm, describe_gemm}};

	if (anchor->out[0]->type.elem != EL_f32 || mlo_type_elems(&anchor->out[0]->type) <= 0)
		return MLO_ERR_UNSUPPORTED;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (table[i].op == anchor->op)
			return table[i].describe(cx, first, anchor, p);
	return MLO_ERR_UNSUPPORTED;
}
