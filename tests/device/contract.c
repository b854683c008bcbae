/* tests/device/contract.c -- kernels of contractions, and weights for them. */
#include <string.h>

#include "codegen/contract.h"
#include "codegen/device_schedule.h"
#include "codegen/kept.h"
#include "codegen/patch.h"
#include "targets/target.h"
#include "tests/device/device.h"
#include "tests/unit/kernel_random.h"

enum { BLOCK = 32, FOUR = 4 };

static int64_t up(int64_t n, int64_t by)
{
	return (n + by - 1) / by * by;
}

/* Where A lies. */
static void place_input(const DeviceContract *s, KContract *c)
{
	int64_t all = s->terms * s->groups, image = s->y * s->x;

	if (s->layout == DEVICE_DENSE) {
		c->a.block = s->terms;
		c->a.blk = image * s->terms;
		c->a.k = image;
		c->a.x = 1;
		c->a.b0 = image * all;
	} else {
		c->a.block = s->layout == DEVICE_BLOCKS ? BLOCK : s->layout == DEVICE_FOURS ? FOUR : all;
		c->a.k = 1;
		c->a.x = c->a.block;
		c->a.blk = image * c->a.block;
		c->a.b0 = image * up(all, c->a.block);
	}
	c->a.y = s->x * c->a.x;
	if (s->y == 1)
		c->a.y = 0;
}

static void place_output(MloKernel *k, KCursor *at, const DeviceContract *s, const KContract *c, const KIdx *const *v, int value)
{
	int64_t block = s->layout == DEVICE_BLOCKS ? BLOCK : s->layout == DEVICE_DENSE ? 1 : c->nc, all = up(c->nc, block);
	const KIdx *pixel = kx_add(k, kx_mul(k, v[2], c->nx), v[3]), *to;
	int arg = mlo_kernel_arg(k, KA_OUT, k->value.items[value].type, s->images * c->ny * c->nx * all);

	to = kx_add(k, kx_mul(k, pixel, block), kx_mod(k, v[4], block));
	to = kx_add(k, to, kx_mul(k, kx_div(k, v[4], block), c->ny * c->nx * block));
	kb_store(at, arg, kx_add(k, to, kx_mul(k, v[0], c->ny * c->nx * all)), NULL, value);
}

/* A number per channel is added. */
static int epilogue(MloKernel *k, KCursor *at, const KContract *c, const KIdx *channel)
{
	int value = kb_let(at, (KInst){.op = K_product, .type = mlo_contract_sum(c), .a = -1, .b = -1, .c = -1});
	int bias = mlo_kernel_arg(k, KA_IN, mlo_contract_sum(c), c->nc);

	return kb_op(at, K_add, mlo_contract_sum(c), value, kb_load(at, bias, channel, NULL, 0), -1);
}

static int64_t weights_of(const KContract *c)
{
	Patch p;

	if (c->b.patch && patch_of(c, &p))
		return mlo_contract_ctiles(c) * patch_elems(&p, c);
	if (c->b.kept)
		return kept_elems(c);
	return mlo_contract_ctiles(c) * c->nky * c->nkx * mlo_contract_steps(c) * c->lanes * c->dot;
}

MloKernel *device_contract(MloArena *a, const MloTarget *t, const DeviceContract *s, int64_t apart, bool half)
{
	MloKernel *k = mlo_kernel_new(a, s->name);
	int64_t reach = (s->taps - 1) * apart + 1;
	int64_t oy = (s->y + 2 * (s->y > 1 ? s->pad : 0) - (s->y > 1 ? reach : 1)) / s->stride + 1;
	int64_t ox = (s->x + 2 * s->pad - reach) / s->stride + 1, extent[5];
	KContract c = {.nb0 = s->images, .nb1 = 1, .ny = oy, .nx = ox, .nc = s->channels * s->groups, .nk = s->terms,
	               .nky = s->y > 1 ? s->taps : 1, .nkx = s->taps, .sy = s->stride, .sx = s->stride, .dy = apart, .dx = apart,
	               .py = s->y > 1 ? s->pad : 0, .px = s->pad, .in_y = s->y, .in_x = s->x, .qx = s->pad, .group_c = s->channels,
	               .group_k = s->groups > 1 ? s->terms : 0, .dot = 1, .a.elem = s->a, .b = {.elem = s->b, .packed = true}};
	const KIdx *v[5];
	KCursor top, at;

	place_input(s, &c);
	c.zero.at = s->zero;
	c.b.kept = half;
	mlo_schedule_device(t, k, &c);
	c.a_arg = mlo_kernel_arg(k, KA_IN, s->a, s->images * c.a.b0);
	c.b_arg = mlo_kernel_arg(k, KA_IN, c.b.elem, weights_of(&c));
	if (contract_has_sums(&c))
		c.zero.s_arg = mlo_kernel_arg(k, KA_IN, EL_i32, mlo_contract_ctiles(&c) * c.nky * c.nkx * c.lanes);
	memcpy(extent, (int64_t[]){c.nb0, 1, c.ny, c.nx, c.nc}, sizeof extent);
	for (int i = 0; i < 5; i++)
		v[i] = kx_var(k, c.var[i] = mlo_kernel_var(k, extent[i]));
	top = kb_top(k);
	at = kb_contract(&top, &c);
	place_output(k, &at, s, &c, v, epilogue(k, &at, &c, v[4]));
	kb_finish(k);
	return k;
}

