/* ir/ref/ref_rnn.c -- the recurrent operators: RNN, GRU, LSTM, in both directions.
 *
 * Nothing is allocated: the hidden state of the step before is read from the result y, the cell
 * state lives in y_c, and a GRU that needs r * h for all units at once keeps it where the new
 * state will stand.  The operands may hold the input products already (no w): then x is
 * [steps, batch, directions * gates * hidden] with the input bias added.
 *
 * Products of integers (lstm_integer): x, and before each step the state, are quantised by their own range;
 * sums are exact and become float32 by the product of both scales. */
#include "ir/ref/ref_dynamic.h"

typedef enum Act {
	A_relu, A_tanh, A_sigmoid, A_affine, A_leakyrelu, A_thresholdedrelu, A_scaledtanh, A_hardsigmoid,
	A_elu, A_softsign, A_softplus
} Act;

typedef struct Func { Act act; double alpha, beta; } Func;

enum { MAX_FUNCS = 6 };

typedef struct Rnn {
	const RefTensor *x, *w, *r, *b, *lens, *h0, *c0, *p, *y, *yh, *yc;
	const RefTensor *w_scale, *w_zero, *r_scale, *r_zero; /* of weights in integers */
	RefDynamic x_range;
	int64_t steps, batch, inputs, hidden;
	int dirs, gates;
	bool reverse;
	double clip;
	Func func[MAX_FUNCS];
} Rnn;

/* Where a row of `hidden` numbers stands; t == NULL: zeros. */
typedef struct Row { const RefTensor *t; int64_t at; } Row;

/* The part of the work that one direction, batch entry and step is. */
typedef struct Cell {
	const Rnn *r;
	int dir;
	int64_t b;
	int64_t x;     /* its row of x, or of the products */
	int64_t y;     /* its row of y */
	Row h;         /* the state before */
	RefDynamic h_range; /* where weights are integers */
	const Func *f; /* of this direction */
} Cell;

/* -- numbers ---------------------------------------------------------------------------------- */

REF_INLINE double get(const RefTensor *t, int64_t i)
{
	return t->elem == EL_f32 ? ((const float *)t->data)[i] : ref_get_f64(t, i);
}

static double dot(const RefTensor *a, int64_t i, const RefTensor *b, int64_t j, int64_t n)
{
	double s = 0;
	if (a->elem == EL_f32 && b->elem == EL_f32) {
		const float *p = (const float *)a->data + i, *q = (const float *)b->data + j;
		for (int64_t k = 0; k < n; k++)
			s += (double)p[k] * q[k];
		return s;
	}
	for (int64_t k = 0; k < n; k++)
		s += ref_get_f64(a, i + k) * ref_get_f64(b, j + k);
	return s;
}

REF_INLINE double row_get(Row h, int64_t j) { return h.t ? get(h.t, h.at + j) : 0; }

static double apply(const Func *f, double x)
{
	switch (f->act) {
	case A_relu: return x > 0 || x != x ? x : 0;
	case A_tanh: return refm_tanh(x);
	case A_sigmoid: return refm_sigmoid(x);
	case A_affine: return f->alpha * x + f->beta;
	case A_leakyrelu: return x < 0 ? f->alpha * x : x;
	case A_thresholdedrelu: return x > f->alpha ? x : 0;
	case A_scaledtanh: return f->alpha * refm_tanh(f->beta * x);
	case A_hardsigmoid: x = f->alpha * x + f->beta; return x < 0 ? 0 : x > 1 ? 1 : x;
	case A_elu: return x < 0 ? f->alpha * refm_expm1(x) : x;
	case A_softsign: return x / (1 + refm_abs(x));
	case A_softplus: return x > 30 ? x + refm_exp(-x) : refm_log1p(refm_exp(x));
	}
	return x;
}

/* An activation of a gate, its operand clipped when that is asked for. */
static double act(const Rnn *r, const Func *f, double x)
{
	if (r->clip > 0 && x > r->clip)
		x = r->clip;
	if (r->clip > 0 && x < -r->clip)
		x = -r->clip;
	return apply(f, x);
}

/* Scale or zero point of a row of weights: there is one for it, or for all of a direction. */
static double of_row(const Rnn *r, const RefTensor *t, int64_t row)
{
	return t ? ref_get_f64(t, t->rank == 2 ? row : row / (r->gates * r->hidden)) : 0;
}

