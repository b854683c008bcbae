/* tools/load.c -- a model file to a graph whose dimensions all have sizes. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "frontend/onnx.h"
#include "passes/pass.h"
#include "tools/compile.h"
#include "tools/npy.h"
#include "tools/provenance.h"

/* A symbol's size is within lo..hi. */
typedef struct Range {
	const char *name;
	int64_t lo, hi;
} Range;

typedef struct Loader {
	MloArena *a;
	MloDiag *d;
	const char *path;
	const MloLoadOptions *opt;
	struct {
		MloBindDim *items;
		size_t n, cap;
	} bind;
	struct {
		Range *items;
		size_t n, cap;
	} range;
} Loader;

static const char *dim_text(Loader *l, MloDim dim)
{
	MloStr s = {.arena = l->a};

	mlo_dim_print(&s, dim);
	return mlo_str_text(&s);
}

/* Gives every open symbol that the expression's text names the value 1. */
static void default_symbols(Loader *l, MloSymbols *syms, MloDim dim, MloStr *names)
{
	const char *s = dim_text(l, dim);
	bool whole = mlo_dim_same(mlo_dim_sym(syms, s), dim);

	while (*s) {
		size_t n = whole ? strlen(s) : 0;
		int64_t lo, hi;
		char *name;

		while (!whole && (isalnum((unsigned char)s[n]) || (s[n] && strchr("_#.", s[n]))))
			n++;
		if (n == 0 ||
		    (!whole && (isdigit((unsigned char)*s) || (n == 3 && memcmp(s, "max", 3) == 0)))) {
			s += n ? n : 1;
			continue;
		}
		name = mlo_strndup(l->a, s, n);
		s += n;
		mlo_dim_range(mlo_dim_sym(syms, name), &lo, &hi);
		if (lo == hi)
			continue;
		mlo_sym_range(syms, name, 1, 1);
		mlo_str_add(names, "%s'%s'", names->n ? ", " : "", name);
	}
}

/* A full shape for an input, to import again with. */
static MloStatus complete_input(Loader *l, MloSymbols *syms, const MloValue *in)
{
	MloStr names = {.arena = l->a}, shape = {.arena = l->a};
	MloBindDim b = {.name = mlo_strdup(l->a, in->name), .rank = in->type.rank};
	bool open = false;

	if (b.rank == MLO_RANK_UNKNOWN) {
		mlo_error(l->d, MLO_ERR_USAGE, "input '%s' has no shape in the model", in->name);
		mlo_hint(l->d, "state it: --shape %s=1x3x224x224", in->name);
		return MLO_ERR_USAGE;
	}
	for (int i = 0; i < b.rank; i++) {
		int64_t hi;

		if (mlo_dim_known(in->type.dim[i])) {
			b.dim[i] = in->type.dim[i].k;
		} else {
			open = true;
			default_symbols(l, syms, in->type.dim[i], &names);
			mlo_dim_range(in->type.dim[i], &b.dim[i], &hi);
			if (b.dim[i] != hi)
				return mlo_error(l->d, MLO_ERR_USAGE,
						 "dimension %d of input '%s' (%s) is not known", i, in->name,
						 dim_text(l, in->type.dim[i]));
		}
		mlo_str_add(&shape, "%s%lld", i ? "x" : "", (long long)b.dim[i]);
	}
	if (names.n && !l->opt->quiet) {
		mlo_warn(l->d, "input '%s': dimension %s is not bound and is taken as 1", in->name, names.s);
		mlo_hint(l->d, "choose it: --shape %s=%s", in->name, mlo_str_text(&shape));
	}
	if (open)
		MLO_PUSH(l->a, &l->bind, b);
	return MLO_OK;
}

static MloStatus import(Loader *l, MloGraph **out)
{
	MloOnnxOptions opt = {l->bind.items, l->bind.n, l->opt->partial};
	size_t before = l->d ? l->d->n : 0;

	*out = mlo_onnx_load(l->path, &opt, l->d);
	if (*out)
		return MLO_OK;
	for (size_t i = before; l->d && i < l->d->n; i++) {
		if (l->d->lines[i].severity == MLO_DIAG_ERROR)
			return l->d->lines[i].status;
	}
	return mlo_error(l->d, MLO_ERR_MODEL, "%s: the model cannot be imported", l->path);
}

