/* codegen/kept.h -- weights for sparse tensor cores: of the terms of a group that follow each other, at most half are not zero, and only
 * these are there, with metadata that says which.
 *
 * A group is 4 terms, of which 2 stay; of tf32 2, of which 1 stays.  B (KContract.b.kept) is a sequence of stages, [tile][ky][kx][steps of
 * `dot` terms].  Each has, for 16 channels after 16 channels, the operand A of its products, [product][lane of the warp][4 words], a
 * product taking 16 words of terms of which 8 are there.  Its rows are channels 0, 2, ... 14, 1, 3, ... 15, so that a lane gets sums of
 * neighbours.  Behind all of them are, for 16 channels after 16, words of metadata, [word][lane].  The metadata of a product of 16-bit elements and of tf32 lies in half of the lanes, that of two products in a word, told
 * apart by the selector; that of bytes in all of them.  (PTX ISA, "Sparse matrix storage", and the fragments and metadata of mma.sp
 * m16n8k32 of f16 and bf16, m16n8k16 of tf32, m16n8k64 of bytes.) */
#ifndef MLO_CODEGEN_KEPT_H
#define MLO_CODEGEN_KEPT_H
#include "codegen/kernel.h"

enum { KEPT_CHANNELS = 16, KEPT_WORDS = 16, KEPT_A_BYTES = 512, KEPT_META_BYTES = 128 }; /* of a product: words of terms */

static inline int kept_group(MloElem elem) { return elem == EL_tf32 ? 2 : 4; }
static inline int kept_word_elems(const KContract *c) { return 32 / (int)mlo_elem_bits(c->b.elem); }
static inline int kept_products(const KContract *c) { return c->dot / kept_word_elems(c) / KEPT_WORDS; }
static inline int kept_fragments(const KContract *c) { return c->vecs * c->lanes / KEPT_CHANNELS; }
/* Words of metadata that a lane has for 16 channels of a stage; and whether two products share one. */
static inline bool kept_shares(const KContract *c) { return mlo_elem_bits(c->b.elem) > 8; }
static inline int kept_metas(const KContract *c) { return kept_shares(c) ? (kept_products(c) + 1) / 2 : kept_products(c); }
static inline int64_t kept_a_bytes(const KContract *c) { return (int64_t)kept_fragments(c) * kept_products(c) * KEPT_A_BYTES; }
static inline int64_t kept_stage_bytes(const KContract *c)
{
	return kept_a_bytes(c) + (int64_t)kept_fragments(c) * kept_metas(c) * KEPT_META_BYTES;
}
/* Elements of B in all; extents are numbers. */
int64_t kept_elems(const KContract *c);

/* Of term k of a stage and channel `lane` of a tile, in bytes from where the stage begins: the word of metadata that has the 4 bits
 * of its group, and from which bit on.  They are the places of the two terms that are there, first | second << 2; of tf32, 4 or 14 for
 * the first or the second term. */
int64_t kept_meta_at(const KContract *c, int64_t lane, int64_t k, int *bit);
/* Where the first (0) or second (1) term of its group that is there lies. */
int64_t kept_term_at(const KContract *c, int64_t lane, int64_t k, int which);
/* Which of them term k is by those 4 bits; -1: it is zero. */
int kept_which(const KContract *c, int64_t k, unsigned bits);
#endif
