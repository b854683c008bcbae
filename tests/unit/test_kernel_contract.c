/* tests/unit/test_kernel_contract.c -- contractions: machine code against the interpreter.
 *
 * Small integers as data: sums are exact whatever their order.  A failure prints the kernel. */
#include <CUnit/CUnit.h>
#include <llvm-c/Core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codegen/emit.h"
#include "codegen/matrix.h"
#include "codegen/schedule.h"
#include "codegen/strips.h"
#include "tests/unit/kernel_random.h"

enum { KERNELS = 60 };

static int64_t pick(KernelRandom *r, int64_t lo, int64_t hi)
{
	return lo + kernel_random(r, (uint32_t)(hi - lo + 1));
}

static void taps(KernelRandom *r, KContract *c)
{
	c->nky = pick(r, 1, 3);
	c->nkx = pick(r, 1, 3);
	c->sy = pick(r, 1, 2);
	c->sx = pick(r, 1, 2);
	c->dy = pick(r, 1, 2);
	c->dx = pick(r, 1, 2);
	c->py = pick(r, 0, (c->nky - 1) * c->dy);
	c->px = pick(r, 0, (c->nkx - 1) * c->dx);
	c->in_y = (c->ny - 1) * c->sy + (c->nky - 1) * c->dy + 1 - c->py - pick(r, 0, c->py);
	c->in_x = (c->nx - 1) * c->sx + (c->nkx - 1) * c->dx + 1 - c->px - pick(r, 0, c->px);
	c->in_y = c->in_y < 1 ? 1 : c->in_y;
	c->in_x = c->in_x < 1 ? 1 : c->in_x;
}

/* Elements of A and B, and terms at once. */
static const struct Elements { MloElem a, b; int dot; } elements[] = {
	{EL_f32, EL_f32, 1}, {EL_f32, EL_f16, 1}, {EL_f32, EL_bf16, 1}, {EL_bf16, EL_bf16, 2}, {EL_u8, EL_i8, 4},
	{EL_i8, EL_i8, 4}};

/* Strides of A for `channels` of them; answers its size. */
static int64_t layout(KernelRandom *r, KContract *c, int64_t channels, int block)
{
	int64_t plane = c->in_y * c->in_x, image;
	/* depthwise: lowering makes none but in blocks of one vector; several terms at once lie side by side */
	uint32_t form = contract_is_depthwise(c) ? 2 : kernel_random(r, 3);

	if (form == 0 || (form == 1 && c->dot > 1)) { /* channels last */
		c->a.block = channels;
		c->a.blk = 0;
		c->a.k = 1;
		c->a.x = channels;
		image = plane * channels;
	} else if (form == 1) { /* channels first */
		c->a.block = 1;
		c->a.blk = plane;
		c->a.k = 0;
		c->a.x = 1;
		image = plane * channels;
	} else {
		c->a.block = block;
		c->a.blk = plane * block;
		c->a.k = 1;
		c->a.x = block;
		image = plane * block * ((channels + block - 1) / block);
	}
	c->a.y = c->in_x * c->a.x;
	c->a.b1 = image;
	c->a.b0 = image * c->nb1;
	return c->a.b0 * c->nb0;
}

/* relu(product + bias[c]), stored with channels last or first. */
static void epilogue(KernelRandom *r, MloKernel *k, KCursor at, const KContract *c, int bias, int out)
{
	const KIdx *v[5], *x;
	bool first = kernel_random(r, 4) == 0;
	static const int last_order[] = {0, 1, 2, 3, 4}, first_order[] = {0, 1, 4, 2, 3};
	int64_t n[5] = {c->nb0, c->nb1, c->ny, c->nx, c->nc};
	MloElem to = k->arg.items[out].elem;
	int s;

	x = kx_const(k, 0);
	for (int i = 0; i < 5; i++) {
		int j = first ? first_order[i] : last_order[i];
		v[j] = kx_var(k, c->var[j]);
		x = kx_add(k, kx_mul(k, x, n[j]), v[j]);
	}
	s = kb_op(&at, K_product, mlo_contract_sum(c), -1, -1, -1);
	if (mlo_contract_sum(c) == EL_i32)
		s = kb_op(&at, K_cast, EL_f32, s, -1, -1);
	s = kb_op(&at, K_add, EL_f32, s, kb_load(&at, bias, v[4], NULL, 0), -1);
	if (kernel_random(r, 2))
		s = kb_op(&at, K_max, EL_f32, s, kb_const_f(&at, EL_f32, 0), -1);
	if (to == EL_u8)
		s = kb_op(&at, K_cast, to, kb_op(&at, K_mul, EL_f32, s, kb_const_f(&at, EL_f32, 0.125), -1), -1, -1);
	kb_store(&at, out, x, NULL, s);
}

