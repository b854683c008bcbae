/* tools/compile.c -- graph to package: passes, code per variant, manifest, file layout. */
#include "tools/compile.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "codegen/tuned.h"
#include "package/package.h"
#include "passes/pass.h"
#include "tools/manifest.h"

typedef size_t StatePair[2]; /* input, output */

typedef struct Compiler {
	MloArena *a;
	MloDiag *d;
	const MloptOptions *opt;
	const MloCompileHooks *hooks; /* or NULL */
	const MloObjectRequest *object; /* instead of a package; or NULL */
	const MloGraph *graph; /* as given */
	const MloTarget *target[MLO_MAX_VARIANTS];
	MloWeightPool pool;
	MloElem precision;
	MloTier tier;
	size_t nvariants;
	MloVariant *made; /* nvariants each */
	MloManifestVariant *listed;
	MloPackage *package;
	const MloGraph *golden_of;    /* the graph that the blob below is of */
	MloPiece golden;
	const MloGraph *typed; /* after all passes: what is known about sizes in the end */
	StatePair *state;
} Compiler;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void free_graph(void *g)
{
	mlo_graph_free(g);
}

static void free_variant(void *v)
{
	mlo_variant_free(v);
}

/* -- passes ------------------------------------------------------------------------------- */

static void dump_pass(void *user, const char *pass, const char *text)
{
	const MloptOptions *opt = user;

	if (opt->dump)
		opt->dump(opt->dump_user, "pass", pass, text);
}

static MloStatus run_passes(Compiler *c, MloGraph *g, const char *passes, const MloTarget *t)
{
	MloPassOptions po = {
		.dump_after = c->opt->dump_after,
		.dump = dump_pass,
		.dump_user = (void *)c->opt,
		.verify_each = c->opt->verify_each,
		.limit = c->opt->pass_limit,
		.precision = c->precision,
		.timing = c->opt->timing,
		.timing_user = c->opt->timing_user,
	};

	return mlo_passes_run(g, passes, t, &po, c->d);
}

static MloStatus clone(Compiler *c, const MloGraph *g, MloGraph **out)
{
	*out = mlo_graph_clone(g);
	if (!*out)
		return mlo_error(c->d, MLO_ERR_NOMEM, "out of memory");
	mlo_defer(c->a, free_graph, *out);
	return MLO_OK;
}

static const char *pipeline_text(int level)
{
	static const struct {
		const char *name, *passes;
	} rows[] = {
#define PIPELINE(name, passes) {#name, passes},
#include "passes/pipelines.def"
	};
	const char *want = level == 0 ? "O0" : "O2";

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (strcmp(rows[i].name, want) == 0)
			return rows[i].passes;
	}
	MLO_BUG("no pipeline %s", want);
}

/* The pipeline of the options.  Layouts and groups are for the contract tier: it ends before them where that is not used. */
static const char *pipeline(Compiler *c)
{
	const char *all = pipeline_text(c->opt->level), *cut = c->tier == MLO_TIER_CONTRACT ? NULL : strstr(all, ",layout");

	return cut ? mlo_strndup(c->a, all, (size_t)(cut - all)) : all;
}

/* The pipeline up to the first pass that looks at the target (`sign`, or `layout`) is run once, the rest per
 * variant.  Under a pass limit every variant runs it whole, so that the count means something. */
static MloStatus split_pipeline(Compiler *c, const MloGraph *graph, const MloGraph **common, const char **rest)
{
	const char *all = pipeline(c), *cut = strstr(all, ",sign");
	MloGraph *g;

	cut = cut ? cut : strstr(all, ",layout");
	*common = graph;
	*rest = all;
	if (!cut || c->opt->pass_limit >= 0)
		return MLO_OK;
	MLO_TRY(clone(c, graph, &g));
	MLO_TRY(run_passes(c, g, mlo_strndup(c->a, all, (size_t)(cut - all)), NULL));
	*common = g;
	*rest = mlo_sprintf(c->a, "infer%s", cut);
	return MLO_OK;
}

/* -- variants ----------------------------------------------------------------------------- */

static size_t add_blob(Compiler *c, enum MlrtBlobKind kind, const MloBytes *b)
{
	return (size_t)mlo_package_blob(c->package, kind, b->data, b->n);
}

static MloStatus read_precision(Compiler *c)
{
	const char *name = c->opt->precision;

	if (mlo_precision_find(name ? name : "f32", &c->precision))
		return MLO_OK;
	mlo_error(c->d, MLO_ERR_USAGE, "there is no precision '%s'", name);
	mlo_hint(c->d, "known: " MLO_PRECISIONS);
	return MLO_ERR_USAGE;
}

