/* tests/device/attention.c -- kernels of attention. */
#include <math.h>

#include "codegen/device_attention.h"
#include "targets/target.h"
#include "tests/device/device.h"

/* Strides of a matrix, and from one batch and head to the next. */
typedef struct Place {
	int64_t batch, head, row, col, all;
} Place;

static Place place_of(const DeviceAttentionCase *s, int layout, int64_t heads, int64_t rows, int64_t columns)
{
	Place p = {.batch = heads * rows * columns, .all = s->batches * heads * rows * columns};

	if (layout == DEVICE_PACKED) {
		p.row = heads * columns;
		p.head = columns;
		p.col = 1;
	} else {
		p.head = rows * columns;
		p.row = layout == DEVICE_TURNED ? 1 : columns;
		p.col = layout == DEVICE_TURNED ? rows : 1;
	}
	return p;
}

static const KIdx *begin_of(MloKernel *k, const Place *p, const KIdx *batch, const KIdx *head)
{
	return kx_add(k, kx_mul(k, batch, p->batch), kx_mul(k, head, p->head));
}

static int scores_of(MloKernel *k, KCursor *at, const DeviceAttentionCase *s, const KIdx *batch, const KIdx *query, const KIdx *key)
{
	int v = kb_op(at, K_product, EL_f32, -1, -1, -1), mask;
	const KIdx *place = kx_add(k, kx_mul(k, kx_add(k, kx_mul(k, batch, s->queries), query), s->keys), key);

	v = kb_op(at, K_mul, EL_f32, v, kb_const_f(at, EL_f32, 0.3), -1);
	if (s->mask & DEVICE_CAP)
		v = kb_op(at, K_mul, EL_f32, kb_op(at, K_tanh, EL_f32, v, -1, -1), kb_const_f(at, EL_f32, 2), -1);
	if (s->mask & DEVICE_ADDED) {
		mask = mlo_kernel_arg(k, KA_IN, EL_f32, s->batches * s->queries * s->keys);
		v = kb_op(at, K_add, EL_f32, v, kb_load(at, mask, place, NULL, 0), -1);
	}
	if (s->mask & DEVICE_CHOSEN) {
		mask = mlo_kernel_arg(k, KA_IN, EL_bool, s->batches * s->queries * s->keys);
		v = kb_op(at, K_select, EL_f32, kb_load(at, mask, place, NULL, 0), v, kb_const_f(at, EL_f32, -INFINITY));
	}
	return v;
}

/* Results are [batch][query][head][column]; a number per column is added. */
static void store_results(MloKernel *k, KCursor *at, const DeviceAttentionCase *s, const KIdx *const *v)
{
	int value = kb_op(at, K_product, EL_f32, -1, -1, -1), bias = mlo_kernel_arg(k, KA_IN, EL_f32, s->columns);
	int out = mlo_kernel_arg(k, KA_OUT, EL_f32, s->batches * s->queries * s->heads * s->columns);
	const KIdx *to = kx_add(k, kx_mul(k, v[0], s->queries), v[2]);

	value = kb_op(at, K_add, EL_f32, value, kb_load(at, bias, v[3], NULL, 0), -1);
	to = kx_add(k, kx_mul(k, to, s->heads), v[1]);
	kb_store(at, out, kx_add(k, kx_mul(k, to, s->columns), v[3]), NULL, value);
}

MloKernel *device_attention(MloArena *a, const MloTarget *target, const DeviceAttentionCase *s)
{
	MloKernel *k = mlo_kernel_new(a, s->name);
	Place q = place_of(s, s->layout == DEVICE_TURNED ? DEVICE_APART : s->layout, s->heads, s->queries, s->terms);
	Place keys = place_of(s, s->layout, s->shared, s->keys, s->terms);
	Place values = place_of(s, s->layout == DEVICE_TURNED ? DEVICE_APART : s->layout, s->shared, s->keys, s->columns);
	KAttention t = {.nq = s->queries, .nk = s->keys, .terms = s->terms, .nv = s->columns, .q = {q.row, q.col},
	                .k = {keys.row, keys.col}, .v = {values.row, values.col}};
	const KIdx *v[4], *head;
	KCursor at = kb_top(k);
	int batch, of, tile;
	KStmt *st;

	if (!mlo_schedule_attention(target, s->batches * s->heads, s->queries, s->word, &t))
		return NULL;
	t.q_arg = mlo_kernel_arg(k, KA_IN, s->elem, q.all);
	t.k_arg = mlo_kernel_arg(k, KA_IN, s->elem, keys.all);
	t.v_arg = mlo_kernel_arg(k, KA_IN, s->elem, values.all);
	for (int i = 0; i < 3; i++)
		t.var[i] = mlo_kernel_var(k, (int64_t[]){s->queries, s->keys, s->columns}[i]);
	at = kb_loop(&at, KL_PAR, kx_const(k, s->batches), &batch);
	at = kb_loop(&at, KL_PAR, kx_const(k, s->heads), &of);
	at = kb_loop(&at, KL_PAR, kx_const(k, (s->queries + t.rows - 1) / t.rows), &tile);
	v[0] = kx_var(k, batch);
	v[1] = kx_var(k, of);
	v[2] = kx_var(k, t.var[0]);
	v[3] = kx_var(k, t.var[2]);
	head = kx_div(k, v[1], s->heads / s->shared);
	t.first = kx_mul(k, kx_var(k, tile), t.rows);
	t.q_at = begin_of(k, &q, v[0], v[1]);
	t.k_at = begin_of(k, &keys, v[0], head);
	t.v_at = begin_of(k, &values, v[0], head);
	st = kb_attention(&at, &t);
	at = kb_inside(k, &st->attention->scores);
	st->attention->score = scores_of(k, &at, s, v[0], v[2], kx_var(k, t.var[1]));
	at = kb_inside(k, &st->body);
	store_results(k, &at, s, v);
	kb_finish(k);
	return k;
}

/* Numbers of masks: some let nothing through, and some queries see nothing at all. */
void device_mask(const DeviceAttentionCase *s, const MloKernel *k, void *const *arg)
{
	int64_t n = s->batches * s->queries * s->keys;

	for (size_t i = 3; i < k->arg.n; i++)
		for (int64_t j = 0; j < n && k->arg.items[i].count == n && k->arg.items[i].dir == KA_IN; j++) {
			bool dead = j % 7 == 3 || (s->mask & DEVICE_DEAD && j / s->keys % 5 == 2);
			float *f = arg[i];

			if (k->arg.items[i].elem == EL_bool)
				((uint8_t *)arg[i])[j] = !dead;
			else if (dead)
				f[j] = -INFINITY;
		}
}
