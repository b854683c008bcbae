/* codegen/lower_resize.c -- resize: source coordinates per result index, as index maps or tables. */
#include <math.h>
#include <string.h>

#include "codegen/lower_loops.h"

static const char *text(const MloNode *n, int slot)
{
	const char *s = mlo_attr_s(n, slot);
	return s ? s : "";
}

/* Factor by which dimension d grows. */
static double scale_of(const MloNode *n, int d)
{
	const MloValue *s = n->nin > 2 ? n->in[2] : NULL;
	if (s && s->data && mlo_tensor_elems(s->data) > 0) {
		int count;
		const int64_t *axes = mlo_attr_ints(n, ATTR_resize_axes, &count);
		if (!count)
			return mlo_tensor_f64(s->data, d);
		for (int i = 0; i < count; i++)
			if (lw_axis(axes[i], n->in[0]->type.rank) == d)
				return mlo_tensor_f64(s->data, i);
		return 1;
	}
	return (double)lw_dim(n->out[0], d) / (double)lw_dim(n->in[0], d);
}

/* Source coordinate of result index i along d, as ONNX defines the modes. */
static double coordinate(const MloNode *n, int d, int64_t i)
{
	const char *mode = text(n, ATTR_resize_coordinate_transformation_mode);
	double in = (double)lw_size(n->in[0], d).k, out = (double)lw_size(n->out[0], d).k, x = (double)i;
	double scale = scale_of(n, d), width = scale * in; /* before it was rounded to `out` */
	if (!strcmp(mode, "asymmetric"))
		return x / scale;
	if (!strcmp(mode, "align_corners"))
		return out <= 1 || width == 1 ? 0 : x * (in - 1) / (width - 1);
	if (!strcmp(mode, "tf_half_pixel_for_nn"))
		return (x + 0.5) / scale;
	if (!strcmp(mode, "pytorch_half_pixel") && out <= 1)
		return 0;
	double half = (x + 0.5) / scale - 0.5;
	if (!strcmp(mode, "half_pixel_symmetric"))
		return in / 2 * (1 - out / width) + half;
	return half;
}

static int64_t nearest(const MloNode *n, double x)
{
	const char *mode = text(n, ATTR_resize_nearest_mode);
	if (!strcmp(mode, "floor"))
		return (int64_t)floor(x);
	if (!strcmp(mode, "ceil"))
		return (int64_t)ceil(x);
	if (!strcmp(mode, "round_prefer_ceil"))
		return (int64_t)floor(x + 0.5);
	return (int64_t)ceil(x - 0.5);
}

static int64_t clamp64(int64_t v, int64_t hi) { return v < 0 ? 0 : v > hi ? hi : v; }

/* Entry i of a table, the table index kept in range. */
static int look_up(Lower *w, const MloTensor *t, Ix i)
{
	int64_t n = t->dim[0];
	if (!ix_within(i, mlo_dim(n)))
		i.e = kx_max(w->k, kx_min(w->k, i.e, kx_const(w->k, n - 1)), kx_const(w->k, 0));
	return lw_load_arg(w, lw_table(w, t), i.e, NULL, 0);
}

/* source[i], as an expression where it has a simple form. */
static Ix mapped(Lower *w, const int64_t *source, int64_t n, int64_t extent, Ix i)
{
	bool same = true, shrink = true, grow = n % extent == 0;
	int64_t s = n / extent, step = n > 1 ? source[1] : 1;
	for (int64_t j = 0; j < n; j++) {
		same &= source[j] == j;
		shrink &= source[j] == j * step;
		grow &= s > 0 && source[j] == j / (s ? s : 1);
	}
	if (same && ix_within(i, mlo_dim(n)))
		return i;
	if (shrink && step > 0 && ix_within(i, mlo_dim(n)))
		return ix_mulc(w, i, step);
	if (grow && ix_within(i, mlo_dim(n)))
		return ix_divc(w, i, s);
	MloTensor *t = mlo_tensor_new(w->arena, EL_i64, 1, &n);
	for (int64_t j = 0; j < n; j++)
		mlo_tensor_set_i64(t, j, source[j]);
	return (Ix){kx_value(w->k, look_up(w, t, i)), mlo_dim(0), mlo_dim(extent)};
}

static bool resized(const MloNode *n, int d)
{
	if (!mlo_dim_known(lw_size(n->out[0], d))) /* only nearest ones of a whole scale are lowered */
		return false;
	return lw_dim(n->in[0], d) != lw_dim(n->out[0], d) || scale_of(n, d) != 1;
}

/* Of an open size: the whole number by which it grows, result i being element i / scale, or 0. Where no
 * coordinate depends on the size, a few periods tell. */
