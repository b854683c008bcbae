/* codegen/lower_pool.c -- pooling: reductions over windows, clipped at the borders.
 *
 * Where the position of the window is the same in all lanes of a vector (blocked layouts), the
 * loops over the window run over its part inside the operand only.  Where lanes run along the
 * window's dimension, the full window is visited and loads outside are guarded. */
#include <math.h>

#include "codegen/lower_loops.h"
#include "ir/ref/ref_geometry.h"

typedef struct PoolRow {
	bool average, global;
} PoolRow;

static const PoolRow rows[OP_COUNT] = {
	[OP_max_pool] = {false, false},
	[OP_average_pool] = {true, false},
	[OP_global_average_pool] = {true, true},
	[OP_global_max_pool] = {false, true},
};

static const int64_t *ints(const MloNode *n, const char *name, size_t len, int *count)
{
	return mlo_attr_ints(n, mlo_attr_slot(n->op, name, len), count);
}

/* Extents of open images are left out: of them only what pads and strides say is used. */
static RefGeom geometry(const MloNode *n)
{
	RefGeom g = {.nd = n->in[0]->type.rank - 2};
	int nk, ns, nd, np;
	const int64_t *kernel = ints(n, "kernel_shape", 12, &nk);
	const int64_t *strides = ints(n, "strides", 7, &ns);
	const int64_t *dilations = ints(n, "dilations", 9, &nd);
	const int64_t *pads = ints(n, "pads", 4, &np);
	for (int i = 0; i < g.nd; i++) {
		MloDim in = lw_size(n->in[0], i + 2);
		g.in[i] = mlo_dim_known(in) ? in.k : INT32_MAX;
		g.kernel[i] = kernel[i];
	}
	ref_geom_lists(&g, strides, ns, dilations, nd, pads, np);
	const char *pad = mlo_attr_s(n, mlo_attr_slot(n->op, "auto_pad", 8));
	ref_geom_window(&g, ref_auto_pad(pad), mlo_attr_i(n, mlo_attr_slot(n->op, "ceil_mode", 9)));
	return g;
}

/* Do pads and strides alone say where windows lie? */
static bool plain_window(const MloNode *n)
{
	const char *pad = mlo_attr_s(n, mlo_attr_slot(n->op, "auto_pad", 8));
	RefAutoPad p = ref_auto_pad(pad);
	return (p == REF_PAD_NOTSET || p == REF_PAD_VALID) && !mlo_attr_i(n, mlo_attr_slot(n->op, "ceil_mode", 9));
}

bool lw_can_pool(const MloNode *n)
{
	int count;
	MloElem e = n->in[0]->type.elem;
	int rank = n->in[0]->type.rank;
	if (rank < 3 || rank > 5 || (n->nout > 1 && n->out[1]) || e == EL_bool)
		return false;
	if (rows[n->op].average && !mlo_elem_is_float(e))
		return false;
	if (rows[n->op].global)
		return true;
	for (int d = 2; d < rank; d++)
		if (!mlo_dim_known(n->in[0]->type.dim[d]) && !plain_window(n))
			return false;
	ints(n, "kernel_shape", 12, &count);
	return count == rank - 2;
}

int lw_pool_dims(const MloNode *n, LwDim *dim)
{
	int nd = n->in[0]->type.rank - 2;
	bool global = rows[n->op].global;
	RefGeom g = {0};
	if (!global)
		g = geometry(n);
	for (int i = 0; i < nd; i++) {
		MloDim extent = global ? lw_size(n->in[0], i + 2) : mlo_dim(g.kernel[i]);
		dim[i] = (LwDim){.extent = extent, .scale = 1, .axis = i + 2, .var = -1, .fixed = !global};
	}
	return nd;
}

/* ceil(a / c) */
static const KIdx *ceil_to(Lower *w, const KIdx *a, int64_t c)
{
	return kx_div(w->k, kx_add(w->k, a, kx_const(w->k, c - 1)), c);
}

/* Taps k of one dimension with 0 <= start + k * dilation < extent: from *lo up to *hi. */
static void taps(Lower *w, const RefGeom *g, int d, const KIdx *start, MloDim extent, const KIdx **lo,
                 const KIdx **hi)
{
	MloKernel *k = w->k;
	const KIdx *zero = kx_const(k, 0), *neg = kx_mul(k, start, -1);
	*lo = kx_max(k, zero, ceil_to(w, neg, g->dilation[d]));
	const KIdx *end = ceil_to(w, kx_add(k, neg, kx_dim(k, extent)), g->dilation[d]);
	*hi = kx_max(k, *lo, kx_min(k, kx_const(k, g->kernel[d]), end));
}

/* Exact for every type: a power of two. */
static double lowest_number(MloElem e)
{
	if (mlo_elem_is_float(e))
		return -INFINITY;
	return mlo_elem_class(e) == EC_UINT ? 0 : -ldexp(1, (int)mlo_elem_bits(e) - 1);
}

static int lowest(Lower *w, MloElem e)
{
	return lw_const(w, e, lowest_number(e));
}

/* Does every window that starts at s lie inside dimension d of that extent? */
static bool window_inside(Ix s, const RefGeom *g, int d, MloDim extent)
{
	MloDim reach = mlo_dim((g->kernel[d] - 1) * g->dilation[d]);
	return mlo_dim_le(mlo_dim(0), s.lo) && mlo_dim_le(mlo_dim_add(NULL, s.end, reach), extent);
}

