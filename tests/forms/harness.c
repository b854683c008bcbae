/* tests/forms/harness.c -- the parts of the harness that all machines share. */
#include "harness.h"

enum { STACK_BYTES = 16384, PAINT = 0xa5 };
static unsigned char stack[STACK_BYTES] __attribute__((aligned(64)));
static unsigned char *const top = stack + STACK_BYTES;

void harness_bytes(const unsigned char *p, uint32_t n)
{
	static const char digit[] = "0123456789abcdef";
	char line[65];

	for (uint32_t i = 0; i < n;) {
		uint32_t k = 0;

		for (; k < 32 && i < n; k++, i++) {
			line[2 * k] = digit[p[i] >> 4];
			line[2 * k + 1] = digit[p[i] & 15];
		}
		line[2 * k] = 0;
		harness_text(line);
	}
	harness_text("\n");
}

void harness_number(const char *name, uint32_t n)
{
	char text[12], *p = text + sizeof text;

	*--p = 0;
	*--p = '\n';
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	harness_text(name);
	harness_text(" ");
	harness_text(p);
}

static void call_there(void (*fn)(void))
{
#if defined(__arm__)
	__asm__ volatile("mov r4, sp\n\tmov sp, %1\n\tblx %0\n\tmov sp, r4"
			 :
			 : "r"(fn), "r"(top)
			 : "r0", "r1", "r2", "r3", "r4", "r12", "lr", "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7",
			   "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15");
#else
	(void)top;
	fn();
#endif
}

uint32_t harness_stack(void (*fn)(void))
{
	uint32_t free_bytes = 0;

	for (volatile unsigned char *p = stack; p < top; p++)
		*p = PAINT;
	call_there(fn);
	while (free_bytes < STACK_BYTES && *(volatile unsigned char *)&stack[free_bytes] == PAINT)
		free_bytes++;
	return STACK_BYTES - free_bytes;
}
