/* tests/device/device.h -- kernels of GPUs against the interpreter of kernels, on what CUDA's driver has as device 0. */
#ifndef MLO_TESTS_DEVICE_H
#define MLO_TESTS_DEVICE_H
#include "codegen/device.h"
#include "codegen/kernel.h"

/* The driver, and a device of it; false: `why` says what is missing. */
bool device_open(char *why, size_t n);
void device_close(void);

typedef struct DeviceBuffer { void *host; uint64_t device; size_t bytes; } DeviceBuffer;

/* Emits k for t, runs it with these buffers, one per argument, and brings results back.  blocks: of the grid, 0: as the launch says.
 * False: said on stdout why. */
bool device_run(const MloKernel *k, const MloTarget *t, const char *name, DeviceBuffer *buffer, unsigned blocks, MloDiag *d);

/* Results of both kinds of run: bytes alike, floats with a normalised mean squared difference of at most `most`. */
bool device_same(const MloKernel *k, const char *name, const DeviceBuffer *got, void *const *want, double most);

/* A contraction to try, of weights packed at compile time. */
typedef struct DeviceContract {
	const char *name;
	MloElem a, b;
	int64_t images, y, x;        /* of the input */
	int64_t terms, channels;     /* per group */
	int64_t groups, taps, stride, pad, zero;
	enum { DEVICE_BLOCKS, DEVICE_DENSE, DEVICE_ROWS } layout; /* channel blocks, NCHW, rows of channels */
	double most;                 /* of device_same() */
	int sms;                     /* multiprocessors that tiles are chosen for; 0: those of the device */
} DeviceContract;
MloKernel *device_contract(MloArena *a, const MloTarget *t, const DeviceContract *c);
/* What packed weights have to be beyond the contraction's terms, and sums of the weights where there are any. */
void device_weights(const MloKernel *k, void *const *arg);
#endif
