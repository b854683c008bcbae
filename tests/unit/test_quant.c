/* tests/unit/test_quant.c -- observers and ranges, which operators are quantised, and the graph that comes out. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <string.h>

#include "frontend/onnx.h"
#include "ir/exec.h"
#include "quant/ptq.h"
#include "tests/unit/ir_fixture.h"
#include "tests/unit/quant_fixture.h"
#include "tests/unit/random_graph.h"

void suite_quant(void);

/* -- observers ------------------------------------------------------------------------------------- */

static float bins[OBSERVE_BINS];

static MloStats watch(void)
{
	memset(bins, 0, sizeof bins);
	return (MloStats){.bin = bins};
}

/* Values of a normal distribution by the sum of 12 uniform ones, reproducible. */
static float normal(uint32_t *s)
{
	double sum = -6;

	for (int i = 0; i < 12; i++) {
		*s = *s * 1664525u + 1013904223u;
		sum += *s / 4294967296.0;
	}
	return (float)sum;
}

/* A thousand values of deviation 1, then one far away. */
static MloStats with_outlier(float far)
{
	MloStats s = watch();
	uint32_t seed = 1;
	float v[100];

	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 100; i++)
			v[i] = normal(&seed);
		mlo_observe(&s, v, 100);
	}
	mlo_observe(&s, &far, 1);
	return s;
}

static void extremes_and_counts(void)
{
	const float a[] = {-1, 0, 2.5f}, b[] = {NAN, 7, INFINITY}, zero[] = {0, 0};
	MloStats s = watch();

	mlo_observe(&s, zero, 2);
	CU_ASSERT_EQUAL(s.limit, 0);
	mlo_observe(&s, a, 3);
	CU_ASSERT_EQUAL(s.bad, 0);
	mlo_observe(&s, b, 3);
	CU_ASSERT_EQUAL(s.lo, -1);
	CU_ASSERT_EQUAL(s.hi, 7);
	CU_ASSERT_EQUAL(s.bad, 2);
	CU_ASSERT_EQUAL(s.count, 8);
	CU_ASSERT_EQUAL(s.limit, 8);
}

/* Whatever widened, nothing is lost, and halves stay halves. */
static void histograms_widen(void)
{
	MloStats s = watch();
	double below = 0, above = 0;

	for (int i = 0; i < 24; i++) {
		float v[] = {ldexpf(0.9f, i - 12), -ldexpf(0.9f, i - 12)};

		mlo_observe(&s, v, 2);
	}
	for (int i = 0; i < OBSERVE_BINS; i++)
		*(i < OBSERVE_BINS / 2 ? &below : &above) += bins[i];
	CU_ASSERT_EQUAL(below, 24);
	CU_ASSERT_EQUAL(above, 24);
	CU_ASSERT(s.limit > ldexp(0.9, 11));
	CU_ASSERT(s.bin[OBSERVE_BINS / 2 + (int)(ldexp(0.9, 11) / s.limit * (OBSERVE_BINS / 2))] > 0);
}

static void methods_differ_on_outliers(void)
{
	MloStats s = with_outlier(100);
	MloRange all = mlo_range(&s, RANGE_MINMAX, 0, 256), part = mlo_range(&s, RANGE_PERCENTILE, 99.9, 256);
	MloRange mse = mlo_range(&s, RANGE_MSE, 0, 256), kl = mlo_range(&s, RANGE_ENTROPY, 0, 256);

	CU_ASSERT_EQUAL(all.hi, 100);
	CU_ASSERT(part.hi > 2 && part.hi < 5 && part.lo > -5 && part.lo < -2);
	CU_ASSERT(kl.hi > 1.5 && kl.hi < 40);
	CU_ASSERT(mlo_range_error(&s, mse, 256) <= mlo_range_error(&s, all, 256));
	CU_ASSERT(mlo_range_error(&s, mse, 256) <= mlo_range_error(&s, part, 256));
	CU_ASSERT(mlo_range(&s, RANGE_AVERAGE, 0, 256).hi < 20);
	for (int m = 0; m < RANGE_METHODS; m++) {
		MloRange r = mlo_range(&s, (MloRangeMethod)m, 99, 256);
		MloRangeMethod found;

		CU_ASSERT(r.lo <= 0 && r.hi > 0);
		CU_ASSERT(mlo_range_find(mlo_range_text((MloRangeMethod)m), &found) && (int)found == m);
	}
}

