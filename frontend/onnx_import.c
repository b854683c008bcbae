/* frontend/onnx_import.c -- a model to a graph: the driver. */
#include "frontend/onnx_import.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Functions may multiply nodes: this many per node of the main graph, and some. */
enum { NODES_FREE = 1 << 16, NODES_FACTOR = 16 };

void onnx_error(OnnxImport *im, MloStatus st, const char *fmt, ...)
{
	char text[1500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	mlo_error(im->diag, st, "%s", text);
	if (im->status == MLO_OK)
		im->status = st;
}

/* -- operator sets and functions ------------------------------------------------------------------ */

const char *onnx_domain(const char *domain)
{
	return !domain || !strcmp(domain, "ai.onnx") ? "" : domain;
}

static int opset_in(Onnx__OperatorSetIdProto *const *list, size_t n, const char *domain)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(onnx_domain(list[i]->domain), domain))
			return list[i]->version > 0 && list[i]->version < INT32_MAX ? (int)list[i]->version
										    : 0;
	return 0;
}

int onnx_opset(const OnnxImport *im, const OnnxScope *sc, const char *domain)
{
	int v = sc->fn ? opset_in(sc->fn->opset_import, sc->fn->n_opset_import, domain) : 0;

	return v ? v : opset_in(im->model->opset_import, im->model->n_opset_import, domain);
}

static const char *function_key(const OnnxImport *im, const char *domain, const char *name,
				const char *overload)
{
	return mlo_sprintf(im->tmp, "%s:%s:%s", onnx_domain(domain), onnx_text(name), onnx_text(overload));
}

static void index_functions(OnnxImport *im)
{
	im->functions.arena = im->tmp;
	for (size_t i = 0; i < im->model->n_functions; i++) {
		Onnx__FunctionProto *f = im->model->functions[i];

		if (!onnx_names_add(&im->functions, function_key(im, f->domain, f->name, f->overload), f))
			onnx_error(im, MLO_ERR_MODEL, "function '%s' is defined twice", onnx_text(f->name));
	}
}

const Onnx__FunctionProto *onnx_function(const OnnxImport *im, const Onnx__NodeProto *p)
{
	return im->functions.n
		       ? onnx_names_get(&im->functions, function_key(im, p->domain, p->op_type, p->overload))
		       : NULL;
}

static bool check_opset(OnnxImport *im, Onnx__OperatorSetIdProto *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (*onnx_domain(list[i]->domain))
			continue;
		if (list[i]->version >= MLO_ONNX_OPSET_MIN && list[i]->version <= MLO_ONNX_OPSET_MAX)
			continue;
		onnx_error(im, MLO_ERR_UNSUPPORTED, "the model is of opset %lld, %d to %d are supported",
			   (long long)list[i]->version, MLO_ONNX_OPSET_MIN, MLO_ONNX_OPSET_MAX);
		mlo_hint(im->diag, "export it with another opset, or convert it with onnx.version_converter");
		return false;
	}
	return true;
}

static bool check_opsets(OnnxImport *im)
{
	const Onnx__ModelProto *m = im->model;

	if (!check_opset(im, m->opset_import, m->n_opset_import))
		return false;
	for (size_t i = 0; i < m->n_functions; i++)
		if (!check_opset(im, m->functions[i]->opset_import, m->functions[i]->n_opset_import))
			return false;
	return true;
}

/* -- nodes ------------------------------------------------------------------------------------------ */

/* A capture becomes an input of the body; constants are copied in. */
static MloValue *capture(OnnxImport *im, OnnxScope *sc, const char *name, MloValue *outer)
{
	MloValue *v = &im->poison;
	MloType t;

	if (outer->data) {
		v = mlo_graph_const(sc->g, outer->data, outer->name);
	} else if (outer != &im->poison) {
		t = outer->type;
		for (int i = 0; i < t.rank; i++)
			t.dim[i] = t.dim[i].e ? mlo_dim_fresh(sc->g->syms, "in") : t.dim[i];
		v = mlo_graph_input(sc->g, outer->name, &t);
		MLO_PUSH(im->tmp, sc->captures, ((struct OnnxCapture){name, outer}));
	}
	onnx_names_add(&sc->values, name, v);
	return v;
}

MloValue *onnx_value(OnnxImport *im, OnnxScope *sc, const char *name)
{
	MloValue *v = onnx_names_get(&sc->values, name);

	if (v || !sc->outer)
		return v;
	v = onnx_value(im, sc->outer, name);
	return v && sc->captures ? capture(im, sc, name, v) : v;
}

