/* tests/gpu/assemble.c -- every kernel of every model is taken by NVIDIA's assembler, for each capability, and contractions keep
 * what they work on in registers.
 *
 * usage: assemble [--target NAME]... [--precision NAME]... [--all] [--kernels] [NAME...].  Models are those of the list
 * MLOPT_MODEL_LIST (tests/support/models.h), with the sizes of what was recorded, and once more with those that they leave open, if any.
 * Precisions: those of mlopt compile, and int8: quantised, with ranges that nobody has measured, which code does not depend on.  Without
 * --all (or MLOPT_TEST_LEVELS=all) small models alone, each for two targets, each of these at one precision, in turn.  --kernels: a line
 * for each of them.  MLOPT_TEST_PART ("I/N"): each Nth model from I on.  Kernels that are equal are assembled once; MLOPT_ASSEMBLED names a
 * file that keeps what was found for the next run, which then assembles what has changed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/assembled.h"
#include "tests/support/models.h"
#include "tools/compile.h"

enum { MOST = 8, SMALL_NODES = 90 };

typedef struct Assemble {
	const char *target[MOST], *precision[MOST];
	int ntargets, nprecisions, part, parts, number, turn;
	bool all, kernels;
	const char *model, *cache;
	Assembled known;
	size_t nmodules, nkernels;
	Score score;
	/* of the one at hand */
	const MloTarget *t;
	const MloVariant *v;
	const char *how;
	size_t entries;
	bool bad;
	MloDiag d;
} Assemble;

/* -- a module -------------------------------------------------------------------------------------- */

static const MloStepInfo *step_of(const MloVariant *v, const char *entry)
{
	char name[64];

	for (size_t i = 0; i < v->nsteps; i++) {
		snprintf(name, sizeof name, "k%016llx", (unsigned long long)v->steps[i].key);
		if (!strcmp(name, entry))
			return &v->steps[i];
	}
	return NULL;
}

static void print_entry(const char *what, const Assemble *x, const MloStepInfo *s, const MloPtxasEntry *e)
{
	printf("%s %s %s: %s (%s, %s of %s, %s): %u bytes spilled, %u of stack, %u registers, %u threads\n",
	       what, x->model, x->how, e->name, mlo_tier_name[s->tier], s->name, s->shape, s->schedule,
	       e->spilled, e->stack, e->registers, s->launch->threads);
}

static void check_entry(void *user, const MloPtxasEntry *e)
{
	Assemble *x = user;
	const MloStepInfo *s = step_of(x->v, e->name);

	x->nkernels++;
	x->entries++;
	if (!s) {
		printf("FAIL %s %s: %s is the kernel of no step\n", x->model, x->how, e->name);
		x->bad = true;
	} else if (s->tier == MLO_TIER_CONTRACT && e->spilled) {
		print_entry("FAIL", x, s, e);
		x->bad = true;
	} else if (x->kernels) {
		print_entry("kernel", x, s, e);
	}
}

static void assemble(void *user, const MloVariant *v)
{
	Assemble *x = user;

	if (!v->nkernels)
		return;
	x->v = v;
	x->entries = 0;
	x->nmodules++;
	if (assembled_module(&x->known, x->t, &v->code, check_entry, x, &x->d) != MLO_OK) {
		x->bad = true;
	} else if (x->entries != v->nkernels) {
		printf("FAIL %s %s: %zu kernels, ptxas says of %zu\n", x->model, x->how, v->nkernels,
		       x->entries);
		x->bad = true;
	}
}

/* -- a model --------------------------------------------------------------------------------------- */

static bool is_open(const MloGraph *g)
{
	for (uint32_t i = 0; i < g->ninputs; i++)
		if (!mlo_type_static(&g->inputs[i]->type))
			return true;
	return false;
}

static void compile(Assemble *x, const MloGraph *g, const char *target, const char *precision)
{
	MloptOptions opt = MLOPT_OPTIONS_INIT;
	const MloCompileHooks hooks = {.made = assemble, .user = x};
	MloArena *a = mlo_arena_new();
	const MloTargetSet *set = mlo_target_find(target, &x->d);
	const size_t before = x->nkernels, ran = x->known.ran;
	MloStatus st = MLO_ERR_TARGET;
	char how[64];
	MloCompiled c;

	snprintf(how, sizeof how, "%s:%s%s", target, precision, is_open(g) ? ":open" : "");
	x->how = how;
	x->bad = false;
	opt.target = target;
	opt.precision = !strcmp(precision, "int8") ? "f32" : precision;
	opt.cache_dir = x->cache;
	if (set) {
		x->t = set->variant[0];
		st = mlo_compile_hooked(a, g, &opt, &hooks, NULL, &c, &x->d);
	}
	if (st == MLO_ERR_UNSUPPORTED && is_open(g)) {
		printf("SKIP %s %s: it compiles with known sizes only\n", x->model, how);
		x->score.skipped++;
	} else if (x->bad || st != MLO_OK) {
		printf("FAIL %s %s\n", x->model, how);
		mlo_diag_print(&x->d, "assemble", stdout);
		x->score.failed++;
	} else if (x->nkernels > before) {
		printf("ok %-28s %-17s %zu kernels, %zu of them new\n", x->model, how, x->nkernels - before,
		       x->known.ran - ran);
		x->score.passed++;
	}
	mlo_diag_free(&x->d);
	mlo_arena_free(a);
	fflush(stdout);
}

