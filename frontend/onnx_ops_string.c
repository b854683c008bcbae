/* frontend/onnx_ops_string.c -- operators on strings. */
#include <string.h>

#include "frontend/onnx_ops.h"
#include "frontend/onnx_regex.h"

/* A list attribute of strings as a vector; NULL when absent or empty. */
static MloValue *strings(OnnxNode *n, const char *name)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);
	MloTensor *t;
	MloText *text;

	if (!a || a->n_strings == 0)
		return NULL;
	t = mlo_tensor_new(n->g->arena, EL_str, 1, (int64_t[]){(int64_t)a->n_strings});
	text = (MloText *)(uintptr_t)t->data;
	for (size_t i = 0; i < a->n_strings; i++)
		text[i] = (MloText){mlo_strndup(n->g->arena, (const char *)a->strings[i].data, a->strings[i].len),
				    (int64_t)a->strings[i].len};
	return mlo_graph_const(n->g, t, NULL);
}

void import_string_normalizer(OnnxNode *n)
{
	MloValue *in[] = {onnx_in(n, 0), strings(n, "stopwords")};
	MloNode *m;

	if (!onnx_arity(n, 1, 1))
		return;
	onnx_ignore(n, "locale"); /* letters change their case the same everywhere */
	m = onnx_node(n, OP_string_normalizer, in, in[1] ? 2 : 1, 1);
	onnx_attrs(n, m);
	onnx_finish(n, m);
}

void import_regex_full_match(OnnxNode *n)
{
	const char *pattern = onnx_str(n, "pattern", ""), *why = NULL;
	MloTensor *table;

	if (!onnx_arity(n, 1, 1))
		return;
	table = onnx_regex_table(n->g->arena, pattern, strlen(pattern), &why);
	if (!table) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "pattern '%s': %s", pattern, why);
		return;
	}
	onnx_result(n, 0, onnx_op2(n, OP_regex_full_match, n->in[0], mlo_graph_const(n->g, table, NULL)));
}

/* The result has one column for each index up to the largest. */
static int64_t columns(OnnxNode *n)
{
	int count;
	const int64_t *v = onnx_ints(n, "ngram_indexes", &count);
	int64_t most = -1;

	for (int i = 0; v && i < count; i++)
		most = v[i] > most ? v[i] : most;
	return most + 1;
}

static MloValue *weights(OnnxNode *n)
{
	int count;
	const float *w = onnx_floats(n, "weights", &count);
	MloTensor *t;

	if (!w || !count)
		return NULL;
	t = mlo_tensor_new(n->g->arena, EL_f32, 1, (int64_t[]){count});
	memcpy((void *)(uintptr_t)t->data, w, (size_t)count * sizeof *w);
	return mlo_graph_const(n->g, t, NULL);
}

void import_tfidf_vectorizer(OnnxNode *n)
{
	MloValue *text = strings(n, "pool_strings"), *ints = onnx_ints_operand(n, "pool_int64s"), *x = onnx_in(n, 0);
	MloValue *starts = onnx_ints_operand(n, "ngram_counts"), *indexes = onnx_ints_operand(n, "ngram_indexes");
	MloValue *w = weights(n), *pool = text ? text : ints, *in[] = {x, pool, starts, indexes, w};
	MloNode *m;

	if (!onnx_arity(n, 1, 1))
		return;
	if (!pool || !starts || !indexes) {
		onnx_fail(n, MLO_ERR_MODEL, "the pool of n-grams, their counts or indexes are missing");
		return;
	}
	if (x->type.elem == EL_i32) { /* the pool is of 64 bits */
		m = onnx_node(n, OP_cast, &x, 1, 1);
		mlo_attr_set_i(m, ATTR_cast_to, mlo_elem_onnx(EL_i64));
		in[0] = onnx_infer(n, m);
	}
	m = onnx_node(n, OP_tfidf_vectorizer, in, w ? 5 : 4, 1);
	mlo_attr_set_s(n->g, m, ATTR_tfidf_vectorizer_mode, onnx_str(n, "mode", "TF"));
	mlo_attr_set_i(m, ATTR_tfidf_vectorizer_min_gram_length, onnx_int(n, "min_gram_length", 1));
	mlo_attr_set_i(m, ATTR_tfidf_vectorizer_max_gram_length, onnx_int(n, "max_gram_length", 1));
	mlo_attr_set_i(m, ATTR_tfidf_vectorizer_max_skip_count, onnx_int(n, "max_skip_count", 0));
	mlo_attr_set_i(m, ATTR_tfidf_vectorizer_size, columns(n));
	onnx_finish(n, m);
}
