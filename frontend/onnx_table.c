/* frontend/onnx_table.c -- finding importers by operator type, and reporting those unknown. */
#include <string.h>

#include "frontend/onnx_ops.h"

static const OnnxOp rows[] = {
#define ONNX(domain, type, since, fn, op) {domain, type, since, import_##fn, OP_##op},
#define ONNX_NOT(domain, type, why)
#include "frontend/onnx_ops.def"
};

static const struct {
	const char *domain, *type, *why;
} not_yet[] = {
#define ONNX(domain, type, since, fn, op)
#define ONNX_NOT(domain, type, why) {domain, type, why},
#include "frontend/onnx_ops.def"
};

enum { NROWS = sizeof rows / sizeof *rows, NNOT = sizeof not_yet / sizeof *not_yet };

bool mlo_onnx_operator(size_t i, MloOnnxOperator *out)
{
	if (i < NROWS)
		*out = (MloOnnxOperator){rows[i].domain, rows[i].type, rows[i].since, rows[i].op, NULL};
	else if (i - NROWS < NNOT)
		*out = (MloOnnxOperator){not_yet[i - NROWS].domain, not_yet[i - NROWS].type, 0, OP_COUNT, not_yet[i - NROWS].why};
	else
		return false;
	return true;
}

const OnnxOp *onnx_op_find(const char *domain, const char *type, int opset)
{
	const OnnxOp *best = NULL;

	for (size_t i = 0; i < NROWS; i++)
		if (!strcmp(rows[i].type, type) && !strcmp(rows[i].domain, domain) &&
		    rows[i].since <= opset && (!best || rows[i].since > best->since))
			best = &rows[i];
	return best;
}

const OnnxOp *onnx_op_first(const char *domain, const char *type)
{
	for (size_t i = 0; i < NROWS; i++)
		if (!strcmp(rows[i].type, type) && !strcmp(rows[i].domain, domain))
			return &rows[i];
	return NULL;
}

const OnnxOp *onnx_op_plain(MloOp op)
{
	const OnnxOp *best = NULL;

	for (size_t i = 0; i < NROWS; i++) {
		const OnnxOp *r = &rows[i];

		if (r->fn != import_plain || r->op != op)
			continue;
		if (!best || (*best->domain && !*r->domain) || (!*best->domain == !*r->domain && r->since > best->since))
			best = r;
	}
	return best;
}

