/* codegen/emit_contract.h -- what the files that emit contractions share. */
#ifndef MLO_CODEGEN_EMIT_CONTRACT_H
#define MLO_CODEGEN_EMIT_CONTRACT_H
#include "codegen/contract.h"
#include "codegen/emit_internal.h"

enum { CONTRACT_KEPT = 4 };

typedef struct Tile {
	Emit *e;
	const KStmt *s;
	const KContract *c;
	LLVMTypeRef vec, sum;       /* <lanes x sum>, sum: f32 or i32 */
	LLVMValueRef *acc;          /* rows x cols x vecs allocas, promoted to registers by LLVM */
	int rows;                   /* rows of the tile at hand, 1 or 2 */
	int row, nrow;              /* those that take the terms emitted now */
	int lane;                   /* of the step at hand in two that follow each other in A and are both whole; -1: not known */
	int unroll;                 /* steps of a turn of loops over channels */
	int ways, turn;             /* sums per output that take terms in turn; whose turn it is */
	LLVMValueRef a0;            /* A at this batch (element offset) */
	LLVMValueRef b0;            /* B at this batch and channel tile */
	int b_arg;                  /* where B is read: as given, or scaled */
	LLVMValueRef scaled;        /* of which batch and tile the scaled weights are */
	LLVMValueRef b[2];          /* batch indices */
	LLVMValueRef kk0;           /* first channel of the group */
	LLVMValueRef ct, c_first;   /* channel tile, its first channel */
	LLVMValueRef y;
	LLVMValueRef ky_lo[2], ky_hi[2]; /* taps inside the image, per row of the tile */
	LLVMValueRef kx_lo, kx_hi;  /* taps inside the image, of a column alone */
	LLVMValueRef ahead;         /* elements from a weight to the one to prefetch, or NULL */
	int64_t share;              /* or so many cache lines each UNROLL terms, */
	LLVMValueRef share_at;      /* from this many elements behind b0 on */
	LLVMValueRef upto[2][CONTRACT_SLIDE_TAPS + 1][16]; /* sums of the weights of a row's taps left of kx (contract_row_start) */
	LLVMValueRef zero;          /* what sums of weights are multiplied by: lanes of i32, or NULL */
	LLVMValueRef bmask[16];     /* per vector: lanes of B inside its row, or NULL (packed, or no tail) */
	LLVMValueRef blk[16];       /* depthwise: from the channels of vector 0 to those of vector j in A */
	LLVMValueRef channel[16][CONTRACT_KEPT]; /* per vector: what the epilogue loads of the channel alone, the first `kept` of it */
	int kept;
	int64_t wtile;              /* vecs * lanes */
	bool depthwise;
	int64_t phases, phase;      /* of a copy (strips.h): strips of a row, and elements from one to the next; 0: it is none */
} Tile;

/* What is known of a tile's columns.  INNER: all taps lie inside the image.  AT: the first column is `at`.
 * LAST: the tile ends with the row, whose last tap has `at` more columns of the image behind it than it
 * needs.  ANY: nothing; one column, whose taps kx_lo .. kx_hi-1 lie inside. */
typedef struct Edge {
	enum { INNER, AT, LAST, ANY } kind;
	int64_t at;
} Edge;

/* emit_contract.c: a register tile of `cols` columns from x0 on, with its epilogue, at rows t->y. */
void contract_tile(Tile *t, int cols, LLVMValueRef x0, Edge edge);
/* The epilogue at rows t->y, column x, for vector j of the tile, of whose lanes `real` are channels; -1: known when the
 * kernel runs. */
void contract_output(Tile *t, LLVMValueRef x, int j, LLVMValueRef product, int64_t real);
/* A fence inside the thread, which is no instruction: loads behind it are not done, and not remembered, before it. */
void contract_keep_order(Emit *e);
/* Sets the tap rows that lie inside the image, for each row of the tiles that start at t->y, and what these tiles share. */
void contract_begin_rows(Tile *t);

/* Makes the accumulators of a tile, at most so many. */
void contract_begin(Tile *t, LLVMValueRef *acc, size_t most);
/* All columns of the rows [lo, hi); where ny is 1, those of a chunk of columns. */
void contract_rows(Tile *t, LLVMValueRef lo, LLVMValueRef hi);
void contract_columns(Tile *t, LLVMValueRef chunk);

