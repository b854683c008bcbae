/* codegen/device_mma_stage.c -- contractions on tensor cores: stages of A and B on their way to shared memory. */
#include "codegen/device_mma_stage.h"

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
	LLVMTypeRef mem = emit_mem_type(e, t->c->a.elem);
	LLVMValueRef row = tile_div(e, t->thread, along), k, at;

	m->q = tile_rem(e, t->thread, along);
	k = tile_mul(e, m->q, (int64_t)PIECE_WORDS * mma_word_elems(m->kind));
	k = tile_add(e, channel_at(m, k), channel_at(m, t->kk));
	for (int j = 0; j < m->a_pieces; j++) {
		m->row[j] = device_row(t, tile_addc(e, row, (int64_t)j * step));
		at = tile_add(e, m->row[j].at, k);
		m->from[j] = LLVMBuildGEP2(e->b, mem, e->arg[t->c->a_arg], &at, 1, "from");
	}
	m->a_step = m->b_step = step * m->words * 4; /* that many pieces */
	m->a_to = tile_add(e, m->own, mma_piece_at(m, row, m->q));
	m->b_to = tile_addc(e, t->c->b.kept ? tile_add(e, m->own, tile_mul(e, t->thread, PIECE)) : m->a_to, a_bytes(m));
	m->sizes_at = m->sizes < 0 ? NULL : tile_addc(e, tile_mul(e, row, (int64_t)m->a_pieces * 4), m->sizes);
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
	return m->t.c->nky * m->t.c->nkx > 1 && !mma_walks_in_steps(m) && m->all <= MOST_TABLE && m->all * TABLE_BYTES <= room &&
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

/* Bytes of the thread's pieces that are terms inside of the image; NULL: all of PIECE.  live: as live_terms() has it. */
static void piece_sizes(Mma *m, const Stage *s, LLVMValueRef live, LLVMValueRef *size)
{
	Emit *e = m->t.e;

	if (live)
		live = LLVMBuildIntCast2(e->b, tile_mul(e, live, mlo_elem_bits(m->t.c->a.elem) / 8), i32_type(m), false, "");
	if (m->sizes >= 0)
		mma_load_sizes(m, tile_mul(e, s->tap, mma_tap_bytes(m)), 0, size);
	for (int j = 0; j < m->a_pieces; j++) {
		LLVMValueRef in = m->sizes >= 0 ? size[j] : NULL;

		size[j] = live && in ? LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntULT, live, in, ""), live, in, "") : live ? live : in;
	}
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
	LLVMValueRef tile = tile_mul(e, tile_div(e, m->t.column, m->t.columns), m->all), at;

	at = tile_mul(e, tile_add(e, tile, number), b_bytes(m));
	at = tile_add(e, at, tile_mul(e, m->t.thread, PIECE));
	return LLVMBuildGEP2(e->b, i8, e->arg[m->t.c->b_arg], &at, 1, "");
}

/* Where pieces go, in a stage that begins so many bytes behind `base`. */
static LLVMValueRef piece_to(Mma *m, LLVMValueRef base, int64_t behind, bool weights, int j)
{
	Emit *e = m->t.e;
	LLVMValueRef first = byte_at(m, tile_add(e, base, weights ? m->b_to : m->a_to));

	behind += (int64_t)j * (weights ? m->b_step : m->a_step);
	return LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), first, (LLVMValueRef[]){emit_index(e, behind)}, 1, "");
}

/* -- cp.async ---------------------------------------------------------------------------------------- */

void mma_copy(Mma *m, const Stage *s, LLVMValueRef base, int64_t behind)
{
	LLVMValueRef size[MAX_PIECES], a_to = piece_to(m, base, 0, false, 0), b_to = piece_to(m, base, 0, true, 0);
	LLVMValueRef weights = mma_weights_at(m, s->number);

	piece_sizes(m, s, live_terms(m, s), size);
	for (int j = 0; j < m->a_pieces; j++)
		device_copy_piece(m->t.e, a_to, behind + (int64_t)j * m->a_step, input_at(m, s, j), 0, size[j]);
	for (int j = 0; j < m->b_pieces; j++)
		device_copy_piece(m->t.e, b_to, behind + (int64_t)j * m->b_step, weights, (int64_t)j * m->t.threads * PIECE, m->b_size[j]);
}

/* -- through registers ------------------------------------------------------------------------------- */

LLVMTypeRef mma_piece_type(const Mma *m)
{
	return LLVMVectorType(i32_type(m), PIECE_WORDS);
}

