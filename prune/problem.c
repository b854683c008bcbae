/* prune/problem.c -- sums over the samples, and the least-squares problem that they are. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "prune/lapack.h"
#include "prune/prune.h"

/* A variance of less of the mean square is what float32 sums leave of none. */
#define CONSTANT 1e-6

size_t mlo_prune_stats_bytes(int64_t rows, int64_t k)
{
	return sizeof(float) * (size_t)k * (size_t)(k + rows);
}

MloPruneStats mlo_prune_stats(MloArena *a, int64_t rows, int64_t k)
{
	return (MloPruneStats){
		.rows = rows,
		.k = k,
		.h = MLO_NEWN(a, float, (size_t)k * (size_t)k),
		.c = MLO_NEWN(a, float, (size_t)rows * (size_t)k),
		.x = MLO_NEWN(a, double, (size_t)k),
		.y = MLO_NEWN(a, double, (size_t)rows),
	};
}

void mlo_prune_add(MloPruneStats *s, const float *x, const float *y, int64_t n)
{
	int k = (int)s->k, m = (int)s->rows;

	for (int64_t r = 0; r < n; r++) {
		for (int64_t i = 0; i < k; i++)
			s->x[i] += x[r * k + i];
		for (int64_t i = 0; i < m; i++) {
			s->y[i] += y[r * m + i];
			s->square += (double)y[r * m + i] * y[r * m + i];
		}
	}
	cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, k, (int)n, 1, x, k, 1, s->h, k);
	cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, k, (int)n, 1, y, m, x, k, 1, s->c, k);
	s->n += n;
}

/* -- the problem --------------------------------------------------------------------------------------- */

static double *scaled(MloArena *a, const double *v, int64_t n, double by)
{
	double *r = MLO_NEWN(a, double, (size_t)n);

	for (int64_t i = 0; i < n; i++)
		r[i] = v[i] * by;
	return r;
}

/* Means per input instead of sums, and what differs from the mean; C goes to p->best. */
static void centre(MloProblem *p, const MloPruneStats *s)
{
	const double by = 1 / (double)s->n;
	int64_t k = p->k;

	for (int64_t i = 0; i < k; i++)
		for (int64_t j = i; j < k; j++) {
			double v = s->h[i * k + j] * by;

			p->h[i * k + j] = p->h[j * k + i] = p->mean_x ? v - p->mean_x[i] * p->mean_x[j] : v;
		}
	for (int64_t r = 0; r < p->rows; r++)
		for (int64_t i = 0; i < k; i++)
			p->best[r * k + i] = s->c[r * k + i] * by - (p->mean_x ? p->mean_y[r] * p->mean_x[i] : 0);
	p->signal = s->square * by;
	for (int64_t r = 0; r < p->rows && p->mean_y; r++)
		p->signal -= p->mean_y[r] * p->mean_y[r];
}

/* H + d I = L L' in f, with as much as is needed; false: none is enough. */
static bool factorise(MloProblem *p, double mean, double *f)
{
	int64_t k = p->k;

	for (; p->damping <= 1; p->damping *= 10) {
		memcpy(f, p->h, sizeof *f * (size_t)(k * k));
		for (int64_t i = 0; i < k; i++)
			f[i * k + i] += p->damping * mean;
		if (mlo_cholesky(f, k))
			return true;
	}
	return false;
}

static bool all_finite(const MloPruneStats *s)
{
	double sum = s->square;

	for (int64_t i = 0; i < s->k; i++)
		sum += s->x[i] + s->h[i * s->k + i];
	for (int64_t i = 0; i < s->rows; i++)
		sum += s->y[i];
	return isfinite(sum);
}

/* Mean square of the inputs. */
static double size_of(const MloPruneStats *s)
{
	double sum = 0;

	for (int64_t i = 0; i < s->k; i++)
		sum += s->h[i * s->k + i];
	return sum / (double)s->k / (double)s->n;
}

