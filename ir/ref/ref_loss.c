/* ir/ref/ref_loss.c -- losses, and one step of the optimisers that lower them. */
#include "ir/ref/ref_elem.h"

/* x[N,C,D..] with labels[N,D..]; for each label the loss of its class. */
typedef struct Loss {
	const RefTensor *x, *label, *weight;
	int64_t classes, inner, ignore;
	bool softmax; /* x are scores, not log probabilities */
} Loss;

/* log(sum(exp(x))) over the classes, less the largest score. */
static double log_sum(const Loss *l, int64_t at, double *max)
{
	double sum = 0;
	*max = ref_get_f64(l->x, at);
	for (int64_t k = 1; k < l->classes; k++) {
		double v = ref_get_f64(l->x, at + k * l->inner);
		*max = v > *max ? v : *max;
	}
	for (int64_t k = 0; k < l->classes; k++)
		sum += refm_exp(ref_get_f64(l->x, at + k * l->inner) - *max);
	return refm_log(sum);
}

/* The weighted loss of label i; labels that are ignored, or no class, weigh nothing. */
static double loss_at(const Loss *l, int64_t i, double *weight)
{
	int64_t k = ref_get_i64(l->label, i), at = i / l->inner * l->classes * l->inner + i % l->inner;
	double max, p;
	*weight = 0;
	if (k == l->ignore || k < 0 || k >= l->classes)
		return 0;
	*weight = l->weight ? ref_get_f64(l->weight, k) : 1;
	p = ref_get_f64(l->x, at + k * l->inner);
	if (l->softmax) {
		double sum = log_sum(l, at, &max);
		p = p - max - sum;
	}
	return -p * *weight;
}

static void put_loss(const Loss *l, const RefTensor *y, const char *reduction)
{
	bool each = ref_text_is(reduction, "none");
	double sum = 0, weights = 0, w;
	for (int64_t i = 0, n = ref_count(l->label); i < n; i++) {
		double v = loss_at(l, i, &w);
		if (each)
			ref_put_f64(y, i, v);
		sum += v;
		weights += w;
	}
	if (!each)
		ref_put_f64(y, 0, ref_text_is(reduction, "sum") ? sum : sum / weights);
}

static Loss loss_of(const RefCall *c, int64_t ignore, bool softmax)
{
	const RefTensor *x = &c->in[0];
	return (Loss){x, &c->in[1], ref_in(c, 2), x->dim[1], ref_count_dims(x->dim, 2, x->rank), ignore, softmax};
}

void ref_nll_loss(const RefCall *c)
{
	Loss l = loss_of(c, c->attr[ATTR_nll_loss_ignore_index].i, false);
	put_loss(&l, &c->out[0], c->attr[ATTR_nll_loss_reduction].s);
}

void ref_softmax_cross_entropy(const RefCall *c)
{
	Loss l = loss_of(c, c->attr[ATTR_softmax_cross_entropy_ignore_index].i, true);
	const RefTensor *y = ref_out(c, 0), *log_prob = ref_out(c, 1);
	if (y)
		put_loss(&l, y, c->attr[ATTR_softmax_cross_entropy_reduction].s);
	for (int64_t i = 0; i < l.x->dim[0] * l.inner && log_prob; i++) {
		int64_t at = i / l.inner * l.classes * l.inner + i % l.inner;
		double max, sum = l.classes ? log_sum(&l, at, &max) : 0;
		for (int64_t k = 0; k < l.classes; k++)
			ref_put_f64(log_prob, at + k * l.inner, ref_get_f64(l.x, at + k * l.inner) - max - sum);
	}
}

/* -- optimisers: operands rate, step count, x, gradient, state.. ------------------------------------- */

void ref_adagrad(const RefCall *c)
{
	const RefTensor *x = &c->in[2], *grad = &c->in[3], *state = &c->in[4];
	const RefTensor *y = ref_out(c, 0), *next = ref_out(c, 1);
	double norm = c->attr[ATTR_adagrad_norm_coefficient].f, epsilon = c->attr[ATTR_adagrad_epsilon].f;
	double step = (double)ref_get_i64(&c->in[1], 0);
	double rate = ref_get_f64(&c->in[0], 0) / (1 + step * c->attr[ATTR_adagrad_decay_factor].f);
	for (int64_t i = 0, n = ref_count(x); i < n; i++) {
		double v = ref_get_f64(x, i), g = norm * v + ref_get_f64(grad, i);
		double h = ref_get_f64(state, i) + g * g;
		if (y)
			ref_put_f64(y, i, v - rate * g / (refm_sqrt(h) + epsilon));
		if (next)
			ref_put_f64(next, i, h);
	}
}

void ref_momentum(const RefCall *c)
{
	const RefTensor *x = &c->in[2], *grad = &c->in[3], *state = &c->in[4];
	const RefTensor *y = ref_out(c, 0), *next = ref_out(c, 1);
	const RefAttr *a = c->attr;
	double norm = a[ATTR_momentum_norm_coefficient].f, alpha = a[ATTR_momentum_alpha].f;
	double beta = ref_get_i64(&c->in[1], 0) > 0 ? a[ATTR_momentum_beta].f : 1;
	double rate = ref_get_f64(&c->in[0], 0);
	bool nesterov = ref_text_is(a[ATTR_momentum_mode].s, "nesterov");
	for (int64_t i = 0, n = ref_count(x); i < n; i++) {
		double v = ref_get_f64(x, i), g = norm * v + ref_get_f64(grad, i);
		double m = alpha * ref_get_f64(state, i) + beta * g;
		if (y)
			ref_put_f64(y, i, v - rate * (nesterov ? g + alpha * m : m));
		if (next)
			ref_put_f64(next, i, m);
	}
}

void ref_adam(const RefCall *c)
{
	const RefTensor *x = &c->in[2], *grad = &c->in[3], *mean = &c->in[4], *square = &c->in[5];
	const RefTensor *y = ref_out(c, 0), *next_mean = ref_out(c, 1), *next_square = ref_out(c, 2);
	const RefAttr *a = c->attr;
	double alpha = a[ATTR_adam_alpha].f, beta = a[ATTR_adam_beta].f, norm = a[ATTR_adam_norm_coefficient].f;
	double after = a[ATTR_adam_norm_coefficient_post].f, rate = ref_get_f64(&c->in[0], 0);
	double step = (double)ref_get_i64(&c->in[1], 0);
	if (step > 0)
		rate *= refm_sqrt(1 - refm_pow(beta, step)) / (1 - refm_pow(alpha, step));
	for (int64_t i = 0, n = ref_count(x); i < n; i++) {
		double v = ref_get_f64(x, i), g = norm * v + ref_get_f64(grad, i);
		double m = alpha * ref_get_f64(mean, i) + (1 - alpha) * g;
		double s = beta * ref_get_f64(square, i) + (1 - beta) * g * g;
		v -= rate * m / (refm_sqrt(s) + a[ATTR_adam_epsilon].f);
		if (y)
			ref_put_f64(y, i, (1 - after) * v);
		if (next_mean)
			ref_put_f64(next_mean, i, m);
		if (next_square)
			ref_put_f64(next_square, i, s);
	}
}
