/* codegen/device_attention_simt.c -- attention in f32 on a GPU's multiply-add units.
 *
 * Threads stand in 8 rows of 16.  A thread has some queries that follow each other, every sixteenth key of a tile for their scores, and
 * columns of their results.  All operands are read four words at once, along the terms or keys: rows of keys are turned by their number,
 * so that the eight keys that a phase of such a load touches lie in different banks; what a row of threads reads of its queries is the
 * same for all of them.  Exponentials are written and read by half a warp alone. */
#include "codegen/device_attention.h"
#include "codegen/device_tile.h"

enum { ACROSS = 16, DOWN = 8, THREADS = ACROSS * DOWN, QUAD = 4, TURN = 8, WORD = 4 };
enum { MOST_QUERIES = 8, MOST_KEYS = 4, MOST_SUMS = 64 };

typedef struct Simt {
	DeviceAttention a;
	int queries, keys;         /* of a thread */
	int width, groups;         /* columns of a thread: groups of such that lie beside each other */
	int q_row, k_row, v_row;   /* words */
	int q_from, k_from, v_from, p_from, words; /* words of shared memory; the results take the place of all */
	LLVMValueRef tx, ty;
	LLVMValueRef sum[MOST_QUERIES * MOST_KEYS], out[MOST_SUMS];          /* allocas */
	AttentionRow row[MOST_QUERIES];
} Simt;

/* -- shape ------------------------------------------------------------------------------------------- */

/* Columns that a thread has side by side: many, unless that leaves more of them empty. */
static int width_of(int64_t nv)
{
	static const double cost[] = {[1] = 1.3, [2] = 1.1, [4] = 1};
	int best = 4;

	for (int w = 2; w; w /= 2)
		if (attention_up(nv, ACROSS * w) * cost[w] < attention_up(nv, ACROSS * best) * cost[best])
			best = w;
	return best;
}

static void shape(Simt *s, const KAttention *t)
{
	s->queries = t->rows / DOWN;
	s->keys = t->keys / ACROSS;
	s->width = width_of(t->nv);
	s->groups = attention_up(t->nv, ACROSS * s->width) / (ACROSS * s->width);
	s->q_row = attention_up(t->terms, QUAD);
	s->k_row = attention_up(t->terms, QUAD * TURN);
	s->v_row = attention_up(t->nv, QUAD);
	s->q_from = 0;
	s->k_from = t->rows * s->q_row;
	s->v_from = s->k_from + t->keys * s->k_row;
	s->p_from = s->v_from + t->keys * s->v_row;
	s->words = s->p_from + t->rows * t->keys + DOWN * ACROSS;
	if (s->words < t->rows * s->v_row)
		s->words = t->rows * s->v_row;
}

/* What a tile takes, for each of its queries: reads of shared memory against multiply-adds, and multiprocessors that have nothing to
 * do. */
static double cost_of(const MloGpu *gpu, int64_t batches, int64_t queries, const Simt *s)
{
	int rows = s->queries * DOWN;
	int64_t blocks = batches * ((queries + rows - 1) / rows);
	double reads = (s->queries + 2.0 * s->keys) / (s->queries * s->keys * QUAD);

	return (double)((blocks + gpu->sms - 1) / gpu->sms) * s->queries * (1 + WORD * reads);
}

bool attention_simt_schedule(const MloTarget *t, int64_t batches, int64_t queries, KAttention *a)
{
	double least = 0;
	Simt s = {0};

	a->rows = a->keys = 0;
	for (int q = 2; q <= MOST_QUERIES; q *= 2)
		for (int k = 1; k <= MOST_KEYS; k *= 2) {
			KAttention tried = *a;
			double cost;

			tried.rows = q * DOWN;
			tried.keys = k * ACROSS;
			shape(&s, &tried);
			cost = cost_of(t->gpu, batches, queries, &s);
			if (q * s.groups * s.width > MOST_SUMS || s.words * WORD > t->gpu->block_shared || (a->rows && cost > least))
				continue;
			least = cost;
			a->rows = tried.rows;
			a->keys = tried.keys;
		}
	return a->rows > 0;
}

/* -- places ------------------------------------------------------------------------------------------ */

static LLVMValueRef piece_at(const Simt *s, LLVMValueRef row, int stride, LLVMValueRef piece, int from)
{
	Emit *e = s->a.e;

	return tile_mul(e, tile_addc(e, tile_add(e, tile_mul(e, row, stride), tile_mul(e, piece, QUAD)), from), WORD);
}

static LLVMValueRef q_piece(const DeviceAttention *a, LLVMValueRef row, LLVMValueRef piece)
{
	const Simt *s = (const Simt *)a;

	return piece_at(s, row, s->q_row, piece, s->q_from);
}

static LLVMValueRef k_piece(const DeviceAttention *a, LLVMValueRef row, LLVMValueRef piece)
{
	const Simt *s = (const Simt *)a;
	Emit *e = a->e;

	piece = LLVMBuildXor(e->b, piece, LLVMBuildAnd(e->b, row, emit_index(e, TURN - 1), ""), "");
	return piece_at(s, row, s->k_row, piece, s->k_from);
}

