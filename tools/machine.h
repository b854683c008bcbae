/* tools/machine.h -- what this machine can do, measured: the yardstick of `bench`. */
#ifndef MLO_TOOLS_MACHINE_H
#define MLO_TOOLS_MACHINE_H
#include "ir/base/arena.h"
#include "ir/base/diag.h"

typedef struct Machine Machine;
/* Freed with `a`. */
MloStatus machine_open(MloArena *a, Machine **out, MloDiag *d) MLO_CHECKED;
/* GFLOP/s of float32 multiply-adds that `threads` threads reach together in that time. */
double machine_peak(const Machine *m, int threads, double seconds);
/* GB/s that as many threads read together from memory, out of all caches. 0: no memory for that. */
double machine_bandwidth(int threads, double seconds);
const char *machine_cpu(MloArena *a); /* model name of the CPU, or "unknown CPU" */
#endif
