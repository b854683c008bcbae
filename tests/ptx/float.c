/* tests/ptx/float.c -- arithmetic of float32 and float64. Results that are approximate on the hardware are those of the
 * C library, rounded, here: well within the errors that the PTX ISA states. */
#include <fenv.h>
#include <math.h>

#include "tests/ptx/ops.h"
#include "tests/ptx/round.h"

static inline float canonical(float x)
{
	return x != x ? ptx_bits_f32(0x7fffffff) : x;
}

static inline float flush(float x)
{
	return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

static inline float clamp01(float x)
{
	return x > 0 ? (x < 1 ? x : 1) : 0; /* NaN: 0 */
}

/* -- exact ones, rounded to the nearest, without modifiers: the ones that matter for speed -- */

#define FAST(NAME, T, EXPR)                                                                                    \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a), *b = SLOT(T, i->b);                                                \
		T t[PTX_LANES];                                                                                \
		EACH {                                                                                         \
			const T x = a[l], y = b[l];                                                            \
			t[l] = EXPR;                                                                           \
		}                                                                                              \
		ptx_put(w, i->d, t, sizeof(T), m);                                                             \
	}
FAST(add_f32, float, canonical(x + y))
FAST(sub_f32, float, canonical(x - y))
FAST(mul_f32, float, canonical(x * y))
FAST(div_f32, float, canonical(x / y))
FAST(add_f64, double, x + y)
FAST(sub_f64, double, x - y)
FAST(mul_f64, double, x * y)
FAST(div_f64, double, x / y)

#define FMA(NAME, ATTRIBUTE, T, EXPR)                                                                          \
	ATTRIBUTE static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                   \
	{                                                                                                      \
		const T *a = SLOT(T, i->a), *b = SLOT(T, i->b), *c = SLOT(T, i->c);                            \
		T t[PTX_LANES];                                                                                \
		EACH t[l] = EXPR;                                                                              \
		ptx_put(w, i->d, t, sizeof(T), m);                                                             \
	}
FMA(fma_f32, , float, canonical(fmaf(a[l], b[l], c[l])))
FMA(fma_f64, , double, fma(a[l], b[l], c[l]))
#ifdef __x86_64__
#define WITH_FMA __attribute__((target("avx2,fma")))
WITH_FMA static void fma_f32_unit(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const float *a = SLOT(float, i->a), *b = SLOT(float, i->b), *c = SLOT(float, i->c);
	const union {
		uint32_t bits;
		float f;
	} nan = {0x7fffffff};
	float t[PTX_LANES];

	EACH {
		const float r = __builtin_fmaf(a[l], b[l], c[l]);

		t[l] = r != r ? nan.f : r;
	}
	ptx_put(w, i->d, t, 4, m);
}
FMA(fma_f64_unit, WITH_FMA, double, __builtin_fma(a[l], b[l], c[l]))
#endif

/* -- with any modifiers, lane by lane -- */

enum { ADD, SUB, MUL, DIV, FMA, MIN, MAX, SQRT, RCP, RSQRT, SIN, COS, LG2, EX2, TANH, ABS, NEG, COPYSIGN };

/* Volatile: what is computed must be computed between changes of the mode. */
#define EXACT(NAME, T, FMA_OF, SQRT_OF)                                                                        \
	static T NAME(int op, T x, T y, T z)                                                                   \
	{                                                                                                      \
		volatile T a = x, b = y, c = z, r;                                                             \
		switch (op) {                                                                                  \
		case ADD:                                                                                      \
			r = a + b;                                                                             \
			break;                                                                                 \
		case SUB:                                                                                      \
			r = a - b;                                                                             \
			break;                                                                                 \
		case MUL:                                                                                      \
			r = a * b;                                                                             \
			break;                                                                                 \
		case DIV:                                                                                      \
			r = a / b;                                                                             \
			break;                                                                                 \
		case FMA:                                                                                      \
			r = FMA_OF(a, b, c);                                                                   \
			break;                                                                                 \
		case SQRT:                                                                                     \
			r = SQRT_OF(a);                                                                        \
			break;                                                                                 \
		default:                                                                                       \
			r = 1 / a;                                                                             \
		}                                                                                              \
		return r;                                                                                      \
	}
EXACT(exact32, float, fmaf, sqrtf)
EXACT(exact64, double, fma, sqrt)

static double other(int op, double x, double y, bool want_nan)
{
	switch (op) {
	case MIN:
		return ptx_least(x, y, want_nan);
	case MAX:
		return -ptx_least(-x, -y, want_nan);
	case RSQRT:
		return 1 / sqrt(x);
	case SIN:
		return sin(x);
	case COS:
		return cos(x);
	case LG2:
		return log2(x);
	case EX2:
		return exp2(x);
	case TANH:
		return tanh(x);
	case ABS:
		return fabs(x);
	case NEG:
		return -x;
	default: /* the sign of the first, the magnitude of the second operand */
		return copysign(y, x);
	}
}

