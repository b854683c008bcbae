/* ir/print.c -- the text form of a graph; docs/IR.md describes it, parse.c reads it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/graph.h"
#include "ir/text.h"

enum { INLINE_ELEMS = 16 };

typedef struct Name {
	const char *name;
	uint32_t count;
} Name;

typedef struct Printer {
	MloStr *out;
	const MloGraph *g;
	bool full;
	MloArena *tmp;
	const char **label; /* by value id: text after the % */
	uint32_t next;      /* number of the next unnamed value */
	Name *names;        /* hash table of names given so far */
	size_t nslots;
	int depth;          /* of bodies */
	int64_t *expand;    /* bytes that may still be abbreviated, bodies included */
} Printer;

static void print_body(const Printer *p, const MloGraph *g);

static void indent(const Printer *p)
{
	mlo_str_add(p->out, "%*s", 2 + 4 * p->depth, "");
}

/* How often `name` was given before; counts this time. */
static uint32_t count_name(Printer *p, const char *name)
{
	uint64_t h = 14695981039346656037u;

	for (const char *s = name; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211u;
	for (size_t i = h % p->nslots;; i = (i + 1) % p->nslots) {
		if (!p->names[i].name)
			p->names[i].name = name;
		if (!strcmp(p->names[i].name, name))
			return p->names[i].count++;
	}
}

/* %name, %"odd name", %name'2 for the second value of that name, %7 for the unnamed. */
static void give_label(Printer *p, const MloValue *v)
{
	MloStr s = {.arena = p->tmp};
	uint32_t before;

	if (!v->name) {
		mlo_str_add(&s, "%u", p->next++);
	} else {
		before = count_name(p, v->name);
		if (mlo_text_is_ident(v->name, strlen(v->name)))
			mlo_str_add(&s, "%s", v->name);
		else
			mlo_text_quote(&s, v->name, strlen(v->name));
		if (before)
			mlo_str_add(&s, "'%u", before + 1);
	}
	p->label[v->id] = mlo_str_text(&s);
}

static void label_all(Printer *p)
{
	const MloGraph *g = p->g;

	for (uint32_t i = 0; i < g->ninputs; i++)
		give_label(p, g->inputs[i]);
	for (size_t i = 0; i < g->consts.n; i++)
		if (g->consts.items[i]->nuse)
			give_label(p, g->consts.items[i]);
	for (const MloNode *n = g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i])
				give_label(p, n->out[i]);
}

static void print_ref(Printer *p, const MloValue *v)
{
	if (v)
		mlo_str_add(p->out, "%%%s", p->label[v->id] ? p->label[v->id] : "!undefined");
	else
		mlo_str_add(p->out, "_");
}

static void print_type(Printer *p, const MloValue *v)
{
	mlo_type_print(p->out, &v->type);
	if (v->layout.block)
		mlo_str_add(p->out, "@c%d", v->layout.block);
	if (v->layout.stored)
		mlo_str_add(p->out, "@%s", mlo_elem_text(v->layout.stored));
}

/* -- constants ------------------------------------------------------------------------------ */

/* Element i is a NaN: does "nan" or "-nan" give the same bits? */
static bool plain_nan(const MloTensor *t, int64_t i, double v)
{
	unsigned char bytes[8] = {0};
	int64_t one = 1;
	MloTensor e = {.elem = t->elem, .rank = 1, .dim = {one}, .data = bytes, .nbytes = 8};
	unsigned bits = mlo_elem_bits(t->elem);

	mlo_tensor_set_f64(&e, 0, signbit(v) ? -(double)NAN : (double)NAN);
	if (bits < 8)
		return true; /* no type of fewer bits holds a NaN */
	return !memcmp(bytes, (const char *)t->data + (size_t)i * (bits / 8), bits / 8);
}

static void print_bits(MloStr *out, const MloTensor *t, int64_t i)
{
	unsigned nbytes = mlo_elem_bits(t->elem) / 8;
	const unsigned char *b = (const unsigned char *)t->data + (size_t)i * nbytes;

	mlo_str_add(out, "0x");
	while (nbytes--)
		mlo_str_add(out, "%02x", b[nbytes]);
}

static void print_complex(MloStr *out, const MloTensor *t, int64_t i)
{
	MloElem part = t->elem == EL_c64 ? EL_f32 : EL_f64;
	MloTensor parts = {.elem = part, .rank = 1, .dim = {2 * i + 2}, .data = t->data, .nbytes = t->nbytes};

	for (int k = 0; k < 2; k++) {
		double v = mlo_tensor_f64(&parts, 2 * i + k);

		mlo_str_add(out, "%s", k ? ":" : "");
		if (isnan(v) && !plain_nan(&parts, 2 * i + k, v))
			print_bits(out, &parts, 2 * i + k);
		else if (part == EL_f32)
			mlo_text_f32(out, (float)v);
		else
			mlo_text_f64(out, v);
	}
}

