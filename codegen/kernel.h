/* codegen/kernel.h -- the Kernel IR: loop nests over index spaces, and contractions.
 *
 * A kernel is a tree of statements over flat argument buffers.  Outermost `par` loops (perfectly
 * nested, at the top of the body) form the task space: the kernel function receives a range
 * [begin, end) of flattened task numbers, so the runtime can split it among threads.  Exactly one
 * loop on the path to a statement may be `vec`: the emitter runs it in vectors with masked tails.
 * Tasks and vector lanes must not write an element that another one touches; the verifier cannot
 * see that, lowering guarantees it.
 *
 * A kernel prints, parses, verifies and is interpreted without LLVM; its text (without the name) is
 * the key by which identical kernels are generated once. */
#ifndef MLO_CODEGEN_KERNEL_H
#define MLO_CODEGEN_KERNEL_H
#include "ir/graph.h"

typedef enum KOp {
#define KOP(id, n, meaning) K_##id,
#include "codegen/kops.def"
	K_COUNT
} KOp;

/* Integer index expressions (64-bit). MUL, DIV and MOD: by the constant k, or by the size b where there is
 * one. DIV and MOD: floor, of a positive divisor.
 * VALUE: an integer SSA value of the kernel (data-dependent index, as in gather).
 * SIZE: a size that is known only when the kernel runs; the same during the whole run. */
typedef enum KIdxOp { KI_CONST, KI_VAR, KI_ADD, KI_MUL, KI_DIV, KI_MOD, KI_MIN, KI_MAX, KI_VALUE, KI_SIZE } KIdxOp;
typedef struct KIdx {
	KIdxOp op;
	int64_t k;   /* CONST: value; VAR: variable number; MUL, DIV, MOD: constant; VALUE: value number; SIZE: size number */
	const struct KIdx *a, *b;
} KIdx;

/* Builders simplify: constants fold, x+0, x*1, (x*c)/c, (x*c + y)%c and /c where 0 <= y < c is known
 * from the variables' extents (kx_range). Sizes take part as the polynomials that they stand for. */
typedef struct MloKernel MloKernel;
const KIdx *kx_const(MloKernel *k, int64_t v);
const KIdx *kx_var(MloKernel *k, int var);
const KIdx *kx_add(MloKernel *k, const KIdx *a, const KIdx *b);
const KIdx *kx_mul(MloKernel *k, const KIdx *a, int64_t c);
const KIdx *kx_div(MloKernel *k, const KIdx *a, int64_t c);
const KIdx *kx_mod(MloKernel *k, const KIdx *a, int64_t c);
const KIdx *kx_dim(MloKernel *k, MloDim d); /* a constant, or sizes */
const KIdx *kx_mul_dim(MloKernel *k, const KIdx *a, MloDim c);
const KIdx *kx_div_dim(MloKernel *k, const KIdx *a, MloDim c);
const KIdx *kx_mod_dim(MloKernel *k, const KIdx *a, MloDim c);
const KIdx *kx_min(MloKernel *k, const KIdx *a, const KIdx *b);
const KIdx *kx_max(MloKernel *k, const KIdx *a, const KIdx *b);
const KIdx *kx_value(MloKernel *k, int value);
const KIdx *kx_size(MloKernel *k, int size); /* one whose range is a single number becomes that number */
bool kx_factor(const MloKernel *k, const KIdx *e, MloDim *f); /* what MUL, DIV, MOD have on the right; false: not known */
void kx_range(const MloKernel *k, const KIdx *e, int64_t *lo, int64_t *hi); /* inclusive; VALUE: whole range */
bool kx_equal(const KIdx *a, const KIdx *b); /* the same expression */
bool kx_has_value(const KIdx *e); /* does it depend on data? */

/* A condition 0 <= e < extent (a number, or -1-k for size k) under which a load or store happens. */
typedef struct KGuard {
	const KIdx *e;
	int64_t extent;
	const struct KGuard *next;
} KGuard;