static MloStatus import_complete(Loader *l, MloGraph **out)
{
	size_t given = l->bind.n;
	MloStatus st = import(l, out);

	MLO_TRY(st);
	for (uint32_t i = 0; !l->opt->keep_symbols && st == MLO_OK && i < (*out)->ninputs; i++)
		st = complete_input(l, (*out)->syms, (*out)->inputs[i]);
	if (st == MLO_OK && l->bind.n == given)
		return MLO_OK;
	mlo_graph_free(*out);
	*out = NULL;
	MLO_TRY(st);
	return import(l, out);
}

static bool is_static(const MloGraph *g)
{
	for (const MloNode *n = g->first; n; n = n->next) {
		for (uint32_t i = 0; i < n->nout; i++) {
			if (n->out[i] && !mlo_type_static(&n->out[i]->type))
				return false;
		}
	}
	return true;
}

/* The way on from an error that names a node. */
static void hint_node(Loader *l, size_t from)
{
	for (size_t i = from; l->d && i < l->d->n; i++) {
		const char *text = l->d->lines[i].text;
		size_t n = text && strncmp(text, "node '", 6) == 0 ? strcspn(text + 6, "'") : 0;

		if (n && i + 1 == l->d->n && l->d->lines[i].severity == MLO_DIAG_ERROR)
			mlo_hint(l->d, "mlopt inspect %s --node '%.*s'", l->path, (int)n, text + 6);
	}
}

static MloStatus infer(Loader *l, MloGraph *g)
{
	size_t before = l->d ? l->d->n : 0;
	MloStatus st = mlo_infer_graph(g, l->d);

	if (st != MLO_OK)
		hint_node(l, before);
	/* Shapes that the model computes from constants become known by computing them. */
	else if (!l->opt->as_written && !is_static(g))
		st = mlo_passes_run(g, "infer,fold,dce", NULL, NULL, l->d);
	if (!l->opt->inferred)
		return st;
	*l->opt->inferred = st;
	return MLO_OK;
}

/* Which file this graph is: the manifest tells later. */
static MloStatus note_hash(Loader *l, MloGraph *g)
{
	const void *bytes;
	size_t n;

	MLO_TRY(mlo_map_file(l->a, l->path, &bytes, &n, l->d));
	mlo_graph_meta(g, MLO_MODEL_HASH, mlo_sprintf(l->a, "%016" PRIx64, (uint64_t)XXH3_64bits(bytes, n)));
	if (!l->opt->provenance)
		return MLO_OK;
	mlo_graph_meta(g, MLO_MODEL_SHA256, mlo_sha256_text(l->a, bytes, n));
	return mlo_note_external(l->a, g, l->path, l->d);
}

/* "batch=1..64" */
static MloStatus parse_range(Loader *l, const char *text)
{
	const char *eq = strrchr(text, '=');
	Range r = {0};
	long long lo, hi;
	int used = 0;

	if (!eq || eq == text || sscanf(eq + 1, "%lld..%lld%n", &lo, &hi, &used) != 2 || eq[1 + used] || lo < 0 || hi < lo ||
	    hi > MLO_MAX_ELEMS)
		return mlo_error(l->d, MLO_ERR_USAGE, "--shape %s: a range of a named dimension is NAME=LO..HI", text);
	r.name = mlo_strndup(l->a, text, (size_t)(eq - text));
	r.lo = lo;
	r.hi = hi;
	if (!l->opt->keep_symbols)
		return mlo_error(l->d, MLO_ERR_USAGE, "--shape %s: one size is needed here, not a range", text);
	for (size_t i = 0; i < l->range.n; i++)
		if (strcmp(l->range.items[i].name, r.name) == 0)
			return mlo_error(l->d, MLO_ERR_USAGE, "--shape %s: '%s' is given twice", text, r.name);
	MLO_PUSH(l->a, &l->range, r);
	return MLO_OK;
}