/* Levenshtein distance without regard to case, at most `limit` + 1. */
static size_t distance(const char *a, const char *b, size_t limit)
{
	enum { MAX = 64 };
	size_t na = strlen(a), nb = strlen(b), row[MAX + 1];

	if (na > MAX || nb > MAX || na > nb + limit || nb > na + limit)
		return limit + 1;
	for (size_t j = 0; j <= nb; j++)
		row[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t best = diagonal + ((a[i - 1] | 32) != (b[j - 1] | 32));

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[nb];
}

const char *onnx_op_nearest(const char *domain, const char *type)
{
	size_t limit = strlen(type) < 6 ? 1 : strlen(type) / 3;
	const char *best = NULL;

	for (size_t i = 0; i < NROWS; i++) {
		size_t d = distance(rows[i].type, type, limit);

		if (d <= limit && (d > 0 || strcmp(rows[i].domain, domain) != 0)) {
			best = rows[i].type;
			limit = d ? d - 1 : 0;
			if (d == 0)
				break;
		}
	}
	return best;
}

/* -- the check before an import ------------------------------------------------------------------ */

typedef struct Unknown {
	const Onnx__NodeProto *node; /* the first of that type */
	const char *why;
	int opset;
	size_t count;
} Unknown;

typedef struct Check {
	OnnxImport *im;
	OnnxNames found; /* Unknown by "domain:type" */
	struct {
		Unknown **items;
		size_t n, cap;
	} list;
	OnnxNames calls; /* functions: being checked, or done */
	bool ok;
} Check;

static const char busy[] = "busy", done[] = "done";
enum { MAX_CALLS = 64 };

static const char *reason(Check *c, const char *domain, const char *type, int opset)
{
	const OnnxOp *first = onnx_op_first(domain, type);

	for (size_t i = 0; i < NNOT; i++)
		if (!strcmp(not_yet[i].type, type) && !strcmp(not_yet[i].domain, domain))
			return not_yet[i].why;
	if (opset == 0)
		return "the model does not say which opset of the domain it uses";
	if (first)
		return mlo_sprintf(c->im->tmp, "only its forms from opset %d on are known", first->since);
	return "no such operator is known";
}

static void unknown(Check *c, const Onnx__NodeProto *p, const char *domain, int opset)
{
	const char *type = onnx_text(p->op_type);
	const char *key = mlo_sprintf(c->im->tmp, "%s:%d:%s", domain, opset, type);
	Unknown *u = onnx_names_get(&c->found, key);

	if (!u) {
		u = MLO_NEW(c->im->tmp, Unknown);
		*u = (Unknown){p, reason(c, domain, type, opset), opset, 0};
		onnx_names_add(&c->found, key, u);
		MLO_PUSH(c->im->tmp, &c->list, u);
	}
	u->count++;
}

static void check_nodes(Check *c, const Onnx__FunctionProto *fn, Onnx__NodeProto *const *node, size_t n,
			int depth);

static void check_bodies(Check *c, const Onnx__FunctionProto *fn, const Onnx__NodeProto *p, int depth);

static void check_call(Check *c, const Onnx__FunctionProto *fn, int depth)
{
	const char *key = mlo_sprintf(c->im->tmp, "%p", (const void *)fn);
	const char **state = onnx_names_get(&c->calls, key);

	if (state && *state == done)
		return;
	if (state || depth >= MAX_CALLS) {
		onnx_error(c->im, state ? MLO_ERR_MODEL : MLO_ERR_LIMIT,
			   state ? "function '%s' calls itself" : "function '%s' is called too deep",
			   onnx_text(fn->name));
		c->ok = false;
		return;
	}
	state = MLO_NEW(c->im->tmp, const char *);
	*state = busy;
	onnx_names_add(&c->calls, key, state);
	check_nodes(c, fn, fn->node, fn->n_node, depth + 1);
	*state = done;
}

static void check_nodes(Check *c, const Onnx__FunctionProto *fn, Onnx__NodeProto *const *node, size_t n,
			int depth)
{
	OnnxScope sc = {.fn = fn};

	for (size_t i = 0; i < n && c->ok; i++) {
		const Onnx__FunctionProto *callee = onnx_function(c->im, node[i]);
		const char *domain = onnx_domain(node[i]->domain);
		int opset = onnx_opset(c->im, &sc, domain);

		if (callee)
			check_call(c, callee, depth);
		else if (!onnx_op_find(domain, onnx_text(node[i]->op_type), opset))
			unknown(c, node[i], domain, opset);
		check_bodies(c, fn, node[i], depth);
	}
}

static void check_bodies(Check *c, const Onnx__FunctionProto *fn, const Onnx__NodeProto *p, int depth)
{
	for (size_t i = 0; i < p->n_attribute && c->ok; i++) {
		const Onnx__GraphProto *g = p->attribute[i]->g;

		if (g && depth >= MAX_CALLS) {
			onnx_error(c->im, MLO_ERR_LIMIT, "bodies are nested too deep");
			c->ok = false;
		} else if (g) {
			check_nodes(c, fn, g->node, g->n_node, depth + 1);
		}
	}
}

static void report(Check *c, const Unknown *u)
{
	const Onnx__NodeProto *p = u->node;
	const char *domain = onnx_domain(p->domain), *near = onnx_op_nearest(domain, onnx_text(p->op_type));
	const char *name = p->name && *p->name ? p->name : p->n_output ? p->output[0] : "";
	char more[48] = "";

	if (u->count > 1)
		snprintf(more, sizeof more, " and %zu more", u->count - 1);
	onnx_error(c->im, MLO_ERR_UNSUPPORTED, "node '%s'%s: operator '%s' of domain '%s', opset %d: %s",
		   name, more, onnx_text(p->op_type), *domain ? domain : "ai.onnx", u->opset, u->why);
	if (near && strcmp(near, onnx_text(p->op_type)) != 0)
		mlo_hint(c->im->diag, "the nearest operator known is '%s'", near);
}

bool onnx_check_operators(OnnxImport *im)
{
	Check c = {.im = im, .found = {.arena = im->tmp}, .calls = {.arena = im->tmp}, .ok = true};

	check_nodes(&c, NULL, im->model->graph->node, im->model->graph->n_node, 0);
	for (size_t i = 0; i < c.list.n; i++)
		report(&c, c.list.items[i]);
	if (c.list.n)
		mlo_hint(im->diag, "mlopt inspect --ops lists the operators that are known");
	return c.ok;
}
