/* tools/bench.c -- measures one model and its baselines, interleaved in short slices. */
#include "tools/bench.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "tools/cli.h"
#include "tools/inputs.h"

static const double SLICE = 0.1; /* seconds: short against the machine's moods */
static const double PROFILE_WINDOW = 0.02;
enum { BANDWIDTH_WINDOWS = 8 };

typedef struct Contest {
	MloArena *a;
	MloDiag *d;
	const BenchOptions *opt;
	const Machine *machine;
	Model ours, reference;
	Model single; /* ours in a session of one thread */
	bool has_reference, has_single;
	Peer *ort;
	MloTensor **in, **out;
	Samples samples[BENCH_CONTESTANTS];
	double spent[BENCH_CONTESTANTS];
	Samples peak; /* GFLOP/s, each measured right after a slice of ours */
} Contest;

static MloStatus slice_of(Contest *c, Model *m, int who, double seconds, bool keep)
{
	double start, end, t;

	MLO_TRY(model_run(m, c->in, c->out, c->d));
	start = cli_now();
	do {
		t = cli_now();
		MLO_TRY(model_repeat(m, c->in, c->out, c->d));
		end = cli_now();
		if (keep)
			samples_add(c->a, &c->samples[who], 1e3 * (end - t));
	} while (end - start < seconds);
	c->spent[who] += end - start;
	return MLO_OK;
}

static double process_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Threads of a contestant in this process may spin on after its slice (OpenBLAS's do for a tenth of a second) and
 * would keep the next one off their cores. */
static void settle(void)
{
	static const struct timespec step = {.tv_nsec = 5000000};
	enum { MOST_STEPS = 100 };

	for (int i = 0; i < MOST_STEPS; i++) {
		const double before = process_seconds();

		nanosleep(&step, NULL);
		if (process_seconds() - before < 0.1e-9 * (double)step.tv_nsec)
			return;
	}
}

static MloStatus slice_of_reference(Contest *c, double seconds, bool keep)
{
	MLO_TRY(slice_of(c, &c->reference, BENCH_REFERENCE, seconds, keep));
	settle();
	return MLO_OK;
}

static void add_ort(void *user, double ms)
{
	Contest *c = user;

	samples_add(c->a, &c->samples[BENCH_ORT], ms);
	c->spent[BENCH_ORT] += ms / 1e3;
}

static void drop(void *user, double ms)
{
}

static MloStatus warm_up(Contest *c)
{
	MLO_TRY(slice_of(c, &c->ours, BENCH_OURS, c->opt->warmup, false));
	if (c->has_single)
		MLO_TRY(slice_of(c, &c->single, BENCH_SINGLE, c->opt->warmup / 2, false));
	if (c->has_reference)
		MLO_TRY(slice_of_reference(c, c->opt->warmup / 2, false));
	if (c->ort && !peer_run(c->ort, c->opt->warmup, drop, NULL))
		c->ort = NULL;
	memset(c->spent, 0, sizeof c->spent);
	return MLO_OK;
}

/* What the variant that runs was estimated for; NULL: a CPU. */
static const MloGpu *gpu_of(const Contest *c)
{
	const MloTargetSet *set = mlo_target_find(mlrt_model_variant(c->ours.package), NULL);

	return set && set->variant[0] ? set->variant[0]->gpu : NULL;
}

/* Everybody gets the same time; a slow baseline gets fewer runs, but at least one. */
static MloStatus contest(Contest *c, int threads)
{
	double duration = c->opt->duration;

	while (c->spent[BENCH_OURS] < duration) {
		MLO_TRY(slice_of(c, &c->ours, BENCH_OURS, SLICE, true));
		if (c->has_single && c->spent[BENCH_SINGLE] < duration)
			MLO_TRY(slice_of(c, &c->single, BENCH_SINGLE, SLICE, true));
		if (c->machine && !gpu_of(c))
			samples_add(c->a, &c->peak, machine_peak(c->machine, threads, SLICE / 4));
		if (c->ort && c->spent[BENCH_ORT] < duration && !peer_run(c->ort, SLICE, add_ort, c))
			c->ort = NULL;
		if (c->has_reference && c->spent[BENCH_REFERENCE] < duration)
			MLO_TRY(slice_of_reference(c, SLICE, true));
		cli_progress(c->ours.path, c->spent[BENCH_OURS], duration);
	}
	return MLO_OK;
}

/* The reference executor binds its sizes when a model is opened: those of the inputs at hand. */
static void bind_shapes(const Contest *c, ModelOptions *o)
{
	const char **shape = MLO_NEWN(c->a, const char *, c->ours.nin + 1);

	o->nshapes = 0;
	for (size_t i = 0; i < c->ours.nin; i++) {
		const MloTensor *t = c->in[i];
		MloStr s = {.arena = c->a};

		if (t->object || t->rank == 0)
			continue;
		mlo_str_add(&s, "%s=", c->ours.in[i].name);
		for (int k = 0; k < t->rank; k++)
			mlo_str_add(&s, "%s%lld", k ? "x" : "", (long long)t->dim[k]);
		shape[o->nshapes++] = mlo_str_text(&s);
	}
	o->shapes = shape;
}

static MloStatus start_baselines(Contest *c, BenchResult *r, int threads)
{
	const char *onnx = c->ours.graph ? c->ours.path : c->opt->baseline;
	ModelOptions ro = c->opt->model;
	MloDiag quiet = {0};
	char why[256] = "not asked for";

	if (onnx && !c->opt->no_peer) {
		ro.reference = ro.quiet = true;
		ro.threads = threads;
		ro.nkeys = 0; /* models have no signatures */
		bind_shapes(c, &ro);
		c->has_reference = model_open(&c->reference, onnx, &ro, &quiet) == MLO_OK;
		mlo_diag_free(&quiet);
		c->ort = peer_start(c->a, onnx, &c->ours, c->in, threads, why, sizeof why);
	} else if (!c->opt->no_peer) {
		snprintf(why, sizeof why, "--baseline MODEL.onnx names the model of a package");
	}
	if (c->ort)
		r->ort = peer_facts(c->ort);
	else
		r->ort_missing = mlo_strdup(c->a, why);
	return MLO_OK;
}

static void free_json(void *j)
{
	json_decref(j);
}

static json_t *variant_of(json_t *manifest, const char *name)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(manifest, "variants"), i, v)
	{
		const char *s = json_string_value(json_object_get(v, "name"));

		if (s && strcmp(s, name) == 0)
			return v;
	}
	return NULL;
}

