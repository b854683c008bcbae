/* codegen/device_patch.h -- contractions on tensor cores that read A out of a patch of the image (codegen/patch.h): of few channels, whose
 * terms do not lie beside each other in pieces of 16 bytes.
 *
 * A tile is `high` rows of `wide` neighbouring positions.  A block brings what they read into shared memory once, converted to what is
 * multiplied, and the weights of the tile's channels, as they are packed; then each warp makes `mt` x 16 positions by all channels of the
 * tile.  A lane's words of A lie at distances that are known when code is made, from one address that it computes once. */
#ifndef MLO_CODEGEN_DEVICE_PATCH_H
#define MLO_CODEGEN_DEVICE_PATCH_H
#include "codegen/device_mma_stage.h"
#include "codegen/patch.h"

enum { PATCH_PAD = 2 /* words between columns of sums: those that a lane has are then eight banks from those of the next */ };

typedef struct PatchPlan {
	Patch p;
	int columns, warps, mt;   /* of a tile; fragments of a warp, one below the other */
	int64_t wide, high;
	/* Pixels of a word (`p`), of an access of A (`chunk`), in front of what the first position reads (`left`), and of a row. */
	int chunk;
	int64_t left, pixels;
	/* Rows and planes.  Where positions begin within words there are copies of the patch, each from a pixel later on. */
	int64_t rows, planes, copies;
	int64_t pitch, plane, copy; /* words from one to the next */
	int64_t sums;             /* words behind the patch for what weights add up to, where A has a zero point */
	int64_t weights, shared;  /* bytes: of B, which lies in front of the patch; of both */
	int64_t turned;           /* bytes of what the products add up to, where that is turned around for the epilogue */
	double ns;
} PatchPlan;

/* The fastest one, of so many columns (0: of any); false: there is none. */
bool device_patch_plan(const MloTarget *t, const MloKernel *k, const KContract *c, int columns, PatchPlan *best);
/* How threads lie over a row that they bring: so many accesses side by side, a power of two. */
int device_patch_lanes(const PatchPlan *p);
/* Accesses of a thread for a plane: rounds along rows, and down. */
int64_t device_patch_along(const PatchPlan *p);
int64_t device_patch_down(const PatchPlan *p);

/* -- emission ---------------------------------------------------------------------------------------- */

typedef struct PatchTile {
	Mma m;                    /* products, sums */
	PatchPlan plan;
	int outputs;              /* columns that the epilogue takes at once; 0: it takes rows */
	LLVMValueRef fill;        /* a word of what lies outside of the image */
	LLVMValueRef y, x;        /* of the image: where the patch begins */
	LLVMValueRef first_y, first_x; /* the tile's first position */
} PatchTile;

static inline LLVMValueRef patch_byte(PatchTile *t, int64_t at)
{
	Emit *e = t->m.t.e;

	return LLVMBuildInBoundsGEP2(e->b, LLVMInt8TypeInContext(e->ctx), device_dynamic_shared(e), (LLVMValueRef[]){emit_index(e, at)}, 1, "");
}

/* device_patch_bring.c: starts to bring B, or does; brings the patch; sums of weights of a column, in parts. */
void patch_bring_weights(PatchTile *t);
void patch_bring(PatchTile *t);
void patch_sum_weights(PatchTile *t);
/* device_patch_end.c: what products add up to, through the epilogue. */
void patch_outputs(PatchTile *t);
int64_t patch_shared(const PatchTile *t); /* bytes of a block */
/* How many columns are taken at once, 0: rows lie beside each other; bits of the places of arguments that have to be 0 for that, i64. */
int patch_columns(const PatchTile *t);
LLVMValueRef patch_places(PatchTile *t);
#endif
