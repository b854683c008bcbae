/* codegen/kernel.c -- construction of kernels: arguments, variables, statements, task counting. */
#include "codegen/kernel.h"

#include <string.h>

MloKernel *mlo_kernel_new(MloArena *a, const char *name)
{
	MloKernel *k = MLO_NEW(a, MloKernel);

	k->arena = a;
	k->name = mlo_strdup(a, name ? name : "kernel");
	k->ntasks = 1;
	k->sizes_arg = k->batch = -1;
	return k;
}

int mlo_kernel_arg(MloKernel *k, KArgDir dir, MloElem elem, int64_t count)
{
	KArg a = {.dir = dir, .elem = elem, .count = count};

	MLO_PUSH(k->arena, &k->arg, a);
	return (int)k->arg.n - 1;
}

int mlo_kernel_size(MloKernel *k, int64_t lo, int64_t hi)
{
	MLO_ASSERT(lo >= 0 && lo <= hi);
	if (k->sizes_arg < 0)
		k->sizes_arg = mlo_kernel_arg(k, KA_SIZES, EL_i64, 0);
	MLO_PUSH(k->arena, &k->size, ((KSize){lo, hi}));
	return (int)k->arg.items[k->sizes_arg].count++;
}

int mlo_kernel_var(MloKernel *k, int64_t extent)
{
	if (k->nvar == k->var_cap) {
		size_t cap = (size_t)k->var_cap;

		k->var_extent = mlo_grow(k->arena, k->var_extent, (size_t)k->nvar, &cap,
		                         sizeof *k->var_extent);
		k->var_cap = (int)cap;
	}
	k->var_extent[k->nvar] = extent;
	return k->nvar++;
}

/* -- statements --------------------------------------------------------------------------- */

static KStmt *append(KCursor *at, KStmtKind kind)
{
	KStmt *s = MLO_NEW(at->k->arena, KStmt);

	s->kind = kind;
	*at->tail = s;
	at->tail = &s->next;
	return s;
}

KCursor kb_top(MloKernel *k)
{
	MLO_ASSERT(!k->body);
	return (KCursor){.k = k, .tail = &k->body};
}

KCursor kb_loop(KCursor *at, KLoopKind kind, const KIdx *extent, int *var)
{
	int64_t lo, hi;
	KStmt *s = append(at, KS_LOOP);

	kx_range(at->k, extent, &lo, &hi);
	s->loop = kind;
	s->extent = extent;
	s->var = mlo_kernel_var(at->k, hi);
	if (var)
		*var = s->var;
	return (KCursor){.k = at->k, .tail = &s->body};
}

KCursor kb_contract(KCursor *at, const KContract *c)
{
	KStmt *s = append(at, KS_CONTRACT);

	s->contract = mlo_dup(at->k->arena, c, sizeof *c);
	return (KCursor){.k = at->k, .tail = &s->body};
}

void kb_forest(KCursor *at, const KForest *f)
{
	append(at, KS_FOREST)->forest = mlo_dup(at->k->arena, f, sizeof *f);
}

void kb_call(KCursor *at, const KCall *c)
{
	KStmt *s = append(at, KS_CALL);

	s->call = mlo_dup(at->k->arena, c, sizeof *c);
}

int kb_let(KCursor *at, KInst inst)
{
	KStmt *s = append(at, KS_LET);

	MLO_PUSH(at->k->arena, &at->k->value, inst);
	s->value = (int)at->k->value.n - 1;
	return s->value;
}

int kb_const_f(KCursor *at, MloElem type, double v)
{
	return kb_let(at, (KInst){.op = K_const, .type = type, .a = -1, .b = -1, .c = -1, .imm = v});
}

int kb_const_i(KCursor *at, MloElem type, int64_t v)
{
	return kb_let(at, (KInst){.op = K_const, .type = type, .a = -1, .b = -1, .c = -1, .ival = v});
}

int kb_op(KCursor *at, KOp op, MloElem type, int a, int b, int c)
{
	return kb_let(at, (KInst){.op = op, .type = type, .a = a, .b = b, .c = c});
}

MloElem mlo_kernel_load_type(MloElem elem)
{
	return elem == EL_f16 || elem == EL_bf16 ? EL_f32 : elem;
}

int kb_load(KCursor *at, int arg, const KIdx *idx, const KGuard *guard, double other)
{
	MLO_ASSERT(arg >= 0 && (size_t)arg < at->k->arg.n);
	return kb_let(at, (KInst){.op = K_load, .type = mlo_kernel_load_type(at->k->arg.items[arg].elem),
	                          .a = -1, .b = -1, .c = -1, .idx = idx, .arg = arg,
	                          .guard = guard, .other = other});
}

