/* codegen/emit_matrix.c -- contractions on a matrix unit (codegen/matrix.h says where things lie).
 *
 * A task copies its input, then makes its channel tiles, one after the other, from it: per tile, rows x vecs registers of sums
 * stay in the unit over the whole reduction, each step of which loads `rows` registers of A and `vecs` of B for
 * rows * vecs products (Intel, optimization manual, chapter on AMX).  Positions behind the end of a line, and those of joined
 * lines that are no outputs, are computed and left out by the epilogue: a row of sums depends on its own row of A alone. */
#include "codegen/emit_contract.h"
#include "codegen/matrix.h"

typedef struct Unit {
	Tile t;                     /* what starts and epilogues go by */
	const MloMatrix *m;
	LLVMTypeRef i8;
	LLVMValueRef copy, sums;    /* in the scratch memory */
	ContractTask task;
	LLVMValueRef pad;           /* <64 x i8> */
	LLVMValueRef start[8];
} Unit;

/* Bytes of zeros or pads that are stored at once. */
enum { PIECE = 64, UNROLLED = 4 };

static LLVMValueRef sub(Emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildNSWSub(e->b, a, b, "");
}

static LLVMValueRef byte_at(const Unit *u, LLVMValueRef base, LLVMValueRef off)
{
	return LLVMBuildInBoundsGEP2(u->t.e->b, u->i8, base, &off, 1, "");
}

static LLVMTypeRef bytes_type(const Unit *u, int64_t n)
{
	return LLVMVectorType(u->i8, (unsigned)n);
}

/* -- registers --------------------------------------------------------------------------------------- */

static LLVMValueRef sum_register(const Unit *u, int i, int j)
{
	return LLVMConstInt(u->i8, (unsigned)(i * u->t.c->vecs + j), 0);
}

static LLVMValueRef a_register(const Unit *u, int i)
{
	return LLVMConstInt(u->i8, (unsigned)(u->t.c->rows * u->t.c->vecs + i), 0);
}

static LLVMValueRef b_register(const Unit *u, int j)
{
	return LLVMConstInt(u->i8, (unsigned)(u->t.c->rows * u->t.c->vecs + u->t.c->rows + j), 0);
}

static void instruct(const Unit *u, const char *name, LLVMValueRef *args, unsigned n)
{
	emit_intrinsic(u->t.e, name, NULL, 0, args, n);
}

/* The shapes of all registers, once for all tasks: sums cols x lanes, A cols x depth, B depth x lanes. */
static void configure(const Unit *u)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int sums = c->rows * c->vecs, all = sums + c->rows + c->vecs;
	uint8_t form[PIECE] = {1};
	LLVMValueRef byte[PIECE], at = emit_alloca(e, bytes_type(u, PIECE), "form");

	MLO_ASSERT(all <= u->m->registers && c->cols <= u->m->rows && c->depth <= u->m->rows &&
	           c->lanes * MATRIX_LANE == u->m->row_bytes && u->m->row_bytes <= UINT8_MAX);
	for (int i = 0; i < all; i++) {
		bool a = i >= sums && i < sums + c->rows;

		form[16 + 2 * i] = (uint8_t)(a ? c->depth * MATRIX_LANE : u->m->row_bytes);
		form[48 + i] = (uint8_t)(i < sums + c->rows ? c->cols : c->depth);
	}
	for (int i = 0; i < PIECE; i++)
		byte[i] = LLVMConstInt(u->i8, form[i], 0);
	LLVMBuildStore(e->b, LLVMConstVector(byte, PIECE), at);
	instruct(u, u->m->config, &at, 1);
}

/* -- the copy ---------------------------------------------------------------------------------------- */