/* One SSA instruction; its number is its position in MloKernel.value[]. */
typedef struct KInst {
	KOp op;
	MloElem type;      /* of the result */
	int a, b, c;       /* operands: value numbers */
	double imm;        /* const (floats) */
	int64_t ival;      /* const (integers, bool) */
	const KIdx *idx;   /* index, load */
	int arg;           /* load: argument; accum: accumulator number */
	const KGuard *guard; /* load; NULL: always in bounds */
	double other;      /* load: value where the guard fails */
} KInst;

typedef enum KLoopKind { KL_SEQ, KL_PAR, KL_VEC } KLoopKind;
typedef enum KStmtKind { KS_LET, KS_STORE, KS_LOOP, KS_ACC_INIT, KS_ACC, KS_CONTRACT, KS_ATTENTION, KS_FOREST, KS_CALL } KStmtKind;

/* LET:      value `value` is computed here, visible in the rest of this body and nested bodies.
 * STORE:    arg[idx] = value, if the guard holds.
 * LOOP:     var = 0 .. extent-1 over body. extent may depend on outer variables.
 * ACC_INIT: accumulator acc = value (a value defined before).
 * ACC:      acc = acc <accop> value; accop: add, mul, min, max.  Inside a vec loop that encloses the
 *           update but not the ACC_INIT the lanes are combined after the loop (any order).
 * CONTRACT: see KContract; body is the epilogue.
 * ATTENTION: see KAttention; likewise.
 * FOREST:   see KForest.
 * CALL:     a reference kernel of ir/ref/ (the library tier). */
typedef struct KStmt {
	KStmtKind kind;
	struct KStmt *next;   /* following statement of the same body */
	struct KStmt *body;   /* LOOP, CONTRACT, ATTENTION: first statement inside */
	int value;            /* LET, STORE, ACC_INIT, ACC */
	int var;              /* LOOP */
	KLoopKind loop;
	const KIdx *extent;
	int arg;              /* STORE */
	const KIdx *idx;
	const KGuard *guard;
	int acc;              /* ACC_INIT, ACC */
	KOp accop;
	struct KContract *contract;
	struct KAttention *attention;
	struct KForest *forest;
	struct KCall *call;
} KStmt;

/* Sum of products, the common form of convolution, matrix product and their batched kinds:
 *
 *   product[b0,b1,y,x,c] = sum over ky,kx,k of
 *       (A[b0*a.b0 + b1*a.b1 + iy*a.y + ix*a.x + (kk/a.block)*a.blk + (kk%a.block)*a.k] - zero)
 *     * B[...c..., ky, kx, k]
 *   with iy = y*sy + ky*dy - py, ix = x*sx + kx*dx - px, terms outside [0,in_y) x [0,in_x) left out,
 *   and kk = (c / group_c) * group_k + k  (group_c = nc, group_k = 0 without groups).
 *
 * Extents, strides in elements, a.block and group_c are numbers, or -1-k for size k.  The epilogue (body) computes
 * with K_product and the variables var[] (b0, b1, y, x, c) and stores.
 *
 * Elements of A and B, and what they are summed up in:
 *   f32 or bf16 with f32, f16 or bf16 f32, `dot` 1
 *   bf16 with bf16                    f32, `dot` 2 or 4
 *   u8 or i8 with i8                  i32, `dot` 4 or 8; 1 when depthwise
 *   tf32 with f32                     f32, `dot` 1
 *   f32 or tf32 with tf32, any of these, on a GPU   `dot` 16 to 128: the terms of a stage (codegen/device_mma.h)
 * `dot` terms k that follow each other are one step: a lane of 32 bits takes as many products at once; or, with the larger
 * number, 128 bits take 2 columns by 2 channels of them (contract_pairs; tiles have an even number of columns).  They lie
 * beside each other in A (a.k = 1; a.block, but for a single one, and group_k are multiples of dot) and in B, which
 * is then packed.
 *
 * B is either packed at compile time,
 *   [ceil(nc / (vecs*lanes))][ky][kx][ceil(nk / dot)][dot / part][vecs*lanes][part], zero beyond nc and nk,   (b.packed)
 * or, on a GPU, without half of its terms, which are zero (b.kept, codegen/kept.h), or as a patch of A is read (b.patch, codegen/patch.h;
 * `dot` is then the terms of a product, wherever they lie); part being b.part, or where that is 0, dot; with b.small none of its elements is INT8_MIN, so that the sum of two products of bytes fits
 * 16 bits; or read in place: B[b0*b.b0 + b1*b.b1 + k*b.k + c], 1x1 taps only.
 *
 * The zero point is zero.at, plus the element of zero.z_arg where it is `given` by the run.  Machine code gets it out
 * of the sums of the weights of each tap that lies inside, i32 zero.s_arg[ceil(nc / (vecs*lanes))][ky][kx][vecs*lanes],
 * which are there if there is a zero point or if A is of the sign that the instruction does not take (a.flip).  Depthwise, a tap's
 * weights are those sums, and there is no such argument.
 *
 * With scale.on, term k of batch b0 is multiplied by the f32 scale.g_arg[b0*scale.b0 + k]: one tap, f32, B packed, alone in its
 * kernel, not by Winograd.  A task multiplies its weights, into the scratch argument w_arg, nk*vecs*lanes elements.
 *
 * Alone in a kernel, its outputs are the task space.  Inside of loops (not of a vec loop; without Winograd) it makes all
 * its outputs where it stands; a_at and b_at, expressions of the loops around it, are then added to every place
 * in A and in B.  With y_lo and y_hi, expressions too, it makes only the rows [y_lo, y_hi) of [0, ny), in one chunk. */
