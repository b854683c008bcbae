/* tools/distill.c -- layers of a student fitted to those of its teacher. */
#include <math.h>
#include <string.h>

#include "passes/pass.h"
#include "quant/lift.h"
#include "tools/compile.h"
#include "tools/prune.h"
#include "tools/window.h"

/* -- two models ------------------------------------------------------------------------------------------ */

static MloStatus load(const Prune *x, const char *path, MloGraph **source, MloGraph **out)
{
	MloLoadOptions lo = {.keep_symbols = true, .quiet = true};

	MLO_TRY(mlo_load_model(path, &lo, source, x->d));
	*out = mlo_graph_clone(*source);
	if (!*out)
		return mlo_error(x->d, MLO_ERR_NOMEM, "out of memory");
	return mlo_passes_run(*out, "float", NULL, NULL, x->d);
}

/* Can both be of the same shape in a run? */
static bool fits(const MloType *a, const MloType *b)
{
	if (a->rank == MLO_RANK_UNKNOWN || b->rank == MLO_RANK_UNKNOWN)
		return true;
	if (a->elem != b->elem || a->rank != b->rank || mlo_type_object(a) || mlo_type_object(b))
		return false;
	for (int i = 0; i < a->rank; i++)
		if (mlo_dim_differ(a->dim[i], b->dim[i]))
			return false;
	return true;
}

static MloStatus check_value(const Prune *x, const MloValue *teacher, const MloValue *student, const char *what)
{
	MloStr a = {.arena = x->a}, b = {.arena = x->a};

	if (fits(&teacher->type, &student->type))
		return MLO_OK;
	mlo_type_print(&a, &teacher->type);
	mlo_type_print(&b, &student->type);
	return mlo_error(x->d, MLO_ERR_MODEL, "teacher and student do not match: %s '%s' is %s, of the student %s", what,
			 teacher->name ? teacher->name : "?", mlo_str_text(&a), mlo_str_text(&b));
}

/* Samples go through both, and results are compared. */
static MloStatus check_interface(const Prune *x)
{
	const MloGraph *t = x->dense, *s = x->g;

	if (t->ninputs != s->ninputs || t->noutputs != s->noutputs)
		return mlo_error(x->d, MLO_ERR_MODEL,
				 "teacher and student do not match: %u inputs and %u outputs, of the student %u and %u", t->ninputs,
				 t->noutputs, s->ninputs, s->noutputs);
	for (uint32_t i = 0; i < t->ninputs; i++)
		MLO_TRY(check_value(x, t->inputs[i], s->inputs[i], "input"));
	for (uint32_t i = 0; i < t->noutputs; i++)
		MLO_TRY(check_value(x, t->outputs[i], s->outputs[i], "output"));
	return MLO_OK;
}

/* -- layers that belong together --------------------------------------------------------------------------- */

static bool alike(const MloPtqLayer *a, const MloPtqLayer *b)
{
	return a->kind == b->kind && fits(&a->sum->type, &b->sum->type);
}

/* Does b, of the student, give the same but for fewer channels? */
static bool narrower(const MloPtqLayer *a, const MloPtqLayer *b)
{
	MloType given = a->sum->type;
	int axis = b->kind == PTQ_CONV ? 1 : given.rank - 1;

	if (a->kind != b->kind || given.rank == MLO_RANK_UNKNOWN || given.rank != b->sum->type.rank ||
	    a->n->in[1]->data->dim[mlo_ptq_weight_axis(a->kind)] <= b->n->in[1]->data->dim[mlo_ptq_weight_axis(b->kind)])
		return false;
	given.dim[axis] = b->sum->type.dim[axis];
	return fits(&given, &b->sum->type);
}

static size_t by_name(const MloPtq *from, const MloPtqLayer *l)
{
	for (size_t i = 0; i < from->nlayers; i++)
		if (mlo_ptq_weighs(from->layer[i].kind) && from->layer[i].g == from->g &&
		    !strcmp(mlo_node_name(from->layer[i].n), mlo_node_name(l->n)))
			return i;
	return SIZE_MAX;
}

/* Layers without a namesake that give what student's layer l gives, and how many of them come before index `end`. */
static size_t count_alike(const MloPtq *q, const bool *named, const MloPtqLayer *l, size_t end, size_t *before)
{
	size_t n = 0;

	*before = 0;
	for (size_t i = 0; i < q->nlayers; i++) {
		const MloPtqLayer *k = &q->layer[i];

		if (named[i] || !mlo_ptq_weighs(k->kind) || k->g != q->g || !alike(k, l))
			continue;
		*before += i < end;
		n++;
	}
	return n;
}

/* Which layers have found one of the same name: of the teacher, and of the student. */
typedef struct Named {
	bool *teacher, *student;
} Named;

