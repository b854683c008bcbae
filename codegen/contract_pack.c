/* codegen/contract_pack.c -- weights of contractions in the order in which machine code reads them. */
#include <string.h>

#include "codegen/contract_lower.h"
#include "codegen/kept.h"
#include "codegen/patch.h"
#include "codegen/sparse.h"
#include "codegen/winograd.h"

/* The weight of (output channel c, term k, tap) as the plan counts them; 0 where there is none. */
typedef double WeightAt(const ContractWeights *w, int64_t c, int64_t k, int64_t ky, int64_t kx);

static double raw(const MloTensor *t, int64_t i)
{
	float v;

	if (t->elem == EL_i8)
		return ((const int8_t *)t->data)[i];
	if (t->elem != EL_f32)
		return mlo_tensor_f64(t, i);
	memcpy(&v, (const char *)t->data + i * 4, 4);
	return v;
}

/* Element i of the weights, which belongs to channel c, less its zero point. */
static double weight(const ContractWeights *w, int64_t i, int64_t c)
{
	double v = raw(w->w, i);

	return w->zero ? v - raw(w->zero, mlo_tensor_elems(w->zero) == 1 ? 0 : c) : v;
}

static double conv_weight(const ContractWeights *w, int64_t c, int64_t k, int64_t ky, int64_t kx)
{
	int64_t group = c / w->ocg % w->tile_groups;

	if (k / w->icg != group && w->tile_groups > 1)
		return 0;
	return weight(w, ((c * w->icg + k % w->icg) * w->kh + ky) * w->kw + kx, c);
}

static double transposed_weight(const ContractWeights *w, int64_t c, int64_t k, int64_t ky, int64_t kx)
{
	int64_t tap = c / w->phase_c, oc = c % w->phase_c;

	(void)ky;
	(void)kx;
	return oc < w->oc ? weight(w, (k * w->oc + oc) * w->kh * w->kw + tap, oc) : 0;
}

static double matrix_weight(const ContractWeights *w, int64_t c, int64_t k, int64_t ky, int64_t kx)
{
	(void)ky;
	(void)kx;
	return weight(w, k * w->stride_k + c * w->stride_c, c);
}

static WeightAt *const weight_at[] = {
	[CW_CONV] = conv_weight, [CW_TRANSPOSED] = transposed_weight, [CW_MATRIX] = matrix_weight};

static void set(MloTensor *t, int64_t i, double v)
{
	float f = (float)v;
	uint32_t bits;

	if (t->elem == EL_f32) {
		((float *)t->data)[i] = f;
	} else if (t->elem == EL_bf16 && v - v == 0) { /* nearest, even of two */
		memcpy(&bits, &f, 4);
		((uint16_t *)t->data)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
	} else if (t->elem == EL_tf32) {
		((float *)t->data)[i] = mlo_round_tf32(f);
	} else {
		mlo_tensor_set_f64(t, i, v);
	}
}

static const MloTensor *pack_winograd(MloArena *a, const KContract *c, const ContractWeights *w)
{
	int64_t width = (int64_t)c->vecs * c->lanes, points = wino_points(c), tiles = mlo_contract_ctiles(c);
	int64_t taps = c->nky * c->nkx;
	MloTensor *t = mlo_tensor_new(a, c->b.elem, 4, (int64_t[]){tiles, points, c->nk, width});

	for (int64_t oc = 0; oc < c->nc; oc++) {
		for (int64_t k = 0; k < c->nk; k++) {
			float tap[9];

			for (int i = 0; i < taps; i++)
				tap[i] = (float)weight_at[w->kind](w, oc, k, i / c->nkx, i % c->nkx);
			for (int p = 0; p < points; p++)
				set(t, ((oc / width * points + p) * c->nk + k) * width + oc % width, wino_weight(c, tap, p));
		}
	}
	return t;
}

