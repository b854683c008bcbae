/* codegen/device_simt.c -- contractions of f32 on a GPU's multiply-add units.
 *
 * A thread has 8 x 8 sums, in quarters of 4 x 4 that lie half a tile apart, so that the threads of a warp read operands
 * that lie beside each other: 16 words from shared memory for 64 multiply-adds.  Of a stage, A lies term by term, rows
 * beside each other, a row of terms turned by which four it belongs to: threads that bring four terms of some rows then
 * write to different banks.  B lies as it is packed.  The next stage is read from global memory into registers before this
 * one is multiplied, and written to the other half of shared memory behind that. */
#include "codegen/device_tile.h"

enum { SUMS = 8, QUAD = 4, DEPTH = 8, MAX_PIECES = 32, REGISTERS = 160, LEAST_ROUNDS = 16, MOST_KEPT = 16 };

typedef struct Simt {
	DeviceTile t;
	int a_width, b_width;          /* elements of an access */
	bool down;                     /* threads go down the rows of A, not along the terms */
	int a_pieces, b_pieces;        /* accesses of a thread for a stage */
	DeviceRow row[MAX_PIECES];
	LLVMValueRef a_row[MAX_PIECES], a_term[MAX_PIECES]; /* in the tile */
	LLVMValueRef a[MAX_PIECES], b[MAX_PIECES];          /* allocas: what is on its way */
	LLVMValueRef sum[SUMS * SUMS];                      /* allocas */
} Simt;

static int64_t rounds_of(const DeviceTile *t)
{
	int64_t all = t->slices * DEPTH;

	return (t->terms + all - 1) / all;
}

static int stage_words(const DeviceTile *t)
{
	return (t->rows + t->columns) * DEPTH;
}

/* -- global memory to shared memory ------------------------------------------------------------------ */

/* The first row and term of piece j, down the rows: where the thread brings several terms of a row, what is known of that row is kept
 * once, for it takes as many registers as sums do. */
static void plan_down(Simt *s, int j)
{
	DeviceTile *t = &s->t;
	Emit *e = t->e;
	const int rows = t->rows > t->threads ? t->rows / t->threads : 1; /* of the thread */
	const int terms = t->threads > t->rows ? t->threads / t->rows : 1; /* of all threads at a time */

	if (j < rows) {
		s->a_row[j] = tile_addc(e, terms > 1 ? tile_rem(e, t->thread, t->rows) : t->thread, (int64_t)j * t->threads);
		s->row[j] = device_row(t, s->a_row[j]);
	} else {
		s->a_row[j] = s->a_row[j % rows];
		s->row[j] = s->row[j % rows];
	}
	s->a_term[j] = emit_index(e, (int64_t)j / rows * terms);
	if (terms > 1)
		s->a_term[j] = tile_add(e, tile_div(e, t->thread, t->rows), s->a_term[j]);
}

/* Which pieces of A the thread brings. */
static void plan_pieces(Simt *s)
{
	DeviceTile *t = &s->t;
	Emit *e = t->e;
	int along = DEPTH / s->a_width;

	for (int j = 0; j < s->a_pieces; j++) {
		LLVMValueRef i;

		if (s->down && (t->rows % t->threads == 0 || t->threads % t->rows == 0)) {
			plan_down(s, j);
			continue;
		}
		i = tile_addc(e, t->thread, (int64_t)j * t->threads);
		s->a_row[j] = s->down ? tile_rem(e, i, t->rows) : tile_div(e, i, along);
		s->a_term[j] = tile_mul(e, s->down ? tile_div(e, i, t->rows) : tile_rem(e, i, along), s->a_width);
		s->row[j] = device_row(t, s->a_row[j]);
	}
}

static LLVMValueRef below(Emit *e, LLVMValueRef i, int64_t n)
{
	return LLVMBuildICmp(e->b, LLVMIntSLT, i, emit_index(e, n), "");
}

/* Places of many pieces are found each time: to keep them takes more registers than there are. */
static void plan_again(Simt *s)
{
	LLVMValueRef thread = s->t.thread;

	if (s->a_pieces <= MOST_KEPT)
		return;
	s->t.thread = device_opaque(s->t.e, thread);
	plan_pieces(s);
	s->t.thread = thread;
}

