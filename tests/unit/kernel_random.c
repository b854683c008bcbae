/* tests/unit/kernel_random.c -- random small kernels and buffers for them. */
#include "tests/unit/kernel_random.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_LOOPS = 4, POOL = 40, TAME = 8 /* below: any content; from here on: small integers */ };
static const MloElem types[] = {EL_f32, EL_f32, EL_f32, EL_i32, EL_u8, EL_i8, EL_f64, EL_i64, EL_u32, EL_i16, EL_u16,
                                EL_u64, EL_f16, EL_bf16, EL_bool};
enum { NTYPES = sizeof types / sizeof *types };

typedef struct Gen {
	MloKernel *k;
	KernelRandom r;
	int var[MAX_LOOPS], nvar;     /* open loops, outermost first */
	int64_t extent[MAX_LOOPS];
	int pool[POOL], npool;        /* values that can be used here */
	bool raw[POOL];               /* loaded: never a negative zero */
	bool fma;
} Gen;

static uint32_t rnd(Gen *g, uint32_t n)
{
	return kernel_random(&g->r, n);
}

/* -- indices ------------------------------------------------------------------------------------- */

static const KIdx *random_index(Gen *g)
{
	const KIdx *x = kx_const(g->k, rnd(g, 3));

	for (int i = 0; i < g->nvar; i++) {
		static const int64_t strides[] = {0, 1, 1, 1, 2, 3, 16, 7};
		int64_t s = i == g->nvar - 1 ? strides[rnd(g, 8)] : rnd(g, 5);
		const KIdx *v = kx_var(g->k, g->var[i]);
		uint32_t form = rnd(g, 8);
		int64_t c = 1 + rnd(g, rnd(g, 2) ? 20 : 4) * (rnd(g, 2) ? 1 : 8);

		if (form == 0)
			v = kx_div(g->k, kx_add(g->k, v, kx_const(g->k, rnd(g, 4))), c);
		else if (form == 1)
			v = kx_mod(g->k, kx_mul(g->k, v, 1 + rnd(g, 3)), c);
		else if (form == 2)
			v = kx_add(g->k, kx_const(g->k, g->extent[i] - 1), kx_mul(g->k, v, -1));
		else if (form == 3)
			v = kx_min(g->k, v, kx_const(g->k, c));
		else if (form == 4)
			v = kx_add(g->k, kx_mul(g->k, kx_div(g->k, v, c), c + 1), kx_mod(g->k, v, c));
		x = kx_add(g->k, x, kx_mul(g->k, v, s));
	}
	return x;
}

static void need(Gen *g, int arg, const KIdx *x)
{
	int64_t lo, hi;

	kx_range(g->k, x, &lo, &hi);
	if (hi + 1 > g->k->arg.items[arg].count)
		g->k->arg.items[arg].count = hi + 1;
}

static int new_arg(Gen *g, MloElem t)
{
	return mlo_kernel_arg(g->k, KA_IN, t, 1);
}

static int load(Gen *g, KCursor *at, int arg)
{
	const KIdx *x = random_index(g);
	KGuard *guard = NULL;
	int64_t lo, hi;

	if (rnd(g, 3) == 0) { /* x shifted, half of it out of bounds */
		kx_range(g->k, x, &lo, &hi);
		guard = MLO_NEW(g->k->arena, KGuard);
		x = kx_add(g->k, x, kx_const(g->k, -(int64_t)rnd(g, 3)));
		guard->e = x;
		guard->extent = 1 + rnd(g, (uint32_t)hi + 2);
		if (guard->extent > g->k->arg.items[arg].count)
			g->k->arg.items[arg].count = guard->extent;
	} else {
		need(g, arg, x);
	}
	return kb_load(at, arg, x, guard, rnd(g, 3) ? 0 : 7);
}

/* -- values ------------------------------------------------------------------------------------------ */

static MloElem type_of(Gen *g, int v)
{
	return g->k->value.items[v].type;
}

