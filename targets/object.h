/* targets/object.h -- LLVM module to object code, objects to one flat loadable image. */
#ifndef MLO_TARGETS_OBJECT_H
#define MLO_TARGETS_OBJECT_H
#include <llvm-c/Types.h>

#include "targets/target.h"

typedef struct MloBytes { unsigned char *data; size_t n; } MloBytes; /* malloc'ed */

/* Verifies, optimises (-O3 pipeline) and assembles. `asm_text` != NULL: also the assembly.  Of a GPU the object is text of PTX. */
MloStatus mlo_object_emit(const MloTarget *t, LLVMModuleRef m, MloBytes *object, MloBytes *asm_text, MloDiag *d) MLO_CHECKED;
/* What an object takes in memory, in bytes. */
typedef struct MloObjectFacts {
	uint64_t code, constants; /* read-only both */
	uint64_t stack;          /* below the entry, calls included (targets/stack.h) */
} MloObjectFacts;
/* The same for a module that is a whole: nothing but the function `entry` is called from elsewhere.  MLO_ERR_UNSUPPORTED:
 * the target lacks instructions for something, and the object would need a library. */
MloStatus mlo_object_emit_whole(const MloTarget *t, LLVMModuleRef m, const char *entry, MloBytes *object, MloBytes *asm_text,
                                MloObjectFacts *facts, MloDiag *d) MLO_CHECKED;
/* targets/elf.c: adds code and constants of an object to *out; what it does not define itself is an error. */
MloStatus mlo_object_facts(const MloBytes *object, MloObjectFacts *out, MloDiag *d) MLO_CHECKED;
/* The optimised module's attributes and data layout for t; call before building functions. */
MloStatus mlo_object_prepare(const MloTarget *t, LLVMModuleRef m, MloDiag *d) MLO_CHECKED;
void mlo_object_function(const MloTarget *t, LLVMValueRef fn); /* target-cpu, target-features, prefer-vector-width */
/* Turns fills and copies of more than a few bytes into loops: nothing else is there that could do them. */
void mlo_object_expand_memory(const MloTarget *t, LLVMModuleRef m);
/* Replaces what this version of LLVM is known to make wrong instructions of (targets/avoid.c). */
void mlo_object_avoid(const MloTarget *t, LLVMModuleRef m);

/* targets/ptx.c.  Names of what only the module itself sees start with `prefix`, so that modules can be joined. */
void mlo_ptx_local_names(LLVMModuleRef m, const char *prefix);
/* The module, NUL-terminated (which module->n counts), that has everything in n texts of PTX. */
MloStatus mlo_ptx_join(const MloTarget *t, const MloBytes *text, size_t n, MloBytes *module, MloDiag *d) MLO_CHECKED;

/* targets/ptxas.c: NVIDIA's assembler, of CUDA's toolkit: MLOPT_PTXAS, or `ptxas` on the path or in /usr/local/cuda/bin.  What it
 * makes of a module for the capability of t, and what -v says (malloc'ed, NUL-terminated; `cubin` or `said` may be NULL). */
MloStatus mlo_ptxas(const MloTarget *t, const MloBytes *module, MloBytes *cubin, MloBytes *said, MloDiag *d) MLO_CHECKED;
bool mlo_ptxas_found(void);
MloStatus mlo_ptxas_version(MloBytes *said, MloDiag *d) MLO_CHECKED; /* text; malloc'ed */
/* What it says of an entry and the functions that this calls. */
typedef struct MloPtxasEntry {
	char name[128];
	unsigned registers;              /* of a thread */
	unsigned shared, stack, spilled; /* bytes: of a block, declared in the module; of a thread; of it that are stored and loaded */
} MloPtxasEntry;
/* The next entry from *at on, which starts as what was said; false: there are no more. */
bool mlo_ptxas_next(const char **at, MloPtxasEntry *out);

/* Links freestanding position-independent objects into one flat image without relocations, mapped
 * read+execute as it stands. offsets[i] receives the image offset of symbols[i]. */
MloStatus mlo_image_link(const MloTarget *t, const MloBytes *objects, size_t nobjects, const char *const *symbols,
                         size_t nsymbols, MloBytes *image, uint64_t *offsets, MloDiag *d) MLO_CHECKED;
/* A shared object whose dynamic symbols are what `object` has of global ones; `soname`: without quotes, spaces, backslashes. */
MloStatus mlo_shared_link(const MloTarget *t, const MloBytes *object, const char *soname, MloBytes *file, MloDiag *d) MLO_CHECKED;
#endif
