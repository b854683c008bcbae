/* runtime/error.c -- filling an MlrtError. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/internal.h"

MLRT_LOCAL MlrtStatus mlrt_fail(MlrtError *err, MlrtStatus st, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return st;
	err->status = st;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	for (char *p = err->text; *p; p++) /* one line, whatever a name holds */
		if ((unsigned char)*p < ' ')
			*p = '?';
	return st;
}

MLRT_LOCAL void mlrt_error_prefix(MlrtError *err, const char *prefix)
{
	char old[sizeof err->text];

	if (!err)
		return;
	memcpy(old, err->text, sizeof old);
	mlrt_fail(err, err->status, "%.200s: %.300s", prefix, old);
}
