/* tests/unit/test_kernel_text.c -- kernels as text, index expressions, verifier messages. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/kernel_random.h"

static const char *print(MloArena *a, const MloKernel *k)
{
	MloStr s = {.arena = a};

	mlo_kernel_print(&s, k, true);
	return mlo_str_text(&s);
}

static MloKernel *parse(MloArena *a, const char *text, MloDiag *d)
{
	return mlo_kernel_parse(a, text, strlen(text), d);
}

/* -- round trip ---------------------------------------------------------------------------------- */

static void random_kernels(void)
{
	uint64_t first = kernel_test_seed(4000);
	bool approx;

	for (uint64_t seed = first; seed < first + 300; seed++) {
		MloArena *a = mlo_arena_new();
		MloDiag d = {0};
		MloKernel *k = kernel_random_new(a, seed, true, &approx), *again;
		const char *text = print(a, k);

		again = parse(a, text, &d);
		mlo_diag_print(&d, "test", stdout);
		CU_ASSERT_PTR_NOT_NULL_FATAL(again);
		CU_ASSERT_STRING_EQUAL(print(a, again), text);
		CU_ASSERT_EQUAL(mlo_kernel_key(again), mlo_kernel_key(k));
		CU_ASSERT_EQUAL(again->ntasks, k->ntasks);
		CU_ASSERT_EQUAL(again->flops, k->flops);
		mlo_diag_free(&d);
		mlo_arena_free(a);
	}
}

static const char contract_text[] =
	"kernel conv(in f32[3072], in f32[864], out f32[4096]) vars(1, 1, 8, 8, 64) {\n"
	"  contract nb0=1 nb1=1 ny=8 nx=8 nc=64 nk=3 nky=3 nkx=3 sy=1 sx=1 dy=1 dx=1 py=1 px=1 in_y=8 in_x=8 qx=0"
	" group_c=64 group_k=0 dot=1 a_arg=0 b_arg=1 a.elem=f32 a.flip=0 a.b0=0 a.b1=0 a.y=24 a.x=3 a.block=3 a.blk=1 a.k=1 b.elem=f32 b.packed=1 b.small=0 b.kept=0 b.patch=0 b.part=0"
	" b.b0=0 b.b1=0 b.k=0 zero.sums=0 zero.given=0 zero.s_arg=0 zero.z_arg=0 zero.at=0 scale.on=0 scale.g_arg=0 scale.b0=0 var[0]=0 var[1]=1 var[2]=2 var[3]=3 var[4]=4 lanes=16 vecs=2 cols=4 rows=1"
	" y_chunk=3 c_outer=1 wino=0 w_arg=0 c_chunk=0 depth=0 strips=0 sparse.spread=0 sparse.group=0 sparse.runs=0 sparse.i_arg=0 sparse.n_arg=0 {\n"
	"    %0 = product.f32\n"
	"    %1 = const.f32 0.10000000000000001\n"
	"    %2 = max.f32 %0, %1\n"
	"    a2[v2*512 + v3*64 + v4] = %2\n"
	"  }\n"
	"}\n";
static const char attention_text[] =
	"kernel attention(in f32[800], in f32[960], in f32[960], in f32[2400], out f32[800]) vars(2, 2, 40, 60, 10) {\n"
	"  par v0 < 2 {\n"
	"    par v1 < 2 {\n"
	"      attention nq=40 nk=60 terms=10 nv=10 q_arg=0 k_arg=1 v_arg=2 q.row=10 q.col=1 k.row=1 k.col=60 v.row=8 v.col=1"
	" var[0]=2 var[1]=3 var[2]=4 word=f32 rows=32 keys=16 q_at=v0*400 k_at=v0*300 v_at=v0*480 first=v1*32 {\n"
	"        %0 = product.f32\n"
	"        %1 = load.f32 a3[v2*60 + v3]\n"
	"        %2 = add.f32 %0, %1\n"
	"      } %2 {\n"
	"        %3 = product.f32\n"
	"        a4[v0*400 + v2*10 + v4] = %3\n"
	"      }\n"
	"    }\n"
	"  }\n"
	"}\n";
static const char call_text[] =
	"kernel softmax(in f32[12], out f32[12]) vars() {\n"
	"  call softmax (a0 f32[3,4], none) -> (a1 f32[3,4]) {axis=-2}\n"
	"}\n";