/* Terms from `first` on, into registers; those behind the last one are 0. */
static void fetch(Simt *s, LLVMValueRef first)
{
	DeviceTile *t = &s->t;
	const KContract *c = t->c;
	Emit *e = t->e;

	plan_again(s);
	for (int j = 0; j < s->a_pieces; j++) {
		LLVMValueRef term = tile_add(e, first, s->a_term[j]), inside = below(e, term, t->terms), at, v;

		at = device_term(t, &s->row[j], term, &inside);
		v = device_load(t, c->a_arg, at, s->a_width, inside);
		LLVMBuildStore(e->b, v, s->a[j]);
	}
	for (int j = 0; j < s->b_pieces; j++) {
		LLVMValueRef i = tile_mul(e, tile_addc(e, t->thread, (int64_t)j * t->threads), s->b_width);
		LLVMValueRef term = tile_add(e, first, tile_div(e, i, t->columns)), column = tile_rem(e, i, t->columns), at;
		LLVMValueRef inside = below(e, term, t->terms);

		if (!c->b.packed && c->nc % t->columns)
			inside = LLVMBuildAnd(e->b, inside, below(e, tile_add(e, t->column, column), c->nc), "");
		at = tile_add(e, tile_mul(e, term, c->b.packed ? t->columns : c->b.k), column);
		LLVMBuildStore(e->b, device_load(t, c->b_arg, tile_add(e, t->b_at, at), s->b_width, inside), s->b[j]);
	}
}

/* The word of A's row at a term of the stage. */
static LLVMValueRef a_word(Simt *s, LLVMValueRef row, LLVMValueRef term)
{
	Emit *e = s->t.e;
	LLVMValueRef turn = tile_mul(e, tile_div(e, term, QUAD), DEVICE_WARP / (DEPTH / QUAD));

	return tile_add(e, tile_mul(e, term, s->t.rows), LLVMBuildXor(e->b, row, turn, ""));
}

static LLVMValueRef element_of(Emit *e, LLVMValueRef v, int i)
{
	return emit_lanes(v) ? LLVMBuildExtractElement(e->b, v, emit_index(e, i), "") : v;
}

/* What was fetched, to the stage whose words begin at `base`. */
static void put(Simt *s, LLVMValueRef base)
{
	DeviceTile *t = &s->t;
	Emit *e = t->e;
	LLVMValueRef b = tile_addc(e, base, (int64_t)t->rows * DEPTH), v, st;

	for (int j = 0; j < s->a_pieces; j++) {
		v = LLVMBuildLoad2(e->b, device_load_type(t, t->c->a_arg, s->a_width), s->a[j], "");
		for (int i = 0; i < s->a_width; i++) {
			LLVMValueRef at = a_word(s, s->a_row[j], tile_addc(e, s->a_term[j], i));

			LLVMBuildStore(e->b, element_of(e, v, i), device_word(e, tile_add(e, base, at)));
		}
	}
	for (int j = 0; j < s->b_pieces; j++) {
		LLVMValueRef i = tile_mul(e, tile_addc(e, t->thread, (int64_t)j * t->threads), s->b_width);

		v = LLVMBuildLoad2(e->b, device_load_type(t, t->c->b_arg, s->b_width), s->b[j], "");
		st = LLVMBuildStore(e->b, v, device_word(e, tile_add(e, b, i)));
		LLVMSetAlignment(st, 4 * (unsigned)s->b_width);
	}
}

/* -- products ---------------------------------------------------------------------------------------- */

/* Four words that lie beside each other. */
static void load_quad(Emit *e, LLVMValueRef at, LLVMValueRef *out)
{
	LLVMValueRef v = LLVMBuildLoad2(e->b, LLVMVectorType(LLVMFloatTypeInContext(e->ctx), QUAD), device_word(e, at), "");

	LLVMSetAlignment(v, 16);
	for (int i = 0; i < QUAD; i++)
		out[i] = element_of(e, v, i);
}

