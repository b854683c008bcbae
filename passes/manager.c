/* passes/manager.c -- runs pipelines: needs, verification, dumps, timing, bisection. */
#include <string.h>
#include <time.h>

#include "passes/pass.h"

static const MloPassInfo pass_table[] = {
#define PASS(name, needs, gives, breaks, summary) {#name, summary, mlo_pass_##name, needs, gives, breaks},
#include "passes/passes.def"
};
enum { NPASS = sizeof pass_table / sizeof *pass_table };

static const struct Pipeline {
	const char *name, *passes;
} pipeline_table[] = {
#define PIPELINE(name, passes) {#name, passes},
#include "passes/pipelines.def"
};
enum { NPIPELINE = sizeof pipeline_table / sizeof *pipeline_table };

const MloPassInfo *mlo_pass_at(size_t i)
{
	return i < NPASS ? &pass_table[i] : NULL;
}

static const MloPassInfo *find(const char *name, size_t n)
{
	for (size_t i = 0; i < NPASS; i++)
		if (strlen(pass_table[i].name) == n && !memcmp(pass_table[i].name, name, n))
			return &pass_table[i];
	return NULL;
}

const MloPassInfo *mlo_pass_find(const char *name)
{
	return find(name, strlen(name));
}

static bool values_have(const MloGraph *g, bool (*is)(const MloType *t))
{
	for (uint32_t i = 0; i < g->ninputs; i++)
		if (!is(&g->inputs[i]->type))
			return false;
	for (const MloNode *n = g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i] && !is(&n->out[i]->type))
				return false;
	return true;
}

static bool has_elem(const MloType *t)
{
	return t->elem != EL_none;
}

/* What can be read off the graph itself; GP_LAYOUT is known only when a value is blocked. */
static unsigned props_seen(const MloGraph *g)
{
	unsigned have = 0;

	if (values_have(g, has_elem))
		have |= GP_TYPES;
	for (const MloNode *n = g->first; n; n = n->next) {
		have |= n->group ? GP_GROUPS | GP_LAYOUT : 0;
		for (uint32_t i = 0; i < n->nout; i++)
			have |= n->out[i] && n->out[i]->layout.block ? GP_LAYOUT : 0;
	}
	return have;
}

static MloStatus check_needs(const MloGraph *g, const MloPassInfo *p, unsigned have, MloDiag *d)
{
	static const struct { unsigned prop; const char *text, *pass; } why[] = {
		{GP_TYPES, "types", "infer"}, {GP_LAYOUT, "layouts", "layout"}, {GP_GROUPS, "groups", "fuse"}};

	for (size_t i = 0; i < sizeof why / sizeof *why; i++)
		if (p->needs & ~have & why[i].prop)
			return mlo_error(d, MLO_ERR_USAGE, "pass '%s' needs %s: run pass '%s' before it",
			                 p->name, why[i].text, why[i].pass);
	if (p->needs & ~have & GP_TARGET)
		return mlo_error(d, MLO_ERR_USAGE, "pass '%s' needs a target", p->name);
	return MLO_OK;
}

