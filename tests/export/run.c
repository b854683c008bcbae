/* tests/export/run.c -- graphs written as ONNX and read again: the same graph, the same results.
 *
 * usage: run CASES [OUT] < LIST.  CASES is the folder of the suite's cases; LIST names models, one file a line.
 * Random graphs come on top.  With OUT each model that was written is kept there, for other readers.  Graphs are
 * compared as text after passes that choose one spelling, without names, and what they compute by the reference
 * executor. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/onnx.h"
#include "ir/exec.h"
#include "passes/pass.h"
#include "tests/support/support.h"
#include "tests/unit/random_graph.h"
#include "tools/compile.h"
#include "tools/npy.h"
#include "tools/outfile.h"

enum { NRANDOM = 60, MAX_VALUES = 64, MAX_MACS = 500000000 };

typedef struct Trip {
	const char *name, *out;
	MloArena *a;
	MloDiag d;
	MloGraph *before, *after;
	Score *score;
} Trip;

/* ONNX has floats of 32 bits, and says nothing about a stage that nobody reads or factors that are not used. */
static void round_attrs(MloGraph *g, MloNode *n)
{
	for (int i = 0; i < mlo_op_info(n->op)->nattr; i++) {
		double *v = mlo_dup(g->arena, n->attr[i].floats,
				    sizeof(double) * (size_t)n->attr[i].n * !!n->attr[i].floats);
		bool used = false;

		n->attr[i].f = (float)n->attr[i].f;
		if (!n->attr[i].floats)
			continue;
		for (int k = 0; k < n->attr[i].n; k++) {
			v[k] = (float)v[k];
			used |= v[k] != 0;
		}
		mlo_attr_set_floats(g, n, i, v, used ? n->attr[i].n : 0);
	}
	if (n->op == OP_attention && (!n->out[3] || !n->out[3]->nuse))
		mlo_attr_set_i(n, ATTR_attention_qk_matmul_output_mode, 0);
}

/* In ONNX an output that is an operand under another name is a copy of it. */
static void drop_copies(MloGraph *g)
{
	for (uint32_t i = 0; i < g->noutputs; i++) {
		MloNode *n = g->outputs[i]->def;

		if (n && n->out[0] && n->op == mlo_copy_op(&n->out[0]->type)) {
			mlo_graph_set_output(g, i, n->in[0]);
			if (!mlo_node_used(n))
				mlo_graph_remove(g, n);
		}
	}
}

/* Names of values and nodes, and what the model says about itself. */
static void strip(MloGraph *g, bool body)
{
	drop_copies(g);
	for (uint32_t i = 0; body && i < g->ninputs; i++)
		g->inputs[i]->name = NULL;
	for (MloNode *n = g->first; n; n = n->next) {
		MloGraph *inner;
		int at = 0;

		n->origin = NULL;
		round_attrs(g, n);
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i] && n->nout > 1 && !n->out[i]->nuse)
				n->out[i] = NULL; /* made or not: nobody reads it */
			else if (n->out[i])
				n->out[i]->name = NULL;
		while (n->nout > 1 && !n->out[n->nout - 1])
			n->nout--;
		while ((inner = mlo_node_body(n, &at)))
			strip(inner, true);
	}
	for (size_t i = 0; i < g->consts.n; i++)
		g->consts.items[i]->name = NULL;
	g->meta = NULL;
	g->name = NULL;
}

static const char *text_of(MloArena *a, const MloGraph *g)
{
	MloGraph *c = mlo_graph_clone(g);
	MloStr s = {.arena = a};
	const char *text;

	strip(c, false);
	mlo_print(&s, c, false);
	text = mlo_str_text(&s);
	mlo_graph_free(c);
	return text;
}

/* Ranges of sizes are ours. */
static bool is_range(const char *line)
{
	return !strncmp(line, "  sym ", 6);
}