/* The estimate from the histogram is what quantising really costs. */
static void errors_are_real(void)
{
	MloStats s = watch();
	MloRange r = {-2, 2};
	uint32_t seed = 7;
	double sum = 0;
	int n = 20000;

	for (int i = 0; i < n; i++) {
		float v = normal(&seed), q;
		double step = 4.0 / 255;

		mlo_observe(&s, &v, 1);
		q = (float)(rint((fmin(fmax(v, -2), 2) + 2) / step) * step - 2);
		sum += (v - q) * (v - q);
	}
	CU_ASSERT_DOUBLE_EQUAL(mlo_range_error(&s, r, 256) / (sum / n), 1, 0.02);
}

static void patterns(void)
{
	CU_ASSERT(mlo_pattern_match("*conv?", "layer1/conv2"));
	CU_ASSERT(mlo_pattern_match("a*b*c", "axxbyyc"));
	CU_ASSERT(mlo_pattern_match("*", ""));
	CU_ASSERT(!mlo_pattern_match("conv", "conv1"));
	CU_ASSERT(!mlo_pattern_match("?", ""));
}

/* -- graphs ---------------------------------------------------------------------------------------- */

static const char residual[] =
	"graph @g(%x: f32[1,3,8,8]) -> (%y) {\n"
	"  const %w: f32[4,3,3,3] = fill(0.25)\n  const %v: f32[4,4,3,3] = fill(-0.125)\n  const %b: f32[4] = [0.5, "
	"-1, 0, 2]\n"
	"  const %f: f32[4,5] = fill(0.5)\n  const %fb: f32[5] = [1, 2, 3, 4, 5]\n  const %s: i64[2] = [1, 4]\n"
	"  %c = conv(%x, %w, %b) {pads=[1, 1, 1, 1]} : f32[1,4,8,8] from \"first\"(Conv, 13)\n"
	"  %r = relu(%c) : f32[1,4,8,8]\n"
	"  %d = conv(%r, %v) {pads=[1, 1, 1, 1]} : f32[1,4,8,8] from \"second\"(Conv, 13)\n"
	"  %a = add(%r, %d) : f32[1,4,8,8]\n"
	"  %t = clip(%a) : f32[1,4,8,8]\n"
	"  %g = global_average_pool(%t) : f32[1,4,1,1]\n"
	"  %h = reshape(%g, %s) : f32[1,4]\n"
	"  %m = matmul(%h, %f) : f32[1,5] from \"last\"(Gemm, 13)\n"
	"  %y = add(%m, %fb) : f32[1,5]\n}\n";

static const MloPtqLayer *layer(const MloPtq *q, MloOp op)
{
	for (size_t i = 0; i < q->nlayers; i++)
		if (q->layer[i].n->op == op)
			return &q->layer[i];
	return NULL;
}

static void whole_regions_are_quantised(void)
{
	MloPtqOptions opt = {.range = RANGE_MINMAX};
	QuantFix f;

	quant_begin(&f, residual, &opt);
	for (size_t i = 0; i < f.q->nlayers; i++) /* the bias of the matrix product is no layer */
		CU_ASSERT(f.q->layer[i].on);
	CU_ASSERT_EQUAL(f.q->nlayers, 6);
	CU_ASSERT_STRING_EQUAL(layer(f.q, OP_conv)->result->name, "r");
	quant_quantise(&f, 64);
	/* x, r, d, t, g and h; the output stays float */
	CU_ASSERT_EQUAL(quant_count(f.out, OP_quantize_linear), 6);
	/* those, three weights, two biases */
	CU_ASSERT_EQUAL(quant_count(f.out, OP_dequantize_linear), 11);
	CU_ASSERT_EQUAL(quant_count(f.out, OP_gemm), 1);
	CU_ASSERT_STRING_EQUAL(f.out->outputs[0]->name, "y");
	CU_ASSERT(quant_noise(&f) < 1e-4);
	quant_end(&f);
}

