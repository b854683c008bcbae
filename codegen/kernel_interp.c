/* codegen/kernel_interp.c -- runs kernels plainly, checking every access.
 *
 * The definition of what a kernel means: emission is tested against it.  Float arithmetic rounds to
 * the value's type after every operation; vec and par loops run in order. */
#include <math.h>
#include <string.h>

#include "codegen/forest.h"
#include "codegen/kept.h"
#include "codegen/kernel_text.h"
#include "codegen/patch.h"
#include "codegen/sparse.h"
#include "codegen/winograd.h"
#include "ir/exec.h"

typedef union Cell {
	double f;   /* f32 values are kept rounded */
	int64_t i;  /* integers sign- or zero-extended, u64 as its bits; bool 0 or 1 */
} Cell;

typedef struct Interp {
	const MloKernel *k;
	MloArena *a;
	unsigned char **mem;   /* per argument, scratch included */
	Cell *val, *acc;
	int64_t *var;
	const int64_t *size;
	int64_t *count;        /* per argument */
	Cell product;
	MloDiag *d;
	bool failed;
} Interp;

static MloElem type_of(const Interp *p, int value)
{
	return p->k->value.items[value].type;
}

static void fail(Interp *p, const char *what, int arg, int64_t i)
{
	if (!p->failed)
		mlo_error(p->d, MLO_ERR_INTERNAL, "kernel '%s': %s a%d[%lld] of %lld elements", p->k->name, what,
		          arg, (long long)i, (long long)p->count[arg]);
	p->failed = true;
}

/* -- numbers ---------------------------------------------------------------------------------------- */

static double round_to(MloElem t, double v)
{
	return t == EL_f32 ? (double)(float)v : v;
}

/* The low bits of v as a number of integer type t. */
static int64_t wrap(MloElem t, uint64_t v)
{
	unsigned bits = mlo_elem_bits(t), up = 64 - bits;

	if (t == EL_bool)
		return v != 0;
	return mlo_elem_class(t) == EC_INT ? (int64_t)(v << up) >> up : (int64_t)(v << up >> up);
}

static int64_t saturate(MloElem t, double v)
{
	unsigned bits = mlo_elem_bits(t);
	bool sign = mlo_elem_class(t) == EC_INT;
	double top = ldexp(1, (int)bits - sign), bottom = sign ? -top : 0;

	if (isnan(v))
		return 0;
	v = trunc(v);
	if (v >= top)
		return sign ? (int64_t)(UINT64_MAX >> (65 - bits)) : (int64_t)(UINT64_MAX >> (64 - bits));
	if (v < bottom)
		return sign ? -(int64_t)(UINT64_MAX >> (65 - bits)) - 1 : 0;
	return sign ? (int64_t)v : (int64_t)(uint64_t)v;
}

static Cell convert(MloElem from, MloElem to, Cell v)
{
	bool wide = from == EL_u64;

	if (from == to)
		return v;
	if (mlo_elem_is_float(from)) {
		if (to == EL_bool)
			return (Cell){.i = v.f != 0};
		return mlo_elem_is_float(to) ? (Cell){.f = round_to(to, v.f)} : (Cell){.i = saturate(to, v.f)};
	}
	if (to == EL_f32)
		return (Cell){.f = wide ? (float)(uint64_t)v.i : (float)v.i};
	if (to == EL_f64)
		return (Cell){.f = wide ? (double)(uint64_t)v.i : (double)v.i};
	return (Cell){.i = to == EL_bool ? v.i != 0 : wrap(to, (uint64_t)v.i)};
}

/* -- memory ------------------------------------------------------------------------------------------- */

static float f16_to_f32(uint16_t h)
{
	int e = h >> 10 & 31, m = h & 1023;
	float v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexpf((float)(m + 1024), e - 25) : ldexpf((float)m, -24);

	return h >> 15 ? -v : v;
}

static uint16_t f32_to_f16(float f)
{
	uint16_t sign = signbit(f) ? 0x8000 : 0;
	double a = fabs((double)f), unit;
	int e;

	if (isnan(f))
		return sign | 0x7e00;
	if (a >= 65520)
		return sign | 0x7c00;
	frexp(a, &e);
	e = e < -13 ? -13 : e;
	unit = ldexp(1, e - 11);
	a = nearbyint(a / unit);
	return (uint16_t)(sign | (a < 1024 ? (int)a : ((e + 13) << 10) + (int)a));
}

