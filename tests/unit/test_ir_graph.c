/* tests/unit/test_ir_graph.c -- editing graphs, attributes, tensors, and the messages of the verifier. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <string.h>

#include "tests/unit/ir_fixture.h"

static const char *const chain = "graph @t(%x: f32[4], %y: f32[4]) -> (%c) {\n"
                                 "  %a = relu(%x)\n  %b = add(%a, %a)\n  %c = mul(%b, %y)\n}\n";

static void uses_follow_edits(void)
{
	MloGraph *g = ir_graph(chain);
	MloNode *a = g->first, *b = a->next, *c = b->next;
	MloValue *x = g->inputs[0], *va = a->out[0];

	CU_ASSERT_EQUAL(va->nuse, 2);
	CU_ASSERT_PTR_NULL(mlo_only_user(g, va));
	CU_ASSERT_PTR_EQUAL(mlo_only_user(g, b->out[0]), c);
	CU_ASSERT_PTR_NULL(mlo_only_user(g, c->out[0])); /* an output */
	mlo_node_set_in(g, b, 1, x);
	CU_ASSERT_PTR_EQUAL(mlo_only_user(g, va), b);
	CU_ASSERT_EQUAL(x->nuse, 2);
	mlo_graph_replace(g, va, x);
	CU_ASSERT_FALSE(mlo_node_used(a));
	CU_ASSERT_EQUAL(x->nuse, 3);
	mlo_graph_remove(g, a);
	CU_ASSERT_EQUAL(x->nuse, 2);
	CU_ASSERT_PTR_EQUAL(g->first, b);
	mlo_graph_replace(g, c->out[0], b->out[0]);
	CU_ASSERT_PTR_EQUAL(g->outputs[0], b->out[0]);
	CU_ASSERT_TRUE(mlo_is_output(g, b->out[0]));
	mlo_graph_remove(g, c);
	CU_ASSERT_EQUAL(mlo_verify(g, NULL), MLO_OK);
	CU_ASSERT_STRING_EQUAL(ir_text(g), "graph @t(%x: f32[4], %y: f32[4]) -> (%b as \"c\") {\n"
	                                   "  %b = add(%x, %x) : f32[4]\n}\n");
	mlo_graph_free(g);
}

static void nodes_are_inserted_and_moved(void)
{
	MloGraph *g = ir_graph(chain);
	MloNode *c = g->last;
	MloValue *n = mlo_graph_op(g, c, OP_neg, c, (MloValue *[]){g->inputs[1]}, 1);

	CU_ASSERT_PTR_EQUAL(c->prev, n->def);
	mlo_node_set_in(g, c, 1, n);
	mlo_graph_move(g, n->def, g->first);
	CU_ASSERT_PTR_EQUAL(g->first, n->def);
	CU_ASSERT_EQUAL(mlo_verify(g, NULL), MLO_OK);
	mlo_graph_move(g, n->def, NULL);
	CU_ASSERT_PTR_EQUAL(g->last, n->def);
	CU_ASSERT_EQUAL(mlo_verify(g, NULL), MLO_ERR_MODEL); /* after its use */
	mlo_graph_free(g);
}

static void origins_are_kept_once(void)
{
	MloGraph *g = ir_graph("graph @t(%x: f32[4]) -> (%b) {\n%a = relu(%x) from \"p\"(Relu, 13)\n"
	                       "%b = relu(%a) from \"q\"(Relu, 13), \"p\"(Relu, 13)\n}");

	mlo_origin_add(g, g->first, g->last->origin);
	CU_ASSERT_STRING_EQUAL(mlo_node_name(g->first), "p");
	CU_ASSERT_STRING_EQUAL(g->first->origin->next->name, "q");
	CU_ASSERT_PTR_NULL(g->first->origin->next->next);
	mlo_graph_free(g);
}

static void attributes_know_their_defaults(void)
{
	MloGraph *g = ir_graph("graph @t(%x: f32[1,1,4], %w: f32[1,1,1]) -> (%y) {\n%y = conv(%x, %w)\n}");
	MloNode *n = g->first;
	int count;

	CU_ASSERT_EQUAL(mlo_attr_i(n, ATTR_conv_group), 1);
	CU_ASSERT_STRING_EQUAL(mlo_attr_s(n, ATTR_conv_auto_pad), "NOTSET");
	mlo_attr_ints(n, ATTR_conv_pads, &count);
	CU_ASSERT_EQUAL(count, 0);
	mlo_attr_set_i(n, ATTR_conv_group, 4);
	CU_ASSERT_TRUE(n->attr[ATTR_conv_group].set);
	mlo_attr_set_i(n, ATTR_conv_group, 1);
	CU_ASSERT_FALSE(n->attr[ATTR_conv_group].set);
	mlo_attr_set_ints(g, n, ATTR_conv_pads, (int64_t[]){3, 4}, 2);
	CU_ASSERT_EQUAL(mlo_attr_ints(n, ATTR_conv_pads, &count)[1], 4);
	CU_ASSERT_EQUAL(count, 2);
	CU_ASSERT_EQUAL(mlo_attr_slot(OP_conv, "pads", 4), ATTR_conv_pads);
	CU_ASSERT_EQUAL(mlo_attr_slot(OP_conv, "pad", 3), -1);
	CU_ASSERT_EQUAL(mlo_op_info(OP_conv)->nattr, 6);
	CU_ASSERT_EQUAL(mlo_op_info(OP_relu)->nattr, 0);
	mlo_graph_free(g);
	g = ir_graph("graph @t(%x: f32[4]) -> (%y) {\n%y = leaky_relu(%x) {alpha=0.5}\n}");
	mlo_attr_set_f(g->first, ATTR_leaky_relu_alpha, (double)0.01f); /* what ONNX files hold */
	CU_ASSERT_FALSE(g->first->attr[0].set);
	CU_ASSERT_EQUAL(mlo_attr_f(g->first, 0), 0.01);
	mlo_graph_free(g);
}