static void print_elem(MloStr *out, const MloTensor *t, int64_t i)
{
	double v;

	switch (mlo_elem_class(t->elem)) {
	case EC_STRING: {
		const MloText *s = (const MloText *)t->data + i;

		mlo_text_quote(out, s->n ? s->s : "", (size_t)s->n);
		return;
	}
	case EC_COMPLEX:
		print_complex(out, t, i);
		return;
	case EC_INT:
		mlo_str_add(out, "%lld", (long long)mlo_tensor_i64(t, i));
		return;
	case EC_BOOL: /* whatever byte the file held */
		mlo_str_add(out, "%u", ((const unsigned char *)t->data)[i]);
		return;
	case EC_UINT:
		if (t->elem == EL_u64 && mlo_tensor_i64(t, i) == INT64_MAX)
			print_bits(out, t, i);
		else
			mlo_str_add(out, "%lld", (long long)mlo_tensor_i64(t, i));
		return;
	case EC_FLOAT:
		v = mlo_tensor_f64(t, i);
		if (isnan(v) && !plain_nan(t, i, v)) /* NaNs keep their payload */
			print_bits(out, t, i);
		else if (t->elem == EL_f64)
			mlo_text_f64(out, v);
		else
			mlo_text_f32(out, (float)v);
		return;
	}
}

static bool uniform(const MloTensor *t)
{
	size_t size = mlo_elem_bits(t->elem) / 8;

	return t->elem != EL_str && size > 0 && !memcmp(t->data, (const char *)t->data + size, t->nbytes - size);
}

static void print_data(Printer *p, const MloTensor *t)
{
	int64_t n = mlo_tensor_elems(t);

	if (n > INLINE_ELEMS && (int64_t)t->nbytes <= *p->expand && uniform(t)) {
		*p->expand -= (int64_t)t->nbytes;
		mlo_str_add(p->out, "fill(");
		print_elem(p->out, t, 0);
		mlo_str_add(p->out, ")");
		return;
	}
	if (n > INLINE_ELEMS && !p->full) {
		mlo_str_add(p->out, "blob(xxh3:%016llx)", (unsigned long long)mlo_tensor_hash(t));
		return;
	}
	mlo_str_add(p->out, "[");
	for (int64_t i = 0; i < n; i++) {
		mlo_str_add(p->out, "%s", i ? ", " : "");
		print_elem(p->out, t, i);
	}
	mlo_str_add(p->out, "]");
}

/* -- nodes ---------------------------------------------------------------------------------- */

static void print_attr(const Printer *p, const MloAttrInfo *info, const MloAttr *a)
{
	MloStr *out = p->out;
	bool list = info->kind == AK_INTS || info->kind == AK_FLOATS;

	mlo_str_add(out, "%s=%s", info->name, list ? "[" : "");
	if (info->kind == AK_INT)
		mlo_str_add(out, "%lld", (long long)a->i);
	if (info->kind == AK_GRAPH)
		print_body(p, a->graph);
	if (info->kind == AK_FLOAT)
		mlo_text_double(out, a->f);
	if (info->kind == AK_STR) {
		if (mlo_text_is_ident(a->s, strlen(a->s)))
			mlo_str_add(out, "%s", a->s);
		else
			mlo_text_quote(out, a->s, strlen(a->s));
	}
	for (int i = 0; list && i < a->n; i++) {
		mlo_str_add(out, "%s", i ? ", " : "");
		if (info->kind == AK_INTS)
			mlo_str_add(out, "%lld", (long long)a->ints[i]);
		else
			mlo_text_double(out, a->floats[i]);
	}
	mlo_str_add(out, "%s", list ? "]" : "");
}

/* By name, whatever the order of the table. */
static void print_attrs(Printer *p, const MloNode *n)
{
	const MloOpInfo *info = mlo_op_info(n->op);
	const char *before = NULL;

	for (;;) {
		int next = -1;

		for (int i = 0; i < info->nattr; i++)
			if (n->attr[i].set && (!before || strcmp(info->attr[i].name, before) > 0) &&
			    (next < 0 || strcmp(info->attr[i].name, info->attr[next].name) < 0))
				next = i;
		if (next < 0)
			break;
		mlo_str_add(p->out, before ? ", " : " {");
		print_attr(p, &info->attr[next], &n->attr[next]);
		before = info->attr[next].name;
	}
	if (before)
		mlo_str_add(p->out, "}");
}

static void print_origin(MloStr *out, const MloOrigin *o)
{
	for (bool first = true; o; o = o->next, first = false) {
		mlo_str_add(out, "%s", first ? " from " : ", ");
		if (o->name)
			mlo_text_quote(out, o->name, strlen(o->name));
		else
			mlo_str_add(out, "_");
		if (!o->op && !o->opset)
			continue;
		mlo_str_add(out, "(");
		if (o->op)
			mlo_text_symbol(out, o->op);
		else
			mlo_str_add(out, "_");
		mlo_str_add(out, ", %d)", o->opset);
	}
}

