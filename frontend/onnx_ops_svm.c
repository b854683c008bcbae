/* frontend/onnx_ops_svm.c -- importers of support vector machines, as products with the vectors. */
#include <string.h>

#include "frontend/onnx_ml.h"

typedef struct Svm {
	MlNumbers coefficient, vectors, rho, param;
	const char *kernel;
	int64_t nvectors; /* 0: linear, the coefficients are the weights */
} Svm;

static bool read_svm(OnnxNode *n, Svm *s)
{
	s->coefficient = ml_numbers(n, "coefficients");
	s->vectors = ml_numbers(n, "support_vectors");
	s->rho = ml_numbers(n, "rho");
	s->param = ml_numbers(n, "kernel_params");
	s->kernel = onnx_str(n, "kernel_type", "LINEAR");
	if (strcmp(s->kernel, "LINEAR") != 0 && strcmp(s->kernel, "POLY") != 0 &&
	    strcmp(s->kernel, "RBF") != 0 && strcmp(s->kernel, "SIGMOID") != 0)
		onnx_fail(n, MLO_ERR_MODEL, "kernel_type '%s' is not known", s->kernel);
	else if (!s->coefficient.n || !s->rho.n)
		onnx_fail(n, MLO_ERR_MODEL, "has no coefficients or no rho");
	else if (s->nvectors < 0 || (s->nvectors && (s->vectors.n < 1 || s->vectors.n % s->nvectors)))
		onnx_fail(n, MLO_ERR_MODEL, "%lld numbers for %lld support vectors", (long long)s->vectors.n,
			  (long long)s->nvectors);
	return !n->failed;
}

static MloValue *scalar(OnnxNode *n, double v)
{
	return onnx_scalar(n, EL_f32, v);
}

/* x[N,F] @ w[rows,F]^T (+ bias, a vector or a scalar) */
static MloValue *product(OnnxNode *n, MloValue *x, MlNumbers w, int64_t rows, MloValue *bias)
{
	int64_t dims[2] = {rows, w.n / rows};
	MloValue *in[3] = {x, ml_const(n, EL_f32, 2, dims, w.v), bias};
	MloNode *m = onnx_node(n, OP_gemm, in, bias ? 3 : 2, 1);

	mlo_attr_set_i(m, ATTR_gemm_transB, 1);
	return onnx_infer(n, m);
}

/* exp(-gamma |x - v|^2) for all vectors, by differences as ONNX Runtime does: cancellation-free. */
static MloValue *rbf(OnnxNode *n, MloValue *x, const Svm *s, double gamma)
{
	int64_t dims[3] = {1, s->nvectors, s->vectors.n / s->nvectors}, one = 1, last = -1;
	MloNode *m;
	MloValue *d;

	d = onnx_op2(n, OP_sub, onnx_op2(n, OP_unsqueeze, x, onnx_i64s(n, &one, 1)),
		     ml_const(n, EL_f32, 3, dims, s->vectors.v));
	m = onnx_node(n, OP_reduce_sum, (MloValue *[]){onnx_op2(n, OP_mul, d, d), onnx_i64s(n, &last, 1)}, 2,
		      1);
	mlo_attr_set_i(m, ATTR_reduce_sum_keepdims, 0);
	return onnx_op1(n, OP_exp, onnx_op2(n, OP_mul, onnx_infer(n, m), scalar(n, -gamma)));
}

/* The kernel of each row with each support vector, [N, nvectors]. */
static MloValue *kernels(OnnxNode *n, MloValue *x, const Svm *s)
{
	double gamma = s->param.n > 0 ? s->param.v[0] : 0, coef0 = s->param.n > 1 ? s->param.v[1] : 0;
	double degree = s->param.n > 2 ? s->param.v[2] : 0;
	MloValue *k;

	if (!strcmp(s->kernel, "RBF"))
		return rbf(n, x, s, gamma);
	k = product(n, x, s->vectors, s->nvectors, NULL);
	if (!strcmp(s->kernel, "LINEAR"))
		return k;
	k = onnx_op2(n, OP_add, onnx_op2(n, OP_mul, k, scalar(n, gamma)), scalar(n, coef0));
	return strcmp(s->kernel, "POLY") ? onnx_op1(n, OP_tanh, k)
					 : onnx_op2(n, OP_pow, k, scalar(n, degree));
}

/* -- regression ----------------------------------------------------------------------------------- */

