/* codegen/lower_bands.c -- convolutions behind each other, band by band of rows, their images in between in the caches.
 *
 * A depthwise convolution does so little with each element that reading it takes longer where its image comes from
 * beyond the second-level cache, and the pointwise convolutions around it write and read the same large images (the
 * blocks of Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018).  A task takes a band of
 * the last one's rows through all of them, as in Alwani et al., "Fused-layer CNN accelerators" (2016): what the
 * depthwise one reads beyond its own rows is computed again by the next band.  Rows that a stage makes for a band lie
 * in scratch memory as they would in the image.  Where a convolution stands in front of the depthwise one, both take
 * a few channels at a time, so that more rows of them have room.
 *
 * The group is convolution [maps...] convolution [maps...] [convolution [maps...]], one of the first two depthwise. */
#include "codegen/contract_lower.h"

/* Bytes per cycle to and from the third-level cache; which part of the shorter of two times, computing and moving, is
 * not hidden behind the longer one. */
#define L3_BYTES 24.0
#define EXPOSED 0.2
/* Less than this part of the time is within what the model errs by. */
#define WORTH 0.05
/* Cycles of a vector of 32-bit elements in an elementwise node: of plain arithmetic, of vector math. */
#define MAP_CYCLES 1.0
#define MATH_CYCLES 8.0
enum { MIN_TASKS = 8, BAND_OVERHEAD = 60 /* cycles per channel tile */ };

typedef struct Stage {
	MloNode *conv, *last;      /* it and what follows it */
	ContractPlan plan;
	double plain;              /* estimated cycles of an image's products on its own */
	double row;                /* of those of a row in bands */
	double maps;               /* of what follows them, for a row */
	bool wino;                 /* on its own it is done by Winograd's pieces */
	int64_t rows;              /* that it makes for a band, at most */
	int scratch;               /* where they lie, but for the last stage */
} Stage;

typedef struct Bands {
	Stage stage[MLO_MAX_BANDS];
	int n, depthwise;          /* stages; which one it is, 0 or 1 */
	int64_t rows;              /* of a band of the last image */
	int64_t channels;          /* that the stages up to the depthwise one make at a time */
} Bands;

/* -- what can be lowered ------------------------------------------------------------------------ */

static MloValue *image(const Stage *s)
{
	return s->conv->out[0];
}

static int64_t channels_of(const Stage *s)
{
	return image(s)->type.dim[1].k;
}

/* One of several rows, whose sizes are numbers. */
static bool known_image(const MloType *t)
{
	return t->rank == 4 && !mlo_has_dim(t, 2, 1) && mlo_dim_known(t->dim[1]) && mlo_dim_known(t->dim[2]) && mlo_dim_known(t->dim[3]);
}

/* Do the stages up to the depthwise one take channels by parts? */
static bool in_parts(const Bands *b, int i)
{
	return b->depthwise > 0 && i <= b->depthwise;
}

/* Parts that are tasks of their own: nothing behind them needs all channels. */
static int64_t part_tasks(const Bands *b)
{
	return b->depthwise == b->n - 1 ? channels_of(&b->stage[b->depthwise]) / b->channels : 1;
}

static bool pointwise(const KContract *c)
{
	return c->nky == 1 && c->nkx == 1 && c->sy == 1 && c->sx == 1 && !c->py && !c->px && c->ny == c->in_y && c->nx == c->in_x;
}

/* Rows that the taps of one output span. */
static int64_t reach(const KContract *c)
{
	return (c->nky - 1) * c->dy + 1;
}

/* Every output sees a row of the image. */
static bool touches(const KContract *c)
{
	return c->py >= 0 && c->py < reach(c) && (c->ny - 1) * c->sy - c->py < c->in_y;
}

static MloStatus describe(MloLowerCx *cx, Bands *b, int i, MloKernel *k, bool dry)
{
	Stage *s = &b->stage[i];

	s->plan = (ContractPlan){.dry = dry, .k = k, .band = in_parts(b, i) ? b->channels : channels_of(s)};
	return contract_describe(cx, s->conv, s->conv, &s->plan);
}

