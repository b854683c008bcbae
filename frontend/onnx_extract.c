/* frontend/onnx_extract.c -- cuts an ONNX model down to one node: its constants stay, what else it reads
 * becomes an input. */
#include <string.h>

#include "frontend/onnx.h"
#include "frontend/onnx_import.h"
#include "frontend/onnx_wire.h"

typedef struct Cut {
	MloArena *a;
	Onnx__ModelProto *model;
	Onnx__GraphProto *graph;  /* of the model, whole */
	const MloGraph *types;    /* or NULL */
	OnnxNames made;           /* node by name of its result */
	OnnxNames done;           /* names that are accounted for */
	struct { Onnx__NodeProto **items; size_t n, cap; } node;
	struct { Onnx__TensorProto **items; size_t n, cap; } initializer;
	struct { Onnx__ValueInfoProto **items; size_t n, cap; } input, output;
	int depth;                /* of nodes that are taken for what they make */
} Cut;

static const char *node_name(const Onnx__NodeProto *p)
{
	return p->name && *p->name ? p->name : p->n_output ? p->output[0] : "";
}

/* Of functions that call each other, and of bodies in bodies. */
enum { MAX_DEPTH = 64 };

static bool runs(const Onnx__ModelProto *m, const Onnx__NodeProto *p, const char *name, int depth);

static bool any_runs(const Onnx__ModelProto *m, Onnx__NodeProto *const *node, size_t n, const char *name, int depth)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(node_name(node[i]), name) == 0 || runs(m, node[i], name, depth))
			return true;
	return false;
}

/* Is there a node of that name in p's bodies, or in the function that p calls? */
static bool runs(const Onnx__ModelProto *m, const Onnx__NodeProto *p, const char *name, int depth)
{
	if (depth == MAX_DEPTH)
		return false;
	for (size_t i = 0; i < p->n_attribute; i++) {
		const Onnx__GraphProto *g = p->attribute[i]->g;

		if (g && any_runs(m, g->node, g->n_node, name, depth + 1))
			return true;
	}
	for (size_t i = 0; i < m->n_functions; i++) {
		const Onnx__FunctionProto *f = m->functions[i];

		if (strcmp(onnx_text(f->name), onnx_text(p->op_type)) == 0 &&
		    strcmp(onnx_domain(f->domain), onnx_domain(p->domain)) == 0 &&
		    any_runs(m, f->node, f->n_node, name, depth + 1))
			return true;
	}
	return false;
}

/* The node of that name; or (NAME/...) the one that the node NAME/... came out of; or the one that runs it. */
static Onnx__NodeProto *find_node(const Onnx__ModelProto *m, const char *name)
{
	const Onnx__GraphProto *g = m->graph;
	size_t best_n = 0;
	Onnx__NodeProto *best = NULL;

	for (size_t i = 0; i < g->n_node; i++) {
		const char *own = node_name(g->node[i]);
		size_t n = strlen(own);

		if (strcmp(own, name) == 0)
			return g->node[i];
		if (n > best_n && strncmp(own, name, n) == 0 && name[n] == '/') {
			best = g->node[i];
			best_n = n;
		}
	}
	for (size_t i = 0; i < g->n_node && !best; i++)
		best = runs(m, g->node[i], name, 0) ? g->node[i] : NULL;
	return best;
}

/* -- types ---------------------------------------------------------------------------------- */

static Onnx__TypeProto *tensor_type(Cut *c, const MloType *t)
{
	Onnx__TypeProto *p = MLO_NEW(c->a, Onnx__TypeProto);
	Onnx__TypeProto__Tensor *x = MLO_NEW(c->a, Onnx__TypeProto__Tensor);
	Onnx__TensorShapeProto *s = MLO_NEW(c->a, Onnx__TensorShapeProto);

	onnx__type_proto__init(p);
	onnx__type_proto__tensor__init(x);
	onnx__tensor_shape_proto__init(s);
	p->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
	p->tensor_type = x;
	x->has_elem_type = 1;
	x->elem_type = mlo_elem_onnx(t->elem);
	x->shape = s;
	s->n_dim = (size_t)t->rank;
	s->dim = MLO_NEWN(c->a, Onnx__TensorShapeProto__Dimension *, s->n_dim + 1);
	for (int i = 0; i < t->rank; i++) {
		Onnx__TensorShapeProto__Dimension *d = MLO_NEW(c->a, Onnx__TensorShapeProto__Dimension);
		MloStr text = {.arena = c->a};

		onnx__tensor_shape_proto__dimension__init(d);
		if (mlo_dim_known(t->dim[i])) {
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
			d->dim_value = t->dim[i].k;
		} else {
			mlo_dim_print(&text, t->dim[i]);
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
			d->dim_param = (char *)mlo_str_text(&text);
		}
		s->dim[i] = d;
	}
	return p;
}

static const MloType *type_in_graph(const MloGraph *g, const char *name)
{
	for (uint32_t i = 0; g && i < g->ninputs; i++)
		if (g->inputs[i]->name && strcmp(g->inputs[i]->name, name) == 0)
			return &g->inputs[i]->type;
	for (const MloNode *n = g ? g->first : NULL; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i] && n->out[i]->name && strcmp(n->out[i]->name, name) == 0)
				return &n->out[i]->type;
	return NULL;
}

static Onnx__TypeProto *declared(Onnx__ValueInfoProto **list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (list[i]->name && strcmp(list[i]->name, name) == 0)
			return list[i]->type;
	return NULL;
}

