/* runtime/manifest.c -- inputs, outputs and variants out of the manifest. */
#include <stdlib.h>
#include <string.h>

#include "runtime/internal.h"
#include "runtime/json.h"

/* Element types by storage: bits (below 8: packed) and alignment in bytes. */
static const struct Elem {
	const char *name;
	unsigned bits, align;
} elems[] = {
	{"f32", 32, 4},     {"f64", 64, 8},       {"f16", 16, 2},   {"bf16", 16, 2},      {"i8", 8, 1},
	{"i16", 16, 2},     {"i32", 32, 4},       {"i64", 64, 8},   {"u8", 8, 1},         {"u16", 16, 2},
	{"u32", 32, 4},     {"u64", 64, 8},       {"bool", 8, 1},   {"c64", 64, 4},       {"c128", 128, 8},
	{"f8e4m3fn", 8, 1}, {"f8e4m3fnuz", 8, 1}, {"f8e5m2", 8, 1}, {"f8e5m2fnuz", 8, 1}, {"f8e8m0", 8, 1},
	{"u4", 4, 1},       {"i4", 4, 1},         {"f4e2m1", 4, 1}, {"u2", 2, 1},         {"i2", 2, 1},
};

typedef struct Reader {
	Json json;
	char *text; /* where the next decoded string goes */
	MlrtError *err;
} Reader;

static MlrtStatus missing(const Reader *r, const char *what, size_t i, const char *key)
{
	return mlrt_fail(r->err, MLRT_ERR_FORMAT, "manifest: %s %zu has no usable '%s'", what, i, key);
}

/* A string member; the decoded strings of one manifest take no more room than its text. */
static const char *text_of(Reader *r, uint32_t node)
{
	char *s = r->text;

	if (!mlrt_json_is(&r->json, node, JSON_STRING))
		return NULL;
	r->text += mlrt_json_string(&r->json, node, s) + 1;
	return s;
}

static const char *text_member(Reader *r, uint32_t object, const char *key)
{
	return text_of(r, mlrt_json_get(&r->json, object, key));
}

static bool size_member(const Reader *r, uint32_t object, const char *key, uint64_t *v)
{
	int64_t i;

	if (!mlrt_json_int(&r->json, mlrt_json_get(&r->json, object, key), &i) || i < 0)
		return false;
	*v = (uint64_t)i;
	return true;
}

static const struct Elem *elem_named(const char *name)
{
	for (size_t i = 0; name && i < sizeof elems / sizeof *elems; i++)
		if (strcmp(elems[i].name, name) == 0)
			return &elems[i];
	return NULL;
}

static bool read_dims(const Reader *r, uint32_t dims, Tensor *t, uint64_t *count)
{
	int k = 0;

	*count = 1;
	if (!mlrt_json_is(&r->json, dims, JSON_ARRAY) || r->json.node[dims].n > MLRT_MAX_RANK)
		return false;
	for (uint32_t d = r->json.node[dims].child; d; d = r->json.node[d].next, k++)
		if (!mlrt_json_int(&r->json, d, &t->dims[k]) || t->dims[k] < 0 ||
		    __builtin_mul_overflow(*count, (uint64_t)t->dims[k], count))
			return false;
	t->info.rank = k;
	return true;
}

static MlrtStatus read_tensor(Reader *r, const char *what, size_t i, uint32_t node, Tensor *t)
{
	const struct Elem *elem;
	uint64_t count, bits, bytes;

	t->info.name = text_member(r, node, "name");
	if (!t->info.name)
		return missing(r, what, i, "name");
	t->info.elem = text_member(r, node, "elem");
	elem = elem_named(t->info.elem);
	if (!elem)
		return mlrt_fail(r->err, MLRT_ERR_FORMAT,
				 "manifest: %s '%.80s' has the unknown element type '%.20s'", what,
				 t->info.name, t->info.elem ? t->info.elem : "");
	if (!read_dims(r, mlrt_json_get(&r->json, node, "dims"), t, &count))
		return missing(r, what, i, "dims");
	if (!size_member(r, node, "bytes", &bytes))
		return missing(r, what, i, "bytes");
	if (__builtin_mul_overflow(count, elem->bits, &bits) || bits > INT64_MAX || (bits + 7) / 8 != bytes ||
	    bytes > SIZE_MAX / 2)
		return mlrt_fail(r->err, MLRT_ERR_FORMAT,
				 "manifest: %s '%.80s' states %llu bytes, its shape differs", what,
				 t->info.name, (unsigned long long)bytes);
	t->info.bytes = bytes;
	t->info.dims = t->dims;
	t->align = elem->align;
	return MLRT_OK;
}

