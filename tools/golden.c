/* tools/golden.c -- golden vectors: inputs from data or at random, outputs from the reference executor. */
#include "tools/golden.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/format.h"
#include "tools/calib.h"
#include "tools/model.h"

enum { ALIGN = 64 };

/* What a run may differ by, as NMSE: rounding of sums in another order and of Winograd's products, and of what products
 * read. Convolutional, recurrent models and transformers stay below a tenth of these (docs/PACKAGES.md). */
static double tolerance(MloElem precision)
{
	return precision == EL_bf16 ? 1e-2 : precision == EL_f16 || precision == EL_tf32 ? 1e-4 : 1e-6;
}

typedef struct Maker {
	MloArena *a;
	const GoldenOptions *o;
	const MloGraph *g;
	Model m;         /* what inputs there are; nothing is opened */
	MloExec *exec;
	struct {
		MloTensor **items;
		size_t n, cap;
	} tensor;        /* inputs and outputs of each vector */
	uint32_t vectors;
	MloDiag *d;
} Maker;

/* "random:3" -> true and 3; false: it is not `kind` with a number. */
static bool read_count(const char *text, const char *kind, int *count)
{
	const size_t n = strlen(kind);
	char *end;
	long v;

	*count = 1;
	if (strncmp(text, kind, n) != 0 || (text[n] && text[n] != ':'))
		return false;
	if (!text[n])
		return true;
	v = strtol(text + n + 1, &end, 10);
	*count = end == text + n + 1 || *end || v < 1 || v > GOLDEN_MOST ? 0 : (int)v;
	return true;
}

MloStatus golden_check(const GoldenOptions *o, MloDiag *d)
{
	int count;
	const bool random = read_count(o->what, "random", &count), calib = !random && read_count(o->what, "calib", &count);

	if ((random || calib) && !count)
		return mlo_error(d, MLO_ERR_USAGE, "--golden %s: a number from 1 to %d was expected", o->what, GOLDEN_MOST);
	if (calib && !o->calib)
		return mlo_error(d, MLO_ERR_USAGE, "--golden %s: there is no --calib DATA", o->what);
	return MLO_OK;
}

/* Open dimensions take the least size they may have. */
static MloStatus describe(Maker *k)
{
	Model *m = &k->m;

	for (size_t i = 0; i < m->nin + m->nout; i++) {
		const ModelTensor *t = i < m->nin ? &m->in[i] : &m->out[i - m->nin];

		if (t->kind || t->elem == EL_str || mlo_elem_class(t->elem) == EC_COMPLEX)
			return mlo_error(k->d, MLO_ERR_UNSUPPORTED, "--golden: '%s' is %s; golden vectors are tensors of numbers", t->name,
					 model_type_text(k->a, t));
	}
	for (size_t i = 0; i < m->nin; i++)
		for (int n = 0; n < m->in[i].rank; n++) {
			int64_t lo, hi;

			mlo_dim_range(k->g->inputs[i]->type.dim[n], &lo, &hi);
			if (m->in[i].dim[n] < 0)
				m->in[i].pick[n] = lo > 1 ? lo : 1;
		}
	return MLO_OK;
}

static MloStatus add_vector(Maker *k, MloTensor **in)
{
	const MloTensor **out = MLO_NEWN(k->a, const MloTensor *, k->m.nout + 1);

	MloStatus st = mlo_exec_run(k->exec, (const MloTensor *const *)in, out, k->d);

	if (st != MLO_OK)
		mlo_hint(k->d, "golden vectors have open dimensions at their least sizes: others by --shape NAME=SIZE");
	MLO_TRY(st);
	for (size_t i = 0; i < k->m.nin; i++)
		MLO_PUSH(k->a, &k->tensor, in[i]);
	for (size_t i = 0; i < k->m.nout; i++)
		MLO_PUSH(k->a, &k->tensor, mlo_tensor_copy(k->a, out[i]));
	k->vectors++;
	return MLO_OK;
}