/* Prints the first line that differs. */
static bool same_text(const char *a, const char *b)
{
	while (*a && *b) {
		size_t na = strcspn(a, "\n"), nb = strcspn(b, "\n");

		if (is_range(a)) {
			a += na + 1;
			continue;
		}
		if (is_range(b)) {
			b += nb + 1;
			continue;
		}
		if (na != nb || memcmp(a, b, na) != 0) {
			printf("  before: %.*s\n  after:  %.*s\n", (int)na, a, (int)nb, b);
			return false;
		}
		a += na + (a[na] == '\n');
		b += nb + (b[nb] == '\n');
	}
	if (*a || *b)
		printf("  one is longer: %.200s%.200s\n", a, b);
	return !*a && !*b;
}

static MloStatus same_results(Trip *t)
{
	const MloTensor *in[MAX_VALUES];
	MloTensor *want[MAX_VALUES], *got[MAX_VALUES];
	const MloGraph *g = t->before;

	for (uint32_t i = 0; i < g->ninputs; i++)
		in[i] = random_tensor(t->a, i + 1, &g->inputs[i]->type);
	MLO_TRY(mlo_exec_graph(t->a, g, in, want, NULL, NULL, &t->d));
	MLO_TRY(mlo_exec_graph(t->a, t->after, in, got, NULL, NULL, &t->d));
	for (uint32_t i = 0; i < g->noutputs; i++)
		if (!(support_nmse(got[i], want[i]) <= 1e-12))
			return mlo_error(&t->d, MLO_ERR_INTERNAL, "output '%s' differs", g->output_names[i]);
	return MLO_OK;
}

static MloStatus same_names(Trip *t)
{
	const MloGraph *a = t->before, *b = t->after;

	if (a->ninputs != b->ninputs || a->noutputs != b->noutputs)
		return mlo_error(&t->d, MLO_ERR_INTERNAL, "inputs or outputs got lost");
	for (uint32_t i = 0; i < a->ninputs; i++)
		if (strcmp(a->inputs[i]->name, b->inputs[i]->name) != 0)
			return mlo_error(&t->d, MLO_ERR_INTERNAL, "input '%s' has become '%s'", a->inputs[i]->name,
					 b->inputs[i]->name);
	for (uint32_t i = 0; i < a->noutputs; i++)
		if (a->output_names[i] && strcmp(a->output_names[i], b->output_names[i]) != 0)
			return mlo_error(&t->d, MLO_ERR_INTERNAL, "output '%s' has become '%s'", a->output_names[i],
					 b->output_names[i]);
	return MLO_OK;
}

static bool computable(const MloGraph *g)
{
	bool ok = g->ninputs <= MAX_VALUES && g->noutputs <= MAX_VALUES && mlo_graph_macs(g) < MAX_MACS;

	for (uint32_t i = 0; ok && i < g->ninputs; i++)
		ok = mlo_type_static(&g->inputs[i]->type) && mlo_elem_is_float(g->inputs[i]->type.elem);
	return ok;
}

/* What t->before reads as after it was written; `suffix` is for the file. */
static MloStatus write_and_read(Trip *t, const char *suffix)
{
	const void *bytes;
	size_t n;

	mlo_graph_free(t->after);
	t->after = NULL;
	MLO_TRY(mlo_onnx_export(t->a, t->before, "0", &bytes, &n, &t->d));
	if (t->out)
		MLO_TRY(mlo_write_file(mlo_sprintf(t->a, "%s/%s%s.onnx", t->out, t->name, suffix), bytes, n, &t->d));
	t->after = mlo_onnx_load_memory(bytes, n, t->name, NULL, NULL, &t->d);
	if (!t->after)
		return MLO_ERR_FORMAT;
	MLO_TRY(mlo_infer_graph(t->after, &t->d));
	MLO_TRY(same_names(t));
	return computable(t->before) ? same_results(t) : MLO_OK;
}

static MloStatus compare_texts(Trip *t)
{
	if (same_text(text_of(t->a, t->before), text_of(t->a, t->after)))
		return MLO_OK;
	return mlo_error(&t->d, MLO_ERR_INTERNAL, "the graph differs");
}