static int64_t open_scale(const MloNode *n, int d)
{
	const char *mode = text(n, ATTR_resize_coordinate_transformation_mode);
	const MloValue *given = n->nin > 2 ? n->in[2] : NULL;
	double scale = given && given->data && mlo_tensor_elems(given->data) > 0 ? scale_of(n, d) : 0;
	if (scale < 1 || scale > 64 || scale != floor(scale) || !strcmp(mode, "align_corners") ||
	    !strcmp(mode, "half_pixel_symmetric") || !strcmp(mode, "pytorch_half_pixel"))
		return 0;
	for (int64_t i = 0; i < 4 * (int64_t)scale; i++) {
		int64_t at = nearest(n, coordinate(n, d, i));
		if ((at < 0 ? 0 : at) != i / (int64_t)scale)
			return 0;
	}
	MloDim grown = mlo_dim_mul(NULL, lw_size(n->in[0], d), mlo_dim((int64_t)scale));
	return mlo_dim_same(grown, lw_size(n->out[0], d)) ? (int64_t)scale : 0;
}

static int resize_nearest(Lower *w, const MloNode *n, const Ix *ix)
{
	int rank = n->in[0]->type.rank;
	Ix in[MLO_MAX_RANK];
	for (int d = 0; d < rank; d++) {
		in[d] = ix[d];
		if (!mlo_dim_known(lw_size(n->out[0], d))) {
			in[d] = ix_divc(w, ix[d], open_scale(n, d));
			continue;
		}
		if (!resized(n, d))
			continue;
		int64_t out = lw_dim(n->out[0], d), extent = lw_dim(n->in[0], d);
		int64_t *source = MLO_NEWN(w->arena, int64_t, out);
		for (int64_t i = 0; i < out; i++)
			source[i] = clamp64(nearest(n, coordinate(n, d, i)), extent - 1);
		in[d] = mapped(w, source, out, extent, ix[d]);
	}
	return lw_expr(w, n->in[0], in);
}

/* The two neighbours along one dimension and the weight of the second. */
typedef struct Lerp {
	int dim;
	Ix at[2];
	int weight;
} Lerp;

static Lerp lerp_of(Lower *w, const MloNode *n, int d, Ix i)
{
	int64_t out = lw_dim(n->out[0], d), extent = lw_dim(n->in[0], d);
	int64_t *a = MLO_NEWN(w->arena, int64_t, out), *b = MLO_NEWN(w->arena, int64_t, out);
	MloTensor *frac = mlo_tensor_new(w->arena, n->out[0]->type.elem, 1, &out);
	for (int64_t j = 0; j < out; j++) {
		double x = coordinate(n, d, j), low = floor(x);
		a[j] = clamp64((int64_t)low, extent - 1);
		b[j] = clamp64((int64_t)low + 1, extent - 1);
		mlo_tensor_set_f64(frac, j, x - low);
	}
	Lerp l = {.dim = d};
	l.at[0] = mapped(w, a, out, extent, i);
	l.at[1] = mapped(w, b, out, extent, i);
	l.weight = look_up(w, frac, i);
	return l;
}

static int blend(Lower *w, const MloNode *n, const Lerp *l, int count, Ix *in)
{
	if (!count)
		return lw_expr(w, n->in[0], in);
	MloElem t = n->out[0]->type.elem;
	in[l->dim] = l->at[0];
	int a = blend(w, n, l + 1, count - 1, in);
	in[l->dim] = l->at[1];
	int b = blend(w, n, l + 1, count - 1, in);
	int diff = lw_op(w, K_sub, t, b, a, -1);
	return lw_op(w, K_fma, t, diff, l->weight, a);
}

int lw_resize(Lower *w, const MloNode *n, const Ix *ix)
{
	if (text(n, ATTR_resize_mode)[0] == 'n')
		return resize_nearest(w, n, ix);
	Lerp l[MLO_MAX_RANK];
	Ix in[MLO_MAX_RANK];
	int count = 0;
	for (int d = 0; d < n->in[0]->type.rank; d++) {
		in[d] = ix[d];
		if (resized(n, d))
			l[count++] = lerp_of(w, n, d, ix[d]);
	}
	return blend(w, n, l, count, in);
}

bool lw_can_resize(const MloNode *n)
{
	const char *mode = text(n, ATTR_resize_mode);
	const char *how = text(n, ATTR_resize_coordinate_transformation_mode);
	int count = 0;
	if (mlo_attr_i(n, ATTR_resize_antialias) || !strcmp(how, "tf_crop_and_resize"))
		return false;
	if (strcmp(text(n, ATTR_resize_keep_aspect_ratio_policy), "stretch"))
		return false;
	if (n->nin > 2 && n->in[2] && !n->in[2]->data)
		return false;
	for (int d = 0; d < n->in[0]->type.rank; d++) {
		if (!mlo_dim_known(lw_size(n->in[0], d)) || !mlo_dim_known(lw_size(n->out[0], d))) {
			bool same = mlo_dim_same(lw_size(n->in[0], d), lw_size(n->out[0], d)) && d < 2;
			if (open_scale(n, d) != 1 && !same && (open_scale(n, d) < 1 || strcmp(mode, "nearest")))
				return false;
			continue;
		}
		count += resized(n, d);
		if (lw_dim(n->out[0], d) > 1 << 20)
			return false;
	}
	if (!strcmp(mode, "nearest"))
		return true;
	return !strcmp(mode, "linear") && count <= 3 && mlo_elem_is_float(n->in[0]->type.elem);
}
