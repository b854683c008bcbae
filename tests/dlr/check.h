/* tests/dlr/check.h -- counted checks of the client of DLR's interface. */
#ifndef MLOPT_TESTS_DLR_CHECK_H
#define MLOPT_TESTS_DLR_CHECK_H
#include <stdbool.h>

#include "dlr.h"

/* Counts, from any thread; prints what failed, with the last error. */
bool check_at(const char *file, int line, const char *text, bool ok);
#define CHECK(cond) check_at(__FILE__, __LINE__, #cond, (cond))
/* -1, and the reason names `part`. */
bool refused_at(const char *file, int line, const char *call, int result, const char *part);
#define REFUSED(call, part) refused_at(__FILE__, __LINE__, #call, (call), part)
int check_end(void); /* prints the counts; the exit status */

/* The model of that name in the folder that the program was given; NULL is a failed check. */
DLRModelHandle open_model(const char *name);
const char *model_path(char *room, const char *name); /* room of 512 bytes */

void check_refusals(void); /* refuse.c */
#endif
