/* tests/ptx/wgmma_product.c -- products of a warpgroup: operands by matrix descriptors, fragments, sums.
 *
 * Of the PTX ISA's section on wgmma: an operand consists of core matrices of 8 rows of 16 bytes. Where depth
 * lies side by side, a row has both halves of the depth of a product; else (imm-trans) 8 elements of one
 * depth are such a row. Rows of a core matrix are as far apart as a swizzle is wide. A swizzle of 32, 64 or
 * 128 bytes exchanges pieces of 16 bytes by the number of the 128 bytes they lie in, counted from where the
 * pattern begins, which is address 0 unless the descriptor's base offset says otherwise. That makes the rows
 * of core matrices lie in different banks in all modes: there are no conflicts to count. Lane 4g + q of warp
 * w holds, of D, columns 8t + 2q and 8t + 2q + 1 of rows 16w + g and 16w + g + 8, for each t; fragments of A
 * are those of mma. Sums are of float32, in order of depth; those of bytes are whole numbers that float32
 * holds. */
#include "tests/ptx/mma.h"
#include "tests/ptx/wgmma.h"

enum { TILE = 8 }; /* columns */

typedef struct Operands {
	float a[PTX_WGMMA_ROWS][PTX_WGMMA_DEPTH];
	float b[PTX_WGMMA_COLS / TILE][PTX_WGMMA_DEPTH][TILE];
} Operands;

static bool bytes_of(const PtxWgmma *s)
{
	return s->type[0] == PTX_S32;
}

/* -- descriptors -- */

typedef struct Layout {
	uint32_t start, leading, stride;
	unsigned width, base; /* width: 1, 2, 4, 8 pieces of 16 bytes */
	bool across;
} Layout;

/* The value of all lanes of all warps; false where they differ. */
static bool same_value(const PtxWarp *first, int32_t slot, uint64_t *value)
{
	bool same = true;

	*value = *(const uint64_t *)(const void *)(first->file + slot);
	for (unsigned v = 0; v < PTX_WGMMA_WARPS; v++) {
		const PtxWarp *w = first + v;

		EACH same &= SLOT(const uint64_t, slot)[l] == *value;
	}
	return same;
}

static uint32_t decoded(uint64_t bits, unsigned at)
{
	return (uint32_t)(bits >> at & 0x3fff) * PTX_CHUNK;
}

/* Rows of a pattern begin where the pattern does. */
static bool check_pattern(PtxWarp *w, const PtxInst *i, const char *name, const Layout *l, bool far,
			  bool deep)
{
	const uint32_t pattern = 128 * l->width, row = 16 * l->width;

	if ((l->start - 128 * l->base) % pattern >= row) {
		ptx_finding(
			w, i, -1, PTX_MISALIGNED,
			"%s begins at %#x, not in the first %u bytes of a swizzle's %u with base offset %u",
			name, l->start, row, pattern, l->base);
		return false;
	}
	if ((deep && l->stride % pattern) || (far && l->leading % pattern)) {
		ptx_finding(w, i, -1, PTX_MISALIGNED,
			    "%s: offsets %u and %u are no multiples of a swizzle's %u bytes", name,
			    l->leading, l->stride, pattern);
		return false;
	}
	return true;
}

static bool read_descriptor(PtxWarp *w, const PtxInst *i, int32_t slot, const char *name, unsigned extent,
			    bool across, Layout *l)
{
	static const unsigned widths[] = {1, 8, 4, 2};
	const uint64_t reserved = UINT64_C(0x3ff1c000c000c000);
	uint64_t bits;

	if (!same_value(w, slot, &bits)) {
		ptx_finding(w, i, -1, PTX_ILLEGAL_INSTRUCTION,
			    "threads of the warpgroup have different descriptors of %s", name);
		return false;
	}
	if (bits & reserved) {
		ptx_finding(w, i, -1, PTX_ILLEGAL_INSTRUCTION,
			    "the descriptor of %s, %#llx, has reserved bits set", name,
			    (unsigned long long)bits);
		return false;
	}
	*l = (Layout){decoded(bits, 0),   decoded(bits, 16),          decoded(bits, 32),
		      widths[bits >> 62], (unsigned)(bits >> 49 & 7), across};
	if (l->width == 1)
		return true;
	return across ? check_pattern(w, i, name, l, extent > TILE * l->width, true)
		      : check_pattern(w, i, name, l, false, extent > TILE);
}

