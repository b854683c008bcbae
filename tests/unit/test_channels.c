/* tests/unit/test_channels.c -- dependency groups of channels, and their removal: the model computes what it computed with
 * the weights that read those channels at 0. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <string.h>

#include "ir/exec.h"
#include "prune/groups.h"
#include "prune/prune.h"
#include "tests/unit/random_graph.h"

void suite_channels(void);

typedef struct Net {
	MloGraph *g;
	uint64_t seed;
} Net;

static MloValue *constant(Net *t, int rank, const int64_t *dim, const char *name)
{
	MloType type = mlo_type(EL_f32, rank, dim);

	return mlo_graph_const(t->g, random_tensor(t->g->arena, ++t->seed, &type), name);
}

static MloValue *op(Net *t, MloOp o, MloValue *a, MloValue *b)
{
	MloValue *in[] = {a, b};
	MloOrigin origin = {.name = mlo_sprintf(t->g->arena, "n%u", t->g->next_id), .op = "Op", .opset = 13};
	MloValue *v = mlo_graph_op(t->g, NULL, o, NULL, in, b ? 2 : 1);

	mlo_origin_add(t->g, v->def, &origin);
	return v;
}

/* m outputs of 1x1 (3x3 where `depthwise`) windows, with a bias. */
static MloValue *conv(Net *t, MloValue *x, int64_t m, bool depthwise)
{
	int64_t c = x->type.dim[1].k, w[] = {m, depthwise ? 1 : c, depthwise ? 3 : 1, depthwise ? 3 : 1};
	MloValue *in[] = {x, constant(t, 4, w, "w"), constant(t, 1, &m, "b")};
	MloNode *n = mlo_graph_node(t->g, NULL, OP_conv, in, 3, 1);
	MloOrigin origin = {.name = mlo_sprintf(t->g->arena, "c%u", t->g->next_id), .op = "Conv", .opset = 13};
	int64_t pads[] = {1, 1, 1, 1};

	if (depthwise) {
		mlo_attr_set_i(n, ATTR_conv_group, c);
		mlo_attr_set_ints(t->g, n, ATTR_conv_pads, pads, 4);
	}
	mlo_origin_add(t->g, n, &origin);
	CU_ASSERT_EQUAL_FATAL(mlo_infer_node(t->g, n, NULL), MLO_OK);
	return n->out[0];
}

static MloValue *concat(Net *t, MloValue *a, MloValue *b)
{
	MloValue *in[] = {a, b};
	MloNode *n = mlo_graph_node(t->g, NULL, OP_concat, in, 2, 1);

	mlo_attr_set_i(n, ATTR_concat_axis, 1);
	CU_ASSERT_EQUAL_FATAL(mlo_infer_node(t->g, n, NULL), MLO_OK);
	return n->out[0];
}

/* stem (8) -> depthwise -> inner (6) -> back (8), added to the stem's; its ReLU joined with a branch of 4, scaled by
 * channel; flattened into a product with 5 outputs, behind a hidden layer of 7. */
static MloGraph *net(void)
{
	Net t = {mlo_graph_new("g"), 1};
	int64_t x[] = {2, 3, 4, 4}, factor[] = {12, 1, 1}, flat[] = {2, 12 * 16}, w1[] = {12 * 16, 7}, w2[] = {7, 5}, b1[] = {7};
	MloType type = mlo_type(EL_f32, 4, x);
	MloValue *in = mlo_graph_input(t.g, "x", &type), *stem = conv(&t, in, 8, false), *v;

	v = op(&t, OP_relu, conv(&t, conv(&t, stem, 8, true), 6, false), NULL);
	v = op(&t, OP_relu, op(&t, OP_add, conv(&t, v, 8, false), stem), NULL);
	v = concat(&t, v, conv(&t, in, 4, false));
	v = op(&t, OP_mul, v, constant(&t, 3, factor, "factor"));
	v = op(&t, OP_reshape, v, mlo_graph_const_i64s(t.g, 1, flat, 2));
	v = op(&t, OP_relu, op(&t, OP_add, op(&t, OP_matmul, v, constant(&t, 2, w1, "w1")), constant(&t, 1, b1, "b1")), NULL);
	mlo_graph_output(t.g, op(&t, OP_matmul, v, constant(&t, 2, w2, "w2")), "y");
	return t.g;
}

static const MloTensor *run(const MloGraph *g)
{
	MloType type = g->inputs[0]->type;
	const MloTensor *x = random_tensor(g->arena, 99, &type);
	MloTensor *y = NULL;

	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(g->arena, g, &x, &y, NULL, NULL, NULL), MLO_OK);
	return y;
}

static void groups_of_a_net(void)
{
	MloGraph *g = net();
	MloGroups *s = mlo_groups_new(g->arena, g);
	size_t open = 0;

	CU_ASSERT_EQUAL_FATAL(s->n, 6); /* input, stem with back, inner, branch, hidden, output */
	for (size_t i = 0; i < s->n; i++)
		open += !s->group[i].whole;
	CU_ASSERT_EQUAL(open, 4);
	CU_ASSERT(s->group[0].whole && s->group[5].whole);
	CU_ASSERT(s->group[1].n == 8 && s->group[1].makers == 2 && s->group[1].readers == 2);
	CU_ASSERT(s->group[2].n == 6 && s->group[2].makers == 1 && s->group[2].readers == 1);
	CU_ASSERT(s->group[3].n == 4 && s->group[3].readers == 1);
	CU_ASSERT(s->group[4].n == 7);
	mlo_graph_free(g);
}

