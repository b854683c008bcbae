/* codegen/emit_sparse.c -- contractions by sparse weights (codegen/sparse.h says where things lie).
 *
 * A task copies its input, then goes through the rows of weights of its channels.  Sums of as many rows as a vector has lanes go
 * to scratch memory and are transposed: there, channels become lanes again, and the epilogue is that of dense weights. */
#include "codegen/emit_contract.h"
#include "codegen/sparse.h"

enum { MAX_LANES = 64, MAX_GROUP = 16 };

typedef struct Sparse {
	Tile t;                     /* what starts and epilogues go by */
	LLVMTypeRef word;           /* <lanes x i32>: a vector of the copy */
	LLVMValueRef copy, sums, turned; /* in the scratch memory */
	LLVMValueRef pad;           /* what terms outside of the image read, or NULL: there are none */
	LLVMValueRef place;         /* that of the weight at hand in its run: an alloca of e->index */
	LLVMValueRef start;
	ContractTask task;
} Sparse;

static LLVMValueRef vector_at(const Sparse *u, LLVMValueRef base, LLVMValueRef i)
{
	return LLVMBuildInBoundsGEP2(u->t.e->b, u->word, base, &i, 1, "");
}

static LLVMValueRef load_vector(const Sparse *u, LLVMTypeRef type, LLVMValueRef base, LLVMValueRef i)
{
	return LLVMBuildLoad2(u->t.e->b, type, vector_at(u, base, i), "");
}

/* -- the copy ---------------------------------------------------------------------------------------- */

/* Lane l: of = how many places of the tile it is away from the first lane, down or across. */
static LLVMValueRef lane_places(const Sparse *u, bool down, int64_t times)
{
	const KContract *c = u->t.c;
	LLVMValueRef lane[MAX_LANES];

	for (int l = 0; l < c->lanes; l++)
		lane[l] = emit_index(u->t.e, (down ? l / c->sparse.spread : l % c->sparse.spread) * times);
	return LLVMConstVector(lane, (unsigned)c->lanes);
}

static LLVMValueRef minmax(Emit *e, LLVMValueRef a, LLVMIntPredicate keep, LLVMValueRef b)
{
	return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, keep, a, b, ""), a, b, "");
}

/* Places of the lanes along an axis, those outside of it (*inside false) moved to its ends. */
static LLVMValueRef places(const Sparse *u, bool down, LLVMValueRef first, int64_t extent, LLVMValueRef *inside)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	LLVMValueRef at = lane_places(u, down, down ? c->rows * c->sy : c->cols * c->sx), end = emit_splat(e, num(e, extent), c->lanes);

	at = LLVMBuildAdd(e->b, at, emit_splat(e, first, c->lanes), "");
	*inside = LLVMBuildICmp(e->b, LLVMIntULT, at, end, "");
	at = minmax(e, at, LLVMIntSGT, emit_splat(e, emit_index(e, 0), c->lanes));
	return minmax(e, at, LLVMIntSLT, LLVMBuildSub(e->b, end, emit_splat(e, emit_index(e, 1), c->lanes), ""));
}

/* Vectors side by side as one. */
static LLVMValueRef join(const Sparse *u, LLVMValueRef *v, int n)
{
	Emit *e = u->t.e;

	for (; n > 1; n /= 2)
		for (int i = 0; i < n / 2; i++)
			v[i] = LLVMBuildShuffleVector(e->b, v[2 * i], v[2 * i + 1],
			                              emit_iota(e, LLVMInt32TypeInContext(e->ctx), 2 * emit_lanes(v[2 * i]), 1), "");
	return v[0];
}

/* `piece` steps from element `off` of A on for all lanes, which lie at[lane] elements further: r[step]. */
static void load_piece(const Sparse *u, const LLVMValueRef *at, LLVMValueRef off, LLVMValueRef *r)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int piece = (int)sparse_piece(c), each = c->lanes / piece;
	LLVMTypeRef type = LLVMVectorType(LLVMInt32TypeInContext(e->ctx), (unsigned)piece);

	for (int i = 0; i < piece; i++) {
		LLVMValueRef v[MAX_LANES] = {0};

		for (int q = 0; q < each; q++) {
			v[q] = LLVMBuildLoad2(e->b, type, contract_element(&u->t, c->a_arg, c->a.elem, add(e, at[q * piece + i], off)), "");
			LLVMSetAlignment(v[q], mlo_elem_bits(c->a.elem) / 8);
		}
		r[i] = join(u, v, each);
	}
	if (piece == c->lanes)
		emit_transpose(e, r, piece, 4);
	else
		emit_transpose_pieces(e, r, piece);
}