static MloTensor **new_inputs(Maker *k, bool random)
{
	MloTensor **in = MLO_NEWN(k->a, MloTensor *, k->m.nin + 1);

	for (size_t i = 0; i < k->m.nin; i++)
		in[i] = random ? model_random(k->a, &k->m.in[i], 1 + k->vectors + i * 1000003) : model_tensor(k->a, &k->m.in[i]);
	return in;
}

static MloStatus from_data(Maker *k, const char *path, uint32_t most)
{
	Calib *c = NULL;
	int64_t count = 0;
	MloStatus st = calib_open(k->a, &k->m, path, k->o->recipe, INT64_MAX, &c, k->d);

	while (st == MLO_OK && k->vectors < most) {
		MloTensor **in = new_inputs(k, false);

		st = calib_next(c, in, &count, k->d);
		if (st == MLO_OK && !count)
			break;
		if (st == MLO_OK)
			st = add_vector(k, in);
	}
	calib_close(c);
	if (st == MLO_OK && !k->vectors)
		st = mlo_error(k->d, MLO_ERR_MODEL, "--golden: '%s' holds no samples", path);
	return st;
}

static MloStatus run_all(Maker *k)
{
	int count;

	if (read_count(k->o->what, "random", &count)) {
		while (k->vectors < (uint32_t)count)
			MLO_TRY(add_vector(k, new_inputs(k, true)));
		return MLO_OK;
	}
	if (read_count(k->o->what, "calib", &count))
		return from_data(k, k->o->calib, (uint32_t)count);
	return from_data(k, k->o->what, GOLDEN_DATA);
}

static void write_blob(Maker *k, double nmse, MloPiece *out)
{
	const size_t n = k->tensor.n;
	uint64_t at = sizeof(MlrtGolden) + n * sizeof(MlrtGoldenTensor);
	MlrtGoldenTensor *row = MLO_NEWN(k->a, MlrtGoldenTensor, n + 1);
	MlrtGolden head = {MLRT_GOLDEN_MAGIC, k->vectors, (uint32_t)k->m.nin, (uint32_t)k->m.nout, 0, nmse};
	unsigned char *bytes;

	_Static_assert((int)MLRT_GOLDEN_DIMS == (int)MLO_MAX_RANK, "every tensor of ours fits");
	for (size_t i = 0; i < n; i++) {
		const MloTensor *t = k->tensor.items[i];

		at = (at + ALIGN - 1) / ALIGN * ALIGN;
		row[i] = (MlrtGoldenTensor){.elem = (uint32_t)mlo_elem_onnx(t->elem), .rank = (uint32_t)t->rank, .offset = at,
					    .bytes = t->nbytes};
		memcpy(row[i].dims, t->dim, (size_t)t->rank * sizeof *t->dim);
		at += t->nbytes;
	}
	head.bytes = at;
	bytes = mlo_alloc(k->a, at, 1);
	memcpy(bytes, &head, sizeof head);
	memcpy(bytes + sizeof head, row, n * sizeof *row);
	for (size_t i = 0; i < n; i++)
		if (row[i].bytes)
			memcpy(bytes + row[i].offset, k->tensor.items[i]->data, row[i].bytes);
	*out = (MloPiece){bytes, at};
}

MloStatus golden_make(void *options, MloArena *a, const MloGraph *g, MloElem precision, MloPiece *out, MloDiag *d)
{
	const GoldenOptions *o = options;
	Maker k = {.a = a, .o = o, .g = g, .d = d};
	MloStatus st;

	MLO_TRY(model_describe(&k.m, g, d));
	st = describe(&k);
	if (st == MLO_OK) {
		k.exec = mlo_exec_new_plain(g, d);
		st = k.exec ? run_all(&k) : MLO_ERR_MODEL;
	}
	if (st == MLO_OK)
		write_blob(&k, tolerance(precision), out);
	mlo_exec_free(k.exec);
	model_close(&k.m);
	return st;
}