static bool is_exact(int op)
{
	return op <= FMA || op == SQRT || op == RCP;
}

static const int rounding[] = {
	[PTX_RN] = FE_TONEAREST, [PTX_RZ] = FE_TOWARDZERO, [PTX_RM] = FE_DOWNWARD, [PTX_RP] = FE_UPWARD};

static void any_f32(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const float *a = SLOT(float, i->a), *b = SLOT(float, i->b), *c = SLOT(float, i->c);
	const int op = (int)i->imm;
	const bool ftz = i->flags & PTX_FTZ;
	float t[PTX_LANES];

	if (i->mode != PTX_RN)
		fesetround(rounding[i->mode]);
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);
		const float x = ftz ? flush(a[l]) : a[l], y = ftz ? flush(b[l]) : b[l], z = ftz ? flush(c[l]) : c[l];
		float r = is_exact(op) ? exact32(op, x, y, z) : (float)other(op, x, y, i->flags & PTX_NAN);

		if (ftz)
			r = flush(r);
		if (i->flags & PTX_SAT)
			r = clamp01(r);
		if ((i->flags & PTX_RELU) && !(r > 0) && r == r)
			r = 0;
		t[l] = op == COPYSIGN ? r : canonical(r);
	}
	if (i->mode != PTX_RN)
		fesetround(FE_TONEAREST);
	ptx_put(w, i->d, t, 4, m);
}

static void any_f64(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const double *a = SLOT(double, i->a), *b = SLOT(double, i->b), *c = SLOT(double, i->c);
	const int op = (int)i->imm;
	double t[PTX_LANES];

	if (i->mode != PTX_RN)
		fesetround(rounding[i->mode]);
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);

		t[l] = is_exact(op) ? exact64(op, a[l], b[l], c[l]) : other(op, a[l], b[l], i->flags & PTX_NAN);
	}
	if (i->mode != PTX_RN)
		fesetround(FE_TONEAREST);
	ptx_put(w, i->d, t, 8, m);
}

/* Signs, which are bits: NaN keeps its other ones. */
#define BITS(NAME, T, EXPR)                                                                                    \
	static void NAME(PtxWarp *w, const PtxInst *i, uint32_t m)                                             \
	{                                                                                                      \
		const T *a = SLOT(T, i->a);                                                                    \
		T t[PTX_LANES];                                                                                \
		EACH t[l] = EXPR;                                                                              \
		ptx_put(w, i->d, t, sizeof(T), m);                                                             \
	}
BITS(abs_f32, uint32_t, a[l] & 0x7fffffff)
BITS(neg_f32, uint32_t, a[l] ^ 0x80000000)
BITS(abs_f64, uint64_t, a[l] & INT64_MAX)
BITS(neg_f64, uint64_t, a[l] ^ (uint64_t)1 << 63)

/* Minima and maxima without modifiers: what maps and reductions are full of. */
static inline float min32(float x, float y)
{
	const float r = x < y ? x : y < x ? y : ptx_bits_f32(ptx_f32_bits(x) | ptx_f32_bits(y));

	return x != x ? canonical(y) : y != y ? x : r;
}

static inline float max32(float x, float y)
{
	const float r = x > y ? x : y > x ? y : ptx_bits_f32(ptx_f32_bits(x) & ptx_f32_bits(y));

	return x != x ? canonical(y) : y != y ? x : r;
}
FAST(min_f32, float, min32(x, y))
FAST(max_f32, float, max32(x, y))

/* -- decoding -- */

static PtxRun *fast(int op, PtxType t)
{
	static PtxRun *const f32[] = {
		[ADD] = add_f32, [SUB] = sub_f32, [MUL] = mul_f32, [DIV] = div_f32,  [MIN] = min_f32,
		[MAX] = max_f32, [ABS] = abs_f32, [NEG] = neg_f32, [COPYSIGN] = NULL};
	static PtxRun *const f64[] = {[ADD] = add_f64, [SUB] = sub_f64, [MUL] = mul_f64,  [DIV] = div_f64,
				      [ABS] = abs_f64, [NEG] = neg_f64, [COPYSIGN] = NULL};

	if (op == FMA) {
#ifdef __x86_64__
		if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
			return t == PTX_F32 ? fma_f32_unit : fma_f64_unit;
#endif
		return t == PTX_F32 ? fma_f32 : fma_f64;
	}
	return t == PTX_F32 ? f32[op] : f64[op];
}