/* Name, cost and memory, from the manifest of what was run. */
static MloStatus read_facts(Contest *c, BenchResult *r)
{
	const Model *m = &c->ours;
	size_t n;
	const char *text = mlrt_model_manifest(m->package, &n);
	json_t *j = json_loadb(text, n, 0, NULL), *variant;
	const char *name = json_string_value(json_object_get(j, "name"));

	if (!j)
		return mlo_error(c->d, MLO_ERR_FORMAT, "%s: the manifest is not JSON", m->path);
	mlo_defer(c->a, free_json, j);
	r->manifest = j;
	r->name = mlo_strdup(c->a, name ? name : m->path);
	r->variant = mlo_strdup(c->a, mlrt_model_variant(m->package));
	variant = variant_of(j, r->variant);
	r->flops = 2 * json_number_value(json_object_get(json_object_get(j, "meta"), "mlopt.macs"));
	r->threads = mlrt_session_threads(m->session);
	r->load_ms = 1e3 * m->load_seconds;
	r->compile_s = m->compile_seconds;
	r->package_bytes = m->package_bytes;
	r->memory_bytes =
		m->package_bytes + mlrt_model_arena_bytes(m->package) +
		(size_t)json_integer_value(json_object_get(variant, "scratch_bytes")) * (size_t)r->threads;
	for (size_t i = 0; i < m->nin; i++)
		r->memory_bytes += m->in[i].bytes;
	for (size_t i = 0; i < m->nout; i++)
		r->memory_bytes += m->out[i].bytes;
	r->batch = m->nin && m->in[0].rank > 1 ? (size_t)m->in[0].pick[0] : 1;
	return MLO_OK;
}

/* Sums of the runs so far in before[i]; per[i]: mean since then, where that is less. */
static void best_of_window(const Contest *c, const BenchResult *r, uint64_t *before, size_t runs)
{
	for (size_t i = 0; i < r->nsteps; i++) {
		const uint64_t now = mlrt_session_step_ns(c->ours.session, i);
		const double ms = (double)(now - before[i]) / 1e6 / (double)runs;

		if (r->step[i].ms < 0 || ms < r->step[i].ms)
			r->step[i].ms = ms;
		before[i] = now;
	}
}

static uint32_t index_of(const MloGraph *g, const MloNode *node)
{
	uint32_t i = 0;

	for (const MloNode *n = g->first; n != node; n = n->next)
		i++;
	return i;
}

/* The model's own nodes: what the steps are made from. */
static void list_nodes(Contest *c, BenchResult *r)
{
	const MloGraph *g = c->ours.graph;

	for (const MloNode *n = g->first; n; n = n->next)
		r->nnodes++;
	r->node = MLO_NEWN(c->a, BenchNode, r->nnodes + 1);
	r->nnodes = 0;
	for (const MloNode *n = g->first; n; n = n->next) {
		BenchNode *to = &r->node[r->nnodes++];

		*to = (BenchNode){mlo_strdup(c->a, n->origin->name), mlo_strdup(c->a, n->origin->op),
				  MLO_NEWN(c->a, uint32_t, n->nin + 1), 0};
		for (uint32_t i = 0; i < n->nin; i++)
			if (n->in[i] && n->in[i]->def)
				to->from[to->nfrom++] = index_of(g, n->in[i]->def);
	}
}

/* After the contest, so that reading clocks does not disturb it. Each step's best window counts: what
 * disturbs a machine comes and goes, and would else be laid to steps that have no part in it. */
