/* codegen/kernel_verify.c -- checks every invariant of a kernel that can be seen. */
#include <string.h>

#include "codegen/kernel_text.h"
#include "codegen/kept.h"
#include "codegen/matrix.h"
#include "codegen/patch.h"
#include "codegen/sparse.h"
#include "codegen/strips.h"
#include "codegen/winograd.h"
#include "ir/ref/ref.h"

typedef struct Scope {
	const MloKernel *k;
	MloDiag *d;
	bool *value, *var, *acc;   /* visible here */
	MloElem *acc_type;
	bool *let;                 /* defined anywhere */
	int vec_var;               /* of the enclosing vec loop, or -1 */
	const KContract *contract; /* whose epilogue this is, or NULL */
	bool attention;            /* is this a part of one? */
	int depth;                 /* loops around */
	size_t errors;
} Scope;

static void wrong(Scope *s, const char *fmt, ...) MLO_PRINTF(2, 3);
static void wrong(Scope *s, const char *fmt, ...)
{
	char buf[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof buf, fmt, ap);
	va_end(ap);
	s->errors++;
	mlo_error(s->d, MLO_ERR_INTERNAL, "kernel '%s': %s", s->k->name, buf);
}

/* -- expressions --------------------------------------------------------------------------------- */

static bool value_ok(Scope *s, int v, const char *user)
{
	if (v >= 0 && (size_t)v < s->k->value.n && s->value[v])
		return true;
	wrong(s, "%s uses %%%d, which is not defined there", user, v);
	return false;
}

static void check_idx(Scope *s, const KIdx *x, const char *user)
{
	if (!x) {
		wrong(s, "%s has no index", user);
		return;
	}
	if (x->op == KI_VAR && (x->k < 0 || x->k >= s->k->nvar || !s->var[x->k]))
		wrong(s, "%s uses v%lld outside of its loop", user, (long long)x->k);
	if (x->op == KI_VALUE && value_ok(s, (int)x->k, user) && !mlo_elem_is_int(s->k->value.items[x->k].type))
		wrong(s, "%s: index %%%lld is %s, not an integer", user, (long long)x->k,
		      mlo_elem_text(s->k->value.items[x->k].type));
	if ((x->op == KI_MUL || x->op == KI_DIV || x->op == KI_MOD) && x->b && x->b->op != KI_SIZE)
		wrong(s, "%s multiplies or divides by what is neither a constant nor a size", user);
	if ((x->op == KI_DIV || x->op == KI_MOD) && !x->b && x->k <= 0)
		wrong(s, "%s divides by %lld", user, (long long)x->k);
	if (x->op == KI_SIZE && (x->k < 0 || (size_t)x->k >= s->k->size.n))
		wrong(s, "%s uses size s%lld of %zu", user, (long long)x->k, s->k->size.n);
	if (x->op != KI_CONST && x->op != KI_VAR && x->op != KI_VALUE && x->op != KI_SIZE) {
		check_idx(s, x->a, user);
		if (x->b || x->op == KI_ADD || x->op == KI_MIN || x->op == KI_MAX)
			check_idx(s, x->b, user);
	}
}

static bool mentions(const KIdx *x, KIdxOp op, int64_t k)
{
	return (x->op == op && (k < 0 || x->k == k)) || (x->a && mentions(x->a, op, k)) ||
	       (x->b && mentions(x->b, op, k));
}

static void check_number(Scope *s, int64_t n, const char *user)
{
	if (n < 0 && (uint64_t)(-1 - n) >= s->k->size.n)
		wrong(s, "%s with size s%lld of %zu", user, (long long)(-1 - n), s->k->size.n);
}

static void check_guard(Scope *s, const KGuard *g, const char *user)
{
	for (; g; g = g->next) {
		check_idx(s, g->e, user);
		check_number(s, g->extent, user);
	}
}

static bool arg_ok(Scope *s, int arg, const char *user)
{
	if (arg >= 0 && (size_t)arg < s->k->arg.n)
		return true;
	wrong(s, "%s names argument a%d of %zu", user, arg, s->k->arg.n);
	return false;
}

