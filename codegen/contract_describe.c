/* codegen/contract_describe.c -- convolutions and matrix products as sums of products (KContract). */
#include "codegen/contract_lower.h"
#include "codegen/matrix.h"
#include "codegen/device_schedule.h"
#include "codegen/sparse.h"
#include "codegen/strips.h"
#include "codegen/winograd.h"
#include "ir/geometry.h"

/* Rows of images have as many pixels at least, mostly. */
enum { SHORT_IMAGE = 16 };

static bool is_const_f32(const MloValue *v)
{
	return v && v->data && v->data->elem == EL_f32;
}

/* Weights of a type that B may be packed from. */
static bool is_weights(const MloValue *v)
{
	return v->data && (v->data->elem == EL_f32 || v->data->elem == EL_i8 || v->data->elem == EL_u8);
}

static bool is_integer(const MloNode *n)
{
	return n->op == OP_conv_integer || n->op == OP_conv_transpose_integer || n->op == OP_matmul_integer;
}

static int64_t round_up(int64_t n, int64_t to)
{
	return (n + to - 1) / to * to;
}

/* -- views ---------------------------------------------------------------------------------- */

static bool is_one(MloDim d)
{
	return mlo_dim_known(d) && d.k == 1;
}

static void view_dense(MloSymbols *syms, MloValue *v, StridedView *out)
{
	MloDim stride = mlo_dim(1);

	*out = (StridedView){.base = v, .rank = v->type.rank};
	for (int d = v->type.rank - 1; d >= 0; d--) {
		out->dim[d] = v->type.dim[d];
		out->stride[d] = stride;
		stride = mlo_dim_mul(syms, stride, out->dim[d]);
	}
}

/* Reshape of a strided view without copying: every new dimension must be a split or a merge of old
 * ones that lie behind each other in memory. */