/* n terms of x[i..] @ w of bytes, w[directions, n, gates * hidden], at the column that gate_row() gives; in float32. */
static float dot_bytes(const Rnn *r, const RefTensor *x, int64_t i, const RefDynamic *range, const RefTensor *w,
                       const RefTensor *scale, const RefTensor *zero, int64_t row, int64_t n)
{
	const float *v = (const float *)x->data + i;
	int64_t sum = 0, off = (int64_t)of_row(r, zero, row), columns = r->gates * r->hidden;
	int64_t at = row / columns * columns * n + row % columns;

	for (int64_t k = 0; k < n; k++)
		sum += (int64_t)(ref_dynamic_byte(range, v[k]) - range->zero) * (ref_get_i64(w, at + k * columns) - off);
	return (float)(int32_t)sum * (range->scale * (float)of_row(r, scale, row));
}

/* -- gates ------------------------------------------------------------------------------------ */

static int64_t gate_row(const Cell *c, int gate, int64_t j)
{
	return ((int64_t)c->dir * c->r->gates + gate) * c->r->hidden + j;
}

/* The gate's share of the input: x @ w' + bias. */
static double input_part(const Cell *c, int gate, int64_t j)
{
	const Rnn *r = c->r;
	int64_t row = gate_row(c, gate, j);
	if (!r->w)
		return get(r->x, c->x + row);
	double v = r->w_scale ? dot_bytes(r, r->x, c->x, &r->x_range, r->w, r->w_scale, r->w_zero, row, r->inputs)
	                      : dot(r->x, c->x, r->w, row * r->inputs, r->inputs);
	return r->b ? v + get(r->b, row + (int64_t)c->dir * r->gates * r->hidden) : v;
}

/* Its share of the state h: h @ r' + bias. */
static double state_part(const Cell *c, int gate, int64_t j, Row h)
{
	const Rnn *r = c->r;
	int64_t row = gate_row(c, gate, j), half = (int64_t)(c->dir + 1) * r->gates * r->hidden;
	double v = 0;
	if (h.t)
		v = r->r_scale ? dot_bytes(r, h.t, h.at, &c->h_range, r->r, r->r_scale, r->r_zero, row, r->hidden)
		               : dot(r->r, row * r->hidden, h.t, h.at, r->hidden);
	return r->b ? v + get(r->b, row + half) : v;
}

static double sum_part(const Cell *c, int gate, int64_t j)
{
	return input_part(c, gate, j) + state_part(c, gate, j, c->h);
}

static double peephole(const Cell *c, int which, int64_t j, double cell)
{
	const Rnn *r = c->r;
	return r->p ? get(r->p, ((int64_t)c->dir * 3 + which) * r->hidden + j) * cell : 0;
}

static void rnn_cell(const Cell *c)
{
	for (int64_t j = 0; j < c->r->hidden; j++)
		ref_put_f64(c->r->y, c->y + j, act(c->r, &c->f[0], sum_part(c, 0, j)));
}

enum { GRU_Z, GRU_R, GRU_H };

static void gru_cell_reset_after(const Cell *c)
{
	const Rnn *r = c->r;
	for (int64_t j = 0; j < r->hidden; j++) {
		double z = act(r, &c->f[0], sum_part(c, GRU_Z, j)), reset = act(r, &c->f[0], sum_part(c, GRU_R, j));
		double h = act(r, &c->f[1], input_part(c, GRU_H, j) + reset * state_part(c, GRU_H, j, c->h));
		ref_put_f64(r->y, c->y + j, (1 - z) * h + z * row_get(c->h, j));
	}
}

/* The state is reset before the product: r * h stands in y until y_h holds the new state. */
static void gru_cell_reset_before(const Cell *c)
{
	const Rnn *r = c->r;
	int64_t out = ((int64_t)c->dir * r->batch + c->b) * r->hidden;
	Row kept = {r->y, c->y};
	for (int64_t j = 0; j < r->hidden; j++)
		ref_put_f64(r->y, c->y + j, act(r, &c->f[0], sum_part(c, GRU_R, j)) * row_get(c->h, j));
	for (int64_t j = 0; j < r->hidden; j++) {
		double z = act(r, &c->f[0], sum_part(c, GRU_Z, j));
		double h = act(r, &c->f[1], input_part(c, GRU_H, j) + state_part(c, GRU_H, j, kept));
		ref_put_f64(r->yh, out + j, (1 - z) * h + z * row_get(c->h, j));
	}
	ref_copy(r->y->data, c->y, r->yh->data, out, r->hidden, ref_elem_bits(r->y->elem));
}

enum { LSTM_I, LSTM_O, LSTM_F, LSTM_C };

