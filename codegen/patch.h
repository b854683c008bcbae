/* codegen/patch.h -- weights of contractions whose products read A out of a patch of the image that is in shared memory.
 *
 * A patch is what the positions of a tile read: planes of rows of words.  A word is either `elems` channels of a pixel, where those lie
 * beside each other in A, and a plane is as many channels; or `elems` pixels of a row, and a plane is a channel.  All terms are then
 * words at constant distances from a position: a row of taps is some words beside each other, of each plane and each row of taps.
 *
 * Products take terms in quads, four words that lie alike from each other: all in a row, or 2 or 1 of each of 2 or 4 rows of taps, or
 * planes, that follow each other; whatever makes the fewest.  B (KContract.b.patch) is [channel tile][quad][vecs*lanes][4 words], zero
 * where a word has no term.  Channels of a tile lie so that a lane gets sums of some that follow each other: products give it two of
 * each eight that lie beside each other. */
#ifndef MLO_CODEGEN_PATCH_H
#define MLO_CODEGEN_PATCH_H
#include "codegen/kernel.h"

enum { PATCH_QUAD = 4, PATCH_MOST_QUADS = 64, PATCH_CHANNELS = 4 /* that follow each other and a lane has */ };

typedef struct Patch {
	int elems;        /* of a word */
	bool channels;    /* a word is that many of a pixel's, else pixels of a row */
	int64_t planes;
	int64_t lead;     /* pixels in front of the first tap of a row: words begin where those of A's rows may */
	int64_t words;    /* of a row of taps */
	int across;       /* words of a quad in a row */
	bool by_planes;   /* the others are in the next planes, else in the next rows of taps */
	int64_t quads;    /* of all terms, an even number */
} Patch;

/* Can c be made so, and how?  Says nothing of c->b.patch. */
bool patch_of(const KContract *c, Patch *p);
/* Pixels of a word. */
static inline int64_t patch_pixels(const Patch *p) { return p->channels ? 1 : p->elems; }
/* Planes and rows of taps with those that only fill up quads. */
static inline int64_t patch_lines(const Patch *p, int64_t n, bool grouped)
{
	int64_t each = grouped ? PATCH_QUAD / p->across : 1;

	return (n + each - 1) / each * each;
}
/* Where the first word of a quad lies: a plane, a row of taps, a word of that row. */
typedef struct PatchQuad { int64_t plane, ky, word; } PatchQuad;
PatchQuad patch_quad(const Patch *p, const KContract *c, int64_t quad);
/* Elements of B for a channel tile, and where in it the weight of a term is. */
int64_t patch_elems(const Patch *p, const KContract *c);
int64_t patch_place(const Patch *p, const KContract *c, int64_t lane, int64_t k, int64_t ky, int64_t kx);
/* Of a tile, which channel lies at a place. */
int64_t patch_channel(int64_t place);
/* The term whose weight is at element i of a tile of B; false: there is none. */
bool patch_term(const Patch *p, const KContract *c, int64_t i, int64_t *lane, int64_t *k, int64_t *ky, int64_t *kx);
#endif