static MloStatus read_tier(Compiler *c)
{
	const char *name = c->opt->tier ? c->opt->tier : mlo_tier_name[MLO_TIER_CONTRACT];

	for (c->tier = MLO_TIER_CONTRACT; c->tier < MLO_TIER_COUNT; c->tier++)
		if (!strcmp(name, mlo_tier_name[c->tier]))
			return MLO_OK;
	mlo_error(c->d, MLO_ERR_USAGE, "there is no tier '%s'", name);
	mlo_hint(c->d, "known: contract, loops, library");
	return MLO_ERR_USAGE;
}

/* What products of a variant are: where there are none of tf32, they stay float32. */
static MloElem precision_of(const Compiler *c, const MloTarget *t)
{
	return c->precision == EL_tf32 && !mlo_target_tf32(t) ? EL_f32 : c->precision;
}

/* What weights that products read as they are become.  A CPU that multiplies bf16 does so where activations are
 * that as well; the products left are worth their full precision.  Tensor cores' activations are rounded on their way. */
static MloElem weights_of(Compiler *c, const MloTarget *t)
{
	if (precision_of(c, t) != c->precision)
		mlo_note(c->d, "%s has no products of tf32: arithmetic stays float32", t->name);
	if (c->precision != EL_bf16)
		return precision_of(c, t);
	if (mlo_target_bf16(t))
		return t->gpu ? EL_bf16 : EL_f32;
	mlo_note(c->d, "%s has no products of bf16: weights are stored as bf16, arithmetic stays float32", t->name);
	return EL_bf16;
}

static MloStatus add_device_blobs(Compiler *c, size_t i)
{
	MloVariant *v = &c->made[i];

	c->listed[i].launches = add_blob(c, MLRT_LAUNCHES, &v->launches);
	if (!c->opt->cubin)
		return MLO_OK;
	MLO_TRY(mlo_ptxas(c->target[i], &v->code, &v->cubin, NULL, c->d));
	c->listed[i].cubin = add_blob(c, MLRT_CUBIN, &v->cubin);
	return MLO_OK;
}

static MloStatus compile_variant(Compiler *c, size_t i, const MloGraph *common, const char *passes)
{
	const MloTarget *t = c->target[i];
	MloTunedStore store = {c->a, c->opt->cache_dir, c->d};
	MloChooser tuned = {mlo_tuned_choose, &store};
	MloCodegenOptions co = {
		.jobs = c->opt->jobs,
		.cache_dir = c->opt->cache_dir,
		.direct_only = c->opt->no_winograd || t->gpu,
		.weights = weights_of(c, t),
		.precision = precision_of(c, t),
		.tier = c->tier,
		.chooser = c->hooks && c->hooks->chooser.choose          ? &c->hooks->chooser
			   : c->opt->cache_dir && !c->opt->no_tuned ? &tuned
								    : NULL,
		.dump = c->opt->dump,
		.dump_user = c->opt->dump_user,
		.dump_kernels = c->opt->dump_kernels,
		.dump_llvm = c->opt->dump_llvm,
		.dump_asm = c->opt->dump_asm,
		.pool = c->nvariants > 1 ? &c->pool : NULL,
		.function = c->object ? c->object->function : NULL,
	};
	MloVariant *v = &c->made[i];
	MloGraph *g;
	double start;

	MLO_TRY(clone(c, common, &g));
	MLO_TRY(run_passes(c, g, passes, t));
	c->typed = g;
	start = now();
	MLO_TRY(mlo_codegen(g, t, &co, v, c->d));
	mlo_defer(c->a, free_variant, v);
	if (c->hooks && c->hooks->made)
		c->hooks->made(c->hooks->user, v);
	if (c->opt->timing)
		c->opt->timing(c->opt->timing_user, "codegen", now() - start, v->nkernels);
	if (c->object)
		return MLO_OK;
	c->listed[i] = (MloManifestVariant){.target = t, .made = v, .precision = mlo_precision_name(precision_of(c, t))};
	c->listed[i].code = add_blob(c, t->gpu ? MLRT_PTX : MLRT_CODE, &v->code);
	if (t->gpu)
		MLO_TRY(add_device_blobs(c, i));
	if (!v->pooled)
		c->listed[i].weights = (size_t)mlo_package_pieces(c->package, MLRT_WEIGHTS, v->weight, v->nweight, v->lookup_bytes);
	c->listed[i].program = add_blob(c, MLRT_PROGRAM, &v->program);
	if (c->golden_of) {
		c->listed[i].golden = (size_t)mlo_package_blob(c->package, MLRT_GOLDEN, c->golden.data, c->golden.n);
		c->listed[i].golden_data = c->golden.data;
	}
	return MLO_OK;
}