/* Groups of channels, or (depthwise) one input per output; answers how many inputs there are. */
static int64_t groups(KernelRandom *r, KContract *c, bool depthwise, const MloTarget *t)
{
	if (depthwise) {
		c->nk = c->group_c = c->group_k = c->dot = 1;
		return c->nc;
	}
	c->nk = (c->nk + c->dot - 1) / c->dot * c->dot;
	c->group_c = t->vector_bytes / 4;
	c->nc = c->group_c * pick(r, 1, 3);
	c->group_k = c->nk;
	return c->nk * (c->nc / c->group_c);
}

static void zero_points(KernelRandom *r, KContract *c, MloKernel *k, const MloTarget *t)
{
	int64_t w = (int64_t)c->vecs * c->lanes;

	if (mlo_contract_sum(c) != EL_i32)
		return;
	c->zero.at = pick(r, 0, 1) ? pick(r, 0, 127) : 0;
	c->zero.given = pick(r, 0, 3) == 0;
	if ((c->depth || c->strips) && c->zero.given)
		c->zero.at = 0;
	contract_choose_sign(t, c);
	if (c->zero.given)
		c->zero.z_arg = mlo_kernel_arg(k, KA_IN, c->a.elem, 1);
	if (contract_has_sums(c))
		c->zero.s_arg = mlo_kernel_arg(k, KA_IN, EL_i32, mlo_contract_ctiles(c) * c->nky * c->nkx * w);
}

/* Half of the time, in place of the cost model's schedule, another one that can be measured. */
static void another_schedule(MloArena *a, KernelRandom *r, const MloTarget *t, KContract *c)
{
	const KContract model = *c;
	const MloTunable k = {.target = t, .c = &model};
	const MloSchedule own = mlo_schedule_of(c);
	MloScheduleList list = {0};

	CU_ASSERT(mlo_schedule_fits(&k, &own));
	mlo_schedule_candidates(a, &k, &list);
	mlo_schedule_neighbours(a, &k, list.n ? &list.items[kernel_random(r, (uint32_t)list.n)] : &own, &list);
	if (list.n && kernel_random(r, 2))
		mlo_schedule_set(c, &list.items[kernel_random(r, (uint32_t)list.n)]);
}

/* Mostly, in place of a schedule for vectors, any that the matrix unit of the target can do. */
static void unit_schedule(KernelRandom *r, const MloTarget *t, KContract *c)
{
	const KContract model = *c;
	const MloTunable tunable = {.target = t, .c = &model};
	MloSchedule s = {.depth = (int)pick(r, 1, 16)};

	if (!matrix_can(t, c) || kernel_random(r, 8) == 0)
		return;
	do {
		s.vecs = (int)pick(r, 1, 3);
		s.rows = (int)pick(r, 1, 3);
		s.cols = (int)pick(r, 1, 16);
		s.y_chunk = mlo_contract_by_columns(c) ? s.rows * s.cols * pick(r, 1, 3) : pick(r, 1, c->ny);
		s.c_chunk = pick(r, 1, 3);
	} while (!mlo_schedule_fits(&tunable, &s));
	mlo_schedule_set(c, &s);
}

/* Mostly, in place of a schedule without a copy, any with one. */
static void strips_schedule_of(KernelRandom *r, const MloTarget *t, KContract *c)
{
	const KContract model = *c;
	const MloTunable tunable = {.target = t, .c = &model};
	MloSchedule s = {.strips = true};

	if (!strips_can(c) || kernel_random(r, 8) == 0)
		return;
	do {
		s.vecs = (int)pick(r, 1, 3);
		s.rows = (int)pick(r, 1, 2);
		s.cols = (int)pick(r, 1, 4) * 2;
		s.y_chunk = mlo_contract_by_columns(c) ? s.cols * pick(r, 1, 3) : pick(r, 1, c->ny);
		s.c_chunk = pick(r, 1, 3);
	} while (!mlo_schedule_fits(&tunable, &s));
	mlo_schedule_set(c, &s);
}