/* Constant bounds that are certainly outside the argument. */
static void check_access(Scope *s, int arg, const KIdx *x, const KGuard *g, const char *user)
{
	int64_t lo, hi, count;

	check_idx(s, x, user);
	check_guard(s, g, user);
	if (!arg_ok(s, arg, user) || s->errors || g || mentions(x, KI_VALUE, -1) || s->k->arg.items[arg].count < 0)
		return;
	count = s->k->arg.items[arg].count;
	kx_range(s->k, x, &lo, &hi);
	if (lo >= count || hi < 0)
		wrong(s, "%s touches a%d[%lld..%lld], which has %lld elements", user, arg, (long long)lo,
		      (long long)hi, (long long)count);
}

/* -- instructions ---------------------------------------------------------------------------------- */

typedef enum Rule { R_FREE, R_NUMBER, R_FLOAT, R_COMPARE, R_BITS, R_SELECT } Rule;
static const Rule rule[K_COUNT] = {
	[K_add] = R_NUMBER, [K_sub] = R_NUMBER, [K_mul] = R_NUMBER, [K_div] = R_NUMBER, [K_mod] = R_NUMBER,
	[K_fmod] = R_NUMBER, [K_fma] = R_NUMBER, [K_min] = R_NUMBER, [K_max] = R_NUMBER, [K_pow] = R_NUMBER,
	[K_neg] = R_NUMBER, [K_abs] = R_NUMBER, [K_sign] = R_NUMBER, [K_floor] = R_NUMBER,
	[K_ceil] = R_NUMBER, [K_rint] = R_NUMBER, [K_sqrt] = R_FLOAT, [K_exp] = R_FLOAT, [K_log] = R_FLOAT,
	[K_decay] = R_FLOAT, [K_phi] = R_FLOAT,
	[K_tanh] = R_FLOAT, [K_erf] = R_FLOAT, [K_sin] = R_FLOAT, [K_cos] = R_FLOAT, [K_sigmoid] = R_FLOAT,
	[K_eq] = R_COMPARE, [K_lt] = R_COMPARE, [K_le] = R_COMPARE, [K_and] = R_BITS, [K_or] = R_BITS,
	[K_xor] = R_BITS, [K_not] = R_BITS, [K_select] = R_SELECT,
};

static bool value_type(MloElem t)
{
	return t == EL_bool || t == EL_f32 || t == EL_f64 || (mlo_elem_is_int(t) && mlo_elem_bits(t) >= 8);
}

static bool memory_type(MloElem t)
{
	return value_type(t) || t == EL_tf32 || t == EL_f16 || t == EL_bf16;
}

static void check_types(Scope *s, const KInst *in, const MloElem *t, int n, const char *user)
{
	Rule r = rule[in->op];
	MloElem want = r == R_COMPARE ? t[0] : in->type;

	if (r == R_FREE)
		return;
	if ((r == R_NUMBER && in->type == EL_bool) || (r == R_FLOAT && !mlo_elem_is_float(in->type)) ||
	    (r == R_COMPARE && in->type != EL_bool) || (r == R_BITS && mlo_elem_is_float(in->type)))
		wrong(s, "%s cannot have type %s", user, mlo_elem_text(in->type));
	for (int i = 0; i < n; i++) {
		MloElem w = r == R_SELECT && i == 0 ? EL_bool : want;

		if (t[i] != w)
			wrong(s, "%s: operand %d is %s, expected %s", user, i, mlo_elem_text(t[i]),
			      mlo_elem_text(w));
	}
}

static void check_leaf(Scope *s, const KInst *in, const char *user)
{
	if (in->op == K_product && (s->attention ? in->type != EL_f32 : !s->contract || in->type != mlo_contract_sum(s->contract)))
		wrong(s, "%s is not a sum of products inside a contraction", user);
	if (in->op == K_index)
		check_idx(s, in->idx, user);
	if (in->op == K_load) {
		check_access(s, in->arg, in->idx, in->guard, user);
		if (arg_ok(s, in->arg, user) && in->type != mlo_kernel_load_type(s->k->arg.items[in->arg].elem))
			wrong(s, "%s loads from a%d of %s", user, in->arg,
			      mlo_elem_text(s->k->arg.items[in->arg].elem));
	}
	if (in->op == K_accum) {
		if (in->arg < 0 || in->arg >= s->k->nacc || !s->acc[in->arg])
			wrong(s, "%s reads acc%d before it is set", user, in->arg);
		else if (s->acc_type[in->arg] != in->type)
			wrong(s, "%s: acc%d is %s", user, in->arg, mlo_elem_text(s->acc_type[in->arg]));
	}
}

