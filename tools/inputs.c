/* tools/inputs.c -- values of inputs from .npy and .pb files. */
#include "tools/inputs.h"

#include <string.h>

#include "frontend/onnx.h"
#include "tools/npy.h"
#include "tools/objects.h"

static bool ends_with(const char *s, const char *tail)
{
	size_t n = strlen(s), k = strlen(tail);

	return n >= k && strcmp(s + n - k, tail) == 0;
}

MloStatus inputs_read(Inputs *x, MloArena *a, const char *const *text, size_t n, MloDiag *d)
{
	*x = (Inputs){a, MLO_NEWN(a, GivenInput, n + 1), n};
	for (size_t i = 0; i < n; i++) {
		GivenInput *g = &x->given[i];
		const char *eq = strchr(text[i], '=');

		g->name = eq ? mlo_strndup(a, text[i], (size_t)(eq - text[i])) : NULL;
		g->file = eq ? eq + 1 : text[i];
		if (strcmp(g->file, "random") == 0)
			g->file = NULL;
		else if (!ends_with(g->file, ".pb"))
			MLO_TRY(mlo_npy_read(a, g->file, &g->tensor, d));
	}
	return MLO_OK;
}

MloStatus inputs_read_pb(Inputs *x, GivenInput *g, const MloType *t, MloDiag *d)
{
	size_t before = d->nerrors;

	if (g->tensor || !g->file || !ends_with(g->file, ".pb"))
		return MLO_OK;
	g->tensor = mlo_onnx_read_value(x->a, g->file, t, d);
	if (!g->tensor && d->nerrors == before)
		mlo_error(d, MLO_ERR_FORMAT, "'%s' holds no value of the input's type", g->file);
	return g->tensor ? MLO_OK : MLO_ERR_FORMAT;
}

static bool same_shape(const ModelTensor *want, const MloTensor *have)
{
	if (have->object || want->kind)
		return have->object && want->kind && strcmp(mlo_kind_text(have->object->kind), want->kind) == 0;
	if (want->elem != have->elem || want->rank != have->rank)
		return false;
	for (int i = 0; i < want->rank; i++) {
		if (want->dim[i] >= 0 && want->dim[i] != have->dim[i])
			return false;
	}
	return true;
}

MloStatus inputs_take(Inputs *x, const Model *m, uint64_t seed, MloTensor **in, MloDiag *d)
{
	for (size_t i = 0; i < x->n; i++) {
		GivenInput *g = &x->given[i];
		MloType type;
		size_t at = 0;

		if (!g->name && m->nin != 1)
			return mlo_error(d, MLO_ERR_USAGE, "%s has %zu inputs: write --input NAME=%s",
					 m->path, m->nin, g->file ? g->file : "random");
		if (g->name)
			MLO_TRY(model_find_input(m, g->name, &at, d));
		type = model_type(&m->in[at]);
		MLO_TRY(inputs_read_pb(x, g, &type, d));
		if (!g->tensor && m->in[at].kind)
			continue; /* there are no random ones */
		if (!g->tensor)
			g->tensor = model_random(x->a, &m->in[at], seed + at * 1000003);
		if (!same_shape(&m->in[at], g->tensor)) {
			ModelTensor have = {.elem = g->tensor->elem, .rank = g->tensor->rank};

			memcpy(have.dim, g->tensor->dim, sizeof have.dim);
			return mlo_error(d, MLO_ERR_MODEL, "input '%s' is %s, '%s' holds %s", m->in[at].name,
					 model_type_text(x->a, &m->in[at]), g->file, model_type_text(x->a, &have));
		}
		in[at] = g->tensor;
	}
	return MLO_OK;
}
