/* codegen/device_mma_stage.c -- contractions on tensor cores: stages of A and B on their way to shared memory. */
#include "codegen/device_mma_stage.h"

#include <stdio.h>

/* -- places in shared memory ------------------------------------------------------------------------- */

/* Piece `piece` of a row, in bytes. */
LLVMValueRef mma_piece_at(const Mma *m, LLVMValueRef row, LLVMValueRef piece)
{
	Emit *e = m->t.e;
	int pieces = m->words / PIECE_WORDS;
	LLVMValueRef turn = pieces == 8 ? row : LLVMBuildLShr(e->b, row, emit_index(e, 1), "");

	turn = LLVMBuildAnd(e->b, turn, emit_index(e, pieces - 1), "");
	piece = LLVMBuildXor(e->b, piece, turn, "");
	return tile_add(e, tile_mul(e, row, (int64_t)m->words * 4), tile_mul(e, piece, PIECE));
}
static LLVMValueRef tap_mask(Mma *m, const DeviceRow *r)
{
	const KContract *c = m->t.c;
	Emit *e = m->t.e;
	LLVMValueRef mask = word_const(m, 0), in, y;

	for (int64_t ky = 0; ky < c->nky; ky++) {
		y = LLVMBuildICmp(e->b, LLVMIntULT, tile_addc(e, r->y, ky * c->dy), tile_num(e, c->in_y), "");
		for (int64_t kx = 0; kx < c->nkx; kx++) {
			in = LLVMBuildICmp(e->b, LLVMIntULT, tile_addc(e, r->x, kx * c->dx), tile_num(e, c->in_x), "");
			in = LLVMBuildZExt(e->b, LLVMBuildAnd(e->b, in, y, ""), i32_type(m), "");
			mask = LLVMBuildOr(e->b, mask, LLVMBuildShl(e->b, in, word_const(m, ky * c->nkx + kx + PIECE_SHIFT), ""), "");
		}
	}
	return mask;
}

/* From the first channel to channel k of a group's, in elements, where that is the sum of this for a stage and for a piece of it. */
static LLVMValueRef channel_at(Mma *m, LLVMValueRef k)
{
	const KContract *c = m->t.c;
	Emit *e = m->t.e;

	if (!c->group_k && c->a.block >= c->nk)
		return k;
	return tile_add(e, tile_rem(e, k, c->a.block), tile_mul(e, tile_div(e, k, c->a.block), c->a.blk));
}

/* The rows of a thread's pieces lie so far apart that they are turned alike. */
void mma_plan_pieces(Mma *m)
{
	DeviceTile *t = &m->t;
	Emit *e = t->e;
	int along = m->words / PIECE_WORDS, step = t->threads / along;
	bool inside = t->c->nky * t->c->nkx == 1 && !t->c->py && !t->c->px;
	LLVMTypeRef mem = emit_mem_type(e, t->c->a.elem);
	LLVMValueRef row = tile_div(e, t->thread, along), k, at;

	m->q = tile_rem(e, t->thread, along);
	k = tile_mul(e, m->q, (int64_t)PIECE_WORDS * mma_word_elems(m->kind));
	k = tile_add(e, channel_at(m, k), channel_at(m, t->kk));
	for (int j = 0; j < m->a_pieces; j++) {
		m->row[j] = device_row(t, tile_addc(e, row, (int64_t)j * step));
		m->mask[j] = inside ? NULL : tap_mask(m, &m->row[j]);
		at = tile_add(e, m->row[j].at, k);
		m->from[j] = LLVMBuildGEP2(e->b, mem, e->arg[t->c->a_arg], &at, 1, "from");
	}
	m->a_step = m->b_step = step * m->words * 4;
	m->a_to = tile_add(e, m->own, mma_piece_at(m, row, m->q));
	m->b_to = tile_addc(e, m->a_to, a_bytes(m));
}

/* -- which terms ------------------------------------------------------------------------------------- */

static LLVMValueRef tap_offset(Mma *m, LLVMValueRef ky, LLVMValueRef kx)
{
	const KContract *c = m->t.c;
	Emit *e = m->t.e;

	return tile_add(e, tile_mul(e, tile_mul(e, ky, c->dy), c->a.y), tile_mul(e, tile_mul(e, kx, c->dx), c->a.x));
}

