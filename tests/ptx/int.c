/* tests/ptx/int.c -- arithmetic, logic and shifts of integers. */
#include "tests/ptx/ops.h"

enum { NTYPES = 6 }; /* u16 u32 u64 s16 s32 s64 */

#define UNARY(NAME, D, T, EXPR)                                                                                \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a);                                                                    \
		D t[PTX_LANES];                                                                                \
		EACH {                                                                                         \
			const T x = a[l];                                                                      \
			t[l] = (D)(EXPR);                                                                      \
		}                                                                                              \
		ptx_put(w, i->d, t, sizeof(D), m);                                                             \
	}
#define BINARY(NAME, D, T, EXPR)                                                                               \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a), *b = SLOT(T, i->b);                                                \
		D t[PTX_LANES];                                                                                \
		EACH {                                                                                         \
			const T x = a[l], y = b[l];                                                            \
			t[l] = (D)(EXPR);                                                                      \
		}                                                                                              \
		ptx_put(w, i->d, t, sizeof(D), m);                                                             \
	}
/* z has the type of the result */
#define TERNARY(NAME, D, T, EXPR)                                                                              \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a), *b = SLOT(T, i->b);                                                \
		const D *c = SLOT(D, i->c);                                                                    \
		D t[PTX_LANES];                                                                                \
		EACH {                                                                                         \
			const T x = a[l], y = b[l];                                                            \
			const D z = c[l];                                                                      \
			t[l] = (D)(EXPR);                                                                      \
		}                                                                                              \
		ptx_put(w, i->d, t, sizeof(D), m);                                                             \
	}