static void print_node(Printer *p, const MloNode *n)
{
	bool first = true;

	indent(p);
	for (uint32_t i = 0; i < n->nout; i++) {
		mlo_str_add(p->out, "%s", i ? ", " : "");
		print_ref(p, n->out[i]);
	}
	mlo_str_add(p->out, " = %s(", mlo_op_info(n->op)->name);
	for (uint32_t i = 0; i < n->nin; i++) {
		mlo_str_add(p->out, "%s", i ? ", " : "");
		print_ref(p, n->in[i]);
	}
	mlo_str_add(p->out, ")");
	print_attrs(p, n);
	for (uint32_t i = 0; i < n->nout; i++) {
		if (!n->out[i])
			continue;
		mlo_str_add(p->out, "%s", first ? " : " : ", ");
		print_type(p, n->out[i]);
		first = false;
	}
	if (n->group)
		mlo_str_add(p->out, " group %u", n->group);
	print_origin(p->out, n->origin);
	mlo_str_add(p->out, "\n");
}

/* -- graph ---------------------------------------------------------------------------------- */

static void print_head(Printer *p)
{
	const MloGraph *g = p->g;

	mlo_str_add(p->out, "graph ");
	if (g->name) {
		mlo_str_add(p->out, "@");
		mlo_text_symbol(p->out, g->name);
	}
	mlo_str_add(p->out, "(");
	for (uint32_t i = 0; i < g->ninputs; i++) {
		mlo_str_add(p->out, "%s", i ? ", " : "");
		print_ref(p, g->inputs[i]);
		mlo_str_add(p->out, ": ");
		print_type(p, g->inputs[i]);
	}
	mlo_str_add(p->out, ") -> (");
	for (uint32_t i = 0; i < g->noutputs; i++) {
		const char *name = g->output_names[i], *own = g->outputs[i]->name;

		mlo_str_add(p->out, "%s", i ? ", " : "");
		print_ref(p, g->outputs[i]);
		if (name && (!own || strcmp(name, own))) {
			mlo_str_add(p->out, " as ");
			mlo_text_quote(p->out, name, strlen(name));
		} else if (!name && own) {
			mlo_str_add(p->out, " as _");
		}
	}
	mlo_str_add(p->out, ") {\n");
}

static void print_notes(Printer *p)
{
	for (const MloMeta *m = p->g->meta; m; m = m->next) {
		indent(p);
		mlo_str_add(p->out, "meta ");
		mlo_text_quote(p->out, m->key, strlen(m->key));
		mlo_str_add(p->out, " = ");
		mlo_text_quote(p->out, m->value, strlen(m->value));
		mlo_str_add(p->out, "\n");
	}
	if (!p->depth) /* bodies have no sizes of their own table */
		mlo_symbols_print(p->out, p->g->syms);
}

static void print_graph(Printer *p)
{
	const MloGraph *g = p->g;

	print_head(p);
	print_notes(p);
	for (size_t i = 0; i < g->consts.n; i++) {
		const MloValue *v = g->consts.items[i];

		if (!v->nuse)
			continue;
		indent(p);
		mlo_str_add(p->out, "const ");
		print_ref(p, v);
		mlo_str_add(p->out, ": ");
		print_type(p, v);
		mlo_str_add(p->out, " = ");
		print_data(p, v->data);
		mlo_str_add(p->out, "\n");
	}
	for (const MloNode *n = g->first; n; n = n->next)
		print_node(p, n);
	mlo_str_add(p->out, "%*s}%s", 4 * p->depth, "", p->depth ? "" : "\n");
}

static void print_labelled(Printer *p)
{
	p->nslots = 2 * (size_t)p->g->next_id + 1;
	p->names = MLO_NEWN(p->tmp, Name, p->nslots);
	p->label = MLO_NEWN(p->tmp, const char *, p->g->next_id);
	label_all(p);
	print_graph(p);
}

/* As an attribute: labels are its own. */
static void print_body(const Printer *p, const MloGraph *g)
{
	Printer inner = {.out = p->out, .g = g, .full = p->full, .tmp = p->tmp, .depth = p->depth + 1,
	                 .expand = p->expand};

	print_labelled(&inner);
}

void mlo_print(MloStr *out, const MloGraph *g, bool full)
{
	MloArena *tmp = mlo_arena_new();
	int64_t expand = MLO_TEXT_EXPAND_MAX;
	Printer p = {.out = out, .g = g, .full = full, .tmp = tmp ? tmp : out->arena, .expand = &expand};

	print_labelled(&p);
	mlo_arena_free(tmp);
}
