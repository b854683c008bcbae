/* tests/unit/ir_fixture.h -- helpers for tests of the Graph IR. */
#ifndef TESTS_UNIT_IR_FIXTURE_H
#define TESTS_UNIT_IR_FIXTURE_H
#include "ir/graph.h"

/* Text to graph; a failure prints the diagnostics and gives NULL. */
MloGraph *ir_graph(const char *text);
/* The text form with all constants inline; lives in g. */
const char *ir_text(const MloGraph *g);
/* Parses a text that must be refused; true when a message contains `what` (prints them otherwise). */
bool ir_refused(const char *text, const char *what);
bool ir_said(const MloDiag *d, const char *what);
#endif
