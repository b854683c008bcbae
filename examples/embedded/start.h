/* examples/embedded/start.h -- what start.c gives to a program; it calls main() and ends the emulator behind it. */
#ifndef START_H
#define START_H
#include <stdint.h>

void put_text(const char *text); /* to the debugger or emulator, by semihosting */
#endif
