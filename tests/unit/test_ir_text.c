/* tests/unit/test_ir_text.c -- the text form: exact round trip, abbreviations, refusals. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "tests/unit/ir_fixture.h"

/* Already in printed form: must come back byte for byte, through a clone too. */
static const char *const printed[] = {
	"graph @t(%x: f32[4]) -> (%x) {\n"
	"}\n",
	"graph () -> () {\n"
	"}\n",
	"graph @\"odd name\"(%0: f32[1,2]@c8) -> (%1, %1 as \"again\", %y as _, %\"a b\") {\n"
	"  meta \"producer\" = \"me \\\"too\\\"\\n\"\n"
	"  sym batch = 1..64\n"
	"  sym \"odd size\" = 0..9\n"
	"  %1 = leaky_relu(%0) {alpha=0.1f} : f32[1,2]@c8 group 3 from \"a\"(LeakyRelu, 16), _, \"b\"\n"
	"  %y = relu(%1) : f32[1,2] group 3 from _(\"odd op\", 7)\n"
	"  %y'2 = clip(%y, _, _) : f32[1,2]\n"
	"  %\"a b\", _ = max_pool(%z) {kernel_shape=[2], pads=[1, 0]} : f32[1,1,n]\n"
	"}\n",
	"graph @c() -> (%f, %h, %i, %u, %b, %s, %c, %n, %e, %q) {\n"
	"  const %f: f32[7] = [0.1, -0, 1e-45, 3.4028235e+38, inf, nan, 0x7fc00001]\n"
	"  const %h: f16[2] = [0.099975586, -inf]\n"
	"  const %i: i64[2] = [-9223372036854775808, 9223372036854775807]\n"
	"  const %u: u64[1] = [0xffffffffffffffff]\n"
	"  const %b: bool[3] = [0, 1, 255]\n"
	"  const %s: str[2] = [\"\", \"a\\x00\\\\b\"]\n"
	"  const %c: c128[1] = [0.1:-2]\n"
	"  const %n: i4[3] = [-8, 7, 0]\n"
	"  const %e: f64[0,3] = []\n"
	"  const %q: u8[100] = fill(200)\n"
	"}\n",
};

static void printed_text_comes_back(void)
{
	for (size_t i = 0; i < sizeof printed / sizeof printed[0]; i++) {
		MloGraph *g, *copy;

		if (strstr(printed[i], "%z"))
			continue; /* see the next test: its operand is not defined on purpose */
		g = ir_graph(printed[i]);
		CU_ASSERT_PTR_NOT_NULL_FATAL(g);
		CU_ASSERT_STRING_EQUAL(ir_text(g), printed[i]);
		copy = mlo_graph_clone(g);
		CU_ASSERT_STRING_EQUAL(ir_text(copy), printed[i]);
		CU_ASSERT_EQUAL(mlo_verify(copy, NULL), MLO_OK);
		mlo_graph_free(g);
		mlo_graph_free(copy);
	}
}

