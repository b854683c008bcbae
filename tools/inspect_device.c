/* tools/inspect_device.c -- what NVIDIA's assembler says of the kernels of a variant for GPUs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "targets/object.h"
#include "tools/inspect.h"

/* Of "Compiling entry function 'k0123...' for 'sm_80'", the object of that kernel, in `kernels`; NULL: the line says something else. */
static json_t *begin_kernel(json_t *kernels, const char *line)
{
	char name[128];
	const char *at = strstr(line, "entry function '");
	json_t *one;

	if (!at || sscanf(at, "entry function '%127[^']'", name) != 1)
		return NULL;
	one = json_object();
	json_object_set_new(kernels, name, one);
	return one;
}

/* Lines behind it, until the next one, are about it and the functions that it calls. */
static json_t *read_log(char *log)
{
	json_t *kernels = json_object(), *one = NULL, *next;

	for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
		const char *used = strstr(line, "Used "), *spill = strstr(line, "stack frame, ");
		unsigned n, m;

		next = begin_kernel(kernels, line);
		one = next ? next : one;
		if (one && spill && sscanf(spill, "stack frame, %u bytes spill stores, %u bytes spill loads", &n, &m) == 2)
			json_object_set_new(one, "spills", json_integer(json_integer_value(json_object_get(one, "spills")) + n + m));
		if (one && used && sscanf(used, "Used %u registers", &n) == 1)
			json_object_set_new(one, "registers", json_integer(n));
	}
	return kernels;
}

static void add_to_steps(json_t *variant, const json_t *kernels)
{
	json_t *s;
	size_t i;

	json_array_foreach(json_object_get(variant, "steps"), i, s)
	{
		const char *key = json_string_value(json_object_get(s, "kernel"));
		char name[64];

		snprintf(name, sizeof name, "k%s", key ? key : "");
		json_object_update_missing(json_object_get(s, "launch"), json_object_get(kernels, name));
	}
}

MloStatus inspect_device(const MloPackageFile *p, json_t *variant, MloDiag *d)
{
	const MloTargetSet *set = mlo_target_find(json_string_value(json_object_get(variant, "name")), d);
	const size_t code = (size_t)json_integer_value(json_object_get(variant, "code"));
	MloBytes said = {0};
	json_t *kernels;

	if (!set)
		return MLO_ERR_TARGET;
	if (!set->variant[0]->gpu || code >= p->nblobs || p->blob[code].kind != MLRT_PTX || p->blob[code].bytes == 0)
		return mlo_error(d, MLO_ERR_USAGE, "variant '%s' is for no GPU", set->name);
	MLO_TRY(mlo_ptxas(set->variant[0], &(MloBytes){(unsigned char *)(uintptr_t)p->bytes + p->blob[code].offset, p->blob[code].bytes}, NULL,
	                  &said, d));
	said.data[said.n] = 0;
	kernels = read_log((char *)said.data);
	add_to_steps(variant, kernels);
	json_decref(kernels);
	free(said.data);
	return MLO_OK;
}
