/* runtime/json.h -- a small strict reader of JSON text (RFC 8259, UTF-8 checked, bounded depth). */
#ifndef MLRT_JSON_H
#define MLRT_JSON_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/internal.h"

typedef enum JsonKind {
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
} JsonKind;

/* Nodes are numbers; 0 is "none".  An array's children are its elements.  An object's children are
 * its keys (strings); the only child of a key is its value. */
typedef struct JsonNode {
	uint32_t start, end;  /* range of the text; strings: between the quotes */
	uint32_t next, child; /* following sibling, first child */
	uint32_t n;           /* children of an array or object */
	uint32_t kind;        /* JsonKind */
} JsonNode;

typedef struct Json {
	const char *text;
	JsonNode *node; /* node[1] is the whole document */
	uint32_t n, cap;
} Json;

enum { JSON_MAX_DEPTH = 64 };

/* Parses text[0, n), behind which there is a 0, and which must outlive `j`; an object with a key twice is refused.
 * Release with mlrt_json_free, also after a failure. */
MLRT_LOCAL MlrtStatus mlrt_json_parse(Json *j, const char *text, size_t n, MlrtError *err);
MLRT_LOCAL void mlrt_json_free(Json *j);

/* The value of `key` in an object: 0 if `object` is none, has another kind, or lacks the key. */
MLRT_LOCAL uint32_t mlrt_json_get(const Json *j, uint32_t object, const char *key);
MLRT_LOCAL bool mlrt_json_is(const Json *j, uint32_t node, JsonKind kind);
MLRT_LOCAL bool mlrt_json_int(const Json *j, uint32_t node, int64_t *v); /* no fraction, no exponent */
/* Decodes a string node into out (at most end - start bytes and a NUL); returns its length. */
MLRT_LOCAL size_t mlrt_json_string(const Json *j, uint32_t node, char *out);
#endif
