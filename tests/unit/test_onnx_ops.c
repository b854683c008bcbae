/* tests/unit/test_onnx_ops.c -- what older forms of ONNX operators become. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <string.h>

#include "tests/unit/onnx_fixture.h"

void suite_onnx_ops(void);

static const int64_t two[] = {1, 2};

/* A model with x f32[2,3,4], one node and the result y. */
static Onnx__NodeProto *one(OnnxFix *f, int opset, const char *type, const char *in, const char *out)
{
	ox_model(f, opset);
	ox_in(f, "x", EL_f32, "2x3x4");
	ox_out(f, "y");
	return ox_node(f, type, in, out);
}

static void expect(OnnxFix *f, const char *ops, const char *type)
{
	if (!ox_load(f))
		mlo_diag_print(&f->diag, "test", stderr);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->g);
	CU_ASSERT_STRING_EQUAL(ox_ops(f), ops);
	if (strcmp(ox_type(f, 0), type) != 0)
		CU_FAIL(ox_type(f, 0));
}

static void axes_become_an_operand(void)
{
	static const struct {
		const char *type, *ops, *result;
	} rows[] = {
		{"ReduceMean", "reduce_mean", "f32[2,1,1]"},
		{"ReduceSum", "reduce_sum", "f32[2,1,1]"},
		{"ReduceL2", "reduce_l2", "f32[2,1,1]"},
		{"ReduceL1", "abs reduce_sum", "f32[2,1,1]"},
		{"ReduceSumSquare", "mul reduce_sum", "f32[2,1,1]"},
		{"ReduceLogSum", "reduce_sum log", "f32[2,1,1]"},
		{"Unsqueeze", "unsqueeze", "f32[2,1,1,3,4]"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;

		ox_ints(&f, one(&f, 11, rows[i].type, "x", "y"), "axes", 2, two);
		expect(&f, rows[i].ops, rows[i].result);
		ox_free(&f);
	}
}

static void softmax_of_old_flattens(void)
{
	OnnxFix f;

	one(&f, 12, "Softmax", "x", "y"); /* axis 1 of 3 */
	expect(&f, "shape flatten softmax reshape", "f32[2,3,4]");
	CU_ASSERT_EQUAL(mlo_attr_i(ox_at(&f, 1), ATTR_flatten_axis), 1);
	ox_free(&f);
	ox_int(&f, one(&f, 12, "Softmax", "x", "y"), "axis", 2); /* the last one: as today */
	expect(&f, "softmax", "f32[2,3,4]");
	CU_ASSERT_EQUAL(mlo_attr_i(ox_at(&f, 0), ATTR_softmax_axis), -1);
	ox_free(&f);
	one(&f, 13, "LogSoftmax", "x", "y");
	expect(&f, "log_softmax", "f32[2,3,4]");
	ox_free(&f);
}

static void clip_bounds_become_operands(void)
{
	OnnxFix f;

	ox_float(&f, one(&f, 6, "Clip", "x", "y"), "max", 6);
	expect(&f, "clip", "f32[2,3,4]");
	CU_ASSERT_PTR_NULL(ox_at(&f, 0)->in[1]);
	CU_ASSERT(ox_operand(&f, 0, 2)->rank == 0 && mlo_tensor_f64(ox_operand(&f, 0, 2), 0) == 6);
	ox_free(&f);
}

static void movement_attributes_become_operands(void)
{
	OnnxFix f;
	Onnx__NodeProto *n;

	n = one(&f, 9, "Slice", "x", "y");
	ox_ints(&f, n, "starts", 2, (int64_t[]){0, 1});
	ox_ints(&f, n, "ends", 2, (int64_t[]){2, 1000});
	ox_ints(&f, n, "axes", 2, two);
	expect(&f, "slice", "f32[2,2,3]");
	ox_free(&f);
	n = one(&f, 9, "Pad", "x", "y");
	ox_ints(&f, n, "pads", 6, (int64_t[]){0, 1, 2, 3, 0, 0});
	ox_float(&f, n, "value", 2.5f);
	expect(&f, "pad", "f32[5,4,6]");
	CU_ASSERT_EQUAL(mlo_tensor_f64(ox_operand(&f, 0, 2), 0), 2.5);
	ox_free(&f);
	n = one(&f, 11, "Split", "x", "y z");
	ox_int(&f, n, "axis", 1);
	ox_ints(&f, n, "split", 2, two);
	expect(&f, "split", "f32[2,1,4]");
	ox_free(&f);
	n = one(&f, 18, "Split", "x", "y z");
	ox_int(&f, n, "axis", -2);
	ox_int(&f, n, "num_outputs", 2); /* 3 = 2 + 1 */
	expect(&f, "split", "f32[2,2,4]");
	ox_free(&f);
	ox_ints(&f, one(&f, 4, "Reshape", "x", "y"), "shape", 2, (int64_t[]){0, -1});
	expect(&f, "reshape", "f32[2,12]");
	ox_free(&f);
}

static void resizing_of_old_is_asymmetric(void)
{
	static const struct {
		const char *type;
		int opset;
	} rows[] = {{"Upsample", 7}, {"Upsample", 9}, {"Resize", 10}};
	static const float scales[] = {1, 2, 2};

	for (size_t i = 0; i < 3; i++) {
		OnnxFix f;
		Onnx__NodeProto *n = one(&f, rows[i].opset, rows[i].type, i ? "x s" : "x", "y");

		if (i) {
			ox_const(&f, "s", EL_f32, "3", scales, sizeof scales);
		} else {
			Onnx__AttributeProto *a =
				ox_attr(&f, n, "scales", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS);

			a->floats = mlo_dup(f.a, scales, sizeof scales);
			a->n_floats = 3;
		}
		expect(&f, "resize", "f32[2,6,8]");
		CU_ASSERT_STRING_EQUAL(mlo_attr_s(f.g->first, ATTR_resize_coordinate_transformation_mode),
				       "asymmetric");
		CU_ASSERT_STRING_EQUAL(mlo_attr_s(f.g->first, ATTR_resize_nearest_mode), "floor");
		ox_free(&f);
	}
}

static void empty_resize_operands_are_absent(void)
{
	OnnxFix f;

	one(&f, 11, "Resize", "x e e s", "y");
	ox_const(&f, "e", EL_f32, "0", "", 0);
	ox_const(&f, "s", EL_i64, "3", (int64_t[]){2, 3, 9}, 24);
	expect(&f, "resize", "f32[2,3,9]");
	CU_ASSERT(f.g->first->nin == 4 && !f.g->first->in[1] && !f.g->first->in[2]);
	ox_free(&f);
	one(&f, 11, "Resize", "x e e", "y");
	ox_const(&f, "e", EL_f32, "0", "", 0);
	CU_ASSERT_PTR_NULL(ox_load(&f));
	CU_ASSERT(ox_says(&f, "has neither scales nor sizes"));
	ox_free(&f);
}

static void many_operands_become_a_chain(void)
{
	static const struct {
		const char *type, *in, *ops;
	} rows[] = {
		{"Sum", "x x x", "add add"},
		{"Max", "x x", "max"},
		{"Min", "x", "identity"},
		{"Mean", "x x x", "add add div"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;

		one(&f, 13, rows[i].type, rows[i].in, "y");
		expect(&f, rows[i].ops, "f32[2,3,4]");
		CU_ASSERT_STRING_EQUAL(f.g->last->out[0]->name, "y");
		ox_free(&f);
	}
}

static void dropout(void)
{
	OnnxFix f;

	one(&f, 13, "Dropout", "x", "z y");
	expect(&f, "identity shape constant_of_shape", "bool[2,3,4]");
	ox_free(&f);
	one(&f, 13, "Dropout", "x - t", "y");
	ox_const(&f, "t", EL_bool, "", "\1", 1);
	expect(&f, "shape random_uniform greater_equal sub div where", "f32[2,3,4]");
	ox_free(&f);
	one(&f, 13, "Dropout", "x - t", "y z");
	ox_in(&f, "t", EL_bool, "");
	expect(&f, "shape random_uniform greater_equal sub div where where not or", "f32[2,3,4]");
	ox_free(&f);
}

/* Operators that are composed of others: w is a constant f32[3], a to d and z are quantized. */
static void composed(void)
{
	static const struct {
		const char *type;
		int opset;
		const char *in, *attr;
		int64_t value;
		const char *ops, *result;
	} rows[] = {
		{"SwiGLU", 28, "x x", NULL, 0, "swish mul", "f32[2,3,4]"},
		{"LRN", 13, "x", "size", 3, "mul unsqueeze average_pool squeeze mul add pow div", "f32[2,3,4]"},
		{"InstanceNormalization", 13, "x w w", NULL, 0,
		 "reshape layer_norm shape reshape unsqueeze mul unsqueeze add", "f32[2,3,4]"},
		{"GroupNormalization", 18, "x w w", "num_groups", 3,
		 "reshape layer_norm unsqueeze mul unsqueeze add shape reshape", "f32[2,3,4]"},
		{"GroupNormalization", 21, "x w w", "num_groups", 3,
		 "reshape layer_norm shape reshape unsqueeze mul unsqueeze add", "f32[2,3,4]"},
		{"BatchNormalization", 15, "x w w w w", "training_mode", 1,
		 "reduce_mean unsqueeze sub mul reduce_mean batch_norm mul mul add mul mul add", "f32[2,3,4]"},
		{"Bernoulli", 15, "x", NULL, 0, "shape random_uniform less cast", "f32[2,3,4]"},
		{"RandomNormalLike", 13, "x", "dtype", 11, "shape random_normal", "f64[2,3,4]"},
		{"QLinearConv", 13, "a s z b s z s z", NULL, 0,
		 "conv_integer mul div dequantize_linear quantize_linear", "u8[1,1,3]"},
		{"QLinearMatMul", 13, "c s z d s z s z", NULL, 0,
		 "matmul_integer mul div cast mul quantize_linear", "u8[2,2]"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;
		Onnx__NodeProto *n = one(&f, rows[i].opset, rows[i].type, rows[i].in, "y");

		if (rows[i].attr)
			ox_int(&f, n, rows[i].attr, rows[i].value);
		ox_const(&f, "w", EL_f32, "3", (float[]){1, 2, 3}, 12);
		ox_const(&f, "s", EL_f32, "1", (float[]){0.5f}, 4);
		ox_const(&f, "z", EL_u8, "1", "\7", 1);
		ox_const(&f, "a", EL_u8, "1x1x4", "1234", 4);
		ox_const(&f, "b", EL_u8, "1x1x2", "56", 2);
		ox_const(&f, "c", EL_u8, "2x3", "123456", 6);
		ox_const(&f, "d", EL_u8, "3x2", "123456", 6);
		expect(&f, rows[i].ops, rows[i].result);
		ox_free(&f);
	}
}

static void scales_are_numbers(void)
{
	static const struct {
		const char *type, *in, *says; /* NULL: it is taken */
		float scale;
	} rows[] = {
		{"QuantizeLinear", "x s", "scale 's' is zero: element 1 is 0", 0},
		{"QuantizeLinear", "x s", "scale 's' is negative: element 1 is -0.5", -0.5f},
		{"QuantizeLinear", "x s", "scale 's' is not a number", NAN},
		{"QuantizeLinear", "x s", "scale 's' is infinite", INFINITY},
		{"QuantizeLinear", "x s", "scale 's' is denormal", 1e-40f},
		{"QuantizeLinear", "x s", NULL, 1e-37f},
		{"DequantizeLinear", "q s", "scale 's' is negative: element 1 is -2", -2},
		{"DequantizeLinear", "q s", "scale 's' is not a number", NAN},
		{"DequantizeLinear", "q s", NULL, 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;
		float s[3] = {1, rows[i].scale, 2};
		MloGraph *g;

		one(&f, 13, rows[i].type, rows[i].in, "y");
		ox_const(&f, "s", EL_f32, "3", s, 12);
		ox_const(&f, "q", EL_u8, "2x3x4", "123456789012345678901234", 24);
		g = ox_load(&f);
		CU_ASSERT((g != NULL) == !rows[i].says);
		CU_ASSERT(!rows[i].says || (ox_says(&f, rows[i].says) && ox_says(&f, rows[i].type)));
		ox_free(&f);
	}
}

/* Zero points have the type of what they are subtracted from, which is one that numbers are quantised to. */
static void zero_points_fit(void)
{
	static const struct {
		const char *type, *in, *says; /* NULL: it is taken */
		MloElem zero;
		int64_t to; /* output_dtype; 0: none */
	} rows[] = {
		{"QuantizeLinear", "x s z", "zero point 'z' is f32, to which nothing is quantised", EL_f32, 0},
		{"QuantizeLinear", "x s z", "zero point 'z' is i32, to which nothing is quantised", EL_i32, 0},
		{"QuantizeLinear", "x s z", "zero point 'z' is bool, to which nothing is quantised", EL_bool, 0},
		{"QuantizeLinear", "x s", "output_dtype is i64, to which nothing is quantised", EL_none, 7},
		{"QuantizeLinear", "x s z", NULL, EL_i16, 0},
		{"QuantizeLinear", "x s", NULL, EL_none, 4},
		{"DequantizeLinear", "q s z", "operand types differ: 'q' is u8, 'z' is i8", EL_i8, 0},
		{"DequantizeLinear", "q s z", "operand types differ: 'q' is u8, 'z' is u16", EL_u16, 0},
		{"DequantizeLinear", "x s", "'x' is f32, no type of quantised numbers", EL_none, 0},
		{"DequantizeLinear", "b s", NULL, EL_none, 0},
		{"DequantizeLinear", "q s z", NULL, EL_u8, 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;
		Onnx__NodeProto *n = one(&f, 21, rows[i].type, rows[i].in, "y");

		if (rows[i].to)
			ox_int(&f, n, "output_dtype", rows[i].to);
		ox_const(&f, "s", EL_f32, "", (float[]){0.5f}, 4);
		ox_const(&f, "q", EL_u8, "2x3x4", "123456789012345678901234", 24);
		ox_const(&f, "b", EL_i32, "2", (int32_t[]){70000, -70000}, 8);
		if (rows[i].zero)
			ox_const(&f, "z", rows[i].zero, "", "\0\0\0", mlo_elem_bits(rows[i].zero) / 8);
		ox_load(&f);
		CU_ASSERT(rows[i].says ? ox_says(&f, rows[i].says) && ox_says(&f, rows[i].type) : f.diag.nerrors == 0);
		ox_free(&f);
	}
}

static void broadcasting_of_old(void)
{
	OnnxFix f;
	Onnx__NodeProto *n = one(&f, 6, "Add", "x b", "y");

	ox_int(&f, n, "broadcast", 1);
	ox_int(&f, n, "axis", 1);
	ox_const(&f, "b", EL_f32, "3", (float[]){1, 2, 3}, 12);
	expect(&f, "unsqueeze add", "f32[2,3,4]");
	CU_ASSERT_EQUAL(mlo_tensor_i64(ox_operand(&f, 0, 1), 0), 1);
	ox_free(&f);
}

/* Every attribute that can hold a constant. */
static void constants(void)
{
	static const struct {
		const char *attr;
		int kind;
		const char *type;
		double first;
	} rows[] = {
		{"value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR, "f32[2]", 7},
		{"value_float", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, "f32[]", 1.5},
		{"value_int", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, "i64[]", -3},
		{"value_floats", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS, "f32[2]", 2.5},
		{"value_ints", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, "i64[2]", 1},
	};
	float floats[] = {2.5f, 1};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		OnnxFix f;
		Onnx__AttributeProto *a =
			ox_attr(&f, one(&f, 13, "Constant", "", "y"), rows[i].attr, rows[i].kind);

		a->t = ox_tensor(&f, "", EL_f32, "2");
		ox_raw(&f, a->t, (float[]){7, 8}, 8);
		*a = (Onnx__AttributeProto){.base = a->base,
					    .name = a->name,
					    .has_type = 1,
					    .type = a->type,
					    .t = i ? NULL : a->t,
					    .has_f = 1,
					    .f = 1.5f,
					    .has_i = 1,
					    .i = -3,
					    .floats = floats,
					    .n_floats = 2,
					    .ints = (int64_t *)two,
					    .n_ints = 2};
		expect(&f, "", rows[i].type);
		CU_ASSERT_PTR_NOT_NULL_FATAL(f.g->outputs[0]->data);
		CU_ASSERT_EQUAL(mlo_tensor_f64(f.g->outputs[0]->data, 0), rows[i].first);
		CU_ASSERT_STRING_EQUAL(f.g->outputs[0]->name, "y");
		ox_free(&f);
	}
}

static void constant_of_shape_keeps_its_value(void)
{
	static const struct {
		int64_t v;
		const char *ops;
	} rows[] = {{5, "constant_of_shape"}, {INT64_MAX, "expand"}};

	for (size_t i = 0; i < 2; i++) {
		OnnxFix f;
		Onnx__AttributeProto *a = ox_attr(&f, one(&f, 13, "ConstantOfShape", "s", "y"), "value",
						  ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR);

		a->t = ox_tensor(&f, "", EL_i64, "1");
		ox_raw(&f, a->t, &rows[i].v, 8);
		ox_const(&f, "s", EL_i64, "2", two, sizeof two);
		expect(&f, rows[i].ops, "i64[1,2]");
		ox_free(&f);
	}
}

/* A later row must not lie below an earlier one, and every type must be found from its first opset on. */
static void rows_are_consistent(void)
{
	const char *last = "";
	MloOnnxOperator o;
	int before = 0;
	size_t n = 0;

	for (; mlo_onnx_operator(n, &o); n++) {
		if (o.why)
			continue;
		CU_ASSERT(o.since >= 1 && o.since <= MLO_ONNX_OPSET_MAX);
		CU_ASSERT(strcmp(o.type, last) != 0 || o.since > before);
		last = o.type;
		before = o.since;
	}
	CU_ASSERT(n > 100);
}

void suite_onnx_ops(void)
{
	CU_pSuite s = CU_add_suite("onnx_ops", NULL, NULL);

	CU_add_test(s, "axes become an operand", axes_become_an_operand);
	CU_add_test(s, "softmax of old flattens", softmax_of_old_flattens);
	CU_add_test(s, "clip bounds become operands", clip_bounds_become_operands);
	CU_add_test(s, "movement attributes become operands", movement_attributes_become_operands);
	CU_add_test(s, "resizing of old is asymmetric", resizing_of_old_is_asymmetric);
	CU_add_test(s, "empty resize operands are absent", empty_resize_operands_are_absent);
	CU_add_test(s, "many operands become a chain", many_operands_become_a_chain);
	CU_add_test(s, "dropout, at inference and in training", dropout);
	CU_add_test(s, "operators composed of others", composed);
	CU_add_test(s, "scales are numbers", scales_are_numbers);
	CU_add_test(s, "zero points fit", zero_points_fit);
	CU_add_test(s, "broadcasting of old", broadcasting_of_old);
	CU_add_test(s, "constants", constants);
	CU_add_test(s, "constant of shape keeps its value", constant_of_shape_keeps_its_value);
	CU_add_test(s, "rows are consistent", rows_are_consistent);
}
