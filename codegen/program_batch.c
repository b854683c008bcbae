/* codegen/program_batch.c -- programs made for one sample that run for as many as the caller brings.
 *
 * The types of such a graph are those of one sample (passes/batch.c).  Values that depend on an input
 * that is `each` of n lie in memory one sample behind the other, and kernels that touch one are
 * batched: they run once per sample, with arguments moved along. */
#include "codegen/builder.h"

/* An output is contiguous over all samples: it cannot live in a part of each sample of something else. */
static void own_output(Builder *b, MloValue *v)
{
	int64_t offset;
	MloValue *root = builder_root(b, v, &offset);

	if (b->each[v->id] && (offset || mlo_value_storage(root) != mlo_value_storage(v)))
		b->view[v->id] = (View){0};
}

void batch_find(Builder *b)
{
	const MloGraph *g = b->p->graph;

	b->each = MLO_NEWN(b->plan->arena, bool, g->next_id + 1);
	for (uint32_t i = 0; i < g->ninputs; i++) {
		if (mlo_dim_known(g->inputs[i]->each))
			continue;
		b->samples = g->inputs[i]->each;
		b->each[g->inputs[i]->id] = true;
	}
	if (mlo_dim_known(b->samples))
		return;
	for (const MloNode *n = g->first; n; n = n->next) {
		bool any = false;

		for (uint32_t i = 0; i < n->nin; i++)
			any = any || (n->in[i] && b->each[n->in[i]->id]);
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i])
				b->each[n->out[i]->id] = any;
	}
	for (uint32_t i = 0; i < g->noutputs; i++)
		own_output(b, g->outputs[i]);
}

MloDim batch_dim(const Builder *b, const MloValue *v, int i)
{
	return i == 0 && b->each[v->id] ? b->samples : v->type.dim[i];
}

bool batch_static(const Builder *b, const MloValue *v)
{
	return !b->each[v->id] && mlo_type_static(&v->type);
}

/* Elements from one sample of v to the next: of the buffer that holds it, which may hold more. */
static int64_t step_of(Builder *b, MloValue *v)
{
	int64_t offset;

	return mlo_value_storage(builder_root(b, v, &offset));
}

void batch_kernel(Builder *b, MloLowered *low)
{
	MloKernel *k = low->kernel;
	const size_t n = k->arg.n;
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		MloValue *v = low->bind[i].value;

		if (!v || !b->each[v->id])
			continue;
		any = true;
		k->arg.items[i].step = step_of(b, v);
	}
	if (!any)
		return;
	k->batch = mlo_lower_size(k, &low->size, b->samples);
	if (k->arg.n > n) {
		MloBinding *bind = MLO_NEWN(b->plan->arena, MloBinding, k->arg.n);

		for (size_t i = 0; i < n; i++)
			bind[i] = low->bind[i];
		low->bind = bind;
	}
}
