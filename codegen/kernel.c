/* codegen/kernel.c -- construction of kernels: arguments, variables, statements, task counting. */
#include "codegen/kernel.h"

#include <math.h>
#include <string.h>

MloKernel *mlo_kernel_new(MloArena *a, const char *name)
{
	MloKernel *k = MLO_NEW(a, MloKernel);

	k->arena = a;
	k->name = mlo_strdup(a, name ? name : "kernel");
	k->ntasks = 1;
	k->sizes_arg = -1;
	return k;
}

int mlo_kernel_arg(MloKernel *k, KArgDir dir, MloElem elem, int64_t count)
{
	KArg a = {.dir = dir, .elem = elem, .count = count};

	MLO_PUSH(k->arena, &k->arg, a);
	return (int)k->arg.n - 1;
}

int mlo_kernel_arg_dim(MloKernel *k, KArgDir dir, MloElem elem, MloDim d)
{
	int arg = mlo_kernel_arg(k, dir, elem, mlo_dim_known(d) ? d.k : -1);

	if (!mlo_dim_known(d))
		k->arg.items[arg].elems = kx_dim(k, d);
	return arg;
}

int mlo_kernel_size(MloKernel *k, MloDim d)
{
	KSize s = {.dim = d};

	MLO_ASSERT(!mlo_dim_known(d) && k->sizes_arg < 0);
	for (size_t i = 0; i < k->size.n; i++)
		if (mlo_dim_same(k->size.items[i].dim, d))
			return (int)i;
	mlo_dim_range(d, &s.lo, &s.hi);
	s.of = mlo_dim_multiple(d);
	MLO_PUSH(k->arena, &k->size, s);
	return (int)k->size.n - 1;
}

int64_t mlo_kernel_plausible(int64_t lo, int64_t hi)
{
	return lo == hi || lo > MLO_KERNEL_GUESS ? lo : hi < MLO_KERNEL_GUESS ? hi : MLO_KERNEL_GUESS;
}

static bool guess_symbol(void *user, const char *name, int64_t *out)
{
	int64_t lo, hi;

	mlo_dim_range(mlo_dim_sym(user, name), &lo, &hi);
	*out = mlo_kernel_plausible(lo, hi);
	return true;
}

int64_t mlo_kernel_guess_dim(MloSymbols *syms, MloDim d)
{
	int64_t v, lo, hi;

	if (mlo_dim_known(d))
		return d.k;
	mlo_dim_range(d, &lo, &hi);
	if (!mlo_dim_eval(d, guess_symbol, syms, &v))
		v = mlo_kernel_plausible(lo, hi);
	return v < 1 ? 1 : v;
}

int64_t mlo_kernel_guess(const MloKernel *k, int64_t number)
{
	const KSize *s = number < 0 ? &k->size.items[-1 - number] : NULL;

	if (!s)
		return number;
	return mlo_dim_known(s->dim) ? mlo_kernel_plausible(s->lo, s->hi) : mlo_kernel_guess_dim(k->syms, s->dim);
}

int64_t mlo_kernel_number(MloKernel *k, MloDim d)
{
	MLO_ASSERT(!mlo_dim_known(d) || d.k >= 0);
	return mlo_dim_known(d) ? d.k : -1 - mlo_kernel_size(k, d);
}

MloDim mlo_kernel_dim(const MloKernel *k, int64_t number)
{
	return number < 0 ? k->size.items[-1 - number].dim : mlo_dim(number);
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

KStmt *kb_attention(KCursor *at, const KAttention *t)
{
	KStmt *s = append(at, KS_ATTENTION);

	s->attention = mlo_dup(at->k->arena, t, sizeof *t);
	return s;
}

KCursor kb_inside(MloKernel *k, KStmt **first)
{
	MLO_ASSERT(!*first);
	return (KCursor){.k = k, .tail = first};
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
	return elem == EL_tf32 || elem == EL_f16 || elem == EL_bf16 ? EL_f32 : elem;
}

float mlo_round_tf32(float x)
{
	enum { CUT = 13 };
	uint32_t bits;

	memcpy(&bits, &x, sizeof bits);
	if (isnan(x))
		return x;
	bits = (bits + (1U << (CUT - 1))) & ~((1U << CUT) - 1);
	memcpy(&x, &bits, sizeof x);
	return x;
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
	       (s->extent->op == KI_SIZE || (s->extent->op == KI_CONST && s->extent->k > 0))) {
		par[(*n)++] = s;
		body = s = s->body;
	}
	return body;
}

static bool only_loops(const KStmt *s)
{
	for (; s; s = s->next)
		if (s->kind == KS_CONTRACT || s->kind == KS_ATTENTION || s->kind == KS_FOREST || s->kind == KS_CALL || !only_loops(s->body))
			return false;
	return true;
}

