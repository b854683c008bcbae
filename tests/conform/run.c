/* tests/conform/run.c -- runs the ONNX backend cases of folders and compares with what is expected.
 *
 * usage: run [--runner reference|native|aarch64|sm_75|sm_80|sm_90] [--cache DIRECTORY] [--case NAME] [--every N] [--print]
 *            [--list FILE]... [--facts FILE] [LABEL=]DIRECTORY...
 *
 * Runners: reference, the executor of the IR; native, a package for this machine, optimised and run
 * by the runtime; aarch64, one for a level of Arm (tests/support/levels.def; the case's name says which), run by the
 * program that MLOPT_TEST_RUNNER names under an emulator; sm_75, sm_80, sm_90, one for a GPU, run by the driver that is
 * found: a real one, or that of the tests (tests/ptx).
 * --cache keeps the objects that are compiled.  --every N takes every Nth case of a directory.
 *
 * A directory holds one folder per case: model.onnx, test_data_set_0/input_0.pb, output_0.pb, ...; or
 * CASE.onnx with CASE_output_0.pb, whose float inputs of n elements are 0/n, 1/n, ..., (n-1)/n.
 * FILE has a line "CASE fail REASON" or "LABEL/CASE fail REASON" for each case that is known to fail; all
 * others must pass, and a listed one that passes is an error, too.  --print writes such a list.
 * "CASE const INPUT REASON": compiled with that input as a constant (mlopt compile --const).
 * --facts writes what was seen of each case, for docs/OPERATORS.md (tests/conform/facts.h). */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/onnx.h"
#include "ir/exec.h"
#include "tests/conform/facts.h"
#include "tests/support/support.h"
#include "tools/compile.h"

static const double rel_tolerance = 1e-3, abs_tolerance = 1e-7;
enum { MAX_IO = 64 };

typedef enum Outcome { OUT_PASS, OUT_FAIL, OUT_UNSUPPORTED } Outcome;

/* Where a case lies. */
typedef struct Case {
	const char *name;
	const char *model; /* file */
	const char *data;  /* of a case with one data set of generated inputs: prefix of its files; else the folder */
	bool generated;
	const char *constant; /* an input that becomes a constant when the case is compiled, or NULL */
} Case;

/* One run of a case: g is the model as the reference executor takes it, in[i] the value of its input i, of
 * data set `set` (NULL: generated). */
typedef struct Run {
	MloArena *a; /* results live there */
	const Case *c;
	const char *set;
	MloGraph *g;
	const MloTensor *const *in;
} Run;

/* A way to execute a model. */
typedef MloStatus Runner(const Run *r, MloTensor **out, MloDiag *d);

/* Some models declare another rank than the data of an input has: the data counts. */
static MloStatus take_ranks(MloGraph *g, const MloTensor *const *in, MloDiag *d)
{
	for (uint32_t i = 0; i < g->ninputs; i++)
		if (!in[i]->object && g->inputs[i]->type.rank >= 0 && g->inputs[i]->type.rank != in[i]->rank)
			g->inputs[i]->type = mlo_tensor_type(in[i]);
	return mlo_infer_graph(g, d);
}

static MloStatus run_reference(const Run *r, MloTensor **out, MloDiag *d)
{
	MLO_TRY(take_ranks(r->g, r->in, d));
	return mlo_exec_graph(r->a, r->g, r->in, out, NULL, NULL, d);
}

static const char *cache;     /* of objects, or NULL */
static const char *manifest;  /* of the last package that was run here, or NULL */
static const char *scratch;   /* folder for files of emulated runs */
static const char *emulator;
static const char *gpu;       /* target */

/* "NAME=1x3x8x8" for an input whose rank the model does not tell: compiled models want to know it. */
static const char *shape_text(MloArena *a, const MloValue *v, const MloTensor *t)
{
	MloStr s = {.arena = a};

	mlo_str_add(&s, "%s=", v->name);
	for (int k = 0; k < t->rank; k++)
		mlo_str_add(&s, "%s?", k ? "x" : "");
	return mlo_str_text(&s);
}

