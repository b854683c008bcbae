/* tests/ptx/driver_memory.c -- device memory, pinned memory, copies. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/driver_api.h"
#include "tests/ptx/memory.h"

/* -- pinned memory -- */

CU_API CUresult cuMemHostAlloc(void **p, size_t bytes, unsigned flags)
{
	CUresult r = cu_enter("cuMemHostAlloc", true);
	uint64_t at = 0;

	if (!r)
		r = !p || !bytes || flags > 7                         ? CUDA_ERROR_INVALID_VALUE
		    : ptx_memory_alloc(bytes, PTX_MEMORY_PINNED, &at) ? CUDA_ERROR_OUT_OF_MEMORY
								      : 0;
	if (!r)
		*p = (void *)(uintptr_t)at;
	return cu_leave(r);
}

CU_API CUresult cuMemAllocManaged(CUdeviceptr *p, size_t bytes, unsigned flags)
{
	CUresult r = cu_enter("cuMemAllocManaged", true);

	if (!r && cu_state.capturing)
		r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (!r)
		r = !p || !bytes || flags != 1 ? CUDA_ERROR_INVALID_VALUE
		    : ptx_memory_alloc(bytes, PTX_MEMORY_MANAGED, p) ? CUDA_ERROR_OUT_OF_MEMORY : 0;
	return cu_leave(r);
}

static CUresult host_free(const void *p)
{
	const PtxAllocation *a = ptx_memory_find((uint64_t)(uintptr_t)p);

	if (!a || a->base != (uint64_t)(uintptr_t)p || a->kind != PTX_MEMORY_PINNED) {
		cu_finding("cuMemFreeHost of %p, which cuMemHostAlloc did not give", p);
		return CUDA_ERROR_INVALID_VALUE;
	}
	ptx_memory_free(a->base);
	return 0;
}

CU_API CUresult cuMemFreeHost(void *p)
{
	CUresult r = cu_enter("cuMemFreeHost", true);

	if (!r)
		r = host_free(p);
	return cu_leave(r);
}

/* -- device memory -- */

CU_API CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t bytes)
{
	CUresult r = cu_enter("cuMemAlloc_v2", true);

	if (!r && cu_state.capturing)
		r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (!r)
		r = !p || !bytes                                  ? CUDA_ERROR_INVALID_VALUE
		    : ptx_memory_alloc(bytes, PTX_MEMORY_USER, p) ? CUDA_ERROR_OUT_OF_MEMORY
								  : 0;
	if (!r) /* what was never written is recognised by its value: NaN of every type */
		memset(ptx_memory_host(*p), 0xff, bytes < 1 << 20 ? bytes : 1 << 20);
	return cu_leave(r);
}

static CUresult device_free(CUdeviceptr p)
{
	const PtxAllocation *a = p ? ptx_memory_find(p) : NULL;

	if (!p)
		return 0;
	if (cu_state.capturing)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (!a || a->base != p || (a->kind != PTX_MEMORY_USER && a->kind != PTX_MEMORY_MANAGED)) {
		cu_finding("cuMemFree of %#llx, where no allocation begins: freed twice?", (unsigned long long)p);
		return CUDA_ERROR_INVALID_VALUE;
	}
	ptx_memory_free(p);
	return 0;
}

CU_API CUresult cuMemFree_v2(CUdeviceptr p)
{
	CUresult r = cu_enter("cuMemFree_v2", true);

	if (!r)
		r = device_free(p);
	return cu_leave(r);
}

CU_API CUresult cuMemGetInfo_v2(size_t *available, size_t *total)
{
	const CUresult r = cu_enter("cuMemGetInfo_v2", true);

	if (!r) {
		*total = ptx_memory_total();
		*available = *total - ptx_memory_used();
	}
	return cu_leave(r);
}

void cu_memory_release(void)
{
	const PtxAllocation *a;
	uint64_t bytes = 0, n = 0;

	while ((a = ptx_memory_at(0))) {
		bytes += a->size;
		n++;
		ptx_memory_free(a->base);
	}
	cu_state.leaks += n;
	/* after a failure nothing can be freed any more */
	if (n && !cu_state.sticky)
		cu_finding("the context is released with %llu allocations of %llu bytes alive", (unsigned long long)n,
			   (unsigned long long)bytes);
}

static bool device_range(uint64_t p, uint64_t bytes, const char *what)
{
	const PtxAllocation *a = ptx_memory_find(p);

	if (a && bytes <= a->size - (p - a->base))
		return true;
	cu_finding("%s: %llu bytes at %#llx, which are not allocated", what, (unsigned long long)bytes,
		   (unsigned long long)p);
	return false;
}

