/* codegen/device_patch_bring.c -- contractions on tensor cores out of a patch of the image: what is brought into shared memory.
 *
 * Threads lie over rows of the patch, some rows at a time: what a thread reads of all planes and of rows below each other is at constant
 * distances.  Several accesses are under way before the first of them is converted and put down. */
#include "codegen/device_patch.h"

enum { UNDER_WAY = 40 /* words of a thread */ };

static LLVMValueRef less(Emit *e, LLVMIntPredicate how, LLVMValueRef i, int64_t n)
{
	return LLVMBuildICmp(e->b, how, i, emit_index(e, n), "");
}

/* -- weights ------------------------------------------------------------------------------------------ */

static void bring_piece(PatchTile *t, LLVMValueRef from, LLVMValueRef to, int64_t behind)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;
	LLVMTypeRef piece = LLVMVectorType(i32_type(m), PIECE_WORDS), i8 = LLVMInt8TypeInContext(e->ctx);
	LLVMValueRef at = emit_index(e, behind), v;

	if (m->async) {
		device_copy_piece(e, to, behind, from, behind, NULL);
		return;
	}
	v = LLVMBuildLoad2(e->b, piece, LLVMBuildInBoundsGEP2(e->b, i8, from, &at, 1, ""), "");
	LLVMSetAlignment(v, PIECE);
	LLVMSetAlignment(LLVMBuildStore(e->b, v, LLVMBuildInBoundsGEP2(e->b, i8, to, &at, 1, "")), PIECE);
}

/* Those of the tile's channels lie beside each other; of the last pieces, some threads may have none. */
void patch_bring_weights(PatchTile *t)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;
	int64_t bytes = t->plan.weights, each = (int64_t)m->t.threads * PIECE;
	LLVMValueRef own = tile_mul(e, m->t.f->team.thread, PIECE), from, to;
	DeviceIf there;

	from = tile_add(e, tile_mul(e, tile_div(e, m->t.column, m->t.columns), bytes), own);
	from = LLVMBuildInBoundsGEP2(e->b, LLVMInt8TypeInContext(e->ctx), e->arg[m->t.c->b_arg], &from, 1, "");
	to = byte_at(m, own);
	for (int64_t i = 0; i < bytes / each; i++)
		bring_piece(t, from, to, i * each);
	if (bytes % each == 0)
		return;
	device_if(e, &there, less(e, LLVMIntULT, own, bytes % each));
	bring_piece(t, from, to, bytes / each * each);
	device_endif(e, &there);
}

/* Each thread adds up some taps of a column. */
void patch_sum_weights(PatchTile *t)
{
	Mma *m = &t->m;
	const KContract *c = m->t.c;
	Emit *e = m->t.e;
	int64_t taps = c->nky * c->nkx;
	LLVMTypeRef i32 = i32_type(m);
	LLVMValueRef thread = m->t.f->team.thread, sum = emit_alloca(e, i32, "weights"), first, at, tap, v;
	EmitLoop l;

	LLVMBuildStore(e->b, word_const(m, 0), sum);
	first = tile_add(e, tile_mul(e, m->t.column, taps), tile_rem(e, thread, m->t.columns));
	tap = emit_for(e, &l, tile_div(e, thread, m->t.columns), emit_index(e, taps), emit_index(e, m->t.threads / m->t.columns), "tap");
	at = tile_add(e, first, tile_mul(e, tap, m->t.columns));
	v = device_load(&m->t, c->zero.s_arg, at, 1, NULL);
	LLVMBuildStore(e->b, LLVMBuildAdd(e->b, LLVMBuildLoad2(e->b, i32, sum, ""), v, ""), sum);
	emit_end(e, &l);
	LLVMBuildStore(e->b, LLVMBuildLoad2(e->b, i32, sum, ""), byte_at(m, tile_addc(e, tile_mul(e, thread, 4), t->plan.shared)));
}

/* -- the patch ---------------------------------------------------------------------------------------- */

/* Accesses of a thread that begin at one pixel, one for each plane. */
typedef struct Access {
	LLVMValueRef at;          /* in A, of the first plane */
	LLVMValueRef inside;      /* is it in the image? */
	LLVMValueRef there;       /* is it in the patch?  NULL: always */
	LLVMValueRef row, pixel;  /* of the patch */
} Access;

