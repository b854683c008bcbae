/* tools/inspect_device.c -- of a variant for GPUs: what its device allows steps, and what NVIDIA's assembler says of their kernels. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "targets/object.h"
#include "tools/inspect.h"

static double number_of(const json_t *j, const char *key)
{
	return json_number_value(json_object_get(j, key));
}

/* The least time that arithmetic and memory of the device take, each at its peak: the roofline.  Sizes that are open are guesses. */
static void bound_step(const MloGpu *gpu, json_t *step)
{
	const char *products = json_string_value(json_object_get(step, "products"));
	const double arithmetic = number_of(step, "flops") / mlo_gpu_peak(gpu, products ? products : "f32") / 1e6;
	const double memory = number_of(step, "bytes") / gpu->gbytes / 1e3;
	json_t *launch = json_object_get(step, "launch");

	json_object_set_new(launch, "bound_us", json_real(fmax(arithmetic, memory)));
	json_object_set_new(launch, "bound_by", json_string(memory >= arithmetic ? "memory" : products ? products : "f32"));
}

/* Threads of a multiprocessor that can be there at a time, of those that it has room for. */
static void occupy_step(const MloGpu *gpu, json_t *launch)
{
	const int threads = (int)number_of(launch, "threads");
	const double shared = number_of(launch, "shared") + number_of(launch, "static");
	const int blocks = mlo_gpu_resident(gpu, threads, (int)number_of(launch, "registers"), (int64_t)shared);

	json_object_set_new(launch, "resident", json_integer(blocks));
	json_object_set_new(launch, "occupancy", json_real((double)blocks * threads / gpu->sm_threads));
}

static json_t *read_log(const char *log)
{
	json_t *kernels = json_object();
	MloPtxasEntry e;

	while (mlo_ptxas_next(&log, &e))
		json_object_set_new(kernels, e.name, json_pack("{s:i,s:i,s:i}", "registers", (int)e.registers, "spills", (int)e.spilled,
		                                               "static", (int)e.shared));
	return kernels;
}

static void add_to_steps(const MloGpu *gpu, json_t *variant, const json_t *kernels)
{
	json_t *s;
	size_t i;

	json_array_foreach(json_object_get(variant, "steps"), i, s)
	{
		const char *key = json_string_value(json_object_get(s, "kernel"));
		char name[64];

		snprintf(name, sizeof name, "k%s", key ? key : "");
		if (json_object_get(kernels, name)) {
			json_object_update_missing(json_object_get(s, "launch"), json_object_get(kernels, name));
			occupy_step(gpu, json_object_get(s, "launch"));
		}
	}
}

void inspect_bounds(json_t *variant)
{
	const char *name = json_string_value(json_object_get(variant, "name"));
	const MloTargetSet *set = name ? mlo_target_find(name, NULL) : NULL;
	json_t *s;
	size_t i;

	json_array_foreach(json_object_get(variant, "steps"), i, s)
		if (set && set->variant[0]->gpu && json_object_get(s, "launch"))
			bound_step(set->variant[0]->gpu, s);
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
	add_to_steps(set->variant[0]->gpu, variant, kernels);
	json_decref(kernels);
	free(said.data);
	return MLO_OK;
}