static void push(Gen *g, int v, bool raw)
{
	if (g->npool < POOL) {
		g->raw[g->npool] = raw;
		g->pool[g->npool++] = v;
	}
}

/* A value of type t: from the pool, or a cast of one. */
static int operand(Gen *g, KCursor *at, MloElem t)
{
	int v;

	for (int i = 0; i < 4; i++) {
		v = g->pool[rnd(g, (uint32_t)g->npool)];
		if (type_of(g, v) == t)
			return v;
	}
	v = g->pool[rnd(g, (uint32_t)g->npool)];
	return type_of(g, v) == t ? v : kb_op(at, K_cast, t, v, -1, -1);
}

static int divisor(Gen *g, KCursor *at, MloElem t)
{
	for (int i = 0; i < g->npool; i++)
		if (g->raw[i] && type_of(g, g->pool[i]) == t)
			return g->pool[i];
	return mlo_elem_is_float(t) ? kb_const_f(at, t, 3) : kb_const_i(at, t, rnd(g, 4));
}

static int random_op(Gen *g, KCursor *at)
{
	static const KOp two[] = {K_add, K_sub, K_mul, K_min, K_max},
			 one[] = {K_neg, K_abs, K_sign, K_floor, K_ceil, K_rint};
	static const KOp by[] = {K_div, K_mod, K_fmod}, cmp[] = {K_eq, K_lt, K_le}, bits[] = {K_and, K_or, K_xor};
	MloElem t = type_of(g, g->pool[rnd(g, (uint32_t)g->npool)]);
	uint32_t form = rnd(g, 12);
	int a = operand(g, at, t), b = operand(g, at, t);

	if (form == 0)
		return kb_op(at, cmp[rnd(g, 3)], EL_bool, a, b, -1);
	if (form == 1)
		return kb_op(at, K_select, t, operand(g, at, EL_bool), a, b);
	if (form == 2)
		return kb_op(at, K_cast, mlo_kernel_load_type(types[rnd(g, NTYPES)]), a, -1, -1);
	if (!mlo_elem_is_float(t) && (form == 3 || t == EL_bool))
		return rnd(g, 4) ? kb_op(at, bits[rnd(g, 3)], t, a, b, -1) : kb_op(at, K_not, t, a, -1, -1);
	if (form == 4)
		return kb_op(at, one[rnd(g, 6)], t, a, -1, -1);
	if (form == 5)
		return kb_op(at, by[rnd(g, 3)], t, a, divisor(g, at, t), -1);
	if (form == 6 && (g->fma || !mlo_elem_is_float(t)))
		return kb_op(at, K_fma, t, a, b, operand(g, at, t));
	if (form == 7 && mlo_elem_is_float(t))
		return kb_op(at, K_sqrt, t, a, -1, -1);
	if (form == 7 && t == EL_i32 && rnd(g, 4) == 0)
		return kb_op(at, K_pow, t, a, b, -1);
	return kb_op(at, two[rnd(g, 5)], t, a, b, -1);
}

static void compute(Gen *g, KCursor *at, int loads, int nops)
{
	for (int i = 0; i < loads; i++)
		push(g, load(g, at, (int)rnd(g, (uint32_t)g->k->arg.n - 3)), true);
	if (rnd(g, 3) == 0)
		push(g, kb_index(at, rnd(g, 2) ? EL_i32 : EL_f32, random_index(g)), false);
	if (rnd(g, 4) == 0) { /* data-dependent index: argument n-3 holds numbers below 8 */
		int arg = (int)g->k->arg.n - 3, src = (int)rnd(g, (uint32_t)arg), v = load(g, at, arg);
		const KIdx *x = kx_add(g->k, kx_value(g->k, v), kx_const(g->k, rnd(g, 3)));

		if (g->k->arg.items[src].count < 16)
			g->k->arg.items[src].count = 16;
		push(g, kb_load(at, src, x, NULL, 0), true);
	}
	for (int i = 0; i < nops; i++)
		push(g, random_op(g, at), false);
}

/* -- results ------------------------------------------------------------------------------------------- */

