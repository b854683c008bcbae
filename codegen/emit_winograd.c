/* codegen/emit_winograd.c -- 3x3, 3x1 and 1x3 convolution by Winograd's filtering: transform, products, transform.
 *
 * A task takes a chunk of rows of pieces and some channel tiles.  It transforms the chunk's input
 * into scratch memory [point][channel block][piece][lanes], then makes per channel tile one matrix
 * product per point, [piece x channels] by [channels x vecs*lanes], in register tiles of `cols` pieces
 * as emit_contract.c does, and transforms the products back with the epilogue on the results. */
#include "codegen/emit_internal.h"
#include "codegen/winograd.h"

enum { UNROLL = 4 };

typedef struct Wino {
	Emit *e;
	const KStmt *s;
	const KContract *c;
	LLVMTypeRef f32, vec;
	int my, mx, ny, nx, points; /* outputs of a piece, its points along the axes and in all */
	int64_t pieces;           /* of a chunk, padded to whole register tiles */
	int64_t across, width;    /* pieces in a row; channels of a tile */
	LLVMValueRef a0, zero;    /* A at this batch; a vector of zeros in memory */
	LLVMValueRef b[2];        /* batch indices */
	LLVMValueRef down0, down; /* first row of pieces, how many */
	LLVMValueRef ct;          /* channel tile */
} Wino;

static LLVMValueRef add(Wino *w, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildNSWAdd(w->e->b, a, b, "");
}

static LLVMValueRef addc(Wino *w, LLVMValueRef a, int64_t k)
{
	return k ? add(w, a, emit_index(w->e, k)) : a;
}

static LLVMValueRef mulc(Wino *w, LLVMValueRef a, int64_t k)
{
	return LLVMBuildNSWMul(w->e->b, a, emit_index(w->e, k), "");
}

static LLVMValueRef min_of(Wino *w, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildSelect(w->e->b, LLVMBuildICmp(w->e->b, LLVMIntSLT, a, b, ""), a, b, "");
}

static LLVMValueRef at_f32(Wino *w, LLVMValueRef base, LLVMValueRef off)
{
	return LLVMBuildInBoundsGEP2(w->e->b, w->f32, base, &off, 1, "");
}

static LLVMValueRef load(Wino *w, LLVMTypeRef t, LLVMValueRef p)
{
	LLVMValueRef v = LLVMBuildLoad2(w->e->b, t, p, "");

	LLVMSetAlignment(v, 4);
	return v;
}

/* A vector of elements as f32. */
static LLVMValueRef load_elems(Wino *w, MloElem elem, LLVMValueRef p)
{
	LLVMValueRef v = LLVMBuildLoad2(w->e->b, emit_vec(emit_mem_type(w->e, elem), w->c->lanes), p, "");

	LLVMSetAlignment(v, mlo_elem_bits(elem) / 8);
	return emit_from_memory(w->e, elem, v);
}

static void store(Wino *w, LLVMValueRef v, LLVMValueRef p)
{
	LLVMSetAlignment(LLVMBuildStore(w->e->b, v, p), 4);
}

/* -- one axis of a transform ------------------------------------------------------------------- */

/* y[i] = sum over j of matrix[i][j] * x[j], for rows x cols small integers.  Rows i and i+1 that differ
 * in the sign of their odd terms alone share the sums of even and of odd terms. */
static LLVMValueRef combine(Wino *w, const double *row, int cols, int parity, LLVMValueRef const *x)
{
	Emit *e = w->e;
	LLVMValueRef sum = NULL;

	/* terms with factor 1 first: the others are multiply-adds on top */
	for (int pass = 0; pass < 2; pass++) {
		for (int j = 0; j < cols; j++) {
			const double k = row[j];

			if (k == 0 || (parity >= 0 && j % 2 != parity) || (k == 1) != (pass == 0))
				continue;
			if (!sum)
				sum = k == 1 ? x[j] : LLVMBuildFMul(e->b, x[j], emit_const_f(w->vec, k), "");
			else if (k == 1)
				sum = LLVMBuildFAdd(e->b, sum, x[j], "");
			else if (k == -1)
				sum = LLVMBuildFSub(e->b, sum, x[j], "");
			else
				sum = emit_fma(e, x[j], emit_const_f(w->vec, k), sum);
		}
	}
	return sum;
}

