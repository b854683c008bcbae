/* frontend/onnx_control.c -- If and Loop, and what importers of bodies share.
 *
 * A body becomes a closed graph: what it names of the graph around it is captured, as a trailing operand
 * of the node and a trailing input of the body, by the name lookup of the scope. */
#include <string.h>

#include "frontend/onnx_ops.h"

/* -- bodies --------------------------------------------------------------------------------- */

static bool find_body(OnnxNode *n, const char *attr, const Onnx__GraphProto **out)
{
	const Onnx__AttributeProto *a = onnx_attr(n, attr);
	int depth = 0;

	if (!a || !a->g) {
		onnx_fail(n, MLO_ERR_MODEL, "attribute '%s' holds no graph", attr);
		return false;
	}
	for (const OnnxScope *s = n->scope; s; s = s->outer)
		depth++;
	if (depth > MLO_MAX_DEPTH)
		onnx_fail(n, MLO_ERR_LIMIT, "bodies are nested more than %d deep", MLO_MAX_DEPTH);
	*out = a->g;
	return depth <= MLO_MAX_DEPTH;
}

/* Nodes of the body go into g from here on. */
static bool enter(OnnxNode *n, const Onnx__GraphProto *proto, OnnxCaptures *captures, MloGraph *g, OnnxBody *b)
{
	OnnxScope *sc = n->scope;
	OnnxImport *im = n->im;

	*b = (OnnxBody){.proto = proto, .outside = im->g, .inner = *n, .g = g};
	b->scope = (OnnxScope){.outer = sc, .captures = captures, .g = g, .parent = sc->parent, .call = sc->call,
			       .fn = sc->fn, .values = {.arena = im->tmp},
			       .prefix = mlo_sprintf(im->g->arena, "%s/", n->origin->name)};
	b->inner.g = g;
	b->inner.known = (MloStr){.arena = im->tmp};
	b->inner.scope = &b->scope;
	im->g = g;
	if (onnx_import_initialisers(im, &b->scope, proto))
		return true;
	n->failed = true;
	im->status = im->status == MLO_OK ? MLO_ERR_MODEL : im->status;
	onnx_body_close(b);
	return false;
}

bool onnx_body_open(OnnxNode *n, const char *attr, OnnxCaptures *captures, OnnxBody *b)
{
	const Onnx__GraphProto *p;

	return find_body(n, attr, &p) &&
	       enter(n, p, captures, mlo_graph_body(n->im->g, p->name && *p->name ? p->name : NULL), b);
}

bool onnx_body_inline(OnnxNode *n, const char *attr, OnnxBody *b)
{
	const Onnx__GraphProto *p;

	return find_body(n, attr, &p) && enter(n, p, NULL, n->im->g, b);
}

void onnx_body_bind(OnnxBody *b, size_t input, MloValue *v)
{
	const char *name = onnx_text(b->proto->input[input]->name);

	if (*name && !onnx_names_add(&b->scope.values, name, v))
		onnx_fail(&b->inner, MLO_ERR_MODEL, "'%s' is defined twice in the body", name);
}

void onnx_body_nodes(OnnxBody *b)
{
	onnx_import_nodes(b->inner.im, &b->scope, b->proto->node, b->proto->n_node);
}

MloValue *onnx_body_result(OnnxBody *b, size_t output)
{
	const char *name = onnx_text(b->proto->output[output]->name);
	MloValue *v = onnx_value(b->inner.im, &b->scope, name);

	if (!v)
		onnx_fail(&b->inner, MLO_ERR_MODEL, "output '%s' of the body is not defined", name);
	return v == &b->inner.im->poison ? NULL : v;
}

void onnx_body_close(OnnxBody *b)
{
	b->inner.im->g = b->outside;
}

/* A loop may take an optional and carry on what it held: that is wrapped again. */
static bool wrapped(const MloValue *outer, const MloType *t)
{
	return outer && ((outer->type.kind == MLO_OPT_SEQ && t->kind == MLO_SEQ) ||
			 (outer->type.kind == MLO_OPT && t->kind == MLO_TENSOR));
}

/* All results of the body become outputs; false when one is missing.  carried[i]: what comes in as the
 * i + 1-th; again[i]: it was wrapped. */
static bool add_results(OnnxBody *b, MloValue *const *carried, size_t nc, bool *again)
{
	for (size_t i = 0; i < b->proto->n_output; i++) {
		MloValue *v = onnx_body_result(b, i);

		if (!v)
			return false;
		if (i > 0 && i <= nc && wrapped(carried[i - 1], &v->type)) {
			v = onnx_op1(&b->inner, OP_optional, v);
			again[i - 1] = true;
		}
		mlo_graph_output(b->g, v, mlo_strdup(b->g->arena, onnx_text(b->proto->output[i]->name)));
	}
	return true;
}

static void operands_of(const OnnxCaptures *c, MloValue **in)
{
	for (size_t i = 0; i < c->n; i++)
		in[i] = c->items[i].outer;
}

/* -- If ------------------------------------------------------------------------------------- */

/* Captures of the branch before come first, wanted or not: both bodies take the same. */
static void add_input(OnnxBody *b, const struct OnnxCapture *c)
{
	MloType t = c->outer->type;

	for (int i = 0; i < t.rank; i++)
		t.dim[i] = t.dim[i].e ? mlo_dim_fresh(b->g->syms, "in") : t.dim[i];
	onnx_names_add(&b->scope.values, c->name, mlo_graph_input(b->g, c->outer->name, &t));
}

