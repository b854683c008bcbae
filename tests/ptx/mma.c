/* tests/ptx/mma.c -- products of matrices on tensor cores.
 *
 * Fragments, of the PTX ISA's section on mma: lane 4g + q holds, of A, in register r the v = 32 / bits columns from v
 * (q + 4 (r / 2)) on of row g + 8 (r % 2); of B, the v rows from v (q + 4 r) on of column g; of C and D, columns 2q and
 * 2q + 1 of rows g and g + 8. Sums of floats are of float32, in order of depth: tensor cores leave theirs open. */
#include "tests/ptx/mma.h"

/* -- fragments -- */

static unsigned bits_of(unsigned type)
{
	return type == PTX_S4 || type == PTX_U4 ? 4 : 8 * ptx_type_bytes(type);
}

static bool whole_numbers(unsigned type)
{
	return strchr("us", ptx_type_kind(type));
}

/* Elements of a register, as bits of float32 or as whole numbers. */
static inline void unpack(uint32_t reg, unsigned type, int32_t *to)
{
	switch (type) {
	case PTX_F16:
		for (unsigned e = 0; e < 2; e++)
			to[e] = (int32_t)ptx_f32_bits(ptx_f16_to_f32((uint16_t)(reg >> 16 * e)));
		break;
	case PTX_BF16:
		to[0] = (int32_t)(reg << 16);
		to[1] = (int32_t)(reg & 0xffff0000);
		break;
	case PTX_TF32: /* the hardware does not look at the bits below */
		to[0] = (int32_t)(reg & ~0x1fffu);
		break;
	case PTX_S8:
		for (unsigned e = 0; e < 4; e++)
			to[e] = (int8_t)(reg >> 8 * e);
		break;
	case PTX_U8:
		for (unsigned e = 0; e < 4; e++)
			to[e] = (uint8_t)(reg >> 8 * e);
		break;
	case PTX_S4:
		for (unsigned e = 0; e < 8; e++)
			to[e] = (int32_t)(reg << (28 - 4 * e)) >> 28;
		break;
	default:
		for (unsigned e = 0; e < 8; e++)
			to[e] = (int32_t)(reg >> 4 * e & 15);
	}
}

static void gather_a(const PtxWarp *w, const PtxMma *s, const int32_t *list, PtxTile *t)
{
	const unsigned type = s->type[1], v = 32 / bits_of(type), down = s->rows == 8 ? 1 : 2;

	for (unsigned r = 0; r < s->regs[1]; r++) {
		const uint32_t *reg = SLOT(const uint32_t, list[r]);

		for (unsigned l = 0; l < PTX_LANES; l++)
			unpack(reg[l], type, &t->a.i[l / 4 + 8 * (r % down)][v * (l % 4 + 4 * (r / down))]);
	}
}

static void gather_b(const PtxWarp *w, const PtxMma *s, const int32_t *list, PtxTile *t)
{
	const unsigned type = s->type[2], v = 32 / bits_of(type);

	for (unsigned r = 0; r < s->regs[2]; r++) {
		const uint32_t *reg = SLOT(const uint32_t, list[r]);

		for (unsigned l = 0; l < PTX_LANES; l++) {
			int32_t part[8];

			unpack(reg[l], type, part);
			for (unsigned e = 0; e < v; e++)
				t->b.i[v * (l % 4 + 4 * r) + e][l / 4] = part[e];
		}
	}
}

static void gather_c(const PtxWarp *w, const PtxMma *s, const int32_t *list, PtxTile *t)
{
	for (unsigned r = 0; r < s->regs[3]; r++) {
		const uint32_t *reg = SLOT(const uint32_t, list[r]);

		for (unsigned l = 0; l < PTX_LANES; l++)
			if (s->type[3] == PTX_F16) {
				unpack(reg[l], PTX_F16, &t->c.i[l / 4 + 8 * r][l % 4 * 2]);
			} else {
				t->c.i[l / 4 + 8 * (r / 2)][l % 4 * 2 + r % 2] = (int32_t)reg[l];
			}
	}
}

static void scatter_d(PtxWarp *w, const PtxMma *s, const int32_t *list, const PtxTile *t)
{
	for (unsigned r = 0; r < s->regs[0]; r++) {
		uint32_t *reg = SLOT(uint32_t, list[r]);

		for (unsigned l = 0; l < PTX_LANES; l++)
			if (s->type[0] == PTX_F16)
				reg[l] = (uint32_t)ptx_f64_to_f16(t->c.f[l / 4 + 8 * r][l % 4 * 2]) |
					 (uint32_t)ptx_f64_to_f16(t->c.f[l / 4 + 8 * r][l % 4 * 2 + 1]) << 16;
			else
				reg[l] = (uint32_t)t->c.i[l / 4 + 8 * (r / 2)][l % 4 * 2 + r % 2];
	}
}

