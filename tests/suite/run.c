/* tests/suite/run.c -- every case (text IR with seeded random inputs) on every runtime.
 *
 * usage: run FOLDER [CASE [RUNTIME]]; environment: MLOPT_TEST_RUNNER (the emulated program), MLOPT_TEST_PART ("I/N"),
 * MLOPT_TEST_LEVELS ("all": each case on each emulated machine, not on half of them).
 * The oracle is the reference executor on the graph as written. A line `# input NAME LO HI` in a case
 * bounds the random values of an input.  A line `# size NAME N...` says how large an open dimension is; of
 * several numbers each is a run of its own (all lines in step, shorter ones staying at their last).  A line
 * `# tiles N` says how many kernels use a matrix unit where there is one, `# sparse N` how many leave out weights that are zero on
 * the same target at full precision, at least. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/compile.h"
#include "ir/exec.h"
#include "passes/pass.h"
#include "tests/support/support.h"
#include "tests/unit/kernel_fixture.h"

typedef enum Kind { TEXT, INTERP, TILES, MEMORY, FILE_, EMULATED, GPU } Kind;
#define FILE FILE_
typedef struct Runtime {
	const char *name;
	Kind kind;
	const char *target, *variant;
	int level, threads;
	const char *precision, *cpu;
} Runtime;
static const Runtime runtimes[] = {
#define RUNTIME(...) {__VA_ARGS__},
#include "tests/suite/runtimes.def"
};
#undef FILE
enum { NRUNTIMES = sizeof runtimes / sizeof *runtimes };

typedef struct Case {
	const char *name;
	MloArena *a;
	MloGraph *g;
	const char *text;
	size_t n;
	int round;             /* which of the sizes */
	const MloTensor *in[64];
	MloTensor *want[64];
	struct Used { int tiles, sparse; } used; /* kernels that used the matrix unit, and those of sparse weights */
} Case;

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* Bounds from the case's comments; default -2..2. */
static void bounds(const Case *c, const char *input, double *lo, double *hi)
{
	const char *p = c->text;
	char name[128];

	*lo = -2;
	*hi = 2;
	while ((p = strstr(p, "# input "))) {
		if (sscanf(p, "# input %127s %lf %lf", name, lo, hi) == 3 && !strcmp(name, input))
			return;
		*lo = -2;
		*hi = 2;
		p++;
	}
}

static int64_t size_number(void *user, int64_t k)
{
	return k;
}

/* The numbers of a line `# size NAME N...`: how many, and the one of that round. */
static int size_line(const char *p, char *name, int round, int64_t *n)
{
	char line[128], *at = line, *end;
	int count = 0, used = 0;

	snprintf(line, sizeof line, "%.*s", (int)strcspn(p, "\n"), p);
	if (sscanf(line, "# size %127s%n", name, &used) != 1)
		return 0;
	for (at += used;; at = end) {
		long long v = strtoll(at, &end, 10);

		if (end == at)
			return count;
		if (count++ <= round)
			*n = v;
	}
}

/* From the case's comments; default 3. */
static int64_t size_symbol(void *user, const char *name)
{
	const Case *c = user;
	char found[128];
	int64_t n;

	for (const char *p = c->text; (p = strstr(p, "# size ")); p++)
		if (size_line(p, found, c->round, &n) && !strcmp(found, name))
			return n;
	return 3;
}

static int rounds(const char *text)
{
	char name[128];
	int64_t n;
	int most = 1;

	for (const char *p = text; (p = strstr(p, "# size ")); p++) {
		int count = size_line(p, name, 0, &n);

		most = count > most ? count : most;
	}
	return most;
}

static int64_t size_combine(void *user, char op, int64_t a, int64_t b)
{
	return op == '+' ? a + b : op == '*' ? a * b : op == '/' ? a / b : a > b ? a : b;
}

static int64_t size_of(const Case *c, MloDim d)
{
	return mlo_dim_walk(d, &(MloDimWalk){size_number, size_symbol, size_combine}, (void *)c);
}

static MloTensor *random_input(const Case *c, const MloValue *v, uint64_t *seed)
{
	int64_t dims[MLO_MAX_RANK];
	MloTensor *t;
	double lo, hi;

	for (int d = 0; d < v->type.rank; d++)
		dims[d] = size_of(c, v->type.dim[d]);
	t = mlo_tensor_new(c->a, v->type.elem, v->type.rank, dims);
	bounds(c, v->name, &lo, &hi);
	for (int64_t i = 0; i < mlo_tensor_elems(t); i++) {
		double u = (double)(next_random(seed) >> 11) / 9007199254740992.0, x = lo + u * (hi - lo);

		mlo_tensor_set_f64(t, i, mlo_elem_is_float(t->elem) ? x : floor(lo + u * (hi - lo + 0.999)));
	}
	return t;
}