CUresult cu_run_copy(const CuNode *n)
{
	const bool from_device = n->copy != CU_TO_DEVICE, to_device = n->copy != CU_TO_HOST;
	void *to;

	if (!n->bytes)
		return 0;
	if ((n->kind == CU_NODE_COPY && from_device && !device_range(n->from, n->bytes, "copy from the device")) ||
	    ((to_device || n->kind == CU_NODE_SET) && !device_range(n->to, n->bytes, "copy to the device")))
		return CUDA_ERROR_INVALID_VALUE;
	to = to_device ? ptx_memory_host(n->to) : (void *)(uintptr_t)n->to;
	if (n->kind == CU_NODE_SET)
		memset(to, n->value, n->bytes);
	else
		memmove(to, from_device ? ptx_memory_host(n->from) : (void *)(uintptr_t)n->from, n->bytes);
	return 0;
}

static CUresult copy(const char *name, CuCopyKind kind, uint64_t to, uint64_t from, size_t bytes, void *stream,
		     bool waits)
{
	const CuNode n = {.kind = CU_NODE_COPY, .copy = kind, .to = to, .from = from, .bytes = bytes};
	CUresult r = cu_enter(name, true);

	if (!r && bytes && (!to || !from))
		r = CUDA_ERROR_INVALID_VALUE;
	if (!r && waits && cu_state.capturing)
		r = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	if (!r)
		r = waits ? cu_run(&n) : cu_submit(stream, &n);
	return cu_leave(r);
}

CU_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, void *stream)
{
	return copy("cuMemcpyHtoDAsync_v2", CU_TO_DEVICE, to, (uint64_t)(uintptr_t)from, bytes, stream, false);
}

CU_API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, void *stream)
{
	return copy("cuMemcpyDtoHAsync_v2", CU_TO_HOST, (uint64_t)(uintptr_t)to, from, bytes, stream, false);
}

CU_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void *stream)
{
	return copy("cuMemcpyDtoDAsync_v2", CU_IN_DEVICE, to, from, bytes, stream, false);
}

CU_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)
{
	return copy("cuMemcpyHtoD_v2", CU_TO_DEVICE, to, (uint64_t)(uintptr_t)from, bytes, NULL, true);
}

CU_API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)
{
	return copy("cuMemcpyDtoH_v2", CU_TO_HOST, (uint64_t)(uintptr_t)to, from, bytes, NULL, true);
}

CU_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, void *stream)
{
	const CuNode n = {.kind = CU_NODE_SET, .to = to, .bytes = bytes, .value = value};
	CUresult r = cu_enter("cuMemsetD8Async", true);

	if (!r)
		r = cu_submit(stream, &n);
	return cu_leave(r);
}

enum { CONTEXT = 1, MEMORY_TYPE, DEVICE_POINTER, HOST_POINTER, IS_MANAGED = 8, ORDINAL, RANGE_START = 11, RANGE_SIZE };

static CUresult pointer_attribute(void *value, int which, uint64_t p)
{
	const PtxAllocation *a = ptx_memory_find(p);

	if (!a)
		return CUDA_ERROR_INVALID_VALUE;
	switch (which) {
	case CONTEXT:
		*(void **)value = &cu_state.context;
		return 0;
	case MEMORY_TYPE:
		*(unsigned *)value = a->kind == PTX_MEMORY_PINNED ? 1 : 2; /* CU_MEMORYTYPE_HOST, _DEVICE */
		return 0;
	case DEVICE_POINTER:
		*(uint64_t *)value = p;
		return 0;
	case HOST_POINTER:
		*(uint64_t *)value = p;
		return ptx_memory_shared(a->kind) ? 0 : CUDA_ERROR_INVALID_VALUE;
	case IS_MANAGED:
		*(int *)value = a->kind == PTX_MEMORY_MANAGED;
		return 0;
	case ORDINAL:
		*(int *)value = 0;
		return 0;
	case RANGE_START:
		*(uint64_t *)value = a->base;
		return 0;
	case RANGE_SIZE:
		*(uint64_t *)value = a->size;
		return 0;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CU_API CUresult cuPointerGetAttribute(void *value, int which, CUdeviceptr p)
{
	CUresult r = cu_enter("cuPointerGetAttribute", true);

	if (!r)
		r = pointer_attribute(value, which, p);
	return cu_leave(r);
}
