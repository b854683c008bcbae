/* tests/ptx/kernels.c -- kernels in C that run.sh compiles to PTX: what compilers make of loops, branches, calls,
 * arrays. Also compiled for the host, where `kernel` is empty, for the results to expect. */
#ifdef __NVPTX__
#define kernel __attribute__((nvptx_kernel))
#define thread ((long)__nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x())
#define entry(name, ...) kernel void name(__VA_ARGS__, long n)
#else
#define entry(name, ...) void name(__VA_ARGS__, long n, long thread)
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char s8;

/* Loops of different length in each lane, with branches and early ends in them. */
entry(collatz, const u32 *x, u32 *y)
{
	const long i = thread;
	u32 v, steps = 0;

	if (i >= n)
		return;
	v = x[i];
	while (v > 1) {
		if (v & 1) {
			if (v > 1000000000)
				break;
			v = 3 * v + 1;
		} else {
			v /= 2;
		}
		steps++;
		if (steps == 77)
			continue;
		if (v % 1001 == 5)
			steps += 1000;
	}
	y[i] = steps * 3 + v;
}

static const u16 table[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};

__attribute__((noinline)) static float helper(float a, int k, const float *v)
{
	float s = a;

	for (int j = 0; j < k; j++)
		s = s * 0.5f + v[j % 4];
	if (k > 9)
		return s - 1;
	return s;
}

__attribute__((noinline)) static float outer(float a, int k, const float *v)
{
	if (k == 3)
		return -1;
	return helper(a, k, v) + helper(a + 1, k / 2, v);
}

/* Calls in calls by some of the lanes, arrays in local memory, tables in constant memory. */
entry(calls, const float *x, float *y)
{
	const long i = thread;
	float local[4], s = 0;

	if (i >= n)
		return;
	for (int j = 0; j < 4; j++)
		local[(j + i) % 4] = x[(i + j) % n];
	if (i % 3)
		s = outer(x[i], (int)(i % 13), local);
	y[i] = s + table[(i * 7) % 16] + local[i % 4];
}

static u64 mixed(u64 h, long i)
{
	switch (h % 11) {
	case 0:
		return h * 31 + (u64)i;
	case 1:
		return h ^ h >> 7;
	case 2:
		return h + (h << 13);
	case 3:
		return (u64)((long)h / 3);
	case 4:
		return h / (u64)(i + 3);
	case 5:
		return (u64)((long)h % 1000003);
	case 6:
		return (u64)__builtin_popcountl(h) * 0x9e3779b97f4a7c15;
	case 7:
		return (u64)(h ? __builtin_clzl(h) : 64) + h * 5;
	case 8:
		return (u64)(long)(s8)h * 77;
	case 9:
		return (u64)((unsigned __int128)h * 0x9e3779b97f4a7c15 >> 64);
	default:
		return (u64)(u16)h * (u32)(h >> 32) + 1;
	}
}

entry(integers, const u64 *x, u64 *y)
{
	const long i = thread;
	u64 h;

	if (i >= n)
		return;
	h = x[i];
	for (int k = 0; k < 40; k++)
		h = mixed(h, i);
	y[i] = h;
}

entry(bytes, const u8 *x, s8 *y)
{
	const long i = thread;
	int s = 0;

	if (i >= n)
		return;
	for (int k = 0; k < 9; k++) {
		const int v = (s8)x[(i + k) % n] * (int)x[(i + 2 * k) % n];

		s += v >> 3;
	}
	s = s < -128 ? -128 : s > 127 ? 127 : s;
	y[i] = (s8)s;
}

entry(doubles, const double *x, float *y)
{
	const long i = thread;
	double s = 0;

	if (i >= n)
		return;
	for (int k = 0; k < 5; k++)
		s = s * 0.25 + x[(i + k) % n] / (k + 1) - (double)(float)x[i];
	y[i] = (float)s + (float)(int)(s * 100) + (float)(u32)(long)(x[i] < 0 ? -x[i] : x[i]);
}
