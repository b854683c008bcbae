/* ir/parse.c -- reads the text form of a graph; docs/IR.md describes it, print.c writes it. */
#include "ir/parse.h"

#include <stdio.h>
#include <string.h>

typedef struct Label {
	const char *key; /* NULL: free */
	MloValue *value;
} Label;

/* -- cursor --------------------------------------------------------------------------------- */

MloStatus parse_error(const Parser *c, const char *fmt, ...)
{
	char text[1000];
	int line = 1;
	va_list ap;

	for (const char *s = c->start; s < c->p && s < c->end; s++)
		line += *s == '\n';
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return mlo_error(c->d, MLO_ERR_FORMAT, "line %d: %s", line, text);
}

static void skip_blanks(Parser *c)
{
	while (c->p < c->end && strchr(" \t\r\n#", *c->p) && *c->p) {
		if (*c->p == '#')
			while (c->p < c->end && *c->p != '\n')
				c->p++;
		else
			c->p++;
	}
}

bool parse_take(Parser *c, const char *token)
{
	size_t n = strlen(token);

	skip_blanks(c);
	if ((size_t)(c->end - c->p) < n || memcmp(c->p, token, n))
		return false;
	c->p += n;
	return true;
}

bool parse_word(Parser *c, const char *word)
{
	skip_blanks(c);
	if (mlo_text_ident_len(c->p, c->end) != strlen(word))
		return false;
	return parse_take(c, word);
}

MloStatus parse_expect(Parser *c, const char *token)
{
	char near[16] = "the end";
	size_t n = 0;

	if (parse_take(c, token))
		return MLO_OK;
	if (c->p < c->end)
		for (; n < sizeof near - 1 && c->p + n < c->end && c->p[n] > ' '; n++)
			near[n] = c->p[n];
	if (n)
		near[n] = 0;
	return parse_error(c, "'%s' is expected, '%s' found", token, near);
}

static MloStatus quoted(Parser *c, const char **out)
{
	skip_blanks(c);
	*out = mlo_text_read_quoted(c->g->arena, &c->p, c->end, NULL);
	return *out ? MLO_OK : parse_error(c, "a quoted string is expected");
}

static MloStatus symbol(Parser *c, const char **out)
{
	skip_blanks(c);
	*out = mlo_text_read_symbol(c->g->arena, &c->p, c->end);
	return *out ? MLO_OK : parse_error(c, "a name is expected");
}

/* -- labels --------------------------------------------------------------------------------- */

/* %name, %"name", %name'2 or %12.  *key identifies it, *name is the value's name (NULL: none). */
static MloStatus parse_label(Parser *c, const char **key, const char **name)
{
	const char *from;
	int64_t again = 1;

	MLO_TRY(parse_expect(c, "%"));
	*name = NULL;
	for (from = c->p; c->p < c->end && *c->p >= '0' && *c->p <= '9';)
		c->p++;
	if (c->p > from) {
		*key = mlo_sprintf(c->tmp, "#%.*s", (int)(c->p - from > 20 ? 20 : c->p - from), from);
		return c->p - from > 20 ? parse_error(c, "value number too long") : MLO_OK;
	}
	*name = mlo_text_read_symbol(c->g->arena, &c->p, c->end);
	if (!*name)
		return parse_error(c, "a value is expected");
	if (c->p < c->end && *c->p == '\'') {
		c->p++;
		MLO_TRY(parse_int(c, &again));
	}
	*key = mlo_sprintf(c->tmp, "%lld'%s", (long long)again, *name);
	return MLO_OK;
}

