/* frontend/onnx_ops_scan.c -- Scan and SequenceMap, written as loops.
 *
 * What is scanned is captured whole; each iteration picks its slice by a gather of the iteration number. */
#include <string.h>

#include "frontend/onnx_ops.h"

typedef struct ScanCall {
	OnnxNode *n;
	OnnxBody body;
	uint32_t first;   /* operand of the first state */
	uint32_t nstate, nscan;
	MloValue *iter;
	MloValue **state, **whole; /* inside: states as they come in, what is scanned */
	MloValue **in;    /* operands of the loop */
	uint32_t nin;
} ScanCall;

static MloValue *op(OnnxNode *n, MloOp o, MloValue *a, MloValue *b)
{
	return onnx_op2(n, o, a, b);
}

/* The number of slices of x along axis, a scalar. */
static MloValue *length(OnnxNode *n, MloValue *x, int64_t axis)
{
	MloNode *m = onnx_node(n, OP_shape, &x, 1, 1);

	mlo_attr_set_i(m, ATTR_shape_start, axis);
	if (axis != -1)
		mlo_attr_set_i(m, ATTR_shape_end, axis + 1);
	return op(n, OP_reshape, onnx_infer(n, m), onnx_i64s(n, NULL, 0));
}

static MloValue *slice_at(OnnxNode *n, MloValue *x, MloValue *index, int64_t axis)
{
	MloValue *in[] = {x, index};
	MloNode *m = onnx_node(n, OP_gather, in, 2, 1);

	mlo_attr_set_i(m, ATTR_gather_axis, axis);
	return onnx_infer(n, m);
}

/* Entry i of a list attribute; absent: 0. */
static int64_t entry(OnnxNode *n, const char *name, uint32_t i)
{
	int count;
	const int64_t *v = onnx_ints(n, name, &count);

	return v && (int)i < count ? v[i] : 0;
}

/* An input of the body: state or captured value, the operand of the loop noted. */
static MloValue *add_input(ScanCall *c, MloValue *outer, bool changes)
{
	MloType t = outer->type;

	if (changes && mlo_type_object(&t))
		t.rank = MLO_RANK_UNKNOWN;
	for (int k = 0; k < t.rank; k++)
		t.dim[k] = t.dim[k].e || changes ? mlo_dim_fresh(c->n->g->syms, "in") : t.dim[k];
	c->in[c->nin++] = outer;
	return mlo_graph_input(c->body.g, outer->name, &t);
}

/* Opens the loop's body: iteration, condition, states, what is scanned. */
static void open_loop(ScanCall *c, MloValue *trip, MloValue *const *state, MloValue *const *whole)
{
	MloType iter = {.elem = EL_i64}, cond = {.elem = EL_bool};

	c->in = MLO_NEWN(c->n->im->tmp, MloValue *, 2 + c->nstate + c->nscan);
	c->state = MLO_NEWN(c->n->im->tmp, MloValue *, c->nstate + 1);
	c->whole = MLO_NEWN(c->n->im->tmp, MloValue *, c->nscan + 1);
	c->in[c->nin++] = trip;
	c->in[c->nin++] = NULL;
	c->iter = mlo_graph_input(c->body.g, NULL, &iter);
	mlo_graph_input(c->body.g, NULL, &cond);
	for (uint32_t i = 0; i < c->nstate; i++)
		c->state[i] = add_input(c, state[i], true);
	for (uint32_t i = 0; i < c->nscan; i++)
		c->whole[i] = add_input(c, whole[i], false);
}

/* The loop around the finished body, whose captures come last. */
static MloNode *close_loop(ScanCall *c, OnnxNode *at, const OnnxCaptures *captures, uint32_t nout)
{
	uint32_t nin = c->nin + (uint32_t)captures->n;
	MloValue **in = MLO_NEWN(c->n->im->tmp, MloValue *, nin);
	MloNode *m;

	memcpy(in, c->in, c->nin * sizeof *in);
	for (size_t i = 0; i < captures->n; i++)
		in[c->nin + i] = captures->items[i].outer;
	m = onnx_node(at, OP_loop, in, nin, nout);
	mlo_attr_set_graph(m, ATTR_loop_body, c->body.g);
	mlo_attr_set_i(m, ATTR_loop_carried, c->nstate);
	onnx_infer(at, m);
	return m;
}

/* -- Scan ----------------------------------------------------------------------------------- */

static bool count_operands(ScanCall *c)
{
	OnnxNode *n = c->n;
	int64_t m = onnx_int(n, "num_scan_inputs", 0);

	if (m < 1 || n->nin < c->first + (uint64_t)m || m > (int64_t)n->nin - c->first) {
		onnx_fail(n, MLO_ERR_MODEL, "%u operands, %lld of them scanned", n->nin, (long long)m);
		return false;
	}
	c->nscan = (uint32_t)m;
	c->nstate = n->nin - c->first - c->nscan;
	for (uint32_t i = c->first; i < n->nin; i++)
		if (!n->in[i]) {
			onnx_fail(n, MLO_ERR_MODEL, "operand %u is missing", i);
			return false;
		}
	return true;
}