static void multiply(Simt *s, LLVMValueRef base)
{
	DeviceTile *t = &s->t;
	Emit *e = t->e;
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);
	int across = t->columns / SUMS;
	LLVMValueRef tx = tile_mul(e, tile_rem(e, t->thread, across), QUAD), ty = tile_mul(e, tile_div(e, t->thread, across), QUAD);
	LLVMValueRef a[SUMS], b[SUMS], b0 = tile_addc(e, base, (int64_t)t->rows * DEPTH);

	for (int k = 0; k < DEPTH; k++) {
		for (int h = 0; h < 2; h++) {
			LLVMValueRef row = tile_addc(e, ty, h * t->rows / 2), column = tile_addc(e, tx, h * t->columns / 2);

			load_quad(e, tile_add(e, base, a_word(s, row, emit_index(e, k))), a + h * QUAD);
			load_quad(e, tile_add(e, b0, tile_addc(e, column, (int64_t)k * t->columns)), b + h * QUAD);
		}
		for (int i = 0; i < SUMS * SUMS; i++) {
			LLVMValueRef sum = LLVMBuildLoad2(e->b, f32, s->sum[i], "");

			LLVMBuildStore(e->b, emit_fma(e, a[i / SUMS], b[i % SUMS], sum), s->sum[i]);
		}
	}
}

static void finish(Simt *s)
{
	DeviceTile *t = &s->t;
	Emit *e = t->e;
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);
	int across = t->columns / SUMS;
	LLVMValueRef tx = tile_mul(e, tile_rem(e, t->thread, across), QUAD), ty = tile_mul(e, tile_div(e, t->thread, across), QUAD);

	for (int h = 0; h < 2; h++) {
		for (int i = 0; i < QUAD * 2; i++) {
			int r = h * QUAD + i / 2;
			LLVMValueRef at = device_sum_at(t, t->slice, t->rows / 2, tile_addc(e, ty, i / 2), tile_addc(e, tx, i % 2 * t->columns / 2));
			LLVMValueRef v = LLVMGetPoison(LLVMVectorType(f32, QUAD));

			for (int k = 0; k < QUAD; k++) {
				LLVMValueRef sum = LLVMBuildLoad2(e->b, f32, s->sum[r * SUMS + i % 2 * QUAD + k], "");

				v = LLVMBuildInsertElement(e->b, v, sum, emit_index(e, k), "");
			}
			LLVMSetAlignment(LLVMBuildStore(e->b, v, device_word(e, at)), 16);
		}
		device_epilogue(t, h * t->rows / 2, t->rows / 2);
	}
	device_tile_finish(t, t->rows / 2);
}

/* -- the kernel -------------------------------------------------------------------------------------- */

static void one_tile(Simt *s)
{
	DeviceTile *t = &s->t;
	Emit *e = t->e;
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);
	int64_t all = t->slices * DEPTH, rounds = rounds_of(t) / t->parts, words = stage_words(t);
	LLVMValueRef round, own = tile_mul(e, t->slice, 2 * words), here, there, first = tile_mul(e, t->slice, DEPTH);
	EmitLoop l;

	plan_pieces(s);
	if (t->parts > 1)
		first = tile_add(e, first, tile_mul(e, t->part, rounds * all));
	for (int i = 0; i < SUMS * SUMS; i++)
		LLVMBuildStore(e->b, LLVMConstNull(f32), s->sum[i]);
	fetch(s, first);
	put(s, own);
	device_block_barrier(e);
	round = emit_for(e, &l, emit_index(e, 0), emit_index(e, rounds), emit_index(e, 1), "stage");
	here = tile_mul(e, LLVMBuildAnd(e->b, round, emit_index(e, 1), ""), words);
	there = LLVMBuildSub(e->b, emit_index(e, words), here, "");
	fetch(s, tile_add(e, first, tile_mul(e, tile_addc(e, round, 1), all)));
	multiply(s, tile_add(e, own, here));
	put(s, tile_add(e, own, there));
	device_block_barrier(e);
	emit_end(e, &l);
	finish(s);
}

