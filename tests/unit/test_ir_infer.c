/* tests/unit/test_ir_infer.c -- result types of every shape rule, and what they say of misuse. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "tests/unit/ir_fixture.h"

/* want: type of %r (after its colon), or a part of the message. */
typedef struct Case {
	const char *inputs, *body, *want;
} Case;

static bool holds(const Case *c, bool refused)
{
	MloArena *a = mlo_arena_new();
	char *text = mlo_sprintf(a, "graph @t(%s) -> (%%r) {\n%s\n}\n", c->inputs, c->body);
	MloGraph *g = NULL;
	bool ok;

	if (refused) {
		ok = ir_refused(text, c->want);
	} else {
		MloStr s = {.arena = a};

		g = ir_graph(text);
		if (g)
			mlo_type_print(&s, &g->outputs[0]->type);
		ok = g && !strcmp(mlo_str_text(&s), c->want);
		if (!ok)
			fprintf(stderr, "%s\nis %s, wanted %s\n", text, mlo_str_text(&s), c->want);
	}
	mlo_graph_free(g);
	mlo_arena_free(a);
	return ok;
}

static const Case good[] = {
	{"%x: f32[2,n]", "%r = relu(%x)", "f32[2,n]"},
	{"%x: f32[*]", "%r = relu(%x)", "f32[*]"},
	{"%x: f32[3]", "%r = cast(%x) {to=7}", "i64[3]"},
	{"%x: f32[3]", "%r = clip(%x, _, _)", "f32[3]"},
	{"%x: f32[2,3]", "%r = softmax(%x) {axis=-2}", "f32[2,3]"},
	{"%x: f32[4,1,3], %y: f32[5,1]", "%r = add(%x, %y)", "f32[4,5,3]"},
	{"%x: f32[n,1], %y: f32[1,m]", "%r = mul(%x, %y)", "f32[n,m]"},
	{"%x: f32[n], %y: f32[7]", "%r = mul(%x, %y)", "f32[7]"},
	{"%x: f32[n], %y: f32[m]", "%r = mul(%x, %y)", "f32[dim#1]"},
	{"%x: f32[*], %y: f32[7]", "%r = sub(%x, %y)", "f32[*]"},
	{"%x: f32[2,3], %y: i64[3]", "%r = pow(%x, %y)", "f32[2,3]"},
	{"%x: f32[2,3], %y: f32[3]", "%r = less(%x, %y)", "bool[2,3]"},
	{"%c: bool[2,1], %x: i64[3], %y: i64[1]", "%r = where(%c, %x, %y)", "i64[2,3]"},
	{"%x: f32[1,3,224,224], %w: f32[64,3,7,7]",
	 "%r = conv(%x, %w) {pads=[3, 3, 3, 3], strides=[2, 2]}", "f32[1,64,112,112]"},
	{"%x: f32[b,6,h,w], %w: f32[4,3,3,3]", "%r = conv(%x, %w) {group=2, strides=[2, 1]}",
	 "f32[b,4,(h+1)/2-1,w-2]"},
	{"%x: f32[1,1,10], %w: f32[1,1,3]", "%r = conv(%x, %w) {auto_pad=SAME_UPPER, strides=[3]}", "f32[1,1,4]"},
	{"%x: f32[1,1,10], %w: f32[1,1,3]", "%r = conv(%x, %w) {dilations=[4], auto_pad=VALID}", "f32[1,1,2]"},
	{"%x: f32[1,1,n], %w: f32[1,1,3]", "%r = conv(%x, %w) {auto_pad=SAME_LOWER, strides=[2]}",
	 "f32[1,1,(n+1)/2]"},
	{"%x: f32[1,4,5,n], %w: f32[4,2,3,3]",
	 "%r = conv_transpose(%x, %w) {group=2, output_padding=[1, 1], pads=[1, 1, 1, 1], strides=[2, 2]}",
	 "f32[1,4,10,2*n]"},
	{"%x: f32[1,1,5], %w: f32[1,1,3]", "%r = conv_transpose(%x, %w) {output_shape=[9], strides=[2]}",
	 "f32[1,1,9]"},
	{"%x: f32[b,8,s,64], %y: f32[8,64,32]", "%r = matmul(%x, %y)", "f32[b,8,s,32]"},
	{"%x: f32[5], %y: f32[3,5,4]", "%r = matmul(%x, %y)", "f32[3,4]"},
	{"%x: f32[3,4,5], %y: f32[5]", "%r = matmul(%x, %y)", "f32[3,4]"},
	{"%x: f32[5], %y: f32[5]", "%r = matmul(%x, %y)", "f32[]"},
	{"%x: f32[k,n], %y: f32[7,k], %c: f32[7]", "%r = gemm(%x, %y, %c) {transA=1, transB=1}", "f32[n,7]"},
	{"%x: f32[1,8,7,7]", "%r = max_pool(%x) {kernel_shape=[3, 3], strides=[2, 2]}", "f32[1,8,3,3]"},
	{"%x: f32[1,8,8,8]", "%r = max_pool(%x) {ceil_mode=1, kernel_shape=[3, 3], strides=[2, 2]}",
	 "f32[1,8,4,4]"},
	{"%x: f32[1,1,4]", "%r = average_pool(%x) {ceil_mode=1, kernel_shape=[1], pads=[0, 1], strides=[4]}",
	 "f32[1,1,1]"}, /* the second window would start in the padding */
	{"%x: f32[1,8,6,6]", "%q, %r = max_pool(%x) {kernel_shape=[2, 2]}", "i64[1,8,5,5]"},
	{"%x: f32[b,8,h,w]", "%r = global_average_pool(%x)", "f32[b,8,1,1]"},
	{"%x: f32[2,3,4]", "const %a: i64[2] = [0, -1]\n%r = reduce_sum(%x, %a)", "f32[1,3,1]"},
	{"%x: f32[2,3,4]", "const %a: i64[1] = [1]\n%r = reduce_mean(%x, %a) {keepdims=0}", "f32[2,4]"},
	{"%x: f32[2,3]", "%r = reduce_max(%x) {keepdims=0}", "f32[]"},
	{"%x: f32[2,3]", "%r = reduce_max(%x) {noop_with_empty_axes=1}", "f32[2,3]"},
	{"%x: f32[2,3], %a: i64[1]", "%r = reduce_max(%x, %a) {keepdims=0}", "f32[dim#1]"},
	{"%x: f32[2,n,4]", "%r = arg_max(%x) {axis=-1, keepdims=0}", "i64[2,n]"},
	{"%x: f32[b,s,8], %g: f32[8]", "%r = layer_norm(%x, %g)", "f32[b,s,8]"},
	{"%x: f32[b,s,8], %g: f32[8]", "%y, %r, %d = layer_norm(%x, %g)", "f32[b,s,1]"},
	{"%x: f32[b,4,s], %g: f32[4]", "%r = batch_norm(%x, %g, %g, %g, %g)", "f32[b,4,s]"},
	{"%x: f32[2,n,4]", "%r = transpose(%x)", "f32[4,n,2]"},
	{"%x: f32[2,n,4]", "%r = transpose(%x) {perm=[0, 2, 1]}", "f32[2,4,n]"},
	{"%x: f32[b,s,768]", "const %t: i64[4] = [0, -1, 12, 64]\n%r = reshape(%x, %t)", "f32[b,s,12,64]"},
	{"%x: f32[2,3,4]", "const %t: i64[2] = [4, -1]\n%r = reshape(%x, %t)", "f32[4,6]"},
	{"%x: f32[0,3]", "const %t: i64[2] = [0, 7]\n%r = reshape(%x, %t) {allowzero=1}", "f32[0,7]"},
	{"%x: f32[2,3], %t: i64[3]", "%r = reshape(%x, %t)", "f32[dim#1,dim#2,dim#3]"},
	{"%x: f32[2,3], %t: i64[n]", "%r = reshape(%x, %t)", "f32[*]"},
	{"%x: f32[b,3,4]", "%r = flatten(%x)", "f32[b,12]"},
	{"%x: f32[b,3,4]", "%r = flatten(%x) {axis=0}", "f32[1,12*b]"},
	{"%x: f32[1,n,1]", "const %a: i64[1] = [-1]\n%r = squeeze(%x, %a)", "f32[1,n]"},
	{"%x: f32[1,3,1]", "%r = squeeze(%x)", "f32[3]"},
	{"%x: f32[1,n,1]", "%r = squeeze(%x)", "f32[*]"},
	{"%x: f32[n]", "const %a: i64[2] = [0, -1]\n%r = unsqueeze(%x, %a)", "f32[1,n,1]"},
	{"%x: f32[1,n]", "const %t: i64[3] = [2, 5, 1]\n%r = expand(%x, %t)", "f32[2,5,n]"},
	{"%x: f32[2,n], %y: f32[2,3]", "%r = concat(%x, %y, %x) {axis=1}", "f32[2,2*n+3]"},
	{"%x: f32[7,2]", "%q, %p, %r = split(%x)", "f32[1,2]"},
	{"%x: f32[7,2]", "const %s: i64[2] = [5, 2]\n%r, %q = split(%x, %s)", "f32[5,2]"},
	{"%x: f32[2,4*n]", "%r, %q = split(%x) {axis=1}", "f32[2,2*n]"},
	{"%x: f32[10]", "const %s: i64[1] = [-8]\nconst %e: i64[1] = [9223372036854775807]\n"
	 "const %a: i64[1] = [0]\nconst %t: i64[1] = [3]\n%r = slice(%x, %s, %e, %a, %t)", "f32[3]"},
	{"%x: f32[10]", "const %s: i64[1] = [-1]\nconst %e: i64[1] = [-9223372036854775808]\n"
	 "const %a: i64[1] = [0]\nconst %t: i64[1] = [-4]\n%r = slice(%x, %s, %e, %a, %t)", "f32[3]"},
	{"%x: f32[n]", "const %s: i64[1] = [-1]\nconst %e: i64[1] = [-9223372036854775808]\n"
	 "const %a: i64[1] = [0]\nconst %t: i64[1] = [-1]\n%r = slice(%x, %s, %e, %a, %t)", "f32[n]"},
	{"%x: f32[n+4]", "const %s: i64[1] = [1]\nconst %e: i64[1] = [-1]\n%r = slice(%x, %s, %e)", "f32[n+2]"},
	{"%x: f32[n]", "sym n = 8..64\nconst %s: i64[1] = [0]\nconst %e: i64[1] = [5]\n%r = slice(%x, %s, %e)",
	 "f32[5]"},
	{"%x: f32[n]", "const %s: i64[1] = [0]\nconst %e: i64[1] = [5]\n%r = slice(%x, %s, %e)",
	 "f32[n-max(5,n)+5]"},
	{"%x: f32[n]", "const %s: i64[1] = [0]\nconst %e: i64[1] = [1000000000]\n%r = slice(%x, %s, %e)", "f32[n]"},
	{"%x: f32[2,n]", "const %p: i64[4] = [0, 1, 3, 2]\n%r = pad(%x, %p)", "f32[5,n+3]"},
	{"%x: f32[2,4]", "const %p: i64[2] = [1, -2]\nconst %a: i64[1] = [-1]\n%r = pad(%x, %p, _, %a)",
	 "f32[2,3]"},
	{"%x: f32[9,4], %i: i64[2,n]", "%r = gather(%x, %i) {axis=-1}", "f32[9,2,n]"},
	{"%x: f32[9,n]", "const %t: i64[2] = [2, 3]\n%r = tile(%x, %t)", "f32[18,3*n]"},
	{"%x: f32[1,3,10,n]", "const %s: f32[4] = [1, 1, 1.55, 2]\n%r = resize(%x, _, %s)", "f32[1,3,15,2*n]"},
	{"%x: f32[1,3,10,20]", "const %s: i64[2] = [5, 5]\n"
	 "%r = resize(%x, _, _, %s) {axes=[2, 3], keep_aspect_ratio_policy=not_larger}", "f32[1,3,3,5]"},
	{"%x: f32[1,8,2,n]", "%r = depth_to_space(%x) {blocksize=2}", "f32[1,2,4,2*n]"},
	{"%x: f32[1,8,2,n]", "%r = shape(%x) {start=1, end=-1}", "i64[2]"},
	{"%x: f32[1,n]", "%s = shape(%x)\n%r = constant_of_shape(%s) {elem=7}", "i64[1,n]"},
	{"", "const %a: i64[] = [3]\nconst %b: i64[] = [10]\nconst %d: i64[] = [3]\n%r = range(%a, %b, %d)",
	 "i64[3]"},
	{"", "const %a: f32[] = [1]\nconst %b: f32[] = [-1]\nconst %d: f32[] = [-0.5]\n%r = range(%a, %b, %d)",
	 "f32[4]"},
	{"%x: f32[2,3], %s: f32[], %z: i8[]", "%r = quantize_linear(%x, %s, %z)", "i8[2,3]"},
	{"%x: f32[2,3], %s: f32[3]", "%r = quantize_linear(%x, %s)", "u8[2,3]"},
	{"%x: i8[2,3], %s: f32[2], %z: i8[2]", "%r = dequantize_linear(%x, %s, %z) {axis=0}", "f32[2,3]"},
};

