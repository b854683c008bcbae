/* tools/inspect_package.c -- reports on a package, from its manifest. */
#include <string.h>

#include "targets/target.h"
#include "tools/cli.h"
#include "tools/inspect.h"
#include "tools/manifest.h"

static const char *text_of(json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static double number_of(json_t *j, const char *key)
{
	return json_number_value(json_object_get(j, key));
}

/* The output that is input i of the next run, or NULL. */
static const char *state_of(json_t *manifest, size_t i)
{
	json_t *s;
	size_t k;

	json_array_foreach(json_object_get(manifest, "states"), k, s)
	{
		if (json_integer_value(json_object_get(s, "input")) == (json_int_t)i)
			return text_of(json_array_get(json_object_get(manifest, "outputs"),
						      (size_t)json_integer_value(json_object_get(s, "output"))), "name");
	}
	return NULL;
}

/* `states`: of a list of inputs, the manifest. */
static void print_tensors(json_t *list, const char *what, json_t *states)
{
	json_t *t, *dim;
	size_t i, k;

	json_array_foreach(list, i, t)
	{
		const char *kind = json_string_value(json_object_get(t, "kind"));

		printf("%-8s %s: %s%s%s[", what, text_of(t, "name"), kind ? kind : "", kind ? " of " : "", text_of(t, "elem"));
		json_array_foreach(json_object_get(t, "dims"), k, dim)
		{
			const char *name = json_string_value(json_array_get(json_object_get(t, "dim_names"), k));

			if (json_integer_value(dim) < 0)
				printf("%s%s", k ? "," : "", name ? name : "?");
			else
				printf("%s%lld", k ? "," : "", (long long)json_integer_value(dim));
		}
		printf("]%s%s\n", state_of(states, i) ? ", at first zeros, then output " : "",
		       state_of(states, i) ? state_of(states, i) : "");
	}
}

/* "conv1 Conv + bn1 BatchNormalization + relu1 Relu" */
static void print_origin(json_t *step)
{
	json_t *nodes = json_object_get(step, "nodes"), *ops = json_object_get(step, "ops"), *name;
	size_t i;

	json_array_foreach(nodes, i, name)
	{
		const char *op = json_string_value(json_array_get(ops, i));

		printf("%s%s(%s)", i ? " + " : " ", json_string_value(name) ? json_string_value(name) : "?",
		       op ? op : "?");
	}
}

static bool computes(json_t *step, const char *node)
{
	json_t *name;
	size_t i;

	json_array_foreach(json_object_get(step, "nodes"), i, name)
	{
		if (json_string_value(name) && strcmp(json_string_value(name), node) == 0)
			return true;
	}
	return false;
}

static void print_launch(json_t *launch)
{
	printf(" {%.0f blocks of %.0f threads", number_of(launch, "blocks"), number_of(launch, "threads"));
	if (number_of(launch, "parts") > 0)
		printf(", %.0f a tile", number_of(launch, "parts"));
	if (number_of(launch, "shared") > 0)
		printf(", %s shared", cli_bytes(number_of(launch, "shared")));
	if (json_object_get(launch, "registers"))
		printf(", %.0f registers, %.0f bytes spilled, %.0f%% occupancy", number_of(launch, "registers"), number_of(launch, "spills"),
		       100 * number_of(launch, "occupancy"));
	if (json_object_get(launch, "bound_us"))
		printf("; at least %.3g us: %s", number_of(launch, "bound_us"), text_of(launch, "bound_by"));
	putchar('}');
}

/* What the device needs at least, of all steps. */
static void print_bound(json_t *steps)
{
	double us = 0;
	json_t *s;
	size_t i;

	json_array_foreach(steps, i, s) us += number_of(json_object_get(s, "launch"), "bound_us");
	if (us > 0)
		printf("at least %.4g us on such a device, by its peaks of arithmetic and of memory\n", us);
}

static size_t print_steps(json_t *variant, const char *node)
{
	json_t *steps = json_object_get(variant, "steps"), *s;
	double total = 0;
	size_t i, shown = 0;
	bool beside = false;

	json_array_foreach(steps, i, s) total += number_of(s, "flops");
	printf("\n%4s %-8s %10s %6s %10s  %-20s %s\n", "step", "tier", "flop", "share", "bytes", "result",
	       "kernel: nodes");
	json_array_foreach(steps, i, s)
	{
		double flops = number_of(s, "flops");
		char why[MLO_WHY_TEXT];

		if (node && !computes(s, node))
			continue;
		beside |= json_is_true(json_object_get(s, "beside"));
		/* ~: of sizes that only a run has; these are guesses */
		printf("%4zu%c%-8s %c%9s %5.1f%% %10s  %-20s %s:", i,
		       json_is_true(json_object_get(s, "beside")) ? '+' : ' ', text_of(s, "tier"),
		       json_is_true(json_object_get(s, "open")) ? '~' : ' ', cli_count(flops),
		       total > 0 ? 100 * flops / total : 0, cli_bytes(number_of(s, "bytes")),
		       text_of(s, "shape"), text_of(s, "name"));
		print_origin(s);
		mlo_manifest_why(s, why, sizeof why);
		if (*text_of(s, "schedule"))
			printf(" [%s; %s]", text_of(s, "schedule"), why);
		if (json_object_get(s, "launch"))
			print_launch(json_object_get(s, "launch"));
		putchar('\n');
		shown++;
	}
	if (beside)
		puts("+: may run beside the step before it");
	if (!node)
		print_bound(steps);
	return shown;
}

static void print_variant(json_t *v)
{
	json_t *steps = json_object_get(v, "steps"), *s, *need;
	size_t i, tier[3] = {0};
	double flops = 0;

	json_array_foreach(steps, i, s)
	{
		const char *t = text_of(s, "tier");

		tier[*t == 'c' ? 0 : *t == 'l' && t[1] == 'o' ? 1 : 2]++;
		flops += number_of(s, "flops");
	}
	printf("variant  %s: %zu steps (%zu contract, %zu loops, %zu library), %s flop, arena %s",
	       text_of(v, "name"), json_array_size(steps), tier[0], tier[1], tier[2], cli_count(flops),
	       cli_bytes(number_of(v, "arena_bytes")));
	if (strcmp(text_of(v, "precision"), "f32"))
		printf(", precision %s", text_of(v, "precision"));
	if (number_of(v, "tuned") > 0)
		printf(", %.0f with measured schedules", number_of(v, "tuned"));
	printf(", needs");
	json_array_foreach(json_object_get(v, "needs"), i, need)
		printf("%s%s", i ? "," : " ", json_string_value(need) ? json_string_value(need) : "?");
	printf("%s\n", i ? "" : " nothing more");
}

/* Named, or the first of this machine's architecture that its CPU can run, or the first. */
static json_t *pick_variant(json_t *list, const char *name)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v)
	{
		if (name && strcmp(text_of(v, "name"), name) == 0)
			return v;
	}
	if (name)
		return NULL;
	json_array_foreach(list, i, v)
	{
		for (size_t s = 0; mlo_target_at(s); s++) {
			const MloTargetSet *set = mlo_target_at(s);

			for (size_t k = 0; set->variant[k]; k++) {
				if (strcmp(set->variant[k]->name, text_of(v, "name")) == 0 &&
				    mlo_target_runs_here(set->variant[k], NULL, 0))
					return v;
			}
		}
	}
	return json_array_get(list, 0);
}