/* Where piece p of the channels lies from channel 0 on. */
static LLVMValueRef piece_offset(const Sparse *u, LLVMValueRef p)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int64_t size = sparse_piece(c) * c->dot, per = c->a.block / size;

	if (c->a.block >= c->nk)
		return muln(e, p, size);
	return add(e, muln(e, divc(e, p, per), c->a.blk), muln(e, remc(e, p, per), size));
}

/* All steps of vector v of a plane, whose lanes lie at[lane] elements behind the start of A. */
static void copy_vector(const Sparse *u, LLVMValueRef v, const LLVMValueRef *at, LLVMValueRef inside)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int64_t piece = sparse_piece(c), plane = sparse_plane(c);
	LLVMValueRef r[MAX_LANES] = {0}, p, sign = emit_const_i(u->word, (int64_t)0x80808080);
	EmitLoop l;

	p = emit_for(e, &l, emit_index(e, 0), emit_index(e, (mlo_contract_steps(c) + piece - 1) / piece), emit_index(e, 1), "piece");
	load_piece(u, at, piece_offset(u, p), r);
	for (int i = 0; i < piece; i++) {
		if (c->a.flip)
			r[i] = LLVMBuildXor(e->b, r[i], sign, "");
		if (u->pad)
			r[i] = LLVMBuildSelect(e->b, inside, r[i], u->pad, "");
		LLVMBuildStore(e->b, r[i], vector_at(u, u->copy, add(e, muln(e, addc(e, muln(e, p, piece), i), plane), v)));
	}
	emit_end(e, &l);
}

static void copy_input(const Sparse *u)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	LLVMValueRef r, x, y_at, x_at, y_in, x_in, at[MAX_LANES];
	EmitLoop lr, lx;

	r = emit_for(e, &lr, emit_index(e, 0), emit_index(e, sparse_height(c)), emit_index(e, 1), "row");
	y_at = places(u, true, add(e, addc(e, muln(e, u->task.y0, c->sy), -c->py), muln(e, r, contract_copy_from_y(c))), c->in_y, &y_in);
	y_at = LLVMBuildMul(e->b, y_at, emit_splat(e, num(e, c->a.y), c->lanes), "");
	y_at = LLVMBuildAdd(e->b, y_at, emit_splat(e, u->t.a0, c->lanes), "");
	x = emit_for(e, &lx, emit_index(e, 0), emit_index(e, sparse_width(c)), emit_index(e, 1), "column");
	x_at = places(u, false, add(e, addc(e, muln(e, u->task.x0, c->sx), -c->px), muln(e, x, contract_copy_from_x(c))), c->in_x, &x_in);
	x_at = LLVMBuildMul(e->b, x_at, emit_splat(e, num(e, c->a.x), c->lanes), "");
	x_at = LLVMBuildAdd(e->b, x_at, y_at, "");
	for (int l = 0; l < c->lanes; l++)
		at[l] = LLVMBuildExtractElement(e->b, x_at, LLVMConstInt(e->index, (unsigned)l, 0), "");
	copy_vector(u, add(e, muln(e, r, sparse_width(c)), x), at, LLVMBuildAnd(e->b, y_in, x_in, ""));
	emit_end(e, &lx);
	emit_end(e, &lr);
}

/* -- sums ---------------------------------------------------------------------------------------------- */

/* An element of argument `arg`, at i. */
static LLVMValueRef stream(const Sparse *u, int arg, unsigned bits, LLVMValueRef i)
{
	Emit *e = u->t.e;
	LLVMTypeRef type = LLVMIntTypeInContext(e->ctx, bits);

	return LLVMBuildLoad2(e->b, type, LLVMBuildInBoundsGEP2(e->b, type, e->arg[arg], &i, 1, ""), "");
}

