/* codegen/emit_prefetch.c -- weights are fetched before they are needed, where the second-level cache cannot keep them.
 *
 * Either those of the next channel tile, as far ahead as this one's are long; or, where a tile's weights are read again for each
 * register tile along the columns, a share of the next ones in each of these readings. */
#include <string.h>

#include "codegen/emit_contract.h"

enum { CACHE_LINE = 64, UNROLL = CONTRACT_UNROLL };

static void prefetch(Tile *t, LLVMValueRef off)
{
	static const char name[] = "llvm.prefetch";
	Emit *e = t->e;
	LLVMTypeRef ptr = LLVMPointerTypeInContext(e->ctx, 0), i32 = LLVMInt32TypeInContext(e->ctx);
	unsigned id = LLVMLookupIntrinsicID(name, sizeof name - 1);
	LLVMValueRef args[] = {contract_address(t, true, off), LLVMConstInt(i32, 0, 0), LLVMConstInt(i32, 2, 0),
	                       LLVMConstInt(i32, 1, 0)};

	LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->ctx, id, &ptr, 1),
	               LLVMGetIntrinsicDeclaration(e->mod, id, &ptr, 1), args, 4, "");
}

/* Weights of the next channel tile start their way from memory while this one is at work: the
 * hardware's own prefetchers stop at page borders and start late. */
void contract_prefetch_next(Tile *t, LLVMValueRef b_off)
{
	const KContract *c = t->c;
	Emit *e = t->e;

	for (int j = 0; j < c->vecs; j++)
		if (j * contract_vector(c) * mlo_elem_bits(c->b.elem) / 8 % CACHE_LINE == 0)
			prefetch(t, addc(e, add(e, b_off, t->ahead), j * contract_vector(c)));
}

/* Elements of B in a cache line. */
static int64_t line_elems(const KContract *c)
{
	return CACHE_LINE * 8 / mlo_elem_bits(c->b.elem);
}

/* Where a channel tile's weights are read once for each register tile along the columns, each of these readings
 * fetches its share of the next one: all at once would wait for memory. */
void contract_prefetch_share(Tile *t, LLVMValueRef b_off)
{
	Emit *e = t->e;
	LLVMValueRef turn = divc(e, LLVMBuildNSWSub(e->b, b_off, t->b0, ""), UNROLL * contract_step(t->c));
	LLVMValueRef at = add(e, add(e, t->b0, t->share_at), muln(e, turn, t->share * line_elems(t->c)));

	for (int64_t i = 0; i < t->share; i++)
		prefetch(t, addc(e, at, i * line_elems(t->c)));
}

/* Sets the share of a register tile at x0. */
void contract_prefetch_tile(Tile *t, LLVMValueRef x0)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t turns = mlo_contract_steps(c) / UNROLL;

	if (!t->share)
		return;
	if (!c->c_outer)
		x0 = remc(e, x0, c->y_chunk);
	t->share_at = addc(e, muln(e, divc(e, x0, c->cols), turns * t->share * line_elems(t->c)), mlo_contract_steps(c) * contract_step(c));
}

/* How far ahead weights are prefetched, where they are too many to stay in the second-level cache:
 * in the last chunk of a channel tile (or always, when every task has a new tile) the next tile's. */
void contract_prefetch_plan(Tile *t, LLVMValueRef chunk, LLVMValueRef chunks)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t tile = c->nky * c->nkx * mlo_contract_steps(c) * contract_step(c), extent = c->c_outer ? c->nx : c->y_chunk, readings;
	LLVMValueRef last, next = emit_index(e, tile);

	if (e->t->gpu || !c->b.packed || t->depthwise || c->scale.on || c->nky * c->nkx * contract_tap_bytes(c) * mlo_contract_ctiles(c) < e->t->l2 / 2)
		return;
	readings = (extent + c->cols - 1) / c->cols;
	if (mlo_contract_by_columns(c) && c->nx >= 0 && readings > 1 && c->nky == 1 && mlo_contract_steps(c) > UNROLL && !c->group_k) {
		t->share = (UNROLL * contract_step(c) / line_elems(c) + readings - 1) / readings;
		return;
	}
	t->ahead = next;
	if (!c->c_outer)
		return;
	last = LLVMBuildICmp(e->b, LLVMIntEQ, chunk, addc(e, chunks, -1), "");
	t->ahead = LLVMBuildSelect(e->b, last, next, emit_index(e, 0), "");
}
