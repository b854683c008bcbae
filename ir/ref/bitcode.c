/* ir/ref/bitcode.c -- looks the built-in bitcode modules up by architecture. */
#include "ir/ref/bitcode.h"

#include <string.h>

/* Defined in the generated ref_bitcode.c. */
#define ARCH(name)                                             \
	extern const unsigned char mlo_ref_bitcode_##name[];   \
	extern const size_t mlo_ref_bitcode_##name##_size;
#include "ir/ref/archs.def"

const void *mlo_ref_bitcode(const char *arch, size_t *n)
{
#define ARCH(name)                                     \
	if (strcmp(arch, #name) == 0) {                \
		*n = mlo_ref_bitcode_##name##_size;    \
		return mlo_ref_bitcode_##name;         \
	}
#include "ir/ref/archs.def"
	*n = 0;
	return NULL;
}