static bool view_reshape(MloSymbols *syms, const StridedView *in, const MloType *to, StridedView *out)
{
	const MloDim one = mlo_dim(1);
	int i = in->rank - 1;
	MloDim room = one, stride = one; /* elements of the current contiguous run not yet given away */

	*out = (StridedView){.base = in->base, .rank = to->rank};
	for (int d = to->rank - 1; d >= 0; d--) {
		MloDim want = to->dim[d], have = one, need, take;

		out->dim[d] = want;
		out->stride[d] = stride;
		while (!mlo_dim_same(have, want)) {
			if (is_one(room)) {
				while (i >= 0 && is_one(in->dim[i]))
					i--;
				if (i < 0 || (!is_one(have) && !mlo_dim_same(in->stride[i], stride)))
					return false;
				room = in->dim[i];
				stride = in->stride[i];
				if (is_one(have))
					out->stride[d] = stride;
				i--;
			}
			if (!mlo_dim_exact(syms, want, have, &need))
				return false;
			if (mlo_dim_exact(syms, room, need, &take)) {
				room = take;
				stride = mlo_dim_mul(syms, stride, need);
				have = want;
			} else if (mlo_dim_exact(syms, need, room, &take)) {
				have = mlo_dim_mul(syms, have, room);
				stride = mlo_dim_mul(syms, stride, room);
				room = one;
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

bool contract_view(MloSymbols *syms, const MloNode *first, const MloNode *anchor, MloValue *v, StridedView *out)
{
	StridedView in;
	const int64_t *perm;
	int n;

	if (!v->def || !in_group_before(first, anchor, v->def)) {
		if (v->layout.block)
			return false;
		view_dense(syms, v, out);
		return true;
	}
	if (!contract_view(syms, first, anchor, v->def->in[0], &in))
		return false;
	if (v->def->op == OP_reshape)
		return view_reshape(syms, &in, &v->type, out);
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

/* The image that the group's first node multiplies by a factor per channel, *gate; or x, the anchor's operand, as it is, and no
 * gate. */
static MloValue *gated(const MloNode *first, const MloNode *anchor, MloValue *x, MloValue **gate)
{
	*gate = NULL;
	if (!x->def || x->def->op != OP_mul || !in_group_before(first, anchor, x->def))
		return x;
	for (uint32_t i = 0; i < 2; i++) {
		MloValue *image = x->def->in[i], *g = x->def->in[1 - i];
		const MloType *t = &g->type;

		if (!mlo_type_same(&image->type, &x->type) || image->layout.block != x->layout.block || t->rank != x->type.rank ||
		    !mlo_dim_same(t->dim[1], x->type.dim[1]) || (!is_one(t->dim[0]) && !mlo_dim_same(t->dim[0], x->type.dim[0])))
			continue;
		for (int d = 2; d < t->rank; d++)
			if (!is_one(t->dim[d]))
				return NULL;
		*gate = g;
		return image;
	}
	return NULL;
}

/* Factors lie in the order of their channels; those that a block has too many end each batch.  false: no such form. */
static bool scale_terms(ContractPlan *p)
{
	KContract *c = &p->c;
	const MloValue *gate = p->gate;
	int64_t channels = gate->type.dim[1].k, block = gate->layout.block;

	c->scale.on = true;
	c->scale.b0 = is_one(gate->type.dim[0]) ? 0 : block ? round_up(channels, block) : channels;
	return c->nky == 1 && c->nkx == 1 && c->dot == 1 && !c->group_k && c->nk == channels && c->a.elem == EL_f32 &&
	       c->b.elem == EL_f32 && mlo_value_elem(gate) == EL_f32;
}

/* -- elements --------------------------------------------------------------------------------- */

/* Element types, terms per step and zero points of the anchor's operands; false: there is no such product. */
static bool choose_elements(const MloNode *n, ContractPlan *p)
{
	KContract *c = &p->c;
	MloValue *zero = is_integer(n) && n->nin > 2 ? n->in[2] : NULL;

	if (!is_integer(n)) {
		c->b.elem = EL_f32;
		c->dot = 1;
		return n->in[0]->type.elem == EL_f32 && n->out[0]->type.elem == EL_f32;
	}
	c->a.elem = n->in[0]->type.elem;
	c->b.elem = EL_i8;
	c->dot = 4;
	if (zero && mlo_type_elems(&zero->type) != 1)
		return false;
	c->zero.given = zero && !zero->data;
	c->zero.at = zero && zero->data ? mlo_tensor_i64(zero->data, 0) : 0;
	p->zero = c->zero.given ? zero : NULL;
	return true;
}

/* Zero points of the weights: constants that leave numbers of i8. */
static bool weight_zeros(const MloNode *n, MloDim channels, bool channels_last, ContractWeights *w)
{
	const MloValue *zero = is_integer(n) && n->nin > 3 ? n->in[3] : NULL;

	if (!is_integer(n))
		return w->w->elem == EL_f32;
	w->zero = zero ? zero->data : NULL;
	return (!zero || zero->data) && contract_weights_fit(w, channels.k, channels_last);
}

/* Do the terms of steps of `dot` lie beside each other? */
static bool steps_fit(const KContract *c, int dot)
{
	return c->nk > 0 && c->a.k == 1 && (c->a.block % dot == 0 || c->a.block >= c->nk) && c->group_k % dot == 0;
}

/* How constant weights are packed for A, which is read from x. */
static bool choose_weights(const MloLowerCx *cx, const MloValue *x, KContract *c)
{
	if (c->b.elem == EL_i8)
		return c->dot == 1 || steps_fit(c, c->dot);
	c->a.elem = mlo_value_elem(x);
	if (contract_is_depthwise(c))
		return true;
	if ((c->a.elem == EL_bf16 || (c->a.elem == EL_f16 && mlo_target_f16(cx->target))) && steps_fit(c, 2))
		c->dot = 2;
	c->b.elem = c->dot == 2 ? c->a.elem : c->a.elem == EL_tf32 ? EL_tf32 : cx->weights ? cx->weights : EL_f32;
	return true;
}

/* In the place of packed weights, whose form is not decided yet. */
static const MloTensor *unpacked(MloLowerCx *cx, MloElem elem)
{
	return mlo_tensor_new(cx->arena, elem, 0, NULL);
}

static void pack(MloLowerCx *cx, ContractPlan *p, const ContractWeights *w)
{
	if (p->dry)
		return;
	if (cx->probe)
		p->packed = unpacked(cx, p->c.b.elem);
	else if (p->c.sparse.spread)
		p->packed = contract_pack_sparse(cx->arena, &p->c, w, &p->places, &p->starts);
	else
		p->packed = p->c.b.kept ? contract_pack_kept(cx->arena, &p->c, w) : contract_pack(cx->arena, &p->c, w);
	if (contract_has_sums(&p->c))
		p->sums = cx->probe ? unpacked(cx, EL_i32) : contract_pack_sums(cx->arena, &p->c, w);
}

/* -- schedule ------------------------------------------------------------------------------- */

/* w: constant weights, or NULL. */
static void schedule(MloLowerCx *cx, ContractPlan *p, int64_t shortest, const ContractWeights *w)
{
	KContract *c = &p->c;
	bool stay = wino_weights_stay(cx->target, cx->weight_bytes);

	if (cx->target->gpu) {
		p->winograd = false;
		c->b.kept = w && !p->dry && contract_weights_halved(c, w);
		mlo_schedule_device(cx->target, p->k, c);
		return;
	}
	contract_choose_pairs(cx->target, c);
	contract_choose_part(cx->target, c);
	c->b.small = contract_by_halves(cx->target, c) && w && contract_weights_small(w);
	contract_choose_sign(cx->target, c);
	if (p->band) {
		mlo_schedule_band(cx->target, p->band, c);
		return;
	}
	mlo_schedule_contract(cx->target, p->k, shortest, c);
	p->winograd = p->winograd && !cx->direct_only;
	if (w && !p->dry && sparse_can(cx->target, c)) {
		KContract alone = *c;

		alone.dot = contract_lane_dot(c);
		p->weights = contract_sparsity(&alone, w);
	}
	if (cx->forced) {
		mlo_schedule_set(c, cx->forced);
	} else {
		mlo_schedule_matrix(cx->target, p->k, c);
		mlo_schedule_strips(cx->target, p->k, c);
		if (!c->depth && p->winograd)
			mlo_schedule_winograd(cx->target, stay, c);
		mlo_schedule_sparse(cx->target, p->k, &p->weights, stay, c);
	}
	contract_choose_sign(cx->target, c);
}

/* -- convolution ---------------------------------------------------------------------------- */

/* How A is walked: x[N, C, H, W], dense or in channel blocks; icg channels per group. */
static void image_strides(ContractPlan *p, const MloValue *x, int64_t ch, MloDim h, MloDim w, int64_t icg)
{
	KContract *c = &p->c;
	MloSymbols *syms = p->k->syms;
	MloDim image = mlo_dim_mul(syms, h, w);
	int64_t b = x->layout.block;

	c->a.block = b ? b : icg;
	c->a.blk = mlo_kernel_number(p->k, mlo_dim_mul(syms, image, mlo_dim(c->a.block)));
	c->a.k = b ? 1 : mlo_kernel_number(p->k, image);
	c->a.x = b ? b : 1;
	c->a.y = mlo_kernel_number(p->k, mlo_dim_mul(syms, w, mlo_dim(c->a.x)));
	c->a.b0 = mlo_kernel_number(p->k, mlo_dim_mul(syms, image, mlo_dim(b ? round_up(ch, b) : ch)));
}

/* Chooses how groups map to runs of terms; false: no good form. */
static bool conv_groups(const MloTarget *t, const MloValue *x, int64_t ch, int64_t oc, int64_t groups, KContract *c,
                        ContractWeights *w)
{
	int64_t lanes = mlo_target_lanes(t);

	w->tile_groups = 1;
	if (groups == 1) {
		c->nk = ch;
		c->group_c = oc;
		c->group_k = 0;
	} else if (w->icg == 1 && w->ocg == 1) {
		c->nk = c->group_c = c->group_k = c->dot = 1;
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
static bool spatial_2d(const MloType *t, MloDim *h, MloDim *w)
{
	if (t->rank < 3 || t->rank > 4 || !mlo_dim_known(t->dim[1]))
		return false;
	*h = t->rank == 4 ? t->dim[2] : mlo_dim(1);
	*w = t->dim[t->rank - 1];
	return true;
}

/* Images of one column are lines: tiles go along x. */
static void turn_column(ContractPlan *p, ContractWeights *w, int64_t pad_hi)
{
	KContract *c = &p->c;

	if (c->in_x != 1 || c->nx != 1 || c->nkx != 1 || c->px || c->qx || c->ny <= 1 || c->in_y < 1)
		return;
	c->nx = c->ny;
	c->nkx = w->kw = c->nky;
	c->sx = c->sy;
	c->dx = c->dy;
	c->px = c->py;
	c->qx = pad_hi;
	c->in_x = c->in_y;
	c->a.x = c->a.y;
	c->ny = c->nky = w->kh = c->sy = c->dy = c->in_y = 1;
	c->py = c->a.y = 0;
	p->merged = 2;
}

/* What emission can do with windows on images of open sizes. */
static bool open_windows(const MloGeometry *g)
{
	for (int d = 0; d < g->spatial; d++)
		if (g->pad_lo[d] < 0 || g->pad_hi[d] < 0 || g->stride[d] > 4)
			return false;
	return g->exact;
}

static MloStatus describe_conv(MloLowerCx *cx, const MloNode *first, const MloNode *n, ContractPlan *p)
{
	KContract *c = &p->c;
	const MloType *xt = &n->in[0]->type, *yt = &n->out[0]->type;
	ContractWeights w = {.kind = CW_CONV, .w = n->in[1]->data};
	MloGeometry g;
	bool integer = is_integer(n);
	MloValue *bias = !integer && n->nin > 2 ? n->in[2] : NULL;
	int64_t groups = mlo_attr_i(n, integer ? ATTR_conv_integer_group : ATTR_conv_group), ch;
	MloDim ih, iw, oh, ow;
	MloValue *image = gated(first, n, n->in[0], &p->gate);
	int two;

	if (!image || !is_weights(n->in[1]) || (bias && !is_const_f32(bias)) || !spatial_2d(xt, &ih, &iw) ||
	    !spatial_2d(yt, &oh, &ow) ||
	    mlo_node_geometry(cx->graph, n, &g, NULL) != MLO_OK || !weight_zeros(n, yt->dim[1], false, &w))
		return MLO_ERR_UNSUPPORTED;
	if (!(mlo_dim_known(ih) && mlo_dim_known(iw)) && !open_windows(&g))
		return MLO_ERR_UNSUPPORTED;
	two = xt->rank == 4;
	ch = xt->dim[1].k;
	p->oc = yt->dim[1].k;
	w.kh = two ? g.kernel[0] : 1;
	w.kw = g.kernel[two];
	w.icg = ch / groups;
	w.ocg = p->oc / groups;
	image_strides(p, image, ch, ih, iw, w.icg);
	*c = (KContract){.nb0 = mlo_kernel_number(p->k, xt->dim[0]), .nb1 = 1, .ny = mlo_kernel_number(p->k, oh), .nx = mlo_kernel_number(p->k, ow), .nc = p->oc, .nky = w.kh, .nkx = w.kw,
	                 .sy = two ? g.stride[0] : 1, .sx = g.stride[two], .dy = two ? g.dilation[0] : 1,
	                 .dx = g.dilation[two], .py = two ? g.pad_lo[0] : 0, .px = g.pad_lo[two],
	                 .in_y = mlo_kernel_number(p->k, ih), .in_x = mlo_kernel_number(p->k, iw), .qx = g.pad_hi[two], .dot = c->dot, .a = c->a, .b = {.elem = c->b.elem, .packed = true}, .zero = c->zero};
	if (!conv_groups(cx->target, image, ch, p->oc, groups, c, &w) || !choose_weights(cx, image, c) ||
	    (p->gate && !scale_terms(p)))
		return MLO_ERR_UNSUPPORTED;
	if (!p->band && w.kh == 1 && w.kw == 1 && c->sy == 1 && c->sx == 1 && !c->py && !c->px && mlo_dim_same(oh, ih) &&
	    mlo_dim_same(ow, iw)) {
		/* pixels in one row: tiles need not end at each row's end */
		c->nx = c->in_x = mlo_kernel_number(p->k, mlo_dim_mul(p->k->syms, oh, ow));
		c->ny = c->in_y = 1;
		c->a.y = 0;
		p->merged = two ? 2 : 1;
	} else if (!p->band) {
		turn_column(p, &w, g.pad_hi[0]);
	}
	p->winograd = !p->band && n->out[0]->layout.block == cx->target->vector_bytes / 4;
	schedule(cx, p, p->merged ? SHORT_IMAGE * SHORT_IMAGE : SHORT_IMAGE, &w);
	p->a = image;
	p->bias = bias;
	pack(cx, p, &w);
	return MLO_OK;
}

/* One group; integers have lost the zero points of their weights before (passes/integer.c). */
static bool transposed_weights(const MloNode *n, const ContractWeights *w)
{
	return is_integer(n) ? w->w->elem == EL_i8 && n->nin < 4
			     : w->w->elem == EL_f32 && mlo_attr_i(n, ATTR_conv_transpose_group) == 1;
}

/* Transposed convolution whose taps do not overlap: one product per tap, stored side by side. */
static MloStatus describe_conv_transpose(MloLowerCx *cx, const MloNode *first, const MloNode *n, ContractPlan *p)
{
	KContract *c = &p->c;
	const MloType *xt = &n->in[0]->type, *yt = &n->out[0]->type;
	ContractWeights w = {.kind = CW_TRANSPOSED, .w = n->in[1]->data};
	MloGeometry g;
	int64_t lanes = mlo_target_lanes(cx->target), ch;
	MloValue *bias = !is_integer(n) && n->nin > 2 ? n->in[2] : NULL;
	MloDim h, ww, oh, ow;
	int two;

	(void)first;
	if (!is_weights(n->in[1]) || (bias && !is_const_f32(bias)) || !spatial_2d(xt, &h, &ww) || !spatial_2d(yt, &oh, &ow) ||
	    mlo_node_geometry(cx->graph, n, &g, NULL) != MLO_OK || !transposed_weights(n, &w))
		return MLO_ERR_UNSUPPORTED;
	two = xt->rank == 4;
	for (int d = 0; d < xt->rank - 2; d++)
		if (g.kernel[d] != g.stride[d] || g.dilation[d] != 1 || g.pad_lo[d] || g.pad_hi[d])
			return MLO_ERR_UNSUPPORTED;
	ch = xt->dim[1].k;
	p->oc = w.oc = yt->dim[1].k;
	w.kh = two ? g.kernel[0] : 1;
	w.kw = g.kernel[two];
	if (!mlo_dim_same(oh, mlo_dim_mul(p->k->syms, h, mlo_dim(w.kh))) ||
	    !mlo_dim_same(ow, mlo_dim_mul(p->k->syms, ww, mlo_dim(w.kw))))
		return MLO_ERR_UNSUPPORTED;
	p->phase_c = w.phase_c = round_up(p->oc, lanes);
	p->phase_y = w.kh;
	p->phase_x = w.phase_x = w.kw;
	*c = (KContract){.nb0 = mlo_kernel_number(p->k, xt->dim[0]), .nb1 = 1, .ny = mlo_kernel_number(p->k, h), .nx = mlo_kernel_number(p->k, ww), .nc = w.kh * w.kw * p->phase_c, .nk = ch,
	                 .nky = 1, .nkx = 1, .sy = 1, .sx = 1, .dy = 1, .dx = 1, .in_y = mlo_kernel_number(p->k, h), .in_x = mlo_kernel_number(p->k, ww),
	                 .dot = c->dot, .a = c->a, .b = {.elem = c->b.elem, .packed = true}, .zero = c->zero};
	c->group_c = c->nc;
	image_strides(p, n->in[0], ch, h, ww, ch);
	if (!choose_weights(cx, n->in[0], c))
		return MLO_ERR_UNSUPPORTED;
	schedule(cx, p, SHORT_IMAGE, &w);
	p->a = n->in[0];
	p->bias = bias;
	pack(cx, p, &w);
	return MLO_OK;
}

/* -- matrix products ------------------------------------------------------------------------ */

/* The extents and strides of a matrix product, before they become numbers of its kernel. */
typedef struct MatDims {
	MloDim size[2], a[2], b[2]; /* batches */
	MloDim rows, row_step;
} MatDims;

/* Collapses the batch dimensions [0, n) of result shape `dim` with operand strides as, bs into at
 * most two; false when that cannot be done. */
static bool batch_dims(MloSymbols *syms, const MloDim *dim, const MloDim *as, const MloDim *bs, int n, MatDims *m)
{
	int used = 0; /* 0: innermost collapsed dimension in slot 1, then slot 0 */

	for (int d = n - 1; d >= 0; d--) {
		int at = 2 - used;

		if (is_one(dim[d]))
			continue;
		if (used && mlo_dim_same(as[d], mlo_dim_mul(syms, m->a[at], m->size[at])) &&
		    mlo_dim_same(bs[d], mlo_dim_mul(syms, m->b[at], m->size[at]))) {
			m->size[at] = mlo_dim_mul(syms, m->size[at], dim[d]);
			continue;
		}
		if (++used > 2)
			return false;
		m->size[2 - used] = dim[d];
		m->a[2 - used] = as[d];
		m->b[2 - used] = bs[d];
	}
	return true;
}

bool contract_batch_stride(const StridedView *v, const MloType *y, int d, int n, MloDim *stride)
{
	int at = v->rank - 2 - (n - d);

	*stride = mlo_dim(0);
	if (at < 0 || is_one(v->dim[at]))
		return true;
	*stride = v->stride[at];
	return mlo_dim_same(v->dim[at], y->dim[d]);
}

static bool mat_dims(MloSymbols *syms, const MloType *yt, const StridedView *a, const StridedView *b, ContractPlan *p,
                     MatDims *m)
{
	MloDim as[MLO_MAX_RANK], bs[MLO_MAX_RANK];
	int nb = yt->rank - 2;

	*m = (MatDims){.size = {mlo_dim(1), mlo_dim(1)}, .rows = a->dim[a->rank - 2], .row_step = a->stride[a->rank - 2]};
	p->merged = 1;
	for (int d = 0; d < nb; d++) {
		bs[d] = mlo_dim(0);
		if (!contract_batch_stride(a, yt, d, nb, &as[d]) || (b && !contract_batch_stride(b, yt, d, nb, &bs[d])))
			return false;
	}
	/* batches that share B are more rows */
	for (; nb > 0; nb--, p->merged++) {
		MloDim n = yt->dim[nb - 1];

		if (is_one(n))
			continue;
		if (!mlo_dim_same(bs[nb - 1], mlo_dim(0)))
			break;
		if (is_one(m->rows))
			m->row_step = as[nb - 1];
		else if (!mlo_dim_same(as[nb - 1], mlo_dim_mul(syms, m->row_step, m->rows)))
			break;
		m->rows = mlo_dim_mul(syms, m->rows, n);
	}
	return batch_dims(syms, yt->dim, as, bs, nb, m);
}

static void mat_numbers(MloKernel *k, const MatDims *m, KContract *c)
{
	c->nb0 = mlo_kernel_number(k, m->size[0]);
	c->nb1 = mlo_kernel_number(k, m->size[1]);
	c->nx = c->in_x = mlo_kernel_number(k, m->rows);
	c->a.b0 = mlo_kernel_number(k, m->a[0]);
	c->a.b1 = mlo_kernel_number(k, m->a[1]);
	c->a.x = mlo_kernel_number(k, m->row_step);
	c->b.b0 = mlo_kernel_number(k, m->b[0]);
	c->b.b1 = mlo_kernel_number(k, m->b[1]);
}

static MloStatus finish_mat(MloLowerCx *cx, const MloNode *n, const StridedView *a, const MloValue *bconst,
                            const StridedView *b, ContractPlan *p)
{
	KContract *c = &p->c;
	MloDim terms = a->dim[a->rank - 1], others = b ? b->dim[b->rank - 2] : terms;
	MatDims m;

	if (!mat_dims(cx->graph->syms, &n->out[0]->type, a, b, p, &m) || mlo_dim_same(terms, mlo_dim(0)) ||
	    !mlo_dim_same(terms, others))
		return MLO_ERR_UNSUPPORTED;
	c->ny = c->nky = c->nkx = c->sy = c->sx = c->dy = c->dx = c->in_y = 1;
	c->nc = c->group_c = mlo_kernel_number(p->k, p->channels);
	c->nk = c->a.block = mlo_kernel_number(p->k, terms);
	c->a.k = mlo_kernel_number(p->k, a->stride[a->rank - 1]);
	mat_numbers(p->k, &m, c);
	p->a = a->base;
	if (!b) {
		ContractWeights w = {.kind = CW_MATRIX, .w = bconst->data};
		int r = bconst->type.rank;
		bool trans = n->op == OP_gemm && mlo_attr_i(n, ATTR_gemm_transB);

		if (c->nc < 0 || c->nk != bconst->type.dim[r - 2 + trans].k || !weight_zeros(n, p->channels, true, &w))
			return MLO_ERR_UNSUPPORTED;
		w.stride_k = trans ? 1 : bconst->type.dim[r - 1].k;
		w.stride_c = trans ? bconst->type.dim[r - 1].k : 1;
		c->b.packed = true;
		if (!choose_weights(cx, a->base, c))
			return MLO_ERR_UNSUPPORTED;
		schedule(cx, p, 1, &w);
		pack(cx, p, &w);
		return MLO_OK;
	}
	c->b.k = mlo_kernel_number(p->k, b->stride[b->rank - 2]);
	if (!is_one(b->stride[b->rank - 1]) && !is_one(b->dim[b->rank - 1]))
		return MLO_ERR_UNSUPPORTED;
	p->b = b->base;
	c->a.elem = mlo_value_elem(a->base);
	c->b.elem = mlo_value_elem(b->base);
	schedule(cx, p, 1, NULL);
	return MLO_OK;
}

static MloStatus describe_matmul(MloLowerCx *cx, const MloNode *first, const MloNode *n, ContractPlan *p)
{
	StridedView a, b;
	MloValue *bv = n->in[1];

	/* vectors as operands are rare: the library tier has them */
	if (n->in[0]->type.rank < 2 || bv->type.rank < 2 || n->out[0]->type.rank < 2 ||
	    !contract_view(cx->graph->syms, first, n, n->in[0], &a))
		return MLO_ERR_UNSUPPORTED;
	p->channels = bv->type.dim[bv->type.rank - 1];
	if (is_weights(bv)) {
		bool flat = true;

		for (int d = 0; d < bv->type.rank - 2; d++)
			flat = flat && is_one(bv->type.dim[d]);
		if (flat)
			return finish_mat(cx, n, &a, bv, NULL, p);
	}
	if (is_integer(n) || !contract_view(cx->graph->syms, first, n, bv, &b))
		return MLO_ERR_UNSUPPORTED;
	return finish_mat(cx, n, &a, NULL, &b, p);
}

static MloStatus describe_gemm(MloLowerCx *cx, const MloNode *first, const MloNode *n, ContractPlan *p)
{
	StridedView a;

	if (mlo_attr_f(n, ATTR_gemm_alpha) != 1 || (n->nin > 2 && n->in[2] && mlo_attr_f(n, ATTR_gemm_beta) != 1) ||
	    !is_const_f32(n->in[1]) || !contract_view(cx->graph->syms, first, n, n->in[0], &a))
		return MLO_ERR_UNSUPPORTED;
	p->channels = n->out[0]->type.dim[1];
	if (n->nin > 2 && n->in[2]) {
		if (!is_const_f32(n->in[2]) || mlo_type_elems(&n->in[2]->type) != p->channels.k)
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
	             {OP_matmul, describe_matmul}, {OP_gemm, describe_gemm},
	             {OP_conv_integer, describe_conv}, {OP_conv_transpose_integer, describe_conv_transpose},
	             {OP_matmul_integer, describe_matmul}};

	if (!choose_elements(anchor, p) || !mlo_type_filled(&anchor->out[0]->type))
		return MLO_ERR_UNSUPPORTED;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (table[i].op == anchor->op)
			return table[i].describe(cx, first, anchor, p);
	return MLO_ERR_UNSUPPORTED;
}
