/* tests/ptx/convert.c -- cvt, mov, and addresses between spaces. */
#include <fenv.h>
#include <math.h>

#include "tests/ptx/ops.h"
#include "tests/ptx/round.h"

/* PtxInst.mode of cvt: how to round to a float, or, from WHOLE on, to a whole number. */
enum { WHOLE = 8, WHOLE_RN = WHOLE, WHOLE_RZ, WHOLE_RM, WHOLE_RP };

static bool is_float(unsigned t)
{
	return ptx_type_kind(t) == 'f' || ptx_type_kind(t) == 'h';
}

static bool is_signed(unsigned t)
{
	return ptx_type_kind(t) == 's';
}

/* -- reading -- */

/* The source as whole numbers of 64 bits, of registers that may be wider than the type. */
static void read_ints(const PtxWarp *w, const PtxInst *i, uint64_t *to)
{
	const unsigned width = i->bytes, drop = 64 - 8 * ptx_type_bytes(i->from);

	if (width == 2)
		EACH to[l] = SLOT(uint16_t, i->a)[l];
	else if (width == 4)
		EACH to[l] = SLOT(uint32_t, i->a)[l];
	else
		EACH to[l] = SLOT(uint64_t, i->a)[l];
	if (is_signed(i->from))
		EACH to[l] = (uint64_t)((int64_t)(to[l] << drop) >> drop);
	else
		EACH to[l] = to[l] << drop >> drop;
}

static void read_floats(const PtxWarp *w, const PtxInst *i, double *to)
{
	switch (i->from) {
	case PTX_F16:
		EACH to[l] = ptx_f16_to_f32(SLOT(uint16_t, i->a)[l]);
		break;
	case PTX_BF16:
		EACH to[l] = ptx_bf16_to_f32(SLOT(uint16_t, i->a)[l]);
		break;
	case PTX_F32:
		EACH to[l] = SLOT(float, i->a)[l];
		if (i->flags & PTX_FTZ)
			EACH to[l] = fabs(to[l]) < 0x1p-126 ? copysign(0, to[l]) : to[l];
		break;
	default:
		EACH to[l] = SLOT(double, i->a)[l];
	}
}

/* -- writing -- */

static void put_ints(PtxWarp *w, const PtxInst *i, const uint64_t *from, uint32_t m)
{
	const unsigned drop = 64 - 8 * ptx_type_bytes(i->type);
	uint64_t wide[PTX_LANES];
	uint32_t t[PTX_LANES];
	uint16_t h[PTX_LANES];

	/* the type's bits, extended to those of the register */
	if (is_signed(i->type))
		EACH wide[l] = (uint64_t)((int64_t)(from[l] << drop) >> drop);
	else
		EACH wide[l] = from[l] << drop >> drop;
	if (i->n == 8) {
		ptx_put(w, i->d, wide, 8, m);
	} else if (i->n == 4) {
		EACH t[l] = (uint32_t)wide[l];
		ptx_put(w, i->d, t, 4, m);
	} else {
		EACH h[l] = (uint16_t)wide[l];
		ptx_put(w, i->d, h, 2, m);
	}
}

static int rounding_of(unsigned mode)
{
	static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

	return modes[mode & 3];
}

static uint64_t saturate(uint64_t x, unsigned from, unsigned to)
{
	const unsigned bits = 8 * ptx_type_bytes(to);
	const uint64_t top = is_signed(to) ? ((UINT64_C(1) << (bits - 1)) - 1)
			     : bits == 64  ? UINT64_MAX
					   : (UINT64_C(1) << bits) - 1;
	const int64_t low = is_signed(to) ? -(int64_t)top - 1 : 0, s = (int64_t)x;

	if (!is_signed(from))
		return x > top ? top : x;
	if (s < low)
		return (uint64_t)low;
	return s > 0 && x > top ? top : x;
}

static void int_to_int(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t t[PTX_LANES];

	read_ints(w, i, t);
	if (i->flags & PTX_SAT)
		EACH t[l] = saturate(t[l], i->from, i->type);
	put_ints(w, i, t, m);
}