/* The same for all widths; U: arithmetic without overflow, W: twice as wide. */
#define BINARY_U(NAME, EXPR)                                                                                   \
	BINARY(NAME##_16, uint16_t, uint16_t, EXPR)                                                            \
	BINARY(NAME##_32, uint32_t, uint32_t, EXPR) BINARY(NAME##_64, uint64_t, uint64_t, EXPR)
#define BINARY_S(NAME, EXPR)                                                                                   \
	BINARY(NAME##_s16, int16_t, int16_t, EXPR)                                                             \
	BINARY(NAME##_s32, int32_t, int32_t, EXPR) BINARY(NAME##_s64, int64_t, int64_t, EXPR)
#define SAME(NAME) {NAME##_16, NAME##_32, NAME##_64, NAME##_16, NAME##_32, NAME##_64}
#define BOTH(NAME) {NAME##_16, NAME##_32, NAME##_64, NAME##_s16, NAME##_s32, NAME##_s64}

BINARY_U(add, (uint64_t)x + y)
BINARY_U(sub, (uint64_t)x - y)
BINARY_U(mul_lo, (uint64_t)x * y)
BINARY_U(and, x & y)
BINARY_U(or, x | y)
BINARY_U(xor, x ^ y)
BINARY_U(min, x < y ? x : y)
BINARY_S(min, x < y ? x : y)
BINARY_U(max, x > y ? x : y)
BINARY_S(max, x > y ? x : y)
/* Division by zero has no defined result; here it is all ones, as on the hardware. */
BINARY_U(div, y ? x / y : (uint64_t)-1)
BINARY_U(rem, y ? x % y : x)
BINARY(div_s16, int16_t, int16_t, y ? x / y : -1)
BINARY(div_s32, int32_t, int32_t, !y ? -1 : y == -1 ? (int32_t)-(uint32_t)x : x / y)
BINARY(div_s64, int64_t, int64_t, !y ? -1 : y == -1 ? (int64_t)-(uint64_t)x : x / y)
BINARY(rem_s16, int16_t, int16_t, y ? x % y : x)
BINARY(rem_s32, int32_t, int32_t, !y ? x : y == -1 ? 0 : x % y)
BINARY(rem_s64, int64_t, int64_t, !y ? x : y == -1 ? 0 : x % y)
BINARY(mul_hi_16, uint16_t, uint16_t, (uint32_t)x * y >> 16)
BINARY(mul_hi_32, uint32_t, uint32_t, (uint64_t)x * y >> 32)
BINARY(mul_hi_64, uint64_t, uint64_t, (unsigned __int128)x * y >> 64)
BINARY(mul_hi_s16, int16_t, int16_t, x * y >> 16)
BINARY(mul_hi_s32, int32_t, int32_t, (int64_t)x * y >> 32)
BINARY(mul_hi_s64, int64_t, int64_t, (__int128)x * y >> 64)
BINARY(mul_wide_16, uint32_t, uint16_t, (uint32_t)x * y)
BINARY(mul_wide_32, uint64_t, uint32_t, (uint64_t)x * y)
BINARY(mul_wide_s16, int32_t, int16_t, x * y)
BINARY(mul_wide_s32, int64_t, int32_t, (int64_t)x * y)
TERNARY(mad_lo_16, uint16_t, uint16_t, (uint64_t)x * y + z)
TERNARY(mad_lo_32, uint32_t, uint32_t, (uint64_t)x * y + z)
TERNARY(mad_lo_64, uint64_t, uint64_t, x * y + z)
TERNARY(mad_hi_16, uint16_t, uint16_t, ((uint32_t)x * y >> 16) + z)
TERNARY(mad_hi_32, uint32_t, uint32_t, ((uint64_t)x * y >> 32) + z)
TERNARY(mad_hi_64, uint64_t, uint64_t, (uint64_t)((unsigned __int128)x * y >> 64) + z)
TERNARY(mad_hi_s16, uint16_t, int16_t, (uint32_t)(x * y >> 16) + z)
TERNARY(mad_hi_s32, uint32_t, int32_t, (uint64_t)((int64_t)x * y >> 32) + z)
TERNARY(mad_hi_s64, uint64_t, int64_t, (uint64_t)((__int128)x * y >> 64) + z)
TERNARY(mad_wide_16, uint32_t, uint16_t, (uint32_t)x * y + z)
TERNARY(mad_wide_32, uint64_t, uint32_t, (uint64_t)x * y + z)
TERNARY(mad_wide_s16, uint32_t, int16_t, (uint32_t)(x * y) + z)
TERNARY(mad_wide_s32, uint64_t, int32_t, (uint64_t)((int64_t)x * y) + z)
TERNARY(sad_16, uint16_t, uint16_t, (uint32_t)z + (x > y ? x - y : y - x))
TERNARY(sad_32, uint32_t, uint32_t, z + (x > y ? x - y : y - x))
TERNARY(sad_64, uint64_t, uint64_t, z + (x > y ? x - y : y - x))
TERNARY(sad_s16, uint16_t, int16_t, (uint32_t)z + (uint32_t)(x > y ? x - y : y - x))
TERNARY(sad_s32, uint32_t, int32_t, z + (x > y ? (uint32_t)x - (uint32_t)y : (uint32_t)y - (uint32_t)x))
TERNARY(sad_s64, uint64_t, int64_t, z + (x > y ? (uint64_t)x - (uint64_t)y : (uint64_t)y - (uint64_t)x))
BINARY(add_sat_s32, int32_t, int32_t,
       (int64_t)x + y > INT32_MAX ? INT32_MAX : (int64_t)x + y < INT32_MIN ? INT32_MIN : (int64_t)x + y)
BINARY(sub_sat_s32, int32_t, int32_t,
       (int64_t)x - y > INT32_MAX ? INT32_MAX : (int64_t)x - y < INT32_MIN ? INT32_MIN : (int64_t)x - y)
static inline uint64_t low24(uint64_t x)
{
	return x & 0xffffff;
}
static inline int64_t slow24(int32_t x)
{
	return (int32_t)((uint32_t)x << 8) >> 8;
}
BINARY(mul24_lo_32, uint32_t, uint32_t, low24(x) * low24(y))
BINARY(mul24_hi_32, uint32_t, uint32_t, low24(x) * low24(y) >> 16)
BINARY(mul24_lo_s32, int32_t, int32_t, slow24(x) * slow24(y))
BINARY(mul24_hi_s32, int32_t, int32_t, slow24(x) * slow24(y) >> 16)
TERNARY(mad24_lo_32, uint32_t, uint32_t, low24(x) * low24(y) + z)
TERNARY(mad24_lo_s32, uint32_t, int32_t, (uint64_t)(slow24(x) * slow24(y)) + z)

UNARY(neg_16, uint16_t, uint16_t, -(uint32_t)x)
UNARY(neg_32, uint32_t, uint32_t, -x)
UNARY(neg_64, uint64_t, uint64_t, -x)
UNARY(abs_16, uint16_t, uint16_t, x >> 15 ? -(uint32_t)x : x)
UNARY(abs_32, uint32_t, uint32_t, x >> 31 ? -x : x)
UNARY(abs_64, uint64_t, uint64_t, x >> 63 ? -x : x)
UNARY(not_16, uint16_t, uint16_t, ~x)
UNARY(not_32, uint32_t, uint32_t, ~x)
UNARY(not_64, uint64_t, uint64_t, ~x)
UNARY(cnot_16, uint16_t, uint16_t, !x)
UNARY(cnot_32, uint32_t, uint32_t, !x)
UNARY(cnot_64, uint64_t, uint64_t, !x)
UNARY(popc_32, uint32_t, uint32_t, __builtin_popcount(x))
UNARY(popc_64, uint32_t, uint64_t, __builtin_popcountll(x))
UNARY(clz_32, uint32_t, uint32_t, x ? __builtin_clz(x) : 32)
UNARY(clz_64, uint32_t, uint64_t, x ? __builtin_clzll(x) : 64)
static inline uint32_t brev(uint32_t x)
{
	x = __builtin_bswap32(x);
	x = (x >> 4 & 0x0f0f0f0f) | (x & 0x0f0f0f0f) << 4;
	x = (x >> 2 & 0x33333333) | (x & 0x33333333) << 2;
	return (x >> 1 & 0x55555555) | (x & 0x55555555) << 1;
}
UNARY(brev_32, uint32_t, uint32_t, brev(x))
UNARY(brev_64, uint64_t, uint64_t, (uint64_t)brev((uint32_t)x) << 32 | brev((uint32_t)(x >> 32)))
/* the highest bit that differs from the sign; -1: none */
static inline uint32_t find_high(uint64_t x)
{
	return x ? 63 - (uint32_t)__builtin_clzll(x) : UINT32_MAX;
}
UNARY(bfind_32, uint32_t, uint32_t, find_high(x))
UNARY(bfind_64, uint32_t, uint64_t, find_high(x))
UNARY(bfind_s32, uint32_t, int32_t, find_high((uint32_t)(x < 0 ? ~x : x)))
UNARY(bfind_s64, uint32_t, int64_t, find_high((uint64_t)(x < 0 ? ~x : x)))

/* Shifts: the amount is of 32 bits and counts up to the width. */
#define SHIFT(NAME, T, BITS, EXPR)                                                                             \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a);                                                                    \
		const uint32_t *b = SLOT(uint32_t, i->b);                                                      \
		T t[PTX_LANES];                                                                                \
		EACH {                                                                                         \
			const T x = a[l];                                                                      \
			const uint32_t n = b[l];                                                               \
			t[l] = (T)(n >= (BITS) ? (x < 0 ? (T)-1 : 0) : (EXPR));                                \
		}                                                                                              \
		ptx_put(w, i->d, t, sizeof(T), m);                                                             \
	}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtype-limits"
SHIFT(shl_16, uint16_t, 16, (uint32_t)x << n)
SHIFT(shl_32, uint32_t, 32, x << n)
SHIFT(shl_64, uint64_t, 64, x << n)
SHIFT(shr_16, uint16_t, 16, x >> n)
SHIFT(shr_32, uint32_t, 32, x >> n)
SHIFT(shr_64, uint64_t, 64, x >> n)
SHIFT(shr_s16, int16_t, 16, x >> n)
SHIFT(shr_s32, int32_t, 32, x >> n)
SHIFT(shr_s64, int64_t, 64, x >> n)
#pragma GCC diagnostic pop

/* -- bit fields -- */

static inline uint64_t extract(uint64_t x, uint32_t pos, uint32_t len, unsigned bits, bool is_signed)
{
	const uint64_t mask = len >= 64 ? UINT64_MAX : (UINT64_C(1) << len) - 1;
	const uint32_t last = pos + len - 1 < bits - 1 ? pos + len - 1 : bits - 1;
	const bool sign = is_signed && len && (x >> last & 1);
	const uint64_t field = pos >= bits ? 0 : x >> pos & mask;

	/* bits above the field, and those that lie outside of x, are the sign */
	if (!sign)
		return field;
	return pos >= bits ? UINT64_MAX : field | (last - pos >= 63 ? 0 : UINT64_MAX << (last - pos + 1));
}

#define BFE(NAME, T, BITS, SIGNED)                                                                             \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a);                                                                    \
		const uint32_t *b = SLOT(uint32_t, i->b), *c = SLOT(uint32_t, i->c);                           \
		T t[PTX_LANES];                                                                                \
		EACH t[l] = (T)extract(a[l], b[l] & 255, c[l] & 255, BITS, SIGNED);                            \
		ptx_put(w, i->d, t, sizeof(T), m);                                                             \
	}
BFE(bfe_32, uint32_t, 32, false)
BFE(bfe_64, uint64_t, 64, false)
BFE(bfe_s32, uint32_t, 32, true)
BFE(bfe_s64, uint64_t, 64, true)

#define BFI(NAME, T, BITS)                                                                                     \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a), *b = SLOT(T, i->b);                                                \
		const uint32_t *c = SLOT(uint32_t, i->list[0]), *e = SLOT(uint32_t, i->list[1]);               \
		T t[PTX_LANES];                                                                                \
		EACH {                                                                                         \
			const uint32_t pos = c[l] & 255, len = e[l] & 255;                                     \
			const T ones = len >= (BITS) ? (T)-1 : (T)(((T)1 << len) - 1);                         \
			const T mask = pos >= (BITS) ? 0 : (T)(ones << pos);                                   \
			t[l] = (b[l] & ~mask) | (pos >= (BITS) ? 0 : (T)(a[l] << pos) & mask);                 \
		}                                                                                              \
		ptx_put(w, i->d, t, sizeof(T), m);                                                             \
	}
BFI(bfi_32, uint32_t, 32)
BFI(bfi_64, uint64_t, 64)

/* -- instructions of 32 bits with three sources -- */

static inline uint32_t lop3(uint32_t x, uint32_t y, uint32_t z, uint32_t table)
{
	uint32_t r = 0;

	for (unsigned k = 0; k < 8; k++)
		if (table >> k & 1)
			r |= (k & 4 ? x : ~x) & (k & 2 ? y : ~y) & (k & 1 ? z : ~z);
	return r;
}

static void run_lop3(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t *a = SLOT(uint32_t, i->a), *b = SLOT(uint32_t, i->b), *c = SLOT(uint32_t, i->c);
	uint32_t t[PTX_LANES];

	EACH t[l] = lop3(a[l], b[l], c[l], (uint32_t)i->imm);
	ptx_put(w, i->d, t, 4, m);
}

static inline uint32_t prmt_index(uint32_t x, uint32_t y, uint32_t sel)
{
	const uint64_t both = (uint64_t)y << 32 | x;
	uint32_t r = 0;

	for (unsigned k = 0; k < 4; k++) {
		const uint32_t s = sel >> 4 * k & 15, byte = (uint32_t)(both >> 8 * (s & 7)) & 255;

		r |= (s & 8 ? (byte >> 7 ? 255u : 0) : byte) << 8 * k;
	}
	return r;
}

/* Modes choose the four bytes by the two lowest bits of the selector. */
static uint32_t prmt(uint32_t x, uint32_t y, uint32_t sel, unsigned mode)
{
	static const uint16_t selectors[][4] = {
		{0},
		{0x3210, 0x4321, 0x5432, 0x6543}, /* f4e */
		{0x5670, 0x6701, 0x7012, 0x0123}, /* b4e */
		{0x0000, 0x1111, 0x2222, 0x3333}, /* rc8 */
		{0x3210, 0x3211, 0x3222, 0x3333}, /* ecl */
		{0x0000, 0x1110, 0x2210, 0x3210}, /* ecr */
		{0x1010, 0x3232, 0x1010, 0x3232}, /* rc16 */
	};

	return prmt_index(x, y, mode ? selectors[mode][sel & 3] : sel);
}

static void run_prmt(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t *a = SLOT(uint32_t, i->a), *b = SLOT(uint32_t, i->b), *c = SLOT(uint32_t, i->c);
	uint32_t t[PTX_LANES];

	EACH t[l] = prmt(a[l], b[l], c[l], i->mode);
	ptx_put(w, i->d, t, 4, m);
}

static void run_shf(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t *a = SLOT(uint32_t, i->a), *b = SLOT(uint32_t, i->b), *c = SLOT(uint32_t, i->c);
	uint32_t t[PTX_LANES];

	EACH {
		const uint64_t both = (uint64_t)b[l] << 32 | a[l];
		const uint32_t n = i->mode & 2 ? c[l] & 31 : c[l] > 32 ? 32 : c[l]; /* wrap or clamp */

		t[l] = (uint32_t)(i->mode & 1 ? both >> n : both << n >> 32);
	}
	ptx_put(w, i->d, t, 4, m);
}

static inline int64_t byte_of(uint32_t x, unsigned k, bool is_signed)
{
	const uint32_t b = x >> 8 * k & 255;

	return is_signed ? (int8_t)b : (int64_t)b;
}

static inline int64_t half_of(uint32_t x, unsigned k, bool is_signed)
{
	const uint32_t h = x >> 16 * k & 65535;

	return is_signed ? (int16_t)h : (int64_t)h;
}

static void run_dp4a(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t *a = SLOT(uint32_t, i->a), *b = SLOT(uint32_t, i->b), *c = SLOT(uint32_t, i->c);
	uint32_t t[PTX_LANES];

	EACH {
		int64_t sum = 0;

		for (unsigned k = 0; k < 4; k++)
			sum += byte_of(a[l], k, i->mode & 1) * byte_of(b[l], k, i->mode & 2);
		t[l] = c[l] + (uint32_t)sum;
	}
	ptx_put(w, i->d, t, 4, m);
}

static void run_dp2a(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t *a = SLOT(uint32_t, i->a), *b = SLOT(uint32_t, i->b), *c = SLOT(uint32_t, i->c);
	const unsigned first = i->mode & 4 ? 2 : 0;
	uint32_t t[PTX_LANES];

	EACH {
		int64_t sum = 0;

		for (unsigned k = 0; k < 2; k++)
			sum += half_of(a[l], k, i->mode & 1) * byte_of(b[l], first + k, i->mode & 2);
		t[l] = c[l] + (uint32_t)sum;
	}
	ptx_put(w, i->d, t, 4, m);
}

/* Sums and products with a carry, one bit for each lane. */
#define CARRY(NAME, T, W, EXPR)                                                                                \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a), *b = SLOT(T, i->b), *c = SLOT(T, i->c);                            \
		const uint32_t in = i->flags & PTX_CARRY ? w->carry : 0;                                       \
		uint32_t out = 0;                                                                              \
		T t[PTX_LANES];                                                                                \
		EACH {                                                                                         \
			const W x = a[l], y = b[l], z = c[l], cin = IN(in, l);                                 \
			const W r = (EXPR);                                                                    \
			t[l] = (T)r;                                                                           \
			out |= (uint32_t)(r >> 8 * sizeof(T) & 1) << l;                                        \
			(void)z;                                                                               \
		}                                                                                              \
		if (i->flags & PTX_CC)                                                                         \
			w->carry = (w->carry & ~m) | (out & m);                                                \
		ptx_put(w, i->d, t, sizeof(T), m);                                                             \
	}
