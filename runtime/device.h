/* runtime/device.h -- the part of the runtime that runs kernels on GPUs, as the rest sees it.
 *
 * Variants of arch MLRT_GPU_ARCH need it.  It is a library of its own, libmlopt_rt_cuda.so (runtime/cuda*.c), opened when such
 * a variant is met: who has no GPU does not load it.  It knows models and sessions from inside, so both must be of one build, which
 * `version` and the sizes tell.  With MLRT_WITH_CUDA it is linked in instead (the amalgamation); with MLRT_WITHOUT_CUDA there is
 * none (static programs).
 *
 * A flat program runs as one graph: run().  The steps of a list are walked by the rest of the runtime, on memory that host and
 * device share; call() starts a kernel, and wait() comes before the host looks at anything a kernel may have written. */
#ifndef MLRT_DEVICE_H
#define MLRT_DEVICE_H
#include "runtime/internal.h"

#define MLRT_GPU_ARCH "nvptx64"
#define MLRT_CUDA_LIBRARY_NAME "libmlopt_rt_cuda.so.0"

typedef struct DeviceApi {
	const char *version;
	size_t model_bytes, session_bytes;
	/* Is there a device that runs code which needs all of this (Variant.needs: "sm_80")?  If not, why. */
	MlrtStatus (*fits)(const char *needs, size_t nneeds, char *why, size_t n);
	/* The session's share of its device: s->on.  `code`, launches and weights go there once for all sessions of a model. */
	MlrtStatus (*session_new)(MlrtModel *m, MlrtSession *s, int device, void *stream, MlrtError *err);
	void (*session_free)(MlrtSession *s);
	void (*model_free)(MlrtModel *m); /* after all its sessions */
	MlrtStatus (*run)(MlrtSession *s, const void *const *inputs, void *const *outputs, MlrtError *err);
	/* Of a list. */
	void (*call)(MlrtSession *s, uint64_t code, void *const *args, uint32_t nargs, int64_t tasks); /* errors: wait() */
	MlrtStatus (*wait)(MlrtSession *s, MlrtError *err);
	/* Between memory that the host sees and what the application gave, which may be the device's. */
	MlrtStatus (*take)(MlrtSession *s, void *to, const void *given, size_t bytes, MlrtError *err);
	MlrtStatus (*give)(MlrtSession *s, void *given, const void *from, size_t bytes, MlrtError *err);
} DeviceApi;

/* device.c: NULL, and why, where there is none. */
MLRT_LOCAL const DeviceApi *mlrt_device_api(char *why, size_t n);
static inline bool mlrt_is_gpu(const Variant *v)
{
	return strcmp(v->arch, MLRT_GPU_ARCH) == 0;
}

/* launch.c: how a variant's kernels are started, checked. */
MLRT_LOCAL MlrtStatus mlrt_launches_read(const Container *c, const Variant *v, Launches *out, MlrtError *err);

/* The one function that libmlopt_rt_cuda.so exports. */
MLRT_API const DeviceApi *mlrt_cuda_api(void);
#endif
