/* runtime/golden.c -- golden vectors: does this device compute what the reference executor did? */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/internal.h"

typedef struct Golden {
	const unsigned char *data;
	void *copy;              /* owns it where the file lies at an odd address */
	MlrtGolden head;
	const MlrtGoldenTensor *tensor;
} Golden;

/* Whether a tensor of the blob lies inside it, and is what the manifest says of `want`. */
static bool tensor_fits(const Golden *g, const MlrtGoldenTensor *t, const Tensor *want)
{
	const Elem *e = mlrt_elem_code(t->elem);
	uint64_t bytes;

	if (!e || e != want->elem || want->kind || e->code == ELEM_STR || t->rank > MLRT_GOLDEN_DIMS ||
	    (int)t->rank != want->info.rank || t->offset % MLRT_ALIGN || t->offset > g->head.bytes ||
	    t->bytes > g->head.bytes - t->offset)
		return false;
	for (uint32_t i = 0; i < t->rank; i++)
		if (want->dims[i] >= 0 && want->dims[i] != t->dims[i])
			return false;
	return mlrt_tensor_bytes(e, (int)t->rank, t->dims, &bytes) && bytes == t->bytes;
}

static MlrtStatus check_golden(const Golden *g, size_t bytes, const Manifest *m, MlrtError *err)
{
	const MlrtGolden *h = &g->head;
	const uint64_t each = (uint64_t)m->ninputs + m->noutputs;

	if (h->magic != MLRT_GOLDEN_MAGIC || h->bytes != bytes || h->ninputs != m->ninputs || h->noutputs != m->noutputs ||
	    h->nvectors == 0 || each == 0 || !(h->nmse >= 0) ||
	    h->nvectors > (bytes - sizeof *h) / sizeof *g->tensor / each)
		return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: golden vectors of %zu bytes, %u of %u inputs and %u outputs", bytes,
				 (unsigned)h->nvectors, (unsigned)h->ninputs, (unsigned)h->noutputs);
	for (uint64_t i = 0; i < h->nvectors * each; i++) {
		const uint64_t k = i % each;

		if (!tensor_fits(g, &g->tensor[i], k < m->ninputs ? &m->input[k] : &m->output[k - m->ninputs]))
			return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: tensor %llu of the golden vectors does not fit",
					 (unsigned long long)i);
	}
	return MLRT_OK;
}

static MlrtStatus find_golden(const MlrtModel *m, Golden *g, MlrtError *err)
{
	const MlrtBlob *b;

	*g = (Golden){0};
	if (m->variant->golden == UINT64_MAX)
		return mlrt_fail(err, MLRT_ERR_NO_GOLDEN, "the package has no golden vectors (compile --golden)");
	b = &m->container.blob[m->variant->golden];
	if (b->bytes < sizeof g->head)
		return mlrt_fail(err, MLRT_ERR_FORMAT, "damaged: golden vectors of %llu bytes", (unsigned long long)b->bytes);
	g->data = m->container.file + b->offset;
	if ((uintptr_t)g->data % MLRT_ALIGN) {
		if (posix_memalign(&g->copy, MLRT_ALIGN, b->bytes) != 0)
			return mlrt_fail(err, MLRT_ERR_NOMEM, "no memory for %llu bytes of golden vectors",
					 (unsigned long long)b->bytes);
		g->data = memcpy(g->copy, g->data, b->bytes);
	}
	memcpy(&g->head, g->data, sizeof g->head);
	g->tensor = (const MlrtGoldenTensor *)(const void *)(g->data + sizeof g->head);
	return check_golden(g, b->bytes, &m->manifest, err);
}

/* -- distances ------------------------------------------------------------------------------------------- */

static double of_bits(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof f);
	return f;
}

/* A float32 with the exponent of a half: smaller by what their biases differ. */
static double of_half(uint16_t h)
{
	const double v = (h & 0x7c00) == 0x7c00 ? (h & 0x3ff ? NAN : INFINITY) : of_bits((h & 0x7fffu) << 13) * 0x1p112;

	return h >> 15 ? -v : v;
}

/* One case of number_at(): an element of type T. */
#define NUMBER(T, expr)                                                                                       \
	{                                                                                                    \
		T v;                                                                                         \
		memcpy(&v, (const T *)p + i, sizeof v);                                                      \
		*out = (double)(expr);                                                                       \
		return true;                                                                                 \
	}

/* Element i as a number; false: the type is compared bit by bit. */
static bool number_at(uint32_t code, const void *p, uint64_t i, double *out)
{
	switch (code) {
	case 1: NUMBER(float, v)
	case 2: NUMBER(uint8_t, v)
	case 3: NUMBER(int8_t, v)
	case 4: NUMBER(uint16_t, v)
	case 5: NUMBER(int16_t, v)
	case ELEM_I32: NUMBER(int32_t, v)
	case ELEM_I64: NUMBER(int64_t, v)
	case ELEM_BOOL: NUMBER(uint8_t, v != 0)
	case 10: NUMBER(uint16_t, of_half(v))
	case 11: NUMBER(double, v)
	case 12: NUMBER(uint32_t, v)
	case 13: NUMBER(uint64_t, v)
	case 16: NUMBER(uint16_t, of_bits((uint32_t)v << 16))
	default: return false;
	}
}
#undef NUMBER