/* Scales run along the second dimension of their weights; only such as have taps side by side take part. */
static void transposed_convolutions_are_quantised(void)
{
	static const char text[] = "graph @t(%x: f32[1,6,5,4]) -> (%y, %o) {\n"
				   "  const %w: f32[6,5,2,3] = random(1)\n"
				   "  const %b: f32[5] = random(2)\n"
				   "  const %v: f32[6,5,3,3] = random(3)\n"
				   "  %y = conv_transpose(%x, %w, %b) {strides=[2, 3]}\n"
				   "  %o = conv_transpose(%x, %v) {strides=[2, 3]}\n"
				   "}\n";
	MloPtqOptions opt = {.range = RANGE_MINMAX};
	const MloNode *dq;
	QuantFix f;

	quant_begin(&f, text, &opt);
	CU_ASSERT_EQUAL_FATAL(f.q->nlayers, 1);
	CU_ASSERT_EQUAL(f.q->layer[0].kind, PTQ_TRANSPOSED);
	quant_quantise(&f, 8);
	dq = layer(f.at, OP_conv_transpose)->n->in[1]->def;
	CU_ASSERT_PTR_NOT_NULL_FATAL(dq);
	CU_ASSERT_EQUAL(dq->op, OP_dequantize_linear);
	CU_ASSERT_EQUAL(mlo_attr_i(dq, ATTR_dequantize_linear_axis), 1);
	CU_ASSERT_EQUAL(mlo_type_elems(&dq->in[1]->type), 5);
	CU_ASSERT_EQUAL(layer(f.at, OP_conv_transpose)->n->in[2]->def->in[0]->type.elem, EL_i32);
	CU_ASSERT(quant_noise(&f) < 1e-4);
	quant_end(&f);
}

static void excluded_layers_stay_float(void)
{
	const char *const exclude[] = {"se*", NULL}, *const include[] = {"last", NULL};
	MloPtqOptions opt = {.range = RANGE_MSE, .exclude = exclude};
	QuantFix f;

	quant_begin(&f, residual, &opt);
	CU_ASSERT_STRING_EQUAL(f.q->layer[1].off, "excluded");
	CU_ASSERT_FALSE(f.q->layer[1].on);
	CU_ASSERT_FALSE(layer(f.q, OP_add)->on); /* one of its operands is float */
	CU_ASSERT(layer(f.q, OP_matmul)->on);
	quant_quantise(&f, 64);
	CU_ASSERT(quant_noise(&f) < 1e-3);
	quant_end(&f);
	opt.exclude = NULL;
	opt.include = include;
	quant_begin(&f, residual, &opt);
	CU_ASSERT_FALSE(layer(f.q, OP_conv)->on);
	CU_ASSERT(layer(f.q, OP_matmul)->on);
	quant_end(&f);
}

static void movement_shares_a_range(void)
{
	MloPtqOptions opt = {.range = RANGE_MINMAX};
	const MloPtqTensor *g, *h;
	QuantFix f;

	quant_begin(&f, residual, &opt);
	quant_quantise(&f, 2);
	g = mlo_ptq_tensor(f.q, layer(f.q, OP_reshape)->n->in[0]);
	h = mlo_ptq_tensor(f.q, layer(f.q, OP_reshape)->result);
	CU_ASSERT_EQUAL(g->scale, h->scale);
	CU_ASSERT_EQUAL(g->zero, h->zero);
	CU_ASSERT_NOT_EQUAL(g->scale, mlo_ptq_tensor(f.q, f.g->inputs[0])->scale);
	quant_end(&f);
}

static void symmetric_and_per_tensor(void)
{
	MloPtqOptions opt = {.range = RANGE_MINMAX, .symmetric = true, .per_tensor = true};
	QuantFix f;

	quant_begin(&f, residual, &opt);
	quant_quantise(&f, 64);
	for (const MloNode *n = f.out->first; n; n = n->next) {
		if (n->op == OP_quantize_linear) {
			CU_ASSERT_EQUAL(n->out[0]->type.elem, EL_i8);
			CU_ASSERT_EQUAL(mlo_tensor_i64(n->in[2]->data, 0), 0);
		}
		if (n->op == OP_dequantize_linear)
			CU_ASSERT_EQUAL(n->in[1]->type.rank, 0);
	}
	CU_ASSERT(quant_noise(&f) < 1e-3);
	quant_end(&f);
}

/* The quantization of v, in f's copy. */
static const MloNode *quantizer(const QuantFix *f, const char *v)
{
	for (const MloNode *n = f->out->first; n; n = n->next)
		if (n->op == OP_quantize_linear && n->in[0]->name && !strcmp(n->in[0]->name, v))
			return n;
	return NULL;
}

