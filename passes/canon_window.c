/* passes/canon_window.c -- rules of canon.def for convolutions, pooling, padding and reductions. */
#include <math.h>
#include <string.h>

#include "passes/canon.h"

enum { MAX_SPATIAL = MLO_MAX_RANK - 2 };

/* -- the common attributes of windowed operators --------------------------------------------- */

typedef struct Window {
	int n;                                /* spatial dimensions */
	int64_t kernel[MAX_SPATIAL], stride[MAX_SPATIAL], dilation[MAX_SPATIAL];
	int64_t pad[2 * MAX_SPATIAL];         /* begins, then ends */
	const char *auto_pad;
	bool complete;                        /* every list was written out */
} Window;

static int slot_of(const MloNode *n, const char *name)
{
	return mlo_attr_slot(n->op, name, strlen(name));
}

static bool read_list(const MloNode *n, const char *name, int64_t *out, int want, int64_t def)
{
	int count;
	const int64_t *v = mlo_attr_ints(n, slot_of(n, name), &count);

	for (int i = 0; i < want; i++)
		out[i] = count == want ? v[i] : def;
	return count == want;
}

static bool window_of(const MloNode *n, Window *w)
{
	w->n = n->in[0]->type.rank - 2;
	if (w->n < 1 || w->n > MAX_SPATIAL)
		return false;
	w->complete = read_list(n, "strides", w->stride, w->n, 1);
	w->complete &= read_list(n, "dilations", w->dilation, w->n, 1);
	w->complete &= read_list(n, "pads", w->pad, 2 * w->n, 0);
	if (!read_list(n, "kernel_shape", w->kernel, w->n, -1)) {
		const MloType *t = n->nin > 1 && n->in[1] ? &n->in[1]->type : NULL;

		w->complete = false;
		for (int i = 0; i < w->n; i++) {
			if (!t || t->rank != w->n + 2 || !mlo_dim_known(t->dim[i + 2]))
				return false;
			w->kernel[i] = t->dim[i + 2].k;
		}
	}
	w->auto_pad = mlo_attr_s(n, slot_of(n, "auto_pad"));
	w->complete &= !strcmp(w->auto_pad, "NOTSET");
	return true;
}

static void write_window(MloGraph *g, MloNode *n, const Window *w)
{
	mlo_attr_set_ints(g, n, slot_of(n, "strides"), w->stride, w->n);
	mlo_attr_set_ints(g, n, slot_of(n, "dilations"), w->dilation, w->n);
	mlo_attr_set_ints(g, n, slot_of(n, "pads"), w->pad, 2 * w->n);
	mlo_attr_set_ints(g, n, slot_of(n, "kernel_shape"), w->kernel, w->n);
	n->attr[slot_of(n, "auto_pad")].set = false;
}

/* `total` padding of axis i goes to both ends, the odd one to the end that the mode names. */
static void share_padding(Window *w, int i, int64_t total, bool upper)
{
	int64_t small = total / 2;

	w->pad[i] = upper ? small : total - small;
	w->pad[w->n + i] = total - w->pad[i];
}

static bool resolve_auto_pad(const MloNode *n, Window *w)
{
	bool upper = !strcmp(w->auto_pad, "SAME_UPPER");

	if (!strcmp(w->auto_pad, "NOTSET"))
		return true;
	memset(w->pad, 0, sizeof w->pad);
	if (!strcmp(w->auto_pad, "VALID"))
		return true;
	for (int i = 0; i < w->n; i++) {
		MloDim d = n->in[0]->type.dim[i + 2];
		int64_t out, total;

		if (!mlo_dim_known(d))
			return false;
		out = (d.k + w->stride[i] - 1) / w->stride[i];
		total = (out - 1) * w->stride[i] + (w->kernel[i] - 1) * w->dilation[i] + 1 - d.k;
		share_padding(w, i, total > 0 ? total : 0, upper);
	}
	return true;
}

bool canon_window(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	Window w;

	(void)cx;
	if (!window_of(n, &w) || w.complete || !resolve_auto_pad(n, &w))
		return false;
	/* VALID rounds as floor does, whatever ceil_mode says. */
	if (!strcmp(w.auto_pad, "VALID") && slot_of(n, "ceil_mode") >= 0)
		n->attr[slot_of(n, "ceil_mode")].set = false;
	write_window(g, n, &w);
	return true;
}