static Cell load_elem(MloElem t, const unsigned char *p)
{
	uint64_t bits = 0;
	uint32_t w;
	float f;
	double g;

	memcpy(&bits, p, mlo_elem_bits(t) / 8);
	if (t == EL_f32 || t == EL_tf32 || t == EL_bf16) {
		w = (uint32_t)(t == EL_bf16 ? bits << 16 : bits);
		memcpy(&f, &w, 4);
		return (Cell){.f = f};
	}
	if (t == EL_f16)
		return (Cell){.f = f16_to_f32((uint16_t)bits)};
	if (t == EL_f64) {
		memcpy(&g, &bits, 8);
		return (Cell){.f = g};
	}
	return (Cell){.i = wrap(t, bits)};
}

static void store_elem(MloElem t, unsigned char *p, Cell v)
{
	uint64_t bits = (uint64_t)v.i;
	uint32_t w;
	float f;

	if (t == EL_f32 || t == EL_tf32 || t == EL_bf16) {
		f = t == EL_tf32 ? mlo_round_tf32((float)v.f) : (float)v.f;
		memcpy(&w, &f, 4);
		bits = w;
		if (t == EL_bf16)
			bits = isnan(f) ? (w >> 16 | 0x40) : (w + 0x7fff + (w >> 16 & 1)) >> 16;
	} else if (t == EL_f16) {
		bits = f32_to_f16((float)v.f);
	} else if (t == EL_f64) {
		memcpy(&bits, &v.f, 8);
	}
	memcpy(p, &bits, mlo_elem_bits(t) / 8);
}

static unsigned char *element(Interp *p, int arg, int64_t i, const char *what)
{
	const KArg *a = &p->k->arg.items[arg];

	if (i < 0 || i >= p->count[arg]) {
		fail(p, what, arg, i);
		return NULL;
	}
	return p->mem[arg] + i * (mlo_elem_bits(a->elem) / 8);
}

/* -- expressions -------------------------------------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t c)
{
	return a / c - (a % c < 0);
}

/* A number of the kernel: itself, or a size. */
static int64_t number(const Interp *p, int64_t n)
{
	return n < 0 ? p->size[-1 - n] : n;
}

static int64_t idx(Interp *p, const KIdx *x)
{
	int64_t a, b;

	if (x->op == KI_CONST)
		return x->k;
	if (x->op == KI_VAR)
		return p->var[x->k];
	if (x->op == KI_VALUE)
		return p->val[x->k].i;
	if (x->op == KI_SIZE)
		return p->size[x->k];
	a = idx(p, x->a);
	b = x->b ? idx(p, x->b) : x->k;
	if (x->op == KI_MUL)
		return a * b;
	if (x->op == KI_DIV)
		return floor_div(a, b);
	if (x->op == KI_MOD)
		return a - floor_div(a, b) * b;
	return x->op == KI_ADD ? a + b : x->op == KI_MIN ? (a < b ? a : b) : (a > b ? a : b);
}

static bool guarded(Interp *p, const KGuard *g)
{
	for (; g; g = g->next) {
		int64_t v = idx(p, g->e);

		if (v < 0 || v >= number(p, g->extent))
			return false;
	}
	return true;
}

/* -- operations ------------------------------------------------------------------------------------------ */

static double float_op(KOp op, MloElem t, double a, double b, double c)
{
	double r;

	switch (op) {
	case K_add: return a + b;
	case K_sub: return a - b;
	case K_mul: return a * b;
	case K_div: return a / b;
	case K_fmod: return fmod(a, b);
	case K_mod:
		r = fmod(a, b);
		return r != 0 && (r < 0) != (b < 0) ? r + b : r;
	case K_fma: return fma(a, b, c);
	case K_min: return isnan(a) ? a : isnan(b) ? b : a < b ? a : b;
	case K_max: return isnan(a) ? a : isnan(b) ? b : a > b ? a : b;
	case K_pow: return pow(a, b);
	case K_neg: return -a;
	case K_abs: return fabs(a);
	case K_sign: return a > 0 ? 1 : a < 0 ? -1 : a;
	case K_floor: return floor(a);
	case K_ceil: return ceil(a);
	case K_rint: return nearbyint(a);
	case K_sqrt: return sqrt(a);
	case K_exp: return exp(a);
	case K_decay: return a < (t == EL_f32 ? -87 : -708) ? 0 : exp(a);
	case K_log: return log(a);
	case K_tanh: return tanh(a);
	case K_erf: return erf(a);
	case K_phi: return 0.5 + 0.5 * erf(a * 0.70710678118654752440);
	case K_sin: return sin(a);
	case K_cos: return cos(a);
	case K_sigmoid: return a < 0 ? exp(a) / (1 + exp(a)) : 1 / (1 + exp(-a));
	default: MLO_BUG("float operation %d", (int)op);
	}
}