/* If both have as many that give the same shape, in the same order. */
static size_t by_shape(const Prune *x, const Named *named, const MloPtqLayer *l, const char **why)
{
	size_t at, other, i = 0, mine = count_alike(x->q, named->student, l, (size_t)(l - x->q->layer), &at);
	size_t theirs = count_alike(x->from, named->teacher, l, 0, &other);

	*why = !theirs ? "the teacher has no layer of that name or shape"
		       : mlo_sprintf(x->a, "the teacher has no layer of that name, and %zu of that shape for %zu", theirs, mine);
	if (theirs != mine)
		return SIZE_MAX;
	for (; i < x->from->nlayers; i++) {
		count_alike(x->from, named->teacher, l, i, &other);
		if (other == at && !named->teacher[i] && mlo_ptq_weighs(x->from->layer[i].kind) &&
		    x->from->layer[i].g == x->from->g && alike(&x->from->layer[i], l))
			break;
	}
	MLO_ASSERT(i < x->from->nlayers);
	return i;
}

static Named find_named(Prune *x)
{
	Named r = {MLO_NEWN(x->a, bool, x->from->nlayers + 1), MLO_NEWN(x->a, bool, x->q->nlayers + 1)};

	for (size_t i = 0; i < x->list.n; i++) {
		const size_t l = x->list.layer[i].index;

		x->twin[i] = by_name(x->from, &x->q->layer[l]);
		r.student[l] = x->twin[i] != SIZE_MAX;
		if (r.student[l])
			r.teacher[x->twin[i]] = true;
	}
	return r;
}

static size_t match(Prune *x)
{
	const Named named = find_named(x);
	const char *why = NULL;
	size_t found = 0;

	for (size_t i = 0; i < x->list.n; i++) {
		MloPruneLayer *l = &x->list.layer[i];
		const MloPtqLayer *p = &x->q->layer[l->index];

		/* where zeros gain nothing, there is something to fit all the same */
		l->off = p->off ? p->off : p->g == x->g ? NULL : "it is in a branch";
		if (!l->off && x->twin[i] == SIZE_MAX)
			x->twin[i] = by_shape(x, &named, p, &why);
		if (!l->off && x->twin[i] == SIZE_MAX)
			l->off = why;
		else if (!l->off && !alike(&x->from->layer[x->twin[i]], p) && !narrower(&x->from->layer[x->twin[i]], p))
			l->off = "the teacher's layer gives other shapes";
		else if (!l->off && l->n->op == OP_conv && !window_known(l->n))
			l->off = "its pads are not known as numbers";
		found += !l->off;
	}
	return found;
}

static bool all_excluded(const Prune *x)
{
	for (size_t i = 0; i < x->list.n; i++)
		if (!x->q->layer[x->list.layer[i].index].off)
			return false;
	return true;
}

/* -- students in QDQ form --------------------------------------------------------------------------------- */

static bool no_float(const MloNode *n)
{
	switch (n->op) {
	case OP_conv_integer:
	case OP_conv_transpose_integer:
	case OP_matmul_integer:
	case OP_matmul_nbits:
	case OP_lstm_integer: return true;
	default: return false;
	}
}

/* Layers whose weights are no floats and stay so are named. */
static void name_others(const Prune *x)
{
	for (size_t i = 0; i < x->nlifted; i++)
		if (x->lifted[i].off)
			mlo_warn(x->d, "node '%s' stays as it is: %s", mlo_node_name(x->lifted[i].n), x->lifted[i].off);
	for (const MloNode *n = x->g->first; n; n = n->next)
		if (no_float(n))
			mlo_warn(x->d, "node '%s' stays as it is: it works on integers, not in QDQ form", mlo_node_name(n));
}

/* Weights that are dequantised for activations of float32 would become such. */
static MloStatus check_activations(const Prune *x, const char *student)
{
	for (const MloNode *n = x->student->first; n; n = n->next) {
		const MloNode *w = n->nin > 1 && (n->op == OP_conv || n->op == OP_matmul || n->op == OP_gemm)
					   ? mlo_lift_source(n->in[1])
					   : NULL;

		if (!w || !w->in[0]->data || mlo_lift_source(n->in[0]))
			continue;
		mlo_node_error(x->d, MLO_ERR_UNSUPPORTED, n, "has quantised weights but reads float32 in '%s': distilled can be "
							      "float32 and QDQ models", student);
		mlo_hint(x->d, "'mlopt quantize' makes a QDQ model of a float32 one");
		return MLO_ERR_UNSUPPORTED;
	}
	return MLO_OK;
}

