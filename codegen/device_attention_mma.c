/* codegen/device_attention_mma.c -- attention on tensor cores: products of f16 or bf16, sums and all between the products in f32.
 *
 * A warp has 16 queries.  Fragments of them stay in registers, unless heads are wide, and so do those of the results; sums of a product with keys are, once they
 * are exponentials, fragments of the product with values (PTX ISA, m16n8k16: C and A lie alike), which need no shared memory.  Keys and
 * values lie there in rows of an odd number of pieces of 16 bytes, eight rows of which are in different banks; fragments of values are
 * read transposed. */
#include "codegen/device_attention.h"
#include "codegen/device_mma.h"
#include "codegen/device_tile.h"

enum { ROWS = 16, COLUMNS = 8, STEP = 16 /* terms of a product */, PIECE = 16 /* bytes */, PIECE_ELEMS = 8, MOST_WARPS = 4 };
enum { MOST_KEYS = 64, MOST_WIDE = 256, MOST_KEPT = 160, REGISTERS = 144, SUMS = 4, HALVES = 2, QUAD = 4 /* lanes that share a row */, WORD = 4 };

typedef struct Mma {
	DeviceAttention a;
	const MmaKind *kind;
	bool quarters;                  /* capability 7.5: products of half as many terms */
	bool kept;                      /* queries stay in registers, else they are read anew for each tile of keys */
	int terms, columns;             /* whole fragments */
	int q_row, k_row, v_row, o_row; /* bytes */
	int k_from, v_from, bytes;      /* queries come first; the results take the place of all */
	LLVMValueRef warp, lane, g, pair; /* row of a fragment, first of two columns */
	LLVMValueRef q[MOST_WIDE / STEP * SUMS];
	LLVMValueRef sum[MOST_KEYS / COLUMNS * SUMS];
	LLVMValueRef out[MOST_WIDE / COLUMNS * SUMS]; /* allocas */
	AttentionRow row[HALVES];
} Mma;

/* -- shape ------------------------------------------------------------------------------------------- */

static int row_bytes(int elems)
{
	return (elems / PIECE_ELEMS | 1) * PIECE;
}

static void shape(Mma *m, const KAttention *t)
{
	m->terms = attention_up(t->terms, STEP);
	m->columns = attention_up(t->nv, 2 * COLUMNS);
	m->q_row = m->k_row = row_bytes(m->terms);
	m->v_row = row_bytes(m->columns);
	m->o_row = (attention_up(t->nv, DEVICE_WARP) + COLUMNS) * WORD;
	m->k_from = t->rows * m->q_row;
	m->v_from = m->k_from + t->keys * m->k_row;
	m->bytes = m->v_from + t->keys * m->v_row;
	if (m->bytes < t->rows * m->o_row)
		m->bytes = t->rows * m->o_row;
	m->kept = m->terms <= MOST_KEPT;
}

/* Of fragments that a thread has. */
static int registers(const Mma *m, const KAttention *t)
{
	return m->columns / 2 + t->keys / 2 + (m->kept ? m->terms / 4 : 0);
}

bool attention_mma_schedule(const MloTarget *t, int64_t queries, MloElem word, KAttention *a)
{
	KAttention tried = *a;
	Mma m = {0};

	if ((word != EL_f16 && word != EL_bf16) || !mma_kind(t->gpu->capability, word, word) || a->terms > MOST_WIDE || a->nv > MOST_WIDE)
		return false;
	tried.word = word;
	tried.rows = ROWS;
	while (tried.rows < queries && tried.rows < ROWS * MOST_WARPS)
		tried.rows *= 2;
	for (; tried.rows >= ROWS; tried.rows /= 2)
		for (tried.keys = MOST_KEYS; tried.keys >= STEP; tried.keys /= 2) {
			shape(&m, &tried);
			if (registers(&m, &tried) > REGISTERS || m.bytes > t->gpu->block_shared)
				continue;
			*a = tried;
			return true;
		}
	return false;
}