static void lstm_cell(const Cell *c, bool input_forget)
{
	const Rnn *r = c->r;
	int64_t at = ((int64_t)c->dir * r->batch + c->b) * r->hidden;
	for (int64_t j = 0; j < r->hidden; j++) {
		double old = get(r->yc, at + j);
		double i = act(r, &c->f[0], sum_part(c, LSTM_I, j) + peephole(c, 0, j, old));
		double f = input_forget ? 1 - i
		                        : act(r, &c->f[0], sum_part(c, LSTM_F, j) + peephole(c, 2, j, old));
		double cell = f * old + i * act(r, &c->f[1], sum_part(c, LSTM_C, j));
		double o = act(r, &c->f[0], sum_part(c, LSTM_O, j) + peephole(c, 1, j, cell));
		ref_put_f64(r->yc, at + j, cell);
		ref_put_f64(r->y, c->y + j, o * act(r, &c->f[2], cell));
	}
}

/* -- steps ------------------------------------------------------------------------------------ */

typedef enum Kind { K_RNN, K_GRU_AFTER, K_GRU_BEFORE, K_LSTM, K_LSTM_COUPLED } Kind;

/* The range of the state before a step. */
static void quantise_state(Cell *c)
{
	c->h_range = (RefDynamic){0};
	if (c->h.t)
		ref_dynamic_see(&c->h_range, (const float *)c->h.t->data + c->h.at, c->r->hidden);
	ref_dynamic_close(&c->h_range);
}

/* The range of the input: of those steps that some sequence takes. */
static void quantise_input(Rnn *r)
{
	int64_t steps = r->lens ? 0 : r->steps;

	for (int64_t b = 0; r->lens && b < r->batch; b++) {
		int64_t n = ref_get_i64(r->lens, b);
		steps = n > steps ? n : steps;
	}
	steps = steps < r->steps ? steps : r->steps;
	r->x_range = (RefDynamic){0};
	ref_dynamic_see(&r->x_range, r->x->data, steps * r->batch * r->inputs);
	ref_dynamic_close(&r->x_range);
}

static void step(const Cell *c, Kind kind)
{
	switch (kind) {
	case K_RNN: rnn_cell(c); return;
	case K_GRU_AFTER: gru_cell_reset_after(c); return;
	case K_GRU_BEFORE: gru_cell_reset_before(c); return;
	case K_LSTM: lstm_cell(c, false); return;
	case K_LSTM_COUPLED: lstm_cell(c, true); return;
	}
}

/* to[0..hidden) = from, or zeros. */
static void put_row(const Rnn *r, const RefTensor *to, int64_t at, Row from)
{
	for (int64_t j = 0; j < r->hidden; j++)
		ref_put_f64(to, at + j, row_get(from, j));
}

static void sequence(const Rnn *r, int dir, int64_t b, Kind kind)
{
	int64_t state = (dir * r->batch + b) * r->hidden, n = r->steps, x_row = ref_count_dims(r->x->dim, 2, 3);
	bool back = r->reverse || dir == 1;
	Cell c = {.r = r, .dir = dir, .b = b, .h = {r->h0, state}, .f = r->func + dir * (MAX_FUNCS / 2)};
	if (r->lens) {
		int64_t len = ref_get_i64(r->lens, b);
		n = len < 0 ? 0 : len < n ? len : n;
	}
	if (r->yc)
		put_row(r, r->yc, state, (Row){r->c0, state});
	for (int64_t k = 0; k < n; k++) {
		int64_t t = back ? n - 1 - k : k;
		c.x = (t * r->batch + b) * x_row;
		c.y = ((t * r->dirs + dir) * r->batch + b) * r->hidden;
		if (r->r_scale)
			quantise_state(&c);
		step(&c, kind);
		c.h = (Row){r->y, c.y};
	}
	put_row(r, r->yh, state, c.h);
	for (int64_t t = n; t < r->steps; t++)
		put_row(r, r->y, ((t * r->dirs + dir) * r->batch + b) * r->hidden, (Row){0});
}

/* -- attributes ------------------------------------------------------------------------------- */

static const char act_names[][16] = {"Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu",
	"ScaledTanh", "HardSigmoid", "Elu", "Softsign", "Softplus"};

/* Reads one name of the list "Sigmoid,Tanh" and steps over it. */
static Act next_act(const char **s)
{
	const char *p = *s, *end = p;
	Act found = A_tanh;
	while (*end && *end != ',')
		end++;
	for (int i = 0; i < (int)(sizeof act_names / sizeof *act_names); i++) {
		const char *q = p, *name = act_names[i];
		while (q < end && *name == *q) {
			name++;
			q++;
		}
		if (q == end && !*name)
			found = (Act)i;
	}
	*s = *end ? end + 1 : end;
	return found;
}

