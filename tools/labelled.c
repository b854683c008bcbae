/* tools/labelled.c -- accuracy of graphs on labelled samples. */
#include "tools/labelled.h"

MloStatus labelled_read(MloArena *a, const LabelledOptions *o, Labelled *l, MloDiag *d)
{
	l->model = o->model;
	l->request = (EvalRequest){.data = o->eval, .labels = o->labels, .recipe = o->preprocess, .model = *o->run};
	MLO_TRY(mlo_metrics_parse(a, o->metric, &l->request.metrics, d));
	if (l->request.metrics.list.n != 1 || mlo_metrics_need(&l->request.metrics, METRIC_NUMBERS))
		return mlo_error(d, MLO_ERR_USAGE,
				 "--metric %s: --max-drop is about one metric of classes, as top1 or f1_macro", o->metric);
	return eval_read(a, &l->request, &l->data, d);
}

MloStatus labelled_accuracy(const Labelled *l, const MloGraph *g, double *out, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	MloPredictions p;
	MloStatus st = a ? eval_graph(a, &l->request, &l->data, g, l->model, &p, d)
			 : mlo_error(d, MLO_ERR_NOMEM, "out of memory");

	if (st == MLO_OK)
		*out = 100 * mlo_metric_value(&l->request.metrics.list.items[0], &p, NULL);
	mlo_arena_free(a);
	return st;
}
