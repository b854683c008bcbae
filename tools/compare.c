/* tools/compare.c -- two models over a data set: how far their outputs are apart. */
#include "tools/compare.h"

#include <math.h>
#include <string.h>

#include "tools/calib.h"
#include "tools/cli.h"

typedef struct Compare {
	MloArena *a;
	MloDiag *d;
	const CompareRequest *r;
	CompareResult *result;
	Model m[2];
	MloTensor **in, **out[2];
	int64_t batch;
} Compare;

/* -- do they fit? --------------------------------------------------------------------------------- */

static bool same_input(const ModelTensor *a, const ModelTensor *b)
{
	return a->elem == b->elem && a->rank == b->rank && !a->kind && !b->kind && !strcmp(a->name, b->name) &&
	       !memcmp(a->pick, b->pick, sizeof *a->pick * (size_t)a->rank);
}

static MloStatus check_inputs(Compare *c)
{
	const Model *a = &c->m[0], *b = &c->m[1];

	if (a->nin != b->nin)
		return mlo_error(c->d, MLO_ERR_MODEL, "%s has %zu inputs, %s %zu", a->path, a->nin, b->path, b->nin);
	for (size_t i = 0; i < a->nin; i++) {
		if (a->in[i].kind)
			return mlo_error(c->d, MLO_ERR_UNSUPPORTED, "input '%s' of %s is no tensor: there are no samples of such",
					 a->in[i].name, a->path);
		if (!same_input(&a->in[i], &b->in[i]))
			return mlo_error(c->d, MLO_ERR_MODEL, "input %zu is '%s', %s, in %s, and '%s', %s, in %s", i, a->in[i].name,
					 model_type_text(c->a, &a->in[i]), a->path, b->in[i].name, model_type_text(c->a, &b->in[i]),
					 b->path);
	}
	return MLO_OK;
}

static bool comparable(const ModelTensor *t)
{
	return !t->kind && t->elem != EL_str && mlo_elem_class(t->elem) != EC_COMPLEX;
}

static MloStatus check_outputs(Compare *c)
{
	const Model *a = &c->m[0], *b = &c->m[1];

	if (a->nout != b->nout)
		return mlo_error(c->d, MLO_ERR_MODEL, "%s has %zu outputs, %s %zu", a->path, a->nout, b->path, b->nout);
	for (size_t i = 0; i < a->nout; i++) {
		if (!comparable(&a->out[i]) || !comparable(&b->out[i]))
			return mlo_error(c->d, MLO_ERR_UNSUPPORTED, "output '%s' is %s in %s: only tensors of numbers are compared",
					 a->out[i].name, model_type_text(c->a, &a->out[i]), a->path);
		c->result->out[i].name = mlo_strdup(c->a, a->out[i].name);
		c->result->out[i].type = model_type_text(c->a, &a->out[i]);
	}
	return MLO_OK;
}

static bool same_shape(const MloTensor *a, const MloTensor *b)
{
	return a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof *a->dim * (size_t)a->rank);
}

/* Open sizes are known after a run. */
static MloStatus check_shapes(Compare *c)
{
	for (size_t i = 0; i < c->m[0].nout; i++) {
		const MloTensor *t[2] = {c->out[0][i], c->out[1][i]};
		ModelTensor shape[2] = {{.elem = t[0]->elem, .rank = t[0]->rank}, {.elem = t[1]->elem, .rank = t[1]->rank}};

		if (same_shape(t[0], t[1]))
			continue;
		for (int k = 0; k < 2; k++)
			memcpy(shape[k].dim, t[k]->dim, sizeof t[k]->dim);
		return mlo_error(c->d, MLO_ERR_MODEL, "output '%s' is %s in %s, %s in %s (sample %lld)", c->m[0].out[i].name,
				 model_type_text(c->a, &shape[0]), c->m[0].path, model_type_text(c->a, &shape[1]), c->m[1].path,
				 (long long)c->result->samples);
	}
	return MLO_OK;
}

/* -- sums ----------------------------------------------------------------------------------------- */

typedef struct Products {
	double aa, ab, bb;
} Products;

static void add_elem(CompareOutput *o, Products *p, double a, double b, int64_t elem)
{
	const double diff = fabs(a - b);

	if (a == b || (isnan(a) && isnan(b)))
		o->equal++;
	else if (!isfinite(a) || !isfinite(b))
		o->odd++;
	if (!isfinite(a) || !isfinite(b))
		return;
	p->aa += a * a;
	p->ab += a * b;
	p->bb += b * b;
	o->noise += diff * diff;
	if (diff > o->max_abs) {
		o->max_abs = diff;
		o->max_sample = o->samples;
		o->max_elem = elem;
	}
}