static LLVMValueRef v_piece(const DeviceAttention *a, LLVMValueRef row, LLVMValueRef piece)
{
	const Simt *s = (const Simt *)a;

	return piece_at(s, row, s->v_row, piece, s->v_from);
}

static LLVMValueRef result_at(const DeviceAttention *a, LLVMValueRef row, LLVMValueRef column)
{
	return tile_add(a->e, tile_mul(a->e, row, ((const Simt *)a)->v_row), column);
}

/* -- products ---------------------------------------------------------------------------------------- */

/* n words that lie beside each other, so many behind `from`. */
static void load_words(Emit *e, LLVMValueRef from, int64_t behind, int n, LLVMValueRef *out)
{
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);
	LLVMValueRef v = LLVMBuildInBoundsGEP2(e->b, f32, from, (LLVMValueRef[]){emit_index(e, behind)}, 1, "");

	v = LLVMBuildLoad2(e->b, emit_vec(f32, n > 1 ? n : 0), v, "");
	LLVMSetAlignment(v, (unsigned)(n * WORD));
	for (int i = 0; i < n; i++)
		out[i] = n > 1 ? LLVMBuildExtractElement(e->b, v, emit_index(e, i), "") : v;
}

static LLVMValueRef get(Simt *s, LLVMValueRef from)
{
	return LLVMBuildLoad2(s->a.e->b, LLVMFloatTypeInContext(s->a.e->ctx), from, "");
}

static void clear(Simt *s, LLVMValueRef *v, int n)
{
	for (int i = 0; i < n; i++)
		LLVMBuildStore(s->a.e->b, emit_const_f(LLVMFloatTypeInContext(s->a.e->ctx), 0), v[i]);
}

static LLVMValueRef query_of(Simt *s, int i)
{
	return tile_addc(s->a.e, tile_mul(s->a.e, s->ty, s->queries), i);
}

static void multiply_keys(Simt *s)
{
	Emit *e = s->a.e;
	LLVMValueRef q[MOST_QUERIES][QUAD], k[MOST_KEYS][QUAD], p, at;
	EmitLoop l;

	clear(s, s->sum, s->queries * s->keys);
	p = emit_for(e, &l, emit_index(e, 0), emit_index(e, s->q_row / QUAD), emit_index(e, 1), "terms");
	at = device_word(e, tile_add(e, tile_mul(e, query_of(s, 0), s->q_row), tile_mul(e, p, QUAD)));
	for (int i = 0; i < s->queries; i++)
		load_words(e, at, s->q_from + i * s->q_row, QUAD, q[i]);
	at = LLVMBuildXor(e->b, p, LLVMBuildAnd(e->b, s->tx, emit_index(e, TURN - 1), ""), "");
	at = device_word(e, tile_add(e, tile_mul(e, s->tx, s->k_row), tile_mul(e, at, QUAD)));
	for (int j = 0; j < s->keys; j++)
		load_words(e, at, s->k_from + j * ACROSS * s->k_row, QUAD, k[j]);
	for (int c = 0; c < QUAD; c++)
		for (int i = 0; i < s->queries; i++)
			for (int j = 0; j < s->keys; j++) {
				LLVMValueRef sum = s->sum[i * s->keys + j];

				LLVMBuildStore(e->b, emit_fma(e, q[i][c], k[j][c], get(s, sum)), sum);
			}
	emit_end(e, &l);
}

/* Where exponentials of the thread's queries begin, a word: rows of threads lie in the other half of the banks by turns. */
static LLVMValueRef powers_at(Simt *s)
{
	return tile_mul(s->a.e, s->ty, s->queries * s->a.t->keys + ACROSS);
}

/* The thread's first column of a group: of those that are not there, the last ones. */
static LLVMValueRef column_of(Simt *s, int group)
{
	Emit *e = s->a.e;
	LLVMValueRef column = tile_addc(e, tile_mul(e, s->tx, s->width), (int64_t)group * ACROSS * s->width);
	LLVMValueRef last = emit_index(e, s->v_row - s->width);

	if ((group + 1) * ACROSS * s->width <= s->v_row)
		return column;
	return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, column, last, ""), column, last, "");
}

static void multiply_values(DeviceAttention *a)
{
	Simt *s = (Simt *)a;
	Emit *e = a->e;
	LLVMValueRef p[MOST_QUERIES][QUAD], v[QUAD], key, at;
	EmitLoop l;

	key = emit_for(e, &l, emit_index(e, 0), emit_index(e, s->a.t->keys), emit_index(e, QUAD), "keys");
	at = device_word(e, tile_add(e, powers_at(s), key));
	for (int i = 0; i < s->queries; i++)
		load_words(e, at, s->p_from + i * s->a.t->keys, QUAD, p[i]);
	for (int g = 0; g < s->groups; g++) {
		at = device_word(e, tile_add(e, tile_mul(e, key, s->v_row), column_of(s, g)));
		for (int c = 0; c < QUAD; c++) {
			load_words(e, at, s->v_from + c * s->v_row, s->width, v);
			for (int i = 0; i < s->queries * s->width; i++) {
				LLVMValueRef out = s->out[(i / s->width * s->groups + g) * s->width + i % s->width];

				LLVMBuildStore(e->b, emit_fma(e, p[i / s->width][c], v[i % s->width], get(s, out)), out);
			}
		}
	}
	emit_end(e, &l);
}

