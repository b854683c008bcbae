/* ir/dim_walk.c -- symbolic dimensions computed term by term: evaluation, replacement of sizes. */
#include "ir/dim_impl.h"

bool mlo_dim_symbol(MloDim d, const char **name)
{
	const Term *t = d.e && d.e->n == 1 ? &d.e->t[0] : NULL;

	if (!t || t->n != 1 || t->coef != 1 || t->atom[0]->kind != ATOM_SYM)
		return false;
	*name = t->atom[0]->name;
	return true;
}

static int64_t walk_atom(const Atom *x, const MloDimWalk *w, void *user)
{
	int64_t a, b;

	if (x->kind == ATOM_SYM)
		return w->symbol(user, x->name);
	a = mlo_dim_walk(x->a, w, user);
	b = mlo_dim_walk(x->b, w, user);
	return w->combine(user, x->kind == ATOM_DIV ? '/' : 'm', a, b);
}

static int64_t walk_term(const Term *t, const MloDimWalk *w, void *user)
{
	bool plain = t->coef == 1 && t->n > 0;
	int64_t product = plain ? walk_atom(t->atom[0], w, user) : w->number(user, t->coef);

	for (int i = plain; i < t->n; i++)
		product = w->combine(user, '*', product, walk_atom(t->atom[i], w, user));
	return product;
}

int64_t mlo_dim_walk(MloDim d, const MloDimWalk *w, void *user)
{
	int64_t sum;

	if (!d.e)
		return w->number(user, d.k);
	sum = walk_term(&d.e->t[0], w, user);
	for (int i = 1; i < d.e->n; i++)
		sum = w->combine(user, '+', sum, walk_term(&d.e->t[i], w, user));
	return sum;
}

/* -- evaluation ----------------------------------------------------------------------------- */

typedef struct Eval {
	MloSymLookup *look;
	void *user;
	bool ok;
} Eval;

static int64_t eval_number(void *user, int64_t k)
{
	(void)user;
	return k;
}

static int64_t eval_symbol(void *user, const char *name)
{
	Eval *e = user;
	int64_t v = 0;

	e->ok = e->ok && e->look(e->user, name, &v);
	return e->ok ? v : 0;
}

static int64_t floor_div(Eval *e, int64_t a, int64_t b)
{
	if (b == 0 || (b == -1 && a == INT64_MIN)) {
		e->ok = false;
		return 0;
	}
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t eval_combine(void *user, char op, int64_t a, int64_t b)
{
	Eval *e = user;
	int64_t v = 0;

	if (op == 'm')
		return a > b ? a : b;
	if (op == '/')
		return e->ok ? floor_div(e, a, b) : 0;
	e->ok &= !(op == '+' ? __builtin_add_overflow(a, b, &v) : __builtin_mul_overflow(a, b, &v));
	return v;
}

bool mlo_dim_eval(MloDim d, MloSymLookup *look, void *user, int64_t *out)
{
	static const MloDimWalk walk = {eval_number, eval_symbol, eval_combine};
	Eval e = {look, user, true};

	*out = mlo_dim_walk(d, &walk, &e);
	return e.ok;
}

/* -- replacement ---------------------------------------------------------------------------- */

typedef struct Subst {
	MloSymbols *t;
	MloSymReplace *find;
	void *user;
	struct { MloDim *items; size_t n, cap; } made; /* handles are indices */
} Subst;

static int64_t made(Subst *s, MloDim d)
{
	MLO_PUSH(s->t->arena, &s->made, d);
	return (int64_t)s->made.n - 1;
}

static int64_t subst_number(void *user, int64_t k)
{
	return made(user, mlo_dim(k));
}

static int64_t subst_symbol(void *user, const char *name)
{
	Subst *s = user;
	MloDim d;

	return made(s, s->find(s->user, name, &d) ? d : mlo_dim_sym(s->t, name));
}

static int64_t subst_combine(void *user, char op, int64_t a, int64_t b)
{
	Subst *s = user;
	MloDim x = s->made.items[a], y = s->made.items[b];

	return made(s, op == '+'   ? mlo_dim_add(s->t, x, y)
	               : op == '*' ? mlo_dim_mul(s->t, x, y)
	               : op == '/' ? mlo_dim_div(s->t, x, y)
	                           : mlo_dim_max(s->t, x, y));
}

MloDim mlo_dim_subst(MloSymbols *t, MloDim d, MloSymReplace *find, void *user)
{
	static const MloDimWalk walk = {subst_number, subst_symbol, subst_combine};
	Subst s = {.t = t, .find = find, .user = user};
	int64_t at;

	if (!d.e)
		return d;
	at = mlo_dim_walk(d, &walk, &s);
	return s.made.items[at];
}
