/* tests/unit/test_lower_loops.c -- lowered groups, run by the kernel interpreter, against the reference executor. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/lower.h"
#include "ir/exec.h"
#include "tests/unit/lower_cases.h"

void suite_lower_loops(void);

static uint64_t state;

static int64_t pick(int64_t lo, int64_t hi)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return lo + (int64_t)((state >> 33) % (uint64_t)(hi - lo + 1));
}

/* Integers are small and of both signs (indices out of range by one end are meant), floats in -2..2. */
static MloTensor *random_input(MloArena *a, const MloType *t)
{
	int64_t dim[MLO_MAX_RANK];
	for (int d = 0; d < t->rank; d++)
		dim[d] = t->dim[d].k;
	MloTensor *x = mlo_tensor_new(a, t->elem, t->rank, dim);
	for (int64_t i = 0, n = mlo_tensor_elems(x); i < n; i++) {
		if (mlo_elem_is_float(t->elem))
			mlo_tensor_set_f64(x, i, (double)pick(-2000, 2000) / 1000);
		else
			mlo_tensor_set_i64(x, i, t->elem == EL_bool ? pick(0, 1) : t->elem == EL_u8 ? pick(0, 9) : pick(-3, 2));
	}
	return x;
}

/* Where element i of dense v lies in its own layout. */
static int64_t place(const MloValue *v, int64_t i)
{
	int64_t B = v->layout.block, inner = 1, index[MLO_MAX_RANK];
	if (!B)
		return i;
	for (int d = v->type.rank - 1; d >= 0; d--) {
		index[d] = i % v->type.dim[d].k;
		i /= v->type.dim[d].k;
	}
	int64_t at = index[0], lanes = (v->type.dim[1].k + B - 1) / B;
	at = at * lanes + index[1] / B;
	for (int d = 2; d < v->type.rank; d++)
		inner = v->type.dim[d].k, at = at * inner + index[d];
	return at * B + index[1] % B;
}

static void move(const MloValue *v, unsigned char *to, const unsigned char *from, bool pack)
{
	size_t size = mlo_elem_bits(v->type.elem) / 8;
	for (int64_t i = 0, n = mlo_type_elems(&v->type); i < n; i++) {
		size_t p = (size_t)place(v, i) * size, q = (size_t)i * size;
		memcpy(to + (pack ? p : q), from + (pack ? q : p), size);
	}
}

typedef MloStatus LowerGroup(MloLowerCx *cx, MloNode *first, MloNode *last, MloLowered *out);

typedef struct Run {
	MloGraph *g;
	LowerGroup *lower;
	double slack; /* of floats: how many times as far off as single operations are */
	MloTensor *in[8], *want[16];
	void *buffer[512]; /* by value id */
} Run;

static void *buffer(Run *r, const MloValue *v)
{
	if (v->id >= 512)
		return NULL;
	if (!r->buffer[v->id]) {
		size_t n = (size_t)mlo_value_storage(v) * mlo_elem_bits(v->type.elem) / 8;
		r->buffer[v->id] = mlo_alloc(r->g->arena, n + 1, 1);
		memset(r->buffer[v->id], 0x7f, n); /* neither zero nor a number that tests use */
		if (v->data)
			move(v, r->buffer[v->id], v->data->data, true);
	}
	return r->buffer[v->id];
}

static bool close_to(const MloTensor *want, const MloTensor *got, double slack)
{
	for (int64_t i = 0, n = mlo_tensor_elems(want); i < n; i++) {
		double x = mlo_tensor_f64(want, i), y = mlo_tensor_f64(got, i);
		bool ok = mlo_elem_is_float(want->elem) ? fabs(x - y) <= slack * (2e-6 + 4e-6 * fabs(x)) : x == y;
		if (!ok && x != y && !(isnan(x) && isnan(y))) {
			printf("\n  element %lld: %g, expected %g", (long long)i, y, x);
			return false;
		}
	}
	return true;
}

static MloStatus run_kernel(Run *r, const MloLowered *l, MloDiag *d)
{
	const MloKernel *k = l->kernel;
	void **arg = MLO_NEWN(r->g->arena, void *, k->arg.n + 1);
	for (size_t i = 0; i < k->arg.n; i++) {
		const MloBinding *b = &l->bind[i];
		arg[i] = b->value    ? buffer(r, b->value)
		         : b->packed ? (void *)b->packed->data
		                     : mlo_alloc(r->g->arena, (size_t)k->arg.items[i].count, sizeof(float));
	}
	MLO_TRY(mlo_kernel_verify(k, d));
	for (int64_t t = 0; t < k->ntasks; t++)
		MLO_TRY(mlo_kernel_interp(k, arg, t, t + 1, d));
	return MLO_OK;
}