/* As a user compiles the model. */
static MloStatus run_compiled(const Run *r, const RunHow *how, MloTensor **out, MloDiag *d)
{
	const char *shape[MAX_IO], *constant = NULL;
	const MloTensor *in[MAX_IO];
	MloLoadOptions lo = {.shapes = shape, .consts = &constant, .keep_symbols = true};
	MloGraph *g;
	MloStatus st;
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->g->ninputs; i++) {
		const MloValue *v = r->g->inputs[i];

		if (r->c->constant && strcmp(v->name, r->c->constant) == 0) {
			constant = mlo_sprintf(r->a, "%s=%s/input_%u.pb", v->name, r->set, i);
			lo.nconsts = 1;
			continue;
		}
		if (v->type.rank == MLO_RANK_UNKNOWN && !mlo_type_object(&v->type))
			shape[lo.nshapes++] = shape_text(r->a, v, r->in[i]);
		in[n++] = r->in[i];
	}
	MLO_TRY(mlo_load_model(r->c->model, &lo, &g, d));
	st = take_ranks(g, in, d);
	if (st == MLO_OK)
		st = support_run(r->a, g, how, in, out, d);
	mlo_graph_free(g);
	return st;
}

static MloStatus run_native(const Run *r, MloTensor **out, MloDiag *d)
{
	return run_compiled(r, &(RunHow){.target = "native", .level = 2, .threads = 1, .cache = cache,
	                                 .manifest = &manifest}, out, d);
}

/* Cases are spread over the levels of full precision; one case is always on the same. */
static const ArmLevel *level_of(const char *name)
{
	unsigned hash = 0;
	int n = 0, at;

	for (; *name; name++)
		hash = hash * 31 + (unsigned char)*name;
	for (int i = 0; i < support_nlevels; i++)
		n += strcmp(support_levels[i].precision, "f32") == 0;
	at = (int)(hash % (unsigned)n);
	for (const ArmLevel *l = support_levels;; l++)
		if (strcmp(l->precision, "f32") == 0 && at-- == 0)
			return l;
}

static MloStatus run_aarch64(const Run *r, MloTensor **out, MloDiag *d)
{
	const ArmLevel *l = level_of(r->c->name);
	RunHow how = {.target = l->target, .cpu = l->cpu, .level = 2, .threads = 1, .cache = cache, .emulator = emulator,
	              .runner = getenv("MLOPT_TEST_RUNNER"), .scratch = scratch};

	return run_compiled(r, &how, out, d);
}

static MloStatus run_gpu(const Run *r, MloTensor **out, MloDiag *d)
{
	return run_compiled(r, &(RunHow){.target = gpu, .level = 2, .threads = 1, .cache = cache,
	                                 .manifest = &manifest}, out, d);
}

/* Why a runner is not possible here, or NULL. */
static const char *find_emulator(MloArena *a)
{
	static const char *const names[] = {"qemu-aarch64-static", "qemu-aarch64", NULL};
	const char *runner = getenv("MLOPT_TEST_RUNNER");
	char *folder = mlo_strdup(a, "/tmp/mlopt-conform-XXXXXX");

	emulator = support_tool("MLOPT_TEST_QEMU", names);
	if (!*emulator)
		return "no qemu-aarch64";
	if (!runner || !*runner)
		return "no aarch64 compiler built the runner";
	scratch = mkdtemp(folder);
	return scratch ? NULL : "no folder for files";
}

static const char *find_gpu(MloArena *a)
{
	(void)a;
	return support_no_gpu();
}

static const struct How {
	const char *name;
	Runner *run;
	bool emulated;                        /* at a level of Arm */
	const char *(*unavailable)(MloArena *); /* says why, or NULL; NULL: it never is */
} runners[] = {
	{"reference", run_reference, false, NULL},
	{"native", run_native, false, NULL},
	{"aarch64", run_aarch64, true, find_emulator},
	{"sm_75", run_gpu, false, find_gpu},
	{"sm_80", run_gpu, false, find_gpu},
	{"sm_90", run_gpu, false, find_gpu},
};

static bool exists(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0;
}

static bool close_enough(double got, double want)
{
	if (isnan(want) || isnan(got))
		return isnan(want) && isnan(got);
	if (isinf(want) || isinf(got))
		return want == got;
	return fabs(got - want) <= abs_tolerance + rel_tolerance * fabs(want);
}

