/* codegen/emit_start.c -- accumulators before the first term.
 *
 * Products start from what the zero point and the flipped sign of A take away: that many times the sums of the
 * weights of those taps that lie inside the image; and from the whole number that the epilogue adds to each channel,
 * which takes no instruction then. */
#include "codegen/emit_contract.h"

/* -- zero points ----------------------------------------------------------------------------------- */

void contract_zero_point(Tile *t)
{
	Emit *e = t->e;
	const KContract *c = t->c;
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	int64_t at = c->zero.at + (!c->a.flip ? 0 : c->a.elem == EL_i8 ? 128 : -128);
	LLVMValueRef z = emit_const_i(i32, at), given;

	if (!c->zero.sums)
		return;
	if (c->zero.given) {
		given = LLVMBuildLoad2(e->b, emit_mem_type(e, c->a.elem), e->arg[c->zero.z_arg], "");
		z = LLVMBuildAdd(e->b, z, contract_widen(t, c->a.elem, given), "");
	}
	t->zero = emit_splat(e, LLVMBuildNeg(e->b, z, ""), c->lanes);
}

/* Sums of a tap's weights; depthwise, the weights. */
static LLVMValueRef tap_sum(Tile *t, LLVMValueRef at)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef v;

	if (!contract_has_sums(c)) {
		LLVMTypeRef bytes = LLVMVectorType(LLVMInt8TypeInContext(e->ctx), (unsigned)c->lanes);

		v = LLVMBuildLoad2(e->b, bytes, contract_element(t, c->b_arg, EL_i8, at), "");
		LLVMSetAlignment(v, 1);
		return contract_widen(t, EL_i8, v);
	}
	v = LLVMBuildLoad2(e->b, t->vec, contract_element(t, c->zero.s_arg, EL_i32, at), "");
	LLVMSetAlignment(v, 4);
	return v;
}

/* Adds the sums of the weights of tap (ky, kx) to those of the tile's vectors. */
static void add_tap(Tile *t, LLVMValueRef ky, LLVMValueRef kx, LLVMValueRef *total)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef tap = add(e, muln(e, ky, c->nkx), kx);

	tap = muln(e, add(e, muln(e, t->ct, c->nky * c->nkx), tap), t->wtile);
	for (int j = 0; j < c->vecs; j++) {
		LLVMValueRef v = tap_sum(t, addc(e, tap, (int64_t)j * c->lanes));

		LLVMBuildStore(e->b, LLVMBuildAdd(e->b, LLVMBuildLoad2(e->b, t->vec, total[j], ""), v, ""), total[j]);
	}
}

/* Sums that are 0, one per vector of the tile. */
static void new_totals(Tile *t, LLVMValueRef *total)
{
	for (int j = 0; j < t->c->vecs; j++) {
		total[j] = emit_alloca(t->e, t->vec, "");
		LLVMBuildStore(t->e->b, LLVMConstNull(t->vec), total[j]);
	}
}

/* Vector j of the sums of columns [from, to) of row r is v. */
static void start_at(Tile *t, int r, int from, int to, int j, LLVMValueRef v)
{
	const KContract *c = t->c;

	v = LLVMBuildMul(t->e->b, v, t->zero, "");
	for (int i = from; i < to; i++)
		LLVMBuildStore(t->e->b, v, t->acc[(r * c->cols + i) * c->vecs + j]);
}

/* The sums of the weights of taps [ky_lo, ky_hi) x [lo, hi). */
static void sum_taps(Tile *t, LLVMValueRef ky_lo, LLVMValueRef ky_hi, LLVMValueRef lo, LLVMValueRef hi, LLVMValueRef *sum)
{
	Emit *e = t->e;
	LLVMValueRef ky, kx;
	EmitLoop ly, lx;

	new_totals(t, sum);
	ky = emit_for(e, &ly, ky_lo, ky_hi, emit_index(e, 1), "ky");
	kx = emit_for(e, &lx, lo, hi, emit_index(e, 1), "kx");
	add_tap(t, ky, kx, sum);
	emit_end(e, &lx);
	emit_end(e, &ly);
	for (int j = 0; j < t->c->vecs; j++)
		sum[j] = LLVMBuildLoad2(e->b, t->vec, sum[j], "");
}

/* Columns [from, to) of row r, whose taps [lo, hi) lie inside. */
static void start_columns(Tile *t, int r, int from, int to, LLVMValueRef lo, LLVMValueRef hi)
{
	LLVMValueRef sum[16];

	sum_taps(t, t->ky_lo[r], t->ky_hi[r], lo, hi, sum);
	for (int j = 0; j < t->c->vecs; j++)
		start_at(t, r, from, to, j, sum[j]);
}

void contract_row_start(Tile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef total[CONTRACT_SLIDE_TAPS][16], ky;
	EmitLoop l;

	if (!c->zero.sums || c->nkx > CONTRACT_SLIDE_TAPS)
		return;
	for (int r = 0; r < t->rows; r++) {
		for (int kx = 0; kx < c->nkx; kx++)
			new_totals(t, total[kx]);
		ky = emit_for(e, &l, t->ky_lo[r], t->ky_hi[r], emit_index(e, 1), "ky");
		for (int kx = 0; kx < c->nkx; kx++)
			add_tap(t, ky, emit_index(e, kx), total[kx]);
		emit_end(e, &l);
		for (int j = 0; j < c->vecs; j++) {
			LLVMValueRef sum = LLVMConstNull(t->vec);

			t->upto[r][0][j] = sum;
			for (int kx = 0; kx < c->nkx; kx++) {
				sum = LLVMBuildAdd(e->b, sum, LLVMBuildLoad2(e->b, t->vec, total[kx][j], ""), "");
				t->upto[r][kx + 1][j] = sum;
			}
		}
	}
}