static const KIdx *out_index(Gen *g)
{
	const KIdx *x = kx_const(g->k, 0);

	for (int i = 0; i < g->nvar; i++)
		x = kx_add(g->k, kx_mul(g->k, x, g->extent[i]), kx_var(g->k, g->var[i]));
	return x;
}

static void store(Gen *g, KCursor *at, int v)
{
	int64_t stride = rnd(g, 4) ? 1 : 1 + rnd(g, 3);
	static const MloElem narrow[] = {EL_f32, EL_f16, EL_bf16};
	const KIdx *x = kx_mul(g->k, out_index(g), stride);
	KGuard *guard = NULL;
	MloElem t = type_of(g, v);
	int arg = mlo_kernel_arg(g->k, KA_OUT, t == EL_f32 ? narrow[rnd(g, 3)] : t, 1);

	need(g, arg, x);
	if (rnd(g, 5) == 0) {
		guard = MLO_NEW(g->k->arena, KGuard);
		guard->e = random_index(g);
		guard->extent = 1 + rnd(g, 20);
	}
	kb_store(at, arg, x, guard, v);
}

/* -- nests ------------------------------------------------------------------------------------------------ */

static KCursor open_loop(Gen *g, KCursor *at, KLoopKind kind, uint32_t max)
{
	int64_t n = 1 + rnd(g, max);
	int v;
	KCursor in = kb_loop(at, kind, kx_const(g->k, n), &v);

	g->var[g->nvar] = v;
	g->extent[g->nvar++] = n;
	return in;
}

/* acc = ...; loop { acc op= value }; the values accumulate exactly in any order. */
static int reduce(Gen *g, KCursor *at, KLoopKind kind, uint32_t max, MloElem t)
{
	static const KOp ops[] = {K_add, K_max, K_min, K_mul};
	KOp op = ops[rnd(g, mlo_elem_is_float(t) ? 3 : 4)];
	int tame = (int)g->k->arg.n - 2, acc, v, keep = g->npool;
	KCursor in;

	acc = kb_acc_init(at, mlo_elem_is_float(t) ? kb_const_f(at, t, 1) : kb_const_i(at, t, 1));
	in = open_loop(g, at, kind, max);
	v = load(g, &in, tame + (int)rnd(g, 2));
	if (op == K_max || op == K_min)
		push(g, v, true), compute(g, &in, 1, 2), v = operand(g, &in, t);
	else if (rnd(g, 2))
		v = kb_op(&in, K_mul, type_of(g, v), v, v, -1);
	if (type_of(g, v) != t)
		v = kb_op(&in, K_cast, t, v, -1, -1);
	kb_acc(&in, acc, op, v);
	g->nvar--;
	g->npool = keep;
	return kb_accum(at, acc, t);
}

static int finish_value(Gen *g, KCursor *at, bool *approx)
{
	static const KOp fn[] = {K_exp, K_log, K_tanh, K_erf, K_sigmoid};
	int v = g->pool[g->npool - 1];

	*approx = rnd(g, 4) == 0;
	if (!*approx)
		return v;
	v = operand(g, at, EL_f32);
	return kb_op(at, fn[rnd(g, 5)], EL_f32, v, -1, -1);
}

/* An index that grows by 1 with the inner loop and by a whole row with the outer one, or the other way round. */
static const KIdx *crossed_index(Gen *g, bool by_columns)
{
	const int s = g->nvar - 2, v = g->nvar - 1, fast = by_columns ? s : v, slow = by_columns ? v : s;
	const KIdx *x = kx_const(g->k, 0);

	for (int i = 0; i < s; i++)
		x = kx_add(g->k, kx_mul(g->k, x, g->extent[i]), kx_var(g->k, g->var[i]));
	x = kx_add(g->k, kx_mul(g->k, x, g->extent[slow]), kx_var(g->k, g->var[slow]));
	x = kx_add(g->k, kx_mul(g->k, x, g->extent[fast]), kx_var(g->k, g->var[fast]));
	return kx_add(g->k, x, kx_const(g->k, rnd(g, 3)));
}