static void results(void)
{
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		CU_ASSERT_TRUE(holds(&good[i], false));
}

static const Case bad[] = {
	{"%x: f32[1,32,8,8], %w: f32[64,64,3,3]", "%r : f32[*] = conv(%x, %w)", "'=' is expected"},
	{"%x: f32[1,32,8,8], %w: f32[64,64,3,3]", "%r = conv(%x, %w)",
	 "node 'r' (conv): weight expects 64 input channels, input 'x' has 32 (group=1)"},
	{"%x: f32[1,32,8,8], %w: f32[64,64,3,3]", "%r = conv(%x, %w) : f32[*] from \"layer1/conv1\"(Conv, 13)",
	 "node 'layer1/conv1' (Conv, opset 13): weight expects 64 input channels, input 'x' has 32 (group=1)"},
	{"%x: f32[1,4,8], %w: f32[6,2,3]", "%r = conv(%x, %w) {group=0}", "group is 0"},
	{"%x: f32[1,4,8], %w: f32[5,2,3]", "%r = conv(%x, %w) {group=2}", "5 output channels do not divide"},
	{"%x: f32[1,4,2], %w: f32[4,4,3]", "%r = conv(%x, %w)", "exceeds the padded input of 2"},
	{"%x: f32[1,4,8], %w: f32[4,4,3]", "%r = conv(%x, %w) {strides=[0]}", "strides[0] is 0"},
	{"%x: f32[1,4,8], %w: f32[4,4,3]", "%r = conv(%x, %w) {pads=[1]}", "pads has 1 entries, 2 expected"},
	{"%x: f32[1,4,8], %w: f32[4,4,3]", "%r = conv(%x, %w) {auto_pad=SOME}", "auto_pad 'SOME'"},
	{"%x: f32[1,4,8], %w: f32[4,4,3]", "%r = conv(%x, %w) {kernel_shape=[2]}", "the weight has 3"},
	{"%x: f32[1,4,8]", "%r = max_pool(%x)", "kernel_shape is missing"},
	{"%x: f32[2,3], %y: f32[4]", "%r = add(%x, %y)", "shapes f32[2,3] and f32[4] do not broadcast: 3 against 4"},
	{"%x: f32[2], %y: i64[2]", "%r = add(%x, %y)", "'x' is f32, 'y' is i64"},
	{"%x: f32[2,3], %y: f32[4,5]", "%r = matmul(%x, %y)", "'x' f32[2,3] has 3 columns, 'y' f32[4,5] has 4 rows"},
	{"%x: f32[2,3], %y: f32[4,5]", "%r = gemm(%x, %y)", "the inner dimensions differ"},
	{"%x: f32[2,3]", "%r = softmax(%x) {axis=2}", "axis 2 is outside -2..1"},
	{"%x: f32[2,3]", "%r = transpose(%x) {perm=[0, 0]}", "perm is no permutation"},
	{"%x: f32[2,3]", "const %t: i64[2] = [-1, -1]\n%r = reshape(%x, %t)", "more than one -1"},
	{"%x: f32[2,3]", "const %t: i64[2] = [4, -1]\n%r = reshape(%x, %t)", "does not divide"},
	{"%x: f32[2,3]", "const %t: i64[1] = [7]\n%r = reshape(%x, %t)", "has 6 elements, the new shape f32[7] has 7"},
	{"%x: f32[2,3]", "const %a: i64[1] = [0]\n%r = squeeze(%x, %a)", "dimension 0 of 'x' is 2, not 1"},
	{"%x: f32[2,3]", "const %a: i64[2] = [1, -1]\n%r = reduce_sum(%x, %a)", "named twice"},
	{"%x: f32[2,3], %y: f32[3,3]", "%r = concat(%x, %y) {axis=1}", "dimension 0 differs"},
	{"%x: f32[7]", "const %s: i64[2] = [5, 3]\n%r, %q = split(%x, %s)", "the sizes sum to 8, 'x' has 7"},
	{"%x: f32[5]", "%a, %b, %c, %r = split(%x)", "would be -1"},
	{"%x: f32[5]", "const %p: i64[2] = [-3, -3]\n%r = pad(%x, %p)", "leave nothing"},
	{"%x: f32[5]", "const %p: i64[3] = [1, 1, 1]\n%r = pad(%x, %p)", "3 pads for 1 axes"},
	{"%x: f32[5], %i: f32[1]", "%r = gather(%x, %i)", "not i32 or i64"},
	{"%x: f32[1,6,2,2]", "%r = depth_to_space(%x) {blocksize=2}", "do not divide into blocks"},
	{"%x: f32[5]", "%r = cast(%x) {to=99}", "unknown element type code 99"},
	{"", "const %a: i64[] = [3]\nconst %d: i64[] = [0]\n%r = range(%a, %a, %d)", "steps of 0"},
	{"%x: f32[2,3], %s: f32[4]", "%r = quantize_linear(%x, %s)", "4 scales for axis 1 of 'x', which has 3"},
	{"%x: f32[1048576,1048576]", "const %t: i64[2] = [2, 1]\n%r = tile(%x, %t)", "more than 2^40"},
	{"%x: f32[4]", "const %t: i64[1] = [9223372036854775807]\n%r = tile(%x, %t)", "more than 2^40"},
	{"%x: f32[1,1,1,1,1], %i: i64[1,1,1,1,1]", "%r = gather(%x, %i)", "rank 9, more than 8"},
	{"%x: f32[4]", "%r = add(%x)", "1 operands, add takes 2 to 2"},
	{"%x: f32[4]", "%r = add(%x, _)", "operand 1 is absent"},
};