static Label *find_label(Parser *c, const char *key)
{
	uint64_t h = 14695981039346656037u;

	if (2 * c->nlabels + 2 > c->nslots) {
		Label *old = c->labels;
		size_t n = c->nslots;

		c->nslots = n ? 4 * n : 64;
		c->labels = MLO_NEWN(c->tmp, Label, c->nslots);
		c->nlabels = 0;
		for (size_t i = 0; i < n; i++)
			if (old[i].key) {
				*find_label(c, old[i].key) = old[i];
				c->nlabels++;
			}
	}
	for (const char *s = key; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211u;
	for (size_t i = h % c->nslots;; i = (i + 1) % c->nslots)
		if (!c->labels[i].key || !strcmp(c->labels[i].key, key))
			return &c->labels[i];
}

static MloStatus define(Parser *c, const char *key, MloValue *v)
{
	Label *l = find_label(c, key);

	if (l->key)
		return parse_error(c, "value '%%%s' is defined twice", key[0] == '#' ? key + 1 : v->name);
	*l = (Label){key, v};
	c->nlabels++;
	return MLO_OK;
}

static MloStatus reference(Parser *c, MloValue **out)
{
	const char *key, *name;

	MLO_TRY(parse_label(c, &key, &name));
	*out = find_label(c, key)->value;
	if (!*out)
		return parse_error(c, "value '%%%s' is not defined", name ? name : key + 1);
	return MLO_OK;
}

/* -- types ---------------------------------------------------------------------------------- */

/* From the cursor to the , or ] that ends a dimension. */
static const char *dim_end(const Parser *c)
{
	int depth = 0;
	const char *p = c->p;

	for (; p < c->end && *p != '\n'; p++) {
		if (*p == '"')
			for (p++; p < c->end && *p != '"' && *p != '\n'; p++)
				p += *p == '\\' && p + 1 < c->end;
		if (p >= c->end || *p == '\n')
			break;
		depth += (*p == '(') - (*p == ')');
		if (depth == 0 && (*p == ',' || *p == ']'))
			return p;
	}
	return p < c->end ? p : c->end;
}

static MloStatus parse_dims(Parser *c, MloType *t)
{
	t->rank = 0;
	if (parse_take(c, "]"))
		return MLO_OK;
	do {
		const char *end;
		MloDim *dim = &t->dim[t->rank];

		if (t->rank == MLO_MAX_RANK)
			return parse_error(c, "more than %d dimensions", MLO_MAX_RANK);
		skip_blanks(c);
		end = dim_end(c);
		if (!mlo_dim_parse(c->g->syms, c->p, (size_t)(end - c->p), dim) || (!dim->e && dim->k < 0))
			return parse_error(c, "malformed dimension '%.*s'", (int)(end - c->p > 60 ? 60 : end - c->p),
			                   c->p);
		t->rank++;
		c->p = end;
	} while (parse_take(c, ","));
	return parse_expect(c, "]");
}

static MloStatus parse_elem(Parser *c, MloElem *out)
{
	size_t n;

	skip_blanks(c);
	n = mlo_text_ident_len(c->p, c->end);
	*out = mlo_elem_from_text(c->p, n);
	if (*out == EL_none)
		return parse_error(c, "unknown element type '%.*s'", (int)(n > 60 ? 60 : n), c->p);
	c->p += n;
	return MLO_OK;
}

/* f32[1,batch,4*seq+1]@c16@bf16 */
static MloStatus parse_tensor_type(Parser *c, MloType *t, MloLayout *layout)
{
	int64_t block;

	if (!parse_take(c, "?"))
		MLO_TRY(parse_elem(c, &t->elem));
	MLO_TRY(parse_expect(c, "["));
	if (parse_take(c, "*"))
		MLO_TRY(parse_expect(c, "]"));
	else
		MLO_TRY(parse_dims(c, t));
	if (t->kind == MLO_TENSOR && parse_take(c, "@c")) {
		MLO_TRY(parse_int(c, &block));
		if (block < 1 || block > 1024)
			return parse_error(c, "layout of blocks of %lld", (long long)block);
		layout->block = (int16_t)block;
	}
	if (t->kind == MLO_TENSOR && t->elem == EL_f32)
		layout->stored = parse_take(c, "@bf16") ? EL_bf16 : parse_take(c, "@f16") ? EL_f16 : parse_take(c, "@tf32") ? EL_tf32 : EL_none;
	return MLO_OK;
}

static MloStatus parse_map_type(Parser *c, MloType *t)
{
	MLO_TRY(parse_elem(c, &t->key));
	if (t->key != EL_i64 && t->key != EL_str)
		return parse_error(c, "keys of a map are i64 or str, not %s", mlo_elem_text(t->key));
	MLO_TRY(parse_expect(c, ","));
	return parse_elem(c, &t->elem);
}

/* A tensor's type, or seq(...), opt(...), opt(seq(...)), map(key,value), seq(map(...)). */
static MloStatus parse_type(Parser *c, MloType *t, MloLayout *layout)
{
	static const struct { const char *outer, *inner; MloTypeKind kind; } forms[] = {
		{"seq", "map", MLO_SEQ_MAP}, {"seq", NULL, MLO_SEQ}, {"opt", "seq", MLO_OPT_SEQ},
		{"opt", NULL, MLO_OPT}, {"map", NULL, MLO_MAP},
	};
	const char *from = c->p;

	*t = (MloType){.rank = MLO_RANK_UNKNOWN};
	*layout = (MloLayout){0};
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++, c->p = from) {
		if (!parse_word(c, forms[i].outer) || !parse_take(c, "("))
			continue;
		if (forms[i].inner && !(parse_word(c, forms[i].inner) && parse_take(c, "(")))
			continue;
		t->kind = forms[i].kind;
		if (t->kind == MLO_MAP || t->kind == MLO_SEQ_MAP)
			MLO_TRY(parse_map_type(c, t));
		else
			MLO_TRY(parse_tensor_type(c, t, layout));
		if (forms[i].inner)
			MLO_TRY(parse_expect(c, ")"));
		return parse_expect(c, ")");
	}
	return parse_tensor_type(c, t, layout);
}

