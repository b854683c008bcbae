/* ir/type.c -- types of values: element type and shape. */
#include "ir/type.h"

MloType mlo_type(MloElem e, int rank, const int64_t *dims)
{
	MloType t = {.elem = e, .rank = rank};

	MLO_ASSERT(rank >= MLO_RANK_UNKNOWN && rank <= MLO_MAX_RANK);
	for (int i = 0; i < rank; i++)
		t.dim[i] = mlo_dim(dims[i]);
	return t;
}

bool mlo_type_static(const MloType *t)
{
	if (t->rank < 0 || mlo_type_object(t))
		return false;
	for (int i = 0; i < t->rank; i++)
		if (!mlo_dim_known(t->dim[i]))
			return false;
	return true;
}

bool mlo_type_same(const MloType *a, const MloType *b)
{
	if (a->elem != b->elem || a->rank != b->rank || a->kind != b->kind || a->key != b->key)
		return false;
	for (int i = 0; i < a->rank; i++)
		if (!mlo_dim_same(a->dim[i], b->dim[i]))
			return false;
	return true;
}

bool mlo_type_filled(const MloType *t)
{
	int64_t lo, hi;

	if (t->rank < 0 || mlo_type_object(t))
		return false;
	if (mlo_type_static(t))
		return mlo_type_elems(t) > 0;
	for (int i = 0; i < t->rank; i++) {
		mlo_dim_range(t->dim[i], &lo, &hi);
		if (hi < 1)
			return false;
	}
	return true;
}

MloDim mlo_type_count(MloSymbols *syms, const MloType *t)
{
	MloDim n = mlo_dim(1);

	for (int i = 0; i < t->rank; i++)
		n = mlo_dim_mul(syms, n, t->dim[i]);
	return n;
}

bool mlo_type_as_many(MloSymbols *syms, const MloType *a, const MloType *b)
{
	return a->rank >= 0 && b->rank >= 0 && mlo_dim_same(mlo_type_count(syms, a), mlo_type_count(syms, b));
}

int64_t mlo_type_elems(const MloType *t)
{
	int64_t n = 1;

	if (!mlo_type_static(t))
		return -1;
	for (int i = 0; i < t->rank; i++) {
		if (t->dim[i].k < 0)
			return -1;
		if (t->dim[i].k == 0)
			return 0;
	}
	for (int i = 0; i < t->rank; i++)
		if (__builtin_mul_overflow(n, t->dim[i].k, &n) || n > MLO_MAX_ELEMS)
			return -1;
	return n;
}

int64_t mlo_type_bytes(const MloType *t)
{
	int64_t n = mlo_type_elems(t);

	return n < 0 ? -1 : (n * mlo_elem_bits(t->elem) + 7) / 8;
}

static void print_tensor(MloStr *out, const MloType *t)
{
	mlo_str_add(out, "%s[", mlo_elem_text(t->elem));
	if (t->rank < 0)
		mlo_str_add(out, "*");
	for (int i = 0; i < t->rank; i++) {
		if (i)
			mlo_str_add(out, ",");
		mlo_dim_print(out, t->dim[i]);
	}
	mlo_str_add(out, "]");
}

void mlo_type_print(MloStr *out, const MloType *t)
{
	static const char *const open[] = {
		[MLO_TENSOR] = "", [MLO_SEQ] = "seq(", [MLO_OPT] = "opt(", [MLO_OPT_SEQ] = "opt(seq(",
		[MLO_MAP] = "map(", [MLO_SEQ_MAP] = "seq(map(",
	};
	static const char *const close[] = {
		[MLO_TENSOR] = "", [MLO_SEQ] = ")", [MLO_OPT] = ")", [MLO_OPT_SEQ] = "))", [MLO_MAP] = ")",
		[MLO_SEQ_MAP] = "))",
	};

	mlo_str_add(out, "%s", open[t->kind]);
	if (t->kind == MLO_MAP || t->kind == MLO_SEQ_MAP)
		mlo_str_add(out, "%s,%s", mlo_elem_text(t->key), mlo_elem_text(t->elem));
	else
		print_tensor(out, t);
	mlo_str_add(out, "%s", close[t->kind]);
}
