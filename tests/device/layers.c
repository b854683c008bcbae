/* tests/device/layers.c -- each kernel of models that are too large to be interpreted as a whole, on true values.
 *
 * usage: layers [--gpu TARGET[:PRECISION]]... [--blocks N] [--every N] [--all] [--list] [NAME...].  Models are those of the list MLOPT_MODEL_LIST
 * (tests/support/models.h).  The reference executor runs the graph as it is when kernels are made of it, and all values are
 * kept; then each kernel gets the true values of what it reads, a few blocks of its grid are run (--blocks, 2; 0: all), and what these
 * wrote is compared.  Kernels that are alike are run once.  Precisions: those of mlopt compile, and int8: quantised by the recorded
 * inputs.  Without --gpu: sm_80, at each precision.  Without --all (or MLOPT_TEST_LEVELS=all) a model runs at one of these, in turn, and
 * each 8th kernel of it alone (--every).  MLOPT_TEST_PART ("I/N"): each Nth model from I on.  --list: what each kernel is and takes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "codegen/program.h"
#include "ir/exec.h"
#include "passes/pass.h"
#include "tests/device/device.h"
#include "tests/support/models.h"
#include "tests/unit/kernel_random.h"
#include "tools/compile.h"

/* Normalised mean squared errors: of float32, and where values are rounded to 16 bits.  Whole numbers are exact, but for ties behind
 * elementary functions. */
#define BOUND 1e-6
#define BOUND_REDUCED 1e-3

enum { MOST = 8, MOST_KERNELS = 1 << 16, UNWRITTEN = 0xa5 };

typedef struct Layers {
	const char *target[MOST], *precision[MOST]; /* precision: NULL is f32 */
	int n, every, part, parts, number, turn;
	bool list, all_runs;
	uint64_t seen[MOST_KERNELS];
	size_t nseen;
	Score score;
	int tried, kernels, bad; /* of all models; of this one */
	double written, all; /* elements */
	double worst;        /* normalised mean squared error */
	long long ties;      /* whole numbers that were rounded the other way (device_tie()) */
} Layers;

/* A model as it is compiled for one target. */
typedef struct Run {
	Layers *x;
	const char *name, *how;
	const MloTarget *t;
	MloArena *a;
	MloGraph *g, *plain; /* plain: what a quantised g was made of, whose weights it shares; or NULL */
	MloTensor **value; /* by id */
	MloLowerCx cx;
	View *view;
	double bound;
	MloDiag d;
} Run;

/* -- values as they lie in memory ------------------------------------------------------------------ */

static size_t elem_bytes(const MloValue *v)
{
	return mlo_elem_bits(mlo_value_elem(v)) / 8;
}

static void put_elem(const MloValue *v, const MloTensor *t, int64_t from, char *to)
{
	MloTensor stored = {.elem = v->layout.stored, .rank = 0, .data = to, .nbytes = elem_bytes(v)};
	float rounded;

	if (v->layout.stored == EL_tf32) {
		rounded = mlo_round_tf32((float)mlo_tensor_f64(t, from));
		memcpy(to, &rounded, sizeof rounded);
	} else if (v->layout.stored) {
		mlo_tensor_set_f64(&stored, 0, mlo_tensor_f64(t, from));
	} else {
		memcpy(to, (const char *)t->data + (size_t)from * elem_bytes(v), elem_bytes(v));
	}
}

/* What v is in memory; `used`: which elements of it mean something, of the others each bit is 1. */
static char *physical(MloArena *a, const MloValue *v, const MloTensor *t, size_t *bytes, bool **used)
{
	const int64_t block = v->layout.block ? v->layout.block : 1, storage = mlo_value_storage(v);
	const int64_t channels = v->layout.block ? t->dim[1] : 1, images = v->layout.block ? t->dim[0] : 1;
	const int64_t blocks = (channels + block - 1) / block, each = mlo_tensor_elems(t) / (images * channels > 0 ? images * channels : 1);
	char *to;

	if (mlo_elem_bits(mlo_value_elem(v)) < 8) { /* several of a byte */
		*bytes = t->nbytes;
		*used = NULL;
		return mlo_dup(a, t->data, t->nbytes);
	}
	*bytes = (size_t)storage * elem_bytes(v);
	to = mlo_alloc(a, *bytes + 1, 64);
	memset(to, 0xff, *bytes);
	*used = MLO_NEWN(a, bool, (size_t)storage + 1);
	for (int64_t n = 0; n < images; n++)
		for (int64_t c = 0; c < channels; c++)
			for (int64_t i = 0; i < each; i++) {
				const int64_t at = ((n * blocks + c / block) * each + i) * block + c % block;

				put_elem(v, t, (n * channels + c) * each + i, to + (size_t)at * elem_bytes(v));
				(*used)[at] = true;
			}
	return to;
}

