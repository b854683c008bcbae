/* tests/unit/test_forest.c -- random forests on every kind of kernel, to the last bit, and their kernel as
 * text. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/compile.h"
#include "codegen/forest.h"
#include "codegen/lower.h"
#include "ir/exec.h"
#include "ir/ref/ref_tree.h"
#include "tests/support/support.h"

enum { FEATURES = 7, MAX_NODES = 4000 };

typedef struct Forest {
	uint64_t seed;
	int64_t rows, trees, targets, parts;
	int depth;
	bool lists; /* leaves with any number of targets */
	bool own;   /* leaves with one target each, not their tree's */
	bool fine;  /* splits of all digits, comparisons of order only */
	int32_t node[MAX_NODES][TREE_COLUMNS];
	float split[MAX_NODES], weight[2 * MAX_NODES], member[64];
	int32_t target[2 * MAX_NODES];
	int64_t root[256], nnodes, nweights, nmembers;
} Forest;

static uint64_t draw(Forest *f, uint64_t n)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return f->seed % n;
}

/* From few numbers, so that rows meet splits exactly; some are at the ends of what float32 holds. */
static float number(Forest *f, bool nan)
{
	static const float odd[] = {0.0f, -0.0f, INFINITY, -INFINITY, 1e-40f, -1e-40f, 3e38f, NAN};

	if (draw(f, 4))
		return (float)draw(f, 17) * 0.25f - 2;
	return odd[draw(f, nan ? 8 : 7)];
}

static int64_t leaf(Forest *f, int64_t i, int64_t tree)
{
	int32_t *n = f->node[i];

	n[TREE_MODE] = TREE_LEAF;
	n[TREE_FIRST] = (int32_t)f->nweights;
	n[TREE_COUNT] = f->lists ? (int32_t)draw(f, (uint64_t)f->targets + 1) : draw(f, 9) != 0;
	for (int32_t k = 0; k < n[TREE_COUNT]; k++) {
		f->target[f->nweights] = f->lists ? k : (int32_t)((f->own ? (int64_t)draw(f, 64) : tree) % f->targets);
		f->weight[f->nweights++] = (float)draw(f, 2001) * 0.01f - 10;
	}
	return i;
}

static int64_t grow(Forest *f, int64_t tree, int depth)
{
	int64_t i = f->nnodes++;
	int32_t *n = f->node[i];

	if (depth == 0 || f->nnodes > MAX_NODES / 2 || !draw(f, 6))
		return leaf(f, i, tree);
	n[TREE_MODE] = (int32_t)draw(f, f->fine ? TREE_EQ : TREE_LEAF);
	n[TREE_MISSING] = (int32_t)draw(f, 2);
	n[TREE_FEATURE] = (int32_t)draw(f, FEATURES);
	f->split[i] = f->fine ? (float)draw(f, 1 << 30) * 0x1p-28f - 2 : number(f, true);
	if (n[TREE_MODE] == TREE_MEMBER) {
		n[TREE_FIRST] = (int32_t)draw(f, 60);
		n[TREE_COUNT] = (int32_t)draw(f, 5);
	}
	n[TREE_YES] = (int32_t)grow(f, tree, depth - 1);
	n[TREE_NO] = (int32_t)grow(f, tree, depth - 1);
	return i;
}

static MloValue *table(MloGraph *g, MloElem e, int rank, int64_t n, int64_t columns, const void *data)
{
	MloTensor *t = mlo_tensor_new(g->arena, e, rank, (int64_t[]){n, columns});

	memcpy((void *)t->data, data, t->nbytes);
	return mlo_graph_const(g, t, NULL);
}

