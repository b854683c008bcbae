/* passes/pass.h -- the pass manager.
 *
 * A pass is  MloStatus mlo_pass_<name>(MloGraph *, MloPassCx *)  and one row of passes.def.  It reads
 * only cx, prints nothing, has no static state, and gives the same graph for the same graph.
 * Pipelines are rows of pipelines.def; the manager checks the stated needs before it runs one. */
#ifndef MLO_PASSES_PASS_H
#define MLO_PASSES_PASS_H
#include "ir/graph.h"
#include "targets/target.h"

/* Properties of a graph that passes need, establish or break. */
enum MloGraphProps {
	GP_TYPES = 1,  /* every value has its type inferred */
	GP_GROUPS = 2, /* nodes are in fused groups */
	GP_LAYOUT = 4, /* layouts are assigned and relayout nodes inserted */
	GP_TARGET = 8, /* it is known what the graph is compiled for */
};

typedef struct MloPassCx {
	MloArena *arena;         /* scratch, freed after the pass */
	MloDiag *diag;
	const MloTarget *target; /* NULL: target-independent pipelines only */
	MloElem precision;       /* EL_f32 (or EL_none), EL_tf32, EL_bf16 or EL_f16: of products */
	size_t changed;          /* the pass counts what it changed */
} MloPassCx;

typedef MloStatus MloPassFn(MloGraph *g, MloPassCx *cx);

#define PASS(name, needs, gives, breaks, summary) MloPassFn mlo_pass_##name;
#include "passes/passes.def"

typedef struct MloPassInfo {
	const char *name, *summary;
	MloPassFn *fn;
	unsigned needs, gives, breaks;
} MloPassInfo;
const MloPassInfo *mlo_pass_at(size_t i); /* NULL past the end */
const MloPassInfo *mlo_pass_find(const char *name);

typedef struct MloPassOptions {
	const char *dump_after;  /* pass name, or "all"; NULL: none */
	void (*dump)(void *user, const char *pass, const char *text);
	void *dump_user;
	bool verify_each;
	int limit;               /* run at most that many passes; < 0: no limit */
	MloElem precision;       /* MloPassCx.precision */
	void (*timing)(void *user, const char *pass, double seconds, size_t changed);
	void *timing_user;
} MloPassOptions;

/* Precisions of products by the names that users know. */
#define MLO_PRECISIONS "f32, tf32, bf16, fp16"
bool mlo_precision_find(const char *name, MloElem *out);
const char *mlo_precision_name(MloElem e);

/* Runs a pipeline of pipelines.def by name, or a comma-separated list of passes. */
MloStatus mlo_passes_run(MloGraph *g, const char *pipeline, const MloTarget *target,
                         const MloPassOptions *opt /* NULL: defaults */, MloDiag *d) MLO_CHECKED;
#endif
