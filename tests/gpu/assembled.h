/* tests/gpu/assembled.h -- kernels through NVIDIA's assembler, each of them once: texts that differ in names
 * alone are one kernel. */
#ifndef MLO_TESTS_ASSEMBLED_H
#define MLO_TESTS_ASSEMBLED_H
#include "targets/object.h"

typedef struct Fact Fact;

typedef struct Assembled {
	Fact *fact;          /* a hash table of what is known */
	size_t n, room, ran; /* ran: kernels that were assembled, others were known */
	const char *path;    /* a file of such facts, for later runs; NULL: none */
	uint64_t version;    /* of the assembler */
} Assembled;

/* What was found by this version of the assembler before, if path (NULL: none) says where; it need not be
 * there yet. */
MloStatus assembled_open(Assembled *x, const char *path, MloDiag *d) MLO_CHECKED;
void assembled_close(Assembled *x);

/* Calls `each` for every entry of a module of PTX for t, in its order; those that nothing is known of go
 * through the assembler first. */
MloStatus assembled_module(Assembled *x, const MloTarget *t, const MloBytes *module,
			   void (*each)(void *user, const MloPtxasEntry *e), void *user,
			   MloDiag *d) MLO_CHECKED;
#endif