/* Weight i, which finds its input `far` behind that of the one before. */
static void multiply(Sparse *u, LLVMValueRef i, LLVMValueRef input, LLVMValueRef far)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	LLVMTypeRef type = c->dot == 1 ? u->t.vec : u->word;
	LLVMValueRef place = add(e, LLVMBuildLoad2(e->b, e->index, u->place, ""), far);
	LLVMValueRef at = muln(e, place, sparse_unit(c));
	DotOperand weight[MAX_GROUP], x = {.n = 1};

	LLVMBuildStore(e->b, place, u->place);

	for (int g = 0; g < c->sparse.group; g++) {
		LLVMValueRef w = stream(u, c->b_arg, 32, addc(e, muln(e, i, c->sparse.group), g));

		if (c->dot == 1)
			w = LLVMBuildBitCast(e->b, w, LLVMFloatTypeInContext(e->ctx), "");
		weight[g] = (DotOperand){.n = 1, .v = {emit_splat(e, w, c->lanes)}};
	}
	for (int p = 0; p < sparse_registers(c); p++) {
		int64_t off = p / c->cols * contract_copy_stride_y(c) * sparse_width(c) + p % c->cols * contract_copy_stride_x(c);

		x.v[0] = load_vector(u, type, input, addc(e, at, off));
		for (int g = 0; g < c->sparse.group; g++) {
			LLVMValueRef acc = u->t.acc[g * sparse_registers(c) + p], sum = LLVMBuildLoad2(e->b, u->t.vec, acc, "");

			LLVMBuildStore(e->b, contract_multiply(&u->t, &x, &weight[g], sum), acc);
		}
	}
}

/* Weights [lo, hi), first by fours, whose distances are loaded at once. */
static void multiply_all(Sparse *u, LLVMValueRef lo, LLVMValueRef hi, LLVMValueRef input)
{
	enum { FOUR = 4, BITS = 8 };
	Emit *e = u->t.e;
	int arg = u->t.c->sparse.i_arg;
	LLVMValueRef fours = LLVMBuildAnd(e->b, LLVMBuildNSWSub(e->b, hi, lo, ""), emit_index(e, -FOUR), ""), i, far, first;
	EmitLoop l;

	fours = add(e, lo, fours);
	LLVMBuildStore(e->b, emit_index(e, 0), u->place);
	i = emit_for(e, &l, lo, fours, emit_index(e, FOUR), "weights");
	first = LLVMBuildInBoundsGEP2(e->b, LLVMIntTypeInContext(e->ctx, BITS), e->arg[arg], &i, 1, "");
	far = LLVMBuildLoad2(e->b, LLVMIntTypeInContext(e->ctx, FOUR * BITS), first, "");
	LLVMSetAlignment(far, BITS / 8);
	far = LLVMBuildZExt(e->b, far, e->index, "");
	for (int j = 0; j < FOUR; j++) {
		LLVMValueRef one = LLVMBuildLShr(e->b, far, emit_index(e, (int64_t)j * BITS), "");

		multiply(u, addc(e, i, j), input, LLVMBuildAnd(e->b, one, emit_index(e, (1 << BITS) - 1), ""));
	}
	emit_end(e, &l);
	i = emit_for(e, &l, fours, hi, emit_index(e, 1), "weight");
	multiply(u, i, input, LLVMBuildZExt(e->b, stream(u, arg, BITS, i), e->index, ""));
	emit_end(e, &l);
}

/* Row `row` of the weights of `run`: its sums go to, and unless `fresh` come from, vectors `to` of the sums. */
static void emit_row(Sparse *u, LLVMValueRef run, LLVMValueRef row, LLVMValueRef to, bool fresh)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int sums = sparse_registers(c) * c->sparse.group;
	LLVMValueRef entry = add(e, muln(e, run, sparse_run_rows(c)), row), lo, hi, input;

	input = vector_at(u, u->copy, muln(e, run, sparse_run(c) * sparse_plane(c)));
	lo = LLVMBuildZExt(e->b, stream(u, c->sparse.n_arg, 32, entry), e->index, "");
	hi = LLVMBuildZExt(e->b, stream(u, c->sparse.n_arg, 32, addc(e, entry, 1)), e->index, "");
	for (int p = 0; p < sums; p++)
		LLVMBuildStore(e->b, fresh ? LLVMConstNull(u->t.vec) : load_vector(u, u->t.vec, u->sums, addc(e, to, p)), u->t.acc[p]);
	multiply_all(u, lo, hi, input);
	for (int p = 0; p < sums; p++)
		LLVMBuildStore(e->b, LLVMBuildLoad2(e->b, u->t.vec, u->t.acc[p], ""), vector_at(u, u->sums, addc(e, to, p)));
}

