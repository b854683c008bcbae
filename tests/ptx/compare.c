/* tests/ptx/compare.c -- comparisons and choices. */
#include <math.h>

#include "tests/ptx/ops.h"

enum { EQ, NE, LT, LE, GT, GE, LO, LS, HI, HS, EQU, NEU, LTU, LEU, GTU, GEU, NUM, NAN_ };
enum { AND = 1, OR, XOR };

/* The operators of order on lanes of one type. */
#define ORDERS(NAME, T)                                                                                        \
	static uint32_t NAME(const T *a, const T *b, int op)                                                   \
	{                                                                                                      \
		uint32_t r = 0;                                                                                \
		switch (op) {                                                                                  \
		case EQ:                                                                                       \
			EACH r |= (uint32_t)(a[l] == b[l]) << l;                                               \
			break;                                                                                 \
		case NE:                                                                                       \
			EACH r |= (uint32_t)(a[l] != b[l]) << l;                                               \
			break;                                                                                 \
		case LT:                                                                                       \
			EACH r |= (uint32_t)(a[l] < b[l]) << l;                                                \
			break;                                                                                 \
		case LE:                                                                                       \
			EACH r |= (uint32_t)(a[l] <= b[l]) << l;                                               \
			break;                                                                                 \
		case GT:                                                                                       \
			EACH r |= (uint32_t)(a[l] > b[l]) << l;                                                \
			break;                                                                                 \
		default:                                                                                       \
			EACH r |= (uint32_t)(a[l] >= b[l]) << l;                                               \
		}                                                                                              \
		return r;                                                                                      \
	}
ORDERS(order_u16, uint16_t)
ORDERS(order_u32, uint32_t)
ORDERS(order_u64, uint64_t)
ORDERS(order_s16, int16_t)
ORDERS(order_s32, int32_t)
ORDERS(order_s64, int64_t)
ORDERS(order_f32, float)
ORDERS(order_f64, double)

#define UNORDERED(NAME, T)                                                                                     \
	static uint32_t NAME(const T *a, const T *b)                                                           \
	{                                                                                                      \
		uint32_t r = 0;                                                                                \
		EACH r |= (uint32_t)(a[l] != a[l] || b[l] != b[l]) << l;                                       \
		return r;                                                                                      \
	}
UNORDERED(unordered_f32, float)
UNORDERED(unordered_f64, double)

static uint32_t compare_ints(const PtxWarp *w, const PtxInst *i, int op)
{
	const void *a = w->file + i->a, *b = w->file + i->b;
	const unsigned bytes = ptx_type_bytes(i->from);

	if (ptx_type_kind(i->from) == 's')
		return bytes == 2 ? order_s16(a, b, op) : bytes == 4 ? order_s32(a, b, op) : order_s64(a, b, op);
	return bytes == 2 ? order_u16(a, b, op) : bytes == 4 ? order_u32(a, b, op) : order_u64(a, b, op);
}

/* Floats: the second group of operators holds for NaN, too. */
static uint32_t compare_floats(const float *a, const float *b, int op)
{
	const uint32_t none = unordered_f32(a, b);

	if (op == NUM)
		return ~none;
	if (op == NAN_)
		return none;
	if (op >= EQU)
		return order_f32(a, b, op - EQU) | none;
	return order_f32(a, b, op) & ~none;
}

static uint32_t compare_doubles(const double *a, const double *b, int op)
{
	const uint32_t none = unordered_f64(a, b);

	if (op == NUM)
		return ~none;
	if (op == NAN_)
		return none;
	if (op >= EQU)
		return order_f64(a, b, op - EQU) | none;
	return order_f64(a, b, op) & ~none;
}

/* Operand of n halves for each lane, the k-th of them, as float32. */
static void widen_half(const PtxWarp *w, const PtxInst *i, int32_t slot, unsigned k, float *to)
{
	const uint16_t *h = SLOT(const uint16_t, slot);
	const bool bf = i->from == PTX_BF16 || i->from == PTX_BF16X2;

	EACH to[l] = bf ? ptx_bf16_to_f32(h[(unsigned)l * i->n + k]) : ptx_f16_to_f32(h[(unsigned)l * i->n + k]);
}