static MloGraph *graph_of(Forest *f, const char *how)
{
	MloGraph *g = mlo_graph_new("forest");
	MloType t;
	MloNode *n;

	for (int64_t k = 0; k < 64; k++)
		f->member[k] = number(f, true);
	f->nmembers = 64;
	for (int64_t k = 0; k < f->trees; k++)
		f->root[k] = grow(f, k, f->depth);
	t = mlo_type(EL_f32, 2, (int64_t[]){f->rows, FEATURES});
	n = mlo_graph_node(g, NULL, OP_tree_ensemble,
			   (MloValue *[]){mlo_graph_input(g, "x", &t),
					  table(g, EL_i64, 1, f->trees, 0, f->root),
					  table(g, EL_i32, 2, f->nnodes, TREE_COLUMNS, f->node),
					  table(g, EL_f32, 1, f->nnodes, 0, f->split),
					  table(g, EL_i32, 1, f->nweights, 0, f->target),
					  table(g, EL_f32, 1, f->nweights, 0, f->weight),
					  table(g, EL_f32, 1, 64, 0, f->member)},
			   7, 1);
	mlo_attr_set_i(n, ATTR_tree_ensemble_targets, f->targets);
	mlo_attr_set_i(n, ATTR_tree_ensemble_parts, f->parts);
	mlo_attr_set_s(g, n, ATTR_tree_ensemble_aggregate, how);
	mlo_graph_output(g, n->out[0], "y");
	return g;
}

static MloGraph *build(Forest *f, uint64_t seed)
{
	static const char *const how[] = {"SUM", "MARKED_SUM", "AVERAGE", "MIN", "MAX"};
	static const int64_t rows[] = {1, 3, 17, 64, 70, 300};

	memset(f, 0, sizeof *f);
	f->seed = (seed + 1) * 0x9e3779b97f4a7c15u;
	f->rows = rows[seed % 6];
	f->trees = 1 + (int64_t)draw(f, 100);
	f->targets = draw(f, 2) ? 1 : 1 + (int64_t)draw(f, 20);
	f->parts = 1 + (int64_t)draw(f, 3);
	f->depth = 1 + (int)draw(f, 9);
	f->lists = f->targets > 1 && draw(f, 3) == 0;
	f->own = draw(f, 2);
	return graph_of(f, how[draw(f, 5)]);
}

static bool same(const MloTensor *got, const MloTensor *want)
{
	return got->nbytes == want->nbytes && !memcmp(got->data, want->data, want->nbytes);
}

static const MloTensor *rows_of(MloGraph *g, Forest *f)
{
	MloTensor *x = mlo_tensor_new(g->arena, EL_f32, 2, (int64_t[]){f->rows, FEATURES});

	for (int64_t i = 0; i < f->rows * FEATURES; i++)
		((float *)x->data)[i] = number(f, true);
	return x;
}

static void random_forests(void)
{
	static const char *const variant[] = {"x86_64", "x86_64-avx2", "x86_64-avx512"};
	Forest *f = malloc(sizeof *f);

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (uint64_t seed = 0; seed < 24; seed++) {
		MloDiag d = {0};
		MloGraph *g = build(f, seed);
		const MloTensor *x = rows_of(g, f);
		const MloTargetSet *set = mlo_target_find("x86_64", &d);
		MloTensor *want[1] = {0}, *got[1] = {0}, *other[1] = {0};
		RunHow how = {.target = seed % 4 == 3 ? "native" : "x86_64", .variant = seed % 4 == 3 ? NULL : variant[seed % 4],
		              .level = 2, .threads = 1 + (int)(seed & 1)};
		bool here = true;

		CU_ASSERT_EQUAL_FATAL(mlo_infer_graph(g, &d), MLO_OK);
		CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(g->arena, g, &x, want, NULL, NULL, &d), MLO_OK);
		for (int i = 0; set && set->variant[i]; i++) {
			CU_ASSERT_EQUAL(mlo_codegen_interp(g->arena, g, set->variant[i], &x, other, &d), MLO_OK);
			CU_ASSERT(other[0] && same(other[0], want[0]));
			if (how.variant && !strcmp(set->variant[i]->name, how.variant))
				here = mlo_target_runs_here(set->variant[i], NULL, 0);
		}
		if (seed < 12 && here) {
			CU_ASSERT_EQUAL(support_run(g->arena, g, &how, &x, got, &d), MLO_OK);
			CU_ASSERT(got[0] && same(got[0], want[0]));
			if (got[0] && !same(got[0], want[0]))
				printf("forest %llu differs on %s\n", (unsigned long long)seed,
				       how.variant ? how.variant : how.target);
		}
		mlo_diag_print(&d, "test", stdout);
		mlo_diag_free(&d);
		mlo_graph_free(g);
	}
	free(f);
}

