/* codegen/device_split.c -- tiles of which several blocks make a part of the terms each.
 *
 * Each part puts its sums down in scratch memory, passes a fence, and counts itself; whoever is the last to do so adds all parts, in
 * their order, and runs the epilogue.  Nobody waits for another block, so that any order of blocks is right, and the result is the same
 * in all of them.  A counter goes round: it is zero again behind the last part.  (PTX ISA, "Memory Consistency Model": fence, then
 * atomic operation, observed by an atomic operation before a fence; barriers carry that to the other threads of a block.) */
#include "codegen/device_tile.h"

enum { QUAD = 4, IN_FLIGHT = DEVICE_MOST_PARTS /* loads of a thread */ };

/* Quads of four sums of n rows of the tile, as threads go through them: */
typedef struct Quads {
	int64_t all;
	int across;              /* of a row */
	int unrolled;            /* in a round */
	LLVMTypeRef type;
} Quads;

static Quads quads_of(DeviceTile *t, int n, int most)
{
	Quads q = {.all = (int64_t)n * t->columns / QUAD, .across = t->columns / QUAD, .unrolled = 1};

	while (q.unrolled * 2 <= most && q.all % ((int64_t)q.unrolled * 2 * t->f->team.threads) == 0)
		q.unrolled *= 2;
	q.type = LLVMVectorType(emit_type(t->e, mlo_contract_sum(t->c)), QUAD);
	return q;
}

static LLVMValueRef quad_loop(DeviceTile *t, const Quads *q, EmitLoop *l)
{
	int threads = t->f->team.threads;

	return emit_for(t->e, l, device_opaque(t->e, t->f->team.thread), emit_index(t->e, q->all - (int64_t)(q->unrolled - 1) * threads),
	                emit_index(t->e, (int64_t)q->unrolled * threads), "quad");
}

/* Quad `at` of rows from `first` on, of a part, in scratch memory. */
static LLVMValueRef kept_at(DeviceTile *t, const Quads *q, LLVMValueRef part, LLVMValueRef first, LLVMValueRef at)
{
	Emit *e = t->e;
	LLVMValueRef row = tile_add(e, tile_mul(e, tile_add(e, tile_mul(e, t->tile, t->parts), part), t->rows), first);

	at = tile_add(e, tile_mul(e, row, q->across), at);
	return LLVMBuildInBoundsGEP2(e->b, q->type, e->scratch, &at, 1, "");
}

static LLVMValueRef shared_at(DeviceTile *t, const Quads *q, int slice, int n, LLVMValueRef at)
{
	Emit *e = t->e;
	LLVMValueRef column = tile_mul(e, tile_rem(e, at, q->across), QUAD);

	return device_word(e, device_sum_at(t, emit_index(e, slice), n, tile_div(e, at, q->across), column));
}

static LLVMValueRef load_quad(DeviceTile *t, const Quads *q, LLVMValueRef p)
{
	LLVMValueRef v = LLVMBuildLoad2(t->e->b, q->type, p, "");

	LLVMSetAlignment(v, QUAD * 4);
	return v;
}

static LLVMValueRef added(DeviceTile *t, LLVMValueRef sum, LLVMValueRef v)
{
	return sum ? emit_combine(t->e, K_add, mlo_contract_sum(t->c), sum, v) : v;
}

void device_split_put(DeviceTile *t, LLVMValueRef first, int n)
{
	Emit *e = t->e;
	Quads q = quads_of(t, n, 1);
	EmitLoop l;
	LLVMValueRef at = quad_loop(t, &q, &l), sum = NULL;

	for (int i = 0; i < t->slices; i++)
		sum = added(t, sum, load_quad(t, &q, shared_at(t, &q, i, n, at)));
	LLVMSetAlignment(LLVMBuildStore(e->b, sum, kept_at(t, &q, t->part, first, at)), QUAD * 4);
	emit_end(e, &l);
}

void device_split_get(DeviceTile *t, LLVMValueRef first, int n)
{
	Emit *e = t->e;
	Quads q = quads_of(t, n, IN_FLIGHT / t->parts);
	EmitLoop l;
	LLVMValueRef at = quad_loop(t, &q, &l), here, v[IN_FLIGHT] = {0};

	for (int i = 0; i < t->parts; i++)
		for (int u = 0; u < q.unrolled; u++) {
			here = tile_addc(e, at, (int64_t)u * t->f->team.threads);
			v[u] = added(t, v[u], load_quad(t, &q, kept_at(t, &q, emit_index(e, i), first, here)));
		}
	for (int u = 0; u < q.unrolled; u++) {
		here = shared_at(t, &q, 0, n, tile_addc(e, at, (int64_t)u * t->f->team.threads));
		LLVMSetAlignment(LLVMBuildStore(e->b, v[u], here), QUAD * 4);
	}
	emit_end(e, &l);
}

static void fence(Emit *e)
{
	emit_intrinsic(e, "llvm.nvvm.membar.gl", NULL, 0, NULL, 0);
}

LLVMValueRef device_split_last(DeviceTile *t)
{
	Emit *e = t->e;
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx), p = LLVMPointerTypeInContext(e->ctx, 1);
	LLVMValueRef told = device_word(e, emit_index(e, 0)), at, counter[2] = {NULL, emit_const_i(i32, t->parts - 1)}, before;
	DeviceIf one;

	device_if(e, &one, LLVMBuildICmp(e->b, LLVMIntEQ, t->f->team.thread, emit_index(e, 0), ""));
	fence(e);
	at = tile_addc(e, t->tile, -t->tiles);
	at = LLVMBuildGEP2(e->b, i32, e->scratch, &at, 1, "");
	counter[0] = LLVMBuildAddrSpaceCast(e->b, at, p, "");
	before = emit_intrinsic(e, "llvm.nvvm.atomic.load.inc.32", &p, 1, counter, 2);
	fence(e);
	LLVMBuildStore(e->b, before, told);
	device_endif(e, &one);
	device_block_barrier(e);
	before = LLVMBuildLoad2(e->b, i32, told, "");
	device_block_barrier(e);
	return LLVMBuildICmp(e->b, LLVMIntEQ, before, counter[1], "");
}