static Stage stage_of(Mma *m, LLVMValueRef number)
{
	const KContract *c = m->t.c;
	Emit *e = m->t.e;
	Stage s = {.number = number, .tap = emit_index(e, 0), .k = tile_mul(e, number, m->t.depth)};

	if (c->nky * c->nkx == 1) {
		s.off = channel_at(m, s.k);
		return s;
	}
	s.tap = tile_div(e, number, m->per_tap);
	s.k = tile_mul(e, tile_rem(e, number, m->per_tap), m->t.depth);
	s.off = tile_add(e, tap_offset(m, tile_div(e, s.tap, c->nkx), tile_rem(e, s.tap, c->nkx)), channel_at(m, s.k));
	return s;
}

bool mma_has_table(const Mma *m, int64_t room)
{
	return m->t.c->nky * m->t.c->nkx > 1 && m->all <= MOST_TABLE && m->all * TABLE_BYTES <= room &&
	       LLVMGetIntTypeWidth(m->t.e->index) == 32;
}

static LLVMValueRef table_at(Mma *m, LLVMValueRef number)
{
	return byte_at(m, tile_addc(m->t.e, tile_mul(m->t.e, number, TABLE_BYTES), m->table));
}

void mma_make_table(Mma *m)
{
	Emit *e = m->t.e;
	LLVMTypeRef entry = LLVMVectorType(i32_type(m), TABLE_BYTES / 4);
	LLVMValueRef v = LLVMGetUndef(entry);
	EmitLoop l;
	Stage s;

	s = stage_of(m, emit_for(e, &l, m->t.f->team.thread, emit_index(e, m->all), emit_index(e, m->t.f->team.threads), "entry"));
	v = LLVMBuildInsertElement(e->b, v, s.off, emit_index(e, 0), "");
	v = LLVMBuildInsertElement(e->b, v, s.tap, emit_index(e, 1), "");
	v = LLVMBuildInsertElement(e->b, v, s.k, emit_index(e, 2), "");
	LLVMSetAlignment(LLVMBuildStore(e->b, v, table_at(m, s.number)), TABLE_BYTES);
	emit_end(e, &l);
	device_block_barrier(e);
}

Stage mma_stage(Mma *m, LLVMValueRef number)
{
	Emit *e = m->t.e;
	LLVMTypeRef entry = LLVMVectorType(i32_type(m), TABLE_BYTES / 4);
	Stage s = {.number = number};
	LLVMValueRef v;

	if (m->table < 0)
		return stage_of(m, number);
	v = LLVMBuildLoad2(e->b, entry, table_at(m, number), "");
	LLVMSetAlignment(v, TABLE_BYTES);
	s.off = LLVMBuildExtractElement(e->b, v, emit_index(e, 0), "");
	s.tap = LLVMBuildExtractElement(e->b, v, emit_index(e, 1), "");
	s.k = LLVMBuildExtractElement(e->b, v, emit_index(e, 2), "");
	return s;
}

/* Elements of the thread's piece that are terms: all, but for the last ones of a tap.  NULL: always all. */
static LLVMValueRef live_terms(Mma *m, const Stage *s)
{
	const KContract *c = m->t.c;
	Emit *e = m->t.e;
	int64_t n = (int64_t)PIECE_WORDS * mma_word_elems(m->kind);
	LLVMValueRef left, zero = emit_index(e, 0), most = emit_index(e, n);

	if (c->nk % m->t.depth == 0)
		return NULL;
	left = LLVMBuildSub(e->b, emit_index(e, c->nk), tile_add(e, s->k, tile_mul(e, m->q, n)), "");
	left = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, left, most, ""), left, most, "");
	return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, left, zero, ""), left, zero, "");
}

/* PIECE where the tap is inside, of row j; else 0. */
static LLVMValueRef tap_bytes(Mma *m, const Stage *s, int j)
{
	Emit *e = m->t.e;
	LLVMValueRef tap = LLVMBuildIntCast2(e->b, s->tap, i32_type(m), false, "");

	return LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, m->mask[j], tap, ""), word_const(m, PIECE), "");
}

/* Where the thread's piece of row j lies. */
static LLVMValueRef input_at(Mma *m, const Stage *s, int j)
{
	Emit *e = m->t.e;
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx), i8 = LLVMInt8TypeInContext(e->ctx);
	LLVMValueRef bytes = LLVMBuildIntCast2(e->b, s->off, i64, true, "");

	bytes = LLVMBuildNSWMul(e->b, bytes, LLVMConstInt(i64, mlo_elem_bits(m->t.c->a.elem) / 8, false), "");
	return LLVMBuildGEP2(e->b, i8, m->from[j], &bytes, 1, "");
}