static MlrtStatus read_tensors(Reader *r, const char *key, const char *what, Tensor **out, size_t *n)
{
	uint32_t list = mlrt_json_get(&r->json, 1, key);
	size_t i = 0;

	if (!mlrt_json_is(&r->json, list, JSON_ARRAY))
		return mlrt_fail(r->err, MLRT_ERR_FORMAT, "manifest: no list of %s", key);
	*n = r->json.node[list].n;
	*out = calloc(*n + 1, sizeof **out);
	if (!*out)
		return mlrt_fail(r->err, MLRT_ERR_NOMEM, "out of memory");
	for (uint32_t node = r->json.node[list].child; node; node = r->json.node[node].next, i++) {
		MlrtStatus st = read_tensor(r, what, i, node, &(*out)[i]);

		if (st)
			return st;
	}
	return MLRT_OK;
}

static bool read_needs(Reader *r, uint32_t list, Variant *v)
{
	v->needs = r->text; /* the strings of the list come to lie one behind the other */
	if (!mlrt_json_is(&r->json, list, JSON_ARRAY))
		return false;
	for (uint32_t node = r->json.node[list].child; node; node = r->json.node[node].next, v->nneeds++)
		if (!text_of(r, node))
			return false;
	return true;
}

static bool is_blob(const Container *c, uint64_t number, uint32_t kind)
{
	return number < c->header.nblobs && c->blob[number].kind == kind;
}

static MlrtStatus read_variant(Reader *r, const Container *c, size_t i, uint32_t node, Variant *v)
{
	v->name = text_member(r, node, "name");
	v->arch = text_member(r, node, "arch");
	if (!v->name || !v->arch)
		return missing(r, "variant", i, v->name ? "arch" : "name");
	if (!read_needs(r, mlrt_json_get(&r->json, node, "needs"), v))
		return missing(r, "variant", i, "needs");
	if (!size_member(r, node, "code", &v->code) || !is_blob(c, v->code, MLRT_CODE))
		return missing(r, "variant", i, "code");
	if (!size_member(r, node, "program", &v->program) || !is_blob(c, v->program, MLRT_PROGRAM))
		return missing(r, "variant", i, "program");
	v->weights = UINT64_MAX;
	if (mlrt_json_get(&r->json, node, "weights") &&
	    (!size_member(r, node, "weights", &v->weights) || !is_blob(c, v->weights, MLRT_WEIGHTS)))
		return missing(r, "variant", i, "weights");
	if (!size_member(r, node, "arena_bytes", &v->arena_bytes))
		return missing(r, "variant", i, "arena_bytes");
	if (!size_member(r, node, "scratch_bytes", &v->scratch_bytes))
		return missing(r, "variant", i, "scratch_bytes");
	return MLRT_OK;
}

static MlrtStatus read_variants(Reader *r, Manifest *m, const Container *c)
{
	uint32_t list = mlrt_json_get(&r->json, 1, "variants");
	size_t i = 0;

	if (!mlrt_json_is(&r->json, list, JSON_ARRAY) || r->json.node[list].n == 0)
		return mlrt_fail(r->err, MLRT_ERR_FORMAT, "manifest: no list of variants");
	m->nvariants = r->json.node[list].n;
	m->variant = calloc(m->nvariants, sizeof *m->variant);
	if (!m->variant)
		return mlrt_fail(r->err, MLRT_ERR_NOMEM, "out of memory");
	for (uint32_t node = r->json.node[list].child; node; node = r->json.node[node].next, i++) {
		MlrtStatus st = read_variant(r, c, i, node, &m->variant[i]);

		if (st)
			return st;
	}
	return MLRT_OK;
}

static MlrtStatus read_all(Reader *r, Manifest *m, const Container *c)
{
	int64_t format;
	MlrtStatus st = mlrt_json_parse(&r->json, c->manifest, c->header.manifest_bytes, r->err);

	if (st)
		return st;
	if (!mlrt_json_int(&r->json, mlrt_json_get(&r->json, 1, "format"), &format))
		return mlrt_fail(r->err, MLRT_ERR_FORMAT, "manifest: no format number");
	if (format != MLRT_FORMAT_MAJOR)
		return mlrt_fail(r->err, MLRT_ERR_VERSION, "manifest of format %lld, this runtime reads %d",
				 (long long)format, MLRT_FORMAT_MAJOR);
	st = read_tensors(r, "inputs", "input", &m->input, &m->ninputs);
	if (!st)
		st = read_tensors(r, "outputs", "output", &m->output, &m->noutputs);
	if (!st)
		st = read_variants(r, m, c);
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_manifest_read(Manifest *m, const Container *c, MlrtError *err)
{
	Reader r = {.err = err};
	MlrtStatus st;

	*m = (Manifest){.strings = malloc(c->header.manifest_bytes + 1)};
	if (!m->strings)
		return mlrt_fail(err, MLRT_ERR_NOMEM, "out of memory");
	r.text = m->strings;
	st = read_all(&r, m, c);
	mlrt_json_free(&r.json);
	if (st)
		mlrt_manifest_free(m);
	return st;
}

MLRT_LOCAL void mlrt_manifest_free(Manifest *m)
{
	free(m->input);
	free(m->output);
	free(m->variant);
	free(m->strings);
	*m = (Manifest){0};
}