typedef struct KContract {
	int64_t nb0, nb1, ny, nx, nc; /* output extents */
	int64_t nk, nky, nkx;         /* terms: channels (per group), taps */
	int64_t sy, sx, dy, dx, py, px, in_y, in_x;
	int64_t qx;                   /* where nx is a size: nx = (in_x + px + qx - reach of a window) / sx + 1 */
	int64_t group_c, group_k;
	int dot;
	int a_arg, b_arg;
	const KIdx *a_at, *b_at;      /* NULL: 0 */
	const KIdx *y_lo, *y_hi;      /* both NULL: all rows */
	struct { MloElem elem; bool flip; int64_t b0, b1, y, x, block, blk, k; } a;
	struct { MloElem elem; bool packed, small, kept, patch; int part; int64_t b0, b1, k; } b;
	struct { bool sums, given; int s_arg, z_arg; int64_t at; } zero;
	struct { bool on; int g_arg; int64_t b0; } scale;
	int var[5];                   /* b0, b1, y, x, c: variable numbers used by the epilogue */
	/* schedule: */
	int lanes, vecs, cols, rows;  /* register tile: rows x cols outputs (y, x) x vecs vectors of channels */
	int64_t y_chunk;              /* rows (columns, see mlo_contract_by_columns) per task */
	bool c_outer;                 /* task order: channel tiles outer (true) or chunks outer */
	/* Winograd (codegen/winograd.h): size of the output pieces, or 0.  B is then packed as
	 * [ceil(nc / (vecs*lanes))][point][k][vecs*lanes], transformed; y_chunk is a multiple of a piece's rows;
	 * a task makes c_chunk channel tiles of a chunk in the scratch argument w_arg. */
	int wino, w_arg;
	int64_t c_chunk;
	/* Products by a matrix unit (codegen/matrix.h): the steps that one of them takes, or 0.  A task makes c_chunk channel
	 * tiles of a chunk from its input, which it has copied into the scratch argument w_arg.  A tile is then `rows` by `vecs`
	 * registers of sums, each `cols` outputs by `lanes` channels, and B has as many steps as mlo_contract_steps() says. */
	int depth;
	/* Steps that are products of matrices, from a copy of A (codegen/strips.h): a task makes c_chunk channel tiles of a chunk from it, in
	 * the scratch argument w_arg. */
	bool strips;
	/* Weights that are mostly zero (codegen/sparse.h): lanes of a register side by side, or 0 where all weights are there.  B is
	 * then a stream of steps that are not zero for each `group` channels, [weights][group][dot], u8 i_arg[weights] says where they
	 * find their input, counted from the one before, and i32 n_arg[rows + 1] which of them belong to a row, that is, a group.  A task makes c_chunk channel tiles of a chunk from its input, which it
	 * has copied into the scratch argument w_arg; a tile is rows x cols registers of positions by a group. */
	struct { int spread, group; int64_t runs; int i_arg, n_arg; } sparse;
} KContract;