/* `n` bytes to `to`: those at `from`, or without it, of the value, which repeats. */
static void move_piece(const Unit *u, LLVMValueRef to, LLVMValueRef from, LLVMValueRef value, int64_t n)
{
	Emit *e = u->t.e;
	LLVMTypeRef type = bytes_type(u, n), i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef v;

	if (from) {
		v = LLVMBuildLoad2(e->b, type, from, "");
		LLVMSetAlignment(v, 1);
	} else {
		v = LLVMBuildShuffleVector(e->b, value, value, emit_iota(e, i32, (int)n, 1), "");
	}
	LLVMSetAlignment(LLVMBuildStore(e->b, v, to), 1);
}

/* The same for any number of bytes. */
static void move(const Unit *u, LLVMValueRef to, LLVMValueRef from, LLVMValueRef value, int64_t n)
{
	Emit *e = u->t.e;
	int64_t done = 0;
	EmitLoop l;

	if (n > UNROLLED * PIECE) {
		LLVMValueRef at = emit_for(e, &l, emit_index(e, 0), emit_index(e, n / PIECE * PIECE), emit_index(e, PIECE), "byte");

		move_piece(u, byte_at(u, to, at), from ? byte_at(u, from, at) : NULL, value, PIECE);
		emit_end(e, &l);
		done = n / PIECE * PIECE;
	}
	for (int64_t piece = PIECE; piece > 0; piece /= 2)
		for (; n - done >= piece; done += piece)
			move_piece(u, byte_at(u, to, emit_index(e, done)), from ? byte_at(u, from, emit_index(e, done)) : NULL, value,
			           piece);
}

/* Channel blocks [first, first + n) of a pixel, `size` elements of each: from and to are those of block 0. */
static void copy_blocks(const Unit *u, LLVMValueRef to, LLVMValueRef from, LLVMValueRef first, int n, int64_t size)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int64_t bytes = mlo_elem_bits(c->a.elem) / 8, block = c->a.block * bytes;

	for (int i = 0; i < n; i++) {
		LLVMValueRef b = addc(e, first, i);

		move(u, byte_at(u, to, muln(e, b, block)), byte_at(u, from, muln(e, b, c->a.blk * bytes)), NULL, size * bytes);
	}
}

/* n pixels that lie side by side, from element a_off of A on. */
static void copy_pixels(const Unit *u, LLVMValueRef to, LLVMValueRef a_off, LLVMValueRef n)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int64_t bytes = mlo_elem_bits(c->a.elem) / 8, step = contract_copy_from_x(c) * c->a.x * bytes, block = c->a.block;
	int64_t whole = c->nk / block, rest = c->nk % block, empty = matrix_filled(c) - c->nk * bytes;
	int64_t some = block * bytes < PIECE ? PIECE / (block * bytes) : 1; /* blocks that fill a line of the cache */
	LLVMValueRef from = contract_element(&u->t, c->a_arg, c->a.elem, a_off), g, q;
	EmitLoop lg, lq;

	if (whole >= some) {
		g = emit_for(e, &lg, emit_index(e, 0), emit_index(e, whole / some * some), emit_index(e, some), "block");
		q = emit_for(e, &lq, emit_index(e, 0), n, emit_index(e, 1), "pixel");
		copy_blocks(u, byte_at(u, to, muln(e, q, matrix_pixel(c))), byte_at(u, from, muln(e, q, step)), g, (int)some, block);
		emit_end(e, &lq);
		emit_end(e, &lg);
	}
	if (whole % some == 0 && rest == 0 && empty == 0)
		return;
	q = emit_for(e, &lq, emit_index(e, 0), n, emit_index(e, 1), "pixel");
	to = byte_at(u, to, muln(e, q, matrix_pixel(c)));
	from = byte_at(u, from, muln(e, q, step));
	copy_blocks(u, to, from, emit_index(e, whole / some * some), (int)(whole % some), block);
	copy_blocks(u, to, from, emit_index(e, whole), rest > 0, rest);
	move(u, byte_at(u, to, emit_index(e, c->nk * bytes)), NULL, LLVMConstNull(bytes_type(u, PIECE)), empty);
	emit_end(e, &lq);
}

