/* tests/dlr/check.c -- counted checks of the client of DLR's interface. */
#include "tests/dlr/check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static atomic_int passed, failed;

bool check_at(const char *file, int line, const char *text, bool ok)
{
	if (ok) {
		passed++;
	} else {
		failed++;
		printf("FAIL %s:%d: %s (last error: %s)\n", file, line, text, DLRGetLastError());
	}
	return ok;
}

bool refused_at(const char *file, int line, const char *call, int result, const char *part)
{
	if (result == -1 && strstr(DLRGetLastError(), part))
		return check_at(file, line, call, true);
	printf("FAIL %s:%d: result %d, reason wanted: %s\n", file, line, result, part);
	return check_at(file, line, call, false);
}

int check_end(void)
{
	printf("%d passed, %d failed, 0 skipped\n", (int)passed, (int)failed);
	return failed != 0;
}
