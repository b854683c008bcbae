/* tools/bench_report.c -- how measurements are shown, to people and to programs. */
#include <math.h>
#include <string.h>

#include "tools/bench.h"
#include "tools/cli.h"
#include "tools/manifest.h"

static const char *const contestant[BENCH_CONTESTANTS] = {"mlopt", "one thread", "reference", "onnxruntime"};

const char *bench_contestant(int who)
{
	return contestant[who];
}

static double gflops(const BenchResult *r)
{
	double ms = r->latency[BENCH_OURS].median;

	return ms > 0 ? r->flops / ms / 1e6 : 0;
}

static void print_latency(const BenchResult *r, int who)
{
	const Latency *l = &r->latency[who];

	if (!l->runs)
		return;
	printf("  %-11s %10.4f %10.4f %10.4f %10.4f %8zu", contestant[who], l->min, l->median, l->p90, l->p99,
	       l->runs);
	if (who != BENCH_OURS && r->latency[BENCH_OURS].median > 0)
		printf("  mlopt is %.2f times as fast", l->median / r->latency[BENCH_OURS].median);
	putchar('\n');
}

static const char *text_of(json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

json_t *bench_steps(const BenchResult *r)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(r->manifest, "variants"), i, v)
	{
		if (strcmp(text_of(v, "name"), r->variant) == 0)
			return json_object_get(v, "steps");
	}
	return NULL;
}

double bench_flops(const json_t *step)
{
	return json_is_true(json_object_get(step, "open")) ? 0 : json_number_value(json_object_get(step, "flops"));
}

double bench_roof(const BenchResult *r, const json_t *step)
{
	const char *products = json_string_value(json_object_get(step, "products"));

	return r->gpu ? 1e3 * mlo_gpu_peak(r->gpu, products ? products : "f32") : r->roof;
}

double bench_bound(const BenchResult *r, const json_t *step)
{
	if (!r->gpu || json_is_true(json_object_get(step, "open")))
		return 0;
	return fmax(bench_flops(step) / bench_roof(r, step), json_number_value(json_object_get(step, "bytes")) / r->gpu->gbytes) / 1e6;
}

/* Of all steps. */
static double bound_of(const BenchResult *r)
{
	double ms = 0;
	json_t *s;
	size_t i;

	json_array_foreach(bench_steps(r), i, s) ms += bench_bound(r, s);
	return ms;
}

static void print_profile(const BenchResult *r)
{
	json_t *steps = bench_steps(r);
	double total = 0;
	bool beside = false;

	for (size_t i = 0; i < r->nsteps; i++)
		total += r->step[i].ms;
	printf("  %4s %9s %6s %9s %s %-8s %s\n", "step", "ms", "share", "GFLOP/s", r->gpu ? " of roof " : "", "tier", "kernel: nodes");
	for (size_t i = 0; i < r->nsteps; i++) {
		json_t *s = json_array_get(steps, i), *name;
		double ms = r->step[i].ms, flops = bench_flops(s);
		char why[MLO_WHY_TEXT];
		size_t k;

		beside |= json_is_true(json_object_get(s, "beside"));
		printf("  %4zu%c%9.4f %5.1f%% %9.1f ", i, json_is_true(json_object_get(s, "beside")) ? '+' : ' ', ms,
		       total > 0 ? 100 * ms / total : 0, ms > 0 ? flops / ms / 1e6 : 0);
		if (r->gpu)
			printf("%7.1f%% ", ms > 0 ? 100 * bench_bound(r, s) / ms : 0);
		printf(" %-8s %s:", text_of(s, "tier"), text_of(s, "name"));
		json_array_foreach(json_object_get(s, "nodes"), k, name)
			printf(" %s", json_string_value(name) ? json_string_value(name) : "?");
		mlo_manifest_why(s, why, sizeof why);
		if (*text_of(s, "schedule"))
			printf(" [%s; %s]", text_of(s, "schedule"), why);
		putchar('\n');
	}
	if (beside)
		printf("  +: may run beside the step before it%s\n",
		       r->threads > 1 ? "; what such steps take together is told of each by its cost" : "");
}

