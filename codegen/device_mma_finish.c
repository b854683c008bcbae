/* codegen/device_mma_finish.c -- contractions on tensor cores: what becomes of the sums of a tile.
 *
 * A thread has two columns that lie beside each other of each fragment.  Which column of B is which column of a fragment is free: columns go
 * to shared memory in an order in which a thread's columns of several fragments lie beside each other in the result, where its four lanes
 * for a row fill whole sectors then.  The epilogue runs on these straight from registers.  Slices of a block give each other their sums by
 * way of shared memory, each thread to those with the same place in the other slices, and each slice finishes a share of the fragments; parts
 * of a tile likewise by way of scratch memory (device_split.c).
 *
 * Epilogues that are long, or whose outputs do not lie so, go through shared memory (device_tile.c). */
#include "codegen/device_mma_stage.h"

enum { QUAD = 4, HALVES = 2 /* rows of a fragment that a thread has */, LEAST = 4, MOST = 16 /* columns beside each other */ };

/* -- which columns ----------------------------------------------------------------------------------- */

/* Bytes of the widest element that is stored. */
static int stored_bytes(const Mma *m)
{
	unsigned bits = 8;

	for (const KStmt *s = m->t.s->body; s; s = s->next)
		if (s->kind == KS_STORE && mlo_elem_bits(m->t.e->k->arg.items[s->arg].elem) > bits)
			bits = mlo_elem_bits(m->t.e->k->arg.items[s->arg].elem);
	return (int)bits / 8;
}

int mma_adjacent(const Mma *m)
{
	enum { MOST_LENGTH = 2048 };
	const KContract *c = m->t.c;
	int most = MOST / stored_bytes(m), step = m->t.threads * PIECE_WORDS / m->words, n; /* step: columns of B that come at a time */

	if (c->b.kept || device_border_classes(c) < 0 || device_output_length(&m->t) * m->mt * m->nt * QUAD > MOST_LENGTH)
		return 2;
	while (2 * m->nt % most || (step & (step - 1) && step % (4 * most)))
		most /= 2;
	n = device_output_lanes(&m->t, most);
	return n < LEAST ? 2 : n;
}

bool mma_is_direct(const Mma *m)
{
	return m->adjacent > 2;
}

/* Of so many columns, four threads have a run of `adjacent` each: the first bit of a column of a fragment stays, those of the thread and of
 * the fragment change places. */
LLVMValueRef mma_column_of(const Mma *m, LLVMValueRef row)
{
	Emit *e = m->t.e;
	int n = m->adjacent;
	LLVMValueRef low, thread, fragment;

	if (n == 2)
		return row;
	low = tile_rem(e, row, 2);
	thread = tile_rem(e, tile_div(e, row, 2), 4);
	fragment = tile_rem(e, tile_div(e, row, 8), n / 2);
	row = LLVMBuildAnd(e->b, row, emit_index(e, -4 * (int64_t)n), "");
	return tile_add(e, tile_add(e, row, tile_mul(e, thread, n)), tile_add(e, tile_mul(e, fragment, 2), low));
}

int64_t mma_weights_behind(const Mma *m, int j)
{
	int64_t row = (int64_t)j * m->t.threads / (m->words / PIECE_WORDS), n = m->adjacent;

	if (n == 2)
		return (int64_t)j * m->t.threads * PIECE;
	row = row / (4 * n) * (4 * n) + row / 2 % 4 * n + row / 8 % (n / 2) * 2 + row % 2;
	return row * m->words * 4;
}

/* -- by way of shared memory ------------------------------------------------------------------------- */

/* Sums of the warps in rows of the block, to where the epilogue finds them.  The places are not to be in registers all the time.  Rows eight
 * apart are turned alike, and the first columns of fragments are bits of their own, which turning flips: a place for each column of
 * fragments is enough. */