/* -- softmax ----------------------------------------------------------------------------------------- */

/* Scores of a query to exponentials in shared memory; what was summed up before is scaled. */
static void soften(Simt *s, int i)
{
	Emit *e = s->a.e;
	int columns = s->groups * s->width;
	LLVMValueRef v[MOST_KEYS], *score[MOST_KEYS], carry, at;

	for (int j = 0; j < s->keys; j++) {
		v[j] = get(s, s->sum[i * s->keys + j]);
		score[j] = &v[j];
	}
	carry = attention_soften(e, &s->row[i], score, s->keys, ACROSS);
	for (int j = 0; j < s->keys; j++) {
		at = tile_addc(e, tile_add(e, powers_at(s), s->tx), s->p_from + i * s->a.t->keys + j * ACROSS);
		LLVMBuildStore(e->b, v[j], device_word(e, at));
	}
	for (int c = i * columns; c < (i + 1) * columns; c++)
		LLVMBuildStore(e->b, LLVMBuildFMul(e->b, get(s, s->out[c]), carry, ""), s->out[c]);
}

static void take_scores(DeviceAttention *a, LLVMValueRef tile)
{
	Simt *s = (Simt *)a;
	Emit *e = a->e;
	LLVMValueRef v;

	multiply_keys(s);
	for (int i = 0; i < s->queries; i++)
		for (int j = 0; j < s->keys; j++) {
			LLVMValueRef sum = s->sum[i * s->keys + j];

			v = attention_score_of(a, get(s, sum), query_of(s, i), tile, tile_addc(e, s->tx, (int64_t)j * ACROSS));
			LLVMBuildStore(e->b, v, sum);
		}
	for (int i = 0; i < s->queries; i++)
		soften(s, i);
}

/* -- the kernel -------------------------------------------------------------------------------------- */

static void begin(DeviceAttention *a)
{
	Simt *s = (Simt *)a;

	clear(s, s->out, s->queries * s->groups * s->width);
	for (int i = 0; i < s->queries; i++)
		attention_row_clear(a->e, &s->row[i]);
}

static void finish(DeviceAttention *a)
{
	Simt *s = (Simt *)a;
	Emit *e = a->e;
	int columns = s->groups * s->width;
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);
	LLVMValueRef inverse[MOST_QUERIES], v, column;
	DeviceIf in;

	for (int i = 0; i < s->queries; i++)
		inverse[i] = attention_inverse(e, &s->row[i], ACROSS);
	for (int g = 0; g < s->groups; g++) {
		column = tile_addc(e, tile_mul(e, s->tx, s->width), (int64_t)g * ACROSS * s->width);
		device_if(e, &in, LLVMBuildICmp(e->b, LLVMIntSLT, column, emit_index(e, s->v_row), ""));
		for (int i = 0; i < s->queries; i++) {
			v = LLVMGetPoison(LLVMVectorType(f32, (unsigned)s->width));
			for (int w = 0; w < s->width; w++) {
				LLVMValueRef r = LLVMBuildFMul(e->b, get(s, s->out[i * columns + g * s->width + w]), inverse[i], "");

				v = LLVMBuildInsertElement(e->b, v, r, emit_index(e, w), "");
			}
			v = LLVMBuildStore(e->b, v, device_word(e, result_at(a, query_of(s, i), column)));
			LLVMSetAlignment(v, (unsigned)(s->width * WORD));
		}
		device_endif(e, &in);
	}
}

void attention_simt(LLVMModuleRef m, const KStmt *st, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch)
{
	Simt s = {.a = {.s = st, .t = st->attention}};
	LLVMTypeRef f32;

	shape(&s, st->attention);
	s.a.way = (AttentionWay){THREADS, s.words * WORD, {s.q_row / QUAD, s.q_row / QUAD, s.v_row / QUAD}, {q_piece, k_piece, v_piece},
	                         result_at, begin, take_scores, multiply_values, finish};
	attention_start(&s.a, m, k, t, symbol);
	f32 = LLVMFloatTypeInContext(s.a.e->ctx);
	s.tx = tile_rem(s.a.e, s.a.thread, ACROSS);
	s.ty = tile_div(s.a.e, s.a.thread, ACROSS);
	for (int i = 0; i < s.queries * s.keys; i++)
		s.sum[i] = emit_alloca(s.a.e, f32, "sum");
	for (int i = 0; i < s.queries * s.groups * s.width; i++)
		s.out[i] = emit_alloca(s.a.e, f32, "out");
	for (int i = 0; i < s.queries; i++)
		s.row[i] = attention_row_new(s.a.e);
	attention_run(&s.a, launch);
}
