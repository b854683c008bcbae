/* tests/unit/test_division.c -- how kernels are cut into tasks, so that several threads have shares. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "codegen/lower.h"
#include "codegen/winograd.h"

void suite_division(void);

static const MloTarget *target(void)
{
	return mlo_target_find("ml_c6i", NULL)->variant[0];
}

/* Tasks of the one node that a graph is. */
static int64_t tasks_of(const char *text)
{
	MloDiag d = {0};
	MloGraph *g = mlo_parse(text, strlen(text), NULL, NULL, &d);
	MloStatus (*lower)(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out);
	MloLowered l = {0};
	MloLowerCx cx;
	int64_t n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL_FATAL(mlo_infer_graph(g, &d), MLO_OK);
	cx = (MloLowerCx){.arena = g->arena, .graph = g, .target = target(), .diag = &d};
	lower = g->first->op == OP_lstm ? mlo_lower_recurrent : mlo_lower_loops;
	CU_ASSERT_EQUAL_FATAL(lower(&cx, g->first, g->last, &l), MLO_OK);
	n = l.kernel->ntasks;
	mlo_graph_free(g);
	mlo_diag_free(&d);
	return n;
}

static void transpositions(void)
{
	CU_ASSERT(tasks_of("graph (%x: f32[128,384]) -> (%y) { %y = transpose(%x) }") > 1);
	CU_ASSERT(tasks_of("graph (%x: f32[384,1024]) -> (%y) { %y = transpose(%x) }") > 1);
}

/* One sequence gives each direction's steps to a thread of its own. */
static void directions(void)
{
	CU_ASSERT_EQUAL(tasks_of("graph (%x: f32[4,1,128]) -> (%y) { const %r: f32[2,64,16] = random(1) "
	                         "%y, %h, %c = lstm(%x, _, %r) {direction=\"bidirectional\"} }"), 2);
	CU_ASSERT_EQUAL(tasks_of("graph (%x: f32[4,3,128]) -> (%y) { const %r: f32[2,64,16] = random(1) "
	                         "%y, %h, %c = lstm(%x, _, %r) {direction=\"bidirectional\"} }"), 6);
	CU_ASSERT_EQUAL(tasks_of("graph (%x: f32[4,3,64]) -> (%y) { const %r: f32[1,64,16] = random(1) "
	                         "%y, %h, %c = lstm(%x, _, %r) }"), 3);
}

/* Layers that one chunk of rows computes best. */
static void small_images(void)
{
	static const struct { int64_t size, in, out; } layer[] = {{28, 32, 32}, {14, 64, 64}, {14, 32, 64}};
	const MloTarget *t = target();
	int64_t lanes = t->vector_bytes / 4;

	for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) {
		int64_t n = layer[i].size;
		KContract c = {.nb0 = 1, .nb1 = 1, .ny = n, .nx = n, .nc = layer[i].out, .group_c = layer[i].out, .nk = layer[i].in,
		               .nky = 3, .nkx = 3, .sy = 1, .sx = 1, .dy = 1, .dx = 1, .py = 1, .px = 1, .in_y = n, .in_x = n,
		               .lanes = (int)lanes, .rows = 1, .b = {.packed = true}};
		int64_t chunks, parts;

		c.a.block = lanes;
		c.a.k = 1;
		c.a.elem = c.b.elem = EL_f32;
		c.dot = 1;
		mlo_schedule_winograd(t, false, &c);
		CU_ASSERT_FATAL(c.wino > 0);
		chunks = mlo_contract_chunks(&c);
		parts = mlo_contract_csplits(&c);
		CU_ASSERT(chunks * parts > 1);
		CU_ASSERT(parts <= mlo_contract_ctiles(&c));
	}
}

void suite_division(void)
{
	CU_pSuite s = CU_add_suite("division", NULL, NULL);

	CU_ADD_TEST(s, transpositions);
	CU_ADD_TEST(s, directions);
	CU_ADD_TEST(s, small_images);
}
