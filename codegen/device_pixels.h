/* codegen/device_pixels.h -- contractions on Hopper whose taps read the same pixels of shared memory.
 *
 * A tile is some positions by some channels.  Positions are counted along the rows of all images, each row as long as the image and what
 * taps need beside it, each image as high: whatever the tap, it reads pixels at a constant distance from the positions, zeros in
 * between.  So the pixels of a tile come to shared memory once for all taps, some channels at a time, and B of a product, which are positions
 * here, begins at another one of them for each tap.  A are weights, each group of warps has 64 channels. */
#ifndef MLO_CODEGEN_DEVICE_PIXELS_H
#define MLO_CODEGEN_DEVICE_PIXELS_H
#include "codegen/device_plan.h"
#include "codegen/device_tile.h"

enum { PIXELS_MOST_COPIES = 48 /* of a thread, for some channels */ };

typedef struct PixelShape {
	int64_t pitch_x, pitch_y; /* as in DeviceTile */
	int64_t before, slots;    /* pixels of a tile in front of its first position, and in all: as many as threads bring in whole rounds */
	int64_t plane;            /* bytes from a piece of 16 bytes of all pixels to the next one */
	int64_t bytes;            /* of all */
	int64_t positions;        /* of all tiles */
	int64_t chunks, taps;     /* stages are taps of each of these */
} PixelShape;

/* Can c have that form, for tiles of the plan's rows, columns and words? */
bool device_pixels_shape(const KContract *c, const MmaKind *kind, const DevicePlan *p, PixelShape *s);
/* Shared memory, and blocks. */
int64_t device_pixels_shared(const KContract *c, const PixelShape *s, const DevicePlan *p);
int64_t device_pixels_blocks(const KContract *c, const PixelShape *s, const DevicePlan *p);
void device_pixels(LLVMModuleRef module, const MloKernel *k, const MloTarget *target, const char *symbol, const DevicePlan *p, MloLaunch *launch);
#endif