/* How many taps the mean divides by. */
static int divisor(Lower *w, const MloNode *n, const RefGeom *g, const Ix *start)
{
	MloElem e = n->in[0]->type.elem;
	bool pad = mlo_attr_i(n, ATTR_average_pool_count_include_pad);
	int64_t fixed = 1;
	int v = -1;
	for (int d = 0; d < g->nd; d++) {
		Ix s = pad ? ix_addc(w, start[d], g->begin[d]) : start[d];
		MloDim extent = mlo_dim_add(w->k->syms, lw_size(n->in[0], d + 2), mlo_dim(pad ? g->begin[d] + g->end[d] : 0));
		if (window_inside(s, g, d, extent)) {
			fixed *= g->kernel[d];
			continue;
		}
		const KIdx *lo, *hi;
		taps(w, g, d, s.e, extent, &lo, &hi);
		int count = lw_number(w, e, kx_add(w->k, hi, kx_mul(w->k, lo, -1)));
		v = v < 0 ? count : lw_op(w, K_mul, e, v, count, -1);
	}
	int f = lw_const(w, e, (double)fixed);
	return v < 0 ? f : lw_op(w, K_mul, e, v, f, -1);
}

/* Does every window without holes that starts at s have a part inside dimension d of that extent? */
static bool window_touches(Ix s, const RefGeom *g, int d, MloDim extent)
{
	return g->dilation[d] == 1 && mlo_dim_le(mlo_dim(1 - g->kernel[d]), s.lo) && mlo_dim_le(s.end, extent);
}

/* The largest of a window does not change where what is outside reads the element at the border: loops of known length,
 * without a condition. */
static Ix open_clamped(Lower *w, const RefGeom *g, int d, MloDim extent, Ix start)
{
	int var = lw_open(w, KL_SEQ, kx_const(w->k, g->kernel[d]));
	const KIdx *at = kx_max(w->k, kx_add(w->k, start.e, kx_var(w->k, var)), kx_const(w->k, 0));
	if (!mlo_dim_le(mlo_dim_add(NULL, start.end, mlo_dim(g->kernel[d] - 1)), extent))
		at = kx_min(w->k, at, kx_add(w->k, kx_dim(w->k, extent), kx_const(w->k, -1)));
	return (Ix){at, mlo_dim(0), extent};
}

/* Opens the window's loop over dimension d and answers the operand's index there. */
static Ix open_window(Lower *w, const RefGeom *g, int d, MloDim extent, Ix start, bool max)
{
	int64_t step = g->dilation[d];
	if (window_inside(start, g, d, extent) || w->probe || lw_uses_var(w, start.e, w->vec_var)) {
		int var = lw_open(w, KL_SEQ, kx_const(w->k, g->kernel[d]));
		return ix_add(w, start, ix_mulc(w, ix_var(w, var, mlo_dim(g->kernel[d])), step));
	}
	if (max && window_touches(start, g, d, extent))
		return open_clamped(w, g, d, extent, start);
	const KIdx *lo, *hi;
	taps(w, g, d, start.e, extent, &lo, &hi);
	int var = lw_open(w, KL_SEQ, kx_add(w->k, hi, kx_mul(w->k, lo, -1)));
	const KIdx *tap = kx_add(w->k, lo, kx_var(w->k, var));
	return (Ix){kx_add(w->k, start.e, kx_mul(w->k, tap, step)), mlo_dim(0), extent};
}

static int pool_window(Lower *w, const MloNode *n, const Ix *ix)
{
	RefGeom g = geometry(n);
	bool average = rows[n->op].average;
	MloElem e = n->in[0]->type.elem;
	Ix start[REF_GEOM_DIMS], in[MLO_MAX_RANK] = {ix[0], ix[1]};
	for (int d = 0; d < g.nd; d++)
		start[d] = ix_addc(w, ix_mulc(w, ix[2 + d], g.stride[d]), -g.begin[d]);
	int acc = lw_acc_init(w, average ? lw_const(w, e, 0) : lowest(w, e));
	bool outer = w->in_red;
	for (int d = 0; d < g.nd; d++)
		in[2 + d] = open_window(w, &g, d, lw_size(n->in[0], d + 2), start[d], !average);
	w->in_red = true;
	int x = lw_padded(w, n->in[0], in, average ? 0 : lowest_number(e), false);
	lw_acc(w, acc, average ? K_add : K_max, x);
	for (int d = 0; d < g.nd; d++)
		lw_close(w);
	w->in_red = outer;
	int v = lw_accum(w, acc, e);
	return average ? lw_op(w, K_div, e, v, divisor(w, n, &g, start), -1) : v;
}

static int pool_global(Lower *w, const MloNode *n, const Ix *ix)
{
	bool average = rows[n->op].average;
	MloElem e = n->in[0]->type.elem;
	Ix in[MLO_MAX_RANK] = {ix[0], ix[1]};
	MloDim count = mlo_dim(1);
	for (int d = 2; d < n->in[0]->type.rank; d++)
		in[d] = ix_const(w, 0);
	int acc = lw_acc_init(w, average ? lw_const(w, e, 0) : lowest(w, e));
	lw_red_open(w);
	for (int i = w->nest->nout; i < w->nest->ndim; i++) {
		in[w->nest->dim[i].axis] = w->nest->dim[i].ix;
		count = mlo_dim_mul(w->k->syms, count, w->nest->dim[i].extent);
	}
	lw_acc(w, acc, average ? K_add : K_max, lw_expr(w, n->in[0], in));
	lw_red_close(w);
	int v = lw_accum(w, acc, e);
	if (!average)
		return v;
	if (!mlo_dim_known(count))
		return lw_op(w, K_div, e, v, lw_number_of(w, e, count), -1);
	return lw_op(w, K_mul, e, v, lw_const(w, e, 1.0 / (double)count.k), -1);
}

int lw_pool(Lower *w, const MloNode *n, const Ix *ix)
{
	MLO_ASSERT(n == w->anchor);
	return rows[n->op].global ? pool_global(w, n, ix) : pool_window(w, n, ix);
}
