/* codegen/device_attention.c -- attention on GPUs: which emitter, and what those share: copies to shared memory, scores, results. */
#include "codegen/device_attention.h"

#include <math.h>

#include "codegen/device_tile.h"

enum { PIECE = 16 /* bytes */, AHEAD = 8 /* of what is on its way to a thread */ };

/* What is brought to shared memory: n rows, of which the first `there` exist, the others become zeros. */
typedef struct Side {
	int arg;
	LLVMValueRef at, there;              /* at: element that the first row begins with */
	int64_t row, col;                    /* strides */
	int n, columns, pieces;
	AttentionPlace *place;
} Side;

/* -- shared memory ----------------------------------------------------------------------------------- */

LLVMValueRef attention_byte(Emit *e, LLVMValueRef at)
{
	return LLVMBuildInBoundsGEP2(e->b, LLVMInt8TypeInContext(e->ctx), device_dynamic_shared(e), &at, 1, "");
}

static MloElem element_of(const DeviceAttention *a, int arg)
{
	return a->e->k->arg.items[arg].elem;
}

static int elements(const DeviceAttention *a)
{
	return PIECE * 8 / (int)mlo_elem_bits(a->t->word);
}

static bool is_async(const DeviceAttention *a, AttentionSide side)
{
	return a->async && element_of(a, side == ATTENTION_K ? a->t->k_arg : a->t->v_arg) == a->t->word;
}

/* What was copied is there for all threads. */
static void wait_all(DeviceAttention *a)
{
	if (a->async)
		emit_intrinsic(a->e, "llvm.nvvm.cp.async.wait.all", NULL, 0, NULL, 0);
	device_block_barrier(a->e);
}

/* Where row `row` begins, one that exists. */
static LLVMValueRef row_at(DeviceAttention *a, const Side *s, LLVMValueRef row)
{
	Emit *e = a->e;
	LLVMValueRef last = tile_addc(e, s->there, -1);

	row = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, row, last, ""), row, last, "");
	return tile_add(e, s->at, tile_mul(e, row, s->row));
}

/* v, f32 or a vector of them, as what is multiplied. */
static LLVMValueRef as_words(DeviceAttention *a, LLVMValueRef v)
{
	Emit *e = a->e;
	MloElem w = a->t->word;

	if (w == EL_f32)
		return v;
	return LLVMBuildFPTrunc(e->b, v, emit_vec(w == EL_f16 ? LLVMHalfTypeInContext(e->ctx) : LLVMBFloatTypeInContext(e->ctx), emit_lanes(v)), "");
}

/* -- pieces ------------------------------------------------------------------------------------------ */

/* What a thread reads at once, 16 bytes or what becomes a piece: so many elements, */
static int read_elements(const DeviceAttention *a, const Side *s)
{
	int most = PIECE * 8 / (int)mlo_elem_bits(element_of(a, s->arg));

	return elements(a) < most ? elements(a) : most;
}

/* the first of which, and whether they exist. */
typedef struct Read {
	LLVMValueRef row, column, there;
} Read;

static Read read_of(DeviceAttention *a, const Side *s, LLVMValueRef i)
{
	Emit *e = a->e;
	int n = read_elements(a, s), width = s->pieces * elements(a);
	Read r = {.row = tile_div(e, i, width / n), .column = tile_mul(e, tile_rem(e, i, width / n), n)};

	r.there = LLVMBuildICmp(e->b, LLVMIntSLT, r.row, s->there, "");
	if (s->columns < width) {
		LLVMValueRef in = LLVMBuildICmp(e->b, LLVMIntSLT, r.column, emit_index(e, s->columns), "");

		r.there = LLVMBuildAnd(e->b, r.there, in, "");
	}
	return r;
}

static LLVMValueRef read_from(DeviceAttention *a, const Side *s, const Read *r)
{
	Emit *e = a->e;
	LLVMValueRef at = row_at(a, s, r->row), in = r->column;

	if (s->columns < s->pieces * elements(a))
		in = LLVMBuildSelect(e->b, r->there, in, emit_index(e, 0), "");
	at = tile_add(e, at, in);
	return LLVMBuildInBoundsGEP2(e->b, emit_mem_type(e, element_of(a, s->arg)), e->arg[s->arg], &at, 1, "");
}

