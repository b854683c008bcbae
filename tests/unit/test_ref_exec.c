/* tests/unit/test_ref_exec.c -- the executor: OpenBLAS against the plain kernels, shared buffers, messages. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir/exec.h"

void suite_ref_exec(void);

static uint64_t state;

static int64_t pick(int64_t lo, int64_t hi)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return lo + (int64_t)((state >> 33) % (uint64_t)(hi - lo + 1));
}

static MloTensor *random_tensor(MloArena *a, int rank, const int64_t *dim)
{
	MloTensor *t = mlo_tensor_new(a, EL_f32, rank, dim);
	for (int64_t i = 0, n = mlo_tensor_elems(t); i < n; i++)
		mlo_tensor_set_f64(t, i, (double)pick(-1000, 1000) / 1000);
	return t;
}

static MloValue *input(MloGraph *g, const char *name, const MloTensor *t)
{
	MloType type = mlo_tensor_type(t);
	return mlo_graph_input(g, name, &type);
}

/* Runs n both ways; normalised squared difference, or -1. */
static double difference(MloArena *a, MloGraph *g, MloNode *n, const MloTensor *const *in)
{
	MloDiag d = {0};
	if (mlo_infer_node(g, n, &d) != MLO_OK || !mlo_type_static(&n->out[0]->type)) {
		mlo_diag_free(&d);
		return -1;
	}
	const MloType *t = &n->out[0]->type;
	int64_t dim[MLO_MAX_RANK];
	for (int i = 0; i < t->rank; i++)
		dim[i] = t->dim[i].k;
	MloTensor *plain = mlo_tensor_new(a, EL_f32, t->rank, dim), *blas = mlo_tensor_new(a, EL_f32, t->rank, dim);
	bool ok = mlo_exec_node(a, n, in, &plain, false, &d) == MLO_OK &&
	          mlo_exec_node(a, n, in, &blas, true, &d) == MLO_OK;
	double error = 0, norm = 1e-30;
	for (int64_t i = 0, count = mlo_tensor_elems(plain); i < count; i++) {
		double x = mlo_tensor_f64(plain, i), y = mlo_tensor_f64(blas, i);
		error += (x - y) * (x - y);
		norm += x * x;
	}
	mlo_diag_free(&d);
	return ok ? error / norm : -1;
}

static void set_lists(MloGraph *g, MloNode *n, int strides, int dilations, int pads, int nd, bool transposed)
{
	int64_t s[3], d[3], p[6];
	for (int i = 0; i < nd; i++) {
		s[i] = pick(1, 3);
		d[i] = pick(1, 2);
		p[i] = pick(0, transposed ? 1 : 2);
		p[nd + i] = pick(0, transposed ? 1 : 2);
	}
	mlo_attr_set_ints(g, n, strides, s, nd);
	mlo_attr_set_ints(g, n, dilations, d, nd);
	mlo_attr_set_ints(g, n, pads, p, 2 * nd);
}

/* One random convolution; also depthwise, grouped, with 1 to 3 spatial dimensions. */
static double random_conv(bool transposed)
{
	MloGraph *g = mlo_graph_new("t");
	MloArena *a = g->arena;
	int nd = (int)pick(1, 3);
	int64_t group = pick(1, 4), c = pick(1, 4), m = pick(1, 4), x[5], w[5];
	if (pick(0, 2) == 0)
		c = 1;
	x[0] = pick(1, 2);
	x[1] = group * c;
	w[0] = transposed ? group * c : group * m;
	w[1] = transposed ? m : c;
	for (int i = 0; i < nd; i++) {
		x[2 + i] = pick(5, 9);
		w[2 + i] = pick(1, 3);
	}
	int64_t bias[1] = {group * m};
	const MloTensor *in[3] = {random_tensor(a, nd + 2, x), random_tensor(a, nd + 2, w),
	                          random_tensor(a, 1, bias)};
	MloValue *v[3] = {input(g, "x", in[0]), input(g, "w", in[1]), input(g, "b", in[2])};
	MloNode *n = mlo_graph_node(g, NULL, transposed ? OP_conv_transpose : OP_conv, v, 3, 1);
	if (transposed) {
		set_lists(g, n, ATTR_conv_transpose_strides, ATTR_conv_transpose_dilations,
		          ATTR_conv_transpose_pads, nd, true);
		mlo_attr_set_i(n, ATTR_conv_transpose_group, group);
	} else {
		set_lists(g, n, ATTR_conv_strides, ATTR_conv_dilations, ATTR_conv_pads, nd, false);
		mlo_attr_set_i(n, ATTR_conv_group, group);
	}
	double e = difference(a, g, n, in);
	mlo_graph_free(g);
	return e;
}

