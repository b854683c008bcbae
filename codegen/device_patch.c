/* codegen/device_patch.c -- contractions on tensor cores out of a patch of the image.
 *
 * Fragments of A are read word by word: lane 4 * g + t has word t of a quad at position g, so that eight neighbouring positions and four
 * words, which mostly lie beside each other, are in different banks or the same words.  Fragments of B are pieces of 16 bytes, eight
 * columns of a quad side by side.  Bytes outside of the image are the zero point there, so that what it adds to a sum is the same for all
 * positions, and sums begin at what is to be taken away. */
#include "codegen/device_patch.h"

/* -- addresses ---------------------------------------------------------------------------------------- */

/* Row r of a tile in the patch, of those eight that follow from a multiple of 8 on, in words. */
static int64_t row_at(const PatchTile *t, int64_t r)
{
	const PatchPlan *p = &t->plan;
	const KContract *c = t->m.t.c;

	return r / p->wide * c->sy * p->pitch + r % p->wide * c->sx / patch_pixels(&p->p);
}

/* Where the warp's first row begins. */
static LLVMValueRef warp_at(PatchTile *t)
{
	const PatchPlan *p = &t->plan;
	Emit *e = t->m.t.e;
	int64_t rows = t->m.mt * 16, each = p->wide / rows;
	LLVMValueRef warp = t->m.warp_m;

	if (p->wide <= rows)
		return tile_mul(e, warp, row_at(t, rows));
	return tile_add(e, tile_mul(e, tile_div(e, warp, each), row_at(t, p->wide)), tile_mul(e, tile_rem(e, warp, each), row_at(t, rows)));
}

/* The lane's first word of A, in bytes. */
static LLVMValueRef lane_at(PatchTile *t)
{
	const PatchPlan *p = &t->plan;
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;
	int64_t step = patch_pixels(&p->p), below = p->p.by_planes ? p->plane : c->dy * p->pitch;
	LLVMValueRef pixel = tile_addc(e, tile_mul(e, tile_div(e, t->m.lane, 4), c->sx), p->left), in = tile_rem(e, t->m.lane, 4), at;

	at = tile_add(e, warp_at(t), tile_div(e, pixel, step));
	if (p->copies > 1)
		at = tile_add(e, at, tile_mul(e, tile_rem(e, pixel, step), p->copy));
	at = tile_add(e, at, tile_rem(e, in, p->p.across));
	if (p->p.across < PATCH_QUAD)
		at = tile_add(e, at, tile_mul(e, tile_div(e, in, p->p.across), below));
	return tile_addc(e, tile_mul(e, at, 4), p->weights);
}

static int64_t quad_at(const PatchTile *t, int64_t quad)
{
	const PatchPlan *p = &t->plan;
	PatchQuad q;
	int64_t each = PATCH_QUAD / p->p.across, lines = p->p.by_planes ? p->planes : p->p.planes;

	q = patch_quad(&p->p, t->m.t.c, quad);
	if (q.plane + (p->p.by_planes ? each : 1) > lines) /* what makes their number even: zeros of B, by any words */
		q = (PatchQuad){0};
	return q.plane * p->plane + q.ky * t->m.t.c->dy * p->pitch + q.word;
}

/* -- products ----------------------------------------------------------------------------------------- */

static LLVMValueRef load_word(PatchTile *t, LLVMValueRef from, int64_t at)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;
	LLVMValueRef v = LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), from, (LLVMValueRef[]){emit_index(e, at * 4)}, 1, "");

	v = LLVMBuildLoad2(e->b, i32_type(m), v, "");
	LLVMSetAlignment(v, 4);
	return mma_operand(m, v, m->kind->word);
}