/* Row iy of the image, with pads on both sides. */
static void copy_row(const Unit *u, LLVMValueRef to, LLVMValueRef iy)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int64_t by = contract_copy_from_x(c), width = matrix_width(c), lo = (c->px + by - 1) / by, hi = (c->in_x + c->px + by - 1) / by;
	LLVMValueRef row = add(e, u->t.a0, muln(e, iy, c->a.y));

	if (mlo_contract_by_columns(c)) {
		copy_pixels(u, to, add(e, row, muln(e, muln(e, u->task.x0, c->sx), c->a.x)), u->task.nx);
		return;
	}
	lo = lo < width ? lo : width;
	hi = hi < width ? hi : width;
	hi = hi < lo ? lo : hi;
	move(u, to, NULL, u->pad, lo * matrix_pixel(c));
	if (hi > lo)
		copy_pixels(u, byte_at(u, to, emit_index(e, lo * matrix_pixel(c))), addn(e, row, lo * by - c->px, c->a.x),
		            emit_index(e, hi - lo));
	move(u, byte_at(u, to, emit_index(e, hi * matrix_pixel(c))), NULL, u->pad, (width - hi) * matrix_pixel(c));
}

/* As copy_row, where the row may lie above or below the image. */
static void copy_any_row(Unit *u, LLVMValueRef to, LLVMValueRef iy)
{
	const KContract *c = u->t.c;
	ContractRow row;
	bool any = contract_row_begin(&u->t, iy, &row);

	copy_row(u, to, iy);
	if (!any)
		return;
	contract_row_else(&u->t, &row);
	move(u, to, NULL, u->pad, matrix_width(c) * matrix_pixel(c));
	contract_row_end(&u->t, &row);
}

static void copy_input(Unit *u)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	EmitLoop l;
	LLVMValueRef rows = addc(e, muln(e, u->task.ny, contract_copy_stride_y(c)), matrix_height(c, 0)), r, iy;

	r = emit_for(e, &l, emit_index(e, 0), rows, emit_index(e, 1), "row");
	iy = add(e, addc(e, muln(e, u->task.y0, c->sy), -c->py), muln(e, r, contract_copy_from_y(c)));
	copy_any_row(u, byte_at(u, u->copy, muln(e, r, matrix_width(c) * matrix_pixel(c))), iy);
	emit_end(e, &l);
}

/* The zero point in all bytes. */
static LLVMValueRef pad_value(const Unit *u)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	LLVMValueRef z = LLVMConstInt(u->i8, (unsigned long long)c->zero.at, 1);

	if (c->zero.given)
		z = LLVMBuildLoad2(e->b, u->i8, e->arg[c->zero.z_arg], "");
	return emit_splat(e, z, PIECE);
}

/* -- products ------------------------------------------------------------------------------------------ */

/* One product for each of n x vecs registers of sums; a, b: where the first rows of their operands lie. */
static void multiply(const Unit *u, int n, LLVMValueRef a, LLVMValueRef b)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	const char *name = c->a.elem == EL_bf16 ? u->m->bf16 : c->a.elem == EL_u8 ? u->m->u8s8 : u->m->s8s8;
	int64_t apart = contract_copy_stride_x(c) * matrix_pixel(c), vector = (int64_t)c->lanes * MATRIX_LANE;

	for (int j = 0; j < c->vecs; j++)
		instruct(u, u->m->load,
		         (LLVMValueRef[]){b_register(u, j), byte_at(u, b, emit_index(e, j * vector)), emit_index(e, c->vecs * vector)}, 3);
	for (int i = 0; i < n; i++) {
		instruct(u, u->m->load,
		         (LLVMValueRef[]){a_register(u, i), byte_at(u, a, emit_index(e, i * c->cols * apart)), emit_index(e, apart)}, 3);
		for (int j = 0; j < c->vecs; j++)
			instruct(u, name, (LLVMValueRef[]){sum_register(u, i, j), a_register(u, i), b_register(u, j)}, 3);
	}
}

