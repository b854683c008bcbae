/* codegen/estimate.c -- how long kernels take, without measuring.
 *
 * Contractions take what the cost model of their schedules says (schedule.c, winograd.c, matrix.c), all else an instruction for each
 * operation on a vector.  Of what is moved, half is taken to be in a cache.  Good for comparing two ways to compute the
 * same thing, not for more: measured, layers take 0.4 to 1 times as long. */
#include "codegen/estimate.h"

#include "codegen/matrix.h"
#include "codegen/sparse.h"
#include "codegen/strips.h"
#include "codegen/winograd.h"

/* Cycles of an operation on a vector, where it is one instruction and where it is a polynomial. */
#define PLAIN 0.5
#define MATH 12.0
/* Moving and computing take place at the same time, but for such a share of the shorter one. */
#define EXPOSED 0.25

typedef struct Estimate {
	const MloTarget *t;
	const MloKernel *k;
	bool stay;
	double bands, flops; /* of contractions that loops around them divide among themselves, each done once */
} Estimate;

static bool is_math(KOp op)
{
	switch (op) {
	case K_pow:
	case K_mod:
	case K_fmod:
	case K_exp:
	case K_decay:
	case K_log:
	case K_tanh:
	case K_erf:
	case K_phi:
	case K_sin:
	case K_cos:
	case K_sigmoid:
		return true;
	default:
		return false;
	}
}

static double lanes(const Estimate *e)
{
	return e->t->vector_bytes / 4.0;
}

static double op_cycles(KOp op)
{
	return op == K_const || op == K_index || op == K_accum || op == K_product ? 0 : is_math(op) ? MATH : PLAIN;
}

/* Extents that are sizes become plausible numbers. */
static KContract guessed(const MloKernel *k, const KContract *open)
{
	KContract c = *open;
	int64_t *const sizes[] = {MLO_CONTRACT_OPEN(c)};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		*sizes[i] = mlo_kernel_guess(k, *sizes[i]);
	return c;
}

double mlo_contract_cycles(const MloTarget *t, const KContract *c, int64_t weights, bool weights_stay)
{
	KContract w = *c;

	if (c->depth)
		return matrix_cycles(t, c);
	if (c->sparse.spread)
		return sparse_cycles(t, c, weights);
	if (c->strips)
		return strips_cycles(t, c);
	if (c->wino)
		return wino_schedule(t, &w, weights_stay, c->wino, (c->y_chunk + wino_my(c) - 1) / wino_my(c));
	return contract_row_cycles(t, c, c->cols, c->vecs) * (double)(c->ny * contract_images(c));
}

static double body_cycles(Estimate *e, const KStmt *s, double runs);

/* `runs`: how many times it is made, in all. */
static double contract_cycles(Estimate *e, const KStmt *s, double runs)
{
	const KContract c = guessed(e->k, s->contract);
	double vectors = (double)((c.nc + c.lanes - 1) / c.lanes) * (double)(c.nx * c.ny * c.nb0 * c.nb1);
	int64_t weights = c.sparse.spread ? e->k->arg.items[c.sparse.i_arg].count : 0;
	double once = mlo_contract_cycles(e->t, &c, weights, e->stay) + body_cycles(e, s->body, vectors);

	if (!s->contract->y_lo)
		return runs * once;
	e->bands += once;
	e->flops += mlo_contract_flops(e->k, s->contract);
	return 0;
}

static double body_cycles(Estimate *e, const KStmt *s, double runs)
{
	double cycles = 0;

	for (; s; s = s->next) {
		int64_t lo, hi;
		double n;

		switch (s->kind) {
		case KS_LET:
			cycles += runs * op_cycles(e->k->value.items[s->value].op);
			break;
		case KS_STORE:
		case KS_ACC:
			cycles += runs * PLAIN;
			break;
		case KS_LOOP:
			kx_range(e->k, s->extent, &lo, &hi);
			n = (double)mlo_kernel_plausible(lo, hi);
			cycles += body_cycles(e, s->body, runs * (s->loop == KL_VEC && n > 1 ? n / lanes(e) + 0.5 : n));
			break;
		case KS_CONTRACT:
			cycles += contract_cycles(e, s, runs);
			break;
		case KS_ATTENTION:
		case KS_FOREST:
		case KS_CALL:
			cycles += e->k->flops;
			break;
		case KS_ACC_INIT:
			break;
		}
	}
	return cycles;
}

double mlo_kernel_ns(const MloTarget *t, const MloKernel *k, bool weights_stay)
{
	Estimate e = {.t = t, .k = k, .stay = weights_stay};
	double cycles = body_cycles(&e, k->body, 1), move = k->bytes / (2 * t->bytes_per_cycle);

	if (e.flops > 0)
		cycles += e.bands * k->flops / e.flops;
	return (cycles > move ? cycles + EXPOSED * move : move + EXPOSED * cycles) / t->clock_ghz;
}
