/* frontend/onnx_ops_rnn.c -- importers of the recurrent operators. */
#include <string.h>
#include <strings.h>

#include "frontend/onnx_ops.h"

/* Activations by their ONNX names: the defaults of alpha and beta, and whether these are taken from
 * the node's lists (in order, by the functions that use them). */
static const struct {
	const char *name;
	double alpha, beta;
	bool has_alpha, has_beta;
} known[] = {
	{"Relu", 0, 0, false, false},        {"Tanh", 0, 0, false, false},
	{"Sigmoid", 0, 0, false, false},     {"Affine", 1, 0, true, true},
	{"LeakyRelu", 0.01, 0, true, false}, {"ThresholdedRelu", 1, 0, true, false},
	{"ScaledTanh", 1, 1, true, true},    {"HardSigmoid", 0.2, 0.5, true, true},
	{"Elu", 1, 0, true, false},          {"Softsign", 0, 0, false, false},
	{"Softplus", 0, 0, false, false},
};
enum { NKNOWN = sizeof known / sizeof *known, MAX_ACTIVATIONS = 6 };

static int activation(const char *name, size_t n)
{
	for (int i = 0; i < NKNOWN; i++)
		if (strlen(known[i].name) == n && !strncasecmp(known[i].name, name, n))
			return i;
	return -1;
}

bool onnx_activation_takes(const char *name, size_t n, bool *alpha, bool *beta)
{
	int k = activation(name, n);

	*alpha = k >= 0 && known[k].has_alpha;
	*beta = k >= 0 && known[k].has_beta;
	return k >= 0;
}

static void set_floats(OnnxNode *n, MloNode *m, const char *name, const double *v, int count)
{
	mlo_attr_set_floats(n->g, m, mlo_attr_slot(m->op, name, strlen(name)), v, count);
}

/* The list of names, and for each its own alpha and beta. */
static void set_activations(OnnxNode *n, MloNode *m)
{
	const Onnx__AttributeProto *a = onnx_attr(n, "activations");
	int nalpha, nbeta, ialpha = 0, ibeta = 0;
	const float *alphas = onnx_floats(n, "activation_alpha", &nalpha);
	const float *betas = onnx_floats(n, "activation_beta", &nbeta);
	double alpha[MAX_ACTIVATIONS], beta[MAX_ACTIVATIONS];
	MloStr names = {.arena = n->g->arena};

	if (!a || !onnx_attr_is(n, a, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS))
		return;
	if (a->n_strings > MAX_ACTIVATIONS) {
		onnx_fail(n, MLO_ERR_MODEL, "%zu activations are given, at most %d are known", a->n_strings,
			  MAX_ACTIVATIONS);
		return;
	}
	for (size_t i = 0; i < a->n_strings; i++) {
		int k = activation((const char *)a->strings[i].data, a->strings[i].len);

		if (k < 0) {
			onnx_fail(n, MLO_ERR_MODEL, "activation '%.*s' is not known", (int)a->strings[i].len,
				  (const char *)a->strings[i].data);
			return;
		}
		alpha[i] = known[k].has_alpha && ialpha < nalpha ? alphas[ialpha++] : known[k].alpha;
		beta[i] = known[k].has_beta && ibeta < nbeta ? betas[ibeta++] : known[k].beta;
		mlo_str_add(&names, "%s%s", i ? "," : "", known[k].name);
	}
	if (a->n_strings == 0)
		return;
	mlo_attr_set_s(n->g, m, mlo_attr_slot(m->op, "activations", 11), mlo_str_text(&names));
	if (nalpha + nbeta > 0) {
		set_floats(n, m, "activation_alpha", alpha, (int)a->n_strings);
		set_floats(n, m, "activation_beta", beta, (int)a->n_strings);
	}
}

static MloValue *transposed(OnnxNode *n, MloValue *v, const int64_t *perm, int rank)
{
	MloNode *m = onnx_node(n, OP_transpose, &v, 1, 1);

	mlo_attr_set_ints(n->g, m, ATTR_transpose_perm, perm, rank);
	return onnx_infer(n, m);
}

static const int64_t swap3[] = {1, 0, 2};

static void results(OnnxNode *n, MloNode *m, bool batch_first)
{
	static const int64_t to_batch_first[] = {2, 0, 1, 3};

	onnx_infer(n, m);
	for (uint32_t i = 0; i < m->nout; i++) {
		MloValue *v = m->out[i];

		if (onnx_wanted(n, i) && batch_first)
			v = i ? transposed(n, v, swap3, 3) : transposed(n, v, to_batch_first, 4);
		onnx_result(n, i, v);
	}
}

/* layout=1 puts the batch first: transposed here, the operator itself has one layout. */
void import_recurrent(OnnxNode *n)
{
	const MloOpInfo *info = mlo_op_info(n->row->op);
	bool batch_first = onnx_int(n, "layout", 0) != 0;
	MloValue *in[12] = {0};
	MloNode *m;

	onnx_ignore(n, "hidden_size"); /* the weights say it */
	onnx_ignore(n, "output_sequence");
	if (!onnx_arity(n, 3, (uint32_t)info->max_in))
		return;
	if (n->nout > (uint32_t)info->max_out) {
		onnx_fail(n, MLO_ERR_MODEL, "has %u results, at most %d are known", n->nout, info->max_out);
		return;
	}
	for (uint32_t i = 0; i < n->nin; i++)
		in[i] = n->in[i] && batch_first && (i == 0 || i == 5 || i == 6) ? transposed(n, n->in[i], swap3, 3)
										: n->in[i];
	m = onnx_node(n, n->row->op, in, n->nin, (uint32_t)info->max_out);
	set_activations(n, m);
	for (int i = 0; i < info->nattr; i++) {
		const char *name = info->attr[i].name;

		if (!strcmp(name, "direction") && onnx_attr(n, name))
			mlo_attr_set_s(n->g, m, i, onnx_str(n, name, "forward"));
		if (!strcmp(name, "clip") && onnx_attr(n, name))
			mlo_attr_set_f(m, i, onnx_float(n, name, 0));
		if (info->attr[i].kind == AK_INT && onnx_attr(n, name))
			mlo_attr_set_i(m, i, onnx_int(n, name, 0));
	}
	results(n, m, batch_first);
}
