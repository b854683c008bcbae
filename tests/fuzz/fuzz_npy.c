/* tests/fuzz/fuzz_npy.c -- libFuzzer target: .npy, IDX and gzipped arrays, read and written back. */
#include <stdint.h>
#include <stdlib.h>

#include "tools/dataset.h"
#include "tools/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool is_number(MloElem e)
{
	return mlo_elem_class(e) != EC_COMPLEX && mlo_elem_class(e) != EC_STRING;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloTensor *t = NULL;
	MloStatus st;
	volatile double sum = 0; /* so that the reads stay */

	if (!a)
		return 0;
	st = mlo_dataset_parse(a, data, n, "fuzz", &t, &d);
	if ((st == MLO_OK) != (d.nerrors == 0))
		abort(); /* a refusal explains itself */
	if (st == MLO_OK) {
		if ((int64_t)t->nbytes != mlo_tensor_elems(t) * (int64_t)mlo_elem_bits(t->elem) / 8)
			abort();
		/* Every element can be read. */
		for (int64_t i = 0; is_number(t->elem) && i < mlo_tensor_elems(t); i++)
			sum += mlo_tensor_f64(t, i);
		if (mlo_npy_write("/dev/null", t, NULL) != MLO_OK)
			abort();
	}
	mlo_diag_free(&d);
	mlo_arena_free(a);
	return 0;
}
