/* ir/ref/bitcode.c -- looks the built-in bitcode modules up by architecture. */
#include "ir/ref/bitcode.h"

#include <string.h>

/* Defined in the generated ref_bitcode.c. */
extern const unsigned char mlo_ref_bitcode_x86_64[], mlo_ref_bitcode_aarch64[];
extern const size_t mlo_ref_bitcode_x86_64_size, mlo_ref_bitcode_aarch64_size;

const void *mlo_ref_bitcode(const char *arch, size_t *n)
{
	if (strcmp(arch, "x86_64") == 0) {
		*n = mlo_ref_bitcode_x86_64_size;
		return mlo_ref_bitcode_x86_64;
	}
	if (strcmp(arch, "aarch64") == 0) {
		*n = mlo_ref_bitcode_aarch64_size;
		return mlo_ref_bitcode_aarch64;
	}
	*n = 0;
	return NULL;
}