/* Rows [lo, hi) of a run, sums of the first one from vector 0 on. */
static void emit_rows(Sparse *u, LLVMValueRef run, LLVMValueRef lo, LLVMValueRef hi, bool fresh)
{
	Emit *e = u->t.e;
	EmitLoop l;
	LLVMValueRef row = emit_for(e, &l, lo, hi, emit_index(e, 1), "row");

	emit_row(u, run, row, muln(e, LLVMBuildNSWSub(e->b, row, lo, ""), (int64_t)sparse_registers(u->t.c) * u->t.c->sparse.group), fresh);
	emit_end(e, &l);
}

/* -- the epilogue ---------------------------------------------------------------------------------------- */

/* Is it known, when code is made, that every lane of a tile is an output? */
static bool all_down(const KContract *c)
{
	return mlo_contract_by_columns(c) || c->ny % c->y_chunk == 0;
}

static bool all_across(const KContract *c)
{
	return mlo_contract_by_columns(c) ? c->nx >= 0 && c->nx % c->y_chunk == 0 : c->nx == (int64_t)c->sparse.spread * c->cols;
}

/* The epilogue at (y, x), if that is an output, of sums v. */
static void output(Sparse *u, LLVMValueRef y, LLVMValueRef x, LLVMValueRef v)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	LLVMBasicBlockRef there = NULL, next = NULL;
	LLVMValueRef in_y = LLVMBuildICmp(e->b, LLVMIntSLT, y, num(e, c->ny), "");
	LLVMValueRef in_x = LLVMBuildICmp(e->b, LLVMIntSLT, x, num(e, c->nx), "");

	if (!all_down(c) || !all_across(c)) {
		there = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "output");
		next = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "next");
		LLVMBuildCondBr(e->b, all_down(c) ? in_x : all_across(c) ? in_y : LLVMBuildAnd(e->b, in_y, in_x, ""), there, next);
		LLVMPositionBuilderAtEnd(e->b, there);
	}
	u->t.y = y;
	if (u->start)
		v = LLVMBuildAdd(e->b, v, u->start, "");
	contract_output(&u->t, x, 0, v, c->nc % c->lanes ? -1 : c->lanes);
	if (next) {
		LLVMBuildBr(e->b, next);
		LLVMPositionBuilderAtEnd(e->b, next);
	}
}

/* The lanes of a register at (y, x) of the first tile, whose channels are r: one after the other. */
static void outputs(Sparse *u, LLVMValueRef y, LLVMValueRef x, const LLVMValueRef *r)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;

	for (int i = 0; i < sparse_down(c) * c->sparse.spread; i++)
		output(u, addc(e, y, (int64_t)(i / c->sparse.spread) * c->rows), addc(e, x, (int64_t)(i % c->sparse.spread) * c->cols), r[i]);
}

/* The same for epilogues of much code, by a loop. */
static void looped_outputs(Sparse *u, LLVMValueRef y, LLVMValueRef x, const LLVMValueRef *r)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	LLVMValueRef down, across, i;
	EmitLoop ly, lx;

	for (int l = 0; l < c->lanes; l++)
		LLVMBuildStore(e->b, r[l], vector_at(u, u->turned, emit_index(e, l)));
	down = emit_for(e, &ly, emit_index(e, 0), emit_index(e, sparse_down(c)), emit_index(e, 1), "down");
	across = emit_for(e, &lx, emit_index(e, 0), emit_index(e, c->sparse.spread), emit_index(e, 1), "across");
	i = add(e, muln(e, down, c->sparse.spread), across);
	output(u, add(e, y, muln(e, down, c->rows)), add(e, x, muln(e, across, c->cols)), load_vector(u, u->t.vec, u->turned, i));
	emit_end(e, &lx);
	emit_end(e, &ly);
}

/* Channel tile ct, whose sums begin at vector `from`. */
static void finish(Sparse *u, LLVMValueRef ct, LLVMValueRef from)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	LLVMValueRef r[MAX_LANES], p, y, x;
	EmitLoop l;

	u->t.ct = ct;
	u->t.c_first = muln(e, ct, c->lanes);
	contract_start_inside(&u->t, &u->start);
	p = emit_for(e, &l, emit_index(e, 0), emit_index(e, sparse_registers(c)), emit_index(e, 1), "register");
	for (int i = 0; i < c->lanes; i++)
		r[i] = load_vector(u, u->t.vec, u->sums, addc(e, add(e, from, p), (int64_t)i * sparse_registers(c)));
	emit_transpose(e, r, c->lanes, 4);
	y = add(e, u->task.y0, divc(e, p, c->cols));
	x = add(e, u->task.x0, remc(e, p, c->cols));
	if (contract_heavy_epilogue(e->k, u->t.s))
		looped_outputs(u, y, x, r);
	else
		outputs(u, y, x, r);
	emit_end(e, &l);
}