/* -- tensors -------------------------------------------------------------------------------- */

static void numbers_convert(void)
{
	static const struct { MloElem e; double in, out; } cases[] = {
		{EL_f16, 0.1, 0.0999755859375}, {EL_f16, 65520, INFINITY}, {EL_f16, 65519, 65504},
		{EL_f16, 0x1p-24, 0x1p-24}, {EL_f16, 0x1p-25, 0}, {EL_f16, -0x1.8p-25, -0x1p-24},
		{EL_bf16, 1.00390625, 1}, {EL_bf16, 1.01171875, 1.015625}, {EL_bf16, 1e39, INFINITY},
		{EL_f8e4m3fn, 1000, 448}, {EL_f8e4m3fn, -INFINITY, -448}, {EL_f8e4m3fn, 0x1p-9, 0x1p-9},
		{EL_f8e4m3fnuz, 1000, 240}, {EL_f8e5m2, 1e6, 57344}, {EL_f8e5m2fnuz, -1e6, -57344},
		{EL_f4e2m1, 2.5, 2}, {EL_f4e2m1, 100, 6}, {EL_f4e2m1, 0.5, 0.5}, {EL_f8e8m0, 3, 4},
		{EL_i8, 200, 127}, {EL_i8, -1.9, -1}, {EL_u8, -3, 0}, {EL_i4, -9, -8}, {EL_u4, 15.5, 15},
		{EL_u2, 3, 3}, {EL_i2, -2, -2}, {EL_bool, 0.25, 1}, {EL_i64, 1e30, 0x1p63}, {EL_i32, NAN, 0},
		{EL_u64, 1e30, 0x1p64}, {EL_f32, 0.1, (double)0.1f}, {EL_f64, 0.1, 0.1},
	};
	MloArena *a = mlo_arena_new();

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int64_t n = 3;
		MloTensor *t = mlo_tensor_new(a, cases[i].e, 1, &n);

		mlo_tensor_set_f64(t, 1, cases[i].in);
		CU_ASSERT_EQUAL(mlo_tensor_f64(t, 1), cases[i].out);
		if (mlo_tensor_f64(t, 1) != cases[i].out)
			fprintf(stderr, "%s: %g gives %g\n", mlo_elem_text(cases[i].e), cases[i].in,
			        mlo_tensor_f64(t, 1));
		CU_ASSERT_EQUAL(mlo_tensor_i64(t, 2), 0); /* the neighbour is untouched */
	}
	mlo_arena_free(a);
}

/* Every code of the small floats decodes to a number that encodes to it again. */
static void small_floats_round_trip(void)
{
	static const MloElem elems[] = {EL_f16, EL_bf16, EL_f8e4m3fn, EL_f8e4m3fnuz, EL_f8e5m2, EL_f8e5m2fnuz,
	                                EL_f8e8m0};
	uint16_t in, out;

	for (size_t k = 0; k < sizeof elems / sizeof elems[0]; k++) {
		MloTensor t = {.elem = elems[k], .rank = 0, .data = &in, .nbytes = 2}, u = t;
		unsigned wrong = 0;

		u.data = &out;
		for (unsigned code = 0; code < 1u << mlo_elem_bits(elems[k]); code++) {
			double v;

			in = (uint16_t)code;
			out = 0;
			v = mlo_tensor_f64(&t, 0);
			mlo_tensor_set_f64(&u, 0, v);
			wrong += !isnan(v) && !isinf(v) && in != out;
		}
		CU_ASSERT_EQUAL(wrong, 0);
	}
}

static void hashes_tell_tensors_apart(void)
{
	MloArena *a = mlo_arena_new();
	int64_t d4 = 4, d22[2] = {2, 2};
	MloTensor *t = mlo_tensor_new(a, EL_f32, 1, &d4), *u = mlo_tensor_new(a, EL_f32, 2, d22);
	MloTensor *v = mlo_tensor_new(a, EL_i32, 1, &d4);

	CU_ASSERT_NOT_EQUAL(mlo_tensor_hash(t), mlo_tensor_hash(u));
	CU_ASSERT_NOT_EQUAL(mlo_tensor_hash(t), mlo_tensor_hash(v));
	CU_ASSERT_FALSE(mlo_tensor_equal(t, u));
	CU_ASSERT_TRUE(mlo_tensor_equal(t, t));
	mlo_arena_free(a);
}