bool mlo_kernel_looks_up(const MloKernel *k, int arg)
{
	bool any = false;

	for (size_t i = 0; i < k->value.n; i++) {
		const KInst *in = &k->value.items[i];

		if (in->op == K_load && in->arg == arg && !kx_has_value(in->idx))
			return false;
		any |= in->op == K_load && in->arg == arg;
	}
	return any && only_loops(k->body);
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

int64_t mlo_contract_crun(const KContract *c)
{
	return c->wino || c->depth || c->sparse.spread || c->strips ? c->c_chunk : 1;
}

int64_t mlo_contract_csplits(const KContract *c)
{
	return (mlo_contract_ctiles(c) + mlo_contract_crun(c) - 1) / mlo_contract_crun(c);
}

MloElem mlo_contract_sum(const KContract *c)
{
	return mlo_elem_is_float(c->a.elem) ? EL_f32 : EL_i32;
}

int64_t mlo_contract_steps(const KContract *c)
{
	int64_t n = (c->nk + c->dot - 1) / c->dot;

	while (c->depth && n * mlo_contract_run_taps(c) % c->depth)
		n++;
	return n;
}

static MloDim ceil_div(const MloKernel *k, int64_t number, int64_t by)
{
	MloDim d = mlo_kernel_dim(k, number);

	return mlo_dim_div(k->syms, mlo_dim_add(k->syms, d, mlo_dim(by - 1)), mlo_dim(by));
}

MloDim mlo_contract_tasks(const MloKernel *k, const KContract *c)
{
	int64_t extent = mlo_contract_by_columns(c) ? c->nx : c->ny, tile = (int64_t)c->vecs * c->lanes;
	MloDim n = mlo_dim_mul(k->syms, mlo_kernel_dim(k, c->nb0), mlo_kernel_dim(k, c->nb1));

	n = mlo_dim_mul(k->syms, n, ceil_div(k, extent, c->y_chunk));
	return mlo_dim_mul(k->syms, n, ceil_div(k, c->nc, tile * mlo_contract_crun(c)));
}

static double contract_outputs(const MloKernel *k, const KContract *c)
{
	const int64_t n[] = {c->nb0, c->nb1, c->ny, c->nx, c->nc};
	double outs = 1;

	for (int i = 0; i < 5; i++)
		outs *= (double)mlo_kernel_guess(k, n[i]);
	return outs;
}

double mlo_contract_flops(const MloKernel *k, const KContract *c)
{
	return 2 * contract_outputs(k, c) * (double)mlo_kernel_guess(k, c->nk) * (double)(c->nky * c->nkx);
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
			n += (double)mlo_kernel_plausible(lo, hi) * count_flops(k, s->body);
		} else if (s->kind == KS_CONTRACT) {
			n += mlo_contract_flops(k, s->contract) + contract_outputs(k, s->contract) * count_flops(k, s->body);
		}
	}
	return n;
}

/* Tasks of loops: the product of their extents. */
static void count_tasks(MloKernel *k)
{
	const KStmt *par[MLO_KERNEL_MAX_PAR];
	MloDim tasks = mlo_dim(1);
	int n;

	mlo_kernel_nest(k, par, MLO_KERNEL_MAX_PAR, &n);
	for (int i = 0; i < n; i++) {
		const KIdx *e = par[i]->extent;

		tasks = mlo_dim_mul(k->syms, tasks, e->op == KI_SIZE ? k->size.items[e->k].dim : mlo_dim(e->k));
	}
	k->ntasks = mlo_kernel_number(k, tasks);
}

static void count_bytes(MloKernel *k)
{
	for (size_t i = 0; i < k->arg.n; i++) {
		const KArg *a = &k->arg.items[i];

		if (a->dir != KA_SCRATCH && a->count > 0)
			k->bytes += (double)a->count * mlo_elem_bits(a->elem) / 8;
	}
}

void kb_finish(MloKernel *k)
{
	bool known = k->ntasks < 0; /* the text says it */

	if (k->body && k->body->kind == KS_CONTRACT && !k->body->next)
		k->ntasks = known ? k->ntasks : mlo_kernel_number(k, mlo_contract_tasks(k, k->body->contract));
	else if (k->body && k->body->kind == KS_FOREST)
		k->ntasks = known ? k->ntasks : mlo_kernel_number(k, ceil_div(k, k->body->forest->rows, k->body->forest->chunk));
	else if (!known)
		count_tasks(k);
	if (k->size.n > 0 && k->sizes_arg < 0)
		k->sizes_arg = mlo_kernel_arg(k, KA_SIZES, EL_i64, (int64_t)k->size.n);
	if (k->flops == 0)
		k->flops = count_flops(k, k->body);
	if (k->bytes == 0)
		count_bytes(k);
}
