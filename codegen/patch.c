/* codegen/patch.c -- where weights lie whose products read a patch of the image. */
#include "codegen/patch.h"

#include "codegen/contract.h"

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

/* Do words of A hold channels of one pixel each? */
static bool words_of_channels(const KContract *c, int elems)
{
	const int64_t whole[] = {c->a.b0, c->a.b1, c->a.y, c->a.x, c->a.block < c->nk ? c->a.blk : 0};

	if (mlo_elem_bits(c->a.elem) != mlo_elem_bits(c->b.elem) || elems == 1 || c->a.k != 1 || (c->a.block % elems && c->nk % elems) ||
	    (c->a.block % elems && c->a.block < c->nk))
		return false;
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
		if (whole[i] % elems)
			return false;
	return true;
}

static int64_t quads_across(const Patch *p)
{
	return ceil_div(p->words, p->across);
}

static int64_t quads_of(const Patch *p, const KContract *c)
{
	int64_t each = PATCH_QUAD / p->across, n = quads_across(p);

	n *= p->by_planes ? ceil_div(p->planes, each) * c->nky : p->planes * ceil_div(c->nky, each);
	return (n + 1) / 2 * 2;
}

/* The shape of quads of which there are the fewest.  Single words of rows meet in banks where positions lie further apart. */
static void choose_shape(Patch *p, const KContract *c)
{
	Patch best = {.quads = INT64_MAX};

	for (p->across = PATCH_QUAD; p->across >= 1; p->across /= 2)
		for (int i = 0; i <= (p->across < PATCH_QUAD); i++) {
			p->by_planes = i;
			p->quads = quads_of(p, c);
			if (p->quads < best.quads && (p->across > 1 || c->sx <= patch_pixels(p)))
				best = *p;
		}
	*p = best;
}

bool patch_of(const KContract *c, Patch *p)
{
	enum { SHARE = 8 /* of terms that are, at least one in so many */ };
	const int64_t known[] = {c->ny, c->nx, c->in_y, c->in_x, c->a.y, c->a.x, c->a.b0, c->a.b1, c->a.k, c->a.block, c->a.blk};
	bool bytes = c->b.elem == EL_i8;

	*p = (Patch){.elems = 32 / (int)mlo_elem_bits(c->b.elem)};
	if (c->wino || c->depth || c->sparse.spread || c->scale.on || !c->b.packed || c->a_at || c->b_at || c->y_lo || c->group_k ||
	    c->nk < 1 || c->nc < 1 || c->nky < 1 || c->nkx < 1 || c->sy < 1 || c->sx < 1 || c->dy < 1 || c->dx < 1 || c->a.block < 1 || contract_is_depthwise(c) || (!bytes && c->b.elem != EL_f16 && c->b.elem != EL_bf16 && c->b.elem != EL_tf32))
		return false;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i] < 0)
			return false;
	p->channels = words_of_channels(c, p->elems);
	if (bytes && (!p->channels || !contract_zero_fits(c)))
		return false;
	p->planes = p->channels ? ceil_div(c->nk, p->elems) : c->nk;
	if (!p->channels && c->sx % p->elems == 0)
		p->lead = (p->elems - c->px % p->elems) % p->elems;
	p->words = ceil_div(p->lead + (c->nkx - 1) * c->dx + 1, patch_pixels(p));
	if (p->planes > PATCH_QUAD * PATCH_MOST_QUADS || p->words > PATCH_QUAD * PATCH_MOST_QUADS)
		return false;
	choose_shape(p, c);
	return p->quads <= PATCH_MOST_QUADS && c->nk * c->nky * c->nkx * SHARE >= p->quads * PATCH_QUAD * p->elems;
}

PatchQuad patch_quad(const Patch *p, const KContract *c, int64_t quad)
{
	int64_t each = PATCH_QUAD / p->across, n = quads_across(p), line = quad / n;
	int64_t rows = p->by_planes ? c->nky : ceil_div(c->nky, each);

	return (PatchQuad){line / rows * (p->by_planes ? each : 1), line % rows * (p->by_planes ? 1 : each), quad % n * p->across};
}

int64_t patch_elems(const Patch *p, const KContract *c)
{
	return p->quads * c->vecs * c->lanes * PATCH_QUAD * p->elems;
}

int64_t patch_channel(int64_t place)
{
	int64_t in = place % (4 * PATCH_CHANNELS);

	return place - in + in % 8 / 2 * PATCH_CHANNELS + in / 8 * 2 + in % 2;
}

/* And back. */
static int64_t place_of(int64_t lane)
{
	int64_t in = lane % (4 * PATCH_CHANNELS);

	return lane - in + in % PATCH_CHANNELS / 2 * 8 + in / PATCH_CHANNELS * 2 + in % 2;
}

int64_t patch_place(const Patch *p, const KContract *c, int64_t lane, int64_t k, int64_t ky, int64_t kx)
{
	int64_t each = PATCH_QUAD / p->across, pixel = p->lead + kx * c->dx, plane = p->channels ? k / p->elems : k;
	int64_t word = pixel / patch_pixels(p), in = p->channels ? k % p->elems : pixel % p->elems, rows, line, turn;

	rows = p->by_planes ? c->nky : ceil_div(c->nky, each);
	line = p->by_planes ? plane / each * rows + ky : plane * rows + ky / each;
	turn = (p->by_planes ? plane : ky) % each * p->across + word % p->across;
	return (((line * quads_across(p) + word / p->across) * c->vecs * c->lanes + place_of(lane)) * PATCH_QUAD + turn) * p->elems + in;
}

bool patch_term(const Patch *p, const KContract *c, int64_t i, int64_t *lane, int64_t *k, int64_t *ky, int64_t *kx)
{
	int64_t in = i % p->elems, turn = i / p->elems % PATCH_QUAD, width = (int64_t)c->vecs * c->lanes, pixel, below;
	PatchQuad q = patch_quad(p, c, i / p->elems / PATCH_QUAD / width);

	*lane = patch_channel(i / p->elems / PATCH_QUAD % width);
	below = turn / p->across;
	q.plane += p->by_planes ? below : 0;
	*ky = q.ky + (p->by_planes ? 0 : below);
	pixel = (q.word + turn % p->across) * patch_pixels(p) + (p->channels ? 0 : in) - p->lead;
	*k = p->channels ? q.plane * p->elems + in : q.plane;
	*kx = pixel / c->dx;
	return pixel >= 0 && pixel % c->dx == 0 && *kx < c->nkx && *ky < c->nky && *k < c->nk;
}