/* What may be a size: in an initialiser, the addresses of those members of c. */
#define MLO_CONTRACT_OPEN(c) \
	&(c).nb0, &(c).nb1, &(c).ny, &(c).nx, &(c).nc, &(c).nk, &(c).in_y, &(c).in_x, &(c).group_c, &(c).a.b0, &(c).a.b1, \
	&(c).a.y, &(c).a.x, &(c).a.block, &(c).a.blk, &(c).a.k, &(c).b.b0, &(c).b.b1, &(c).b.k

/* Attention of a tile of queries, on GPUs (codegen/device_attention.h; CPUs have it in loops, codegen/lower_attention.c):
 *
 *   score[q,k]   = scores(sum over t of Q[q*q.row + t*q.col] * K[k*k.row + t*k.col])
 *   product[q,c] = sum over k of softmax over k(score[q,k]) * V[k*v.row + c*v.col]
 *   for q in [first, min(first + rows, nq)), k in [0, nk), t in [0, terms), c in [0, nv)
 *
 * The statements `scores` compute value `score` of K_product, which is the sum of a query and a key there, and the epilogue (body)
 * computes with K_product and stores; variables are var[]: query, key (of scores alone), column (of the epilogue alone).  A row of
 * scores that are all -inf yields NaN.  nq, nk and strides, in elements, are numbers, or -1-k for size k.  q_at, k_at, v_at and
 * first are expressions of the par loops around it, which hold nothing else.  Elements are f32, f16 or bf16; sums are f32. */
typedef struct KAttention {
	int64_t nq, nk, terms, nv;
	int q_arg, k_arg, v_arg;
	struct { int64_t row, col; } q, k, v;
	const KIdx *q_at, *k_at, *v_at, *first;
	int var[3];
	KStmt *scores;
	int score;
	/* schedule: */
	MloElem word;                 /* what is multiplied: f32, else queries, keys, exponentials and values are rounded to it */
	int rows, keys;               /* queries of a tile, keys that it takes at once */
} KAttention;

/* Decision trees over rows of features, aggregated per target (tables: codegen/forest.h):
 *
 *   y[r][c] = over parts p, over trees t of the part: leaf of t that row r reaches, at target c
 *
 * in that order, divided by `divide`; targets that no tree scores are 0, with KF_MARK -0.  Leaves hold one weight (width 0), for
 * their tree's target or (leaf_columns > 1) for their own, or rows of `width` weights. */
typedef enum KForestOp { KF_ADD, KF_MIN, KF_MAX, KF_MARK } KForestOp; /* MARK: a sum that begins at -0 */
typedef struct KForest {
	int64_t rows;                /* a number, or -1-k for size k */
	int64_t features, targets, trees, parts;
	int64_t places;              /* of the tree table per part: a multiple of `bunch` */
	int64_t columns, leaf_columns, width, divide;
	int delta_bits, combine;     /* combine: KForestOp */
	int x_arg, node_arg, tree_arg, column_arg, set_arg, weight_arg /* -1 without */, y_arg;
	int key_arg, acc_arg;        /* scratch */
	/* schedule: */
	int ways;                    /* rows walked at once: a group */
	int bunch;                   /* trees walked at once for a row alone */
	int add;                     /* lanes when rows of weights are added */
	int64_t chunk;               /* rows of a task, whose keys are kept: a multiple of `ways` */
	int64_t block;               /* trees that a chunk walks before it takes the next ones */
} KForest;

/* in[]/out[]: argument numbers, -1 absent, KC_SHAPE: present without its data; dimensions: a number, or
 * -1-k for size k.  With `sizes`, the size kernel of the operator is called, which writes the sizes of all
 * results to argument sizes_arg; of its results only rank and type matter. */