static char *read_text(MloArena *a, const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	char *p = mlo_alloc(a, 1 << 20, 1);

	*n = f ? fread(p, 1, (1 << 20) - 1, f) : 0;
	if (f)
		fclose(f);
	return p;
}

/* g with the sizes of the case, on the reference executor. */
static MloStatus reference(Case *c, MloGraph *g, MloTensor **out, MloDiag *d)
{
	for (uint32_t i = 0; i < g->ninputs; i++)
		for (int k = 0; k < g->inputs[i]->type.rank; k++)
			g->inputs[i]->type.dim[k] = mlo_dim(c->in[i]->dim[k]);
	MLO_TRY(mlo_infer_graph(g, d));
	return mlo_exec_graph(c->a, g, c->in, out, NULL, NULL, d);
}

static MloStatus oracle(Case *c, MloDiag *d)
{
	MloGraph *g = mlo_parse(c->text, c->n, NULL, NULL, d);
	MloStatus st = g ? reference(c, g, c->want, d) : MLO_ERR_MODEL;

	mlo_graph_free(g);
	return st;
}

static MloStatus open_case(Case *c, const char *path, MloDiag *d)
{
	uint64_t seed = 0x9e3779b97f4a7c15u;

	c->a = mlo_arena_new();
	c->text = read_text(c->a, path, &c->n);
	c->g = mlo_parse(c->text, c->n, NULL, NULL, d);
	if (!c->g)
		return MLO_ERR_MODEL;
	MLO_TRY(mlo_infer_graph(c->g, d));
	MLO_TRY(mlo_verify(c->g, d));
	for (uint32_t i = 0; i < c->g->ninputs; i++)
		c->in[i] = random_input(c, c->g->inputs[i], &seed);
	return oracle(c, d);
}

/* -- runtimes ------------------------------------------------------------------------------- */

static MloStatus run_text(Case *c, MloTensor **out, MloDiag *d)
{
	MloStr one = {.arena = c->a}, two = {.arena = c->a};
	MloGraph *g;
	MloStatus st;

	mlo_print(&one, c->g, true);
	g = mlo_parse(mlo_str_text(&one), one.n, NULL, NULL, d);
	if (!g)
		return MLO_ERR_MODEL;
	mlo_print(&two, g, true);
	if (strcmp(mlo_str_text(&one), mlo_str_text(&two)))
		return mlo_error(d, MLO_ERR_INTERNAL, "print(parse(print(g))) differs from print(g)");
	st = reference(c, g, out, d);
	mlo_graph_free(g);
	return st;
}

static const MloTarget *find_variant(const Runtime *r, MloDiag *d)
{
	const MloTargetSet *s = mlo_target_find(r->target, d);

	for (int i = 0; s && s->variant[i]; i++)
		if (!r->variant || !strcmp(s->variant[i]->name, r->variant))
			return s->variant[i];
	return NULL;
}

/* Those kernels that use a matrix unit as machine code, with the unit emulated; the others interpreted. */
static MloStatus run_tiles(void *user, const MloKernel *k, void *const *args, int64_t tasks, MloDiag *d)
{
	const KContract *c = k->body->kind == KS_CONTRACT ? k->body->contract : NULL;
	MloKernel *one[] = {(MloKernel *)k};
	KernelImage im;
	struct Used *used = user;
	void *scratch = NULL;
	bool ok;

	used->sparse += c && c->sparse.spread;
	if (!c || !c->depth)
		return mlo_kernel_interp(k, args, 0, tasks, d);
	ok = kernel_image_load(&im, kernel_tile_target(), one, 1, d) && !posix_memalign(&scratch, 64, mlo_kernel_scratch(k));
	if (ok)
		im.fn[0](args, 0, tasks, scratch);
	free(scratch);
	kernel_image_free(&im);
	used->tiles += ok;
	return ok ? MLO_OK : MLO_ERR_INTERNAL;
}

/* By the interpreter, or with an emulated matrix unit. */
static MloStatus run_kernels(Case *c, const Runtime *r, MloTensor **out, MloDiag *d)
{
	const MloTarget *t = r->kind == TILES ? kernel_tile_target() : find_variant(r, d);
	MloGraph *g = mlo_graph_clone(c->g);
	MloPassOptions po = {.verify_each = true, .limit = -1};
	MloStatus st = MLO_ERR_TARGET;

	c->used = (struct Used){0};
	if (t && mlo_precision_find(r->precision, &po.precision))
		st = mlo_passes_run(g, r->level ? "O2" : "O0", t, &po, d);
	if (st == MLO_OK)
		st = r->kind == TILES ? mlo_codegen_run(c->a, g, t, &(MloKernelRunner){run_tiles, &c->used},
		                                        (const MloTensor *const *)c->in, out, d)
		                      : mlo_codegen_interp(c->a, g, t, (const MloTensor *const *)c->in, out, d);
	mlo_graph_free(g);
	return st;
}