/* Where an element of a row goes. */
static LLVMValueRef goes_to(DeviceAttention *a, const Side *s, LLVMValueRef row, LLVMValueRef column)
{
	Emit *e = a->e;
	LLVMValueRef at = s->place(a, row, tile_div(e, column, elements(a)));

	return attention_byte(e, tile_add(e, at, tile_mul(e, tile_rem(e, column, elements(a)), PIECE / elements(a))));
}

static void copy_pieces(DeviceAttention *a, const Side *s)
{
	Emit *e = a->e;
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef i, bytes;
	EmitLoop l;
	Read r;

	i = emit_for(e, &l, a->thread, emit_index(e, (int64_t)s->n * s->pieces), emit_index(e, a->way.threads), "piece");
	r = read_of(a, s, i);
	bytes = LLVMBuildSelect(e->b, r.there, emit_const_i(i32, PIECE), emit_const_i(i32, 0), "");
	device_copy_piece(e, goes_to(a, s, r.row, r.column), 0, read_from(a, s, &r), 0, bytes);
	emit_end(e, &l);
}

/* As it lies in shared memory. */
static LLVMValueRef load_read(DeviceAttention *a, const Side *s, const Read *r)
{
	Emit *e = a->e;
	MloElem elem = element_of(a, s->arg);
	unsigned n = (unsigned)read_elements(a, s);
	LLVMValueRef v = LLVMBuildLoad2(e->b, LLVMVectorType(emit_mem_type(e, elem), n), read_from(a, s, r), "");

	LLVMSetAlignment(v, n * mlo_elem_bits(elem) / 8);
	v = as_words(a, emit_from_memory(e, elem, v));
	return LLVMBuildSelect(e->b, r->there, v, LLVMConstNull(LLVMTypeOf(v)), "");
}

/* By way of registers: several are read before the first is written. */
static void load_pieces(DeviceAttention *a, const Side *s)
{
	Emit *e = a->e;
	int n = read_elements(a, s);
	int64_t total = (int64_t)s->n * s->pieces * elements(a) / n, each = (total + a->way.threads - 1) / a->way.threads;
	int64_t ahead = each < AHEAD ? each : AHEAD;
	bool maybe = total % (ahead * a->way.threads) != 0;
	LLVMValueRef base, v[AHEAD], i;
	Read r[AHEAD];
	DeviceIf in;
	EmitLoop l;

	base = emit_for(e, &l, a->thread, emit_index(e, total), emit_index(e, ahead * a->way.threads), "pieces");
	for (int j = 0; j < ahead; j++) {
		i = tile_addc(e, base, (int64_t)j * a->way.threads);
		if (j && maybe)
			i = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, i, emit_index(e, total), ""), i, base, "");
		r[j] = read_of(a, s, i);
		v[j] = load_read(a, s, &r[j]);
	}
	for (int j = 0; j < ahead; j++) {
		i = tile_addc(e, base, (int64_t)j * a->way.threads);
		if (j && maybe)
			device_if(e, &in, LLVMBuildICmp(e->b, LLVMIntSLT, i, emit_index(e, total), ""));
		LLVMSetAlignment(LLVMBuildStore(e->b, v[j], goes_to(a, s, r[j].row, r[j].column)), (unsigned)(n * PIECE / elements(a)));
		if (j && maybe)
			device_endif(e, &in);
	}
	emit_end(e, &l);
}

/* -- elements ---------------------------------------------------------------------------------------- */

