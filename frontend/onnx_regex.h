/* frontend/onnx_regex.h -- regular expressions, compiled to the table of regex_full_match. */
#ifndef MLO_FRONTEND_ONNX_REGEX_H
#define MLO_FRONTEND_ONNX_REGEX_H
#include "ir/type.h"

/* i32[states,257]: for each byte the next state or -1, then whether the state accepts; state 0 begins.
 * RE2's syntax without flags, Unicode classes, word boundaries, back references.  NULL: *why says what is not understood. */
MloTensor *onnx_regex_table(MloArena *a, const char *pattern, size_t n, const char **why);
#endif