static void everything_of_a_node_comes_back(void)
{
	char text[2000], *z;
	MloGraph *g;

	strcpy(text, printed[2]);
	CU_ASSERT_TRUE(ir_refused(text, "value '%z' is not defined"));
	/* With an input z it holds. */
	z = strstr(text, "%0: f32[1,2]@c8");
	memmove(z + strlen("%z: f32[1,1,n], "), z, strlen(z) + 1);
	memcpy(z, "%z: f32[1,1,n], ", strlen("%z: f32[1,1,n], "));
	g = ir_graph(text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_STRING_EQUAL(ir_text(g), text);
	CU_ASSERT_EQUAL(g->first->group, 3);
	CU_ASSERT_STRING_EQUAL(mlo_node_name(g->first), "a");
	CU_ASSERT_EQUAL(g->first->out[0]->layout.block, 8);
	CU_ASSERT_STRING_EQUAL(g->output_names[1], "again");
	CU_ASSERT_PTR_NULL(g->output_names[0]);
	CU_ASSERT_EQUAL(mlo_attr_f(g->first, ATTR_leaky_relu_alpha), (double)0.1f);
	CU_ASSERT_STRING_EQUAL(g->first->next->next->out[0]->name, "y");
	mlo_graph_free(g);
}

static void liberties_of_writing(void)
{
	MloGraph *g = ir_graph("# comment\ngraph @t(%x: f32[2],) -> (%y) { }");

	CU_ASSERT_PTR_NULL(g);
	g = ir_graph("# comment\ngraph @t(%x: f32[2, n + 0])->(%y){%y=relu(%x)#no type\n"
	             "const %w:f32[300]=random(1) %z=relu(%w){}}");
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL(g->outputs[0]->type.rank, 2);
	CU_ASSERT_EQUAL(mlo_tensor_elems(g->consts.items[0]->data), 300);
	mlo_graph_free(g);
}

static const MloTensor *lookup(void *user, uint64_t hash)
{
	return mlo_tensor_hash(user) == hash ? user : NULL;
}

static void large_constants_are_references(void)
{
	MloGraph *g = ir_graph("graph @t() -> (%w) {\nconst %w: f32[20] = random(3)\n}"), *h;
	const MloTensor *w;
	MloStr s;
	MloDiag d = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	w = g->outputs[0]->data;
	s = (MloStr){.arena = g->arena};
	mlo_print(&s, g, false);
	CU_ASSERT_PTR_NOT_NULL(strstr(mlo_str_text(&s), "= blob(xxh3:"));
	h = mlo_parse(s.s, s.n, lookup, (void *)(uintptr_t)w, &d);
	CU_ASSERT_PTR_NOT_NULL_FATAL(h);
	CU_ASSERT_PTR_EQUAL(h->outputs[0]->data, w);
	mlo_graph_free(h);
	CU_ASSERT_TRUE(ir_refused(s.s, "no data for blob(xxh3:"));
	h = ir_graph(ir_text(g));
	CU_ASSERT_PTR_NOT_NULL_FATAL(h);
	CU_ASSERT_TRUE(mlo_tensor_equal(h->outputs[0]->data, w));
	mlo_graph_free(h);
	mlo_graph_free(g);
	mlo_diag_free(&d);
}

static void refusals(void)
{
	static const char *const bad[][2] = {
		{"", "'graph' is expected, 'the end' found"},
		{"graph @t() -> () {", "line 1"},
		{"graph @t() -> (%y) {}", "output '%y' is not defined"},
		{"graph @t(%x: f33[2]) -> () {}", "unknown element type 'f33'"},
		{"graph @t(%x: f32[-2]) -> () {}", "malformed dimension '-2'"},
		{"graph @t(%x: f32[1,1,1,1,1,1,1,1,1]) -> () {}", "more than 8 dimensions"},
		{"graph @t(%x: f32[2], %x: f32[2]) -> () {}", "value '%x' is defined twice"},
		{"graph @t(%x: f32[2]) -> () {\n\n%y = nope(%x)\n}", "line 3: unknown operator 'nope'"},
		{"graph @t(%x: f32[2]) -> () {%y = relu(%x) {alpha=1}}", "relu has no attribute 'alpha'"},
		{"graph @t(%x: f32[2]) -> () {%y = relu(%x) : f32[3]}",
		 "result 'y' is said to be f32[3], but is f32[2]"},
		{"graph @t() -> () {const %w: f32[n] = [1]}", "static shape"},
		{"graph @t() -> () {const %w: f32[1099511627776] = [1]}", "fewer than 1099511627776 elements"},
		{"graph @t() -> () {const %w: f32[1099511627776] = fill(1)}", "more than 256 MiB"},
		{"graph @t() -> () {const %w: u8[1] = [256]}", "256 does not fit u8"},
		{"graph @t() -> () {const %w: f32[2] = [1]}", "',' is expected, ']}' found"},
		{"graph @t() -> () {sym n = 5..2}", "range 5..2"},
		{"graph @t() -> () {} x", "text after the graph"},
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CU_ASSERT_TRUE(ir_refused(bad[i][0], bad[i][1]));
}

void suite_ir_text(void);

void suite_ir_text(void)
{
	CU_pSuite s = CU_add_suite("ir_text", NULL, NULL);

	CU_add_test(s, "printed text comes back", printed_text_comes_back);
	CU_add_test(s, "everything of a node comes back", everything_of_a_node_comes_back);
	CU_add_test(s, "liberties of writing", liberties_of_writing);
	CU_add_test(s, "large constants are references", large_constants_are_references);
	CU_add_test(s, "refusals", refusals);
}