static int64_t quotient(MloElem t, int64_t a, int64_t b)
{
	if (b == 0)
		return 0;
	if (mlo_elem_class(t) != EC_INT)
		return (int64_t)((uint64_t)a / (uint64_t)b);
	return b == -1 ? (int64_t)-(uint64_t)a : a / b;
}

static int64_t remainder_of(MloElem t, int64_t a, int64_t b)
{
	return b == 0 ? 0 : (int64_t)((uint64_t)a - (uint64_t)quotient(t, a, b) * (uint64_t)b);
}

static int64_t power(MloElem t, int64_t x, int64_t y)
{
	uint64_t r = 1, p = (uint64_t)x;

	if (mlo_elem_class(t) == EC_INT && y < 0)
		return x == 1 ? 1 : x == -1 ? (y & 1 ? -1 : 1) : 0;
	for (uint64_t n = (uint64_t)y; n; n >>= 1, p *= p)
		if (n & 1)
			r *= p;
	return (int64_t)r;
}

static int64_t int_op(KOp op, MloElem t, int64_t a, int64_t b, int64_t c)
{
	bool sign = mlo_elem_class(t) == EC_INT, less = sign ? a < b : (uint64_t)a < (uint64_t)b;
	int64_t r;

	switch (op) {
	case K_add: return (int64_t)((uint64_t)a + (uint64_t)b);
	case K_sub: return (int64_t)((uint64_t)a - (uint64_t)b);
	case K_mul: return (int64_t)((uint64_t)a * (uint64_t)b);
	case K_fma: return (int64_t)((uint64_t)a * (uint64_t)b + (uint64_t)c);
	case K_div: return quotient(t, a, b);
	case K_fmod: return remainder_of(t, a, b);
	case K_mod:
		r = remainder_of(t, a, b);
		return sign && r != 0 && (r < 0) != (b < 0) ? r + b : r;
	case K_min: return less ? a : b;
	case K_max: return less ? b : a;
	case K_pow: return power(t, a, b);
	case K_neg: return (int64_t)-(uint64_t)a;
	case K_abs: return sign && a < 0 ? (int64_t)-(uint64_t)a : a;
	case K_sign: return sign && a < 0 ? -1 : a != 0;
	case K_floor: case K_ceil: case K_rint: return a;
	case K_and: return a & b;
	case K_or: return a | b;
	case K_xor: return a ^ b;
	case K_not: return t == EL_bool ? !a : ~a;
	default: MLO_BUG("integer operation %d", (int)op);
	}
}

static bool compare(KOp op, MloElem t, Cell a, Cell b)
{
	bool eq, lt;

	if (mlo_elem_is_float(t)) {
		eq = a.f == b.f;
		lt = a.f < b.f;
	} else {
		eq = a.i == b.i;
		lt = mlo_elem_class(t) == EC_INT ? a.i < b.i : (uint64_t)a.i < (uint64_t)b.i;
	}
	return op == K_eq ? eq : op == K_lt ? lt : lt || eq;
}