static bool same_text(const MloText *a, const MloText *b)
{
	return a->n == b->n && (a->n == 0 || !memcmp(a->s, b->s, (size_t)a->n));
}

static bool texts_match(const MloTensor *got, const MloTensor *want, char *why, size_t n)
{
	const MloText *a = got->data, *b = want->data;
	for (int64_t i = 0, count = mlo_tensor_elems(want); i < count; i++)
		if (!same_text(&a[i], &b[i])) {
			snprintf(why, n, "element %lld is \"%.*s\", expected \"%.*s\"", (long long)i,
			         (int)(a[i].n < 60 ? a[i].n : 60), a[i].s, (int)(b[i].n < 60 ? b[i].n : 60), b[i].s);
			return false;
		}
	return true;
}

/* Exact for integers and bool, with tolerances for floats. */
static bool tensors_match(const MloTensor *got, const MloTensor *want, char *why, size_t n)
{
	if (got->elem != want->elem || got->rank != want->rank) {
		snprintf(why, n, "result is %s of rank %d, expected %s of rank %d", mlo_elem_text(got->elem),
		         got->rank, mlo_elem_text(want->elem), want->rank);
		return false;
	}
	for (int i = 0; i < want->rank; i++)
		if (got->dim[i] != want->dim[i]) {
			snprintf(why, n, "dimension %d is %lld, expected %lld", i, (long long)got->dim[i],
			         (long long)want->dim[i]);
			return false;
		}
	if (want->elem == EL_str)
		return texts_match(got, want, why, n);
	bool is_float = mlo_elem_is_float(want->elem);
	for (int64_t i = 0, count = mlo_tensor_elems(want); i < count; i++) {
		double a = mlo_tensor_f64(got, i), b = mlo_tensor_f64(want, i);
		if (is_float ? !close_enough(a, b) : mlo_tensor_i64(got, i) != mlo_tensor_i64(want, i)) {
			snprintf(why, n, "element %lld is %.9g, expected %.9g", (long long)i, a, b);
			return false;
		}
	}
	return true;
}

/* Complex numbers are pairs of floats. */
static MloTensor as_floats(const MloTensor *t)
{
	MloTensor r = {.elem = t->elem == EL_c64 ? EL_f32 : EL_f64, .rank = 1, .data = t->data, .nbytes = t->nbytes};
	r.dim[0] = 2 * mlo_tensor_elems(t);
	return r;
}

static bool values_match(const MloTensor *got, const MloTensor *want, char *why, size_t n)
{
	const MloObject *a = got->object, *b = want->object;
	if (!a != !b || (a && a->kind != b->kind)) {
		snprintf(why, n, "result is %s", a ? "an object" : "a tensor");
		return false;
	}
	if (!a && got->elem == want->elem && mlo_elem_class(got->elem) == EC_COMPLEX && got->nbytes == want->nbytes) {
		MloTensor x = as_floats(got), y = as_floats(want);
		return tensors_match(&x, &y, why, n);
	}
	if (!a)
		return tensors_match(got, want, why, n);
	if (a->n != b->n) {
		snprintf(why, n, "%lld items, expected %lld", (long long)a->n, (long long)b->n);
		return false;
	}
	for (int64_t i = 0; i < a->n; i++)
		if (!values_match(&a->item[i], &b->item[i], why, n))
			return false;
	return true;
}

/* The files PREFIX_0.pb, PREFIX_1.pb, ..., values as the model declares them; -1 when one cannot be read. */
static int read_set(MloArena *a, const char *prefix, MloValue *const *v, uint32_t count, MloTensor **t, MloDiag *d)
{
	int n = 0;
	for (; n < MAX_IO && n < (int)count; n++) {
		const char *path = mlo_sprintf(a, "%s_%d.pb", prefix, n);
		if (!exists(path))
			break;
		t[n] = mlo_onnx_read_value(a, path, &v[n]->type, d);
		if (!t[n])
			return -1;
	}
	return n;
}

static const char *first_error(const MloDiag *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->lines[i].severity == MLO_DIAG_ERROR)
			return d->lines[i].text;
	return "failed without a message";
}