CARRY(addc_32, uint32_t, uint64_t, x + y + cin)
CARRY(addc_64, uint64_t, unsigned __int128, x + y + cin)
CARRY(subc_32, uint32_t, uint64_t, x - y - cin)
CARRY(subc_64, uint64_t, unsigned __int128, x - y - cin)
CARRY(madc_lo_32, uint32_t, uint64_t, (x * y & UINT32_MAX) + z + cin)
CARRY(madc_hi_32, uint32_t, uint64_t, (x * y >> 32) + z + cin)
CARRY(madc_lo_64, uint64_t, unsigned __int128, (x * y & UINT64_MAX) + z + cin)
CARRY(madc_hi_64, uint64_t, unsigned __int128, (x * y >> 64) + z + cin)

/* Two integers of 16 bits each. */
#define PAIRS(NAME, T, EXPR)                                                                                   \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a), *b = SLOT(T, i->b);                                                \
		T t[2 * PTX_LANES];                                                                            \
		for (int l = 0; l < 2 * PTX_LANES; l++) {                                                      \
			const T x = a[l], y = b[l];                                                            \
			t[l] = (T)(EXPR);                                                                      \
		}                                                                                              \
		ptx_put(w, i->d, t, 4, m);                                                                     \
	}
PAIRS(add_pair, uint16_t, x + y)
PAIRS(min_pair, uint16_t, x < y ? x : y)
PAIRS(min_spair, int16_t, x < y ? x : y)
PAIRS(max_pair, uint16_t, x > y ? x : y)
PAIRS(max_spair, int16_t, x > y ? x : y)

