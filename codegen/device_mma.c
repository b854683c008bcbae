/* codegen/device_mma.c -- contractions on tensor cores.
 *
 * A warp makes a part of the tile, fragments of 16 x 8 sums that stay in registers.  In shared memory
 * a row of A, or a column of B, is 64 or 128 bytes of a stage, in pieces of 16 bytes which are turned by the number of the row: the
 * eight pieces that a phase of ldmatrix or of a store touches then lie in different banks.
 *
 * From capability 8.0 on, pieces are brought by cp.async, several stages ahead; what lies outside of the image are copies
 * of no bytes, which leave zeros.  Where A has to be converted, or before 8.0, a stage is read into registers before the one at
 * hand is multiplied, and written to the other half of shared memory behind that. */
#include "codegen/device_mma_stage.h"
#include "codegen/device_pixels.h"

const MmaKind *mma_kind(int capability, MloElem a, MloElem b)
{
	static const MmaKind kinds[] = {
		{EL_f32, EL_tf32, EL_tf32, "llvm.nvvm.mma.m16n8k8.row.col.tf32", NULL},
		{EL_tf32, EL_tf32, EL_tf32, "llvm.nvvm.mma.m16n8k8.row.col.tf32", NULL},
		{EL_f32, EL_f16, EL_f16, "llvm.nvvm.mma.m16n8k16.row.col.f32.f32", "llvm.nvvm.mma.m16n8k8.row.col.f32.f32"},
		{EL_f16, EL_f16, EL_f16, "llvm.nvvm.mma.m16n8k16.row.col.f32.f32", "llvm.nvvm.mma.m16n8k8.row.col.f32.f32"},
		{EL_f32, EL_bf16, EL_bf16, "llvm.nvvm.mma.m16n8k16.row.col.bf16", NULL},
		{EL_bf16, EL_bf16, EL_bf16, "llvm.nvvm.mma.m16n8k16.row.col.bf16", NULL},
		{EL_u8, EL_i8, EL_i8, "llvm.nvvm.mma.m16n8k32.row.col.u8.s8", "llvm.nvvm.mma.m8n8k16.row.col.u8.s8"},
		{EL_i8, EL_i8, EL_i8, "llvm.nvvm.mma.m16n8k32.row.col.s8", "llvm.nvvm.mma.m8n8k16.row.col.s8"}};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i].a == a && kinds[i].b == b && (capability >= 80 || kinds[i].half))
			return &kinds[i];
	return NULL;
}

/* ldmatrix: each lane says where a row of 16 bytes lies, eight of which are a matrix.  Of A those are rows 0-7 and 8-15, then
 * the next four words; of B columns 0-7 with their first and next four words, then columns 8-15. */
static void plan_fragments(Mma *m)
{
	Emit *e = m->t.e;
	LLVMValueRef in = LLVMBuildAnd(e->b, m->lane, emit_index(e, 7), ""), bit3 = tile_rem(e, tile_div(e, m->lane, 8), 2);
	LLVMValueRef bit4 = tile_div(e, m->lane, 16), row, column;

	row = tile_add(e, tile_mul(e, m->warp_m, (int64_t)m->mt * 16), tile_add(e, in, tile_mul(e, bit3, 8)));
	column = tile_add(e, tile_mul(e, m->warp_n, (int64_t)m->nt * 8), tile_add(e, in, tile_mul(e, bit4, 8)));
	for (int k = 0; k < m->words / STEP; k++) {
		m->a_from[k] = tile_add(e, m->own, mma_piece_at(m, row, tile_addc(e, bit4, 2 * k)));
		m->b_from[k] = tile_add(e, m->own, tile_addc(e, mma_piece_at(m, column, tile_addc(e, bit3, 2 * k)), a_bytes(m)));
	}
}
/* -- products ---------------------------------------------------------------------------------------- */

void mma_load_fragments(Mma *m, LLVMValueRef p, int64_t behind, LLVMValueRef *out)
{
	Emit *e = m->t.e;
	LLVMTypeRef over = LLVMTypeOf(p);
	LLVMValueRef v;

	p = LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), p, (LLVMValueRef[]){emit_index(e, behind)}, 1, "");
	v = emit_intrinsic(e, "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16", &over, 1, &p, 1);
	for (unsigned i = 0; i < 4; i++)
		out[i] = LLVMBuildExtractValue(e->b, v, i, "");
}