/* A counter from 0 to n - 1; without a loop where that is only 0. */
static LLVMValueRef begin_count(Emit *e, EmitLoop *l, int64_t n, const char *name)
{
	return n == 1 ? emit_index(e, 0) : emit_for(e, l, emit_index(e, 0), emit_index(e, n), emit_index(e, 1), name);
}

static void end_count(Emit *e, EmitLoop *l, int64_t n)
{
	if (n > 1)
		emit_end(e, l);
}

/* All terms of n x vecs registers of sums.  a: the first tap of the first position. */
static void multiply_all(const Unit *u, int n, LLVMValueRef a)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int64_t nx = c->nkx / mlo_contract_run_taps(c), step = contract_step(c) * mlo_elem_bits(c->b.elem) / 8, pixel = matrix_pixel(c);
	LLVMValueRef b = contract_element(&u->t, c->b_arg, c->b.elem, u->t.b0), ky, kx, s;
	EmitLoop ly, lx, ls;

	ky = begin_count(e, &ly, c->nky, "ky");
	kx = begin_count(e, &lx, nx, "kx");
	a = byte_at(u, a, add(e, muln(e, ky, c->dy * matrix_width(c) * pixel), muln(e, kx, c->dx * pixel)));
	b = byte_at(u, b, muln(e, add(e, muln(e, ky, c->nkx), kx), mlo_contract_steps(c) * step));
	s = begin_count(e, &ls, matrix_run(c), "step");
	multiply(u, n, byte_at(u, a, muln(e, s, (int64_t)c->depth * MATRIX_LANE)), byte_at(u, b, muln(e, s, c->depth * step)));
	end_count(e, &ls, matrix_run(c));
	end_count(e, &lx, nx);
	end_count(e, &ly, c->nky);
}

/* -- the epilogue ---------------------------------------------------------------------------------------- */

/* At output (y, x) of the chunk, from row i of the sums. */
static void output(Unit *u, LLVMValueRef y, LLVMValueRef x, LLVMValueRef i)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int64_t vector = (int64_t)c->lanes * MATRIX_LANE;

	u->t.y = add(e, u->task.y0, y);
	for (int j = 0; j < c->vecs; j++) {
		LLVMValueRef at = byte_at(u, u->sums, addc(e, muln(e, i, c->vecs * vector), j * vector));
		LLVMValueRef v = LLVMBuildLoad2(e->b, u->t.vec, at, "");

		if (u->start[j])
			v = LLVMBuildAdd(e->b, v, u->start[j], "");
		contract_output(&u->t, add(e, u->task.x0, x), j, v, c->nc % u->t.wtile ? -1 : c->lanes);
	}
}

/* Positions [p0, p0 + n) of a line. */
static void outputs(Unit *u, LLVMValueRef line, LLVMValueRef p0, LLVMValueRef n)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	EmitLoop l;
	LLVMValueRef i = emit_for(e, &l, emit_index(e, 0), n, emit_index(e, 1), "position"), p = add(e, p0, i), x;
	LLVMBasicBlockRef there, join;

	if (matrix_joined(c)) {
		x = remc(e, p, matrix_pitch(c));
		there = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "output");
		join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "next");
		LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, x, u->task.nx, ""), there, join);
		LLVMPositionBuilderAtEnd(e->b, there);
		output(u, divc(e, p, matrix_pitch(c)), x, i);
		LLVMBuildBr(e->b, join);
		LLVMPositionBuilderAtEnd(e->b, join);
	} else {
		output(u, line, p, i);
	}
	emit_end(e, &l);
}

/* -- tiles ------------------------------------------------------------------------------------------------ */

