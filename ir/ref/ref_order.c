/* ir/ref/ref_order.c -- operators that sort: the largest elements, the different ones. */
#include "ir/ref/ref_elem.h"

/* -- top k -------------------------------------------------------------------------------------- */

/* One line of x, and its k best elements as a heap whose root is the worst of them.  A slot of the
 * heap is an index into the line; when nobody wants the indices, the values themselves. */
typedef struct Top {
	const RefTensor *x, *value, *index;
	int64_t from, to, step; /* the line's first element in x, in the results; between elements */
	bool largest;
} Top;

static int64_t rank_of(const Top *t, const RefTensor *v, int64_t i)
{
	int64_t key = ref_order_key(v, i);
	return t->largest ? key : ~key;
}

static int64_t slot_rank(const Top *t, int64_t slot)
{
	int64_t at = t->to + slot * t->step;
	if (!t->index)
		return rank_of(t, t->value, at);
	return rank_of(t, t->x, t->from + ((const int64_t *)t->index->data)[at] * t->step);
}

/* Of equal elements the one that comes first is better. */
static bool worse(const Top *t, int64_t a, int64_t b)
{
	int64_t ra = slot_rank(t, a), rb = slot_rank(t, b);
	if (ra != rb || !t->index)
		return ra < rb;
	const int64_t *index = (const int64_t *)t->index->data + t->to;
	return index[a * t->step] > index[b * t->step];
}

static void put_slot(const Top *t, int64_t slot, int64_t i)
{
	int64_t at = t->to + slot * t->step;
	if (t->index)
		((int64_t *)t->index->data)[at] = i;
	else
		ref_copy_elem(t->value->data, at, t->x->data, t->from + i * t->step, ref_elem_bits(t->x->elem));
}

static void swap_slots(const Top *t, int64_t a, int64_t b)
{
	const RefTensor *v = t->index ? t->index : t->value;
	int bits = ref_elem_bits(v->elem);
	uint64_t kept[2];
	a = t->to + a * t->step;
	b = t->to + b * t->step;
	ref_copy_elem(kept, 0, v->data, a, bits);
	ref_copy_elem(v->data, a, v->data, b, bits);
	ref_copy_elem(v->data, b, kept, 0, bits);
}

static void sift_down(const Top *t, int64_t slot, int64_t n)
{
	for (int64_t child = 2 * slot + 1; child < n; child = 2 * slot + 1) {
		child += child + 1 < n && worse(t, child + 1, child);
		if (!worse(t, child, slot))
			return;
		swap_slots(t, child, slot);
		slot = child;
	}
}

static void top_of_line(const Top *t, int64_t n, int64_t k)
{
	for (int64_t i = 0; i < k; i++)
		put_slot(t, i, i);
	for (int64_t i = k / 2; i-- > 0;)
		sift_down(t, i, k);
	for (int64_t i = k; i < n; i++)
		if (rank_of(t, t->x, t->from + i * t->step) > slot_rank(t, 0)) {
			put_slot(t, 0, i);
			sift_down(t, 0, k);
		}
	for (int64_t left = k; left-- > 1;) { /* the worst to the end */
		swap_slots(t, 0, left);
		sift_down(t, 0, left);
	}
	for (int64_t i = 0; i < k && t->index && t->value; i++) {
		int64_t at = t->to + i * t->step, from = t->from + ((const int64_t *)t->index->data)[at] * t->step;
		ref_copy_elem(t->value->data, at, t->x->data, from, ref_elem_bits(t->x->elem));
	}
}

/* Always sorted, as `sorted` = 0 leaves the order open. */
void ref_top_k(const RefCall *c)
{
	Top t = {&c->in[0], ref_out(c, 0), ref_out(c, 1), 0, 0, 0, c->attr[ATTR_top_k_largest].i != 0};
	const RefTensor *x = t.x, *y = t.value ? t.value : t.index;
	int axis = ref_axis(c->attr[ATTR_top_k_axis].i, x->rank);
	int64_t outer = ref_count_dims(x->dim, 0, axis), n = x->dim[axis];
	if (!y || y->dim[axis] > n)
		return;
	int64_t k = y->dim[axis];
	t.step = ref_count_dims(x->dim, axis + 1, x->rank);
	for (int64_t line = c->part; line < outer * t.step && k > 0; line += ref_step(c)) {
		int64_t o = line / t.step, i = line % t.step;
		t.from = o * n * t.step + i;
		t.to = o * k * t.step + i;
		top_of_line(&t, n, k);
	}
}

/* -- unique -------------------------------------------------------------------------------------- */

/* Items are slices of x along an axis, or its elements: outer pieces of inner elements each. */
typedef struct Items { int64_t outer, n, inner; } Items;

