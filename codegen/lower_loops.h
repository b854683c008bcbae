/* codegen/lower_loops.h -- what the parts of the loop tier share.
 *
 * A kernel of this tier is pulled from its results: loops over the index space of an output are
 * opened, and the expression of the output at that index is built by walking the group's nodes
 * against the data flow.  Movement operators only change the index on the way, so they cost
 * nothing of their own.  Every instruction is placed at the outermost open loop at which its
 * operands are known. */
#ifndef MLO_CODEGEN_LOWER_LOOPS_H
#define MLO_CODEGEN_LOWER_LOOPS_H
#include "codegen/lower.h"

/* An index with the range it is known to stay in, lo <= e < end: tighter than kx_range can see. */
typedef struct Ix {
	const KIdx *e;
	MloDim lo, end;
} Ix;

enum { LW_LEVELS = 40, LW_DIMS = 32, LW_STORES = 16 };

/* One open body. `loop` is where the next deeper open loop hangs: hoisted instructions go before it. */
typedef struct LwLevel {
	KCursor at;
	KStmt **loop;
} LwLevel;

typedef struct LwMemo {
	const MloValue *v;
	Ix ix[MLO_MAX_RANK];
	int value, level;
} LwMemo;

/* A memory access or a number made from an index, noted to plan the loops. */
typedef struct LwAccess {
	const KIdx *idx;
	const KGuard *guard;
	bool store, number, inner; /* number: not memory; inner: inside the reduction's loops */
} LwAccess;

/* One dimension of an index space: it adds ix * scale to the index of tensor axis `axis`. */
typedef struct LwDim {
	MloDim extent;
	int64_t scale;
	int axis;
	bool fixed;        /* a pooling window: extent may be clipped, never joined */
	bool join;         /* runs in one loop together with the dimension after it */
	int var;           /* loop variable of the probe, -1: none */
	Ix ix;             /* valid while its loop is open */
} LwDim;

/* dst[index of val, moved by `shift` along `axis`] = val */
typedef struct LwStore {
	const MloValue *val, *dst;
	int axis;
	MloDim shift;
} LwStore;

/* One loop nest: dims [0, nout) of the stored values, [nout, ndim) of the anchor's reduction. */
typedef struct LwNest {
	LwDim dim[LW_DIMS];
	int nout, ndim;
	int rank;
	MloDim shape[MLO_MAX_RANK];
	int block;
	LwStore store[LW_STORES];
	int nstore;
	bool anchored;     /* a store depends on the anchor's reduction */
	int order[LW_DIMS], norder; /* runs of the output dimensions by first dimension, outermost first */
	int vec;           /* first dimension of the vectorised run, -1: none */
	int npar;          /* leading runs of order[] that are parallel */
	int split;         /* first dimension of the run cut into chunks, -1: none */
	MloDim chunk;
} LwNest;

typedef struct Lower {
	MloLowerCx *cx;
	MloArena *arena;
	MloNode *first, *last, *anchor;
	MloKernel *k;
	struct { MloBinding *items; size_t n, cap; } bind;
	LwLevel level[LW_LEVELS];
	int top, npar;
	struct { int *items; size_t n, cap; } var_level, val_level;
	struct { LwMemo *items; size_t n, cap; } memo;
	struct { LwAccess *items; size_t n, cap; } access;
	LwNest *nest;
	bool probe;        /* a throw-away build that notes accesses */
	bool in_red;       /* inside the reduction's loops */
	int vec_var;       /* variable of the open vec loop, -1: none */
} Lower;

/* lower_expr.c */
void lw_init(Lower *w, MloLowerCx *cx, MloNode *first, MloNode *last, MloNode *anchor, const char *name);
int lw_open(Lower *w, KLoopKind kind, const KIdx *extent);  /* variable */
void lw_close(Lower *w);
bool lw_inside(const Lower *w, const MloValue *v);          /* computed in the group */
int lw_arg(Lower *w, const MloValue *v, KArgDir dir);
int lw_table(Lower *w, const MloTensor *t);                 /* argument of constant data */
int lw_scratch(Lower *w, MloElem e, int64_t count);
int lw_op(Lower *w, KOp op, MloElem t, int a, int b, int c);
int lw_const(Lower *w, MloElem t, double f);
int lw_const_i(Lower *w, MloElem t, int64_t v);
int lw_number(Lower *w, MloElem t, const KIdx *e);          /* K_index */
int lw_load_arg(Lower *w, int arg, const KIdx *idx, const KGuard *guard, double other);
int lw_load(Lower *w, const MloValue *v, const Ix *ix, double other, bool lanes /* padding lanes may be read */);
int lw_reload(Lower *w, const MloValue *v, const Ix *ix);   /* of a result that was stored before */
void lw_store(Lower *w, const MloValue *v, const Ix *ix, int value);
void lw_store_arg(Lower *w, int arg, const KIdx *idx, int value);
int lw_expr(Lower *w, const MloValue *v, const Ix *ix);     /* value of v at an index */
void lw_remember(Lower *w, const MloValue *v, const Ix *ix, int value);
int lw_acc_init(Lower *w, int value);
void lw_acc(Lower *w, int acc, KOp op, int value);
int lw_accum(Lower *w, int acc, MloElem t);
bool lw_depends(const Lower *w, const MloValue *v, const MloNode *on);
bool lw_uses_var(const Lower *w, const KIdx *e, int var);