static uint64_t whole(double x, const PtxInst *i)
{
	const unsigned bits = 8 * ptx_type_bytes(i->type);
	const double r = i->mode == WHOLE_RZ   ? trunc(x)
			 : i->mode == WHOLE_RM ? floor(x)
			 : i->mode == WHOLE_RP ? ceil(x)
					       : rint(x);
	const double top = ldexp(1, (int)bits - is_signed(i->type));

	if (x != x)
		return 0;
	if (is_signed(i->type))
		return r >= top   ? (UINT64_C(1) << (bits - 1)) - 1
		       : r < -top ? -(UINT64_C(1) << (bits - 1))
				  : (uint64_t)(int64_t)r;
	return r >= top ? (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1) : r < 0 ? 0 : (uint64_t)r;
}

static void float_to_int(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	double x[PTX_LANES];
	uint64_t t[PTX_LANES];

	read_floats(w, i, x);
	EACH t[l] = whole(x[l], i);
	put_ints(w, i, t, m);
}

/* Doubles as floats of the result's type. */
static void put_floats(PtxWarp *w, const PtxInst *i, const double *x, uint32_t m)
{
	const PtxFormat f = i->type == PTX_F16    ? PTX_FORMAT_F16
			    : i->type == PTX_BF16 ? PTX_FORMAT_BF16
						  : PTX_FORMAT_F32;
	double t[PTX_LANES];
	uint32_t t32[PTX_LANES];
	uint16_t h[PTX_LANES];

	EACH {
		t[l] = x[l];
		if (i->flags & PTX_SAT)
			t[l] = t[l] > 0 ? (t[l] < 1 ? t[l] : 1) : 0;
		if ((i->flags & PTX_RELU) && t[l] <= 0)
			t[l] = 0;
	}
	if (i->type == PTX_F64) {
		ptx_put(w, i->d, t, 8, m);
		return;
	}
	EACH t32[l] = (uint32_t)ptx_narrow(t[l], f, i->mode & 3);
	if ((i->flags & PTX_FTZ) && i->type == PTX_F32)
		EACH t32[l] = t32[l] & 0x7f800000 ? t32[l] : t32[l] & 0x80000000;
	EACH h[l] = (uint16_t)t32[l];
	ptx_put(w, i->d, i->type == PTX_F32 ? (const void *)t32 : h, i->type == PTX_F32 ? 4 : 2, m);
}

static void int_to_float(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t s[PTX_LANES];
	double t[PTX_LANES];
	volatile float single;

	read_ints(w, i, s);
	fesetround(rounding_of(i->mode));
	EACH {
		/* at once to float32: by way of float64 would round twice */
		if (i->type == PTX_F32) {
			if (is_signed(i->from))
				single = (float)(int64_t)s[l];
			else
				single = (float)s[l];
			t[l] = single;
		} else {
			volatile double d = is_signed(i->from) ? (double)(int64_t)s[l] : (double)s[l];

			t[l] = d;
		}
	}
	fesetround(FE_TONEAREST);
	put_floats(w, i, t, m);
}

static void float_to_float(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	double t[PTX_LANES];

	read_floats(w, i, t);
	if (i->mode >= WHOLE)
		EACH t[l] = i->mode == WHOLE_RZ	  ? trunc(t[l])
			    : i->mode == WHOLE_RM ? floor(t[l])
			    : i->mode == WHOLE_RP ? ceil(t[l])
						  : rint(t[l]);
	put_floats(w, i, t, m);
}

/* The usual ones, for speed. */
static void u64_from_u32(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t t[PTX_LANES];

	EACH t[l] = SLOT(uint32_t, i->a)[l];
	ptx_put(w, i->d, t, 8, m);
}

static void s64_from_s32(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	int64_t t[PTX_LANES];

	EACH t[l] = SLOT(int32_t, i->a)[l];
	ptx_put(w, i->d, t, 8, m);
}

static void low32_of_64(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint32_t t[PTX_LANES];

	EACH t[l] = (uint32_t)SLOT(uint64_t, i->a)[l];
	ptx_put(w, i->d, t, 4, m);
}