/* Looks operands up. False when one is missing or came from a node that failed. */
static bool operands(OnnxImport *im, OnnxScope *sc, const Onnx__NodeProto *p, const char *name, MloValue **in)
{
	bool ok = true;

	for (size_t i = 0; i < p->n_input; i++) {
		if (!*p->input[i])
			continue;
		in[i] = onnx_value(im, sc, p->input[i]);
		if (!in[i])
			onnx_error(
				im, MLO_ERR_MODEL,
				"node '%s' (%s): operand '%s' is no input, initialiser or result of a node",
				name, onnx_text(p->op_type), p->input[i]);
		ok = ok && in[i] && in[i] != &im->poison;
	}
	return ok;
}

/* A NULL result is one that an optional operand of a function passed through. */
static void define_results(OnnxImport *im, OnnxScope *sc, const Onnx__NodeProto *p, const char *name,
			   MloValue *const *out)
{
	for (size_t i = 0; i < p->n_output; i++)
		if (*p->output[i] &&
		    !onnx_names_add(&sc->values, p->output[i], out[i] ? out[i] : &im->poison))
			onnx_error(im, MLO_ERR_MODEL, "node '%s' (%s): '%s' is defined twice", name,
				   onnx_text(p->op_type), p->output[i]);
}

static void check_attributes(OnnxNode *n)
{
	for (size_t i = 0; i < n->p->n_attribute && !n->failed; i++)
		if (i >= 64 || !(n->asked >> i & 1))
			onnx_fail(n, MLO_ERR_UNSUPPORTED, "attribute '%s' is not known; known: %s",
				  onnx_text(n->p->attribute[i]->name), n->known.n ? mlo_str_text(&n->known) : "none");
}

static void run_importer(OnnxNode *n)
{
	n->row->fn(n);
	check_attributes(n);
	for (uint32_t i = 0; i < n->nout; i++) {
		if (n->failed)
			n->out[i] = NULL;
		else if (onnx_wanted(n, i) && !n->out[i])
			onnx_fail(n, MLO_ERR_UNSUPPORTED, "result %u ('%s') is not supported", i,
				  n->p->output[i]);
	}
}

/* Imports the body of a function in place of the call. */
static void inline_call(OnnxImport *im, OnnxScope *sc, const Onnx__NodeProto *p,
			const Onnx__FunctionProto *fn, const char *name, MloValue *const *in, MloValue **out)
{
	OnnxScope inner = {.parent = sc, .call = p, .fn = fn, .values = {.arena = im->tmp}};

	inner.prefix = mlo_sprintf(im->g->arena, "%s/", name);
	if (p->n_input > fn->n_input || p->n_output > fn->n_output) {
		onnx_error(im, MLO_ERR_MODEL,
			   "node '%s': function '%s' takes %zu operands and gives %zu results", name,
			   onnx_text(fn->name), fn->n_input, fn->n_output);
		return;
	}
	for (size_t i = 0; i < fn->n_input; i++)
		if (i < p->n_input && in[i] && !onnx_names_add(&inner.values, fn->input[i], in[i]))
			onnx_error(im, MLO_ERR_MODEL, "function '%s': '%s' is defined twice",
				   onnx_text(fn->name), fn->input[i]);
	onnx_import_nodes(im, &inner, fn->node, fn->n_node);
	for (size_t i = 0; i < p->n_output; i++) {
		out[i] = onnx_names_get(&inner.values, fn->output[i]);
		if (!out[i] && *p->output[i])
			onnx_error(im, MLO_ERR_MODEL, "function '%s' does not define its result '%s'",
				   onnx_text(fn->name), fn->output[i]);
	}
}

/* Inner optional operands that the call left out stand as "" in the body. */
static const Onnx__NodeProto *drop_absent(OnnxImport *im, OnnxScope *sc, const Onnx__NodeProto *p)
{
	Onnx__NodeProto *copy = NULL;

	for (size_t i = 0; sc->fn && i < p->n_input; i++) {
		bool formal = false;

		for (size_t k = 0; k < sc->fn->n_input && !formal; k++)
			formal = !strcmp(sc->fn->input[k], p->input[i]);
		if (!formal || onnx_value(im, sc, p->input[i]))
			continue;
		if (!copy) {
			copy = mlo_dup(im->tmp, p, sizeof *p);
			copy->input = mlo_dup(im->tmp, p->input, p->n_input * sizeof *p->input);
		}
		copy->input[i] = mlo_strdup(im->tmp, "");
	}
	return copy ? copy : p;
}

static MloOrigin *origin_of(OnnxImport *im, const OnnxScope *sc, const Onnx__NodeProto *p, int opset)
{
	MloOrigin *o = MLO_NEW(im->g->arena, MloOrigin);
	const char *name = p->name && *p->name ? p->name : "";

	for (size_t i = 0; !*name && i < p->n_output; i++)
		name = p->output[i];
	o->name = mlo_sprintf(im->g->arena, "%s%s", sc->prefix, *name ? name : onnx_text(p->op_type));
	o->op = mlo_strdup(im->g->arena, onnx_text(p->op_type));
	o->opset = opset;
	return o;
}