static void convolutions_agree(void)
{
	for (int i = 0; i < 300; i++) {
		uint64_t seed = state;
		double e = random_conv(i & 1);
		if (!(e >= 0 && e < 1e-10)) {
			printf("seed %llu: %g\n", (unsigned long long)seed, e);
			CU_FAIL("OpenBLAS and plain convolution differ");
			return;
		}
	}
}

static void products_agree(void)
{
	static const struct { int ra, rb; int64_t a[4], b[4]; } cases[] = {
		{2, 2, {40, 50}, {50, 30}}, {3, 2, {3, 20, 50}, {50, 30}}, {4, 4, {2, 1, 20, 30}, {1, 3, 30, 40}},
		{1, 2, {60}, {60, 50}}, {2, 1, {60, 50}, {50}}, {3, 3, {4, 30, 20}, {4, 20, 10}},
		{2, 3, {30, 40}, {5, 40, 10}}, {3, 1, {3, 30, 40}, {40}},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		MloGraph *g = mlo_graph_new("t");
		const MloTensor *in[2] = {random_tensor(g->arena, cases[i].ra, cases[i].a),
		                          random_tensor(g->arena, cases[i].rb, cases[i].b)};
		MloValue *v[2] = {input(g, "a", in[0]), input(g, "b", in[1])};
		double e = difference(g->arena, g, mlo_graph_node(g, NULL, OP_matmul, v, 2, 1), in);
		CU_ASSERT(e >= 0 && e < 1e-12);
		mlo_graph_free(g);
	}
}

static double random_gemm(bool ta, bool tb, int rank_c, const int64_t *dim_c)
{
	MloGraph *g = mlo_graph_new("t");
	int64_t a[2] = {ta ? 50 : 40, ta ? 40 : 50}, b[2] = {tb ? 30 : 50, tb ? 50 : 30};
	const MloTensor *in[3] = {random_tensor(g->arena, 2, a), random_tensor(g->arena, 2, b),
	                          random_tensor(g->arena, rank_c, dim_c)};
	MloValue *v[3] = {input(g, "a", in[0]), input(g, "b", in[1]), input(g, "c", in[2])};
	MloNode *n = mlo_graph_node(g, NULL, OP_gemm, v, 3, 1);
	mlo_attr_set_i(n, ATTR_gemm_transA, ta);
	mlo_attr_set_i(n, ATTR_gemm_transB, tb);
	mlo_attr_set_f(n, ATTR_gemm_alpha, 0.5);
	mlo_attr_set_f(n, ATTR_gemm_beta, 2);
	double e = difference(g->arena, g, n, in);
	mlo_graph_free(g);
	return e;
}

static void gemms_agree(void)
{
	static const struct { int rank; int64_t dim[2]; } c[] = {{2, {40, 30}}, {1, {30}}, {2, {40, 1}}, {0, {0}},
	                                                          {2, {1, 30}}, {1, {1}}};
	for (size_t i = 0; i < sizeof c / sizeof *c; i++)
		for (int t = 0; t < 4; t++) {
			double e = random_gemm(t & 1, t & 2, c[i].rank, c[i].dim);
			CU_ASSERT(e >= 0 && e < 1e-12);
		}
}

/* relu(x) is read twice, once late: its buffer must not be given away before. */
static MloGraph *shared_graph(const MloTensor *x)
{
	MloGraph *g = mlo_graph_new("t");
	MloValue *v = input(g, "x", x), *r = mlo_graph_op(g, NULL, OP_relu, NULL, &v, 1), *e = r;
	for (int i = 0; i < 3; i++)
		e = mlo_graph_op(g, NULL, OP_neg, NULL, &e, 1);
	MloValue *pair[2] = {r, e};
	mlo_graph_output(g, mlo_graph_op(g, NULL, OP_sub, NULL, pair, 2), "y");
	mlo_graph_output(g, v, "same");
	return g;
}

