/* tests/fuzz/fuzz_onnx.c -- libFuzzer: any bytes as an ONNX model and as a tensor file.
 *
 * What is accepted must survive inference, be printable, and keep to the rules of the verifier. */
#include <stddef.h>
#include <stdint.h>

#include "frontend/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MloDiag d = {0};
	MloGraph *g = mlo_onnx_load_memory(data, size, "fuzz.onnx", NULL, NULL, &d);
	MloArena *a = mlo_arena_new();

	MLO_ASSERT(!g == (d.nerrors > 0));
	if (g) {
		MloStr text = {.arena = a};

		if (mlo_infer_graph(g, &d) == MLO_OK)
			MLO_ASSERT(mlo_verify(g, &d) == MLO_OK);
		mlo_print(&text, g, false);
		mlo_graph_free(g);
	}
	mlo_onnx_tensor_memory(a, data, size, "fuzz.pb", &d);
	mlo_arena_free(a);
	mlo_diag_free(&d);
	return 0;
}