static void check_let(Scope *s, int value)
{
	const KInst *in = &s->k->value.items[value];
	int operand[3] = {in->a, in->b, in->c}, n;
	MloElem t[3] = {0};
	char user[48];

	if ((unsigned)in->op >= K_COUNT) {
		wrong(s, "%%%d has no operation", value);
		return;
	}
	snprintf(user, sizeof user, "%%%d = %s.%s", value, mlo_kop_name[in->op], mlo_elem_text(in->type));
	if (!value_type(in->type))
		wrong(s, "%s: values of this type do not exist", user);
	n = mlo_kop_operands[in->op];
	for (int i = 0; i < n; i++) {
		if (!value_ok(s, operand[i], user))
			return;
		t[i] = s->k->value.items[operand[i]].type;
	}
	check_types(s, in, t, n, user);
	check_leaf(s, in, user);
}

/* -- statements --------------------------------------------------------------------------------------- */

static void check_body(Scope *s, const KStmt *first);

static void check_store(Scope *s, const KStmt *st)
{
	char user[48];

	snprintf(user, sizeof user, "store to a%d", st->arg);
	check_access(s, st->arg, st->idx, st->guard, user);
	if (!value_ok(s, st->value, user) || !arg_ok(s, st->arg, user))
		return;
	if (s->k->arg.items[st->arg].dir == KA_IN)
		wrong(s, "%s, which is an input", user);
	if (s->k->value.items[st->value].type != mlo_kernel_load_type(s->k->arg.items[st->arg].elem))
		wrong(s, "%s of %s: value %%%d is %s", user, mlo_elem_text(s->k->arg.items[st->arg].elem),
		      st->value, mlo_elem_text(s->k->value.items[st->value].type));
}

static void check_loop(Scope *s, const KStmt *st)
{
	int outer = s->vec_var;
	char user[48];

	snprintf(user, sizeof user, "loop v%d", st->var);
	check_idx(s, st->extent, user);
	if (st->var < 0 || st->var >= s->k->nvar || s->var[st->var]) {
		wrong(s, "%s: the variable does not exist or is in use", user);
		return;
	}
	if (st->extent && mentions(st->extent, KI_VALUE, -1))
		wrong(s, "%s: the extent depends on data", user);
	if (st->extent && outer >= 0 && mentions(st->extent, KI_VAR, outer))
		wrong(s, "%s: the extent depends on the vec variable v%d", user, outer);
	if (s->attention)
		wrong(s, "%s: inside of an attention", user);
	if (st->loop == KL_VEC && (outer >= 0 || s->contract))
		wrong(s, "%s: vec inside vec", user);
	s->var[st->var] = true;
	if (st->loop == KL_VEC)
		s->vec_var = st->var;
	s->depth++;
	check_body(s, st->body);
	s->depth--;
	s->vec_var = outer;
	s->var[st->var] = false;
}

static void check_acc(Scope *s, const KStmt *st)
{
	MloElem t;
	char user[32];

	snprintf(user, sizeof user, "acc%d", st->acc);
	if (st->acc < 0 || st->acc >= s->k->nacc || !value_ok(s, st->value, user))
		return;
	t = s->k->value.items[st->value].type;
	if (st->kind == KS_ACC_INIT) {
		s->acc[st->acc] = true;
		s->acc_type[st->acc] = t;
		return;
	}
	if (!s->acc[st->acc])
		wrong(s, "%s is updated before it is set", user);
	else if (s->acc_type[st->acc] != t || t == EL_bool)
		wrong(s, "%s of %s takes a value of %s", user, mlo_elem_text(s->acc_type[st->acc]),
		      mlo_elem_text(t));
	if (st->accop != K_add && st->accop != K_mul && st->accop != K_min && st->accop != K_max)
		wrong(s, "%s cannot accumulate with %s", user, mlo_kop_name[st->accop]);
}

static void check_winograd(Scope *s, const KContract *c)
{
	if ((c->wino != 2 && c->wino != 4) || (c->nky != 3 && c->nky != 1) || (c->nkx != 3 && c->nkx != 1) ||
	    c->nky + c->nkx == 2 || c->sy != 1 || c->sx != 1 || c->dy != 1 ||
	    c->dx != 1 || c->group_k || !c->b.packed || c->dot != 1 || mlo_contract_sum(c) != EL_f32)
		wrong(s, "Winograd F(%d) of a contraction that is not a convolution of stride 1 by 3x3, 3x1 or 1x3", c->wino);
	if (c->a.block != c->lanes || c->a.k != 1 || wino_cvecs(c) % c->vecs)
		wrong(s, "Winograd of %lld to %lld channels in vectors of %d", (long long)c->nk, (long long)c->nc, c->lanes);
	if (c->y_chunk % wino_my(c) || c->c_chunk < 1)
		wrong(s, "Winograd without a schedule");
	if (!arg_ok(s, c->w_arg, "contraction"))
		return;
	if (s->k->arg.items[c->w_arg].dir != KA_SCRATCH || s->k->arg.items[c->w_arg].count < wino_scratch_elems(c))
		wrong(s, "Winograd needs %lld elements of scratch memory", (long long)wino_scratch_elems(c));
}

