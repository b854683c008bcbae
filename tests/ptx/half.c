/* tests/ptx/half.c -- arithmetic of float16 and bfloat16, one or two of them; their conversion from and to wider
 * floats. */
#include <math.h>

#include "tests/ptx/ops.h"
#include "tests/ptx/round.h"

uint64_t ptx_narrow(double x, PtxFormat f, int mode)
{
	const uint64_t inf = (uint64_t)(f.emax - f.emin + 2) << f.mantissa;
	uint64_t bits, m, q, rest, half;
	bool minus, up;
	int e, shift;

	memcpy(&bits, &x, sizeof bits);
	minus = bits >> 63;
	if (x != x)
		return (UINT64_C(1) << (f.bits - 1)) - 1;
	if (isinf(x))
		return inf | (uint64_t)minus << (f.bits - 1);
	e = (int)(bits >> 52 & 2047) - 1023;
	m = (bits & ((UINT64_C(1) << 52) - 1)) | (e == -1023 ? 0 : UINT64_C(1) << 52);
	if (e == -1023)
		e = -1022;
	shift = 52 - f.mantissa + (e < f.emin ? f.emin - e : 0);
	if (shift > 60) { /* only whether there is something matters */
		m = m != 0;
		shift = 60;
	}
	q = m >> shift;
	rest = m & ((UINT64_C(1) << shift) - 1);
	half = UINT64_C(1) << shift >> 1;
	up = mode == PTX_RN    ? rest > half || (rest == half && rest && (q & 1))
	     : mode == PTX_RNA ? rest >= half && rest
	     : mode == PTX_RM  ? minus && rest
	     : mode == PTX_RP  ? !minus && rest
			       : false;
	q += up;
	if (e >= f.emin)
		q += (uint64_t)(e - f.emin) << f.mantissa;
	if (q >= inf) {
		const bool toward_zero = mode == PTX_RZ || (mode == PTX_RM && !minus) || (mode == PTX_RP && minus);

		q = toward_zero ? inf - 1 : inf;
	}
	return q | (uint64_t)minus << (f.bits - 1);
}

double ptx_least(double x, double y, bool want_nan)
{
	if (x != x || y != y)
		return want_nan || (x != x && y != y) ? NAN : x != x ? y : x;
	return x < y || (x == y && signbit(x)) ? x : y;
}

uint16_t ptx_f64_to_f16(double x)
{
	return (uint16_t)ptx_narrow(x, PTX_FORMAT_F16, PTX_RN);
}

uint16_t ptx_f64_to_bf16(double x)
{
	return (uint16_t)ptx_narrow(x, PTX_FORMAT_BF16, PTX_RN);
}

/* x * y + z so that rounding it once more to a narrower format gives what rounding once would give: inexact sums are
 * odd. */
static double fma_odd(double x, double y, double z)
{
	const double p = x * y; /* exact: both are of at most 11 bits */
	const double s = p + z, back = s - p, error = (p - (s - back)) + (z - back);
	uint64_t bits;
	double r;

	if (error == 0 || !isfinite(s))
		return s;
	memcpy(&bits, &s, sizeof bits);
	if ((error < 0) != (s < 0))
		bits--;
	bits |= 1;
	memcpy(&r, &bits, sizeof r);
	return r;
}

enum { ADD, SUB, MUL, FMA, MIN, MAX, ABS, NEG, EX2, TANH };

static double compute(int op, double x, double y, double z, bool want_nan)
{
	switch (op) {
	case ADD:
		return x + y;
	case SUB:
		return x - y;
	case MUL:
		return x * y;
	case FMA:
		return fma_odd(x, y, z);
	case MIN:
		return ptx_least(x, y, want_nan);
	case MAX:
		return -ptx_least(-x, -y, want_nan);
	case EX2:
		return exp2(x);
	default:
		return tanh(x);
	}
}

static bool is_bf16(unsigned t)
{
	return t == PTX_BF16 || t == PTX_BF16X2;
}

