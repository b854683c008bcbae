/* tests/models/run.c -- whole models against outputs recorded with another runtime.
 *
 * usage: run [--gpu TARGET[:PRECISION]]... [--macs N] [NAME...].  Looks for the folders of tests/models/models.list (GROUP/NAME, each with
 * model.onnx, meta.json, in/, out/) in $MLOPT_MODELS, and for NAME.onnx with NAME.in<i>.npy and
 * NAME.out<i>.npy in $MLOPT_ZOO.  Each model runs natively from memory on one thread, from a file on
 * two, on a GPU where there is a driver, of the tests or not, and at levels of Arm (tests/support/levels.def) where the emulator is there: small models at all of them,
 * others at one, in turn; all models at those that $MLOPT_TEST_LEVELS names, or at `all`.  Forests also run on rows
 * that lie on their thresholds, against the reference executor.  A second word on a line, `int8`: the model's
 * quantised form is exact, too (exact.h).
 * With --gpu models run for that target only, by the driver that is found, --macs: those with no more multiply-adds
 * than N. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ir/exec.h"
#include "ir/ref/ref_tree.h"
#include "tests/models/exact.h"
#include "tests/support/models.h"
#include "tools/compile.h"

/* The bounds at float32 and at reduced precision: normalised mean squared error of each output. */
#define BOUND 1e-8
#define BOUND_REDUCED 1e-3

/* Multiply-adds of a model that is worth emulating at all levels of Arm, and on a GPU at reduced precision, too. */
#define SMALL 2e7
/* Of one that is worth interpreting the code of a GPU for. */
#define SMALL_ON_GPU 1e8

enum { MAX_GPUS = 8 };

/* GPUs to run models for. */
typedef struct Gpus {
	const char *target[MAX_GPUS], *precision[MAX_GPUS]; /* precision: NULL is f32 */
	int n;
	double macs; /* of models that are worth it */
} Gpus;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_how(Model *m, const char *how_name, const RunHow *how, Score *score)
{
	MloDiag d = {0};
	MloTensor *out[64];
	double worst = 0, start = seconds(), bound = how->precision && strcmp(how->precision, "f32") ? BOUND_REDUCED : BOUND;
	MloStatus st = support_run(m->a, m->g, how, (const MloTensor *const *)m->in, out, &d);

	for (uint32_t i = 0; st == MLO_OK && i < m->g->noutputs; i++) {
		double e = support_nmse(out[i], m->want[i]);

		worst = e > worst ? e : worst;
	}
	if (st == MLO_OK && worst <= bound) {
		printf("ok %-28s %-21s NMSE %.1e  %.1f s\n", m->name, how_name, worst, seconds() - start);
		score->passed++;
	} else {
		printf("FAIL %-26s %-21s NMSE %.1e\n", m->name, how_name, worst);
		mlo_diag_print(&d, "models", stdout);
		score->failed++;
	}
	mlo_diag_free(&d);
	fflush(stdout);
}

/* -- forests: rows on thresholds -------------------------------------------------------------------- */

static bool tests_feature(const int32_t *node, int64_t feature)
{
	return node[TREE_MODE] != TREE_LEAF && node[TREE_FEATURE] == feature;
}

/* Features of all rows become thresholds of nodes that test them, or the numbers right below and above. */
static void put_on_splits(const MloNode *n, MloTensor *x)
{
	const MloTensor *nodes = n->in[TREE_NODES]->data, *splits = n->in[TREE_SPLITS]->data;
	float *v = (float *)(uintptr_t)x->data;
	int64_t features = x->dim[1], count = nodes->dim[0], at = 0;

	for (int64_t i = 0; i < x->dim[0] * features; i++)
		for (int64_t tries = 0; tries < count; tries++) {
			at = (at + 1) % count;
			if (!tests_feature((const int32_t *)nodes->data + at * TREE_COLUMNS, i % features))
				continue;
			v[i] = (float)mlo_tensor_f64(splits, at);
			v[i] = i % 3 == 1 ? nextafterf(v[i], -INFINITY) : i % 3 == 2 ? nextafterf(v[i], INFINITY) : v[i];
			break;
		}
}