static void buffers_live_long_enough(void)
{
	MloArena *a = mlo_arena_new();
	const int64_t dim[2] = {3, 5};
	const MloTensor *x = random_tensor(a, 2, dim), *z = random_tensor(a, 2, dim), *out[2];
	MloGraph *g = shared_graph(x);
	MloDiag d = {0};
	MloExec *e = mlo_exec_new(g, 1, &d);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	for (int run = 0; run < 3; run++) {
		const MloTensor *in = run & 1 ? z : x;
		CU_ASSERT_EQUAL_FATAL(mlo_exec_run(e, &in, out, &d), MLO_OK);
		for (int64_t i = 0; i < 15; i++) {
			double v = mlo_tensor_f64(in, i);
			CU_ASSERT_EQUAL(mlo_tensor_f64(out[0], i), v > 0 ? (double)(float)(2 * v) : 0);
			CU_ASSERT_EQUAL(mlo_tensor_f64(out[1], i), v);
		}
	}
	mlo_exec_free(e);
	mlo_graph_free(g);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

static void wrong_inputs_are_refused(void)
{
	MloArena *a = mlo_arena_new();
	const int64_t dim[2] = {3, 5}, other[2] = {3, 4};
	const MloTensor *x = random_tensor(a, 2, dim), *bad = random_tensor(a, 2, other), *none = NULL;
	MloTensor *out[2];
	MloGraph *g = shared_graph(x);
	MloDiag d = {0};
	CU_ASSERT_EQUAL(mlo_exec_graph(a, g, &bad, out, NULL, NULL, &d), MLO_ERR_USAGE);
	CU_ASSERT_EQUAL_FATAL(d.n, 1);
	CU_ASSERT_STRING_EQUAL(d.lines[0].text, "input 'x' expects f32[3,5], got f32[3,4]");
	CU_ASSERT_EQUAL(mlo_exec_graph(a, g, &none, out, NULL, NULL, &d), MLO_ERR_USAGE);
	CU_ASSERT_STRING_EQUAL(d.lines[1].text, "input 'x' is missing");
	mlo_graph_free(g);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

static void gather_outside_is_refused(void)
{
	MloGraph *g = mlo_graph_new("t");
	const int64_t dim[1] = {4}, three[1] = {3};
	const MloTensor *x = random_tensor(g->arena, 1, dim);
	MloTensor *index = mlo_tensor_new(g->arena, EL_i64, 1, three), *out;
	mlo_tensor_set_i64(index, 1, -4);
	mlo_tensor_set_i64(index, 2, 4);
	MloValue *v[2] = {input(g, "x", x), mlo_graph_const(g, index, NULL)};
	mlo_graph_output(g, mlo_graph_op(g, NULL, OP_gather, NULL, v, 2), "y");
	MloDiag d = {0};
	CU_ASSERT_EQUAL(mlo_exec_graph(g->arena, g, &x, &out, NULL, NULL, &d), MLO_ERR_MODEL);
	CU_ASSERT_EQUAL_FATAL(d.n, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(d.lines[0].text, "index 4 is outside axis 0 of 4 elements"));
	mlo_diag_free(&d);
	mlo_graph_free(g);
}

/* The first numbers of NumPy's RandomState(0), and those of MATLAB, whose generator starts from 5489. */
static void twister_draws_the_known_numbers(void)
{
	static const struct { double seed, want[3]; } row[] = {
		{0, {0.5488135039273248, 0.7151893663724195, 0.6027633760716439}},
		{5489, {0.814723686393179, 0.905791937075619, 0.126986816293506}},
	};
	for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
		MloGraph *g = mlo_graph_new("t");
		MloValue *shape = mlo_graph_const_i64s(g, 1, (const int64_t[]){3}, 1);
		MloNode *n = mlo_graph_node(g, NULL, OP_random_uniform, &shape, 1, 1);
		MloTensor *out;
		mlo_attr_set_i(n, ATTR_random_uniform_dtype, mlo_elem_onnx(EL_f64));
		mlo_attr_set_i(n, ATTR_random_uniform_twister, 1);
		mlo_attr_set_f(n, ATTR_random_uniform_seed, row[k].seed);
		CU_ASSERT_EQUAL_FATAL(mlo_infer_node(g, n, NULL), MLO_OK);
		mlo_graph_output(g, n->out[0], "y");
		CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(g->arena, g, NULL, &out, NULL, NULL, NULL), MLO_OK);
		for (int i = 0; i < 3; i++)
			CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_f64(out, i), row[k].want[i], 1e-15);
		mlo_graph_free(g);
	}
}

static void every_operator_has_a_kernel(void)
{
	for (int op = 0; op < OP_COUNT; op++)
		CU_ASSERT_EQUAL(!mlo_ref_kernel((MloOp)op), mlo_op_has((MloOp)op, TR_OBJECT));
}

void suite_ref_exec(void)
{
	CU_pSuite s = CU_add_suite("ref_exec", NULL, NULL);
	state = 7;
	CU_add_test(s, "convolutions by OpenBLAS and by the plain kernel agree", convolutions_agree);
	CU_add_test(s, "matrix products agree", products_agree);
	CU_add_test(s, "gemm with every form of bias agrees", gemms_agree);
	CU_add_test(s, "buffers live as long as their values", buffers_live_long_enough);
	CU_add_test(s, "wrong inputs are refused", wrong_inputs_are_refused);
	CU_add_test(s, "gather outside the axis is refused", gather_outside_is_refused);
	CU_add_test(s, "the twister draws the known numbers", twister_draws_the_known_numbers);
	CU_add_test(s, "every operator has a kernel", every_operator_has_a_kernel);
}