int kb_index(KCursor *at, MloElem type, const KIdx *idx)
{
	return kb_let(at, (KInst){.op = K_index, .type = type, .a = -1, .b = -1, .c = -1, .idx = idx});
}

void kb_store(KCursor *at, int arg, const KIdx *idx, const KGuard *guard, int value)
{
	KStmt *s = append(at, KS_STORE);

	s->arg = arg;
	s->idx = idx;
	s->guard = guard;
	s->value = value;
}

int kb_acc_init(KCursor *at, int value)
{
	KStmt *s = append(at, KS_ACC_INIT);

	s->acc = at->k->nacc++;
	s->value = value;
	return s->acc;
}

void kb_acc(KCursor *at, int acc, KOp op, int value)
{
	KStmt *s = append(at, KS_ACC);

	s->acc = acc;
	s->accop = op;
	s->value = value;
}

int kb_accum(KCursor *at, int acc, MloElem type)
{
	return kb_let(at, (KInst){.op = K_accum, .type = type, .a = -1, .b = -1, .c = -1, .arg = acc});
}

/* -- the task space ----------------------------------------------------------------------- */

const KStmt *mlo_kernel_nest(const MloKernel *k, const KStmt **par, int max, int *n)
{
	const KStmt *s = k->body, *body = k->body;

	*n = 0;
	while (s && s->kind == KS_LET)
		s = s->next;
	while (s && *n < max && s->kind == KS_LOOP && s->loop == KL_PAR && !s->next &&
	       s->extent->op == KI_CONST && s->extent->k > 0) {
		par[(*n)++] = s;
		body = s = s->body;
	}
	return body;
}

uint64_t mlo_kernel_scratch(const MloKernel *k)
{
	uint64_t at = 0;

	for (size_t i = 0; i < k->arg.n; i++) {
		const KArg *a = &k->arg.items[i];

		if (a->dir == KA_SCRATCH)
			at += ((uint64_t)a->count * mlo_elem_bits(a->elem) / 8 + 63) / 64 * 64;
	}
	return at;
}

int64_t mlo_contract_chunks(const KContract *c)
{
	int64_t n = mlo_contract_by_columns(c) ? c->nx : c->ny;

	return (n + c->y_chunk - 1) / c->y_chunk;
}

int64_t mlo_contract_ctiles(const KContract *c)
{
	int64_t w = (int64_t)c->vecs * c->lanes;

	return (c->nc + w - 1) / w;
}

int64_t mlo_contract_csplits(const KContract *c)
{
	int64_t tiles = mlo_contract_ctiles(c);

	return c->wino ? (tiles + c->c_chunk - 1) / c->c_chunk : tiles;
}

static double contract_flops(const KContract *c)
{
	return 2.0 * (double)c->nb0 * (double)c->nb1 * (double)c->ny * (double)c->nx * (double)c->nc *
	       (double)c->nk * (double)c->nky * (double)c->nkx;
}

/* Operations of a body: every LET that computes counts one. Extents: their upper bounds. */
static double count_flops(const MloKernel *k, const KStmt *s)
{
	double n = 0;

	for (; s; s = s->next) {
		int64_t lo, hi;

		if (s->kind == KS_LET)
			n += k->value.items[s->value].op > K_product;
		else if (s->kind == KS_ACC)
			n += 1;
		else if (s->kind == KS_LOOP) {
			kx_range(k, s->extent, &lo, &hi);
			n += (double)hi * count_flops(k, s->body);
		} else if (s->kind == KS_CONTRACT) {
			const KContract *c = s->contract;
			n += contract_flops(c) + (double)c->nb0 * (double)c->nb1 * (double)c->ny *
			     (double)c->nx * (double)c->nc * count_flops(k, s->body);
		}
	}
	return n;
}

void kb_finish(MloKernel *k)
{
	const KStmt *par[MLO_KERNEL_MAX_PAR];
	int n;

	k->ntasks = 1;
	mlo_kernel_nest(k, par, MLO_KERNEL_MAX_PAR, &n);
	for (int i = 0; i < n; i++)
		k->ntasks *= par[i]->extent->k;
	if (k->body && k->body->kind == KS_CONTRACT && !k->body->next) {
		const KContract *c = k->body->contract;
		k->ntasks = c->nb0 * c->nb1 * mlo_contract_chunks(c) * mlo_contract_csplits(c);
	}
	if (k->body && k->body->kind == KS_FOREST)
		k->ntasks = k->body->forest->tasks;
	if (k->flops == 0)
		k->flops = count_flops(k, k->body);
	if (k->bytes == 0)
		for (size_t i = 0; i < k->arg.n; i++)
			if (k->arg.items[i].dir != KA_SCRATCH && k->arg.items[i].count > 0)
				k->bytes += (double)k->arg.items[i].count *
				            mlo_elem_bits(k->arg.items[i].elem) / 8;
}