static void take_rounding(PtxParse *p, PtxInst *i, int op)
{
	static const char *const modes[] = {"rn", "rz", "rm", "rp", NULL};
	PtxStmt *s = &p->stmt;
	const int mode = ptx_take_one(s, modes);
	const bool approx = ptx_take(s, "approx") || ptx_take(s, "full");
	const bool must_approx = op >= RSQRT && op <= TANH;

	if (mode >= 0 && (approx || !is_exact(op)))
		ptx_fail(p, "%s: a rounding mode is not possible here", s->text);
	if ((op == FMA || op == DIV || op == SQRT || op == RCP) && mode < 0 && !approx)
		ptx_fail(p, "%s: a rounding mode or .approx is missing", s->text);
	if (must_approx != approx && (must_approx || !(op == DIV || op == SQRT || op == RCP)))
		ptx_fail(p, "%s: .approx %s", s->text, must_approx ? "is missing" : "is not possible here");
	i->mode = (uint8_t)(mode < 0 ? PTX_RN : mode);
}

static void decode_float(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const int what = op->variant;
	const unsigned n = what == FMA ? 3 : what <= MAX || what == COPYSIGN ? 2 : 1;
	PtxStmt *s = &p->stmt;
	PtxType t;

	take_rounding(p, i, what);
	i->flags |= (ptx_take(s, "ftz") ? PTX_FTZ : 0) | (ptx_take(s, "sat") ? PTX_SAT : 0) |
		    (ptx_take(s, "NaN") ? PTX_NAN : 0);
	t = ptx_take_type(p);
	if (t != PTX_F32 && t != PTX_F64)
		ptx_fail(p, "%s: no such type", s->text);
	if ((i->flags & PTX_NAN) && what != MIN && what != MAX)
		ptx_fail(p, "%s: .NaN is for min and max", s->text);
	if (i->flags & PTX_NAN)
		ptx_need(p, 80, 70, ".NaN");
	if (what == TANH)
		ptx_need(p, 75, 70, "tanh");
	ptx_operands(p, n + 1);
	i->cls = what == FMA ? PTX_CLASS_FMA : PTX_CLASS_FLOAT;
	i->imm = what;
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
	i->b = n > 1 ? ptx_source(p, ptx_operand(p, 2), t, false) : PTX_ZERO;
	i->c = n > 2 ? ptx_source(p, ptx_operand(p, 3), t, false) : PTX_ZERO;
	i->run = i->flags || i->mode ? NULL : fast(what, t);
	if (!i->run)
		i->run = t == PTX_F32 ? any_f32 : any_f64;
}

enum { FINITE, INFINITE, NUMBER, NOTANUMBER, NORMAL, SUBNORMAL };

static void run_testp(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint32_t r = 0;

	EACH {
		const double x = i->type == PTX_F32 ? (double)SLOT(float, i->a)[l] : SLOT(double, i->a)[l];
		const double tiny = i->type == PTX_F32 ? 0x1p-126 : 0x1p-1022;
		const bool is[] = {isfinite(x), isinf(x), x == x, x != x, isfinite(x) && fabs(x) >= tiny,
				   x != 0 && fabs(x) < tiny};

		r |= (uint32_t)is[i->mode] << l;
	}
	ptx_put_pred(w, i->d, r, m);
}

static void decode_testp(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const names[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal", NULL};
	const int n = ptx_take_one(&p->stmt, names);
	const PtxType t = ptx_take_type(p);

	if (n < 0)
		ptx_fail(p, "testp: a property is missing");
	ptx_operands(p, 2);
	i->run = run_testp;
	i->cls = PTX_CLASS_COMPARE;
	i->mode = (uint8_t)n;
	i->type = (uint8_t)t;
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_PRED, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
}

const PtxOp ptx_float_ops[] = {
	{"add", "f", decode_float, ADD, NULL},
	{"sub", "f", decode_float, SUB, NULL},
	{"mul", "f", decode_float, MUL, NULL},
	{"div", "f", decode_float, DIV, NULL},
	{"fma", "f", decode_float, FMA, NULL},
	{"mad", "f", decode_float, FMA, NULL},
	{"min", "f", decode_float, MIN, NULL},
	{"max", "f", decode_float, MAX, NULL},
	{"sqrt", "f", decode_float, SQRT, NULL},
	{"rcp", "f", decode_float, RCP, NULL},
	{"rsqrt", "f", decode_float, RSQRT, NULL},
	{"sin", "f", decode_float, SIN, NULL},
	{"cos", "f", decode_float, COS, NULL},
	{"lg2", "f", decode_float, LG2, NULL},
	{"ex2", "f", decode_float, EX2, NULL},
	{"tanh", "f", decode_float, TANH, NULL},
	{"abs", "f", decode_float, ABS, NULL},
	{"neg", "f", decode_float, NEG, NULL},
	{"copysign", "f", decode_float, COPYSIGN, NULL},
	{"testp", "f", decode_testp, 0, NULL},
	{0},
};