static void messages(void)
{
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CU_ASSERT_TRUE(holds(&bad[i], true));
}

/* What exporters write for x.view(x.size(0), 12, -1) and friends. */
static void shape_subgraphs(void)
{
	static const Case c = {
		"%x: f32[batch,seq,768]",
		"const %i0: i64[] = [0]\nconst %i1: i64[1] = [1]\nconst %ax: i64[1] = [0]\n"
		"const %heads: i64[1] = [12]\nconst %rest: i64[1] = [-1]\n"
		"const %two: i64[] = [2]\n"
		"%s = shape(%x)\n%b = gather(%s, %i0)\n%b1 = unsqueeze(%b, %ax)\n"
		"%s1 = gather(%s, %i1)\n%d = mul(%s1, %two)\n%h = div(%d, %two)\n%c = cast(%h) {to=7}\n"
		"%t = concat(%b1, %c, %heads, %rest)\n%r = reshape(%x, %t)",
		"f32[batch,seq,12,64]"};
	static const Case expand = {
		"%x: f32[1,seq]",
		"const %t: i64[2] = [4, -1]\nconst %m: i64[1] = [-1]\n%one = constant_of_shape(%n) {elem=7, value=1}\n"
		"const %n: i64[1] = [2]\n%e = equal(%t, %m)\n%w = where(%e, %one, %t)\n%r = expand(%x, %w)",
		"not defined"};
	static const Case expand2 = {
		"%x: f32[1,seq]",
		"const %t: i64[2] = [4, -1]\nconst %m: i64[1] = [-1]\nconst %n: i64[1] = [2]\n"
		"%one = constant_of_shape(%n) {elem=7, value=1}\n%e = equal(%t, %m)\n%w = where(%e, %one, %t)\n"
		"%r = expand(%x, %w)",
		"f32[4,seq]"};

	CU_ASSERT_TRUE(holds(&c, false));
	CU_ASSERT_TRUE(holds(&expand, true));
	CU_ASSERT_TRUE(holds(&expand2, false));
}

