/* tests/ptx/memory.c -- device memory. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/ptx/memory.h"

static struct {
	uint64_t device; /* begin of the range of device addresses, of which nothing is mapped readable */
	uint8_t *host;
	uint64_t *shadow;
	uint64_t range, total, used;
	PtxAllocation *list;
	size_t n, room;
} mem;

bool ptx_memory_init(uint64_t total)
{
	void *device, *host, *shadow;
	int fd;

	if (mem.device)
		return true;
	/* Addresses are not used twice at once: freed ones stay unused as long as there are others. */
	mem.range = total * 2 + (UINT64_C(1) << 30);
	fd = memfd_create("device", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)mem.range))
		return false;
	/* the same bytes twice: where the device sees them, the host may only where they are shared */
	device = mmap(NULL, mem.range, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	host = mmap(NULL, mem.range, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	close(fd);
	shadow = mmap(NULL, mem.range * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (device == MAP_FAILED || host == MAP_FAILED || shadow == MAP_FAILED)
		return false;
	mem.device = (uint64_t)(uintptr_t)device;
	mem.host = host;
	mem.shadow = shadow;
	mem.total = total;
	return true;
}

/* The first allocation whose base is above the address. */
static size_t above(uint64_t address)
{
	size_t lo = 0, hi = mem.n;

	while (lo < hi) {
		const size_t mid = (lo + hi) / 2;

		if (mem.list[mid].base > address)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static uint64_t up(uint64_t n, uint64_t align)
{
	return (n + align - 1) / align * align;
}

/* Where the next allocation may begin: a hole behind each, so that small overruns meet nothing. */
static uint64_t behind(const PtxAllocation *a, uint64_t align)
{
	return up(a->base + up(a->size, ptx_memory_shared(a->kind) ? PTX_MEMORY_PAGE : PTX_MEMORY_ALIGN) +
			  PTX_MEMORY_ALIGN,
		  align);
}

int ptx_memory_alloc(uint64_t size, PtxMemoryKind kind, uint64_t *address)
{
	const uint64_t align = ptx_memory_shared(kind) ? PTX_MEMORY_PAGE : PTX_MEMORY_ALIGN,
		       need = up(size, align) + PTX_MEMORY_ALIGN;
	uint64_t at = mem.device;
	size_t k;

	if (!mem.device || (kind != PTX_MEMORY_PINNED && size > mem.total - mem.used) || need > mem.range)
		return 1;
	if (mem.n)
		at = behind(&mem.list[mem.n - 1], align);
	if (at + need > mem.device + mem.range) { /* the first gap that is large enough */
		at = mem.device;
		for (k = 0; k < mem.n && (mem.list[k].base < at || mem.list[k].base - at < need); k++)
			at = behind(&mem.list[k], align);
		if (at + need > mem.device + mem.range)
			return 1;
	}
	if (mem.n == mem.room) {
		PtxAllocation *more = realloc(mem.list, sizeof *more * (2 * mem.room + 64));

		if (!more)
			return 1;
		mem.list = more;
		mem.room = 2 * mem.room + 64;
	}
	if (ptx_memory_shared(kind) && mprotect((void *)(uintptr_t)at, up(size, align), PROT_READ | PROT_WRITE))
		return 1;
	k = above(at);
	memmove(mem.list + k + 1, mem.list + k, sizeof *mem.list * (mem.n - k));
	mem.list[k] = (PtxAllocation){at, size, kind};
	mem.n++;
	mem.used += kind == PTX_MEMORY_PINNED ? 0 : size;
	*address = at;
	return 0;
}

const PtxAllocation *ptx_memory_find(uint64_t address)
{
	const size_t k = above(address);

	if (!k || address - mem.list[k - 1].base >= mem.list[k - 1].size)
		return NULL;
	return &mem.list[k - 1];
}

bool ptx_memory_free(uint64_t address)
{
	const size_t k = above(address);
	PtxAllocation *a = k ? &mem.list[k - 1] : NULL;
	const uint64_t page = PTX_MEMORY_PAGE;

	if (!a || a->base != address)
		return false;
	if (ptx_memory_shared(a->kind))
		(void)mprotect((void *)(uintptr_t)address, up(a->size, page), PROT_NONE);
	if (a->size >= 16 * page) { /* the pages go back; what is read there afterwards is zero, and a finding */
		const uint64_t from = (address - mem.device + page - 1) / page * page;
		const uint64_t to = (address - mem.device + a->size) / page * page;

		madvise(mem.host + from, to - from, MADV_REMOVE);
		madvise((char *)mem.shadow + 2 * from, 2 * (to - from), MADV_DONTNEED);
	}
	mem.used -= a->kind == PTX_MEMORY_PINNED ? 0 : a->size;
	memmove(a, a + 1, sizeof *a * (mem.n - k));
	mem.n--;
	return true;
}

bool ptx_memory_within(uint64_t address)
{
	return mem.device && address - mem.device < mem.range;
}

uint8_t *ptx_memory_host(uint64_t address)
{
	return mem.host + (address - mem.device);
}

uint64_t *ptx_memory_shadow(uint64_t address)
{
	return mem.shadow + (address - mem.device) / 4;
}

uint64_t ptx_memory_total(void)
{
	return mem.total;
}

uint64_t ptx_memory_used(void)
{
	return mem.used;
}

const PtxAllocation *ptx_memory_at(size_t k)
{
	return k < mem.n ? &mem.list[k] : NULL;
}
