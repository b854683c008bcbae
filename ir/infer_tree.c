/* ir/infer_tree.c -- result types of operators on tables of features. */
#include <string.h>

#include "ir/infer.h"
#include "ir/ref/ref_tree.h"

static MloStatus check_operand(InferCx *c, uint32_t i, const char *what, MloElem elem, int rank)
{
	const MloType *t = infer_in(c, i);

	if (!t || (t->elem == elem && (t->rank == rank || t->rank < 0)))
		return MLO_OK;
	return infer_error(c, "%s '%s' are %s: %s of %d dimensions expected", what, infer_name(c, i),
	                   infer_type_text(c, t), mlo_elem_text(elem), rank);
}

static MloStatus same_length(InferCx *c, uint32_t i, uint32_t j)
{
	const MloType *a = infer_in(c, i), *b = infer_in(c, j);
	MloDim ignored;

	if (a->rank < 0 || b->rank < 0 || infer_meet(a->dim[0], b->dim[0], &ignored))
		return MLO_OK;
	return infer_error(c, "'%s' %s and '%s' %s differ in length", infer_name(c, i), infer_type_text(c, a),
	                   infer_name(c, j), infer_type_text(c, b));
}

static MloStatus check_tables(InferCx *c)
{
	const MloType *nodes = infer_in(c, TREE_NODES);
	MloElem x = infer_in(c, TREE_X)->elem, w = infer_in(c, TREE_WEIGHTS)->elem;
	MloDim ignored;

	if (x != EL_f32 && x != EL_f64)
		return infer_error(c, "'%s' is %s: f32 or f64 expected", infer_name(c, TREE_X),
				   mlo_elem_text(x));
	if (w != EL_f32 && w != EL_f64)
		return infer_error(c, "'%s' is %s: f32 or f64 expected", infer_name(c, TREE_WEIGHTS),
				   mlo_elem_text(w));
	MLO_TRY(check_operand(c, TREE_X, "rows", x, 2));
	MLO_TRY(check_operand(c, TREE_ROOTS, "roots", EL_i64, 1));
	MLO_TRY(check_operand(c, TREE_NODES, "nodes", EL_i32, 2));
	MLO_TRY(check_operand(c, TREE_SPLITS, "splits", x, 1));
	MLO_TRY(check_operand(c, TREE_TARGETS, "targets", EL_i32, 1));
	MLO_TRY(check_operand(c, TREE_WEIGHTS, "weights", w, 1));
	MLO_TRY(check_operand(c, TREE_MEMBERS, "members", x, 1));
	if (nodes->rank == 2 && !infer_meet(nodes->dim[1], mlo_dim(TREE_COLUMNS), &ignored))
		return infer_error(c, "node table '%s' is %s: %d columns expected", infer_name(c, TREE_NODES),
		                   infer_type_text(c, nodes), TREE_COLUMNS);
	MLO_TRY(same_length(c, TREE_NODES, TREE_SPLITS));
	return same_length(c, TREE_TARGETS, TREE_WEIGHTS);
}

/* The largest feature that a branch tests must be there. */
static MloStatus check_features(InferCx *c)
{
	const MloType *x = infer_in(c, TREE_X);
	const MloTensor *t = c->n->in[TREE_NODES]->data;
	int64_t most = -1, n = t ? t->dim[0] : 0;

	if (x->rank != 2 || !mlo_dim_known(x->dim[1]))
		return MLO_OK;
	for (int64_t i = 0; i < n; i++) {
		int64_t f = mlo_tensor_i64(t, i * TREE_COLUMNS + TREE_FEATURE);

		if (mlo_tensor_i64(t, i * TREE_COLUMNS + TREE_MODE) != TREE_LEAF && f > most)
			most = f;
	}
	if (most >= x->dim[1].k)
		return infer_error(c, "the trees test feature %lld, rows '%s' %s have %lld", (long long)most,
		                   infer_name(c, TREE_X), infer_type_text(c, x), (long long)x->dim[1].k);
	return MLO_OK;
}

MloStatus infer_tree_ensemble(InferCx *c)
{
	const MloType *x = infer_in(c, TREE_X);
	int64_t targets = mlo_attr_i(c->n, ATTR_tree_ensemble_targets);
	int64_t parts = mlo_attr_i(c->n, ATTR_tree_ensemble_parts);
	const char *how = mlo_attr_s(c->n, ATTR_tree_ensemble_aggregate);
	MloType t = {.elem = infer_in(c, TREE_WEIGHTS)->elem, .rank = 2};

	if (targets < 1 || targets > MLO_MAX_ELEMS)
		return infer_error(c, "%lld targets", (long long)targets);
	if (parts < 1 || parts > 1024)
		return infer_error(c, "%lld parts, 1 to 1024 expected", (long long)parts);
	if (strcmp(how, "SUM") != 0 && strcmp(how, "MARKED_SUM") != 0 && strcmp(how, "AVERAGE") != 0 &&
	    strcmp(how, "MIN") != 0 && strcmp(how, "MAX") != 0)
		return infer_error(c, "aggregate '%s' is not known", how);
	MLO_TRY(check_tables(c));
	MLO_TRY(check_features(c));
	t.dim[0] = x->rank == 2 ? x->dim[0] : DIM_UNKNOWN;
	t.dim[1] = mlo_dim(targets);
	return infer_out(c, 0, &t);
}

MloStatus infer_lookup(InferCx *c)
{
	const MloType *values = infer_in(c, 2), *other = infer_in(c, 3);
	MloType t = *infer_in(c, 0);

	MLO_TRY(infer_same_elem(c, 0, 1));
	MLO_TRY(infer_same_elem(c, 2, 3));
	MLO_TRY(check_operand(c, 1, "keys", t.elem, 1));
	MLO_TRY(check_operand(c, 2, "values", values->elem, 1));
	MLO_TRY(same_length(c, 1, 2));
	if (other->rank > 0)
		return infer_error(c, "'%s' %s is not a scalar", infer_name(c, 3), infer_type_text(c, other));
	if (mlo_elem_bits(t.elem) < 8 || mlo_elem_bits(values->elem) < 8 ||
	    mlo_elem_class(t.elem) == EC_COMPLEX)
		return infer_error(c, "%s cannot be looked up for %s", mlo_elem_text(values->elem),
				   mlo_elem_text(t.elem));
	t.elem = values->elem;
	return infer_out(c, 0, &t);
}

MloStatus infer_pairwise_coupling(InferCx *c)
{
	const MloType *r = infer_in(c, 0);
	int64_t classes = mlo_attr_i(c->n, ATTR_pairwise_coupling_classes);
	MloType t = {.elem = r->elem, .rank = 2};
	MloDim ignored;

	if (classes < 2 || classes > 65535 || r->elem != EL_f32)
		return infer_error(c, "%lld classes from '%s' %s", (long long)classes, infer_name(c, 0),
		                   infer_type_text(c, r));
	if (r->rank >= 0 &&
	    (r->rank != 2 || !infer_meet(r->dim[1], mlo_dim(classes * (classes - 1) / 2), &ignored)))
		return infer_error(c, "'%s' is %s, %lld classes have %lld pairs", infer_name(c, 0),
				   infer_type_text(c, r), (long long)classes,
				   (long long)(classes * (classes - 1) / 2));
	t.dim[0] = r->rank == 2 ? r->dim[0] : DIM_UNKNOWN;
	t.dim[1] = mlo_dim(classes);
	return infer_out(c, 0, &t);
}
