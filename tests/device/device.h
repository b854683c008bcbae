/* tests/device/device.h -- kernels of GPUs against the interpreter of kernels, on what CUDA's driver has as device 0. */
#ifndef MLO_TESTS_DEVICE_H
#define MLO_TESTS_DEVICE_H
#include "codegen/device.h"
#include "codegen/kernel.h"

/* The driver, and a device of it; false: `why` says what is missing. */
bool device_open(char *why, size_t n);
void device_close(void);

/* Kernels that neither contractions nor loops take are run as tasks, too, instead of being an error. */
extern bool device_every_kernel;

typedef struct DeviceBuffer {
	void *host;
	uint64_t device;
	size_t bytes, skew; /* skew: from an aligned place to where it begins on the device */
} DeviceBuffer;

/* Emits k for t, runs it with these buffers, one per argument, and brings results back.  blocks: of the grid, 0: as the launch says.
 * False: said on stdout why. */
bool device_run(const MloKernel *k, const MloTarget *t, const char *name, DeviceBuffer *buffer, unsigned blocks, MloDiag *d);

/* Results of both kinds of run: bytes alike, floats with a normalised mean squared difference of at most `most`. */
bool device_same(const MloKernel *k, const char *name, const DeviceBuffer *got, void *const *want, double most);

/* May element `at` of v, as it lies in memory, be `got` where the reference has `want`?  They are neighbours, v is rounded behind an
 * elementary function, or attention, which nobody rounds correctly, and the reference's value before that (`value`: those of the graph, by id) lies
 * halfway between both but for the last places. */
bool device_tie(const MloKernel *k, const MloValue *v, MloTensor *const *value, int64_t at, double got, double want);

/* A contraction to try, of weights packed at compile time. */
typedef struct DeviceContract {
	const char *name;
	MloElem a, b;
	int64_t images, y, x;        /* of the input */
	int64_t terms, channels;     /* per group */
	int64_t groups, taps, stride, pad, zero;
	enum { DEVICE_BLOCKS, DEVICE_DENSE, DEVICE_ROWS, DEVICE_FOURS } layout; /* channel blocks, NCHW, rows of channels, blocks of four */
	double most;                 /* of device_same() */
} DeviceContract;
/* apart: from a tap to the next one.  half: of weights without half of their terms, where the device has that (codegen/kept.h). */
MloKernel *device_contract(MloArena *a, const MloTarget *t, const DeviceContract *c, int64_t apart, bool half);
/* What packed weights have to be beyond the contraction's terms, and sums of the weights where there are any. */
void device_weights(const MloKernel *k, void *const *arg);

/* An attention to try: matrices by batches and heads, of which queries may have more than keys and values. */
enum { DEVICE_ADDED = 1, DEVICE_CHOSEN = 2, DEVICE_CAP = 4, DEVICE_DEAD = 8 /* some queries see nothing */ };
typedef struct DeviceAttentionCase {
	const char *name;
	MloElem elem, word;          /* in memory; that may be multiplied */
	int64_t batches, heads, shared, queries, keys, terms, columns;
	enum { DEVICE_PACKED, DEVICE_APART, DEVICE_TURNED } layout; /* heads side by side in a row; apart; and keys side by side */
	int mask;
	double most;                 /* of device_same() */
} DeviceAttentionCase;
MloKernel *device_attention(MloArena *a, const MloTarget *t, const DeviceAttentionCase *s);
void device_mask(const DeviceAttentionCase *s, const MloKernel *k, void *const *arg);
#endif
