/* codegen/device_attention.h -- attention on GPUs, as in Dao et al., "FlashAttention" (2022).
 *
 * A block takes a tile of queries of one batch and head through all keys, a tile of them after the other: products of queries and
 * keys, the maps on them, exponentials, which are scaled by a running maximum and added to a running sum (Milakov and Gimelshein,
 * "Online normalizer calculation for softmax", 2018), and products with the values, whose sums stay in registers.  Queries, keys,
 * values and exponentials lie in shared memory; scores never leave the block. */
#ifndef MLO_CODEGEN_DEVICE_ATTENTION_H
#define MLO_CODEGEN_DEVICE_ATTENTION_H
#include "codegen/device_internal.h"

/* Fills the schedule of an attention of so many matrices and queries, whose extents a has: words are multiplied where tensor cores of t
 * do that for these, else f32.  False: no tile of it has room. */
bool mlo_schedule_attention(const MloTarget *t, int64_t batches, int64_t queries, MloElem word, KAttention *a);

/* Operands: queries, keys, values. */
typedef enum AttentionSide { ATTENTION_Q, ATTENTION_K, ATTENTION_V, ATTENTION_SIDES } AttentionSide;

typedef struct DeviceAttention DeviceAttention;
typedef LLVMValueRef AttentionPlace(const DeviceAttention *a, LLVMValueRef row, LLVMValueRef column);

/* A way to multiply.  In shared memory operands lie in pieces of 16 bytes, so many in a row; results are words of f32. */
typedef struct AttentionWay {
	int threads, shared_bytes;
	int pieces[ATTENTION_SIDES];
	AttentionPlace *piece[ATTENTION_SIDES];    /* where a piece of a row lies, in bytes */
	AttentionPlace *result;                    /* where a result lies, in words: results take the place of all else */
	void (*begin)(DeviceAttention *a);         /* once for each tile of queries, which are there; sums are none */
	void (*scores)(DeviceAttention *a, LLVMValueRef tile); /* of the keys at hand, the first of which is `tile`, as exponentials */
	void (*values)(DeviceAttention *a);        /* adds their products with the values at hand */
	void (*finish)(DeviceAttention *a);        /* writes results to shared memory */
} AttentionWay;

/* A kernel while it is emitted; ways have structures of their own that begin with it. */
struct DeviceAttention {
	DeviceFrame f;
	Emit *e;
	const KStmt *s;
	const KAttention *t;
	AttentionWay way;
	bool async;                          /* are there copies that nobody waits for? */
	LLVMValueRef thread, nq, nk, first;  /* first: query of the tile */
	LLVMValueRef at[ATTENTION_SIDES];    /* where the matrices begin, in elements, of queries the tile */
};

/* Starts a kernel in blocks of a->way.threads; and emits all of it, and ends it. */
void attention_start(DeviceAttention *a, LLVMModuleRef m, const MloKernel *k, const MloTarget *t, const char *symbol);
void attention_run(DeviceAttention *a, MloLaunch *launch);

/* The byte `at` of dynamic shared memory. */
LLVMValueRef attention_byte(Emit *e, LLVMValueRef at);
/* The score of a query, counted from the tile's first, and a key, out of their sum of products; -inf beyond the last key, of a tile
 * that begins with key `tile`. */
LLVMValueRef attention_score_of(DeviceAttention *a, LLVMValueRef sum, LLVMValueRef query, LLVMValueRef tile, LLVMValueRef key);
LLVMValueRef attention_larger(Emit *e, LLVMValueRef x, LLVMValueRef y);

/* What a thread has of a row of scores: its largest score, and the sum of its exponentials. */
typedef struct AttentionRow { LLVMValueRef most, all; } AttentionRow; /* allocas */
AttentionRow attention_row_new(Emit *e);
void attention_row_clear(Emit *e, const AttentionRow *r);
/* n scores of the row, to exponentials; `across` neighbouring threads have the others.  Answers what sums of before count times. */
LLVMValueRef attention_soften(Emit *e, const AttentionRow *r, LLVMValueRef **score, int n, int across);
/* What a result is multiplied by in the end. */
LLVMValueRef attention_inverse(Emit *e, const AttentionRow *r, int across);

/* n by whole `by`s. */
static inline int attention_up(int64_t n, int by)
{
	return (int)((n + by - 1) / by * by);
}

/* Tiles, false: there is none with room for it; and the kernel.  device_attention_simt.c: by multiply-adds of f32;
 * device_attention_mma.c: on tensor cores. */
bool attention_simt_schedule(const MloTarget *t, int64_t batches, int64_t queries, KAttention *a);
void attention_simt(LLVMModuleRef m, const KStmt *s, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch);
bool attention_mma_schedule(const MloTarget *t, int64_t queries, MloElem word, KAttention *a);
void attention_mma(LLVMModuleRef m, const KStmt *s, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch);
#endif