/* One group of all nodes, or one per node. */
static MloStatus lower_all(Run *r, const MloTarget *t, bool fused, MloDiag *d)
{
	MloLowerCx cx = {.arena = r->g->arena, .graph = r->g, .target = t, .diag = d};
	MloNode *last = fused ? r->g->last : NULL;
	for (MloNode *n = r->g->first; n; n = n->next) {
		MloLowered l;
		MloNode *end = last ? last : n;
		MloStatus st = r->lower(&cx, n, end, &l);
		if (st == MLO_ERR_UNSUPPORTED && !fused)
			st = mlo_lower_call(&cx, n, end, &l);
		MLO_TRY(st);
		MLO_TRY(run_kernel(r, &l, d));
		if (last)
			break;
	}
	return MLO_OK;
}

static bool compare(Run *r)
{
	for (uint32_t i = 0; i < r->g->noutputs; i++) {
		const MloValue *v = r->g->outputs[i];
		MloTensor *got = mlo_tensor_new(r->g->arena, v->type.elem, r->want[i]->rank, r->want[i]->dim);
		move(v, (void *)got->data, buffer(r, v), false);
		if (!close_to(r->want[i], got, r->slack))
			return false;
	}
	return true;
}

/* Images in blocks of as many channels as a vector has lanes. */
static void block_images(const MloGraph *g, const MloTarget *t)
{
	for (uint32_t i = 0; i < g->ninputs; i++)
		g->inputs[i]->layout.block = t->vector_bytes / 4;
	for (MloNode *n = g->first; n; n = n->next)
		n->out[0]->layout.block = t->vector_bytes / 4;
}

static bool run_on(const char *text, const MloTarget *t, bool fused, LowerGroup *lower)
{
	MloDiag d = {0};
	Run r = {.g = mlo_parse(text, strlen(text), NULL, NULL, &d), .lower = lower, .slack = 1};
	MloStatus st = r.g ? mlo_infer_graph(r.g, &d) : MLO_ERR_FORMAT;
	const MloTensor *in[8];
	state = 7;
	if (r.g && lower == mlo_lower_bands) {
		block_images(r.g, t);
		r.slack = 20; /* sums */
	}
	for (uint32_t i = 0; st == MLO_OK && i < r.g->ninputs; i++) {
		in[i] = r.in[i] = random_input(r.g->arena, &r.g->inputs[i]->type);
		move(r.g->inputs[i], buffer(&r, r.g->inputs[i]), r.in[i]->data, true);
	}
	if (st == MLO_OK)
		st = mlo_exec_graph(r.g->arena, r.g, in, r.want, NULL, NULL, &d);
	if (st == MLO_OK)
		st = lower_all(&r, t, fused, &d);
	bool ok = st == MLO_OK && compare(&r);
	if (!ok) {
		printf("\n  %s, %d byte vectors, %s:\n%s\n", mlo_status_text(st), t->vector_bytes, fused ? "fused" : "single", text);
		mlo_diag_print(&d, "test", stdout);
	}
	mlo_diag_free(&d);
	if (r.g)
		mlo_graph_free(r.g);
	return ok;
}

static bool run_case(const char *text, int vector_bytes, bool fused)
{
	const MloTarget t = {.name = "test", .arch = "x86_64", .vector_bytes = vector_bytes, .block = 8};
	return run_on(text, &t, fused, mlo_lower_loops);
}

static void run_all(const char *const *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		CU_ASSERT(run_case(text[i], 16, true));
		CU_ASSERT(run_case(text[i], 64, true));
		CU_ASSERT(run_case(text[i], 32, false));
	}
}

#define RUN(cases) run_all(cases, sizeof cases / sizeof *cases)
static void maps(void) { RUN(lower_maps); }
static void movement(void) { RUN(lower_moves); }
static void reductions(void) { RUN(lower_reductions); }
static void pooling(void) { RUN(lower_pools); }
static void rows(void) { RUN(lower_rows); }

/* Every elementwise operator of one and two operands, by the table. */
static void every_map(void)
{
	char text[400];
	for (int op = 0; op < OP_COUNT; op++) {
		const MloOpInfo *info = mlo_op_info((MloOp)op);
		bool logic = op == OP_not || op == OP_and || op == OP_or || op == OP_xor;
		bool bits = op == OP_bit_not || op == OP_bit_and || op == OP_bit_or || op == OP_bit_xor;
		const char *t = logic ? "bool" : bits ? "i32" : "f32";
		if (info->kind != OK_ELTWISE || op == OP_where || op == OP_cast)
			continue;
		const char *attr = op == OP_mod ? " {fmod=1}" : "";
		if (info->min_in == 1)
			snprintf(text, sizeof text, "graph (%%x: %s[3,1,37]) -> (%%y) { %%y = %s(%%x)%s }", t, info->name, attr);
		else
			snprintf(text, sizeof text, "graph (%%x: %s[3,5,37], %%z: %s[5,1]) -> (%%y) { %%y = %s(%%x, %%z)%s }", t, t,
			         info->name, attr);
		CU_ASSERT(run_case(text, 64, true));
	}
}