static void store_sums(Mma *m, int rows)
{
	enum { TURNED = 32 /* columns that far apart are turned alike */ };
	Emit *e = m->t.e;
	LLVMValueRef lane = device_opaque(e, m->lane), warp_n = device_opaque(e, m->warp_n), slice = device_opaque(e, m->t.slice);
	LLVMValueRef column = tile_add(e, tile_mul(e, warp_n, (int64_t)m->nt * 8), tile_mul(e, tile_rem(e, lane, 4), m->adjacent));
	LLVMValueRef first, own = tile_div(e, lane, 4), at, v;
	LLVMTypeRef two = LLVMVectorType(m->sum_type, 2), i32 = LLVMInt32TypeInContext(e->ctx);

	if (m->groups)
		own = tile_add(e, own, tile_mul(e, device_opaque(e, m->warp_m), (int64_t)m->mt * 16));
	first = device_sum_at(&m->t, slice, rows, own, column);
	for (int j = 0; j < m->nt; j++) {
		int group = j * 2 / m->adjacent, behind = group * 4 * m->adjacent + j * 2 % m->adjacent;

		at = LLVMBuildXor(e->b, first, emit_index(e, behind % TURNED), "");
		at = device_word(e, tile_addc(e, at, behind / TURNED * TURNED));
		for (int i = 0; i < m->mt * 2; i++) {
			LLVMValueRef row = emit_index(e, (int64_t)i * 8 * m->t.columns);

			v = LLVMGetPoison(two);
			for (int k = 0; k < 2; k++) {
				LLVMValueRef sum = LLVMBuildLoad2(e->b, m->sum_type, m->sum[(i / 2 * m->nt + j) * 4 + i % 2 * 2 + k], "");

				v = LLVMBuildInsertElement(e->b, v, sum, emit_index(e, k), "");
			}
			LLVMSetAlignment(LLVMBuildStore(e->b, v, LLVMBuildInBoundsGEP2(e->b, i32, at, &row, 1, "")), 8);
		}
	}
}

static void finish_shared(Mma *m)
{
	Emit *e = m->t.e;
	DeviceIf own;

	if (m->groups) {
		store_sums(m, m->t.rows);
		device_epilogue(&m->t, 0, m->t.rows);
		device_tile_finish(&m->t, m->t.rows);
		return;
	}
	for (int w = 0; w < m->warps_m; w++) {
		device_if(e, &own, LLVMBuildICmp(e->b, LLVMIntEQ, m->warp_m, emit_index(e, w), ""));
		if (m->t.c->b.kept)
			mma_sparse_store(m);
		else
			store_sums(m, m->mt * 16);
		device_endif(e, &own);
		device_epilogue(&m->t, w * m->mt * 16, m->mt * 16);
	}
	device_tile_finish(&m->t, m->mt * 16);
}

/* -- units: rows of a fragment, all of a thread's adjacent columns ------------------------------------ */

static int unit_count(const Mma *m)
{
	return m->mt * m->nt * 2 / m->adjacent;
}

/* Units that a slice finishes: from the first of its own to that of the next slice. */
static int first_unit(const Mma *m, int slice)
{
	return unit_count(m) * slice / m->t.slices;
}

/* Sum k of a row of a unit. */
static LLVMValueRef place_of(const Mma *m, int unit, int half, int k)
{
	int i = unit % m->mt, j = unit / m->mt * (m->adjacent / 2) + k / 2;

	return m->sum[(i * m->nt + j) * 4 + half * 2 + k % 2];
}

/* n sums from the k-th on, as a vector; and back. */
static LLVMValueRef load_sums(Mma *m, int unit, int half, int k, int n)
{
	Emit *e = m->t.e;
	LLVMValueRef v = LLVMGetPoison(LLVMVectorType(m->sum_type, (unsigned)n));

	for (int i = 0; i < n; i++) {
		LLVMValueRef sum = LLVMBuildLoad2(e->b, m->sum_type, place_of(m, unit, half, k + i), "");

		v = LLVMBuildInsertElement(e->b, v, sum, emit_index(e, i), "");
	}
	return v;
}

