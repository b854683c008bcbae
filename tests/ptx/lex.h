/* tests/ptx/lex.h -- words, numbers and signs of PTX text. */
#ifndef MLOPT_TESTS_PTX_LEX_H
#define MLOPT_TESTS_PTX_LEX_H

#include "tests/ptx/ptx.h"

void ptx_space(PtxParse *p);                 /* white space and comments */
bool ptx_accept(PtxParse *p, char c);
void ptx_expect(PtxParse *p, char c);
bool ptx_at_word(PtxParse *p);
char *ptx_word(PtxParse *p);                 /* an identifier, of the module's memory */
bool ptx_accept_word(PtxParse *p, const char *word); /* also with a dot in front */
const char *ptx_dotted(PtxParse *p);         /* .name[::name] at once, without its dot; NULL if there is no dot */
void ptx_skip_to(PtxParse *p, char c);       /* past the next c */
char *ptx_text(PtxParse *p, const char *from, size_t n);

/* A number; floats as bits. */
typedef struct PtxNumber {
	int64_t bits;
	bool is_float, is_f32;
} PtxNumber;
bool ptx_at_number(PtxParse *p);
PtxNumber ptx_number(PtxParse *p);
int64_t ptx_integer(PtxParse *p);

#endif