/* Random shapes under templates: %s is the shape, %d an axis. */
static void random_shapes(void)
{
	static const char *const text[] = {
		"graph (%%x: f32[%s]) -> (%%y) { %%t = transpose(%%x) %%y = exp(%%t) } # %d",
		"graph (%%x: f32[%s]) -> (%%y) { %%r = relu(%%x) %%y = softmax(%%r) {axis=%d} }",
		"graph (%%x: f32[%s]) -> (%%y) { const %%a: i64[1] = [%d] %%y = reduce_mean(%%x, %%a) {keepdims=0} }",
		"graph (%%x: f32[%s]) -> (%%y) { %%n = neg(%%x) %%y = arg_max(%%n) {axis=%d} }",
		"graph (%%x: i32[%s]) -> (%%y) { %%n = abs(%%x) %%y = concat(%%n, %%x) {axis=%d} }",
		"graph (%%x: f32[%s]) -> (%%y) { %%f = flatten(%%x) {axis=%d} %%y = transpose(%%f) }",
		"graph (%%x: f32[%s]@c8) -> (%%y) { %%r = relayout(%%x) %%y = flatten(%%r) {axis=%d} }",
		"graph (%%x: f32[%s]@c8) -> (%%y) { %%r = tanh(%%x) const %%a: i64[1] = [%d] %%y = reduce_max(%%r, %%a) }",
	};
	char shape[64], full[400];
	uint64_t seed = 2024;
	for (int i = 0; i < 48; i++) {
		state = seed += 977;
		const char *t = text[i % 8];
		snprintf(shape, sizeof shape, "%d,%d,%d,%d", (int)pick(1, 3), (int)pick(1, 20), (int)pick(1, 9), (int)pick(1, 40));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(full, sizeof full, t, shape, (int)pick(0, 3));
#pragma GCC diagnostic pop
		CU_ASSERT(run_case(full, i & 8 ? 16 : 64, true));
	}
}

/* Chains of convolutions on all variants of two architectures, whatever the cost model says of their size. */
static void bands(void)
{
	static const char *const arch[] = {"x86_64", "aarch64"};
	for (size_t a = 0; a < sizeof arch / sizeof *arch; a++)
		for (const MloTarget *const *t = mlo_target_find(arch[a], NULL)->variant; *t; t++)
			for (size_t i = 0; i < sizeof lower_bands / sizeof *lower_bands; i++)
				CU_ASSERT(run_on(lower_bands[i], *t, true, mlo_lower_bands));
}

/* Groups the loop tier must not take: a reduction whose result is spread out again, two anchors. */
static void refuses(void)
{
	static const char *const text[] = {
		"graph (%x: f32[4,8]) -> (%y) { const %a: i64[1] = [1] %m = reduce_mean(%x, %a) %y = sub(%x, %m) }",
		"graph (%x: f32[4,8]) -> (%y) { %m = softmax(%x) %y = softmax(%m) }",
		"graph (%x: f32[4,8], %w: f32[8,4]) -> (%y) { %y = matmul(%x, %w) }",
	};
	for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
		MloDiag d = {0};
		MloGraph *g = mlo_parse(text[i], strlen(text[i]), NULL, NULL, &d);
		CU_ASSERT_PTR_NOT_NULL_FATAL(g);
		CU_ASSERT_EQUAL(mlo_infer_graph(g, &d), MLO_OK);
		MloTarget t = {.vector_bytes = 32};
		MloLowerCx cx = {.arena = g->arena, .graph = g, .target = &t, .diag = &d};
		MloLowered l;
		CU_ASSERT_EQUAL(mlo_lower_loops(&cx, g->first, g->last, &l), MLO_ERR_UNSUPPORTED);
		CU_ASSERT_EQUAL(d.nerrors, 0);
		mlo_diag_free(&d);
		mlo_graph_free(g);
	}
}

void suite_lower_loops(void)
{
	CU_pSuite s = CU_add_suite("lower_loops", NULL, NULL);
	CU_add_test(s, "maps", maps);
	CU_add_test(s, "bands", bands);
	CU_add_test(s, "every elementwise operator", every_map);
	CU_add_test(s, "movement", movement);
	CU_add_test(s, "reductions", reductions);
	CU_add_test(s, "pooling", pooling);
	CU_add_test(s, "rows", rows);
	CU_add_test(s, "random shapes", random_shapes);
	CU_add_test(s, "groups refused", refuses);
}