/* -- places ------------------------------------------------------------------------------------------ */

static LLVMValueRef place_in(const Mma *m, LLVMValueRef row, int64_t stride, LLVMValueRef piece, int64_t from)
{
	Emit *e = m->a.e;

	return tile_addc(e, tile_add(e, tile_mul(e, row, stride), tile_mul(e, piece, PIECE)), from);
}

static LLVMValueRef q_piece(const DeviceAttention *a, LLVMValueRef row, LLVMValueRef piece)
{
	const Mma *m = (const Mma *)a;

	return place_in(m, row, m->q_row, piece, 0);
}

static LLVMValueRef k_piece(const DeviceAttention *a, LLVMValueRef row, LLVMValueRef piece)
{
	const Mma *m = (const Mma *)a;

	return place_in(m, row, m->k_row, piece, m->k_from);
}

static LLVMValueRef v_piece(const DeviceAttention *a, LLVMValueRef row, LLVMValueRef piece)
{
	const Mma *m = (const Mma *)a;

	return place_in(m, row, m->v_row, piece, m->v_from);
}

static LLVMValueRef result_at(const DeviceAttention *a, LLVMValueRef row, LLVMValueRef column)
{
	return tile_add(a->e, tile_mul(a->e, row, ((const Mma *)a)->o_row / WORD), column);
}

/* -- products ---------------------------------------------------------------------------------------- */

static LLVMValueRef as_operand(Mma *m, LLVMValueRef v)
{
	Emit *e = m->a.e;

	return m->kind->word == EL_f16 ? LLVMBuildBitCast(e->b, v, LLVMVectorType(LLVMHalfTypeInContext(e->ctx), 2), "") : v;
}

/* Four matrices of eight rows of 16 bytes: where those of each lane lie is `at`, and so many bytes behind. */
static void load_matrices(Mma *m, LLVMValueRef at, int64_t behind, bool turned, LLVMValueRef *out)
{
	static const char *const name[] = {"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16", "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.trans.b16"};
	Emit *e = m->a.e;
	LLVMValueRef p = LLVMBuildInBoundsGEP2(e->b, LLVMInt8TypeInContext(e->ctx), at, (LLVMValueRef[]){emit_index(e, behind)}, 1, ""), v;
	LLVMTypeRef over = LLVMTypeOf(p);

	v = emit_intrinsic(e, name[turned], &over, 1, &p, 1);
	for (unsigned i = 0; i < 4; i++)
		out[i] = as_operand(m, LLVMBuildExtractValue(e->b, v, i, ""));
}

static void multiply(Mma *m, LLVMValueRef *a, LLVMValueRef *b, LLVMValueRef *sum)
{
	if (!m->quarters) {
		device_product(m->a.e, m->kind->name, a, 4, b, 2, sum, SUMS);
		return;
	}
	for (int h = 0; h < 2; h++)
		device_product(m->a.e, m->kind->half, a + 2 * h, 2, b + h, 1, sum, SUMS);
}

/* Where a lane's row of 16 bytes lies: rows 0-7 and 8-15, then the next piece; swapped: pieces first. */
static LLVMValueRef matrix_at(Mma *m, LLVMValueRef row, int64_t stride, int64_t from, bool swapped)
{
	Emit *e = m->a.e;
	LLVMValueRef in = tile_rem(e, m->lane, 8), bit3 = tile_rem(e, tile_div(e, m->lane, 8), 2), bit4 = tile_div(e, m->lane, 16);

	row = tile_add(e, row, tile_add(e, in, tile_mul(e, swapped ? bit4 : bit3, 8)));
	return attention_byte(e, place_in(m, row, stride, swapped ? bit3 : bit4, from));
}

/* Fragments of terms [from, to). */
static void load_queries(Mma *m, int from, int to)
{
	LLVMValueRef at = matrix_at(m, tile_mul(m->a.e, m->warp, ROWS), m->q_row, 0, false);

	for (int k = from / STEP; k < to / STEP; k++)
		load_matrices(m, at, (int64_t)k * STEP * 2, false, m->q + 4 * k);
}