static void run_half(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint16_t *a = SLOT(uint16_t, i->a), *b = SLOT(uint16_t, i->b), *c = SLOT(uint16_t, i->c);
	const bool bf = is_bf16(i->type), ftz = i->flags & PTX_FTZ;
	const PtxFormat format = bf ? PTX_FORMAT_BF16 : PTX_FORMAT_F16;
	const double tiny = bf ? 0x1p-126 : 0x1p-14;
	uint16_t t[2 * PTX_LANES];

	for (unsigned k = 0; k < PTX_LANES * i->n; k++) {
		double v[3], r;

		if (!IN(m, k / i->n))
			continue;
		v[0] = bf ? ptx_bf16_to_f32(a[k]) : ptx_f16_to_f32(a[k]);
		v[1] = bf ? ptx_bf16_to_f32(b[k]) : ptx_f16_to_f32(b[k]);
		v[2] = bf ? ptx_bf16_to_f32(c[k]) : ptx_f16_to_f32(c[k]);
		for (unsigned o = 0; ftz && o < 3; o++)
			v[o] = fabs(v[o]) < tiny ? copysign(0, v[o]) : v[o];
		r = compute((int)i->imm, v[0], v[1], v[2], i->flags & PTX_NAN);
		if (i->flags & PTX_SAT)
			r = r > 0 ? (r < 1 ? r : 1) : 0;
		if ((i->flags & PTX_RELU) && r <= 0)
			r = 0;
		t[k] = (uint16_t)ptx_narrow(r, format, PTX_RN);
		if (ftz && !(t[k] & (bf ? 0x7f80 : 0x7c00)))
			t[k] &= 0x8000;
	}
	ptx_put(w, i->d, t, 2u * i->n, m);
}

static void run_sign(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint16_t *a = SLOT(uint16_t, i->a);
	uint16_t t[2 * PTX_LANES];

	for (unsigned k = 0; k < PTX_LANES * i->n; k++)
		t[k] = i->imm == ABS ? a[k] & 0x7fff : a[k] ^ 0x8000;
	ptx_put(w, i->d, t, 2u * i->n, m);
}

static void require(PtxParse *p, const PtxInst *i, int op)
{
	if (is_bf16(i->type)) {
		if (op == FMA || op == MIN || op == MAX || op == ABS || op == NEG)
			ptx_need(p, 80, 70, ".bf16");
		else
			ptx_need(p, 90, 78, ".bf16");
	} else if (op == MIN || op == MAX) {
		ptx_need(p, 80, 70, ".f16");
	} else if (op == EX2 || op == TANH) {
		ptx_need(p, 75, 70, ".f16");
	}
	if (i->flags & PTX_RELU)
		ptx_need(p, 80, 70, ".relu");
}

static void decode_half(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const int what = op->variant;
	const unsigned n = what == FMA ? 3 : what <= MAX ? 2 : 1;
	PtxStmt *s = &p->stmt;
	PtxType t;

	(void)ptx_take(s, "rn");
	if ((what == EX2 || what == TANH) && !ptx_take(s, "approx"))
		ptx_fail(p, "%s: .approx is missing", s->text);
	i->flags |= (ptx_take(s, "ftz") ? PTX_FTZ : 0) | (ptx_take(s, "sat") ? PTX_SAT : 0) |
		    (ptx_take(s, "NaN") ? PTX_NAN : 0) | (what == FMA && ptx_take(s, "relu") ? PTX_RELU : 0);
	t = ptx_take_type(p);
	i->type = (uint8_t)t;
	i->n = (uint8_t)(ptx_type_bytes(t) / 2);
	require(p, i, what);
	ptx_operands(p, n + 1);
	i->cls = what == FMA ? PTX_CLASS_FMA : PTX_CLASS_FLOAT;
	i->imm = what;
	i->run = what == ABS || what == NEG ? run_sign : run_half;
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
	i->b = n > 1 ? ptx_source(p, ptx_operand(p, 2), t, false) : PTX_ZERO;
	i->c = n > 2 ? ptx_source(p, ptx_operand(p, 3), t, false) : PTX_ZERO;
}

const PtxOp ptx_half_ops[] = {
	{"add", "h", decode_half, ADD, NULL}, {"sub", "h", decode_half, SUB, NULL},
	{"mul", "h", decode_half, MUL, NULL}, {"fma", "h", decode_half, FMA, NULL},
	{"min", "h", decode_half, MIN, NULL}, {"max", "h", decode_half, MAX, NULL},
	{"abs", "h", decode_half, ABS, NULL}, {"neg", "h", decode_half, NEG, NULL},
	{"ex2", "h", decode_half, EX2, NULL}, {"tanh", "h", decode_half, TANH, NULL},
	{0},
};
