/* tools/manifest.c -- the JSON manifest of a package. */
#include "tools/manifest.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/format.h"
#include "tools/compile.h"
#include "tools/objects.h"
#include "tools/provenance.h"

enum { MAX_META = 1024 }; /* bytes of one metadata value that are kept */

static json_t *text(const char *s)
{
	return mlo_json_text(s);
}

static json_t *whole(double v)
{
	return json_integer(v < 0 ? 0 : v > 9e18 ? (json_int_t)9e18 : (json_int_t)v);
}

/* Names of open sizes: NULL when there is none. */
static json_t *dim_names(const MloType *t, MloArena *a)
{
	json_t *names = json_array();

	for (int i = 0; i < t->rank; i++) {
		MloStr s = {.arena = a};

		if (!mlo_dim_known(t->dim[i]))
			mlo_dim_print(&s, t->dim[i]);
		json_array_append_new(names, mlo_dim_known(t->dim[i]) ? json_null() : text(mlo_str_text(&s)));
	}
	return names;
}

static json_t *object(json_t *j, const MloType *t)
{
	json_object_set_new(j, "kind", text(mlo_kind_text(t->kind)));
	if (t->key != EL_none)
		json_object_set_new(j, "key", text(mlo_elem_text(t->key)));
	json_object_set_new(j, "dims", json_array());
	json_object_set_new(j, "bytes", json_integer(0));
	return j;
}

static json_t *tensor(MloArena *a, const char *name, const MloType *t)
{
	json_t *j = json_object(), *dims = json_array();

	json_object_set_new(j, "name", text(name));
	json_object_set_new(j, "elem", text(mlo_elem_text(t->elem)));
	if (mlo_type_object(t)) {
		json_decref(dims);
		return object(j, t);
	}
	for (int i = 0; i < t->rank; i++)
		json_array_append_new(dims, json_integer(mlo_dim_known(t->dim[i]) ? t->dim[i].k : -1));
	json_object_set_new(j, "dims", dims);
	json_object_set_new(j, "bytes", json_integer(mlo_type_static(t) ? mlo_type_bytes(t) : 0));
	if (!mlo_type_static(t))
		json_object_set_new(j, "dim_names", dim_names(t, a));
	return j;
}

/* A node that was rewritten into several is named once. */
static bool listed_before(const MloOrigin *first, const MloOrigin *o)
{
	while (first != o && (strcmp(first->name, o->name) != 0 || strcmp(first->op, o->op) != 0))
		first = first->next;
	return first != o;
}

/* Of open sizes, as of `tasks`, a guess. */
static int64_t launch_blocks(const MloStepInfo *s)
{
	const int64_t each = s->launch->tasks_per_block;

	return each ? (s->ntasks + each - 1) / each : s->launch->blocks;
}

/* parts: blocks that share a tile, if several do, each of which keeps so many bytes of sums. */
static json_t *describe_launch(const MloStepInfo *s)
{
	const int64_t blocks = launch_blocks(s);
	json_t *j = json_object();

	json_object_set_new(j, "threads", json_integer(s->launch->threads));
	json_object_set_new(j, "blocks", json_integer(blocks));
	json_object_set_new(j, "shared", json_integer(s->launch->shared_bytes));
	if (s->launch->counters) {
		json_object_set_new(j, "parts", json_integer(blocks / s->launch->counters));
		json_object_set_new(j, "kept", json_integer((json_int_t)s->launch->scratch_bytes));
	}
	return j;
}

static json_t *step(const MloStepInfo *s)
{
	json_t *j = json_object(), *nodes = json_array(), *ops = json_array();
	char key[17];

	snprintf(key, sizeof key, "%016" PRIx64, s->key);
	for (const MloOrigin *o = s->origin; o; o = o->next) {
		if (listed_before(s->origin, o))
			continue;
		json_array_append_new(nodes, text(o->name));
		json_array_append_new(ops, text(o->op));
	}
	json_object_set_new(j, "name", text(s->name));
	json_object_set_new(j, "kernel", text(key));
	json_object_set_new(j, "nodes", nodes);
	json_object_set_new(j, "ops", ops);
	json_object_set_new(j, "flops", whole(s->flops));
	json_object_set_new(j, "bytes", whole(s->bytes));
	if (s->open)
		json_object_set_new(j, "open", json_true());
	json_object_set_new(j, "tasks", json_integer(s->ntasks));
	if (s->beside)
		json_object_set_new(j, "beside", json_true());
	json_object_set_new(j, "tier", text(mlo_tier_name[s->tier]));
	json_object_set_new(j, "shape", text(s->shape));
	json_object_set_new(j, "schedule", text(s->schedule));
	if (s->launch)
		json_object_set_new(j, "launch", describe_launch(s));
	if (s->products)
		json_object_set_new(j, "products", text(s->products));
	if (s->choice.from == MLO_CHOICE_MEASURED) { /* else the cost model's */
		json_object_set_new(j, "chosen", text("measured"));
		json_object_set_new(j, "gain", json_real(s->choice.gain));
	}
	if (s->choice.trials)
		json_object_set_new(j, "trials", json_integer(s->choice.trials));
	return j;
}