/* -- products -- */

static void multiply_floats(const PtxMma *s, PtxTile *t)
{
	for (unsigned r = 0; r < s->rows; r++) {
		float sum[PTX_MMA_COLS];

		memcpy(sum, t->c.f[r], sizeof sum);
		for (unsigned k = 0; k < s->depth; k++)
			for (unsigned c = 0; c < PTX_MMA_COLS; c++)
				sum[c] += t->a.f[r][k] * t->b.f[k][c];
		for (unsigned c = 0; c < PTX_MMA_COLS; c++)
			t->c.f[r][c] = sum[c] != sum[c] ? ptx_bits_f32(0x7fffffff) : sum[c];
	}
}

static void multiply_ints(const PtxMma *s, PtxTile *t, bool saturate)
{
	for (unsigned r = 0; r < s->rows; r++) {
		int32_t sum[PTX_MMA_COLS] = {0}; /* at most 128 * 255 * 255 */

		for (unsigned k = 0; k < s->depth; k++)
			for (unsigned c = 0; c < PTX_MMA_COLS; c++)
				sum[c] += t->a.i[r][k] * t->b.i[k][c];
		for (unsigned c = 0; c < PTX_MMA_COLS; c++) {
			const int64_t exact = (int64_t)t->c.i[r][c] + sum[c];

			t->c.i[r][c] = !saturate ? (int32_t)(uint32_t)exact
				       : exact > INT32_MAX ? INT32_MAX
				       : exact < INT32_MIN ? INT32_MIN
							   : (int32_t)exact;
		}
	}
}

static void run_mma(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const PtxMma *s = (const PtxMma *)(uintptr_t)i->imm;
	const int32_t *a = i->list + s->regs[0], *b = a + s->regs[1], *c = b + s->regs[2];
	PtxTile t;

	if (m != PTX_FULL) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "only lanes %#x of the warp are here", m);
		return;
	}
	gather_a(w, s, a, &t);
	gather_b(w, s, b, &t);
	gather_c(w, s, c, &t);
	if (s->sparse && !ptx_mma_expand(w, i, s, &t))
		return;
	if (whole_numbers(s->type[1]))
		multiply_ints(s, &t, i->flags & PTX_SAT);
	else
		multiply_floats(s, &t);
	scatter_d(w, s, i->list, &t);
}

/* -- decoding -- */

typedef struct Shape {
	const char *name;
	uint8_t rows, depth;
	PtxType type;             /* of A and B; S8 and S4 stand for U8 and U4 too */
	uint8_t sm, version;
	uint8_t sparse;           /* and the number of its selectors */
} Shape;

static const Shape shapes[] = {
	{"m16n8k8", 16, 8, PTX_F16, 75, 65, 0},    {"m16n8k16", 16, 16, PTX_F16, 80, 70, 0},
	{"m16n8k8", 16, 8, PTX_BF16, 80, 70, 0},   {"m16n8k16", 16, 16, PTX_BF16, 80, 70, 0},
	{"m16n8k4", 16, 4, PTX_TF32, 80, 70, 0},   {"m16n8k8", 16, 8, PTX_TF32, 80, 70, 0},
	{"m8n8k16", 8, 16, PTX_S8, 75, 65, 0},     {"m16n8k16", 16, 16, PTX_S8, 80, 70, 0},
	{"m16n8k32", 16, 32, PTX_S8, 80, 70, 0},   {"m8n8k32", 8, 32, PTX_S4, 75, 65, 0},
	{"m16n8k32", 16, 32, PTX_S4, 80, 70, 0},   {"m16n8k64", 16, 64, PTX_S4, 80, 70, 0},
	{"m16n8k16", 16, 16, PTX_F16, 80, 71, 4},  {"m16n8k32", 16, 32, PTX_F16, 80, 71, 2},
	{"m16n8k16", 16, 16, PTX_BF16, 80, 71, 4}, {"m16n8k32", 16, 32, PTX_BF16, 80, 71, 2},
	{"m16n8k8", 16, 8, PTX_TF32, 80, 71, 4},   {"m16n8k16", 16, 16, PTX_TF32, 80, 71, 2},
	{"m16n8k32", 16, 32, PTX_S8, 80, 71, 2},   {"m16n8k64", 16, 64, PTX_S8, 80, 71, 1},
};

