/* codegen/kernel_text.c -- prints kernels; kernel_parse.c reads the text back exactly. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "codegen/kernel.h"
#include "codegen/kernel_text.h"

const char *const mlo_kop_name[K_COUNT] = {
#define KOP(id, n, meaning) #id,
#include "codegen/kops.def"
};
const int mlo_kop_operands[K_COUNT] = {
#define KOP(id, n, meaning) n,
#include "codegen/kops.def"
};
const char *const mlo_kloop_name[] = {"seq", "par", "vec"};
const char *const mlo_kdir_name[] = {"in", "out", "inout", "scratch", "sizes"};
const KField mlo_kcontract_fields[] = {
#define FIELD(kind, member) {#member, offsetof(KContract, member), kind},
	FIELD(KF_I64, nb0) FIELD(KF_I64, nb1) FIELD(KF_I64, ny) FIELD(KF_I64, nx) FIELD(KF_I64, nc)
	FIELD(KF_I64, nk) FIELD(KF_I64, nky) FIELD(KF_I64, nkx)
	FIELD(KF_I64, sy) FIELD(KF_I64, sx) FIELD(KF_I64, dy) FIELD(KF_I64, dx)
	FIELD(KF_I64, py) FIELD(KF_I64, px) FIELD(KF_I64, in_y) FIELD(KF_I64, in_x)
	FIELD(KF_I64, qx)
	FIELD(KF_I64, group_c) FIELD(KF_I64, group_k) FIELD(KF_INT, dot) FIELD(KF_INT, a_arg) FIELD(KF_INT, b_arg)
	FIELD(KF_ELEM, a.elem) FIELD(KF_BOOL, a.flip) FIELD(KF_I64, a.b0) FIELD(KF_I64, a.b1) FIELD(KF_I64, a.y) FIELD(KF_I64, a.x)
	FIELD(KF_I64, a.block) FIELD(KF_I64, a.blk) FIELD(KF_I64, a.k)
	FIELD(KF_ELEM, b.elem) FIELD(KF_BOOL, b.packed) FIELD(KF_BOOL, b.small) FIELD(KF_BOOL, b.kept) FIELD(KF_BOOL, b.patch) FIELD(KF_INT, b.part) FIELD(KF_I64, b.b0) FIELD(KF_I64, b.b1) FIELD(KF_I64, b.k)
	FIELD(KF_BOOL, zero.sums) FIELD(KF_BOOL, zero.given) FIELD(KF_INT, zero.s_arg) FIELD(KF_INT, zero.z_arg)
	FIELD(KF_I64, zero.at) FIELD(KF_BOOL, scale.on) FIELD(KF_INT, scale.g_arg) FIELD(KF_I64, scale.b0)
	FIELD(KF_INT, var[0]) FIELD(KF_INT, var[1]) FIELD(KF_INT, var[2]) FIELD(KF_INT, var[3])
	FIELD(KF_INT, var[4])
	FIELD(KF_INT, lanes) FIELD(KF_INT, vecs) FIELD(KF_INT, cols) FIELD(KF_INT, rows)
	FIELD(KF_I64, y_chunk) FIELD(KF_BOOL, c_outer)
	FIELD(KF_INT, wino) FIELD(KF_INT, w_arg) FIELD(KF_I64, c_chunk)
	FIELD(KF_INT, depth) FIELD(KF_BOOL, strips)
	FIELD(KF_INT, sparse.spread) FIELD(KF_INT, sparse.group) FIELD(KF_I64, sparse.runs) FIELD(KF_INT, sparse.i_arg) FIELD(KF_INT, sparse.n_arg)
#undef FIELD
	{0},
};

const KField mlo_kattention_fields[] = {
#define FIELD(kind, member) {#member, offsetof(KAttention, member), kind},
	FIELD(KF_I64, nq) FIELD(KF_I64, nk) FIELD(KF_I64, terms) FIELD(KF_I64, nv)
	FIELD(KF_INT, q_arg) FIELD(KF_INT, k_arg) FIELD(KF_INT, v_arg)
	FIELD(KF_I64, q.row) FIELD(KF_I64, q.col) FIELD(KF_I64, k.row) FIELD(KF_I64, k.col) FIELD(KF_I64, v.row) FIELD(KF_I64, v.col)
	FIELD(KF_INT, var[0]) FIELD(KF_INT, var[1]) FIELD(KF_INT, var[2])
	FIELD(KF_ELEM, word) FIELD(KF_INT, rows) FIELD(KF_INT, keys)
#undef FIELD
	{0},
};

const KField mlo_kforest_fields[] = {
#define FIELD(kind, member) {#member, offsetof(KForest, member), kind},
	FIELD(KF_I64, rows) FIELD(KF_I64, features) FIELD(KF_I64, targets) FIELD(KF_I64, trees) FIELD(KF_I64, parts)
	FIELD(KF_I64, places) FIELD(KF_I64, columns) FIELD(KF_I64, leaf_columns) FIELD(KF_I64, width) FIELD(KF_I64, divide)
	FIELD(KF_INT, delta_bits) FIELD(KF_INT, combine) FIELD(KF_INT, x_arg) FIELD(KF_INT, node_arg)
	FIELD(KF_INT, tree_arg) FIELD(KF_INT, column_arg) FIELD(KF_INT, set_arg) FIELD(KF_INT, weight_arg)
	FIELD(KF_INT, y_arg) FIELD(KF_INT, key_arg) FIELD(KF_INT, acc_arg)
	FIELD(KF_INT, ways) FIELD(KF_INT, bunch) FIELD(KF_INT, add)
	FIELD(KF_I64, chunk) FIELD(KF_I64, block)
#undef FIELD
	{0},
};

int64_t mlo_kfield_get(const void *of, const KField *f)
{
	const char *p = (const char *)of + f->offset;

	return f->kind == KF_I64    ? *(const int64_t *)p
	       : f->kind == KF_INT  ? *(const int *)p
	       : f->kind == KF_BOOL ? *(const bool *)p
	                            : (int64_t)*(const MloElem *)p;
}

/* -- pieces -------------------------------------------------------------------------------------- */

