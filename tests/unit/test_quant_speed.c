/* tests/unit/test_quant_speed.c -- which layers stay float for given times; those times as text; estimates. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <string.h>

#include "codegen/estimate.h"
#include "codegen/contract.h"
#include "quant/speed.h"
#include "tests/unit/ir_fixture.h"
#include "tests/unit/kernel_fixture.h"

void suite_quant_speed(void);

/* -- decisions ------------------------------------------------------------------------------------- */

enum { LAYERS = 3 };

static const char chain[] =
	"graph @g(%x: f32[1,4,8,8]) -> (%y) {\n  const %w: f32[4,4,3,3] = fill(0.25)\n"
	"  %a = conv(%x, %w) {pads=[1, 1, 1, 1]} : f32[1,4,8,8] from \"a\"(Conv, 13)\n"
	"  %b = conv(%a, %w) {pads=[1, 1, 1, 1]} : f32[1,4,8,8] from \"b\"(Conv, 13)\n"
	"  %y = conv(%b, %w) {pads=[1, 1, 1, 1]} : f32[1,4,8,8] from \"c\"(Conv, 13)\n}\n";

/* What a model would take: layers, and a conversion wherever one in integers stands beside one in float. */
typedef struct Clock {
	MloPtq *q;
	double float_ns[LAYERS], int_ns[LAYERS], conversion, rest; /* rest: what is no layer */
	int asked;
	MloStatus status;
} Clock;

static MloStatus look(void *user, MloPtqTimes *out)
{
	Clock *c = user;
	double in_float = c->rest, now = c->rest;

	for (int i = 0; i < LAYERS; i++) {
		const bool on = c->q->layer[i].on, before = i && c->q->layer[i - 1].on;

		in_float += c->float_ns[i];
		now += on ? c->int_ns[i] : c->float_ns[i];
		now += on != before ? c->conversion : 0;
		out->layer[i] = (MloPtqTime){c->float_ns[i], (on ? c->int_ns[i] : c->float_ns[i]) / c->float_ns[i]};
	}
	out->all = (MloPtqTime){in_float, now / in_float};
	c->asked++;
	return c->status;
}

typedef struct Fix {
	MloGraph *g;
	MloPtqTime all;
	Clock clock;
} Fix;

static const MloPtqOptions plain = {.range = RANGE_MINMAX};

static MloStatus decide(Fix *f, const Clock *clock, const MloPtqOptions *opt)
{
	*f = (Fix){.g = ir_graph(chain), .clock = *clock};
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->g);
	f->clock.q = mlo_ptq_new(f->g->arena, f->g, opt);
	CU_ASSERT_EQUAL_FATAL(f->clock.q->nlayers, LAYERS);
	for (size_t i = 0; i < f->clock.q->ntensors; i++) {
		f->clock.q->tensor[i].own = f->clock.q->tensor[i].seen = (MloRange){-1, 1};
		f->clock.q->tensor[i].known = true;
	}
	return mlo_ptq_by_speed(f->clock.q, look, &f->clock, &f->all);
}

/* "ii." says of layers whether they are in integers. */
static void expect(Fix *f, const char *on)
{
	for (int i = 0; i < LAYERS; i++)
		CU_ASSERT_EQUAL(f->clock.q->layer[i].on, on[i] == 'i');
	mlo_graph_free(f->g);
}

static void all_are_faster(void)
{
	Fix f;

	CU_ASSERT_EQUAL(decide(&f, &(Clock){.float_ns = {100, 200, 300}, .int_ns = {50, 50, 50}, .conversion = 1}, &plain),
			MLO_OK);
	CU_ASSERT_EQUAL(f.clock.asked, 1);
	CU_ASSERT_DOUBLE_EQUAL(f.all.ratio, 151.0 / 600, 1e-9);
	CU_ASSERT_EQUAL(f.all.float_ns, 600);
	CU_ASSERT_EQUAL(f.clock.q->layer[1].float_ns, 200);
	CU_ASSERT_EQUAL(f.clock.q->layer[1].int_ns, 50);
	expect(&f, "iii");
}

