/* tests/unit/test_onnx_gradient.c -- derivatives by Gradient against differences of the function. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir/exec.h"
#include "tests/unit/onnx_fixture.h"

void suite_onnx_gradient(void);

static void name_values(OnnxFix *f, Onnx__NodeProto *n, const char *attr, int count, const char *const *names)
{
	Onnx__AttributeProto *a = ox_attr(f, n, attr, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS);

	a->n_strings = (size_t)count;
	a->strings = MLO_NEWN(f->a, ProtobufCBinaryData, (size_t)count);
	for (int i = 0; i < count; i++)
		a->strings[i] = (ProtobufCBinaryData){strlen(names[i]), (uint8_t *)(uintptr_t)names[i]};
}

/* s = the weighted sum of type(x[2,3], w), then its derivatives by both (dx) or x alone. */
static void model(OnnxFix *f, const char *type, const char *w)
{
	static const char *const names[] = {"x", "w"};
	static const double weight[] = {0.7, -1.3, 0.4, 2, 0.9, -0.6};
	const bool two = w != NULL, square = strcmp(type, "MatMul") == 0;
	const bool turn = strcmp(type, "Transpose") == 0, less = strstr(type, "Reduce") != NULL;
	const int64_t axes[] = {1};
	Onnx__NodeProto *n;

	ox_model(f, 13);
	ox_in(f, "x", EL_f64, "2x3");
	if (two)
		ox_in(f, "w", EL_f64, w);
	ox_const(f, "weight", EL_f64, square ? "2x2" : turn ? "3x2" : less ? "2x1" : "2x3", weight,
	         (square ? 4 : less ? 2 : 6) * sizeof *weight);
	if (strcmp(type, "ReduceSum") == 0)
		ox_const(f, "axes", EL_i64, "1", axes, sizeof axes);
	n = ox_node(f, type, two ? "x w" : strcmp(type, "ReduceSum") == 0 ? "x axes" : "x", "t");
	if (strcmp(type, "ReduceMean") == 0)
		ox_ints(f, n, "axes", 1, axes);
	ox_node(f, "Mul", "t weight", "v");
	ox_int(f, ox_node(f, "ReduceSum", "v", "s"), "keepdims", 0);
	n = ox_node(f, "Gradient", two ? "x w" : "x", two ? "dx dw" : "dx");
	n->domain = mlo_strdup(f->a, "ai.onnx.preview.training");
	name_values(f, n, "xs", two ? 2 : 1, names);
	ox_str(f, n, "y", "s");
	ox_out(f, "s");
	ox_out(f, "dx");
	if (two)
		ox_out(f, "dw");
}

static double run(OnnxFix *f, MloTensor *const *in, MloTensor **out)
{
	MloDiag d = {0};
	MloStatus st = mlo_exec_graph(f->a, f->g, (const MloTensor *const *)in, out, NULL, NULL, &d);

	mlo_diag_print(&d, "test", stderr);
	mlo_diag_free(&d);
	CU_ASSERT_EQUAL_FATAL(st, MLO_OK);
	return mlo_tensor_f64(out[0], 0);
}

static void check(const char *type, const char *w)
{
	const double h = 1e-5;
	MloTensor *in[2], *out[3], *moved[3];
	OnnxFix f;

	model(&f, type, w);
	ox_load(&f);
	mlo_diag_print(&f.diag, type, stderr);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f.g);
	for (uint32_t i = 0; i < f.g->ninputs; i++) {
		const MloType *t = &f.g->inputs[i]->type;
		int64_t dim[MLO_MAX_RANK];

		for (int k = 0; k < t->rank; k++)
			dim[k] = t->dim[k].k;
		in[i] = mlo_tensor_new(f.a, EL_f64, t->rank, dim);
		for (int64_t k = 0; k < mlo_tensor_elems(in[i]); k++)
			mlo_tensor_set_f64(in[i], k, 0.3 + 0.37 * (double)k + 0.11 * i);
	}
	run(&f, in, out);
	for (uint32_t i = 0; i < f.g->ninputs; i++)
		for (int64_t k = 0; k < mlo_tensor_elems(in[i]); k++) {
			double at = mlo_tensor_f64(in[i], k), up, down;

			mlo_tensor_set_f64(in[i], k, at + h);
			up = run(&f, in, moved);
			mlo_tensor_set_f64(in[i], k, at - h);
			down = run(&f, in, moved);
			mlo_tensor_set_f64(in[i], k, at);
			if (!(fabs((up - down) / (2 * h) - mlo_tensor_f64(out[1 + i], k)) < 1e-6)) {
				CU_FAIL("a derivative is wrong");
				fprintf(stderr, "%s: by element %d of input %u: %g, difference %g\n", type, (int)k, i,
				        mlo_tensor_f64(out[1 + i], k), (up - down) / (2 * h));
			}
		}
	ox_free(&f);
}

static void derivatives_are_limits_of_differences(void)
{
	static const char *const one[] = {
		"Identity", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Tanh", "Sigmoid", "Relu", "Abs",
		"Transpose", "ReduceSum", "ReduceMean",
	};
	static const char *const two[] = {"Add", "Sub", "Mul", "Div", "Pow"};
	static const char *const shape[] = {"2x3", "1x3", "3", "2x1", ""};

	for (size_t i = 0; i < sizeof one / sizeof *one; i++)
		check(one[i], NULL);
	for (size_t i = 0; i < sizeof two / sizeof *two; i++)
		for (size_t k = 0; k < sizeof shape / sizeof *shape; k++)
			check(two[i], shape[k]);
	check("MatMul", "3x2");
}

static void unknown_derivatives_are_named(void)
{
	OnnxFix f;

	model(&f, "Floor", NULL);
	CU_ASSERT_PTR_NULL(ox_load(&f));
	CU_ASSERT(ox_says(&f, "no derivative of 'floor' is known"));
	ox_free(&f);
}

void suite_onnx_gradient(void)
{
	CU_pSuite s = CU_add_suite("onnx_gradient", NULL, NULL);

	CU_add_test(s, "derivatives are limits of differences", derivatives_are_limits_of_differences);
	CU_add_test(s, "unknown derivatives are named", unknown_derivatives_are_named);
}
