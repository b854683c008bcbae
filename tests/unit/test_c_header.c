/* tests/unit/test_c_header.c -- the C header of a compiled function: names, sizes, and that a compiler takes it. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "tests/unit/ir_fixture.h"
#include "tools/c_header.h"

void suite_c_header(void);

static void identifiers(void)
{
	static const char *const pair[][2] = {{"kws", "kws"}, {"res-net.50", "res_net_50"}, {"8bit", "_8bit"}, {"", "_"},
	                                         {"\303\244", "__"}};
	MloArena *a = mlo_arena_new();

	for (size_t i = 0; i < sizeof pair / sizeof *pair; i++)
		CU_ASSERT_STRING_EQUAL(c_identifier(a, pair[i][0]), pair[i][1]);
	mlo_arena_free(a);
}

static bool has(const char *text, const char *what)
{
	if (strstr(text, what))
		return true;
	printf("no '%s' in:\n%s", what, text);
	return false;
}

static MloGraph *graph(void)
{
	return ir_graph("graph @g(%a: i8[2,3], %b: f32[]) -> (%d, %c) {\n"
			"%c = cast(%a) {to=1}\n"
			"%d = add(%c, %b)\n"
			"}");
}

static void contents(void)
{
	MloGraph *g = graph();
	MloArena *a = mlo_arena_new();
	const char *text;

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL_FATAL(mlo_infer_graph(g, NULL), MLO_OK);
	g->inputs[0]->name = "x y";
	g->inputs[1]->name = "x\"y?\?/";
	g->output_names[0] = "x_y";
	g->output_names[1] = "x.y";
	text = c_header_text(a, &(CHeader){.prefix = "net", .target = "cortex-m4f", .tool = "mlopt 1", .typed = g,
					   .arena_bytes = 640, .scratch_bytes = 64, .stack_bytes = 48, .code_bytes = 1000, .constant_bytes = 8,
					   .weight_bytes = 128});
	CU_ASSERT(has(text, "#ifndef NET_H\n#define NET_H\n"));
	CU_ASSERT(has(text, "made by mlopt 1 for cortex-m4f"));
	CU_ASSERT(has(text, "#define NET_ARENA_BYTES 704\n"));
	CU_ASSERT(has(text, "#define NET_SCRATCH_BYTES 64\n"));
	CU_ASSERT(has(text, "#define NET_STACK_BYTES 48\n"));
	CU_ASSERT(has(text, "#define NET_CODE_BYTES 1000\n"));
	CU_ASSERT(has(text, "#define NET_CONSTANT_BYTES 8\n"));
	CU_ASSERT(has(text, "#define NET_WEIGHT_BYTES 128\n"));
	CU_ASSERT(has(text, "#define NET_INPUT0_NAME \"x y\"\n"));
	CU_ASSERT(has(text, "#define NET_INPUT0_DIMS {2, 3}\n"));
	CU_ASSERT(has(text, "#define NET_INPUT0_BYTES 6\n"));
	CU_ASSERT(has(text, "#define NET_INPUT1_NAME \"x\\042y\\077\\077/\"\n")); /* no trigraph, no end of the string */
	CU_ASSERT(has(text, "#define NET_INPUT1_RANK 0\n#define NET_INPUT1_DIMS {0}\n"));
	CU_ASSERT(has(text, "void net_run(const int8_t *in_x_y, const float *in_x_y___, "
			    "float *out_x_y, float *out_x_y_1, void *arena);\n"));
	mlo_arena_free(a);
	mlo_graph_free(g);
}

void suite_c_header(void)
{
	CU_pSuite s = CU_add_suite("c_header", NULL, NULL);

	CU_add_test(s, "names become identifiers", identifiers);
	CU_add_test(s, "sizes, shapes, the function", contents);
}