/* -- decoding -- */

/* Place in tables of runners; -1: not such a type. */
static int type_index(PtxType t)
{
	const unsigned bytes = ptx_type_bytes(t);
	const int width = bytes == 2 ? 0 : bytes == 4 ? 1 : bytes == 8 ? 2 : -1;
	const char kind = ptx_type_kind(t);

	if (width < 0 || !strchr("usb", kind))
		return -1;
	return width + (kind == 's' ? 3 : 0);
}

static PtxRun *choose(PtxParse *p, PtxRun *const *runs, PtxType t)
{
	const int n = type_index(t);

	if (n < 0 || !runs[n])
		ptx_fail(p, "%s: no such type", p->stmt.text);
	return runs[n];
}

/* All operands of the type; variant: how many. */
static void decode_same(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const PtxType t = ptx_take_type(p);
	const unsigned n = (unsigned)op->variant;

	ptx_operands(p, n + 1);
	i->run = choose(p, op->data, t);
	i->cls = PTX_CLASS_INT;
	i->type = (uint8_t)t;
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
	if (n > 1)
		i->b = ptx_source(p, ptx_operand(p, 2), t, false);
	if (n > 2)
		i->c = ptx_source(p, ptx_operand(p, 3), t, false);
}

static void decode_sum(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static PtxRun *const plain[2][NTYPES] = {SAME(add), SAME(sub)};
	static PtxRun *const carry[2][NTYPES] = {{NULL, addc_32, addc_64, NULL, addc_32, addc_64},
						 {NULL, subc_32, subc_64, NULL, subc_32, subc_64}};
	const bool sat = ptx_take(&p->stmt, "sat"), with = op->variant & 2;
	PtxOp same = {.variant = 2, .data = plain[op->variant & 1]};

	if (with)
		i->flags |= PTX_CARRY;
	if (ptx_take(&p->stmt, "cc"))
		i->flags |= PTX_CC;
	if (i->flags)
		same.data = carry[op->variant & 1];
	decode_same(p, i, &same);
	if (sat) {
		if (i->type != PTX_S32 || i->flags)
			ptx_fail(p, "%s: .sat is for .s32", p->stmt.text);
		i->run = op->variant & 1 ? sub_sat_s32 : add_sat_s32;
	}
}

