/* ir/infer_rnn.c -- result types of the recurrent operators. */
#include <string.h>

#include "ir/infer.h"

/* What the three operators have in common, read from their rows. */
typedef struct Shape {
	MloDim steps, batch, hidden;
	int dirs, gates, funcs;
} Shape;

static const char *str_attr(const InferCx *c, const char *name)
{
	return mlo_attr_s(c->n, mlo_attr_slot(c->n->op, name, strlen(name)));
}

static MloStatus direction(InferCx *c, int *dirs)
{
	const char *s = str_attr(c, "direction");

	*dirs = strcmp(s, "bidirectional") ? 1 : 2;
	if (*dirs == 1 && strcmp(s, "forward") && strcmp(s, "reverse"))
		return infer_error(c, "direction is '%s', not forward, reverse or bidirectional", s);
	return MLO_OK;
}

/* Names must be known ones, one for each activation of each direction; so must the numbers. */
static MloStatus activations(InferCx *c, int count)
{
	static const char *const known[] = {"Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu",
	                                    "ScaledTanh", "HardSigmoid", "Elu", "Softsign", "Softplus"};
	static const char *const lists[] = {"activation_alpha", "activation_beta"};
	const char *s = str_attr(c, "activations"), *end;
	int n = 0;

	for (; *s; s = *end ? end + 1 : end, n++) {
		bool found = false;

		end = s + strcspn(s, ",");
		for (size_t i = 0; i < sizeof known / sizeof *known; i++)
			found |= strlen(known[i]) == (size_t)(end - s) && !strncmp(known[i], s, (size_t)(end - s));
		if (!found)
			return infer_error(c, "activation '%.*s' is not known", (int)(end - s), s);
	}
	if (n && n != count)
		return infer_error(c, "%d activations are given, %d are needed", n, count);
	for (int i = 0; i < 2; i++) {
		mlo_attr_floats(c->n, mlo_attr_slot(c->n->op, lists[i], strlen(lists[i])), &n);
		if (n && n != count)
			return infer_error(c, "%s has %d numbers, %d are needed", lists[i], n, count);
	}
	return MLO_OK;
}

/* Operand i, where present, must have these dimensions. */
static MloStatus check(InferCx *c, uint32_t i, int rank, const MloDim *dim, const char *what)
{
	const MloType *t = infer_in(c, i);
	MloDim ignored;

	if (!t || t->rank < 0)
		return MLO_OK;
	for (int k = 0; t->rank == rank && k < rank; k++)
		if (!infer_meet(t->dim[k], dim[k], &ignored))
			return infer_error(c, "%s '%s' is %s: dimension %d should be %s", what, infer_name(c, i),
			                   infer_type_text(c, t), k, infer_dim_text(c, dim[k]));
	if (t->rank != rank)
		return infer_error(c, "%s '%s' is %s, rank %d is expected", what, infer_name(c, i),
		                   infer_type_text(c, t), rank);
	return MLO_OK;
}

/* -- products of integers: operands 8 to 11 are scale and zero point of w, and those of r -------------- */

enum { W_SCALE = 8, R_SCALE = 10 };

/* Is operand i weights, or a zero point of weights, in integers? */
static bool in_integers(const InferCx *c, uint32_t i)
{
	return c->n->op == OP_lstm_integer && (i == 1 || i == 2 || i == W_SCALE + 1 || i == R_SCALE + 1);
}

/* A scale or zero point: one for each direction, or for each row of its weights too. */
static MloStatus check_scale(InferCx *c, uint32_t i, MloDim dirs, MloDim rows)
{
	const MloType *t = infer_in(c, i);
	MloDim ignored;

	if (!t || t->rank < 0)
		return MLO_OK;
	if ((t->rank == 1 || t->rank == 2) && infer_meet(t->dim[0], dirs, &ignored) &&
	    (t->rank == 1 || infer_meet(t->dim[1], rows, &ignored)))
		return MLO_OK;
	return infer_error(c, "'%s' is %s: a number for each direction, or for each row of weights too, is expected",
	                   infer_name(c, i), infer_type_text(c, t));
}

/* Those of the weights w (operand 1 or 2). */
static MloStatus check_weights(InferCx *c, uint32_t w, uint32_t scale, MloDim dirs, MloDim rows)
{
	const MloType *t = infer_in(c, w), *s = infer_in(c, scale), *zero = infer_in(c, scale + 1);

	if (!t)
		return MLO_OK;
	if (t->elem != EL_u8 && t->elem != EL_i8)
		return infer_error(c, "weights '%s' are %s, not u8 or i8", infer_name(c, w), mlo_elem_text(t->elem));
	if (!s)
		return infer_error(c, "the scale of weights '%s' is absent", infer_name(c, w));
	if (zero && zero->elem != t->elem)
		return infer_error(c, "zero point '%s' is %s, its weights are %s", infer_name(c, scale + 1),
		                   mlo_elem_text(zero->elem), mlo_elem_text(t->elem));
	MLO_TRY(check_scale(c, scale, dirs, rows));
	return check_scale(c, scale + 1, dirs, rows);
}

