/* ir/parse.h -- inside of the parser of the text form: the cursor, shared by parse*.c. */
#ifndef MLO_IR_PARSE_H
#define MLO_IR_PARSE_H
#include "ir/graph.h"
#include "ir/text.h"

typedef struct Parser {
	MloGraph *g;
	MloArena *tmp;
	const char *start, *p, *end;
	MloBlobLookup blobs;
	void *user;
	MloDiag *d;
	int64_t expanded; /* bytes of constants that the text only abbreviates */
	struct Label *labels; /* hash table: label to value */
	size_t nlabels, nslots;
	int depth; /* of bodies */
} Parser;

/* "line N: text"; MLO_ERR_FORMAT. */
MloStatus parse_error(const Parser *c, const char *fmt, ...) MLO_PRINTF(2, 3);
bool parse_take(Parser *c, const char *token);        /* after blanks and comments */
bool parse_word(Parser *c, const char *word);         /* the same, and no identifier goes on */
MloStatus parse_expect(Parser *c, const char *token) MLO_CHECKED;
MloStatus parse_int(Parser *c, int64_t *out) MLO_CHECKED;
MloStatus parse_double(Parser *c, double *out) MLO_CHECKED; /* suffix f: rounded to float32 */
/* The data after `=` of a constant of that (static) type. */
MloStatus parse_data(Parser *c, const MloType *t, const MloTensor **out) MLO_CHECKED;
#endif