static MloNode *find_forest(const Model *m)
{
	MloNode *n = m->g->first;

	while (n && n->op != OP_tree_ensemble)
		n = n->next;
	return n && m->g->ninputs == 1 && n->in[TREE_X] == m->g->inputs[0] && m->in[0]->elem == EL_f32 ? n : NULL;
}

/* The reference executor's answers on such rows take the place of the recorded ones. */
static bool take_splits(Model *m)
{
	MloNode *n = find_forest(m);
	MloDiag d = {0};
	MloTensor *x;
	bool ok;

	if (!n)
		return false;
	x = mlo_tensor_new(m->a, EL_f32, 2, m->in[0]->dim);
	put_on_splits(n, x);
	m->in[0] = x;
	memset(m->want, 0, sizeof m->want);
	ok = mlo_exec_graph(m->a, m->g, (const MloTensor *const *)m->in, m->want, NULL, NULL, &d) == MLO_OK;
	mlo_diag_print(&d, "models", stdout);
	mlo_diag_free(&d);
	return ok;
}

/* -- levels of Arm ---------------------------------------------------------------------------------- */

typedef struct Turn {
	bool emulated; /* else no model runs at any */
	int last;      /* level that a model has run at alone */
	int left_out;  /* runs */
} Turn;

static bool is_full(int level)
{
	return strcmp(support_levels[level].precision, "f32") == 0;
}

static unsigned named_levels(const char *names)
{
	unsigned levels = 0;

	for (int i = 0; i < support_nlevels; i++)
		levels |= (unsigned)(strcmp(names, "all") == 0 || strstr(names, support_levels[i].name)) << i;
	return levels;
}

/* Those that are asked for, all levels, or one of full precision: the next one at each call.  (Products of bf16 take the
 * emulator ten times as long.) */
static unsigned choose_levels(const Model *m, int *turn)
{
	const char *names = getenv("MLOPT_TEST_LEVELS");

	if (names || mlo_graph_macs(m->g) < SMALL)
		return named_levels(names ? names : "all");
	do
		*turn = (*turn + 1) % support_nlevels;
	while (!is_full(*turn));
	return 1u << *turn;
}

static void run_levels(Model *m, const ArmLevels *arm, Score *score)
{
	for (int i = 0; i < support_nlevels; i++) {
		RunHow how = support_emulated(arm, i);

		if (arm->which >> i & 1)
			run_how(m, support_levels[i].name, &how, score);
	}
}

static void run_gpus(Model *m, const Gpus *gpus, const char *scratch, Score *score)
{
	const bool left_out = support_no_gpu() || mlo_graph_macs(m->g) > gpus->macs;

	score->skipped += left_out ? gpus->n : 0;
	for (int i = 0; i < gpus->n && !left_out; i++) {
		const char *p = gpus->precision[i];
		const RunHow how = {.target = gpus->target[i], .precision = p, .level = 2, .threads = 1,
		                    .scratch = scratch};

		run_how(m, mlo_sprintf(m->a, "%s%s%s", how.target, p ? ":" : "", p ? p : ""), &how, score);
	}
}

/* The levels that the model has not been run at. */
static int left_out(unsigned levels)
{
	int n = 0;

	for (int i = 0; i < support_nlevels; i++)
		n += !(levels >> i & 1);
	return n;
}