static void check_matrix(Scope *s, const KContract *c)
{
	const int64_t known[] = {c->ny, c->nc, c->nk, c->in_y, c->a.x, c->a.block, c->a.blk};
	bool open = !mlo_contract_by_columns(c) && (c->nx < 0 || c->in_x < 0 || c->a.y < 0);

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		open |= known[i] < 0;
	if (open)
		wrong(s, "contraction of open sizes on a matrix unit");
	if (s->errors)
		return;
	if (c->dot == 1 || c->wino || c->c_outer || c->group_k || c->a.flip || c->c_chunk < 1 || (c->zero.given && c->zero.at))
		wrong(s, "contraction that no matrix unit does");
	else if (arg_ok(s, c->w_arg, "contraction") && (s->k->arg.items[c->w_arg].dir != KA_SCRATCH ||
	         s->k->arg.items[c->w_arg].count * mlo_elem_bits(s->k->arg.items[c->w_arg].elem) / 8 < matrix_scratch_bytes(c)))
		wrong(s, "a matrix unit needs %lld bytes of scratch memory", (long long)matrix_scratch_bytes(c));
}

static void check_strips(Scope *s, const KContract *c)
{
	if (c->sx < 1 || c->sy < 1 || c->dx < 1 || c->dy < 1 || !strips_can(c)) {
		wrong(s, "contraction that takes no strips");
		return;
	}
	if (c->wino || c->depth || c->sparse.spread || c->c_outer || c->scale.on || c->c_chunk < 1)
		wrong(s, "contraction by strips and in another way");
	else if (arg_ok(s, c->w_arg, "contraction") && (s->k->arg.items[c->w_arg].dir != KA_SCRATCH ||
	         s->k->arg.items[c->w_arg].count * mlo_elem_bits(s->k->arg.items[c->w_arg].elem) / 8 < strips_scratch_bytes(c)))
		wrong(s, "strips need %lld bytes of scratch memory", (long long)strips_scratch_bytes(c));
}

/* An argument of a contraction that only reads it. */
static void check_input(Scope *s, int arg, MloElem elem, const char *what)
{
	if (arg_ok(s, arg, "contraction") && s->k->arg.items[arg].elem != elem)
		wrong(s, "contraction: %s is %s, argument a%d %s", what, mlo_elem_text(elem), arg,
		      mlo_elem_text(s->k->arg.items[arg].elem));
}

static void check_patch(Scope *s, const KContract *c)
{
	int64_t tiles = mlo_contract_ctiles(c);
	Patch p;

	if (!c->b.patch)
		return;
	if (c->b.kept || c->b.part || !patch_of(c, &p) || c->dot != 2 * PATCH_QUAD * p.elems)
		wrong(s, "contraction of %d at once that reads no patch", c->dot);
	else if (arg_ok(s, c->b_arg, "contraction") && s->k->arg.items[c->b_arg].count != tiles * patch_elems(&p, c))
		wrong(s, "contraction with %lld weights, a patch takes %lld", (long long)s->k->arg.items[c->b_arg].count,
		      (long long)(tiles * patch_elems(&p, c)));
}

