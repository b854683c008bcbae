/* tools/job_shapes.c -- InputConfig.DataInputConfig of a compile job: shapes of inputs, and what a model makes of them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/compile.h"
#include "tools/job.h"

#define SHAPES "InputConfig.DataInputConfig"
enum { MAX_DIM = 1 << 30 };

/* "1..10" */
static bool read_range(const char *text, JobDim *dim)
{
	char *end;

	dim->lo = strtol(text, &end, 10);
	if (end == text || strncmp(end, "..", 2) != 0)
		return false;
	text = end + 2;
	dim->hi = strtol(text, &end, 10);
	return end != text && !*end && dim->lo >= 1 && dim->lo <= dim->hi && dim->hi <= MAX_DIM;
}

static void bad_dim(JobReader *r, const json_t *v, const char *at)
{
	char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

	job_error(r, MLO_ERR_FORMAT, "%s is %.60s: a dimension is a number from 1 to %d, or a range of them, \"1..10\"",
		  at, text ? text : "", MAX_DIM);
	free(text);
}

static bool read_dims(JobReader *r, const json_t *list, const char *at, JobShape *shape)
{
	json_t *v;
	size_t i;

	if (json_array_size(list) > MLO_MAX_RANK) {
		job_error(r, MLO_ERR_LIMIT, "%s has %zu dimensions, there can be up to %d", at, json_array_size(list),
			  MLO_MAX_RANK);
		return false;
	}
	json_array_foreach((json_t *)list, i, v) {
		const char *place = mlo_sprintf(r->a, "%s[%zu]", at, i);
		JobDim *dim = &shape->dim[i];

		if (json_is_array(v)) {
			job_error(r, MLO_ERR_UNSUPPORTED, "%s is a list: shapes to choose from cannot be compiled", at);
			mlo_hint(r->d, "say a range where they differ, \"1..10\", or compile a package for each");
			return false;
		}
		if (json_is_integer(v) && json_integer_value(v) >= 1 && json_integer_value(v) <= MAX_DIM) {
			dim->lo = dim->hi = json_integer_value(v);
		} else if (!json_is_string(v) || !read_range(json_string_value(v), dim)) {
			bad_dim(r, v, place);
			return false;
		}
	}
	shape->rank = (int)json_array_size(list);
	return true;
}

static const JobField whole[] = {{.kind = JOB_NUMBER}};
static const JobField long_form[] = {
	{"shape", JOB_LIST, .required = true},
	{"default_shape", JOB_LIST, .members = whole, .idle = "every run says its sizes"},
	{"type", JOB_TEXT, .values = (const char *const[]){"Tensor", "Image", NULL}},
	{0},
};

/* {"shape": [...], "default_shape": [...], "type": "Tensor"}; of the form for images only the refusal. */
static const json_t *read_long(JobReader *r, const json_t *v, const char *at)
{
	const json_t *shape = json_object_get(v, "shape");
	const char *type = job_text(v, "type");
	json_t *rest;

	if (type && strcmp(type, "Image") == 0) {
		job_error(r, MLO_ERR_UNSUPPORTED, "%s: inputs of type Image, with bias and scale, are Core ML's", at);
		mlo_hint(r->d, "put the preparation into the model; 'mlopt eval' and 'quantize' know --preprocess for "
			       "their samples");
		return NULL;
	}
	if (shape && !json_is_array(shape)) {
		job_error(r, MLO_ERR_FORMAT, "%s is not a list of dimensions", job_member(r, at, "shape"));
		return NULL;
	}
	rest = json_copy((json_t *)v); /* `shape` is checked with its ranges */
	if (rest && shape)
		json_object_set_new(rest, "shape", json_array());
	if (rest)
		job_check(r, rest, long_form, at);
	json_decref(rest);
	return shape;
}

static bool given(const Job *job, const char *input)
{
	size_t n = strlen(input);

	for (size_t i = 0; i < job->ngiven; i++)
		if (strncmp(job->given[i], input, n) == 0 && job->given[i][n] == '=')
			return true;
	return false;
}

