/* ir/ref/ref_window.c -- window functions and mel filters of signal processing. */
#include "ir/ref/ref_elem.h"

/* a - b cos(2 pi i / n) + d cos(4 pi i / n); n is the size, one less when symmetric. */
static void cosines(const RefCall *c, double a, double b, double d, bool periodic)
{
	const RefTensor *y = &c->out[0];
	int64_t size = ref_count(y);
	double n = (double)(periodic ? size : size - 1);
	for (int64_t i = 0; i < size; i++) {
		double t = size == 1 ? 3.141592653589793 : 6.283185307179586 * (double)i / n;
		ref_put_f64(y, i, a - b * refm_cos(t) + d * refm_cos(2.0 * t));
	}
}

void ref_hann_window(const RefCall *c)
{
	cosines(c, 0.5, 0.5, 0, c->attr[ATTR_hann_window_periodic].i != 0);
}

void ref_hamming_window(const RefCall *c)
{
	cosines(c, 25.0 / 46, 21.0 / 46, 0, c->attr[ATTR_hamming_window_periodic].i != 0);
}

void ref_blackman_window(const RefCall *c)
{
	cosines(c, 0.42, 0.5, 0.08, c->attr[ATTR_blackman_window_periodic].i != 0);
}

static double mel_of(double hertz) { return 2595.0 * refm_log(1.0 + hertz / 700.0) / 2.302585092994046; }
static double hertz_of(double mel) { return 700.0 * refm_expm1(mel / 2595.0 * 2.302585092994046); }

/* Edge i of the triangles as a spectrogram bin, kept within [0, bins]. */
static int64_t edge(double low, double step, int64_t i, double length, double rate, int64_t bins)
{
	double at = refm_floor((length + 1.0) * hertz_of((double)i * step + low) / rate);
	return at >= (double)bins ? bins : at > 0 ? (int64_t)at : 0;
}

/* Operands: number of mel bins, DFT length, sample rate, lower and upper edge in hertz. */
void ref_mel_weight_matrix(const RefCall *c)
{
	const RefTensor *y = &c->out[0];
	int64_t bins = y->dim[0], mels = y->dim[1];
	double length = ref_get_f64(&c->in[1], 0), rate = ref_get_f64(&c->in[2], 0);
	double low = mel_of(ref_get_f64(&c->in[3], 0)), high = mel_of(ref_get_f64(&c->in[4], 0));
	double step = (high - low) / (double)(mels + 2);
	for (int64_t m = 0; m < mels; m++) {
		int64_t a = edge(low, step, m, length, rate, bins), b = edge(low, step, m + 1, length, rate, bins);
		int64_t e = edge(low, step, m + 2, length, rate, bins);
		for (int64_t j = 0; j < bins; j++) {
			double v = 0;
			if (j >= b && j < e)
				v = (double)(e - j) / (double)(e - b);
			else if (j == b && a == b)
				v = 1;
			else if (j >= a && j <= b && a < b)
				v = (double)(j - a) / (double)(b - a);
			ref_put_f64(y, j * mels + m, v);
		}
	}
}