/* What a layer reads is in 16 bits, with all that shares its range; nothing else is. */
static void wide_activations(void)
{
	static const char *const names[] = {"x", "r", "d", "t", "g", "h"};
	const char *const wide[] = {"la*", NULL}, *const all[] = {"*", NULL};
	MloPtqOptions opt = {.range = RANGE_MSE, .wide = wide};
	double narrow;
	QuantFix f;

	quant_begin(&f, residual, &(MloPtqOptions){.range = RANGE_MSE});
	quant_quantise(&f, 64);
	narrow = quant_noise(&f);
	quant_end(&f);
	quant_begin(&f, residual, &opt);
	CU_ASSERT_STRING_EQUAL(layer(f.q, OP_matmul)->wide, "asked for");
	quant_quantise(&f, 64);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const MloNode *n = quantizer(&f, names[i]);

		CU_ASSERT_PTR_NOT_NULL_FATAL(n);
		CU_ASSERT_EQUAL(n->out[0]->type.elem, i < 4 ? EL_u8 : EL_u16);
		CU_ASSERT_EQUAL(n->in[2]->type.elem, n->out[0]->type.elem);
	}
	quant_end(&f);
	opt.wide = all;
	quant_begin(&f, residual, &opt);
	quant_quantise(&f, 64);
	CU_ASSERT(quant_noise(&f) < narrow);
	for (size_t i = 0; i < f.q->ntensors; i++) {
		const MloPtqTensor *t = &f.q->tensor[i];

		CU_ASSERT(!t->wide || fabs(t->scale * UINT16_MAX / (t->range.hi - t->range.lo) - 1) < 1e-6);
		CU_ASSERT(!t->wide || (t->range.lo <= t->seen.lo && t->range.hi >= t->seen.hi));
	}
	quant_end(&f);
}

/* 16 bits around 0, and from a plan that says so after it was made; what is written needs operator set 21. */
static void wide_and_symmetric(void)
{
	MloPtqOptions opt = {.range = RANGE_MSE, .symmetric = true};
	const MloMeta *m;
	const void *bytes;
	MloGraph *read;
	size_t n;
	QuantFix f;

	quant_begin(&f, residual, &opt);
	f.q->layer[0].wide = "tried";
	mlo_ptq_plan(f.q);
	quant_quantise(&f, 4);
	CU_ASSERT_EQUAL(quantizer(&f, "x")->out[0]->type.elem, EL_i16);
	CU_ASSERT_EQUAL(quantizer(&f, "r")->out[0]->type.elem, EL_i8);
	CU_ASSERT_EQUAL(mlo_tensor_i64(quantizer(&f, "x")->in[2]->data, 0), 0);
	CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_f64(quantizer(&f, "x")->in[1]->data, 0),
			       fmax(-f.q->tensor[0].seen.lo, f.q->tensor[0].seen.hi) / INT16_MAX, 1e-9);
	CU_ASSERT_EQUAL_FATAL(mlo_onnx_export(f.g->arena, f.out, "0", &bytes, &n, &f.d), MLO_OK);
	read = mlo_onnx_load_memory(bytes, n, "written", NULL, NULL, &f.d);
	CU_ASSERT_PTR_NOT_NULL_FATAL(read);
	for (m = read->meta; m && strcmp(m->key, "onnx.opset.ai.onnx"); m = m->next)
		;
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_STRING_EQUAL(m->value, "21");
	mlo_graph_free(read);
	quant_end(&f);
}

/* Weights of a channel that are all zero, a bias that is huge beside them, and activations that are constant. */
static void odd_channels(void)
{
	static const char text[] =
		"graph @g(%x: f32[2,3]) -> (%y) {\n"
		"  const %w: f32[3,2] = [0, 1e-12, 0, 2e-12, 0, -1e-12]\n  const %b: f32[2] = [0.125, 100000]\n"
		"  const %z: f32[] = [0]\n  const %v: f32[2,2] = [1, 2, 3, 4]\n"
		"  %m = matmul(%x, %w) : f32[2,2]\n  %a = add(%m, %b) : f32[2,2]\n  %k = mul(%a, %z) : f32[2,2]\n"
		"  %y = matmul(%k, %v) : f32[2,2]\n}\n";
	MloPtqOptions opt = {.range = RANGE_MSE};
	const MloTensor *bias;
	QuantFix f;

	quant_begin(&f, text, &opt);
	quant_quantise(&f, 3);
	CU_ASSERT_EQUAL(mlo_ptq_tensor(f.q, f.q->layer[1].n->in[0])->scale, 1);
	for (const MloNode *n = f.out->first; n; n = n->next)
		for (uint32_t i = 0; n->op == OP_dequantize_linear && i < 1; i++) {
			bias = n->in[0]->data;
			if (!bias || bias->elem != EL_i32)
				continue;
			CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_i64(bias, 0) * mlo_tensor_f64(n->in[1]->data, 0), 0.125,
					       1e-6);
			CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_i64(bias, 1) * mlo_tensor_f64(n->in[1]->data, 1), 100000,
					       0.1);
		}
	quant_end(&f);
}