static void a_slower_one_goes_back(void)
{
	Fix f;

	CU_ASSERT_EQUAL(decide(&f, &(Clock){.float_ns = {1e6, 2e6, 3e6}, .int_ns = {1e5, 1e5, 5e6}, .conversion = 1}, &plain),
			MLO_OK);
	CU_ASSERT_STRING_EQUAL(f.clock.q->layer[2].off, "5.0000 ms in integers, 3.0000 ms in float32");
	CU_ASSERT_EQUAL(f.clock.asked, 2);
	CU_ASSERT_DOUBLE_EQUAL(f.all.ratio, 3200002.0 / 6e6, 1e-9);
	expect(&f, "ii.");
}

/* 4 % of a layer, or little of the model, is noise. */
static void differences_that_do_not_count(void)
{
	Fix f;

	CU_ASSERT_EQUAL(decide(&f, &(Clock){.float_ns = {100, 200, 300}, .int_ns = {50, 50, 312}}, &plain), MLO_OK);
	CU_ASSERT_EQUAL(f.clock.asked, 1);
	expect(&f, "iii");
	CU_ASSERT_EQUAL(decide(&f, &(Clock){.float_ns = {1, 2000, 3000}, .int_ns = {3, 50, 50}}, &plain), MLO_OK);
	CU_ASSERT_EQUAL(f.clock.asked, 1);
	expect(&f, "iii");
}

/* The layer in the middle is slower, but without it there are two conversions more. */
static void conversions_count(void)
{
	Fix f;

	CU_ASSERT_EQUAL(decide(&f, &(Clock){.float_ns = {100, 100, 100}, .int_ns = {20, 110, 20}, .conversion = 30}, &plain),
			MLO_OK);
	CU_ASSERT_EQUAL(f.clock.asked, 2);
	CU_ASSERT_PTR_NULL(f.clock.q->layer[1].off);
	CU_ASSERT_DOUBLE_EQUAL(f.all.ratio, 180.0 / 300, 1e-9);
	expect(&f, "iii");
	CU_ASSERT_EQUAL(decide(&f, &(Clock){.float_ns = {100, 100, 100}, .int_ns = {20, 150, 20}, .conversion = 10}, &plain),
			MLO_OK);
	expect(&f, "i.i");
}

static void a_model_that_is_slower_stays_float(void)
{
	Fix f;

	CU_ASSERT_EQUAL(decide(&f, &(Clock){.float_ns = {100, 100, 100}, .int_ns = {99, 99, 99}, .conversion = 9}, &plain),
			MLO_OK);
	CU_ASSERT_EQUAL(f.all.ratio, 1);
	CU_ASSERT_STRING_EQUAL(f.clock.q->layer[0].off, "the model takes 1.02 times as long in integers");
	expect(&f, "...");
}

/* What somebody else has turned off stays so, with that reason. */
static void excluded_layers_stay_out(void)
{
	const char *const exclude[] = {"b", NULL};
	Fix f;

	CU_ASSERT_EQUAL(decide(&f, &(Clock){.float_ns = {100, 100, 100}, .int_ns = {20, 500, 200}, .conversion = 5},
			       &(MloPtqOptions){.range = RANGE_MINMAX, .exclude = exclude}), MLO_OK);
	CU_ASSERT_STRING_EQUAL(f.clock.q->layer[1].off, "excluded");
	CU_ASSERT(isnan(f.clock.q->layer[1].int_ns));
	CU_ASSERT_STRING_NOT_EQUAL(f.clock.q->layer[2].off, "excluded");
	expect(&f, "i..");
}

static void failures_are_passed_on(void)
{
	Fix f;

	CU_ASSERT_EQUAL(decide(&f, &(Clock){.float_ns = {1, 1, 1}, .int_ns = {1, 1, 1}, .status = MLO_ERR_IO}, &plain),
			MLO_ERR_IO);
	expect(&f, "iii");
}

/* -- text -------------------------------------------------------------------------------------------- */

