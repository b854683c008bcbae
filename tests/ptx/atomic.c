/* tests/ptx/atomic.c -- atom and red: lanes one after the other. */
#include "tests/ptx/ops.h"

enum { ADD, MIN, MAX, INC, DEC, AND, OR, XOR, EXCH, CAS };

static uint64_t update_float(const PtxInst *i, uint64_t old, uint64_t b)
{
	double x, y;
	float f;

	switch (i->type) {
	case PTX_F32:
		f = ptx_bits_f32((uint32_t)old) + ptx_bits_f32((uint32_t)b);
		return ptx_f32_bits(f);
	case PTX_F64:
		memcpy(&x, &old, 8);
		memcpy(&y, &b, 8);
		x += y;
		memcpy(&old, &x, 8);
		return old;
	case PTX_F16:
		return ptx_f64_to_f16((double)ptx_f16_to_f32((uint16_t)old) + ptx_f16_to_f32((uint16_t)b));
	case PTX_BF16:
		return ptx_f64_to_bf16((double)ptx_bf16_to_f32((uint16_t)old) + ptx_bf16_to_f32((uint16_t)b));
	case PTX_F16X2:
		return (uint64_t)ptx_f64_to_f16((double)ptx_f16_to_f32((uint16_t)old) + ptx_f16_to_f32((uint16_t)b)) |
		       (uint64_t)ptx_f64_to_f16((double)ptx_f16_to_f32((uint16_t)(old >> 16)) +
						ptx_f16_to_f32((uint16_t)(b >> 16)))
			       << 16;
	default:
		return (uint64_t)ptx_f64_to_bf16((double)ptx_bf16_to_f32((uint16_t)old) +
						 ptx_bf16_to_f32((uint16_t)b)) |
		       (uint64_t)ptx_f64_to_bf16((double)ptx_bf16_to_f32((uint16_t)(old >> 16)) +
						 ptx_bf16_to_f32((uint16_t)(b >> 16)))
			       << 16;
	}
}

/* The type's sign is extended, so that orders are those of 64 bits. */
static int64_t as_signed(const PtxInst *i, uint64_t x)
{
	return i->bytes == 4 ? (int32_t)x : (int64_t)x;
}

static uint64_t update(const PtxInst *i, uint64_t old, uint64_t b, uint64_t c)
{
	const bool s = ptx_type_kind(i->type) == 's';
	const char kind = ptx_type_kind(i->type);

	switch (i->mode) {
	case ADD:
		return kind == 'f' || kind == 'h' ? update_float(i, old, b) : old + b;
	case MIN:
		return (s ? as_signed(i, old) < as_signed(i, b) : old < b) ? old : b;
	case MAX:
		return (s ? as_signed(i, old) > as_signed(i, b) : old > b) ? old : b;
	case INC:
		return old >= b ? 0 : old + 1;
	case DEC:
		return !old || old > b ? b : old - 1;
	case AND:
		return old & b;
	case OR:
		return old | b;
	case XOR:
		return old ^ b;
	case EXCH:
		return b;
	default:
		return old == b ? c : old;
	}
}

static void run_atom(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t address[PTX_LANES];
	uint8_t *host[PTX_LANES], t[8 * PTX_LANES];

	ptx_addresses(w, i, address);
	if (!ptx_access(w, i, m, i->space, address, i->bytes, PTX_ATOMIC, host))
		return;
	for (uint32_t left = m; left; left &= left - 1) {
		const unsigned l = (unsigned)__builtin_ctz(left);
		uint64_t old = 0, b = 0, c = 0;

		memcpy(&old, host[l], i->bytes);
		memcpy(&b, w->file + i->b + l * i->bytes, i->bytes);
		if (i->mode == CAS)
			memcpy(&c, w->file + i->c + l * i->bytes, i->bytes);
		memcpy(t + l * i->bytes, &old, i->bytes);
		old = update(i, old, b, c);
		memcpy(host[l], &old, i->bytes);
	}
	if (i->d)
		ptx_put(w, i->d, t, i->bytes, m);
}

static void decode_atom(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const names[] = {"add", "min", "max", "inc", "dec", "and", "or", "xor", "exch", "cas", NULL};
	static const char *const hints[] = {"relaxed", "acquire", "release", "acq_rel", "cta",
					    "gpu",     "sys",     "cluster", "noftz",   NULL};
	const unsigned d = op->variant ? 0 : 1; /* red has no result */
	PtxStmt *s = &p->stmt;
	int mode;

	i->space = (uint8_t)ptx_take_space(s);
	p->func->atomics |= i->space != PTX_SHARED;
	while (ptx_take_one(s, hints) >= 0)
		;
	mode = ptx_take_one(s, names);
	i->type = (uint8_t)ptx_take_type(p);
	if (mode < 0 || (op->variant && mode >= EXCH))
		ptx_fail(p, "%s: no such operation", s->text);
	if (strchr("fh", ptx_type_kind(i->type)) && mode != ADD)
		ptx_fail(p, "%s: no such operation on floats", s->text);
	if (i->type == PTX_BF16 || i->type == PTX_BF16X2)
		ptx_need(p, 90, 78, ".bf16");
	ptx_operands(p, 2 + d + (mode == CAS));
	i->run = run_atom;
	i->cls = PTX_CLASS_ATOMIC;
	i->mode = (uint8_t)mode;
	i->bytes = (uint8_t)ptx_type_bytes(i->type);
	i->d = d ? ptx_dest(p, ptx_operand(p, 0), i->type, false) : 0;
	ptx_address(p, i, ptx_operand(p, d), i->space);
	i->b = ptx_source(p, ptx_operand(p, d + 1), i->type, false);
	if (mode == CAS)
		i->c = ptx_source(p, ptx_operand(p, d + 2), i->type, false);
}

const PtxOp ptx_atomic_ops[] = {
	{"atom", NULL, decode_atom, 0, NULL},
	{"red", NULL, decode_atom, 1, NULL},
	{0},
};