/* Where piece `unit` of line `line` lies: of a row, the unit-th half of the depth; across, of a depth,
 * elements from 8 unit on. */
static uint32_t place(const Layout *l, unsigned line, unsigned unit)
{
	const unsigned row = line % TILE * l->width * PTX_CHUNK, far = line / TILE;
	uint32_t at;

	if (!l->across)
		at = l->start + row + far * l->stride + unit * (l->width == 1 ? l->leading : PTX_CHUNK);
	else if (l->width == 1)
		at = l->start + row + far * l->leading + unit * l->stride;
	else
		at = l->start + row + far * l->stride + unit / l->width * l->leading +
		     unit % l->width * PTX_CHUNK;
	return at ^ (((at >> 7) - l->base) & (l->width - 1)) << 4;
}

/* All pieces of an operand of `extent` rows or columns, line by line; false after a finding. */
static bool find_chunks(PtxWarp *w, const PtxInst *i, const Layout *l, const char *name, unsigned extent,
			unsigned depth, PtxFlight *f)
{
	const unsigned lines = l->across ? depth : extent, units = l->across ? extent / TILE : 2;

	for (unsigned line = 0; line < lines; line++)
		for (unsigned unit = 0; unit < units; unit++) {
			const uint32_t at = place(l, line, unit);

			if (at + PTX_CHUNK > w->block->shared_bytes) {
				ptx_finding(w, i, -1, PTX_ILLEGAL_ADDRESS,
					    "%s: reads 16 bytes at %#x of %u bytes of shared memory", name,
					    at, w->block->shared_bytes);
				return false;
			}
			f->chunks[f->n++] = at;
		}
	return true;
}

/* -- operands -- */

/* Elements of 16 bytes. */
static void unpack(const uint8_t *from, unsigned type, float sign, float *to)
{
	uint16_t half[8];
	uint32_t word[4];

	switch (type) {
	case PTX_F16:
		memcpy(half, from, sizeof half);
		for (unsigned e = 0; e < 8; e++)
			to[e] = sign * ptx_f16_to_f32(half[e]);
		break;
	case PTX_BF16:
		memcpy(half, from, sizeof half);
		for (unsigned e = 0; e < 8; e++)
			to[e] = sign * ptx_bf16_to_f32(half[e]);
		break;
	case PTX_TF32: /* the hardware does not look at the bits below */
		memcpy(word, from, sizeof word);
		for (unsigned e = 0; e < 4; e++)
			to[e] = sign * ptx_bits_f32(word[e] & ~0x1fffu);
		break;
	case PTX_S8:
		for (unsigned e = 0; e < 16; e++)
			to[e] = (int8_t)from[e];
		break;
	default:
		for (unsigned e = 0; e < 16; e++)
			to[e] = from[e];
	}
}

static unsigned elements(unsigned type)
{
	return PTX_CHUNK / ptx_type_bytes(type);
}

static void read_a(const PtxWarp *w, const PtxWgmma *s, bool across, const uint32_t *chunks, Operands *o)
{
	const unsigned n = elements(s->type[1]), lines = across ? s->depth : PTX_WGMMA_ROWS,
		       units = across ? PTX_WGMMA_ROWS / TILE : 2;
	const float sign = s->negated[0] ? -1 : 1;
	float part[PTX_CHUNK];

	for (unsigned line = 0; line < lines; line++)
		for (unsigned unit = 0; unit < units; unit++) {
			const uint8_t *from = w->block->shared + *chunks++;

			if (!across) {
				unpack(from, s->type[1], sign, &o->a[line][unit * n]);
				continue;
			}
			unpack(from, s->type[1], sign, part);
			for (unsigned e = 0; e < n; e++)
				o->a[unit * n + e][line] = part[e];
		}
}