static void texts_come_back(void)
{
	static const char *const wrong[] = {
		"", "times 1\n", "times 2\n0x1p+0 0x1p+0\n", "times 1\n0x1p+0\n", "times 1\n0x1p+0 0x1p+0", "times 1\n-1 1\n",
		"times 1\n1 0\n", "times 1\ninf 1\n", "times 1\n1 nan\n", "times 1\n1 1\n3 1 1\n", "times 1\n1 1\n-1 1 1\n",
		"times 1\n1 1\nx 1 1\n", "times 1\n1 1\n0 1 1\nmore", "times 1\n1 1\n\n",
	};
	MloPtqTime layer[LAYERS] = {{1e6 / 3, 0.1}, {0, 0}, {7, 1.0 / 7}}, read[LAYERS];
	MloPtqTimes t = {{12345.678, 0.3}, layer}, back = {.layer = read};
	MloArena *a = mlo_arena_new();
	MloStr s = {.arena = a};

	mlo_ptq_times_write(&s, LAYERS, &t);
	CU_ASSERT(mlo_ptq_times_read(mlo_str_text(&s), LAYERS, &back));
	CU_ASSERT(memcmp(&t.all, &back.all, sizeof t.all) == 0);
	CU_ASSERT(memcmp(layer, read, sizeof layer) == 0);
	CU_ASSERT_FALSE(mlo_ptq_times_read(mlo_str_text(&s), 2, &back));
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		CU_ASSERT_FALSE(mlo_ptq_times_read(wrong[i], LAYERS, &back));
	mlo_arena_free(a);
}

/* -- estimates --------------------------------------------------------------------------------------- */

/* A pointwise convolution of 64 to 64 channels, n x n. */
static double estimated(MloArena *a, const MloTarget *t, bool bytes, int64_t n)
{
	const int64_t lanes = t->vector_bytes / 4;
	KContract c = {.nb0 = 1, .nb1 = 1, .ny = n, .nx = n, .nc = 64, .nk = 64, .nky = 1, .nkx = 1, .sy = 1, .sx = 1, .dy = 1,
		       .dx = 1, .in_y = n, .in_x = n, .group_c = 64, .dot = bytes ? 4 : 1,
		       .a = {.elem = bytes ? EL_u8 : EL_f32, .block = lanes, .blk = n * n * lanes, .k = 1, .x = lanes,
			     .y = n * lanes, .b0 = 64 * n * n},
		       .b = {.elem = bytes ? EL_i8 : EL_f32, .packed = true}};
	MloKernel *k = mlo_kernel_new(a, "product");
	KCursor top = kb_top(k);

	mlo_kernel_arg(k, KA_IN, c.a.elem, 64 * n * n);
	mlo_kernel_arg(k, KA_IN, c.b.elem, 64 * 64);
	mlo_schedule_contract(t, NULL, 1, &c);
	kb_contract(&top, &c);
	kb_finish(k);
	return mlo_kernel_ns(t, k, true);
}

/* Four products at once take about a quarter of the time, and none is shorter than its multiply-adds. */
static void estimates_know_bytes(void)
{
	const MloTarget *t = NULL;
	MloArena *a = mlo_arena_new();
	double in_float, in_bytes, least;

	for (size_t i = 0; mlo_target_at(i); i++) /* one with an instruction for it */
		for (size_t k = 0; mlo_target_at(i)->variant[k]; k++)
			t = mlo_target_at(i)->variant[k]->dots->u8s8 ? mlo_target_at(i)->variant[k] : t;
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	in_float = estimated(a, t, false, 28);
	in_bytes = estimated(a, t, true, 28);
	least = 28.0 * 28 * 64 * 64 / (t->vector_bytes / 4 * t->fma_per_cycle * t->clock_ghz);
	CU_ASSERT(in_float > least && in_float < 3 * least);
	CU_ASSERT(in_bytes < 0.5 * in_float && in_bytes > 0.2 * in_float);
	CU_ASSERT(estimated(a, t, false, 56) > 3 * in_float);
	mlo_arena_free(a);
}

void suite_quant_speed(void)
{
	CU_pSuite s = CU_add_suite("quant_speed", NULL, NULL);

	CU_ADD_TEST(s, all_are_faster);
	CU_ADD_TEST(s, a_slower_one_goes_back);
	CU_ADD_TEST(s, differences_that_do_not_count);
	CU_ADD_TEST(s, conversions_count);
	CU_ADD_TEST(s, a_model_that_is_slower_stays_float);
	CU_ADD_TEST(s, excluded_layers_stay_out);
	CU_ADD_TEST(s, failures_are_passed_on);
	CU_ADD_TEST(s, texts_come_back);
	CU_ADD_TEST(s, estimates_know_bytes);
}