/* A factor for each term. */
static void scale(KernelRandom *r, KContract *c, MloKernel *k)
{
	if (!c->b.packed || c->group_k || c->nky * c->nkx > 1 || c->a.elem != EL_f32 || c->b.elem != EL_f32)
		return;
	c->scale.on = true;
	c->scale.b0 = pick(r, 0, 1) * (c->nk + pick(r, 0, 3));
	c->scale.g_arg = mlo_kernel_arg(k, KA_IN, EL_f32, c->scale.b0 * (c->nb0 - 1) + c->nk);
	c->w_arg = mlo_kernel_arg(k, KA_SCRATCH, EL_f32, c->nk * c->vecs * c->lanes);
}

static MloKernel *random_contract(MloArena *a, uint64_t seed, const MloTarget *t)
{
	KernelRandom r = {seed};
	MloKernel *k = mlo_kernel_new(a, "contract");
	KContract c = {.nb0 = pick(&r, 1, 2),
		       .nb1 = pick(&r, 1, 2),
		       .ny = pick(&r, 1, 5),
		       .nx = pick(&r, 1, 19),
		       .nc = pick(&r, 1, 70),
		       .nk = pick(&r, 1, 20),
		       .nky = 1,
		       .nkx = 1,
		       .sy = 1,
		       .sx = 1,
		       .dy = 1,
		       .dx = 1};
	uint32_t form = kernel_random(&r, 4); /* packed, in place, grouped, depthwise */
	struct Elements of = elements[form == 1 ? 0 : kernel_random(&r, sizeof elements / sizeof *elements)];
	int64_t channels = c.nk, na, nb;
	KCursor top = kb_top(k);
	int bias, out;

	if ((t->matrix || t->dots->mm_s8s8) && kernel_random(&r, 12) == 0) /* several products of a run, lines of the cache per pixel */
		channels = c.nk = pick(&r, 40, 300);
	c.a.elem = of.a;
	c.b.elem = of.b;
	c.dot = of.dot;
	c.group_c = c.nc;
	if (form == 1) {
		c.in_y = c.ny;
		c.in_x = c.nx;
	} else {
		taps(&r, &c);
	}
	if (form >= 2)
		channels = groups(&r, &c, form == 3, t);
	na = layout(&r, &c, channels, t->block);
	c.b.packed = form != 1;
	contract_choose_pairs(t, &c);
	contract_choose_sign(t, &c);
	mlo_schedule_contract(t, NULL, 1, &c);
	another_schedule(a, &r, t, &c);
	strips_schedule_of(&r, t, &c);
	if (t->matrix)
		unit_schedule(&r, t, &c);
	if (c.depth)
		c.w_arg = mlo_kernel_arg(k, KA_SCRATCH, EL_u8, matrix_scratch_bytes(&c));
	if (c.strips)
		c.w_arg = mlo_kernel_arg(k, KA_SCRATCH, EL_u8, strips_scratch_bytes(&c));
	nb = mlo_contract_ctiles(&c) * c.nky * c.nkx * mlo_contract_steps(&c) * contract_step(&c);
	if (!c.b.packed) {
		c.b.k = c.nc + pick(&r, 0, 3);
		c.b.b1 = c.b.k * c.nk;
		c.b.b0 = pick(&r, 0, 1) * c.b.b1 * c.nb1;
		nb = c.b.b1 * c.nb1 * c.nb0;
	}
	zero_points(&r, &c, k, t);
	scale(&r, &c, k);
	c.a_arg = mlo_kernel_arg(k, KA_IN, c.a.elem, na);
	c.b_arg = mlo_kernel_arg(k, KA_IN, c.b.elem, nb);
	bias = mlo_kernel_arg(k, KA_IN, EL_f32, c.nc);
	out = mlo_kernel_arg(k, KA_OUT, c.a.elem == EL_u8 || c.a.elem == EL_bf16 ? c.a.elem : EL_f32,
	                     c.nb0 * c.nb1 * c.ny * c.nx * c.nc);
	for (int i = 0; i < 5; i++)
		c.var[i] = mlo_kernel_var(k, (int64_t[]){c.nb0, c.nb1, c.ny, c.nx, c.nc}[i]);
	epilogue(&r, k, kb_contract(&top, &c), &c, bias, out);
	kb_finish(k);
	return k;
}