static Cell operate(Interp *p, const KInst *in)
{
	int operand[3] = {in->a, in->b, in->c};
	Cell v[3] = {0};

	for (int i = 0; i < mlo_kop_operands[in->op]; i++)
		v[i] = p->val[operand[i]];
	if (in->op == K_cast)
		return convert(type_of(p, in->a), in->type, v[0]);
	if (in->op == K_select)
		return v[0].i ? v[1] : v[2];
	if (in->op == K_eq || in->op == K_lt || in->op == K_le)
		return (Cell){.i = compare(in->op, type_of(p, in->a), v[0], v[1])};
	if (!mlo_elem_is_float(in->type))
		return (Cell){.i = wrap(in->type, (uint64_t)int_op(in->op, in->type, v[0].i, v[1].i, v[2].i))};
	if (in->op == K_fma && in->type == EL_f32)
		return (Cell){.f = fmaf((float)v[0].f, (float)v[1].f, (float)v[2].f)};
	return (Cell){.f = round_to(in->type, float_op(in->op, in->type, v[0].f, v[1].f, v[2].f))};
}

static Cell load(Interp *p, const KInst *in)
{
	unsigned char *at;

	if (!guarded(p, in->guard))
		return mlo_elem_is_float(in->type) ? (Cell){.f = round_to(in->type, in->other)}
		                                   : (Cell){.i = wrap(in->type, (uint64_t)(int64_t)in->other)};
	at = element(p, in->arg, idx(p, in->idx), "reads");
	return at ? load_elem(p->k->arg.items[in->arg].elem, at) : (Cell){0};
}

static Cell value(Interp *p, const KInst *in)
{
	if (in->op == K_const)
		return mlo_elem_is_float(in->type) ? (Cell){.f = round_to(in->type, in->imm)}
		                                   : (Cell){.i = wrap(in->type, (uint64_t)in->ival)};
	if (in->op == K_index)
		return convert(EL_i64, in->type, (Cell){.i = idx(p, in->idx)});
	if (in->op == K_load)
		return load(p, in);
	if (in->op == K_accum)
		return p->acc[in->arg];
	if (in->op == K_product)
		return p->product;
	return operate(p, in);
}

/* -- statements ---------------------------------------------------------------------------------------- */

static void run(Interp *p, const KStmt *s);

static void accumulate(Interp *p, const KStmt *s)
{
	MloElem t = type_of(p, s->value);
	Cell a = p->acc[s->acc], b = p->val[s->value];

	if (mlo_elem_is_float(t))
		p->acc[s->acc].f = round_to(t, float_op(s->accop, t, a.f, b.f, 0));
	else
		p->acc[s->acc].i = wrap(t, (uint64_t)int_op(s->accop, t, a.i, b.i, 0));
}

static void contract_all(Interp *p, const KStmt *s);
static void attention(Interp *p, const KStmt *s);

static void statement(Interp *p, const KStmt *s)
{
	unsigned char *at;

	switch (s->kind) {
	case KS_LET:
		p->val[s->value] = value(p, &p->k->value.items[s->value]);
		break;
	case KS_STORE:
		if (!guarded(p, s->guard))
			break;
		at = element(p, s->arg, idx(p, s->idx), "writes");
		if (at)
			store_elem(p->k->arg.items[s->arg].elem, at, p->val[s->value]);
		break;
	case KS_LOOP:
		for (int64_t i = 0, n = idx(p, s->extent); i < n && !p->failed; i++) {
			p->var[s->var] = i;
			run(p, s->body);
		}
		break;
	case KS_ACC_INIT:
		p->acc[s->acc] = p->val[s->value];
		break;
	case KS_ACC:
		accumulate(p, s);
		break;
	case KS_CONTRACT:
		contract_all(p, s);
		break;
	case KS_ATTENTION:
		attention(p, s);
		break;
	default:
		MLO_BUG("statement kind %d inside a loop", (int)s->kind);
	}
}

static void run(Interp *p, const KStmt *s)
{
	for (; s && !p->failed; s = s->next)
		statement(p, s);
}

/* -- contractions ------------------------------------------------------------------------------------------ */

/* An element of A or B, or a zero point; integers too are exact in a double. */
static double contract_load(Interp *p, int arg, int64_t i)
{
	MloElem t = p->k->arg.items[arg].elem;
	unsigned char *at = element(p, arg, i, "reads");
	Cell v = at ? load_elem(t, at) : (Cell){0};

	return !at ? 0 : mlo_elem_is_float(t) ? v.f : (double)v.i;
}