void mlo_manifest_why(const json_t *step, char *text, size_t n)
{
	const double gain = json_number_value(json_object_get(step, "gain"));
	const long long trials = json_integer_value(json_object_get(step, "trials"));

	if (json_object_get(step, "chosen"))
		snprintf(text, n, "measured: %.1f%% less time than the cost model's", 100 * gain);
	else if (trials)
		snprintf(text, n, "cost model, none of %lld measured others is faster", trials);
	else
		snprintf(text, n, "cost model");
}

/* "avx2,fma" -> ["avx2", "fma"] */
static json_t *features(const char *needs)
{
	json_t *list = json_array();

	while (needs && *needs) {
		size_t n = strcspn(needs, ",");

		if (n)
			json_array_append_new(list, json_stringn(needs, n));
		needs += n + (needs[n] == ',');
	}
	return list;
}

static json_t *variant(const MloManifestVariant *v)
{
	json_t *j = json_object(), *steps = json_array();
	json_int_t tuned = 0;

	json_object_set_new(j, "name", text(v->target->name));
	json_object_set_new(j, "arch", text(v->target->arch));
	json_object_set_new(j, "needs", features(v->target->needs));
	json_object_set_new(j, "code", json_integer((json_int_t)v->code));
	if (v->target->gpu)
		json_object_set_new(j, "launches", json_integer((json_int_t)v->launches));
	if (v->cubin)
		json_object_set_new(j, "cubin", json_integer((json_int_t)v->cubin));
	json_object_set_new(j, "weights", json_integer((json_int_t)v->weights));
	json_object_set_new(j, "program", json_integer((json_int_t)v->program));
	if (v->golden_data)
		json_object_set_new(j, "golden", json_integer((json_int_t)v->golden));
	json_object_set_new(j, "arena_bytes", json_integer((json_int_t)v->made->arena_bytes));
	json_object_set_new(j, "scratch_bytes", json_integer((json_int_t)v->made->scratch_bytes));
	json_object_set_new(j, "precision", text(v->precision));
	for (size_t i = 0; i < v->made->nsteps; i++)
		tuned += v->made->steps[i].choice.from == MLO_CHOICE_MEASURED;
	if (tuned)
		json_object_set_new(j, "tuned", json_integer(tuned));
	for (size_t i = 0; i < v->made->nsteps; i++)
		json_array_append_new(steps, step(&v->made->steps[i]));
	json_object_set_new(j, "steps", steps);
	return j;
}

static const char *meta_of(const MloGraph *g, const char *key)
{
	for (const MloMeta *m = g->meta; m; m = m->next) {
		if (strcmp(m->key, key) == 0)
			return m->value;
	}
	return NULL;
}

/* What the model says of itself, and what it costs. */
static json_t *meta(const MloGraph *g)
{
	json_t *j = json_object();

	for (const MloMeta *m = g->meta; m; m = m->next) {
		json_t *value =
			strncmp(m->key, "mlopt.", 6) && strlen(m->value) <= MAX_META ? text(m->value) : NULL;

		if (value && json_object_set_new(j, m->key, value) != 0)
			json_object_set_new(j, "unreadable", text("a key that is not UTF-8"));
	}
	json_object_set_new(j, "mlopt.macs", whole(mlo_graph_macs(g)));
	json_object_set_new(j, "mlopt.parameters", json_integer(mlo_graph_params(g)));
	return j;
}

static json_t *texts(const char *const *list, size_t n)
{
	json_t *j = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(j, text(list[i]));
	return j;
}