static void multiply(PatchTile *t)
{
	enum { MAX_M = 4, MAX_N = 8 };
	Mma *m = &t->m;
	Emit *e = m->t.e;
	int64_t piece = m->t.columns * PIECE;
	LLVMValueRef a[MAX_M * 4], b[MAX_N * 2], a_from = device_opaque(e, byte_at(m, lane_at(t))), b_from;
	LLVMValueRef in = tile_rem(e, m->lane, 8), bit3 = tile_rem(e, tile_div(e, m->lane, 8), 2), bit4 = tile_div(e, m->lane, 16);

	b_from = tile_add(e, tile_mul(e, bit3, piece), tile_mul(e, tile_add(e, in, tile_mul(e, bit4, 8)), PIECE));
	b_from = device_opaque(e, byte_at(m, b_from));
	for (int64_t s = 0; s < t->plan.p.quads; s += 2) {
		for (int i = 0; i < m->mt * 4; i++)
			a[i] = load_word(t, a_from, quad_at(t, s + i / 2 % 2) + row_at(t, i / 4 * 16 + i % 2 * 8));
		for (int j = 0; j < m->nt; j += 2)
			mma_load_fragments(m, b_from, s * piece + (int64_t)j * 8 * PIECE, b + 2 * j);
		for (int j = 0; j < 2 * m->nt; j++)
			b[j] = mma_operand(m, b[j], m->kind->word);
		for (int i = 0; i < m->mt; i++)
			for (int j = 0; j < m->nt; j++)
				mma_multiply_fragment(m, a + 4 * i, b + 2 * j, m->sum + 4 * (i * m->nt + j));
	}
}

/* -- zero points -------------------------------------------------------------------------------------- */

static LLVMValueRef zero_point(PatchTile *t)
{
	const KContract *c = t->m.t.c;
	Emit *e = t->m.t.e;
	LLVMValueRef z = word_const(&t->m, c->zero.at), v;

	if (!c->zero.given)
		return z;
	v = device_load(&t->m.t, c->zero.z_arg, emit_index(e, 0), 1, NULL);
	return LLVMBuildAdd(e->b, z, LLVMBuildIntCast2(e->b, v, i32_type(&t->m), c->a.elem == EL_i8, ""), "");
}

/* Four bytes of it. */
static void choose_fill(PatchTile *t)
{
	Emit *e = t->m.t.e;
	LLVMValueRef z;

	t->fill = NULL;
	if (!t->plan.sums)
		return;
	z = LLVMBuildAnd(e->b, zero_point(t), word_const(&t->m, UINT8_MAX), "");
	t->fill = LLVMBuildMul(e->b, z, word_const(&t->m, 0x01010101), "");
}

/* Of all weights of a column, what the zero point adds. */
static LLVMValueRef column_zero(PatchTile *t, LLVMValueRef column, LLVMValueRef zero)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;
	LLVMValueRef sum = NULL, v;

	for (int i = 0; i < m->t.threads / m->t.columns; i++) {
		v = byte_at(m, tile_addc(e, tile_mul(e, column, 4), t->plan.shared + (int64_t)i * m->t.columns * 4));
		v = LLVMBuildLoad2(e->b, i32_type(m), v, "");
		sum = sum ? LLVMBuildAdd(e->b, sum, v, "") : v;
	}
	return LLVMBuildMul(e->b, sum, zero, "");
}

static void begin_sums(PatchTile *t)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;
	LLVMValueRef own = tile_mul(e, tile_rem(e, m->lane, 4), PATCH_CHANNELS), zero = t->plan.sums ? LLVMBuildNeg(e->b, zero_point(t), "") : NULL, v;

	for (int j = 0; j < m->nt; j++)
		for (int k = 0; k < 2; k++) {
			v = zero ? column_zero(t, tile_addc(e, own, patch_channel(j * 8 + k)), zero) : LLVMConstNull(m->sum_type);
			for (int i = 0; i < m->mt * 2; i++)
				LLVMBuildStore(e->b, v, m->sum[(i / 2 * m->nt + j) * 4 + i % 2 * 2 + k]);
		}
}

/* -- the kernel --------------------------------------------------------------------------------------- */

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

