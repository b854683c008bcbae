/* codegen/device_tile.h -- contractions in tiles of shared memory: what the ways to multiply them share.
 *
 * A contraction is a product of matrices: rows are the output positions (b0, b1, y, x), or of B in place those of one batch;
 * columns are channels; terms are the taps' channels, tap after tap.  A block makes a tile of rows x columns outputs.  It goes
 * through the terms in stages: `depth` terms of its rows of A and of its columns of B are brought into shared memory while the
 * stage before is multiplied out of it.  Sums are in registers, and go through shared memory to the epilogue, which a loop
 * runs for one output at a time: neighbouring threads have outputs that lie beside each other in the result. */
#ifndef MLO_CODEGEN_DEVICE_TILE_H
#define MLO_CODEGEN_DEVICE_TILE_H
#include "codegen/contract.h"
#include "codegen/device_internal.h"

enum { DEVICE_MOST_PARTS = 16, DEVICE_TAP_SUMS = 9 };

typedef struct DeviceTile {
	DeviceFrame *f;
	Emit *e;
	const KStmt *s;
	const KContract *c;
	int rows, columns, depth; /* of a tile, of a stage */
	int slices;               /* parts of the block that take every so many-th stage each, with shared memory of their own */
	int threads;              /* of a slice */
	int parts;                /* blocks that share a tile, each of which takes so many-th part of the terms, as neighbouring stages */
	bool together;            /* rows are those of all batches */
	int64_t pitch_x, pitch_y; /* 0, or how many rows each row of an image has, and how many of these an image: more than outputs */
	LLVMValueRef thread;      /* of the slice */
	LLVMValueRef slice;       /* the thread's */
	LLVMValueRef part;        /* the block's, of the tile at hand */
	LLVMValueRef tile;        /* its number */
	int64_t tiles;            /* how many there are, where they have parts */
	LLVMValueRef b0, b1;      /* the batch, where rows are of one */
	LLVMValueRef row, column; /* the tile's first output */
	LLVMValueRef all_rows;    /* how many there are */
	LLVMValueRef kk;          /* first channel of the tile's group in A */
	LLVMValueRef b_at;        /* where the tile's columns begin in B */
	int64_t terms;            /* taps * nk */
	bool pairs;               /* rows of sums in shared memory are turned two and two (device_sum_at) */
	bool scalar;              /* outputs are made one by one, whatever they look like */
	bool border;              /* there is a table of what zero points add (device_border.c), */
	int64_t border_words;     /* at this word of shared memory */
	const bool *kept;         /* values that are there for the columns at hand, all rows; NULL: none */
	bool tap_sums;            /* these are there: sums of weights, per tap and in all, of the columns at hand */
	LLVMValueRef tap_sum[DEVICE_TAP_SUMS], tap_all;
} DeviceTile;

/* Which output a row is about. */
typedef struct DevicePosition {
	LLVMValueRef b0, b1, y, x;
	LLVMValueRef border; /* its class, where there is a table of those; else NULL */
} DevicePosition;

/* Row `row` of the tile in A: where its first tap lies, which may be outside. */
typedef struct DeviceRow {
	LLVMValueRef at, y, x;
} DeviceRow;

static inline LLVMValueRef tile_num(Emit *e, int64_t n)
{
	return n < 0 ? e->size[-1 - n] : emit_index(e, n);
}

static inline LLVMValueRef tile_add(Emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildNSWAdd(e->b, a, b, "");
}

static inline LLVMValueRef tile_addc(Emit *e, LLVMValueRef a, int64_t n)
{
	return n ? LLVMBuildNSWAdd(e->b, a, emit_index(e, n), "") : a;
}

static inline LLVMValueRef tile_mul(Emit *e, LLVMValueRef a, int64_t n)
{
	return n == 1 ? a : LLVMBuildNSWMul(e->b, a, tile_num(e, n), "");
}

static inline LLVMValueRef tile_div(Emit *e, LLVMValueRef a, int64_t n)
{
	return n == 1 ? a : LLVMBuildUDiv(e->b, a, tile_num(e, n), "");
}

static inline LLVMValueRef tile_rem(Emit *e, LLVMValueRef a, int64_t n)
{
	return n == 1 ? emit_index(e, 0) : LLVMBuildURem(e->b, a, tile_num(e, n), "");
}

/* Does c have a form that tiles can take: sizes, groups, places that they multiply with? */
bool device_tile_fits(const KContract *c, int columns);
/* Starts a kernel of such tiles, in blocks of t->slices * t->threads. */
void device_tile_kernel(DeviceTile *t, LLVMModuleRef m, const MloKernel *k, const MloTarget *target, const char *symbol);
/* Its launch; bytes: of a slice's stages, words: of its sums. */
MloLaunch device_tile_launch(const DeviceTile *t, const MloKernel *k, int64_t bytes, int64_t words);
/* How many slices are worth while, each of which has `stages` of a loop of so many: some more where there are few tiles. */
int device_tile_slices(const DeviceTile *t, const MloKernel *k, const MloGpu *gpu, int64_t stages, int64_t bytes, int registers);
/* Into how many parts a tile of so many stages goes, each of as many, and of `least` or more: several where there are few tiles. */
int device_tile_parts(const DeviceTile *t, const MloKernel *k, const MloGpu *gpu, int64_t stages, int least);
/* A loop over the tiles of the grid, in which t speaks of one of them; and its end. */
void device_tile_begin(DeviceTile *t, EmitLoop *l);
void device_tile_end(DeviceTile *t, EmitLoop *l);
int64_t device_tile_count(const MloKernel *k, const KContract *c, int rows, int columns);