/* -- corrections ----------------------------------------------------------------------------------- */

/* Unlike channels on both sides of activations: convolutions, a depthwise one, a normalisation before products. */
static const char uneven[] =
	"graph @g(%x: f32[1,2,6,6]) -> (%y, %z) {\n"
	"  const %w: f32[3,2,1,1] = [1, -2, 0.01, 0.02, 30, 5]\n  const %b: f32[3] = [0.5, 0.001, -3]\n"
	"  const %k: f32[3,1,1,1] = [0.5, 20, 1]\n  const %v: f32[2,3,1,1] = [1, 2, 3, -4, 5, 0.1]\n"
	"  const %s: f32[6] = [1, 100, 0.1, 1, 2, 3]\n  const %t: f32[6] = [0, 1, 2, -1, 0, 5]\n"
	"  const %p: f32[6,2] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]\n  const %o: f32[6,1] = [1, -1, 1, -1, 1, -1]\n"
	"  %c = conv(%x, %w, %b) : f32[1,3,6,6]\n  %r = relu(%c) : f32[1,3,6,6]\n"
	"  %d = conv(%r, %k) {group=3} : f32[1,3,6,6]\n  %l = leaky_relu(%d) : f32[1,3,6,6]\n"
	"  %y = conv(%l, %v) : f32[1,2,6,6]\n"
	"  %n = layer_norm(%x, %s, %t) : f32[1,2,6,6]\n"
	"  %q = matmul(%n, %p) : f32[1,2,6,2]\n  %u = matmul(%n, %o) : f32[1,2,6,1]\n  %z = add(%q, %u) : "
	"f32[1,2,6,2]\n}\n";

/* The graph computes what it did: `before` is a copy from before it was changed. */
static void same_results(QuantFix *f, MloGraph *before)
{
	const MloTensor *x = random_tensor(f->g->arena, 5, &f->g->inputs[0]->type);
	MloTensor *a[2], *b[2];

	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(f->g->arena, before, &x, a, NULL, NULL, &f->d), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(f->g->arena, f->g, &x, b, NULL, NULL, &f->d), MLO_OK);
	for (int k = 0; k < 2; k++)
		for (int64_t i = 0, n = mlo_tensor_elems(a[k]); i < n; i++)
			CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_f64(a[k], i), mlo_tensor_f64(b[k], i),
					       1e-4 * (1 + fabs(mlo_tensor_f64(a[k], i))));
}

static double spread(const MloTensor *w, int64_t channels)
{
	int64_t per = mlo_tensor_elems(w) / channels;
	double lo = INFINITY, hi = 0;

	for (int64_t c = 0; c < channels; c++) {
		double most = 0;

		for (int64_t i = 0; i < per; i++)
			most = fmax(most, fabs(mlo_tensor_f64(w, c * per + i)));
		lo = fmin(lo, most);
		hi = fmax(hi, most);
	}
	return hi / lo;
}

static void equalization_changes_no_result(void)
{
	MloPtqOptions opt = {.range = RANGE_MINMAX};
	MloGraph *before;
	double was;
	QuantFix f;

	quant_begin(&f, uneven, &opt);
	before = mlo_graph_clone(f.g);
	was = spread(f.q->layer[0].n->in[1]->data, 3);
	CU_ASSERT_EQUAL(mlo_ptq_equalize(f.q), 2);
	CU_ASSERT(spread(f.q->layer[0].n->in[1]->data, 3) < was / 4);
	same_results(&f, before);
	mlo_graph_free(before);
	quant_end(&f);
}

