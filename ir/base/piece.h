/* ir/base/piece.h -- bytes given as a list of runs, so that large data need not be put together. */
#ifndef MLO_BASE_PIECE_H
#define MLO_BASE_PIECE_H
#include <stddef.h>

/* data NULL: n zeros. The memory belongs to somebody else. */
typedef struct MloPiece {
	const void *data;
	size_t n;
} MloPiece;
#endif