static const char *const halves[] = {"lo", "hi", "wide", NULL};

static PtxType wide_type(PtxParse *p, PtxType t)
{
	switch (t) {
	case PTX_U16:
		return PTX_U32;
	case PTX_S16:
		return PTX_S32;
	case PTX_U32:
		return PTX_U64;
	case PTX_S32:
		return PTX_S64;
	default:
		ptx_fail(p, "%s: .wide is for 16 and 32 bits", p->stmt.text);
	}
}

/* mul, and mad, which may have a carry. */
static void product(PtxParse *p, PtxInst *i, PtxRun *const runs[][NTYPES], PtxRun *const carry[][NTYPES])
{
	const int half = ptx_take_one(&p->stmt, halves);
	const PtxType t = ptx_take_type(p);
	PtxType d;

	if (half < 0)
		ptx_fail(p, "%s: .lo, .hi or .wide is missing", p->stmt.text);
	if (i->flags && half == 2)
		ptx_fail(p, "%s: no .wide with a carry", p->stmt.text);
	ptx_operands(p, carry ? 4 : 3);
	d = half == 2 ? wide_type(p, t) : t;
	i->run = choose(p, i->flags ? carry[half] : runs[half], t);
	i->cls = PTX_CLASS_INT;
	i->d = ptx_dest(p, ptx_operand(p, 0), d, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
	i->b = ptx_source(p, ptx_operand(p, 2), t, false);
	if (carry)
		i->c = ptx_source(p, ptx_operand(p, 3), d, false);
}

static void decode_mul(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static PtxRun *const runs[3][NTYPES] = {
		SAME(mul_lo), BOTH(mul_hi), {mul_wide_16, mul_wide_32, NULL, mul_wide_s16, mul_wide_s32, NULL}};

	product(p, i, runs, NULL);
}

static void decode_mad(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static PtxRun *const runs[3][NTYPES] = {
		SAME(mad_lo), BOTH(mad_hi), {mad_wide_16, mad_wide_32, NULL, mad_wide_s16, mad_wide_s32, NULL}};
	static PtxRun *const carry[2][NTYPES] = {{NULL, madc_lo_32, madc_lo_64, NULL, madc_lo_32, madc_lo_64},
						 {NULL, madc_hi_32, madc_hi_64, NULL, NULL, NULL}};

	i->flags |= (op->variant ? PTX_CARRY : 0) | (ptx_take(&p->stmt, "cc") ? PTX_CC : 0);
	product(p, i, runs, carry);
}

static void decode_24(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static PtxRun *const mul[2][NTYPES] = {{NULL, mul24_lo_32, NULL, NULL, mul24_lo_s32, NULL},
					       {NULL, mul24_hi_32, NULL, NULL, mul24_hi_s32, NULL}};
	static PtxRun *const mad[2][NTYPES] = {{NULL, mad24_lo_32, NULL, NULL, mad24_lo_s32, NULL}, {NULL}};
	const int half = ptx_take_one(&p->stmt, halves);

	if (half < 0 || half > 1)
		ptx_fail(p, "%s: .lo or .hi is missing", p->stmt.text);
	decode_same(p, i, &(PtxOp){.variant = op->variant, .data = op->variant == 3 ? mad[half] : mul[half]});
}

static void decode_shift(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const PtxType t = ptx_take_type(p);

	ptx_operands(p, 3);
	i->run = choose(p, op->data, t);
	i->cls = PTX_CLASS_INT;
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
	i->b = ptx_source(p, ptx_operand(p, 2), PTX_U32, false);
}

/* The result is of 32 bits whatever the source. */
static void decode_scan(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const PtxType t = ptx_take_type(p);

	ptx_operands(p, 2);
	i->run = choose(p, op->data, t);
	i->cls = PTX_CLASS_INT;
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_U32, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
}

static void decode_field(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static PtxRun *const bfe[NTYPES] = {NULL, bfe_32, bfe_64, NULL, bfe_s32, bfe_s64};
	static PtxRun *const bfi[NTYPES] = {NULL, bfi_32, bfi_64};
	const PtxType t = ptx_take_type(p);
	int32_t *list;

	i->cls = PTX_CLASS_INT;
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
	if (!op->variant) {
		ptx_operands(p, 4);
		i->run = choose(p, bfe, t);
		i->b = ptx_source(p, ptx_operand(p, 2), PTX_U32, false);
		i->c = ptx_source(p, ptx_operand(p, 3), PTX_U32, false);
		return;
	}
	ptx_operands(p, 5);
	i->run = choose(p, bfi, t);
	i->b = ptx_source(p, ptx_operand(p, 2), t, false);
	i->list = list = ptx_alloc(p->m, 2 * sizeof *list);
	list[0] = ptx_source(p, ptx_operand(p, 3), PTX_U32, false);
	list[1] = ptx_source(p, ptx_operand(p, 4), PTX_U32, false);
}

static void three(PtxParse *p, PtxInst *i, PtxRun *run)
{
	i->run = run;
	i->cls = PTX_CLASS_INT;
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_B32, false);
	i->a = ptx_source(p, ptx_operand(p, 1), PTX_B32, false);
	i->b = ptx_source(p, ptx_operand(p, 2), PTX_B32, false);
	i->c = ptx_source(p, ptx_operand(p, 3), PTX_B32, false);
}