/* One that is there or zero, of half of the terms. */
static double contract_kept(Interp *p, const KContract *c, int64_t channel, int64_t tap, int64_t k)
{
	int64_t w = (int64_t)c->vecs * c->lanes, size = mlo_elem_bits(c->b.elem) / 8;
	int64_t stage = (channel / w * c->nky * c->nkx + tap) * mlo_contract_steps(c) + k / c->dot, at = stage * kept_stage_bytes(c);
	unsigned char *meta;
	uint32_t word;
	int bit, which;

	meta = element(p, c->b_arg, (at + kept_meta_at(c, channel % w, k % c->dot, &bit)) / size, "reads");
	if (!meta)
		return 0;
	memcpy(&word, meta, sizeof word);
	which = kept_which(c, k, word >> bit & 15);
	return which < 0 ? 0 : contract_load(p, c->b_arg, (at + kept_term_at(c, channel % w, k % c->dot, which)) / size);
}

/* Where a weight is that is packed as a patch is read. */
static int64_t contract_patch(const KContract *c, int64_t channel, int64_t tap, int64_t k)
{
	int64_t w = (int64_t)c->vecs * c->lanes;
	Patch patch;

	MLO_ASSERT(patch_of(c, &patch)); /* mlo_kernel_verify() has asked */
	return channel / w * patch_elems(&patch, c) + patch_place(&patch, c, channel % w, k, tap / c->nkx, tap % c->nkx);
}

static double contract_term(Interp *p, const KContract *c, const int64_t *o, int64_t a, int64_t tap, int64_t k)
{
	int64_t kk = o[4] / c->group_c * c->group_k + k, w = (int64_t)c->vecs * c->lanes, b;
	double zero = (double)c->zero.at;

	a += kk / c->a.block * c->a.blk + kk % c->a.block * c->a.k + (c->a_at ? idx(p, c->a_at) : 0);
	if (c->b.patch)
		b = contract_patch(c, o[4], tap, k);
	else if (c->b.packed)
		b = ((o[4] / w * c->nky * c->nkx + tap) * mlo_contract_steps(c) + k / c->dot) * w * c->dot +
		    mlo_contract_place(c, o[4] % w, k % c->dot);
	else
		b = o[0] * c->b.b0 + o[1] * c->b.b1 + k * c->b.k + o[4];
	b += c->b_at ? idx(p, c->b_at) : 0;
	if (c->zero.given)
		zero += contract_load(p, c->zero.z_arg, 0);
	return (contract_load(p, c->a_arg, a) - zero) *
	       (c->b.kept ? contract_kept(p, c, o[4], tap, k) : contract_load(p, c->b_arg, b)) *
	       (c->scale.on ? contract_load(p, c->scale.g_arg, o[0] * c->scale.b0 + k) : 1);
}

static Cell contract_one(Interp *p, const KContract *c, const int64_t *o)
{
	double sum = 0;

	for (int64_t ky = 0; ky < c->nky; ky++)
		for (int64_t kx = 0; kx < c->nkx; kx++) {
			int64_t iy = o[2] * c->sy + ky * c->dy - c->py, ix = o[3] * c->sx + kx * c->dx - c->px;
			int64_t a = o[0] * c->a.b0 + o[1] * c->a.b1 + iy * c->a.y + ix * c->a.x;

			if (iy < 0 || iy >= c->in_y || ix < 0 || ix >= c->in_x)
				continue;
			for (int64_t k = 0; k < c->nk && !p->failed; k++)
				sum += contract_term(p, c, o, a, ky * c->nkx + kx, k);
		}
	if (mlo_contract_sum(c) == EL_i32)
		return (Cell){.i = wrap(EL_i32, (uint64_t)(int64_t)sum)};
	return (Cell){.f = (float)sum};
}