static bool mirrored(const double *a, const double *b, int cols)
{
	bool odd = false, even = false;

	for (int j = 0; j < cols; j++) {
		if (b[j] != (j % 2 ? -a[j] : a[j]))
			return false;
		odd = odd || (j % 2 && a[j] != 0);
		even = even || (j % 2 == 0 && a[j] != 0);
	}
	return odd && even;
}

static void transform(Wino *w, const double *matrix, int rows, int cols, LLVMValueRef const *x, LLVMValueRef *y)
{
	Emit *e = w->e;

	for (int i = 0; i < rows; i++) {
		const double *row = matrix + (ptrdiff_t)i * cols;

		if (i + 1 < rows && mirrored(row, row + cols, cols)) {
			LLVMValueRef even = combine(w, row, cols, 0, x), odd = combine(w, row, cols, 1, x);

			y[i] = LLVMBuildFAdd(e->b, even, odd, "");
			y[i + 1] = LLVMBuildFSub(e->b, even, odd, "");
			i++;
		} else {
			y[i] = combine(w, row, cols, -1, x);
		}
	}
}

/* B^T x, for the n points of an axis; one point: of an axis of one tap. */
static void forward(Wino *w, int n, LLVMValueRef const *x, LLVMValueRef *y)
{
	if (n == 1)
		y[0] = x[0];
	else
		transform(w, wino_bt(n - 2), n, n, x, y);
}

/* A^T x, for the m outputs of an axis. Sums and differences of pairs (1,2) and (3,4) serve all rows of A^T. */
static void back(Wino *w, int m, LLVMValueRef const *x, LLVMValueRef *y)
{
	Emit *e = w->e;
	LLVMValueRef p, d, q, r;

	if (m == 1) {
		y[0] = x[0];
		return;
	}
	p = LLVMBuildFAdd(e->b, x[1], x[2], "");
	d = LLVMBuildFSub(e->b, x[1], x[2], "");
	if (m == 2) {
		y[0] = LLVMBuildFAdd(e->b, x[0], p, "");
		y[1] = LLVMBuildFSub(e->b, d, x[3], "");
		return;
	}
	q = LLVMBuildFAdd(e->b, x[3], x[4], "");
	r = LLVMBuildFSub(e->b, x[3], x[4], "");
	y[0] = LLVMBuildFAdd(e->b, x[0], LLVMBuildFAdd(e->b, p, q, ""), "");
	y[1] = emit_fma(e, r, emit_const_f(w->vec, 2), d);
	y[2] = emit_fma(e, q, emit_const_f(w->vec, 4), p);
	y[3] = LLVMBuildFAdd(e->b, emit_fma(e, r, emit_const_f(w->vec, 8), d), x[5], "");
}

/* -- input ----------------------------------------------------------------------------------------- */

/* 0 <= v + k < extent, as an unsigned comparison. */
static LLVMValueRef inside(Wino *w, LLVMValueRef v, int64_t extent)
{
	return LLVMBuildICmp(w->e->b, LLVMIntULT, v, emit_index(w->e, extent), "");
}

/* The piece whose first input pixel is (iy, ix), of channel block at `base`; pixels outside are zero. */
static void load_piece(Wino *w, LLVMValueRef base, LLVMValueRef iy, LLVMValueRef ix, LLVMValueRef *d)
{
	const KContract *c = w->c;
	Emit *e = w->e;
	LLVMValueRef col_ok[WINO_MAX_N], corner = add(w, base, add(w, mulc(w, iy, c->a.y), mulc(w, ix, c->a.x)));

	for (int x = 0; x < w->nx; x++)
		col_ok[x] = inside(w, addc(w, ix, x), c->in_x);
	for (int y = 0; y < w->ny; y++) {
		LLVMValueRef row_ok = inside(w, addc(w, iy, y), c->in_y);

		for (int x = 0; x < w->nx; x++) {
			LLVMValueRef off = addc(w, corner, y * c->a.y + x * c->a.x);
			LLVMValueRef p = LLVMBuildGEP2(e->b, emit_mem_type(e, c->a.elem), e->arg[c->a_arg], &off, 1, "");
			LLVMValueRef ok = LLVMBuildAnd(e->b, row_ok, col_ok[x], "");

			d[y * w->nx + x] = load_elems(w, c->a.elem, LLVMBuildSelect(e->b, ok, p, w->zero, ""));
		}
	}
}

