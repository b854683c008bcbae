/* tests/conform/run.c -- runs the ONNX backend cases of a folder and compares with what is expected.
 *
 * usage: run [--runner reference|native] [--cache DIRECTORY] [--case NAME] [--print] DIRECTORY [EXPECTED]
 *
 * Runners: reference, the executor of the IR; native, a package for this machine, optimised and run
 * by the runtime.  --cache keeps the objects that native compiles.
 *
 * Operands that decide shapes (of Reshape, Slice, Resize, ...) are inputs in many of these models,
 * and a compiled model has static shapes.  Where shapes stay unknown, inputs of rank 0 and 1 become
 * constants before anything runs, as few as will do: integers and bools, and floats only if those
 * leave shapes unknown.
 *
 * DIRECTORY holds one folder per case: model.onnx, test_data_set_0/input_0.pb, output_0.pb, ...
 * EXPECTED has lines "CASE pass" or "CASE fail REASON"; a case that is not listed is not run.  A
 * listed failure that passes is an error, too: the list says what is true.  --print writes such a
 * list for all cases of the folder. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "frontend/onnx.h"
#include "ir/exec.h"
#include "passes/pass.h"
#include "tests/support/support.h"

static const double rel_tolerance = 1e-3, abs_tolerance = 1e-7;
enum { MAX_IO = 64 };

typedef enum Outcome { OUT_PASS, OUT_FAIL, OUT_UNSUPPORTED } Outcome;

/* A way to execute a model.  Results live in `a`. */
typedef MloStatus Runner(MloArena *a, MloGraph *g, const MloTensor *const *in, MloTensor **out, MloDiag *d);

static MloStatus run_reference(MloArena *a, MloGraph *g, const MloTensor *const *in, MloTensor **out,
                               MloDiag *d)
{
	MLO_TRY(mlo_infer_graph(g, d));
	return mlo_exec_graph(a, g, in, out, NULL, NULL, d);
}

static const char *cache; /* of objects, or NULL */

static MloStatus run_native(MloArena *a, MloGraph *g, const MloTensor *const *in, MloTensor **out, MloDiag *d)
{
	RunHow how = {.target = "native", .level = 2, .threads = 1, .cache = cache};

	MLO_TRY(mlo_infer_graph(g, d));
	return support_run(a, g, &how, in, out, d);
}