LLVMValueRef mma_rounded(Mma *m, LLVMValueRef v, MloElem elem)
{
	Emit *e = m->t.e;

	if (m->kind->word != EL_tf32 || elem == EL_tf32)
		return v;
	return emit_tf32_bits(e, LLVMBuildBitCast(e->b, v, LLVMFloatTypeInContext(e->ctx), ""));
}

LLVMValueRef mma_operand(Mma *m, LLVMValueRef v, MloElem elem)
{
	if (m->kind->word == EL_f16)
		return LLVMBuildBitCast(m->t.e->b, v, LLVMVectorType(LLVMHalfTypeInContext(m->t.e->ctx), 2), "");
	return mma_rounded(m, v, elem);
}

static void call_mma(Mma *m, const char *name, LLVMValueRef *a, int na, LLVMValueRef *b, int nb, LLVMValueRef *sum, int ns)
{
	Emit *e = m->t.e;
	LLVMValueRef v[4];

	for (int i = 0; i < ns; i++)
		v[i] = LLVMBuildLoad2(e->b, m->sum_type, sum[i], "");
	device_product(e, name, a, na, b, nb, v, ns);
	for (int i = 0; i < ns; i++)
		LLVMBuildStore(e->b, v[i], sum[i]);
}

/* a: words (g, t), (g+8, t), (g, t+4), (g+8, t+4); b: (t, g), (t+4, g); sums: (g, 2t), (g, 2t+1), then row g+8. */
void mma_multiply_fragment(Mma *m, LLVMValueRef *a, LLVMValueRef *b, LLVMValueRef *sum)
{
	if (!m->quarters) {
		call_mma(m, m->kind->name, a, 4, b, 2, sum, 4);
		return;
	}
	for (int h = 0; h < 2; h++) {
		if (m->kind->word == EL_f16) {
			call_mma(m, m->kind->half, a + 2 * h, 2, b + h, 1, sum, 4);
			continue;
		}
		call_mma(m, m->kind->half, a + 2 * h, 1, b + h, 1, sum, 2);
		call_mma(m, m->kind->half, a + 2 * h + 1, 1, b + h, 1, sum + 2, 2);
	}
}

/* Words [8 * k, 8 * k + 8) of a stage. */
static void multiply_step(Mma *m, int k, LLVMValueRef base, int64_t behind)
{
	enum { MAX_M = 8, MAX_N = 8 };
	Emit *e = m->t.e;
	LLVMValueRef a[MAX_M * 4], b[MAX_N * 2];
	LLVMValueRef a_at = byte_at(m, tile_add(e, base, m->a_from[k])), b_at = byte_at(m, tile_add(e, base, m->b_from[k]));

	for (int i = 0; i < m->mt; i++)
		mma_load_fragments(m, a_at, behind + (int64_t)i * 16 * m->words * 4, a + 4 * i);
	for (int j = 0; j < m->nt; j += 2)
		mma_load_fragments(m, b_at, behind + (int64_t)j * 8 * m->words * 4, b + 2 * j);
	for (int i = 0; i < 4 * m->mt; i++)
		a[i] = mma_operand(m, a[i], m->kind->a);
	for (int j = 0; j < 2 * m->nt; j++)
		b[j] = mma_operand(m, b[j], m->kind->b);
	for (int i = 0; i < m->mt; i++)
		for (int j = 0; j < m->nt; j++)
			mma_multiply_fragment(m, a + 4 * i, b + 2 * j, m->sum + 4 * (i * m->nt + j));
}

/* Where pieces are on their way in registers, ptxas must not load the fragments of the next step, too, before these are multiplied: there
 * are no registers for both, and it keeps some in memory.  It leaves loads behind a barrier of the warp. */
static void keep_steps_apart(Mma *m)
{
	LLVMValueRef warp = word_const(m, -1);

	if (!m->async)
		emit_intrinsic(m->t.e, "llvm.nvvm.bar.warp.sync", NULL, 0, &warp, 1);
}

