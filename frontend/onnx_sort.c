/* frontend/onnx_sort.c -- topological order of the nodes of a graph or function.
 *
 * ONNX asks for sorted nodes and not every exporter obeys.  A depth-first walk in file order keeps
 * an order that is right already. */
#include "frontend/onnx_import.h"

typedef struct Visit {
	size_t node, next; /* next operand to look at */
} Visit;

/* What a node reads: its operands, and all that the bodies among its attributes name. */
typedef struct Reads {
	const char **items;
	size_t n, cap;
} Reads;

static void add_reads(MloArena *a, Reads *r, const Onnx__NodeProto *p, int depth)
{
	for (size_t i = 0; i < p->n_input; i++)
		MLO_PUSH(a, r, (const char *)p->input[i]);
	for (size_t i = 0; i < p->n_attribute && depth < MLO_MAX_DEPTH; i++) {
		const Onnx__GraphProto *g = p->attribute[i]->g;

		for (size_t k = 0; g && k < g->n_node; k++)
			add_reads(a, r, g->node[k], depth + 1);
		for (size_t k = 0; g && k < g->n_output; k++)
			MLO_PUSH(a, r, onnx_text(g->output[k]->name));
	}
}

typedef struct Sort {
	Reads *reads;
	OnnxNames producer; /* index + 1 of the node, by result name */
	char *state;        /* 0: not seen, 1: on the stack, 2: done */
	Visit *stack;
	size_t depth;
	size_t *order;
	size_t done;
} Sort;

static const char *label(const Onnx__NodeProto *p)
{
	return p->name && *p->name ? p->name : p->n_output ? p->output[0] : onnx_text(p->op_type);
}

static void report_cycle(OnnxImport *im, Onnx__NodeProto *const *node, const Sort *s, size_t back)
{
	enum { SHOWN = 8 };
	MloStr text = {.arena = im->tmp};
	size_t first = s->depth;

	while (first > 0 && s->stack[first - 1].node != back)
		first--;
	for (size_t i = s->depth, shown = 0; i + 1 > first && i > 0; i--, shown++) {
		if (shown == SHOWN) {
			mlo_str_add(&text, ", ...");
			break;
		}
		mlo_str_add(&text, "%s'%s'", shown ? ", " : "", label(node[s->stack[i - 1].node]));
	}
	onnx_error(im, MLO_ERR_MODEL, "nodes depend on each other in a cycle: %s", mlo_str_text(&text));
}

/* Everything that node `root` needs, then itself. */
static bool visit(OnnxImport *im, Sort *s, Onnx__NodeProto *const *node, size_t root)
{
	s->stack[0] = (Visit){root, 0};
	s->depth = 1;
	s->state[root] = 1;
	while (s->depth) {
		Visit *v = &s->stack[s->depth - 1];
		const Reads *r = &s->reads[v->node];
		uintptr_t dep;

		if (v->next == r->n) {
			s->state[v->node] = 2;
			s->order[s->done++] = v->node;
			s->depth--;
			continue;
		}
		dep = (uintptr_t)onnx_names_get(&s->producer, r->items[v->next++]);
		if (dep - 1 == v->node && v->next > node[dep - 1]->n_input)
			continue; /* a body's own name that is also a result of the node */
		if (dep == 0 || s->state[dep - 1] == 2)
			continue;
		if (s->state[dep - 1] == 1) {
			report_cycle(im, node, s, dep - 1);
			return false;
		}
		s->state[dep - 1] = 1;
		s->stack[s->depth++] = (Visit){dep - 1, 0};
	}
	return true;
}

const size_t *onnx_sort(OnnxImport *im, Onnx__NodeProto *const *node, size_t n)
{
	Sort s = {.producer = {.arena = im->tmp}};

	s.state = mlo_alloc(im->tmp, n, 1);
	s.stack = MLO_NEWN(im->tmp, Visit, n);
	s.order = MLO_NEWN(im->tmp, size_t, n);
	s.reads = MLO_NEWN(im->tmp, Reads, n);
	for (size_t i = 0; i < n; i++)
		add_reads(im->tmp, &s.reads[i], node[i], 0);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < node[i]->n_output; k++)
			if (*node[i]->output[k])
				onnx_names_add(&s.producer, node[i]->output[k], (void *)(uintptr_t)(i + 1));
	for (size_t i = 0; i < n; i++)
		if (!s.state[i] && !visit(im, &s, node, i))
			return NULL;
	return s.order;
}
