/* codegen/lower_attention_device.c -- attention on a GPU: one statement, which a block runs for a tile of queries. */
#include "codegen/attention_lower.h"
#include "codegen/device_attention.h"

static int64_t guessed(const Attention *a, MloSymbols *syms)
{
	const MloType *y = &a->pv->out[0]->type;
	int64_t n = 1;

	for (int d = 0; d < a->nbatch; d++)
		n *= mlo_kernel_guess_dim(syms, y->dim[d]);
	return n;
}

/* Few queries leave most of a tile empty: where they look at many keys, products that share these out among blocks are faster. */
bool attention_device_fits(const Attention *a, const MloTarget *t)
{
	enum { FEW = 8, MANY = 512 };
	KAttention shape = {.terms = a->terms, .nv = a->nv};
	bool few = mlo_dim_known(a->queries) && a->queries.k < FEW;

	if ((mlo_dim_known(a->queries) && a->queries.k < 1) || (mlo_dim_known(a->seen) && a->seen.k < 1))
		return false;
	if (few && (!mlo_dim_known(a->seen) || a->seen.k > MANY))
		return false;
	return mlo_schedule_attention(t, 1, FEW, EL_f32, &shape);
}

static const KIdx *extent_of(MloKernel *k, MloDim d)
{
	return mlo_dim_known(d) ? kx_const(k, d.k) : kx_size(k, mlo_kernel_size(k, d));
}

static int variable(MloKernel *k, MloDim extent)
{
	int64_t lo, most;

	mlo_dim_range(extent, &lo, &most);
	return mlo_kernel_var(k, most);
}

static KAttention shape_of(Attention *a)
{
	MloKernel *k = a->l.k;
	KAttention t = {.nq = mlo_kernel_number(k, a->queries), .nk = mlo_kernel_number(k, a->seen), .terms = a->terms, .nv = a->nv};

	t.q_arg = contract_bind(&a->l, KA_IN, a->q.base, NULL);
	t.k_arg = contract_bind(&a->l, KA_IN, a->kt.base, NULL);
	t.v_arg = contract_bind(&a->l, KA_IN, a->v.base, NULL);
	t.q.row = mlo_kernel_number(k, attention_stride(&a->q, 2));
	t.q.col = mlo_kernel_number(k, attention_stride(&a->q, 1));
	t.k.row = mlo_kernel_number(k, attention_stride(&a->kt, 1));
	t.k.col = mlo_kernel_number(k, attention_stride(&a->kt, 2));
	t.v.row = mlo_kernel_number(k, attention_stride(&a->v, 2));
	t.v.col = mlo_kernel_number(k, attention_stride(&a->v, 1));
	t.var[0] = variable(k, a->queries);
	t.var[1] = variable(k, a->seen);
	t.var[2] = variable(k, mlo_dim(t.nv));
	return t;
}

MloStatus attention_device_build(Attention *a)
{
	MloKernel *k = a->l.k;
	MloSymbols *syms = a->l.cx->graph->syms;
	const MloType *s = &a->qk->out[0]->type, *y = &a->pv->out[0]->type;
	KAttention t = shape_of(a);
	KCursor at = kb_top(k);
	MloDim tiles;
	KStmt *st;
	int var;

	if (!mlo_schedule_attention(a->l.cx->target, guessed(a, syms), mlo_kernel_guess_dim(syms, a->queries), a->l.cx->precision, &t))
		return MLO_ERR_UNSUPPORTED;
	for (int d = 0; d < a->nbatch; d++) {
		at = kb_loop(&at, KL_PAR, extent_of(k, y->dim[d]), &var);
		a->batch[d] = kx_var(k, var);
	}
	tiles = mlo_dim_div(syms, mlo_dim_add(syms, a->queries, mlo_dim(t.rows - 1)), mlo_dim(t.rows));
	at = kb_loop(&at, KL_PAR, extent_of(k, tiles), &var);
	t.first = kx_mul(k, kx_var(k, var), t.rows);
	t.q_at = attention_matrix_at(a, &a->q, s);
	t.k_at = attention_matrix_at(a, &a->kt, s);
	t.v_at = attention_matrix_at(a, &a->v, y);
	st = kb_attention(&at, &t);
	a->l.at = kb_inside(k, &st->attention->scores);
	MLO_TRY(attention_score(a, kx_var(k, t.var[0]), kx_var(k, t.var[1]), &st->attention->score));
	a->l.at = kb_inside(k, &st->body);
	return attention_finish(a, kb_op(&a->l.at, K_product, EL_f32, -1, -1, -1), kx_var(k, t.var[0]), kx_var(k, t.var[2]));
}