/* -- rows on thresholds --------------------------------------------------------------------------- */

/* Each feature is the threshold of some node that tests it, or the number right below or above that. */
static const MloTensor *rows_on_splits(MloGraph *g, Forest *f)
{
	MloTensor *x = mlo_tensor_new(g->arena, EL_f32, 2, (int64_t[]){f->rows, FEATURES});

	for (int64_t i = 0; i < f->rows * FEATURES; i++) {
		int64_t k = (int64_t)draw(f, (uint64_t)f->nnodes);
		float v = 0;

		for (int64_t tries = 0; tries < f->nnodes; tries++, k = (k + 1) % f->nnodes)
			if (f->node[k][TREE_MODE] != TREE_LEAF && f->node[k][TREE_FEATURE] == i % FEATURES) {
				v = f->split[k];
				break;
			}
		switch (draw(f, 3)) {
		case 0: v = nextafterf(v, -10); break;
		case 1: v = nextafterf(v, 10); break;
		default: break;
		}
		((float *)x->data)[i] = v;
	}
	return x;
}

/* What ONNX says, in float32 and as directly as can be: the score of one target. */
static float direct_score(const Forest *f, const float *x, int32_t target)
{
	float sum = 0;

	for (int64_t t = 0; t < f->trees; t++) {
		int64_t i = f->root[t];

		while (f->node[i][TREE_MODE] != TREE_LEAF) {
			const int32_t *n = f->node[i];
			float v = x[n[TREE_FEATURE]], s = f->split[i];
			bool yes = n[TREE_MODE] == TREE_LEQ   ? v <= s
				   : n[TREE_MODE] == TREE_LT  ? v < s
				   : n[TREE_MODE] == TREE_GTE ? v >= s
							      : v > s;

			i = n[yes ? TREE_YES : TREE_NO];
		}
		for (int32_t k = f->node[i][TREE_FIRST]; k < f->node[i][TREE_FIRST] + f->node[i][TREE_COUNT]; k++)
			if (f->target[k] == target)
				sum += f->weight[k];
	}
	return sum;
}

static void rows_on_thresholds(void)
{
	Forest *f = malloc(sizeof *f);

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (uint64_t seed = 0; seed < 6; seed++) {
		RunHow how = {.target = "native", .level = 2, .threads = 1};
		MloTensor *want[1] = {0}, *got[1] = {0};
		const MloTensor *x;
		MloDiag d = {0};
		MloGraph *g;

		memset(f, 0, sizeof *f);
		*f = (Forest){.seed = (seed + 1) * 0x9e3779b97f4a7c15u, .rows = seed % 2 ? 1 : 203, .trees = 20, .parts = 1,
		              .depth = 7, .targets = seed < 2 ? 1 : 3, .lists = seed == 2, .own = seed > 3, .fine = true};
		g = graph_of(f, "SUM");
		x = rows_on_splits(g, f);
		CU_ASSERT_EQUAL_FATAL(mlo_infer_graph(g, &d), MLO_OK);
		CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(g->arena, g, &x, want, NULL, NULL, &d), MLO_OK);
		CU_ASSERT_EQUAL_FATAL(support_run(g->arena, g, &how, &x, got, &d), MLO_OK);
		CU_ASSERT(same(got[0], want[0]));
		for (int64_t i = 0; i < f->rows * f->targets; i++)
			CU_ASSERT_EQUAL(((const float *)got[0]->data)[i],
					direct_score(f, (const float *)x->data + i / f->targets * FEATURES, (int32_t)(i % f->targets)));
		mlo_diag_print(&d, "test", stdout);
		mlo_diag_free(&d);
		mlo_graph_free(g);
	}
	free(f);
}

/* -- the kernel ----------------------------------------------------------------------------------- */

static const char *print(MloArena *a, const MloKernel *k)
{
	MloStr s = {.arena = a};

	mlo_kernel_print(&s, k, true);
	return mlo_str_text(&s);
}