static void migration_changes_no_result(void)
{
	MloPtqOptions opt = {.range = RANGE_MINMAX};
	MloGraph *before;
	int64_t channels;
	size_t n = 0;
	int inner;
	QuantFix f;

	quant_begin(&f, uneven, &opt);
	before = mlo_graph_clone(f.g);
	for (size_t i = 0; i < f.q->ntensors; i++) {
		MloPtqTensor *t = &f.q->tensor[i];

		if (!mlo_ptq_migrates(f.q, t, &channels, &inner))
			continue;
		n++;
		t->channel_lo = MLO_NEWN(f.g->arena, double, 8);
		t->channel_hi = MLO_NEWN(f.g->arena, double, 8);
		for (int c = 0; c < 6; c++)
			t->channel_hi[c] = c * c; /* a channel of zeros among them */
	}
	CU_ASSERT_EQUAL(n, 3); /* r, l and n */
	CU_ASSERT_EQUAL(mlo_ptq_migrate(f.q, 0.5), 3);
	same_results(&f, before);
	mlo_graph_free(before);
	quant_end(&f);
}

/* Behind an activation that is not linear the scale goes to a factor and to what is added to it. */
static const char swish[] =
	"graph @s(%x: f32[2,4,6,6]) -> (%z, %u) {\n"
	"  const %w: f32[4,4,1,1] = fill(0.5)\n  const %m: f32[1] = [2]\n  const %b: f32[1] = [0.25]\n"
	"  const %d: f32[4,1,3,3] = fill(0.5)\n  const %v: f32[2,4,1,1] = fill(0.5)\n"
	"  %c = conv(%x, %w) : f32[2,4,6,6]\n  %h = hard_swish(%c) : f32[2,4,6,6]\n  %k = mul(%h, %m) : f32[2,4,6,6]\n"
	"  %a = add(%k, %b) : f32[2,4,6,6]\n  %y = conv(%a, %d) {group=4, pads=[1, 1, 1, 1]} : f32[2,4,6,6]\n"
	"  %z = conv(%y, %v) : f32[2,2,6,6]\n  %u = relu(%y) : f32[2,4,6,6]\n}\n";

static MloPtqTensor *tensor_named(const QuantFix *f, const char *name)
{
	for (size_t i = 0; i < f->q->ntensors; i++)
		if (!strcmp(f->q->tensor[i].v->name, name))
			return &f->q->tensor[i];
	return NULL;
}

/* Channels of t from -high[c] / 8 to high[c], evenly spread. */
static void seen_channels(QuantFix *f, MloPtqTensor *t, const double *high, int n)
{
	t->channel_lo = MLO_NEWN(f->g->arena, double, (size_t)n);
	t->channel_hi = MLO_NEWN(f->g->arena, double, (size_t)n);
	t->channel_sum = MLO_NEWN(f->g->arena, double, (size_t)n);
	t->channel_square = MLO_NEWN(f->g->arena, double, (size_t)n);
	t->channel_count = 100;
	for (int c = 0; c < n; c++) {
		t->channel_lo[c] = -high[c] / 8;
		t->channel_hi[c] = high[c];
		t->channel_square[c] = 100 * high[c] * high[c] / 3;
	}
}

static void migration_by_least_noise(void)
{
	static const double uneven_channels[] = {16, 4, 1, 0.5}, even[] = {2, 1.9, 2, 1.8};
	MloPtqOptions opt = {.range = RANGE_MINMAX};
	MloGraph *before;
	MloPtqTensor *a;
	int64_t channels;
	int inner;
	QuantFix f;

	quant_begin(&f, swish, &opt);
	before = mlo_graph_clone(f.g);
	a = tensor_named(&f, "a");
	CU_ASSERT(mlo_ptq_migrates(f.q, a, &channels, &inner) && channels == 4 && inner == 2);
	CU_ASSERT_FALSE(mlo_ptq_migrates(f.q, tensor_named(&f, "x"), &channels, &inner));
	seen_channels(&f, a, even, 4);
	CU_ASSERT_EQUAL(mlo_ptq_migrate(f.q, PTQ_MIGRATE_BEST), 0); /* nothing to gain */
	seen_channels(&f, a, uneven_channels, 4);
	CU_ASSERT_EQUAL(mlo_ptq_migrate(f.q, PTQ_MIGRATE_BEST), 1);
	CU_ASSERT_EQUAL_FATAL(a->nfactors, 4);
	for (int c = 0; c < 4; c++) /* a depthwise convolution loses nothing by it: channels become the same */
		CU_ASSERT_DOUBLE_EQUAL(a->factor[c], uneven_channels[c] / 16, 1e-6);
	CU_ASSERT_EQUAL(a->v->def->in[1]->data->dim[0], 4); /* one number became one for each channel */
	same_results(&f, before);
	CU_ASSERT_FALSE(mlo_ptq_scale(f.q, a, a->factor, 3));
	mlo_graph_free(before);
	quant_end(&f);
}

