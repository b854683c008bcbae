/* tools/quantize_profile.c -- ranges of tensors as a JSON file, so that samples need not be run again. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/npy.h"
#include "tools/outfile.h"
#include "tools/quantize.h"

MloStatus profile_save(const MloPtq *q, const char *path, int64_t samples, MloDiag *d)
{
	json_t *root = json_object(), *ranges = json_object();
	MloStatus st = MLO_ERR_NOMEM;
	char *text;

	for (size_t i = 0; i < q->ntensors; i++) {
		const MloPtqTensor *t = &q->tensor[i];

		if (t->wanted && t->v->name)
			json_object_set_new(ranges, t->v->name, json_pack("[f,f,f,f]", t->own.lo, t->own.hi, t->seen.lo, t->seen.hi));
	}
	json_object_set_new(root, "format", json_string("mlopt ranges 2"));
	json_object_set_new(root, "samples", json_integer(samples));
	json_object_set_new(root, "ranges", ranges);
	text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	if (text)
		st = mlo_write_file(path, text, strlen(text), d);
	else
		mlo_error(d, st, "out of memory");
	free(text);
	json_decref(root);
	return st;
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
	}
	json_decref(root);
	mlo_arena_free(a);
	return st;
}