static void dump(const MloGraph *g, const MloPassInfo *p, const MloPassOptions *opt, MloArena *a)
{
	MloStr s = {.arena = a};

	if (!opt->dump || !opt->dump_after)
		return;
	if (strcmp(opt->dump_after, "all") && strcmp(opt->dump_after, p->name))
		return;
	mlo_print(&s, g, false);
	opt->dump(opt->dump_user, p->name, mlo_str_text(&s));
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static MloStatus run_fn(MloGraph *g, const MloPassInfo *p, MloPassCx *cx);

/* Branches that turn out not to fit the sizes that there are get closed. */
static MloStatus run_branch(MloGraph *g, MloNode *n, MloGraph *b, const MloPassInfo *p, MloPassCx *cx)
{
	MloDiag why = {.where = cx->diag ? cx->diag->where : NULL}, *outer = cx->diag;
	MloStatus st;

	cx->diag = &why;
	st = values_have(b, has_elem) ? run_fn(b, p, cx) : mlo_infer_graph(b, &why); /* which says why */
	cx->diag = outer;
	cx->changed += st == MLO_ERR_MODEL;
	if (st == MLO_ERR_MODEL)
		st = mlo_branch_close(g, n, b, &why, outer);
	else
		mlo_diag_move(outer, &why);
	mlo_diag_free(&why);
	return st;
}

static MloStatus run_bodies(MloGraph *g, const MloPassInfo *p, MloPassCx *cx)
{
	MloGraph *b;

	for (MloNode *n = g->first; n; n = n->next)
		for (int at = 0; (b = mlo_node_body(n, &at));)
			MLO_TRY(n->op == OP_if ? run_branch(g, n, b, p, cx) : run_fn(b, p, cx));
	return MLO_OK;
}

/* A pass runs on bodies as on graphs, but for inference, which infers them with their node. What it found in them
 * may tell more of what they give. */
static MloStatus run_fn(MloGraph *g, const MloPassInfo *p, MloPassCx *cx)
{
	size_t before;

	MLO_TRY(p->fn(g, cx));
	if (p->fn == mlo_pass_infer)
		return MLO_OK;
	before = cx->changed;
	MLO_TRY(run_bodies(g, p, cx));
	return cx->changed > before && !values_have(g, mlo_type_static) ? mlo_infer_graph(g, cx->diag) : MLO_OK;
}

static MloStatus run_in(MloGraph *g, const MloPassInfo *p, const MloPassOptions *opt, MloPassCx *cx)
{
	double start = now();
	MloStatus st = run_fn(g, p, cx);

	if (opt->timing)
		opt->timing(opt->timing_user, p->name, now() - start, cx->changed);
	if (st != MLO_OK) {
		mlo_note(cx->diag, "in pass '%s'", p->name);
		return st;
	}
	dump(g, p, opt, cx->arena);
	if (opt->verify_each && mlo_verify(g, cx->diag) != MLO_OK)
		return mlo_error(cx->diag, MLO_ERR_INTERNAL, "pass '%s' left a broken graph", p->name);
	return MLO_OK;
}

static MloStatus run_one(MloGraph *g, const MloPassInfo *p, const MloTarget *target,
                         const MloPassOptions *opt, MloDiag *d)
{
	MloPassCx cx = {.arena = mlo_arena_new(), .diag = d, .target = target, .precision = opt->precision};
	jmp_buf guard;
	MloStatus st;

	if (!cx.arena)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory in pass '%s'", p->name);
	if (setjmp(guard)) {
		mlo_arena_free(cx.arena);
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory in pass '%s'", p->name);
	}
	mlo_arena_guard(cx.arena, &guard);
	st = run_in(g, p, opt, &cx);
	mlo_arena_free(cx.arena);
	return st;
}

static const struct Precision { const char *name; MloElem elem; } precisions[] = {
	{"f32", EL_f32}, {"tf32", EL_tf32}, {"bf16", EL_bf16}, {"fp16", EL_f16}};
enum { NPRECISION = sizeof precisions / sizeof *precisions };

bool mlo_precision_find(const char *name, MloElem *out)
{
	for (size_t i = 0; i < NPRECISION; i++) {
		if (!strcmp(precisions[i].name, name)) {
			*out = precisions[i].elem;
			return true;
		}
	}
	return false;
}

const char *mlo_precision_name(MloElem e)
{
	for (size_t i = 0; i < NPRECISION; i++)
		if (precisions[i].elem == e)
			return precisions[i].name;
	MLO_BUG("no precision of %s", mlo_elem_text(e));
}

/* The list to run, and the whole of it checked before anything runs. */
static MloStatus resolve(const char *pipeline, const char **list, MloDiag *d)
{
	*list = pipeline;
	for (size_t i = 0; i < NPIPELINE; i++)
		if (!strcmp(pipeline_table[i].name, pipeline))
			*list = pipeline_table[i].passes;
	for (const char *s = *list;; s++) {
		size_t n = strcspn(s, ",");

		if (!find(s, n)) {
			mlo_error(d, MLO_ERR_USAGE, "no pass or pipeline is called '%.*s'", (int)n, s);
			for (size_t i = 0; i < NPASS; i++)
				mlo_hint(d, "%s: %s", pass_table[i].name, pass_table[i].summary);
			return MLO_ERR_USAGE;
		}
		s += n;
		if (!*s)
			return MLO_OK;
	}
}

MloStatus mlo_passes_run(MloGraph *g, const char *pipeline, const MloTarget *target,
                         const MloPassOptions *opt, MloDiag *d)
{
	static const MloPassOptions defaults = {.limit = -1};
	unsigned given = 0;
	const char *s;
	int count = 0;

	opt = opt ? opt : &defaults;
	MLO_TRY(resolve(pipeline, &s, d));
	for (;; s++) {
		size_t n = strcspn(s, ",");
		const MloPassInfo *p = find(s, n);

		if (opt->limit >= 0 && count++ >= opt->limit)
			return MLO_OK;
		MLO_TRY(check_needs(g, p, given | props_seen(g) | (target ? GP_TARGET : 0), d));
		MLO_TRY(run_one(g, p, target, opt, d));
		given = (given & ~p->breaks) | (p->gives & GP_LAYOUT);
		s += n;
		if (!*s)
			return MLO_OK;
	}
}
