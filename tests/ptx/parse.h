/* tests/ptx/parse.h -- between parse.c (modules, variables, functions) and statement.c (what is in functions). */
#ifndef MLOPT_TESTS_PTX_PARSE_H
#define MLOPT_TESTS_PTX_PARSE_H

#include "tests/ptx/ptx.h"

void ptx_open_scope(PtxParse *p);
void ptx_close_scope(PtxParse *p);
PtxSymbol *ptx_variable(PtxParse *p, PtxSpace space, bool external, PtxType *type);
void ptx_place_param(PtxParse *p, PtxSymbol *s);
void ptx_body(PtxParse *p);       /* up to the function's '}' */
void ptx_link_calls(PtxParse *p); /* when all functions are known */

#endif
