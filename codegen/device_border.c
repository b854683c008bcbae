/* codegen/device_border.c -- tiles of contractions of integers: what the zero point of A has added to sums at the border of an image.
 *
 * Taps outside of the image add nothing.  How many of an axis lie in front of it and behind it is the class of a position along that axis;
 * for each pair of classes, the weights of the taps that are inside, times the zero point, are in a table in shared memory, a row of
 * columns each.  An output then costs a load for several columns, and a subtraction. */
#include "codegen/device_tile.h"

enum { MOST_CLASSES = 9 };

/* Taps of an axis: at most `front` of them lie in front of the image, and `behind` behind it. */
typedef struct Axis {
	int64_t taps, distance, stride, pad, in, out;
	int64_t front, behind;
} Axis;

static int64_t taps_in(int64_t length, int64_t distance)
{
	return length > 0 ? (length + distance - 1) / distance : 0;
}

static Axis axis_of(int64_t taps, int64_t distance, int64_t stride, int64_t pad, int64_t in, int64_t out)
{
	Axis a = {taps, distance, stride, pad, in, out, 0, 0};

	a.front = taps_in(pad, distance);
	a.behind = taps_in((out - 1) * stride - pad + (taps - 1) * distance - (in - 1), distance);
	return a;
}

static Axis rows_of(const KContract *c) { return axis_of(c->nky, c->dy, c->sy, c->py, c->in_y, c->ny); }
static Axis columns_of(const KContract *c) { return axis_of(c->nkx, c->dx, c->sx, c->px, c->in_x, c->nx); }

static int64_t classes(const Axis *a)
{
	return 1 + a->front + a->behind;
}

/* Is every position cut on one side at most, and has a tap inside? */
static bool is_simple(const Axis *a)
{
	return a->in > (a->taps - 1) * a->distance && a->front < a->taps && a->behind < a->taps && a->pad >= 0;
}

int64_t device_border_classes(const KContract *c)
{
	const Axis y = rows_of(c), x = columns_of(c);

	if (!c->zero.sums || device_always_inside(c))
		return 0;
	if (c->ny < 1 || c->nx < 1 || c->in_y < 1 || c->in_x < 1 || c->nky * c->nkx > DEVICE_TAP_SUMS || !is_simple(&y) || !is_simple(&x))
		return -1;
	return classes(&y) * classes(&x) <= MOST_CLASSES ? classes(&y) * classes(&x) : -1;
}

/* Of so many that length says, if that is above 0. */
static LLVMValueRef count_of(Emit *e, const Axis *a, LLVMValueRef length)
{
	LLVMValueRef zero = emit_index(e, 0);

	length = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, length, zero, ""), length, zero, "");
	return tile_div(e, tile_addc(e, length, a->distance - 1), a->distance);
}

/* 0: all taps are inside; 1 ..: so many are in front; behind those, so many are behind. */
static LLVMValueRef class_of(Emit *e, const Axis *a, LLVMValueRef at)
{
	LLVMValueRef first = tile_mul(e, at, a->stride), front, behind, any;

	front = count_of(e, a, LLVMBuildNSWSub(e->b, emit_index(e, a->pad), first, ""));
	if (!a->behind)
		return front;
	behind = count_of(e, a, tile_addc(e, first, (a->taps - 1) * a->distance - (a->in - 1) - a->pad));
	any = LLVMBuildICmp(e->b, LLVMIntNE, behind, emit_index(e, 0), "");
	return LLVMBuildSelect(e->b, any, tile_addc(e, behind, a->front), front, "");
}

LLVMValueRef device_border_at(DeviceTile *t, const DevicePosition *p)
{
	const Axis y = rows_of(t->c), x = columns_of(t->c);
	Emit *e = t->e;

	return tile_add(e, tile_mul(e, class_of(e, &y, p->y), classes(&x)), class_of(e, &x, p->x));
}

static LLVMValueRef word_of(DeviceTile *t, LLVMValueRef class, LLVMValueRef column)
{
	Emit *e = t->e;

	return device_word(e, tile_addc(e, tile_add(e, tile_mul(e, class, t->columns), column), t->border_words));
}

LLVMValueRef device_border_share(DeviceTile *t, LLVMValueRef class, LLVMValueRef column, int n)
{
	enum { QUAD = 4 };
	Emit *e = t->e;
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef v = LLVMGetPoison(LLVMVectorType(i32, (unsigned)n)), at, quad;

	column = LLVMBuildNSWSub(e->b, column, t->column, "");
	for (int i = 0; i < n; i += QUAD) {
		at = word_of(t, class, tile_addc(e, column, i));
		quad = LLVMBuildLoad2(e->b, LLVMVectorType(i32, QUAD), at, "");
		LLVMSetAlignment(quad, QUAD * 4);
		for (int k = 0; k < QUAD; k++)
			v = LLVMBuildInsertElement(e->b, v, LLVMBuildExtractElement(e->b, quad, emit_index(e, k), ""), emit_index(e, i + k), "");
	}
	return v;
}

/* Is tap number `tap` of an axis inside, in that class? */
static bool is_inside(const Axis *a, int64_t class, int64_t tap)
{
	return class <= a->front ? tap >= class : tap < a->taps - (class - a->front);
}

void device_border_table(DeviceTile *t)
{
	const KContract *c = t->c;
	const Axis y = rows_of(c), x = columns_of(c);
	Emit *e = t->e;
	LLVMValueRef tap[DEVICE_TAP_SUMS], column, sum, zero = device_zero_point(t);
	EmitLoop l;

	column = emit_for(e, &l, device_opaque(e, t->f->team.thread), emit_index(e, t->columns), emit_index(e, t->f->team.threads), "column");
	for (int64_t i = 0; i < c->nky * c->nkx; i++)
		tap[i] = LLVMBuildMul(e->b, device_tap_sum(t, tile_add(e, t->column, column), i, 1), zero, "");
	for (int64_t i = 0; i < classes(&y) * classes(&x); i++) {
		sum = NULL;
		for (int64_t k = 0; k < c->nky * c->nkx; k++)
			if (is_inside(&y, i / classes(&x), k / c->nkx) && is_inside(&x, i % classes(&x), k % c->nkx))
				sum = sum ? LLVMBuildAdd(e->b, sum, tap[k], "") : tap[k];
		LLVMBuildStore(e->b, sum, word_of(t, emit_index(e, i), column));
	}
	emit_end(e, &l);
}