LLVMValueRef mma_weights_at(Mma *m, LLVMValueRef number)
{
	Emit *e = m->t.e;
	LLVMTypeRef i8 = LLVMInt8TypeInContext(e->ctx);
	int64_t bytes = (int64_t)m->t.columns * m->words * 4;
	LLVMValueRef tile = tile_mul(e, tile_div(e, m->t.column, m->t.columns), m->all), at;

	at = tile_mul(e, tile_add(e, tile, number), bytes);
	at = tile_add(e, at, tile_mul(e, m->t.thread, PIECE));
	return LLVMBuildGEP2(e->b, i8, e->arg[m->t.c->b_arg], &at, 1, "");
}

/* Where pieces go, in a stage that begins at `base`. */
static LLVMValueRef piece_to(Mma *m, LLVMValueRef base, bool weights, int j)
{
	Emit *e = m->t.e;
	LLVMValueRef first = byte_at(m, tile_add(e, base, weights ? m->b_to : m->a_to));

	return LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), first,
	                     (LLVMValueRef[]){emit_index(e, (int64_t)j * (weights ? m->b_step : m->a_step))}, 1, "");
}

/* -- cp.async ---------------------------------------------------------------------------------------- */

/* LLVM's intrinsic takes no addresses of two sizes. */
void mma_copy_piece(Mma *m, LLVMValueRef to, int64_t to_behind, LLVMValueRef from, int64_t from_behind, LLVMValueRef bytes)
{
	Emit *e = m->t.e;
	LLVMTypeRef nothing = LLVMVoidTypeInContext(e->ctx), global = LLVMPointerTypeInContext(e->ctx, 1), type;
	LLVMValueRef arg[3] = {to, LLVMBuildAddrSpaceCast(e->b, from, global, ""), bytes}, code;
	LLVMTypeRef param[3] = {LLVMTypeOf(to), global, i32_type(m)};
	static const char with[] = "r,l,r,~{memory}", without[] = "r,l,~{memory}";
	char text[96];
	int n = snprintf(text, sizeof text, "cp.async.cg.shared.global [$0+%lld], [$1+%lld], 16%s;", (long long)to_behind,
	                 (long long)from_behind, bytes ? ", $2" : "");

	type = LLVMFunctionType(nothing, param, bytes ? 3 : 2, false);
	code = LLVMGetInlineAsm(type, text, (size_t)n, bytes ? with : without, bytes ? sizeof with - 1 : sizeof without - 1, true, false,
	                        LLVMInlineAsmDialectATT, false);
	LLVMBuildCall2(e->b, type, code, arg, bytes ? 3 : 2, "");
}

void mma_copy(Mma *m, const Stage *s, LLVMValueRef base, int64_t behind)
{
	Emit *e = m->t.e;
	const KContract *c = m->t.c;
	LLVMValueRef live = live_terms(m, s), bytes, a_to = piece_to(m, base, false, 0), b_to = piece_to(m, base, true, 0);
	LLVMValueRef weights = mma_weights_at(m, s->number);

	if (live)
		live = LLVMBuildIntCast2(e->b, tile_mul(e, live, mlo_elem_bits(c->a.elem) / 8), i32_type(m), false, "");
	for (int j = 0; j < m->a_pieces; j++) {
		bytes = live;
		if (m->mask[j])
			bytes = live ? LLVMBuildMul(e->b, LLVMBuildLShr(e->b, tap_bytes(m, s, j), word_const(m, PIECE_SHIFT), ""), live, "")
			             : tap_bytes(m, s, j);
		mma_copy_piece(m, a_to, behind + (int64_t)j * m->a_step, input_at(m, s, j), 0, bytes);
	}
	for (int j = 0; j < m->b_pieces; j++)
		mma_copy_piece(m, b_to, behind + (int64_t)j * m->b_step, weights, (int64_t)j * m->t.threads * PIECE, NULL);
}

/* -- through registers ------------------------------------------------------------------------------- */

LLVMTypeRef mma_piece_type(const Mma *m)
{
	return LLVMVectorType(i32_type(m), PIECE_WORDS);
}

static LLVMValueRef load_words(Mma *m, LLVMValueRef from)
{
	LLVMValueRef v = LLVMBuildLoad2(m->t.e->b, mma_piece_type(m), from, "");

	LLVMSetAlignment(v, PIECE);
	return v;
}

