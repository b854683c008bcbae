/* runtime/float_mode.h -- denormal numbers are taken as zero while kernels run.
 *
 * Activations such as x * sigmoid(x) or masked attention scores fade into denormals, and arithmetic
 * on those traps into microcode: ten times slower, for digits far below any model's noise.  The
 * caller's mode is put back after the run.  Intel SDM volume 1, 11.6.3; Arm ARM, FPCR.FZ. */
#ifndef MLRT_FLOAT_MODE_H
#define MLRT_FLOAT_MODE_H
#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>

static inline uint64_t mlrt_float_enter(void)
{
	const unsigned mode = _mm_getcsr();

	_mm_setcsr(mode | 0x8040u); /* flush to zero, denormals are zero */
	return mode;
}

static inline void mlrt_float_leave(uint64_t mode)
{
	_mm_setcsr((unsigned)mode);
}
#elif defined(__aarch64__)
static inline uint64_t mlrt_float_enter(void)
{
	uint64_t mode;

	__asm__ volatile("mrs %0, fpcr" : "=r"(mode));
	__asm__ volatile("msr fpcr, %0" : : "r"(mode | (1u << 24)));
	return mode;
}

static inline void mlrt_float_leave(uint64_t mode)
{
	__asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
static inline uint64_t mlrt_float_enter(void)
{
	return 0;
}

static inline void mlrt_float_leave(uint64_t mode)
{
	(void)mode;
}
#endif
#endif
