/* codegen/views.c -- values that need no buffer of their own.
 *
 * A reshape of a dense value, or its bits as another type, is the same bytes.  An operand of a concat whose parts lie behind each
 * other is computed in place inside the result.  A slice of whole leading rows is an offset.  What
 * matters is the physical layout: in channel blocks with one image, joining channels is joining
 * memory. */
#include "codegen/program.h"

typedef struct Finder {
	const MloGraph *g;
	View *view;
} Finder;

static int64_t elem_bytes(const MloValue *v)
{
	return mlo_elem_bits(mlo_value_elem(v)) / 8;
}

static MloValue *root_of(Finder *f, MloValue *v)
{
	while (f->view[v->id].parent)
		v = f->view[v->id].parent;
	return v;
}

static bool is_graph_input(const MloValue *v)
{
	return !v->def && !v->data;
}

/* Elements before `axis` lie in one piece: the part of the axis from `at` on starts at one offset.
 * For blocked layouts the channel axis must split at block borders. */
static bool leading_axis(const MloValue *v, int axis)
{
	for (int d = 0; d < axis; d++)
		if (v->type.dim[d].k != 1)
			return false;
	return true;
}

static bool splits_at(const MloValue *v, int axis, int64_t at)
{
	return !v->layout.block || axis == 0 || (axis == 1 && at % v->layout.block == 0);
}

/* Bytes before position `at` of the leading axis. */
static int64_t axis_offset(const MloValue *v, int axis, int64_t at)
{
	return mlo_value_storage(v) / v->type.dim[axis].k * at * elem_bytes(v);
}

static int norm_axis(int64_t axis, int rank)
{
	return (int)(axis < 0 ? axis + rank : axis);
}

static void view_concat(Finder *f, MloNode *n)
{
	MloValue *y = n->out[0];
	int axis = norm_axis(mlo_attr_i(n, ATTR_concat_axis), y->type.rank);
	int64_t at = 0;

	if (elem_bytes(y) == 0 || !leading_axis(y, axis) || (y->layout.block && (axis != 1 || y->type.dim[1].k % y->layout.block)))
		return;
	/* all or nothing as to the layout: what is not in place is copied as bytes */
	for (uint32_t i = 0; i < n->nin; i++) {
		if (n->in[i]->layout.block != y->layout.block || n->in[i]->layout.stored != y->layout.stored ||
		    !splits_at(y, axis, at))
			return;
		at += n->in[i]->type.dim[axis].k;
	}
	at = 0;
	for (uint32_t i = 0; i < n->nin; i++) {
		MloValue *x = n->in[i];
		bool free_root = x->def && !f->view[x->id].parent && root_of(f, y) != x && !mlo_is_output(f->g, x);

		for (uint32_t j = 0; j < i; j++)
			free_root = free_root && n->in[j] != x;
		if (free_root)
			f->view[x->id] = (View){y, axis_offset(y, axis, at)};
		at += x->type.dim[axis].k;
	}
}

static void view_same(Finder *f, MloNode *n)
{
	MloValue *x = n->in[0], *y = n->out[0];

	if (elem_bytes(x) == 0 || is_graph_input(x) || x->data || f->view[y->id].parent || x->type.elem == EL_str)
		return;
	if (mlo_type_object(&x->type) || x->type.rank < 0 || y->type.rank < 0)
		return;
	f->view[y->id] = (View){x, 0};
}

/* Same bytes in both layouts: one pixel, or nothing but whole blocks of one pixel. */
static bool relayout_is_same(const MloValue *x, const MloValue *y)
{
	int64_t b = x->layout.block > y->layout.block ? x->layout.block : y->layout.block, pixels = 1;

	for (int d = 2; d < x->type.rank; d++)
		pixels *= x->type.dim[d].k;
	if (x->layout.block == y->layout.block)
		return true;
	return pixels == 1 && x->type.rank > 1 && x->type.dim[1].k % b == 0 &&
	       (!x->layout.block || !y->layout.block);
}