static const char sizes_text[] =
	"kernel sum(in f32[*], out f32[s0], sizes i64[2]) sizes(0..1099511627776, 1..64) vars() {\n"
	"  call reduce_sum (a0 f32[s0,4,s1], none) -> (a1 f32[s0,1,1]) {}\n"
	"}\n";
static const char size_loop_text[] =
	"kernel copy(in f32[s0*4 + 1], out f32[s0*4 + 1], sizes i64[1]) sizes(0..100) vars(401) {\n"
	"  seq v0 < s0*4 + 1 {\n"
	"    %0 = load.f32 a0[v0]\n"
	"    a1[min(v0, s0*4)] = %0\n"
	"  }\n"
	"}\n";
static const char open_text[] =
	"kernel rows(in f32[s2], out f32[s2], sizes i64[3]) sizes(0..9, 1..8, 0..288 of 4) tasks s0 vars(9, 8) {\n"
	"  par v0 < s0 {\n"
	"    vec v1 < s1 {\n"
	"      %0 = load.f32 a0[v0*s1 + v1/s1 + v1 mod s1] if v1 < s1 else 0\n"
	"      a1[v0*s1 + v1] = %0\n"
	"    }\n"
	"  }\n"
	"}\n";
static const char guard_text[] =
	"kernel (in bf16[10], inout i64[9], scratch f64[7]) vars(9, 3) {\n"
	"  vec v0 < min(9, v0*2 + -3) {\n"
	"    %0 = load.f32 a0[(v0 + 1) mod 3 + v0/4*2] if v0 + -1 < 5 & v0 < 4 else -inf\n"
	"    %1 = index.i64 (v0 + (v0 + 1))*3\n"
	"    %2 = cast.i64 %0\n"
	"    %3 = add.i64 %1, %2\n"
	"    a1[v0] = %3 if v0 < 7\n"
	"  }\n"
	"}\n";

static void by_hand(void)
{
	static const char *const texts[] = {contract_text, attention_text, call_text, sizes_text, size_loop_text, open_text};

	for (int i = 0; i < 6; i++) {
		MloArena *a = mlo_arena_new();
		MloDiag d = {0};
		MloKernel *k = parse(a, texts[i], &d);

		mlo_diag_print(&d, "test", stdout);
		CU_ASSERT_PTR_NOT_NULL_FATAL(k);
		CU_ASSERT_STRING_EQUAL(print(a, k), texts[i]);
		CU_ASSERT_EQUAL(k->ntasks, i == 0 ? 6 : i == 1 ? 4 : i == 5 ? -1 : 1);
		mlo_diag_free(&d);
		mlo_arena_free(a);
	}
}

/* -- errors ---------------------------------------------------------------------------------------- */

