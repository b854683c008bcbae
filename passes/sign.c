/* passes/sign.c -- bytes between quantization and what reads the integers get the sign that the target's products take.
 * Requires: types, a target.  Keeps: types but of those values, order, origins.  Breaks: nothing.  Idempotent.
 *
 * q + 128 with zero point z + 128 stands for the same numbers.  Most instructions that sum up products of
 * bytes take unsigned activations, some only signed ones (Arm's SDOT and SMULL); the others would have to be turned in each kernel that
 * reads them.  Values
 * change together with all that they are moved to: a set of them stays as it is if anything else reads or
 * makes one. */
#include "passes/quant.h"

typedef struct Signer {
	MloGraph *g;
	MloPassCx *cx;
	bool *turns;    /* by value id */
	uint32_t count; /* of values there were at first */
	MloElem from, to;
	int shift;      /* what is added */
} Signer;

static bool turning(const Signer *u, const MloValue *v)
{
	return v && v->id < u->count && u->turns[v->id];
}

static MloValue *zero_of(const MloNode *n)
{
	return n->nin > 2 ? n->in[2] : NULL;
}

/* A node with quantised operand 0 and its zero point, known and one for all, as operand 2. */
static bool reads_zero(const MloNode *n)
{
	MloQuant q;
	const MloValue *z = zero_of(n);

	if (n->op == OP_conv_integer || n->op == OP_conv_transpose_integer || n->op == OP_matmul_integer)
		return !z || (z->data && mlo_tensor_elems(z->data) == 1);
	return mlo_quant_from(n, &q);
}

static bool begins(const Signer *u, const MloNode *n)
{
	MloQuant q;

	return mlo_quant_to(n, &q) && q.elem == u->from && zero_of(n);
}

/* -- which values turn ------------------------------------------------------------------------- */

static bool reader_turns(const Signer *u, const MloUse *use)
{
	const MloNode *n = use->node;

	if (!mlo_quant_moves(n))
		return use->slot == 0 && reads_zero(n);
	if (use->slot >= mlo_quant_moved(n) || (n->op == OP_pad && !zero_of(n)))
		return false;
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i] && n->out[i]->nuse && !turning(u, n->out[i]))
			return false;
	return true;
}

static bool keeps_turning(const Signer *u, const MloValue *v)
{
	if (mlo_is_output(u->g, v))
		return false;
	for (uint32_t i = 0; v->def->op != OP_quantize_linear && i < mlo_quant_moved(v->def); i++)
		if (!turning(u, v->def->in[i]))
			return false;
	for (const MloUse *use = v->uses; use; use = use->next)
		if (!reader_turns(u, use))
			return false;
	return true;
}

static void find_turning(Signer *u)
{
	bool again = true;

	for (MloNode *n = u->g->first; n; n = n->next)
		for (uint32_t i = 0; i < n->nout; i++)
			if (n->out[i] && n->out[i]->type.elem == u->from)
				u->turns[n->out[i]->id] = begins(u, n) || mlo_quant_moves(n);
	while (again) {
		again = false;
		for (MloNode *n = u->g->first; n; n = n->next)
			for (uint32_t i = 0; i < n->nout; i++)
				if (turning(u, n->out[i]) && !keeps_turning(u, n->out[i])) {
					u->turns[n->out[i]->id] = false;
					again = true;
				}
	}
}

/* -- turning them ------------------------------------------------------------------------------ */

/* n with operand 2, a number in units of the old type (absent: 0), in units of the new one. */
static void shift_operand(Signer *u, MloNode *n)
{
	MloValue *old = zero_of(n), *in[4] = {0};
	MloValue *z = mlo_rw_scalar(u->g, u->to, (double)(old ? mlo_tensor_i64(old->data, 0) : 0) + u->shift);
	MloNode *m;

	if (n->nin > 2) {
		mlo_node_set_in(u->g, n, 2, z);
		return;
	}
	for (uint32_t i = 0; i < n->nin; i++)
		in[i] = n->in[i];
	in[2] = z;
	m = mlo_rw_node(u->g, n, n->op, n, in, 3);
	mlo_rw_copy_attrs(m, n);
	m->out[0]->type = n->out[0]->type;
	m->out[0]->name = n->out[0]->name;
	mlo_graph_replace(u->g, n->out[0], m->out[0]);
	mlo_graph_remove(u->g, n);
}

static void turn(Signer *u, MloNode *n)
{
	bool from = n->nin > 0 && turning(u, n->in[0]),
	     to = n->op == OP_quantize_linear && turning(u, n->out[0]);

	if (to)
		mlo_attr_set_i(n, ATTR_quantize_linear_output_dtype, 0);
	for (uint32_t i = 0; i < n->nout; i++)
		if (n->out[i] && (to || (from && mlo_quant_moves(n))))
			n->out[i]->type.elem = u->to;
	if (to || (from && (!mlo_quant_moves(n) || n->op == OP_pad)))
		shift_operand(u, n);
	u->cx->changed += to || from;
}

MloStatus mlo_pass_sign(MloGraph *g, MloPassCx *cx)
{
	bool to_signed = mlo_dots_signed(cx->target->dots);
	Signer u = {.g = g, .cx = cx, .turns = MLO_NEWN(cx->arena, bool, g->next_id + 1), .count = g->next_id,
	            .from = to_signed ? EL_u8 : EL_i8, .to = to_signed ? EL_i8 : EL_u8, .shift = to_signed ? -128 : 128};

	find_turning(&u);
	for (MloNode *n = g->first, *next; n; n = next) {
		next = n->next;
		turn(&u, n);
	}
	return MLO_OK;
}