static bool check_body(ScanCall *c)
{
	const Onnx__GraphProto *p = c->body.proto;

	if (p->n_input == c->nstate + c->nscan && p->n_output >= c->nstate && c->n->nout <= p->n_output)
		return true;
	onnx_fail(c->n, MLO_ERR_MODEL, "the body takes %zu values and gives %zu, the node has %u and %u", p->n_input,
		  p->n_output, c->nstate + c->nscan, c->n->nout);
	return false;
}

static MloValue *scanned_slice(ScanCall *c, uint32_t i, const char *directions)
{
	OnnxNode *in = &c->body.inner;
	int64_t axis = entry(c->n, "scan_input_axes", i);
	MloValue *index = c->iter;

	if (entry(c->n, directions, i))
		index = op(in, OP_sub, op(in, OP_sub, length(in, c->whole[i], axis), onnx_scalar(in, EL_i64, 1)),
			   c->iter);
	return slice_at(in, c->whole[i], index, axis);
}

/* The nodes of the body; its outputs behind a condition that is always true. */
static bool fill_body(ScanCall *c, const char *directions)
{
	bool yes = true, ok = true;
	MloTensor *t = mlo_tensor_new(c->body.g->arena, EL_bool, 0, NULL);

	mlo_tensor_set_i64(t, 0, yes);
	for (uint32_t i = 0; i < c->nstate; i++)
		onnx_body_bind(&c->body, i, c->state[i]);
	for (uint32_t i = 0; i < c->nscan; i++)
		onnx_body_bind(&c->body, c->nstate + i, scanned_slice(c, i, directions));
	onnx_body_nodes(&c->body);
	mlo_graph_output(c->body.g, mlo_graph_const(c->body.g, t, NULL), NULL);
	for (size_t i = 0; i < c->body.proto->n_output; i++) {
		MloValue *v = onnx_body_result(&c->body, i);

		ok = ok && v;
		if (v)
			mlo_graph_output(c->body.g, v, NULL);
	}
	return ok && !c->body.inner.failed;
}

/* Stacked along axis 0: to the axis asked for, reversed if asked for. */
static MloValue *place(OnnxNode *n, MloValue *v, int64_t axis, bool backwards)
{
	int64_t perm[MLO_MAX_RANK];
	int rank = v->type.rank;
	MloNode *m;

	if (backwards) {
		MloValue *in[] = {v, onnx_i64s(n, (int64_t[]){-1}, 1), onnx_i64s(n, (int64_t[]){INT64_MIN + 1}, 1),
				  onnx_i64s(n, (int64_t[]){0}, 1), onnx_i64s(n, (int64_t[]){-1}, 1)};

		v = onnx_infer(n, onnx_node(n, OP_slice, in, 5, 1));
	}
	if (axis == 0)
		return v;
	axis += axis < 0 ? rank : 0;
	if (axis < 0 || axis >= rank) {
		onnx_fail(n, MLO_ERR_MODEL, "an output of rank %d is stacked along axis %lld", rank, (long long)axis);
		return v;
	}
	for (int i = 0; i < rank; i++)
		perm[i] = i < axis ? i + 1 : i == axis ? 0 : i;
	m = onnx_node(n, OP_transpose, &v, 1, 1);
	mlo_attr_set_ints(n->g, m, ATTR_transpose_perm, perm, rank);
	return onnx_infer(n, m);
}

void import_scan(OnnxNode *n)
{
	ScanCall c = {.n = n};
	OnnxCaptures captures = {0};
	MloNode *m;
	bool ok;

	if (!count_operands(&c) || !onnx_body_open(n, "body", &captures, &c.body))
		return;
	ok = check_body(&c);
	if (ok) {
		MloValue *const *whole = n->in + c.nstate;

		open_loop(&c, length(n, whole[0], entry(n, "scan_input_axes", 0)), n->in, whole);
		ok = fill_body(&c, "scan_input_directions");
	}
	onnx_body_close(&c.body);
	n->failed |= !ok;
	if (n->failed)
		return;
	m = close_loop(&c, n, &captures, (uint32_t)c.body.proto->n_output);
	for (uint32_t i = 0; i < m->nout; i++)
		onnx_result(n, i, i < c.nstate ? m->out[i]
					       : place(n, m->out[i], entry(n, "scan_output_axes", i - c.nstate),
						       entry(n, "scan_output_directions", i - c.nstate) != 0));
}