static void sizes_are_checked(void)
{
	MloType t = mlo_type(EL_f32, 3, (int64_t[]){1 << 20, 1 << 20, 2});

	CU_ASSERT_EQUAL(mlo_type_elems(&t), -1);
	t = mlo_type(EL_f32, 3, (int64_t[]){INT64_MAX, INT64_MAX, 0});
	CU_ASSERT_EQUAL(mlo_type_elems(&t), 0);
	t = mlo_type(EL_i4, 1, (int64_t[]){3});
	CU_ASSERT_EQUAL(mlo_type_bytes(&t), 2);
}

/* -- verifier ------------------------------------------------------------------------------- */

static void breaks(void (*damage)(MloGraph *), const char *message)
{
	MloGraph *g = ir_graph(chain);
	MloDiag d = {0};

	damage(g);
	CU_ASSERT_EQUAL(mlo_verify(g, &d), MLO_ERR_MODEL);
	CU_ASSERT_TRUE(ir_said(&d, message));
	mlo_diag_free(&d);
	mlo_graph_free(g);
}

static void count_uses(MloGraph *g) { g->inputs[0]->nuse++; }
static void bypass_uses(MloGraph *g) { g->last->in[1] = g->first->out[0]; }
static void wrong_order(MloGraph *g) { mlo_graph_move(g, g->last, g->first); }
static void wrong_type(MloGraph *g) { g->last->out[0]->type.dim[0] = mlo_dim(5); }
static void wrong_elem(MloGraph *g) { g->last->out[0]->type.elem = EL_i32; }
static void too_big(MloGraph *g) { g->last->out[0]->type.dim[0] = mlo_dim(MLO_MAX_ELEMS + 1); }
static void no_way_back(MloGraph *g) { g->last->out[0]->def = NULL; }
static void missing(MloGraph *g) { mlo_node_set_in(g, g->last, 0, NULL); }
static void taken_id(MloGraph *g) { g->last->out[0]->id = 0; }
static void unlinked(MloGraph *g) { g->last->prev = NULL; }
static void layout(MloGraph *g) { g->last->out[0]->layout.block = 8; }
static void groups(MloGraph *g) { g->first->group = g->last->group = 1; }

static void foreign_output(MloGraph *g)
{
	g->outputs[0]->nuse--;
	g->outputs[0] = MLO_NEW(g->arena, MloValue);
	g->outputs[0]->id = 77;
}

static void bad_const(MloGraph *g)
{
	MloTensor *t = mlo_tensor_new(g->arena, EL_f32, 0, NULL);

	mlo_graph_const(g, t, "k");
	t->nbytes = 3;
}

static void each_invariant_has_its_message(void)
{
	breaks(count_uses, "value 'x' has 1 uses, 2 are recorded");
	breaks(bypass_uses, "value 'y' has 0 uses, 1 are recorded");
	breaks(wrong_order, "operand 0, 'b', is not defined before it");
	breaks(wrong_type, "node 'c' (mul): result 'c' is said to be f32[5], but is f32[4]");
	breaks(wrong_elem, "result 'c' is said to be i32[4], but is f32[4]");
	breaks(too_big, "dimension 0 of value 'c' is 1099511627777");
	breaks(no_way_back, "result 0, 'c', does not point back to its node");
	breaks(missing, "operand 0 is absent, mul needs it");
	breaks(taken_id, "value 'c' has the id 0, which is taken");
	breaks(unlinked, "the node list is not linked backwards");
	breaks(layout, "value 'c' of rank 1 has the blocked layout c8");
	breaks(groups, "group 1 is not contiguous");
	breaks(foreign_output, "is not defined in the graph");
	breaks(bad_const, "constant 'k' holds 3 bytes, its type needs 4");
}

void suite_ir_graph(void);

void suite_ir_graph(void)
{
	CU_pSuite s = CU_add_suite("ir_graph", NULL, NULL);

	CU_add_test(s, "uses follow edits", uses_follow_edits);
	CU_add_test(s, "nodes are inserted and moved", nodes_are_inserted_and_moved);
	CU_add_test(s, "origins are kept once", origins_are_kept_once);
	CU_add_test(s, "attributes know their defaults", attributes_know_their_defaults);
	CU_add_test(s, "numbers convert", numbers_convert);
	CU_add_test(s, "small floats round trip", small_floats_round_trip);
	CU_add_test(s, "hashes tell tensors apart", hashes_tell_tensors_apart);
	CU_add_test(s, "sizes are checked", sizes_are_checked);
	CU_add_test(s, "each invariant has its message", each_invariant_has_its_message);
}