void onnx_import_node(OnnxImport *im, OnnxScope *sc, const Onnx__NodeProto *p)
{
	const Onnx__FunctionProto *fn = onnx_function(im, p);
	const char *domain = onnx_domain(p->domain);
	int opset = onnx_opset(im, sc, domain);
	MloOrigin *origin = origin_of(im, sc, p, opset);
	OnnxNode n = {.im = im, .scope = sc, .g = im->g, .opset = opset, .origin = origin, .known = {.arena = im->tmp}};

	if (im->ncreated++ >= im->max_nodes) {
		if (im->ncreated == im->max_nodes + 1)
			onnx_error(im, MLO_ERR_LIMIT, "more than %zu nodes after functions are inlined",
				   im->max_nodes);
		return;
	}
	p = drop_absent(im, sc, p);
	n.p = p;
	n.in = MLO_NEWN(im->tmp, MloValue *, p->n_input);
	n.out = MLO_NEWN(im->tmp, MloValue *, p->n_output);
	n.nin = (uint32_t)p->n_input;
	n.nout = (uint32_t)p->n_output;
	n.row = fn ? NULL : onnx_op_find(domain, onnx_text(p->op_type), opset);
	if (operands(im, sc, p, origin->name, n.in)) {
		while (n.nin && !n.in[n.nin - 1])
			n.nin--;
		if (fn)
			inline_call(im, sc, p, fn, origin->name, n.in, n.out);
		else if (n.row)
			run_importer(&n);
	}
	define_results(im, sc, p, origin->name, n.out);
}

void onnx_import_nodes(OnnxImport *im, OnnxScope *sc, Onnx__NodeProto *const *node, size_t n)
{
	const size_t *order = onnx_sort(im, node, n);

	for (size_t i = 0; order && i < n && im->ncreated <= im->max_nodes; i++)
		onnx_import_node(im, sc, node[order[i]]);
}

/* -- the model ------------------------------------------------------------------------------------- */

static void add_meta(OnnxImport *im, const char *key, const char *value)
{
	MloMeta *m, **at = &im->g->meta;

	if (!key || !*key || !value || !*value)
		return;
	while (*at)
		at = &(*at)->next;
	m = MLO_NEW(im->g->arena, MloMeta);
	m->key = mlo_strdup(im->g->arena, key);
	m->value = mlo_strdup(im->g->arena, value);
	*at = m;
}

static void add_meta_int(OnnxImport *im, const char *key, int64_t value)
{
	add_meta(im, key, mlo_sprintf(im->tmp, "%lld", (long long)value));
}

void onnx_import_meta(OnnxImport *im)
{
	const Onnx__ModelProto *m = im->model;

	add_meta_int(im, "onnx.ir_version", m->ir_version);
	for (size_t i = 0; i < m->n_opset_import && i < 256; i++) {
		const char *domain = onnx_domain(m->opset_import[i]->domain);

		add_meta_int(im, mlo_sprintf(im->tmp, "onnx.opset.%s", *domain ? domain : "ai.onnx"),
			     m->opset_import[i]->version);
	}
	add_meta(im, "onnx.producer_name", m->producer_name);
	add_meta(im, "onnx.producer_version", m->producer_version);
	add_meta(im, "onnx.domain", m->domain);
	if (m->has_model_version)
		add_meta_int(im, "onnx.model_version", m->model_version);
	add_meta(im, "onnx.doc_string", m->doc_string);
	add_meta(im, "onnx.graph_doc_string", m->graph->doc_string);
	for (size_t i = 0; i < m->n_metadata_props && i < 4096; i++)
		if (m->metadata_props[i]->key && strncmp(m->metadata_props[i]->key, "mlopt.", 6) != 0) /* ours */
			add_meta(im, m->metadata_props[i]->key, m->metadata_props[i]->value);
}

static void import_outputs(OnnxImport *im, OnnxScope *sc)
{
	const Onnx__GraphProto *gp = im->model->graph;
	OnnxNames seen = {.arena = im->tmp};

	if (gp->n_output == 0)
		onnx_error(im, MLO_ERR_MODEL, "the graph has no outputs");
	for (size_t i = 0; i < gp->n_output; i++) {
		const char *name = onnx_text(gp->output[i]->name);
		MloValue *v = onnx_names_get(&sc->values, name);

		if (!v)
			onnx_error(im, MLO_ERR_MODEL,
				   "output '%s' is no input, initialiser or result of a node", name);
		else if (!onnx_names_add(&seen, name, v))
			onnx_error(im, MLO_ERR_MODEL, "output '%s' is listed twice", name);
		else if (v != &im->poison)
			mlo_graph_output(im->g, v, mlo_strdup(im->g->arena, name));
	}
}