static void decode_lop3(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const PtxOperand *o = ptx_operand(p, 4);

	(void)ptx_take_type(p);
	ptx_operands(p, 5);
	three(p, i, run_lop3);
	if (o->kind != PTX_OP_IMM || o->value < 0 || o->value > 255)
		ptx_fail(p, "lop3: the table is a number of 8 bits");
	i->imm = o->value;
}

static void decode_prmt(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const modes[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16", NULL};

	(void)ptx_take_type(p);
	ptx_operands(p, 4);
	three(p, i, run_prmt);
	i->mode = (uint8_t)(ptx_take_one(&p->stmt, modes) + 1);
}

static void decode_shf(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const bool right = ptx_take(&p->stmt, "r"), wrap = ptx_take(&p->stmt, "wrap");

	if ((!right && !ptx_take(&p->stmt, "l")) || (!wrap && !ptx_take(&p->stmt, "clamp")))
		ptx_fail(p, "%s: a direction or mode is missing", p->stmt.text);
	(void)ptx_take_type(p);
	ptx_operands(p, 4);
	three(p, i, run_shf);
	i->mode = (uint8_t)(right | wrap << 1);
}

static void decode_dp(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const bool high = op->variant && ptx_take(&p->stmt, "hi");
	PtxType a, b;

	if (op->variant && !high && !ptx_take(&p->stmt, "lo"))
		ptx_fail(p, "dp2a: .lo or .hi is missing");
	/* the same type twice is two modifiers */
	a = ptx_take_type(p);
	b = ptx_take_type(p);
	ptx_operands(p, 4);
	three(p, i, op->variant ? run_dp2a : run_dp4a);
	i->mode = (uint8_t)((a == PTX_S32) | (b == PTX_S32) << 1 | high << 2);
}

static void decode_pair(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static PtxRun *const runs[3][2] = {{add_pair, add_pair}, {min_pair, min_spair}, {max_pair, max_spair}};
	const PtxType t = ptx_take_type(p);

	ptx_need(p, 90, 80, "two integers of 16 bits");
	ptx_operands(p, 3);
	i->run = runs[op->variant][t == PTX_S16X2];
	i->cls = PTX_CLASS_INT;
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
	i->b = ptx_source(p, ptx_operand(p, 2), t, false);
}

static void run_pred_logic(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t x = PRED(i->a), y = PRED(i->b);
	const uint32_t r[] = {x & y, x | y, x ^ y, ~x};

	ptx_put_pred(w, i->d, r[i->mode], m);
}

static void decode_pred_logic(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	(void)ptx_take_type(p);
	ptx_operands(p, op->variant == 3 ? 2 : 3);
	i->run = run_pred_logic;
	i->cls = PTX_CLASS_COMPARE;
	i->mode = (uint8_t)op->variant;
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_PRED, false);
	i->a = ptx_source(p, ptx_operand(p, 1), PTX_PRED, false);
	if (op->variant != 3)
		i->b = ptx_source(p, ptx_operand(p, 2), PTX_PRED, false);
}

