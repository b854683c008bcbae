/* frontend/onnx_inputs.c -- initialisers, graph inputs and the sizes the user binds. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/onnx_import.h"

MloStatus mlo_bind_parse(MloArena *a, const char *text, MloBindDim *out, MloDiag *d)
{
	const char *eq = strrchr(text, '='), *s;

	*out = (MloBindDim){0};
	if (!eq || eq == text)
		return mlo_error(d, MLO_ERR_USAGE,
				 "shape '%s': expected NAME=SIZExSIZE..., such as x=1x3x224x224", text);
	out->name = mlo_strndup(a, text, (size_t)(eq - text));
	for (s = eq + 1; *s;) {
		char *end = (char *)s + 1;
		int64_t v = -1;

		if (*s != '?') {
			errno = 0;
			v = *s >= '0' && *s <= '9' ? strtoll(s, &end, 10) : -1;
			if (v < 0 || errno || v > MLO_MAX_ELEMS)
				return mlo_error(d, MLO_ERR_USAGE, "shape '%s': '%s' is not a size", text, s);
		}
		if (out->rank == MLO_MAX_RANK)
			return mlo_error(d, MLO_ERR_USAGE, "shape '%s': at most %d dimensions are supported",
					 text, MLO_MAX_RANK);
		out->dim[out->rank++] = v;
		if (*end != 'x' && *end != ',' && *end)
			return mlo_error(d, MLO_ERR_USAGE, "shape '%s': '%s' is not a size", text, s);
		s = end + (*end && end[1]);
		if (*end && !end[1])
			return mlo_error(d, MLO_ERR_USAGE, "shape '%s' ends in a separator", text);
	}
	return MLO_OK;
}

typedef struct Inputs {
	OnnxImport *im;
	OnnxScope *sc;
	OnnxNames sizes; /* size + 1 by symbol, bound by the user */
	bool *used;      /* which of opt->bind were */
	bool ok;
} Inputs;

static size_t nbind(const Inputs *c)
{
	return c->im->opt ? c->im->opt->nbind : 0;
}

static const MloBindDim *bound(const Inputs *c, const char *name)
{
	for (size_t i = 0; i < nbind(c); i++)
		if (!strcmp(c->im->opt->bind[i].name, name))
			return &c->im->opt->bind[i];
	return NULL;
}

static const MloTensor *constant(const Inputs *c, const char *name)
{
	for (size_t i = 0; i < nbind(c); i++)
		if (c->im->opt->bind[i].value && !strcmp(c->im->opt->bind[i].name, name))
			return c->im->opt->bind[i].value;
	return NULL;
}

static void bind_symbol(Inputs *c, const char *sym, int64_t v)
{
	uintptr_t old = (uintptr_t)onnx_names_get(&c->sizes, sym);

	if (!old) {
		onnx_names_add(&c->sizes, sym, (void *)(uintptr_t)(v + 1));
	} else if ((int64_t)old - 1 != v) {
		onnx_error(c->im, MLO_ERR_USAGE, "dimension '%s' is bound to both %lld and %lld", sym,
			   (long long)old - 1, (long long)v);
		c->ok = false;
	}
}

static const Onnx__TypeProto__Tensor *tensor_type(const Onnx__ValueInfoProto *v)
{
	return v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? v->type->tensor_type
										     : NULL;
}

/* A shape given for an input also fixes the names among its declared dimensions. */
static void bind_input(Inputs *c, const Onnx__ValueInfoProto *v, const MloBindDim *b)
{
	const Onnx__TypeProto__Tensor *t = tensor_type(v);

	if (!t || !t->shape)
		return;
	if ((size_t)b->rank != t->shape->n_dim) {
		onnx_error(c->im, MLO_ERR_USAGE, "input '%s' has %zu dimensions, the given shape has %d",
			   v->name, t->shape->n_dim, b->rank);
		c->ok = false;
		return;
	}
	for (int i = 0; i < b->rank; i++) {
		const Onnx__TensorShapeProto__Dimension *dim = t->shape->dim[i];

		if (b->dim[i] < 0)
			continue;
		if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
		    *dim->dim_param)
			bind_symbol(c, dim->dim_param, b->dim[i]);
		if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
		    dim->dim_value >= 0 && dim->dim_value != b->dim[i]) {
			onnx_error(c->im, MLO_ERR_USAGE,
				   "input '%s': dimension %d is %lld in the model, %lld in the given shape",
				   v->name, i, (long long)dim->dim_value, (long long)b->dim[i]);
			c->ok = false;
		}
	}
}

