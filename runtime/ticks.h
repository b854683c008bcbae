/* runtime/ticks.h -- a clock that is read without a system call; its unit is only roughly known.
 *
 * Intel SDM, RDTSC: counts at a constant rate; Arm ARM, CNTVCT_EL0 and CNTFRQ_EL0: likewise, and the rate is told. */
#ifndef MLRT_TICKS_H
#define MLRT_TICKS_H
#include <stdint.h>
#include <time.h>

/* Now, in ticks. */
static inline uint64_t mlrt_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t t;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
	return t;
#else
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
#endif
}

/* About how many ticks that is. */
static inline uint64_t mlrt_ticks_of(uint64_t us)
{
#if defined(__x86_64__)
	return us * 2500; /* time stamp counters run at 2 to 4 GHz */
#elif defined(__aarch64__)
	uint64_t hz;

	__asm__("mrs %0, cntfrq_el0" : "=r"(hz));
	return hz * us / 1000000;
#else
	return us * 1000;
#endif
}
#endif