void job_shapes(JobReader *r, const char *text)
{
	json_t *all = job_json(r, text, strlen(text), SHAPES), *v;
	const char *name;

	if (!all)
		return;
	if (!json_is_object(all) || json_object_size(all) == 0) {
		job_error(r, MLO_ERR_FORMAT, SHAPES " holds %.60s: inputs have names, {\"name\": [1,3,224,224]}", text);
		return;
	}
	json_object_foreach(all, name, v) {
		const char *at = job_member(r, SHAPES, name);
		const json_t *list = json_is_object(v) ? read_long(r, v, at) : v;
		JobShape shape = {.input = mlo_strdup(r->a, name)};

		if (json_is_object(v) && !list)
			continue;
		if (!json_is_array(list)) {
			job_error(r, MLO_ERR_FORMAT, "%s is neither a list of dimensions nor {\"shape\": ...}", at);
			continue;
		}
		if (!read_dims(r, list, at, &shape))
			continue;
		if (given(r->job, name))
			mlo_note(r->d, "%s: the shape of '%s' is what the command line says, not " SHAPES, r->path,
				 name);
		else
			MLO_PUSH(r->a, &r->job->shapes, shape);
	}
}

/* -- what they mean for a model ----------------------------------------------------------------------------- */

typedef struct Binder {
	MloArena *a;
	MloDiag *d;
	const char **list;
	size_t *n, most;
} Binder;

static MloStatus add(Binder *b, const char *text)
{
	for (size_t i = 0; i < *b->n; i++)
		if (strcmp(b->list[i], text) == 0)
			return MLO_OK;
	if (*b->n == b->most)
		return mlo_error(b->d, MLO_ERR_LIMIT, "more than %zu shapes", b->most);
	b->list[(*b->n)++] = text;
	return MLO_OK;
}

static bool has_range(const JobShape *s)
{
	for (int i = 0; i < s->rank; i++)
		if (s->dim[i].lo != s->dim[i].hi)
			return true;
	return false;
}

/* INPUT=1x3x224x224 */
static MloStatus bind_fixed(Binder *b, const JobShape *s)
{
	MloStr text = {.arena = b->a};

	mlo_str_add(&text, "%s=", s->input);
	for (int i = 0; i < s->rank; i++)
		mlo_str_add(&text, "%s%" PRId64, i ? "x" : "", s->dim[i].lo);
	return add(b, mlo_str_text(&text));
}

static MloStatus bind_dim(Binder *b, const JobShape *s, int i, MloDim dim)
{
	const JobDim *want = &s->dim[i];
	MloStr name = {.arena = b->a};

	if (mlo_dim_known(dim) && dim.k >= want->lo && dim.k <= want->hi)
		return MLO_OK;
	if (mlo_dim_known(dim))
		return mlo_error(b->d, MLO_ERR_USAGE,
				 SHAPES ".%s[%d] is %" PRId64 "..%" PRId64 ", the model has %" PRId64 " there",
				 s->input, i, want->lo, want->hi, (int64_t)dim.k);
	mlo_dim_print(&name, dim);
	return add(b, want->lo == want->hi
			      ? mlo_sprintf(b->a, "%s=%" PRId64, mlo_str_text(&name), want->lo)
			      : mlo_sprintf(b->a, "%s=%" PRId64 "..%" PRId64, mlo_str_text(&name), want->lo, want->hi));
}

/* Dimensions with ranges go by the names that the model gives them. */
static MloStatus bind_open(Binder *b, const JobShape *s, const MloGraph *g)
{
	for (uint32_t k = 0; k < g->ninputs; k++) {
		const MloType *t = &g->inputs[k]->type;

		if (strcmp(g->inputs[k]->name, s->input) != 0)
			continue;
		if (t->rank != s->rank)
			return mlo_error(b->d, MLO_ERR_USAGE, SHAPES ".%s has %d dimensions, the model's input %d",
					 s->input, s->rank, t->rank);
		for (int i = 0; i < s->rank; i++)
			MLO_TRY(bind_dim(b, s, i, t->dim[i]));
		return MLO_OK;
	}
	return mlo_error(b->d, MLO_ERR_USAGE, SHAPES ": the model has no input '%s'", s->input);
}

MloStatus job_bind(MloArena *a, const Job *job, const char **list, size_t *n, size_t most, MloDiag *d)
{
	const MloLoadOptions lo = {.keep_symbols = true, .quiet = true, .as_written = true};
	Binder b = {a, d, list, n, most};
	MloStatus st = MLO_OK;
	MloGraph *g = NULL;

	for (size_t i = 0; st == MLO_OK && i < job->shapes.n; i++) {
		const JobShape *s = &job->shapes.items[i];

		if (has_range(s) && !g)
			st = mlo_load_model(job->model, &lo, &g, d);
		if (st == MLO_OK)
			st = has_range(s) ? bind_open(&b, s, g) : bind_fixed(&b, s);
	}
	mlo_graph_free(g);
	return st;
}