/* "axes=axes.npy" */
static MloStatus parse_const(Loader *l, const char *text)
{
	const char *eq = strchr(text, '='), *dot = strrchr(text, '.');
	MloBindDim b = {0};
	MloTensor *t;

	if (!eq || eq == text || !eq[1])
		return mlo_error(l->d, MLO_ERR_USAGE, "--const %s: expected INPUT=FILE, a .npy or .pb file", text);
	if (dot && strcmp(dot, ".pb") == 0) {
		t = mlo_onnx_read_tensor(l->a, eq + 1, l->d);
		if (!t)
			return MLO_ERR_FORMAT;
	} else {
		MLO_TRY(mlo_npy_read(l->a, eq + 1, &t, l->d));
	}
	b.name = mlo_strndup(l->a, text, (size_t)(eq - text));
	b.value = t;
	b.rank = t->rank;
	memcpy(b.dim, t->dim, sizeof b.dim);
	MLO_PUSH(l->a, &l->bind, b);
	return MLO_OK;
}

static bool names_dimension(const MloGraph *g, const char *name)
{
	for (uint32_t i = 0; i < g->ninputs; i++) {
		for (int d = 0; d < g->inputs[i]->type.rank; d++) {
			const char *s;

			if (mlo_dim_symbol(g->inputs[i]->type.dim[d], &s) && strcmp(s, name) == 0)
				return true;
		}
	}
	return false;
}

static MloStatus narrow(Loader *l, MloGraph *g)
{
	for (size_t i = 0; i < l->range.n; i++) {
		const Range *r = &l->range.items[i];

		if (!names_dimension(g, r->name)) {
			mlo_error(l->d, MLO_ERR_USAGE, "%s: no input has an open dimension named '%s'", l->path, r->name);
			mlo_hint(l->d, "mlopt inspect %s lists the inputs", l->path);
			return MLO_ERR_USAGE;
		}
		mlo_sym_range(g->syms, r->name, r->lo, r->hi);
	}
	return MLO_OK;
}

static MloStatus load(Loader *l, MloGraph **out)
{
	for (size_t i = 0; i < l->opt->nshapes; i++) {
		MloBindDim b;

		if (strstr(l->opt->shapes[i], "..")) {
			MLO_TRY(parse_range(l, l->opt->shapes[i]));
			continue;
		}
		MLO_TRY(mlo_bind_parse(l->a, l->opt->shapes[i], &b, l->d));
		MLO_PUSH(l->a, &l->bind, b);
	}
	for (size_t i = 0; i < l->opt->nconsts; i++)
		MLO_TRY(parse_const(l, l->opt->consts[i]));
	MLO_TRY(import_complete(l, out));
	MLO_TRY(narrow(l, *out));
	MLO_TRY(note_hash(l, *out));
	if (l->d)
		l->d->where = l->path;
	return infer(l, *out);
}

/* "dir/model.onnx" -> "model" */
static const char *stem(MloArena *a, const char *path)
{
	const char *base = strrchr(path, '/'), *dot;

	base = base ? base + 1 : path;
	dot = strrchr(base, '.');
	return mlo_strndup(a, base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

MloStatus mlo_load_model(const char *path, const MloLoadOptions *opt, MloGraph **out, MloDiag *d)
{
	static const MloLoadOptions defaults;
	Loader l = {.a = mlo_arena_new(), .d = d, .path = path, .opt = opt ? opt : &defaults};
	const char *where = d ? d->where : NULL;
	MloStatus st;

	*out = NULL;
	if (!l.a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	st = load(&l, out);
	mlo_arena_free(l.a);
	if (d)
		d->where = where;
	if (st != MLO_OK && l.opt->partial && *out)
		*l.opt->partial = *out;
	else if (st != MLO_OK)
		mlo_graph_free(*out);
	if (st != MLO_OK) {
		*out = NULL;
		return st;
	}
	(*out)->name = stem((*out)->arena, path);
	return MLO_OK;
}
