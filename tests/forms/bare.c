/* tests/forms/bare.c -- the harness on a machine without a system, which examples/embedded/start.c starts. */
#include "harness.h"
#include "start.h"

void harness_text(const char *text)
{
	put_text(text);
}