static void number(MloStr *o, double v)
{
	if (isnan(v))
		mlo_str_add(o, "nan");
	else if (isinf(v))
		mlo_str_add(o, v < 0 ? "-inf" : "inf");
	else
		mlo_str_add(o, "%.17g", v);
}

/* Precedence: 0 sums, 1 products, 2 atoms.  Left operands continue a chain, right ones do not. */
static void idx(MloStr *o, const KIdx *e, int prec)
{
	static const char *const sign[] = {[KI_MUL] = "*", [KI_DIV] = "/", [KI_MOD] = " mod "};
	int mine = e->op == KI_ADD ? 0 : e->op >= KI_MUL && e->op <= KI_MOD ? 1 : 2;

	if (mine < prec)
		mlo_str_add(o, "(");
	switch (e->op) {
	case KI_CONST:
		mlo_str_add(o, "%lld", (long long)e->k);
		break;
	case KI_VAR:
		mlo_str_add(o, "v%d", (int)e->k);
		break;
	case KI_SIZE:
		mlo_str_add(o, "s%d", (int)e->k);
		break;
	case KI_VALUE:
		mlo_str_add(o, "%%%d", (int)e->k);
		break;
	case KI_ADD:
		idx(o, e->a, 0);
		mlo_str_add(o, " + ");
		idx(o, e->b, 1);
		break;
	case KI_MIN:
	case KI_MAX:
		mlo_str_add(o, e->op == KI_MIN ? "min(" : "max(");
		idx(o, e->a, 0);
		mlo_str_add(o, ", ");
		idx(o, e->b, 0);
		mlo_str_add(o, ")");
		break;
	default:
		idx(o, e->a, 1);
		mlo_str_add(o, "%s%s%lld", sign[e->op], e->b ? "s" : "", (long long)(e->b ? e->b->k : e->k));
	}
	if (mine < prec)
		mlo_str_add(o, ")");
}

void mlo_kidx_print(MloStr *o, const KIdx *e)
{
	idx(o, e, 0);
}

static void guards(MloStr *o, const KGuard *g)
{
	for (const char *word = " if "; g; g = g->next, word = " & ") {
		mlo_str_add(o, "%s", word);
		idx(o, g->e, 0);
		mlo_str_add(o, " < %s%lld", g->extent < 0 ? "s" : "", (long long)(g->extent < 0 ? -1 - g->extent : g->extent));
	}
}

