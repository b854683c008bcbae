/* runtime/lists_calls.h -- between libmlopt_rt.so and libmlopt_rt_lists.so, which are of one build. */
#ifndef MLRT_LISTS_CALLS_H
#define MLRT_LISTS_CALLS_H
#include "runtime/lists.h"

/* What libmlopt_rt_lists.so calls. */
typedef struct ListCalls {
#define CALL(type, name, parameters, arguments) type(*name) parameters;
#include "runtime/lists.def"
#undef CALL
} ListCalls;

/* Its one function, mlrt_lists_enter; NULL: it is of another version, or expects another table. */
typedef const Lists *ListsEnter(const char *version, const ListCalls *calls, size_t bytes);
#endif