/* Where a bias makes up for the mean, errors that all inputs share do not count: other weights are rounded up. */
static void rounding_without_the_mean(void)
{
	enum { K = 2, ROWS = 8 };
	MloArena *a = mlo_arena_new();
	MloTensor *w = mlo_tensor_new(a, EL_f32, 2, (int64_t[]){K, 1});
	double scale = 1;
	MloPtqWeights p = {.w = w, .channels = 1, .axis = 1, .scale = &scale, .nscales = 1};
	float x[ROWS * K];
	const int8_t *got[2];

	mlo_tensor_set_f64(w, 0, 0.4);
	mlo_tensor_set_f64(w, 1, 0.4);
	for (int r = 0; r < ROWS; r++) { /* large and the same but for a little in the first */
		x[r * K] = r % 2 ? 11 : 9;
		x[r * K + 1] = 10;
	}
	for (int centred = 0; centred < 2; centred++) {
		MloRoundInput in = {.k = K, .groups = 1, .h = MLO_NEWN(a, float, K *K)};

		in.sum = centred ? MLO_NEWN(a, double, K) : NULL;
		in.rows = centred ? MLO_NEWN(a, int64_t, 1) : NULL;
		mlo_round_add(&in, 0, x, ROWS);
		got[centred] = mlo_round_layer(a, &p, &in);
	}
	CU_ASSERT_EQUAL(got[0][0] + got[0][1], 1); /* 0.8 of them */
	CU_ASSERT_EQUAL(got[1][0] + got[1][1], 0);
	mlo_arena_free(a);
}

static double result_error(const MloTensor *w, const int8_t *q, double scale, const float *x, int rows, int k)
{
	double sum = 0;

	for (int r = 0; r < rows; r++)
		for (int64_t c = 0; c < w->dim[1]; c++) {
			double d = 0;

			for (int i = 0; i < k; i++)
				d += x[r * k + i] *
				     (q[i * w->dim[1] + c] * scale - mlo_tensor_f64(w, i * w->dim[1] + c));
			sum += d * d;
		}
	return sum;
}

/* Inputs that are alike, as neighbouring pixels are: rounding by results beats rounding each. */
static void rounding_by_results(void)
{
	enum { K = 12, N = 3, ROWS = 40 };
	MloArena *a = mlo_arena_new();
	MloTensor *w = mlo_tensor_new(a, EL_f32, 2, (int64_t[]){K, N});
	double scale = 0.1;
	MloPtqWeights p = {.w = w, .channels = N, .axis = 1, .scale = &scale, .nscales = 1};
	MloRoundInput in = {.k = K, .groups = 1, .h = MLO_NEWN(a, float, K *K)};
	float x[ROWS * K];
	int8_t nearest[K * N];
	const int8_t *got;
	uint32_t seed = 3;

	for (int i = 0; i < K * N; i++) {
		mlo_tensor_set_f64(w, i, normal(&seed));
		nearest[i] = mlo_weight_round(mlo_tensor_f64(w, i), scale);
	}
	for (int r = 0; r < ROWS; r++) {
		float base = 3 * normal(&seed);

		for (int i = 0; i < K; i++)
			x[r * K + i] = base + normal(&seed);
	}
	mlo_round_add(&in, 0, x, ROWS / 2);
	mlo_round_add(&in, 0, x + ROWS / 2 * K, ROWS / 2);
	got = mlo_round_layer(a, &p, &in);
	for (int i = 0; i < K * N; i++)
		CU_ASSERT(fabs(got[i] * scale - mlo_tensor_f64(w, i)) < scale);
	CU_ASSERT(result_error(w, got, scale, x, ROWS, K) < 0.5 * result_error(w, nearest, scale, x, ROWS, K));
	mlo_arena_free(a);
}

