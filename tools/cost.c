/* tools/cost.c -- how many multiply-adds and parameters a graph has. */
#include "tools/compile.h"

static double dim_at(const MloValue *v, int i)
{
	const MloType *t = &v->type;

	if (i < 0)
		i += t->rank;
	return i >= 0 && i < t->rank && mlo_dim_known(t->dim[i]) ? (double)t->dim[i].k : 0;
}

static double elems(const MloValue *v)
{
	int64_t n = mlo_type_elems(&v->type);

	return n > 0 ? (double)n : 0;
}

/* Each result element sums over the weights of one output channel. */
static double macs_conv(const MloNode *n)
{
	double outputs = dim_at(n->in[1], 0);

	return outputs > 0 ? elems(n->out[0]) * elems(n->in[1]) / outputs : 0;
}

/* Each operand element is spread over the weights of its channel. */
static double macs_conv_transpose(const MloNode *n)
{
	double inputs = dim_at(n->in[1], 0);

	return inputs > 0 ? elems(n->in[0]) * elems(n->in[1]) / inputs : 0;
}

static double macs_matmul(const MloNode *n)
{
	return elems(n->out[0]) * dim_at(n->in[0], -1);
}

static double macs_gemm(const MloNode *n)
{
	return elems(n->out[0]) * dim_at(n->in[0], mlo_attr_i(n, ATTR_gemm_transA) ? 0 : 1);
}

/* Each unit of a gate sums over the input at hand, where there are weights for it, and over the hidden units. */
static double macs_recurrent(const MloNode *n)
{
	double steps = dim_at(n->in[0], 0), batch = dim_at(n->in[0], 1), sum = 0;

	for (uint32_t i = 1; i < 3 && i < n->nin; i++)
		sum += n->in[i] ? elems(n->in[i]) : 0;
	return steps * batch * sum;
}

/* Operators of the table whose work counts as multiply-adds. */
static double (*const macs_of[OP_COUNT])(const MloNode *n) = {
	[OP_conv] = macs_conv,
	[OP_conv_transpose] = macs_conv_transpose,
	[OP_matmul] = macs_matmul,
	[OP_gemm] = macs_gemm,
	[OP_rnn] = macs_recurrent,
	[OP_gru] = macs_recurrent,
	[OP_lstm] = macs_recurrent,
	[OP_lstm_integer] = macs_recurrent,
};

double mlo_node_macs(const MloNode *n)
{
	return macs_of[n->op] ? macs_of[n->op](n) : 0;
}

double mlo_graph_macs(const MloGraph *g)
{
	double sum = 0;

	for (const MloNode *n = g->first; n; n = n->next)
		sum += mlo_node_macs(n);
	return sum;
}

/* Shapes, axes and indices are i64, which no weight is. */
int64_t mlo_graph_params(const MloGraph *g)
{
	int64_t sum = 0;

	for (size_t i = 0; i < g->consts.n; i++) {
		const MloValue *v = g->consts.items[i];

		if (v->nuse && v->type.elem != EL_i64 && v->type.elem != EL_bool && v->type.elem != EL_str)
			sum += mlo_tensor_elems(v->data);
	}
	return sum;
}