/* B^T d B of one piece, stored point by point at `to`. */
static void input_piece(Wino *w, LLVMValueRef base, LLVMValueRef iy, LLVMValueRef ix, LLVMValueRef to)
{
	const int ny = w->ny, nx = w->nx;
	const int64_t stride = wino_input_step(w->c);
	LLVMValueRef d[WINO_MAX_POINTS], t[WINO_MAX_POINTS];

	load_piece(w, base, iy, ix, d);
	for (int x = 0; x < nx; x++) {
		LLVMValueRef in[WINO_MAX_N], out[WINO_MAX_N];

		for (int y = 0; y < ny; y++)
			in[y] = d[y * nx + x];
		forward(w, ny, in, out);
		for (int y = 0; y < ny; y++)
			t[y * nx + x] = out[y];
	}
	for (int y = 0; y < ny; y++) {
		LLVMValueRef out[WINO_MAX_N];

		forward(w, nx, t + (ptrdiff_t)y * nx, out);
		for (int x = 0; x < nx; x++)
			store(w, out[x], at_f32(w, w->e->arg[w->c->w_arg], addc(w, to, (y * nx + x) * stride)));
	}
}

/* For every piece of the chunk: row r and column x of pieces, its number t. */
typedef struct Pieces {
	EmitLoop rows, cols;
	LLVMValueRef row, col, number;
} Pieces;

static void begin_pieces(Wino *w, Pieces *p)
{
	Emit *e = w->e;

	p->row = emit_for(e, &p->rows, emit_index(e, 0), w->down, emit_index(e, 1), "piece.y");
	p->col = emit_for(e, &p->cols, emit_index(e, 0), emit_index(e, w->across), emit_index(e, 1), "piece.x");
	p->number = add(w, mulc(w, p->row, w->across), p->col);
}

static void end_pieces(Wino *w, Pieces *p)
{
	emit_end(w->e, &p->cols);
	emit_end(w->e, &p->rows);
}

static void emit_input(Wino *w)
{
	const KContract *c = w->c;
	Emit *e = w->e;
	EmitLoop l;
	Pieces p;
	LLVMValueRef kb = emit_for(e, &l, emit_index(e, 0), emit_index(e, wino_kvecs(c)), emit_index(e, 1), "kb");
	LLVMValueRef base = add(w, w->a0, mulc(w, kb, c->a.blk)), to = mulc(w, kb, w->pieces * c->lanes);

	begin_pieces(w, &p);
	input_piece(w, base, addc(w, mulc(w, add(w, w->down0, p.row), w->my), -c->py), addc(w, mulc(w, p.col, w->mx), -c->px),
	            add(w, to, mulc(w, p.number, c->lanes)));
	end_pieces(w, &p);
	emit_end(e, &l);
}

/* -- products ---------------------------------------------------------------------------------------- */

static LLVMValueRef load_weights(Wino *w, LLVMValueRef off)
{
	Emit *e = w->e;
	MloElem elem = w->c->b.elem;

	return load_elems(w, elem, LLVMBuildInBoundsGEP2(e->b, emit_mem_type(e, elem), e->arg[w->c->b_arg], &off, 1, ""));
}

