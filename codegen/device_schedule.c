/* codegen/device_schedule.c -- how contractions are made on a GPU: tiles of blocks. */
#include "codegen/device_schedule.h"

#include "codegen/contract.h"

enum { CHUNK = 128 };

/* Widths of tiles, and what an output costs in them: narrow ones read A more often. */
static const struct { int columns; double cost; } widths[] = {{128, 1}, {64, 1.08}, {32, 1.25}, {16, 1.6}};

/* Channels that a tile makes: as wide as can be without making many that are not there. */
static int choose_columns(const KContract *c)
{
	int best = widths[0].columns;
	double least = 0;

	for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
		int64_t w = widths[i].columns, nc = c->nc < 0 ? w : c->nc;
		double cost = (double)((nc + w - 1) / w * w) * widths[i].cost;

		if (c->group_k && c->group_c % w)
			continue;
		if (least == 0 || cost < least) {
			least = cost;
			best = (int)w;
		}
	}
	return best;
}

void mlo_schedule_device(const MloTarget *t, const MloKernel *k, KContract *c)
{
	(void)k;
	c->lanes = contract_is_depthwise(c) ? t->block : choose_columns(c);
	c->vecs = c->cols = c->rows = 1;
	c->y_chunk = mlo_contract_by_columns(c) ? CHUNK : 1;
	c->c_outer = false;
}