void mma_multiply(Mma *m, LLVMValueRef base, int64_t behind)
{
	if (m->t.c->b.kept) {
		mma_sparse_multiply(m, base, behind);
		return;
	}
	for (int k = 0; k < m->words / STEP; k++) {
		if (k)
			keep_steps_apart(m);
		multiply_step(m, k, base, behind);
	}
}

/* -- stages ------------------------------------------------------------------------------------------ */

static LLVMValueRef next_base(Mma *m, LLVMValueRef base)
{
	Emit *e = m->t.e;
	LLVMValueRef n = tile_addc(e, base, stage_bytes(m)), end = emit_index(e, (int64_t)m->stages * stage_bytes(m));

	return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, n, end, ""), emit_index(e, 0), n, "");
}

void mma_async(Mma *m, const char *name)
{
	emit_intrinsic(m->t.e, name, NULL, 0, NULL, 0);
}

/* The number of the slice's stage in a round, of those of the part. */
static LLVMValueRef number_of(Mma *m, LLVMValueRef round)
{
	return tile_add(m->t.e, tile_mul(m->t.e, round, m->t.slices), m->t.slice);
}

static int64_t rounds_of(const Mma *m)
{
	return (m->share + m->t.slices - 1) / m->t.slices;
}

/* Starts to bring the stage of a round, if there is one; all: there is. */
static void copy_round(Mma *m, LLVMValueRef round, LLVMValueRef base, bool all)
{
	Emit *e = m->t.e;
	LLVMValueRef number = number_of(m, round);
	DeviceIf there;
	Stage s;

	if (!all)
		device_if(e, &there, LLVMBuildICmp(e->b, LLVMIntSLT, number, emit_index(e, m->share), ""));
	s = mma_stage(m, stage_number(m, number));
	mma_copy(m, &s, base, 0);
	if (!all)
		device_endif(e, &there);
	mma_async(m, "llvm.nvvm.cp.async.commit.group");
}

/* In the last round some slices may have nothing left. */
static void multiply_round(Mma *m, LLVMValueRef round, LLVMValueRef base, bool all)
{
	Emit *e = m->t.e;
	DeviceIf there;

	if (all || m->share % m->t.slices == 0) {
		mma_multiply(m, base, 0);
		return;
	}
	device_if(e, &there, LLVMBuildICmp(e->b, LLVMIntSLT, number_of(m, round), emit_index(e, m->share), ""));
	mma_multiply(m, base, 0);
	device_endif(e, &there);
}

/* Rounds lo .. hi: waits for the copies of each, starts those of a later one, and multiplies.  Those go where the round before has
 * been read from.  all: does every slice have something to copy? */
static void rounds_async(Mma *m, int64_t lo, int64_t hi, bool all, LLVMValueRef from, LLVMValueRef to)
{
	Emit *e = m->t.e;
	LLVMValueRef round, pending = word_const(m, m->stages - 2), base;
	EmitLoop l;

	round = emit_for(e, &l, emit_index(e, lo), emit_index(e, hi), emit_index(e, 1), "stage");
	emit_intrinsic(e, "llvm.nvvm.cp.async.wait.group", NULL, 0, &pending, 1);
	device_block_barrier(e);
	copy_round(m, tile_addc(e, round, m->stages - 1), LLVMBuildLoad2(e->b, e->index, to, ""), all);
	base = LLVMBuildLoad2(e->b, e->index, from, "");
	multiply_round(m, round, base, all);
	LLVMBuildStore(e->b, base, to);
	LLVMBuildStore(e->b, next_base(m, base), from);
	emit_end(e, &l);
}

/* Copies are `stages - 1` stages ahead; each round ends a group of them, an empty one at the end. */
static void stages_async(Mma *m)
{
	Emit *e = m->t.e;
	LLVMValueRef from = emit_alloca(e, e->index, "from"), to = emit_alloca(e, e->index, "to");
	int64_t whole = m->share / m->t.slices - (m->stages - 1);

	for (int i = 0; i < m->stages - 1; i++)
		copy_round(m, emit_index(e, i), emit_index(e, (int64_t)i * stage_bytes(m)), whole >= 0);
	LLVMBuildStore(e->b, emit_index(e, 0), from);
	LLVMBuildStore(e->b, emit_index(e, (int64_t)(m->stages - 1) * stage_bytes(m)), to);
	whole = whole < 0 ? 0 : whole;
	if (whole)
		rounds_async(m, 0, whole, true, from, to);
	rounds_async(m, whole, rounds_of(m), false, from, to);
	mma_async(m, "llvm.nvvm.cp.async.wait.all");
	device_block_barrier(e);
}