/* The twin of a layer computes the same but for the noise of its own integers. */
static void layers_alone(void)
{
	MloPtqOptions opt = {.range = RANGE_MINMAX};
	MloValue *sum[16];
	MloPtq *at;
	MloGraph *copy;
	const MloTensor *x;
	MloTensor *out[16];
	int n = 1;
	QuantFix f;

	quant_begin(&f, residual, &opt);
	quant_quantise(&f, 64);
	copy = mlo_graph_clone(f.g);
	CU_ASSERT_EQUAL_FATAL(mlo_ptq_alone(f.q, copy, &at, sum, &f.d), MLO_OK);
	for (size_t i = 0; i < at->nlayers; i++)
		if (sum[i]) {
			mlo_graph_output(copy, at->layer[i].sum, NULL);
			mlo_graph_output(copy, sum[i], NULL);
			n += 2;
		}
	CU_ASSERT_EQUAL(n, 7);
	CU_ASSERT_EQUAL(mlo_verify(copy, &f.d), MLO_OK);
	x = random_tensor(f.g->arena, 1, &f.g->inputs[0]->type);
	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(f.g->arena, copy, &x, out, NULL, NULL, &f.d), MLO_OK);
	for (int k = 1; k < n; k += 2)
		for (int64_t i = 0; i < mlo_tensor_elems(out[k]); i++)
			CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_f64(out[k], i), mlo_tensor_f64(out[k + 1], i), 0.1);
	mlo_graph_free(copy);
	quant_end(&f);
}

/* 20 rows are two blocks of 16, the second one padded; a column of zeros; the other product is excluded. */
static void weights_in_blocks(void)
{
	static const char text[] = "graph @g(%x: f32[3,20]) -> (%y) {\n"
				   "  const %w: f32[20,2] = [1, 0, -2, 0, 3, 0, -4, 0, 5, 0, -6, 0, 7, 0, -7, 0, 0.5, "
				   "0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, "
				   "0.7, 0, -0.1, 0, 0.3, 0, 0.2, 0]\n  const %v: f32[2,2] = [1, 2, 3, 4]\n"
				   "  %m = matmul(%x, %w) : f32[3,2] from \"first\"(MatMul, 13)\n"
				   "  %y = matmul(%m, %v) : f32[3,2] from \"second\"(MatMul, 13)\n}\n";
	const char *const exclude[] = {"second", NULL};
	MloPtqOptions opt = {.exclude = exclude};
	const MloNode *n;
	QuantFix f;

	quant_begin(&f, text, &opt);
	for (int bits = 4; bits <= 8; bits += 4) {
		f.out = mlo_graph_clone(f.g);
		CU_ASSERT_EQUAL(mlo_ptq_blocks(f.q, f.out, bits, 16, &f.d), 1);
		CU_ASSERT_EQUAL(mlo_verify(f.out, &f.d), MLO_OK);
		n = f.out->first;
		CU_ASSERT_EQUAL_FATAL(n->op, OP_matmul_nbits);
		CU_ASSERT_STRING_EQUAL(n->out[0]->name, "m");
		CU_ASSERT_EQUAL(mlo_tensor_elems(n->in[2]->data), 4);
		CU_ASSERT_DOUBLE_EQUAL(mlo_tensor_f64(n->in[2]->data, 0), bits == 4 ? 1 : 7.0 / 127, 1e-6);
		CU_ASSERT(quant_noise(&f) < (bits == 4 ? 1e-2 : 1e-4));
		mlo_graph_free(f.out);
	}
	f.out = NULL;
	quant_end(&f);
}

void suite_quant(void)
{
	CU_pSuite s = CU_add_suite("quant", NULL, NULL);

	CU_ADD_TEST(s, extremes_and_counts);
	CU_ADD_TEST(s, histograms_widen);
	CU_ADD_TEST(s, methods_differ_on_outliers);
	CU_ADD_TEST(s, errors_are_real);
	CU_ADD_TEST(s, patterns);
	CU_ADD_TEST(s, whole_regions_are_quantised);
	CU_ADD_TEST(s, transposed_convolutions_are_quantised);
	CU_ADD_TEST(s, excluded_layers_stay_float);
	CU_ADD_TEST(s, movement_shares_a_range);
	CU_ADD_TEST(s, symmetric_and_per_tensor);
	CU_ADD_TEST(s, wide_activations);
	CU_ADD_TEST(s, wide_and_symmetric);
	CU_ADD_TEST(s, odd_channels);
	CU_ADD_TEST(s, equalization_changes_no_result);
	CU_ADD_TEST(s, migration_changes_no_result);
	CU_ADD_TEST(s, migration_by_least_noise);
	CU_ADD_TEST(s, rounding_by_results);
	CU_ADD_TEST(s, rounding_without_the_mean);
	CU_ADD_TEST(s, layers_alone);
	CU_ADD_TEST(s, weights_in_blocks);
}
