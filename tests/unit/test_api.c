/* tests/unit/test_api.c -- the public compiler API: messages, same bytes, files, exhausted memory. */
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/base/arena.h"
#include "mlopt/mlopt.h"
#include "mlopt/runtime.h"
#include "tests/unit/onnx_fixture.h"
#include "tools/compile.h"
#include "tools/outfile.h"

void suite_api(void);

typedef struct Said {
	int errors, all;
	char last[256];
} Said;

static void hear(void *user, MloptSeverity severity, const char *where, const char *text)
{
	Said *s = user;

	s->errors += severity == MLOPT_ERROR;
	s->all++;
	snprintf(s->last, sizeof s->last, "%s", text);
}

/* y = relu(x + 1) for x [N,4], as a file whose name goes to path. */
static void write_model(char *path)
{
	const float one = 1;
	OnnxFix f;
	size_t n;
	void *p;
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	close(fd);
	ox_model(&f, 17);
	ox_in(&f, "x", EL_f32, "Nx4");
	ox_const(&f, "one", EL_f32, "1", &one, sizeof one);
	ox_node(&f, "Add", "x one", "s");
	ox_node(&f, "Relu", "s", "y");
	ox_out(&f, "y");
	p = ox_bytes(&f, &n);
	CU_ASSERT_EQUAL_FATAL(mlo_write_file(path, p, n, NULL), MLO_OK);
	ox_free(&f);
}