static void check_elements(Scope *s, const KContract *c)
{
	static const struct { MloElem a, b; int dot; } known[] = {
		{EL_f32, EL_f32, 1}, {EL_f32, EL_f16, 1}, {EL_f32, EL_bf16, 1}, {EL_bf16, EL_f32, 1}, {EL_bf16, EL_f16, 1},
		{EL_bf16, EL_bf16, 1}, {EL_bf16, EL_bf16, 2}, {EL_bf16, EL_bf16, 4},
		{EL_f16, EL_f32, 1}, {EL_f16, EL_f16, 1}, {EL_f16, EL_bf16, 1},
		{EL_tf32, EL_f32, 1}, {EL_f32, EL_tf32, CONTRACT_MOST_DOT + 1}, {EL_tf32, EL_tf32, CONTRACT_MOST_DOT + 1},
		{EL_u8, EL_i8, 4}, {EL_i8, EL_i8, 4}, {EL_u8, EL_i8, 8}, {EL_i8, EL_i8, 8}};
	int64_t tiles = mlo_contract_ctiles(c), w = (int64_t)c->vecs * c->lanes;
	int dot = c->dot;
	bool any = false;

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		any |= known[i].a == c->a.elem && known[i].b == c->b.elem &&
		       (known[i].dot == dot || dot > CONTRACT_MOST_DOT || c->b.patch || (contract_is_depthwise(c) && dot == 1));
	if (!any)
		wrong(s, "contraction of %s and %s, %d at once", mlo_elem_text(c->a.elem), mlo_elem_text(c->b.elem), dot);
	else if (dot > 1 && dot <= CONTRACT_MOST_DOT && !c->b.patch && (c->nk < 1 || c->a.k != 1 || !c->b.packed || (c->a.block % dot && c->a.block < c->nk) ||
	                     c->group_k % dot))
		wrong(s, "contraction of %d at once that do not lie beside each other", dot);
	if (c->b.part && (c->b.part != 2 || dot != 4 || !c->b.packed || c->depth || c->sparse.spread))
		wrong(s, "contraction with weights of %d of %d terms side by side", c->b.part, dot);
	if (c->b.kept && (!c->b.packed || dot <= CONTRACT_MOST_DOT || dot * (int)mlo_elem_bits(c->b.elem) % (32 * KEPT_WORDS) || w % KEPT_CHANNELS ||
	                  c->b_at || c->nk < 1 || c->nc < 1))
		wrong(s, "contraction with half of %d terms for %lld channels", dot, (long long)w);
	else if (c->b.kept && arg_ok(s, c->b_arg, "contraction") && s->k->arg.items[c->b_arg].count != kept_elems(c))
		wrong(s, "contraction with %lld weights, half of the terms are %lld", (long long)s->k->arg.items[c->b_arg].count,
		      (long long)kept_elems(c));
	check_patch(s, c);
	if (contract_pairs(c) && (c->cols % 2 || c->wino || c->depth || c->sparse.spread || contract_is_depthwise(c)))
		wrong(s, "contraction by products of matrices in tiles of %d columns", c->cols);
	check_input(s, c->a_arg, c->a.elem, "A");
	check_input(s, c->b_arg, c->b.elem, "B");
	if ((c->a.flip || c->zero.given || c->zero.at) && (!c->zero.sums || mlo_contract_sum(c) != EL_i32))
		wrong(s, "contraction with a zero point, but no sums of weights");
	if (c->zero.given)
		check_input(s, c->zero.z_arg, c->a.elem, "the zero point");
	if (!contract_has_sums(c) || s->errors)
		return;
	check_input(s, c->zero.s_arg, EL_i32, "the sums of weights");
	if (!s->errors && (c->nc < 0 || s->k->arg.items[c->zero.s_arg].count < tiles * c->nky * c->nkx * w))
		wrong(s, "contraction with too few sums of weights");
}

static void check_sparse(Scope *s, const KContract *c)
{
	const KArg *arg = s->k->arg.items;

	check_input(s, c->sparse.i_arg, EL_u8, "places of weights");
	check_input(s, c->sparse.n_arg, EL_i32, "rows of weights");
	if (c->sparse.spread < 1 || c->sparse.spread > c->lanes || c->sparse.runs < 1 ||
	    c->sparse.group < 1 || c->lanes % c->sparse.group || c->vecs != 1 || c->c_chunk < 1 || c->wino || c->depth ||
	    c->c_outer || c->group_k || c->a.k != 1 || c->nk < 1 || c->nc < 1 || c->a.block < 1 || !c->b.packed || c->scale.on || s->depth)
		wrong(s, "sparse weights of a contraction that has no such form");
	if (s->errors || !arg_ok(s, c->w_arg, "contraction"))
		return;
	if (arg[c->sparse.n_arg].count != sparse_rows(c) + 1 || arg[c->sparse.i_arg].count * c->dot * c->sparse.group != arg[c->b_arg].count)
		wrong(s, "%lld places and %lld rows of %lld weights", (long long)arg[c->sparse.i_arg].count,
		      (long long)arg[c->sparse.n_arg].count, (long long)arg[c->b_arg].count);
	if (arg[c->w_arg].dir != KA_SCRATCH || arg[c->w_arg].count * mlo_elem_bits(arg[c->w_arg].elem) / 8 < sparse_scratch_bytes(c))
		wrong(s, "sparse weights need %lld bytes of scratch memory", (long long)sparse_scratch_bytes(c));
}