static MloStatus open_student(Prune *x, const char *student)
{
	MLO_TRY(load(x, student, &x->student, &x->g));
	MLO_TRY(check_activations(x, student));
	x->nlifted = mlo_lift(x->a, x->g, &x->lifted, x->d);
	for (size_t i = 0; i < x->nlifted; i++)
		x->quantised |= !x->lifted[i].off;
	name_others(x);
	return MLO_OK;
}

static MloStatus nothing_to_fit(const Prune *x, const char *student)
{
	const MloNode *n = x->g->first;

	while (n && !no_float(n))
		n = n->next;
	if (n || x->nlifted)
		return mlo_error(x->d, MLO_ERR_MODEL, "'%s': no layer is in float32 or in QDQ form of 8 bits", student);
	return mlo_error(x->d, MLO_ERR_MODEL, "'%s': no convolution or product has constant weights of float32", student);
}

MloStatus distill_open(Prune *x, MloArena *a, const PruneOptions *opt, const char *student, MloDiag *d)
{
	prune_begin(x, a, opt, d);
	MLO_TRY(load(x, opt->data.model, &x->source, &x->dense));
	MLO_TRY(open_student(x, student));
	MLO_TRY(check_interface(x));
	x->from = mlo_ptq_new(a, x->dense, &opt->ptq);
	x->q = mlo_ptq_new(a, x->g, &opt->ptq);
	mlo_lift_mark(x->q, x->lifted, x->nlifted);
	mlo_prune_layers(a, x->q, &opt->pattern, &x->list);
	if (!x->list.n)
		return nothing_to_fit(x, student);
	x->twin = MLO_NEWN(a, size_t, x->list.n + 1);
	x->stays = MLO_NEWN(a, bool, x->list.n + 1);
	x->before = MLO_NEWN(a, double, x->list.n + 1);
	for (size_t i = 0; i < x->list.n; i++) {
		x->before[i] = NAN;
		x->stays[i] = true; /* until it gains */
	}
	x->hold = true;
	if (match(x))
		return MLO_OK;
	if (all_excluded(x))
		return mlo_error(d, MLO_ERR_MODEL, "'%s': all layers are excluded", student);
	return mlo_error(d, MLO_ERR_MODEL, "teacher and student do not match: no layer of '%s' gives what one of '%s' gives",
			 student, opt->data.model);
}

static MloStatus see_before(void *user, size_t layer, PruneSums *sums)
{
	Prune *x = user;

	x->before[layer] = prune_judge(x, layer, sums);
	return MLO_OK;
}

static MloStatus see_after(void *user, size_t layer, PruneSums *sums)
{
	Prune *x = user;

	x->list.layer[layer].sqnr = prune_judge(x, layer, sums);
	return MLO_OK;
}

static MloStatus judge(Prune *x, PruneSeeFn *see)
{
	MloStatus st;

	x->judging = true;
	st = prune_each(x, true, "judge", see, x);
	x->judging = false;
	return st;
}

enum { RANGE_TURNS = 5 };

/* Values that were cut off are seen behind the layers that cut them off no more: in turns. */
static MloStatus fit_ranges(Prune *x, int turns)
{
	size_t changed = 1;

	for (int i = 0; x->quantised && changed && i < turns; i++)
		MLO_TRY(distill_ranges(x, &changed));
	return MLO_OK;
}

static MloStatus fit_all(Prune *x)
{
	MLO_TRY(judge(x, see_before));
	if (x->samples < HOLD_EACH)
		return mlo_error(x->d, MLO_ERR_MODEL, "'%s': %lld samples are too few: one in %d is held out to see whether layers gain",
				 x->opt->data.calib, (long long)x->samples, HOLD_EACH);
	for (int i = 0; i < x->opt->fits; i++) {
		MLO_TRY(fit_ranges(x, i ? 1 : RANGE_TURNS));
		MLO_TRY(prune_fit(x));
	}
	if (x->opt->steps && x->quantised)
		mlo_warn(x->d, "--steps is for students of float32: this one has been fitted layer by layer alone");
	else if (x->opt->steps)
		MLO_TRY(distill_descend(x));
	return judge(x, see_after);
}

MloStatus distill_run(Prune *x, double *before)
{
	MLO_TRY(prune_measure(x, PRUNE_MEASURED));
	*before = x->output_sqnr;
	MLO_TRY(distill_channels(x));
	MLO_TRY(fit_all(x));
	MLO_TRY(prune_measure(x, PRUNE_MEASURED));
	if (x->output_sqnr > *before)
		return MLO_OK;
	mlo_note(x->d, "the student stays as it is: fitted, its outputs have %.1f dB instead of %.1f", x->output_sqnr, *before);
	x->kept = x->student;
	x->output_sqnr = *before;
	return MLO_OK;
}
