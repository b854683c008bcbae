/* targets/object.h -- LLVM module to object code, objects to one flat loadable image. */
#ifndef MLO_TARGETS_OBJECT_H
#define MLO_TARGETS_OBJECT_H
#include <llvm-c/Types.h>

#include "targets/target.h"

typedef struct MloBytes { unsigned char *data; size_t n; } MloBytes; /* malloc'ed */

/* Verifies, optimises (-O3 pipeline) and assembles. `asm_text` != NULL: also the assembly. */
MloStatus mlo_object_emit(const MloTarget *t, LLVMModuleRef m, MloBytes *object, MloBytes *asm_text, MloDiag *d) MLO_CHECKED;
/* The optimised module's attributes and data layout for t; call before building functions. */
MloStatus mlo_object_prepare(const MloTarget *t, LLVMModuleRef m, MloDiag *d) MLO_CHECKED;
void mlo_object_function(const MloTarget *t, LLVMValueRef fn); /* target-cpu, target-features, prefer-vector-width */
/* Turns fills and copies of more than a few bytes into loops: nothing else is there that could do them. */
void mlo_object_expand_memory(const MloTarget *t, LLVMModuleRef m);

/* Links freestanding position-independent objects into one flat image without relocations, mapped
 * read+execute as it stands. offsets[i] receives the image offset of symbols[i]. */
MloStatus mlo_image_link(const MloTarget *t, const MloBytes *objects, size_t nobjects, const char *const *symbols,
                         size_t nsymbols, MloBytes *image, uint64_t *offsets, MloDiag *d) MLO_CHECKED;
#endif