static void keep_sums(Mma *m, int unit, int half, int k, LLVMValueRef v)
{
	for (int i = 0; i < emit_lanes(v); i++)
		LLVMBuildStore(m->t.e->b, LLVMBuildExtractElement(m->t.e->b, v, emit_index(m->t.e, i), ""), place_of(m, unit, half, k + i));
}

/* Four sums of each thread lie beside each other in memory, threads behind each other: which of the first thread's quads. */
static int quad_number(const Mma *m, int unit, int half, int k)
{
	return (unit * HALVES + half) * (m->adjacent / QUAD) + k / QUAD;
}

static LLVMTypeRef quad_type(const Mma *m)
{
	return LLVMVectorType(m->sum_type, QUAD);
}

static LLVMValueRef quad_behind(const Mma *m, LLVMValueRef p, int64_t quads)
{
	LLVMValueRef at = emit_index(m->t.e, quads);

	return LLVMBuildGEP2(m->t.e->b, quad_type(m), p, &at, 1, "");
}

static LLVMValueRef load_quad(const Mma *m, LLVMValueRef p)
{
	LLVMValueRef v = LLVMBuildLoad2(m->t.e->b, quad_type(m), p, "");

	LLVMSetAlignment(v, QUAD * 4);
	return v;
}

static void store_quad(const Mma *m, LLVMValueRef v, LLVMValueRef p)
{
	LLVMSetAlignment(LLVMBuildStore(m->t.e->b, v, p), QUAD * 4);
}

static LLVMValueRef added(const Mma *m, LLVMValueRef a, LLVMValueRef b)
{
	return a ? emit_combine(m->t.e, K_add, mlo_contract_sum(m->t.c), a, b) : b;
}

/* -- slices ------------------------------------------------------------------------------------------ */

/* Is it the thread's?  LLVM would make one piece of code for all slices otherwise, which picks their sums one by one. */
static LLVMValueRef is_slice(Mma *m, LLVMIntPredicate how, int slice)
{
	return LLVMBuildICmp(m->t.e->b, how, device_opaque(m->t.e, m->t.slice), emit_index(m->t.e, slice), "");
}

/* Where the thread's first quad lies of what slice `from` gives slice `to`, in shared memory; the quads behind it lie given_step() apart.  Places
 * are not to be in registers while products are made. */
static LLVMValueRef given_at(const Mma *m, LLVMValueRef from, int to)
{
	Emit *e = m->t.e;
	LLVMValueRef above = LLVMBuildICmp(e->b, LLVMIntSGT, from, emit_index(e, to), ""), at;

	from = LLVMBuildSelect(e->b, above, tile_addc(e, from, -1), from, "");
	at = tile_mul(e, tile_add(e, tile_mul(e, from, m->t.threads), device_opaque(e, m->t.thread)), QUAD);
	return device_word(e, at);
}

static int64_t given_step(const Mma *m)
{
	return (int64_t)(m->t.slices - 1) * m->t.threads;
}

static void give_sums(Mma *m)
{
	Emit *e = m->t.e;
	DeviceIf other;

	for (int to = 0; to < m->t.slices; to++) {
		LLVMValueRef at;

		device_if(e, &other, is_slice(m, LLVMIntNE, to));
		at = given_at(m, device_opaque(e, m->t.slice), to);
		for (int u = first_unit(m, to); u < first_unit(m, to + 1); u++)
			for (int h = 0; h < HALVES; h++)
				for (int k = 0; k < m->adjacent; k += QUAD)
					store_quad(m, load_sums(m, u, h, k, QUAD), quad_behind(m, at, quad_number(m, u, h, k) * given_step(m)));
		device_endif(e, &other);
	}
}