static void f32_from_s32(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	float t[PTX_LANES];

	EACH t[l] = (float)SLOT(int32_t, i->a)[l];
	ptx_put(w, i->d, t, 4, m);
}

static void f32_from_f16(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	float t[PTX_LANES];

	EACH {
		t[l] = ptx_f16_to_f32(SLOT(uint16_t, i->a)[l]);
		t[l] = t[l] != t[l] ? ptx_bits_f32(0x7fffffff) : t[l];
	}
	ptx_put(w, i->d, t, 4, m);
}

/* Two float32 as halves of 32 bits: the first operand is the upper one. */
static void pack_floats(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const float *a = SLOT(float, i->a), *b = SLOT(float, i->b);
	const PtxFormat f = i->type == PTX_F16X2 ? PTX_FORMAT_F16 : PTX_FORMAT_BF16;
	uint32_t t[PTX_LANES];

	EACH {
		const float x = (i->flags & PTX_RELU) && a[l] <= 0 ? 0 : a[l];
		const float y = (i->flags & PTX_RELU) && b[l] <= 0 ? 0 : b[l];

		t[l] = (uint32_t)ptx_narrow(x, f, i->mode) << 16 | (uint32_t)ptx_narrow(y, f, i->mode);
	}
	ptx_put(w, i->d, t, 4, m);
}

/* float32 rounded to 10 bits of mantissa, ties away from zero; the bits below are zero. */
static void to_tf32(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t *a = SLOT(uint32_t, i->a);
	uint32_t t[PTX_LANES];

	EACH {
		const uint32_t magnitude = a[l] & 0x7fffffff;
		const uint32_t tie = a[l] >> 13 & 1;
		const uint32_t add = i->mode == PTX_RNA ? 0x1000 : i->mode == PTX_RN ? 0xfff + tie : 0;

		t[l] = magnitude > 0x7f800000 ? 0x7fffffff : magnitude == 0x7f800000 ? a[l] : (a[l] + add) & ~0x1fffu;
		if ((i->flags & PTX_RELU) && t[l] >> 31)
			t[l] = 0;
	}
	ptx_put(w, i->d, t, 4, m);
}

/* -- decoding cvt -- */

static PtxRun *usual(const PtxInst *i)
{
	if (i->flags || i->n != ptx_type_bytes(i->type) || i->bytes != ptx_type_bytes(i->from))
		return NULL;
	if (i->n == 8 && i->bytes == 4 && i->from == PTX_U32 && !is_float(i->type))
		return u64_from_u32;
	if (i->n == 8 && i->bytes == 4 && i->from == PTX_S32 && !is_float(i->type))
		return s64_from_s32;
	if (i->n == 4 && i->bytes == 8 && !is_float(i->type) && !is_float(i->from))
		return low32_of_64;
	if (i->type == PTX_F32 && i->from == PTX_S32 && i->mode == PTX_RN)
		return f32_from_s32;
	if (i->type == PTX_F32 && i->from == PTX_F16 && i->mode < WHOLE)
		return f32_from_f16;
	return NULL;
}

static void require(PtxParse *p, const PtxInst *i)
{
	const bool bf = i->type == PTX_BF16 || i->from == PTX_BF16;

	if (bf && !(i->type == PTX_BF16 && i->from == PTX_F32) && !(i->type == PTX_F32 && i->from == PTX_BF16))
		ptx_need(p, 90, 78, "this conversion of .bf16");
	else if (bf)
		ptx_need(p, i->type == PTX_BF16 ? 80 : 90, 70, ".bf16");
	if (i->type == PTX_BF16X2 || i->type == PTX_F16X2)
		ptx_need(p, 80, 70, "packing");
	if (i->type == PTX_TF32)
		ptx_need(p, 80, 70, ".tf32");
	if (i->flags & PTX_RELU)
		ptx_need(p, 80, 70, ".relu");
}

/* Whether every value of one integer type is one of the other. */
static bool holds_all(unsigned type, unsigned from)
{
	const unsigned bits = ptx_type_bytes(type), of = ptx_type_bytes(from);

	return is_signed(type) == is_signed(from) ? bits >= of : is_signed(type) && bits > of;
}