/* As it is, and as the passes before quantization leave it. */
static MloStatus there_and_back(Trip *t)
{
	static const char spelling[] = "infer,fold,canon,recompose,dce";

	MLO_TRY(mlo_infer_graph(t->before, &t->d));
	MLO_TRY(write_and_read(t, ""));
	MLO_TRY(mlo_passes_run(t->before, spelling, NULL, NULL, &t->d));
	MLO_TRY(mlo_passes_run(t->after, spelling, NULL, NULL, &t->d));
	MLO_TRY(compare_texts(t));
	MLO_TRY(mlo_passes_run(t->before, "float", NULL, NULL, &t->d));
	return write_and_read(t, "-float");
}

/* What says that an operator has no ONNX form, or NULL. */
static const char *formless(const MloDiag *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (strstr(d->lines[i].text, "no ONNX form"))
			return d->lines[i].text;
	return NULL;
}

/* Operators of our own are refused: those count as skipped. */
static void finish(Trip *t)
{
	MloStatus st = t->before ? there_and_back(t) : MLO_ERR_FORMAT;

	if (st == MLO_OK) {
		t->score->passed++;
	} else if (st == MLO_ERR_UNSUPPORTED && formless(&t->d)) {
		printf("SKIP %s: %s\n", t->name, formless(&t->d));
		t->score->skipped++;
	} else {
		printf("FAIL %s\n", t->name);
		mlo_diag_print(&t->d, "export", stdout);
		t->score->failed++;
	}
	fflush(stdout);
	mlo_diag_free(&t->d);
	mlo_graph_free(t->after);
	mlo_graph_free(t->before);
	mlo_arena_free(t->a);
}

static void run_case(const char *folder, const char *file, const char *out, Score *score)
{
	Trip t = {.name = file, .out = out, .a = mlo_arena_new(), .score = score};
	const void *text;
	size_t n;

	if (mlo_map_file(t.a, mlo_sprintf(t.a, "%s/%s", folder, file), &text, &n, &t.d) == MLO_OK)
		t.before = mlo_parse(text, n, NULL, NULL, &t.d);
	finish(&t);
}

static void run_cases(const char *folder, const char *out, Score *score)
{
	struct dirent **list;
	int n = scandir(folder, &list, NULL, alphasort);

	if (n < 0) {
		printf("FAIL cannot read %s\n", folder);
		score->failed++;
	}
	for (int i = 0; i < n; i++) {
		if (strstr(list[i]->d_name, ".ir"))
			run_case(folder, list[i]->d_name, out, score);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void run_random(const char *out, Score *score)
{
	for (int i = 1; i <= NRANDOM; i++) {
		Trip t = {.out = out, .a = mlo_arena_new(), .score = score};

		t.name = mlo_sprintf(t.a, "random-%d", i);
		t.before = random_graph((uint64_t)i, 1 + i % 17);
		finish(&t);
	}
}

/* GROUP/NAME/model.onnx or NAME.onnx */
static const char *model_name(MloArena *a, const char *path)
{
	char *name = mlo_strdup(a, path), *slash = strrchr(name, '/');

	if (slash && !strcmp(slash + 1, "model.onnx")) {
		*slash = 0;
		slash = strrchr(name, '/');
	}
	return slash ? slash + 1 : name;
}

int main(int argc, char **argv)
{
	const char *out = argc > 2 ? argv[2] : NULL;
	char path[4096];
	Score score = {0};

	if (argc < 2) {
		fprintf(stderr, "usage: run CASES [OUT] < LIST\n");
		return 2;
	}
	run_cases(argv[1], out, &score);
	run_random(out, &score);
	while (fgets(path, sizeof path, stdin)) {
		Trip t = {.out = out, .a = mlo_arena_new(), .score = &score};

		path[strcspn(path, "\n")] = 0;
		t.name = model_name(t.a, path);
		t.before = mlo_onnx_load(path, NULL, &t.d);
		finish(&t);
	}
	return support_finish(&score);
}