/* -- a kernel -------------------------------------------------------------------------------------- */

static bool is_new(Run *r, const MloKernel *k)
{
	const uint64_t key = mlo_kernel_key(k) + (uint64_t)r->t->gpu->capability;

	for (size_t i = 0; i < r->x->nseen; i++)
		if (r->x->seen[i] == key)
			return false;
	if (r->x->nseen < MOST_KERNELS)
		r->x->seen[r->x->nseen++] = key;
	return r->x->turn++ % r->x->every == 0;
}

static bool is_tie(Run *r, const MloKernel *k, const MloValue *v, size_t at, const char *got, const char *want)
{
	const MloElem e = mlo_value_elem(v);
	const MloTensor x = {.elem = e, .data = (void *)(uintptr_t)got, .nbytes = elem_bytes(v)};
	const MloTensor y = {.elem = e, .data = (void *)(uintptr_t)want, .nbytes = elem_bytes(v)};
	const bool tie = device_tie(k, v, r->value, (int64_t)at, mlo_tensor_f64(&x, 0), mlo_tensor_f64(&y, 0));

	r->x->ties += tie;
	return tie;
}

/* Elements that the blocks have written; -1: one is wrong, or all of them together are. */
static int64_t compare(Run *r, const MloKernel *k, const MloValue *v, const char *got, const char *want, const bool *used, size_t bytes)
{
	const MloElem e = mlo_value_elem(v);
	const size_t size = used ? elem_bytes(v) : 1;
	double error = 0, sum = 0;
	int64_t n = 0;

	for (size_t i = 0; i < bytes; i += size) {
		bool written = false;

		for (size_t j = 0; j < size; j++)
			written |= (unsigned char)got[i + j] != UNWRITTEN;
		n += written;
		if (!written || (used && !used[i / size]))
			continue;
		if (memcmp(got + i, want + i, size) == 0) {
			sum += mlo_elem_is_float(e) ? pow(kernel_number(e, want + i), 2) : 0;
		} else if (!mlo_elem_is_float(e)) {
			if (used && is_tie(r, k, v, i / size, got + i, want + i))
				continue;
			printf("element %zu of %%%u differs\n", i / size, v->id);
			return -1;
		} else {
			const double x = kernel_number(e, got + i), y = kernel_number(e, want + i);

			if (!isfinite(x) || !isfinite(y)) {
				printf("element %zu of %%%u is %g, expected %g\n", i / size, v->id, x, y);
				return -1;
			}
			error += (x - y) * (x - y);
			sum += y * y;
		}
	}
	if (error > r->x->worst * sum)
		r->x->worst = error / sum;
	if (error > r->bound * sum)
		printf("normalised mean squared error of %%%u: %g of %lld elements\n", v->id, error / sum, (long long)n);
	return error > r->bound * sum ? -1 : n;
}

typedef struct Buffers {
	DeviceBuffer *b;
	char **want;
	bool **used;
} Buffers;