static void compile_how(Assemble *x, const MloGraph *g, int target, int precision)
{
	const char *p = x->precision[precision];
	const MloTargetSet *set = mlo_target_find(x->target[target], &x->d);
	MloGraph *copy = NULL, *quantised = NULL;

	if (!strcmp(p, "tf32") && set && !mlo_target_tf32(set->variant[0]))
		return; /* it is f32 there */
	if (strcmp(p, "int8")) {
		compile(x, g, x->target[target], p);
		return;
	}
	copy = support_is_quantised(g) ? NULL : mlo_graph_clone(g);
	if (copy && support_quantise(copy, NULL, &quantised, &x->d) != MLO_OK) {
		printf("FAIL %s cannot be quantised\n", x->model);
		mlo_diag_print(&x->d, "assemble", stdout);
		x->score.failed++;
	} else if (quantised) {
		compile(x, quantised, x->target[target], p);
	}
	mlo_graph_free(quantised);
	mlo_graph_free(copy);
}

static size_t count_nodes(const MloGraph *g)
{
	size_t n = 0;

	for (const MloNode *k = g->first; k; k = k->next)
		n++;
	return n;
}

static void compile_all(Assemble *x, const MloGraph *g)
{
	for (int t = 0; t < x->ntargets; t++)
		for (int p = 0; p < x->nprecisions; p++)
			compile_how(x, g, t, p);
}

/* `open`: the same model with open sizes, or NULL. */
static void compile_model(Assemble *x, const MloGraph *g, const MloGraph *open)
{
	if (x->all) {
		compile_all(x, g);
		if (open)
			compile_all(x, open);
	} else if (count_nodes(g) > SMALL_NODES) {
		x->score.skipped++;
	} else {
		const int turn = x->turn++, precision = turn + turn / x->ntargets;

		for (int i = 0; i < 2 && turn % x->parts == x->part; i++)
			compile_how(x, open && (turn + i) % 2 ? open : g, (turn + 2 * i) % x->ntargets, (precision + i) % x->nprecisions);
	}
}

static void each_model(void *user, const ModelEntry *e)
{
	Assemble *x = user;
	const MloLoadOptions keep = {.keep_symbols = true, .quiet = true};
	MloGraph *open = NULL;
	Model m;

	if (x->all && x->number++ % x->parts != x->part)
		return;
	x->model = e->name;
	if (support_load(e, &m, &x->d) != MLO_OK || mlo_load_model(m.onnx, &keep, &open, &x->d) != MLO_OK) {
		printf("FAIL %s: cannot be loaded\n", e->name);
		mlo_diag_print(&x->d, "assemble", stdout);
		x->score.failed++;
	} else {
		compile_model(x, m.g, is_open(open) ? open : NULL);
	}
	mlo_diag_free(&x->d);
	mlo_graph_free(open);
	support_unload(&m);
}

/* -------------------------------------------------------------------------------------------------- */

/* The first NAME's place in argv; 0: they are wrong. */
static int options(Assemble *x, int argc, char **argv)
{
	int i = 1;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (!strcmp(argv[i], "--all"))
			x->all = true;
		else if (!strcmp(argv[i], "--kernels"))
			x->kernels = true;
		else if (!strcmp(argv[i], "--target") && i + 1 < argc && x->ntargets < MOST)
			x->target[x->ntargets++] = argv[++i];
		else if (!strcmp(argv[i], "--precision") && i + 1 < argc && x->nprecisions < MOST)
			x->precision[x->nprecisions++] = argv[++i];
		else
			return 0;
	}
	return i;
}

static bool take_environment(Assemble *x)
{
	static const char *const targets[] = {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_90a"};
	static const char *const precisions[] = {"f32", "tf32", "bf16", "fp16", "int8"};
	const char *levels = getenv("MLOPT_TEST_LEVELS");

	x->all |= levels && !strcmp(levels, "all");
	if (!x->ntargets)
		memcpy(x->target, targets, sizeof targets), x->ntargets = sizeof targets / sizeof *targets;
	if (!x->nprecisions)
		memcpy(x->precision, precisions, sizeof precisions), x->nprecisions = sizeof precisions / sizeof *precisions;
	return support_part(&x->part, &x->parts);
}

int main(int argc, char **argv)
{
	static Assemble x;
	char cache[] = "/tmp/mlopt-assemble-XXXXXX", cmd[128];
	const int first = options(&x, argc, argv);

	if (!mlo_ptxas_found()) {
		printf("SKIP kernels of GPUs are not assembled: no ptxas (CUDA's toolkit; MLOPT_PTXAS)\n0 passed, 0 failed, 1 skipped\n");
		return 0;
	}
	if (!first || !take_environment(&x) || !mkdtemp(cache)) {
		fprintf(stderr, "usage: assemble [--target NAME]... [--precision NAME]... [--all] [--kernels] [NAME...]\n");
		return 2;
	}
	x.cache = cache;
	if (assembled_open(&x.known, getenv("MLOPT_ASSEMBLED"), &x.d) != MLO_OK) {
		mlo_diag_print(&x.d, "assemble", stderr);
		return 2;
	}
	if (!support_models(getenv("MLOPT_MODEL_LIST"), argv + first, argc - first, each_model, &x, &x.score)) {
		fprintf(stderr, "MLOPT_MODEL_LIST must name the list of models\n");
		return 2;
	}
	printf("%zu kernels in %zu modules, %zu of them assembled, the others equal to one that was\n", x.nkernels, x.nmodules,
	       x.known.ran);
	if (!x.all)
		printf("SKIP models of more than %d nodes, and all but two targets and precisions of the others (MLOPT_TEST_LEVELS=all: all)\n",
		       SMALL_NODES);
	snprintf(cmd, sizeof cmd, "rm -rf %s", cache);
	if (system(cmd))
		fprintf(stderr, "cannot remove %s\n", cache);
	assembled_close(&x.known);
	return support_finish(&x.score);
}