static bool is_input(const Inputs *c, const Onnx__ValueInfoProto *v)
{
	return !onnx_names_get(&c->sc->values, onnx_text(v->name));
}

static void bind_all(Inputs *c)
{
	const Onnx__GraphProto *gp = c->im->model->graph;

	c->used = MLO_NEWN(c->im->tmp, bool, nbind(c));
	for (size_t i = 0; i < nbind(c); i++) {
		const MloBindDim *b = &c->im->opt->bind[i];

		for (size_t k = 0; k < gp->n_input && !c->used[i]; k++)
			if (is_input(c, gp->input[k]) && !strcmp(onnx_text(gp->input[k]->name), b->name)) {
				bind_input(c, gp->input[k], b);
				c->used[i] = true;
			}
		if (!c->used[i] && !b->value && b->rank == 1 && b->dim[0] >= 0)
			bind_symbol(c, b->name, b->dim[0]);
	}
}

static void use_symbol(Inputs *c, const char *sym)
{
	for (size_t i = 0; i < nbind(c); i++) {
		const MloBindDim *b = &c->im->opt->bind[i];

		if (!strcmp(b->name, sym) && b->rank == 1 && !b->value)
			c->used[i] = true;
	}
}

static MloDim input_dim(Inputs *c, const char *input, const Onnx__TensorShapeProto__Dimension *dim,
			int64_t given)
{
	MloSymbols *syms = c->im->g->syms;

	if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && *dim->dim_param &&
	    strcmp(dim->dim_param, "?") != 0) {
		uintptr_t size = (uintptr_t)onnx_names_get(&c->sizes, dim->dim_param);

		use_symbol(c, dim->dim_param);
		return size ? mlo_dim((int64_t)size - 1)
			    : mlo_dim_sym(syms, mlo_strdup(c->im->g->arena, dim->dim_param));
	}
	if (given >= 0)
		return mlo_dim(given);
	if (dim->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE || dim->dim_value == -1)
		return mlo_dim_fresh(syms, mlo_strdup(c->im->g->arena, input));
	if (dim->dim_value < 0 || dim->dim_value > MLO_MAX_ELEMS) {
		onnx_error(c->im, dim->dim_value < 0 ? MLO_ERR_MODEL : MLO_ERR_LIMIT,
			   "input '%s' has a dimension of %lld", input, (long long)dim->dim_value);
		c->ok = false;
		return mlo_dim(1);
	}
	return mlo_dim(dim->dim_value);
}

static bool input_type(Inputs *c, const Onnx__ValueInfoProto *v, MloType *type)
{
	const Onnx__TypeProto__Tensor *t = tensor_type(v);
	const MloBindDim *b = bound(c, v->name);

	if (!t) {
		if (onnx_type(c->im, v->type, type))
			return true;
		onnx_error(c->im, MLO_ERR_UNSUPPORTED, "input '%s' is of a type that is not supported", v->name);
		return false;
	}
	*type = (MloType){.elem = mlo_elem_from_onnx(t->elem_type), .rank = MLO_RANK_UNKNOWN};
	if (type->elem == EL_none) {
		onnx_error(c->im, MLO_ERR_MODEL, "input '%s' has unknown element type %d", v->name,
			   t->elem_type);
		return false;
	}
	if (t->shape && t->shape->n_dim > MLO_MAX_RANK) {
		onnx_error(c->im, MLO_ERR_LIMIT, "input '%s' has %zu dimensions, at most %d are supported",
			   v->name, t->shape->n_dim, MLO_MAX_RANK);
		return false;
	}
	if (!t->shape && b) {
		type->rank = b->rank;
		for (int i = 0; i < b->rank; i++)
			type->dim[i] = b->dim[i] >= 0 ? mlo_dim(b->dim[i])
						      : mlo_dim_fresh(c->im->g->syms,
								      mlo_strdup(c->im->g->arena, v->name));
	} else if (t->shape) {
		type->rank = (int)t->shape->n_dim;
		for (int i = 0; i < type->rank; i++)
			type->dim[i] = input_dim(c, v->name, t->shape->dim[i],
						 b && b->rank == type->rank ? b->dim[i] : -1);
	}
	if (mlo_type_static(type) && mlo_type_bytes(type) < 0) {
		onnx_error(c->im, MLO_ERR_LIMIT, "input '%s' is too large", v->name);
		return false;
	}
	return true;
}

