/* tools/quantize_profile.c -- ranges of tensors as a JSON file, so that samples need not be run again. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/npy.h"
#include "tools/outfile.h"
#include "tools/quantize.h"

static json_t *factors_json(const MloPtqTensor *t)
{
	json_t *j = json_array();

	for (int64_t c = 0; c < t->nfactors; c++)
		json_array_append_new(j, json_real(t->factor[c]));
	return j;
}

MloStatus profile_save(const MloPtq *q, const char *path, int64_t samples, MloDiag *d)
{
	json_t *root = json_object(), *ranges = json_object(), *factors = json_object();
	MloStatus st = MLO_ERR_NOMEM;
	char *text;

	for (size_t i = 0; i < q->ntensors; i++) {
		const MloPtqTensor *t = &q->tensor[i];

		if (t->wanted && t->v->name)
			json_object_set_new(ranges, t->v->name, json_pack("[f,f,f,f]", t->own.lo, t->own.hi, t->seen.lo, t->seen.hi));
		if (t->factor && t->v->name)
			json_object_set_new(factors, t->v->name, factors_json(t));
	}
	json_object_set_new(root, "format", json_string("mlopt ranges 2"));
	json_object_set_new(root, "samples", json_integer(samples));
	json_object_set_new(root, "ranges", ranges);
	json_object_set_new(root, "channel_factors", factors);
	text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	if (text)
		st = mlo_write_file(path, text, strlen(text), d);
	else
		mlo_error(d, st, "out of memory");
	free(text);
	json_decref(root);
	return st;
}

/* Ranges are those of activations whose channels were divided. */
static MloStatus take_factors(MloPtq *q, const char *path, json_t *factors, MloDiag *d)
{
	for (size_t i = 0; i < q->ntensors; i++) {
		MloPtqTensor *t = &q->tensor[i];
		json_t *list = t->v->name ? json_object_get(factors, t->v->name) : NULL;
		size_t n = json_array_size(list);
		double *s;

		if (!t->wanted || !list)
			continue;
		s = MLO_NEWN(q->a, double, n + 1);
		for (size_t c = 0; c < n; c++) {
			s[c] = json_number_value(json_array_get(list, c));
			if (!(s[c] > 0) || !isfinite(s[c]))
				return mlo_error(d, MLO_ERR_FORMAT, "profile '%s': factor %zu of '%s' is no number above 0", path,
						 c, t->v->name);
		}
		if (!mlo_ptq_scale(q, t, s, (int64_t)n)) {
			mlo_error(d, MLO_ERR_MODEL, "profile '%s': the channels of '%s' cannot be scaled by %zu factors", path,
				  t->v->name, n);
			mlo_hint(d, "it is of another model, or other nodes were excluded: calibrate again");
			return MLO_ERR_MODEL;
		}
	}
	return MLO_OK;
}

/* Two numbers of a list, from number i on. */
static bool read_range(json_t *list, size_t i, MloRange *out)
{
	*out = (MloRange){json_number_value(json_array_get(list, i)), json_number_value(json_array_get(list, i + 1))};
	return json_is_number(json_array_get(list, i)) && json_is_number(json_array_get(list, i + 1)) && isfinite(out->lo) &&
	       isfinite(out->hi) && out->lo <= 0 && out->hi >= 0;
}

static MloStatus take(MloPtq *q, const char *path, json_t *ranges, MloDiag *d)
{
	for (size_t i = 0; i < q->ntensors; i++) {
		MloPtqTensor *t = &q->tensor[i];
		json_t *r = t->v->name ? json_object_get(ranges, t->v->name) : NULL;

		if (!t->wanted)
			continue;
		if (!r) {
			mlo_error(d, MLO_ERR_MODEL, "profile '%s' has no range of '%s'", path,
				  t->v->name ? t->v->name : "?");
			mlo_hint(d, "it is of another model, or other nodes were excluded: calibrate again");
			return MLO_ERR_MODEL;
		}
		if (!read_range(r, 0, &t->own) || !read_range(r, 2, &t->seen))
			return mlo_error(d, MLO_ERR_FORMAT,
					 "profile '%s': the range of '%s' is not [LO, HI, LEAST, MOST] with 0 between both pairs",
					 path, t->v->name);
		t->known = true;
	}
	return MLO_OK;
}

MloStatus profile_load(MloPtq *q, const char *path, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	const void *bytes;
	json_error_t e;
	json_t *root = NULL, *ranges;
	size_t n;
	MloStatus st = a ? mlo_map_file(a, path, &bytes, &n, d) : mlo_error(d, MLO_ERR_NOMEM, "out of memory");

	if (st == MLO_OK) {
		root = json_loadb(bytes, n, 0, &e);
		ranges = json_object_get(root, "ranges");
		st = json_is_object(ranges)
			     ? take(q, path, ranges, d)
			     : mlo_error(d, MLO_ERR_FORMAT, "'%s' is no profile that --save-profile wrote", path);
		if (st == MLO_OK)
			st = take_factors(q, path, json_object_get(root, "channel_factors"), d);
	}
	json_decref(root);
	mlo_arena_free(a);
	return st;
}