static void multiply_keys(Mma *m)
{
	Emit *e = m->a.e;
	LLVMValueRef at = matrix_at(m, emit_index(e, 0), m->k_row, m->k_from, true), b[4];
	int n = m->a.t->keys / COLUMNS;

	for (int i = 0; i < n * SUMS; i++)
		m->sum[i] = emit_const_f(LLVMFloatTypeInContext(e->ctx), 0);
	for (int k = 0; k < m->terms / STEP; k++) {
		if (!m->kept)
			load_queries(m, k * STEP, (k + 1) * STEP);
		for (int j = 0; j < n; j += 2) {
			load_matrices(m, at, (int64_t)j * COLUMNS * m->k_row + (int64_t)k * STEP * 2, false, b);
			multiply(m, m->q + 4 * k, b, m->sum + SUMS * j);
			multiply(m, m->q + 4 * k, b + 2, m->sum + SUMS * (j + 1));
		}
	}
}

/* Two exponentials that lie beside each other, in a word. */
static LLVMValueRef word_of(Mma *m, const LLVMValueRef *v)
{
	Emit *e = m->a.e;
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx), i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMTypeRef part = m->kind->word == EL_f16 ? LLVMHalfTypeInContext(e->ctx) : LLVMBFloatTypeInContext(e->ctx);
	LLVMValueRef two = LLVMGetPoison(LLVMVectorType(f32, 2));

	for (int i = 0; i < 2; i++)
		two = LLVMBuildInsertElement(e->b, two, v[i], emit_index(e, i), "");
	two = LLVMBuildBitCast(e->b, LLVMBuildFPTrunc(e->b, two, LLVMVectorType(part, 2), ""), i32, "");
	return as_operand(m, two);
}

static LLVMValueRef get(Mma *m, LLVMValueRef from)
{
	return LLVMBuildLoad2(m->a.e->b, LLVMFloatTypeInContext(m->a.e->ctx), from, "");
}

static void multiply_values(DeviceAttention *t)
{
	Mma *m = (Mma *)t;
	Emit *e = t->e;
	LLVMValueRef at = matrix_at(m, emit_index(e, 0), m->v_row, m->v_from, false), a[4], b[4], sum[2 * SUMS];

	for (int k = 0; k < m->a.t->keys / STEP; k++) {
		for (int i = 0; i < 4; i++)
			a[i] = word_of(m, m->sum + SUMS * (2 * k + i / 2) + 2 * (i % 2));
		for (int j = 0; j < m->columns / COLUMNS; j += 2) {
			load_matrices(m, at, (int64_t)k * STEP * m->v_row + (int64_t)j * PIECE, true, b);
			for (int i = 0; i < 2 * SUMS; i++)
				sum[i] = get(m, m->out[SUMS * j + i]);
			multiply(m, a, b, sum);
			multiply(m, a, b + 2, sum + SUMS);
			for (int i = 0; i < 2 * SUMS; i++)
				LLVMBuildStore(e->b, sum[i], m->out[SUMS * j + i]);
		}
	}
}

/* -- softmax ----------------------------------------------------------------------------------------- */

/* The rows of a fragment are rows g and g + 8: of half h the sums 2 * h and 2 * h + 1. */
static LLVMValueRef *sum_of(Mma *m, int h, int i)
{
	return &m->sum[i / 2 * SUMS + 2 * h + i % 2];
}

static void soften(Mma *m, int h)
{
	Emit *e = m->a.e;
	LLVMValueRef *score[MOST_KEYS / COLUMNS * 2], carry;
	int n = m->a.t->keys / COLUMNS * 2;

	for (int i = 0; i < n; i++)
		score[i] = sum_of(m, h, i);
	carry = attention_soften(e, &m->row[h], score, n, QUAD);
	for (int i = 0; i < m->columns / COLUMNS * 2; i++) {
		LLVMValueRef out = m->out[i / 2 * SUMS + 2 * h + i % 2];

		LLVMBuildStore(e->b, LLVMBuildFMul(e->b, get(m, out), carry, ""), out);
	}
}

