/* ir/geometry.c -- effective kernel, strides, dilations, pads and output sizes of windows. */
#include "ir/geometry.h"

#include <string.h>

/* Larger values mean nothing and would overflow the arithmetic below. */
enum { WINDOW_MAX = 1 << 30 };

typedef struct GeoCx {
	MloSymbols *syms;
	const MloNode *n;
	MloDiag *d;
} GeoCx;

#define fail(c, ...) mlo_node_error((c)->d, MLO_ERR_MODEL, (c)->n, __VA_ARGS__)

static const int64_t *ints_attr(const GeoCx *c, const char *name, int *count)
{
	int slot = mlo_attr_slot(c->n->op, name, strlen(name));

	*count = 0;
	return slot < 0 ? NULL : mlo_attr_ints(c->n, slot, count);
}

/* `want` entries, each in lo..WINDOW_MAX; absent: all `def`. */
static MloStatus read_list(const GeoCx *c, const char *name, int want, int64_t lo, int64_t def, int64_t *out)
{
	int n;
	const int64_t *v = ints_attr(c, name, &n);

	for (int i = 0; i < want; i++)
		out[i] = def;
	if (!n)
		return MLO_OK;
	if (n != want)
		return fail(c, "%s has %d entries, %d expected", name, n, want);
	for (int i = 0; i < n; i++) {
		if (v[i] < lo || v[i] > WINDOW_MAX)
			return fail(c, "%s[%d] is %lld, outside %lld..%d", name, i, (long long)v[i],
			            (long long)lo, WINDOW_MAX);
		out[i] = v[i];
	}
	return MLO_OK;
}

static MloStatus read_kernel(const GeoCx *c, const MloType *w, MloGeometry *g)
{
	int n;

	ints_attr(c, "kernel_shape", &n);
	if (!n && !w)
		return fail(c, "kernel_shape is missing");
	MLO_TRY(read_list(c, "kernel_shape", g->spatial, 1, 0, g->kernel));
	for (int i = 0; w && i < g->spatial; i++) {
		MloDim k = w->dim[i + 2];

		if (!mlo_dim_known(k)) {
			if (!n)
				return mlo_node_error(c->d, MLO_ERR_UNSUPPORTED, c->n,
				                      "the kernel size is not known: neither kernel_shape nor the "
				                      "shape of the weight says it");
			continue;
		}
		if (k.k < 1 || k.k > WINDOW_MAX)
			return fail(c, "kernel dimension %d is %lld", i, (long long)k.k);
		if (n && g->kernel[i] != k.k)
			return fail(c, "kernel_shape[%d] is %lld, the weight has %lld", i,
			            (long long)g->kernel[i], (long long)k.k);
		g->kernel[i] = k.k;
	}
	return MLO_OK;
}

typedef enum AutoPad { PAD_NOTSET, PAD_VALID, PAD_SAME_UPPER, PAD_SAME_LOWER, PAD_COUNT } AutoPad;

static MloStatus read_auto_pad(const GeoCx *c, AutoPad *out)
{
	static const char *const names[PAD_COUNT] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
	int slot = mlo_attr_slot(c->n->op, "auto_pad", 8);
	const char *s = slot < 0 ? names[0] : mlo_attr_s(c->n, slot);

	for (int i = 0; i < PAD_COUNT; i++)
		if (!strcmp(s, names[i]) || (i == 0 && !*s)) {
			*out = (AutoPad)i;
			return MLO_OK;
		}
	return fail(c, "auto_pad '%s' is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER", s);
}