/* Taps [lo, hi) of a row that lie inside the image for column i of a tile at its edge (AT, LAST). */
void contract_inside(const KContract *c, Edge edge, int cols, int64_t i, int64_t *lo, int64_t *hi);

/* Does tap kx of column i of a tile at its edge (AT, LAST) lie outside? */
bool contract_outside(const KContract *c, Edge edge, int cols, int64_t kx, int64_t i);

/* emit_slide.c: depthwise terms of one row of taps for columns that share their inputs (contract_slides).
 * a_off, b_off: of the first column and tap. */
void contract_slide(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, Edge edge);

/* emit_dot.c: an operand of one step, as it is or in the pieces that the target multiplies. */
typedef struct DotOperand {
	int n;
	LLVMValueRef v[4];
} DotOperand;
LLVMValueRef contract_element(const Tile *t, int arg, MloElem elem, LLVMValueRef off); /* where an element of an argument lies */
LLVMValueRef contract_widen(Tile *t, MloElem elem, LLVMValueRef v); /* elements as they are multiplied and added */
/* The `live` elements of a step at off of A, side by side in a whole number, zeros behind them; those of bytes may be what lies there in
 * the same block, for their weights are 0. */
LLVMValueRef contract_step_word(Tile *t, LLVMValueRef off, int live);
/* Where an element of A or of B (weights) lies. */
LLVMValueRef contract_address(Tile *t, bool weights, LLVMValueRef off);
/* Terms at off of A, `live` of them there, for all lanes; depthwise, a vector of them. */
DotOperand contract_input(Tile *t, LLVMValueRef off, int live);
DotOperand contract_weights(Tile *t, LLVMValueRef off, int j);
/* Lanes of i32 that hold `dot` elements each, signed ones or not, as an operand. */
DotOperand contract_split(Tile *t, LLVMValueRef x, bool sign);
LLVMValueRef contract_multiply(Tile *t, const DotOperand *a, const DotOperand *b, LLVMValueRef sum);
/* Where steps are products of matrices (contract_pairs).  A step of two columns whose pixels lie at a and b (NULL: zeros; the same:
 * only one is of interest), as an operand; weights of half a vector of channels, number h of the tile; and their products, added
 * to those sums of both columns that are woven together: half h % 2 of vector h / 2. */
LLVMValueRef contract_pair_input(Tile *t, LLVMValueRef a, LLVMValueRef b, int live);
LLVMValueRef contract_pair_weights(Tile *t, LLVMValueRef off, int h);
void contract_multiply_pair(Tile *t, LLVMValueRef a, LLVMValueRef b, LLVMValueRef acc);

/* emit_halves.c, where contract_by_halves().  A step, as of contract_pair_step; depthwise, as contract_slide. */
void contract_half_step(Tile *t, int cols, LLVMValueRef a_off, int live, const bool *skip, LLVMValueRef b_off);
void contract_half_slide(Tile *t, int cols, LLVMValueRef a_off, LLVMValueRef b_off, Edge edge);

/* emit_pairs.c.  A step of `live` terms for the tile's columns, of which skip[i] leaves one out, by such products. */
void contract_pair_step(Tile *t, int cols, LLVMValueRef a_off, int live, const bool *skip, LLVMValueRef b_off);
/* Sums of pairs of columns, woven together as these products take them; and apart again.  Nothing where there are none. */
void contract_weave(Tile *t, int cols);
void contract_unweave(Tile *t, int cols);

/* emit_prefetch.c.  What is fetched in a task, chunk number `chunk` of so many: sets t->ahead or t->share, or neither. */
void contract_prefetch_plan(Tile *t, LLVMValueRef chunk, LLVMValueRef chunks);
void contract_prefetch_tile(Tile *t, LLVMValueRef x0);      /* before the terms of a register tile at x0 */
void contract_prefetch_share(Tile *t, LLVMValueRef b_off);  /* where there is t->share: each CONTRACT_UNROLL steps, at b_off */
void contract_prefetch_next(Tile *t, LLVMValueRef b_off);   /* where there is t->ahead: each step, at b_off */

/* emit_scale.c: weights with the scale of their terms; both do nothing without one. */
void contract_scale_begin(Tile *t);  /* before the first task: nothing is scaled yet */
void contract_scale_weights(Tile *t); /* in a task whose batch and channel tile are known */