static Access access_of(PatchTile *t, LLVMValueRef row, LLVMValueRef col, int64_t down, int64_t along)
{
	const PatchPlan *p = &t->plan;
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;
	int lanes = device_patch_lanes(p), rows = t->m.t.threads / lanes;
	Access a = {.row = tile_addc(e, row, down * rows), .pixel = tile_addc(e, col, along * lanes * p->chunk)};
	LLVMValueRef y = tile_add(e, t->y, a.row), x = tile_add(e, t->x, a.pixel), in;

	a.inside = LLVMBuildAnd(e->b, less(e, LLVMIntULT, y, c->in_y), less(e, LLVMIntULT, x, c->in_x), "");
	if ((down + 1) * rows > p->rows)
		a.there = less(e, LLVMIntSLT, a.row, p->rows);
	if ((along + 1) * lanes * p->chunk > p->pixels) {
		in = less(e, LLVMIntSLT, a.pixel, p->pixels);
		a.there = a.there ? LLVMBuildAnd(e->b, a.there, in, "") : in;
	}
	a.at = tile_add(e, tile_mul(e, t->m.t.b0, c->a.b0), tile_mul(e, t->m.t.b1, c->a.b1));
	a.at = tile_add(e, a.at, tile_add(e, tile_mul(e, y, c->a.y), tile_mul(e, x, c->a.x)));
	a.at = LLVMBuildSelect(e->b, a.inside, a.at, emit_index(e, 0), ""); /* what is left out reads pixels that are there */
	return a;
}

/* From the first channel to that of a plane in A. */
static int64_t plane_at(const PatchTile *t, int64_t plane)
{
	const KContract *c = t->m.t.c;
	int64_t k = plane * (t->plan.p.channels ? t->plan.p.elems : 1);

	return k / c->a.block * c->a.blk + k % c->a.block * c->a.k;
}

/* Elements of an access: words of channels, or pixels. */
static LLVMTypeRef access_type(PatchTile *t)
{
	Emit *e = t->m.t.e;
	LLVMTypeRef one = t->plan.p.channels ? i32_type(&t->m) : emit_mem_type(e, t->m.t.c->a.elem);

	return emit_vec(one, t->plan.chunk > 1 ? t->plan.chunk : 0);
}

static LLVMValueRef load_access(PatchTile *t, const Access *a, int64_t plane)
{
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;
	int elems = t->plan.p.channels ? t->plan.p.elems : 1;
	LLVMValueRef at = tile_addc(e, a->at, plane_at(t, plane)), p, v;

	p = LLVMBuildInBoundsGEP2(e->b, emit_mem_type(e, c->a.elem), e->arg[c->a_arg], &at, 1, "");
	v = LLVMBuildLoad2(e->b, access_type(t), p, "");
	LLVMSetAlignment(v, (unsigned)(t->plan.chunk * elems * mlo_elem_bits(c->a.elem) / 8));
	return v;
}

/* Elements as they are multiplied: words, or halves of words. */
static LLVMValueRef converted(PatchTile *t, LLVMValueRef v)
{
	Emit *e = t->m.t.e;
	MloElem from = t->m.t.c->a.elem, to = t->m.kind->word;
	int n = emit_lanes(v);
	LLVMTypeRef f16 = to == EL_f16 ? LLVMHalfTypeInContext(e->ctx) : LLVMBFloatTypeInContext(e->ctx);
	LLVMTypeRef bits = LLVMIntTypeInContext(e->ctx, mlo_elem_bits(to)), i32 = i32_type(&t->m);
	LLVMValueRef r;

	if (t->plan.p.channels)
		return v;
	if (to != EL_tf32) {
		if (mlo_elem_bits(from) == 32) /* the same in memory as in registers */
			v = LLVMBuildFPTrunc(e->b, emit_from_memory(e, from, v), emit_vec(f16, n), "");
		return LLVMBuildBitCast(e->b, v, emit_vec(bits, n), "");
	}
	v = emit_from_memory(e, from, v);
	if (from == EL_tf32 || n == 0)
		return from == EL_tf32 ? LLVMBuildBitCast(e->b, v, emit_vec(i32, n), "") : emit_tf32_bits(e, v);
	r = LLVMGetPoison(emit_vec(i32, n));
	for (int i = 0; i < n; i++)
		r = LLVMBuildInsertElement(e->b, r, emit_tf32_bits(e, LLVMBuildExtractElement(e->b, v, emit_index(e, i), "")), emit_index(e, i), "");
	return r;
}

/* Channels that a word has beyond the last one are anything; of floats, that may be no number. */
static LLVMValueRef only_channels(PatchTile *t, LLVMValueRef v, int64_t plane)
{
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;
	int64_t live = c->nk - plane * t->plan.p.elems;
	int n = emit_lanes(v);
	LLVMValueRef mask;

	if (!t->plan.p.channels || !mlo_elem_is_float(c->a.elem) || live >= t->plan.p.elems)
		return v;
	mask = word_const(&t->m, (int64_t)(((uint64_t)1 << live * mlo_elem_bits(c->a.elem)) - 1));
	return LLVMBuildAnd(e->b, v, n ? emit_splat(e, mask, n) : mask, "");
}