/* Cycles of the maps behind a stage, for one row. */
static double map_cycles(const MloGraph *g, const Stage *s, int64_t lanes)
{
	const KContract *c = &s->plan.c;
	double vectors = (double)((c->nc + lanes - 1) / lanes) * (double)c->nx, cycles = 0;

	for (const MloNode *n = s->conv; n != s->last;) {
		MloOp op;
		bool math;

		n = mlo_only_user(g, n->out[0]);
		op = n->op;
		math = op == OP_swish || op == OP_sigmoid || op == OP_tanh || op == OP_gelu || op == OP_mish ||
		       op == OP_softplus || op == OP_exp || op == OP_erf;

		cycles += vectors * (math ? MATH_CYCLES : MAP_CYCLES);
	}
	return cycles;
}

/* Cycles of one row of the stage in bands; its plan is at hand. */
static double row_cycles(const MloTarget *t, const Stage *s)
{
	KContract part = s->plan.c;

	part.nc = s->plan.band;
	return contract_row_cycles(t, &part, part.cols, part.vecs) * (double)channels_of(s) / (double)s->plan.band;
}

/* Fills what does not depend on the schedule; false: not such a chain. */
static bool check_stages(MloLowerCx *cx, Bands *b)
{
	const MloTarget *t = cx->target;
	MloKernel *k = mlo_kernel_new(cx->arena, "bands");
	int64_t lanes = t->vector_bytes / 4;

	k->syms = cx->graph->syms;
	b->depthwise = -1;
	for (int i = 0; i < b->n; i++) {
		Stage *s = &b->stage[i];
		const KContract *c = &s->plan.c;
		const MloValue *y = s->last->out[0];

		if (s->conv->op != OP_conv || !known_image(&s->conv->in[0]->type) || !known_image(&image(s)->type))
			return false;
		s->plan = (ContractPlan){.dry = true, .k = k};
		if (contract_describe(cx, s->conv, s->conv, &s->plan) != MLO_OK)
			return false;
		s->wino = c->wino > 0;
		s->plain = contract_row_cycles(t, c, c->cols, c->vecs) * (double)c->ny;
		if (i < b->n - 1 && (y->layout.block != lanes || mlo_value_elem(y) != EL_f32))
			return false;
		if (b->depthwise < 0 && i < 2 && contract_is_depthwise(c) && touches(c))
			b->depthwise = i;
		else if (c->group_k || (i > 0 && (!pointwise(c) || i != b->depthwise + 1)))
			return false;
	}
	return b->depthwise >= 0;
}

/* -- what pays ------------------------------------------------------------------------------------ */

static int64_t stage_rows(const Bands *b, int i)
{
	const KContract *c = &b->stage[b->depthwise].plan.c;

	return i < b->depthwise ? (b->rows - 1) * c->sy + reach(c) : b->rows;
}

/* Elements of the scratch memory of stage i. */
static int64_t scratch_elems(const Bands *b, int i, int64_t lanes)
{
	const Stage *s = &b->stage[i];
	int64_t channels = i < b->depthwise ? b->channels : channels_of(s);

	return (channels + lanes - 1) / lanes * lanes * stage_rows(b, i) * image(s)->type.dim[3].k;
}

/* Rows of stage i, for all bands of an image. */
static int64_t all_rows(const Bands *b, int i)
{
	const KContract *c = &b->stage[b->depthwise].plan.c;
	int64_t rows = 0;

	if (i >= b->depthwise)
		return c->ny;
	for (int64_t y = 0; y < c->ny; y += b->rows) {
		int64_t end = y + b->rows < c->ny ? y + b->rows : c->ny, lo = y * c->sy - c->py;
		int64_t hi = (end - 1) * c->sy - c->py + reach(c);

		rows += (hi < c->in_y ? hi : c->in_y) - (lo > 0 ? lo : 0);
	}
	return rows;
}

static int64_t batch_of(const Bands *b)
{
	MloDim n = image(&b->stage[0])->type.dim[0];

	return mlo_dim_known(n) ? n.k : 1;
}