/* Weights that read what is not kept become 0. */
static void silence(MloGraph *g, MloGroups *s)
{
	for (MloNode *n = g->first; n; n = n->next) {
		int64_t count, inner = 1;
		const uint8_t *keep;
		MloTensor *t;

		if ((n->op != OP_conv || mlo_conv_by_channel(n)) && n->op != OP_matmul)
			continue;
		keep = mlo_groups_keep(s, n->in[0], &count);
		t = mlo_tensor_new(g->arena, EL_f32, n->in[1]->data->rank, n->in[1]->data->dim);
		inner = n->op == OP_conv ? 1 : t->dim[1];
		for (int64_t e = 0; e < mlo_tensor_elems(t); e++)
			mlo_tensor_set_f64(t, e, keep[e / inner % count] ? mlo_tensor_f64(n->in[1]->data, e) : 0);
		mlo_node_set_in(g, n, 1, mlo_graph_const(g, t, n->in[1]->name));
	}
}

static void removed_is_silenced(void)
{
	static const int left[] = {3, 5, 3, 3, 4, 5};
	MloGraph *g = net();
	MloGroups *s = mlo_groups_new(g->arena, g);
	const MloTensor *a, *b, *before = run(g);
	double moved = 0;

	for (size_t i = 0; i < s->n; i++)
		for (int64_t k = 0, have = s->group[i].n; have > left[i] && !s->group[i].whole; k += 2, have--)
			s->group[i].keep[k % s->group[i].n + (k >= s->group[i].n)] = 0;
	CU_ASSERT_EQUAL(mlo_group_left(&s->group[1]), 5);
	silence(g, s);
	a = run(g);
	CU_ASSERT_EQUAL_FATAL(mlo_groups_remove(s, NULL), MLO_OK);
	CU_ASSERT_EQUAL(mlo_verify(g, NULL), MLO_OK);
	b = run(g);
	for (int64_t i = 0; i < mlo_tensor_elems(a); i++) {
		CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_f64(a, i), mlo_tensor_f64(b, i), 1e-4 * (1 + fabs(mlo_tensor_f64(a, i))));
		moved += fabs(mlo_tensor_f64(a, i) - mlo_tensor_f64(before, i));
	}
	CU_ASSERT(moved > 1e-3);
	for (const MloNode *n = g->first; n; n = n->next)
		if (n->op == OP_conv && mlo_conv_by_channel(n))
			CU_ASSERT(mlo_attr_i(n, ATTR_conv_group) == 5 && n->in[1]->data->dim[0] == 5);
	mlo_graph_free(g);
}

static void what_others_read_stays_whole(void)
{
	Net t = {mlo_graph_new("g"), 5};
	int64_t x[] = {1, 3, 4, 4};
	MloType type = mlo_type(EL_f32, 4, x);
	MloValue *in = mlo_graph_input(t.g, "x", &type), *v = conv(&t, in, 6, false);
	MloGroups *s;

	v = op(&t, OP_softmax, v, NULL);
	mlo_graph_output(t.g, conv(&t, v, 2, false), "y");
	s = mlo_groups_new(t.g->arena, t.g);
	for (size_t i = 0; i < s->n; i++)
		CU_ASSERT_PTR_NOT_NULL(s->group[i].whole);
	mlo_graph_free(t.g);
}

/* The channel that is a copy of another one costs nothing. */
static void worth_of_channels(void)
{
	enum { M = 2, C = 3, TAPS = 2, K = C * TAPS, N = 64 };
	MloArena *a = mlo_arena_new();
	MloPruneLayer l = {.rows = M, .channels = C, .taps = TAPS, .groups = 1};
	MloPruneStats s = mlo_prune_stats(a, M, K);
	float x[N * K], y[N * M];
	double w[M * K], error[C];
	uint8_t keep[C] = {1, 1, 1};
	uint32_t seed = 1;
	MloProblem p;

	for (int i = 0; i < M * K; i++)
		w[i] = 1 + i % 3;
	for (int n = 0; n < N; n++) {
		for (int i = 0; i < K; i++) {
			seed = seed * 1664525u + 1013904223u;
			x[n * K + i] = i % C == 2 ? x[n * K + i - 1] : (float)(seed / 2147483648.0 - 1);
		}
		for (int m = 0; m < M; m++) {
			y[n * M + m] = 0;
			for (int i = 0; i < K; i++)
				y[n * M + m] += (float)(w[m * K + i] * x[n * K + i]);
		}
	}
	mlo_prune_add(&s, x, y, N);
	CU_ASSERT_EQUAL_FATAL(mlo_problem_new(a, &s, w, true, 1e-6, &p), PROBLEM_GIVEN);
	mlo_channels_errors(&p, &l, keep, 1, error);
	CU_ASSERT(error[0] > 100 * error[1] && error[0] > 100 * error[2] && error[1] > 0);
	keep[1] = 0;
	mlo_channels_errors(&p, &l, keep, 1, error);
	CU_ASSERT(error[1] == 0 && error[2] > 0.1 * error[0]);
	mlo_arena_free(a);
}

void suite_channels(void)
{
	CU_pSuite s = CU_add_suite("channels", NULL, NULL);

	CU_ADD_TEST(s, groups_of_a_net);
	CU_ADD_TEST(s, removed_is_silenced);
	CU_ADD_TEST(s, what_others_read_stays_whole);
	CU_ADD_TEST(s, worth_of_channels);
}
