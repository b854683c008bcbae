/* tests/fuzz/fuzz_package.c -- libFuzzer target: opening packages, and asking the model what it is.
 *
 * Each input is opened twice: as it stands, and with its hashes, sizes and padding put right as far
 * as that can be done, so that damage behind them is reached.  No code of the package is run. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "mlopt/runtime.h"
#include "runtime/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t look_at_input(const MlrtTensorInfo *info)
{
	size_t sum = strlen(info->name) + strlen(info->elem) + strlen(info->kind) + (size_t)info->rank;

	sum += info->key ? strlen(info->key) : 0;
	for (int k = 0; info->dim_names && k < info->rank; k++)
		sum += info->dim_names[k] ? strlen(info->dim_names[k]) : 0;
	return sum;
}

static void look_at(const MlrtModel *m)
{
	MlrtTensorInfo info;
	size_t n, sum = 0;

	for (size_t i = 0; i < mlrt_model_inputs(m); i++)
		if (mlrt_model_input(m, i, &info) == MLRT_OK)
			sum += look_at_input(&info);
	for (size_t i = 0; i < mlrt_model_outputs(m); i++)
		if (mlrt_model_output(m, i, &info) == MLRT_OK && info.rank > 0)
			sum += (size_t)info.dims[info.rank - 1];
	sum += strlen(mlrt_model_manifest(m, &n)) + strlen(mlrt_model_variant(m)) + mlrt_model_arena_bytes(m);
	if (n != strlen(mlrt_model_manifest(m, NULL)) && sum == 0)
		abort();
}

static void open_and_look(const uint8_t *data, size_t n, int skip_hashes)
{
	const MlrtOpenOptions opt = {.skip_hashes = skip_hashes};
	MlrtModel *m = NULL;
	MlrtSession *s = NULL;
	MlrtError err;
	MlrtStatus st = mlrt_model_open_memory(data, n, &opt, &m, &err);

	if ((st == MLRT_OK) != (m != NULL) || (st != MLRT_OK && err.text[0] == 0))
		abort(); /* a refusal explains itself */
	if (!m)
		return;
	look_at(m);
	if (mlrt_model_arena_bytes(m) < 1 << 20 &&
	    mlrt_session_new(m, &(MlrtSessionOptions){.threads = 1}, &s, &err) == MLRT_OK) {
		mlrt_session_state(s, 0, 0, &err);
		mlrt_session_reset(s);
		mlrt_session_free(s);
	}
	mlrt_model_close(m);
}

/* Hashes of the parts that lie inside the file. */
static void repair(uint8_t *file, size_t n)
{
	MlrtHeader h;

	memcpy(&h, file, sizeof h);
	memcpy(h.magic, MLRT_MAGIC, sizeof h.magic);
	h.major = MLRT_FORMAT_MAJOR;
	h.header_bytes = sizeof h;
	h.file_bytes = n;
	h.manifest_offset = sizeof h;
	if (h.manifest_bytes > n - sizeof h)
		h.manifest_bytes = n - sizeof h;
	h.table_offset = (sizeof h + h.manifest_bytes + 7) & ~7ull;
	h.manifest_hash = XXH3_64bits(file + sizeof h, h.manifest_bytes);
	if (h.table_offset <= n && h.nblobs <= (n - h.table_offset) / sizeof(MlrtBlob))
		h.table_hash = XXH3_64bits(file + h.table_offset, h.nblobs * sizeof(MlrtBlob));
	h.header_hash = 0;
	h.header_hash = XXH3_64bits(&h, sizeof h);
	memcpy(file, &h, sizeof h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t *copy;

	open_and_look(data, n, 0);
	if (n < sizeof(MlrtHeader) || n > 1 << 20)
		return 0;
	copy = malloc(n);
	if (!copy)
		return 0;
	memcpy(copy, data, n);
	repair(copy, n);
	open_and_look(copy, n, 1);
	free(copy);
	return 0;
}