/* emit_start.c */
void contract_zero_point(Tile *t);                    /* sets t->zero */
/* Sums of weights that the tiles of the row, or of the two rows, at t->y share, where there are not too many columns of taps: the taps
 * of an output lie inside from some column of them to another, so that differences of two running sums are all there is to know. */
void contract_row_start(Tile *t);
void contract_start(Tile *t, int cols, Edge edge);    /* accumulators before the first term */
/* What the sums of each vector start from where all taps lie inside the image; NULL: 0. */
void contract_start_inside(Tile *t, LLVMValueRef *start);
/* Does the epilogue begin by adding a whole number to each channel?  Then *bias loads it, and the statement that adds it is
 * answered: accumulators start from it.  Else NULL, and the epilogue. */
const KStmt *contract_bias(const Tile *t, const KInst **bias);

/* emit_epilogue.c: what becomes of the sums of a register tile of `cols` columns from x0 on, in row t->y. */
void contract_results(Tile *t, int cols, LLVMValueRef x0);
/* Statements from here to contract_lanes_end() are about vector j of the tile's channels. */
void contract_lanes(Tile *t, int j);
void contract_lanes_end(Tile *t);
LLVMValueRef contract_mask(Tile *t, int j); /* lanes of vector j that are channels */

/* emit_chunk.c: what a task is of that makes several channel tiles of a chunk from a copy of its input. */
typedef struct ContractTask {
	LLVMValueRef x0, nx, y0, ny; /* outputs of the chunk: the first, how many of each row; the first row, how many */
	LLVMValueRef ct_lo, ct_hi;  /* channel tiles */
	LLVMValueRef anew;          /* how often the input has to be copied: not where the task before it, of the same chunk, has left it */
} ContractTask;
/* Splits the task number into batch, chunk and channel part (the last one fastest); sets t's batch and where A begins. */
void contract_task(Tile *t, LLVMValueRef task, ContractTask *out);
/* A copied row, number iy of the image: of t's contraction, may it lie outside?  Then code follows for a row inside, until
 * contract_row_else(), and for one outside, until contract_row_end(). */
typedef struct ContractRow {
	LLVMBasicBlockRef outside, join;
} ContractRow;
bool contract_row_begin(Tile *t, LLVMValueRef iy, ContractRow *r);
void contract_row_else(Tile *t, const ContractRow *r);
void contract_row_end(Tile *t, const ContractRow *r);

/* emit_contract_open.c: a row, a chunk of columns whose number is a size. */
void contract_open_row(Tile *t);
/* One row of a known number of columns in little code: whole tiles inside the image, what is left column by column. */
void contract_small_row(Tile *t);
void contract_open_columns(Tile *t, LLVMValueRef chunk);

static inline LLVMValueRef add(Emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildNSWAdd(e->b, a, b, "");
}

/* A number of the kernel: itself, or a size. */
static inline LLVMValueRef num(Emit *e, int64_t n)
{
	return n < 0 ? e->size[-1 - n] : emit_index(e, n);
}

static inline LLVMValueRef muln(Emit *e, LLVMValueRef a, int64_t n)
{
	return LLVMBuildNSWMul(e->b, a, num(e, n), "");
}

static inline LLVMValueRef addc(Emit *e, LLVMValueRef a, int64_t c)
{
	return c ? LLVMBuildNSWAdd(e->b, a, emit_index(e, c), "") : a;
}

/* a + c * n */
static inline LLVMValueRef addn(Emit *e, LLVMValueRef a, int64_t c, int64_t n)
{
	return n < 0 && c ? add(e, a, muln(e, emit_index(e, c), n)) : addc(e, a, c * n);
}

/* Quotient and remainder of a value that is never negative. */
static inline LLVMValueRef divc(Emit *e, LLVMValueRef a, int64_t c)
{
	return LLVMBuildUDiv(e->b, a, emit_index(e, c), "");
}

static inline LLVMValueRef remc(Emit *e, LLVMValueRef a, int64_t c)
{
	return LLVMBuildURem(e->b, a, emit_index(e, c), "");
}

static inline LLVMValueRef pick(Emit *e, LLVMIntPredicate p, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, p, a, b, ""), a, b, "");
}
#endif