static void read_b(const PtxWarp *w, const PtxWgmma *s, bool across, const uint32_t *chunks, Operands *o)
{
	const unsigned n = elements(s->type[2]), lines = across ? s->depth : s->cols,
		       units = across ? s->cols / TILE : 2;
	const float sign = s->negated[1] ? -1 : 1;
	float part[PTX_CHUNK];

	for (unsigned line = 0; line < lines; line++)
		for (unsigned unit = 0; unit < units; unit++) {
			const uint8_t *from = w->block->shared + *chunks++;

			if (across) {
				unpack(from, s->type[2], sign, o->b[unit][line]);
				continue;
			}
			unpack(from, s->type[2], sign, part);
			for (unsigned e = 0; e < n; e++)
				o->b[line / TILE][unit * n + e][line % TILE] = part[e];
		}
}

/* A from registers: those of four lanes are 16 bytes of a row. */
static void gather_a(const PtxWarp *first, const PtxInst *i, const PtxWgmma *s, Operands *o)
{
	const unsigned n = elements(s->type[1]);
	const float sign = s->negated[0] ? -1 : 1;

	for (unsigned v = 0; v < PTX_WGMMA_WARPS; v++)
		for (unsigned r = 0; r < s->fragments; r++) {
			const PtxWarp *w = first + v;
			const uint32_t *reg = SLOT(const uint32_t, i->list[s->sums + r]);

			for (unsigned g = 0; g < TILE; g++)
				unpack((const uint8_t *)(reg + 4 * g), s->type[1], sign,
				       &o->a[16 * v + g + 8 * (r % 2)][n * (r / 2)]);
		}
}

/* -- sums -- */

enum { WARP_ROWS = PTX_WGMMA_ROWS / PTX_WGMMA_WARPS, TOGETHER = 4 };

typedef struct Sums {
	float at[WARP_ROWS][PTX_WGMMA_COLS];
} Sums;

/* The first element that register r of lane 0 holds; what lane l has is apart(l) further on. */
static inline float *element(Sums *d, unsigned type, unsigned r)
{
	const unsigned pair = type == PTX_F16 ? r : r / 2, second = type == PTX_F16 ? 0 : r % 2;

	return &d->at[pair % 2 * 8][pair / 2 * TILE + second];
}

static inline unsigned apart(unsigned l)
{
	return l / 4 * PTX_WGMMA_COLS + l % 4 * 2;
}

static void gather_sums(const PtxWarp *w, const PtxInst *i, const PtxWgmma *s, Sums *d)
{
	for (unsigned r = 0; r < s->sums; r++) {
		const uint32_t *reg = SLOT(const uint32_t, i->list[r]);
		float *to = element(d, s->type[0], r);

		if (s->type[0] == PTX_F32)
			for (unsigned l = 0; l < PTX_LANES; l++)
				to[apart(l)] = ptx_bits_f32(reg[l]);
		else
			for (unsigned l = 0; l < PTX_LANES; l++) {
				to[apart(l)] = ptx_f16_to_f32((uint16_t)reg[l]);
				to[apart(l) + 1] = ptx_f16_to_f32((uint16_t)(reg[l] >> 16));
			}
	}
}

static uint32_t added(uint32_t old, float sum, bool keep, bool saturate)
{
	const int64_t exact = (int64_t)(keep ? (int32_t)old : 0) + (int32_t)sum;

	return saturate && exact > INT32_MAX   ? INT32_MAX
	       : saturate && exact < INT32_MIN ? (uint32_t)INT32_MIN
					       : (uint32_t)exact;
}

static uint32_t float_bits(float sum)
{
	return sum != sum ? 0x7fffffff : ptx_f32_bits(sum);
}

