/* tools/preprocess.c -- from raw samples to what a model takes. */
#include "tools/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- the recipe ----------------------------------------------------------------------------- */

/* "0.5" or "1/255"; the end is where the number stops. */
static bool read_number(const char *s, const char **end, double *v)
{
	char *e;

	*v = strtod(s, &e);
	if (e == s)
		return false;
	if (*e == '/') {
		const char *below = e + 1;
		double by = strtod(below, &e);

		if (e == below || by == 0)
			return false;
		*v /= by;
	}
	*end = e;
	return isfinite(*v);
}

static MloStatus read_list(const char *key, const char *s, size_t n, double *list, int *count, MloDiag *d)
{
	const char *end = s + n;

	*count = 0;
	while (s < end) { /* a number, then the end or ':' and another number */
		if (*count == PREPROCESS_MAX_CHANNELS)
			return mlo_error(d, MLO_ERR_USAGE, "--preprocess: %s lists more than %d channels",
					 key, PREPROCESS_MAX_CHANNELS);
		if (!read_number(s, &s, &list[*count]) || s > end || (s < end && *s != ':'))
			break;
		++*count;
		if (s++ == end)
			return MLO_OK;
	}
	return mlo_error(d, MLO_ERR_USAGE, "--preprocess: %s expects numbers separated by ':', not '%.*s'",
			 key, (int)n, end - n);
}

static bool is(const char *s, size_t n, const char *word)
{
	return strlen(word) == n && memcmp(s, word, n) == 0;
}

static MloStatus read_layout(MloPreprocess *p, const char *s, size_t n, MloDiag *d)
{
	static const struct {
		const char *text;
		bool from_last, to_first;
	} forms[] = {
		{"nchw", true, true},       {"nhwc-nchw", true, true},  {"nhwc", true, false},
		{"nhwc-nhwc", true, false}, {"nchw-nchw", false, true}, {"nchw-nhwc", false, false},
	};

	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		if (is(s, n, forms[i].text)) {
			p->from_last = forms[i].from_last;
			p->to_first = forms[i].to_first;
			return MLO_OK;
		}
	}
	return mlo_error(d, MLO_ERR_USAGE,
			 "--preprocess: layout is nchw, nhwc, or FROM-TO of these, not '%.*s'", (int)n, s);
}

static MloStatus read_item(MloPreprocess *p, const char *key, size_t nkey, const char *s, size_t n,
			   MloDiag *d)
{
	int count;

	if (is(key, nkey, "scale")) {
		MLO_TRY(read_list("scale", s, n, &p->scale, &count, d));
		if (count > 1)
			return mlo_error(d, MLO_ERR_USAGE, "--preprocess: scale is one number");
		return MLO_OK;
	}
	if (is(key, nkey, "mean"))
		return read_list("mean", s, n, p->mean, &p->nmean, d);
	if (is(key, nkey, "std")) {
		MLO_TRY(read_list("std", s, n, p->std, &p->nstd, d));
		for (int i = 0; i < p->nstd; i++) {
			if (p->std[i] == 0)
				return mlo_error(d, MLO_ERR_USAGE, "--preprocess: std is 0, it divides");
		}
		return MLO_OK;
	}
	if (is(key, nkey, "layout"))
		return read_layout(p, s, n, d);
	if (is(key, nkey, "order") && (is(s, n, "bgr") || is(s, n, "rgb"))) {
		p->reverse = s[0] == 'b';
		return MLO_OK;
	}
	mlo_error(d, MLO_ERR_USAGE, "--preprocess: '%.*s' is not known", (int)(nkey + 1 + n), key);
	mlo_hint(d, "for example --preprocess scale=1/255,mean=0.5:0.5:0.5,std=0.25,layout=nchw,order=bgr");
	return MLO_ERR_USAGE;
}

MloStatus mlo_preprocess_parse(MloPreprocess *p, const char *text, MloDiag *d)
{
	*p = (MloPreprocess){.scale = 1, .std = {1}, .from_last = true};
	while (text && *text) {
		size_t n = strcspn(text, ","), key = strcspn(text, "=");

		if (key >= n)
			return mlo_error(d, MLO_ERR_USAGE, "--preprocess: '%.*s' is not KEY=VALUE", (int)n,
					 text);
		MLO_TRY(read_item(p, text, key, text + key + 1, n - key - 1, d));
		text += n + (text[n] == ',');
	}
	return MLO_OK;
}

/* -- shapes --------------------------------------------------------------------------------- */

static void add_dims(MloStr *s, const int64_t *dim, int n)
{
	for (int i = 0; i < n; i++)
		mlo_str_add(s, "%s%lld", i ? "," : "", (long long)dim[i]);
}