/* Opset 8: everything has a leading batch dimension, one scan for each element of it. */
void import_scan_batched(OnnxNode *n)
{
	ScanCall outer = {.n = n, .first = 1}, c = {.n = n, .first = 1};
	OnnxCaptures captures = {0}, inner = {0};
	MloValue **state, **whole;
	MloNode *m;
	bool ok;

	if (onnx_in(n, 0)) {
		onnx_fail(n, MLO_ERR_UNSUPPORTED, "sequences of different lengths in a batch are not supported");
		return;
	}
	if (!count_operands(&c) || !onnx_body_open(n, "body", &captures, &outer.body))
		return;
	c.body.proto = outer.body.proto;
	ok = check_body(&c);
	/* the loop over the batch captures everything, states too */
	outer.nscan = c.nstate + c.nscan;
	state = MLO_NEWN(n->im->tmp, MloValue *, c.nstate + 1);
	whole = MLO_NEWN(n->im->tmp, MloValue *, c.nscan + 1);
	if (ok) {
		open_loop(&outer, length(n, n->in[1], 0), NULL, n->in + 1);
		for (uint32_t i = 0; i < c.nstate; i++)
			state[i] = slice_at(&outer.body.inner, outer.whole[i], outer.iter, 0);
		for (uint32_t i = 0; i < c.nscan; i++)
			whole[i] = slice_at(&outer.body.inner, outer.whole[c.nstate + i], outer.iter, 0);
		ok = onnx_body_open(&outer.body.inner, "body", &inner, &c.body);
	}
	if (ok) {
		open_loop(&c, length(&outer.body.inner, whole[0], 0), state, whole);
		ok = fill_body(&c, "directions");
		onnx_body_close(&c.body);
	}
	if (ok) {
		MloTensor *yes = mlo_tensor_new(outer.body.g->arena, EL_bool, 0, NULL);

		m = close_loop(&c, &outer.body.inner, &inner, (uint32_t)c.body.proto->n_output);
		mlo_tensor_set_i64(yes, 0, 1);
		mlo_graph_output(outer.body.g, mlo_graph_const(outer.body.g, yes, NULL), NULL);
		for (uint32_t i = 0; i < m->nout; i++)
			mlo_graph_output(outer.body.g, m->out[i], NULL);
	}
	onnx_body_close(&outer.body);
	n->failed |= !ok || outer.body.inner.failed;
	if (n->failed)
		return;
	m = close_loop(&outer, n, &captures, (uint32_t)c.body.proto->n_output);
	for (uint32_t i = 0; i < m->nout; i++)
		onnx_result(n, i, m->out[i]);
}

/* -- SequenceMap ---------------------------------------------------------------------------- */

/* Empty sequences to start with: their element types are those that the body declares. */
static bool start_sequences(OnnxNode *n, const Onnx__GraphProto *p, MloValue **state)
{
	for (size_t i = 0; i < p->n_output; i++) {
		MloNode *m = onnx_node(n, OP_sequence_empty, NULL, 0, 1);
		MloType t;

		if (!p->output[i]->type || !onnx_type(n->im, p->output[i]->type, &t) || mlo_type_object(&t)) {
			onnx_fail(n, MLO_ERR_MODEL, "output %zu of the body is not declared as a tensor", i);
			return false;
		}
		mlo_attr_set_i(m, ATTR_sequence_empty_elem, mlo_elem_onnx(t.elem));
		state[i] = onnx_infer(n, m);
	}
	return true;
}

static bool fill_map(ScanCall *c)
{
	OnnxNode *in = &c->body.inner;
	MloTensor *yes = mlo_tensor_new(c->body.g->arena, EL_bool, 0, NULL);

	mlo_tensor_set_i64(yes, 0, 1);
	for (uint32_t i = 0; i < c->nscan; i++)
		onnx_body_bind(&c->body, i, mlo_type_object(&c->whole[i]->type)
						    ? op(in, OP_sequence_at, c->whole[i], c->iter)
						    : c->whole[i]);
	onnx_body_nodes(&c->body);
	mlo_graph_output(c->body.g, mlo_graph_const(c->body.g, yes, NULL), NULL);
	for (uint32_t i = 0; i < c->nstate; i++) {
		MloValue *v = onnx_body_result(&c->body, i);

		if (!v)
			return false;
		mlo_graph_output(c->body.g, op(in, OP_sequence_insert, c->state[i], v), NULL);
	}
	return !in->failed;
}

void import_sequence_map(OnnxNode *n)
{
	ScanCall c = {.n = n};
	OnnxCaptures captures = {0};
	MloValue **state;
	MloNode *m;
	bool ok;

	if (!onnx_arity(n, 1, UINT32_MAX) || !onnx_body_open(n, "body", &captures, &c.body))
		return;
	c.nscan = n->nin;
	c.nstate = (uint32_t)c.body.proto->n_output;
	state = MLO_NEWN(n->im->tmp, MloValue *, c.nstate + 1);
	ok = c.body.proto->n_input == n->nin && start_sequences(n, c.body.proto, state);
	if (ok) {
		open_loop(&c, onnx_op1(n, OP_sequence_length, n->in[0]), state, n->in);
		ok = fill_map(&c);
	} else if (!n->failed) {
		onnx_fail(n, MLO_ERR_MODEL, "the body takes %zu values, the node has %u", c.body.proto->n_input,
			  n->nin);
	}
	onnx_body_close(&c.body);
	n->failed |= !ok;
	if (n->failed)
		return;
	m = close_loop(&c, n, &captures, c.nstate);
	for (uint32_t i = 0; i < m->nout; i++)
		onnx_result(n, i, m->out[i]);
}
