/* bindings/dlr/paths.h -- which package a model path of DLR means. */
#ifndef MLOPT_DLR_PATHS_H
#define MLOPT_DLR_PATHS_H
#include <stddef.h>

/* The one package that `path` leads to: a file, a folder with exactly one *.mlopt, or a list of them with ':' between.
 * 0 with its name in out[0, n), or -1 after dlr_fail(). */
int dlr_find_package(const char *path, char *out, size_t n);
#endif
