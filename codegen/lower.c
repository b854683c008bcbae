/* codegen/lower.c -- offsets of values in memory, and which values stay inside a group. */
#include "codegen/lower.h"

#include "codegen/lower_loops.h"

bool mlo_group_internal(const MloGraph *g, const MloNode *first, const MloNode *last,
                        const MloValue *v)
{
	(void)g;
	uint32_t uses = 0;
	bool defined = false;
	for (const MloNode *n = first;; n = n->next) {
		for (uint32_t i = 0; i < n->nin; i++)
			uses += n->in[i] == v;
		defined |= v->def == n;
		if (n == last)
			break;
	}
	return defined && uses == v->nuse; /* nuse counts graph outputs too */
}

bool mlo_node_static(const MloNode *n)
{
	if (mlo_op_has(n->op, TR_OBJECT))
		return false;
	for (uint32_t i = 0; i < n->nin + n->nout; i++) {
		const MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
		if (v && (!mlo_type_static(&v->type) || v->type.elem == EL_str))
			return false;
	}
	return true;
}

bool mlo_node_lowers(const MloNode *n)
{
	if (mlo_op_has(n->op, TR_OBJECT))
		return false;
	for (uint32_t i = 0; i < n->nin + n->nout; i++) {
		const MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
		if (v && (v->type.rank < 0 || mlo_type_object(&v->type) || v->type.elem == EL_str))
			return false;
	}
	return true;
}

static MloDim rounded_up(MloSymbols *syms, MloDim d, int64_t by)
{
	d = mlo_dim_div(syms, mlo_dim_add(syms, d, mlo_dim(by - 1)), mlo_dim(by));
	return mlo_dim_mul(syms, d, mlo_dim(by));
}

MloDim mlo_value_count(MloSymbols *syms, const MloValue *v)
{
	MloDim n = mlo_dim(1);
	for (int d = 0; d < v->type.rank; d++) {
		MloDim k = v->type.dim[d];
		if (d == 1 && v->layout.block)
			k = rounded_up(syms, k, v->layout.block);
		n = mlo_dim_mul(syms, n, k);
	}
	return n;
}

int64_t mlo_value_storage(const MloValue *v)
{
	return mlo_value_count(NULL, v).k;
}

/* Does e divide by d? */
static bool by(const MloKernel *k, const KIdx *e, MloDim d)
{
	MloDim f;
	return kx_factor(k, e, &f) && mlo_dim_same(f, d);
}

/* acc = index of the inner dimensions (size elements); next is the index of the dimension outside.
 * Undoes a split by division: (x / size) * size + x % size is x, also part by part. */
static const KIdx *append(MloKernel *k, const KIdx *next, MloDim size, const KIdx *acc)
{
	MloDim f;
	if (acc->op == KI_MOD && by(k, acc, size)) {
		const KIdx *x = acc->a;
		if (next->op == KI_DIV && by(k, next, size) && kx_equal(next->a, x))
			return x;
		if (next->op == KI_MOD && kx_factor(k, next, &f) && next->a->op == KI_DIV && by(k, next->a, size) &&
		    kx_equal(next->a->a, x))
			return kx_mod_dim(k, x, mlo_dim_mul(k->syms, size, f));
	}
	return kx_add(k, kx_mul_dim(k, next, size), acc);
}

const KIdx *mlo_lower_offset(MloKernel *k, const MloValue *v, const KIdx *const *index)
{
	const MloType *t = &v->type;
	int64_t B = v->layout.block;
	MloDim size = mlo_dim(1);
	const KIdx *acc = kx_const(k, 0);
	const KIdx *part[MLO_MAX_RANK + 1];
	MloDim extent[MLO_MAX_RANK + 1];
	int n = 0;
	for (int d = 0; d < t->rank; d++) {
		bool split = d == 1 && B;
		part[n] = split ? kx_div(k, index[d], B) : index[d];
		extent[n++] = split ? mlo_dim_div(k->syms, rounded_up(k->syms, t->dim[d], B), mlo_dim(B)) : t->dim[d];
	}
	if (B) {
		part[n] = kx_mod(k, index[1], B);
		extent[n++] = mlo_dim(B);
	}
	bool first = true;
	for (int d = n - 1; d >= 0; d--) {
		if (mlo_dim_known(extent[d]) && extent[d].k == 1)
			continue;
		acc = first ? part[d] : append(k, part[d], size, acc);
		first = false;
		size = mlo_dim_mul(k->syms, size, extent[d]);
	}
	return acc;
}

bool lw_elem_ok(MloElem e)
{
	return e == EL_f32 || e == EL_f64 || e == EL_i32 || e == EL_i64 || e == EL_u8 ||
	       e == EL_i8 || e == EL_bool;
}

int lw_axis(int64_t axis, int rank)
{
	return (int)(axis < 0 ? axis + rank : axis);
}

bool lw_const_i64s(const MloValue *v, int64_t *out, int *n, int max)
{
	*n = 0;
	if (!v)
		return true;
	if (!v->data)
		return false;
	int64_t count = mlo_tensor_elems(v->data);
	if (count > max)
		return false;
	for (int64_t i = 0; i < count; i++)
		out[i] = mlo_tensor_i64(v->data, i);
	*n = (int)count;
	return true;
}

static bool types_ok(const MloNode *n)
{
	for (uint32_t i = 0; i < n->nin + n->nout; i++) {
		const MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
		if (!v)
			continue;
		if (!mlo_type_filled(&v->type) || !lw_elem_ok(v->type.elem))
			return false;
	}
	return n->nout > 0 && n->out[0];
}

bool mlo_can_lower_loops_node(const MloNode *n)
{
	if (!types_ok(n))
		return false;
	switch (mlo_op_info(n->op)->kind) {
	case OK_ELTWISE:
		return mlo_can_lower_eltwise(n);
	case OK_MOVE:
		return lw_can_move(n);
	case OK_REDUCE:
		return lw_can_reduce(n);
	case OK_POOL:
		return lw_can_pool(n);
	case OK_ROWWISE:
		return lw_can_rowwise(n);
	default:
		return false;
	}
}