static PtxRun *const div_runs[NTYPES] = BOTH(div), *const rem_runs[NTYPES] = BOTH(rem),
		     *const min_runs[NTYPES] = BOTH(min), *const max_runs[NTYPES] = BOTH(max),
		     *const and_runs[NTYPES] = SAME(and), *const or_runs[NTYPES] = SAME(or),
		     *const xor_runs[NTYPES] = SAME(xor), *const not_runs[NTYPES] = SAME(not ),
		     *const cnot_runs[NTYPES] = SAME(cnot), *const sad_runs[NTYPES] = BOTH(sad),
		     *const shl_runs[NTYPES] = SAME(shl), *const shr_runs[NTYPES] = BOTH(shr);
static PtxRun *const neg_runs[NTYPES] = {NULL, NULL, NULL, neg_16, neg_32, neg_64},
	*const abs_runs[NTYPES] = {NULL, NULL, NULL, abs_16, abs_32, abs_64},
	*const brev_runs[NTYPES] = {NULL, brev_32, brev_64}, *const popc_runs[NTYPES] = {NULL, popc_32, popc_64},
	*const clz_runs[NTYPES] = {NULL, clz_32, clz_64},
	*const bfind_runs[NTYPES] = {NULL, bfind_32, bfind_64, NULL, bfind_s32, bfind_s64};