/* 16 bytes that lie so many behind a pointer; zeros where size is 0.  That is a load under a condition, which LLVM has none of. */
static LLVMValueRef load_words(Mma *m, LLVMValueRef from, int64_t behind, LLVMValueRef size)
{
	static const char constraints[] = "=&r,=&r,=&r,=&r,l,r,~{memory}";
	Emit *e = m->t.e;
	LLVMTypeRef global = LLVMPointerTypeInContext(e->ctx, 1), word = i32_type(m), words[] = {word, word, word, word};
	LLVMValueRef v = LLVMGetPoison(mma_piece_type(m)), arg[2] = {LLVMBuildAddrSpaceCast(e->b, from, global, ""), size}, code;
	LLVMTypeRef type = LLVMFunctionType(LLVMStructTypeInContext(e->ctx, words, PIECE_WORDS, false), (LLVMTypeRef[]){global, word}, 2, false);
	char text[256];
	int n;

	if (!size) {
		v = LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), from, (LLVMValueRef[]){emit_index(e, behind)}, 1, "");
		v = LLVMBuildLoad2(e->b, mma_piece_type(m), v, "");
		LLVMSetAlignment(v, PIECE);
		return v;
	}
	n = snprintf(text, sizeof text,
	             "{ .reg .pred p; setp.ne.u32 p, $5, 0; mov.u32 $0, 0; mov.u32 $1, 0; mov.u32 $2, 0; mov.u32 $3, 0; "
	             "@p ld.global.v4.u32 {$0, $1, $2, $3}, [$4+%lld]; }", (long long)behind);
	code = LLVMGetInlineAsm(type, text, (size_t)n, constraints, sizeof constraints - 1, true, false, LLVMInlineAsmDialectATT, false);
	code = LLVMBuildCall2(e->b, type, code, arg, 2, "");
	for (unsigned i = 0; i < PIECE_WORDS; i++)
		v = LLVMBuildInsertElement(e->b, v, LLVMBuildExtractValue(e->b, code, i, ""), emit_index(e, i), "");
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
static LLVMValueRef load_wide(Mma *m, LLVMValueRef from, int64_t behind, LLVMValueRef size)
{
	Emit *e = m->t.e;
	LLVMValueRef half[2];

	for (int i = 0; i < 2; i++) {
		half[i] = load_words(m, from, behind + (int64_t)i * PIECE, size);
		half[i] = LLVMBuildBitCast(e->b, half[i], LLVMVectorType(LLVMFloatTypeInContext(e->ctx), PIECE_WORDS), "");
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

void mma_fetch_input(Mma *m, const LLVMValueRef *from, int64_t behind, const LLVMValueRef *size)
{
	bool wide = mlo_elem_bits(m->t.c->a.elem) != mlo_elem_bits(m->kind->word);

	for (int j = 0; j < m->a_pieces; j++) {
		LLVMValueRef some = size ? size[j] : NULL;
		LLVMValueRef v = wide ? load_wide(m, from[j], behind, some) : load_words(m, from[j], behind, some);

		LLVMBuildStore(m->t.e->b, v, m->a[j]);
	}
}

void mma_fetch_weights(Mma *m, LLVMValueRef from, int64_t behind)
{
	for (int j = 0; j < m->b_pieces; j++)
		LLVMBuildStore(m->t.e->b, load_words(m, from, behind + (int64_t)j * m->t.threads * PIECE, NULL), m->b[j]);
}

void mma_fetch(Mma *m, const Stage *s)
{
	Emit *e = m->t.e;
	LLVMValueRef live = live_terms(m, s), size[MAX_PIECES], from[MAX_PIECES];

	piece_sizes(m, s, live, size);
	for (int j = 0; j < m->a_pieces; j++)
		from[j] = input_at(m, s, j);
	mma_fetch_input(m, from, 0, size);
	for (int j = 0; j < m->a_pieces && live && mlo_elem_is_float(m->t.c->a.elem); j++)
		LLVMBuildStore(e->b, only_live(m, LLVMBuildLoad2(e->b, mma_piece_type(m), m->a[j], ""), live), m->a[j]);
	mma_fetch_weights(m, mma_weights_at(m, s->number), 0);
}

/* Where stages follow each other without a loop, ptxas would put off products of several of them, and keep the fragments of all. */
void mma_put(Mma *m, LLVMValueRef base, int64_t behind)
{
	Emit *e = m->t.e;

	for (int j = 0; j < m->a_pieces + m->b_pieces; j++) {
		bool b = j >= m->a_pieces;
		LLVMValueRef v = LLVMBuildLoad2(e->b, mma_piece_type(m), b ? m->b[j - m->a_pieces] : m->a[j], "");

		LLVMSetAlignment(LLVMBuildStore(e->b, v, piece_to(m, base, behind, b, b ? j - m->a_pieces : j)), PIECE);
	}
	device_settle(e);
}