static void choose_cvt(PtxParse *p, PtxInst *i)
{
	const bool to_float = is_float(i->type), from_float = is_float(i->from);

	if ((i->flags & PTX_SAT) && !to_float && !from_float && holds_all(i->type, i->from))
		ptx_fail(p, "%s: .sat where nothing saturates", p->stmt.text);
	i->run = usual(i);
	if (i->run)
		return;
	i->run = to_float ? (from_float ? float_to_float : int_to_float) : from_float ? float_to_int : int_to_int;
	if (from_float && !to_float && i->mode < WHOLE)
		ptx_fail(p, "%s: rounding to a whole number is missing", p->stmt.text);
	if (i->run == int_to_float && i->mode >= WHOLE)
		ptx_fail(p, "%s: rounding to a whole number from one", p->stmt.text);
}

static void decode_cvt(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const modes[] = {"rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi", NULL};
	static const uint8_t values[] = {PTX_RN,   PTX_RZ,   PTX_RM,   PTX_RP,  PTX_RNA,
					 WHOLE_RN, WHOLE_RZ, WHOLE_RM, WHOLE_RP};
	PtxStmt *s = &p->stmt;
	const int mode = ptx_take_one(s, modes);
	bool narrows;

	i->flags |= (ptx_take(s, "ftz") ? PTX_FTZ : 0) | (ptx_take(s, "sat") ? PTX_SAT : 0) |
		    (ptx_take(s, "relu") ? PTX_RELU : 0);
	i->type = (uint8_t)ptx_take_type(p);
	i->from = (uint8_t)ptx_take_type(p);
	i->cls = PTX_CLASS_CONVERT;
	i->mode = mode < 0 ? PTX_RN : values[mode];
	require(p, i);
	narrows = is_float(i->type) && (!is_float(i->from) || ptx_type_bytes(i->type) < ptx_type_bytes(i->from));
	if (narrows && mode < 0)
		ptx_fail(p, "%s: a rounding mode is missing", s->text);
	i->d = ptx_dest(p, ptx_operand(p, 0), i->type, !is_float(i->type));
	i->n = (uint8_t)ptx_operand_bytes(ptx_operand(p, 0), i->type);
	if (i->type == PTX_F16X2 || i->type == PTX_BF16X2) {
		ptx_operands(p, 3);
		if (i->from != PTX_F32)
			ptx_fail(p, "%s: no such conversion", s->text);
		i->a = ptx_source(p, ptx_operand(p, 1), PTX_F32, false);
		i->b = ptx_source(p, ptx_operand(p, 2), PTX_F32, false);
		i->run = pack_floats;
		return;
	}
	ptx_operands(p, 2);
	i->a = ptx_source(p, ptx_operand(p, 1), i->from, !is_float(i->from));
	i->bytes = (uint8_t)ptx_operand_bytes(ptx_operand(p, 1), i->from);
	if (i->type == PTX_TF32)
		i->run = to_tf32;
	else
		choose_cvt(p, i);
}

/* -- mov -- */

static void run_mov(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	ptx_put(w, i->d, w->file + i->a, i->bytes, m);
}

static void run_mov_pred(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	ptx_put_pred(w, i->d, PRED(i->a), m);
}

static void run_clock(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t t[PTX_LANES];
	uint32_t h[PTX_LANES];

	w->steps += 32;
	EACH {
		t[l] = w->steps;
		h[l] = (uint32_t)w->steps;
	}
	ptx_put(w, i->d, i->bytes == 8 ? (const void *)t : h, i->bytes, m);
}

/* One register of `bytes` and n of bytes / n. */
static void run_split(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const unsigned part = i->bytes / i->n;
	uint8_t t[8 * PTX_LANES];

	for (unsigned k = 0; k < i->n; k++) {
		EACH memcpy(t + (unsigned)l * part, w->file + i->a + (unsigned)l * i->bytes + k * part, part);
		if (i->list[k])
			ptx_put(w, i->list[k], t, part, m);
	}
}