/* f32 as halves of words. */
static LLVMValueRef narrowed(Mma *m, LLVMValueRef v)
{
	Emit *e = m->t.e;
	LLVMTypeRef f16 = m->kind->word == EL_f16 ? LLVMHalfTypeInContext(e->ctx) : LLVMBFloatTypeInContext(e->ctx);

	return LLVMBuildBitCast(e->b, LLVMBuildFPTrunc(e->b, v, emit_vec(f16, emit_lanes(v)), ""), mma_piece_type(m), "");
}

/* A piece of A where it is f32 and multiplied as something shorter: twice 16 bytes. */
static LLVMValueRef load_wide(Mma *m, LLVMValueRef from)
{
	enum { QUAD = 4 };
	Emit *e = m->t.e;
	LLVMTypeRef f32 = LLVMFloatTypeInContext(e->ctx);
	LLVMValueRef half[2];

	for (int i = 0; i < 2; i++) {
		LLVMValueRef at = LLVMBuildGEP2(e->b, f32, from, (LLVMValueRef[]){emit_index(e, i * QUAD)}, 1, "");

		half[i] = LLVMBuildLoad2(e->b, LLVMVectorType(f32, QUAD), at, "");
		LLVMSetAlignment(half[i], PIECE);
	}
	return narrowed(m, emit_joined(e, half, 2));
}

/* Words with those elements cleared that are no terms. */
static LLVMValueRef only_live(Mma *m, LLVMValueRef v, LLVMValueRef live)
{
	Emit *e = m->t.e;
	int n = PIECE_WORDS * mma_word_elems(m->kind);
	LLVMTypeRef t = LLVMVectorType(LLVMIntTypeInContext(e->ctx, mlo_elem_bits(m->kind->word)), (unsigned)n);
	LLVMTypeRef i32v = LLVMVectorType(i32_type(m), (unsigned)n);
	LLVMValueRef there, bits = LLVMBuildBitCast(e->b, v, t, "");

	there = emit_splat(e, LLVMBuildIntCast2(e->b, live, i32_type(m), false, ""), n);
	there = LLVMBuildICmp(e->b, LLVMIntULT, emit_iota(e, LLVMGetElementType(i32v), n, 1), there, "");
	return LLVMBuildBitCast(e->b, emit_select(e, there, bits, LLVMConstNull(t)), mma_piece_type(m), "");
}

void mma_fetch(Mma *m, const Stage *s)
{
	Emit *e = m->t.e;
	const KContract *c = m->t.c;
	bool wide = mlo_elem_bits(c->a.elem) != mlo_elem_bits(m->kind->word);
	LLVMValueRef live = live_terms(m, s), v, in, from, some = NULL;

	if (live)
		some = LLVMBuildICmp(e->b, LLVMIntNE, live, emit_index(e, 0), "");
	for (int j = 0; j < m->a_pieces; j++) {
		from = input_at(m, s, j);
		in = m->mask[j] ? LLVMBuildICmp(e->b, LLVMIntNE, tap_bytes(m, s, j), word_const(m, 0), "") : NULL;
		in = in && some ? LLVMBuildAnd(e->b, in, some, "") : in ? in : some;
		if (in) /* what is left out reads the first elements, which are there */
			from = emit_select(e, in, from, e->arg[c->a_arg]);
		v = wide ? load_wide(m, from) : load_words(m, from);
		if (live && mlo_elem_is_float(c->a.elem))
			v = only_live(m, v, live);
		LLVMBuildStore(e->b, in ? emit_select(e, in, v, LLVMConstNull(mma_piece_type(m))) : v, m->a[j]);
	}
	for (int j = 0; j < m->b_pieces; j++) {
		from = LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), mma_weights_at(m, s->number),
		                     (LLVMValueRef[]){emit_index(e, (int64_t)j * m->t.threads * PIECE)}, 1, "");
		LLVMBuildStore(e->b, load_words(m, from), m->b[j]);
	}
}

void mma_put(Mma *m, LLVMValueRef base)
{
	Emit *e = m->t.e;

	for (int j = 0; j < m->a_pieces + m->b_pieces; j++) {
		bool b = j >= m->a_pieces;
		LLVMValueRef v = LLVMBuildLoad2(e->b, mma_piece_type(m), b ? m->b[j - m->a_pieces] : m->a[j], "");

		LLVMSetAlignment(LLVMBuildStore(e->b, v, piece_to(m, base, b, b ? j - m->a_pieces : j)), PIECE);
	}
}