/* -- nodes ---------------------------------------------------------------------------------- */

static MloStatus parse_ints(Parser *c, MloNode *n, int slot)
{
	struct { int64_t *items; size_t n, cap; } list = {0};
	int64_t v;

	MLO_TRY(parse_expect(c, "["));
	while (!parse_take(c, "]")) {
		if (list.n)
			MLO_TRY(parse_expect(c, ","));
		MLO_TRY(parse_int(c, &v));
		MLO_PUSH(c->tmp, &list, v);
	}
	mlo_attr_set_ints(c->g, n, slot, list.items, (int)list.n);
	return MLO_OK;
}

static MloStatus parse_floats(Parser *c, MloNode *n, int slot)
{
	struct { double *items; size_t n, cap; } list = {0};
	double v;

	MLO_TRY(parse_expect(c, "["));
	while (!parse_take(c, "]")) {
		if (list.n)
			MLO_TRY(parse_expect(c, ","));
		MLO_TRY(parse_double(c, &v));
		MLO_PUSH(c->tmp, &list, v);
	}
	mlo_attr_set_floats(c->g, n, slot, list.items, (int)list.n);
	return MLO_OK;
}

static MloStatus parse_graph(Parser *c);

static MloStatus parse_body_attr(Parser *c, MloNode *n, int slot)
{
	Parser inner = *c;

	if (++inner.depth > MLO_MAX_DEPTH)
		return parse_error(c, "bodies are nested more than %d deep", MLO_MAX_DEPTH);
	inner.g = mlo_graph_body(c->g, NULL);
	inner.labels = NULL;
	inner.nlabels = inner.nslots = 0;
	MLO_TRY(parse_graph(&inner));
	c->p = inner.p;
	c->expanded = inner.expanded;
	mlo_attr_set_graph(n, slot, inner.g);
	return MLO_OK;
}

static MloStatus parse_attr_value(Parser *c, MloNode *n, int slot)
{
	int64_t i;
	double f;
	const char *s;

	switch (mlo_op_info(n->op)->attr[slot].kind) {
	case AK_INT:
		MLO_TRY(parse_int(c, &i));
		mlo_attr_set_i(n, slot, i);
		return MLO_OK;
	case AK_FLOAT:
		MLO_TRY(parse_double(c, &f));
		mlo_attr_set_f(n, slot, f);
		return MLO_OK;
	case AK_STR:
		MLO_TRY(symbol(c, &s));
		mlo_attr_set_s(c->g, n, slot, s);
		return MLO_OK;
	case AK_INTS:
		return parse_ints(c, n, slot);
	case AK_FLOATS:
		return parse_floats(c, n, slot);
	case AK_GRAPH:
		return parse_body_attr(c, n, slot);
	}
	return MLO_OK;
}

static MloStatus parse_attrs(Parser *c, MloNode *n)
{
	if (!parse_take(c, "{") || parse_take(c, "}"))
		return MLO_OK;
	do {
		size_t len;
		int slot;

		skip_blanks(c);
		len = mlo_text_ident_len(c->p, c->end);
		slot = mlo_attr_slot(n->op, c->p, len);
		if (slot < 0)
			return parse_error(c, "%s has no attribute '%.*s'", mlo_op_info(n->op)->name,
			                   (int)(len > 60 ? 60 : len), c->p);
		c->p += len;
		MLO_TRY(parse_expect(c, "="));
		MLO_TRY(parse_attr_value(c, n, slot));
	} while (parse_take(c, ","));
	return parse_expect(c, "}");
}