/* Bytes of all values instead of small ones, zero beyond the real terms and channels, and the sums of B. */
static void fill_bytes(const MloKernel *k, const KContract *c, KernelBuffers *b, uint64_t seed)
{
	KernelRandom r = {seed ^ 77};
	int64_t w = (int64_t)c->vecs * c->lanes, steps = mlo_contract_steps(c), taps = c->nky * c->nkx;
	int8_t *to = b->arg[c->b_arg];
	int32_t *sums = contract_has_sums(c) ? b->arg[c->zero.s_arg] : NULL;

	for (int64_t i = 0; i < k->arg.items[c->a_arg].count; i++)
		((uint8_t *)b->arg[c->a_arg])[i] = (uint8_t)kernel_random(&r, 256);
	for (int64_t i = 0; sums && i < k->arg.items[c->zero.s_arg].count; i++)
		sums[i] = 0;
	for (int64_t i = 0; i < k->arg.items[c->b_arg].count; i++) {
		int64_t step = i / c->dot / w, oc = step / steps / taps * w + i / c->dot % w;

		to[i] = (int8_t)kernel_random(&r, 256);
		if (oc >= c->nc || step % steps * c->dot + i % c->dot >= c->nk)
			to[i] = 0;
		if (sums)
			sums[step / steps * w + i / c->dot % w] += to[i];
	}
}

/* Factors that leave sums exact. */
static void fill_scale(const MloKernel *k, const KContract *c, KernelBuffers *b, uint64_t seed)
{
	KernelRandom r = {seed ^ 78};

	for (int64_t i = 0; i < k->arg.items[c->scale.g_arg].count; i++)
		((float *)b->arg[c->scale.g_arg])[i] = (float)pick(&r, -3, 3);
}

static bool same(MloElem t, const void *a, const void *b, int64_t i)
{
	size_t size = mlo_elem_bits(t) / 8;

	return t == EL_f32 ? ((const float *)a)[i] == ((const float *)b)[i]
	                   : !memcmp((const char *)a + (size_t)i * size, (const char *)b + (size_t)i * size, size);
}

/* A product of each of n0 x n1 pairs of matrices into scratch memory, and its transpose times the second one again:
 * two contractions inside of loops. */
static MloKernel *random_inside(MloArena *a, uint64_t seed, const MloTarget *t)
{
	KernelRandom r = {seed};
	MloKernel *k = mlo_kernel_new(a, "inside");
	int64_t n0 = pick(&r, 1, 3), n1 = pick(&r, 1, 2), nx = pick(&r, 1, 30), nk = pick(&r, 1, 9), nc = pick(&r, 1, 40);
	int64_t pad = pick(&r, 0, 3);
	KContract c = {.nb0 = 1, .nb1 = 1, .ny = 1, .nx = nx, .nc = nc, .nk = nk, .nky = 1, .nkx = 1, .sy = 1, .sx = 1,
	               .dy = 1, .dx = 1, .in_y = 1, .in_x = nx, .group_c = nc, .dot = 1, .a.elem = EL_f32, .a.block = nk,
	               .a.x = nk + pad, .a.k = 1, .b.elem = EL_f32, .b.k = nc};
	KCursor top = kb_top(k), at, in;
	int out, scratch, v0, v1, s;
	const KIdx *x, *col;

	c.a_arg = mlo_kernel_arg(k, KA_IN, EL_f32, n0 * n1 * nx * (nk + pad) + nk * nc);
	c.b_arg = mlo_kernel_arg(k, KA_IN, EL_f32, n1 * nk * nc + nx * nc);
	mlo_kernel_arg(k, KA_IN, EL_f32, 1);
	scratch = mlo_kernel_arg(k, KA_SCRATCH, EL_f32, nx * nc);
	out = mlo_kernel_arg(k, KA_OUT, EL_f32, n0 * n1 * nc * nc);
	at = kb_loop(&top, KL_PAR, kx_const(k, n0), &v0);
	at = kb_loop(&at, kernel_random(&r, 2) ? KL_PAR : KL_SEQ, kx_const(k, n1), &v1);
	x = kx_add(k, kx_mul(k, kx_var(k, v0), n1), kx_var(k, v1));
	c.a_at = kx_mul(k, x, nx * (nk + pad));
	c.b_at = kx_mul(k, kx_var(k, v1), nk * nc);
	for (int i = 0; i < 2; i++) {
		mlo_schedule_contract(t, k, 1, &c);
		for (int j = 0; j < 5; j++)
			c.var[j] = mlo_kernel_var(k, (int64_t[]){1, 1, 1, c.nx, c.nc}[j]);
		in = kb_contract(&at, &c);
		col = kx_add(k, kx_mul(k, kx_var(k, c.var[3]), nc), kx_var(k, c.var[4]));
		s = kb_op(&in, K_product, EL_f32, -1, -1, -1);
		if (i == 0)
			kb_store(&in, scratch, col, NULL, s);
		else
			kb_store(&in, out, kx_add(k, kx_mul(k, x, nc * nc), col), NULL, s);
		c.a_arg = scratch;
		c.a_at = NULL;
		c.nx = c.in_x = nc;
		c.nk = c.a.block = nx;
		c.a.x = 1;
		c.a.k = nc;
	}
	kb_finish(k);
	return k;
}