static void view_slice(Finder *f, MloNode *n)
{
	MloValue *x = n->in[0], *y = n->out[0];
	int axis = -1;
	int64_t start;

	if (elem_bytes(x) == 0 || is_graph_input(x) || x->data || f->view[y->id].parent || x->layout.block != y->layout.block)
		return;
	for (int d = 0; d < x->type.rank; d++) {
		if (x->type.dim[d].k == y->type.dim[d].k)
			continue;
		if (axis >= 0)
			return;
		axis = d;
	}
	if (n->nin > 4 && n->in[4])
		for (int64_t i = 0; i < mlo_type_elems(&n->in[4]->type); i++)
			if (!n->in[4]->data || mlo_tensor_i64(n->in[4]->data, i) != 1)
				return;
	if (axis < 0 || !leading_axis(x, axis) || !n->in[1]->data || !n->in[2]->data)
		return;
	for (int64_t i = 0; i < mlo_type_elems(&n->in[1]->type); i++) {
		int64_t a = n->nin > 3 && n->in[3] ? (n->in[3]->data ? mlo_tensor_i64(n->in[3]->data, i) : -100) : i;

		if (a < -x->type.rank || norm_axis(a, x->type.rank) != axis)
			continue;
		start = mlo_tensor_i64(n->in[1]->data, i);
		start = start < 0 ? start + x->type.dim[axis].k : start;
		if (start < 0 || start + y->type.dim[axis].k > x->type.dim[axis].k || !splits_at(x, axis, start) ||
		    (axis == 1 && x->layout.block && y->type.dim[axis].k % x->layout.block))
			return;
		if (x->layout.block && axis == 1 && x->type.dim[1].k % x->layout.block)
			return;
		f->view[y->id] = (View){x, axis_offset(x, axis, start)};
		return;
	}
}

/* A chain of views must not lead a value into itself, and a value read through a view must stay
 * whole until the last reader: guaranteed, since parents are always other values' whole buffers. */
View *views_find(MloArena *a, const MloGraph *g)
{
	Finder f = {g, MLO_NEWN(a, View, g->next_id + 1)};

	for (MloNode *n = g->last; n; n = n->prev)
		if (n->op == OP_concat && mlo_node_static(n))
			view_concat(&f, n);
	for (MloNode *n = g->first; n; n = n->next) {
		bool alone = (!n->prev || !n->group || n->prev->group != n->group) &&
		             (!n->next || !n->group || n->next->group != n->group);

		if (!alone || (n->nin && n->in[0] && n->out[0] && n->in[0]->layout.stored != n->out[0]->layout.stored))
			continue;
		if ((n->op == OP_reshape || n->op == OP_identity) && !n->in[0]->layout.block && !n->out[0]->layout.block)
			view_same(&f, n);
		else if (n->op == OP_bit_cast && elem_bytes(n->in[0]) == elem_bytes(n->out[0]))
			view_same(&f, n);
		else if (n->op == OP_relayout && mlo_node_static(n) && relayout_is_same(n->in[0], n->out[0]))
			view_same(&f, n);
		else if (n->op == OP_slice && mlo_node_static(n))
			view_slice(&f, n);
	}
	return f.view;
}

bool view_operand_in_place(const View *views, const MloNode *n, uint32_t i)
{
	for (uint32_t j = 0; j < i; j++)
		if (n->in[j] == n->in[i])
			return false;
	return views[n->in[i]->id].parent == n->out[0];
}

bool view_node_free(const View *views, const MloNode *n)
{
	if (n->op == OP_concat) {
		for (uint32_t i = 0; i < n->nin; i++)
			if (!view_operand_in_place(views, n, i))
				return false;
		return true;
	}
	return n->nout == 1 && n->nin > 0 && n->in[0] && views[n->out[0]->id].parent == n->in[0];
}
