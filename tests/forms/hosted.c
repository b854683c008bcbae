/* tests/forms/hosted.c -- the harness on an operating system. */
#include <stdio.h>

#include "harness.h"

void harness_text(const char *text)
{
	fputs(text, stdout);
}