/* Bands of a depthwise image's rows: what its windows see of a pointwise one is made in scratch memory before. */
static MloKernel *random_bands(MloArena *a, uint64_t seed, const MloTarget *t)
{
	KernelRandom r = {seed};
	MloKernel *k = mlo_kernel_new(a, "bands");
	int64_t lanes = t->vector_bytes / 4, nk = pick(&r, 1, 9), blocks = pick(&r, 1, 3), nc = blocks * lanes;
	int64_t taps = pick(&r, 1, 5), s = pick(&r, 1, 2), pad = pick(&r, 0, taps - 1), h = pick(&r, 3 + taps, 12), w = pick(&r, taps, 20);
	int64_t ny = (h + 2 * pad - taps) / s + 1, nx = (w + 2 * pad - taps) / s + 1, band = pick(&r, 1, ny);
	int64_t rows = (band - 1) * s + taps;
	KContract c = {.nb0 = 1, .nb1 = 1, .ny = h, .nx = w, .nc = nc, .nk = nk, .nky = 1, .nkx = 1, .sy = 1, .sx = 1, .dy = 1,
	               .dx = 1, .in_y = h, .in_x = w, .group_c = nc, .dot = 1, .a.elem = EL_f32, .a.block = nk, .a.x = nk,
	               .a.y = w * nk, .a.k = 1, .b.elem = EL_f32, .b.packed = true};
	KCursor top = kb_top(k), at, in;
	const KIdx *first, *end, *y, *place;
	int scratch, out, var;

	c.a_arg = mlo_kernel_arg(k, KA_IN, EL_f32, h * w * nk);
	c.b_arg = mlo_kernel_arg(k, KA_IN, EL_f32, (nc + 8 * lanes) * nk);
	mlo_kernel_arg(k, KA_IN, EL_f32, (nc + 8 * lanes) * taps * taps);
	scratch = mlo_kernel_arg(k, KA_SCRATCH, EL_f32, nc * rows * w);
	out = mlo_kernel_arg(k, KA_OUT, EL_f32, nc * ny * nx);
	at = kb_loop(&top, KL_PAR, kx_const(k, (ny + band - 1) / band), &var);
	end = kx_min(k, kx_mul(k, kx_add(k, kx_var(k, var), kx_const(k, 1)), band), kx_const(k, ny));
	for (int i = 0; i < 2; i++) {
		first = kx_add(k, kx_mul(k, kx_var(k, var), i ? band : band * s), kx_const(k, i ? 0 : -pad));
		c.y_lo = kx_max(k, first, kx_const(k, 0));
		c.y_hi = i ? end : kx_min(k, kx_add(k, kx_mul(k, end, s), kx_const(k, taps - s - pad)), kx_const(k, h));
		mlo_schedule_band(t, nc, &c);
		for (int j = 0; j < 5; j++)
			c.var[j] = mlo_kernel_var(k, (int64_t[]){1, 1, c.ny, c.nx, nc}[j]);
		in = kb_contract(&at, &c);
		y = kx_var(k, c.var[2]);
		place = kx_mul(k, kx_div(k, kx_var(k, c.var[4]), lanes), i ? ny : rows);
		place = kx_add(k, place, i ? y : kx_add(k, y, kx_mul(k, first, -1)));
		place = kx_add(k, kx_mul(k, place, c.nx), kx_var(k, c.var[3]));
		place = kx_add(k, kx_mul(k, place, lanes), kx_mod(k, kx_var(k, c.var[4]), lanes));
		kb_store(&in, i ? out : scratch, place, NULL, kb_op(&in, K_product, EL_f32, -1, -1, -1));
		c = (KContract){.nb0 = 1, .nb1 = 1, .ny = ny, .nx = nx, .nc = nc, .nk = 1, .nky = taps, .nkx = taps, .sy = s, .sx = s,
		                .dy = 1, .dx = 1, .py = pad, .px = pad, .in_y = h, .in_x = w, .group_c = 1, .group_k = 1, .dot = 1,
		                .a_arg = scratch, .b_arg = 2, .a.elem = EL_f32, .a.block = lanes, .a.x = lanes, .a.y = w * lanes,
		                .a.blk = rows * w * lanes, .a.k = 1, .a_at = kx_mul(k, first, -w * lanes), .b.elem = EL_f32,
		                .b.packed = true};
	}
	kb_finish(k);
	return k;
}

