/* tests/support/models.c -- lists of models, models with what was recorded of them, and quantised ones. */
#include "tests/support/models.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/exec.h"
#include "passes/pass.h"
#include "quant/ptq.h"
#include "tools/compile.h"
#include "tools/npy.h"

static bool wanted(const char *name, char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strstr(name, names[i]))
			return true;
	return n == 0;
}

bool support_models(const char *list, char *const *names, int n, void (*f)(void *user, const ModelEntry *e), void *user, Score *score)
{
	const char *models = getenv("MLOPT_MODELS"), *zoo = getenv("MLOPT_ZOO");
	FILE *file = list ? fopen(list, "r") : NULL;
	char line[256], path[4096];

	while (file && fgets(line, sizeof line, file)) {
		ModelEntry e = {.name = line, .path = path, .zoo = !strchr(line, '/'), .int8 = strstr(line, " int8")};
		const char *folder = e.zoo ? zoo : models;

		line[strcspn(line, " \n")] = 0;
		if (!*line || *line == '#' || !wanted(line, names, n))
			continue;
		snprintf(path, sizeof path, "%s/%s%s", folder ? folder : "", line, e.zoo ? ".onnx" : "/model.onnx");
		if (!folder || access(path, R_OK)) {
			printf("SKIP %s: not in %s\n", line, e.zoo ? "MLOPT_ZOO" : "MLOPT_MODELS");
			score->skipped++;
			continue;
		}
		snprintf(path, sizeof path, "%s/%s", folder, line);
		f(user, &e);
	}
	if (file)
		fclose(file);
	return file;
}

/* -- models ---------------------------------------------------------------------------------------- */

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

MloStatus support_load(const ModelEntry *e, Model *m, MloDiag *d)
{
	*m = (Model){.name = e->name, .a = mlo_arena_new()};
	if (!m->a)
		return MLO_ERR_NOMEM;
	return e->zoo ? load_zoo(m, e->path, d) : load_folder(m, e->path, d);
}

void support_unload(Model *m)
{
	mlo_graph_free(m->g);
	mlo_arena_free(m->a);
}

/* -- quantization --------------------------------------------------------------------------------- */

bool support_is_quantised(const MloGraph *g)
{
	const MloNode *n = g->first;

	while (n && n->op != OP_quantize_linear)
		n = n->next;
	return n != NULL;
}

static void observe(void *user, const MloNode *n, const MloValue *v, const MloTensor *t)
{
	MloPtqTensor *p = mlo_ptq_tensor(user, v);

	if (p && p->wanted)
		mlo_observe(&p->stats, t->data, mlo_tensor_elems(t));
}

static void observe_ends(MloPtq *q)
{
	static const float ends[] = {-1, 1};

	for (size_t i = 0; i < q->ntensors; i++)
		mlo_observe(&q->tensor[i].stats, ends, 2);
}

static MloStatus observe_run(MloPtq *q, const MloTensor *const *in, MloDiag *d)
{
	MloTensor *results[64];

	for (uint32_t i = 0; i < q->g->ninputs; i++)
		observe(q, NULL, q->g->inputs[i], in[i]);
	return mlo_exec_graph(q->g->arena, q->g, in, results, observe, q, d);
}

MloStatus support_quantise(MloGraph *g, const MloTensor *const *in, MloGraph **out, MloDiag *d)
{
	const MloPtqOptions opt = {.range = RANGE_MINMAX};
	bool some = false;
	MloPtq *q;

	*out = NULL;
	MLO_TRY(mlo_passes_run(g, "float", NULL, NULL, d));
	q = mlo_ptq_new(g->arena, g, &opt);
	for (size_t i = 0; i < q->ntensors; i++)
		q->tensor[i].stats.bin = MLO_NEWN(g->arena, float, OBSERVE_BINS);
	for (size_t i = 0; i < q->nlayers; i++)
		some |= q->layer[i].on;
	if (!some)
		return MLO_OK;
	if (in)
		MLO_TRY(observe_run(q, in, d));
	else
		observe_ends(q);
	mlo_ptq_ranges(q);
	*out = mlo_graph_clone(g);
	return *out ? mlo_ptq_apply(q, *out, NULL, d) : MLO_ERR_NOMEM;
}