static void rejects(const char *text, const char *message)
{
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	bool found = false;

	CU_ASSERT_PTR_NULL(parse(a, text, &d));
	for (size_t i = 0; i < d.n; i++)
		found = found || strstr(d.lines[i].text, message);
	if (!found) {
		printf("\n  expected: %s\n", message);
		mlo_diag_print(&d, "  got", stdout);
	}
	CU_ASSERT(found);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

#define ATTENTION(nq, elem, rows, scores, body) \
	"kernel k(in f32[9], in " elem "[9], out f32[9]) vars(3, 3, 3) { attention nq=" nq " nk=3 terms=1 nv=3 q_arg=0 k_arg=1 v_arg=0" \
	" q.row=1 q.col=1 k.row=1 k.col=1 v.row=1 v.col=1 var[0]=0 var[1]=1 var[2]=2 word=f32 rows=" rows " keys=2" \
	" q_at=0 k_at=0 v_at=0 first=0 { " scores " } %0 { " body " } }"

#define BODY(args, vars, body) "kernel k(" args ") vars(" vars ") {" body "}"

static void verifier(void)
{
	rejects(guard_text, "loop v0 uses v0 outside of its loop");
	rejects(BODY("out f32[4]", "", "a0[0] = %0"), "store to a0 uses %0, which is not defined there");
	rejects(BODY("out f32[4]", "", "%0 = const.f32 1 a0[9] = %0"), "touches a0[9..9], which has 4 elements");
	rejects(BODY("in f32[4]", "", "%0 = const.f32 1 a0[1] = %0"), "store to a0, which is an input");
	rejects(BODY("out f32[4]", "", "%0 = const.i32 1 a0[1] = %0"), "store to a0 of f32: value %0 is i32");
	rejects(BODY("", "", "%0 = const.i32 1 %1 = exp.i32 %0"), "%1 = exp.i32 cannot have type i32");
	rejects(BODY("", "", "%0 = const.i32 1 %1 = const.i64 1 %2 = add.i32 %0, %1"),
		"operand 1 is i64, expected i32");
	rejects(BODY("", "3", "%0 = index.i32 v0"), "%0 = index.i32 uses v0 outside of its loop");
	rejects(BODY("", "3, 3", "vec v0 < 3 { vec v1 < 3 { } }"), "loop v1: vec inside vec");
	rejects(BODY("", "3, 3", "vec v0 < 3 { seq v1 < v0 + 1 { } }"), "the extent depends on the vec variable v0");
	rejects(BODY("", "3", "seq v0 < 3 { %0 = const.i32 1 acc0 add %0 }"), "acc0 is updated before it is set");
	rejects(BODY("", "", "%0 = const.i32 1 acc0 = %0 acc0 sub %0"), "acc0 cannot accumulate with sub");
	rejects(BODY("", "", "%0 = product.f32"), "is not a sum of products inside a contraction");
	rejects(ATTENTION("0", "f32", "2", "%0 = product.f32", ""), "attention of empty extents");
	rejects(ATTENTION("s0", "f32", "2", "%0 = product.f32", ""), "expected an integer");
	rejects(ATTENTION("3", "i8", "2", "%0 = product.f32", ""), "attention of i8");
	rejects(ATTENTION("3", "f32", "0", "%0 = product.f32", ""), "attention without a schedule");
	rejects(ATTENTION("3", "f32", "2", "%0 = product.i32", ""), "is not a sum of products inside a contraction");
	rejects(ATTENTION("3", "f32", "2", "%0 = const.i32 1", ""), "attention by scores %0, which are not there");
	rejects(ATTENTION("3", "f32", "2", "%0 = product.f32", "a2[v0*3 + v1] = %0"), "store to a2 uses v1 outside of its loop");
	rejects(ATTENTION("3", "f32", "2", "%0 = product.f32", "%1 = product.f32 a2[v2] = %1 } seq v2 < 3 {"), "is not alone in its task");
	rejects(BODY("", "", "%0 = const.f32 1 %0 = const.f32 2"), "a value number used once");
	rejects("kernel k(in f32[4], sizes i64[1]) sizes(0..4) vars(4) { seq v0 < s1 { } }", "expected a declared size");
	rejects("kernel k(sizes i64[2]) sizes(0..4) vars() { }", "a0 cannot hold the 1 sizes");
	rejects("kernel k() sizes(0..4) vars() { }", "sizes without an argument");
	rejects("kernel k(sizes i64[1]) sizes(4..1) vars() { }", "expected a range of sizes");
	rejects("kernel k(sizes i64[1]) sizes(0..4) tasks s1 vars() { }", "expected a declared size");
	rejects("kernel k(in f32[4], sizes i64[1]) sizes(0..4 of 0) vars() { }", "expected a range of sizes");
	rejects("kernel k(in f32[4], sizes i64[1]) sizes(0..4) vars(4) {\n  seq v0 < 4 {\n"
	        "    %0 = load.f32 a0[v0] if v0 < s1 else 0\n  }\n}", "expected a declared size");
	rejects("kernel k(in f32[*]) vars() { }", "a0 has -1 elements");
	rejects("kernel k(in f32[v0]) vars(4) { }", "expected a declared variable");
	rejects(BODY("", "", "%1 = const.f32 1"), "a definition of every value");
	rejects(BODY("", "", "%0 = const.f16 1"), "values of this type do not exist");
	rejects(BODY("in c64[1]", "", ""), "elements of c64 are for calls only");
	rejects("kernel k() vars() {\n  %0 = frob.f32\n}", "line 2: expected an operation, found 'frob.f32");
	rejects("kernel k() vars() { par v0 < 1 { } }", "expected a declared variable");
	rejects("kernel k() vars() {", "expected a statement");
}

/* Cut off or with a byte changed, the parser must not crash; what it accepts must print and parse. */
static void damaged(void)
{
	KernelRandom r = {kernel_test_seed(5)};
	char text[sizeof contract_text];

	for (int i = 0; i < 2000; i++) {
		MloArena *a = mlo_arena_new();
		const char *from = i % 3 == 0 ? contract_text : i % 3 == 1 ? call_text : guard_text;
		size_t n = strlen(from);
		MloDiag d = {0};
		MloKernel *k;

		memcpy(text, from, n + 1);
		text[kernel_random(&r, (uint32_t)n)] = "0123456789%v[]{}a.,<= "[kernel_random(&r, 22)];
		k = mlo_kernel_parse(a, text, i & 1 ? n : kernel_random(&r, (uint32_t)n), &d);
		if (k) {
			const char *once = print(a, k);
			CU_ASSERT_PTR_NOT_NULL(parse(a, once, &d));
		} else {
			CU_ASSERT(d.nerrors > 0);
		}
		mlo_diag_free(&d);
		mlo_arena_free(a);
	}
}

/* -- index expressions -------------------------------------------------------------------------------- */

/* Value of x where variable i is v[i]. */
static int64_t eval(const KIdx *x, const int64_t *v)
{
	int64_t a, b, q;

	if (x->op == KI_CONST)
		return x->k;
	if (x->op == KI_VAR)
		return v[x->k];
	a = eval(x->a, v);
	q = a / (x->k ? x->k : 1) - (x->k && a % x->k < 0);
	if (x->op == KI_MUL)
		return a * x->k;
	if (x->op == KI_DIV)
		return q;
	if (x->op == KI_MOD)
		return a - q * x->k;
	b = eval(x->b, v);
	return x->op == KI_ADD ? a + b : x->op == KI_MIN ? (a < b ? a : b) : a > b ? a : b;
}

/* Builds a random expression, and its value by the definition of each operation. */
static const KIdx *grow(MloKernel *k, KernelRandom *r, int depth, const int64_t *v, int64_t *value)
{
	const KIdx *a, *b;
	int64_t x, y, c = 1 + kernel_random(r, 12);
	uint32_t form = kernel_random(r, depth ? 8 : 2);

	if (form == 0) {
		*value = (int64_t)kernel_random(r, 20) - 10;
		return kx_const(k, *value);
	}
	if (form == 1) {
		int i = (int)kernel_random(r, 3);
		*value = v[i];
		return kx_var(k, i);
	}
	a = grow(k, r, depth - 1, v, &x);
	if (form == 2 || form == 3) {
		*value = x * (c - 3);
		return kx_mul(k, a, c - 3);
	}
	if (form == 4 || form == 5) {
		int64_t q = x / c - (x % c < 0);
		*value = form == 4 ? q : x - q * c;
		return form == 4 ? kx_div(k, a, c) : kx_mod(k, a, c);
	}
	b = grow(k, r, depth - 1, v, &y);
	*value = form == 6 ? x + y : kernel_random(r, 2) ? (x < y ? x : y) : (x > y ? x : y);
	if (form == 6)
		return kx_add(k, a, b);
	return *value == (x < y ? x : y) && x != y ? kx_min(k, a, b) : x != y ? kx_max(k, a, b) : kx_min(k, a, b);
}

static void simplification_is_sound(void)
{
	KernelRandom r = {kernel_test_seed(6)};

	for (int i = 0; i < 4000; i++) {
		MloArena *a = mlo_arena_new();
		MloKernel *k = mlo_kernel_new(a, "x");
		int64_t v[3], want, lo, hi;
		const KIdx *x;

		for (int j = 0; j < 3; j++) {
			int64_t n = 1 + kernel_random(&r, 30);
			mlo_kernel_var(k, n);
			v[j] = kernel_random(&r, (uint32_t)n);
		}
		x = grow(k, &r, 4, v, &want);
		CU_ASSERT_EQUAL(eval(x, v), want);
		kx_range(k, x, &lo, &hi);
		CU_ASSERT(lo <= want && want <= hi);
		mlo_arena_free(a);
	}
}

static void simplifies_to(MloKernel *k, const KIdx *x, const KIdx *want)
{
	(void)k;
	CU_ASSERT(kx_equal(x, want));
}

static void simplification(void)
{
	MloArena *a = mlo_arena_new();
	MloKernel *k = mlo_kernel_new(a, "x");
	const KIdx *i, *j, *x;

	mlo_kernel_var(k, 8);
	mlo_kernel_var(k, 16);
	mlo_kernel_var(k, 1);
	i = kx_var(k, 0);
	j = kx_var(k, 1);
	x = kx_add(k, kx_mul(k, i, 16), j);
	simplifies_to(k, kx_div(k, x, 16), i);
	simplifies_to(k, kx_mod(k, x, 16), j);
	simplifies_to(k, kx_mod(k, x, 128), x);
	simplifies_to(k, kx_add(k, kx_mul(k, kx_div(k, x, 5), 5), kx_mod(k, x, 5)), x);
	simplifies_to(k, kx_div(k, kx_div(k, x, 3), 4), kx_div(k, x, 12));
	simplifies_to(k, kx_div(k, kx_mod(k, x, 32), 16), kx_mod(k, i, 2));
	simplifies_to(k, kx_mod(k, kx_mul(k, j, 4), 8), kx_mul(k, kx_mod(k, j, 2), 4));
	simplifies_to(k, kx_add(k, i, kx_mul(k, i, -1)), kx_const(k, 0));
	simplifies_to(k, kx_add(k, i, j), kx_add(k, j, i));
	simplifies_to(k, kx_min(k, i, kx_const(k, 7)), i);
	simplifies_to(k, kx_var(k, 2), kx_const(k, 0));
	mlo_arena_free(a);
}

/* -- the interpreter's checks ------------------------------------------------------------------------- */

static void interpreter_checks_bounds(void)
{
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	float x[4] = {1, 2, 3, 4}, y[5] = {0};
	MloKernel *k = parse(
		a, BODY("in f32[4], out f32[5]", "5", "seq v0 < 5 { %0 = load.f32 a0[v0] a1[v0] = %0 }"), &d);

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CU_ASSERT_EQUAL(mlo_kernel_interp(k, (void *[]){x, y}, 0, 1, &d), MLO_ERR_INTERNAL);
	CU_ASSERT_EQUAL(d.n, 1);
	CU_ASSERT_STRING_EQUAL(d.lines[0].text, "kernel 'k': reads a0[4] of 4 elements");
	CU_ASSERT_EQUAL(y[3], 4);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

/* A table is only looked up in where data chooses every element that is read of it. */
static void tables_that_are_looked_up(void)
{
	static const char text[] =
		"kernel gather(in i64[8], in f32[100], in f32[100], out f32[32]) vars(8, 4) {\n"
		"  seq v0 < 8 {\n"
		"    %0 = load.i64 a0[v0]\n"
		"    vec v1 < 4 {\n"
		"      %1 = load.f32 a1[v1 + %0*4]\n"
		"      %2 = load.f32 a2[v1 + %0*4]\n"
		"      %3 = load.f32 a2[v0*4 + v1]\n"
		"      %4 = add.f32 %1, %2\n"
		"      %5 = add.f32 %4, %3\n"
		"      a3[v0*4 + v1] = %5\n"
		"    }\n"
		"  }\n"
		"}\n";
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloKernel *k = mlo_kernel_parse(a, text, sizeof text - 1, &d);

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CU_ASSERT_FALSE(mlo_kernel_looks_up(k, 0));
	CU_ASSERT_TRUE(mlo_kernel_looks_up(k, 1));
	CU_ASSERT_FALSE(mlo_kernel_looks_up(k, 2)); /* also read from end to end */
	CU_ASSERT_FALSE(mlo_kernel_looks_up(k, 3)); /* not read */
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

void suite_kernel_text(void);
void suite_kernel_text(void)
{
	CU_pSuite s = CU_add_suite("kernel_text", NULL, NULL);

	CU_add_test(s, "random kernels print and parse", random_kernels);
	CU_add_test(s, "contractions and calls print and parse", by_hand);
	CU_add_test(s, "messages", verifier);
	CU_add_test(s, "damaged text", damaged);
	CU_add_test(s, "index simplification", simplification);
	CU_add_test(s, "index simplification keeps values", simplification_is_sound);
	CU_add_test(s, "the interpreter checks bounds", interpreter_checks_bounds);
	CU_add_test(s, "tables that are looked up", tables_that_are_looked_up);
}
