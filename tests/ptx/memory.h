/* tests/ptx/memory.h -- device memory: one range of addresses that the host cannot touch by mistake; what lies there is
 * kept somewhere else. One device, one process: the state is the process's. */
#ifndef MLOPT_TESTS_PTX_MEMORY_H
#define MLOPT_TESTS_PTX_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* PINNED: the host's, where the host sees it at the same address; it counts as none of the device's.  MANAGED:
 * likewise, and counts. */
typedef enum PtxMemoryKind {
	PTX_MEMORY_USER,
	PTX_MEMORY_MODULE,
	PTX_MEMORY_CONST,
	PTX_MEMORY_PINNED,
	PTX_MEMORY_MANAGED
} PtxMemoryKind;

typedef struct PtxAllocation {
	uint64_t base, size;
	PtxMemoryKind kind;
} PtxAllocation;

enum { PTX_MEMORY_ALIGN = 512, PTX_MEMORY_PAGE = 4096 };

static inline bool ptx_memory_shared(PtxMemoryKind kind)
{
	return kind == PTX_MEMORY_PINNED || kind == PTX_MEMORY_MANAGED;
}

bool ptx_memory_init(uint64_t total);
/* 0, or an error: 1: too little memory. */
int ptx_memory_alloc(uint64_t size, PtxMemoryKind kind, uint64_t *address);
bool ptx_memory_free(uint64_t address);               /* false: nothing begins there */
const PtxAllocation *ptx_memory_find(uint64_t address); /* that contains it, or NULL */
bool ptx_memory_within(uint64_t address);             /* the address is one of the device, allocated or not */
uint8_t *ptx_memory_host(uint64_t address);           /* where its bytes are */
uint64_t ptx_memory_total(void);
uint64_t ptx_memory_used(void);
/* Allocations by number, of increasing address; NULL behind the last. */
const PtxAllocation *ptx_memory_at(size_t k);
/* A word of the tests for each 4 bytes of memory: who touched them last. */
uint64_t *ptx_memory_shadow(uint64_t address);

#endif