static void add_sample(CompareOutput *o, const MloTensor *a, const MloTensor *b, int64_t first, int64_t n)
{
	Products p = {0};
	double cosine;

	for (int64_t i = 0; i < n; i++)
		add_elem(o, &p, mlo_tensor_f64(a, first + i), mlo_tensor_f64(b, first + i), i);
	cosine = p.aa > 0 && p.bb > 0 ? fmin(p.ab / (sqrt(p.aa) * sqrt(p.bb)), 1) : p.aa == p.bb;
	if (!o->samples || cosine < o->cosine_least) {
		o->cosine_least = cosine;
		o->cosine_sample = o->samples;
	}
	o->cosine_sum += cosine;
	o->signal += p.aa;
	o->elems += n;
	o->samples++;
}

/* An output whose first dimension is not the batch belongs to all of it. */
static void add_batch(Compare *c, int64_t count)
{
	for (size_t i = 0; i < c->result->nout; i++) {
		const MloTensor *a = c->out[0][i], *b = c->out[1][i];
		const bool rows = a->rank && a->dim[0] == c->batch;
		const int64_t n = mlo_tensor_elems(a) / (rows && c->batch ? c->batch : 1);

		for (int64_t k = 0; k < (rows ? count : 1); k++)
			add_sample(&c->result->out[i], a, b, k * n, n);
	}
}

/* -- runs ----------------------------------------------------------------------------------------- */

static MloStatus run_all(Compare *c, Calib *data)
{
	int64_t count;

	for (;;) {
		MLO_TRY(calib_next(data, c->in, &count, c->d));
		if (!count)
			break;
		for (int k = 0; k < 2; k++)
			MLO_TRY(model_run(&c->m[k], c->in, c->out[k], c->d));
		MLO_TRY(check_shapes(c));
		add_batch(c, count);
		c->result->samples += count;
		cli_progress("compare", (double)c->result->samples, (double)calib_limit(data));
	}
	cli_progress("compare", 1, 1);
	return c->result->samples ? MLO_OK : mlo_error(c->d, MLO_ERR_MODEL, "'%s' holds no samples", c->r->data);
}

static MloStatus run_opened(Compare *c)
{
	const Model *m = &c->m[0];
	Calib *data = NULL;
	MloStatus st;

	c->result->nout = m->nout;
	c->result->out = MLO_NEWN(c->a, CompareOutput, m->nout + 1);
	for (size_t i = 0; i < m->nout; i++)
		c->result->out[i].max_sample = c->result->out[i].max_elem = -1;
	MLO_TRY(check_inputs(c));
	MLO_TRY(check_outputs(c));
	c->batch = m->nin && m->in[0].rank ? m->in[0].pick[0] : 1;
	c->in = MLO_NEWN(c->a, MloTensor *, m->nin + 1);
	for (size_t i = 0; i < m->nin; i++)
		c->in[i] = model_tensor(c->a, &m->in[i]);
	for (int k = 0; k < 2; k++)
		c->out[k] = model_outputs(c->a, &c->m[k]);
	st = calib_open(c->a, m, c->r->data, c->r->recipe, c->r->limit ? c->r->limit : INT64_MAX, &data, c->d);
	if (st == MLO_OK)
		st = run_all(c, data);
	calib_close(data);
	return st;
}

MloStatus compare_models_over(MloArena *a, const CompareRequest *r, CompareResult *out, MloDiag *d)
{
	Compare c = {.a = a, .d = d, .r = r, .result = out};
	ModelOptions opt = r->model;
	MloStatus st = MLO_OK;
	int opened = 0;

	*out = (CompareResult){.request = r};
	for (; opened < 2; opened++) {
		st = model_open(&c.m[opened], r->path[opened], &opt, d);
		if (st != MLO_OK)
			break;
		opt.reference = false;
	}
	if (st == MLO_OK)
		st = run_opened(&c);
	while (opened--)
		model_close(&c.m[opened]);
	return st;
}

/* -- reports -------------------------------------------------------------------------------------- */

double compare_sqnr(const CompareOutput *o)
{
	return o->noise > 0 ? 10 * log10(o->signal / o->noise) : INFINITY;
}

