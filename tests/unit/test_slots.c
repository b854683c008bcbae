/* tests/unit/test_slots.c -- slots of a program: sharing, folding, order of evaluation. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "codegen/slots.h"

static void sharing(void)
{
	MloArena *a = mlo_arena_new();
	Slots s = {.arena = a};
	int x = slots_new(&s, 1, true, 5), y = slots_new(&s, 1, false, 7), sum, product;

	CU_ASSERT_EQUAL(slots_const(&s, 3), slots_const(&s, 3));
	CU_ASSERT_EQUAL(slots_expr(&s, MLRT_X_MUL, slots_const(&s, 3), slots_const(&s, 4), 0), slots_const(&s, 12));
	CU_ASSERT_EQUAL(slots_expr(&s, MLRT_X_ADD, x, slots_const(&s, 0), 0), x);
	CU_ASSERT_EQUAL(slots_expr(&s, MLRT_X_DIV, y, slots_const(&s, 1), 0), y);
	sum = slots_expr(&s, MLRT_X_ADD, x, y, 0);
	CU_ASSERT_EQUAL(slots_expr(&s, MLRT_X_ADD, y, x, 0), sum);
	CU_ASSERT_NOT_EQUAL(slots_expr(&s, MLRT_X_SUB, y, x, 0), slots_expr(&s, MLRT_X_SUB, x, y, 0));
	CU_ASSERT_FALSE(s.slot.items[sum].early);
	CU_ASSERT_EQUAL(s.slot.items[sum].guess, 12);
	product = slots_expr(&s, MLRT_X_MUL, x, slots_const(&s, 2), 0);
	CU_ASSERT(s.slot.items[product].early);
	CU_ASSERT_EQUAL(s.early.items[s.early.n - 1].dst, (uint32_t)product);
	mlo_arena_free(a);
}

static void dimensions(void)
{
	MloArena *a = mlo_arena_new();
	MloSymbols *t = mlo_symbols_new(a);
	Slots s = {.arena = a};
	int n = slots_new(&s, 1, true, 5), both[2], three[3];
	MloDim d, e;
	const char *name;

	CU_ASSERT(mlo_dim_parse(t, "2*n+1", 5, &d));
	CU_ASSERT(mlo_dim_parse(t, "max(n,m)", 8, &e));
	CU_ASSERT_EQUAL(slots_dim(&s, d), -1);
	CU_ASSERT(mlo_dim_symbol(mlo_dim_sym(t, "n"), &name));
	slots_bind(&s, name, n);
	CU_ASSERT_EQUAL(s.slot.items[slots_dim(&s, d)].guess, 11);
	CU_ASSERT_EQUAL(slots_dim(&s, d), slots_dim(&s, d));
	CU_ASSERT_EQUAL(slots_dim(&s, e), -1);
	CU_ASSERT_EQUAL(slots_dim(&s, mlo_dim_sym(t, "n")), n);
	both[0] = n;
	both[1] = slots_dim(&s, d);
	CU_ASSERT_EQUAL(slots_tuple(&s, both, 1), n);
	CU_ASSERT_EQUAL(slots_tuple(&s, both, 2), slots_tuple(&s, both, 2));
	three[0] = three[1] = three[2] = n;
	CU_ASSERT_NOT_EQUAL(slots_tuple(&s, three, 3), slots_tuple(&s, both, 2));
	mlo_arena_free(a);
}

static void checks(void)
{
	MloArena *a = mlo_arena_new();
	Slots s = {.arena = a};
	int x = slots_new(&s, 1, true, 5), y = slots_new(&s, 1, false, 5);
	size_t early;

	slots_check(&s, MLRT_X_CHECK_EQ, x, x, -1);
	slots_check(&s, MLRT_X_CHECK_LE, slots_const(&s, 2), slots_const(&s, 3), -1);
	early = s.early.n;
	slots_check(&s, MLRT_X_CHECK_EQ, x, slots_const(&s, 2), 33);
	CU_ASSERT_EQUAL(s.early.n, early + 1);
	CU_ASSERT_EQUAL(s.early.items[early].imm, 33);
	CU_ASSERT_EQUAL(s.late.n, 0);
	slots_check(&s, MLRT_X_CHECK_EQ, x, y, -1);
	slots_check(&s, MLRT_X_CHECK_GE0, y, -1, -1);
	CU_ASSERT_EQUAL(s.late.n, 2);
	/* what certainly fails stays, so that the run says so */
	slots_check(&s, MLRT_X_CHECK_LE, slots_const(&s, 3), slots_const(&s, 2), -1);
	CU_ASSERT_EQUAL(s.early.items[s.early.n - 1].op, MLRT_X_CHECK_LE);
	mlo_arena_free(a);
}

static void arithmetic(void)
{
	int64_t v;

	CU_ASSERT(slots_compute(MLRT_X_DIV, -7, 2, 0, &v) && v == -4);
	CU_ASSERT(slots_compute(MLRT_X_CEILDIV, -7, 2, 0, &v) && v == -3);
	CU_ASSERT(slots_compute(MLRT_X_CEILDIV, 7, 2, 0, &v) && v == 4);
	CU_ASSERT(slots_compute(MLRT_X_CEILDIV, 8, 2, 0, &v) && v == 4);
	CU_ASSERT(slots_compute(MLRT_X_MOD, -7, 4, 0, &v) && v == 1);
	CU_ASSERT(slots_compute(MLRT_X_ALIGN, 65, 0, 64, &v) && v == 128);
	CU_ASSERT_FALSE(slots_compute(MLRT_X_DIV, 7, 0, 0, &v));
	CU_ASSERT_FALSE(slots_compute(MLRT_X_MUL, INT64_MAX, 2, 0, &v));
	CU_ASSERT_FALSE(slots_compute(MLRT_X_ALIGN, INT64_MAX, 0, 64, &v));
}

void suite_slots(void);
void suite_slots(void)
{
	CU_pSuite s = CU_add_suite("slots", NULL, NULL);

	CU_add_test(s, "sharing and folding", sharing);
	CU_add_test(s, "dimensions and tuples", dimensions);
	CU_add_test(s, "checks", checks);
	CU_add_test(s, "arithmetic", arithmetic);
}