/* The blob of weights that variants share, which all have brought theirs to. */
static void add_pool(Compiler *c)
{
	size_t n, blob;
	const MloPiece *piece = mlo_pool_pieces(&c->pool, &n);

	if (!c->pool.weight.n)
		return;
	blob = (size_t)mlo_package_pieces(c->package, MLRT_WEIGHTS, piece, n, 0);
	for (size_t i = 0; i < c->nvariants; i++)
		if (c->made[i].pooled)
			c->listed[i].weights = blob;
}

static MloStatus make_golden(Compiler *c, const MloGraph *g)
{
	if (!c->hooks || !c->hooks->golden || c->golden_of == g)
		return MLO_OK;
	c->golden_of = g;
	return c->hooks->golden(c->hooks->golden_user, c->a, g, c->precision, &c->golden, c->d);
}

static void fill_report(const Compiler *c, MloptReport *r)
{
	size_t *const tier[MLO_TIER_COUNT] = {&r->contract, &r->loops, &r->library};

	for (const MloNode *n = c->graph->first; n; n = n->next)
		r->nodes++;
	r->macs = mlo_graph_macs(c->graph);
	r->variants = c->nvariants;
	r->weight_bytes = (uint64_t)c->pool.bytes;
	for (size_t i = 0; i < c->nvariants; i++) {
		const MloVariant *v = &c->made[i];

		r->groups += v->nsteps;
		r->kernels += v->nkernels;
		r->cache_hits += v->cache_hits;
		r->code_bytes += v->code.n + v->facts.code + v->facts.constants;
		r->weight_bytes += v->pooled ? 0 : v->weight_bytes;
		r->arena_bytes = v->arena_bytes > r->arena_bytes ? v->arena_bytes : r->arena_bytes;
		for (size_t s = 0; s < v->nsteps; s++) {
			++*tier[v->steps[s].tier];
			r->tuned += v->steps[s].choice.from == MLO_CHOICE_MEASURED;
		}
	}
}

static bool no_rank(const MloValue *v)
{
	return v && v->type.rank == MLO_RANK_UNKNOWN && !mlo_type_object(&v->type);
}

/* The first node whose result has a rank that only a run tells, though those of its operands are known. */
static MloStatus check_node_ranks(const MloGraph *g, MloDiag *d)
{
	for (const MloNode *n = g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++) {
			if (!no_rank(n->out[i]))
				continue;
			mlo_node_error(d, MLO_ERR_UNSUPPORTED, n,
				       "the number of dimensions of its result depends on what a run is given");
			mlo_hint(d, "an input that is always the same can be part of the package: "
				    "--const NAME=FILE.npy");
			return MLO_ERR_UNSUPPORTED;
		}
	return MLO_OK;
}

static MloStatus check_ranks(const MloGraph *g, MloDiag *d)
{
	for (uint32_t i = 0; i < g->ninputs; i++) {
		if (!no_rank(g->inputs[i]))
			continue;
		mlo_error(d, MLO_ERR_UNSUPPORTED, "the number of dimensions of input '%s' is not known",
			  g->inputs[i]->name);
		mlo_hint(d, "state it: --shape %s=1x3x224x224", g->inputs[i]->name);
		return MLO_ERR_UNSUPPORTED;
	}
	return check_node_ranks(g, d);
}

/* -- states -------------------------------------------------------------------------------- */

/* Index of the input or output of that name, or of how many there are. */
static size_t find_name(const MloGraph *g, bool output, const char *name, size_t n)
{
	size_t count = output ? g->noutputs : g->ninputs, i = 0;

	for (; i < count; i++) {
		const char *have = output ? g->output_names[i] : g->inputs[i]->name;

		if (strlen(have) == n && memcmp(have, name, n) == 0)
			break;
	}
	return i;
}