/* Terms that are scaled. */
static void check_scale(Scope *s, const KContract *c)
{
	int64_t scratch = c->nk * c->vecs * c->lanes;

	if (s->depth || c->wino || !c->b.packed || c->nk < 1 || c->nc < 1 || c->nky != 1 || c->nkx != 1 || c->group_k || c->dot != 1 ||
	    c->b.elem != EL_f32 || c->a.elem != EL_f32 || c->scale.b0 < 0)
		wrong(s, "scaled terms of a contraction that is not a plain one of f32");
	check_input(s, c->scale.g_arg, EL_f32, "the scale");
	if (!arg_ok(s, c->w_arg, "contraction"))
		return;
	if (s->k->arg.items[c->w_arg].dir != KA_SCRATCH || s->k->arg.items[c->w_arg].count < scratch)
		wrong(s, "scaled weights need %lld elements of scratch memory", (long long)scratch);
}

/* Expressions of the loops around a contraction. */
static void check_places(Scope *s, const KContract *c)
{
	const KIdx *const place[] = {c->a_at, c->b_at, c->y_lo, c->y_hi};

	for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
		if (place[i] && !s->depth)
			wrong(s, "a contraction alone begins where its arguments do");
		if (place[i])
			check_idx(s, place[i], "contraction");
	}
	if (!c->y_lo != !c->y_hi || (c->y_lo && (mlo_contract_by_columns(c) || c->ny < 0 || c->y_chunk < c->ny)))
		wrong(s, "contraction of some rows that are not rows of one chunk");
}

static void check_contract(Scope *s, const KStmt *st)
{
	const KContract *c = st->contract;
	const int64_t *open[] = {MLO_CONTRACT_OPEN(*c)};

	if (s->depth ? c->wino || c->depth || c->strips || s->vec_var >= 0 || s->contract : st != s->k->body || st->next || s->contract)
		wrong(s, "a contraction is neither alone in the kernel nor plain in loops");
	check_places(s, c);
	for (size_t i = 0; i < sizeof open / sizeof *open; i++)
		check_number(s, *open[i], "contraction");
	if (!c->nb0 || !c->nb1 || !c->ny || !c->nx || !c->nc || c->nky < 1 || c->nkx < 1)
		wrong(s, "contraction of empty extents");
	if (c->y_chunk < 1 || c->lanes < 1 || c->vecs < 1 || c->cols < 1 || c->rows < 1 || (c->rows > 2 && !c->depth && !c->sparse.spread) || c->depth < 0)
		wrong(s, "contraction without a schedule");
	if (!c->a.block)
		wrong(s, "contraction with a channel block of %lld", (long long)c->a.block);
	if (!c->b.packed && (c->nky != 1 || c->nkx != 1))
		wrong(s, "contraction with taps, but weights that are not packed");
	if (!c->group_c || c->group_k < 0)
		wrong(s, "contraction with groups of %lld channels", (long long)c->group_c);
	if (contract_is_depthwise(c) && c->nc > 1 && (c->a.block != c->lanes || c->a.k != 1))
		wrong(s, "depthwise contraction of blocks of %lld channels in vectors of %d", (long long)c->a.block,
		      c->lanes);
	if (s->errors)
		return;
	check_elements(s, c);
	if (s->errors)
		return;
	if (c->wino)
		check_winograd(s, c);
	if (c->depth)
		check_matrix(s, c);
	if (c->strips)
		check_strips(s, c);
	if (c->sparse.spread)
		check_sparse(s, c);
	if (c->scale.on)
		check_scale(s, c);
	for (int i = 0; i < 5; i++)
		if (c->var[i] < 0 || c->var[i] >= s->k->nvar || s->var[c->var[i]]) {
			wrong(s, "contraction with variable v%d", c->var[i]);
			return;
		}
	for (int i = 0; i < 5; i++)
		s->var[c->var[i]] = true;
	s->contract = c;
	check_body(s, st->body);
	s->contract = NULL;
	for (int i = 0; i < 5; i++)
		s->var[c->var[i]] = false;
}