static MloStatus profile(Contest *c, BenchResult *r)
{
	MlrtSession *s = c->ours.session;
	const double start = cli_now();
	uint64_t *before;

	r->nsteps = mlrt_session_steps(s);
	r->step = MLO_NEWN(c->a, BenchStep, r->nsteps);
	before = MLO_NEWN(c->a, uint64_t, r->nsteps);
	for (size_t i = 0; i < r->nsteps; i++)
		r->step[i].ms = -1;
	mlrt_session_profile(s, 1);
	for (size_t windows = 0; windows < 3 || cli_now() - start < c->opt->duration / 2; windows++) {
		const double began = cli_now();
		size_t runs = 0;

		do {
			MLO_TRY(model_run(&c->ours, c->in, c->out, c->d));
			runs++;
		} while (runs < 3 || cli_now() - began < PROFILE_WINDOW);
		best_of_window(c, r, before, runs);
	}
	mlrt_session_profile(s, 0);
	if (gpu_of(c))
		r->bandwidth = gpu_of(c)->gbytes;
	for (int i = 0; !gpu_of(c) && i < BANDWIDTH_WINDOWS; i++)
		r->bandwidth = fmax(r->bandwidth, machine_bandwidth(r->threads, PROFILE_WINDOW));
	if (c->ours.graph)
		list_nodes(c, r);
	return MLO_OK;
}

/* A second session of the package, so that the gain from threads is measured in the same run. */
static MloStatus open_single(Contest *c, int threads)
{
	const MlrtSessionOptions one = {.threads = 1};
	MlrtError e = {0};

	if (threads == 1)
		return MLO_OK;
	c->single = c->ours;
	c->single.call_in = c->single.call_out = NULL;
	if (mlrt_session_new(c->ours.package, &one, &c->single.session, &e) != MLRT_OK)
		return model_runtime_error(c->d, &e);
	c->has_single = true;
	return MLO_OK;
}

/* Of what was just opened, so that the time until a first result is known. */
static MloStatus first_run(Contest *c, BenchResult *r)
{
	const double start = cli_now();

	MLO_TRY(model_run(&c->ours, c->in, c->out, c->d));
	r->first_ms = r->load_ms + 1e3 * (cli_now() - start);
	return MLO_OK;
}

static MloStatus make_inputs(Contest *c)
{
	Inputs given;

	c->in = MLO_NEWN(c->a, MloTensor *, c->ours.nin + 1);
	MLO_TRY(inputs_read(&given, c->a, c->opt->inputs, c->opt->ninputs, c->d));
	MLO_TRY(inputs_take(&given, &c->ours, 1, c->in, c->d));
	model_fill(c->a, &c->ours, c->in, 1);
	return MLO_OK;
}

/* By its data sheet; the roof is that of the fastest products there are. */
static void device_roof(BenchResult *r)
{
	json_t *s;
	size_t i;

	r->peak = r->roof = 1e3 * r->gpu->f32;
	json_array_foreach(bench_steps(r), i, s) r->roof = fmax(r->roof, bench_roof(r, s));
}

static MloStatus measure(Contest *c, BenchResult *r)
{
	if (!c->ours.graph)
		MLO_TRY(model_pick(&c->ours, c->opt->model.shapes, c->opt->model.nshapes, c->d));
	MLO_TRY(read_facts(c, r));
	MLO_TRY(make_inputs(c));
	c->out = model_outputs(c->a, &c->ours);
	if (!c->ours.graph) {
		const size_t measured = bench_memory(c->ours.path, &c->opt->model, c->in, c->out);

		r->memory_bytes = measured ? measured : r->memory_bytes;
	}
	MLO_TRY(first_run(c, r));
	MLO_TRY(open_single(c, r->threads));
	MLO_TRY(start_baselines(c, r, r->threads));
	MLO_TRY(warm_up(c));
	MLO_TRY(contest(c, r->threads));
	for (int i = 0; i < BENCH_CONTESTANTS; i++)
		r->latency[i] = samples_latency(&c->samples[i]);
	r->peak = samples_latency(&c->peak).median;
	r->roof = samples_latency(&c->peak).p99;
	r->gpu = gpu_of(c);
	if (r->gpu)
		device_roof(r);
	return c->opt->profile ? profile(c, r) : MLO_OK;
}

MloStatus bench_model(MloArena *a, const char *path, const BenchOptions *opt, const Machine *m,
		      BenchResult *r, MloDiag *d)
{
	Contest c = {.a = a, .d = d, .opt = opt, .machine = m};
	MloStatus st;

	*r = (BenchResult){.path = path};
	MLO_TRY(model_open(&c.ours, path, &opt->model, d));
	cli_flush_diag(d);
	st = measure(&c, r);
	if (c.has_reference)
		model_close(&c.reference);
	if (c.has_single)
		mlrt_session_free(c.single.session);
	model_close(&c.ours);
	return st;
}
