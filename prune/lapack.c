/* prune/lapack.c -- symmetric positive definite systems. */
#include "prune/lapack.h"

#include <f77blas.h>

#include "ir/base/diag.h"

bool mlo_cholesky(double *f, int64_t n)
{
	blasint size = (blasint)n, info;

	dpotrf_("L", &size, f, &size, &info);
	MLO_ASSERT(info >= 0);
	return info == 0;
}

void mlo_cholesky_solve(const double *f, int64_t n, double *b, int64_t count)
{
	blasint size = (blasint)n, many = (blasint)count, info;

	dpotrs_("L", &size, &many, (double *)(uintptr_t)f, &size, b, &size, &info);
	MLO_ASSERT(info == 0);
}

void mlo_cholesky_invert(double *f, int64_t n)
{
	blasint size = (blasint)n, info;

	dpotri_("L", &size, f, &size, &info);
	MLO_ASSERT(info >= 0);
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < i; j++)
			f[i * n + j] = f[j * n + i];
}