const PtxOp ptx_int_ops[] = {
	{"add", "us", decode_sum, 0, NULL},
	{"sub", "us", decode_sum, 1, NULL},
	{"addc", "us", decode_sum, 2, NULL},
	{"subc", "us", decode_sum, 3, NULL},
	{"mul", "us", decode_mul, 0, NULL},
	{"mad", "us", decode_mad, 0, NULL},
	{"madc", "us", decode_mad, 1, NULL},
	{"mul24", "us", decode_24, 2, NULL},
	{"mad24", "us", decode_24, 3, NULL},
	{"div", "us", decode_same, 2, div_runs},
	{"rem", "us", decode_same, 2, rem_runs},
	{"min", "us", decode_same, 2, min_runs},
	{"max", "us", decode_same, 2, max_runs},
	{"sad", "us", decode_same, 3, sad_runs},
	{"neg", "s", decode_same, 1, neg_runs},
	{"abs", "s", decode_same, 1, abs_runs},
	{"and", "b", decode_same, 2, and_runs},
	{"or", "b", decode_same, 2, or_runs},
	{"xor", "b", decode_same, 2, xor_runs},
	{"not", "b", decode_same, 1, not_runs},
	{"cnot", "b", decode_same, 1, cnot_runs},
	{"and", "p", decode_pred_logic, 0, NULL},
	{"or", "p", decode_pred_logic, 1, NULL},
	{"xor", "p", decode_pred_logic, 2, NULL},
	{"not", "p", decode_pred_logic, 3, NULL},
	{"shl", "b", decode_shift, 0, shl_runs},
	{"shr", "usb", decode_shift, 0, shr_runs},
	{"popc", "b", decode_scan, 0, popc_runs},
	{"clz", "b", decode_scan, 0, clz_runs},
	{"bfind", "us", decode_scan, 0, bfind_runs},
	{"brev", "b", decode_same, 1, brev_runs},
	{"bfe", "us", decode_field, 0, NULL},
	{"bfi", "b", decode_field, 1, NULL},
	{"lop3", "b", decode_lop3, 0, NULL},
	{"prmt", "b", decode_prmt, 0, NULL},
	{"shf", "b", decode_shf, 0, NULL},
	{"dp4a", "us", decode_dp, 0, NULL},
	{"dp2a", "us", decode_dp, 1, NULL},
	{"add", "v", decode_pair, 0, NULL},
	{"min", "v", decode_pair, 1, NULL},
	{"max", "v", decode_pair, 2, NULL},
	{0},
};