/* n registers of positions from p0 on, of a line of so many. */
static void tile(Unit *u, int n, LLVMValueRef line, LLVMValueRef p0, LLVMValueRef positions)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int64_t vector = (int64_t)c->lanes * MATRIX_LANE, pixel = matrix_pixel(c);
	LLVMValueRef first = muln(e, line, contract_copy_stride_y(c) * matrix_width(c) * pixel), at, here;

	first = add(e, first, muln(e, p0, contract_copy_stride_x(c) * pixel));
	for (int i = 0; i < n; i++)
		for (int j = 0; j < c->vecs; j++)
			instruct(u, u->m->zero, (LLVMValueRef[]){sum_register(u, i, j)}, 1);
	multiply_all(u, n, byte_at(u, u->copy, first));
	for (int i = 0; i < n; i++)
		for (int j = 0; j < c->vecs; j++) {
			at = byte_at(u, u->sums, emit_index(e, ((int64_t)i * c->cols * c->vecs + j) * vector));
			instruct(u, u->m->store, (LLVMValueRef[]){sum_register(u, i, j), at, emit_index(e, c->vecs * vector)}, 3);
		}
	here = pick(e, LLVMIntSLT, sub(e, positions, p0), emit_index(e, n * c->cols));
	outputs(u, line, p0, here);
}

/* Whole tiles of a line, and what is left in single registers. */
static void emit_line(Unit *u, LLVMValueRef line, LLVMValueRef positions)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	int64_t size = (int64_t)c->rows * c->cols;
	LLVMValueRef whole = emit_index(e, 0);
	EmitLoop l;

	if (c->rows > 1) {
		whole = muln(e, divc(e, positions, size), size);
		tile(u, c->rows, line, emit_for(e, &l, emit_index(e, 0), whole, emit_index(e, size), "tile"), positions);
		emit_end(e, &l);
	}
	tile(u, 1, line, emit_for(e, &l, whole, positions, emit_index(e, c->cols), "tile"), positions);
	emit_end(e, &l);
}

static void emit_channel_tile(Unit *u, LLVMValueRef ct)
{
	const KContract *c = u->t.c;
	Emit *e = u->t.e;
	EmitLoop l;

	u->t.ct = ct;
	u->t.c_first = muln(e, ct, u->t.wtile);
	u->t.b0 = muln(e, ct, c->nky * c->nkx * mlo_contract_steps(c) * contract_step(c));
	contract_start_inside(&u->t, u->start);
	if (matrix_joined(c)) {
		emit_line(u, emit_index(e, 0), add(e, muln(e, addc(e, u->task.ny, -1), matrix_pitch(c)), u->task.nx));
		return;
	}
	emit_line(u, emit_for(e, &l, emit_index(e, 0), u->task.ny, emit_index(e, 1), "line"), u->task.nx);
	emit_end(e, &l);
}

/* -- tasks ------------------------------------------------------------------------------------------------- */

void emit_matrix(Emit *e, const KStmt *s)
{
	const KContract *c = s->contract;
	Unit u = {.m = e->t->matrix, .i8 = LLVMInt8TypeInContext(e->ctx),
	          .t = {.e = e, .s = s, .c = c, .wtile = (int64_t)c->vecs * c->lanes, .rows = 1, .ways = 1}};
	EmitLoop task, once, tiles;

	MLO_ASSERT(u.m && c->vecs <= 8);
	u.t.sum = emit_type(e, mlo_contract_sum(c));
	u.t.vec = LLVMVectorType(u.t.sum, (unsigned)c->lanes);
	u.copy = e->arg[c->w_arg];
	u.sums = byte_at(&u, u.copy, emit_index(e, matrix_copy_bytes(c)));
	configure(&u);
	contract_zero_point(&u.t);
	u.pad = pad_value(&u);
	contract_task(&u.t, emit_for(e, &task, e->begin, e->end, emit_index(e, 1), "task"), &u.task);
	emit_for(e, &once, emit_index(e, 0), u.task.anew, emit_index(e, 1), "anew");
	copy_input(&u);
	emit_end(e, &once);
	emit_channel_tile(&u, emit_for(e, &tiles, u.task.ct_lo, u.task.ct_hi, emit_index(e, 1), "tile"));
	emit_end(e, &tiles);
	emit_end(e, &task);
	instruct(&u, u.m->release, NULL, 0);
}