/* Metadata at random, of terms in rising order; of terms that there are not, the weights are zero. */
static void kept_weights(const MloKernel *k, void *const *arg)
{
	static const unsigned pairs[] = {0x4, 0x8, 0xc, 0x9, 0xd, 0xe}; /* second place, first place */
	KernelRandom r = {kernel_test_seed(19)};
	const KContract *c = k->body->contract;
	int64_t steps = mlo_contract_steps(c), taps = c->nky * c->nkx, size = mlo_elem_bits(c->b.elem) / 8, group = kept_group(c->b.elem);
	int32_t *sum = contract_has_sums(c) ? arg[c->zero.s_arg] : NULL;

	for (int64_t i = 0; i < mlo_contract_ctiles(c) * taps * steps; i++) {
		char *stage = (char *)arg[c->b_arg] + i * kept_stage_bytes(c);

		memset(stage + kept_a_bytes(c), 0, (size_t)(kept_stage_bytes(c) - kept_a_bytes(c)));
		for (int64_t at = 0; at < c->lanes * c->dot; at += group) {
			int64_t lane = at / c->dot, in = at % c->dot, first = i % steps * c->dot + in;
			unsigned bits = group == 2 ? (kernel_random(&r, 2) ? 0xe : 0x4) : pairs[kernel_random(&r, 6)];
			int bit;
			char *meta = stage + kept_meta_at(c, lane, in, &bit);
			uint32_t word;

			memcpy(&word, meta, sizeof word);
			word |= bits << bit;
			memcpy(meta, &word, sizeof word);
			for (int64_t t = 0; t < group; t++) {
				int which = kept_which(c, in + t, bits);
				char *w = stage + kept_term_at(c, lane, in, which < 0 ? 0 : which);

				if (which >= 0 && (first + t >= c->nk || i / steps / taps * c->lanes + lane >= c->nc))
					memset(w, 0, (size_t)size);
				else if (which >= 0 && sum)
					sum[i / steps * c->lanes + lane] += *(int8_t *)w;
			}
		}
	}
}

/* Zero where there is no term. */
static void patch_weights(const MloKernel *k, void *const *arg)
{
	const KContract *c = k->body->contract;
	int64_t size = mlo_elem_bits(c->b.elem) / 8, each, lane, term, ky, kx, tile;
	int32_t *sum = contract_has_sums(c) ? arg[c->zero.s_arg] : NULL;
	Patch p;

	if (!patch_of(c, &p))
		return;
	each = patch_elems(&p, c);
	for (int64_t i = 0; i < mlo_contract_ctiles(c) * each; i++) {
		char *w = (char *)arg[c->b_arg] + i * size;

		tile = i / each;
		if (!patch_term(&p, c, i % each, &lane, &term, &ky, &kx) || tile * c->lanes + lane >= c->nc)
			memset(w, 0, (size_t)size);
		else if (sum)
			sum[(tile * c->nky * c->nkx + ky * c->nkx + kx) * c->lanes + lane] += *(int8_t *)w;
	}
}

void device_weights(const MloKernel *k, void *const *arg)
{
	const KContract *c = k->body->contract;
	int64_t steps = mlo_contract_steps(c), rows = mlo_contract_ctiles(c) * c->nky * c->nkx;
	size_t size = mlo_elem_bits(c->b.elem) / 8;
	int32_t *sum = contract_has_sums(c) ? arg[c->zero.s_arg] : NULL;

	if (sum)
		memset(sum, 0, (size_t)(rows * c->lanes) * sizeof *sum);
	if (c->b.kept || c->b.patch) {
		(c->b.patch ? patch_weights : kept_weights)(k, arg);
		return;
	}
	for (int64_t i = 0; i < rows * steps * c->lanes * c->dot; i++) {
		int64_t term = i / c->dot / c->lanes % steps * c->dot + i % c->dot, lane = i / c->dot % c->lanes;
		int64_t row = i / c->dot / c->lanes / steps;
		char *w = (char *)arg[c->b_arg] + (size_t)i * size;

		if (term >= c->nk || row / (c->nky * c->nkx) * c->lanes + lane >= c->nc)
			memset(w, 0, size);
		else if (sum)
			sum[row * c->lanes + lane] += *(int8_t *)w;
	}
}