static MloStatus parse_origin(Parser *c, MloNode *n)
{
	if (!parse_word(c, "from"))
		return MLO_OK;
	do {
		MloOrigin o = {0};
		int64_t opset = 0;

		if (!parse_word(c, "_"))
			MLO_TRY(quoted(c, &o.name));
		if (parse_take(c, "(")) {
			if (!parse_word(c, "_"))
				MLO_TRY(symbol(c, &o.op));
			MLO_TRY(parse_expect(c, ","));
			MLO_TRY(parse_int(c, &opset));
			MLO_TRY(parse_expect(c, ")"));
			if (opset < 0 || opset > INT32_MAX)
				return parse_error(c, "opset %lld", (long long)opset);
			o.opset = (int)opset;
		}
		mlo_origin_add(c->g, n, &o);
	} while (parse_take(c, ","));
	return MLO_OK;
}

typedef struct Results {
	struct { const char *key, *name; } *items; /* key NULL: absent */
	size_t n, cap;
} Results;

static MloStatus parse_results(Parser *c, Results *r)
{
	do {
		r->n++;
		if (r->n > r->cap)
			r->items = mlo_grow(c->tmp, r->items, r->n - 1, &r->cap, sizeof *r->items);
		if (parse_word(c, "_"))
			r->items[r->n - 1].key = NULL;
		else
			MLO_TRY(parse_label(c, &r->items[r->n - 1].key, &r->items[r->n - 1].name));
	} while (parse_take(c, ","));
	return parse_expect(c, "=");
}

static MloStatus parse_operands(Parser *c, MloValue ***in, uint32_t *nin)
{
	struct { MloValue **items; size_t n, cap; } list = {0};

	MLO_TRY(parse_expect(c, "("));
	while (!parse_take(c, ")")) {
		MloValue *v = NULL;

		if (list.n)
			MLO_TRY(parse_expect(c, ","));
		if (!parse_word(c, "_"))
			MLO_TRY(reference(c, &v));
		MLO_PUSH(c->tmp, &list, v);
	}
	*in = list.items;
	*nin = (uint32_t)list.n;
	return MLO_OK;
}

/* The types after the colon; without one they are inferred. */
static MloStatus parse_result_types(Parser *c, MloNode *n)
{
	bool first = true;

	if (!parse_take(c, ":"))
		return mlo_infer_node(c->g, n, c->d);
	for (uint32_t i = 0; i < n->nout; i++) {
		if (!n->out[i])
			continue;
		if (!first)
			MLO_TRY(parse_expect(c, ","));
		MLO_TRY(parse_type(c, &n->out[i]->type, &n->out[i]->layout));
		first = false;
	}
	return MLO_OK;
}

static MloStatus parse_node(Parser *c)
{
	Results r = {0};
	MloValue **in;
	uint32_t nin;
	size_t len;
	int64_t group;
	MloOp op;
	MloNode *n;

	MLO_TRY(parse_results(c, &r));
	skip_blanks(c);
	len = mlo_text_ident_len(c->p, c->end);
	if (!mlo_op_find(c->p, len, &op))
		return parse_error(c, "unknown operator '%.*s'", (int)(len > 60 ? 60 : len), c->p);
	c->p += len;
	MLO_TRY(parse_operands(c, &in, &nin));
	n = mlo_graph_node(c->g, NULL, op, in, nin, (uint32_t)r.n);
	for (uint32_t i = 0; i < n->nout; i++) {
		if (r.items[i].key)
			n->out[i]->name = r.items[i].name;
		else
			n->out[i] = NULL;
	}
	MLO_TRY(parse_attrs(c, n));
	MLO_TRY(parse_result_types(c, n));
	if (parse_word(c, "group")) {
		MLO_TRY(parse_int(c, &group));
		if (group < 1 || group > UINT32_MAX)
			return parse_error(c, "group %lld", (long long)group);
		n->group = (uint32_t)group;
	}
	MLO_TRY(parse_origin(c, n));
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i])
			MLO_TRY(define(c, r.items[i].key, n->out[i]));
	return MLO_OK;
}

/* -- the rest of a graph -------------------------------------------------------------------- */

static MloStatus parse_const(Parser *c)
{
	const char *key, *name;
	const MloTensor *data;
	MloLayout layout;
	MloType t;
	MloValue *v;

	MLO_TRY(parse_label(c, &key, &name));
	MLO_TRY(parse_expect(c, ":"));
	MLO_TRY(parse_type(c, &t, &layout));
	if (mlo_type_object(&t))
		return parse_error(c, "a constant is a tensor");
	MLO_TRY(parse_expect(c, "="));
	MLO_TRY(parse_data(c, &t, &data));
	v = mlo_graph_const(c->g, data, name);
	v->layout = layout;
	return define(c, key, v);
}