/* The scratch memory that tasks need, and nothing behind it. */
typedef struct Scratch { void *map, *at; size_t whole; } Scratch;

static Scratch scratch_new(const MloKernel *k)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (size_t)mlo_kernel_scratch(k), whole = (n + page - 1) / page * page;
	Scratch s = {.whole = whole + page};
	char *m = mmap(NULL, s.whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_FATAL(m != MAP_FAILED);
	mprotect(m + whole, page, PROT_NONE);
	memset(m, 0xa5, whole);
	s.map = m;
	s.at = m + whole - n;
	return s;
}

/* All three inputs are tame: kernel_buffers_new() fills the last three with small integers. */
static bool agrees(MloArena *a, const MloKernel *k, KernelFn *fn, uint64_t seed, MloDiag *d)
{
	KernelBuffers got = kernel_buffers_new(a, k, seed, seed & 1), want = kernel_buffers_new(a, k, seed, seed & 1);
	Scratch scratch = scratch_new(k);
	int out = (int)k->arg.n - 1;
	bool ok;

	if (k->body->kind == KS_CONTRACT && mlo_contract_sum(k->body->contract) == EL_i32) {
		fill_bytes(k, k->body->contract, &got, seed);
		fill_bytes(k, k->body->contract, &want, seed);
	}
	if (k->body->kind == KS_CONTRACT && k->body->contract->scale.on) {
		fill_scale(k, k->body->contract, &got, seed);
		fill_scale(k, k->body->contract, &want, seed);
	}
	ok = mlo_kernel_interp(k, want.arg, 0, k->ntasks, d) == MLO_OK;
	for (int64_t t = k->ntasks; ok && t-- > 0 && seed & 2;)
		fn(got.arg, t, t + 1, scratch.at);
	if (ok && !(seed & 2))
		fn(got.arg, 0, k->ntasks, scratch.at);
	for (int64_t i = 0; ok && i < k->arg.items[out].count; i++)
		if (!same(k->arg.items[out].elem, got.arg[out], want.arg[out], i)) {
			printf("\n  seed %llu: [%lld] is not as expected", (unsigned long long)seed, (long long)i);
			ok = false;
		}
	kernel_buffers_free(&got);
	kernel_buffers_free(&want);
	munmap(scratch.map, scratch.whole);
	return ok;
}

typedef MloKernel *NewKernel(MloArena *a, uint64_t seed, const MloTarget *t);

static void check_text(MloArena *a, const MloKernel *k)
{
	MloStr s = {.arena = a}, again = {.arena = a};
	MloDiag d = {0};
	MloKernel *back;

	mlo_kernel_print(&s, k, true);
	back = mlo_kernel_parse(a, s.s, s.n, &d);
	if (!back)
		mlo_diag_print(&d, mlo_str_text(&s), stdout);
	CU_ASSERT_PTR_NOT_NULL_FATAL(back);
	mlo_kernel_print(&again, back, true);
	CU_ASSERT_STRING_EQUAL(mlo_str_text(&s), mlo_str_text(&again));
	mlo_diag_free(&d);
}