static void import_model(OnnxImport *im)
{
	OnnxScope main = {.prefix = "", .values = {.arena = im->tmp}};
	const Onnx__GraphProto *gp = im->model->graph;

	im->max_nodes = NODES_FREE + NODES_FACTOR * gp->n_node;
	index_functions(im);
	if (im->status != MLO_OK || !check_opsets(im) || !onnx_check_operators(im))
		return;
	onnx_import_meta(im);
	if (!onnx_import_inputs(im, &main) && im->status == MLO_OK)
		im->status = MLO_ERR_MODEL; /* the tensor's own error is recorded */
	onnx_import_nodes(im, &main, gp->node, gp->n_node);
	if (im->status == MLO_OK)
		import_outputs(im, &main);
}

typedef struct Load {
	OnnxBytes bytes;
	const char *path; /* a file to map; NULL: bytes are given */
	const char *dir;
	const MloOnnxOptions *opt;
	MloDiag *diag;
	MloGraph *g;
} Load;

static void note_mapping(MloGraph *g, OnnxBytes b)
{
	MloMapped *m = MLO_NEW(g->arena, MloMapped);

	*m = (MloMapped){(void *)(uintptr_t)b.p, b.n, g->mapped};
	g->mapped = b.n ? m : g->mapped;
}

static bool open_model(Load *l, MloGraph *g, MloArena *tmp)
{
	const char *slash;
	int fd;

	if (!l->path)
		return true;
	slash = strrchr(l->path, '/');
	l->dir = slash == l->path ? "/" : slash ? mlo_strndup(tmp, l->path, (size_t)(slash - l->path)) : "";
	fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		mlo_error(l->diag, MLO_ERR_IO, "%s", strerror(errno));
		return false;
	}
	if (!onnx_map_file(g->arena, fd, l->path, &l->bytes, l->diag))
		return false;
	note_mapping(g, l->bytes);
	return true;
}

static bool load_graph(Load *l, MloGraph *g, MloArena *tmp)
{
	OnnxImport im = {.g = g, .tmp = tmp, .diag = l->diag, .opt = l->opt};
	const Onnx__ModelProto *m;

	if (!open_model(l, g, tmp))
		return false;
	m = onnx_unpack(tmp, &onnx__model_proto__descriptor, l->bytes, l->diag);
	if (!m)
		return false;
	if (!m->graph) {
		mlo_error(l->diag, MLO_ERR_FORMAT, "the file holds no graph: not an ONNX model");
		return false;
	}
	im.model = m;
	im.src = (OnnxSource){.bytes = l->bytes, .borrow = l->path != NULL, .dir = l->dir, .owner = g->arena};
	if (m->graph->name && *m->graph->name)
		g->name = mlo_strdup(g->arena, m->graph->name);
	import_model(&im);
	for (const OnnxFile *f = im.src.files; f; f = f->next) {
		note_mapping(g, f->bytes);
		mlo_graph_meta(g, mlo_sprintf(tmp, MLO_ONNX_EXTERNAL "%s", f->location), "");
	}
	return im.status == MLO_OK;
}

static void load(void *arg)
{
	Load *l = arg;
	MloArena *tmp = mlo_arena_new();
	MloGraph *g = mlo_graph_new("main");
	bool ok = false;

	if (tmp && g)
		ok = load_graph(l, g, tmp);
	else
		mlo_error(l->diag, MLO_ERR_NOMEM, "out of memory");
	mlo_arena_free(tmp);
	if (ok)
		l->g = g;
	else if (g && l->opt && l->opt->partial)
		*l->opt->partial = g;
	else if (g)
		mlo_graph_free(g);
}

static MloGraph *run_load(Load *l, const char *where)
{
	const char *outer = l->diag ? l->diag->where : NULL;

	if (l->diag)
		l->diag->where = where;
	if (l->opt && l->opt->partial)
		*l->opt->partial = NULL;
	if (!mlo_guarded(load, l)) {
		l->g = NULL;
		mlo_error(l->diag, MLO_ERR_NOMEM, "out of memory");
	}
	if (l->diag)
		l->diag->where = outer;
	return l->g;
}

MloGraph *mlo_onnx_load(const char *path, const MloOnnxOptions *opt, MloDiag *d)
{
	return run_load(&(Load){.path = path, .opt = opt, .diag = d}, path);
}

MloGraph *mlo_onnx_load_memory(const void *p, size_t n, const char *where, const char *dir,
			       const MloOnnxOptions *opt, MloDiag *d)
{
	return run_load(&(Load){.bytes = {p, n}, .dir = dir, .opt = opt, .diag = d}, where);
}