static LLVMValueRef query_of(Mma *m, int h)
{
	Emit *e = m->a.e;

	return tile_addc(e, tile_add(e, tile_mul(e, m->warp, ROWS), m->g), (int64_t)h * ROWS / 2);
}

static void take_scores(DeviceAttention *a, LLVMValueRef tile)
{
	Mma *m = (Mma *)a;

	multiply_keys(m);
	for (int h = 0; h < HALVES; h++) {
		for (int i = 0; i < a->t->keys / COLUMNS * 2; i++) {
			LLVMValueRef *v = sum_of(m, h, i), key = tile_addc(a->e, m->pair, i / 2 * COLUMNS + i % 2);

			*v = attention_score_of(a, *v, query_of(m, h), tile, key);
		}
		soften(m, h);
	}
}

/* -- the kernel -------------------------------------------------------------------------------------- */

static void begin(DeviceAttention *a)
{
	Mma *m = (Mma *)a;

	if (m->kept)
		load_queries(m, 0, m->terms);
	for (int i = 0; i < m->columns / COLUMNS * SUMS; i++)
		LLVMBuildStore(a->e->b, emit_const_f(LLVMFloatTypeInContext(a->e->ctx), 0), m->out[i]);
	for (int h = 0; h < HALVES; h++)
		attention_row_clear(a->e, &m->row[h]);
}

static void finish(DeviceAttention *a)
{
	Mma *m = (Mma *)a;
	Emit *e = a->e;
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);

	for (int h = 0; h < HALVES; h++) {
		LLVMValueRef inverse = attention_inverse(e, &m->row[h], QUAD), row = query_of(m, h);

		for (int j = 0; j < m->columns / COLUMNS; j++) {
			LLVMValueRef two = LLVMGetPoison(LLVMVectorType(f32, 2)), to = result_at(a, row, tile_addc(e, m->pair, (int64_t)j * COLUMNS));

			for (int c = 0; c < 2; c++) {
				LLVMValueRef v = LLVMBuildFMul(e->b, get(m, m->out[j * SUMS + 2 * h + c]), inverse, "");

				two = LLVMBuildInsertElement(e->b, two, v, emit_index(e, c), "");
			}
			LLVMSetAlignment(LLVMBuildStore(e->b, two, device_word(e, to)), 2 * WORD);
		}
	}
}

void attention_mma(LLVMModuleRef module, const KStmt *s, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch)
{
	const KAttention *shaped = s->attention;
	Mma m = {.a = {.s = s, .t = shaped}, .kind = mma_kind(t->gpu->capability, shaped->word, shaped->word)};
	LLVMValueRef thread;
	LLVMTypeRef f32;
	Emit *e;

	shape(&m, shaped);
	m.quarters = t->gpu->capability < 80;
	m.a.way = (AttentionWay){shaped->rows / ROWS * DEVICE_WARP, m.bytes,
	                         {m.terms / PIECE_ELEMS, m.terms / PIECE_ELEMS, m.columns / PIECE_ELEMS}, {q_piece, k_piece, v_piece},
	                         result_at, begin, take_scores, multiply_values, finish};
	attention_start(&m.a, module, k, t, symbol);
	e = m.a.e;
	thread = m.a.thread;
	f32 = LLVMFloatTypeInContext(e->ctx);
	m.warp = tile_div(e, thread, DEVICE_WARP);
	m.lane = tile_rem(e, thread, DEVICE_WARP);
	m.g = tile_div(e, m.lane, QUAD);
	m.pair = tile_mul(e, tile_rem(e, m.lane, QUAD), 2);
	for (int i = 0; i < m.columns / COLUMNS * SUMS; i++)
		m.out[i] = emit_alloca(e, f32, "out");
	for (int h = 0; h < HALVES; h++)
		m.row[h] = attention_row_new(e);
	attention_run(&m.a, launch);
}