static uint32_t compare(const PtxWarp *w, const PtxInst *i, unsigned k)
{
	const int op = i->mode;
	float a[PTX_LANES], b[PTX_LANES];

	switch (ptx_type_kind(i->from)) {
	case 'f':
		if (i->from == PTX_F64)
			return compare_doubles(SLOT(double, i->a), SLOT(double, i->b), op);
		memcpy(a, w->file + i->a, sizeof a);
		memcpy(b, w->file + i->b, sizeof b);
		break;
	case 'h':
		widen_half(w, i, i->a, k, a);
		widen_half(w, i, i->b, k, b);
		break;
	default:
		return compare_ints(w, i, op);
	}
	if (i->flags & PTX_FTZ)
		EACH {
			const float tiny = ptx_type_kind(i->from) == 'f' ? 0x1p-126f : 0x1p-14f;

			a[l] = fabsf(a[l]) < tiny ? 0 : a[l];
			b[l] = fabsf(b[l]) < tiny ? 0 : b[l];
		}
	return compare_floats(a, b, op);
}

static uint32_t combine(const PtxWarp *w, const PtxInst *i, uint32_t r)
{
	const uint32_t c = i->bytes ? (i->flags & PTX_NOT ? ~PRED(i->c) : PRED(i->c)) : 0;

	return i->bytes == AND ? r & c : i->bytes == OR ? r | c : i->bytes == XOR ? r ^ c : r;
}

static void run_setp(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t r = compare(w, i, 0);

	if (i->n == 2) { /* two halves: two predicates */
		const uint32_t r2 = compare(w, i, 1);

		ptx_put_pred(w, i->d, combine(w, i, r), m);
		if (i->list[0])
			ptx_put_pred(w, i->list[0], combine(w, i, r2), m);
		return;
	}
	if (i->list[0])
		ptx_put_pred(w, i->list[0], combine(w, i, ~r), m);
	ptx_put_pred(w, i->d, combine(w, i, r), m);
}

static void run_set(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const unsigned bytes = ptx_type_bytes(i->type);
	const uint32_t r = combine(w, i, compare(w, i, 0)), r2 = i->n == 2 ? combine(w, i, compare(w, i, 1)) : 0;
	const uint32_t one = i->type == PTX_F32	   ? 0x3f800000
			     : i->type == PTX_F16 || i->type == PTX_F16X2   ? 0x3c00
			     : i->type == PTX_BF16 || i->type == PTX_BF16X2 ? 0x3f80
									    : 0xffffffff;
	uint32_t t[PTX_LANES];
	uint16_t h[PTX_LANES];

	EACH {
		t[l] = IN(r, l) ? one : 0;
		if (i->n == 2)
			t[l] = (t[l] & 0xffff) | (IN(r2, l) ? one << 16 : 0);
		h[l] = (uint16_t)t[l];
	}
	ptx_put(w, i->d, bytes == 2 ? (const void *)h : t, bytes, m);
}

static void run_selp(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const uint32_t p = PRED(i->c);

	if (i->bytes == 8) {
		const uint64_t *a = SLOT(uint64_t, i->a), *b = SLOT(uint64_t, i->b);
		uint64_t t[PTX_LANES];

		EACH t[l] = IN(p, l) ? a[l] : b[l];
		ptx_put(w, i->d, t, 8, m);
	} else if (i->bytes == 4) {
		const uint32_t *a = SLOT(uint32_t, i->a), *b = SLOT(uint32_t, i->b);
		uint32_t t[PTX_LANES];

		EACH t[l] = IN(p, l) ? a[l] : b[l];
		ptx_put(w, i->d, t, 4, m);
	} else {
		const uint16_t *a = SLOT(uint16_t, i->a), *b = SLOT(uint16_t, i->b);
		uint16_t t[PTX_LANES];

		EACH t[l] = IN(p, l) ? a[l] : b[l];
		ptx_put(w, i->d, t, 2, m);
	}
}

static void run_slct(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const int32_t *c = SLOT(int32_t, i->c);
	const float *f = SLOT(float, i->c);
	uint32_t first = 0;
	uint8_t t[8 * PTX_LANES];

	EACH first |=
		(uint32_t)(i->from == PTX_F32 ? f[l] >= 0 || (f[l] > -0x1p-126f && f[l] < 0 && (i->flags & PTX_FTZ))
					      : c[l] >= 0)
		<< l;
	EACH memcpy(t + l * i->bytes, w->file + (IN(first, l) ? i->a : i->b) + l * i->bytes, i->bytes);
	ptx_put(w, i->d, t, i->bytes, m);
}