static void product_term(Wino *w, LLVMValueRef v_off, LLVMValueRef b_off, LLVMValueRef *acc)
{
	const KContract *c = w->c;
	Emit *e = w->e;
	LLVMValueRef weight[16];

	for (int j = 0; j < c->vecs; j++)
		weight[j] = load_weights(w, addc(w, b_off, (int64_t)j * c->lanes));
	for (int i = 0; i < c->cols; i++) {
		LLVMValueRef x = load(w, w->f32, at_f32(w, e->arg[c->w_arg], addc(w, v_off, (int64_t)i * c->lanes)));

		x = emit_splat(e, x, c->lanes);
		for (int j = 0; j < c->vecs; j++) {
			LLVMValueRef *at = &acc[i * c->vecs + j];

			LLVMBuildStore(e->b, emit_fma(e, x, weight[j], LLVMBuildLoad2(e->b, w->vec, *at, "")), *at);
		}
	}
}

/* The register tile of pieces [t, t + cols) at one point. v, b: where its input and weights begin. */
static void product_tile(Wino *w, LLVMValueRef v, LLVMValueRef b, LLVMValueRef to, LLVMValueRef *acc)
{
	const KContract *c = w->c;
	Emit *e = w->e;
	EmitLoop lb, lk;
	LLVMValueRef kb, k, vb, bb;
	const int64_t whole = c->nk / c->lanes;
	int unroll = c->lanes < UNROLL ? c->lanes : UNROLL;

	for (int i = 0; i < c->cols * c->vecs; i++)
		LLVMBuildStore(e->b, LLVMConstNull(w->vec), acc[i]);
	kb = emit_for(e, &lb, emit_index(e, 0), emit_index(e, whole), emit_index(e, 1), "kb");
	vb = add(w, v, mulc(w, kb, w->pieces * c->lanes));
	bb = add(w, b, mulc(w, kb, c->lanes * w->width));
	k = emit_for(e, &lk, emit_index(e, 0), emit_index(e, c->lanes), emit_index(e, unroll), "k");
	for (int u = 0; u < unroll; u++)
		product_term(w, addc(w, add(w, vb, k), u), add(w, bb, mulc(w, addc(w, k, u), w->width)), acc);
	emit_end(e, &lk);
	emit_end(e, &lb);
	for (int64_t r = 0; r < c->nk % c->lanes; r++)
		product_term(w, addc(w, v, whole * w->pieces * c->lanes + r), addc(w, b, (whole * c->lanes + r) * w->width), acc);
	for (int i = 0; i < c->cols; i++)
		for (int j = 0; j < c->vecs; j++)
			store(w, LLVMBuildLoad2(e->b, w->vec, acc[i * c->vecs + j], ""),
			      at_f32(w, e->arg[c->w_arg], addc(w, to, i * w->width + (int64_t)j * c->lanes)));
}

static void emit_products(Wino *w, LLVMValueRef *acc)
{
	const KContract *c = w->c;
	Emit *e = w->e;
	EmitLoop lp, lt;
	LLVMValueRef p = emit_for(e, &lp, emit_index(e, 0), emit_index(e, w->points), emit_index(e, 1), "point");
	LLVMValueRef v = mulc(w, p, wino_input_step(c)), t;
	LLVMValueRef b = mulc(w, add(w, mulc(w, w->ct, w->points), p), c->nk * w->width);
	LLVMValueRef to = addc(w, mulc(w, p, wino_product_step(c)), wino_input_elems(c));

	t = emit_for(e, &lt, emit_index(e, 0), mulc(w, w->down, w->across), emit_index(e, c->cols), "piece");
	product_tile(w, add(w, v, mulc(w, t, c->lanes)), b, add(w, to, mulc(w, t, w->width)), acc);
	emit_end(e, &lt);
	emit_end(e, &lp);
}

/* -- output ------------------------------------------------------------------------------------------- */

/* The lanes of vector j of the tile that are channels; NULL: all, always. */
static LLVMValueRef channel_mask(Wino *w, int j)
{
	const KContract *c = w->c;
	Emit *e = w->e;
	LLVMValueRef lane[64], left;

	if (c->nc % c->lanes == 0)
		return NULL;
	left = LLVMBuildNSWSub(e->b, emit_index(e, c->nc - (int64_t)j * c->lanes), mulc(w, w->ct, w->width), "");
	for (int i = 0; i < c->lanes; i++)
		lane[i] = LLVMConstInt(e->index, (unsigned long long)i, 0);
	return LLVMBuildICmp(e->b, LLVMIntSLT, LLVMConstVector(lane, (unsigned)c->lanes), emit_splat(e, left, c->lanes), "");
}