static const MloTensor *pack_patch(MloArena *a, const KContract *c, const ContractWeights *w)
{
	int64_t width = (int64_t)c->vecs * c->lanes, tiles = mlo_contract_ctiles(c), each, lane, k, ky, kx;
	MloTensor *t;
	Patch p;

	MLO_ASSERT(patch_of(c, &p));
	each = patch_elems(&p, c);
	t = mlo_tensor_new(a, c->b.elem, 1, (int64_t[]){tiles * each});
	for (int64_t i = 0; i < tiles * each; i++)
		if (patch_term(&p, c, i % each, &lane, &k, &ky, &kx) && i / each * width + lane < c->nc)
			set(t, i, weight_at[w->kind](w, i / each * width + lane, k, ky, kx));
	return t;
}

const MloTensor *contract_pack(MloArena *a, const KContract *c, const ContractWeights *w)
{
	int64_t width = (int64_t)c->vecs * c->lanes, tiles = mlo_contract_ctiles(c), taps = c->nky * c->nkx;
	int64_t steps = mlo_contract_steps(c);
	MloTensor *t;

	if (c->wino)
		return pack_winograd(a, c, w);
	if (c->b.patch)
		return pack_patch(a, c, w);
	t = mlo_tensor_new(a, c->b.elem, 6, (int64_t[]){tiles, c->nky, c->nkx, steps, width, c->dot});
	for (int64_t row = 0; row < tiles * taps * steps; row++) {
		int64_t oc = row / steps / taps * width, tap = row / steps % taps, k = row % steps * c->dot;

		for (int64_t j = 0; j < width * c->dot; j++)
			if (oc + j / c->dot < c->nc && k + j % c->dot < c->nk)
				set(t, row * width * c->dot + mlo_contract_place(c, j / c->dot, j % c->dot),
				    weight_at[w->kind](w, oc + j / c->dot, k + j % c->dot, tap / c->nkx, tap % c->nkx));
	}
	return t;
}

const MloTensor *contract_pack_sums(MloArena *a, const KContract *c, const ContractWeights *w)
{
	int64_t width = (int64_t)c->vecs * c->lanes, tiles = mlo_contract_ctiles(c), taps = c->nky * c->nkx;
	MloTensor *t = mlo_tensor_new(a, EL_i32, 4, (int64_t[]){tiles, c->nky, c->nkx, width});

	for (int64_t i = 0; i < tiles * taps * width; i++) {
		int64_t oc = i / width / taps * width + i % width, tap = i / width % taps;
		double sum = 0;

		for (int64_t k = 0; oc < c->nc && k < c->nk; k++)
			sum += weight_at[w->kind](w, oc, k, tap / c->nkx, tap % c->nkx);
		mlo_tensor_set_i64(t, i, (int64_t)sum);
	}
	return t;
}

bool contract_weights_fit(const ContractWeights *w, int64_t channels, bool channels_last)
{
	int64_t n = mlo_tensor_elems(w->w), zeros = w->zero ? mlo_tensor_elems(w->zero) : 1;

	if (zeros != 1 && zeros != channels)
		return false;
	if (!w->zero && w->w->elem == EL_i8)
		return true;
	for (int64_t i = 0; i < n; i++) {
		double v = weight(w, i, channels_last ? i % channels : i / (n / channels));

		if (v < INT8_MIN || v > INT8_MAX)
			return false;
	}
	return true;
}

bool contract_weights_small(const ContractWeights *w)
{
	int64_t n = mlo_tensor_elems(w->w), zeros = w->zero ? mlo_tensor_elems(w->zero) : 1;

	for (int64_t i = 0; i < n; i++)
		if (weight(w, i, w->kind == CW_MATRIX ? i % zeros : i / (n / zeros)) == INT8_MIN)
			return false;
	return true;
}

/* -- sparse weights ------------------------------------------------------------------------------------ */

/* Is a step of weights other than zero? */
static bool step_counts(const KContract *c, const ContractWeights *w, int64_t oc, int64_t step, int64_t tap)
{
	for (int64_t k = step * c->dot; k < (step + 1) * c->dot && k < c->nk; k++)
		if (weight_at[w->kind](w, oc, k, tap / c->nkx, tap % c->nkx) != 0)
			return true;
	return false;
}