DevicePosition device_position(DeviceTile *t, LLVMValueRef row); /* row: of all */
/* Do all taps of all outputs lie inside of the image? */
static inline bool device_always_inside(const KContract *c)
{
	return c->nky == 1 && c->nkx == 1 && !c->py && !c->px;
}
DeviceRow device_row(DeviceTile *t, LLVMValueRef row);
/* Where term number `term` of a row lies in A; *inside: is it there (NULL: it always is)? */
LLVMValueRef device_term(DeviceTile *t, const DeviceRow *r, LLVMValueRef term, LLVMValueRef *inside);
/* Can `n` terms from a multiple of n on be one access?  Then they lie beside each other, at a multiple of n elements. */
bool device_terms_adjacent(const MloKernel *k, const KContract *c, int n);

/* n elements of an argument from `at` on as values, 0 unless `inside`. */
LLVMValueRef device_load(DeviceTile *t, int arg, LLVMValueRef at, int n, LLVMValueRef inside);
LLVMTypeRef device_load_type(DeviceTile *t, int arg, int n); /* of its result */

/* The word at `at` of dynamic shared memory. */
LLVMValueRef device_word(Emit *e, LLVMValueRef at);
/* Where a sum lies in shared memory for the epilogue of n rows, a word; row counts from the first of them. */
LLVMValueRef device_sum_at(DeviceTile *t, LLVMValueRef slice, int n, LLVMValueRef row, LLVMValueRef column);
/* The epilogue for rows [first, first + n) of the tile: each thread has written its sums, all of them read, and those of the slices are
 * added.  Barriers stand before and behind.  Where a tile has several parts, sums of this one are put down instead, for whoever
 * comes last. */
void device_epilogue(DeviceTile *t, int first, int n);

/* Behind the last of these, where it has parts: rows go through the epilogue n at a time. */
void device_tile_finish(DeviceTile *t, int n);

/* device_output.c: do columns of the result lie beside each other rather than rows? */
bool device_columns_adjacent(const DeviceTile *t);
/* How long the epilogue is for one output, in instructions, about. */
int64_t device_output_length(const DeviceTile *t);
/* How many neighbouring columns the epilogue can be emitted for at a time, up to `most`, a power of two; the first is a multiple of that,
 * and whether arguments lie so that it may be, when the kernel runs. */
int device_output_lanes(const DeviceTile *t, int most);
LLVMValueRef device_outputs_aligned(DeviceTile *t, int n);
/* Is the row, and the first column of some, one of the result?  NULL: always.  Rows behind the last one may become that: their sums are its
 * sums, too, as device_row() has it, and it may be stored several times, where the caller `repeats`, if nothing is read that could lie there. */
LLVMValueRef device_output_inside(DeviceTile *t, LLVMValueRef *row, LLVMValueRef column, bool repeats);
/* What is the same for all rows of n columns, from `column` on, is there for all outputs until the end. */
void device_output_columns(DeviceTile *t, LLVMValueRef column, int n);
void device_output_columns_end(DeviceTile *t);
/* Runs the epilogue for a sum, or for those of as many columns as it has lanes. */
void device_output(DeviceTile *t, const DevicePosition *p, LLVMValueRef column, LLVMValueRef sum);

/* The sum of the weights of tap i, of n columns; the zero point. */
LLVMValueRef device_tap_sum(DeviceTile *t, LLVMValueRef column, int64_t i, int n);
LLVMValueRef device_zero_point(DeviceTile *t);
/* device_border.c: how many rows its table has: 0: none is needed, -1: there can be none.  Makes it, all threads of the block together.
 * The class of a position, and what is there for n columns, at least four. */
int64_t device_border_classes(const KContract *c);
void device_border_table(DeviceTile *t);
LLVMValueRef device_border_at(DeviceTile *t, const DevicePosition *p);
LLVMValueRef device_border_share(DeviceTile *t, LLVMValueRef class, LLVMValueRef column, int n);

/* device_split.c: rows [first, first + n) of the tile: sums of the part at hand, from shared memory to where they are kept; those of all
 * parts, from there to where sums of the first slice lie; was this block the last to keep its part (barriers
 * stand before and behind; takes a word of shared memory)? */
void device_split_put(DeviceTile *t, LLVMValueRef first, int n);
void device_split_get(DeviceTile *t, LLVMValueRef first, int n);
LLVMValueRef device_split_last(DeviceTile *t);

/* All outputs one by one, unless `aligned`: arguments lie where tiles cannot read them. */
void device_unaligned(DeviceTile *t, LLVMValueRef aligned);

/* device_simt.c: f32 by the threads' multiply-adds. */
/* device_mma.c: on tensor cores. */
bool device_mma(LLVMModuleRef m, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch);
/* device_patch.c: on tensor cores, out of a patch of A. */
bool device_patch(LLVMModuleRef m, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch);
bool device_simt(LLVMModuleRef m, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch);
#endif
