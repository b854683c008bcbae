/* runtime/more_calls.h -- between libmlopt_rt.so and libmlopt_rt_more.so, which are of one build. */
#ifndef MLRT_MORE_CALLS_H
#define MLRT_MORE_CALLS_H
#include "runtime/more.h"

/* What libmlopt_rt_more.so calls. */
typedef struct MoreCalls {
#define CALL(type, name, parameters, arguments) type(*name) parameters;
#include "runtime/more.def"
#undef CALL
} MoreCalls;

/* Its one function, mlrt_more_enter; NULL: it is of another version, or expects another table. */
typedef const More *MoreEnter(const char *version, const MoreCalls *calls, size_t bytes);
#endif