static void emit_channels(Sparse *u)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	LLVMValueRef lo = u->task.ct_lo, hi = u->task.ct_hi, zero = emit_index(e, 0), ct, run, first;
	int64_t rows = c->lanes / c->sparse.group; /* of a channel tile */
	EmitLoop l;

	if (c->sparse.runs > 1) {
		first = muln(e, lo, rows);
		emit_rows(u, zero, first, muln(e, hi, rows), true);
		run = emit_for(e, &l, emit_index(e, 1), emit_index(e, c->sparse.runs), emit_index(e, 1), "run");
		emit_rows(u, run, first, muln(e, hi, rows), false);
		emit_end(e, &l);
	}
	ct = emit_for(e, &l, lo, hi, emit_index(e, 1), "channels");
	first = muln(e, ct, rows);
	if (c->sparse.runs == 1)
		emit_rows(u, zero, first, addc(e, first, rows), true);
	finish(u, ct, c->sparse.runs == 1 ? zero : muln(e, LLVMBuildNSWSub(e->b, ct, lo, ""), (int64_t)c->lanes * sparse_registers(c)));
	emit_end(e, &l);
}

/* -- tasks ------------------------------------------------------------------------------------------------- */

/* The zero point in all bytes, or 0. */
static LLVMValueRef pad_value(const Sparse *u)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	LLVMTypeRef i8 = LLVMInt8TypeInContext(e->ctx);
	LLVMValueRef z = LLVMConstInt(i8, (unsigned long long)c->zero.at, 1);

	if (c->dot == 1)
		return LLVMConstNull(u->word);
	if (c->zero.given)
		z = LLVMBuildLoad2(e->b, i8, e->arg[c->zero.z_arg], "");
	if (c->a.flip)
		z = LLVMBuildXor(e->b, z, LLVMConstInt(i8, 0x80, 0), "");
	return LLVMBuildBitCast(e->b, emit_splat(e, z, 4 * c->lanes), u->word, "");
}

/* Does any output read outside of the image?  Along an axis that is counted when the kernel runs, none does. */
static bool has_pads(const KContract *c)
{
	return c->py > 0 || c->px > 0 || (c->ny - 1) * c->sy + (c->nky - 1) * c->dy >= c->in_y + c->py ||
	       (c->nx >= 0 && (c->nx - 1) * c->sx + (c->nkx - 1) * c->dx >= c->in_x + c->px);
}

void emit_sparse(Emit *e, const KStmt *s)
{
	const KContract *c = s->contract;
	Sparse u = {.t = {.e = e, .s = s, .c = c, .wtile = c->lanes, .rows = 1, .ways = 1}};
	LLVMValueRef acc[MAX_LANES];
	EmitLoop task, once;

	MLO_ASSERT(c->lanes <= MAX_LANES && sparse_registers(c) * c->sparse.group <= MAX_LANES && c->sparse.group <= MAX_GROUP);
	u.word = LLVMVectorType(LLVMInt32TypeInContext(e->ctx), (unsigned)c->lanes);
	u.t.sum = emit_type(e, mlo_contract_sum(c));
	u.t.vec = LLVMVectorType(u.t.sum, (unsigned)c->lanes);
	u.t.acc = acc;
	for (int i = 0; i < sparse_registers(c) * c->sparse.group; i++)
		acc[i] = emit_alloca(e, u.t.vec, "");
	u.place = emit_alloca(e, e->index, "place");
	u.copy = e->arg[c->w_arg];
	u.sums = vector_at(&u, u.copy, emit_index(e, sparse_copy_vectors(c)));
	u.turned = vector_at(&u, u.sums, emit_index(e, sparse_sum_vectors(c)));
	contract_zero_point(&u.t);
	u.pad = has_pads(c) ? pad_value(&u) : NULL;
	contract_task(&u.t, emit_for(e, &task, e->begin, e->end, emit_index(e, 1), "task"), &u.task);
	emit_for(e, &once, emit_index(e, 0), u.task.anew, emit_index(e, 1), "anew");
	copy_input(&u);
	emit_end(e, &once);
	emit_channels(&u);
	emit_end(e, &task);
}