static void run_join(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const unsigned part = i->bytes / i->n;
	uint8_t t[8 * PTX_LANES];

	for (unsigned k = 0; k < i->n; k++)
		EACH memcpy(t + (unsigned)l * i->bytes + k * part, w->file + i->list[k] + (unsigned)l * part, part);
	ptx_put(w, i->d, t, i->bytes, m);
}

static PtxType part_type(PtxParse *p, unsigned bytes)
{
	if (bytes != 2 && bytes != 4)
		ptx_fail(p, "%s: parts of %u bytes", p->stmt.text, bytes);
	return bytes == 2 ? PTX_B16 : PTX_B32;
}

static void decode_mov(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const PtxType t = ptx_take_type(p);
	const PtxOperand *d = ptx_operand(p, 0), *a = ptx_operand(p, 1);

	ptx_operands(p, 2);
	i->cls = PTX_CLASS_MOVE;
	i->bytes = (uint8_t)ptx_type_bytes(t);
	i->run = t == PTX_PRED ? run_mov_pred : run_mov;
	if (d->kind == PTX_OP_VECTOR) {
		i->n = d->count;
		i->a = ptx_source(p, a, t, false);
		i->list = ptx_list(p, d, part_type(p, i->bytes / (d->count ? d->count : 1u)), true, d->count);
		i->run = run_split;
	} else if (a->kind == PTX_OP_VECTOR) {
		i->n = a->count;
		i->d = ptx_dest(p, d, t, false);
		i->list = ptx_list(p, a, part_type(p, i->bytes / (a->count ? a->count : 1u)), false, a->count);
		i->run = run_join;
	} else {
		i->d = ptx_dest(p, d, t, false);
		if (a->kind == PTX_OP_REG && a->slot == PTX_CLOCK)
			i->run = run_clock;
		else
			i->a = ptx_source(p, a, t, false);
	}
}

/* -- addresses -- */

static uint64_t window(PtxSpace space)
{
	return space == PTX_SHARED ? PTX_SHARED_WINDOW : space == PTX_LOCAL ? PTX_LOCAL_WINDOW
	       : space == PTX_PARAM ? PTX_PARAM_WINDOW : 0;
}

static void run_cvta(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint64_t *a = SLOT(uint64_t, i->a);
	uint64_t t[PTX_LANES];

	EACH t[l] = a[l] + (uint64_t)i->imm;
	ptx_put(w, i->d, t, 8, m);
}

static void decode_cvta(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const bool to = ptx_take(&p->stmt, "to");
	const PtxSpace space = ptx_take_space(&p->stmt);
	const PtxType t = ptx_take_type(p);

	ptx_operands(p, 2);
	if (t != PTX_U64)
		ptx_fail(p, "%s: only 64 bits are supported", p->stmt.text);
	i->run = run_cvta;
	i->cls = PTX_CLASS_MOVE;
	i->imm = (int64_t)(to ? -window(space) : window(space));
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
}

static void run_isspacep(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint64_t *a = SLOT(uint64_t, i->a);
	const uint64_t base = window(i->space);
	uint32_t r = 0;

	EACH r |= (uint32_t)(base ? a[l] - base < PTX_WINDOW : a[l] >= PTX_PARAM_WINDOW + PTX_WINDOW) << l;
	ptx_put_pred(w, i->d, i->space == PTX_CONST ? 0 : r, m);
}

static void decode_isspacep(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	i->space = (uint8_t)ptx_take_space(&p->stmt);
	ptx_operands(p, 2);
	i->run = run_isspacep;
	i->cls = PTX_CLASS_COMPARE;
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_PRED, false);
	i->a = ptx_source(p, ptx_operand(p, 1), PTX_U64, false);
}

const PtxOp ptx_convert_ops[] = {
	{"cvt", NULL, decode_cvt, 0, NULL},
	{"mov", NULL, decode_mov, 0, NULL},
	{"cvta", NULL, decode_cvta, 0, NULL},
	{"isspacep", NULL, decode_isspacep, 0, NULL},
	{0},
};