static void stages_registers(Mma *m)
{
	Emit *e = m->t.e;
	LLVMValueRef round, here, ahead, last = emit_index(e, m->share - 1);
	Stage s = mma_stage(m, stage_number(m, m->t.slice));
	EmitLoop l;

	mma_fetch(m, &s);
	mma_put(m, emit_index(e, 0), 0);
	device_block_barrier(e);
	round = emit_for(e, &l, emit_index(e, 0), emit_index(e, rounds_of(m)), emit_index(e, 1), "stage");
	here = tile_mul(e, LLVMBuildAnd(e->b, round, emit_index(e, 1), ""), stage_bytes(m));
	ahead = number_of(m, tile_addc(e, round, 1)); /* in the end, the last one again */
	ahead = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, ahead, last, ""), ahead, last, "");
	s = mma_stage(m, stage_number(m, ahead));
	mma_fetch(m, &s);
	multiply_round(m, round, here, false);
	mma_put(m, LLVMBuildSub(e->b, emit_index(e, stage_bytes(m)), here, ""), 0);
	device_block_barrier(e);
	emit_end(e, &l);
}

/* -- groups of four warps ------------------------------------------------------------------------------ */

static void begin_group(Mma *m)
{
	Emit *e = m->t.e;
	LLVMValueRef group = wgmma_group(e, m->t.f->team.thread);

	m->group = (Wgmma){.e = e, .kind = m->kind, .columns = m->t.columns, .steps = m->words / STEP, .a_step = STEP * 4, .b_step = STEP * 4};
	wgmma_begin(&m->group);
	m->group.a = wgmma_turned_rows(e, tile_mul(e, group, (int64_t)GROUP_ROWS * m->words * 4), m->words);
	m->group.b = wgmma_turned_rows(e, emit_index(e, a_bytes(m)), m->words);
}

static void group_tile(Mma *m)
{
	wgmma_clear(&m->group);
	mma_walk(m);
	for (int i = 0; i < m->nt * GROUP_SUMS; i++)
		LLVMBuildStore(m->t.e->b, wgmma_sum(&m->group, i, m->sum_type), m->sum[i]);
	mma_finish(m);
}

/* -- the kernel -------------------------------------------------------------------------------------- */

static void one_tile(Mma *m)
{
	Emit *e = m->t.e;

	mma_plan_pieces(m);
	if (m->sizes >= 0)
		mma_make_sizes(m);
	if (m->groups) {
		group_tile(m);
		return;
	}
	for (int i = 0; i < m->mt * m->nt * 4; i++)
		LLVMBuildStore(e->b, LLVMConstNull(m->sum_type), m->sum[i]);
	if (mma_walks(m))
		mma_walk(m);
	else if (m->async)
		stages_async(m);
	else
		stages_registers(m);
	mma_finish(m);
}

/* Of the last pieces of B, some threads may have none. */
static void plan_b_pieces(Mma *m)
{
	Emit *e = m->t.e;
	int rest = b_bytes(m) / PIECE % m->t.threads;

	for (int j = 0; j < m->b_pieces; j++)
		m->b_size[j] = NULL;
	if (rest)
		m->b_size[m->b_pieces - 1] = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntULT, m->t.thread, emit_index(e, rest), ""),
		                                             word_const(m, PIECE), word_const(m, 0), "");
}