/* By sparse weights: those of a channel, run by run. */
static Cell contract_sparse(Interp *p, const KContract *c, const int64_t *o)
{
	int64_t rows = sparse_run_rows(c), width = sparse_width(c), plane = sparse_plane(c);
	double sum = 0, zero = (double)c->zero.at + (c->zero.given ? contract_load(p, c->zero.z_arg, 0) : 0);

	for (int64_t row = o[4] / c->sparse.group; row < sparse_rows(c); row += rows) {
		int64_t end = (int64_t)contract_load(p, c->sparse.n_arg, row + 1), at = 0;

		for (int64_t i = (int64_t)contract_load(p, c->sparse.n_arg, row); i < end && !p->failed; i++) {
			int64_t first, iy, ix, a;

			at += (int64_t)contract_load(p, c->sparse.i_arg, i) * sparse_unit(c);
			first = at / plane + row / rows * sparse_run(c);
			iy = o[2] * c->sy + at % plane / width - c->py;
			ix = o[3] * c->sx + at % width - c->px;
			a = o[0] * c->a.b0 + o[1] * c->a.b1 + iy * c->a.y + ix * c->a.x;
			if (iy < 0 || iy >= c->in_y || ix < 0 || ix >= c->in_x)
				continue;
			for (int64_t k = first * c->dot; k < (first + 1) * c->dot; k++)
				sum += (contract_load(p, c->a_arg, a + k / c->a.block * c->a.blk + k % c->a.block * c->a.k) - zero) *
				       contract_load(p, c->b_arg, (i * c->sparse.group + o[4] % c->sparse.group) * c->dot + k % c->dot);
		}
	}
	if (mlo_contract_sum(c) == EL_i32)
		return (Cell){.i = wrap(EL_i32, (uint64_t)(int64_t)sum)};
	return (Cell){.f = (float)sum};
}

/* Input at point p of the piece that starts at output (y0, x0): B^T d B. */
static double wino_input(Interp *p, const KContract *c, const int64_t *o, int64_t y0, int64_t x0, int point, int64_t k)
{
	int ny = wino_ny(c), nx = wino_nx(c);
	const double *row = wino_bt(wino_my(c)) + point / nx * ny, *col = wino_bt(wino_mx(c)) + point % nx * nx;
	double sum = 0;

	for (int y = 0; y < ny; y++)
		for (int x = 0; x < nx; x++) {
			int64_t iy = y0 + y - c->py, ix = x0 + x - c->px;
			int64_t a = o[0] * c->a.b0 + o[1] * c->a.b1 + iy * c->a.y + ix * c->a.x + k / c->a.block * c->a.blk +
			            k % c->a.block * c->a.k;

			if (iy < 0 || iy >= c->in_y || ix < 0 || ix >= c->in_x || row[y] == 0 || col[x] == 0)
				continue;
			sum += row[y] * col[x] * contract_load(p, c->a_arg, a);
		}
	return sum;
}

/* One output by Winograd: A^T [sum over k of weight . input] A at its place in the piece. */
static Cell contract_wino(Interp *p, const KContract *c, const int64_t *o)
{
	int my = wino_my(c), mx = wino_mx(c), nx = wino_nx(c), points = wino_points(c);
	int64_t y0 = o[2] / my * my, x0 = o[3] / mx * mx, w = (int64_t)c->vecs * c->lanes;
	const double *row = wino_at(my) + (o[2] - y0) * wino_ny(c), *col = wino_at(mx) + (o[3] - x0) * nx;
	double sum = 0;

	for (int q = 0; q < points; q++) {
		double product = 0;

		if (row[q / nx] == 0 || col[q % nx] == 0)
			continue;
		for (int64_t k = 0; k < c->nk && !p->failed; k++) {
			product += contract_load(p, c->b_arg, ((o[4] / w * points + q) * c->nk + k) * w + o[4] % w) *
			           wino_input(p, c, o, y0, x0, q, k);
		}
		sum += row[q / nx] * col[q % nx] * product;
	}
	return (Cell){.f = (float)sum};
}

/* The part of the output that one task makes: lo[] and hi[] over b0, b1, y, x, c. */
static void contract_task(const KContract *c, int64_t task, int64_t *lo, int64_t *hi)
{
	int64_t chunks = mlo_contract_chunks(c), tiles = mlo_contract_csplits(c), per = chunks * tiles;
	int64_t batch = task / per, rest = task % per;
	int64_t w = (int64_t)c->vecs * c->lanes * mlo_contract_crun(c);
	int64_t chunk = c->c_outer ? rest % chunks : rest / tiles, tile = c->c_outer ? rest / chunks : rest % tiles;
	int64_t n[5] = {c->nb0, c->nb1, c->ny, c->nx, c->nc};
	int split = mlo_contract_by_columns(c) ? 3 : 2;

	for (int i = 0; i < 5; i++) {
		lo[i] = 0;
		hi[i] = n[i];
	}
	lo[0] = batch / c->nb1;
	lo[1] = batch % c->nb1;
	lo[split] = chunk * c->y_chunk;
	lo[4] = tile * w;
	hi[0] = lo[0] + 1;
	hi[1] = lo[1] + 1;
	hi[split] = lo[split] + c->y_chunk < n[split] ? lo[split] + c->y_chunk : n[split];
	hi[4] = lo[4] + w < c->nc ? lo[4] + w : c->nc;
}