static const KGuard *crossed_guard(Gen *g)
{
	const int i = g->nvar - 1 - (int)rnd(g, 2);
	KGuard *guard;

	if (rnd(g, 3))
		return NULL;
	guard = MLO_NEW(g->k->arena, KGuard);
	guard->e = kx_add(g->k, kx_var(g->k, g->var[i]), kx_const(g->k, -(int64_t)rnd(g, 2)));
	guard->extent = 1 + rnd(g, (uint32_t)g->extent[i]);
	return guard;
}

/* Two loops over memory that is read, written or both along the outer one. */
static void crossing(Gen *g, KCursor at)
{
	static const uint32_t sizes[] = {16, 19, 40, 61};
	const int args = (int)g->k->arg.n - 3, keep = g->npool;
	KCursor outer = open_loop(g, &at, KL_SEQ, sizes[rnd(g, 4)]), in;
	int first = rnd(g, 2) ? load(g, &outer, (int)rnd(g, (uint32_t)args)) : -1, arg, v;
	const KIdx *x;

	in = open_loop(g, &outer, KL_VEC, sizes[rnd(g, 4)] + 3);
	for (int i = 0; i < 2; i++) {
		x = crossed_index(g, rnd(g, 2));
		arg = (int)rnd(g, (uint32_t)args);
		need(g, arg, x);
		push(g, kb_load(&in, arg, x, crossed_guard(g), rnd(g, 3) ? 0 : 7), true);
	}
	if (first >= 0)
		push(g, first, true);
	for (int i = (int)rnd(g, 4); i > 0; i--)
		push(g, random_op(g, &in), false);
	v = g->pool[g->npool - 1];
	x = crossed_index(g, rnd(g, 2));
	arg = mlo_kernel_arg(g->k, KA_OUT, type_of(g, v), 1);
	need(g, arg, x);
	kb_store(&in, arg, x, crossed_guard(g), v);
	g->npool = keep;
}

static void nest(Gen *g, KCursor at, bool *approx)
{
	static const uint32_t sizes[] = {3, 17, 40, 70, 200};
	uint32_t size = sizes[rnd(g, 5)], form = rnd(g, 5);
	static const MloElem sums[] = {EL_f32, EL_i32, EL_f64, EL_i64};
	MloElem t = sums[rnd(g, 4)];
	KCursor in;

	for (int n = (int)rnd(g, 3); n > 0; n--)
		at = open_loop(g, &at, KL_PAR, 4);
	if (form == 4) {
		*approx = false;
		crossing(g, at);
		return;
	}
	if (form == 1) { /* reduce a row, then map it: a normalisation */
		push(g, reduce(g, &at, KL_VEC, size, t), false);
		in = open_loop(g, &at, rnd(g, 3) ? KL_VEC : KL_SEQ, size);
	} else if (form == 2) {
		in = open_loop(g, &at, KL_VEC, size);
		push(g, reduce(g, &in, KL_SEQ, 5, t), false);
	} else if (form == 3) {
		in = open_loop(g, &at, KL_SEQ, 4);
		at = in;
		in = open_loop(g, &at, KL_VEC, size);
	} else {
		in = open_loop(g, &at, KL_VEC, size);
	}
	compute(g, &in, 2, (int)rnd(g, 8));
	store(g, &in, finish_value(g, &in, approx));
}

MloKernel *kernel_random_new(MloArena *a, uint64_t seed, bool fma, bool *approx)
{
	Gen g = {.k = mlo_kernel_new(a, "random"), .r = {seed}, .fma = fma};
	int n = 1 + (int)rnd(&g, 3);

	for (int i = 0; i < n; i++)
		new_arg(&g, types[rnd(&g, NTYPES)]);
	new_arg(&g, rnd(&g, 2) ? EL_i32 : EL_i64); /* indices */
	new_arg(&g, EL_f32);                       /* tame */
	new_arg(&g, EL_i32);
	nest(&g, kb_top(g.k), approx);
	kb_finish(g.k);
	return g.k;
}

