/* ir/ref/bitcode.h -- the reference kernels as LLVM bitcode, built into the compiler.
 *
 * One module per architecture ("x86_64", "aarch64") with a function ref_<operator> each; helpers
 * have the prefixes ref_ and refm_.  No function names a CPU or its features: the consumer sets
 * "target-cpu" and "target-features".  All carry "no-builtins" (nothing may become a call of
 * memcpy): a caller into which they shall be inlined needs that attribute, too.  The module calls
 * nothing outside itself. */
#ifndef MLO_IR_REF_BITCODE_H
#define MLO_IR_REF_BITCODE_H
#include <stddef.h>

const void *mlo_ref_bitcode(const char *arch, size_t *n); /* NULL: no such architecture */
#endif