/* The contraction with this run's sizes. */
static KContract at_sizes(const Interp *p, const KContract *from)
{
	KContract c = *from;
	int64_t *open[] = {MLO_CONTRACT_OPEN(c)};

	for (size_t i = 0; i < sizeof open / sizeof *open; i++)
		*open[i] = number(p, *open[i]);
	return c;
}

static void contract(Interp *p, const KStmt *s, int64_t task)
{
	const KContract at = at_sizes(p, s->contract), *c = &at;
	int64_t lo[5], hi[5], o[5];

	contract_task(c, task, lo, hi);
	if (c->y_lo) {
		lo[2] = idx(p, c->y_lo);
		hi[2] = idx(p, c->y_hi);
	}
	o[0] = lo[0];
	o[1] = lo[1];
	for (o[2] = lo[2]; o[2] < hi[2]; o[2]++)
		for (o[3] = lo[3]; o[3] < hi[3]; o[3]++)
			for (o[4] = lo[4]; o[4] < hi[4] && !p->failed; o[4]++) {
				p->product = c->wino            ? contract_wino(p, c, o)
				             : c->sparse.spread ? contract_sparse(p, c, o)
				                                : contract_one(p, c, o);
				for (int i = 0; i < 5; i++)
					p->var[c->var[i]] = o[i];
				run(p, s->body);
			}
}

/* One inside of loops. */
static void contract_all(Interp *p, const KStmt *s)
{
	const KContract c = at_sizes(p, s->contract);
	int64_t n = c.nb0 * c.nb1 * mlo_contract_chunks(&c) * mlo_contract_csplits(&c);

	for (int64_t t = 0; t < n && !p->failed; t++)
		contract(p, s, t);
}

/* -- attention ------------------------------------------------------------------------------------------------ */

/* score[] of a query against all keys, as e^(score - largest); answers their sum. */
static double exponentials(Interp *p, const KAttention *t, int64_t at, double *score, int64_t nk)
{
	int64_t q = at + idx(p, t->q_at), k0 = idx(p, t->k_at);
	double most = -INFINITY, all = 0;

	for (int64_t k = 0; k < nk && !p->failed; k++) {
		double sum = 0;

		for (int64_t i = 0; i < t->terms && !p->failed; i++)
			sum += contract_load(p, t->q_arg, q + i * number(p, t->q.col)) *
			       contract_load(p, t->k_arg, k0 + k * number(p, t->k.row) + i * number(p, t->k.col));
		p->product.f = (float)sum;
		p->var[t->var[1]] = k;
		run(p, t->scores);
		score[k] = p->val[t->score].f;
		most = score[k] > most ? score[k] : most;
	}
	for (int64_t k = 0; k < nk; k++) {
		score[k] = exp(score[k] - most);
		all += score[k];
	}
	return all;
}

static void attention(Interp *p, const KStmt *s)
{
	const KAttention *t = s->attention;
	int64_t first = idx(p, t->first), nq = number(p, t->nq), nk = number(p, t->nk), v0 = idx(p, t->v_at);
	double *score = MLO_NEWN(p->a, double, (size_t)nk + 1);

	for (int64_t q = first; q < nq && q < first + t->rows && !p->failed; q++) {
		double all;

		p->var[t->var[0]] = q;
		all = exponentials(p, t, q * number(p, t->q.row), score, nk);
		for (int64_t c = 0; c < t->nv && !p->failed; c++) {
			double sum = 0;

			for (int64_t k = 0; k < nk && !p->failed; k++)
				sum += score[k] * contract_load(p, t->v_arg, v0 + k * number(p, t->v.row) + c * number(p, t->v.col));
			p->product.f = (float)(sum / all);
			p->var[t->var[2]] = c;
			run(p, s->body);
		}
	}
}

/* -- calls ---------------------------------------------------------------------------------------------------- */

