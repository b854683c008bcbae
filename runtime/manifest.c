/* runtime/manifest.c -- inputs, outputs and variants out of the manifest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device.h"
#include "runtime/json.h"

typedef struct Reader {
	Json json;
	char *text; /* where the next decoded string goes */
	MlrtError *err;
} Reader;

static MlrtStatus missing(const Reader *r, const char *what, size_t i, const char *key)
{
	return mlrt_fail(r->err, MLRT_ERR_MANIFEST, "manifest: %s %zu has no usable '%s'", what, i, key);
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

static bool read_dims(const Reader *r, uint32_t dims, Tensor *t)
{
	uint64_t count = 1;
	int k = 0;

	if (!mlrt_json_is(&r->json, dims, JSON_ARRAY) || r->json.node[dims].n > MLRT_MAX_RANK)
		return false;
	for (uint32_t d = r->json.node[dims].child; d; d = r->json.node[d].next, k++) {
		if (!mlrt_json_int(&r->json, d, &t->dims[k]) || t->dims[k] < -1)
			return false;
		if (t->dims[k] == -1)
			t->open = true;
		else if (__builtin_mul_overflow(count, (uint64_t)t->dims[k], &count))
			return false;
	}
	t->info.rank = k;
	t->info.dims = t->dims;
	return true;
}

/* Absent, or one text or null for each dimension. */
static bool read_dim_names(Reader *r, uint32_t list, Tensor *t)
{
	int k = 0;

	if (!list)
		return true;
	if (!mlrt_json_is(&r->json, list, JSON_ARRAY) || (int64_t)r->json.node[list].n != t->info.rank)
		return false;
	for (uint32_t d = r->json.node[list].child; d; d = r->json.node[d].next, k++) {
		if (mlrt_json_is(&r->json, d, JSON_NULL))
			continue;
		t->dim_names[k] = text_of(r, d);
		if (!t->dim_names[k])
			return false;
	}
	t->info.dim_names = t->dim_names;
	return true;
}

/* Absent: a tensor. */
static bool read_kind(Reader *r, uint32_t node, Tensor *t)
{
	const char *kind = mlrt_json_get(&r->json, node, "kind") ? text_member(r, node, "kind") : "tensor";

	if (!kind || !mlrt_kind_named(kind, &t->kind))
		return false;
	t->info.kind = mlrt_kind_text(t->kind);
	if (t->kind != MLRT_V_MAP && t->kind != MLRT_V_SEQ_MAP)
		return true;
	t->info.key = text_member(r, node, "key");
	t->key = mlrt_elem_named(t->info.key);
	return t->key && (t->key->code == ELEM_I64 || t->key->code == ELEM_STR);
}

static MlrtStatus read_tensor(Reader *r, const char *what, size_t i, uint32_t node, Tensor *t)
{
	uint64_t need = 0, bytes;

	t->info.name = text_member(r, node, "name");
	if (!t->info.name)
		return missing(r, what, i, "name");
	t->info.elem = text_member(r, node, "elem");
	t->elem = mlrt_elem_named(t->info.elem);
	if (!t->elem)
		return mlrt_fail(r->err, MLRT_ERR_MANIFEST,
				 "manifest: %s '%.80s' has the unknown element type '%.20s'", what,
				 t->info.name, t->info.elem ? t->info.elem : "");
	if (!read_kind(r, node, t))
		return missing(r, what, i, "kind");
	if (!read_dims(r, mlrt_json_get(&r->json, node, "dims"), t) || (t->kind && t->info.rank))
		return missing(r, what, i, "dims");
	if (!read_dim_names(r, mlrt_json_get(&r->json, node, "dim_names"), t))
		return missing(r, what, i, "dim_names");
	if (!size_member(r, node, "bytes", &bytes))
		return missing(r, what, i, "bytes");
	if ((!t->kind && !t->open && !mlrt_tensor_bytes(t->elem, t->info.rank, t->dims, &need)) || need != bytes)
		return mlrt_fail(r->err, MLRT_ERR_MANIFEST,
				 "manifest: %s '%.80s' states %llu bytes, its shape differs", what,
				 t->info.name, (unsigned long long)bytes);
	t->info.bytes = bytes;
	return MLRT_OK;
}

static MlrtStatus read_tensors(Reader *r, const char *key, const char *what, Tensor **out, size_t *n)
{
	uint32_t list = mlrt_json_get(&r->json, 1, key);
	size_t i = 0;

	if (!mlrt_json_is(&r->json, list, JSON_ARRAY))
		return mlrt_fail(r->err, MLRT_ERR_MANIFEST, "manifest: no list of %s", key);
	*n = r->json.node[list].n;
	*out = calloc(*n + 1, sizeof **out);
	if (!*out)
		return mlrt_no_memory(r->err);
	for (uint32_t node = r->json.node[list].child; node; node = r->json.node[node].next, i++) {
		MlrtStatus st = read_tensor(r, what, i, node, &(*out)[i]);

		if (st)
			return st;
	}
	return MLRT_OK;
}

/* Pairs of an input and an output; that they fit each other is checked where they are used. */
static MlrtStatus read_states(Reader *r, Manifest *m)
{
	uint32_t list = mlrt_json_get(&r->json, 1, "states");
	size_t i = 0;

	if (!list)
		return MLRT_OK;
	if (!mlrt_json_is(&r->json, list, JSON_ARRAY))
		return mlrt_fail(r->err, MLRT_ERR_MANIFEST, "manifest: 'states' is no list");
	m->nstates = r->json.node[list].n;
	m->state = calloc(m->nstates + 1, sizeof *m->state);
	if (!m->state)
		return mlrt_no_memory(r->err);
	for (uint32_t node = r->json.node[list].child; node; node = r->json.node[node].next, i++) {
		StatePair *p = &m->state[i];

		if (!size_member(r, node, "input", &p->input) || p->input >= m->ninputs)
			return missing(r, "state", i, "input");
		if (!size_member(r, node, "output", &p->output) || p->output >= m->noutputs)
			return missing(r, "state", i, "output");
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

static MlrtStatus read_code(const Reader *r, const Container *c, size_t i, uint32_t node, Variant *v)
{
	const bool gpu = mlrt_is_gpu(v);

	if (!size_member(r, node, "code", &v->code) || !is_blob(c, v->code, gpu ? MLRT_PTX : MLRT_CODE))
		return missing(r, "variant", i, "code");
	if (gpu && (!size_member(r, node, "launches", &v->launches) || !is_blob(c, v->launches, MLRT_LAUNCHES)))
		return missing(r, "variant", i, "launches");
	v->cubin = UINT64_MAX;
	if (gpu && mlrt_json_get(&r->json, node, "cubin") &&
	    (!size_member(r, node, "cubin", &v->cubin) || !is_blob(c, v->cubin, MLRT_CUBIN)))
		return missing(r, "variant", i, "cubin");
	return MLRT_OK;
}

static MlrtStatus read_variant(Reader *r, const Container *c, size_t i, uint32_t node, Variant *v)
{
	v->name = text_member(r, node, "name");
	v->arch = text_member(r, node, "arch");
	if (!v->name || !v->arch)
		return missing(r, "variant", i, v->name ? "arch" : "name");
	if (!read_needs(r, mlrt_json_get(&r->json, node, "needs"), v))
		return missing(r, "variant", i, "needs");
	if (read_code(r, c, i, node, v))
		return r->err ? r->err->status : MLRT_ERR_MANIFEST;
	if (!size_member(r, node, "program", &v->program) || !is_blob(c, v->program, MLRT_PROGRAM))
		return missing(r, "variant", i, "program");
	v->weights = UINT64_MAX;
	if (mlrt_json_get(&r->json, node, "weights") &&
	    (!size_member(r, node, "weights", &v->weights) || !is_blob(c, v->weights, MLRT_WEIGHTS)))
		return missing(r, "variant", i, "weights");
	v->golden = UINT64_MAX;
	if (mlrt_json_get(&r->json, node, "golden") &&
	    (!size_member(r, node, "golden", &v->golden) || !is_blob(c, v->golden, MLRT_GOLDEN)))
		return missing(r, "variant", i, "golden");
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
		return mlrt_fail(r->err, MLRT_ERR_MANIFEST, "manifest: no list of variants");
	m->nvariants = r->json.node[list].n;
	m->variant = calloc(m->nvariants, sizeof *m->variant);
	if (!m->variant)
		return mlrt_no_memory(r->err);
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
		return mlrt_fail(r->err, MLRT_ERR_MANIFEST, "manifest: no format number");
	if (format != MLRT_FORMAT_MAJOR)
		return mlrt_fail(r->err, MLRT_ERR_VERSION, "manifest of format %lld, this runtime reads %d",
				 (long long)format, MLRT_FORMAT_MAJOR);
	st = read_tensors(r, "inputs", "input", &m->input, &m->ninputs);
	if (!st)
		st = read_tensors(r, "outputs", "output", &m->output, &m->noutputs);
	if (!st)
		st = read_states(r, m);
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
		return mlrt_no_memory(err);
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
	free(m->state);
	free(m->variant);
	free(m->strings);
	*m = (Manifest){0};
}

static uint32_t nth_child(const Json *j, uint32_t list, uint64_t n)
{
	uint32_t node = mlrt_json_is(j, list, JSON_ARRAY) ? j->node[list].child : 0;

	for (; node && n > 0; n--)
		node = j->node[node].next;
	return node;
}

static uint32_t variant_named(const Reader *r, const char *name)
{
	uint32_t list = mlrt_json_get(&r->json, 1, "variants");

	for (uint64_t i = 0;; i++) {
		uint32_t v = nth_child(&r->json, list, i), text = mlrt_json_get(&r->json, v, "name");

		if (!v)
			return 0;
		if (!mlrt_json_is(&r->json, text, JSON_STRING))
			continue;
		mlrt_json_string(&r->json, text, r->text);
		if (strcmp(r->text, name) == 0)
			return v;
	}
}

MLRT_LOCAL void mlrt_manifest_step(const Container *c, const char *variant, uint64_t step, char *out, size_t n)
{
	MlrtError err;
	Reader r = {.err = &err, .text = malloc(c->header.manifest_bytes + 1)};
	uint32_t node;

	out[0] = 0;
	if (r.text && !mlrt_json_parse(&r.json, c->manifest, c->header.manifest_bytes, &err)) {
		node = nth_child(&r.json, mlrt_json_get(&r.json, variant_named(&r, variant), "steps"), step);
		if (!mlrt_json_get(&r.json, node, "nodes") ||
		    !mlrt_json_is(&r.json, nth_child(&r.json, mlrt_json_get(&r.json, node, "nodes"), 0), JSON_STRING))
			node = mlrt_json_get(&r.json, node, "name");
		else
			node = nth_child(&r.json, mlrt_json_get(&r.json, node, "nodes"), 0);
		if (mlrt_json_is(&r.json, node, JSON_STRING)) {
			mlrt_json_string(&r.json, node, r.text);
			snprintf(out, n, "%s", r.text);
		}
	}
	mlrt_json_free(&r.json);
	free(r.text);
}
