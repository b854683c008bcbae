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

typedef struct DeviceAttention {
	DeviceFrame f;
	Emit *e;
	const KStmt *s;
	const KAttention *t;
	const MloGpu *gpu;
	int threads;
	bool async;                          /* are there copies that nobody waits for? */
	LLVMValueRef thread, nq, nk, first;  /* first: query of the tile */
	LLVMValueRef q_at, k_at, v_at;       /* where the matrices begin, in elements */
} DeviceAttention;

/* What is brought to shared memory: n rows of `columns` elements, of which the first `there` exist, the others become zeros; in pieces
 * of 16 bytes, `pieces` of a row. */
typedef struct AttentionSide {
	int arg;
	LLVMValueRef at, there;              /* element that the first row begins with */
	int64_t row, col;                    /* strides */
	int n, columns, pieces;
	LLVMValueRef (*place)(const void *user, LLVMValueRef row, LLVMValueRef piece); /* in shared memory, in bytes */
	const void *user;
} AttentionSide;

/* Copies that are asynchronous are there after attention_wait() and a barrier. */
bool attention_async(const DeviceAttention *a, int arg);
void attention_bring(DeviceAttention *a, const AttentionSide *s);
void attention_wait(DeviceAttention *a);

/* The byte `at` of dynamic shared memory. */
LLVMValueRef attention_byte(Emit *e, LLVMValueRef at);
/* The score of a query, counted from the tile's first, and a key, out of their sum of products; -inf beyond the last key, of a tile
 * that begins with key `tile`. */
LLVMValueRef attention_score_of(DeviceAttention *a, LLVMValueRef sum, LLVMValueRef query, LLVMValueRef tile, LLVMValueRef key);
/* e^(x - most), 0 for x = -inf even where that is all there is. */
LLVMValueRef attention_power(Emit *e, LLVMValueRef x, LLVMValueRef most);
LLVMValueRef attention_larger(Emit *e, LLVMValueRef x, LLVMValueRef y);
/* What a maximum of -inf is replaced by, so that differences to it are none of infinities. */
LLVMValueRef attention_base(Emit *e, LLVMValueRef most);
/* Runs the epilogue for rows of results that lie in shared memory, rows `row` words apart, each word where `place` says. */
void attention_results(DeviceAttention *a, LLVMValueRef (*place)(const void *user, LLVMValueRef row, LLVMValueRef column), const void *user);

/* Starts a kernel in blocks of a->threads; runs `one` for each task, with its tile in a; and ends it. */
void attention_start(DeviceAttention *a, LLVMModuleRef m, const MloKernel *k, const MloTarget *t, const char *symbol);
void attention_tasks(DeviceAttention *a, const MloLaunch *launch, void (*one)(DeviceAttention *a));

/* Tiles, false: there is none with room for it; and the kernel.  device_attention_simt.c: by multiply-adds of f32. */
bool attention_simt_schedule(const MloTarget *t, int64_t batches, int64_t queries, KAttention *a);
void attention_simt(LLVMModuleRef m, const KStmt *s, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch);
#endif