/* -- decoding -- */

static void take_comparison(PtxParse *p, PtxInst *i)
{
	static const char *const names[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "lo",  "ls",  "hi", "hs",
					    "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", NULL};
	static const char *const bools[] = {"and", "or", "xor", NULL};
	PtxStmt *s = &p->stmt;
	const int op = ptx_take_one(s, names);

	if (op < 0)
		ptx_fail(p, "%s: a comparison is missing", s->text);
	i->mode = (uint8_t)op;
	i->bytes = (uint8_t)(ptx_take_one(s, bools) + 1);
	i->flags |= ptx_take(s, "ftz") ? PTX_FTZ : 0;
	i->cls = PTX_CLASS_COMPARE;
}

static void check_comparison(PtxParse *p, PtxInst *i)
{
	const char kind = ptx_type_kind(i->from);
	const bool is_float = kind == 'f' || kind == 'h';

	if ((is_float && i->mode >= LO && i->mode <= HS) || (!is_float && i->mode >= EQU) ||
	    (kind == 'b' && i->mode > NE) || (i->mode >= LO && i->mode <= HS && kind != 'u'))
		ptx_fail(p, "%s: no such comparison of this type", p->stmt.text);
	if (i->mode >= LO && i->mode <= HS)
		i->mode = (uint8_t)(i->mode - LO + LT);
	if (i->from == PTX_BF16 || i->from == PTX_BF16X2)
		ptx_need(p, 90, 78, ".bf16");
	i->n = i->from == PTX_F16X2 || i->from == PTX_BF16X2 ? 2 : 1;
}

static void combine_operand(PtxParse *p, PtxInst *i, unsigned n)
{
	ptx_operands(p, i->bytes ? n + 1 : n);
	if (!i->bytes)
		return;
	i->c = ptx_source(p, ptx_operand(p, n), PTX_PRED, false);
	i->flags |= ptx_operand(p, n)->negated ? PTX_NOT : 0;
}

static void decode_setp(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const bool pair = ptx_operand(p, 0)->pair;
	int32_t *list;

	take_comparison(p, i);
	i->from = (uint8_t)ptx_take_type(p);
	check_comparison(p, i);
	i->run = run_setp;
	i->d = ptx_dest(p, ptx_operand(p, 0), PTX_PRED, false);
	i->list = list = ptx_alloc(p->m, sizeof *list);
	if (pair)
		list[0] = ptx_dest(p, ptx_operand(p, 1), PTX_PRED, false);
	i->a = ptx_source(p, ptx_operand(p, 1u + pair), i->from, false);
	i->b = ptx_source(p, ptx_operand(p, 2u + pair), i->from, false);
	combine_operand(p, i, 3u + pair);
}

static void decode_set(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	take_comparison(p, i);
	i->type = (uint8_t)ptx_take_type(p);
	i->from = (uint8_t)ptx_take_type(p);
	check_comparison(p, i);
	i->run = run_set;
	i->d = ptx_dest(p, ptx_operand(p, 0), i->type, false);
	i->a = ptx_source(p, ptx_operand(p, 1), i->from, false);
	i->b = ptx_source(p, ptx_operand(p, 2), i->from, false);
	combine_operand(p, i, 3);
}

static void decode_select(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	PtxType t, by = PTX_PRED;

	i->flags |= ptx_take(&p->stmt, "ftz") ? PTX_FTZ : 0;
	t = ptx_take_type(p);
	if (op->variant)
		by = ptx_take_type(p);
	ptx_operands(p, 4);
	i->run = op->variant ? run_slct : run_selp;
	i->cls = PTX_CLASS_COMPARE;
	i->bytes = (uint8_t)ptx_type_bytes(t);
	i->from = (uint8_t)by;
	i->d = ptx_dest(p, ptx_operand(p, 0), t, false);
	i->a = ptx_source(p, ptx_operand(p, 1), t, false);
	i->b = ptx_source(p, ptx_operand(p, 2), t, false);
	i->c = ptx_source(p, ptx_operand(p, 3), by, false);
}

const PtxOp ptx_compare_ops[] = {
	{"setp", NULL, decode_setp, 0, NULL},
	{"set", NULL, decode_set, 0, NULL},
	{"selp", NULL, decode_select, 0, NULL},
	{"slct", NULL, decode_select, 1, NULL},
	{0},
};