static void begin(Mma *m)
{
	Emit *e = m->t.e;
	LLVMValueRef warp = tile_div(e, m->t.thread, DEVICE_WARP);

	m->sum_type = emit_type(e, mlo_contract_sum(m->t.c));
	m->own = tile_mul(e, m->t.slice, (int64_t)m->stages * stage_bytes(m));
	m->lane = tile_rem(e, m->t.thread, DEVICE_WARP);
	m->warp_m = tile_div(e, warp, m->warps_n);
	m->warp_n = tile_rem(e, warp, m->warps_n);
	MLO_ASSERT(m->a_pieces <= MAX_PIECES && m->b_pieces <= MAX_PIECES && m->mt * m->nt * 4 <= MAX_SUMS);
	for (int i = 0; i < m->mt * m->nt * 4; i++)
		m->sum[i] = emit_alloca(e, m->sum_type, "sum");
	for (int j = 0; j < m->a_pieces; j++)
		m->a[j] = emit_alloca(e, mma_piece_type(m), "a");
	for (int j = 0; j < m->b_pieces; j++)
		m->b[j] = emit_alloca(e, mma_piece_type(m), "b");
	plan_b_pieces(m);
	if (m->groups)
		begin_group(m);
	else if (m->t.c->b.kept)
		mma_sparse_plan(m);
	else
		plan_fragments(m);
	if (m->table >= 0)
		mma_make_table(m);
}

static void take_plan(Mma *m, const DevicePlan *p)
{
	DeviceTile *t = &m->t;

	t->rows = p->rows;
	t->threads = p->warps_m * p->warps_n * DEVICE_WARP;
	t->slices = p->slices;
	t->parts = p->parts;
	m->words = p->words;
	m->stages = p->stages;
	m->groups = p->groups;
	m->warps_m = p->warps_m;
	m->warps_n = p->warps_n;
	m->mt = t->rows / m->warps_m / 16;
	m->nt = t->columns / m->warps_n / 8;
	m->a_pieces = t->rows * m->words / PIECE_WORDS / t->threads;
	m->b_pieces = b_pieces(m);
	m->per_tap = (t->c->nk + t->c->dot - 1) / t->c->dot;
	m->all = m->per_tap * t->c->nky * t->c->nkx;
	m->share = m->all / t->parts;
}

LLVMValueRef mma_aligned(Mma *m)
{
	Emit *e = m->t.e;
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);
	LLVMValueRef a = LLVMBuildPtrToInt(e->b, e->arg[m->t.c->a_arg], i64, "");

	return LLVMBuildICmp(e->b, LLVMIntEQ, LLVMBuildAnd(e->b, a, emit_const_i(i64, PIECE - 1), ""), emit_const_i(i64, 0), "");
}

bool device_mma(LLVMModuleRef module, const MloKernel *k, const MloTarget *target, const char *symbol, MloLaunch *launch)
{
	const KContract *c = k->body->contract;
	int columns = c->vecs * c->lanes;
	const MmaKind *kind = mma_kind(target->gpu->capability, c->a.elem, c->b.elem);
	DeviceFrame f;
	Mma m = {.t = {.f = &f, .e = &f.e, .s = k->body, .c = c, .columns = columns, .depth = c->dot}, .kind = kind};
	DevicePlan plan;
	LLVMValueRef ok;
	DeviceIf fast;
	EmitLoop l;

	if (!kind || c->dot % mma_word_elems(kind) || !device_plan(target, k, c, columns, c->dot / mma_word_elems(kind), &plan))
		return false;
	if (plan.pixels) {
		device_pixels(module, k, target, symbol, &plan, launch);
		return true;
	}
	m.quarters = target->gpu->capability < 80;
	m.async = !m.quarters && mlo_elem_bits(c->a.elem) == mlo_elem_bits(kind->word);
	take_plan(&m, &plan);
	f.e.k = k;
	m.adjacent = mma_adjacent(&m);
	device_tile_kernel(&m.t, module, k, target, symbol);
	*launch = device_tile_launch(&m.t, k, (int64_t)m.stages * stage_bytes(&m), mma_sum_words(&m));
	m.sizes = mma_taps_inside(c) ? -1 : (int64_t)launch->shared_bytes;
	launch->shared_bytes += (uint32_t)mma_sizes_bytes(&m);
	m.table = mma_has_table(&m, target->gpu->block_shared - (int64_t)launch->shared_bytes) ? (int64_t)launch->shared_bytes : -1;
	launch->shared_bytes += m.table < 0 ? 0 : (uint32_t)(m.all * TABLE_BYTES);
	begin(&m);
	ok = mma_aligned(&m);
	device_if(&f.e, &fast, ok);
	device_tile_begin(&m.t, &l);
	one_tile(&m);
	device_tile_end(&m.t, &l);
	device_endif(&f.e, &fast);
	device_unaligned(&m.t, ok);
	device_end(&f, launch);
	return true;
}
