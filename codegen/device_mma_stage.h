/* codegen/device_mma_stage.h -- contractions on tensor cores: what bringing stages and multiplying them share. */
#ifndef MLO_CODEGEN_DEVICE_MMA_STAGE_H
#define MLO_CODEGEN_DEVICE_MMA_STAGE_H
#include "codegen/device_mma.h"
#include "codegen/device_tile.h"
#include "codegen/device_wgmma.h"
#include "codegen/kept.h"

enum { PIECE = 16 /* bytes */, PIECE_WORDS = 4, STEP = 8 /* words of a product */ };
enum { MAX_PIECES = 8, MAX_SUMS = 128, MAX_STAGES = 4, MAX_SLICES = 8, MAX_STEPS = MMA_MOST_WORDS / STEP };
enum { MOST_TABLE = 512, TABLE_BYTES = 16 };

typedef struct Mma {
	DeviceTile t;
	const MmaKind *kind;
	bool async, quarters;          /* quarters: capability 7.5 */
	int words, stages;             /* words of a row in a stage; stages in shared memory */
	int warps_m, warps_n, mt, nt;  /* of the block; fragments of a warp */
	int groups;                    /* of four warps, which multiply together (device_wgmma.h); 0: warps do, each for itself */
	int a_pieces, b_pieces;        /* of a thread */
	int adjacent;                  /* columns of a thread that lie beside each other in the result: 2, those of a fragment, or more */
	int64_t per_tap, all;          /* stages */
	int64_t share;                 /* those of a part */
	LLVMTypeRef sum_type;
	LLVMValueRef warp_m, warp_n, lane;
	LLVMValueRef own;              /* where the slice's stages begin, in bytes */
	LLVMValueRef q;                /* the thread's piece of its rows */
	LLVMValueRef a_to, b_to;       /* where the first piece goes, in bytes */
	int a_step, b_step;            /* bytes from one to the next */
	LLVMValueRef b_size[MAX_PIECES]; /* bytes of the thread's pieces of B: all of PIECE (NULL), or 0 for some threads */
	DeviceRow row[MAX_PIECES];
	LLVMValueRef from[MAX_PIECES]; /* pointers: the thread's piece at the first tap and channel of a row */
	int64_t sizes;                 /* where the table of sizes lies, in bytes; -1: all taps lie inside */
	LLVMValueRef sizes_at;         /* where the thread's sizes of the first tap lie, in bytes */
	int64_t table;                 /* where a table of the stages lies, in bytes; -1: there is none */
	LLVMValueRef a_from[MAX_STEPS], b_from[MAX_STEPS];  /* where the warp's first fragments lie, step by step, in bytes */
	LLVMValueRef meta_from;                             /* sparse weights: where the warp's metadata lies */
	Wgmma group;                                        /* groups: their products */
	LLVMValueRef a[MAX_PIECES], b[MAX_PIECES];          /* allocas: what is on its way */
	LLVMValueRef sum[MAX_SUMS];                         /* allocas */
} Mma;

static inline LLVMTypeRef i32_type(const Mma *m)
{
	return LLVMInt32TypeInContext(m->t.e->ctx);
}

static inline LLVMValueRef word_const(const Mma *m, int64_t v)
{
	return emit_const_i(i32_type(m), v);
}

/* Bytes of A's and B's stage. */
static inline int a_bytes(const Mma *m)
{
	return m->t.rows * m->words * 4;
}

static inline int b_bytes(const Mma *m)
{
	return m->t.c->b.kept ? (int)kept_stage_bytes(m->t.c) : m->t.columns * m->words * 4;
}

static inline int b_pieces(const Mma *m)
{
	return (b_bytes(m) / PIECE + m->t.threads - 1) / m->t.threads;
}

/* What threads without a last piece of B leave as zeros is beyond it. */
static inline int stage_bytes(const Mma *m)
{
	return a_bytes(m) + b_pieces(m) * m->t.threads * PIECE;
}

static inline LLVMValueRef byte_at(const Mma *m, LLVMValueRef at)
{
	Emit *e = m->t.e;

	return LLVMBuildInBoundsGEP2(e->b, LLVMInt8TypeInContext(e->ctx), device_dynamic_shared(e), &at, 1, "");
}

/* A stage: its tap, its first channel of the tap, and from the first tap and channel to these, in elements. */
typedef struct Stage {
	LLVMValueRef number, tap, k, off;
} Stage;

/* The number of a stage, counted from the first one of the part. */
static inline LLVMValueRef stage_number(const Mma *m, LLVMValueRef number)
{
	return m->t.parts == 1 ? number : tile_add(m->t.e, number, tile_mul(m->t.e, m->t.part, m->share));
}