/* Cycles per image to move a stage's input or result, which does not stay in the second-level cache. */
static double move_cycles(MloLowerCx *cx, const Bands *b, const MloType *t, bool written)
{
	double bytes = 4.0 * (double)(t->dim[1].k * t->dim[2].k * t->dim[3].k);

	if (bytes * (double)batch_of(b) <= (double)cx->target->l2 / 2)
		return 0;
	return bytes / L3_BYTES * (written ? 0.5 : 1);
}

/* Computing and moving.  The maps behind the products hide nothing: they come in bursts between the loads. */
static double both(double compute, double move)
{
	return compute > move ? compute + EXPOSED * move : move + EXPOSED * compute;
}

/* Cycles per image of stage i on its own. */
static double alone(MloLowerCx *cx, const Bands *b, int i)
{
	const Stage *s = &b->stage[i];

	return both(s->plain, move_cycles(cx, b, &s->conv->in[0]->type, false) + move_cycles(cx, b, &image(s)->type, true)) +
	       s->maps * (double)image(s)->type.dim[2].k;
}

/* In bands, only the first one's input and the last one's result are moved. */
static double banded(MloLowerCx *cx, const Bands *b, int i)
{
	const Stage *s = &b->stage[i];
	int64_t bands = (b->stage[b->n - 1].plan.c.ny + b->rows - 1) / b->rows;
	double compute = s->row * (double)all_rows(b, i) + (double)(bands * mlo_contract_ctiles(&s->plan.c) * BAND_OVERHEAD);
	double move = 0;

	if (i == 0)
		move = move_cycles(cx, b, &s->conv->in[0]->type, false);
	if (i == b->n - 1)
		move += move_cycles(cx, b, &image(s)->type, true);
	return both(compute, move) + s->maps * (double)all_rows(b, i);
}

/* Tries bands of each number of rows for the channels at hand; the best so far is kept in *best. */
static void try_rows(MloLowerCx *cx, Bands *b, Bands *best, double *least)
{
	const MloTarget *t = cx->target;
	int64_t ny = b->stage[b->n - 1].plan.c.ny, lanes = t->vector_bytes / 4;

	for (b->rows = 1; b->rows <= ny; b->rows++) {
		int64_t bands = (ny + b->rows - 1) / b->rows, elems = 0;
		double cycles = 0;

		for (int i = 0; i < b->n; i++) {
			elems += i < b->n - 1 ? scratch_elems(b, i, lanes) : 0;
			cycles += banded(cx, b, i) - alone(cx, b, i);
		}
		if (4 * elems > t->l2 / 2 || (b->rows > 1 && bands * part_tasks(b) * batch_of(b) < MIN_TASKS))
			return;
		if (!best->rows || cycles < *least) {
			*best = *b;
			*least = cycles;
		}
	}
}

/* Chooses rows and channels; answers the cycles won per image, 0 if they are too few to be sure. */
static double plan_bands(MloLowerCx *cx, Bands *b)
{
	MloKernel *k = mlo_kernel_new(cx->arena, "bands");
	int64_t all = channels_of(&b->stage[b->depthwise]), lanes = cx->target->vector_bytes / 4;
	Bands best = {0};
	double least = 0, before = 0;

	k->syms = cx->graph->syms;
	for (int64_t parts = 1; parts <= (b->depthwise ? all / lanes : 1); parts++) {
		if (all % (parts * (parts > 1 ? lanes : 1)))
			continue;
		b->channels = all / parts;
		for (int i = 0; i < b->n; i++) {
			if (describe(cx, b, i, k, true) != MLO_OK)
				return 0;
			b->stage[i].row = row_cycles(cx->target, &b->stage[i]);
			b->stage[i].maps = map_cycles(cx->graph, &b->stage[i], lanes);
		}
		try_rows(cx, b, &best, &least);
	}
	if (!best.rows)
		return 0;
	*b = best;
	for (int i = 0; i < b->n; i++)
		before += alone(cx, b, i);
	return -least > WORTH * before ? -least : 0;
}