/* Nothing but par loops around, and nothing beside it. */
static bool only_task(const Scope *s, const KStmt *st)
{
	const KStmt *par[MLO_KERNEL_MAX_PAR];
	int n;

	return mlo_kernel_nest(s->k, par, MLO_KERNEL_MAX_PAR, &n) == st && !st->next && n == s->depth;
}

static void check_half(Scope *s, const KStmt *body, const int *var, int score)
{
	for (int i = 0; i < 2; i++)
		s->var[var[i]] = true;
	s->attention = true;
	check_body(s, body);
	s->attention = false;
	for (int i = 0; i < 2; i++)
		s->var[var[i]] = false;
	if (score >= 0 && ((size_t)score >= s->k->value.n || !s->let[score] || s->k->value.items[score].type != EL_f32))
		wrong(s, "attention by scores %%%d, which are not there", score);
}

static void check_attention(Scope *s, const KStmt *st)
{
	const KAttention *t = st->attention;
	const KIdx *const place[] = {t->q_at, t->k_at, t->v_at, t->first};
	const int64_t open[] = {t->nq, t->nk, t->q.row, t->q.col, t->k.row, t->k.col, t->v.row, t->v.col};
	const int arg[] = {t->q_arg, t->k_arg, t->v_arg};

	if (!only_task(s, st))
		wrong(s, "an attention is not alone in its task");
	for (size_t i = 0; i < sizeof place / sizeof *place; i++)
		check_idx(s, place[i], "attention");
	for (size_t i = 0; i < sizeof open / sizeof *open; i++)
		check_number(s, open[i], "attention");
	for (size_t i = 0; i < sizeof arg / sizeof *arg; i++)
		if (arg_ok(s, arg[i], "attention") && mlo_kernel_load_type(s->k->arg.items[arg[i]].elem) != EL_f32)
			wrong(s, "attention of %s", mlo_elem_text(s->k->arg.items[arg[i]].elem));
	if (!t->nq || !t->nk || t->terms < 1 || t->nv < 1)
		wrong(s, "attention of empty extents");
	if (t->rows < 1 || t->keys < 1 || mlo_kernel_load_type(t->word) != EL_f32)
		wrong(s, "attention without a schedule");
	for (int i = 0; i < 3; i++)
		if (t->var[i] < 0 || t->var[i] >= s->k->nvar || s->var[t->var[i]]) {
			wrong(s, "attention with variable v%d", t->var[i]);
			return;
		}
	if (s->errors)
		return;
	check_half(s, t->scores, (const int[]){t->var[0], t->var[1]}, t->score);
	check_half(s, st->body, (const int[]){t->var[0], t->var[2]}, -1);
}

static bool power_of_two(int64_t v)
{
	return v > 0 && !(v & (v - 1));
}

static void check_forest(Scope *s, const KStmt *st)
{
	const KForest *f = st->forest;
	const int arg[] = {f->x_arg, f->node_arg, f->tree_arg, f->column_arg, f->set_arg, f->y_arg, f->key_arg, f->acc_arg,
	                   f->weight_arg};
	const MloElem elem[] = {EL_f32, EL_i64, EL_i32, EL_i32, EL_i32, EL_f32, EL_i32, EL_f32, EL_f32};

	if (st != s->k->body || st->next)
		wrong(s, "a forest is not alone in the kernel");
	check_number(s, f->rows, "forest");
	if (f->features < 1 || f->targets < 1 || f->trees < 1 || f->parts < 1 || f->parts > f->trees ||
	    f->columns < f->leaf_columns || (f->leaf_columns != 1 && f->leaf_columns != f->targets) ||
	    f->divide < 1 || f->places * f->parts < f->trees || f->delta_bits < 1 || f->delta_bits > 30)
		wrong(s, "forest of empty extents");
	if (!power_of_two(f->ways) || f->ways > 8 || f->bunch < 1 || f->bunch > 8 || f->places % f->bunch || f->block < 1 ||
	    f->chunk < 1 || f->chunk % f->ways || !power_of_two(f->add))
		wrong(s, "forest without a schedule");
	if ((f->width > 0) != (f->weight_arg >= 0) || f->width % f->add || (f->width && f->width < f->targets))
		wrong(s, "forest with rows of %lld weights for %lld targets", (long long)f->width, (long long)f->targets);
	for (int i = 0; i < (f->weight_arg >= 0 ? 9 : 8); i++)
		if (arg_ok(s, arg[i], "forest") && s->k->arg.items[arg[i]].elem != elem[i])
			wrong(s, "forest: a%d holds %s, not %s", arg[i], mlo_elem_text(s->k->arg.items[arg[i]].elem),
			      mlo_elem_text(elem[i]));
}