/* "INPUT=OUTPUT": names may hold '=', so every one of them is tried. */
static bool split_state(const MloGraph *g, const char *text, StatePair *pair)
{
	for (const char *eq = strchr(text, '='); eq; eq = strchr(eq + 1, '=')) {
		(*pair)[0] = find_name(g, false, text, (size_t)(eq - text));
		(*pair)[1] = find_name(g, true, eq + 1, strlen(eq + 1));
		if ((*pair)[0] < g->ninputs && (*pair)[1] < g->noutputs)
			return true;
	}
	return false;
}

static MloStatus no_such_state(Compiler *c, const char *text)
{
	MloStr in = {.arena = c->a}, out = {.arena = c->a};

	for (uint32_t i = 0; i < c->graph->ninputs; i++)
		mlo_str_add(&in, "%s'%s'", i ? ", " : "", c->graph->inputs[i]->name);
	for (uint32_t i = 0; i < c->graph->noutputs; i++)
		mlo_str_add(&out, "%s'%s'", i ? ", " : "", c->graph->output_names[i]);
	mlo_error(c->d, MLO_ERR_USAGE, "--state %s: not the names of an input and an output: INPUT=OUTPUT", text);
	mlo_hint(c->d, "inputs: %s; outputs: %s", mlo_str_text(&in), mlo_str_text(&out));
	return MLO_ERR_USAGE;
}

static MloStatus find_states(Compiler *c)
{
	c->state = MLO_NEWN(c->a, StatePair, c->opt->nstates + 1);
	for (size_t i = 0; i < c->opt->nstates; i++) {
		const char *text = c->opt->states[i];

		if (!split_state(c->graph, text, &c->state[i]))
			return no_such_state(c, text);
		for (size_t k = 0; k < i; k++)
			if (c->state[k][0] == c->state[i][0] || c->state[k][1] == c->state[i][1])
				return mlo_error(c->d, MLO_ERR_USAGE, "--state %s: %s '%s' is part of --state %s already", text,
						 c->state[k][0] == c->state[i][0] ? "input" : "output",
						 c->state[k][0] == c->state[i][0]
							 ? c->graph->inputs[c->state[i][0]]->name
							 : c->graph->output_names[c->state[i][1]],
						 c->opt->states[k]);
	}
	return MLO_OK;
}

/* What is known about sizes in the end tells whether the two fit. */
static MloStatus check_states(Compiler *c)
{
	for (size_t i = 0; i < c->opt->nstates; i++) {
		const MloType *x = &c->typed->inputs[c->state[i][0]]->type, *y = &c->typed->outputs[c->state[i][1]]->type;
		bool fits = x->elem == y->elem && x->rank == y->rank && x->kind == y->kind && x->key == y->key;
		MloStr in = {.arena = c->a}, out = {.arena = c->a};

		for (int k = 0; fits && k < x->rank; k++)
			fits = !mlo_dim_differ(x->dim[k], y->dim[k]);
		if (fits)
			continue;
		mlo_type_print(&in, x);
		mlo_type_print(&out, y);
		return mlo_error(c->d, MLO_ERR_USAGE, "--state %s: the output is %s, the input %s", c->opt->states[i],
				 mlo_str_text(&out), mlo_str_text(&in));
	}
	return MLO_OK;
}

/* -- the whole ------------------------------------------------------------------------------- */

static MloStatus find_targets(Compiler *c)
{
	const MloTarget *only = c->hooks ? c->hooks->only : NULL;
	const MloTargetSet *targets = mlo_target_find_list(c->a, c->opt->target ? c->opt->target : "native", c->d);

	if (!targets)
		return MLO_ERR_USAGE;
	for (size_t i = 0; targets->variant[i]; i++) {
		const MloTarget *t = targets->variant[i];

		if (mlo_target_bare(t) && !c->object) {
			mlo_error(c->d, MLO_ERR_USAGE, "target '%s' has no system that could load a package", t->name);
			mlo_hint(c->d, "--format static makes an object to link");
			return MLO_ERR_USAGE;
		}
		if (t->gpu && c->object)
			return mlo_error(c->d, MLO_ERR_USAGE, "target '%s' is a GPU: its kernels are started by the runtime, out of packages",
			                 t->name);
		if (!only || t == only)
			c->target[c->nvariants++] = t;
	}
	if (c->object && c->nvariants > 1) {
		c->target[0] = c->target[c->nvariants - 1];
		mlo_note(c->d, "of the %zu levels of %s this is for the lowest, %s; "
			 "--target takes the name of any ('mlopt targets -v')", c->nvariants, targets->name, c->target[0]->name);
		c->nvariants = 1;
	}
	return MLO_OK;
}

