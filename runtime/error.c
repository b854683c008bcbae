/* runtime/error.c -- filling an MlrtError. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/internal.h"

/* `head`, which has place for one string, then the rest. */
static MlrtStatus fill(MlrtError *err, MlrtStatus st, const char *head, const char *name, const char *fmt, va_list ap)
{
	int n;

	if (!err)
		return st;
	err->status = st;
	n = snprintf(err->text, sizeof err->text, head, name);
	vsnprintf(err->text + n, sizeof err->text - (size_t)n, fmt, ap);
	for (char *p = err->text; *p; p++) /* one line, whatever a name holds */
		if ((unsigned char)*p < ' ')
			*p = '?';
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_fail(MlrtError *err, MlrtStatus st, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(err, st, "", NULL, fmt, ap);
	va_end(ap);
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_damaged(MlrtError *err, const char *variant, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(err, MLRT_ERR_FORMAT, "damaged: variant '%.80s': ", variant, fmt, ap);
	va_end(ap);
	return MLRT_ERR_FORMAT;
}

MLRT_LOCAL MlrtStatus mlrt_no_memory(MlrtError *err)
{
	return mlrt_fail(err, MLRT_ERR_NOMEM, "out of memory");
}

MLRT_LOCAL void mlrt_error_prefix(MlrtError *err, const char *prefix)
{
	char old[sizeof err->text];

	if (!err)
		return;
	memcpy(old, err->text, sizeof old);
	mlrt_fail(err, err->status, "%.200s: %.300s", prefix, old);
}