static MloStatus parse_meta(Parser *c)
{
	const char *key, *value;

	MLO_TRY(quoted(c, &key));
	MLO_TRY(parse_expect(c, "="));
	MLO_TRY(quoted(c, &value));
	mlo_graph_meta(c->g, key, value);
	return MLO_OK;
}

static MloStatus parse_sym(Parser *c)
{
	const char *name;
	int64_t lo, hi;

	MLO_TRY(symbol(c, &name));
	MLO_TRY(parse_expect(c, "="));
	MLO_TRY(parse_int(c, &lo));
	MLO_TRY(parse_expect(c, ".."));
	MLO_TRY(parse_int(c, &hi));
	if (lo < 0 || hi < lo || hi > MLO_MAX_ELEMS)
		return parse_error(c, "range %lld..%lld of '%s'", (long long)lo, (long long)hi, name);
	mlo_sym_range(c->g->syms, name, lo, hi);
	return MLO_OK;
}

static MloStatus parse_inputs(Parser *c)
{
	MLO_TRY(parse_expect(c, "("));
	while (!parse_take(c, ")")) {
		const char *key, *name;
		MloLayout layout;
		MloType t;
		MloValue *v;

		if (c->g->ninputs)
			MLO_TRY(parse_expect(c, ","));
		MLO_TRY(parse_label(c, &key, &name));
		MLO_TRY(parse_expect(c, ":"));
		MLO_TRY(parse_type(c, &t, &layout));
		v = mlo_graph_input(c->g, name, &t);
		v->layout = layout;
		MLO_TRY(define(c, key, v));
	}
	return MLO_OK;
}

/* Outputs stand before the body: skipped at first (adding nothing), then resolved. */
static MloStatus parse_outputs(Parser *c, bool resolve)
{
	bool first = true;

	MLO_TRY(parse_expect(c, "("));
	for (; !parse_take(c, ")"); first = false) {
		const char *key, *label, *name;
		MloValue *v;

		if (!first)
			MLO_TRY(parse_expect(c, ","));
		MLO_TRY(parse_label(c, &key, &label));
		name = label;
		if (parse_word(c, "as")) {
			name = NULL;
			if (!parse_word(c, "_"))
				MLO_TRY(quoted(c, &name));
		}
		if (!resolve)
			continue;
		v = find_label(c, key)->value;
		if (!v)
			return parse_error(c, "output '%%%s' is not defined", label ? label : key + 1);
		mlo_graph_output(c->g, v, name);
	}
	return MLO_OK;
}

static MloStatus parse_body(Parser *c)
{
	while (!parse_take(c, "}")) {
		if (parse_word(c, "const"))
			MLO_TRY(parse_const(c));
		else if (parse_word(c, "meta"))
			MLO_TRY(parse_meta(c));
		else if (parse_word(c, "sym"))
			MLO_TRY(parse_sym(c));
		else
			MLO_TRY(parse_node(c));
	}
	return MLO_OK;
}

static MloStatus parse_graph(Parser *c)
{
	const char *outputs, *rest;

	if (!parse_word(c, "graph"))
		return parse_expect(c, "graph");
	if (parse_take(c, "@"))
		MLO_TRY(symbol(c, &c->g->name));
	MLO_TRY(parse_inputs(c));
	MLO_TRY(parse_expect(c, "->"));
	outputs = c->p;
	MLO_TRY(parse_outputs(c, false));
	MLO_TRY(parse_expect(c, "{"));
	MLO_TRY(parse_body(c));
	rest = c->p;
	c->p = outputs;
	MLO_TRY(parse_outputs(c, true));
	c->p = rest;
	return MLO_OK;
}

static MloStatus parse_text(Parser *c)
{
	MLO_TRY(parse_graph(c));
	skip_blanks(c);
	if (c->p < c->end)
		return parse_error(c, "text after the graph");
	return mlo_verify(c->g, c->d);
}

MloGraph *mlo_parse(const char *text, size_t n, MloBlobLookup blobs, void *user, MloDiag *d)
{
	Parser c = {.g = mlo_graph_new(NULL), .tmp = mlo_arena_new(), .start = text, .p = text,
	            .end = text + n, .blobs = blobs, .user = user, .d = d};
	MloStatus st = MLO_ERR_NOMEM;

	if (c.g && c.tmp)
		st = parse_text(&c);
	else
		mlo_error(d, st, "out of memory");
	mlo_arena_free(c.tmp);
	if (st != MLO_OK) {
		mlo_graph_free(c.g);
		return NULL;
	}
	return c.g;
}