static void all_errors_of_a_graph_are_reported(void)
{
	MloGraph *g = mlo_graph_new("two");
	int64_t two = 2, three = 3;
	MloType t = mlo_type(EL_f32, 1, &two), u = mlo_type(EL_f32, 1, &three);
	MloValue *in[2] = {mlo_graph_input(g, "x", &t), mlo_graph_input(g, "y", &u)}, *v;
	MloDiag d = {0};

	mlo_graph_node(g, NULL, OP_add, in, 2, 1);
	v = mlo_graph_node(g, NULL, OP_mul, in, 2, 1)->out[0];
	mlo_graph_node(g, NULL, OP_relu, &v, 1, 1); /* follows from the error before: no message */
	CU_ASSERT_EQUAL(mlo_infer_graph(g, &d), MLO_ERR_MODEL);
	CU_ASSERT_EQUAL(d.nerrors, 2);
	mlo_diag_free(&d);
	mlo_graph_free(g);
}

/* A chain of x + x is a tree of 2^n leaves when followed without a budget. */
static void long_chains_end(void)
{
	MloGraph *g = mlo_graph_new("chain");
	int64_t one = 1;
	MloType t = mlo_type(EL_i64, 1, &one);
	MloValue *x = mlo_graph_input(g, "x", &t), *v = x;

	for (int i = 0; i < 200; i++)
		v = mlo_graph_op(g, NULL, OP_add, NULL, (MloValue *[]){v, v}, 2);
	v = mlo_graph_op(g, NULL, OP_reshape, NULL, (MloValue *[]){x, v}, 2);
	CU_ASSERT_EQUAL(v->type.rank, 1);
	mlo_graph_free(g);
}

void suite_ir_infer(void);

void suite_ir_infer(void)
{
	CU_pSuite s = CU_add_suite("ir_infer", NULL, NULL);

	CU_add_test(s, "results", results);
	CU_add_test(s, "messages", messages);
	CU_add_test(s, "shape subgraphs", shape_subgraphs);
	CU_add_test(s, "all errors of a graph are reported", all_errors_of_a_graph_are_reported);
	CU_add_test(s, "long chains end", long_chains_end);
}