/* One by one, of any strides: threads go along what lies beside each other. */
static void load_elements(DeviceAttention *a, const Side *s)
{
	Emit *e = a->e;
	int width = s->pieces * elements(a);
	bool down = s->col != 1;
	MloElem elem = element_of(a, s->arg);
	LLVMTypeRef mem = emit_mem_type(e, elem);
	LLVMValueRef i, row, column, at, in, v;
	EmitLoop l;

	i = emit_for(e, &l, a->thread, emit_index(e, (int64_t)s->n * width), emit_index(e, a->way.threads), "element");
	row = down ? tile_rem(e, i, s->n) : tile_div(e, i, width);
	column = down ? tile_div(e, i, s->n) : tile_rem(e, i, width);
	in = LLVMBuildICmp(e->b, LLVMIntSLT, row, s->there, "");
	in = LLVMBuildAnd(e->b, in, LLVMBuildICmp(e->b, LLVMIntSLT, column, emit_index(e, s->columns), ""), "");
	at = LLVMBuildSelect(e->b, in, tile_mul(e, column, s->col), emit_index(e, 0), "");
	at = tile_add(e, row_at(a, s, row), at);
	v = LLVMBuildLoad2(e->b, mem, LLVMBuildInBoundsGEP2(e->b, mem, e->arg[s->arg], &at, 1, ""), "");
	LLVMSetAlignment(v, mlo_elem_bits(elem) / 8);
	v = emit_from_memory(e, elem, v);
	v = as_words(a, LLVMBuildSelect(e->b, in, v, LLVMConstNull(LLVMTypeOf(v)), ""));
	LLVMSetAlignment(LLVMBuildStore(e->b, v, goes_to(a, s, row, column)), (unsigned)(PIECE / elements(a)));
	emit_end(e, &l);
}

/* Pieces, where each lies beside each other and, as the run finds out, where 16 bytes can be read at once. */
static void bring_side(DeviceAttention *a, const Side *s)
{
	Emit *e = a->e;
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);
	int n = read_elements(a, s);
	LLVMValueRef from, ok;
	DeviceIf i;

	if (s->col != 1 || s->row < 0 || s->row % n || s->columns % n) {
		load_elements(a, s);
		return;
	}
	from = LLVMBuildInBoundsGEP2(e->b, emit_mem_type(e, element_of(a, s->arg)), e->arg[s->arg], (LLVMValueRef[]){s->at}, 1, "");
	from = LLVMBuildAnd(e->b, LLVMBuildPtrToInt(e->b, from, i64, ""), emit_const_i(i64, PIECE - 1), "");
	ok = LLVMBuildICmp(e->b, LLVMIntEQ, from, emit_const_i(i64, 0), "");
	device_if(e, &i, ok);
	if (a->async && element_of(a, s->arg) == a->t->word)
		copy_pieces(a, s);
	else
		load_pieces(a, s);
	device_endif(e, &i);
	device_if(e, &i, LLVMBuildNot(e->b, ok, ""));
	load_elements(a, s);
	device_endif(e, &i);
}

/* Rows from row `from` of its matrix on. */
static void bring(DeviceAttention *a, AttentionSide side, LLVMValueRef from)
{
	const KAttention *t = a->t;
	Emit *e = a->e;
	Side s = {.arg = t->q_arg, .row = t->q.row, .col = t->q.col, .n = side == ATTENTION_Q ? t->rows : t->keys,
	          .columns = (int)(side == ATTENTION_V ? t->nv : t->terms), .pieces = a->way.pieces[side], .place = a->way.piece[side]};

	if (side == ATTENTION_K) {
		s.arg = t->k_arg;
		s.row = t->k.row;
		s.col = t->k.col;
	} else if (side == ATTENTION_V) {
		s.arg = t->v_arg;
		s.row = t->v.row;
		s.col = t->v.col;
	}
	s.at = tile_add(e, a->at[side], tile_mul(e, from, s.row));
	s.there = LLVMBuildNSWSub(e->b, side == ATTENTION_Q ? a->nq : a->nk, from, "");
	bring_side(a, &s);
}

/* -- scores and results ------------------------------------------------------------------------------ */

static LLVMValueRef at_most(Emit *e, LLVMValueRef i, LLVMValueRef n)
{
	LLVMValueRef last = tile_addc(e, n, -1);

	return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, i, last, ""), i, last, "");
}

LLVMValueRef attention_score_of(DeviceAttention *a, LLVMValueRef sum, LLVMValueRef query, LLVMValueRef tile, LLVMValueRef key)
{
	const KAttention *t = a->t;
	Emit *e = a->e;
	bool whole = t->nk > 0 && t->nk % t->keys == 0;
	LLVMValueRef v, in;

	query = tile_add(e, a->first, query);
	key = tile_add(e, tile, key);
	in = LLVMBuildICmp(e->b, LLVMIntSLT, key, a->nk, "");
	e->var[t->var[0]] = t->nq > 0 && t->nq % t->rows == 0 ? query : at_most(e, query, a->nq);
	e->var[t->var[1]] = whole ? key : at_most(e, key, a->nk);
	e->product = sum;
	emit_stmts(e, t->scores);
	v = e->val[t->score];
	return whole ? v : LLVMBuildSelect(e->b, in, v, emit_const_f(LLVMTypeOf(v), -INFINITY), "");
}