/* What decides about the package beside what is listed elsewhere (precision, measured schedules): no paths, for where files were
 * is nobody's business, and nothing of how it was made, as threads and caches. */
static json_t *options(const MloManifest *m)
{
	const MloptOptions *opt = m->opt;
	json_t *j = json_object(), *consts = json_array();

	json_object_set_new(j, "target", text(opt->target ? opt->target : "native"));
	json_object_set_new(j, "level", json_integer(opt->level));
	json_object_set_new(j, "shapes", texts(opt->shapes, opt->nshapes));
	for (size_t i = 0; i < opt->nconsts; i++)
		json_array_append_new(consts, json_stringn(opt->consts[i], strcspn(opt->consts[i], "=")));
	if (opt->nconsts)
		json_object_set_new(j, "consts", consts);
	else
		json_decref(consts);
	if (opt->nstates)
		json_object_set_new(j, "states", texts(opt->states, opt->nstates));
	json_object_set_new(j, "winograd", json_boolean(!opt->no_winograd));
	if (opt->tier)
		json_object_set_new(j, "tier", text(opt->tier));
	for (size_t i = 0; i < m->noptions; i++)
		json_object_set_new(j, m->options[i][0], text(m->options[i][1]));
	return j;
}

/* Of the first variant: all have as many vectors. */
static void add_golden(json_t *j, const MloManifestVariant *v)
{
	const MlrtGolden *g = v->golden_data;

	if (g)
		json_object_set_new(j, "golden", json_pack("{s:i,s:f}", "vectors", (int)g->nvectors, "nmse", g->nmse));
}

static void add_optional(json_t *j, const char *key, const char *value)
{
	if (value)
		json_object_set_new(j, key, text(value));
}

static json_t *states(const MloManifest *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->nstates; i++) {
		json_t *j = json_object();

		json_object_set_new(j, "input", json_integer((json_int_t)m->state[i][0]));
		json_object_set_new(j, "output", json_integer((json_int_t)m->state[i][1]));
		json_array_append_new(list, j);
	}
	return list;
}

static json_t *build(MloArena *a, const MloManifest *m)
{
	const MloGraph *g = m->graph;
	const char *hash = meta_of(g, MLO_MODEL_HASH);
	json_t *j = json_object(), *ins = json_array(), *outs = json_array(), *vars = json_array();
	json_t *external = mlo_external_json(g);
	char tool[64];

	snprintf(tool, sizeof tool, "mlopt %s", mlopt_version());
	json_object_set_new(j, "format", json_integer(1));
	json_object_set_new(j, "name", text(mlo_package_name(m)));
	add_optional(j, "version", mlo_package_version(m));
	add_optional(j, "license", mlo_package_license(m));
	json_object_set_new(j, "model_hash", text(hash));
	add_optional(j, "model_sha256", meta_of(g, MLO_MODEL_SHA256));
	if (external)
		json_object_set_new(j, "external", external);
	json_object_set_new(j, "tool", text(tool));
	for (uint32_t i = 0; i < g->ninputs; i++)
		json_array_append_new(ins, tensor(a, g->inputs[i]->name, &m->typed->inputs[i]->type));
	for (uint32_t i = 0; i < g->noutputs; i++)
		json_array_append_new(outs, tensor(a, g->output_names[i], &m->typed->outputs[i]->type));
	for (size_t i = 0; i < m->nvariants; i++)
		json_array_append_new(vars, variant(&m->variant[i]));
	json_object_set_new(j, "inputs", ins);
	json_object_set_new(j, "outputs", outs);
	if (m->nstates)
		json_object_set_new(j, "states", states(m));
	json_object_set_new(j, "variants", vars);
	json_object_set_new(j, "options", options(m));
	add_golden(j, &m->variant[0]);
	json_object_set_new(j, "meta", meta(g));
	json_object_set_new(j, "sbom", mlo_sbom_json(m));
	return j;
}

static void free_text(void *p)
{
	free(p);
}

MloStatus mlo_manifest_text(MloArena *a, const MloManifest *m, const char **out, MloDiag *d)
{
	json_t *j = build(a, m);
	char *s = j ? json_dumps(j, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

	json_decref(j);
	if (!s)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory for the manifest");
	mlo_defer(a, free_text, s);
	*out = s;
	return MLO_OK;
}
