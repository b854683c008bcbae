/* ir/infer_string.c -- result types of operators on strings. */
#include <string.h>

#include "ir/infer.h"

static MloStatus need_strings(const InferCx *c, uint32_t i)
{
	const MloType *t = infer_in(c, i);

	if (!t || t->elem == EL_str)
		return MLO_OK;
	return infer_error(c, "operand '%s' is %s, strings are needed", infer_name(c, i), infer_type_text(c, t));
}

/* The place of the last dimension is taken by the count of characters when sizes are told. */
static MloStatus strings_out(InferCx *c, const MloType *t)
{
	if (t->rank == MLO_MAX_RANK)
		return infer_error(c, "strings of more than %d dimensions", MLO_MAX_RANK - 1);
	return infer_out(c, 0, t);
}

MloStatus infer_string_concat(InferCx *c)
{
	MloType t = *infer_in(c, 0);

	MLO_TRY(need_strings(c, 0));
	MLO_TRY(need_strings(c, 1));
	MLO_TRY(infer_broadcast(c, &t, infer_in(c, 1)));
	return strings_out(c, &t);
}

MloStatus infer_string_split(InferCx *c)
{
	MloType t = *infer_in(c, 0), counts = t;

	MLO_TRY(need_strings(c, 0));
	counts.elem = EL_i64;
	if (t.rank >= 0 && t.rank < MLO_MAX_RANK)
		t.dim[t.rank++] = DIM_UNKNOWN;
	MLO_TRY(infer_out(c, 1, &counts));
	return strings_out(c, &t);
}

MloStatus infer_string_normalizer(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = *x;
	const char *action = mlo_attr_s(c->n, ATTR_string_normalizer_case_change_action);

	MLO_TRY(need_strings(c, 0));
	MLO_TRY(need_strings(c, 1));
	if (strcmp(action, "NONE") != 0 && strcmp(action, "LOWER") != 0 && strcmp(action, "UPPER") != 0)
		return infer_error(c, "case_change_action is %s", action);
	if (x->rank >= 0 && x->rank != 1 && (x->rank != 2 || mlo_dim_differ(x->dim[0], mlo_dim(1))))
		return infer_error(c, "'%s' is %s: a vector or one row is needed", infer_name(c, 0), infer_type_text(c, x));
	if (t.rank == 2)
		t.dim[0] = mlo_dim(1);
	if (t.rank > 0)
		t.dim[t.rank - 1] = DIM_UNKNOWN;
	return strings_out(c, &t);
}

MloStatus infer_regex_full_match(InferCx *c)
{
	const MloType *table = infer_in(c, 1);
	MloType t = *infer_in(c, 0);

	MLO_TRY(need_strings(c, 0));
	if (table->elem != EL_i32 || table->rank != 2 || mlo_dim_differ(table->dim[1], mlo_dim(257)))
		return infer_error(c, "the table is %s, i32[n,257] is needed", infer_type_text(c, table));
	t.elem = EL_bool;
	return infer_out(c, 0, &t);
}

MloStatus infer_tfidf_vectorizer(InferCx *c)
{
	const MloType *x = infer_in(c, 0);
	MloType t = *x;
	int64_t size = mlo_attr_i(c->n, ATTR_tfidf_vectorizer_size);

	MLO_TRY(infer_same_elem(c, 0, 1));
	if (x->elem != EL_i32 && x->elem != EL_i64 && x->elem != EL_str)
		return infer_error(c, "'%s' is %s: integers or strings are needed", infer_name(c, 0), infer_type_text(c, x));
	if (x->rank == 0 || x->rank > 2 || size < 0)
		return infer_error(c, "'%s' is %s: a vector or a matrix is needed", infer_name(c, 0), infer_type_text(c, x));
	t.elem = EL_f32;
	if (t.rank > 0)
		t.dim[t.rank - 1] = mlo_dim(size);
	return infer_out(c, 0, &t);
}

/* Numbers to text, and back; cast has no business with strings. */
MloStatus infer_to_string(InferCx *c)
{
	MloType t = *infer_in(c, 0);

	if (mlo_elem_class(t.elem) == EC_STRING || mlo_elem_class(t.elem) == EC_COMPLEX)
		return infer_error(c, "'%s' is %s: real numbers are needed", infer_name(c, 0), infer_type_text(c, &t));
	t.elem = EL_str;
	return strings_out(c, &t);
}

MloStatus infer_from_string(InferCx *c)
{
	MloType t = *infer_in(c, 0);
	int64_t to = mlo_attr_i(c->n, ATTR_from_string_to);

	MLO_TRY(need_strings(c, 0));
	t.elem = to > 0 && to < 1000 ? mlo_elem_from_onnx((int)to) : EL_none;
	if (t.elem == EL_none || mlo_elem_class(t.elem) == EC_STRING || mlo_elem_class(t.elem) == EC_COMPLEX)
		return infer_error(c, "strings cannot become element type %lld", (long long)to);
	return infer_out(c, 0, &t);
}
