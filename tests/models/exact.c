/* tests/models/exact.c -- whole quantised models, bit for bit. */
#include "tests/models/exact.h"

#include <stdio.h>
#include <string.h>

#include "ir/exec.h"
#include "passes/pass.h"
#include "targets/target.h"
#include "tests/support/models.h"

enum { MOST_OUTPUTS = 64 };

/* The pipeline up to kernels: integers where there are contractions, float32 operators in between. */
static const char integers[] = "infer,qmove,fold,canon,qmove,integer,fold,widen,fold,dce";

/* What is quantised is all that comes out; of very much, the end. */
static void reveal(MloGraph *g)
{
	uint32_t n = 0, skip;

	for (const MloNode *k = g->first; k; k = k->next)
		n += k->op == OP_quantize_linear && !k->in[0]->data;
	skip = n > MOST_OUTPUTS ? n - MOST_OUTPUTS : 0;
	g->noutputs = 0;
	n = 0;
	for (MloNode *k = g->first; k; k = k->next)
		if (k->op == OP_quantize_linear && !k->in[0]->data && n++ >= skip)
			mlo_graph_output(g, k->out[0], mlo_sprintf(g->arena, "q%u", n));
}

/* -- runs ----------------------------------------------------------------------------------------- */

typedef struct Exact {
	const char *name;
	MloArena *a;
	const MloGraph *g;
	const MloTensor *const *in;
	MloTensor *want[MOST_OUTPUTS];
	Score *score;
} Exact;

static void compare(const Exact *x, const char *where, const RunHow *how)
{
	MloTensor *out[MOST_OUTPUTS];
	MloDiag d = {0};
	int64_t elems = 0, wrong = 0;
	MloStatus st = support_run(x->a, x->g, how, x->in, out, &d);

	for (uint32_t i = 0; st == MLO_OK && i < x->g->noutputs; i++) {
		const MloTensor *w = x->want[i];
		const size_t size = mlo_elem_bits(w->elem) / 8;

		elems += mlo_tensor_elems(w);
		for (int64_t k = 0; k < mlo_tensor_elems(w); k++)
			wrong += memcmp((const char *)w->data + (size_t)k * size, (const char *)out[i]->data + (size_t)k * size, size) != 0;
	}
	if (st == MLO_OK && !wrong && elems) {
		printf("ok %-28s exact: %-14s %lld elements of %u values\n", x->name, where, (long long)elems, x->g->noutputs);
		x->score->passed++;
	} else {
		printf("FAIL %-26s exact: %-14s %lld of %lld elements differ\n", x->name, where, (long long)wrong, (long long)elems);
		mlo_diag_print(&d, "models", stdout);
		x->score->failed++;
	}
	mlo_diag_free(&d);
	fflush(stdout);
}

/* At reduced precision what is float32 in between differs. */
static void levels(const Exact *x, const ArmLevels *arm)
{
	for (int i = 0; i < support_nlevels; i++) {
		const RunHow how = support_emulated(arm, i);

		if (arm->which >> i & 1 && strcmp(how.precision, "f32") == 0)
			compare(x, support_levels[i].name, &how);
	}
}

static void variants(const Exact *x)
{
	MloDiag d = {0};
	const MloTargetSet *s = mlo_target_find("x86_64", &d);
	const RunHow native = {.target = "native", .level = 2, .threads = 2};
	char why[256];

	compare(x, "native", &native);
	for (int i = 0; s && s->variant[i]; i++) {
		const RunHow how = {.target = "x86_64", .variant = s->variant[i]->name, .level = 2, .threads = 1};

		if (mlo_target_runs_here(s->variant[i], why, sizeof why))
			compare(x, s->variant[i]->name, &how);
		else
			x->score->skipped++;
	}
	mlo_diag_free(&d);
}

void exact_run(const char *name, const MloGraph *g, const MloTensor *const *in, const ArmLevels *arm, Score *score)
{
	MloGraph *plain = mlo_graph_clone(g), *quantised = NULL, *reference = NULL;
	Exact x = {.name = name, .a = mlo_arena_new(), .in = in, .score = score};
	MloDiag d = {0};
	MloStatus st = plain && x.a ? MLO_OK : MLO_ERR_NOMEM;

	if (st == MLO_OK && support_is_quantised(plain))
		quantised = mlo_graph_clone(plain);
	else if (st == MLO_OK)
		st = support_quantise(plain, in, &quantised, &d);
	if (st == MLO_OK && !quantised)
		st = mlo_error(&d, MLO_ERR_MODEL, "there is nothing to quantise");
	if (st == MLO_OK) {
		reveal(quantised);
		reference = mlo_graph_clone(quantised);
		st = mlo_passes_run(reference, integers, mlo_target_native(), NULL, &d);
	}
	if (st == MLO_OK)
		st = mlo_exec_graph(x.a, reference, in, x.want, NULL, NULL, &d);
	if (st == MLO_OK) {
		x.g = quantised;
		variants(&x);
		levels(&x, arm);
	} else {
		printf("FAIL %s: cannot be quantised\n", name);
		mlo_diag_print(&d, "models", stdout);
		score->failed++;
	}
	mlo_diag_free(&d);
	mlo_graph_free(reference);
	mlo_graph_free(quantised);
	mlo_graph_free(plain);
	mlo_arena_free(x.a);
}