double mlo_bands_gain(MloLowerCx *cx, MloNode *const *conv, MloNode *const *last, int n)
{
	Bands b = {.n = n};

	MLO_ASSERT(n >= 2 && n <= MLO_MAX_BANDS);
	for (int i = 0; i < n; i++) {
		b.stage[i].conv = conv[i];
		b.stage[i].last = last[i];
	}
	if (cx->target->gpu || !check_stages(cx, &b))
		return 0;
	for (int i = 0; i < n; i++)
		if (b.stage[i].wino)
			return 0;
	return plan_bands(cx, &b);
}

/* -- lowering ------------------------------------------------------------------------------------ */

/* A kernel under way, in the loops over the batch, bands and parts of the channels. */
typedef struct BandLower {
	Bands b;
	ContractLower l;
	const KIdx *image, *band, *part;
} BandLower;

/* Row of stage i's image that its scratch memory begins with: may lie above the image. */
static const KIdx *first_row(BandLower *w, int i)
{
	const KContract *c = &w->b.stage[w->b.depthwise].plan.c;
	const KIdx *row = kx_mul(w->l.k, w->band, w->b.rows);

	return i < w->b.depthwise ? kx_add(w->l.k, kx_mul(w->l.k, row, c->sy), kx_const(w->l.k, -c->py)) : row;
}

/* The rows that stage i makes for the band. */
static void set_rows(BandLower *w, int i, KContract *out)
{
	const KContract *c = &w->b.stage[w->b.depthwise].plan.c;
	MloKernel *k = w->l.k;
	const KIdx *end = kx_add(k, kx_mul(k, w->band, w->b.rows), kx_const(k, w->b.rows));

	if (c->ny % w->b.rows)
		end = kx_min(k, end, kx_const(k, c->ny));
	out->y_lo = first_row(w, i);
	out->y_hi = end;
	if (i >= w->b.depthwise)
		return;
	out->y_lo = kx_max(k, out->y_lo, kx_const(k, 0));
	out->y_hi = kx_add(k, kx_mul(k, end, c->sy), kx_const(k, reach(c) - c->sy - c->py));
	out->y_hi = kx_min(k, out->y_hi, kx_const(k, c->in_y));
}

/* Where stage i reads: its image, or what the stage before has left. */
static void set_input(BandLower *w, int i, KContract *c)
{
	MloKernel *k = w->l.k;

	if (i == 0) {
		c->a_arg = contract_bind(&w->l, KA_IN, w->b.stage[0].plan.a, NULL);
		c->a_at = kx_mul(k, w->image, c->a.b0);
	} else {
		const Stage *before = &w->b.stage[i - 1];

		c->a_arg = before->scratch;
		c->a.block = c->a.x = c->lanes;
		c->a.k = 1;
		c->a.y = c->in_x * c->lanes;
		c->a.blk = before->rows * c->a.y;
		c->a_at = kx_mul(k, first_row(w, i - 1), -c->a.y);
	}
	c->nb0 = 1;
	c->a.b0 = 0;
}

static void store_rows(BandLower *w, int i, const KContract *c)
{
	MloKernel *k = w->l.k;
	const Stage *s = &w->b.stage[i];
	const KIdx *channel = i < w->b.depthwise ? kx_var(k, c->var[4]) : w->l.var[4];
	const KIdx *at = kx_mul(k, kx_div(k, channel, c->lanes), s->rows);

	at = kx_add(k, at, kx_add(k, w->l.var[2], kx_mul(k, first_row(w, i), -1)));
	at = kx_add(k, kx_mul(k, at, c->nx), w->l.var[3]);
	at = kx_add(k, kx_mul(k, at, c->lanes), kx_mod(k, channel, c->lanes));
	MLO_ASSERT(w->l.done.items[w->l.done.n - 1].v == s->last->out[0]);
	kb_store(&w->l.at, s->scratch, at, NULL, w->l.done.items[w->l.done.n - 1].number);
}