static RefTensor *call_tensors(Interp *p, KCallTensor *t, int n)
{
	RefTensor *r = MLO_NEWN(p->a, RefTensor, (size_t)n + 1);

	for (int i = 0; i < n; i++) {
		int64_t *dim = MLO_NEWN(p->a, int64_t, MLO_MAX_RANK);

		if (t[i].arg == -1)
			continue;
		for (int j = 0; j < t[i].rank; j++)
			dim[j] = number(p, t[i].dim[j]);
		r[i] = (RefTensor){.data = t[i].arg < 0 ? NULL : p->mem[t[i].arg], .dim = dim, .rank = t[i].rank, .elem = (int32_t)t[i].elem};
	}
	return r;
}

static void call(Interp *p, const KCall *c)
{
	RefAttr *attr = MLO_NEWN(p->a, RefAttr, (size_t)mlo_op_info(c->op)->nattr + 1);
	RefCall r = {.in = call_tensors(p, c->in, c->nin), .out = call_tensors(p, c->out, c->nout), .attr = attr,
	             .nin = c->nin, .nout = c->nout};

	mlo_ref_attrs(p->a, c->node, attr);
	if (c->sizes)
		mlo_size_kernel(c->op)(&r, (int64_t *)p->mem[c->sizes_arg]);
	else
		mlo_ref_kernel(c->op)(&r);
}

static void forest(Interp *p, const KForest *f, int64_t begin, int64_t end)
{
	ForestMemory m = {.mem = p->mem, .count = p->count};
	int64_t rows = number(p, f->rows);

	if (!forest_interp(f, rows, begin, end, &m))
		fail(p, "touches", m.bad_arg, m.bad_index);
}

/* -- entry ------------------------------------------------------------------------------------------------------ */

static void run_tasks(Interp *p, int64_t begin, int64_t end)
{
	const KStmt *par[MLO_KERNEL_MAX_PAR], *body;
	int n;

	body = mlo_kernel_nest(p->k, par, MLO_KERNEL_MAX_PAR, &n);
	if (n)
		for (const KStmt *s = p->k->body; s->kind == KS_LET; s = s->next)
			statement(p, s);
	for (int64_t t = begin; t < end && !p->failed; t++) {
		int64_t rest = t;

		for (int i = n - 1; i >= 0; i--) {
			int64_t extent = idx(p, par[i]->extent);

			p->var[par[i]->var] = rest % extent;
			rest /= extent;
		}
		run(p, body);
	}
}

static void run_all(Interp *p, int64_t begin, int64_t end)
{
	const KStmt *s = p->k->body;

	if (s && s->kind == KS_CONTRACT)
		for (int64_t t = begin; t < end && !p->failed; t++)
			contract(p, s, t);
	else if (s && s->kind == KS_FOREST)
		forest(p, s->forest, begin, end);
	else if (s && s->kind == KS_CALL && begin < end)
		call(p, s->call);
	else if (s)
		run_tasks(p, begin, end);
}

MloStatus mlo_kernel_interp(const MloKernel *k, void *const *args, int64_t begin, int64_t end, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	Interp p = {.k = k, .a = a, .d = d};

	if (!a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	p.mem = MLO_NEWN(a, unsigned char *, k->arg.n + 1);
	p.val = MLO_NEWN(a, Cell, k->value.n + 1);
	p.acc = MLO_NEWN(a, Cell, (size_t)k->nacc + 1);
	p.var = MLO_NEWN(a, int64_t, (size_t)k->nvar + 1);
	p.count = MLO_NEWN(a, int64_t, k->arg.n + 1);
	p.size = k->sizes_arg < 0 ? NULL : args[k->sizes_arg];
	for (size_t i = 0; i < k->arg.n; i++) {
		const KArg *arg = &k->arg.items[i];

		p.count[i] = arg->count < 0 && arg->elems ? idx(&p, arg->elems) : arg->count;
		p.mem[i] = arg->dir != KA_SCRATCH ? args[i] : mlo_alloc(a, (size_t)p.count[i], mlo_elem_bits(arg->elem) / 8);
	}
	run_all(&p, begin, end);
	mlo_arena_free(a);
	return p.failed ? MLO_ERR_INTERNAL : MLO_OK;
}
