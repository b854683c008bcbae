/* tests/fuzz/fuzz_ir.c -- any text: the parser refuses it, or printing and parsing again is a fixed point. */
#include <stdlib.h>
#include <string.h>

#include "ir/graph.h"

static const char *print(MloArena *a, const MloGraph *g, size_t *n)
{
	MloStr s = {.arena = a};

	mlo_print(&s, g, true);
	*n = s.n;
	return mlo_str_text(&s);
}

/* Written out in full, constants take time in proportion to their size, which fill() and random() make large. */
enum { MOST_DATA = 1 << 20 };

static size_t data_bytes(const MloGraph *g)
{
	size_t bytes = 0;

	for (size_t i = 0; i < g->consts.n; i++)
		bytes += g->consts.items[i]->data->nbytes;
	for (const MloNode *n = g->first; n; n = n->next)
		for (int i = 0; i < mlo_op_info(n->op)->nattr; i++)
			if (mlo_op_info(n->op)->attr[i].kind == AK_GRAPH && n->attr[i].graph)
				bytes += data_bytes(n->attr[i].graph);
	return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MloDiag d = {0};
	MloGraph *g = mlo_parse((const char *)data, size, NULL, NULL, &d), *h, *copy;
	const char *once, *twice, *cloned;
	size_t n, m;

	if (!g) {
		MLO_ASSERT(d.nerrors > 0);
		mlo_diag_free(&d);
		return 0;
	}
	if (data_bytes(g) > MOST_DATA) {
		mlo_graph_free(g);
		mlo_diag_free(&d);
		return 0;
	}
	once = print(g->arena, g, &n);
	h = mlo_parse(once, n, NULL, NULL, &d);
	MLO_ASSERT(h != NULL);
	twice = print(h->arena, h, &m);
	MLO_ASSERT(n == m && !memcmp(once, twice, n));
	copy = mlo_graph_clone(g);
	MLO_ASSERT(copy != NULL);
	cloned = print(copy->arena, copy, &m);
	MLO_ASSERT(n == m && !memcmp(once, cloned, n));
	/* A text may declare a size as a symbol that inference knows; what followed from the symbol can
	 * then be wrong, which is an error.  Where inference succeeds, the graph is valid. */
	MLO_ASSERT(mlo_infer_graph(copy, NULL) != MLO_OK || mlo_verify(copy, NULL) == MLO_OK);
	mlo_graph_free(copy);
	mlo_graph_free(h);
	mlo_graph_free(g);
	mlo_diag_free(&d);
	return 0;
}