static MloStatus compile(Compiler *c)
{
	const MloGraph *common = NULL, *from = NULL;
	const char *passes = NULL;

	MLO_TRY(check_ranks(c->graph, c->d));
	MLO_TRY(find_states(c));
	MLO_TRY(read_precision(c));
	MLO_TRY(read_tier(c));
	MLO_TRY(find_targets(c));
	c->package = mlo_package_new(c->a);
	c->pool.arena = c->a;
	c->made = MLO_NEWN(c->a, MloVariant, c->nvariants);
	c->listed = MLO_NEWN(c->a, MloManifestVariant, c->nvariants);
	for (size_t i = 0; i < c->nvariants; i++) {
		const MloGraph *graph = c->hooks && c->hooks->graph ? c->hooks->graph(c->hooks->user, c->target[i]) : c->graph;

		if (graph != from)
			MLO_TRY(split_pipeline(c, graph, &common, &passes));
		from = graph;
		MLO_TRY(make_golden(c, graph));
		/* most weights were rewritten by now, or are about to be read one after the other */
		mlo_graph_unload(graph);
		MLO_TRY(compile_variant(c, i, common, passes));
	}
	if (!c->object)
		add_pool(c);
	return MLO_OK;
}

static MloStatus deliver(Compiler *c, MloArena *a, const char *path, MloCompiled *out)
{
	const char *manifest;
	struct stat st;

	MLO_TRY(check_states(c));
	MLO_TRY(mlo_manifest_text(c->a,
				  &(MloManifest){c->graph, c->typed, c->opt, c->listed, c->nvariants,
						 (const size_t (*)[2])c->state, c->opt->nstates, c->hooks ? c->hooks->options : NULL,
						 c->hooks ? c->hooks->noptions : 0},
				  &manifest, c->d));
	fill_report(c, &out->report);
	if (path) {
		const char *where = c->d ? c->d->where : NULL;
		MloStatus written;

		if (c->d)
			c->d->where = NULL; /* messages are about the output, not the model */
		written = mlo_package_write(c->package, manifest, path, c->d);
		if (c->d)
			c->d->where = where;
		MLO_TRY(written);
		out->n = stat(path, &st) == 0 ? (size_t)st.st_size : 0;
	} else {
		MLO_TRY(mlo_package_bytes(c->package, manifest, a, &out->bytes, &out->n, c->d));
	}
	out->report.package_bytes = out->n;
	return MLO_OK;
}

MloStatus mlo_compile_hooked(MloArena *a, const MloGraph *g, const MloptOptions *opt, const MloCompileHooks *hooks,
			     const char *path, MloCompiled *out, MloDiag *d)
{
	Compiler c = {.a = mlo_arena_new(), .d = d, .opt = opt, .hooks = hooks, .graph = g};
	double start = now();
	MloStatus st;

	*out = (MloCompiled){0};
	if (!c.a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	st = compile(&c);
	if (st == MLO_OK)
		st = deliver(&c, a, path, out);
	mlo_arena_free(c.a);
	out->report.seconds = now() - start;
	return st;
}

MloStatus mlo_compile_object(const MloGraph *g, const MloptOptions *opt, const MloCompileHooks *hooks,
			     const MloObjectRequest *want, MloptReport *report, MloDiag *d)
{
	Compiler c = {.a = mlo_arena_new(), .d = d, .opt = opt, .hooks = hooks, .graph = g, .object = want};
	double start = now();
	MloStatus st;

	*report = (MloptReport){0};
	if (!c.a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	st = hooks && hooks->golden
		     ? mlo_error(d, MLO_ERR_USAGE, "--golden: only packages have a place for golden vectors")
		     : compile(&c);
	if (st == MLO_OK) {
		fill_report(&c, report);
		report->package_bytes = c.made[0].object.n;
		st = want->take(want->user, c.typed, c.target[0], &c.made[0], d);
	}
	mlo_arena_free(c.a);
	report->seconds = now() - start;
	return st;
}

MloStatus mlo_compile_graph(MloArena *a, const MloGraph *g, const MloptOptions *opt, const char *path,
			    MloCompiled *out, MloDiag *d)
{
	return mlo_compile_hooked(a, g, opt, NULL, path, out, d);
}

const char *mlo_default_cache(MloArena *a)
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (base && *base == '/')
		return mlo_sprintf(a, "%s/mlopt", base);
	return home && *home == '/' ? mlo_sprintf(a, "%s/.cache/mlopt", home) : NULL;
}