MloProblemFound mlo_problem_new(MloArena *a, const MloPruneStats *s, const double *w, bool bias, double damping,
				MloProblem *p)
{
	int64_t k = s->k, m = s->rows;
	double mean = 0, *f, *c;

	*p = (MloProblem){.rows = m, .k = k, .damping = damping};
	if (!all_finite(s))
		return PROBLEM_WILD;
	if (!s->n)
		return PROBLEM_CONSTANT;
	p->h = MLO_NEWN(a, double, (size_t)(k * k));
	p->best = MLO_NEWN(a, double, (size_t)(m * k));
	p->mean_x = bias ? scaled(a, s->x, k, 1 / (double)s->n) : NULL;
	p->mean_y = bias ? scaled(a, s->y, m, 1 / (double)s->n) : NULL;
	centre(p, s);
	for (int64_t i = 0; i < k; i++)
		mean += p->h[i * k + i] / (double)k;
	f = MLO_NEWN(a, double, (size_t)(k * k));
	if (!(mean > CONSTANT * size_of(s)) || mean < 1e-30 || !factorise(p, mean, f))
		return PROBLEM_CONSTANT;
	c = mlo_dup(a, p->best, sizeof *c * (size_t)(m * k));
	for (int64_t i = 0; i < m * k; i++)
		p->best[i] += p->damping * mean * w[i];
	mlo_cholesky_solve(f, k, p->best, m);
	/* its error, without damping: signal - 2 c'w + w'Hw */
	cblas_dsymm(CblasRowMajor, CblasRight, CblasUpper, (int)m, (int)k, 1, p->h, (int)k, p->best, (int)k, -2, c, (int)k);
	p->floor = fmax(p->signal + cblas_ddot((int)(m * k), c, 1, p->best, 1), 0);
	for (int64_t i = 0; i < k; i++)
		p->h[i * k + i] += p->damping * mean;
	return PROBLEM_GIVEN;
}

double mlo_problem_error(const MloProblem *p, const double *w)
{
	MloArena *a = mlo_arena_new();
	double *d, *hd, sum;

	MLO_ASSERT(a);
	d = MLO_NEWN(a, double, (size_t)(p->rows * p->k));
	hd = MLO_NEWN(a, double, (size_t)(p->rows * p->k));
	for (int64_t i = 0; i < p->rows * p->k; i++)
		d[i] = w[i] - p->best[i];
	cblas_dsymm(CblasRowMajor, CblasRight, CblasUpper, (int)p->rows, (int)p->k, 1, p->h, (int)p->k, d, (int)p->k, 0, hd,
		    (int)p->k);
	sum = p->floor + cblas_ddot((int)(p->rows * p->k), d, 1, hd, 1);
	mlo_arena_free(a);
	return sum;
}

double mlo_problem_size(const MloProblem *p, const double *w)
{
	MloArena *a = mlo_arena_new();
	double *hw, sum;

	MLO_ASSERT(a);
	hw = MLO_NEWN(a, double, (size_t)(p->rows * p->k));
	cblas_dsymm(CblasRowMajor, CblasRight, CblasUpper, (int)p->rows, (int)p->k, 1, p->h, (int)p->k, w, (int)p->k, 0, hw, (int)p->k);
	sum = cblas_ddot((int)(p->rows * p->k), w, 1, hw, 1);
	mlo_arena_free(a);
	return sum;
}

/* -- single rows ----------------------------------------------------------------------------------------- */

double mlo_rows_error(const MloPruneRows *r, int64_t rows, int64_t k, const double *w, const double *bias, bool centred,
		      double *signal)
{
	MloArena *a = mlo_arena_new();
	int64_t n = r->n;
	float *f, *e;
	double sum = 0;

	MLO_ASSERT(a);
	*signal = 0;
	f = MLO_NEWN(a, float, (size_t)(rows * k));
	e = mlo_dup(a, r->y, sizeof *e * (size_t)(n * rows));
	for (int64_t i = 0; i < rows * k; i++)
		f[i] = (float)w[i];
	if (n)
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)rows, (int)k, -1, r->x, (int)k, f, (int)k, 1, e,
			    (int)rows);
	for (int64_t i = 0; i < rows && n; i++) {
		double mean = 0, square = 0, y = 0, yy = 0;

		for (int64_t at = i; at < n * rows; at += rows) {
			double d = e[at] - (bias ? bias[i] : 0);

			mean += d / (double)n;
			square += d * d / (double)n;
			y += r->y[at] / (double)n;
			yy += (double)r->y[at] * r->y[at] / (double)n;
		}
		sum += centred ? square - mean * mean : square;
		*signal += yy - y * y;
	}
	mlo_arena_free(a);
	return sum;
}