/* Machines that rows of kind EMULATED run on: by target, else the first one. */
typedef struct Machine {
	const char *arch, *qemu_env, *qemu[3], *runner_env;
	const char *emulator, *runner; /* found when the program starts; "" or NULL: there is none */
} Machine;
static Machine machines[] = {
	{"aarch64", "MLOPT_TEST_QEMU", {"qemu-aarch64-static", "qemu-aarch64", NULL}, "MLOPT_TEST_RUNNER", NULL, NULL},
	{"riscv64", "MLOPT_TEST_QEMU_RISCV64", {"qemu-riscv64-static", "qemu-riscv64", NULL}, "MLOPT_TEST_RUNNER_RISCV64",
	 NULL, NULL},
};

static void find_machines(void)
{
	for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
		machines[i].emulator = support_tool(machines[i].qemu_env, machines[i].qemu);
		machines[i].runner = getenv(machines[i].runner_env);
	}
}

static const Machine *machine_of(const Runtime *r)
{
	size_t i = sizeof machines / sizeof *machines - 1;

	while (i > 0 && strncmp(r->target, machines[i].arch, strlen(machines[i].arch)) != 0)
		i--;
	return &machines[i];
}

/* Why a row cannot run here, or NULL. */
static const char *unavailable(const Runtime *r)
{
	static char why[128];
	MloDiag d = {0};
	const MloTarget *t;

	if (r->kind == TEXT || r->kind == INTERP || r->kind == TILES)
		return NULL;
	if (r->kind == GPU)
		return support_no_gpu();
	if (r->kind == EMULATED) {
		const Machine *m = machine_of(r);

		if (*m->emulator && m->runner && *m->runner)
			return NULL;
		snprintf(why, sizeof why, *m->emulator ? "no %s compiler built the runner" : "no qemu-%s", m->arch);
		return why;
	}
	t = find_variant(r, &d);
	mlo_diag_free(&d);
	return !t ? "no such variant" : mlo_target_runs_here(t, why, sizeof why) ? NULL : why;
}

/* Of results at reduced precision: what rounding operands to 8 bits once in a few layers leaves. */
static double tolerance(const Runtime *r, const MloTensor *t)
{
	if (strcmp(r->precision, "f32") && mlo_elem_is_float(t->elem))
		return 2.5e-4;
	return !mlo_elem_is_float(t->elem) ? 0 : t->elem == EL_f64 ? 1e-18 : mlo_elem_bits(t->elem) < 32 ? 1e-4 : 1e-10;
}

/* The number behind such a mark; 0: none. */
static int wanted(const Case *c, const char *mark)
{
	const char *p = strstr(c->text, mark);

	return p ? atoi(p + strlen(mark)) : 0;
}

static MloStatus run_on(Case *c, const Runtime *r, const char *scratch, MloDiag *d)
{
	MloTensor *out[64] = {0};
	RunHow how = {.target = r->target, .variant = r->variant, .precision = r->precision, .level = r->level,
	              .threads = r->threads,
	              .file = r->kind == FILE_, .emulator = r->kind == EMULATED ? machine_of(r)->emulator : NULL,
	              .cpu = r->cpu, .runner = machine_of(r)->runner, .scratch = scratch};
	int sparse;

	if (r->kind == TEXT)
		MLO_TRY(run_text(c, out, d));
	else if (r->kind == INTERP || r->kind == TILES)
		MLO_TRY(run_kernels(c, r, out, d));
	else
		MLO_TRY(support_run(c->a, c->g, &how, c->in, out, d));
	/* at reduced precision, pairs of products at once are faster */
	sparse = strcmp(r->precision, "f32") ? 0 : wanted(c, "# sparse ");
	if (r->kind == TILES && (c->used.tiles < wanted(c, "# tiles ") || c->used.sparse < sparse))
		return mlo_error(d, MLO_ERR_INTERNAL, "%d kernels use the matrix unit, %d leave out weights that are zero, not %d and %d",
		                 c->used.tiles, c->used.sparse, wanted(c, "# tiles "), sparse);
	for (uint32_t i = 0; i < c->g->noutputs; i++) {
		double e = support_nmse(out[i], c->want[i]);

		if (!(e <= tolerance(r, c->want[i])))
			return mlo_error(d, MLO_ERR_INTERNAL, "output %u: NMSE %g, allowed %g", i, e, tolerance(r, c->want[i]));
	}
	return MLO_OK;
}

/* The interpreter runs kernels, no steps of the runtime's. */
static bool has_control(const MloGraph *g)
{
	for (const MloNode *n = g->first; n; n = n->next)
		if (mlo_op_has(n->op, TR_OBJECT))
			return true;
	return false;
}