enum { KC_SHAPE = -2 };
typedef struct KCallTensor { int arg; MloElem elem; int rank; int64_t dim[MLO_MAX_RANK]; } KCallTensor;
typedef struct KCall {
	MloOp op;
	int nin, nout;
	KCallTensor *in, *out;
	const MloNode *node;          /* attributes are read from here */
	bool sizes;
	int sizes_arg;
} KCall;

/* SIZES: i64, one element per entry of MloKernel.size; at most one argument of a kernel. */
typedef enum KArgDir { KA_IN, KA_OUT, KA_INOUT, KA_SCRATCH /* per thread, count elements */, KA_SIZES } KArgDir;
typedef struct KArg {
	KArgDir dir;
	MloElem elem;
	int64_t count;        /* elements that may be touched: [0, count); -1: as many as `elems` says */
	const KIdx *elems;    /* of sizes and constants; NULL in a call: as its dimensions say */
} KArg;

/* A size that a run brings: lo <= size <= hi, lo >= 0, a multiple of `of`. dim: what it stands for, a constant where that is
 * not known (kernels out of text). */
typedef struct KSize {
	int64_t lo, hi, of;
	MloDim dim;
} KSize;

struct MloKernel {
	MloArena *arena;
	MloSymbols *syms;     /* of the sizes' dimensions, or NULL: all are known */
	const char *name;     /* readable stem, e.g. "conv_relu"; not part of the key */
	struct { KArg *items; size_t n, cap; } arg;
	struct { KInst *items; size_t n, cap; } value;
	struct { KSize *items; size_t n, cap; } size;
	int sizes_arg;        /* the argument that holds the sizes, the last one (kb_finish); -1 without any */
	int64_t *var_extent;  /* upper bound of each variable's extent, for kx_range */
	int nvar, var_cap, nacc;
	KStmt *body;
	int64_t ntasks;       /* size of the task space, or -1-k: as size k says; 1 if the kernel cannot be split */
	double flops, bytes;  /* cost estimate per run: multiply-adds count 2; bytes read + written */
};

MloKernel *mlo_kernel_new(MloArena *a, const char *name);
int mlo_kernel_arg(MloKernel *k, KArgDir dir, MloElem elem, int64_t count);
/* The number of the size that stands for d, which is open; a new one where there is none yet. */
int mlo_kernel_size(MloKernel *k, MloDim d);
/* d as a number or -1-k, and back. */
int64_t mlo_kernel_number(MloKernel *k, MloDim d);
MloDim mlo_kernel_dim(const MloKernel *k, int64_t number);
/* A number, or a plausible value of a size: what nothing is known about counts as MLO_KERNEL_GUESS. */
enum { MLO_KERNEL_GUESS = 64 };
int64_t mlo_kernel_guess(const MloKernel *k, int64_t number);
int64_t mlo_kernel_plausible(int64_t lo, int64_t hi); /* of a number in that range */
int64_t mlo_kernel_guess_dim(MloSymbols *syms, MloDim d);
/* An argument with as many elements as d says. */
int mlo_kernel_arg_dim(MloKernel *k, KArgDir dir, MloElem elem, MloDim d);
int mlo_kernel_var(MloKernel *k, int64_t extent);

/* Statement building: a cursor appends to a body. */
typedef struct KCursor { MloKernel *k; KStmt **tail; } KCursor;
KCursor kb_top(MloKernel *k);                         /* cursor at the (empty) top body */
KCursor kb_loop(KCursor *at, KLoopKind kind, const KIdx *extent, int *var); /* cursor inside the new loop */
KCursor kb_contract(KCursor *at, const KContract *c); /* copies c; cursor inside the epilogue */
KStmt *kb_attention(KCursor *at, const KAttention *t); /* copies t; its scores and its body are still empty */
KCursor kb_inside(MloKernel *k, KStmt **first);       /* cursor at a body that is empty */
void kb_forest(KCursor *at, const KForest *f);        /* copies f */
void kb_call(KCursor *at, const KCall *c);            /* copies c, not what it points to */
int kb_let(KCursor *at, KInst inst);                  /* value number */
int kb_const_f(KCursor *at, MloElem type, double v);
int kb_const_i(KCursor *at, MloElem type, int64_t v);
int kb_op(KCursor *at, KOp op, MloElem type, int a, int b, int c); /* -1 for unused operands */
int kb_load(KCursor *at, int arg, const KIdx *idx, const KGuard *guard, double other);
int kb_index(KCursor *at, MloElem type, const KIdx *idx);
void kb_store(KCursor *at, int arg, const KIdx *idx, const KGuard *guard, int value);
int kb_acc_init(KCursor *at, int value);              /* accumulator number */
void kb_acc(KCursor *at, int acc, KOp op, int value);
int kb_accum(KCursor *at, int acc, MloElem type);     /* read it */
void kb_finish(MloKernel *k); /* adds the argument of sizes; counts tasks; estimates flops and bytes where they are still 0 */

