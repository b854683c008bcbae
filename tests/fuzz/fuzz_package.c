/* tests/fuzz/fuzz_package.c -- libFuzzer target: opening packages, and asking the model what it is.
 *
 * Each input is opened as it stands, as a package that a key must have signed, and with its hashes, sizes and
 * padding put right as far as that can be done, so that damage behind them is reached.  No code of the package is
 * run; golden vectors are looked at in models that have no steps. */
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

/* The key that has signed packages of the corpus, or one that nobody has. */
static MlrtPublicKey a_key(const uint8_t *data, size_t n)
{
	MlrtPublicKey key = {{1, 2, 3}};

	if (n >= sizeof(MlrtHeader) + sizeof(MlrtSignatures))
		memcpy(key.bytes, data + sizeof(MlrtHeader) + offsetof(MlrtSignatures, item), sizeof key.bytes);
	return key;
}

static void open_and_look(const uint8_t *data, size_t n, int skip_hashes, const MlrtPublicKey *key)
{
	const MlrtOpenOptions opt = {.skip_hashes = skip_hashes, .keys = key, .nkeys = key != NULL};
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
		if (mlrt_session_steps(s) == 0)
			mlrt_model_replay(m, &(MlrtSessionOptions){.threads = 1}, NULL, NULL, NULL, &err);
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
	h.header_bytes = sizeof h + (h.minor >= MLRT_SIGNED_MINOR && n >= sizeof h + sizeof(MlrtSignatures) ? sizeof(MlrtSignatures) : 0);
	h.file_bytes = n;
	h.manifest_offset = h.header_bytes;
	if (h.manifest_bytes > n - h.manifest_offset)
		h.manifest_bytes = n - h.manifest_offset;
	h.table_offset = (h.manifest_offset + h.manifest_bytes + 7) & ~7ull;
	h.manifest_hash = XXH3_64bits(file + h.manifest_offset, h.manifest_bytes);
	if (h.table_offset <= n && h.nblobs <= (n - h.table_offset) / sizeof(MlrtBlob))
		h.table_hash = XXH3_64bits(file + h.table_offset, h.nblobs * sizeof(MlrtBlob));
	h.header_hash = 0;
	memcpy(file, &h, sizeof h);
	h.header_hash = XXH3_64bits(file, h.header_bytes);
	memcpy(file, &h, sizeof h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const MlrtPublicKey key = a_key(data, n);
	uint8_t *copy;

	open_and_look(data, n, 0, NULL);
	open_and_look(data, n, 0, &key);
	if (n < sizeof(MlrtHeader) || n > 1 << 20)
		return 0;
	copy = malloc(n);
	if (!copy)
		return 0;
	memcpy(copy, data, n);
	repair(copy, n);
	open_and_look(copy, n, 1, NULL);
	free(copy);
	return 0;
}