static Items items_of(const RefTensor *x, int64_t axis)
{
	if (axis == INT64_MAX)
		return (Items){1, ref_count(x), 1};
	int d = ref_axis(axis, x->rank);
	return (Items){ref_count_dims(x->dim, 0, d), x->dim[d], ref_count_dims(x->dim, d + 1, x->rank)};
}

static int compare_text(RefText a, RefText b)
{
	int64_t i = 0;
	while (i < a.n && i < b.n && a.s[i] == b.s[i])
		i++;
	if (i == a.n || i == b.n)
		return (a.n > b.n) - (a.n < b.n);
	return (uint8_t)a.s[i] < (uint8_t)b.s[i] ? -1 : 1;
}

static int compare_elem(const RefTensor *a, int64_t i, const RefTensor *b, int64_t j)
{
	if (a->elem == EL_str)
		return compare_text(((const RefText *)a->data)[i], ((const RefText *)b->data)[j]);
	int64_t x = ref_order_key(a, i), y = ref_order_key(b, j);
	return (x > y) - (x < y);
}

/* Item i of a, which has na items, against item j of b. */
static int compare(const Items *it, const RefTensor *a, int64_t na, int64_t i, const RefTensor *b, int64_t nb,
                   int64_t j)
{
	for (int64_t o = 0; o < it->outer; o++)
		for (int64_t k = 0; k < it->inner; k++) {
			int r = compare_elem(a, (o * na + i) * it->inner + k, b, (o * nb + j) * it->inner + k);
			if (r)
				return r;
		}
	return 0;
}

int64_t ref_unique_count(const RefTensor *x, int64_t axis)
{
	Items it = items_of(x, axis);
	int64_t count = 0;
	for (int64_t i = 0; i < it.n; i++) {
		int64_t j = 0;
		while (j < i && compare(&it, x, it.n, i, x, it.n, j))
			j++;
		count += j == i;
	}
	return count;
}

/* The results so far: `have` of the `n` items of y. */
typedef struct Unique {
	Items it;
	const RefTensor *x, *y;
	int64_t *first, *inverse, *count; /* each may be NULL */
	int64_t have, n;
	bool sorted;
} Unique;

/* Where item i of x is in y, or should be inserted. */
static bool find(const Unique *u, int64_t i, int64_t *where)
{
	int64_t lo = 0, hi = u->have;
	for (int64_t k = 0; k < u->have && !u->sorted; k++)
		if (compare(&u->it, u->x, u->it.n, i, u->y, u->n, k) == 0) {
			*where = k;
			return true;
		}
	while (lo < hi && u->sorted) {
		int64_t mid = lo + (hi - lo) / 2;
		int r = compare(&u->it, u->x, u->it.n, i, u->y, u->n, mid);
		if (r == 0) {
			*where = mid;
			return true;
		}
		lo = r > 0 ? mid + 1 : lo;
		hi = r < 0 ? mid : hi;
	}
	*where = u->sorted ? lo : u->have;
	return false;
}

static void insert(Unique *u, int64_t i, int64_t where)
{
	int64_t inner = u->it.inner;
	int bits = ref_elem_bits(u->x->elem);
	for (int64_t o = 0; o < u->it.outer; o++) {
		int64_t row = o * u->n;
		for (int64_t k = u->have; k > where; k--)
			ref_copy(u->y->data, (row + k) * inner, u->y->data, (row + k - 1) * inner, inner, bits);
		ref_copy(u->y->data, (row + where) * inner, u->x->data, (o * u->it.n + i) * inner, inner, bits);
	}
	for (int64_t k = u->have; k > where; k--) {
		if (u->first)
			u->first[k] = u->first[k - 1];
		if (u->count)
			u->count[k] = u->count[k - 1];
	}
	if (u->first)
		u->first[where] = i;
	if (u->count)
		u->count[where] = 0;
	u->have++;
}

static int64_t *i64_out(const RefCall *c, int i)
{
	const RefTensor *t = ref_out(c, i);
	return t ? t->data : NULL;
}

void ref_unique(const RefCall *c)
{
	int64_t axis = c->attr[ATTR_unique_axis].i, where;
	Unique u = {items_of(&c->in[0], axis), &c->in[0], &c->out[0], i64_out(c, 1), i64_out(c, 2), i64_out(c, 3),
	            0, 0, c->attr[ATTR_unique_sorted].i != 0};
	u.n = u.y->dim[axis == INT64_MAX ? 0 : ref_axis(axis, u.x->rank)];
	for (int64_t i = 0; i < u.it.n; i++) {
		bool known = find(&u, i, &where);
		if (!known && u.have < u.n)
			insert(&u, i, where);
		if (u.count && where < u.have)
			u.count[where]++;
	}
	for (int64_t i = 0; i < u.it.n && u.inverse; i++)
		u.inverse[i] = find(&u, i, &where) ? where : 0;
}