double compare_cosine(const CompareOutput *o)
{
	return o->samples ? o->cosine_sum / (double)o->samples : 1;
}

double compare_equal(const CompareOutput *o)
{
	return o->elems ? (double)o->equal / (double)o->elems : 1;
}

void compare_print(MloArena *a, const CompareResult *r)
{
	size_t name = 6, type = 4;

	for (size_t i = 0; i < r->nout; i++) {
		name = strlen(r->out[i].name) > name ? strlen(r->out[i].name) : name;
		type = strlen(r->out[i].type) > type ? strlen(r->out[i].type) : type;
	}
	printf("%s (reference) and %s, %lld samples\n", r->request->path[0], r->request->path[1], (long long)r->samples);
	printf("%-*s %-*s %10s %10s %8s %10s %9s\n", (int)name, "output", (int)type, "type", "cosine", "least", "SQNR dB",
	       "max error", "equal");
	for (size_t i = 0; i < r->nout; i++) {
		const CompareOutput *o = &r->out[i];
		const double sqnr = compare_sqnr(o);

		printf("%-*s %-*s %10.6f %10.6f %8s %10.3g %8.4f%%", (int)name, o->name, (int)type, o->type, compare_cosine(o),
		       o->cosine_least, isfinite(sqnr) ? mlo_sprintf(a, "%.1f", sqnr) : "-", o->max_abs, 100 * compare_equal(o));
		if (o->max_sample >= 0)
			printf("  largest in sample %lld, element %lld", (long long)o->max_sample, (long long)o->max_elem);
		if (o->odd)
			printf("  NaN or infinite on one side: %lld", (long long)o->odd);
		putchar('\n');
	}
}

static json_t *output_json(const CompareOutput *o)
{
	const double sqnr = compare_sqnr(o);
	json_t *j = json_pack("{s:s,s:s,s:I,s:f,s:f,s:I,s:f,s:f,s:I}", "name", o->name, "type", o->type, "elements",
			      (json_int_t)o->elems, "cosine", compare_cosine(o), "cosine_least", o->cosine_least,
			      "cosine_least_sample", (json_int_t)o->cosine_sample, "max_abs", o->max_abs, "equal", compare_equal(o),
			      "not_finite", (json_int_t)o->odd);

	json_object_set_new(j, "sqnr_db", isfinite(sqnr) ? json_real(sqnr) : json_null());
	if (o->max_sample >= 0) {
		json_object_set_new(j, "max_abs_sample", json_integer(o->max_sample));
		json_object_set_new(j, "max_abs_element", json_integer(o->max_elem));
	}
	return j;
}

json_t *compare_json(const CompareResult *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->nout; i++)
		json_array_append_new(list, output_json(&r->out[i]));
	return json_pack("{s:[s,s],s:s,s:I,s:o}", "models", r->request->path[0], r->request->path[1], "data", r->request->data,
			 "samples", (json_int_t)r->samples, "outputs", list);
}

MloStatus compare_within(const CompareResult *r, MloDiag *d)
{
	const CompareRequest *q = r->request;
	const bool bounded = q->min_cosine > 0 || q->min_sqnr > 0 || q->min_equal > 0;
	size_t before = d->nerrors;

	for (size_t i = 0; bounded && i < r->nout; i++) {
		const CompareOutput *o = &r->out[i];

		if (o->odd)
			mlo_error(d, MLO_ERR_MODEL, "output '%s': %lld elements are NaN or infinite on one side only", o->name,
				  (long long)o->odd);
		if (q->min_cosine > 0 && o->cosine_least < q->min_cosine)
			mlo_error(d, MLO_ERR_MODEL, "output '%s': cosine %.6f of sample %lld is below %g", o->name,
				  o->cosine_least, (long long)o->cosine_sample, q->min_cosine);
		if (q->min_sqnr > 0 && compare_sqnr(o) < q->min_sqnr)
			mlo_error(d, MLO_ERR_MODEL, "output '%s': SQNR %.1f dB is below %g dB", o->name, compare_sqnr(o), q->min_sqnr);
		if (q->min_equal > 0 && compare_equal(o) < q->min_equal)
			mlo_error(d, MLO_ERR_MODEL, "output '%s': %.4f%% of its elements are equal, less than %g%%", o->name,
				  100 * compare_equal(o), 100 * q->min_equal);
	}
	return d->nerrors > before ? MLO_ERR_MODEL : MLO_OK;
}
