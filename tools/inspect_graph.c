/* tools/inspect_graph.c -- reports on an imported model. */
#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/compile.h"
#include "tools/inspect.h"

typedef struct OpCount {
	MloOp op;
	size_t n;
	double macs;
} OpCount;

static const char *type_text(MloArena *a, const MloType *t)
{
	MloStr s = {.arena = a};

	mlo_type_print(&s, t);
	return mlo_str_text(&s);
}

static size_t count_ops(const MloGraph *g, OpCount *count)
{
	size_t nodes = 0;

	for (int op = 0; op < OP_COUNT; op++)
		count[op].op = (MloOp)op;
	for (const MloNode *n = g->first; n; n = n->next) {
		count[n->op].n++;
		count[n->op].macs += mlo_node_macs(n);
		nodes++;
	}
	return nodes;
}

/* By cost, then by number, then by the table's order. */
static int by_cost(const void *a, const void *b)
{
	const OpCount *x = a, *y = b;

	if (x->macs != y->macs)
		return x->macs < y->macs ? 1 : -1;
	if (x->n != y->n)
		return x->n < y->n ? 1 : -1;
	return (int)x->op - (int)y->op;
}

static void print_tensors(MloArena *a, const char *what, MloValue *const *v, const char *const *names,
			  uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		printf("%-8s %s: %s\n", what, names ? names[i] : v[i]->name, type_text(a, &v[i]->type));
}

static json_t *json_tensors(MloArena *a, MloValue *const *v, const char *const *names, uint32_t n)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < n; i++) {
		json_t *j = json_object();

		json_object_set_new(j, "name", json_string(names ? names[i] : v[i]->name));
		json_object_set_new(j, "type", json_string(type_text(a, &v[i]->type)));
		json_array_append_new(list, j);
	}
	return list;
}

