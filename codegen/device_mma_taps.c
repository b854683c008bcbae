/* codegen/device_mma_taps.c -- contractions on tensor cores: which taps of a tile's rows lie inside of the image.
 *
 * The threads that bring pieces of a row share out its taps.  What they find is in shared memory, as the number of bytes that a copy
 * takes: the loop over stages has nothing to compute of borders.  Pieces of a thread lie beside each other there, its rows next, then
 * taps, so far apart that threads which write several taps of a row touch different banks. */
#include "codegen/device_mma_stage.h"

bool mma_taps_inside(const KContract *c)
{
	const bool known = c->ny > 0 && c->nx > 0 && c->in_y > 0 && c->in_x > 0;

	if (c->py || c->px)
		return false;
	if (c->nky * c->nkx == 1)
		return true;
	return known && (c->ny - 1) * c->sy + (c->nky - 1) * c->dy < c->in_y && (c->nx - 1) * c->sx + (c->nkx - 1) * c->dx < c->in_x;
}

int64_t mma_tap_bytes(const Mma *m)
{
	return (int64_t)m->t.rows * 4 + PIECE * 8 / (m->words / PIECE_WORDS);
}

int64_t mma_sizes_bytes(const Mma *m)
{
	return mma_taps_inside(m->t.c) ? 0 : m->t.c->nky * m->t.c->nkx * mma_tap_bytes(m);
}

/* Of row r and the tap in row ky and column kx of taps, these times the distance between taps. */
static LLVMValueRef size_of(Mma *m, const DeviceRow *r, LLVMValueRef y, LLVMValueRef x)
{
	Emit *e = m->t.e;
	LLVMValueRef in = LLVMBuildICmp(e->b, LLVMIntULT, tile_add(e, r->y, y), tile_num(e, m->t.c->in_y), "");

	in = LLVMBuildAnd(e->b, in, LLVMBuildICmp(e->b, LLVMIntULT, tile_add(e, r->x, x), tile_num(e, m->t.c->in_x), ""), "");
	return LLVMBuildSelect(e->b, in, word_const(m, PIECE), word_const(m, 0), "");
}

void mma_make_sizes(Mma *m)
{
	const KContract *c = m->t.c;
	Emit *e = m->t.e;
	int along = m->words / PIECE_WORDS;
	LLVMValueRef first = tile_add(e, m->q, tile_mul(e, m->t.slice, along)), tap, y, x, at;
	EmitLoop l;

	tap = emit_for(e, &l, first, emit_index(e, c->nky * c->nkx), emit_index(e, (int64_t)along * m->t.slices), "tap");
	y = tile_mul(e, tile_div(e, tap, c->nkx), c->dy);
	x = tile_mul(e, tile_rem(e, tap, c->nkx), c->dx);
	at = tile_add(e, m->sizes_at, tile_mul(e, tap, mma_tap_bytes(m)));
	for (int j = 0; j < m->a_pieces; j++)
		LLVMBuildStore(e->b, size_of(m, &m->row[j], y, x), byte_at(m, tile_addc(e, at, (int64_t)j * 4)));
	emit_end(e, &l);
	device_block_barrier(e);
}

void mma_load_sizes(Mma *m, LLVMValueRef tap, int64_t behind, LLVMValueRef *size)
{
	Emit *e = m->t.e;
	LLVMValueRef from = byte_at(m, tile_add(e, m->sizes_at, tap)), at, v;
	int n = m->a_pieces % 4 == 0 ? 4 : m->a_pieces % 2 == 0 ? 2 : 1; /* of a load */

	for (int j = 0; j < m->a_pieces; j += n) {
		at = LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), from, (LLVMValueRef[]){emit_index(e, behind + (int64_t)j * 4)}, 1, "");
		v = LLVMBuildLoad2(e->b, LLVMVectorType(i32_type(m), (unsigned)n), at, "");
		LLVMSetAlignment(v, (unsigned)n * 4);
		for (int i = 0; i < n; i++)
			size[j + i] = LLVMBuildExtractElement(e->b, v, emit_index(e, i), "");
	}
}