/* The data of these cases has bfloat16 as 16-bit integers. */
static void retype(MloTensor *t, const MloType *as)
{
	if (t->elem == EL_u16 && as->elem == EL_bf16)
		t->elem = EL_bf16;
}

static MloTensor *generate(MloArena *a, const MloType *t)
{
	int64_t dims[MLO_MAX_RANK], n = mlo_type_elems(t);
	for (int i = 0; i < t->rank; i++)
		dims[i] = t->dim[i].k;
	if (n < 0 || !mlo_elem_is_float(t->elem))
		return NULL;
	MloTensor *r = mlo_tensor_new(a, t->elem, t->rank, dims);
	for (int64_t i = 0; i < n; i++)
		mlo_tensor_set_f64(r, i, (double)i / (double)n);
	return r;
}

/* Inputs and wanted outputs of data set `set` (NULL: generated); false with a reason. */
static bool get_data(MloArena *a, const Case *c, const char *set, const MloGraph *g, MloTensor **in, MloTensor **want,
                     MloDiag *d, char *why, size_t n)
{
	int nin = (int)g->ninputs, nout;
	if (g->ninputs > MAX_IO || g->noutputs > MAX_IO) {
		snprintf(why, n, "%u inputs and %u outputs", g->ninputs, g->noutputs);
		return false;
	}
	for (int i = 0; !set && i < nin; i++)
		if (!(in[i] = generate(a, &g->inputs[i]->type)))
			nin = -1;
	if (set)
		nin = read_set(a, mlo_sprintf(a, "%s/input", set), g->inputs, g->ninputs, in, d);
	nout = read_set(a, set ? mlo_sprintf(a, "%s/output", set) : mlo_sprintf(a, "%s_output", c->data), g->outputs,
	                g->noutputs, want, d);
	if (nin < 0 || nout < 0)
		snprintf(why, n, "%s", first_error(d));
	else if ((int)g->ninputs > nin || (int)g->noutputs > nout)
		snprintf(why, n, "data for %d inputs and %d outputs, the model has %u and %u", nin, nout, g->ninputs,
		         g->noutputs);
	else
		return true;
	return false;
}

static Outcome compare(const MloGraph *g, MloTensor *const *got, MloTensor **want, char *why, size_t n)
{
	for (uint32_t i = 0; i < g->noutputs; i++) {
		retype(want[i], &g->outputs[i]->type);
		if (!values_match(got[i], want[i], why, n))
			return OUT_FAIL;
	}
	return OUT_PASS;
}

static Outcome run_set(MloArena *a, const struct How *how, const Case *c, const char *set, char *why, size_t n)
{
	MloTensor *in[MAX_IO], *want[MAX_IO], *got[MAX_IO];
	MloDiag d = {0};
	Outcome o = OUT_UNSUPPORTED;
	MloGraph *g = mlo_onnx_load(c->model, NULL, &d);
	if (!g || mlo_infer_graph(g, &d) != MLO_OK) {
		snprintf(why, n, "%s", first_error(&d));
	} else if (get_data(a, c, set, g, in, want, &d, why, n)) {
		for (uint32_t i = 0; i < g->ninputs; i++)
			retype(in[i], &g->inputs[i]->type);
		if (how->run(&(Run){a, c, set, g, (const MloTensor *const *)in}, got, &d) != MLO_OK)
			snprintf(why, n, "%s", first_error(&d));
		else
			o = compare(g, got, want, why, n);
	}
	mlo_graph_free(g);
	mlo_diag_free(&d);
	return o;
}

static Outcome run_sets(MloArena *a, const struct How *how, const Case *c, char *why, size_t n)
{
	Outcome o = OUT_PASS;
	int sets = 0;
	if (c->generated)
		return run_set(a, how, c, NULL, why, n);
	for (; o == OUT_PASS; sets++) {
		const char *set = mlo_sprintf(a, "%s/test_data_set_%d", c->data, sets);
		if (!exists(set))
			break;
		o = run_set(a, how, c, set, why, n);
	}
	if (sets == 0) {
		snprintf(why, n, "no data sets");
		o = OUT_FAIL;
	}
	return o;
}