static void measure(const MlrtGoldenTensor *want, const unsigned char *wanted, const MlrtTensor *got, MlrtReplay *r)
{
	const Elem *e = mlrt_elem_code(want->elem);
	const uint64_t n = want->bytes * 8 / e->bits;
	double signal = 0, noise = 0, a, b;

	r->max_error = 0;
	for (uint64_t i = 0; i < n; i++) {
		if (!number_at(e->code, wanted, i, &a) || !number_at(e->code, got->data, i, &b)) {
			r->max_error = memcmp(wanted, got->data, want->bytes) ? INFINITY : 0;
			break;
		}
		if (a == b || (isnan(a) && isnan(b))) {
			signal += isfinite(a) ? a * a : 0;
			continue;
		}
		signal += isfinite(a) ? a * a : 0;
		noise += isfinite(a) && isfinite(b) ? (a - b) * (a - b) : INFINITY;
		r->max_error = !isfinite(a) || !isfinite(b) ? INFINITY : fabs(a - b) > r->max_error ? fabs(a - b) : r->max_error;
	}
	noise = isinf(r->max_error) ? INFINITY : noise;
	r->nmse = noise > 0 ? noise / (signal > 0 ? signal : (double)n) : 0;
}

static bool same_shape(const MlrtGoldenTensor *want, const MlrtTensor *got)
{
	return !got->object && got->bytes >= want->bytes && got->rank == (int)want->rank &&
	       (want->rank == 0 || memcmp(got->dims, want->dims, want->rank * sizeof *want->dims) == 0);
}

/* -- running ----------------------------------------------------------------------------------------------- */

static void fill_inputs(const Golden *g, const MlrtGoldenTensor *t, MlrtTensor *in)
{
	for (uint32_t i = 0; i < g->head.ninputs; i++) {
		in[i] = (MlrtTensor){.data = (void *)(uintptr_t)(g->data + t[i].offset), .bytes = t[i].bytes, .rank = (int)t[i].rank};
		memcpy(in[i].dims, t[i].dims, t[i].rank * sizeof *t[i].dims);
	}
}

typedef struct Replayed {
	const Golden *golden;
	MlrtTensor *in, *out;
	MlrtReplayFn *each;
	void *user;
	MlrtReplay *sum;
} Replayed;

static MlrtStatus replay_vector(const Replayed *r, MlrtSession *s, size_t v, MlrtError *err)
{
	const MlrtGolden *h = &r->golden->head;
	const MlrtGoldenTensor *t = r->golden->tensor + v * ((size_t)h->ninputs + h->noutputs), *want = t + h->ninputs;
	MlrtStatus st;

	mlrt_session_reset(s);
	fill_inputs(r->golden, t, r->in);
	memset(r->out, 0, h->noutputs * sizeof *r->out);
	st = mlrt_session_run_tensors(s, r->in, r->out, err);
	for (uint32_t o = 0; !st && o < h->noutputs; o++) {
		MlrtReplay one = {.vector = v, .output = o, .nmse = INFINITY, .max_error = INFINITY, .nmse_allowed = h->nmse,
				  .vectors = 1};

		if (same_shape(&want[o], &r->out[o]))
			measure(&want[o], r->golden->data + want[o].offset, &r->out[o], &one);
		one.failed = !(one.nmse <= h->nmse);
		if (r->each)
			r->each(r->user, &one);
		if ((v == 0 && o == 0) || one.nmse > r->sum->nmse) {
			one.failed += r->sum->failed;
			*r->sum = one;
		} else {
			r->sum->failed += one.failed;
		}
	}
	return st;
}

static MlrtStatus replay(MlrtModel *m, const MlrtSessionOptions *opt, Replayed *r, MlrtError *err)
{
	const MlrtGolden *h = &r->golden->head;
	MlrtSession *s = NULL;
	MlrtStatus st;

	r->in = calloc((size_t)h->ninputs + h->noutputs + 1, sizeof *r->in);
	if (!r->in)
		return mlrt_no_memory(err);
	r->out = r->in + h->ninputs;
	st = mlrt_session_new(m, opt, &s, err);
	for (uint32_t v = 0; !st && v < h->nvectors; v++)
		st = replay_vector(r, s, v, err);
	mlrt_session_free(s);
	free(r->in);
	r->sum->vectors = h->nvectors;
	if (!st && r->sum->failed)
		return mlrt_fail(err, MLRT_ERR_REPLAY,
				 "%zu of %zu outputs differ from the golden ones: NMSE up to %.3g, %.3g is allowed, by output %zu of vector %zu",
				 r->sum->failed, (size_t)h->nvectors * h->noutputs, r->sum->nmse, h->nmse, r->sum->output,
				 r->sum->vector);
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_replay(MlrtModel *m, const MlrtSessionOptions *opt, MlrtReplayFn *each, void *user,
				  MlrtReplay *summary, MlrtError *err)
{
	MlrtReplay unwanted;
	Golden g;
	Replayed r = {.golden = &g, .each = each, .user = user, .sum = summary ? summary : &unwanted};
	MlrtStatus st;

	if (err)
		*err = (MlrtError){0};
	*r.sum = (MlrtReplay){0};
	st = find_golden(m, &g, err);
	if (!st)
		st = replay(m, opt, &r, err);
	free(g.copy);
	return st;
}