static void run_everywhere(Model *m, const ModelEntry *e, ArmLevels *arm, Turn *turn, Score *score)
{
	static const Gpus gpus = {.target = {"sm_80"}, .n = 1, .macs = SMALL_ON_GPU};
	static const Gpus reduced = {.target = {"sm_80"}, .precision = {"tf32"}, .n = 1, .macs = SMALL};
	RunHow native = {.target = "native", .level = 2, .threads = 1, .scratch = arm->scratch};
	RunHow file = {.target = "native", .level = 2, .threads = 2, .file = true, .scratch = arm->scratch};

	run_how(m, "native", &native, score);
	run_how(m, "file-2-threads", &file, score);
	arm->which = turn->emulated ? choose_levels(m, &turn->last) : 0;
	run_levels(m, arm, score);
	run_gpus(m, &gpus, arm->scratch, score);
	run_gpus(m, &reduced, arm->scratch, score);
	turn->left_out += left_out(arm->which);
	if (take_splits(m))
		run_how(m, "on-thresholds", &native, score);
	if (e->int8)
		exact_run(e->name, m->g, (const MloTensor *const *)m->in, arm, score);
}

/* Where models run. */
typedef struct Run {
	Gpus gpus;
	ArmLevels arm;
	Turn turn;
	Score score;
} Run;

static void run_model(void *user, const ModelEntry *e)
{
	Run *r = user;
	MloDiag d = {0};
	Model m;

	if (support_load(e, &m, &d) != MLO_OK) {
		printf("FAIL %s: cannot be loaded\n", e->name);
		mlo_diag_print(&d, "models", stdout);
		r->score.failed++;
	} else if (r->gpus.n) {
		run_gpus(&m, &r->gpus, r->arm.scratch, &r->score);
	} else {
		run_everywhere(&m, e, &r->arm, &r->turn, &r->score);
	}
	mlo_diag_free(&d);
	support_unload(&m);
}

/* The first NAME's place in argv; 0: they are wrong. */
static int options(Gpus *gpus, int argc, char **argv)
{
	int i = 1;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		char *value = i + 1 < argc ? argv[i + 1] : NULL, *colon;

		if (value && strcmp(argv[i], "--macs") == 0) {
			gpus->macs = atof(value);
		} else if (value && strcmp(argv[i], "--gpu") == 0 && gpus->n < MAX_GPUS) {
			colon = strchr(value, ':');
			if (colon)
				*colon++ = 0;
			gpus->precision[gpus->n] = colon;
			gpus->target[gpus->n++] = value;
		} else {
			return 0;
		}
	}
	return i;
}

static void say_left_out(const Gpus *gpus, const Turn *turn)
{
	const char *none = support_no_gpu();

	if (none)
		printf("SKIP all models on GPUs: %s\n", none);
	else
		printf("SKIP models with more than %g multiply-adds on GPUs\n", gpus->n ? gpus->macs : SMALL_ON_GPU);
	if (turn->left_out)
		printf("SKIP %d runs at levels of Arm: %s\n", turn->left_out,
		       turn->emulated ? "models that are not small run at one each (MLOPT_TEST_LEVELS=all: at all)"
		                     : "no emulator, or no cross compiler built the runner");
}

int main(int argc, char **argv)
{
	static const char *const qemu[] = {"qemu-aarch64-static", "qemu-aarch64", NULL};
	const char *list = getenv("MLOPT_MODEL_LIST"), *emulator = support_tool("MLOPT_TEST_QEMU", qemu);
	char scratch[] = "/tmp/mlopt-models-XXXXXX", cmd[128];
	Run r = {.gpus.macs = INFINITY,
	         .arm = {.emulator = emulator, .runner = getenv("MLOPT_TEST_RUNNER"), .scratch = scratch}};
	int first = options(&r.gpus, argc, argv);

	r.turn.emulated = *emulator && r.arm.runner && *r.arm.runner;
	if (!first || !mkdtemp(scratch) || !support_models(list, argv + first, argc - first, run_model, &r, &r.score)) {
		fprintf(stderr, "usage: run [--gpu TARGET[:PRECISION]]... [--macs N] [NAME...]; "
		                "MLOPT_MODEL_LIST must name the list of models\n");
		return 2;
	}
	say_left_out(&r.gpus, &r.turn);
	r.score.skipped += r.turn.left_out;
	snprintf(cmd, sizeof cmd, "rm -rf %s", scratch);
	if (system(cmd))
		fprintf(stderr, "cannot remove %s\n", scratch);
	return support_finish(&r.score);
}