/* -- buffers ------------------------------------------------------------------------------------------------- */

static void fill(KernelRandom *r, MloElem t, bool tame, unsigned char *p)
{
	static const float odd[] = {INFINITY, -INFINITY, NAN,   1e30f, -3e-40f, 0.5f,
				    2.5f,     -1.5f,     70000, 3e9f,  -0.25f,  1e-6f};
	double v = (double)kernel_random(r, 17) - 8;
	uint64_t bits = (uint64_t)kernel_random(r, UINT32_MAX) << 32 | kernel_random(r, UINT32_MAX);
	uint32_t w;
	float f;

	if (tame && t != EL_f32)
		bits = kernel_random(r, 8);
	else if (kernel_random(r, 3) == 0)
		bits = kernel_random(r, 4) - 2u;
	if (!tame && kernel_random(r, 4) == 0)
		v = odd[kernel_random(r, sizeof odd / sizeof *odd)];
	else if (!tame && kernel_random(r, 2))
		v = v * 0.37;
	f = (float)v;
	memcpy(&w, &f, 4);
	if (t == EL_f32)
		bits = w;
	else if (t == EL_bf16)
		bits = w >> 16;
	else if (t == EL_f16) /* any pattern but a negative zero */
		bits = (bits & 0xffff) == 0x8000 ? 0 : bits;
	else if (t == EL_f64)
		memcpy(&bits, &v, 8);
	else if (t == EL_bool)
		bits &= 1;
	memcpy(p, &bits, mlo_elem_bits(t) / 8);
}

KernelBuffers kernel_buffers_new(MloArena *a, const MloKernel *k, uint64_t seed, bool low)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	KernelBuffers b = {.n = (int)k->arg.n};
	KernelRandom r = {seed};
	int ninputs = 0;

	b.arg = MLO_NEWN(a, void *, k->arg.n);
	b.map = MLO_NEWN(a, void *, k->arg.n);
	b.bytes = MLO_NEWN(a, size_t, k->arg.n);
	for (int i = 0; i < b.n; i++)
		ninputs += k->arg.items[i].dir == KA_IN;
	for (int i = 0; i < b.n; i++) {
		const KArg *arg = &k->arg.items[i];
		size_t size = mlo_elem_bits(arg->elem) / 8, n = (size_t)arg->count * size,
		       whole = (n + page - 1) / page * page;
		unsigned char *m = mmap(NULL, whole + 2 * page, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		mprotect(m, page, PROT_NONE);
		mprotect(m + page + whole, page, PROT_NONE);
		memset(m + page, 0xa5, whole);
		b.map[i] = m;
		b.bytes[i] = whole;
		b.arg[i] = m + page + (low ? 0 : whole - n);
		for (int64_t j = 0; j < arg->count && arg->dir == KA_IN; j++)
			fill(&r, arg->elem, i >= ninputs - 3, (unsigned char *)b.arg[i] + (size_t)j * size);
	}
	return b;
}

void kernel_buffers_free(KernelBuffers *b)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (int i = 0; i < b->n; i++)
		munmap(b->map[i], b->bytes[i] + 2 * page);
}

double kernel_number(MloElem t, const void *p)
{
	uint32_t w = 0;
	uint16_t h = 0;
	double d;
	float f;

	if (t == EL_f64) {
		memcpy(&d, p, 8);
		return d;
	}
	if (t == EL_f32 || t == EL_tf32) {
		memcpy(&f, p, 4);
		return f;
	}
	memcpy(&h, p, 2);
	if (t == EL_bf16) {
		w = (uint32_t)h << 16;
		memcpy(&f, &w, 4);
		return f;
	}
	d = (h >> 10 & 31) == 31 ? (h & 1023 ? NAN : INFINITY)
	    : h >> 10 & 31 ? ldexp((h & 1023) + 1024, (h >> 10 & 31) - 25) : ldexp(h & 1023, -24);
	return h >> 15 ? -d : d;
}
