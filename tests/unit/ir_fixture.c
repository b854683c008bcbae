/* tests/unit/ir_fixture.c -- helpers for tests of the Graph IR. */
#include "tests/unit/ir_fixture.h"

#include <string.h>

MloGraph *ir_graph(const char *text)
{
	MloDiag d = {0};
	MloGraph *g = mlo_parse(text, strlen(text), NULL, NULL, &d);

	if (!g)
		mlo_diag_print(&d, "ir_graph", stderr);
	mlo_diag_free(&d);
	return g;
}

const char *ir_text(const MloGraph *g)
{
	MloStr s = {.arena = g->arena};

	mlo_print(&s, g, true);
	return mlo_str_text(&s);
}

bool ir_said(const MloDiag *d, const char *what)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->lines[i].text && strstr(d->lines[i].text, what))
			return true;
	mlo_diag_print(d, "wanted another message", stderr);
	fprintf(stderr, "wanted: %s\n", what);
	return false;
}

bool ir_refused(const char *text, const char *what)
{
	MloDiag d = {0};
	MloGraph *g = mlo_parse(text, strlen(text), NULL, NULL, &d);
	bool ok = !g && ir_said(&d, what);

	if (g)
		fprintf(stderr, "accepted, wanted: %s\n", what);
	mlo_graph_free(g);
	mlo_diag_free(&d);
	return ok;
}