static void differential(const MloTarget *t, uint64_t first, NewKernel *make)
{
	MloArena *a = mlo_arena_new();
	MloKernel *k[KERNELS];
	KernelImage im;
	MloDiag d = {0};
	int bad = 0;

	for (int i = 0; i < KERNELS; i++) {
		k[i] = make(a, first + (uint64_t)i, t);
		check_text(a, k[i]);
		CU_ASSERT_EQUAL(mlo_kernel_verify(k[i], &d), MLO_OK);
	}
	if (!kernel_image_load(&im, t, k, KERNELS, &d)) {
		mlo_diag_print(&d, "test", stdout);
		CU_FAIL_FATAL("compilation failed");
	}
	for (int i = 0; i < KERNELS && bad < 3; i++)
		if (!agrees(a, k[i], im.fn[i], first + (uint64_t)i, &d)) {
			MloStr s = {.arena = a};
			mlo_kernel_print(&s, k[i], true);
			printf("\n%s", mlo_str_text(&s));
			bad++;
		}
	CU_ASSERT_EQUAL(bad, 0);
	mlo_diag_print(&d, "test", stdout);
	kernel_image_free(&im);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

static void native(void)
{
	differential(kernel_test_target(0), kernel_test_seed(100), random_contract);
}

static void tiles(void)
{
	for (uint64_t i = 0; i < 4; i++)
		differential(kernel_tile_target(), kernel_test_seed(500) + i * KERNELS, random_contract);
}

static void pairs(void)
{
	for (uint64_t i = 0; i < 4; i++)
		differential(kernel_pair_target(), kernel_test_seed(900) + i * KERNELS, random_contract);
}

/* For the target itself: instructions of the unit between its configuration and release, that LLVM's assembler takes. */
static void tiles_assemble(void)
{
	static const char *const wanted[] = {"\tldtilecfg", "\ttilezero", "\ttileloadd", "\ttdpbusd", "\ttdpbssd", "\ttdpbf16ps",
	                                     "\ttilestored", "\ttilerelease"};
	const MloTarget *t = mlo_target_find("ml_m7i", NULL)->variant[0];
	LLVMContextRef ctx = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("tiles", ctx);
	MloArena *a = mlo_arena_new();
	MloBytes object = {0}, text = {0};
	MloDiag d = {0};

	CU_ASSERT_EQUAL_FATAL(mlo_object_prepare(t, m, &d), MLO_OK);
	for (int i = 0; i < KERNELS; i++)
		CU_ASSERT_EQUAL(mlo_emit_kernel(m, t, random_contract(a, 600 + (uint64_t)i, t), mlo_sprintf(a, "k%d", i), &d), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_object_emit(t, m, &object, &text, &d), MLO_OK);
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		CU_ASSERT_PTR_NOT_NULL(strstr((const char *)text.data, wanted[i]));
	free(object.data);
	free(text.data);
	LLVMDisposeModule(m);
	LLVMContextDispose(ctx);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

static void inside_native(void)
{
	differential(kernel_test_target(0), kernel_test_seed(300), random_inside);
}

static void inside_baseline(void)
{
	differential(kernel_test_target(1), kernel_test_seed(400), random_inside);
}

static void bands_native(void)
{
	differential(kernel_test_target(0), kernel_test_seed(700), random_bands);
}

static void bands_baseline(void)
{
	differential(kernel_test_target(1), kernel_test_seed(800), random_bands);
}

/* Where a contraction may stand, and what it may name there. */
static void misplaced(void)
{
	static const char form[] =
		"kernel wrong(in f32[8], in f32[8], out f32[4]) vars(2, 1, 1, 1, 2, 2, 2) { %%s"
		" contract nb0=1 nb1=1 ny=1 nx=2 nc=2 nk=2 nky=1 nkx=1 sy=1 sx=1 dy=1 dx=1 py=0 px=0 in_y=1 in_x=2 qx=0"
		" group_c=2 group_k=0 dot=1 a_arg=0 b_arg=1 a.elem=f32 a.flip=0 a.b0=0 a.b1=0 a.y=0 a.x=2 a.block=2 a.blk=0 a.k=1 b.elem=f32 b.packed=0 b.small=0 b.kept=0 b.patch=0 b.part=0"
		" b.b0=0 b.b1=0 b.k=2 zero.sums=0 zero.given=0 zero.s_arg=0 zero.z_arg=0 zero.at=0 scale.on=0 scale.g_arg=0 scale.b0=0 var[0]=%d var[1]=2 var[2]=3 var[3]=4 var[4]=5 lanes=4 vecs=1 cols=2 rows=1"
		" y_chunk=2 c_outer=1 wino=0 w_arg=0 c_chunk=0 depth=0 strips=0 sparse.spread=0 sparse.group=0 sparse.runs=0 sparse.i_arg=0 sparse.n_arg=0 %s { %%%%0 = product.f32 a2[v4*2 + v5] = %%%%0 } %%s }";
	static const struct { const char *open, *at, *close; int var; bool fine; } cases[] = {
		{"", "", "", 1, true},
		{"par v0 < 2 {", "a_at=v0*4 b_at=v0", "}", 1, true},
		{"", "a_at=4", "", 1, false},
		{"vec v0 < 2 {", "", "}", 1, false},
		{"par v0 < 2 {", "a_at=v6", "}", 1, false},
		{"par v0 < 2 {", "", "}", 0, false},
		{"par v0 < 2 {", "y_lo=v0 y_hi=v0 + 1", "}", 1, false}, /* columns, not rows */
		{"par v0 < 2 {", "y_lo=v0", "}", 1, false},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		MloArena *a = mlo_arena_new();
		MloStr half = {.arena = a}, s = {.arena = a};
		MloDiag d = {0};

		mlo_str_add(&half, form, cases[i].var, cases[i].at);
		mlo_str_add(&s, mlo_str_text(&half), cases[i].open, cases[i].close);
		CU_ASSERT_EQUAL(mlo_kernel_parse(a, s.s, s.n, &d) != NULL, cases[i].fine);
		mlo_diag_free(&d);
		mlo_arena_free(a);
	}
}

static void baseline(void)
{
	differential(kernel_test_target(1), kernel_test_seed(200), random_contract);
}

/* The levels between the two: with and without instructions for several products at once. */
static void levels(void)
{
	const MloTargetSet *set = mlo_target_find(kernel_test_target(0)->arch, NULL);

	for (const MloTarget *const *v = set->variant; *v && v[1]; v++)
		if (mlo_target_runs_here(*v, NULL, 0))
			differential(*v, kernel_test_seed(500), random_contract);
}

/* The interpreter itself, against the definition of a 3x3 convolution. */
static void interpreter(void)
{
	enum { Y = 4, X = 5, K = 3, C = 2 };
	static const char text[] =
		"kernel conv(in f32[60], in f32[108], out f32[40]) vars(1, 1, 4, 5, 2) {"
		" contract nb0=1 nb1=1 ny=4 nx=5 nc=2 nk=3 nky=3 nkx=3 sy=1 sx=1 dy=1 dx=1 py=1 px=1 in_y=4 in_x=5 qx=0"
		" group_c=2 group_k=0 dot=1 a_arg=0 b_arg=1 a.elem=f32 a.flip=0 a.b0=0 a.b1=0 a.y=15 a.x=3 a.block=3 a.blk=0 a.k=1 b.elem=f32 b.packed=1 b.small=0 b.kept=0 b.patch=0 b.part=0"
		" b.b0=0 b.b1=0 b.k=0 zero.sums=0 zero.given=0 zero.s_arg=0 zero.z_arg=0 zero.at=0 scale.on=0 scale.g_arg=0 scale.b0=0 var[0]=0 var[1]=1 var[2]=2 var[3]=3 var[4]=4 lanes=4 vecs=1 cols=4 rows=1"
		" y_chunk=3 c_outer=1 wino=0 w_arg=0 c_chunk=0 depth=0 strips=0 sparse.spread=0 sparse.group=0 sparse.runs=0 sparse.i_arg=0 sparse.n_arg=0 { %0 = product.f32 a2[v2*10 + v3*2 + v4] = %0 } }";
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloKernel *k = mlo_kernel_parse(a, text, sizeof text - 1, &d);
	float in[Y][X][K], w[9][K][4] = {0}, out[Y][X][C];

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	for (int i = 0; i < Y * X * K; i++)
		(&in[0][0][0])[i] = (float)(i * 7 % 11) - 5;
	for (int i = 0; i < 9 * K * C; i++)
		w[i / (K * C)][i / C % K][i % C] = (float)(i * 5 % 13) - 6;
	CU_ASSERT_EQUAL(mlo_kernel_interp(k, (void *[]){in, w, out}, 0, k->ntasks, &d), MLO_OK);
	for (int o = 0; o < Y * X * C; o++) {
		int y = o / (X * C), x = o / C % X, c = o % C;
		float sum = 0;

		for (int t = 0; t < 9 * K; t++) {
			int iy = y + t / (3 * K) - 1, ix = x + t / K % 3 - 1;
			if (iy >= 0 && iy < Y && ix >= 0 && ix < X)
				sum += in[iy][ix][t % K] * w[t / K][t % K][c];
		}
		CU_ASSERT_EQUAL(out[y][x][c], sum);
	}
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

void suite_kernel_contract(void);
void suite_kernel_contract(void)
{
	CU_pSuite s = CU_add_suite("kernel_contract", NULL, NULL);

	CU_add_test(s, "the interpreter convolves", interpreter);
	CU_add_test(s, "random contractions, native", native);
	CU_add_test(s, "random contractions, baseline", baseline);
	CU_add_test(s, "random contractions, levels between", levels);
	CU_add_test(s, "random contractions, matrix unit", tiles);
	CU_add_test(s, "instructions of the matrix unit", tiles_assemble);
	CU_add_test(s, "random contractions, products of matrices in registers", pairs);
	CU_add_test(s, "contractions inside of loops, native", inside_native);
	CU_add_test(s, "contractions inside of loops, baseline", inside_baseline);
	CU_add_test(s, "bands of rows, native", bands_native);
	CU_add_test(s, "bands of rows, baseline", bands_baseline);
	CU_add_test(s, "contractions in the wrong place", misplaced);
}