/* Transposed: the result's size is known, the padding follows from it. */
bool canon_conv_transpose(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int64_t extra[MAX_SPATIAL], shape[MAX_SPATIAL];
	bool sized, same, upper;
	Window w;

	(void)cx;
	if (!window_of(n, &w))
		return false;
	same = !strncmp(w.auto_pad, "SAME", 4);
	upper = !strcmp(w.auto_pad, "SAME_UPPER");
	sized = read_list(n, "output_shape", shape, w.n, 0);
	if (read_list(n, "output_padding", extra, w.n, 0) && w.complete && !sized)
		return false;
	for (int i = 0; i < w.n && (same || sized); i++) {
		MloDim d = n->in[0]->type.dim[i + 2], out = n->out[0]->type.dim[i + 2];
		int64_t total;

		if (!mlo_dim_known(d) || !mlo_dim_known(out))
			return false;
		total = w.stride[i] * (d.k - 1) + extra[i] + (w.kernel[i] - 1) * w.dilation[i] + 1 - out.k;
		if (total < 0)
			return false;
		share_padding(&w, i, total, upper);
	}
	if (!strcmp(w.auto_pad, "VALID"))
		memset(w.pad, 0, sizeof w.pad);
	write_window(g, n, &w);
	mlo_attr_set_ints(g, n, ATTR_conv_transpose_output_padding, extra, w.n);
	n->attr[ATTR_conv_transpose_output_shape].set = false;
	return true;
}

bool canon_ceil(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	Window w;

	(void)g, (void)cx;
	if (!mlo_attr_i(n, slot_of(n, "ceil_mode")) || !window_of(n, &w) || !w.complete)
		return false;
	for (int i = 0; i < w.n; i++) {
		MloDim d = n->in[0]->type.dim[i + 2];
		int64_t span;

		if (!mlo_dim_known(d))
			return false;
		span = d.k + w.pad[i] + w.pad[w.n + i] - (w.kernel[i] - 1) * w.dilation[i] - 1;
		if (span < 0 || span % w.stride[i])
			return false;
	}
	n->attr[slot_of(n, "ceil_mode")].set = false;
	return true;
}

bool canon_unread(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	uint32_t keep = n->nout;

	(void)g, (void)cx;
	while (keep > 1 && (!n->out[keep - 1] || !n->out[keep - 1]->nuse))
		keep--;
	if (keep == n->nout)
		return false;
	n->nout = keep;
	return true;
}

/* -- padding before windows ------------------------------------------------------------------ */

/* The constant padding of the operand: spatial pads (begins, ends) and its value. */
static const MloNode *padding_before(const MloNode *n, int64_t *pads, double *value)
{
	const MloNode *p = mlo_def_op(n->in[0], OP_pad);
	int64_t all[2 * MLO_MAX_RANK];
	int rank;

	if (!p || strcmp(mlo_attr_s(p, ATTR_pad_mode), "constant") || (p->nin > 3 && p->in[3]))
		return NULL;
	rank = p->in[0]->type.rank;
	*value = 0;
	if (p->nin > 2 && p->in[2] && !mlo_const_scalar(p->in[2], value))
		return NULL;
	if (rank < 3 || mlo_const_ints(p->in[1], all, 2 * MLO_MAX_RANK) != 2 * rank)
		return NULL;
	if (all[0] || all[1] || all[rank] || all[rank + 1])
		return NULL;
	for (int i = 0; i < rank - 2; i++) {
		pads[i] = all[i + 2];
		pads[rank - 2 + i] = all[rank + i + 2];
		if (pads[i] < 0 || pads[rank - 2 + i] < 0)
			return NULL;
	}
	return p;
}

static bool take_padding(MloGraph *g, MloNode *n, const MloNode *pad, Window *w, const int64_t *pads)
{
	MloNode *p = pad->out[0]->def;

	for (int i = 0; i < 2 * w->n; i++)
		w->pad[i] += pads[i];
	write_window(g, n, w);
	mlo_origin_add(g, n, p->origin);
	mlo_node_set_in(g, n, 0, p->in[0]);
	mlo_rw_sweep(g, p);
	return true;
}

bool canon_pad_conv(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int64_t pads[2 * MAX_SPATIAL];
	const MloNode *p;
	double value;
	Window w;

	(void)cx;
	if (!window_of(n, &w) || !w.complete || !(p = padding_before(n, pads, &value)) || value != 0)
		return false;
	return take_padding(g, n, p, &w, pads);
}