/* Of the emulated machines, which are slow, half take a case, each half every second one, of GPUs every third one; all of them
 * with MLOPT_TEST_LEVELS=all. */
static bool all_levels(void)
{
	const char *levels = getenv("MLOPT_TEST_LEVELS");

	return levels && !strcmp(levels, "all");
}

static bool in_turn(const Case *c, int row)
{
	unsigned sum = (unsigned)row;

	for (const char *p = c->name; *p; p++)
		sum = sum * 31 + (unsigned char)*p; /* the sum's parity: of the row, and of all characters */
	if (runtimes[row].kind == GPU)
		return all_levels() || sum % 3 == 0;
	return runtimes[row].kind != EMULATED || all_levels() || sum % 2 == 0;
}

/* Kernels of GPUs do not compute with these. */
static bool has_strings(const MloGraph *g)
{
	for (const MloNode *n = g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nin + n->nout; i++) {
			const MloValue *v = i < n->nin ? n->in[i] : n->out[i - n->nin];

			if (v && v->type.elem == EL_str && !mlo_op_has(n->op, TR_OBJECT))
				return true;
		}
	return false;
}

/* Is the case none for this row? */
static bool unfit(const Case *c, const Runtime *r)
{
	return ((r->kind == INTERP || r->kind == TILES) && has_control(c->g)) || (r->kind == GPU && has_strings(c->g));
}

static void run_round(Case *c, const char *only, const char *scratch, Score *score)
{
	for (int i = 0; i < NRUNTIMES; i++) {
		const Runtime *r = &runtimes[i];
		const char *why = unavailable(r);
		MloDiag rd = {0};

		if (only ? strcmp(only, r->name) != 0 : !why && !in_turn(c, i))
			continue;
		if (why || unfit(c, r)) {
			score->skipped++;
		} else if (run_on(c, r, scratch, &rd) == MLO_OK) {
			score->passed++;
		} else {
			score->failed++;
			printf("FAIL %s, sizes %d, on %s\n", c->name, c->round + 1, r->name);
			mlo_diag_print(&rd, "suite", stdout);
		}
		mlo_diag_free(&rd);
	}
}

/* Answers whether there are more sizes to run. */
static bool run_case(const char *folder, const char *file, int round, const char *only, const char *scratch,
                     Score *score)
{
	char path[4096];
	Case c = {.name = file, .round = round};
	MloDiag d = {0};
	bool more;

	snprintf(path, sizeof path, "%s/%s", folder, file);
	if (open_case(&c, path, &d) != MLO_OK) {
		printf("FAIL %s: the reference cannot run it\n", file);
		mlo_diag_print(&d, "suite", stdout);
		score->failed++;
	} else {
		run_round(&c, only, scratch, score);
	}
	more = round + 1 < rounds(c.text);
	mlo_diag_free(&d);
	mlo_graph_free(c.g);
	mlo_arena_free(c.a);
	fflush(stdout);
	return more;
}

static int is_case(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return n > 3 && !strcmp(e->d_name + n - 3, ".ir");
}

int main(int argc, char **argv)
{
	char scratch[] = "/tmp/mlopt-suite-XXXXXX", cmd[128];
	struct dirent **list;
	Score score = {0};
	int n, part, parts;

	if (!support_part(&part, &parts)) {
		fprintf(stderr, "MLOPT_TEST_PART is not I/N\n");
		return 2;
	}
	if (argc < 2 || (n = scandir(argv[1], &list, is_case, alphasort)) < 0 || !mkdtemp(scratch)) {
		fprintf(stderr, "usage: run FOLDER [CASE [RUNTIME]]\n");
		return 2;
	}
	find_machines();
	for (int i = 0; i < NRUNTIMES; i++) {
		const char *why = unavailable(&runtimes[i]);

		if (why && (argc < 4 || !strcmp(argv[3], runtimes[i].name)))
			printf("SKIP all cases on %s: %s\n", runtimes[i].name, why);
	}
	if (argc < 4 && !all_levels())
		printf("SKIP half of the emulated machines for each case (MLOPT_TEST_LEVELS=all: none)\n");
	for (int i = 0; i < n; i++) {
		bool more = i % parts == part && (argc < 3 || !strncmp(list[i]->d_name, argv[2], strlen(argv[2])));

		for (int round = 0; more; round++)
			more = run_case(argv[1], list[i]->d_name, round, argc > 3 ? argv[3] : NULL, scratch, &score);
		free(list[i]);
	}
	free(list);
	snprintf(cmd, sizeof cmd, "rm -rf %s", scratch);
	if (system(cmd))
		fprintf(stderr, "cannot remove %s\n", scratch);
	return support_finish(&score);
}