static MloGraph *import_branch(OnnxNode *n, const char *attr, OnnxCaptures *captures)
{
	OnnxBody b;
	bool ok;

	if (!onnx_body_open(n, attr, captures, &b))
		return NULL;
	for (size_t i = 0; i < captures->n; i++)
		add_input(&b, &captures->items[i]);
	onnx_body_nodes(&b);
	ok = add_results(&b, NULL, 0, NULL);
	onnx_body_close(&b);
	if (b.proto->n_output != n->nout)
		onnx_fail(n, MLO_ERR_MODEL, "%s gives %zu results, the node has %u", attr, b.proto->n_output, n->nout);
	n->failed |= !ok;
	return b.g;
}

void import_if(OnnxNode *n)
{
	OnnxCaptures captures = {0};
	MloGraph *yes, *no;
	MloValue **in;
	MloNode *m;
	size_t nyes;

	if (!onnx_arity(n, 1, 1))
		return;
	yes = import_branch(n, "then_branch", &captures);
	nyes = captures.n;
	no = yes ? import_branch(n, "else_branch", &captures) : NULL;
	if (!no || n->failed)
		return;
	for (size_t i = nyes; i < captures.n; i++)
		mlo_graph_input(yes, captures.items[i].outer->name, &captures.items[i].outer->type);
	in = MLO_NEWN(n->im->tmp, MloValue *, captures.n + 1);
	in[0] = n->in[0];
	operands_of(&captures, in + 1);
	m = onnx_node(n, OP_if, in, (uint32_t)captures.n + 1, n->nout);
	mlo_attr_set_graph(m, ATTR_if_then_branch, yes);
	mlo_attr_set_graph(m, ATTR_if_else_branch, no);
	onnx_finish(n, m);
}

/* -- Loop ----------------------------------------------------------------------------------- */

static int declared_rank(const Onnx__ValueInfoProto *v)
{
	const Onnx__TypeProto *t = v->type;

	if (!t || t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type->shape)
		return 0;
	return (int)t->tensor_type->shape->n_dim;
}

/* Iteration number and condition are scalars here; some models declare vectors of one. */
static void bind_scalar(OnnxBody *b, size_t i, MloElem e)
{
	MloType t = {.elem = e};
	MloValue *v = mlo_graph_input(b->g, mlo_strdup(b->g->arena, onnx_text(b->proto->input[i]->name)), &t);

	if (declared_rank(b->proto->input[i]) == 1)
		v = onnx_op2(&b->inner, OP_reshape, v, onnx_i64s(&b->inner, (int64_t[]){1}, 1));
	onnx_body_bind(b, i, v);
}

/* Its shape may change from one iteration to the next. */
static void bind_carried(OnnxBody *b, size_t i, const MloValue *outer)
{
	MloType t = outer->type;

	if (mlo_type_object(&t))
		t.rank = MLO_RANK_UNKNOWN;
	for (int k = 0; k < t.rank; k++)
		t.dim[k] = mlo_dim_fresh(b->g->syms, "carried");
	onnx_body_bind(b, i,
		       mlo_graph_input(b->g, mlo_strdup(b->g->arena, onnx_text(b->proto->input[i]->name)), &t));
}

void import_loop(OnnxNode *n)
{
	OnnxCaptures captures = {0};
	OnnxBody b;
	MloValue **in;
	MloNode *m;
	size_t nc;
	bool ok, *again;

	if (!onnx_body_open(n, "body", &captures, &b))
		return;
	nc = b.proto->n_input < 2 ? 0 : b.proto->n_input - 2;
	if (b.proto->n_input < 2 || n->nin > nc + 2 || (nc && n->nin != nc + 2) || b.proto->n_output < nc + 1 ||
	    n->nout > b.proto->n_output - 1) {
		onnx_body_close(&b);
		onnx_fail(n, MLO_ERR_MODEL, "the body takes %zu values and gives %zu, the node has %u and %u",
			  b.proto->n_input, b.proto->n_output, n->nin, n->nout);
		return;
	}
	again = MLO_NEWN(n->im->tmp, bool, nc + 1);
	bind_scalar(&b, 0, EL_i64);
	bind_scalar(&b, 1, EL_bool);
	for (size_t i = 0; i < nc && n->in[2 + i]; i++)
		bind_carried(&b, 2 + i, n->in[2 + i]);
	onnx_body_nodes(&b);
	ok = add_results(&b, n->in + 2, n->nin > 2 ? nc : 0, again);
	onnx_body_close(&b);
	n->failed |= !ok || b.inner.failed;
	if (n->failed)
		return;
	in = MLO_NEWN(n->im->tmp, MloValue *, nc + 2 + captures.n);
	for (size_t i = 0; i < n->nin; i++)
		in[i] = n->in[i];
	operands_of(&captures, in + nc + 2);
	m = onnx_node(n, OP_loop, in, (uint32_t)(nc + 2 + captures.n), (uint32_t)b.proto->n_output - 1);
	mlo_attr_set_graph(m, ATTR_loop_body, b.g);
	mlo_attr_set_i(m, ATTR_loop_carried, (int64_t)nc);
	onnx_infer(n, m);
	for (uint32_t i = 0; i < m->nout; i++)
		onnx_result(n, i, i < nc && again[i] ? onnx_op1(n, OP_optional_get, m->out[i]) : m->out[i]);
}