static MloStatus check_operands(InferCx *c, const Shape *s, MloDim inputs)
{
	MloDim rows = infer_mul(c, s->hidden, mlo_dim(s->gates)), dirs = mlo_dim(s->dirs);
	MloDim columns = infer_in(c, 1) ? inputs : infer_mul(c, rows, dirs);
	bool turned = c->n->op == OP_lstm_integer; /* weights are */

	for (uint32_t i = 1; i < c->n->nin; i++)
		if (i != 4 && !in_integers(c, i))
			MLO_TRY(infer_same_elem(c, 0, i));
	if (infer_in(c, 4) && infer_in(c, 4)->elem != EL_i32)
		return infer_error(c, "lengths '%s' are %s, not i32", infer_name(c, 4),
		                   mlo_elem_text(infer_in(c, 4)->elem));
	MLO_TRY(check(c, 0, 3, (MloDim[]){s->steps, s->batch, columns}, "input"));
	MLO_TRY(check(c, 1, 3, (MloDim[]){dirs, turned ? inputs : rows, turned ? rows : inputs}, "weight"));
	MLO_TRY(check(c, 2, 3, (MloDim[]){dirs, turned ? s->hidden : rows, turned ? rows : s->hidden}, "recurrent weight"));
	MLO_TRY(check(c, 3, 2, (MloDim[]){dirs, infer_mul(c, rows, mlo_dim(2))}, "bias"));
	MLO_TRY(check(c, 4, 1, (MloDim[]){s->batch}, "lengths"));
	MLO_TRY(check(c, 5, 3, (MloDim[]){dirs, s->batch, s->hidden}, "first state"));
	MLO_TRY(check(c, 6, 3, (MloDim[]){dirs, s->batch, s->hidden}, "first cell state"));
	MLO_TRY(check(c, 7, 2, (MloDim[]){dirs, infer_mul(c, s->hidden, mlo_dim(3))}, "peepholes"));
	if (c->n->op != OP_lstm_integer)
		return MLO_OK;
	MLO_TRY(check_weights(c, 1, W_SCALE, dirs, rows));
	return check_weights(c, 2, R_SCALE, dirs, rows);
}

MloStatus infer_recurrent(InferCx *c)
{
	const MloType *x = infer_in(c, 0), *r = infer_in(c, 2);
	Shape s = {DIM_UNKNOWN, DIM_UNKNOWN, DIM_UNKNOWN, 1, 1, 1};
	MloType y = {.elem = x->elem, .rank = 4}, last = {.elem = x->elem, .rank = 3};

	s.gates = c->n->op == OP_gru ? 3 : c->n->op == OP_rnn ? 1 : 4;
	s.funcs = c->n->op == OP_gru ? 2 : c->n->op == OP_rnn ? 1 : 3;
	if (!r)
		return infer_error(c, "the recurrent weight is absent");
	for (uint32_t i = 0; i < c->n->nout; i++)
		if (!c->n->out[i])
			return infer_error(c, "result %u is absent, each is needed", i);
	if (!mlo_elem_is_float(x->elem))
		return infer_error(c, "'%s' is %s, not of a floating type", infer_name(c, 0),
		                   mlo_elem_text(x->elem));
	if (c->n->op == OP_lstm_integer && x->elem != EL_f32)
		return infer_error(c, "'%s' is %s, f32 is expected", infer_name(c, 0), mlo_elem_text(x->elem));
	MLO_TRY(direction(c, &s.dirs));
	MLO_TRY(activations(c, s.dirs * s.funcs));
	if (x->rank == 3) {
		s.steps = x->dim[0];
		s.batch = x->dim[1];
	}
	if (r->rank == 3)
		s.hidden = r->dim[c->n->op == OP_lstm_integer ? 1 : 2];
	MLO_TRY(check_operands(c, &s, x->rank == 3 ? x->dim[2] : DIM_UNKNOWN));
	y.dim[0] = s.steps;
	y.dim[1] = last.dim[0] = mlo_dim(s.dirs);
	y.dim[2] = last.dim[1] = s.batch;
	y.dim[3] = last.dim[2] = s.hidden;
	MLO_TRY(infer_out(c, 0, &y));
	MLO_TRY(infer_out(c, 1, &last));
	return infer_out(c, 2, &last);
}