/* Column i of row r, whose taps [lo, hi) lie inside. */
static void start_column(Tile *t, int r, int i, int64_t lo, int64_t hi)
{
	for (int j = 0; j < t->c->vecs; j++)
		start_at(t, r, i, i + 1, j, LLVMBuildSub(t->e->b, t->upto[r][hi][j], t->upto[r][lo][j], ""));
}

static void start_row(Tile *t, int r, int cols, Edge edge)
{
	for (int i = 0; i < cols; i++) {
		int64_t lo = 0, hi = t->c->nkx;

		if (edge.kind != INNER)
			contract_inside(t->c, edge, cols, i, &lo, &hi);
		start_column(t, r, i, lo, hi);
	}
}

/* At the edge, of many columns of taps. */
static void start_wide_edge(Tile *t, int r, int cols, Edge edge)
{
	const KContract *c = t->c;
	Emit *e = t->e;

	for (int from = 0, to; from < cols; from = to) {
		int64_t lo, hi, lo2, hi2;

		contract_inside(c, edge, cols, from, &lo, &hi);
		for (to = from + 1; to < cols; to++) {
			contract_inside(c, edge, cols, to, &lo2, &hi2);
			if (lo2 != lo || hi2 != hi)
				break;
		}
		start_columns(t, r, from, to, emit_index(e, lo), emit_index(e, hi));
	}
}

/* -- the bias --------------------------------------------------------------------------------------- */

/* Does anything but statement s use value v? */
static bool used_elsewhere(const MloKernel *k, const KStmt *s, int v)
{
	for (; s; s = s->next) {
		const KInst *in = s->kind == KS_LET ? &k->value.items[s->value] : NULL;

		if (in ? in->a == v || in->b == v || in->c == v : s->value == v)
			return true;
	}
	return false;
}

const KStmt *contract_bias(const Tile *t, const KInst **bias)
{
	const MloKernel *k = t->e->k;
	const KStmt *p = t->s->body, *l = p ? p->next : NULL, *s = l ? l->next : NULL;
	const KInst *load, *add;

	*bias = NULL;
	if (!s || p->kind != KS_LET || l->kind != KS_LET || s->kind != KS_LET)
		return t->s->body;
	load = &k->value.items[l->value];
	add = &k->value.items[s->value];
	if (k->value.items[p->value].op != K_product || load->op != K_load || load->type != EL_i32 || load->guard ||
	    load->idx->op != KI_VAR || load->idx->k != t->c->var[4] || add->op != K_add || add->a != p->value ||
	    add->b != l->value || used_elsewhere(k, s->next, p->value) || used_elsewhere(k, s->next, l->value))
		return t->s->body;
	*bias = load;
	return s;
}

/* That of vector j of the tile's channels; NULL: none. */
static LLVMValueRef bias_of(Tile *t, int j)
{
	const KContract *c = t->c;
	const KInst *load;
	Emit *e = t->e;
	LLVMValueRef v;

	contract_bias(t, &load);
	if (!load)
		return NULL;
	contract_lanes(t, j);
	if (c->nc < 0 || c->nc % t->wtile)
		e->mask = contract_mask(t, j);
	v = emit_load(e, load);
	contract_lanes_end(t);
	return v;
}

/* -- all of it -------------------------------------------------------------------------------------- */

static void start_products(Tile *t, int cols, Edge edge)
{
	const KContract *c = t->c;
	Emit *e = t->e;

	for (int i = 0; i < t->rows * c->cols * c->vecs; i++)
		LLVMBuildStore(e->b, LLVMConstNull(t->vec), t->acc[i]);
	for (int r = 0; c->zero.sums && r < t->rows; r++) {
		if (edge.kind == ANY)
			start_columns(t, r, 0, cols, t->kx_lo, t->kx_hi);
		else if (c->nkx <= CONTRACT_SLIDE_TAPS)
			start_row(t, r, cols, edge);
		else if (edge.kind == INNER)
			start_columns(t, r, 0, cols, emit_index(e, 0), emit_index(e, c->nkx));
		else
			start_wide_edge(t, r, cols, edge);
	}
}

void contract_start(Tile *t, int cols, Edge edge)
{
	const KContract *c = t->c;
	Emit *e = t->e;

	start_products(t, cols, edge);
	for (int j = 0; j < c->vecs; j++) {
		LLVMValueRef bias = bias_of(t, j);

		for (int i = 0; bias && i < t->rows * cols; i++) {
			LLVMValueRef acc = t->acc[(i / cols * c->cols + i % cols) * c->vecs + j];

			LLVMBuildStore(e->b, LLVMBuildAdd(e->b, LLVMBuildLoad2(e->b, t->vec, acc, ""), bias, ""), acc);
		}
	}
}

void contract_start_inside(Tile *t, LLVMValueRef *start)
{
	const KContract *c = t->c;
	Emit *e = t->e;

	if (c->zero.sums)
		sum_taps(t, emit_index(e, 0), emit_index(e, c->nky), emit_index(e, 0), emit_index(e, c->nkx), start);
	for (int j = 0; j < c->vecs; j++) {
		LLVMValueRef bias = bias_of(t, j);

		start[j] = c->zero.sums ? LLVMBuildMul(e->b, start[j], t->zero, "") : NULL;
		if (bias)
			start[j] = start[j] ? LLVMBuildAdd(e->b, start[j], bias, "") : bias;
	}
}
