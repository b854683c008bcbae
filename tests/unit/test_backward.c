/* tests/unit/test_backward.c -- derivatives as nodes of the graph, against differences of what it computes. */
#include <CUnit/CUnit.h>
#include <math.h>

#include "ir/exec.h"
#include "prune/backward.h"
#include "tests/unit/ir_fixture.h"
#include "tests/unit/random_graph.h"

void suite_backward(void);

/* A residual block of two convolutions, one strided and in groups, the mean of what comes out and a product. */
static const char *const net =
	"graph @g(%x: f32[2,2,5,5]) -> (%y) {\n"
	"  const %w: f32[4,1,2,2] = [0.5, -0.25, 0.75, 0.125, 0.875, -0.5, 0.3, 0.9, -0.4, 0.2, 0.6, 0.7, 0.1, 0.8, -0.3, 0.4]\n"
	"  const %b: f32[4] = [0.25, -0.125, 0.5, 0]\n"
	"  const %v: f32[4,4,1,1] = [0.5, -0.625, 0.3, 0.1, 0.2, 0.9, -0.7, 0.4, -0.2, 0.6, 0.8, 0.5, 0.7, -0.1, 0.3, 0.2]\n"
	"  const %m: f32[4,3] = [0.5, -0.25, 1, 0.3, 0.7, -0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]\n"
	"  const %s: i64[2] = [2, 4]\n"
	"  %a = conv(%x, %w, %b) {group=2, strides=[2, 2], pads=[1, 0, 0, 1]} : f32[2,4,3,3]\n"
	"  %r = relu(%a) : f32[2,4,3,3]\n"
	"  %c = conv(%r, %v) : f32[2,4,3,3]\n"
	"  %d = add(%c, %r) : f32[2,4,3,3]\n"
	"  const %lo: f32[] = [-2]\n"
	"  const %hi: f32[] = [1.5]\n"
	"  %e = clip(%d, %lo, %hi) : f32[2,4,3,3]\n"
	"  %p = global_average_pool(%e) : f32[2,4,1,1]\n"
	"  %f = reshape(%p, %s) : f32[2,4]\n"
	"  %y = matmul(%f, %m) : f32[2,3]\n"
	"}\n";

static double half_square(MloGraph *g, MloArena *a, const MloTensor *x, MloTensor **out)
{
	MloDiag d = {0};
	double sum = 0;

	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(a, g, &x, out, NULL, NULL, &d), MLO_OK);
	for (int64_t i = 0, n = mlo_tensor_elems(out[0]); i < n; i++)
		sum += mlo_tensor_f64(out[0], i) * mlo_tensor_f64(out[0], i) / 2;
	return sum;
}

static void derivatives_are_limits_of_differences(void)
{
	MloGraph *g = ir_graph(net);
	MloTensor *x, *out[2], *other[2];
	MloDiag d = {0};
	MloBackward b;

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	x = mlo_tensor_copy(g->arena, random_tensor(g->arena, 5, &g->inputs[0]->type));
	b = mlo_backward_new(g->arena, g, &d);
	mlo_backward_add(&b, g->outputs[0], g->outputs[0]); /* of half the sum of squares */
	CU_ASSERT_EQUAL_FATAL(mlo_backward_run(&b), MLO_OK);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b.by[g->inputs[0]->id]);
	mlo_graph_output(g, b.by[g->inputs[0]->id], "dx");
	CU_ASSERT_EQUAL(mlo_verify(g, &d), MLO_OK);
	half_square(g, g->arena, x, out);
	for (int64_t i = 0, n = mlo_tensor_elems(x); i < n; i++) {
		const double at = mlo_tensor_f64(x, i), h = 1e-3;
		double up, down;

		mlo_tensor_set_f64(x, i, at + h);
		up = half_square(g, g->arena, x, other);
		mlo_tensor_set_f64(x, i, at - h);
		down = half_square(g, g->arena, x, other);
		mlo_tensor_set_f64(x, i, at);
		CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_f64(out[1], i), (up - down) / (2 * h), 2e-3);
	}
	mlo_graph_free(g);
}

static void others_stop_it(void)
{
	MloGraph *g = ir_graph("graph @g(%x: f32[2,3]) -> (%y) {\n  %a = softmax(%x) : f32[2,3]\n"
			       "  %b = relu(%a) : f32[2,3]\n  %y = add(%b, %b) : f32[2,3]\n}\n");
	MloDiag d = {0};
	MloBackward b;

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	b = mlo_backward_new(g->arena, g, &d);
	mlo_backward_add(&b, g->outputs[0], g->outputs[0]);
	CU_ASSERT_EQUAL_FATAL(mlo_backward_run(&b), MLO_OK);
	CU_ASSERT_PTR_NOT_NULL(b.by[g->first->out[0]->id]);
	CU_ASSERT_PTR_NULL(b.by[g->inputs[0]->id]);
	mlo_graph_free(g);
}

void suite_backward(void)
{
	CU_pSuite s = CU_add_suite("backward", NULL, NULL);

	CU_ADD_TEST(s, derivatives_are_limits_of_differences);
	CU_ADD_TEST(s, others_stop_it);
}