void bench_print(const BenchResult *r)
{
	const Latency *ours = &r->latency[BENCH_OURS];
	double noise = samples_noise(ours);

	if (r->gpu)
		printf("%s: %s\n", r->name, r->variant);
	else
		printf("%s: %s, %d thread%s\n", r->name, r->variant, r->threads, r->threads == 1 ? "" : "s");
	printf("  %-11s %10s %10s %10s %10s %8s\n", "latency, ms", "min", "median", "p90", "p99", "runs");
	for (int who = 0; who < BENCH_CONTESTANTS; who++)
		print_latency(r, who);
	if (r->ort.version)
		printf("  onnxruntime is %s, measured through Node.js; session %.0f ms, first result %.0f ms\n",
		       r->ort.version, r->ort.load_ms, r->ort.first_ms);
	printf("  throughput %.1f/s", ours->mean > 0 ? 1e3 * (double)r->batch / ours->mean : 0);
	if (r->flops > 0) {
		printf(", %.1f GFLOP/s", gflops(r));
		if (r->gpu)
			printf(", %.0f%% of what arithmetic and memory of an %s allow (%.4g ms)", 100 * bound_of(r) / ours->mean, r->gpu->device,
			       bound_of(r));
		else if (r->peak > 0)
			printf(", %.0f%% of this machine's %.0f GFLOP/s", 100 * gflops(r) / r->peak, r->peak);
	}
	printf("\n  load %.2f ms, first result %.2f ms, package %s, memory %s", r->load_ms, r->first_ms,
	       cli_bytes((double)r->package_bytes),
	       cli_bytes((double)r->memory_bytes));
	if (r->compile_s > 0)
		printf(", compiled in %.2f s", r->compile_s);
	putchar('\n');
	if (r->step)
		print_profile(r);
	fflush(stdout);
	if (r->ort_missing)
		cli_note("mlopt: note: %s: no ONNX Runtime baseline: %s", r->name, r->ort_missing);
	if (noise > 0.15)
		cli_note("mlopt: warning: %s: the machine is noisy: the median is %.0f%% above the minimum",
			 r->name, 100 * noise);
}

static json_t *latency_json(const Latency *l)
{
	return json_pack("{s:f,s:f,s:f,s:f,s:f}", "min", l->min, "median", l->median, "p90", l->p90, "p99",
			 l->p99, "mean", l->mean);
}

static json_t *baseline_json(const BenchResult *r, int who)
{
	const Latency *l = &r->latency[who], *ours = &r->latency[BENCH_OURS];
	json_t *j = json_pack("{s:s,s:I,s:o,s:f}", "name", contestant[who], "runs", (json_int_t)l->runs, "latency_ms",
			      latency_json(l), "speedup", ours->median > 0 ? l->median / ours->median : 0);

	if (who == BENCH_ORT && r->ort.version) {
		json_object_set_new(j, "version", json_string(r->ort.version));
		json_object_set_new(j, "load_ms", json_real(r->ort.load_ms));
		json_object_set_new(j, "first_ms", json_real(r->ort.first_ms));
		json_object_set_new(j, "memory_bytes", json_real(r->ort.memory_bytes));
	}
	return j;
}

json_t *bench_json(const BenchResult *r)
{
	const Latency *ours = &r->latency[BENCH_OURS];
	json_t *j = json_object(), *baselines = json_array(), *steps = json_array();

	json_object_set_new(j, "name", json_string(r->name));
	json_object_set_new(j, "path", json_string(r->path));
	json_object_set_new(j, "variant", json_string(r->variant));
	json_object_set_new(j, "threads", json_integer(r->threads));
	json_object_set_new(j, "runs", json_integer((json_int_t)ours->runs));
	json_object_set_new(j, "latency_ms", latency_json(ours));
	json_object_set_new(j, "throughput",
			    json_real(ours->mean > 0 ? 1e3 * (double)r->batch / ours->mean : 0));
	json_object_set_new(j, "gflops", json_real(gflops(r)));
	json_object_set_new(j, "peak_gflops", json_real(r->peak));
	if (r->gpu)
		json_object_set_new(j, "bound_ms", json_real(bound_of(r)));
	json_object_set_new(j, "peak_share", json_real(r->peak > 0 ? gflops(r) / r->peak : 0));
	json_object_set_new(j, "load_ms", json_real(r->load_ms));
	json_object_set_new(j, "first_ms", json_real(r->first_ms));
	json_object_set_new(j, "compile_s", json_real(r->compile_s));
	json_object_set_new(j, "peak_memory_bytes", json_integer((json_int_t)r->memory_bytes));
	json_object_set_new(j, "package_bytes", json_integer((json_int_t)r->package_bytes));
	json_object_set_new(j, "noise", json_real(samples_noise(ours)));
	for (int who = BENCH_OURS + 1; who < BENCH_CONTESTANTS; who++) {
		const Latency *l = &r->latency[who];

		if (l->runs)
			json_array_append_new(baselines, baseline_json(r, who));
	}
	json_object_set_new(j, "baselines", baselines);
	for (size_t i = 0; i < r->nsteps; i++)
		json_array_append_new(steps, json_real(r->step[i].ms));
	json_object_set_new(j, "step_ms", steps);
	if (r->bandwidth > 0)
		json_object_set_new(j, "bandwidth_gbytes", json_real(r->bandwidth));
	return j;
}