static const struct { const char *name; Runner *run; } runners[] = {
	{"reference", run_reference},
	{"native", run_native},
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

/* The files KIND_0.pb, KIND_1.pb, ... of a data set; -1 when one cannot be read. */
static int read_set(MloArena *a, const char *set, const char *kind, MloTensor **t, MloDiag *d)
{
	int n = 0;
	for (; n < MAX_IO; n++) {
		const char *path = mlo_sprintf(a, "%s/%s_%d.pb", set, kind, n);
		if (!exists(path))
			break;
		t[n] = mlo_onnx_read_tensor(a, path, d);
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

/* Gives every input of the model the shape of its data; the model is loaded for each data set. */
static MloGraph *load(MloArena *a, const char *model, MloTensor **in, int nin, MloDiag *d)
{
	MloGraph *g = mlo_onnx_load(model, NULL, d);
	if (!g)
		return NULL;
	bool fixed = true;
	for (uint32_t i = 0; i < g->ninputs; i++)
		fixed = fixed && mlo_type_static(&g->inputs[i]->type);
	if (fixed || (int)g->ninputs > nin)
		return g;
	MloBindDim *bind = MLO_NEWN(a, MloBindDim, g->ninputs + 1);
	MloOnnxOptions opt = {bind, g->ninputs};
	for (uint32_t i = 0; i < g->ninputs; i++) {
		bind[i].name = mlo_strdup(a, g->inputs[i]->name);
		bind[i].rank = in[i]->rank;
		memcpy(bind[i].dim, in[i]->dim, sizeof bind[i].dim);
	}
	mlo_graph_free(g);
	return mlo_onnx_load(model, &opt, d);
}

/* The data of these cases has bfloat16 as 16-bit integers. */
static void retype(MloTensor *t, const MloType *as)
{
	if (t->elem == EL_u16 && as->elem == EL_bf16)
		t->elem = EL_bf16;
}

static bool all_static(const MloGraph *g)
{
	for (const MloNode *n = g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i] && !mlo_type_static(&n->out[i]->type))
				return false;
	return true;
}

/* Makes the inputs of a set constants, and computes what follows from them. */
static MloStatus bind(MloGraph *g, MloTensor **in, uint64_t set, MloDiag *d)
{
	for (uint32_t i = 0; i < g->ninputs; i++)
		if (set >> i & 1 && g->inputs[i]->nuse > 0)
			mlo_graph_replace(g, g->inputs[i], mlo_graph_const(g, in[i], NULL));
	return mlo_passes_run(g, "infer,fold,infer,fold,dce", NULL, NULL, d);
}

static bool enough(const MloGraph *g, MloTensor **in, uint64_t set)
{
	MloGraph *try = mlo_graph_clone(g);
	MloDiag d = {0};
	bool ok = bind(try, in, set, &d) == MLO_OK && all_static(try);

	mlo_graph_free(try);
	mlo_diag_free(&d);
	return ok;
}

/* Gives a model whose shapes depend on inputs static shapes, see above. */
static MloStatus fix_shapes(MloGraph *g, MloTensor **in, MloDiag *d)
{
	uint64_t whole = 0, all = 0, set;

	for (uint32_t i = 0; i < g->ninputs; i++)
		retype(in[i], &g->inputs[i]->type);
	MLO_TRY(mlo_infer_graph(g, d));
	if (all_static(g))
		return MLO_OK;
	for (uint32_t i = 0; i < g->ninputs; i++) {
		uint64_t one = in[i]->rank <= 1 ? (uint64_t)1 << i : 0;

		all |= one;
		whole |= mlo_elem_is_float(in[i]->elem) ? 0 : one;
	}
	set = enough(g, in, whole) ? whole : all;
	for (uint32_t i = 0; i < g->ninputs && enough(g, in, set); i++) {
		if (set >> i & 1 && enough(g, in, set & ~((uint64_t)1 << i)))
			set &= ~((uint64_t)1 << i);
	}
	return bind(g, in, set, d);
}

static Outcome run_set(MloArena *a, Runner *run, const char *model, const char *set, char *why, size_t n)
{
	MloTensor *in[MAX_IO], *want[MAX_IO], *got[MAX_IO];
	MloDiag d = {0};
	Outcome o = OUT_UNSUPPORTED;
	int nin = read_set(a, set, "input", in, &d), nout = nin < 0 ? -1 : read_set(a, set, "output", want, &d);
	MloGraph *g = nout < 0 ? NULL : load(a, model, in, nin, &d);
	if (g && ((int)g->ninputs > nin || (int)g->noutputs > nout)) {
		snprintf(why, n, "data for %d inputs and %d outputs, the model has %u and %u", nin, nout, g->ninputs,
		         g->noutputs);
	} else if (!g || fix_shapes(g, in, &d) != MLO_OK) {
		snprintf(why, n, "%s", first_error(&d));
	} else if (run(a, g, (const MloTensor *const *)in, got, &d) != MLO_OK) {
		snprintf(why, n, "%s", first_error(&d));
	} else {
		o = OUT_PASS;
		for (uint32_t i = 0; i < g->noutputs && o == OUT_PASS; i++) {
			retype(want[i], &g->outputs[i]->type);
			if (!tensors_match(got[i], want[i], why, n))
				o = OUT_FAIL;
		}
	}
	mlo_graph_free(g);
	mlo_diag_free(&d);
	return o;
}

static Outcome run_case(Runner *run, const char *dir, const char *name, char *why, size_t n)
{
	MloArena *a = mlo_arena_new();
	Outcome o = OUT_PASS;
	if (!a)
		return OUT_FAIL;
	const char *model = mlo_sprintf(a, "%s/%s/model.onnx", dir, name);
	int sets = 0;
	for (; o == OUT_PASS; sets++) {
		const char *set = mlo_sprintf(a, "%s/%s/test_data_set_%d", dir, name, sets);
		if (!exists(set))
			break;
		o = run_set(a, run, model, set, why, n);
	}
	if (sets == 0) {
		snprintf(why, n, "no data sets");
		o = OUT_FAIL;
	}
	mlo_arena_free(a);
	return o;
}

static int print_all(Runner *run, const char *dir)
{
	struct dirent **entry;
	int n = scandir(dir, &entry, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		char why[400] = "";
		if (entry[i]->d_name[0] != '.') {
			Outcome o = run_case(run, dir, entry[i]->d_name, why, sizeof why);
			printf("%s %s%s%s\n", entry[i]->d_name, o == OUT_PASS ? "pass" : "fail",
			       o == OUT_PASS ? "" : " ", why);
			fflush(stdout);
		}
		free(entry[i]);
	}
	if (n >= 0)
		free(entry);
	return n < 0;
}

/* One line of the list: 1 when things are as it says, 0 when not, -1 when it names no case to run. */
static int check_line(Runner *run, const char *dir, char *line, const char *only)
{
	char *save, *name = strtok_r(line, " \t\n", &save), *status = strtok_r(NULL, " \t\n", &save);
	char why[400] = "";
	if (!name || *name == '#' || (only && strcmp(name, only) != 0))
		return -1;
	bool expect_pass = status && strcmp(status, "pass") == 0;
	if (!expect_pass && (!status || strcmp(status, "fail") != 0)) {
		fprintf(stderr, "conform: %s: status must be pass or fail\n", name);
		return 0;
	}
	bool passed = run_case(run, dir, name, why, sizeof why) == OUT_PASS;
	if (passed != expect_pass)
		printf("%s: %s%s%s\n", name, passed ? "unexpected pass" : "failed", *why ? ": " : "", why);
	return passed == expect_pass;
}

static int check_list(Runner *run, const char *dir, const char *list, const char *only)
{
	FILE *f = fopen(list, "r");
	char line[1000];
	int cases = 0, wrong = 0;
	if (!f) {
		fprintf(stderr, "conform: %s: %s\n", list, strerror(errno));
		return 2;
	}
	while (fgets(line, sizeof line, f)) {
		int r = check_line(run, dir, line, only);
		cases += r >= 0;
		wrong += r == 0;
	}
	fclose(f);
	printf("%d passed, %d failed, 0 skipped\n", cases - wrong, wrong);
	return wrong > 0 || cases == 0;
}

int main(int argc, char **argv)
{
	const char *only = NULL, *runner = "reference";
	bool print = false;
	Runner *run = NULL;
	int i = 1;
	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--print") == 0)
			print = true;
		else if (strcmp(argv[i], "--case") == 0 && i + 1 < argc)
			only = argv[++i];
		else if (strcmp(argv[i], "--runner") == 0 && i + 1 < argc)
			runner = argv[++i];
		else if (strcmp(argv[i], "--cache") == 0 && i + 1 < argc)
			cache = argv[++i];
		else
			break;
	}
	for (size_t k = 0; k < sizeof runners / sizeof *runners; k++)
		if (strcmp(runner, runners[k].name) == 0)
			run = runners[k].run;
	if (!run || argc - i != (print ? 1 : 2)) {
		fprintf(stderr, "usage: run [--runner reference|native] [--cache DIRECTORY] [--case NAME] [--print] "
		                "DIRECTORY [EXPECTED]\n");
		return 2;
	}
	return print ? print_all(run, argv[i]) : check_list(run, argv[i], argv[i + 1], only);
}
