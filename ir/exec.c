/* ir/exec.c -- the table of reference kernels, their attributes, and running a single node. */
#include "ir/exec.h"

#include <stdint.h>

#include "ir/exec_internal.h"

_Alignas(16) const char mlo_exec_empty[16];

RefKernel *mlo_ref_kernel(MloOp op)
{
	static RefKernel *const kernel[OP_COUNT] = {
#define OP(id, lo, hi, olo, ohi, kind, traits, ...) \
	[OP_##id] = __builtin_choose_expr((traits) & TR_OBJECT, NULL, ref_##id),
#define ATTR(...)
#include "ir/ops.def"
	};
	MLO_ASSERT(op < OP_COUNT);
	return kernel[op];
}

RefSizeKernel *mlo_size_kernel(MloOp op)
{
	static RefSizeKernel *const kernel[OP_COUNT] = {
#define OP(id, lo, hi, olo, ohi, kind, traits, ...)                                        \
	[OP_##id] = __builtin_choose_expr((traits) & TR_SIZED, size_##id,                  \
	                                  (traits) & TR_BCAST ? size_broadcast : NULL),
#define ATTR(...)
#include "ir/ops.def"
	};
	MLO_ASSERT(op < OP_COUNT);
	return kernel[op];
}

void mlo_ref_attrs(MloArena *a, const MloNode *n, RefAttr *attr)
{
	const MloOpInfo *info = mlo_op_info(n->op);
	(void)a;
	for (int i = 0; i < info->nattr; i++) {
		int count = 0;
		attr[i] = (RefAttr){0};
		switch (info->attr[i].kind) {
		case AK_INT: attr[i].i = mlo_attr_i(n, i); break;
		case AK_FLOAT: attr[i].f = mlo_attr_f(n, i); break;
		case AK_STR: attr[i].s = mlo_attr_s(n, i); break;
		case AK_INTS: attr[i].ints = mlo_attr_ints(n, i, &count); break;
		case AK_FLOATS: attr[i].floats = mlo_attr_floats(n, i, &count); break;
		case AK_GRAPH: break; /* no reference kernel runs a body */
		}
		attr[i].n = count;
	}
}

/* Strings and complex numbers can be moved and compared for equality, nothing else. */
static bool takes_any_type(MloOp op)
{
	return mlo_op_has(op, TR_MOVES) || (mlo_op_info(op)->kind == OK_MOVE && op != OP_resize && op != OP_pad);
}

/* Operators whose business are strings. */
static bool takes_strings(MloOp op)
{
	static const MloOp list[] = {OP_equal, OP_to_string, OP_from_string, OP_string_concat, OP_string_split,
	                             OP_string_normalizer, OP_regex_full_match, OP_tfidf_vectorizer};

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		if (list[i] == op)
			return true;
	return false;
}

MloStatus mlo_exec_check_types(const MloNode *n, const RefCall *c, MloDiag *d)
{
	if (takes_any_type(n->op))
		return MLO_OK;
	for (int k = 0; k < c->nin + c->nout; k++) {
		const RefTensor *t = k < c->nin ? &c->in[k] : &c->out[k - c->nin];
		MloElemClass cls = t->elem == EL_none ? EC_BOOL : mlo_elem_class((MloElem)t->elem);
		if (cls == EC_COMPLEX || (cls == EC_STRING && !takes_strings(n->op)))
			return mlo_error(d, MLO_ERR_UNSUPPORTED, "node '%s' (%s): element type %s cannot be computed",
			                 mlo_node_name(n), mlo_op_info(n->op)->name,
			                 mlo_elem_text((MloElem)t->elem));
	}
	return MLO_OK;
}

RefTensor mlo_exec_view(MloArena *a, const MloTensor *t)
{
	RefTensor r = {0};
	if (!t)
		return r;
	unsigned bytes = mlo_elem_bits(t->elem) / 8, align = bytes > 8 ? 8 : bytes ? bytes : 1;
	const void *data = t->data ? t->data : mlo_exec_empty;
	if ((uintptr_t)data % align)
		data = mlo_dup(a, data, t->nbytes);
	return (RefTensor){(void *)(uintptr_t)data, t->dim, t->rank, (int32_t)t->elem};
}

MloStatus mlo_exec_node(MloArena *scratch, const MloNode *n, const MloTensor *const *in,
                        MloTensor *const *out, bool blas, MloDiag *d)
{
	RefTensor *ti = MLO_NEWN(scratch, RefTensor, n->nin + 1), *to = MLO_NEWN(scratch, RefTensor, n->nout + 1);
	RefAttr *attr = MLO_NEWN(scratch, RefAttr, (size_t)mlo_op_info(n->op)->nattr + 1);
	size_t nscratch;
	for (uint32_t i = 0; i < n->nin; i++)
		ti[i] = mlo_exec_view(scratch, in[i]);
	for (uint32_t i = 0; i < n->nout; i++)
		to[i] = mlo_exec_view(scratch, out[i]);
	mlo_ref_attrs(scratch, n, attr);
	RefCall call = {.in = ti, .out = to, .attr = attr, .nin = (int32_t)n->nin, .nout = (int32_t)n->nout};
	MLO_TRY(mlo_exec_check_types(n, &call, d));
	MLO_TRY(mlo_exec_check_values(n, &call, d));
	if (blas && mlo_exec_blas_takes(n->op, &call, &nscratch))
		mlo_exec_blas(n->op, &call, MLO_NEWN(scratch, float, nscratch + 1));
	else
		mlo_ref_kernel(n->op)(&call);
	return MLO_OK;
}
