/* tests/conform/facts.c -- one line about one case. */
#include "tests/conform/facts.h"

#include <jansson.h>
#include <string.h>

#include "frontend/onnx.h"
#include "tools/npy.h"

/* Adds a word unless it is there. */
static void add_once(MloStr *s, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = s->s; at && (at = strstr(at, word)); at += n)
		if ((at == s->s || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
			return;
	mlo_str_add(s, "%s%s", s->n ? " " : "", word);
}

static void see(void *user, const char *domain, const char *type)
{
	MloStr *ops = user;

	add_once(ops, mlo_sprintf(ops->arena, "%s:%s", domain, type));
}

static void add_elems(MloStr *s, MloValue *const *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (v[i]->type.elem != EL_none)
			add_once(s, mlo_elem_text(v[i]->type.elem));
}

/* The steps of the first variant: those of the machine that ran it. */
static void add_tiers(MloStr *s, const char *manifest)
{
	json_t *j = json_loads(manifest, 0, NULL), *step, *op;
	size_t i, k;

	json_array_foreach(json_object_get(json_array_get(json_object_get(j, "variants"), 0), "steps"), i, step) {
		const char *tier = json_string_value(json_object_get(step, "tier"));

		json_array_foreach(json_object_get(step, "ops"), k, op)
			add_once(s, mlo_sprintf(s->arena, "%s=%s", json_string_value(op), tier));
	}
	json_decref(j);
}

/* Without the characters that separate. */
static const char *one_line(MloArena *a, const char *text)
{
	char *s = mlo_strdup(a, text);

	for (char *p = s; *p; p++)
		if (*p == '\t' || *p == '\n')
			*p = ' ';
	return s;
}

void facts_write(FILE *f, MloArena *a, const char *runner, const char *name, const char *model, const char *manifest,
                 const char *why)
{
	MloStr elems = {.arena = a}, ops = {.arena = a}, tiers = {.arena = a};
	MloDiag d = {0};
	MloGraph *g = mlo_onnx_load(model, NULL, &d);
	const void *bytes;
	size_t n;

	if (g && mlo_infer_graph(g, &d) == MLO_OK) {
		add_elems(&elems, g->inputs, g->ninputs);
		add_elems(&elems, g->outputs, g->noutputs);
	}
	mlo_graph_free(g);
	if (mlo_map_file(a, model, &bytes, &n, &d) != MLO_OK || mlo_onnx_nodes(a, bytes, n, see, &ops, &d) != MLO_OK)
		mlo_str_add(&ops, ":");
	if (manifest)
		add_tiers(&tiers, manifest);
	fprintf(f, "%s\t%s\t%s\t%s\t%s\t%s\n", runner, name, !why ? "" : *why ? one_line(a, why) : "fails",
	        mlo_str_text(&elems), mlo_str_text(&ops), mlo_str_text(&tiers));
	mlo_diag_free(&d);
}