static void check_call(Scope *s, const KStmt *st)
{
	const KCall *c = st->call;

	if (c->sizes && arg_ok(s, c->sizes_arg, "call") &&
	    (s->k->arg.items[c->sizes_arg].elem != EL_i64 || s->k->arg.items[c->sizes_arg].count != REF_SIZES * c->nout))
		wrong(s, "a%d cannot hold the sizes of %d results", c->sizes_arg, c->nout);
	if (st != s->k->body || st->next)
		wrong(s, "a call is not alone in the kernel");
	for (int i = 0; i < c->nin + c->nout; i++) {
		const KCallTensor *t = i < c->nin ? &c->in[i] : &c->out[i - c->nin];

		if (t->arg == -1 || (t->arg == KC_SHAPE ? !c->sizes : !arg_ok(s, t->arg, "call")))
			continue;
		for (int j = 0; j < t->rank; j++)
			check_number(s, t->dim[j], "call");
	}
}

static void check_stmt(Scope *s, const KStmt *st)
{
	switch (st->kind) {
	case KS_LET:
		if (st->value < 0 || (size_t)st->value >= s->k->value.n || s->let[st->value]) {
			wrong(s, "%%%d is defined twice or does not exist", st->value);
			return;
		}
		check_let(s, st->value);
		s->let[st->value] = s->value[st->value] = true;
		break;
	case KS_STORE:
		check_store(s, st);
		break;
	case KS_LOOP:
		check_loop(s, st);
		break;
	case KS_ACC_INIT:
	case KS_ACC:
		check_acc(s, st);
		break;
	case KS_CONTRACT:
		check_contract(s, st);
		break;
	case KS_ATTENTION:
		check_attention(s, st);
		break;
	case KS_FOREST:
		check_forest(s, st);
		break;
	case KS_CALL:
		check_call(s, st);
	}
}

static void check_body(Scope *s, const KStmt *first)
{
	for (const KStmt *st = first; st; st = st->next)
		check_stmt(s, st);
	for (const KStmt *st = first; st; st = st->next) {
		if (st->kind == KS_LET && st->value >= 0 && (size_t)st->value < s->k->value.n)
			s->value[st->value] = false;
		if (st->kind == KS_ACC_INIT && st->acc >= 0 && st->acc < s->k->nacc)
			s->acc[st->acc] = false;
	}
}

/* On more than sizes? */
static bool depends(const KIdx *x)
{
	return mentions(x, KI_VAR, -1) || mentions(x, KI_VALUE, -1);
}

MloStatus mlo_kernel_verify(const MloKernel *k, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	Scope s = {.k = k, .d = d, .vec_var = -1};
	bool call = k->body && k->body->kind == KS_CALL;

	if (!a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	s.value = MLO_NEWN(a, bool, k->value.n + 1);
	s.let = MLO_NEWN(a, bool, k->value.n + 1);
	s.var = MLO_NEWN(a, bool, (size_t)k->nvar + 1);
	s.acc = MLO_NEWN(a, bool, (size_t)k->nacc + 1);
	s.acc_type = MLO_NEWN(a, MloElem, (size_t)k->nacc + 1);
	check_number(&s, k->ntasks, "tasks");
	for (size_t i = 0; i < k->arg.n; i++) {
		const KArg *arg = &k->arg.items[i];

		if (arg->count < 0 && (arg->count < -1 || (arg->elems ? depends(arg->elems) : !call)))
			wrong(&s, "a%zu has %lld elements", i, (long long)arg->count);
		if (arg->count < 0 && arg->elems)
			check_idx(&s, arg->elems, "an argument");
		if (arg->dir == KA_SIZES && (arg->elem != EL_i64 || (int)i != k->sizes_arg || arg->count != (int64_t)k->size.n))
			wrong(&s, "a%zu cannot hold the %zu sizes", i, k->size.n);
		if (!call && !memory_type(arg->elem))
			wrong(&s, "a%zu: elements of %s are for calls only", i, mlo_elem_text(arg->elem));
	}
	if (k->size.n > 0 && k->sizes_arg < 0)
		wrong(&s, "sizes without an argument");
	check_body(&s, k->body);
	mlo_arena_free(a);
	return s.errors ? MLO_ERR_INTERNAL : MLO_OK;
}