/* Does A begin at a multiple of a piece? */
LLVMValueRef mma_aligned(Mma *m);
/* Piece `piece` of a row of a stage, in bytes. */
LLVMValueRef mma_piece_at(const Mma *m, LLVMValueRef row, LLVMValueRef piece);
/* Which pieces of the tile at hand the thread brings. */
void mma_plan_pieces(Mma *m);
/* Of several taps, what a stage is about is in a table, which threads fill in before the first tile. */
bool mma_has_table(const Mma *m, int64_t room); /* bytes that are left of shared memory */
void mma_make_table(Mma *m);
Stage mma_stage(Mma *m, LLVMValueRef number); /* out of the table, where there is one */
/* device_mma_taps.c: of each tap, how many bytes of pieces are inside of the image, all or none, in a table for the rows of a tile. */
bool mma_taps_inside(const KContract *c);      /* are they always? */
int64_t mma_tap_bytes(const Mma *m);           /* of the table, from a tap to the next one */
int64_t mma_sizes_bytes(const Mma *m);         /* of the table; 0: there is none */
void mma_make_sizes(Mma *m);                   /* for the tile at hand; all threads of the block */
/* Those of the thread's pieces, for the tap whose part of the table lies so many bytes behind the first one's. */
void mma_load_sizes(Mma *m, LLVMValueRef tap, int64_t behind, LLVMValueRef *size);

/* Starts to bring a stage to `base`, and so many bytes behind, by cp.async. */
void mma_copy(Mma *m, const Stage *s, LLVMValueRef base, int64_t behind);
LLVMTypeRef mma_piece_type(const Mma *m);
void mma_fetch(Mma *m, const Stage *s);        /* a stage into registers */
void mma_put(Mma *m, LLVMValueRef base, int64_t behind); /* and from there to `base`, and so many bytes behind */
/* The thread's pieces of A, each so many bytes behind a pointer, into registers; size: 0 where there is none; NULL: there always is. */
void mma_fetch_input(Mma *m, const LLVMValueRef *from, int64_t behind, const LLVMValueRef *size);
void mma_fetch_weights(Mma *m, LLVMValueRef from, int64_t behind);
/* Where the thread's first piece of B lies, for a stage; pieces behind it follow t.threads pieces later. */
LLVMValueRef mma_weights_at(Mma *m, LLVMValueRef number);
void mma_async(Mma *m, const char *name);      /* an instruction without operands */

/* Four matrices of eight rows of 16 bytes in shared memory, a word of each for each lane. */
void mma_load_fragments(Mma *m, LLVMValueRef p, int64_t behind, LLVMValueRef *out);
/* A word of elements `elem` as products read it: rounded, if it is f32 and they are of tf32, which would cut it. */
LLVMValueRef mma_rounded(Mma *m, LLVMValueRef v, MloElem elem);
LLVMValueRef mma_operand(Mma *m, LLVMValueRef word, MloElem elem); /* as the product's intrinsic takes it */
/* Adds the product of a fragment of A, words (g, t), (g+8, t), (g, t+4), (g+8, t+4), and one of B, (t, g), (t+4, g), to four sums. */
void mma_multiply_fragment(Mma *m, LLVMValueRef *a, LLVMValueRef *b, LLVMValueRef *sum);
/* device_mma_sparse.c: where B is without half of its terms.  Where fragments lie; the products; where sums go. */
void mma_sparse_plan(Mma *m);
void mma_sparse_multiply(Mma *m, LLVMValueRef base, int64_t behind);
void mma_sparse_store(Mma *m);

/* Multiplies the stage at `base`, and so many bytes behind. */
void mma_multiply(Mma *m, LLVMValueRef base, int64_t behind);

/* device_mma_finish.c: from the sums of a tile to outputs. */
int mma_adjacent(const Mma *m);                /* how many columns of a thread should lie beside each other */
bool mma_is_direct(const Mma *m);              /* is the epilogue run on registers? */
/* The column of B that is row `row` of those in shared memory; from the thread's first piece of B to the j-th, in bytes. */
LLVMValueRef mma_column_of(const Mma *m, LLVMValueRef row);
int64_t mma_weights_behind(const Mma *m, int j);
int64_t mma_sum_words(const Mma *m);           /* of shared memory for sums, of a slice */
void mma_finish(Mma *m);

/* device_mma_walk.c: all stages of a tile, where each of them lies at a place that is known. */
bool mma_walks(const Mma *m);                  /* can it? */
bool mma_walks_in_steps(const Mma *m);         /* without the table of stages */
int mma_walk_stages(const KContract *c, int most); /* a number that suits it */
/* n slices of all blocks that share a tile share out its stages: so many of them rows of taps, others the channels of these; 0: there is no
 * such way.  per_tap: stages of a tap. */
int64_t mma_row_sharers(const KContract *c, int64_t per_tap, int64_t n);
void mma_walk(Mma *m);
#endif
