/* tools/provenance.c -- hashes of what a package was made from; its bill of materials. */
#include "tools/provenance.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/onnx.h"
#include "ir/ref/bitcode.h"
#include "tools/compile.h"
#include "tools/npy.h"

const char *mlo_sha256_text(MloArena *a, const void *bytes, size_t n)
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	const size_t room = 2 * sizeof hash + 1;

	crypto_hash_sha256(hash, bytes, n);
	return sodium_bin2hex(mlo_alloc(a, room, 1), room, hash, sizeof hash);
}

/* The name of a file of external data, or NULL. */
static const char *external_name(const MloMeta *m)
{
	const size_t n = strlen(MLO_ONNX_EXTERNAL);

	return strncmp(m->key, MLO_ONNX_EXTERNAL, n) == 0 ? m->key + n : NULL;
}

MloStatus mlo_note_external(MloArena *a, MloGraph *g, const char *path, MloDiag *d)
{
	const char *slash = strrchr(path, '/');
	const int folder = slash ? (int)(slash - path) + 1 : 0;

	for (MloMeta *m = g->meta; m; m = m->next) {
		const char *name = external_name(m);
		const void *bytes;
		size_t n;

		if (!name)
			continue;
		MLO_TRY(mlo_map_file(a, mlo_sprintf(a, "%.*s%s", folder, path, name), &bytes, &n, d));
		m->value = mlo_sha256_text(g->arena, bytes, n);
	}
	return MLO_OK;
}

static const char *meta_of(const MloGraph *g, const char *key)
{
	for (const MloMeta *m = g->meta; m; m = m->next)
		if (strcmp(m->key, key) == 0)
			return m->value;
	return NULL;
}

const char *mlo_package_name(const MloManifest *m)
{
	return m->opt->name ? m->opt->name : m->graph->name;
}

const char *mlo_package_version(const MloManifest *m)
{
	const char *own = meta_of(m->graph, "onnx.model_version");

	if (m->opt->model_version)
		return m->opt->model_version;
	return own && strcmp(own, "0") != 0 ? own : NULL; /* 0 is what exporters write that know of none */
}

const char *mlo_package_license(const MloManifest *m)
{
	static const char *const keys[] = {"license", "licence", "License", "LICENSE"};
	const char *own = NULL;

	for (size_t i = 0; !own && i < sizeof keys / sizeof *keys; i++)
		own = meta_of(m->graph, keys[i]);
	return m->opt->license ? m->opt->license : own;
}

json_t *mlo_json_text(const char *s)
{
	json_t *j = json_string(s ? s : "");
	char *copy;

	if (j)
		return j;
	copy = strdup(s);
	if (!copy)
		return NULL;
	for (char *p = copy; *p; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	j = json_string(copy);
	free(copy);
	return j;
}

json_t *mlo_external_json(const MloGraph *g)
{
	json_t *list = NULL;

	for (const MloMeta *m = g->meta; m; m = m->next) {
		json_t *j;

		if (!external_name(m) || !*m->value)
			continue;
		j = json_object();
		json_object_set_new(j, "name", mlo_json_text(external_name(m)));
		json_object_set_new(j, "sha256", mlo_json_text(m->value));
		list = list ? list : json_array();
		json_array_append_new(list, j);
	}
	return list;
}

/* -- the bill of materials ----------------------------------------------------------------------------- */

static json_t *component(const char *type, const char *name, const char *version, const char *sha256)
{
	json_t *j = json_object();

	json_object_set_new(j, "type", mlo_json_text(type));
	json_object_set_new(j, "name", mlo_json_text(name));
	if (version)
		json_object_set_new(j, "version", mlo_json_text(version));
	if (sha256)
		json_object_set_new(j, "hashes", json_pack("[{s:s,s:s}]", "alg", "SHA-256", "content", sha256));
	return j;
}

static void add_license(json_t *j, const char *license)
{
	json_t *name = json_object();

	if (license) {
		json_object_set_new(name, "name", mlo_json_text(license));
		json_object_set_new(j, "licenses", json_pack("[{s:o}]", "license", name));
	} else {
		json_decref(name);
	}
}

static bool calls_library(const MloVariant *v)
{
	for (size_t i = 0; i < v->nsteps; i++)
		if (v->steps[i].tier == MLO_TIER_LIBRARY)
			return true;
	return false;
}

/* The reference kernels of each architecture that some variant has steps of. */
static void add_kernels(const MloManifest *m, json_t *parts)
{
	MloArena *a = mlo_arena_new();

	for (size_t i = 0; a && i < m->nvariants; i++) {
		const char *arch = m->variant[i].target->arch;
		const void *bytes;
		bool again = !calls_library(m->variant[i].made);
		json_t *j;
		size_t n;

		for (size_t k = 0; k < i; k++)
			again |= strcmp(m->variant[k].target->arch, arch) == 0 && calls_library(m->variant[k].made);
		bytes = again ? NULL : mlo_ref_bitcode(arch, &n);
		if (!bytes)
			continue;
		j = component("library", mlo_sprintf(a, "mlopt reference kernels, %s", arch), mlopt_version(),
			      mlo_sha256_text(a, bytes, n));
		json_array_append_new(parts, j);
	}
	mlo_arena_free(a);
}

json_t *mlo_sbom_json(const MloManifest *m)
{
	json_t *sbom = json_object(), *parts = json_array(), *model, *package, *tools = json_array();
	unsigned v[3];
	char llvm[48];

	mlo_target_llvm(v);
	snprintf(llvm, sizeof llvm, "%u.%u.%u", v[0], v[1], v[2]);
	json_array_append_new(tools, component("application", "mlopt", mlopt_version(), NULL));
	json_array_append_new(tools, component("library", "LLVM", llvm, NULL));
	package = component("application", mlo_package_name(m), mlo_package_version(m), NULL);
	add_license(package, mlo_package_license(m));
	model = component("machine-learning-model", m->graph->name, mlo_package_version(m), meta_of(m->graph, MLO_MODEL_SHA256));
	add_license(model, mlo_package_license(m));
	json_array_append_new(parts, model);
	add_kernels(m, parts);
	json_object_set_new(sbom, "bomFormat", mlo_json_text("CycloneDX"));
	json_object_set_new(sbom, "specVersion", mlo_json_text("1.5"));
	json_object_set_new(sbom, "version", json_integer(1));
	json_object_set_new(sbom, "metadata", json_pack("{s:{s:o},s:o}", "tools", "components", tools, "component", package));
	json_object_set_new(sbom, "components", parts);
	return sbom;
}
