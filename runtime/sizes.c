/* runtime/sizes.c -- sizes of a run: expressions over slots, and the arena that follows from them. */
#include "runtime/session.h"

#include <stdio.h>
#include <string.h>

static bool floor_div(int64_t a, int64_t b, int64_t *q)
{
	if (b == 0 || (a == INT64_MIN && b == -1))
		return false;
	*q = a / b - (a % b != 0 && (a < 0) != (b < 0));
	return true;
}

static bool floor_mod(int64_t a, int64_t b, int64_t *m)
{
	if (b == 0)
		return false;
	*m = b == -1 ? 0 : a % b;
	if (*m != 0 && (*m < 0) != (b < 0))
		*m += b;
	return true;
}

/* False: the result is no number of 64 bits. */
static bool compute(const MlrtExpr *x, int64_t a, int64_t b, int64_t *out)
{
	int64_t q;

	switch (x->op) {
	case MLRT_X_ADD: return !__builtin_add_overflow(a, b, out);
	case MLRT_X_SUB: return !__builtin_sub_overflow(a, b, out);
	case MLRT_X_MUL: return !__builtin_mul_overflow(a, b, out);
	case MLRT_X_DIV: return floor_div(a, b, out);
	case MLRT_X_CEILDIV: return a != INT64_MIN && floor_div(-a, b, &q) && !__builtin_sub_overflow(0, q, out);
	case MLRT_X_MOD: return floor_mod(a, b, out);
	case MLRT_X_MAX: *out = a > b ? a : b; return true;
	case MLRT_X_MIN: *out = a < b ? a : b; return true;
	default: /* ALIGN */
		return floor_mod(a, x->imm, &q) && !__builtin_add_overflow(a, q ? x->imm - q : 0, out);
	}
}

/* The input's name and dimension that `about` stands for, into text; else "a size". */
static void name_size(const Frame *f, int64_t about, char *text, size_t n)
{
	const Body *main = &f->session->model->program.list.body[0];
	const Manifest *m = &f->session->model->manifest;

	for (uint32_t i = 0; about >= 0 && f->body == main && i < main->head->ninputs; i++) {
		if (main->ref[i] == about / 16) {
			snprintf(text, n, "input '%.100s', dimension %d", m->input[i].info.name, (int)(about % 16));
			return;
		}
	}
	memcpy(text, "a size", sizeof "a size");
}

static MlrtStatus check_failed(const Frame *f, const MlrtExpr *x, int64_t a, int64_t b, MlrtError *err)
{
	char name[160];

	name_size(f, x->imm, name, sizeof name);
	if (x->op == MLRT_X_CHECK_GE0)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%s is %lld", name, (long long)a);
	return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%s is %lld, it must be %s%lld", name, (long long)a,
			 x->op == MLRT_X_CHECK_LE ? "at most " : x->op == MLRT_X_CHECK_GE ? "at least " : "", (long long)b);
}

MLRT_LOCAL MlrtStatus mlrt_exprs_run(Frame *f, uint32_t first, uint32_t n, MlrtError *err)
{
	int64_t *slot = f->slot;

	for (const MlrtExpr *x = f->body->expr + first; n > 0; n--, x++) {
		const int64_t a = x->op == MLRT_X_CONST ? 0 : slot[x->a];
		int64_t b = 0;

		switch (x->op) {
		case MLRT_X_CONST:
			slot[x->dst] = x->imm;
			continue;
		case MLRT_X_COPY:
			slot[x->dst] = a;
			continue;
		case MLRT_X_CHECK_GE0:
			if (a < 0)
				return check_failed(f, x, a, 0, err);
			continue;
		case MLRT_X_CHECK_EQ:
			if (a != slot[x->b])
				return check_failed(f, x, a, slot[x->b], err);
			continue;
		case MLRT_X_CHECK_GE:
			if (a < slot[x->b])
				return check_failed(f, x, a, slot[x->b], err);
			continue;
		case MLRT_X_CHECK_LE:
			if (a > slot[x->b])
				return check_failed(f, x, a, slot[x->b], err);
			continue;
		default:
			b = x->op == MLRT_X_ALIGN ? 0 : slot[x->b];
			if (!compute(x, a, b, &slot[x->dst]))
				return mlrt_fail(err, MLRT_ERR_ARGUMENT,
						 "sizes %lld and %lld give one that is out of range", (long long)a,
						 (long long)(x->op == MLRT_X_ALIGN ? x->imm : b));
		}
	}
	return MLRT_OK;
}

static MlrtStatus place_planned(Frame *f, MlrtError *err)
{
	const Body *b = f->body;
	const int64_t need = b->head->arena_slot == MLRT_ABSENT ? 0 : f->slot[b->head->arena_slot];
	MlrtStatus st;

	if (need < 0)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "these sizes need %lld bytes of memory", (long long)need);
	st = mlrt_block_reserve(f->session, &f->planned, (uint64_t)need, 0, err);
	for (uint32_t i = 0; !st && i < b->head->nbuffers; i++) {
		const MlrtBuffer *p = &b->buffer[i];
		int64_t at, n;

		if (p->kind != MLRT_PLANNED)
			continue;
		at = f->slot[p->offset_slot];
		n = f->slot[p->bytes_slot];
		if (at < 0 || n < 0 || at > need || n > need - at)
			return mlrt_fail(err, MLRT_ERR_ARGUMENT, "%lld bytes at %lld of %lld do not fit",
					 (long long)n, (long long)at, (long long)need);
		f->place[f->buffers + i] = (Place){f->planned.data ? f->planned.data + at : NULL, (uint64_t)n};
	}
	return st;
}

MLRT_LOCAL MlrtStatus mlrt_frame_size(Frame *f, MlrtError *err)
{
	MlrtStatus st;

	if (f->sized)
		return MLRT_OK;
	st = mlrt_exprs_run(f, 0, f->body->head->nprologue, err);
	if (!st)
		st = place_planned(f, err);
	f->sized = !st;
	return st;
}