LLVMValueRef attention_larger(Emit *e, LLVMValueRef x, LLVMValueRef y)
{
	return LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, LLVMRealOLT, x, y, ""), y, x, "");
}

/* What a maximum of -inf is replaced by, so that differences to it are none of infinities. */
static LLVMValueRef base_of(Emit *e, LLVMValueRef most)
{
	LLVMTypeRef t = LLVMTypeOf(most);
	LLVMValueRef none = LLVMBuildFCmp(e->b, LLVMRealOEQ, most, emit_const_f(t, -INFINITY), "");

	return LLVMBuildSelect(e->b, none, emit_const_f(t, 0), most, "");
}

static LLVMValueRef power(Emit *e, LLVMValueRef x, LLVMValueRef base)
{
	return emit_vecmath(e, K_decay, LLVMBuildFSub(e->b, x, base, ""));
}

AttentionRow attention_row_new(Emit *e)
{
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);

	return (AttentionRow){emit_alloca(e, f32, "most"), emit_alloca(e, f32, "all")};
}

void attention_row_clear(Emit *e, const AttentionRow *r)
{
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);

	LLVMBuildStore(e->b, emit_const_f(f32, -INFINITY), r->most);
	LLVMBuildStore(e->b, emit_const_f(f32, 0), r->all);
}

LLVMValueRef attention_soften(Emit *e, const AttentionRow *r, LLVMValueRef **score, int n, int across)
{
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);
	LLVMValueRef old = LLVMBuildLoad2(e->b, f32, r->most, ""), most = old, base, carry, all;

	for (int i = 0; i < n; i++)
		most = attention_larger(e, most, *score[i]);
	for (int flip = across / 2; flip; flip /= 2)
		most = attention_larger(e, most, device_shuffle(e, most, flip));
	LLVMBuildStore(e->b, most, r->most);
	base = base_of(e, most);
	carry = power(e, old, base);
	all = LLVMBuildFMul(e->b, LLVMBuildLoad2(e->b, f32, r->all, ""), carry, "");
	for (int i = 0; i < n; i++) {
		*score[i] = power(e, *score[i], base);
		all = LLVMBuildFAdd(e->b, all, *score[i], "");
	}
	LLVMBuildStore(e->b, all, r->all);
	return carry;
}

LLVMValueRef attention_inverse(Emit *e, const AttentionRow *r, int across)
{
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);
	LLVMValueRef all = LLVMBuildLoad2(e->b, f32, r->all, "");

	for (int flip = across / 2; flip; flip /= 2)
		all = LLVMBuildFAdd(e->b, all, device_shuffle(e, all, flip), "");
	return LLVMBuildFDiv(e->b, emit_const_f(f32, 1), all, "");
}

/* The epilogue: neighbouring threads have columns that lie beside each other. */
static void store_results(DeviceAttention *a)
{
	const KAttention *t = a->t;
	Emit *e = a->e;
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);
	LLVMValueRef i, row, column, query;
	DeviceIf in;
	EmitLoop l;

	i = emit_for(e, &l, a->thread, emit_index(e, t->rows * t->nv), emit_index(e, a->way.threads), "result");
	row = tile_div(e, i, t->nv);
	column = tile_rem(e, i, t->nv);
	query = tile_add(e, a->first, row);
	device_if(e, &in, LLVMBuildICmp(e->b, LLVMIntSLT, query, a->nq, ""));
	e->var[t->var[0]] = query;
	e->var[t->var[2]] = column;
	e->product = LLVMBuildLoad2(e->b, f32, device_word(e, a->way.result(a, row, column)), "result");
	emit_stmts(e, a->s->body);
	device_endif(e, &in);
	emit_end(e, &l);
}

/* -- kernels ----------------------------------------------------------------------------------------- */

bool mlo_schedule_attention(const MloTarget *t, int64_t batches, int64_t queries, MloElem word, KAttention *a)
{
	a->word = EL_f32;
	return attention_mma_schedule(t, queries, word, a) || attention_simt_schedule(t, batches, queries, a);
}

