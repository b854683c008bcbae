/* tests/ptx/round.h -- rounding of float64 to formats of fewer bits. */
#ifndef MLOPT_TESTS_PTX_ROUND_H
#define MLOPT_TESTS_PTX_ROUND_H

#include <stdbool.h>
#include <stdint.h>

/* To the nearest (even), towards zero, down, up, to the nearest (away from zero). */
enum { PTX_RN, PTX_RZ, PTX_RM, PTX_RP, PTX_RNA };

typedef struct PtxFormat {
	int bits, mantissa, emin, emax;
} PtxFormat;

#define PTX_FORMAT_F16 ((PtxFormat){16, 10, -14, 15})
#define PTX_FORMAT_BF16 ((PtxFormat){16, 7, -126, 127})
#define PTX_FORMAT_F32 ((PtxFormat){32, 23, -126, 127})

uint64_t ptx_narrow(double x, PtxFormat f,
		    int mode); /* its bits; NaN becomes the one whose bits are all set but the sign */

/* The minimum: a number beats NaN, unless want_nan; -0 is below 0. */
double ptx_least(double x, double y, bool want_nan);

#endif
