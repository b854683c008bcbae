/* prune/lapack.h -- symmetric positive definite systems, by the LAPACK routines that OpenBLAS brings
 * (https://netlib.org/lapack/explore-html/: dpotrf, dpotri, dpotrs).
 *
 * Matrices are symmetric, so that rows and columns may change places: the factor is in what row-major code calls the
 * upper half. */
#ifndef MLO_PRUNE_LAPACK_H
#define MLO_PRUNE_LAPACK_H
#include <stdbool.h>
#include <stdint.h>

/* f[n][n] becomes U with U'U = f; false: it is not definite. */
bool mlo_cholesky(double *f, int64_t n);
/* Each of the `count` rows of b[count][n] becomes the solution of f x = b, f being a factor. */
void mlo_cholesky_solve(const double *f, int64_t n, double *b, int64_t count);
/* A factor becomes the inverse of what it was made of, both halves. */
void mlo_cholesky_invert(double *f, int64_t n);
#endif