static bool find_case(MloArena *a, const char *dir, const char *name, Case *c)
{
	*c = (Case){.name = name, .data = mlo_sprintf(a, "%s/%s", dir, name)};
	c->model = mlo_sprintf(a, "%s/model.onnx", c->data);
	if (exists(c->model))
		return true;
	c->model = mlo_sprintf(a, "%s/%s.onnx", dir, name);
	c->generated = true;
	return exists(c->model);
}

/* -- lists ------------------------------------------------------------------------------------------------ */

typedef struct Known {
	const char *name;     /* CASE or LABEL/CASE */
	const char *constant; /* the input; NULL: it fails */
	bool varies;          /* fails, or not, as the machine adds */
	const char *reason;
} Known;

typedef struct List { Known *items; size_t n, cap; } List;

typedef struct Session {
	MloArena *arena;
	const struct How *how;
	const char *only;
	int every;
	bool print;
	const char *list[4]; /* files */
	int nlists;
	List known;
	FILE *facts; /* or NULL */
	int passed, failed;
} Session;

static bool read_line(Session *s, char *line, const char *file)
{
	char *save, *name = strtok_r(line, " \t\n", &save), *status = strtok_r(NULL, " \t\n", &save);
	char *input = NULL, *reason;
	bool constant = status && strcmp(status, "const") == 0, varies = status && strcmp(status, "varies") == 0, ok;

	if (!name || *name == '#')
		return true;
	if (constant)
		input = strtok_r(NULL, " \t\n", &save);
	reason = status ? strtok_r(NULL, "\n", &save) : NULL;
	ok = reason && (constant ? input != NULL : varies || strcmp(status, "fail") == 0);
	if (!ok)
		fprintf(stderr, "conform: %s: '%s' needs fail, varies, or const INPUT, and a reason\n", file, name);
	Known k = {mlo_strdup(s->arena, name), input ? mlo_strdup(s->arena, input) : NULL, varies,
	           reason ? mlo_strdup(s->arena, reason) : ""};
	MLO_PUSH(s->arena, &s->known, k);
	return ok;
}

static bool read_list(Session *s, const char *file)
{
	FILE *f = fopen(file, "r");
	char line[1000];
	bool ok = f != NULL;
	if (!f)
		fprintf(stderr, "conform: %s: %s\n", file, strerror(errno));
	while (f && fgets(line, sizeof line, f))
		ok = read_line(s, line, file) && ok;
	if (f)
		fclose(f);
	return ok;
}

static const Known *find_known(const Session *s, const char *label, const char *name)
{
	const char *full = mlo_sprintf(s->arena, "%s/%s", label, name);
	for (size_t i = 0; i < s->known.n; i++)
		if (strcmp(s->known.items[i].name, name) == 0 || strcmp(s->known.items[i].name, full) == 0)
			return &s->known.items[i];
	return NULL;
}

static void run_one(Session *s, const char *label, const char *dir, const char *name)
{
	const Known *known = find_known(s, label, name);
	bool fails = known && !known->constant, varies = known && known->varies, passed, wrong;
	MloArena *a = mlo_arena_new();
	char why[400] = "";
	Case c;
	if (!a || !find_case(a, dir, name, &c)) {
		mlo_arena_free(a);
		return;
	}
	c.constant = known ? known->constant : NULL;
	manifest = NULL;
	passed = run_sets(a, s->how, &c, why, sizeof why) == OUT_PASS;
	wrong = passed == fails && !varies;
	if (s->print && !passed)
		printf("%s/%s fail %s\n", label, name, why);
	else if (!s->print && wrong)
		printf("%s/%s%s%s: %s%s%s\n", label, name, s->how->emulated ? " on " : "",
		       s->how->emulated ? level_of(name)->name : "",
		       passed ? "unexpected pass" : "failed", *why ? ": " : "", why);
	fflush(stdout);
	if (s->facts)
		facts_write(s->facts, a, s->how->name, mlo_sprintf(a, "%s/%s", label, name), c.model, manifest,
		            passed && !varies ? NULL : fails ? known->reason : why);
	if (wrong)
		s->failed++;
	else
		s->passed++;
	mlo_arena_free(a);
}