void import_svm_regressor(OnnxNode *n)
{
	MloValue *x = ml_rows(n, false), *y, *above;
	Svm s = {.nvectors = onnx_int(n, "n_supports", 0)};

	ml_post_attr(n); /* has no effect on a single target */
	if (n->failed || !read_svm(n, &s))
		return;
	if (s.nvectors && s.coefficient.n != s.nvectors) {
		onnx_fail(n, MLO_ERR_MODEL, "%lld coefficients for %lld support vectors",
			  (long long)s.coefficient.n, (long long)s.nvectors);
		return;
	}
	y = product(n, s.nvectors ? kernels(n, x, &s) : x, s.coefficient, 1, scalar(n, s.rho.v[0]));
	if (onnx_int(n, "one_class", 0)) {
		above = onnx_op2(n, OP_greater, y, scalar(n, 0));
		y = onnx_op3(n, OP_where, above, scalar(n, 1), scalar(n, -1));
	}
	onnx_result(n, 0, y);
}

/* -- classification ------------------------------------------------------------------------------- */

typedef struct Classes {
	MlLabels labels;
	MlInts vectors; /* per class */
	MlNumbers a, b; /* of the sigmoid per pair */
	int64_t n, pairs;
	bool positive;  /* no coefficient is below 0 */
} Classes;

static bool read_classes(OnnxNode *n, const Svm *s, Classes *c)
{
	int64_t sum = 0;

	c->pairs = c->n * (c->n - 1) / 2;
	c->positive = true;
	for (int64_t i = 0; i < s->coefficient.n; i++)
		c->positive = c->positive && s->coefficient.v[i] >= 0;
	for (int64_t i = 0; i < c->vectors.n; i++) {
		if (c->vectors.v[i] < 0)
			onnx_fail(n, MLO_ERR_MODEL, "class %lld has %lld support vectors", (long long)i,
				  (long long)c->vectors.v[i]);
		sum += c->vectors.v[i];
	}
	if (n->failed)
		return false;
	if (s->nvectors == 0) {
		if (s->coefficient.n % c->n)
			onnx_fail(n, MLO_ERR_MODEL, "%lld coefficients for %lld classes",
				  (long long)s->coefficient.n, (long long)c->n);
	} else if (c->n < 2 || c->vectors.n != c->n || sum != s->nvectors) {
		onnx_fail(n, MLO_ERR_MODEL, "support vectors of %lld classes, but %lld labels",
			  (long long)c->vectors.n, (long long)c->n);
	} else if (s->coefficient.n < (c->n - 1) * s->nvectors || s->rho.n < c->pairs || c->a.n != c->b.n ||
		   (c->a.n && c->a.n < c->pairs)) {
		onnx_fail(n, MLO_ERR_MODEL,
			  "%lld coefficients, %lld rho and %lld prob_a for %lld classes and %lld vectors",
			  (long long)s->coefficient.n, (long long)s->rho.n, (long long)c->a.n,
			  (long long)c->n, (long long)s->nvectors);
	} else if (c->pairs * s->nvectors > (int64_t)1 << 28) {
		onnx_fail(n, MLO_ERR_LIMIT, "%lld pairs of classes times %lld vectors are too many",
			  (long long)c->pairs, (long long)s->nvectors);
	}
	return !n->failed;
}

/* The decision between each pair of classes i < j, [N, pairs]: of the coefficients of class i those
 * against j, and of class j those against i. */
static MloValue *decisions(OnnxNode *n, MloValue *k, const Svm *s, const Classes *c)
{
	double *w = MLO_NEWN(n->im->tmp, double, (size_t)(c->pairs * s->nvectors));
	int64_t p = 0, start_i = 0;

	for (int64_t i = 0; i < c->n; start_i += c->vectors.v[i++]) {
		int64_t start_j = start_i + c->vectors.v[i];

		for (int64_t j = i + 1; j < c->n; start_j += c->vectors.v[j++], p++) {
			double *row = w + p * s->nvectors;

			for (int64_t v = start_i; v < start_i + c->vectors.v[i]; v++)
				row[v] = s->coefficient.v[(j - 1) * s->nvectors + v];
			for (int64_t v = start_j; v < start_j + c->vectors.v[j]; v++)
				row[v] = s->coefficient.v[i * s->nvectors + v];
		}
	}
	return product(n, k, (MlNumbers){w, c->pairs * s->nvectors, false}, c->pairs,
		       ml_vector(n, EL_f32, (MlNumbers){s->rho.v, c->pairs, false}));
}