/* False: it takes something that is not there. */
static bool fill(Run *r, MloArena *a, const MloLowered *low, Buffers *m)
{
	const MloKernel *k = low->kernel;

	for (size_t i = 0; i < k->arg.n; i++) {
		const MloBinding *bind = &low->bind[i];
		const enum KArgDir dir = k->arg.items[i].dir;
		const MloTensor *t = bind->packed ? bind->packed : bind->value ? bind->value->data : NULL;

		if (dir == KA_SCRATCH)
			continue;
		if (!bind->packed && bind->value && !t)
			t = r->value[bind->value->id];
		if (!t || dir == KA_SIZES || dir == KA_INOUT)
			return false;
		if (bind->packed) {
			m->b[i].host = (void *)(uintptr_t)t->data;
			m->b[i].bytes = t->nbytes;
			continue;
		}
		m->want[i] = m->b[i].host = physical(a, bind->value, t, &m->b[i].bytes, &m->used[i]);
		if (dir == KA_OUT) {
			m->b[i].host = mlo_alloc(a, m->b[i].bytes + 1, 64);
			memset(m->b[i].host, UNWRITTEN, m->b[i].bytes);
		}
	}
	return true;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Elements that mean something and were written by the blocks that run; -1: not as they should be. */
static int64_t written_by(Run *r, const MloLowered *low, const Buffers *m)
{
	const MloKernel *k = low->kernel;
	bool ok = device_run(k, r->t, k->name, m->b, 0, &r->d);
	int64_t written = 0;

	for (size_t i = 0; i < k->arg.n && ok; i++) {
		int64_t n;

		if (k->arg.items[i].dir != KA_OUT)
			continue;
		n = compare(r, k, low->bind[i].value, m->b[i].host, m->want[i], m->used[i], m->b[i].bytes);
		ok = n >= 0;
		written += ok ? n : 0;
	}
	return ok ? written : -1;
}

static bool right(Run *r, MloArena *a, const MloLowered *low)
{
	const MloKernel *k = low->kernel;
	Buffers m = {MLO_NEWN(a, DeviceBuffer, k->arg.n + 1), MLO_NEWN(a, char *, k->arg.n + 1), MLO_NEWN(a, bool *, k->arg.n + 1)};
	const double start = seconds();
	int64_t written;

	if (!fill(r, a, low, &m)) {
		r->x->score.skipped++;
		return true;
	}
	written = written_by(r, low, &m);
	if (written == 0) { /* these few blocks are about lanes that no channel has */
		char *few = mlo_strdup(a, getenv("PTX_TEST_BLOCKS"));

		setenv("PTX_TEST_BLOCKS", "0", 1);
		written = written_by(r, low, &m);
		setenv("PTX_TEST_BLOCKS", few, 1);
	}
	for (size_t i = 0; i < k->arg.n; i++)
		if (k->arg.items[i].dir == KA_OUT)
			r->x->all += (double)mlo_value_storage(low->bind[i].value);
	if (written == 0)
		printf("the blocks have written nothing\n");
	r->x->written += written > 0 ? (double)written : 0;
	if (r->x->list)
		printf("   %-40s %8.2f M flop, %lld elements, %.1f s\n", k->name, k->flops / 1e6, (long long)written, seconds() - start);
	return written > 0;
}

static void check(Run *r, const MloLowered *low, const MloNode *n)
{
	MloArena *a = mlo_arena_new();

	if (!right(r, a, low)) {
		printf("FAIL %s %s: kernel %s of node '%s' (%s)\n", r->name, r->how, low->kernel->name, mlo_node_name(n),
		       mlo_op_info(n->op)->name);
		mlo_diag_print(&r->d, "layers", stdout);
		r->x->bad++;
	}
	r->x->kernels++;
	r->x->tried++;
	mlo_diag_free(&r->d);
	mlo_arena_free(a);
}

/* -- a model --------------------------------------------------------------------------------------- */

static void group(Run *r, MloNode *first, MloNode *last)
{
	MloLowered low;
	MloTier tier;
	MloStatus st;

	if (first == last && (mlo_op_has(first->op, TR_OBJECT) || !mlo_node_static(first) || (first->nout && view_node_free(r->view, first))))
		return;
	st = program_lower(&r->cx, MLO_TIER_CONTRACT, first, last, &low, &tier);
	if (st == MLO_OK && is_new(r, low.kernel))
		check(r, &low, last);
	for (MloNode *n = first; st != MLO_OK && first != last && n; n = n == last ? NULL : n->next)
		group(r, n, n);
}

static void groups(Run *r)
{
	for (MloNode *n = r->g->first, *last; n; n = last->next) {
		for (last = n; n->group && last->next && last->next->group == n->group;)
			last = last->next;
		group(r, n, last);
	}
}

static void keep(void *user, const MloNode *n, const MloValue *v, const MloTensor *t)
{
	Run *r = user;

	(void)n;
	if (!t->object && t->elem != EL_str)
		r->value[v->id] = mlo_tensor_copy(r->a, t);
}

static MloStatus prepare(Run *r, const Model *m, const char *target, const char *precision)
{
	const MloTargetSet *set = mlo_target_find(target, &r->d);
	const bool int8 = precision && !strcmp(precision, "int8");
	MloPassOptions po = {.limit = -1};
	MloTensor *out[64];

	if (!set || !mlo_precision_find(int8 || !precision ? "f32" : precision, &po.precision))
		return MLO_ERR_TARGET;
	r->t = set->variant[0];
	r->bound = po.precision == EL_f32 ? BOUND : BOUND_REDUCED;
	r->g = mlo_graph_clone(m->g);
	if (int8 && !support_is_quantised(r->g)) {
		r->plain = r->g;
		MLO_TRY(support_quantise(r->plain, (const MloTensor *const *)m->in, &r->g, &r->d));
	}
	if (!r->g)
		return MLO_OK;
	MLO_TRY(mlo_passes_run(r->g, "O2", r->t, &po, &r->d));
	r->value = MLO_NEWN(r->a, MloTensor *, r->g->next_id + 1);
	for (uint32_t i = 0; i < r->g->ninputs; i++)
		r->value[r->g->inputs[i]->id] = m->in[i];
	r->view = views_find(r->a, r->g);
	r->cx = (MloLowerCx){.arena = r->a, .graph = r->g, .target = r->t, .diag = &r->d, .weights = po.precision};
	return mlo_exec_graph(r->a, r->g, (const MloTensor *const *)m->in, out, keep, r, &r->d);
}

static void run_how(Layers *x, const Model *m, const char *target, const char *precision)
{
	char how[64];
	Run r = {.x = x, .name = m->name, .how = how, .a = mlo_arena_new()};
	const double start = seconds();
	MloStatus st;

	snprintf(how, sizeof how, "%s%s%s", target, precision ? ":" : "", precision ? precision : "");
	x->kernels = x->bad = 0;
	x->written = x->all = x->worst = 0;
	x->ties = 0;
	st = prepare(&r, m, target, precision);
	if (st == MLO_OK && r.g)
		groups(&r);
	if (st != MLO_OK) {
		printf("FAIL %s %s: cannot be prepared\n", m->name, how);
		mlo_diag_print(&r.d, "layers", stdout);
		x->bad++;
	} else if (x->kernels && !x->bad) {
		printf("ok %-28s %-12s %d kernels, %.1f %% of their elements, NMSE %.1e, %lld ties, %.1f s\n", m->name, how, x->kernels,
		       x->all > 0 ? 100 * x->written / x->all : 0, x->worst, x->ties, seconds() - start);
		x->score.passed++;
	}
	x->score.failed += x->bad != 0;
	mlo_diag_free(&r.d);
	mlo_graph_free(r.g);
	mlo_graph_free(r.plain);
	mlo_arena_free(r.a);
	fflush(stdout);
}

static void each_model(void *user, const ModelEntry *e)
{
	Layers *x = user;
	MloDiag d = {0};
	Model m;

	if (x->number++ % x->parts != x->part)
		return;
	if (support_load(e, &m, &d) != MLO_OK) {
		printf("FAIL %s: cannot be loaded\n", e->name);
		mlo_diag_print(&d, "layers", stdout);
		x->score.failed++;
	} else {
		for (int i = x->all_runs ? 0 : (x->number - 1) % x->n; i < x->n; i += x->all_runs ? 1 : x->n)
			run_how(x, &m, x->target[i], x->precision[i]);
	}
	mlo_diag_free(&d);
	support_unload(&m);
}

/* -------------------------------------------------------------------------------------------------- */

/* The first NAME's place in argv; 0: they are wrong. */
static int options(Layers *x, int argc, char **argv)
{
	int i = 1;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		char *value = i + 1 < argc ? argv[i + 1] : NULL, *colon = value ? strchr(value, ':') : NULL;

		if (!strcmp(argv[i], "--list") || !strcmp(argv[i], "--all")) {
			x->list |= argv[i][2] == 'l';
			x->all_runs |= argv[i][2] == 'a';
			continue;
		}
		if (value && !strcmp(argv[i], "--blocks")) {
			setenv("PTX_TEST_BLOCKS", value, 1);
		} else if (value && !strcmp(argv[i], "--every") && atoi(value) > 0) {
			x->every = atoi(value);
		} else if (value && !strcmp(argv[i], "--gpu") && x->n < MOST) {
			if (colon)
				*colon++ = 0;
			x->precision[x->n] = colon;
			x->target[x->n++] = value;
		} else {
			return 0;
		}
		i++;
	}
	return i;
}