/* Sums of all slices, in their order. */
static void take_sums(Mma *m, int slice)
{
	LLVMValueRef at[MAX_SLICES];

	for (int s = 0; s < m->t.slices; s++)
		at[s] = s == slice ? NULL : given_at(m, emit_index(m->t.e, s), slice);
	for (int u = first_unit(m, slice); u < first_unit(m, slice + 1); u++)
		for (int h = 0; h < HALVES; h++)
			for (int k = 0; k < m->adjacent; k += QUAD) {
				LLVMValueRef v = NULL;

				for (int s = 0; s < m->t.slices; s++)
					v = added(m, v, !at[s] ? load_sums(m, u, h, k, QUAD)
					                       : load_quad(m, quad_behind(m, at[s], quad_number(m, u, h, k) * given_step(m))));
				keep_sums(m, u, h, k, v);
			}
}

/* -- parts ------------------------------------------------------------------------------------------- */

/* Where the thread's first quad of a part lies in scratch memory. */
static LLVMValueRef kept_at(Mma *m, LLVMValueRef part)
{
	Emit *e = m->t.e;
	LLVMValueRef at = tile_add(e, tile_mul(e, m->t.tile, m->t.parts), part);

	at = tile_add(e, tile_mul(e, at, (int64_t)m->t.rows * m->t.columns / QUAD), device_opaque(e, m->t.thread));
	return LLVMBuildInBoundsGEP2(e->b, quad_type(m), e->scratch, &at, 1, "");
}

static void put_part(Mma *m, int slice)
{
	LLVMValueRef at = kept_at(m, m->t.part);

	for (int u = first_unit(m, slice); u < first_unit(m, slice + 1); u++)
		for (int h = 0; h < HALVES; h++)
			for (int k = 0; k < m->adjacent; k += QUAD)
				store_quad(m, load_sums(m, u, h, k, QUAD), quad_behind(m, at, (int64_t)quad_number(m, u, h, k) * m->t.threads));
}

static void add_part(Mma *m, int slice, LLVMValueRef part, bool first)
{
	LLVMValueRef at = kept_at(m, part);

	for (int u = first_unit(m, slice); u < first_unit(m, slice + 1); u++)
		for (int h = 0; h < HALVES; h++)
			for (int k = 0; k < m->adjacent; k += QUAD) {
				LLVMValueRef v = load_quad(m, quad_behind(m, at, (int64_t)quad_number(m, u, h, k) * m->t.threads));

				keep_sums(m, u, h, k, first ? v : added(m, load_sums(m, u, h, k, QUAD), v));
			}
}

/* In the order of parts. */
static void get_parts(Mma *m, int slice)
{
	Emit *e = m->t.e;
	LLVMValueRef part;
	EmitLoop l;

	add_part(m, slice, emit_index(e, 0), true);
	part = emit_for(e, &l, emit_index(e, 1), emit_index(e, m->t.parts), emit_index(e, 1), "part");
	add_part(m, slice, part, false);
	emit_end(e, &l);
}

/* -- outputs ----------------------------------------------------------------------------------------- */

static void unit_outputs(Mma *m, int unit, LLVMValueRef row, LLVMValueRef column)
{
	DeviceTile *t = &m->t;
	Emit *e = t->e;

	for (int h = 0; h < HALVES; h++) {
		LLVMValueRef at = tile_addc(e, row, unit % m->mt * 16 + h * 8), in;
		DevicePosition p;
		DeviceIf there;

		in = device_output_inside(t, &at, column, true);
		p = device_position(t, at);
		p.border = t->border ? device_border_at(t, &p) : NULL;
		if (in)
			device_if(e, &there, in);
		device_output(t, &p, column, load_sums(m, unit, h, 0, m->adjacent));
		if (in)
			device_endif(e, &there);
	}
}