static const Func defaults[] = {{A_relu, 0, 0}, {A_tanh, 0, 0}, {A_sigmoid, 0, 0}, {A_affine, 1, 0},
	{A_leakyrelu, 0.01, 0}, {A_thresholdedrelu, 1, 0}, {A_scaledtanh, 1, 1}, {A_hardsigmoid, 0.2, 0.5},
	{A_elu, 1, 0}, {A_softsign, 0, 0}, {A_softplus, 0, 0}};

/* `per` functions for each direction; alpha and beta have one number for each, or are absent. */
static void read_funcs(Rnn *r, const RefAttr *names, const RefAttr *alpha, const RefAttr *beta, int per,
                       const char *usual)
{
	const char *s = names->s && *names->s ? names->s : NULL, *u = usual;
	for (int i = 0; i < r->dirs * per; i++) {
		Func *f = &r->func[i / per * (MAX_FUNCS / 2) + i % per];
		if (i % per == 0)
			u = usual;
		*f = defaults[s ? next_act(&s) : next_act(&u)];
		if (i < alpha->n)
			f->alpha = alpha->floats[i];
		if (i < beta->n)
			f->beta = beta->floats[i];
	}
}

static Rnn open(const RefCall *c, int gates, const RefAttr *clip, const RefAttr *direction)
{
	Rnn r;
	r.x = &c->in[0];
	r.w = ref_in(c, 1);
	r.r = &c->in[2];
	r.b = ref_in(c, 3);
	r.lens = ref_in(c, 4);
	r.h0 = ref_in(c, 5);
	r.c0 = ref_in(c, 6);
	r.p = ref_in(c, 7);
	r.w_scale = ref_in(c, 8);
	r.w_zero = ref_in(c, 9);
	r.r_scale = ref_in(c, 10);
	r.r_zero = ref_in(c, 11);
	r.y = &c->out[0];
	r.yh = &c->out[1];
	r.yc = ref_out(c, 2);
	r.gates = gates;
	r.clip = clip->f;
	r.steps = r.x->dim[0];
	r.batch = r.x->dim[1];
	r.inputs = r.x->dim[2];
	r.dirs = (int)r.r->dim[0];
	r.hidden = r.r->dim[r.r_scale ? 1 : 2];
	r.reverse = ref_text_is(direction->s, "reverse");
	return r;
}

static void run(const Rnn *r, Kind kind)
{
	for (int d = 0; d < r->dirs; d++)
		for (int64_t b = 0; b < r->batch; b++)
			sequence(r, d, b, kind);
}

void ref_rnn(const RefCall *c)
{
	const RefAttr *a = c->attr;
	Rnn r = open(c, 1, &a[ATTR_rnn_clip], &a[ATTR_rnn_direction]);
	read_funcs(&r, &a[ATTR_rnn_activations], &a[ATTR_rnn_activation_alpha], &a[ATTR_rnn_activation_beta], 1,
	           "Tanh");
	run(&r, K_RNN);
}

void ref_gru(const RefCall *c)
{
	const RefAttr *a = c->attr;
	Rnn r = open(c, 3, &a[ATTR_gru_clip], &a[ATTR_gru_direction]);
	read_funcs(&r, &a[ATTR_gru_activations], &a[ATTR_gru_activation_alpha], &a[ATTR_gru_activation_beta], 2,
	           "Sigmoid,Tanh");
	run(&r, a[ATTR_gru_linear_before_reset].i ? K_GRU_AFTER : K_GRU_BEFORE);
}

void ref_lstm(const RefCall *c)
{
	const RefAttr *a = c->attr;
	Rnn r = open(c, 4, &a[ATTR_lstm_clip], &a[ATTR_lstm_direction]);
	read_funcs(&r, &a[ATTR_lstm_activations], &a[ATTR_lstm_activation_alpha], &a[ATTR_lstm_activation_beta], 3,
	           "Sigmoid,Tanh,Tanh");
	run(&r, a[ATTR_lstm_input_forget].i ? K_LSTM_COUPLED : K_LSTM);
}

void ref_lstm_integer(const RefCall *c)
{
	const RefAttr *a = c->attr;
	Rnn r = open(c, 4, &a[ATTR_lstm_integer_clip], &a[ATTR_lstm_integer_direction]);
	read_funcs(&r, &a[ATTR_lstm_integer_activations], &a[ATTR_lstm_integer_activation_alpha],
	           &a[ATTR_lstm_integer_activation_beta], 3, "Sigmoid,Tanh,Tanh");
	if (r.w)
		quantise_input(&r);
	run(&r, a[ATTR_lstm_integer_input_forget].i ? K_LSTM_COUPLED : K_LSTM);
}