static void print_json(const MloGraph *g, const OpCount *count, size_t nodes)
{
	json_t *j = json_object(), *ops = json_array();

	for (const OpCount *c = count; c < count + OP_COUNT && c->n; c++) {
		json_t *o = json_object();

		json_object_set_new(o, "op", json_string(mlo_op_info(c->op)->name));
		json_object_set_new(o, "count", json_integer((json_int_t)c->n));
		json_object_set_new(o, "macs", json_integer((json_int_t)c->macs));
		json_array_append_new(ops, o);
	}
	json_object_set_new(j, "name", json_string(g->name));
	json_object_set_new(j, "nodes", json_integer((json_int_t)nodes));
	json_object_set_new(j, "parameters", json_integer(mlo_graph_params(g)));
	json_object_set_new(j, "macs", json_integer((json_int_t)mlo_graph_macs(g)));
	json_object_set_new(j, "inputs", json_tensors(g->arena, g->inputs, NULL, g->ninputs));
	json_object_set_new(j, "outputs", json_tensors(g->arena, g->outputs, g->output_names, g->noutputs));
	json_object_set_new(j, "ops", ops);
	json_dumpf(j, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(j);
}

/* "onnx.opset.ai.onnx" and the producer, in one line. */
static void print_origin(const MloGraph *g)
{
	const char *sep = "";

	for (const MloMeta *m = g->meta; m; m = m->next) {
		bool opset = strncmp(m->key, "onnx.opset.", 11) == 0;

		if (!opset && strcmp(m->key, "onnx.producer_name") != 0 &&
		    strcmp(m->key, "onnx.ir_version") != 0)
			continue;
		printf("%s%s %s", sep, m->key + 5, m->value);
		sep = ", ";
	}
	if (*sep)
		putchar('\n');
}

MloStatus inspect_graph(const MloGraph *g, bool json, MloDiag *d)
{
	OpCount count[OP_COUNT] = {{0}};
	size_t nodes = count_ops(g, count);
	double macs = mlo_graph_macs(g);

	qsort(count, OP_COUNT, sizeof *count, by_cost);
	if (json) {
		print_json(g, count, nodes);
		return MLO_OK;
	}
	printf("%s: %zu nodes, %s parameters, %s multiply-adds\n", g->name, nodes,
	       cli_count((double)mlo_graph_params(g)), cli_count(macs));
	print_origin(g);
	print_tensors(g->arena, "input", g->inputs, NULL, g->ninputs);
	print_tensors(g->arena, "output", g->outputs, g->output_names, g->noutputs);
	printf("\n%-22s %6s %12s %6s\n", "operator", "nodes", "mult-adds", "share");
	for (const OpCount *c = count; c < count + OP_COUNT && c->n; c++) {
		printf("%-22s %6zu", mlo_op_info(c->op)->name, c->n);
		if (c->macs > 0)
			printf(" %12s %5.1f%%", cli_count(c->macs), 100 * c->macs / macs);
		putchar('\n');
	}
	return MLO_OK;
}

/* -- one node ------------------------------------------------------------------------------- */

static bool came_from(const MloNode *n, const char *name)
{
	for (const MloOrigin *o = n->origin; o; o = o->next) {
		if (strcmp(o->name, name) == 0)
			return true;
	}
	return false;
}

static void print_value(const MloGraph *g, const char *what, uint32_t i, const MloValue *v)
{
	printf("  %s %u: ", what, i);
	if (!v) {
		printf("absent\n");
		return;
	}
	printf("%s%s%s%s", v->name ? "'" : "(unnamed)", v->name ? v->name : "", v->name ? "' " : " ",
	       type_text(g->arena, &v->type));
	if (v->data)
		printf(", constant");
	else if (v->def)
		printf(", from node '%s' (%s)", mlo_node_name(v->def), mlo_op_info(v->def->op)->name);
	else
		printf(", graph input");
	putchar('\n');
}

static void print_attr(const MloNode *n, const MloAttrInfo *info, const MloAttr *a)
{
	if (!a->set)
		return;
	printf("  %s =", info->name);
	switch (info->kind) {
	case AK_INT:
		printf(" %lld", (long long)a->i);
		break;
	case AK_FLOAT:
		printf(" %g", a->f);
		break;
	case AK_STR:
		printf(" %s", a->s);
		break;
	case AK_INTS:
		for (int32_t i = 0; i < a->n; i++)
			printf(" %lld", (long long)a->ints[i]);
		break;
	case AK_FLOATS:
		for (int32_t i = 0; i < a->n; i++)
			printf(" %g", a->floats[i]);
		break;
	case AK_GRAPH:
		printf(" a body");
		break;
	}
	putchar('\n');
}

static void print_node(const MloGraph *g, const MloNode *n)
{
	const MloOpInfo *info = mlo_op_info(n->op);

	printf("node '%s': %s", mlo_node_name(n), info->name);
	if (n->origin)
		printf(" (%s, opset %d)", n->origin->op, n->origin->opset);
	if (mlo_node_macs(n) > 0)
		printf(", %s multiply-adds", cli_count(mlo_node_macs(n)));
	putchar('\n');
	for (uint32_t i = 0; i < n->nin; i++)
		print_value(g, "operand", i, n->in[i]);
	for (int i = 0; i < info->nattr; i++)
		print_attr(n, &info->attr[i], &n->attr[i]);
	for (uint32_t i = 0; i < n->nout; i++)
		print_value(g, "result", i, n->out[i]);
}

static const char *nearest_node(const MloGraph *g, const char *name)
{
	size_t n = 0;
	const char **names;

	for (const MloNode *x = g->first; x; x = x->next)
		n++;
	names = MLO_NEWN(g->arena, const char *, n + 1);
	n = 0;
	for (const MloNode *x = g->first; x; x = x->next)
		names[n++] = mlo_node_name(x);
	return cli_nearest(name, names);
}

MloStatus inspect_node(const MloGraph *g, const char *name, MloDiag *d)
{
	const char *near;
	bool found = false;

	for (const MloNode *n = g->first; n; n = n->next) {
		if (came_from(n, name)) {
			print_node(g, n);
			found = true;
		}
	}
	if (found)
		return MLO_OK;
	near = nearest_node(g, name);
	mlo_error(d, MLO_ERR_USAGE, "there is no node '%s'", name);
	if (near)
		mlo_hint(d, "did you mean '%s'?", near);
	return MLO_ERR_USAGE;
}
