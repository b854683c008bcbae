/* codegen/emit_scale.c -- contractions whose terms have a factor each: those of a channel's gate (squeeze and excite).
 *
 * sum over k of (A[k] * g[k]) * B[k][c] = sum over k of A[k] * (g[k] * B[k][c]): a task multiplies the weights of its channel tile,
 * which are fewer than the pixels that they meet, and the image is read as it is.  Tasks behind each other that have the same
 * batch and tile share what the first of them has made. */
#include "codegen/emit_contract.h"

void contract_scale_begin(Tile *t)
{
	Emit *e = t->e;

	if (!t->c->scale.on)
		return;
	t->scaled = emit_alloca(e, e->index, "scaled");
	LLVMBuildStore(e->b, emit_index(e, -1), t->scaled);
}

/* All terms of the tile, from t->b0 on, into scratch memory. */
static void scale_tile(Tile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	EmitLoop l;
	LLVMValueRef k = emit_for(e, &l, emit_index(e, 0), emit_index(e, c->nk), emit_index(e, 1), "k"), g;

	g = contract_element(t, c->scale.g_arg, EL_f32, add(e, muln(e, t->b[0], c->scale.b0), k));
	g = emit_splat(e, LLVMBuildLoad2(e->b, t->sum, g, "gate"), c->lanes);
	for (int j = 0; j < c->vecs; j++) {
		LLVMValueRef off = addc(e, muln(e, k, t->wtile), (int64_t)j * c->lanes);
		LLVMValueRef w = contract_element(t, c->b_arg, EL_f32, add(e, t->b0, off)), to = contract_element(t, c->w_arg, EL_f32, off);

		w = LLVMBuildLoad2(e->b, t->vec, w, "");
		LLVMSetAlignment(w, 4);
		LLVMSetAlignment(LLVMBuildStore(e->b, LLVMBuildFMul(e->b, w, g, ""), to), 4);
	}
	emit_end(e, &l);
}

void contract_scale_weights(Tile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMBasicBlockRef make, made;
	LLVMValueRef tile, key;

	if (!c->scale.on)
		return;
	make = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "scale");
	made = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "scaled");
	tile = add(e, muln(e, add(e, muln(e, t->b[0], c->nb1), t->b[1]), mlo_contract_ctiles(c)), t->ct);
	key = LLVMBuildLoad2(e->b, e->index, t->scaled, "");
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, tile, key, ""), made, make);
	LLVMPositionBuilderAtEnd(e->b, make);
	scale_tile(t);
	LLVMBuildStore(e->b, tile, t->scaled);
	LLVMBuildBr(e->b, made);
	LLVMPositionBuilderAtEnd(e->b, made);
	t->b_arg = c->w_arg;
	t->b0 = emit_index(e, 0);
}