/* The class that wins most pairs: each pair gives one vote. */
static MloValue *winner(OnnxNode *n, MloValue *decision, const Classes *c)
{
	double *m = MLO_NEWN(n->im->tmp, double, (size_t)(c->pairs * c->n));
	double *lost = MLO_NEWN(n->im->tmp, double, (size_t)c->n);
	int64_t p = 0, dims[2] = {c->pairs, c->n};
	MloValue *won, *votes;
	MloNode *node;

	for (int64_t i = 0; i < c->n; i++)
		for (int64_t j = i + 1; j < c->n; j++, p++) {
			m[p * c->n + i] = 1;
			m[p * c->n + j] = -1;
			lost[j] += 1;
		}
	won = ml_cast(n, onnx_op2(n, OP_greater, decision, scalar(n, 0)), EL_f32);
	votes = onnx_op2(n, OP_add, onnx_op2(n, OP_matmul, won, ml_const(n, EL_f32, 2, dims, m)),
			 ml_vector(n, EL_f32, (MlNumbers){lost, c->n, false}));
	node = onnx_node(n, OP_arg_max, &votes, 1, 1);
	mlo_attr_set_i(node, ATTR_arg_max_axis, 1);
	mlo_attr_set_i(node, ATTR_arg_max_keepdims, 0);
	return onnx_infer(n, node);
}

/* Platt's sigmoid per pair, then coupling. */
static MloValue *probabilities(OnnxNode *n, MloValue *decision, const Classes *c)
{
	MloValue *p =
		onnx_op2(n, OP_mul, decision, ml_vector(n, EL_f32, (MlNumbers){c->a.v, c->pairs, false}));
	MloNode *m;

	p = onnx_op2(n, OP_add, p, ml_vector(n, EL_f32, (MlNumbers){c->b.v, c->pairs, false}));
	p = onnx_op1(n, OP_sigmoid, onnx_op1(n, OP_neg, p));
	p = onnx_op3(n, OP_clip, p, scalar(n, 1e-7), scalar(n, 1 - 1e-7));
	m = onnx_node(n, OP_pairwise_coupling, &p, 1, 1);
	mlo_attr_set_i(m, ATTR_pairwise_coupling_classes, c->n);
	return onnx_infer(n, m);
}

/* Without vectors: one product per class, the largest wins; of two classes the second needs a score
 * above 0 (or of at least 0.5 when no coefficient is negative), whichever it is of. */
static MloValue *linear_winner(OnnxNode *n, MloValue *s, const Classes *c)
{
	MloNode *m = onnx_node(n, OP_arg_max, &s, 1, 1);
	MloValue *best, *max, *over;
	int64_t one = 1;

	mlo_attr_set_i(m, ATTR_arg_max_axis, 1);
	mlo_attr_set_i(m, ATTR_arg_max_keepdims, 0);
	best = onnx_infer(n, m);
	if (c->n != 2)
		return best;
	m = onnx_node(n, OP_reduce_max, (MloValue *[]){s, onnx_i64s(n, &one, 1)}, 2, 1);
	mlo_attr_set_i(m, ATTR_reduce_max_keepdims, 0);
	max = onnx_infer(n, m);
	over = onnx_op2(n, c->positive ? OP_greater_equal : OP_greater, max,
			scalar(n, c->positive ? 0.5 : 0));
	return onnx_op3(n, OP_where, over, mlo_graph_const_i64s(n->g, 0, &one, 1), best);
}

void import_svm_classifier(OnnxNode *n)
{
	MloValue *x = ml_rows(n, false), *s;
	Classes c = {.labels = ml_labels(n, "classlabels_ints", "classlabels_strings"),
		     .vectors = ml_ints(n, "vectors_per_class"),
		     .a = ml_numbers(n, "prob_a"),
		     .b = ml_numbers(n, "prob_b")};
	Svm svm = {.nvectors = 0};
	MlPost post = ml_post_attr(n);

	c.n = c.labels.n;
	if (c.n > 65535)
		onnx_fail(n, MLO_ERR_LIMIT, "%lld classes are too many", (long long)c.n);
	for (int64_t i = 0; i < c.vectors.n && svm.nvectors >= 0; i++)
		svm.nvectors =
			c.vectors.v[i] < 0 || c.vectors.v[i] > INT32_MAX ? -1 : svm.nvectors + c.vectors.v[i];
	if (n->failed || !read_svm(n, &svm) || !read_classes(n, &svm, &c))
		return;
	if (!svm.nvectors) {
		s = product(n, x, svm.coefficient, c.n, scalar(n, svm.rho.v[0]));
		ml_label_result(n, &c.labels, linear_winner(n, s, &c));
		onnx_result(n, 1, ml_post(n, s, post));
		return;
	}
	s = decisions(n, kernels(n, x, &svm), &svm, &c);
	ml_label_result(n, &c.labels, winner(n, s, &c));
	if (c.a.n)
		s = ml_post(n, probabilities(n, s, &c), post);
	else
		s = c.n == 2 ? ml_two_scores(n, s, post, post != ML_NONE) : ml_post(n, s, post);
	onnx_result(n, 1, s);
}
