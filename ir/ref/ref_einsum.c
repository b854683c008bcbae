/* ir/ref/ref_einsum.c -- sums of products over labelled dimensions. */
#include "ir/ref/ref_einsum.h"
#include "ir/ref/ref_elem.h"

/* A loop over labels: those of the result, then those summed over. */
typedef struct Loops {
	int n, nin;
	int64_t dim[EINSUM_LABELS], step[EINSUM_LABELS][EINSUM_OPERANDS], at[EINSUM_LABELS];
} Loops;

/* Adds a loop over a label; an operand that carries it twice walks its diagonal. */
static void add_loop(Loops *l, const RefCall *c, const Einsum *e, int label)
{
	int64_t size = 1;
	for (int i = 0; i < e->nin; i++) {
		int64_t step = 1, sum = 0;
		for (int d = e->in[i].rank; d-- > 0; step *= c->in[i].dim[d])
			if (e->in[i].label[d] == label && c->in[i].dim[d] != 1) {
				sum += step;
				size = c->in[i].dim[d];
			}
		l->step[l->n][i] = sum;
	}
	l->at[l->n] = 0;
	l->dim[l->n++] = size;
}

/* To the next index; false after the last, with the offsets back at the start. */
static bool advance(Loops *l, int64_t *offset)
{
	for (int d = l->n; d-- > 0;) {
		l->at[d]++;
		for (int i = 0; i < l->nin; i++)
			offset[i] += l->step[d][i];
		if (l->at[d] < l->dim[d])
			return true;
		for (int i = 0; i < l->nin; i++)
			offset[i] -= l->step[d][i] * l->dim[d];
		l->at[d] = 0;
	}
	return false;
}

static bool empty(const Loops *l)
{
	for (int d = 0; d < l->n; d++)
		if (l->dim[d] == 0)
			return true;
	return false;
}

static void sum_floats(const RefCall *c, Loops *l, int64_t *offset, int64_t to)
{
	double sum = 0;
	bool more = !empty(l);
	while (more) {
		double p = 1;
		for (int i = 0; i < c->nin; i++)
			p *= ref_get_f64(&c->in[i], offset[i]);
		sum += p;
		more = advance(l, offset);
	}
	ref_put_f64(&c->out[0], to, sum);
}

static void sum_ints(const RefCall *c, Loops *l, int64_t *offset, int64_t to)
{
	uint64_t sum = 0;
	bool more = !empty(l);
	while (more) {
		uint64_t p = 1;
		for (int i = 0; i < c->nin; i++)
			p *= (uint64_t)ref_get_i64(&c->in[i], offset[i]);
		sum += p;
		more = advance(l, offset);
	}
	ref_put_i64(&c->out[0], to, (int64_t)sum);
}

void ref_einsum(const RefCall *c)
{
	Einsum e;
	Loops outer, inner;
	int rank[EINSUM_OPERANDS];
	bool used[EINSUM_LABELS], floats = ref_is_float(c->out[0].elem);
	int64_t offset[EINSUM_OPERANDS], to = 0;
	outer.n = inner.n = 0;
	outer.nin = inner.nin = c->nin;
	for (int i = 0; i < c->nin && i < EINSUM_OPERANDS; i++) {
		rank[i] = c->in[i].rank;
		offset[i] = 0;
	}
	for (int k = 0; k < EINSUM_LABELS; k++)
		used[k] = false;
	if (einsum_parse(&e, c->attr[ATTR_einsum_equation].s, c->nin, rank))
		return;
	for (int k = 0; k < e.out.rank; k++) {
		used[e.out.label[k]] = true;
		add_loop(&outer, c, &e, e.out.label[k]);
	}
	for (int i = 0; i < e.nin; i++)
		for (int d = 0; d < e.in[i].rank; d++) {
			if (!used[e.in[i].label[d]])
				add_loop(&inner, c, &e, e.in[i].label[d]);
			used[e.in[i].label[d]] = true;
		}
	if (empty(&outer))
		return;
	do {
		if (floats)
			sum_floats(c, &inner, offset, to++);
		else
			sum_ints(c, &inner, offset, to++);
	} while (advance(&outer, offset));
}