static void kernel_as_text(void)
{
	Forest *f = malloc(sizeof *f);
	MloDiag d = {0};
	MloGraph *g = build(f, 5);
	MloLowerCx cx = {.arena = g->arena, .graph = g, .target = mlo_target_native(), .diag = &d};
	MloLowered low;
	MloKernel *again;
	const char *text;

	CU_ASSERT_EQUAL_FATAL(mlo_infer_graph(g, &d), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_lower_forest(&cx, g->first, g->first, &low), MLO_OK);
	CU_ASSERT_EQUAL(mlo_kernel_verify(low.kernel, &d), MLO_OK);
	text = print(g->arena, low.kernel);
	again = mlo_kernel_parse(g->arena, text, strlen(text), &d);
	CU_ASSERT_PTR_NOT_NULL_FATAL(again);
	CU_ASSERT_STRING_EQUAL(print(g->arena, again), text);
	CU_ASSERT_EQUAL(again->ntasks, low.kernel->ntasks);
	again->body->forest->ways = 3;
	CU_ASSERT_NOT_EQUAL(mlo_kernel_verify(again, NULL), MLO_OK);
	again->body->forest->ways = 4;
	again->body->forest->node_arg = again->body->forest->x_arg;
	CU_ASSERT_NOT_EQUAL(mlo_kernel_verify(again, NULL), MLO_OK);
	mlo_diag_free(&d);
	mlo_graph_free(g);
	free(f);
}

/* Tables that lead nowhere go to the library tier, whose kernel ends such walks without a leaf. */
static void wrong_tables(void)
{
	static const int32_t wrong[][3] = {
		{TREE_YES, 0, 0}, {TREE_NO, 99, 0}, {TREE_YES, -1, 0}, {TREE_MODE, 9, 0}};
	int32_t node[3][TREE_COLUMNS];
	MloDiag d = {0};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		MloGraph *g = mlo_graph_new("wrong");
		MloType t = mlo_type(EL_f32, 2, (int64_t[]){5, 1});
		MloLowerCx cx = {.arena = g->arena, .graph = g, .target = mlo_target_native(), .diag = &d};
		MloTensor *x = mlo_tensor_new(g->arena, EL_f32, 2, (int64_t[]){5, 1}), *y[1];
		MloLowered low;
		MloNode *n;

		memset(node, 0, sizeof node);
		node[0][TREE_YES] = 1;
		node[0][TREE_NO] = 2;
		node[1][TREE_MODE] = node[2][TREE_MODE] = TREE_LEAF;
		node[1][TREE_COUNT] = node[2][TREE_COUNT] = 1;
		node[0][wrong[i][0]] = wrong[i][1];
		n = mlo_graph_node(g, NULL, OP_tree_ensemble,
				   (MloValue *[]){mlo_graph_input(g, "x", &t),
						  table(g, EL_i64, 1, 1, 0, (int64_t[]){0}),
						  table(g, EL_i32, 2, 3, TREE_COLUMNS, node),
						  table(g, EL_f32, 1, 3, 0, (float[]){0, 0, 0}),
						  table(g, EL_i32, 1, 1, 0, (int32_t[]){0}),
						  table(g, EL_f32, 1, 1, 0, (float[]){1})},
				   6, 1);
		mlo_graph_output(g, n->out[0], "y");
		CU_ASSERT_EQUAL_FATAL(mlo_infer_graph(g, &d), MLO_OK);
		CU_ASSERT_EQUAL(mlo_lower_forest(&cx, n, n, &low), MLO_ERR_UNSUPPORTED);
		CU_ASSERT_EQUAL(mlo_exec_graph(g->arena, g, (const MloTensor *[]){x}, y, NULL, NULL, &d),
				MLO_OK);
		mlo_graph_free(g);
	}
	mlo_diag_free(&d);
}

void suite_forest(void);
void suite_forest(void)
{
	CU_pSuite s = CU_add_suite("forest", NULL, NULL);

	CU_add_test(s, "random forests", random_forests);
	CU_add_test(s, "rows on thresholds", rows_on_thresholds);
	CU_add_test(s, "the kernel prints and parses", kernel_as_text);
	CU_add_test(s, "wrong tables", wrong_tables);
}
