/* targets/tool.h -- running a program on files in a temporary folder. */
#ifndef MLO_TARGETS_TOOL_H
#define MLO_TARGETS_TOOL_H
#include "targets/object.h"

MloStatus mlo_tool_dir(char *dir, size_t n, MloDiag *d) MLO_CHECKED; /* a new folder, below $TMPDIR or /tmp */
MloStatus mlo_tool_write(const char *path, const unsigned char *p, size_t n, MloDiag *d) MLO_CHECKED;
MloStatus mlo_tool_read(const char *path, MloBytes *out, MloDiag *d) MLO_CHECKED;
/* Both outputs of the program go to the file `log`.  *status: of its exit; -1: it did not come that far. */
MloStatus mlo_tool_run(const char *program, char *const *argv, const char *log, int *status, MloDiag *d) MLO_CHECKED;
/* What it said, from the start: at most n - 1 bytes and a NUL. */
void mlo_tool_log(const char *log, char *text, size_t n);
#endif
