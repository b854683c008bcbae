/* tests/unit/quant_fixture.c -- see quant_fixture.h */
#include "tests/unit/quant_fixture.h"

#include <CUnit/CUnit.h>

#include "ir/exec.h"
#include "tests/unit/ir_fixture.h"
#include "tests/unit/random_graph.h"

static void tap(void *user, const MloNode *n, const MloValue *v, const MloTensor *t)
{
	MloPtqTensor *p = mlo_ptq_tensor(user, v);

	if (p && p->wanted)
		mlo_observe(&p->stats, t->data, mlo_tensor_elems(t));
}

void quant_begin(QuantFix *f, const char *text, const MloPtqOptions *opt)
{
	*f = (QuantFix){.g = ir_graph(text)};
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->g);
	f->q = mlo_ptq_new(f->g->arena, f->g, opt);
}

void quant_quantise(QuantFix *f, int runs)
{
	MloTensor *out[8];

	for (size_t i = 0; i < f->q->ntensors; i++)
		f->q->tensor[i].stats.bin = MLO_NEWN(f->g->arena, float, OBSERVE_BINS);
	for (int i = 0; i < runs; i++) {
		const MloTensor *x = random_tensor(f->g->arena, (uint64_t)i + 1, &f->g->inputs[0]->type);

		tap(f->q, NULL, f->g->inputs[0], x);
		CU_ASSERT_EQUAL(mlo_exec_graph(f->g->arena, f->g, &x, out, tap, f->q, &f->d), MLO_OK);
	}
	mlo_ptq_ranges(f->q);
	f->out = mlo_graph_clone(f->g);
	CU_ASSERT_EQUAL(mlo_ptq_apply(f->q, f->out, &f->at, &f->d), MLO_OK);
	CU_ASSERT_EQUAL(mlo_verify(f->out, &f->d), MLO_OK);
	mlo_diag_print(&f->d, "quant", stderr);
}

void quant_end(QuantFix *f)
{
	mlo_graph_free(f->out);
	mlo_graph_free(f->g);
	mlo_diag_free(&f->d);
}

double quant_noise(QuantFix *f)
{
	const MloTensor *x = random_tensor(f->g->arena, 99, &f->g->inputs[0]->type);
	MloTensor *a[8], *b[8];
	double err = 0, ref = 0;

	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(f->g->arena, f->g, &x, a, NULL, NULL, &f->d), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_exec_graph(f->g->arena, f->out, &x, b, NULL, NULL, &f->d), MLO_OK);
	for (int64_t i = 0, n = mlo_tensor_elems(a[0]); i < n; i++) {
		double d = mlo_tensor_f64(a[0], i) - mlo_tensor_f64(b[0], i);

		err += d * d;
		ref += mlo_tensor_f64(a[0], i) * mlo_tensor_f64(a[0], i);
	}
	return err / ref;
}

int quant_count(const MloGraph *g, MloOp op)
{
	int n = 0;

	for (const MloNode *k = g->first; k; k = k->next)
		n += k->op == op;
	return n;
}