/* The epilogue at (y, x) for vector j of the channel tile. */
static void epilogue(Wino *w, LLVMValueRef y, LLVMValueRef x, int j, LLVMValueRef product)
{
	const KContract *c = w->c;
	Emit *e = w->e;

	e->var[c->var[0]] = w->b[0];
	e->var[c->var[1]] = w->b[1];
	e->var[c->var[2]] = y;
	e->var[c->var[3]] = x;
	e->var[c->var[4]] = addc(w, mulc(w, w->ct, w->width), (int64_t)j * c->lanes);
	e->product = product;
	e->lanes = c->lanes;
	e->vec_var = c->var[4];
	e->vec_aligned = true;
	e->mask = channel_mask(w, j);
	emit_stmts(e, w->s->body);
	e->mask = NULL;
	e->lanes = 0;
	e->vec_var = -1;
	e->product = NULL;
}

/* A^T M A of vector j of a piece into buf[my][mx]. */
static void output_piece(Wino *w, LLVMValueRef from, int j, LLVMValueRef buf)
{
	const int ny = w->ny, nx = w->nx;
	Emit *e = w->e;
	LLVMValueRef t[WINO_MAX_POINTS];

	for (int x = 0; x < nx; x++) {
		LLVMValueRef in[WINO_MAX_N], out[WINO_MAX_M];

		for (int y = 0; y < ny; y++) {
			LLVMValueRef off = addc(w, from, (y * nx + x) * wino_product_step(w->c) + (int64_t)j * w->c->lanes);

			in[y] = load(w, w->vec, at_f32(w, e->arg[w->c->w_arg], off));
		}
		back(w, w->my, in, out);
		for (int y = 0; y < w->my; y++)
			t[y * nx + x] = out[y];
	}
	for (int y = 0; y < w->my; y++) {
		LLVMValueRef out[WINO_MAX_M];

		back(w, w->mx, t + (ptrdiff_t)y * nx, out);
		for (int x = 0; x < w->mx; x++) {
			LLVMValueRef at = emit_index(e, y * w->mx + x);

			LLVMBuildStore(e->b, out[x], LLVMBuildInBoundsGEP2(e->b, w->vec, buf, &at, 1, ""));
		}
	}
}

/* The pixels of a piece that lie in the image, through the epilogue. */
static void output_pixels(Wino *w, LLVMValueRef y0, LLVMValueRef x0, int j, LLVMValueRef buf)
{
	const KContract *c = w->c;
	Emit *e = w->e;
	EmitLoop ly, lx;
	LLVMValueRef rows = min_of(w, emit_index(e, w->my), LLVMBuildNSWSub(e->b, emit_index(e, c->ny), y0, ""));
	LLVMValueRef cols = min_of(w, emit_index(e, w->mx), LLVMBuildNSWSub(e->b, emit_index(e, c->nx), x0, ""));
	LLVMValueRef y = emit_for(e, &ly, emit_index(e, 0), rows, emit_index(e, 1), "y");
	LLVMValueRef x = emit_for(e, &lx, emit_index(e, 0), cols, emit_index(e, 1), "x");
	LLVMValueRef at = add(w, mulc(w, y, w->mx), x);

	epilogue(w, add(w, y0, y), add(w, x0, x), j,
	         LLVMBuildLoad2(e->b, w->vec, LLVMBuildInBoundsGEP2(e->b, w->vec, buf, &at, 1, ""), ""));
	emit_end(e, &lx);
	emit_end(e, &ly);
}