static void compiles_to_memory_the_same_each_time(void)
{
	char path[] = "/tmp/mlopt-api-XXXXXX";
	const char *shape = "x=2x4";
	MloptOptions opt = MLOPT_OPTIONS_INIT;
	MloptReport report;
	MloptModel *m = NULL;
	Said said = {0};
	void *bytes[2];
	size_t n[2];

	write_model(path);
	opt.shapes = &shape;
	opt.nshapes = 1;
	opt.name = "small";
	CU_ASSERT_EQUAL_FATAL(mlopt_model_load(path, &m, hear, &said), MLOPT_OK);
	for (int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL_FATAL(mlopt_compile(m, &opt, &bytes[i], &n[i], &report, hear, &said),
				      MLOPT_OK);
	CU_ASSERT_EQUAL(said.all, 0);
	CU_ASSERT(n[0] == n[1] && memcmp(bytes[0], bytes[1], n[0]) == 0);
	CU_ASSERT(report.package_bytes == n[0] && report.variants == 1 && report.groups >= 1 &&
		  report.nodes == 2);
	free(bytes[0]);
	free(bytes[1]);
	mlopt_model_free(m);
	unlink(path);
}

static void a_package_runs(void)
{
	char path[] = "/tmp/mlopt-api-XXXXXX";
	const float x[4] = {-3, -1, 0, 2};
	float y[4];
	MlrtTensor in = {.data = (void *)x, .bytes = sizeof x, .rank = 2, .dims = {1, 4}};
	MlrtTensor out = {.data = y, .bytes = sizeof y};
	void *bytes = NULL;
	MloptModel *m = NULL;
	MlrtModel *rt = NULL;
	MlrtSession *s = NULL;
	Said said = {0};
	size_t n = 0;

	write_model(path);
	CU_ASSERT_EQUAL_FATAL(mlopt_model_load(path, &m, NULL, NULL), MLOPT_OK);
	CU_ASSERT_EQUAL_FATAL(mlopt_compile(m, NULL, &bytes, &n, NULL, hear, &said), MLOPT_OK);
	CU_ASSERT_EQUAL(said.all, 0); /* N stays open */
	CU_ASSERT_EQUAL_FATAL(mlrt_model_open_memory(bytes, n, NULL, &rt, NULL), MLRT_OK);
	CU_ASSERT_EQUAL_FATAL(mlrt_session_new(rt, NULL, &s, NULL), MLRT_OK);
	CU_ASSERT_EQUAL(mlrt_session_run_tensors(s, &in, &out, NULL), MLRT_OK);
	CU_ASSERT(out.rank == 2 && out.dims[0] == 1 && out.dims[1] == 4);
	CU_ASSERT(y[0] == 0 && y[1] == 0 && y[2] == 1 && y[3] == 3);
	mlrt_session_free(s);
	mlrt_model_close(rt);
	free(bytes);
	mlopt_model_free(m);
	unlink(path);
}

/* sum = x + total, bound to total of the next run. */
static void states_are_compiled_in(void)
{
	char path[] = "/tmp/mlopt-api-XXXXXX";
	const char *state = "total=sum";
	const float x[2] = {1, -2};
	const void *in[2] = {x, NULL};
	float sum[2];
	void *out[1] = {sum}, *bytes = NULL, *p;
	MloptOptions opt = MLOPT_OPTIONS_INIT;
	MloptModel *m = NULL;
	MlrtModel *rt = NULL;
	MlrtSession *s = NULL;
	Said said = {0};
	OnnxFix f;
	size_t n;
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	close(fd);
	ox_model(&f, 17);
	ox_in(&f, "x", EL_f32, "2");
	ox_in(&f, "total", EL_f32, "2");
	ox_node(&f, "Add", "x total", "sum");
	ox_out(&f, "sum");
	p = ox_bytes(&f, &n);
	CU_ASSERT_EQUAL_FATAL(mlo_write_file(path, p, n, NULL), MLO_OK);
	ox_free(&f);
	opt.states = &state;
	opt.nstates = 1;
	CU_ASSERT_EQUAL_FATAL(mlopt_model_load(path, &m, NULL, NULL), MLOPT_OK);
	CU_ASSERT_EQUAL_FATAL(mlopt_compile(m, &opt, &bytes, &n, NULL, hear, &said), MLOPT_OK);
	CU_ASSERT_EQUAL_FATAL(mlrt_model_open_memory(bytes, n, NULL, &rt, NULL), MLRT_OK);
	CU_ASSERT(mlrt_model_state(rt, 0) == -1 && mlrt_model_state(rt, 1) == 0 && mlrt_model_state(rt, 2) == -1);
	CU_ASSERT_EQUAL_FATAL(mlrt_session_new(rt, NULL, &s, NULL), MLRT_OK);
	for (int run = 1; run <= 3; run++) {
		CU_ASSERT_EQUAL(mlrt_session_run(s, in, out, NULL), MLRT_OK);
		CU_ASSERT(sum[0] == (float)run && sum[1] == -2 * (float)run);
	}
	mlrt_session_free(s);
	mlrt_model_close(rt);
	free(bytes);
	state = "total=x";
	CU_ASSERT_EQUAL(mlopt_compile(m, &opt, &bytes, &n, NULL, hear, &said), MLOPT_ERR_USAGE);
	CU_ASSERT(bytes == NULL && strstr(said.last, "outputs: 'sum'") != NULL);
	mlopt_model_free(m);
	unlink(path);
}

static void failures_say_why_and_leave_nothing(void)
{
	char path[] = "/tmp/mlopt-api-XXXXXX";
	MloptOptions opt = MLOPT_OPTIONS_INIT;
	MloptModel *m = NULL;
	Said said = {0};
	void *bytes = &said;
	size_t n = 1;

	CU_ASSERT_EQUAL(mlopt_model_load("/nonexistent.onnx", &m, hear, &said), MLOPT_ERR_IO);
	CU_ASSERT(said.errors == 1 && m == NULL);
	write_model(path);
	CU_ASSERT_EQUAL_FATAL(mlopt_model_load(path, &m, hear, &said), MLOPT_OK);
	opt.target = "no-such-machine";
	said = (Said){0};
	CU_ASSERT_EQUAL(mlopt_compile(m, &opt, &bytes, &n, NULL, hear, &said), MLOPT_ERR_USAGE);
	CU_ASSERT(said.errors == 1 && bytes == NULL && n == 0);
	opt.target = NULL;
	CU_ASSERT_NOT_EQUAL(mlopt_compile_file(m, &opt, "/nonexistent/x.mlopt", NULL, hear, &said), MLOPT_OK);
	CU_ASSERT_EQUAL(said.errors, 2);
	mlopt_model_free(m);
	mlopt_model_free(NULL);
	unlink(path);
}

/* -- the guard ------------------------------------------------------------------------------ */

static void use_up(void *arg)
{
	MloArena *a = mlo_arena_new(), *b = mlo_arena_new();

	mlo_alloc(a, 1, 100);
	mlo_arena_fail_block(b, 1);
	mlo_alloc(b, 1, 100);
	*(bool *)arg = true; /* never reached */
}

static void nest(void *arg)
{
	bool *reached = arg;
	MloArena *a = mlo_arena_new();

	mlo_alloc(a, 1, 100);
	CU_ASSERT_FALSE(mlo_guarded(use_up, reached));
	mlo_alloc(a, 1, 100); /* what is older than the inner guard lives on */
	mlo_arena_free(a);
}

static void the_guard_frees_what_was_made_under_it(void)
{
	bool reached = false;

	CU_ASSERT_TRUE(mlo_guarded(nest, &reached));
	CU_ASSERT_FALSE(reached);
}

/* 5 steps of 3 sequences, 2 directions, 4 gates of 7 units that sum over 6 inputs and 7 units. */
static void recurrent_steps_count_as_work(void)
{
	static const char text[] = "graph (%x: f32[5,3,6]) -> (%y, %h, %c) { const %w: f32[2,28,6] = random(1) "
				   "const %r: f32[2,28,7] = random(2) "
				   "%y, %h, %c = lstm(%x, %w, %r) {direction=\"bidirectional\"} }";
	MloDiag d = {0};
	MloGraph *g = mlo_parse(text, strlen(text), NULL, NULL, &d);

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL(mlo_infer_graph(g, &d), MLO_OK);
	CU_ASSERT_EQUAL(mlo_graph_macs(g), 5 * 3 * 2 * 4 * 7 * (6 + 7));
	mlo_graph_free(g);
	mlo_diag_free(&d);
}

void suite_api(void)
{
	CU_pSuite s = CU_add_suite("api", NULL, NULL);

	CU_ADD_TEST(s, compiles_to_memory_the_same_each_time);
	CU_ADD_TEST(s, a_package_runs);
	CU_ADD_TEST(s, states_are_compiled_in);
	CU_ADD_TEST(s, failures_say_why_and_leave_nothing);
	CU_ADD_TEST(s, the_guard_frees_what_was_made_under_it);
	CU_ADD_TEST(s, recurrent_steps_count_as_work);
}
