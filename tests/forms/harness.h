/* tests/forms/harness.h -- what the test program of one model needs of the machine it runs on. */
#ifndef HARNESS_H
#define HARNESS_H
#include <stdint.h>

void harness_text(const char *text);           /* to standard output */
void harness_bytes(const unsigned char *p, uint32_t n); /* likewise, in hexadecimal, and a line's end */
void harness_number(const char *name, uint32_t n);
/* Calls fn on a stack of its own that was painted, and answers how many bytes of it were used, by fn and what calls it. */
uint32_t harness_stack(void (*fn)(void));
#endif