static void inst(MloStr *o, int value, const KInst *in)
{
	int operand[3] = {in->a, in->b, in->c};

	mlo_str_add(o, "%%%d = %s.%s", value, mlo_kop_name[in->op], mlo_elem_text(in->type));
	for (int i = 0; i < mlo_kop_operands[in->op]; i++)
		mlo_str_add(o, "%s%%%d", i ? ", " : " ", operand[i]);
	if (in->op == K_const) {
		mlo_str_add(o, " ");
		if (mlo_elem_is_float(in->type))
			number(o, in->imm);
		else
			mlo_str_add(o, "%lld", (long long)in->ival);
	} else if (in->op == K_accum) {
		mlo_str_add(o, " acc%d", in->arg);
	} else if (in->op == K_index) {
		mlo_str_add(o, " ");
		idx(o, in->idx, 0);
	} else if (in->op == K_load) {
		mlo_str_add(o, " a%d[", in->arg);
		idx(o, in->idx, 0);
		mlo_str_add(o, "]");
		guards(o, in->guard);
		if (in->guard) {
			mlo_str_add(o, " else ");
			number(o, in->other);
		}
	}
}

static void text(MloStr *o, const char *s)
{
	mlo_str_add(o, "\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\' || (unsigned char)*s < 32)
			mlo_str_add(o, "\\%02x", (unsigned char)*s);
		else
			mlo_str_addn(o, s, 1);
	}
	mlo_str_add(o, "\"");
}

/* -- statements ----------------------------------------------------------------------------------- */

static void fields(MloStr *o, const char *word, const void *of, const KField *f)
{
	mlo_str_add(o, "%s", word);
	for (; f->name; f++) {
		int64_t v = mlo_kfield_get(of, f);

		if (f->kind == KF_ELEM)
			mlo_str_add(o, " %s=%s", f->name, mlo_elem_text((MloElem)v));
		else
			mlo_str_add(o, " %s=%lld", f->name, (long long)v);
	}
}

static void place(MloStr *o, const char *word, const KIdx *e)
{
	if (!e)
		return;
	mlo_str_add(o, "%s", word);
	idx(o, e, 0);
}

static void call_tensors(MloStr *o, const KCallTensor *t, int n)
{
	mlo_str_add(o, "(");
	for (int i = 0; i < n; i++) {
		if (i)
			mlo_str_add(o, ", ");
		if (t[i].arg == -1) {
			mlo_str_add(o, "none");
			continue;
		}
		if (t[i].arg == KC_SHAPE)
			mlo_str_add(o, "shape %s[", mlo_elem_text(t[i].elem));
		else
			mlo_str_add(o, "a%d %s[", t[i].arg, mlo_elem_text(t[i].elem));
		for (int j = 0; j < t[i].rank; j++)
			mlo_str_add(o, "%s%s%lld", j ? "," : "", t[i].dim[j] < 0 ? "s" : "",
			            (long long)(t[i].dim[j] < 0 ? -1 - t[i].dim[j] : t[i].dim[j]));
		mlo_str_add(o, "]");
	}
	mlo_str_add(o, ")");
}

static void attr(MloStr *o, const MloAttr *a, MloAttrKind kind)
{
	if (kind == AK_INT)
		mlo_str_add(o, "%lld", (long long)a->i);
	else if (kind == AK_FLOAT)
		number(o, a->f);
	else if (kind == AK_STR)
		text(o, a->s ? a->s : "");
	else
		mlo_str_add(o, "[");
	for (int i = 0; kind >= AK_INTS && i < a->n; i++) {
		mlo_str_add(o, "%s", i ? ", " : "");
		if (kind == AK_INTS)
			mlo_str_add(o, "%lld", (long long)a->ints[i]);
		else
			number(o, a->floats[i]);
	}
	if (kind >= AK_INTS)
		mlo_str_add(o, "]");
}

static void call(MloStr *o, const KCall *c)
{
	const MloOpInfo *info = mlo_op_info(c->op);
	const char *sep = "";

	mlo_str_add(o, "%s %s ", c->sizes ? "sizes" : "call", info->name);
	call_tensors(o, c->in, c->nin);
	mlo_str_add(o, " -> ");
	call_tensors(o, c->out, c->nout);
	if (c->sizes)
		mlo_str_add(o, " a%d", c->sizes_arg);
	mlo_str_add(o, " {");
	for (int i = 0; c->node && i < info->nattr; i++) {
		if (!c->node->attr[i].set)
			continue;
		mlo_str_add(o, "%s%s=", sep, info->attr[i].name);
		attr(o, &c->node->attr[i], info->attr[i].kind);
		sep = ", ";
	}
	mlo_str_add(o, "}");
}

static void body(MloStr *o, const MloKernel *k, const KStmt *s, int depth);

static void block(MloStr *o, const MloKernel *k, const KStmt *s, int depth)
{
	mlo_str_add(o, " {\n");
	body(o, k, s->body, depth + 1);
	mlo_str_add(o, "%*s}", depth * 2, "");
}

