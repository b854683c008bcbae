/* examples/embedded/start.c -- start and output of a Cortex-M without an operating system or a C library.
 *
 * Armv7-M Architecture Reference Manual, B1.5 (vectors, reset) and B3.2.20 (CPACR); "Semihosting for AArch32 and
 * AArch64", operations SYS_WRITE0 and SYS_EXIT. */
#include "start.h"

enum { SYS_WRITE0 = 0x04, SYS_EXIT = 0x18, STOPPED_BY_EXIT = 0x20026, STOPPED_BY_FAULT = 0x20023 };
extern uint32_t ram_end[];
int main(void);
void reset(void);

static int semihost(int operation, const void *argument)
{
	register int r0 __asm__("r0") = operation;
	register const void *r1 __asm__("r1") = argument;

	__asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
	return r0;
}

void put_text(const char *text)
{
	semihost(SYS_WRITE0, text);
}

static void stop(int reason)
{
	for (;;)
		semihost(SYS_EXIT, (const void *)(uintptr_t)(unsigned)reason);
}

static void fault(void)
{
	put_text("fault\n");
	stop(STOPPED_BY_FAULT);
}

void reset(void)
{
	*(volatile uint32_t *)0xe000ed88 |= 0xf << 20; /* CPACR: the floating-point unit, and with it MVE */
	__asm__ volatile("dsb\n\tisb" ::: "memory");
	stop(main() ? STOPPED_BY_FAULT : STOPPED_BY_EXIT);
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
	(void (*)(void))ram_end, reset, fault, fault, fault, fault, fault, fault,
};

/* Compilers may leave copies to these two, whatever they are told. */
void *memcpy(void *to, const void *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *to, int value, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		((volatile char *)to)[i] = (char)value;
	return to;
}