Ix ix_var(Lower *w, int var, MloDim extent); /* a loop's variable */
Ix ix_const(Lower *w, int64_t v);
Ix ix_add(Lower *w, Ix a, Ix b);
Ix ix_addc(Lower *w, Ix a, int64_t c);
Ix ix_move(Lower *w, Ix a, MloDim by);
Ix ix_mul(Lower *w, Ix a, MloDim c);
Ix ix_div(Lower *w, Ix a, MloDim c);
Ix ix_mod(Lower *w, Ix a, MloDim c);
Ix ix_mulc(Lower *w, Ix a, int64_t c);
Ix ix_divc(Lower *w, Ix a, int64_t c);
Ix ix_modc(Lower *w, Ix a, int64_t c);
bool ix_within(Ix a, MloDim extent); /* always 0 <= a < extent */
Ix ix_clamp(Lower *w, Ix a, MloDim extent);
/* d in arithmetic of type t: a constant, or computed where it is used. */
int lw_number_of(Lower *w, MloElem t, MloDim d);

/* lower_move.c: the value of result `v` of movement node n at an index. */
int lw_move(Lower *w, const MloNode *n, const MloValue *v, const Ix *ix);
/* x at an index that may lie outside: fill there. */
int lw_padded(Lower *w, const MloValue *x, const Ix *in, double fill, bool strict);
bool lw_can_move(const MloNode *n);
int lw_resize(Lower *w, const MloNode *n, const Ix *ix);
bool lw_can_resize(const MloNode *n);
bool lw_is_reshape(const MloNode *n); /* keeps the flat order of elements */

/* lower_reduce.c, lower_pool.c: the value of the anchor's result at an index, and the dimensions
 * that it reduces. */
int lw_reduce(Lower *w, const MloNode *n, const Ix *ix);
bool lw_can_reduce(const MloNode *n);
int lw_reduce_dims(const MloNode *n, LwDim *dim);
int lw_pool(Lower *w, const MloNode *n, const Ix *ix);
bool lw_can_pool(const MloNode *n);
int lw_pool_dims(const MloNode *n, LwDim *dim);
void lw_red_open(Lower *w);                /* opens the loops of the reduction's dimensions */
void lw_red_close(Lower *w);

/* lower_nest.c */
void lw_nest_dims(Lower *w, LwNest *s);    /* index space of its stores */
/* Chooses the loops. ntasks == 0: the nest is alone in its kernel and has parallel loops of its own;
 * else its share of that many tasks is cut out of one loop. */
void lw_nest_plan(Lower *w, LwNest *s, int64_t ntasks);
void lw_nest_build(Lower *w, LwNest *s, int task); /* task: variable with the task number, -1: alone */
double lw_nest_work(const Lower *w, const LwNest *s);      /* innermost iterations */

/* lower_norm.c: a whole group around a row-wise anchor. */
MloStatus lw_rowwise(Lower *w);
bool lw_can_rowwise(const MloNode *n);

/* Helpers on nodes. */
bool lw_const_i64s(const MloValue *v, int64_t *out, int *n, int max); /* false: not constant or too long */
int lw_axis(int64_t axis, int rank);
static inline MloDim lw_size(const MloValue *v, int d) { return v->type.dim[d]; }
static inline int64_t lw_dim(const MloValue *v, int d) /* one that is known */
{
	MLO_ASSERT(mlo_dim_known(v->type.dim[d]));
	return v->type.dim[d].k;
}
static inline bool lw_is(MloDim d, int64_t k) { return mlo_dim_known(d) && d.k == k; }
bool lw_elem_ok(MloElem e);
#endif