/* All cases of [LABEL=]DIRECTORY, by name. */
static bool run_folder(Session *s, const char *arg)
{
	const char *eq = strchr(arg, '='), *dir = eq ? eq + 1 : arg;
	const char *label = eq ? mlo_strndup(s->arena, arg, (size_t)(eq - arg)) : "cases";
	struct dirent **entry;
	int n = scandir(dir, &entry, NULL, alphasort);
	if (n < 0) {
		fprintf(stderr, "conform: %s: %s\n", dir, strerror(errno));
		return false;
	}
	for (int i = 0; i < n; i++) {
		char *name = entry[i]->d_name;
		size_t len = strlen(name);
		if (len > 5 && strcmp(name + len - 5, ".onnx") == 0)
			name[len - 5] = 0;
		if (name[0] != '.' && i % s->every == 0 && (!s->only || strcmp(name, s->only) == 0))
			run_one(s, label, dir, name);
		free(entry[i]);
	}
	free(entry);
	return true;
}

static int usage(void)
{
	fprintf(stderr, "usage: run [--runner reference|native|aarch64|sm_80] [--cache DIRECTORY] [--case NAME] [--every N] "
	                "[--print] [--list FILE]... [--facts FILE] [LABEL=]DIRECTORY...\n");
	return 2;
}

static void remove_scratch(void)
{
	static const char *const files[] = {"in.bin", "out.bin"};
	char path[4096];

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/%s", scratch, files[i]);
		unlink(path);
	}
	rmdir(scratch);
}

static bool run_folders(Session *s, char **folders, int n)
{
	const char *why = s->how->unavailable ? s->how->unavailable(s->arena) : NULL;
	bool ok = true;

	if (why) {
		printf("SKIP %s: %s\n0 passed, 0 failed, 1 skipped\n", s->how->name, why);
		return true;
	}
	for (int i = 0; i < n && ok; i++)
		ok = run_folder(s, folders[i]);
	if (scratch)
		remove_scratch();
	if (!s->print)
		printf("%d passed, %d failed, 0 skipped\n", s->passed, s->failed);
	return ok && (s->print || (s->failed == 0 && s->passed > 0));
}

/* The first operand's place in argv; 0: they are wrong. */
static int options(Session *s, int argc, char **argv)
{
	const char *runner = "reference", *every = "1", *facts = NULL;
	int i = 1;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (strcmp(argv[i], "--print") == 0) {
			s->print = true;
			continue;
		}
		if (strcmp(argv[i], "--list") == 0 && s->nlists == (int)(sizeof s->list / sizeof *s->list))
			return 0;
		const char **to = strcmp(argv[i], "--case") == 0   ? &s->only
		                  : strcmp(argv[i], "--runner") == 0 ? &runner
		                  : strcmp(argv[i], "--cache") == 0  ? &cache
		                  : strcmp(argv[i], "--every") == 0  ? &every
		                  : strcmp(argv[i], "--list") == 0   ? &s->list[s->nlists++]
		                  : strcmp(argv[i], "--facts") == 0  ? &facts
		                                                     : NULL;
		if (!to || !value)
			return 0;
		*to = value;
		i++;
	}
	s->every = atoi(every);
	for (size_t k = 0; k < sizeof runners / sizeof *runners; k++)
		if (strcmp(runner, runners[k].name) == 0)
			s->how = &runners[k];
	gpu = runner;
	if (facts && !(s->facts = fopen(facts, "w"))) {
		fprintf(stderr, "conform: %s: %s\n", facts, strerror(errno));
		return 0;
	}
	return s->how && s->every > 0 && i < argc ? i : 0;
}

int main(int argc, char **argv)
{
	Session s = {.arena = mlo_arena_new()};
	int first = s.arena ? options(&s, argc, argv) : 0;
	bool read = true, ok;

	if (!first)
		return usage();
	for (int i = 0; i < s.nlists; i++)
		read = read_list(&s, s.list[i]) && read;
	ok = read && run_folders(&s, argv + first, argc - first);
	ok = (!s.facts || fclose(s.facts) == 0) && ok;
	mlo_arena_free(s.arena);
	return !read ? 2 : !ok;
}