static void begin(Simt *s)
{
	DeviceTile *t = &s->t;
	Emit *e = t->e;
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);

	s->a_pieces = t->rows * DEPTH / s->a_width / t->threads;
	s->b_pieces = t->columns * DEPTH / s->b_width / t->threads;
	MLO_ASSERT(s->a_pieces <= MAX_PIECES && s->b_pieces <= MAX_PIECES);
	for (int i = 0; i < SUMS * SUMS; i++)
		s->sum[i] = emit_alloca(e, f32, "sum");
	for (int j = 0; j < s->a_pieces; j++)
		s->a[j] = emit_alloca(e, device_load_type(t, t->c->a_arg, s->a_width), "a");
	for (int j = 0; j < s->b_pieces; j++)
		s->b[j] = emit_alloca(e, device_load_type(t, t->c->b_arg, s->b_width), "b");
}

/* Are the arguments that come from elsewhere where accesses of 16 bytes may begin? */
static LLVMValueRef aligned(Simt *s)
{
	Emit *e = s->t.e;
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);
	LLVMValueRef a = LLVMBuildPtrToInt(e->b, e->arg[s->t.c->a_arg], i64, ""), b;

	b = LLVMBuildPtrToInt(e->b, e->arg[s->t.c->b_arg], i64, "");
	if (s->b_width > 1)
		a = s->a_width > 1 ? LLVMBuildOr(e->b, a, b, "") : b;
	a = LLVMBuildAnd(e->b, a, emit_const_i(i64, 15), "");
	return LLVMBuildICmp(e->b, LLVMIntEQ, a, emit_const_i(i64, 0), "");
}

/* Rows of a tile: fewer where tiles of more would not fill the device. */
static int choose_rows(const MloKernel *k, const KContract *c, int columns)
{
	enum { MOST = 128, LEAST = 32, ENOUGH = 96 };
	int rows = MOST;

	while (rows > LEAST && rows * columns > SUMS * SUMS * DEVICE_WARP && device_tile_count(k, c, rows, columns) < ENOUGH)
		rows /= 2;
	return rows;
}

static bool b_adjacent(const KContract *c)
{
	return c->b.packed || (c->b.k >= 0 && c->b.b0 >= 0 && c->b.b1 >= 0 &&
	                       c->b.k % QUAD == 0 && c->b.b0 % QUAD == 0 && c->b.b1 % QUAD == 0 && c->nc % QUAD == 0);
}

bool device_simt(LLVMModuleRef m, const MloKernel *k, const MloTarget *target, const char *symbol, MloLaunch *launch)
{
	const KContract *c = k->body->contract;
	int columns = c->vecs * c->lanes, rows = choose_rows(k, c, columns), threads = rows * columns / (SUMS * SUMS);
	DeviceFrame f;
	Simt s = {.t = {.f = &f, .e = &f.e, .s = k->body, .c = c, .rows = rows, .columns = columns, .depth = DEPTH, .threads = threads}};
	LLVMValueRef ok;
	DeviceIf fast;
	EmitLoop l;

	if (columns % (2 * QUAD * 2) || columns > 128 || !device_tile_fits(c, columns) || mlo_contract_sum(c) != EL_f32 || c->scale.on)
		return false;
	s.t.terms = c->nky * c->nkx * c->nk;
	s.a_width = device_terms_adjacent(k, c, QUAD) ? QUAD : 1;
	s.b_width = b_adjacent(c) ? QUAD : 1;
	s.down = s.a_width == 1 && (c->a.k != 1 || c->nk == 1);
	s.t.slices = 1;
	s.t.parts = device_tile_parts(&s.t, k, target->gpu, rounds_of(&s.t), LEAST_ROUNDS);
	s.t.slices = device_tile_slices(&s.t, k, target->gpu, rounds_of(&s.t) / s.t.parts, 8 * (int64_t)stage_words(&s.t), REGISTERS);
	while (rounds_of(&s.t) % s.t.parts)
		s.t.slices /= 2;
	device_tile_kernel(&s.t, m, k, target, symbol);
	*launch = device_tile_launch(&s.t, k, 8 * (int64_t)stage_words(&s.t), (int64_t)rows / 2 * columns);
	begin(&s);
	ok = aligned(&s);
	device_if(&f.e, &fast, ok);
	device_tile_begin(&s.t, &l);
	one_tile(&s);
	device_tile_end(&s.t, &l);
	device_endif(&f.e, &fast);
	device_unaligned(&s.t, ok);
	device_end(&f, launch);
	return true;
}