static void emit_output(Wino *w, LLVMValueRef buf)
{
	Pieces p;
	LLVMValueRef y0, x0, from;

	for (int j = 0; j < w->c->vecs; j++) {
		begin_pieces(w, &p);
		y0 = mulc(w, add(w, w->down0, p.row), w->my);
		x0 = mulc(w, p.col, w->mx);
		from = addc(w, mulc(w, p.number, w->width), wino_input_elems(w->c));
		output_piece(w, from, j, buf);
		output_pixels(w, y0, x0, j, buf);
		end_pieces(w, &p);
	}
}

/* -- tasks -------------------------------------------------------------------------------------------- */

/* Splits the task number into batch, chunk and channel part (the last one fastest).  Answers how often the input
 * has to be transformed: not where the task before it, of the same chunk, has left it in the scratch. */
static LLVMValueRef task_parts(Wino *w, LLVMValueRef task, LLVMValueRef *ct_lo, LLVMValueRef *ct_hi)
{
	const KContract *c = w->c;
	Emit *e = w->e;
	LLVMValueRef splits = emit_index(e, mlo_contract_csplits(c)), chunks = emit_index(e, mlo_contract_chunks(c));
	LLVMValueRef part = LLVMBuildURem(e->b, task, splits, ""), rest = LLVMBuildUDiv(e->b, task, splits, ""), batch, first;

	*ct_lo = mulc(w, part, c->c_chunk);
	*ct_hi = min_of(w, addc(w, *ct_lo, c->c_chunk), emit_index(e, mlo_contract_ctiles(c)));
	batch = LLVMBuildUDiv(e->b, rest, chunks, "");
	w->down0 = mulc(w, LLVMBuildURem(e->b, rest, chunks, ""), c->y_chunk / w->my);
	w->down = min_of(w, emit_index(e, c->y_chunk / w->my), LLVMBuildNSWSub(e->b, emit_index(e, wino_down(c)), w->down0, ""));
	w->b[0] = LLVMBuildUDiv(e->b, batch, emit_index(e, c->nb1), "");
	w->b[1] = LLVMBuildURem(e->b, batch, emit_index(e, c->nb1), "");
	w->a0 = add(w, mulc(w, w->b[0], c->a.b0), mulc(w, w->b[1], c->a.b1));
	first = LLVMBuildOr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, part, emit_index(e, 0), ""),
	                    LLVMBuildICmp(e->b, LLVMIntEQ, task, e->begin, ""), "");
	return LLVMBuildZExt(e->b, first, e->index, "");
}

void emit_winograd(Emit *e, const KStmt *s)
{
	const KContract *c = s->contract;
	Wino w = {.e = e, .s = s, .c = c, .my = wino_my(c), .mx = wino_mx(c), .ny = wino_ny(c), .nx = wino_nx(c), .points = wino_points(c),
	          .pieces = wino_pieces(c), .across = wino_across(c), .width = (int64_t)c->vecs * c->lanes};
	LLVMValueRef acc[256], buf, lo, hi, anew;
	EmitLoop task, once, tiles;

	MLO_ASSERT(c->cols * c->vecs <= 256 && c->vecs <= 16);
	w.f32 = LLVMFloatTypeInContext(e->ctx);
	w.vec = LLVMVectorType(w.f32, (unsigned)c->lanes);
	for (int i = 0; i < c->cols * c->vecs; i++)
		acc[i] = emit_alloca(e, w.vec, "");
	buf = emit_alloca(e, LLVMArrayType2(w.vec, (uint64_t)(w.my * w.mx)), "piece");
	w.zero = emit_alloca(e, w.vec, "zero");
	LLVMBuildStore(e->b, LLVMConstNull(w.vec), w.zero);
	anew = task_parts(&w, emit_for(e, &task, e->begin, e->end, emit_index(e, 1), "task"), &lo, &hi);
	emit_for(e, &once, emit_index(e, 0), anew, emit_index(e, 1), "anew");
	emit_input(&w);
	emit_end(e, &once);
	w.ct = emit_for(e, &tiles, lo, hi, emit_index(e, 1), "tile");
	emit_products(&w, acc);
	emit_output(&w, buf);
	emit_end(e, &tiles);
	emit_end(e, &task);
}
