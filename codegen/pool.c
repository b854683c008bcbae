/* codegen/pool.c -- places of weights among those of other variants. */
#include "codegen/pool.h"

#include <string.h>

#include "codegen/program.h"

enum { ALIGN = 64 };

static const MloPooled *find(const MloWeightPool *pool, const Weight *w)
{
	for (size_t i = 0; i < pool->weight.n; i++) {
		const MloPooled *old = &pool->weight.items[i];

		if (old->hash == w->hash && old->bytes == w->bytes && !memcmp(old->data, w->data->data, (size_t)w->bytes))
			return old;
	}
	return NULL;
}

/* Bytes of the plan's weights that are there; -1: it has some that keep to places of their own, strings and tables that are
 * looked up (MlrtBlob.flags says how many bytes these are at the end). */
static int64_t bytes_there(const MloWeightPool *pool, const Plan *p)
{
	int64_t n = 0;

	for (size_t i = 0; i < p->weight.n; i++) {
		const Weight *w = &p->weight.items[i];

		if (w->data->elem == EL_str || !w->whole)
			return -1;
		n += find(pool, w) ? w->bytes : 0;
	}
	return n;
}

bool plan_pool(Plan *p)
{
	MloWeightPool *pool = p->opt->pool;
	int64_t there = pool ? bytes_there(pool, p) : -1;

	/* who opens the package for this variant reads what the others brought, too */
	/* who runs this variant reads what the others have brought, too: it must be worth it */
	if (there < 0 || !p->weight.n || (pool->weight.n && there < p->weight_bytes / 2))
		return false;
	for (size_t i = 0; i < p->weight.n; i++) {
		Weight *w = &p->weight.items[i];
		const MloPooled *old = find(pool, w);

		w->offset = old ? old->offset : pool->bytes;
		if (old)
			continue;
		MLO_PUSH(pool->arena, &pool->weight, ((MloPooled){w->data->data, w->hash, w->bytes, w->offset}));
		pool->bytes += (w->bytes + ALIGN - 1) / ALIGN * ALIGN;
	}
	p->weight_bytes = pool->bytes;
	return true;
}

const MloPiece *mlo_pool_pieces(const MloWeightPool *pool, size_t *n)
{
	MloPiece *piece = MLO_NEWN(pool->arena, MloPiece, 2 * pool->weight.n + 1);

	*n = 0;
	for (size_t i = 0; i < pool->weight.n; i++) {
		const MloPooled *w = &pool->weight.items[i];
		int64_t next = i + 1 < pool->weight.n ? w[1].offset : pool->bytes;

		piece[(*n)++] = (MloPiece){w->data, (size_t)w->bytes};
		if (next > w->offset + w->bytes)
			piece[(*n)++] = (MloPiece){NULL, (size_t)(next - w->offset - w->bytes)};
	}
	return piece;
}