static int64_t extent(const MloGeometry *g, int i)
{
	return (g->kernel[i] - 1) * g->dilation[i] + 1;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* SAME: the output has ceil(input / stride); what the windows lack is padded. */
static void same_pads(const GeoCx *c, MloGeometry *g, int i, MloDim in, bool upper)
{
	int64_t s = g->stride[i], total;

	g->out[i] = mlo_dim_div(c->syms, mlo_dim_add(c->syms, in, mlo_dim(s - 1)), mlo_dim(s));
	if (!mlo_dim_known(in) && s != 1) {
		g->exact = false;
		return;
	}
	total = s == 1 ? extent(g, i) - 1 : larger(0, (g->out[i].k - 1) * s + extent(g, i) - in.k);
	g->pad_lo[i] = upper ? total / 2 : total - total / 2;
	g->pad_hi[i] = total - g->pad_lo[i];
}

static MloStatus window_out(const GeoCx *c, MloGeometry *g, int i, MloDim in, bool ceil_mode)
{
	int64_t s = g->stride[i];
	MloDim room = mlo_dim_add(c->syms, in, mlo_dim(g->pad_lo[i] + g->pad_hi[i] - extent(g, i)));
	MloDim last;

	if (mlo_dim_known(room) && room.k < 0)
		return fail(c, "window of %lld (kernel %lld, dilation %lld) exceeds the padded input of %lld "
		            "in spatial dimension %d", (long long)extent(g, i), (long long)g->kernel[i],
		            (long long)g->dilation[i], (long long)(room.k + extent(g, i)), i);
	last = mlo_dim_div(c->syms, mlo_dim_add(c->syms, room, mlo_dim(ceil_mode ? s - 1 : 0)), mlo_dim(s));
	/* A window that would start in the padding behind the input is dropped. */
	if (ceil_mode && mlo_dim_known(in) && last.k * s >= in.k + g->pad_lo[i])
		last.k--;
	g->out[i] = mlo_dim_add(c->syms, last, mlo_dim(1));
	if (ceil_mode && !mlo_dim_known(in) && s + g->pad_hi[i] > extent(g, i))
		g->out[i] = mlo_dim(INT64_MIN); /* whether one is dropped depends on the size */
	return MLO_OK;
}

static MloStatus transposed_out(const GeoCx *c, MloGeometry *g, int i, MloDim in, AutoPad mode, int64_t want)
{
	/* Full size: what the input scatters to, before pads cut it. */
	MloDim full = mlo_dim_mul(c->syms, mlo_dim_sub(c->syms, in, mlo_dim(1)), mlo_dim(g->stride[i]));
	int64_t total;

	full = mlo_dim_add(c->syms, full, mlo_dim(extent(g, i) + g->out_pad[i]));
	if (want <= 0 && mode < PAD_SAME_UPPER) {
		g->out[i] = mlo_dim_sub(c->syms, full, mlo_dim(g->pad_lo[i] + g->pad_hi[i]));
		return MLO_OK;
	}
	g->out[i] = want > 0 ? mlo_dim(want) : mlo_dim_mul(c->syms, in, mlo_dim(g->stride[i]));
	full = mlo_dim_sub(c->syms, full, g->out[i]);
	if (!mlo_dim_known(full)) {
		g->exact = false;
		return MLO_OK;
	}
	total = larger(0, full.k);
	g->pad_lo[i] = mode == PAD_SAME_UPPER ? total / 2 : total - total / 2;
	g->pad_hi[i] = total - g->pad_lo[i];
	return MLO_OK;
}

static MloStatus read_pads(const GeoCx *c, AutoPad mode, MloGeometry *g)
{
	int64_t pads[2 * MLO_MAX_SPATIAL];

	MLO_TRY(read_list(c, "pads", 2 * g->spatial, 0, 0, pads));
	for (int i = 0; i < g->spatial; i++) {
		g->pad_lo[i] = mode == PAD_NOTSET ? pads[i] : 0;
		g->pad_hi[i] = mode == PAD_NOTSET ? pads[g->spatial + i] : 0;
	}
	return MLO_OK;
}

/* output_shape may carry the batch and channel dimensions in front. */
static MloStatus read_output_shape(const GeoCx *c, int spatial, int64_t *want)
{
	int n;
	const int64_t *v = ints_attr(c, "output_shape", &n);

	for (int i = 0; i < spatial; i++)
		want[i] = 0;
	if (!n)
		return MLO_OK;
	if (n != spatial && n != spatial + 2)
		return fail(c, "output_shape has %d entries, %d expected", n, spatial);
	for (int i = 0; i < spatial; i++) {
		want[i] = v[n - spatial + i];
		if (want[i] < 1 || want[i] > WINDOW_MAX)
			return fail(c, "output_shape[%d] is %lld", i, (long long)want[i]);
	}
	return MLO_OK;
}

MloStatus mlo_geometry(MloSymbols *syms, const MloNode *n, const MloType *x, const MloType *w,
                       MloGeometry *out, MloDiag *d)
{
	GeoCx cx = {syms, n, d}, *c = &cx;
	int slot = mlo_attr_slot(n->op, "ceil_mode", 9);
	bool ceil_mode = slot >= 0 && mlo_attr_i(n, slot) != 0;
	bool transposed = mlo_attr_slot(n->op, "output_padding", 14) >= 0;
	int64_t want[MLO_MAX_SPATIAL];
	AutoPad mode = PAD_NOTSET;

	*out = (MloGeometry){.spatial = x->rank - 2, .exact = true};
	if (out->spatial < 1)
		return fail(c, "the input has %d dimensions, at least 3 expected (batch, channels, spatial)",
		            x->rank);
	if (w && w->rank != x->rank)
		return fail(c, "the input has %d dimensions, the weight %d", x->rank, w->rank);
	MLO_TRY(read_kernel(c, w, out));
	MLO_TRY(read_list(c, "strides", out->spatial, 1, 1, out->stride));
	MLO_TRY(read_list(c, "dilations", out->spatial, 1, 1, out->dilation));
	MLO_TRY(read_list(c, "output_padding", out->spatial, 0, 0, out->out_pad));
	MLO_TRY(read_output_shape(c, out->spatial, want));
	MLO_TRY(read_auto_pad(c, &mode));
	MLO_TRY(read_pads(c, mode, out));
	for (int i = 0; i < out->spatial; i++) {
		MloDim in = x->dim[i + 2];

		if (extent(out, i) > WINDOW_MAX)
			return fail(c, "window of %lld in spatial dimension %d", (long long)extent(out, i), i);
		if (transposed)
			MLO_TRY(transposed_out(c, out, i, in, mode, want[i]));
		else if (mode >= PAD_SAME_UPPER)
			same_pads(c, out, i, in, mode == PAD_SAME_UPPER);
		else
			MLO_TRY(window_out(c, out, i, in, ceil_mode));
	}
	return MLO_OK;
}

MloStatus mlo_node_geometry(const MloGraph *g, const MloNode *n, MloGeometry *out, MloDiag *d)
{
	const MloType *w = mlo_op_info(n->op)->kind == OK_CONTRACT ? &n->in[1]->type : NULL;

	return mlo_geometry(g->syms, n, &n->in[0]->type, w, out, d);
}