/* Keys and values come while the others are multiplied, where copies are asynchronous. */
static void take_keys(DeviceAttention *a, LLVMValueRef tile, LLVMValueRef next)
{
	Emit *e = a->e;
	bool ahead = is_async(a, ATTENTION_K);
	LLVMValueRef members = a->f.team.members;
	DeviceIf more;

	if (ahead)
		wait_all(a);
	else
		device_block_barrier(e);
	if (!ahead)
		bring(a, ATTENTION_K, tile);
	bring(a, ATTENTION_V, tile);
	if (!ahead || !is_async(a, ATTENTION_V))
		wait_all(a);
	a->way.scores(a, tile);
	emit_intrinsic(e, "llvm.nvvm.bar.warp.sync", NULL, 0, &members, 1);
	if (ahead) {
		wait_all(a);
		device_if(e, &more, LLVMBuildICmp(e->b, LLVMIntSLT, next, a->nk, ""));
		bring(a, ATTENTION_K, next);
		device_endif(e, &more);
	}
	a->way.values(a);
}

/* The tile of a task, whose variables are bound. */
static void one_task(DeviceAttention *a)
{
	const KAttention *t = a->t;
	Emit *e = a->e;
	LLVMValueRef tile;
	EmitLoop l;

	a->nq = tile_num(e, t->nq);
	a->nk = tile_num(e, t->nk);
	a->first = emit_idx(e, t->first);
	a->at[ATTENTION_Q] = emit_idx(e, t->q_at);
	a->at[ATTENTION_K] = emit_idx(e, t->k_at);
	a->at[ATTENTION_V] = emit_idx(e, t->v_at);
	bring(a, ATTENTION_Q, a->first);
	if (is_async(a, ATTENTION_K))
		bring(a, ATTENTION_K, emit_index(e, 0));
	wait_all(a);
	a->way.begin(a);
	tile = emit_for(e, &l, emit_index(e, 0), a->nk, emit_index(e, t->keys), "tile");
	take_keys(a, tile, tile_addc(e, tile, t->keys));
	emit_end(e, &l);
	device_block_barrier(e);
	a->way.finish(a);
	device_block_barrier(e);
	store_results(a);
	device_block_barrier(e);
}

void attention_run(DeviceAttention *a, MloLaunch *launch)
{
	const KStmt *par[MLO_KERNEL_MAX_PAR];
	Emit *e = a->e;
	const MloKernel *k = e->k;
	LLVMValueRef task;
	EmitLoop l;
	int n;

	launch->threads = (uint32_t)a->way.threads;
	launch->shared_bytes = (uint32_t)a->way.shared_bytes;
	mlo_kernel_nest(k, par, MLO_KERNEL_MAX_PAR, &n);
	for (const KStmt *s = k->body; n && s->kind == KS_LET; s = s->next)
		e->val[s->value] = emit_value(e, &k->value.items[s->value]);
	task = emit_for(e, &l, device_special(e, "ctaid.x"), a->f.tasks, device_special(e, "nctaid.x"), "task");
	emit_bind_task(e, task, par, n);
	one_task(a);
	emit_end(e, &l);
	device_end(&a->f, launch);
}

void attention_start(DeviceAttention *a, LLVMModuleRef m, const MloKernel *k, const MloTarget *t, const char *symbol)
{
	enum { ASYNC_FROM = 80 };

	device_begin(&a->f, m, k, t, symbol);
	a->e = &a->f.e;
	device_team(&a->f, 1, a->way.threads);
	a->f.team.alone = true;
	a->f.team.members = emit_const_i(LLVMInt32TypeInContext(a->e->ctx), -1);
	a->thread = a->f.team.thread;
	a->async = t->gpu->capability >= ASYNC_FROM;
}

bool mlo_device_emit_attention(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch)
{
	const KStmt *par[MLO_KERNEL_MAX_PAR], *s = mlo_kernel_nest(k, par, MLO_KERNEL_MAX_PAR, &(int){0});

	if (!s || s->kind != KS_ATTENTION)
		return false;
	*launch = (MloLaunch){.tasks_per_block = 1, .blocks = (uint32_t)mlo_kernel_guess(k, k->ntasks)};
	if (s->attention->word == EL_f32)
		attention_simt(module, s, k, t, symbol, launch);
	else
		attention_mma(module, s, k, t, symbol, launch);
	return true;
}