static LLVMValueRef split(PatchTile *t, LLVMValueRef *i, int64_t n)
{
	LLVMValueRef r = tile_rem(t->m.t.e, *i, n);

	*i = tile_div(t->m.t.e, *i, n);
	return r;
}

/* Tiles: channels, then tiles of a row, rows of tiles, batches. */
static void begin_tile(PatchTile *t, EmitLoop *l)
{
	DeviceTile *d = &t->m.t;
	const KContract *c = d->c;
	const PatchPlan *p = &t->plan;
	Emit *e = d->e;
	int64_t across = ceil_div(c->nc, d->columns), nx = ceil_div(c->nx, p->wide), ny = ceil_div(c->ny, p->high);
	LLVMValueRef all = tile_mul(e, tile_mul(e, emit_index(e, across * nx * ny), c->nb0), c->nb1), i;

	i = emit_for(e, l, device_special(e, "ctaid.x"), all, device_special(e, "nctaid.x"), "tile");
	d->column = tile_mul(e, split(t, &i, across), d->columns);
	t->first_x = tile_mul(e, split(t, &i, nx), p->wide);
	t->first_y = tile_mul(e, split(t, &i, ny), p->high);
	d->b1 = split(t, &i, c->nb1);
	d->b0 = i;
	t->x = tile_addc(e, tile_mul(e, t->first_x, c->sx), -c->px - p->p.lead - p->left);
	t->y = tile_addc(e, tile_mul(e, t->first_y, c->sy), -c->py);
}

static void one_tile(PatchTile *t)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;

	patch_bring_weights(t);
	choose_fill(t);
	patch_bring(t);
	if (t->plan.sums)
		patch_sum_weights(t);
	if (m->async)
		mma_async(m, "llvm.nvvm.cp.async.wait.all");
	device_block_barrier(e);
	begin_sums(t);
	multiply(t);
	patch_outputs(t);
	device_block_barrier(e);
}

static void begin(PatchTile *t)
{
	Mma *m = &t->m;
	Emit *e = m->t.e;

	m->sum_type = emit_type(e, mlo_contract_sum(m->t.c));
	m->lane = tile_rem(e, m->t.thread, DEVICE_WARP);
	m->warp_m = tile_div(e, m->t.thread, DEVICE_WARP);
	m->warp_n = emit_index(e, 0);
	for (int i = 0; i < m->mt * m->nt * 4; i++)
		m->sum[i] = emit_alloca(e, m->sum_type, "sum");
}

static LLVMValueRef aligned(PatchTile *t)
{
	Emit *e = t->m.t.e;
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);
	int64_t bytes = t->plan.chunk * (t->plan.p.channels ? 4 : mlo_elem_bits(t->m.t.c->a.elem) / 8);
	LLVMValueRef a = LLVMBuildPtrToInt(e->b, e->arg[t->m.t.c->a_arg], i64, "");

	a = LLVMBuildOr(e->b, LLVMBuildAnd(e->b, a, emit_const_i(i64, bytes - 1), ""), patch_places(t), "");
	return LLVMBuildICmp(e->b, LLVMIntEQ, a, emit_const_i(i64, 0), "");
}

static MloLaunch launch_of(const PatchTile *t, const MloKernel *k)
{
	const KContract *c = t->m.t.c;
	const PatchPlan *p = &t->plan;
	int64_t tiles = mlo_kernel_guess(k, c->nb0) * mlo_kernel_guess(k, c->nb1) * ceil_div(c->ny, p->high) * ceil_div(c->nx, p->wide);

	return (MloLaunch){.threads = (uint32_t)t->m.t.threads, .blocks = (uint32_t)(tiles * ceil_div(c->nc, p->columns)),
	                   .tasks_per_block = k->ntasks < 0 ? 1 : 0, .shared_bytes = (uint32_t)patch_shared(t)};
}