static void define(Inputs *c, const char *name, MloValue *v)
{
	if (!onnx_names_add(&c->sc->values, name, v)) {
		onnx_error(c->im, MLO_ERR_MODEL, "'%s' is defined twice", name);
		c->ok = false;
	}
}

static void initialiser(Inputs *c, const char *name, MloTensor *t)
{
	MloGraph *g = c->im->g;

	c->ok = c->ok && t;
	if (!*name)
		return;
	define(c, name, t ? mlo_graph_const(g, t, mlo_strdup(g->arena, name)) : &c->im->poison);
}

static void import_initialisers(Inputs *c, const Onnx__GraphProto *gp)
{
	OnnxImport *im = c->im;

	for (size_t i = 0; i < gp->n_initializer; i++) {
		const char *name = onnx_text(gp->initializer[i]->name);

		initialiser(c, name, onnx_tensor(im->g->arena, &im->src, gp->initializer[i], name, im->diag));
	}
	for (size_t i = 0; i < gp->n_sparse_initializer; i++) {
		const Onnx__SparseTensorProto *s = gp->sparse_initializer[i];
		const char *name = s->values ? onnx_text(s->values->name) : "";

		initialiser(c, name, onnx_sparse_tensor(im->g->arena, &im->src, s, name, im->diag));
	}
}

bool onnx_import_initialisers(OnnxImport *im, OnnxScope *sc, const Onnx__GraphProto *gp)
{
	Inputs c = {.im = im, .sc = sc, .ok = true};

	import_initialisers(&c, gp);
	return c.ok;
}

static void report_unused(Inputs *c)
{
	const Onnx__GraphProto *gp = c->im->model->graph;

	for (size_t i = 0; i < nbind(c); i++) {
		MloStr names = {.arena = c->im->tmp};

		if (c->used[i])
			continue;
		for (size_t k = 0; k < gp->n_input && k < 16; k++)
			if (gp->input[k]->name)
				mlo_str_add(&names, "%s'%s'", names.n ? ", " : "", gp->input[k]->name);
		onnx_error(c->im, MLO_ERR_USAGE, "no input or dimension is called '%s'",
			   c->im->opt->bind[i].name);
		mlo_hint(c->im->diag, "inputs: %s", mlo_str_text(&names));
		c->ok = false;
	}
}

/* An input, or the constant that was given for it. */
static void add_input(Inputs *c, const char *name, const MloType *type)
{
	MloGraph *g = c->im->g;
	const MloTensor *t = constant(c, name);

	if (t && (mlo_type_object(type) || t->elem != type->elem)) {
		MloStr s = {.arena = c->im->tmp};

		mlo_type_print(&s, type);
		onnx_error(c->im, MLO_ERR_USAGE, "input '%s' is %s, the constant given for it holds %s", name,
			   mlo_str_text(&s), mlo_elem_text(t->elem));
		c->ok = false;
		t = NULL;
	}
	name = mlo_strdup(g->arena, name);
	define(c, name, t ? mlo_graph_const(g, mlo_tensor_copy(g->arena, t), name)
			  : mlo_graph_input(g, name, type));
}

bool onnx_import_inputs(OnnxImport *im, OnnxScope *sc)
{
	const Onnx__GraphProto *gp = im->model->graph;
	Inputs c = {.im = im, .sc = sc, .sizes = {.arena = im->tmp}, .ok = true};
	size_t n = 0;
	const Onnx__ValueInfoProto **in = MLO_NEWN(im->tmp, const Onnx__ValueInfoProto *, gp->n_input);

	import_initialisers(&c, gp);
	bind_all(&c);
	for (size_t i = 0; i < gp->n_input; i++)
		if (is_input(&c, gp->input[i]))
			in[n++] = gp->input[i]; /* before inputs are defined: a second one of that name is an
						   error */
	for (size_t i = 0; i < n; i++) {
		MloType type;

		if (!in[i]->name || !*in[i]->name) {
			onnx_error(im, MLO_ERR_MODEL, "input %zu has no name", i);
			c.ok = false;
		} else if (!input_type(&c, in[i], &type)) {
			c.ok = false;
			define(&c, in[i]->name, &im->poison);
		} else {
			add_input(&c, in[i]->name, &type);
		}
	}
	if (c.ok)
		report_unused(&c);
	return c.ok;
}
