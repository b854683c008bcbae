/* tests/unit/test_ir_dim.c -- algebra, ranges and text of symbolic dimensions. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "ir/type.h"

static MloArena *arena;
static MloSymbols *syms;

static MloDim dim(const char *s)
{
	MloDim d = mlo_dim(-99);

	CU_ASSERT_TRUE(mlo_dim_parse(syms, s, strlen(s), &d));
	return d;
}

static const char *text(MloDim d)
{
	MloStr s = {.arena = arena};

	mlo_dim_print(&s, d);
	return mlo_str_text(&s);
}

static void begin(void)
{
	arena = mlo_arena_new();
	syms = mlo_symbols_new(arena);
}

static void end(void)
{
	mlo_arena_free(arena);
}

static void one_form_for_equal_expressions(void)
{
	static const char *const same[][2] = {
		{"a+b", "b+a"}, {"2*a-a", "a"}, {"(a+1)*(a-1)", "a*a-1"}, {"a-a", "0"},
		{"(4*a+8)/4", "a+2"}, {"(a*b*12)/(b*12)", "a"}, {"(a*b+a)/(b+1)", "a"},
		{"(4*a+3)/4", "a"}, {"(2*a+b+5)/2", "a+(b+1)/2+2"}, {"max(a,a+2)", "a+2"},
		{"max(a,b)", "max(b,a)"}, {"7/2", "3"}, {"(0-7)/2", "0-4"}, {"0/a", "0"},
		{"(a/2)/3", "a/6"}, {"(((a+1)/2)/2+1)/2", "(a+5)/8"},
	};

	begin();
	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		MloDim x = dim(same[i][0]), y = dim(same[i][1]);

		CU_ASSERT_TRUE(mlo_dim_same(x, y));
		CU_ASSERT_PTR_EQUAL(x.e, y.e);
		if (!mlo_dim_same(x, y))
			fprintf(stderr, "%s is %s, %s is %s\n", same[i][0], text(x), same[i][1], text(y));
	}
	CU_ASSERT_FALSE(mlo_dim_same(dim("a"), dim("b")));
	CU_ASSERT_FALSE(mlo_dim_same(dim("a/2*2"), dim("a")));
	end();
}

static void text_reads_back(void)
{
	static const char *const forms[] = {
		"0", "17", "batch", "4*seq+1", "a*b+a+b", "a/2", "(a+b)/2", "(a*b)/c", "max(a,b)",
		"3*((a+1)/2)", "-(a/2)+a", "(a/2)/b", "max(a+1,b/2)+c", "a-7", "-a+100", "a*(b/c)",
		"\"odd name\"+1", "\"max\"", "u#1",
	};

	begin();
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		MloDim d = dim(forms[i]), again = dim(text(d));

		CU_ASSERT_TRUE(mlo_dim_same(d, again));
		CU_ASSERT_STRING_EQUAL(text(d), text(again));
	}
	CU_ASSERT_STRING_EQUAL(text(dim("1+seq*4")), "4*seq+1");
	CU_ASSERT_STRING_EQUAL(text(dim("(b+a)/2")), "(a+b)/2");
	end();
}

static void malformed_text_is_refused(void)
{
	static const char *const bad[] = {"", "+", "a+", "(a", "a)", "max(a)", "max(a,b", "99999999999999999999",
	                                  "a b", "\"open", "a**b"};
	char deep[300];
	MloDim d;

	begin();
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CU_ASSERT_FALSE(mlo_dim_parse(syms, bad[i], strlen(bad[i]), &d));
	memset(deep, '(', sizeof deep);
	CU_ASSERT_FALSE(mlo_dim_parse(syms, deep, sizeof deep, &d));
	end();
}

static void ranges_prove_things(void)
{
	int64_t lo, hi;

	begin();
	mlo_sym_range(syms, "a", 2, 10);
	mlo_sym_range(syms, "b", 20, 30);
	mlo_dim_range(dim("3*a+1"), &lo, &hi);
	CU_ASSERT_EQUAL(lo, 7);
	CU_ASSERT_EQUAL(hi, 31);
	mlo_dim_range(dim("b/a"), &lo, &hi);
	CU_ASSERT_EQUAL(lo, 2);
	CU_ASSERT_EQUAL(hi, 15);
	mlo_dim_range(dim("a-5"), &lo, &hi);
	CU_ASSERT_EQUAL(lo, 0);
	CU_ASSERT_EQUAL(hi, 5);
	mlo_dim_range(dim("max(a,b)"), &lo, &hi);
	CU_ASSERT_EQUAL(lo, 20);
	CU_ASSERT_TRUE(mlo_dim_differ(dim("a"), dim("b")));
	CU_ASSERT_TRUE(mlo_dim_differ(dim("c"), dim("c+1")));
	CU_ASSERT_FALSE(mlo_dim_differ(dim("a"), dim("c")));
	CU_ASSERT_TRUE(mlo_dim_le(dim("a"), dim("b")));
	CU_ASSERT_FALSE(mlo_dim_le(dim("b"), dim("a")));
	CU_ASSERT_TRUE(mlo_dim_le(dim("c"), dim("c+b")));
	end();
}

static void fresh_sizes_are_new(void)
{
	MloDim x, y;

	begin();
	dim("\"dim#1\"");
	x = mlo_dim_fresh(syms, "dim");
	y = mlo_dim_fresh(syms, "dim");
	CU_ASSERT_FALSE(mlo_dim_same(x, y));
	CU_ASSERT_FALSE(mlo_dim_same(x, dim("dim#1")));
	end();
}

static void overflow_gives_an_unknown_size(void)
{
	MloDim big, d;
	int64_t lo, hi;

	begin();
	big = mlo_dim(INT64_MAX / 2);
	CU_ASSERT_EQUAL(mlo_dim_mul(syms, big, big).k, INT64_MAX);
	CU_ASSERT_EQUAL(mlo_dim_add(syms, mlo_dim(INT64_MAX), big).k, INT64_MAX);
	CU_ASSERT_EQUAL(mlo_dim_sub(syms, mlo_dim(INT64_MIN), big).k, INT64_MIN);
	d = mlo_dim_mul(syms, dim("9223372036854775807*a"), dim("4*b"));
	CU_ASSERT_PTR_NOT_NULL(d.e);
	d = dim("a");
	for (int i = 0; i < 20; i++) /* degree and terms past the limits */
		d = mlo_dim_mul(syms, d, mlo_dim_add(syms, d, dim("b")));
	CU_ASSERT_PTR_NOT_NULL(d.e);
	d = dim("a");
	for (int i = 0; i < 400; i++) /* nesting past the limit */
		d = mlo_dim_max(syms, mlo_dim_div(syms, mlo_dim_add(syms, d, dim("b")), mlo_dim(3)), dim("c"));
	mlo_dim_range(d, &lo, &hi);
	CU_ASSERT_TRUE(lo <= hi);
	d = mlo_dim_div(syms, dim("a"), mlo_dim(0));
	CU_ASSERT_PTR_NOT_NULL(d.e);
	end();
}

void suite_ir_dim(void);

void suite_ir_dim(void)
{
	CU_pSuite s = CU_add_suite("ir_dim", NULL, NULL);

	CU_add_test(s, "one form for equal expressions", one_form_for_equal_expressions);
	CU_add_test(s, "text reads back", text_reads_back);
	CU_add_test(s, "malformed text is refused", malformed_text_is_refused);
	CU_add_test(s, "ranges prove things", ranges_prove_things);
	CU_add_test(s, "fresh sizes are new", fresh_sizes_are_new);
	CU_add_test(s, "overflow gives an unknown size", overflow_gives_an_unknown_size);
}