static void scatter_sums(PtxWarp *w, const PtxInst *i, const PtxWgmma *s, Sums *d, bool keep)
{
	for (unsigned r = 0; r < s->sums; r++) {
		uint32_t *reg = SLOT(uint32_t, i->list[r]);
		const float *from = element(d, s->type[0], r);

		if (s->type[0] == PTX_F32)
			for (unsigned l = 0; l < PTX_LANES; l++)
				reg[l] = float_bits(from[apart(l)]);
		else if (s->type[0] == PTX_F16)
			for (unsigned l = 0; l < PTX_LANES; l++)
				reg[l] = (uint32_t)ptx_f64_to_f16(from[apart(l)]) |
					 (uint32_t)ptx_f64_to_f16(from[apart(l) + 1]) << 16;
		else
			for (unsigned l = 0; l < PTX_LANES; l++)
				reg[l] = added(reg[l], from[apart(l)], keep, i->flags & PTX_SAT);
	}
}

/* A few rows at a time: their sums do not wait for each other. */
static void multiply(const PtxWgmma *s, unsigned warp, const Operands *o, Sums *d)
{
	for (unsigned r = 0; r < WARP_ROWS; r += TOGETHER)
		for (unsigned t = 0; t < s->cols / TILE; t++) {
			float sum[TOGETHER][TILE];

			for (unsigned q = 0; q < TOGETHER; q++)
				memcpy(sum[q], &d->at[r + q][t * TILE], sizeof sum[q]);
			for (unsigned k = 0; k < s->depth; k++)
				for (unsigned q = 0; q < TOGETHER; q++)
					for (unsigned c = 0; c < TILE; c++)
						sum[q][c] +=
							o->a[WARP_ROWS * warp + r + q][k] * o->b[t][k][c];
			for (unsigned q = 0; q < TOGETHER; q++)
				memcpy(&d->at[r + q][t * TILE], sum[q], sizeof sum[q]);
		}
}

/* Whether D counts, the same for all threads; false after a finding. */
static bool keeps_sums(PtxWarp *first, const PtxInst *i, bool *keep)
{
	uint32_t all = PTX_FULL, any = 0;

	for (unsigned v = 0; v < PTX_WGMMA_WARPS; v++) {
		const PtxWarp *w = first + v;
		const uint32_t p = PRED(i->c) ^ (i->flags & PTX_NOT ? PTX_FULL : 0);

		all &= p;
		any |= p;
	}
	if (any && all != PTX_FULL)
		ptx_finding(first, i, -1, PTX_ILLEGAL_INSTRUCTION,
			    "threads of the warpgroup have different scale-d");
	*keep = any;
	return !any || all == PTX_FULL;
}

static bool read_operands(PtxWarp *first, const PtxInst *i, const PtxWgmma *s, PtxFlight *f, Operands *o)
{
	Layout a, b;
	unsigned of_a;

	f->n = 0;
	if (!s->fragments && (!read_descriptor(first, i, i->a, "A", PTX_WGMMA_ROWS, s->across[0], &a) ||
			      !find_chunks(first, i, &a, "A", PTX_WGMMA_ROWS, s->depth, f)))
		return false;
	of_a = f->n;
	if (!read_descriptor(first, i, i->b, "B", s->cols, s->across[1], &b) ||
	    !find_chunks(first, i, &b, "B", s->cols, s->depth, f) ||
	    !ptx_check_operands(first, i, f->chunks, f->n))
		return false;
	if (s->fragments)
		gather_a(first, i, s, o);
	else
		read_a(first, s, a.across, f->chunks, o);
	read_b(first, s, b.across, f->chunks + of_a, o);
	return true;
}

bool ptx_wgmma_multiply(PtxWarp *first, const PtxInst *i, PtxFlight *f)
{
	const PtxWgmma *s = ptx_wgmma_of(i);
	PtxExec *x = first->x;
	Operands o;
	Sums d;
	bool keep;

	if (!keeps_sums(first, i, &keep) || !read_operands(first, i, s, f, &o))
		return false;
	for (unsigned v = 0; v < PTX_WGMMA_WARPS; v++) {
		if (keep && !bytes_of(s))
			gather_sums(first + v, i, s, &d);
		else
			memset(&d, 0, sizeof d);
		multiply(s, v, &o, &d);
		scatter_sums(first + v, i, s, &d, keep);
	}
	if (x->counts)
		ptx_count_product(first, i, (uint64_t)PTX_WGMMA_ROWS * s->cols * s->depth, (uint64_t)f->n * PTX_CHUNK);
	return true;
}
