/* tests/unit/test_tie.c -- which whole numbers may be neighbours of what the reference has (tests/device/tie.c). */
#include <CUnit/CUnit.h>
#include <math.h>

#include "tests/device/device.h"
#include "tests/unit/ir_fixture.h"

void suite_tie(void);

/* Values before rounding, of two channels: a tie, right below one, right above one, not near any. */
static const float before[] = {2.5f, 0, 0, 7.0001f};

typedef struct Rounded {
	MloGraph *g;
	MloKernel *k;
	MloValue *v;      /* result */
	MloTensor **value; /* by id */
} Rounded;

static Rounded rounded_by(KOp op, const char *text)
{
	static const int64_t dim[] = {1, 2, 2};
	Rounded r = {.g = ir_graph(text)};
	const MloNode *n;
	MloTensor *t;
	KCursor at;

	CU_ASSERT_FATAL(r.g != NULL);
	for (MloNode *m = r.g->first; m; m = m->next)
		m->group = 1;
	r.v = r.g->outputs[0];
	t = mlo_tensor_new(r.g->arena, EL_f32, 3, dim);
	for (int64_t i = 0; i < 4; i++)
		mlo_tensor_set_f64(t, i, before[i]);
	mlo_tensor_set_f64(t, 1, nextafterf(-3.5f, 0));
	mlo_tensor_set_f64(t, 2, nextafterf(100.5f, 200));
	r.value = MLO_NEWN(r.g->arena, MloTensor *, r.g->next_id);
	for (n = r.v->def; n->op != OP_round; n = n->in[0]->def)
		r.value[n->out[0]->id] = mlo_tensor_new(r.g->arena, EL_i8, 3, dim);
	r.value[n->in[0]->id] = t;
	r.k = mlo_kernel_new(r.g->arena, "t");
	at = kb_top(r.k);
	kb_op(&at, op, EL_f32, kb_const_f(&at, EL_f32, 1), -1, -1);
	return r;
}

static Rounded rounded(KOp op)
{
	return rounded_by(op, "graph @t(%x: f32[1, 2, 2]) -> (%q) {\n"
	                      "  const %s: f32[] = [0.5]\n"
	                      "  const %z: f32[] = [-3]\n"
	                      "  %a = swish(%x) : f32[1, 2, 2]\n"
	                      "  %b = div(%a, %s) : f32[1, 2, 2]\n"
	                      "  %c = round(%b) : f32[1, 2, 2]\n"
	                      "  %d = add(%c, %z) : f32[1, 2, 2]\n"
	                      "  %q = cast(%d) {to=3} : i8[1, 2, 2]\n"
	                      "}\n");
}

static bool may(const Rounded *r, int64_t at, double got, double want)
{
	return device_tie(r->k, r->v, r->value, at, got, want);
}

static void neighbours_at_ties_alone(void)
{
	Rounded r = rounded(K_sigmoid);

	CU_ASSERT(may(&r, 0, 0, -1));
	CU_ASSERT(may(&r, 0, -1, 0));
	CU_ASSERT(!may(&r, 0, 1, -1));
	CU_ASSERT(may(&r, 1, -7, -6));
	CU_ASSERT(may(&r, 2, 97, 98));
	CU_ASSERT(!may(&r, 3, 3, 4));
	mlo_graph_free(r.g);
}

static void behind_elementary_functions_alone(void)
{
	Rounded r = rounded(K_sqrt);

	CU_ASSERT(!may(&r, 0, 0, -1));
	mlo_graph_free(r.g);
}

static void rounding_belongs_to_the_kernel(void)
{
	Rounded r = rounded(K_exp);

	CU_ASSERT(may(&r, 0, 0, -1));
	r.v->def->in[0]->def->in[0]->def->group = 2;
	CU_ASSERT(!may(&r, 0, 0, -1));
	mlo_graph_free(r.g);
}

static void places_of_channel_blocks(void)
{
	Rounded r = rounded(K_exp);

	r.v->layout.block = 4; /* lanes 2 and 3 have no channel */
	CU_ASSERT(may(&r, 0, 0, -1));
	CU_ASSERT(may(&r, 1, 97, 98)); /* channel 1, pixel 0 */
	CU_ASSERT(may(&r, 4, -7, -6)); /* channel 0, pixel 1 */
	CU_ASSERT(!may(&r, 5, 3, 4));
	mlo_graph_free(r.g);
}

static void places_behind_a_transposition(void)
{
	Rounded r = rounded_by(K_exp, "graph @t(%x: f32[1, 2, 2]) -> (%q) {\n"
	                              "  const %s: f32[] = [0.5]\n"
	                              "  %b = div(%x, %s) : f32[1, 2, 2]\n"
	                              "  %c = round(%b) : f32[1, 2, 2]\n"
	                              "  %d = cast(%c) {to=3} : i8[1, 2, 2]\n"
	                              "  %q = transpose(%d) {perm=[0, 2, 1]} : i8[1, 2, 2]\n"
	                              "}\n");

	CU_ASSERT(may(&r, 0, 3, 2));
	CU_ASSERT(may(&r, 1, 100, 101));
	CU_ASSERT(may(&r, 2, -4, -3));
	CU_ASSERT(!may(&r, 3, 7, 8));
	mlo_graph_free(r.g);
}

void suite_tie(void)
{
	CU_pSuite s = CU_add_suite("tie", NULL, NULL);

	CU_ADD_TEST(s, neighbours_at_ties_alone);
	CU_ADD_TEST(s, behind_elementary_functions_alone);
	CU_ADD_TEST(s, rounding_belongs_to_the_kernel);
	CU_ADD_TEST(s, places_of_channel_blocks);
	CU_ADD_TEST(s, places_behind_a_transposition);
}