/* Dimensions of a sample without those of size 1. */
static int squeeze(const int64_t *dim, int n, int64_t *out)
{
	int k = 0;

	for (int i = 0; i < n; i++) {
		if (dim[i] != 1)
			out[k++] = dim[i];
	}
	return k;
}

/* Are they the same with the last dimension in front? */
static bool last_to_first(const int64_t *have, int nhave, const int64_t *want, int nwant)
{
	return nhave >= 3 && nhave == nwant && have[nhave - 1] == want[0] &&
	       memcmp(have, want + 1, (size_t)(nhave - 1) * sizeof *have) == 0;
}

static MloStatus mismatch(const char *name, const int64_t *have, int nhave, const int64_t *want, int nwant, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	MloStr h = {.arena = a}, w = {.arena = a};

	if (!a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	add_dims(&h, have, nhave);
	add_dims(&w, want, nwant);
	mlo_error(d, MLO_ERR_MODEL, "'%s': a sample is [%s] after preprocessing, the model takes [%s]", name,
		  mlo_str_text(&h), mlo_str_text(&w));
	if (last_to_first(have, nhave, want, nwant))
		mlo_hint(d, "--preprocess layout=nchw moves channels to the front");
	mlo_arena_free(a);
	return MLO_ERR_MODEL;
}

MloStatus mlo_preprocess_bind(MloPreprocess *p, const char *name, const MloTensor *data, int rank, const int64_t *dim,
			      MloDiag *d)
{
	int64_t have[MLO_MAX_RANK], a[MLO_MAX_RANK], b[MLO_MAX_RANK];
	int n = data->rank - 1, na;

	if (n < 0 || rank < 1)
		return mlo_error(d, MLO_ERR_MODEL,
				 "'%s': data and model input need a first dimension that counts samples", name);
	memcpy(have, data->dim + 1, (size_t)n * sizeof *have);
	/* A picture without a channel dimension has one channel. */
	p->channels = n >= 3 ? p->from_last ? have[n - 1] : have[0] : 1;
	p->pixels = 1;
	for (int i = 0; i < n; i++)
		p->pixels *= have[i];
	p->pixels = p->channels ? p->pixels / p->channels : 0;
	if (n >= 3 && p->from_last && p->to_first) {
		memmove(have + 1, have, (size_t)(n - 1) * sizeof *have);
		have[0] = p->channels;
	} else if (n >= 3 && !p->from_last && !p->to_first) {
		memmove(have, have + 1, (size_t)(n - 1) * sizeof *have);
		have[n - 1] = p->channels;
	}
	na = squeeze(have, n, a);
	if (na != squeeze(dim + 1, rank - 1, b) || memcmp(a, b, (size_t)na * sizeof *a) != 0)
		return mismatch(name, have, n, dim + 1, rank - 1, d);
	if ((p->nmean > 1 && p->nmean != p->channels) || (p->nstd > 1 && p->nstd != p->channels))
		return mlo_error(d, MLO_ERR_MODEL, "--preprocess lists %d channels, '%s' has %lld",
				 p->nmean > 1 ? p->nmean : p->nstd, name, (long long)p->channels);
	return MLO_OK;
}

/* -- samples -------------------------------------------------------------------------------- */

static double one(const MloPreprocess *p, double x, int64_t channel)
{
	double mean = p->mean[p->nmean > 1 ? channel : 0], std = p->std[p->nstd > 1 ? channel : 0];

	return (x * p->scale - mean) / std;
}

void mlo_preprocess_apply(const MloPreprocess *p, const MloTensor *data, int64_t first, int64_t count,
			  MloTensor *in)
{
	int64_t size = p->channels * p->pixels;
	const unsigned char *bytes = data->elem == EL_u8 ? data->data : NULL;
	float *floats = in->elem == EL_f32 ? (float *)in->data : NULL;

	for (int64_t c = 0; c < p->channels; c++) {
		int64_t to = p->reverse ? p->channels - 1 - c : c;
		int64_t from_step = p->from_last ? p->channels : 1, to_step = p->to_first ? 1 : p->channels;
		int64_t from_at = p->from_last ? c : c * p->pixels, to_at = p->to_first ? to * p->pixels : to;
		double table[256];

		/* mean and std follow the order that the model sees. */
		for (int i = 0; bytes && i < 256; i++)
			table[i] = one(p, i, to);
		for (int64_t s = 0; s < count; s++) {
			int64_t src = (first + s) * size + from_at, dst = s * size + to_at;

			for (int64_t i = 0; i < p->pixels; i++, src += from_step, dst += to_step) {
				double v = bytes ? table[bytes[src]] : one(p, mlo_tensor_f64(data, src), to);

				if (floats)
					floats[dst] = (float)v;
				else
					mlo_tensor_set_f64(in, dst, v);
			}
		}
	}
}
