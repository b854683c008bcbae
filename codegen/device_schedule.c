/* codegen/device_schedule.c -- how contractions are made on a GPU: tiles of blocks. */
#include "codegen/device_schedule.h"

#include "codegen/contract.h"
#include "codegen/device_patch.h"
#include "codegen/device_plan.h"

enum { CHUNK = 128 };

/* Widths of tiles, and what an output costs in them: narrow ones read A more often. */
static const struct { int columns; double cost; } widths[] = {{128, 1}, {64, 1.08}, {32, 1.25}, {16, 1.6}};

/* Channels that a tile of threads' multiply-adds makes: as wide as can be without leaving processors idle, or making many channels that
 * are not there. */
static int choose_columns(const MloTarget *t, const MloKernel *k, const KContract *c)
{
	enum { ROWS = 64, SLICES = 4 /* that a tile may have */ };
	int64_t rows = mlo_kernel_guess(k, c->nb0) * mlo_kernel_guess(k, c->nb1) * mlo_kernel_guess(k, c->ny) * mlo_kernel_guess(k, c->nx);
	int64_t down = (rows + ROWS - 1) / ROWS, nc = mlo_kernel_guess(k, c->nc);
	int64_t fill = (t->gpu->sms + SLICES - 1) / SLICES;
	int best = 0;
	double least = 0;

	for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
		int64_t w = widths[i].columns, tiles = down * ((nc + w - 1) / w);
		double cost = (double)((tiles + fill - 1) / fill * w) * widths[i].cost;

		if (c->group_k && c->group_c % w)
			continue;
		if (!best || cost < least) {
			least = cost;
			best = (int)w;
		}
	}
	return best ? best : widths[sizeof widths / sizeof *widths - 1].columns;
}

/* Bytes that are not brought in pieces are packed as if they were: they are not multiplied one by one. */
static bool takes_several(const MmaKind *kind, const KContract *c)
{
	return kind && !mlo_elem_is_float(c->a.elem) && c->b.packed && !contract_is_depthwise(c) && !c->scale.on && c->nk > 0;
}

/* Are terms left out half of which are zero?  In the same tile that is half of the products and, with the metadata, at most five eighths
 * of the bytes of B: it is never slower, but where groups of warps multiply all terms, in a tile of another form.  There is no form of
 * it for elements of A that are converted on their way. */
static bool choose_kept(const MloTarget *t, const MloKernel *k, KContract *c, const MmaKind *kind, const DevicePlan *whole)
{
	KContract kept = *c;
	DevicePlan plan;

	kept.b.kept = true;
	if (t->gpu->capability < 80 || c->dot == 1 || mlo_elem_bits(c->a.elem) != mlo_elem_bits(kind->word))
		return false;
	if (!whole->groups)
		return device_plan(t, k, &kept, c->lanes, c->dot / mma_word_elems(kind), &plan);
	if (!device_plan(t, k, &kept, 0, 0, &plan) || plan.ns >= whole->ns)
		return false;
	c->dot = plan.words * mma_word_elems(kind);
	c->lanes = plan.columns;
	return true;
}

void mlo_schedule_device(const MloTarget *t, const MloKernel *k, KContract *c)
{
	const MmaKind *kind = mma_kind(t->gpu->capability, c->a.elem, c->b.elem);
	KContract whole = *c;
	DevicePlan plan = {0};
	PatchPlan patch;

	whole.b.kept = false;
	c->vecs = c->cols = c->rows = 1;
	if (!contract_is_depthwise(c) && device_plan(t, k, &whole, 0, 0, &plan)) {
		c->dot = plan.words * mma_word_elems(kind);
		c->lanes = plan.columns;
	} else if (device_patch_plan(t, k, c, 0, &patch)) {
		c->b.patch = true;
		c->dot = 2 * PATCH_QUAD * patch.p.elems;
		c->lanes = patch.columns;
	} else {
		c->dot = takes_several(kind, c) ? mma_word_elems(kind) * MMA_LEAST_WORDS : 1;
		c->lanes = contract_is_depthwise(c) ? t->block : choose_columns(t, k, c);
	}
	if (c->dot == 1 && c->b.elem == EL_tf32) /* other ways to multiply gain nothing by the rounding */
		c->b.elem = EL_f32;
	c->b.kept = c->b.kept && choose_kept(t, k, c, kind, &plan);
	c->y_chunk = mlo_contract_by_columns(c) ? CHUNK : 1;
	c->c_outer = false;
	c->a.flip = false;
	c->zero.sums = c->zero.given || c->zero.at;
}
