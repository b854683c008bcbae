/* codegen/forest_interp.c -- runs a forest plainly on its tables, checking every access. */
#include <math.h>
#include <string.h>

#include "codegen/forest.h"

typedef struct Run {
	const KForest *f;
	ForestMemory *m;
	bool failed;
} Run;

static unsigned char *element(Run *r, int arg, int64_t i, size_t size)
{
	static unsigned char none[8];

	if (i >= 0 && i < r->m->count[arg])
		return r->m->mem[arg] + (size_t)i * size;
	if (!r->failed) {
		r->m->bad_arg = arg;
		r->m->bad_index = i;
	}
	r->failed = true;
	return none;
}

static int32_t get_i32(Run *r, int arg, int64_t i)
{
	int32_t v;

	memcpy(&v, element(r, arg, i, sizeof v), sizeof v);
	return v;
}

static float get_f32(Run *r, int arg, int64_t i)
{
	float v;

	memcpy(&v, element(r, arg, i, sizeof v), sizeof v);
	return v;
}

static uint64_t get_node(Run *r, int64_t i)
{
	uint64_t v;

	memcpy(&v, element(r, r->f->node_arg, i, sizeof v), sizeof v);
	return v;
}

static int32_t key_of(Run *r, int64_t row, int64_t column)
{
	int64_t at = column * FOREST_FIELDS;
	int arg = r->f->column_arg;
	int32_t first = get_i32(r, arg, at + FOREST_FIRST), last = get_i32(r, arg, at + FOREST_LAST), key;
	uint32_t bits;

	if (column < r->f->leaf_columns)
		return FOREST_LEFT;
	bits = (uint32_t)get_i32(r, r->f->x_arg, row * r->f->features + get_i32(r, arg, at + FOREST_FEATURE));
	if ((bits & 0x7fffffff) > 0x7f800000)
		return get_i32(r, arg, at + FOREST_NAN);
	key = forest_key(bits);
	if (first < 0)
		return key;
	for (int32_t k = first; k < last; k++)
		if (get_i32(r, r->f->set_arg, k) == key)
			return FOREST_LEFT;
	return FOREST_RIGHT;
}

/* The leaf that the row reaches in `depth` steps from node i. */
static uint64_t walk(Run *r, int64_t row, int64_t i, int32_t depth)
{
	for (int32_t d = 0; d < depth && !r->failed; d++) {
		uint64_t node = get_node(r, i);
		uint32_t high = (uint32_t)(node >> 32);

		i += high & (((uint32_t)1 << r->f->delta_bits) - 1);
		i += key_of(r, row, high >> r->f->delta_bits) > (int32_t)(uint32_t)node;
	}
	return get_node(r, i);
}

static float combine(const KForest *f, float a, float w)
{
	if (forest_sums(f))
		return a + w;
	return f->combine == KF_MIN ? (w < a ? w : a) : (w > a ? w : a);
}

/* The weight for target c of the tree at a place, or the neutral value. */
static float tree_weight(Run *r, int64_t row, int64_t place, int64_t c)
{
	const KForest *f = r->f;
	int64_t all = f->parts * f->places;
	uint64_t leaf;
	uint32_t held;
	float w;

	if (!f->width && f->leaf_columns == 1 && get_i32(r, f->tree_arg, 2 * all + place) != c)
		return forest_neutral((KForestOp)f->combine);
	leaf = walk(r, row, get_i32(r, f->tree_arg, place), get_i32(r, f->tree_arg, all + place));
	held = (uint32_t)leaf;
	if (f->width)
		return get_f32(r, f->weight_arg, held * f->width + c);
	if (f->leaf_columns > 1 && (int64_t)(leaf >> 32 >> f->delta_bits) != c)
		return forest_neutral((KForestOp)f->combine);
	memcpy(&w, &held, sizeof w);
	return w;
}

static float score(Run *r, int64_t row, int64_t c)
{
	const KForest *f = r->f;
	float neutral = forest_neutral((KForestOp)f->combine), total = neutral;

	for (int64_t p = 0; p < f->parts; p++) {
		int64_t count = f->trees / f->parts + (p < f->trees % f->parts);
		float part = neutral;

		for (int64_t t = 0; t < count && !r->failed; t++)
			part = combine(f, part, tree_weight(r, row, p * f->places + t, c));
		total = p ? combine(f, total, part) : part;
	}
	if (!forest_sums(f) && total == neutral)
		total = 0;
	return total / (float)f->divide;
}

bool forest_interp(const KForest *f, int64_t rows, int64_t begin, int64_t end, ForestMemory *m)
{
	Run r = {.f = f, .m = m};

	for (int64_t t = begin; t < end; t++) {
		for (int64_t row = t * f->chunk; row < (t + 1) * f->chunk && row < rows; row++)
			for (int64_t c = 0; c < f->targets && !r.failed; c++) {
				float v = score(&r, row, c);

				memcpy(element(&r, f->y_arg, row * f->targets + c, sizeof v), &v, sizeof v);
			}
	}
	return !r.failed;
}
