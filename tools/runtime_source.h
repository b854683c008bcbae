/* tools/runtime_source.h -- the runtime as one C source file and its header, built in (runtime/amalgamate.sh). */
#ifndef MLO_TOOLS_RUNTIME_SOURCE_H
#define MLO_TOOLS_RUNTIME_SOURCE_H
#include <stddef.h>

/* Defined in the generated runtime_source.c. */
extern const unsigned char mlo_runtime_source[], mlo_runtime_header[];
extern const size_t mlo_runtime_source_size, mlo_runtime_header_size;
#endif