int main(int argc, char **argv)
{
	static const Layers usual = {.target = {"sm_80", "sm_80", "sm_80", "sm_80", "sm_80"}, .precision = {NULL, "tf32", "bf16", "fp16", "int8"}, .n = 5};
	static Layers x;
	const char *list = getenv("MLOPT_MODEL_LIST"), *levels = getenv("MLOPT_TEST_LEVELS");
	char why[300];
	int first, named;

	x.all_runs = levels && !strcmp(levels, "all");
	setenv("PTX_TEST_BLOCKS", "2", 0);
	first = options(&x, argc, argv);
	named = x.n;
	if (!first || !support_part(&x.part, &x.parts)) {
		fprintf(stderr, "usage: layers [--gpu TARGET[:PRECISION]]... [--blocks N] [--every N] [--all] [--list] [NAME...]\n");
		return 2;
	}
	for (int i = 0; named == 0 && i < usual.n; i++, x.n++)
		x.target[i] = usual.target[i], x.precision[i] = usual.precision[i];
	x.every = x.every ? x.every : x.all_runs ? 1 : 8;
	if (!device_open(why, sizeof why)) {
		printf("SKIP layers: %s\n0 passed, 0 failed, 1 skipped\n", why);
		return 0;
	}
	device_every_kernel = true;
	if (!support_models(list, argv + first, argc - first, each_model, &x, &x.score)) {
		fprintf(stderr, "MLOPT_MODEL_LIST must name the list of models\n");
		return 2;
	}
	device_close();
	if (!x.all_runs)
		printf("SKIP layers: %d of %d kernels, at one precision of %d each (MLOPT_TEST_LEVELS=all: all)\n", x.tried, x.turn, x.n);
	return support_finish(&x.score);
}