/* An element of the access to a copy of the patch that begins at another pixel. */
static void put_pixel(PatchTile *t, LLVMValueRef v, LLVMValueRef at, int64_t behind)
{
	LLVMValueRef p = LLVMBuildGEP2(t->m.t.e->b, LLVMInt8TypeInContext(t->m.t.e->ctx), byte_at(&t->m, at), (LLVMValueRef[]){emit_index(t->m.t.e, behind)}, 1, "");

	LLVMSetAlignment(LLVMBuildStore(t->m.t.e->b, v, p), mlo_elem_bits(t->m.kind->word) / 8);
}

static void put_access(PatchTile *t, const Access *a, int64_t plane, LLVMValueRef v)
{
	const PatchPlan *p = &t->plan;
	Emit *e = t->m.t.e;
	int size = p->p.channels ? 4 : mlo_elem_bits(t->m.kind->word) / 8, n = emit_lanes(v);
	LLVMValueRef at = tile_add(e, tile_mul(e, a->row, p->pitch * 4), tile_mul(e, a->pixel, size)), to;

	to = patch_byte(t, p->weights + plane * p->plane * 4);
	to = LLVMBuildInBoundsGEP2(e->b, LLVMInt8TypeInContext(e->ctx), to, &at, 1, "");
	LLVMSetAlignment(LLVMBuildStore(e->b, v, to), (unsigned)(p->chunk * size));
	for (int64_t s = 1; s < p->copies; s++)
		for (int i = 0; i < (n ? n : 1); i++)
			put_pixel(t, n ? LLVMBuildExtractElement(e->b, v, emit_index(e, i), "") : v, at,
			          p->weights + (plane * p->plane + s * p->copy) * 4 + (i - s) * size);
}

/* What the outside of the image holds. */
static LLVMValueRef outside(PatchTile *t, LLVMTypeRef type)
{
	int n = LLVMGetTypeKind(type) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(type) : 0;

	if (!t->fill)
		return LLVMConstNull(type);
	return n ? emit_splat(t->m.t.e, t->fill, n) : t->fill;
}

/* Some accesses, of all planes. */
static void bring_some(PatchTile *t, const Access *a, int n, LLVMValueRef *v)
{
	const PatchPlan *p = &t->plan;
	Emit *e = t->m.t.e;
	int64_t planes = p->p.planes;
	DeviceIf there;

	for (int i = 0; i < n; i++)
		for (int64_t j = 0; j < planes; j++)
			v[i * planes + j] = load_access(t, &a[i], j);
	for (int i = 0; i < n; i++) {
		if (a[i].there)
			device_if(e, &there, a[i].there);
		for (int64_t j = 0; j < p->planes; j++) {
			LLVMValueRef w = converted(t, v[i * planes + (j < planes ? j : 0)]);

			w = j < planes ? LLVMBuildSelect(e->b, a[i].inside, only_channels(t, w, j), outside(t, LLVMTypeOf(w)), "") : LLVMConstNull(LLVMTypeOf(w));
			put_access(t, &a[i], j, w);
		}
		if (a[i].there)
			device_endif(e, &there);
	}
}

void patch_bring(PatchTile *t)
{
	const PatchPlan *p = &t->plan;
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;
	int lanes = device_patch_lanes(p), words = p->chunk * (p->p.channels ? 4 : mlo_elem_bits(c->a.elem) / 8), n = 0, most;
	int64_t all = device_patch_along(p) * device_patch_down(p);
	LLVMValueRef thread = t->m.t.f->team.thread, row = tile_div(e, thread, lanes), col = tile_mul(e, tile_rem(e, thread, lanes), p->chunk);
	Access *a = MLO_NEWN(e->arena, Access, (size_t)all);
	LLVMValueRef *v;

	words = (words + 3) / 4;
	most = UNDER_WAY / words / (int)p->p.planes;
	most = most < 1 ? 1 : most;
	v = MLO_NEWN(e->arena, LLVMValueRef, (size_t)(most * p->p.planes));
	for (int64_t i = 0; i < all; i++) {
		a[n++] = access_of(t, row, col, i / device_patch_along(p), i % device_patch_along(p));
		if (n == most || i == all - 1) {
			bring_some(t, a, n, v);
			n = 0;
		}
	}
}