/* Of some of the weights, is a good part zero?  Zero points of their own, one per channel: nobody knows yet. */
static bool may_be_sparse(const ContractWeights *w)
{
	enum { SAMPLES = 4096, LEAST = 40 /* percent */ };
	int64_t n = mlo_tensor_elems(w->w), step = n / SAMPLES + 1, seen = 0, zeros = 0;

	step += step % 2 == 0; /* not the same place of each row */
	if (w->zero && mlo_tensor_elems(w->zero) != 1)
		return true;
	for (int64_t i = 0; i < n; i += step, seen++)
		zeros += weight(w, i, 0) == 0;
	return zeros * 100 >= seen * LEAST;
}

MloSparsity contract_sparsity(const KContract *c, const ContractWeights *w)
{
	enum { MOST = 1 << (MLO_SPARSE_GROUPS - 1) };
	MloSparsity s = {{0}};
	int64_t each = mlo_contract_steps(c) * c->nky * c->nkx;

	if (!may_be_sparse(w))
		return s;
	for (int64_t oc = 0; oc < c->nc; oc += MOST) {
		for (int64_t i = 0; i < each; i++) {
			unsigned there = 0; /* a bit for each channel */

			for (int64_t j = 0; j < MOST && oc + j < c->nc; j++)
				there |= (unsigned)step_counts(c, w, oc + j, i / (c->nky * c->nkx), i % (c->nky * c->nkx)) << j;
			for (int g = 0; there && g < MLO_SPARSE_GROUPS; g++)
				for (int j = 0; j < MOST; j += 1 << g)
					s.n[g] += (there >> j & ((1U << (1 << g)) - 1)) != 0;
		}
	}
	return s;
}

/* Is a step of weights other than zero for any channel of the group from oc on? */
static bool group_counts(const KContract *c, const ContractWeights *w, int64_t oc, int64_t step, int64_t tap)
{
	for (int64_t j = oc; j < oc + c->sparse.group && j < c->nc; j++)
		if (step_counts(c, w, j, step, tap))
			return true;
	return false;
}

/* Those of a group at a step, to element i of b. */
static void set_group(MloTensor *b, int64_t i, const KContract *c, const ContractWeights *w, int64_t oc, int64_t step, int64_t tap)
{
	for (int64_t j = 0; j < c->sparse.group; j++)
		for (int64_t k = 0; k < c->dot; k++, i++)
			if (oc + j < c->nc && step * c->dot + k < c->nk)
				set(b, i, weight_at[w->kind](w, oc + j, step * c->dot + k, tap / c->nkx, tap % c->nkx));
}

/* The streams of all rows, or, with b NULL, only how many entries they have. */
static int64_t fill_sparse(const KContract *c, const ContractWeights *w, MloTensor *b, MloTensor *far, MloTensor *first)
{
	int64_t each = sparse_run_rows(c), steps = mlo_contract_steps(c), run = sparse_run(c), taps = c->nky * c->nkx, n = 0;

	for (int64_t row = 0; row < sparse_rows(c); row++) {
		int64_t oc = row % each * c->sparse.group, lo = row / each * run, at = 0;

		if (b)
			mlo_tensor_set_i64(first, row, n);
		for (int64_t i = 0; oc < c->nc && i < run * taps; i++) {
			int64_t step = lo + i / taps, tap = i % taps, ahead;

			if (step >= steps || !group_counts(c, w, oc, step, tap))
				continue;
			ahead = sparse_place(c, step, tap / c->nkx, tap % c->nkx) - at;
			at += ahead;
			for (; ahead > SPARSE_FARTHEST; ahead -= SPARSE_FARTHEST, n++)
				if (b)
					mlo_tensor_set_i64(far, n, SPARSE_FARTHEST);
			if (b) {
				set_group(b, n * c->sparse.group * c->dot, c, w, oc, step, tap);
				mlo_tensor_set_i64(far, n, ahead);
			}
			n++;
		}
	}
	if (b)
		mlo_tensor_set_i64(first, sparse_rows(c), n);
	return n;
}