/* The type of a loaded value: f16 and bf16 elements are f32 as values (stores round them back; to bf16, denormals may
 * become zeros; to tf32, to the nearest, halves away from zero). */
MloElem mlo_kernel_load_type(MloElem elem);
float mlo_round_tf32(float x);

/* The task space: par[0..*n) are the loops whose variables a task number fixes (the last one runs
 * fastest); answers the statements that one task runs. LETs may stand before the outermost loop. */
enum { MLO_KERNEL_MAX_PAR = 8 };
const KStmt *mlo_kernel_nest(const MloKernel *k, const KStmt **par, int max, int *n);
/* Chunks are ranges of columns when there is one row and one column of taps (1x1, matrix products). */
static inline bool mlo_contract_by_columns(const KContract *c)
{
	return c->ny == 1 && c->nkx == 1 && c->px == 0 && !c->wino;
}
int64_t mlo_contract_chunks(const KContract *c); /* where the extents are numbers */
int64_t mlo_contract_ctiles(const KContract *c); /* channel tiles; likewise */
int64_t mlo_contract_crun(const KContract *c); /* channel tiles of a task */
int64_t mlo_contract_csplits(const KContract *c); /* tasks that share the channel tiles of a chunk; likewise */
MloElem mlo_contract_sum(const KContract *c); /* what products are summed up in: f32 or i32 */
/* Steps of `dot` terms per tap; likewise.  Of a matrix unit, with those that fill up its products. */
int64_t mlo_contract_steps(const KContract *c);
/* Where in a step of B, packed, term k of it is, of channel `lane` of a tile; and which terms a lane has side by side. */
static inline int mlo_contract_part(const KContract *c) { return c->b.part ? c->b.part : c->dot; }
static inline int64_t mlo_contract_place(const KContract *c, int64_t lane, int64_t k)
{
	int64_t part = mlo_contract_part(c);

	return (k / part * c->vecs * c->lanes + lane) * part + k % part;
}
/* Taps whose steps follow each other in its runs. */
static inline int64_t mlo_contract_run_taps(const KContract *c) { return c->dx == 1 ? c->nkx : 1; }
double mlo_contract_flops(const MloKernel *k, const KContract *c); /* without the epilogue */
MloDim mlo_contract_tasks(const MloKernel *k, const KContract *c);
/* Is all that it reads of argument `arg` chosen by data: elements of a table that it looks up? */
bool mlo_kernel_looks_up(const MloKernel *k, int arg);
uint64_t mlo_kernel_scratch(const MloKernel *k); /* bytes of scratch memory per thread, 64-byte pieces */

void mlo_kernel_print(MloStr *out, const MloKernel *k, bool with_name);
MloKernel *mlo_kernel_parse(MloArena *a, const char *text, size_t n, MloDiag *d);
MloStatus mlo_kernel_verify(const MloKernel *k, MloDiag *d) MLO_CHECKED;
/* Runs tasks [begin, end) on real buffers, checking every access against the argument counts. */
MloStatus mlo_kernel_interp(const MloKernel *k, void *const *args, int64_t begin, int64_t end, MloDiag *d) MLO_CHECKED;
uint64_t mlo_kernel_key(const MloKernel *k); /* xxh3 of the text without name */
#endif
