/* tests/unit/test_quant_nested.c -- quantization of LSTMs, and of layers in the branches of an if. */
#include <CUnit/CUnit.h>

#include "tests/unit/quant_fixture.h"

void suite_quant_nested(void);

/* An LSTM becomes one of integers, which finds its ranges itself; what reads its states is quantised as ever. */
static void lstm_in_integers(void)
{
	static const char text[] =
		"graph @g(%x: f32[6,1,4]) -> (%y) {\n"
		"  const %w: f32[2,20,4] = random(1)\n  const %r: f32[2,20,5] = random(2)\n  const %b: f32[2,40] = random(3)\n"
		"  const %v: f32[5,3] = random(4)\n"
		"  %s, %h, %c = lstm(%x, %w, %r, %b) {direction=\"bidirectional\", clip=2} : f32[6,2,1,5], f32[2,1,5], f32[2,1,5] from "
		"\"cells\"(LSTM, 14)\n"
		"  %y = matmul(%s, %v) : f32[6,2,1,3] from \"last\"(MatMul, 13)\n}\n";
	const char *const exclude[] = {"ce*", NULL};
	MloPtqOptions opt = {.range = RANGE_MSE}, tensor = {.range = RANGE_MSE, .per_tensor = true};
	const MloNode *n;
	QuantFix f;

	quant_begin(&f, text, &opt);
	CU_ASSERT_EQUAL(f.q->layer[0].kind, PTQ_LSTM);
	CU_ASSERT_FALSE(mlo_ptq_tensor(f.q, f.g->inputs[0])->wanted);
	CU_ASSERT(mlo_ptq_tensor(f.q, f.g->first->out[0])->wanted);
	quant_quantise(&f, 16);
	n = f.at->layer[0].n;
	CU_ASSERT_EQUAL(n->op, OP_lstm_integer);
	CU_ASSERT_STRING_EQUAL(mlo_node_name(n), "cells");
	CU_ASSERT_STRING_EQUAL(mlo_attr_s(n, ATTR_lstm_integer_direction), "bidirectional");
	CU_ASSERT_EQUAL(mlo_attr_f(n, ATTR_lstm_integer_clip), 2);
	CU_ASSERT_EQUAL(n->in[1]->type.elem, EL_i8);
	CU_ASSERT(mlo_has_dim(&n->in[1]->type, 1, 4) && mlo_has_dim(&n->in[2]->type, 2, 20));
	CU_ASSERT_EQUAL(mlo_tensor_elems(n->in[10]->data), 40);
	CU_ASSERT(quant_noise(&f) < 1e-3);
	quant_end(&f);
	quant_begin(&f, text, &tensor);
	quant_quantise(&f, 16);
	CU_ASSERT_EQUAL(mlo_tensor_elems(f.at->layer[0].n->in[8]->data), 2);
	CU_ASSERT(quant_noise(&f) < 2e-3);
	quant_end(&f);
	opt.exclude = exclude;
	quant_begin(&f, text, &opt);
	quant_quantise(&f, 16);
	CU_ASSERT_EQUAL(quant_count(f.out, OP_lstm_integer), 0);
	CU_ASSERT_EQUAL(quant_count(f.out, OP_quantize_linear), 1);
	quant_end(&f);
}

/* Layers of branches come after those of the graph; what has no dimensions stays float, and so do loops and lengths. */
static void layers_in_branches(void)
{
	static const char text[] =
		"graph @g(%x: f32[2,4], %c: bool[], %n: i32[1]) -> (%y, %h) {\n"
		"  const %w: f32[4,4] = random(1)\n  const %l: f32[1,4,1] = random(2)\n  const %k: f32[1,4,1] = random(3)\n"
		"  const %s: i64[3] = [8, 1, 1]\n"
		"  %z = if(%c, %x) {then_branch=graph (%a: f32[2,4]) -> (%b) {\n"
		"    const %w: f32[4,4] = random(4)\n"
		"    %b = matmul(%a, %w) : f32[2,4] from \"inside\"(MatMul, 13)\n"
		"  }, else_branch=graph (%a: f32[2,4]) -> (%a) {\n  }} : f32[2,4] from \"choice\"(If, 16)\n"
		"  %y = matmul(%z, %w) : f32[2,4] from \"outside\"(MatMul, 13)\n"
		"  %t = reshape(%x, %s) : f32[8,1,1]\n"
		"  %q, %h, %e = lstm(%t, %l, %k, _, %n) : f32[8,1,1,1], f32[1,1,1], f32[1,1,1] from \"cells\"(LSTM, 14)\n}\n";
	MloPtqOptions opt = {.range = RANGE_MSE};
	const MloPtqLayer *l;
	QuantFix f;

	quant_begin(&f, text, &opt);
	l = &f.q->layer[f.q->nlayers - 1];
	CU_ASSERT_STRING_EQUAL(mlo_node_name(l->n), "inside");
	CU_ASSERT(l->on && l->g == mlo_attr_graph(f.g->first, ATTR_if_then_branch));
	CU_ASSERT(mlo_ptq_tensor(f.q, l->n->in[0])->wanted);
	CU_ASSERT_PTR_EQUAL(mlo_ptq_tensor(f.q, l->n->in[0])->g, l->g);
	CU_ASSERT(mlo_ptq_names(f.q, "outside"));
	CU_ASSERT_FALSE(mlo_ptq_names(f.q, "cells"));
	mlo_ptq_tensor(f.q, l->n->in[0])->own = (MloRange){-1, 1};
	mlo_ptq_tensor(f.q, l->n->in[0])->known = true;
	f.q->layer[0].off = "not looked at";
	mlo_ptq_plan(f.q);
	mlo_ptq_ranges(f.q);
	f.out = mlo_graph_clone(f.g);
	CU_ASSERT_EQUAL(mlo_ptq_apply(f.q, f.out, &f.at, &f.d), MLO_OK);
	CU_ASSERT_EQUAL(mlo_verify(f.out, &f.d), MLO_OK);
	CU_ASSERT_EQUAL(quant_count(f.out, OP_quantize_linear), 0);
	CU_ASSERT_EQUAL(quant_count(mlo_attr_graph(f.out->first, ATTR_if_then_branch), OP_quantize_linear), 1);
	CU_ASSERT_EQUAL(quant_count(mlo_attr_graph(f.out->first, ATTR_if_else_branch), OP_quantize_linear), 0);
	quant_end(&f);
}

void suite_quant_nested(void)
{
	CU_pSuite s = CU_add_suite("quant_nested", NULL, NULL);

	CU_ADD_TEST(s, lstm_in_integers);
	CU_ADD_TEST(s, layers_in_branches);
}
