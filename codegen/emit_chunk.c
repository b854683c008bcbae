/* codegen/emit_chunk.c -- tasks of contractions that copy the input of a chunk and make several channel tiles from it. */
#include "codegen/emit_contract.h"

/* From `from` on, at most y_chunk of them. */
static LLVMValueRef chunk_of(const Tile *t, LLVMValueRef from, int64_t extent)
{
	Emit *e = t->e;

	return pick(e, LLVMIntSLT, LLVMBuildNSWSub(e->b, num(e, extent), from, ""), emit_index(e, t->c->y_chunk));
}

void contract_task(Tile *t, LLVMValueRef task, ContractTask *out)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t splits = mlo_contract_csplits(c);
	bool by_columns = mlo_contract_by_columns(c);
	LLVMValueRef chunks = divc(e, addc(e, num(e, by_columns ? c->nx : c->ny), c->y_chunk - 1), c->y_chunk);
	LLVMValueRef part = remc(e, task, splits), rest = divc(e, task, splits), batch = LLVMBuildUDiv(e->b, rest, chunks, "");
	LLVMValueRef first, from;

	out->ct_lo = muln(e, part, c->c_chunk);
	out->ct_hi = pick(e, LLVMIntSLT, addc(e, out->ct_lo, c->c_chunk), emit_index(e, mlo_contract_ctiles(c)));
	from = muln(e, LLVMBuildURem(e->b, rest, chunks, ""), c->y_chunk);
	out->x0 = by_columns ? from : emit_index(e, 0);
	out->nx = by_columns ? chunk_of(t, from, c->nx) : emit_index(e, c->nx);
	out->y0 = by_columns ? emit_index(e, 0) : from;
	out->ny = by_columns ? emit_index(e, c->ny) : chunk_of(t, from, c->ny);
	t->b[0] = LLVMBuildUDiv(e->b, batch, num(e, c->nb1), "");
	t->b[1] = LLVMBuildURem(e->b, batch, num(e, c->nb1), "");
	t->a0 = add(e, muln(e, t->b[0], c->a.b0), muln(e, t->b[1], c->a.b1));
	first = LLVMBuildOr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, part, emit_index(e, 0), ""),
	                    LLVMBuildICmp(e->b, LLVMIntEQ, task, e->begin, ""), "");
	out->anew = LLVMBuildZExt(e->b, first, e->index, "");
}

bool contract_row_begin(Tile *t, LLVMValueRef iy, ContractRow *r)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMBasicBlockRef inside;

	if (c->py == 0 && (c->ny - 1) * c->sy + (c->nky - 1) * c->dy < c->in_y)
		return false;
	inside = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "inside");
	r->outside = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "pad");
	r->join = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "copied");
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntULT, iy, emit_index(e, c->in_y), ""), inside, r->outside);
	LLVMPositionBuilderAtEnd(e->b, inside);
	return true;
}

void contract_row_else(Tile *t, const ContractRow *r)
{
	LLVMBuildBr(t->e->b, r->join);
	LLVMPositionBuilderAtEnd(t->e->b, r->outside);
}

void contract_row_end(Tile *t, const ContractRow *r)
{
	LLVMBuildBr(t->e->b, r->join);
	LLVMPositionBuilderAtEnd(t->e->b, r->join);
}