MloStatus inspect_package(json_t *manifest, const MloPackageFile *file, const char *variant, const char *node,
			  bool json, bool ptxas, MloDiag *d)
{
	json_t *variants = json_object_get(manifest, "variants"), *v = pick_variant(variants, variant), *each;
	json_t *meta = json_object_get(manifest, "meta");
	size_t i;

	if (!v)
		return mlo_error(d, MLO_ERR_USAGE, "the package has no variant '%s'", variant ? variant : "");
	inspect_bounds(v);
	if (ptxas)
		MLO_TRY(inspect_device(file, v, d));
	if (json) {
		json_dumpf(manifest, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
		putchar('\n');
		return MLO_OK;
	}
	printf("%s: package of %s, made by %s for target %s\n", text_of(manifest, "name"),
	       cli_bytes((double)file->nbytes), text_of(manifest, "tool"),
	       text_of(json_object_get(manifest, "options"), "target"));
	printf("model    xxh3 %s, %s parameters, %s multiply-adds\n", text_of(manifest, "model_hash"),
	       cli_count(number_of(meta, "mlopt.parameters")), cli_count(number_of(meta, "mlopt.macs")));
	print_tensors(json_object_get(manifest, "inputs"), "input", manifest);
	print_tensors(json_object_get(manifest, "outputs"), "output", NULL);
	json_array_foreach(variants, i, each) print_variant(each);
	printf("\nsteps of %s:", text_of(v, "name"));
	if (print_steps(v, node) == 0 && node)
		return mlo_error(d, MLO_ERR_USAGE,
				 "no step computes node '%s' (it may have been folded away)", node);
	return MLO_OK;
}
