/* codegen/device_schedule.c -- how contractions are made on a GPU: tiles of blocks. */
#include "codegen/device_schedule.h"

#include "codegen/contract.h"

enum { WIDE = 128, NARROW = 64, CHUNK = 128 };

void mlo_schedule_device(const MloTarget *t, const MloKernel *k, KContract *c)
{
	(void)k;
	c->lanes = contract_is_depthwise(c) ? t->block : c->nc > NARROW ? WIDE : NARROW;
	if (c->group_k && !contract_is_depthwise(c) && c->group_c % c->lanes)
		c->lanes = c->group_c % NARROW == 0 ? NARROW : t->block;
	c->vecs = c->cols = c->rows = 1;
	c->y_chunk = mlo_contract_by_columns(c) ? CHUNK : 1;
	c->c_outer = false;
}