/* Places are computed here, not before the products. */
static void slice_outputs(Mma *m, int slice)
{
	DeviceTile *t = &m->t;
	Emit *e = t->e;
	LLVMValueRef lane = device_opaque(e, m->lane), row, column, at = NULL;

	row = tile_add(e, tile_mul(e, device_opaque(e, m->warp_m), (int64_t)m->mt * 16), tile_div(e, lane, 4));
	column = tile_add(e, tile_mul(e, device_opaque(e, m->warp_n), (int64_t)m->nt * 8), tile_mul(e, tile_rem(e, lane, 4), m->adjacent));
	row = tile_add(e, t->row, row);
	column = tile_add(e, t->column, column);
	for (int u = first_unit(m, slice); u < first_unit(m, slice + 1); u++) {
		if (!at || u % m->mt == 0) {
			at = tile_addc(e, column, u / m->mt * 4 * (int64_t)m->adjacent);
			device_output_columns(t, at, m->adjacent);
		}
		unit_outputs(m, u, row, at);
	}
	device_output_columns_end(t);
}

/* Something that each slice does for its units. */
static void each_slice(Mma *m, void (*const *what)(Mma *m, int slice))
{
	Emit *e = m->t.e;
	DeviceIf own;

	for (int s = 0; s < m->t.slices; s++) {
		if (m->t.slices > 1)
			device_if(e, &own, is_slice(m, LLVMIntEQ, s));
		for (void (*const *f)(Mma *, int) = what; *f; f++)
			(*f)(m, s);
		if (m->t.slices > 1)
			device_endif(e, &own);
	}
}

static void no_sums(Mma *m, int slice)
{
	(void)m;
	(void)slice;
}

static int64_t given_words(const Mma *m)
{
	return (int64_t)m->t.rows * m->t.columns * (m->t.slices - 1);
}

static void finish_direct(Mma *m)
{
	void (*const take)(Mma *, int) = m->t.slices > 1 ? take_sums : no_sums;
	DeviceIf last;

	m->t.border = device_border_classes(m->t.c) > 0;
	m->t.border_words = given_words(m) + QUAD; /* device_split_last() takes one */
	if (m->t.border)
		device_border_table(&m->t);
	if (m->t.slices > 1)
		give_sums(m);
	if (m->t.slices > 1 || m->t.border)
		device_block_barrier(m->t.e);
	if (m->t.parts > 1) {
		each_slice(m, (void (*const[])(Mma *, int)){take, put_part, NULL});
		device_block_barrier(m->t.e);
		device_if(m->t.e, &last, device_split_last(&m->t));
		each_slice(m, (void (*const[])(Mma *, int)){get_parts, slice_outputs, NULL});
		device_endif(m->t.e, &last);
	} else {
		each_slice(m, (void (*const[])(Mma *, int)){take, slice_outputs, NULL});
	}
	if (m->t.slices > 1 || m->t.border)
		device_block_barrier(m->t.e); /* stages of the next tile go there */
	m->t.border = false;
}

int64_t mma_sum_words(const Mma *m)
{
	int64_t chunk = (int64_t)(m->groups ? m->t.rows : m->mt * 16) * m->t.columns, given;

	given = given_words(m) + QUAD + device_border_classes(m->t.c) * m->t.columns;

	given = mma_is_direct(m) ? (given + m->t.slices - 1) / m->t.slices : 0;
	return chunk > given ? chunk : given;
}

void mma_finish(Mma *m)
{
	Emit *e = m->t.e;
	LLVMValueRef ok;
	DeviceIf i;

	if (!mma_is_direct(m)) {
		finish_shared(m);
		return;
	}
	ok = device_outputs_aligned(&m->t, m->adjacent);
	device_if(e, &i, ok);
	finish_direct(m);
	device_endif(e, &i);
	device_if(e, &i, LLVMBuildNot(e->b, ok, ""));
	m->t.scalar = true;
	finish_shared(m);
	m->t.scalar = false;
	device_endif(e, &i);
}
