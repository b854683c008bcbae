/* ir/ref/ref_tree.c -- tree ensembles: every row walks every tree, leaves are aggregated per target.
 *
 * Tables may hold anything: nodes outside of them, or more steps than there are nodes, end a walk without
 * a leaf; features and targets outside of the row are passed over. */
#include "ir/ref/ref_elem.h"
#include "ir/ref/ref_tree.h"

typedef struct Forest {
	const RefTensor *x, *split, *weight, *member, *y;
	const int32_t *node;
	const int64_t *root;
	const int32_t *target;
	int64_t nnodes, nroots, nweights, nmembers, features, targets;
} Forest;

static bool is_member(const Forest *f, const int32_t *n, double v)
{
	int64_t first = n[TREE_FIRST], count = n[TREE_COUNT];

	if (!f->member || first < 0 || count > f->nmembers - first)
		return false;
	for (int64_t i = first; i < first + count; i++)
		if (ref_get_f64(f->member, i) == v)
			return true;
	return false;
}

/* float32 values and splits are compared in float64, which is exact. */
static bool holds(const Forest *f, int64_t i, double v)
{
	const int32_t *n = f->node + i * TREE_COLUMNS;
	double split = ref_get_f64(f->split, i);

	if (refm_isnan(v) && n[TREE_MISSING])
		return true;
	switch (n[TREE_MODE]) {
	case TREE_LEQ:
		return v <= split;
	case TREE_LT:
		return v < split;
	case TREE_GTE:
		return v >= split;
	case TREE_GT:
		return v > split;
	case TREE_EQ:
		return v == split;
	case TREE_NEQ:
		return v != split;
	default:
		return is_member(f, n, v);
	}
}

/* The leaf that a row reaches, or NULL. */
static const int32_t *find_leaf(const Forest *f, int64_t row, int64_t i)
{
	for (int64_t steps = 0; steps <= f->nnodes && i >= 0 && i < f->nnodes; steps++) {
		const int32_t *n = f->node + i * TREE_COLUMNS;
		int64_t feature = n[TREE_FEATURE];

		if (n[TREE_MODE] == TREE_LEAF)
			return n;
		if (feature < 0 || feature >= f->features)
			return NULL;
		i = holds(f, i, ref_get_f64(f->x, row * f->features + feature)) ? n[TREE_YES] : n[TREE_NO];
	}
	return NULL;
}

typedef enum Aggregate { SUM, MARKED_SUM, AVERAGE, MIN, MAX } Aggregate;

/* Scores of a few targets of one row.  A smallest or largest is NaN until a weight arrives, a marked sum -0, which
 * no sum of other numbers is. */
enum { FEW = 64 };
typedef struct Scores {
	const Forest *f;
	Aggregate how;
	int64_t first, count; /* targets */
	double s[FEW];
} Scores;

static bool sums(const Scores *s)
{
	return s->how == SUM || s->how == MARKED_SUM || s->how == AVERAGE;
}

/* Sums are rounded to the weights' type after each addition. */
static double rounded(const Scores *s, double v)
{
	return s->f->y->elem == EL_f32 ? (double)(float)v : v;
}

static void combine(Scores *s, int64_t k, double w)
{
	if (sums(s))
		s->s[k] = rounded(s, s->s[k] + w);
	else if (refm_isnan(s->s[k]) || (s->how == MIN ? w < s->s[k] : w > s->s[k]))
		s->s[k] = w;
}

static void clear(Scores *s)
{
	for (int64_t k = 0; k < s->count; k++)
		s->s[k] = !sums(s) ? refm_nan() : s->how == MARKED_SUM ? -0.0 : 0;
}

static void add_leaf(Scores *s, const int32_t *leaf)
{
	const Forest *f = s->f;
	int64_t first = leaf[TREE_FIRST], count = leaf[TREE_COUNT];

	if (first < 0 || count > f->nweights - first)
		return;
	for (int64_t i = first; i < first + count; i++) {
		int64_t k = f->target[i] - s->first;

		if (k >= 0 && k < s->count)
			combine(s, k, ref_get_f64(f->weight, i));
	}
}

static void add_trees(Scores *s, int64_t row, int64_t begin, int64_t end)
{
	for (int64_t t = begin; t < end; t++) {
		const int32_t *leaf = find_leaf(s->f, row, s->f->root[t]);

		if (leaf)
			add_leaf(s, leaf);
	}
}

/* Each part of the trees is aggregated, then the parts.  Targets without any weight score 0. */
static void score(Scores *s, int64_t row, int64_t parts)
{
	const Forest *f = s->f;
	Scores part; /* no initialiser: a copy of the array would need a C library */
	int64_t size = f->nroots / parts, larger = f->nroots % parts, at = 0;

	part.f = f;
	part.how = s->how;
	part.first = s->first;
	part.count = s->count;
	clear(s);
	for (int64_t p = 0; p < parts; p++) {
		int64_t end = at + size + (p < larger);

		clear(&part);
		add_trees(&part, row, at, end);
		at = end;
		for (int64_t k = 0; k < s->count; k++)
			if (!refm_isnan(part.s[k]) || sums(s))
				combine(s, k, part.s[k]);
	}
	for (int64_t k = 0; k < s->count; k++) {
		double v = s->s[k];

		if (s->how == AVERAGE)
			v = v / (double)f->nroots;
		else if (!sums(s) && refm_isnan(v))
			v = 0;
		ref_put_f64(f->y, row * f->targets + s->first + k, v);
	}
}

static Aggregate aggregate_of(const char *name)
{
	if (ref_text_is(name, "AVERAGE"))
		return AVERAGE;
	if (ref_text_is(name, "MARKED_SUM"))
		return MARKED_SUM;
	return ref_text_is(name, "MIN") ? MIN : ref_text_is(name, "MAX") ? MAX : SUM;
}

void ref_tree_ensemble(const RefCall *c)
{
	Forest f = {.x = &c->in[TREE_X], .split = &c->in[TREE_SPLITS], .weight = &c->in[TREE_WEIGHTS],
	            .member = ref_in(c, TREE_MEMBERS), .y = &c->out[0], .node = c->in[TREE_NODES].data,
	            .root = c->in[TREE_ROOTS].data, .target = c->in[TREE_TARGETS].data,
	            .nnodes = c->in[TREE_NODES].dim[0], .nroots = c->in[TREE_ROOTS].dim[0],
	            .nweights = c->in[TREE_WEIGHTS].dim[0], .features = c->in[TREE_X].dim[1],
	            .targets = c->out[0].dim[1]};
	Scores s;
	int64_t rows = c->out[0].dim[0], parts = c->attr[ATTR_tree_ensemble_parts].i;

	s.f = &f;
	s.how = aggregate_of(c->attr[ATTR_tree_ensemble_aggregate].s);
	f.nmembers = f.member ? f.member->dim[0] : 0;
	for (int64_t row = 0; row < rows; row++)
		for (s.first = 0; s.first < f.targets; s.first += FEW) {
			s.count = f.targets - s.first < FEW ? f.targets - s.first : FEW;
			score(&s, row, parts);
		}
}