static void attention(MloStr *o, const MloKernel *k, const KStmt *s, int depth)
{
	const KAttention *t = s->attention;

	fields(o, "attention", t, mlo_kattention_fields);
	place(o, " q_at=", t->q_at);
	place(o, " k_at=", t->k_at);
	place(o, " v_at=", t->v_at);
	place(o, " first=", t->first);
	mlo_str_add(o, " {\n");
	body(o, k, t->scores, depth + 1);
	mlo_str_add(o, "%*s} %%%d", depth * 2, "", t->score);
	block(o, k, s, depth);
}

static void stmt(MloStr *o, const MloKernel *k, const KStmt *s, int depth)
{
	switch (s->kind) {
	case KS_LET:
		inst(o, s->value, &k->value.items[s->value]);
		break;
	case KS_STORE:
		mlo_str_add(o, "a%d[", s->arg);
		idx(o, s->idx, 0);
		mlo_str_add(o, "] = %%%d", s->value);
		guards(o, s->guard);
		break;
	case KS_LOOP:
		mlo_str_add(o, "%s v%d < ", mlo_kloop_name[s->loop], s->var);
		idx(o, s->extent, 0);
		block(o, k, s, depth);
		break;
	case KS_ACC_INIT:
		mlo_str_add(o, "acc%d = %%%d", s->acc, s->value);
		break;
	case KS_ACC:
		mlo_str_add(o, "acc%d %s %%%d", s->acc, mlo_kop_name[s->accop], s->value);
		break;
	case KS_CONTRACT:
		fields(o, "contract", s->contract, mlo_kcontract_fields);
		place(o, " a_at=", s->contract->a_at);
		place(o, " b_at=", s->contract->b_at);
		place(o, " y_lo=", s->contract->y_lo);
		place(o, " y_hi=", s->contract->y_hi);
		block(o, k, s, depth);
		break;
	case KS_ATTENTION:
		attention(o, k, s, depth);
		break;
	case KS_FOREST:
		fields(o, "forest", s->forest, mlo_kforest_fields);
		break;
	case KS_CALL:
		call(o, s->call);
	}
}

static void body(MloStr *o, const MloKernel *k, const KStmt *s, int depth)
{
	for (; s; s = s->next) {
		mlo_str_add(o, "%*s", depth * 2, "");
		stmt(o, k, s, depth);
		mlo_str_add(o, "\n");
	}
}

void mlo_kernel_print(MloStr *out, const MloKernel *k, bool with_name)
{
	mlo_str_add(out, "kernel%s%s(", with_name ? " " : "", with_name ? k->name : "");
	for (size_t i = 0; i < k->arg.n; i++) {
		const KArg *a = &k->arg.items[i];

		mlo_str_add(out, "%s%s %s[", i ? ", " : "", mlo_kdir_name[a->dir], mlo_elem_text(a->elem));
		if (a->count >= 0)
			mlo_str_add(out, "%lld", (long long)a->count);
		else if (a->elems)
			idx(out, a->elems, 0);
		else
			mlo_str_add(out, "*");
		mlo_str_add(out, "]");
	}
	mlo_str_add(out, ")");
	for (size_t i = 0; i < k->size.n; i++) {
		const KSize *s = &k->size.items[i];

		mlo_str_add(out, "%s%lld..%lld", i ? ", " : " sizes(", (long long)s->lo, (long long)s->hi);
		if (s->of > 1)
			mlo_str_add(out, " of %lld", (long long)s->of);
	}
	mlo_str_add(out, "%s", k->size.n ? ")" : "");
	if (k->ntasks < 0)
		mlo_str_add(out, " tasks s%lld", (long long)(-1 - k->ntasks));
	mlo_str_add(out, " vars(");
	for (int i = 0; i < k->nvar; i++)
		mlo_str_add(out, "%s%lld", i ? ", " : "", (long long)k->var_extent[i]);
	mlo_str_add(out, ") {\n");
	body(out, k, k->body, 1);
	mlo_str_add(out, "}\n");
}

uint64_t mlo_kernel_key(const MloKernel *k)
{
	MloArena *a = mlo_arena_new();
	MloStr s = {.arena = a};
	uint64_t key;

	if (!a)
		MLO_BUG("out of memory");
	mlo_kernel_print(&s, k, false);
	key = XXH3_64bits(s.s, s.n);
	mlo_arena_free(a);
	return key;
}
