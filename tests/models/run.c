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
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ir/exec.h"
#include "ir/ref/ref_tree.h"
#include "tests/models/exact.h"
#include "tools/compile.h"
#include "tools/npy.h"

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

typedef struct Model {
	const char *name;
	char onnx[5000];
	MloArena *a;
	MloGraph *g;
	MloTensor *in[64], *want[64];
} Model;

static MloTensor *read_npy(Model *m, const char *path, MloDiag *d)
{
	MloTensor *t = NULL;

	return mlo_npy_read(m->a, path, &t, d) == MLO_OK ? t : NULL;
}

/* Inputs bind the dimensions that the model leaves open. */
static MloStatus load_bound(Model *m, const char *const *names, size_t n, MloDiag *d)
{
	const char **shape = MLO_NEWN(m->a, const char *, n + 1);
	MloLoadOptions opt = {.shapes = shape, .nshapes = n};

	for (size_t i = 0; i < n; i++) {
		MloStr s = {.arena = m->a};

		mlo_str_add(&s, "%s=", names[i]);
		for (int k = 0; k < m->in[i]->rank; k++)
			mlo_str_add(&s, "%s%lld", k ? "x" : "", (long long)m->in[i]->dim[k]);
		shape[i] = mlo_str_text(&s);
	}
	return mlo_load_model(m->onnx, &opt, &m->g, d);
}

static MloStatus load_folder(Model *m, const char *folder, MloDiag *d)
{
	char path[5000];
	json_error_t je;
	json_t *meta, *in, *out, *v;
	const char *key, *names[64];
	MloTensor *t[64];
	size_t n = 0;
	MloStatus st;

	snprintf(path, sizeof path, "%s/meta.json", folder);
	snprintf(m->onnx, sizeof m->onnx, "%s/model.onnx", folder);
	meta = json_load_file(path, 0, &je);
	in = json_object_get(meta, "inputs");
	out = json_object_get(meta, "outputs");
	json_object_foreach(in, key, v) {
		snprintf(path, sizeof path, "%s/%s", folder, json_string_value(v));
		names[n] = key;
		m->in[n] = t[n] = read_npy(m, path, d);
		if (!t[n++])
			return MLO_ERR_IO;
	}
	st = load_bound(m, names, n, d);
	for (uint32_t i = 0; st == MLO_OK && i < m->g->ninputs; i++)
		for (size_t k = 0; k < n; k++)
			if (!strcmp(names[k], m->g->inputs[i]->name))
				m->in[i] = t[k];
	for (uint32_t i = 0; st == MLO_OK && i < m->g->noutputs; i++) {
		const char *file = json_string_value(json_object_get(out, m->g->output_names[i]));

		snprintf(path, sizeof path, "%s/%s", folder, file ? file : "");
		m->want[i] = read_npy(m, path, d);
		if (!m->want[i])
			st = MLO_ERR_IO;
	}
	json_decref(meta);
	return st;
}

static MloStatus load_zoo(Model *m, const char *stem, MloDiag *d)
{
	char path[5000];
	MloLoadOptions opt = {.quiet = true};

	snprintf(m->onnx, sizeof m->onnx, "%s.onnx", stem);
	MLO_TRY(mlo_load_model(m->onnx, &opt, &m->g, d));
	for (uint32_t i = 0; i < m->g->ninputs; i++) {
		snprintf(path, sizeof path, "%s.in%u.npy", stem, i);
		if (!(m->in[i] = read_npy(m, path, d)))
			return MLO_ERR_IO;
	}
	for (uint32_t i = 0; i < m->g->noutputs; i++) {
		snprintf(path, sizeof path, "%s.out%u.npy", stem, i);
		if (!(m->want[i] = read_npy(m, path, d)))
			return MLO_ERR_IO;
	}
	return MLO_OK;
}

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

/* Where a model of the list is, and what its line says. */
typedef struct Entry {
	const char *name, *path;
	bool zoo, int8;
} Entry;

static void run_everywhere(Model *m, const Entry *e, ArmLevels *arm, Turn *turn, Score *score)
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

static void run_model(const Entry *e, const Gpus *gpus, ArmLevels *arm, Turn *turn, Score *score)
{
	Model m = {.name = e->name, .a = mlo_arena_new()};
	MloDiag d = {0};

	if ((e->zoo ? load_zoo(&m, e->path, &d) : load_folder(&m, e->path, &d)) != MLO_OK) {
		printf("FAIL %s: cannot be loaded\n", e->name);
		mlo_diag_print(&d, "models", stdout);
		score->failed++;
	} else if (gpus->n) {
		run_gpus(&m, gpus, arm->scratch, score);
	} else {
		run_everywhere(&m, e, arm, turn, score);
	}
	mlo_diag_free(&d);
	mlo_graph_free(m.g);
	mlo_arena_free(m.a);
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strstr(name, argv[i]))
			return true;
	return argc == 0;
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

static void run_list(FILE *f, char **names, int n, const Gpus *gpus, ArmLevels *arm, Turn *turn, Score *score)
{
	const char *models = getenv("MLOPT_MODELS"), *zoo = getenv("MLOPT_ZOO");
	char line[256], path[4096];

	while (fgets(line, sizeof line, f)) {
		Entry e = {.name = line, .path = path, .zoo = !strchr(line, '/'), .int8 = strstr(line, " int8")};
		const char *folder = e.zoo ? zoo : models;

		line[strcspn(line, " \n")] = 0;
		if (!*line || *line == '#' || !wanted(line, n, names))
			continue;
		snprintf(path, sizeof path, "%s/%s%s", folder ? folder : "", line, e.zoo ? ".onnx" : "/model.onnx");
		if (!folder || access(path, R_OK)) {
			printf("SKIP %s: not in %s\n", line, e.zoo ? "MLOPT_ZOO" : "MLOPT_MODELS");
			score->skipped++;
			continue;
		}
		snprintf(path, sizeof path, "%s/%s", folder, line);
		run_model(&e, gpus, arm, turn, score);
	}
}

int main(int argc, char **argv)
{
	static const char *const qemu[] = {"qemu-aarch64-static", "qemu-aarch64", NULL};
	const char *list = getenv("MLOPT_MODEL_LIST"), *emulator = support_tool("MLOPT_TEST_QEMU", qemu);
	char scratch[] = "/tmp/mlopt-models-XXXXXX", cmd[128];
	ArmLevels arm = {.emulator = emulator, .runner = getenv("MLOPT_TEST_RUNNER"), .scratch = scratch};
	Turn turn = {.emulated = *emulator && arm.runner && *arm.runner};
	Gpus gpus = {.macs = INFINITY};
	Score score = {0};
	int first = options(&gpus, argc, argv);
	FILE *f = list ? fopen(list, "r") : NULL;

	if (!first || !f || !mkdtemp(scratch)) {
		fprintf(stderr, "usage: run [--gpu TARGET[:PRECISION]]... [--macs N] [NAME...]; "
		                "MLOPT_MODEL_LIST must name the list of models\n");
		return 2;
	}
	run_list(f, argv + first, argc - first, &gpus, &arm, &turn, &score);
	fclose(f);
	say_left_out(&gpus, &turn);
	score.skipped += turn.left_out;
	snprintf(cmd, sizeof cmd, "rm -rf %s", scratch);
	if (system(cmd))
		fprintf(stderr, "cannot remove %s\n", scratch);
	return support_finish(&score);
}