static MloStatus lower_stage(BandLower *w, int i, KCursor *at)
{
	Stage *s = &w->b.stage[i];
	MloKernel *k = w->l.k;
	KContract c = s->plan.c;
	int64_t tile = (int64_t)c.vecs * c.lanes;

	if (s->plan.band < c.nc) {
		int64_t weights = s->plan.band / tile * c.nky * c.nkx * mlo_contract_steps(&c) * contract_step(&c);

		c.b_at = kx_mul(k, w->part, weights);
	}
	c.nc = s->plan.band;
	c.b_arg = contract_bind(&w->l, KA_IN, s->plan.b, s->plan.packed);
	set_input(w, i, &c);
	set_rows(w, i, &c);
	contract_vars(&w->l, &c);
	w->l.var[0] = w->image;
	if (in_parts(&w->b, i))
		w->l.var[4] = kx_add(k, kx_mul(k, w->part, s->plan.band), w->l.var[4]);
	w->l.plan = s->plan;
	w->l.anchor = s->conv;
	w->l.done.n = 0;
	w->l.at = kb_contract(at, &c);
	MLO_TRY(contract_epilogue(&w->l, s->last));
	if (i == w->b.n - 1)
		return contract_store_results(&w->l);
	store_rows(w, i, &c);
	return MLO_OK;
}

static MloStatus build(BandLower *w)
{
	MloKernel *k = w->l.k;
	Bands *b = &w->b;
	const KContract *c = &b->stage[b->depthwise].plan.c;
	int64_t parts = channels_of(&b->stage[b->depthwise]) / b->channels;
	KCursor at = kb_top(k), in;
	bool loop = b->depthwise > 0 && parts > 1;
	KLoopKind kind = part_tasks(b) > 1 ? KL_PAR : KL_SEQ;
	int var;

	for (int i = 0; i < b->n - 1; i++) {
		b->stage[i].rows = stage_rows(b, i);
		b->stage[i].scratch = contract_scratch(&w->l, scratch_elems(b, i, c->lanes));
	}
	at = kb_loop(&at, KL_PAR, kx_dim(k, image(&b->stage[0])->type.dim[0]), &var);
	w->image = kx_var(k, var);
	at = kb_loop(&at, KL_PAR, kx_const(k, (c->ny + b->rows - 1) / b->rows), &var);
	w->band = kx_var(k, var);
	w->part = kx_const(k, 0);
	if (loop) {
		in = kb_loop(&at, kind, kx_const(k, parts), &var);
		w->part = kx_var(k, var);
	}
	for (int i = 0; i < b->n; i++)
		MLO_TRY(lower_stage(w, i, loop && i <= b->depthwise ? &in : &at));
	return MLO_OK;
}

/* The stages of a group; false: it is no such group. */
static bool find_stages(Bands *b, MloNode *first, MloNode *last)
{
	for (MloNode *n = first; n; n = n == last ? NULL : n->next) {
		if (n->op == OP_conv && b->n == MLO_MAX_BANDS)
			return false;
		if (n->op == OP_conv)
			b->stage[b->n++].conv = n;
		if (!b->n)
			return false;
		b->stage[b->n - 1].last = n;
	}
	return b->n >= 2;
}

MloStatus mlo_lower_bands(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out)
{
	BandLower w = {.l = {.cx = cx, .first = first, .last = last}};

	if (!find_stages(&w.b, first, last) || !check_stages(cx, &w.b))
		return MLO_ERR_UNSUPPORTED;
	plan_bands(cx, &w.b);
	MLO_ASSERT(w.b.rows > 0);
	w.l.k = mlo_kernel_new(cx->arena, "bands");
	w.l.k->syms = cx->graph->syms;
	for (int i = 0; i < w.b.n; i++) {
		MLO_TRY(describe(cx, &w.b, i, w.l.k, false));
		w.l.k->flops += mlo_contract_flops(w.l.k, &w.b.stage[i].plan.c);
	}
	MLO_TRY(build(&w));
	kb_finish(w.l.k);
	contract_label(&w.l, first);
	if (w.l.k->sizes_arg >= 0)
		MLO_PUSH(cx->arena, &w.l.bind, (MloBinding){0});
	*out = (MloLowered){.kernel = w.l.k, .bind = w.l.bind.items};
	return MLO_OK;
}