bool canon_pad_average(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int64_t pads[2 * MAX_SPATIAL];
	const MloNode *p;
	double value;
	bool padded = false;
	Window w;

	(void)cx;
	if (!window_of(n, &w) || !w.complete || mlo_attr_i(n, ATTR_average_pool_ceil_mode))
		return false;
	if (!(p = padding_before(n, pads, &value)) || value != 0)
		return false;
	for (int i = 0; i < 2 * w.n; i++)
		padded |= w.pad[i] != 0;
	/* The explicit zeros count in the mean; so must the pooling's own, or there must be none. */
	if (padded && !mlo_attr_i(n, ATTR_average_pool_count_include_pad))
		return false;
	mlo_attr_set_i(n, ATTR_average_pool_count_include_pad, 1);
	return take_padding(g, n, p, &w, pads);
}

bool canon_pad_max(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	int64_t pads[2 * MAX_SPATIAL];
	const MloNode *p;
	double value;
	Window w;

	(void)cx;
	if (n->nout > 1 || mlo_attr_i(n, ATTR_max_pool_ceil_mode) || !window_of(n, &w) || !w.complete)
		return false;
	if (!(p = padding_before(n, pads, &value)) || value != -INFINITY)
		return false;
	return take_padding(g, n, p, &w, pads);
}

/* -- global pooling -------------------------------------------------------------------------- */

static MloOp global_pool(MloOp op)
{
	return op == OP_average_pool || op == OP_reduce_mean ? OP_global_average_pool : OP_global_max_pool;
}

bool canon_unit_window(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	Window w;

	(void)cx;
	if (n->nout > 1 || !window_of(n, &w) || !w.complete)
		return false;
	for (int i = 0; i < w.n; i++)
		if (w.kernel[i] != 1 || w.stride[i] != 1 || w.pad[i] || w.pad[w.n + i])
			return false;
	return mlo_rw_replace(g, n, n->in[0]);
}

bool canon_whole_window(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	Window w;

	if (n->nout > 1 || !window_of(n, &w) || !w.complete)
		return false;
	for (int i = 0; i < w.n; i++) {
		if (!mlo_has_dim(&n->in[0]->type, i + 2, w.kernel[i]) || w.dilation[i] != 1)
			return false;
		if (w.pad[i] || w.pad[w.n + i])
			return false;
	}
	return mlo_rw_replace(g, n, mlo_rw_op(g, n, global_pool(n->op), n, cx, n->in[0], NULL));
}

/* Of rank 4 and more only: over [n, length, features] a mean belongs to a normalisation. */
bool canon_reduce_spatial(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloType to = n->out[0]->type;
	int64_t axes[MLO_MAX_RANK], spec[MLO_MAX_RANK];
	int rank = n->in[0]->type.rank, count = mlo_reduce_axes(n, axes);
	bool allowzero;
	MloValue *y;

	if (rank < 4 || count != rank - 2 || axes[0] != 2 || !mlo_elem_is_float(to.elem))
		return false;
	if (to.rank != rank && !mlo_reshape_spec(&n->in[0]->type, &to, spec, &allowzero))
		return false;
	y = mlo_rw_op(g, n, global_pool(n->op), n, cx, n->in[0], NULL);
	y = mlo_rw_reshape(g, n, n, y, &to, cx);
	return y && mlo_rw_replace(g, n, y);
}

bool canon_reduce_axes(MloGraph *g, MloNode *n, MloPassCx *cx)
{
	MloValue *x = n->in[0], *y;
	MloType to = n->out[0]->type;
	int64_t axes[MLO_MAX_RANK], now[MLO_MAX_RANK];
	int count = mlo_reduce_axes(n, axes), given;
	bool trivial = n->op != OP_reduce_l2;

	if (count < 0)
		return false;
	for (int i = 0; i < count; i++)
		trivial &= mlo_has_dim(&x->type, (int)axes[i], 1);
	if (trivial) {
		y = mlo_rw_reshape(g, n, n, x, &to, cx);
		if (y && mlo_rw_replace(g, n, y))
			return true;
	}
	if (!count)
		return false;
	given = n->nin > 1 && n->in[1] ? mlo_const_ints(n->in[1], now, MLO_MAX_RANK) : -1;
	if (given == count && !memcmp(now, axes, sizeof *axes * (size_t)count))
		return false;
	y = mlo_graph_const_i64s(g, 1, axes, count);
	if (n->nin > 1) {
		mlo_node_set_in(g, n, 1, y);
	} else {
		MloNode *r = mlo_rw_node(g, n, n->op, n, (MloValue *[]){x, y}, 2);

		mlo_rw_copy_attrs(r, n);
		return mlo_rw_replace(g, n, mlo_rw_done(g, r, cx));
	}
	return true;
}