bool device_patch(LLVMModuleRef module, const MloKernel *k, const MloTarget *target, const char *symbol, MloLaunch *launch)
{
	const KContract *c = k->body->contract;
	DeviceFrame f;
	PatchTile t = {.m = {.t = {.f = &f, .e = &f.e, .s = k->body, .c = c, .columns = c->vecs * c->lanes, .slices = 1, .parts = 1}}};
	Mma *m = &t.m;
	LLVMValueRef ok;
	DeviceIf fast;
	EmitLoop l;

	if (!c->b.patch || !device_patch_plan(target, k, c, m->t.columns, &t.plan))
		return false;
	m->kind = mma_kind(target->gpu->capability, c->a.elem, c->b.elem);
	m->quarters = target->gpu->capability < 80;
	m->async = !m->quarters;
	m->warps_m = t.plan.warps;
	m->warps_n = 1;
	m->mt = t.plan.mt;
	m->nt = m->t.columns / 8;
	m->t.rows = (int)(t.plan.wide * t.plan.high);
	m->t.threads = t.plan.warps * DEVICE_WARP;
	device_tile_kernel(&m->t, module, k, target, symbol);
	t.outputs = patch_columns(&t);
	*launch = launch_of(&t, k);
	begin(&t);
	ok = aligned(&t);
	device_if(&f.e, &fast, ok);
	begin_tile(&t, &l);
	one_tile(&t);
	device_tile_end(&m->t, &l);
	device_endif(&f.e, &fast);
	device_unaligned(&m->t, ok);
	device_end(&f, launch);
	return true;
}

/* -- one by one --------------------------------------------------------------------------------------- */

/* As patch_place() has it. */
static LLVMValueRef place_of(Emit *e, LLVMValueRef lane)
{
	LLVMValueRef in = tile_rem(e, lane, 4 * PATCH_CHANNELS), at = LLVMBuildSub(e->b, lane, in, "");

	at = tile_add(e, at, tile_mul(e, tile_div(e, tile_rem(e, in, PATCH_CHANNELS), 2), 8));
	return tile_add(e, at, tile_add(e, tile_mul(e, tile_div(e, in, PATCH_CHANNELS), 2), tile_rem(e, in, 2)));
}

LLVMValueRef device_patch_weight(Emit *e, const KContract *c, LLVMValueRef channel, LLVMValueRef tap, LLVMValueRef k)
{
	Patch p;
	bool is = patch_of(c, &p);
	int64_t each = PATCH_QUAD / p.across, width = (int64_t)c->vecs * c->lanes, rows = p.by_planes ? c->nky : ceil_div(c->nky, each);
	LLVMValueRef ky = tile_div(e, tap, c->nkx), pixel = tile_addc(e, tile_mul(e, tile_rem(e, tap, c->nkx), c->dx), p.lead), quad, at;
	LLVMValueRef plane = p.channels ? tile_div(e, k, p.elems) : k, word = tile_div(e, pixel, patch_pixels(&p));
	LLVMValueRef in = tile_rem(e, p.channels ? k : pixel, p.elems);

	MLO_ASSERT(is);
	quad = p.by_planes ? tile_add(e, tile_mul(e, tile_div(e, plane, each), rows), ky) : tile_add(e, tile_mul(e, plane, rows), tile_div(e, ky, each));
	quad = tile_add(e, tile_mul(e, quad, ceil_div(p.words, p.across)), tile_div(e, word, p.across));
	at = tile_add(e, tile_mul(e, quad, width), place_of(e, tile_rem(e, channel, width)));
	at = tile_add(e, tile_mul(e, at, PATCH_QUAD), tile_mul(e, tile_rem(e, p.by_planes ? plane : ky, each), p.across));
	at = tile_add(e, tile_mul(e, tile_add(e, at, tile_rem(e, word, p.across)), p.elems), in);
	return tile_add(e, at, tile_mul(e, tile_div(e, channel, width), patch_elems(&p, c)));
}