static Onnx__ValueInfoProto *value_info(Cut *c, const char *name)
{
	Onnx__ValueInfoProto *v = MLO_NEW(c->a, Onnx__ValueInfoProto);
	const MloType *t = type_in_graph(c->types, name);
	const Onnx__GraphProto *g = c->graph;

	onnx__value_info_proto__init(v);
	v->name = (char *)name;
	v->type = declared(g->input, g->n_input, name);
	if (!v->type)
		v->type = declared(g->value_info, g->n_value_info, name);
	if (!v->type)
		v->type = declared(g->output, g->n_output, name);
	if (!v->type && t && t->elem != EL_none && t->kind == MLO_TENSOR && t->rank >= 0)
		v->type = tensor_type(c, t);
	return v;
}

/* -- what the node reads ------------------------------------------------------------------------ */

static Onnx__TensorProto *initializer(const Onnx__GraphProto *g, const char *name)
{
	for (size_t i = 0; i < g->n_initializer; i++)
		if (g->initializer[i]->name && strcmp(g->initializer[i]->name, name) == 0)
			return g->initializer[i];
	return NULL;
}

static void take_node(Cut *c, Onnx__NodeProto *p);

static void read_name(Cut *c, const char *name)
{
	Onnx__ValueInfoProto *v;
	Onnx__TensorProto *t;
	Onnx__NodeProto *p;

	if (!*name || !onnx_names_add(&c->done, name, c))
		return;
	t = initializer(c->graph, name);
	p = onnx_names_get(&c->made, name);
	if (t && t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
		MLO_PUSH(c->a, &c->initializer, t);
	else if (!t && p && p->op_type && strcmp(p->op_type, "Constant") == 0)
		MLO_PUSH(c->a, &c->node, p);
	else if (v = value_info(c, name), v->type || !p || c->depth == MAX_DEPTH)
		MLO_PUSH(c->a, &c->input, v);
	else
		take_node(c, p);
}

/* Names that bodies take from outside: those that something in the main graph makes. */
static void read_body(Cut *c, const Onnx__GraphProto *g);

static void read_attributes(Cut *c, const Onnx__NodeProto *p)
{
	for (size_t i = 0; i < p->n_attribute; i++) {
		if (p->attribute[i]->g)
			read_body(c, p->attribute[i]->g);
		for (size_t k = 0; k < p->attribute[i]->n_graphs; k++)
			read_body(c, p->attribute[i]->graphs[k]);
	}
}

static void read_outer(Cut *c, const char *name)
{
	if (onnx_names_get(&c->made, name) || initializer(c->graph, name) ||
	    declared(c->graph->input, c->graph->n_input, name))
		read_name(c, name);
}

static void read_body(Cut *c, const Onnx__GraphProto *g)
{
	for (size_t i = 0; i < g->n_node; i++) {
		for (size_t k = 0; k < g->node[i]->n_input; k++)
			read_outer(c, g->node[i]->input[k]);
		read_attributes(c, g->node[i]);
	}
	for (size_t i = 0; i < g->n_output; i++)
		if (g->output[i]->name)
			read_outer(c, g->output[i]->name);
}

/* The node, after what it reads. */
static void take_node(Cut *c, Onnx__NodeProto *p)
{
	c->depth++;
	for (size_t i = 0; i < p->n_input; i++)
		read_name(c, p->input[i]);
	read_attributes(c, p);
	c->depth--;
	for (size_t i = 0; i < p->n_output; i++)
		onnx_names_add(&c->done, p->output[i], c);
	MLO_PUSH(c->a, &c->node, p);
}

static void cut_graph(Cut *c, Onnx__NodeProto *p, Onnx__GraphProto *out)
{
	for (size_t i = 0; i < c->graph->n_node; i++)
		for (size_t k = 0; k < c->graph->node[i]->n_output; k++)
			onnx_names_add(&c->made, c->graph->node[i]->output[k], c->graph->node[i]);
	take_node(c, p);
	for (size_t i = 0; i < p->n_output; i++)
		if (*p->output[i])
			MLO_PUSH(c->a, &c->output, value_info(c, p->output[i]));
	onnx__graph_proto__init(out);
	out->name = c->graph->name ? c->graph->name : (char *)"extract";
	out->n_node = c->node.n;
	out->node = c->node.items;
	out->n_initializer = c->initializer.n;
	out->initializer = c->initializer.items;
	out->n_input = c->input.n;
	out->input = c->input.items;
	out->n_output = c->output.n;
	out->output = c->output.items;
}

static void free_model(void *m)
{
	onnx__model_proto__free_unpacked(m, NULL);
}

MloStatus mlo_onnx_extract(MloArena *a, const void *model, size_t n, const char *node, const MloGraph *types,
			   const void **bytes, size_t *nbytes, MloDiag *d)
{
	Cut c = {.a = a, .types = types, .made.arena = a, .done.arena = a};
	Onnx__GraphProto cut;
	Onnx__ModelProto out;
	Onnx__NodeProto *p;
	uint8_t *buf;

	/* checks depth and sizes, so that unpacking as a whole is safe */
	if (!onnx_unpack(a, &onnx__model_proto__descriptor, (OnnxBytes){model, n}, d))
		return MLO_ERR_FORMAT;
	c.model = onnx__model_proto__unpack(NULL, n, model);
	if (!c.model)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	mlo_defer(a, free_model, c.model);
	c.graph = c.model->graph;
	p = c.graph ? find_node(c.model, node) : NULL;
	if (!p)
		return mlo_error(d, MLO_ERR_USAGE, "the model has no node '%s'", node);
	cut_graph(&c, p, &cut);
	out = *c.model;
	out.graph = &cut;
	*nbytes = onnx__model_proto__get_packed_size(&out);
	buf = mlo_alloc(a, 1, *nbytes + 1);
	onnx__model_proto__pack(&out, buf);
	*bytes = buf;
	return MLO_OK;
}
