/* tests/unit/test_program_sets.c -- which steps of a program may run side by side, and what that does to memory. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "codegen/program.h"
#include "tests/unit/ir_fixture.h"

void suite_program_sets(void);

static const Program *program_of(Plan *plan, MloGraph **g, const char *text)
{
	static const MloCodegenOptions defaults;
	MloDiag d = {0};

	*g = ir_graph(text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(*g);
	CU_ASSERT_EQUAL_FATAL(plan_build(plan, (*g)->arena, *g, mlo_target_find("x86_64", &d)->variant[0], &defaults, &d), MLO_OK);
	mlo_diag_free(&d);
	return plan->program.items[0];
}

static size_t members(const Program *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->step.n; i++)
		n += p->step.items[i].beside;
	return n;
}

/* No step of a set writes where another one's bytes lie in the arena. */
static bool keeps_apart(const Program *p, const Step *x, const Step *y)
{
	for (size_t i = 0; i < x->kernel->arg.n; i++) {
		for (size_t k = 0; k < y->kernel->arg.n; k++) {
			const StepArg *a = &x->arg[i], *b = &y->arg[k];
			const Buffer *at = a->buffer < 0 ? NULL : &p->buffer.items[a->buffer];
			const Buffer *bt = b->buffer < 0 ? NULL : &p->buffer.items[b->buffer];

			if (!at || !bt || at->kind != BUF_ARENA || bt->kind != BUF_ARENA)
				continue;
			if (!program_step_writes(x, i) && !program_step_writes(y, k))
				continue;
			if (at->offset + a->offset < bt->offset + b->offset + b->bytes &&
			    bt->offset + b->offset < at->offset + a->offset + a->bytes)
				return false;
		}
	}
	return true;
}

static bool memory_holds(const Program *p)
{
	for (size_t i = 0, first = 0; i < p->step.n; i++) {
		first = p->step.items[i].beside ? first : i;
		for (size_t k = first; k < i; k++)
			if (!keeps_apart(p, &p->step.items[k], &p->step.items[i]))
				return false;
	}
	return true;
}

static void independent_steps_form_sets(void)
{
	Plan plan;
	MloGraph *g;
	const Program *p = program_of(&plan, &g,
		"graph @q(%x: f32[64,256]) -> (%s) {\n"
		"  const %a: f32[256,256] = random(1)\n"
		"  const %b: f32[256,256] = random(2)\n"
		"  const %c: f32[256,256] = random(3)\n"
		"  %t = relu(%x)\n"
		"  %q = matmul(%t, %a)\n"
		"  %k = matmul(%t, %b)\n"
		"  %v = matmul(%t, %c)\n"
		"  %u = add(%q, %k)\n"
		"  %s = mul(%u, %v)\n}\n");

	CU_ASSERT_EQUAL(p->step.n, 6);
	CU_ASSERT_EQUAL(members(p), 2);
	CU_ASSERT(!p->step.items[1].beside && p->step.items[2].beside && p->step.items[3].beside);
	CU_ASSERT(memory_holds(p));
	mlo_graph_free(g);
}

static void dependent_steps_form_none(void)
{
	Plan plan;
	MloGraph *g;
	const Program *p = program_of(&plan, &g,
		"graph @chain(%x: f32[64,256]) -> (%v) {\n"
		"  const %a: f32[256,256] = random(1)\n"
		"  %q = matmul(%x, %a)\n"
		"  %k = matmul(%q, %a)\n"
		"  %v = matmul(%k, %a)\n}\n");

	CU_ASSERT_EQUAL(p->step.n, 3);
	CU_ASSERT_EQUAL(members(p), 0);
	mlo_graph_free(g);
}

/* The second branch comes behind the whole first one in the graph. */
#define BRANCHES                                                                                                         \
	"  const %a: f32[64,64] = random(1)\n"                                                                            \
	"  const %b: f32[64,64] = random(2)\n"                                                                            \
	"  %p1 = matmul(%t, %a)\n"                                                                                        \
	"  %p2 = matmul(%p1, %b)\n"                                                                                       \
	"  %q1 = matmul(%t, %b)\n"                                                                                        \
	"  %q2 = matmul(%q1, %a)\n"                                                                                       \
	"  %y = add(%p2, %q2)\n}\n"

static void small_steps_are_brought_forward(void)
{
	Plan plan;
	MloGraph *g;
	const Program *p = program_of(&plan, &g, /* most memory is needed before the branches */
		"graph @branches(%x: f32[256,64]) -> (%y) {\n"
		"  const %c: f32[32,256] = random(3)\n"
		"  %r = relu(%x)\n"
		"  %t = matmul(%c, %r)\n" BRANCHES);

	CU_ASSERT_EQUAL(p->step.n, 7);
	CU_ASSERT_EQUAL(members(p), 2);
	CU_ASSERT(p->step.items[3].beside && p->step.items[5].beside);
	CU_ASSERT(memory_holds(p));
	mlo_graph_free(g);
}

/* Both branches at once take four buffers, one after the other three. */
static void sets_take_no_more_memory(void)
{
	Plan plan;
	MloGraph *g;
	const Program *p = program_of(&plan, &g,
		"graph @branches(%x: f32[32,64]) -> (%y) {\n"
		"  %t = relu(%x)\n" BRANCHES);

	CU_ASSERT_EQUAL(p->step.n, 6);
	CU_ASSERT_EQUAL(p->arena_bytes, 3 * 32 * 64 * 4);
	CU_ASSERT(memory_holds(p));
	mlo_graph_free(g);
}

static void tiny_steps_stay_apart(void)
{
	Plan plan;
	MloGraph *g;
	const Program *p = program_of(&plan, &g,
		"graph @tiny(%x: f32[1,16]) -> (%y, %z) {\n"
		"  %y = relu(%x)\n"
		"  %z = neg(%x)\n}\n");

	CU_ASSERT_EQUAL(p->step.n, 2);
	CU_ASSERT_EQUAL(members(p), 0);
	mlo_graph_free(g);
}

void suite_program_sets(void)
{
	CU_pSuite s = CU_add_suite("program_sets", NULL, NULL);

	CU_ADD_TEST(s, independent_steps_form_sets);
	CU_ADD_TEST(s, dependent_steps_form_none);
	CU_ADD_TEST(s, small_steps_are_brought_forward);
	CU_ADD_TEST(s, sets_take_no_more_memory);
	CU_ADD_TEST(s, tiny_steps_stay_apart);
}
