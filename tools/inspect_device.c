/* tools/inspect_device.c -- what NVIDIA's assembler says of the kernels of a variant for GPUs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "targets/object.h"
#include "tools/inspect.h"

static json_t *read_log(const char *log)
{
	json_t *kernels = json_object();
	MloPtxasEntry e;

	while (mlo_ptxas_next(&log, &e))
		json_object_set_new(kernels, e.name, json_pack("{s:i,s:i}", "registers", (int)e.registers, "spills", (int)e.spilled));
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
	kernels = read_log((char *)said.data);
	add_to_steps(variant, kernels);
	json_decref(kernels);
	free(said.data);
	return MLO_OK;
}