static const Shape *find_shape(PtxParse *p, const PtxMma *s)
{
	const PtxType a = s->type[1] == PTX_U8 ? PTX_S8 : s->type[1] == PTX_U4 ? PTX_S4 : s->type[1];
	const PtxType b = s->type[2] == PTX_U8 ? PTX_S8 : s->type[2] == PTX_U4 ? PTX_S4 : s->type[2];

	if (a == b)
		for (unsigned k = 0; k < sizeof shapes / sizeof *shapes; k++)
			if (shapes[k].type == a && !shapes[k].sparse == !s->sparse &&
			    ptx_take(&p->stmt, shapes[k].name))
				return &shapes[k];
	ptx_fail(p, "%s: no such shape of these types", p->stmt.text);
}

static void check_sums(PtxParse *p, const PtxMma *s)
{
	const PtxType d = s->type[0], c = s->type[3];
	const bool good = whole_numbers(s->type[1])
				  ? d == PTX_S32 && c == PTX_S32
				  : c == d && (d == PTX_F32 || (d == PTX_F16 && s->type[1] == PTX_F16));

	if (!good)
		ptx_fail(p, "%s: sums of such a type", p->stmt.text);
}

/* All registers, one list behind the other. */
static int32_t *take_registers(PtxParse *p, const PtxMma *s)
{
	int32_t *all = ptx_alloc(p->m, sizeof *all * (s->regs[0] + s->regs[1] + s->regs[2] + s->regs[3] + 1u)),
		*at = all;

	for (unsigned o = 0; o < 4; o++) {
		const PtxType t = o == 0 || o == 3 ? (s->type[o] == PTX_F32 ? PTX_F32 : PTX_B32) : PTX_B32;

		memcpy(at, ptx_list(p, ptx_operand(p, o), t, o == 0, s->regs[o]), sizeof *at * s->regs[o]);
		at += s->regs[o];
	}
	return all;
}

static void take_selector(PtxParse *p, PtxMma *s, const Shape *shape)
{
	const PtxOperand *o = ptx_operand(p, 5);

	s->metadata = ptx_source(p, ptx_operand(p, 4), PTX_B32, false);
	if (o->kind != PTX_OP_IMM || o->value < 0 || o->value >= shape->sparse)
		ptx_fail(p, "%s: the sparsity selector is below %u", p->stmt.text, shape->sparse);
	s->selector = (uint8_t)o->value;
}

static void decode_mma(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	PtxStmt *m = &p->stmt;
	PtxMma *s = ptx_alloc(p->m, sizeof *s);
	const Shape *shape;

	s->sparse = ptx_take(m, "sp") || ptx_take(m, "sp::ordered_metadata");
	if (!ptx_take(m, "sync") || !ptx_take(m, "aligned") || !ptx_take(m, "row") || !ptx_take(m, "col"))
		ptx_fail(p, "%s: .sync.aligned with .row.col is expected", m->text);
	i->flags |= ptx_take(m, "satfinite") ? PTX_SAT : 0;
	for (unsigned o = 0; o < 4; o++)
		s->type[o] = (uint8_t)ptx_take_type(p);
	shape = find_shape(p, s);
	ptx_need(p, shape->sm, shape->version, "this shape");
	check_sums(p, s);
	s->rows = shape->rows;
	s->depth = shape->depth;
	s->kept = s->sparse ? shape->depth / 2 : shape->depth;
	s->regs[1] = (uint8_t)(s->rows * s->kept * bits_of(s->type[1]) / 1024);
	s->regs[2] = (uint8_t)(PTX_MMA_COLS * s->depth * bits_of(s->type[2]) / 1024);
	s->regs[0] = s->regs[3] = s->type[0] == PTX_F16 ? 2 : s->rows / 4;
	ptx_operands(p, s->sparse ? 6 : 4);
	if (s->sparse)
		take_selector(p, s, shape);
	i->list = take_registers(p, s);
	i->imm = (int64_t)(intptr_t)s;
	i->run = run_mma;
	i->cls = PTX_CLASS_MMA;
}

const PtxOp ptx_mma_ops[] = {
	{"mma", NULL, decode_mma, 0, NULL},
	{"ldmatrix", NULL, ptx_decode_ldmatrix, 0, NULL},
	{"stmatrix", NULL, ptx_decode_ldmatrix, 1, NULL},
	{0},
};
