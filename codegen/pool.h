/* codegen/pool.h -- weights that several variants of a package share.
 *
 * Variants whose vectors are of one length pack most weights alike, though seldom all of them.  Each has its own plan; a pool
 * gives equal weights of different plans one place in one blob. */
#ifndef MLO_CODEGEN_POOL_H
#define MLO_CODEGEN_POOL_H
#include <stdint.h>

#include "ir/base/arena.h"
#include "ir/base/piece.h"

typedef struct MloPooled {
	const void *data;        /* of the variant that brought it: it outlives the pool */
	uint64_t hash;
	int64_t bytes, offset;   /* into the blob, in multiples of 64 */
} MloPooled;

typedef struct MloWeightPool {
	MloArena *arena;
	struct { MloPooled *items; size_t n, cap; } weight;
	int64_t bytes;           /* of the blob */
} MloWeightPool;

/* The blob; the list is in pool->arena. */
const MloPiece *mlo_pool_pieces(const MloWeightPool *pool, size_t *n);
#endif
