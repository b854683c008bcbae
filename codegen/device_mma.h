/* codegen/device_mma.h -- contractions on tensor cores: what scheduling and emission agree on.
 *
 * Operands are words of 32 bits, whatever their elements: a product of matrices takes 16 rows of 8 words of A and 8 columns of 8
 * words of B, and adds to 16 x 8 sums.  Weights are packed so that the words of a stage lie beside each other for each column:
 * KContract.dot is the number of elements of a stage, KContract.lanes that of the columns of a tile.  (PTX ISA, "Warp-level Matrix
 * Instructions": fragments of m16n8k8 of tf32, m16n8k16 of f16 and bf16, m16n8k32 of bytes are the same in words; capability 7.5 has
 * halves and quarters of them.) */
#ifndef MLO_CODEGEN_DEVICE_MMA_H
#define MLO_CODEGEN_DEVICE_MMA_H
#include "codegen/kernel.h"
#include "targets/target.h"

enum { MMA_LEAST_WORDS = 16, MMA_MOST_WORDS = 32 }; /* of a stage, for each row or column */
enum { MMA_LEAST_COLUMNS = 16, MMA_MOST_COLUMNS = 256 }; /* of a tile */
enum { MMA_MOST_TAPS = 28 };

/* How elements are multiplied; LLVM's names of intrinsics. */
typedef struct MmaKind {
	MloElem a, b;         /* as they lie in memory */
	MloElem word;         /* what both are multiplied as */
	const char *name;     /* of the whole product */
	const char *half;     /* capability 7.5: half of it (f16), or of a quarter (bytes); NULL: none */
} MmaKind;

/* NULL: there is no such product on a device of that capability. */
const MmaKind *mma_kind(int capability, MloElem a, MloElem b);
static inline int mma_word_elems(const MmaKind *m) { return 32 / (int)mlo_elem_bits(m->word); }
#endif