const MloTensor *contract_pack_sparse(MloArena *a, const KContract *c, const ContractWeights *w, const MloTensor **places,
                                      const MloTensor **rows)
{
	int64_t n = fill_sparse(c, w, NULL, NULL, NULL);
	MloTensor *b = mlo_tensor_new(a, c->b.elem, 3, (int64_t[]){n, c->sparse.group, c->dot});
	MloTensor *far = mlo_tensor_new(a, EL_u8, 1, (int64_t[]){n}), *first = mlo_tensor_new(a, EL_i32, 1, (int64_t[]){sparse_rows(c) + 1});

	fill_sparse(c, w, b, far, first);
	*places = far;
	*rows = first;
	return b;
}

/* -- half of the terms ------------------------------------------------------------------------------------ */

/* Weights of a group from term k on: how many are not zero, and which of those are there, `n` of them, in rising order. */
static int find_kept(const KContract *c, const ContractWeights *w, int64_t oc, int64_t k, int64_t tap, int n, int *place)
{
	int group = kept_group(c->b.elem), found = 0, at = 0;
	bool there[4] = {0};

	for (int i = 0; i < group && k + i < c->nk; i++)
		found += there[i] = weight_at[w->kind](w, oc, k + i, tap / c->nkx, tap % c->nkx) != 0;
	for (int i = group - 1, spare = n - found; i >= 0 && spare > 0; i--)
		if (!there[i]) {
			there[i] = true;
			spare--;
		}
	for (int i = 0; i < group && at < n; i++)
		if (there[i])
			place[at++] = i;
	return found;
}

bool contract_weights_halved(const KContract *c, const ContractWeights *w)
{
	int group = kept_group(c->b.elem), place[2];

	if (c->nk < group || (w->zero && mlo_tensor_elems(w->zero) != 1))
		return false;
	for (int64_t oc = 0; oc < c->nc; oc++)
		for (int64_t tap = 0; tap < c->nky * c->nkx; tap++)
			for (int64_t k = 0; k < c->nk; k += group)
				if (find_kept(c, w, oc, k, tap, group / 2, place) > group / 2)
					return false;
	return true;
}

static void or_bits(MloTensor *t, int64_t at, uint32_t bits)
{
	uint32_t word;

	memcpy(&word, (char *)t->data + at, sizeof word);
	word |= bits;
	memcpy((char *)t->data + at, &word, sizeof word);
}

/* A group of a channel, in a stage that begins so many bytes behind. */
static void set_kept(MloTensor *t, int64_t stage, const KContract *c, const ContractWeights *w, int64_t oc, int64_t k, int64_t tap)
{
	int64_t width = (int64_t)c->vecs * c->lanes, lane = oc % width, in = k % c->dot, at, size = mlo_elem_bits(c->b.elem) / 8;
	int n = kept_group(c->b.elem) / 2, place[2] = {0, 1}, bit;

	if (oc < c->nc && k < c->nk)
		find_kept(c, w, oc, k, tap, n, place);
	at = stage + kept_meta_at(c, lane, in, &bit);
	or_bits(t, at, (uint32_t)(n == 1 ? (place[0] ? 0xe : 4) : place[0] | place[1] << 2) << bit);
	for (int i = 0; i < n; i++)
		if (oc < c->nc && k + place[i] < c->nk)
			set(t, (stage + kept_term_at(c, lane, in, i)) / size, weight_at[w->kind](w, oc, k + place[i], tap / c->nkx, tap % c->nkx));
}

const MloTensor *contract_pack_kept(MloArena *a, const KContract *c, const ContractWeights *w)
{
	int64_t width = (int64_t)c->vecs * c->lanes, taps = c->nky * c->nkx, steps = mlo_contract_steps(c), bytes = kept_stage_bytes(c);
	MloTensor *t = mlo_tensor_new(a, c->b.elem, 1, (int64_t[]){kept_elems(c)});

	for (int64_t i = 0; i < mlo_contract_ctiles(c) * taps * steps; i++)
		for (int64_t lane = 0; lane < width; lane++)
			for (int64_t k = 0; k < c->dot; k += kept_group(c->b.elem))
				set_kept(t, i * bytes, c, w, i / steps / taps * width + lane, i % steps * c->dot + k, i / steps % taps);
	return t;
}
