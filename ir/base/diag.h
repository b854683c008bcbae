/* ir/base/diag.h -- status codes and the diagnostics that explain them.
 *
 * Whatever a user can cause returns an MloStatus and records a diagnostic; whatever only we can
 * cause is MLO_BUG().  A sink collects several diagnostics, so that all independent errors of a
 * model are reported at once.  Nothing in the library prints or exits. */
#ifndef MLO_BASE_DIAG_H
#define MLO_BASE_DIAG_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum MloStatus {
#define MLO_STATUS(code, text) MLO_##code,
#include "ir/base/status.def"
	MLO_STATUS_COUNT
} MloStatus;

#define MLO_CHECKED __attribute__((warn_unused_result))
#define MLO_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Forward a failure to the caller. */
#define MLO_TRY(call)                            \
	do {                                     \
		MloStatus mlo_st_ = (call);      \
		if (mlo_st_ != MLO_OK)           \
			return mlo_st_;          \
	} while (0)

/* A broken invariant of ours: prints file and line and aborts. */
#define MLO_BUG(...) mlo_bug(__FILE__, __LINE__, __VA_ARGS__)
#define MLO_ASSERT(cond)                                  \
	do {                                              \
		if (!(cond))                              \
			MLO_BUG("assertion: %s", #cond);  \
	} while (0)
_Noreturn void mlo_bug(const char *file, int line, const char *fmt, ...) MLO_PRINTF(3, 4);

typedef enum MloSeverity { MLO_DIAG_ERROR, MLO_DIAG_WARNING, MLO_DIAG_NOTE, MLO_DIAG_HINT } MloSeverity;

/* One line of a report.  NOTE and HINT lines belong to the error or warning before them.
 * Strings are owned by the sink. */
typedef struct MloDiagLine {
	MloSeverity severity;
	MloStatus status;  /* what an ERROR stands for */
	char *where;       /* file the message is about, or NULL */
	char *text;        /* lower case, no full stop */
} MloDiagLine;

/* A sink of diagnostics.  Zero-initialise it; mlo_diag_free() releases the lines.  At most
 * MLO_DIAG_MAX lines are kept, `dropped` counts the rest. */
#define MLO_DIAG_MAX 200
typedef struct MloDiag {
	MloDiagLine *lines;
	size_t n, cap, nerrors, dropped;
	const char *where; /* default `where` of new lines, not owned; copied into each line */
} MloDiag;

/* Record an error; returns `st`, so that `return mlo_error(d, MLO_ERR_MODEL, ...)` reads well.
 * `d` may be NULL (the message is lost, the status is not). */
MloStatus mlo_error(MloDiag *d, MloStatus st, const char *fmt, ...) MLO_PRINTF(3, 4);
void mlo_warn(MloDiag *d, const char *fmt, ...) MLO_PRINTF(2, 3);
void mlo_note(MloDiag *d, const char *fmt, ...) MLO_PRINTF(2, 3);
void mlo_hint(MloDiag *d, const char *fmt, ...) MLO_PRINTF(2, 3);

/* Appends the lines of `from`, which is empty then; without `to` they are freed. */
void mlo_diag_move(MloDiag *to, MloDiag *from);

/* "mlopt: error: WHERE: TEXT" lines, notes and hints indented below. */
void mlo_diag_print(const MloDiag *d, const char *program, FILE *out);
void mlo_diag_free(MloDiag *d);
const char *mlo_status_text(MloStatus st);
#endif
