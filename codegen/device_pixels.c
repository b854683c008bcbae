/* codegen/device_pixels.c -- contractions on Hopper whose taps read the same pixels of shared memory.
 *
 * There, first are stages of weights, then pixels, some channels of each, in planes of 16 bytes: eight neighbouring positions are what a
 * product reads at a time, wherever they begin, in different banks.  Planes are so far apart that pieces of the channels of a pixel, which
 * neighbouring threads bring, are in different banks, too.  While the taps of some channels are multiplied, pixels of the next ones come.
 * Then follow tables: where the tile's pixels lie in memory, and what zero points add at the border. */
#include "codegen/device_pixels.h"

#include "codegen/device_mma_stage.h"

enum { PHASE = 128 /* bytes that all banks give in a cycle */, NEXT_PIXELS = 1 /* the tap that brings them */ };

typedef struct Pixels {
	Mma m;
	PixelShape s;
	bool direct;             /* is the epilogue run on registers? */
	int copies, ahead;       /* copies of a thread for all pixels; stages of weights on their way */
	int64_t pixels_at, table_at, border_at;
	LLVMValueRef slot;       /* the thread's first one */
	LLVMValueRef pixel_to, weight_to;        /* where its first piece of each goes */
	LLVMValueRef from, weights;              /* allocas of pointers, for the channels at hand: images, the thread's piece; its weights */
	LLVMValueRef pixels, stage, free;        /* allocas, bytes: the pixels at hand, the stage to multiply, and the one to bring */
} Pixels;

/* -- what can be made -------------------------------------------------------------------------------- */

static int64_t largest(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* From row to row: what lies before a row of an image, and behind it, is between the two. */
static int64_t pitch(int64_t n, int64_t in, int64_t pad, int64_t reach)
{
	return largest(largest(n, in + pad), n - pad + reach);
}

static int64_t pieces_of(const DevicePlan *p)
{
	return p->words / PIECE_WORDS;
}

static int threads_of(const DevicePlan *p)
{
	return p->groups * GROUP_THREADS;
}

/* From plane to plane: neighbouring ones begin in different banks. */
static int64_t plane_of(const DevicePlan *p, int64_t slots)
{
	int64_t apart = PHASE / pieces_of(p);

	return (slots * PIECE + PHASE - 1) / PHASE * PHASE + apart;
}

/* From the channels of a stage to those of the next one, in elements; 0: that is not always the same. */
static int64_t depth_step(const KContract *c, int64_t depth)
{
	if (c->a.block >= c->nk || c->a.blk == c->a.block)
		return depth;
	return depth % c->a.block ? 0 : depth / c->a.block * c->a.blk;
}

bool device_pixels_shape(const KContract *c, const MmaKind *kind, const DevicePlan *p, PixelShape *s)
{
	int64_t depth = (int64_t)p->words * mma_word_elems(kind), reach_x = (c->nkx - 1) * c->dx, reach_y = (c->nky - 1) * c->dy, step, n;

	*s = (PixelShape){.taps = c->nky * c->nkx, .chunks = c->nk / depth};
	if (c->sx != 1 || c->sy != 1 || c->ny < 1 || c->nx < 1 || c->in_y < 1 || c->in_x < 1 || c->nb0 < 1 || c->nb1 < 1 || s->taps < 2 ||
	    (c->nb0 > 1 && c->nb1 > 1) || c->group_k || !depth_step(c, depth) || c->nk % depth)
		return false;
	s->pitch_x = pitch(c->nx, c->in_x, c->px, reach_x);
	s->pitch_y = pitch(c->ny, c->in_y, c->py, reach_y);
	s->before = c->py * s->pitch_x + c->px;
	s->positions = ((c->nb0 * c->nb1 - 1) * s->pitch_y + c->ny - 1) * s->pitch_x + c->nx;
	step = threads_of(p) / pieces_of(p);
	n = p->rows + reach_y * s->pitch_x + reach_x;
	s->slots = (n + step - 1) / step * step;
	s->plane = plane_of(p, s->slots);
	s->bytes = (pieces_of(p) * s->plane + PHASE - 1) / PHASE * PHASE;
	return s->before < s->pitch_x * s->pitch_y && s->slots / step <= PIXELS_MOST_COPIES && p->stages <= s->taps + 1 &&
	       s->positions + s->pitch_x * s->pitch_y < INT32_MAX / 2;
}

static int64_t stages_bytes(const DevicePlan *p)
{
	return (int64_t)p->stages * p->columns * p->words * 4;
}

/* Without the table. */
static int64_t staged_bytes(const PixelShape *s, const DevicePlan *p)
{
	return largest(stages_bytes(p) + s->bytes * (s->chunks > 1 ? 2 : 1), (int64_t)p->rows * p->columns * 4);
}

static int64_t table_bytes(const PixelShape *s)
{
	return (s->slots * 4 + PIECE - 1) / PIECE * PIECE;
}

int64_t device_pixels_shared(const KContract *c, const PixelShape *s, const DevicePlan *p)
{
	int64_t classes = device_border_classes(c);

	return staged_bytes(s, p) + table_bytes(s) + (classes > 0 ? classes * p->columns * 4 : 0);
}

int64_t device_pixels_blocks(const KContract *c, const PixelShape *s, const DevicePlan *p)
{
	return (s->positions + p->rows - 1) / p->rows * ((c->nc + p->columns - 1) / p->columns);
}

/* -- copies ------------------------------------------------------------------------------------------ */

static LLVMValueRef get(Pixels *p, LLVMValueRef kept)
{
	return LLVMBuildLoad2(p->m.t.e->b, LLVMGetAllocatedType(kept), kept, "");
}

/* Where pixels of the tile begin in memory, in elements, -1: what is there are zeros. */
static void make_table(Pixels *p)
{
	const KContract *c = p->m.t.c;
	Emit *e = p->m.t.e;
	int64_t image = p->s.pitch_x * p->s.pitch_y;
	LLVMValueRef slot, at, y, x, b, in, from;
	EmitLoop l;

	slot = emit_for(e, &l, p->m.t.f->team.thread, emit_index(e, p->s.slots), emit_index(e, p->m.t.f->team.threads), "slot");
	at = tile_addc(e, tile_add(e, p->m.t.row, slot), image - p->s.before); /* an image further on, so that it is none below 0 */
	b = tile_addc(e, tile_div(e, at, image), -1);
	at = tile_rem(e, at, image);
	y = tile_div(e, at, p->s.pitch_x);
	x = tile_rem(e, at, p->s.pitch_x);
	in = LLVMBuildICmp(e->b, LLVMIntULT, b, emit_index(e, c->nb0 * c->nb1), "");
	in = LLVMBuildAnd(e->b, in, LLVMBuildICmp(e->b, LLVMIntULT, y, emit_index(e, c->in_y), ""), "");
	in = LLVMBuildAnd(e->b, in, LLVMBuildICmp(e->b, LLVMIntULT, x, emit_index(e, c->in_x), ""), "");
	from = tile_add(e, tile_mul(e, b, c->nb0 > 1 ? c->a.b0 : c->a.b1), tile_add(e, tile_mul(e, y, c->a.y), tile_mul(e, x, c->a.x)));
	from = LLVMBuildSelect(e->b, in, from, emit_index(e, -1), "");
	LLVMSetAlignment(LLVMBuildStore(e->b, from, byte_at(&p->m, tile_addc(e, tile_mul(e, slot, 4), p->table_at))), 4);
	emit_end(e, &l);
	device_block_barrier(e);
}

/* Of the 16 rows of A of a warp, a thread has sums of two that are eight apart.  These are neighbouring channels where the epilogue is run on
 * registers: eight threads have 16 channels of a position beside each other. */
static LLVMValueRef channel_of(Pixels *p, LLVMValueRef row)
{
	Emit *e = p->m.t.e;
	LLVMValueRef in = tile_rem(e, row, 16);

	if (!p->direct)
		return row;
	in = tile_add(e, tile_mul(e, tile_rem(e, in, 8), 2), tile_div(e, in, 8));
	return tile_add(e, tile_mul(e, tile_div(e, row, 16), 16), in);
}

/* Starts to bring the pixels of the channels that `from` is at, to these so many bytes behind the first ones. */
static void bring_pixels(Pixels *p, LLVMValueRef behind)
{
	Emit *e = p->m.t.e;
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx), i8 = LLVMInt8TypeInContext(e->ctx);
	LLVMValueRef to = byte_at(&p->m, tile_add(e, p->pixel_to, behind)), entry = byte_at(&p->m, tile_addc(e, tile_mul(e, p->slot, 4), p->table_at));
	int64_t size = mlo_elem_bits(p->m.t.c->a.elem) / 8, step = p->s.slots / p->copies;
	LLVMValueRef first = get(p, p->from);

	for (int j = 0; j < p->copies; j++) {
		LLVMValueRef at = LLVMBuildGEP2(e->b, i8, entry, (LLVMValueRef[]){emit_index(e, j * step * 4)}, 1, ""), none, bytes;

		at = LLVMBuildLoad2(e->b, i32_type(&p->m), at, "");
		LLVMSetAlignment(at, 4);
		none = LLVMBuildICmp(e->b, LLVMIntSLT, at, word_const(&p->m, 0), "");
		bytes = LLVMBuildSelect(e->b, none, word_const(&p->m, 0), word_const(&p->m, PIECE), "");
		at = LLVMBuildSelect(e->b, none, word_const(&p->m, 0), at, "");
		at = LLVMBuildMul(e->b, LLVMBuildIntCast2(e->b, at, i64, false, ""), emit_const_i(i64, size), "");
		device_copy_piece(e, to, j * step * PIECE, LLVMBuildGEP2(e->b, i8, first, &at, 1, ""), 0, bytes);
	}
}

/* Starts to bring the weights of tap `tap`, counted from the first one of the channels at hand, to the free stage. */
static void bring_weights(Pixels *p, int64_t tap)
{
	Mma *m = &p->m;
	int64_t from = (tap % p->s.taps * p->s.chunks + tap / p->s.taps) * b_bytes(m);
	LLVMValueRef to = byte_at(m, tile_add(m->t.e, p->weight_to, get(p, p->free)));

	for (int j = 0; j < m->b_pieces; j++)
		device_copy_piece(m->t.e, to, (int64_t)j * m->t.threads * PIECE, get(p, p->weights), from + (int64_t)j * m->t.threads * PIECE, NULL);
}

/* To the next stage, behind the last one the first. */
static void next_stage(Pixels *p, LLVMValueRef kept)
{
	Mma *m = &p->m;
	Emit *e = m->t.e;
	LLVMValueRef n = tile_addc(e, get(p, kept), b_bytes(m)), last = emit_index(e, (int64_t)m->stages * b_bytes(m));

	n = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, n, last, ""), emit_index(e, 0), n, "");
	LLVMBuildStore(e->b, n, kept);
}

static void commit(Pixels *p)
{
	mma_async(&p->m, "llvm.nvvm.cp.async.commit.group");
}

static void move_pointer(Pixels *p, LLVMValueRef kept, int64_t bytes)
{
	Emit *e = p->m.t.e;
	LLVMValueRef by = emit_index(e, bytes);

	LLVMBuildStore(e->b, LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), get(p, kept), &by, 1, ""), kept);
}

/* -- rounds ------------------------------------------------------------------------------------------ */

/* Behind the barrier, all groups have what was brought for the round, and have multiplied the round before the last one. */
static void one_round(Pixels *p, int64_t tap, bool last)
{
	Mma *m = &p->m;
	const KContract *c = m->t.c;
	Emit *e = m->t.e;
	LLVMValueRef pending = word_const(m, p->ahead - 1);
	int64_t at = tap / c->nkx * c->dy * p->s.pitch_x + tap % c->nkx * c->dx;

	emit_intrinsic(e, "llvm.nvvm.cp.async.wait.group", NULL, 0, &pending, 1);
	wgmma_publish(&m->group);
	device_block_barrier(e);
	wgmma_multiply(&m->group, get(p, p->stage), 0, get(p, p->pixels), at * PIECE);
	if (!last || tap + p->ahead < p->s.taps)
		bring_weights(p, tap + p->ahead);
	if (!last && tap == NEXT_PIXELS) {
		move_pointer(p, p->from, depth_step(c, m->t.depth) * mlo_elem_bits(c->a.elem) / 8);
		bring_pixels(p, LLVMBuildSub(e->b, emit_index(e, p->s.bytes), get(p, p->pixels), ""));
	}
	commit(p);
	wgmma_wait(&m->group, 1);
	next_stage(p, p->stage);
	next_stage(p, p->free);
}

/* The thread's first piece of the tile's first stage. */
static LLVMValueRef weights_at(Pixels *p)
{
	Mma *m = &p->m;
	Emit *e = m->t.e;
	LLVMValueRef at = tile_mul(e, tile_mul(e, tile_div(e, m->t.column, m->t.columns), m->all), b_bytes(m));

	at = tile_add(e, at, tile_mul(e, channel_of(p, p->slot), (int64_t)m->words * 4));
	at = tile_add(e, at, tile_mul(e, tile_rem(e, m->t.thread, m->words / PIECE_WORDS), PIECE));
	return LLVMBuildGEP2(e->b, LLVMInt8TypeInContext(e->ctx), e->arg[m->t.c->b_arg], &at, 1, "");
}

static void begin_tile(Pixels *p)
{
	Mma *m = &p->m;
	Emit *e = m->t.e;
	LLVMTypeRef global = LLVMPointerTypeInContext(e->ctx, 1);
	const KContract *c = m->t.c;
	int64_t n = (int64_t)PIECE_WORDS * mma_word_elems(m->kind);
	LLVMValueRef k = tile_mul(e, tile_rem(e, m->t.thread, m->words / PIECE_WORDS), n), from = k;

	if (c->a.block < c->nk)
		from = tile_add(e, tile_rem(e, k, c->a.block), tile_mul(e, tile_div(e, k, c->a.block), c->a.blk));

	make_table(p);
	from = LLVMBuildGEP2(e->b, emit_mem_type(e, c->a.elem), e->arg[c->a_arg], &from, 1, "");
	LLVMBuildStore(e->b, LLVMBuildAddrSpaceCast(e->b, from, global, ""), p->from);
	LLVMBuildStore(e->b, LLVMBuildAddrSpaceCast(e->b, weights_at(p), global, ""), p->weights);
	LLVMBuildStore(e->b, emit_index(e, 0), p->pixels);
	LLVMBuildStore(e->b, emit_index(e, 0), p->stage);
	LLVMBuildStore(e->b, emit_index(e, 0), p->free);
	wgmma_clear(&m->group);
	bring_pixels(p, emit_index(e, 0));
	for (int tap = 0; tap < p->ahead; tap++) {
		bring_weights(p, tap);
		commit(p);
		next_stage(p, p->free);
	}
}

static void all_rounds(Pixels *p)
{
	Mma *m = &p->m;
	Emit *e = m->t.e;
	EmitLoop l;

	if (p->s.chunks > 1) {
		emit_for(e, &l, emit_index(e, 0), emit_index(e, p->s.chunks - 1), emit_index(e, 1), "channels");
		for (int64_t tap = 0; tap < p->s.taps; tap++)
			one_round(p, tap, false);
		LLVMBuildStore(e->b, LLVMBuildSub(e->b, emit_index(e, p->s.bytes), get(p, p->pixels), ""), p->pixels);
		move_pointer(p, p->weights, b_bytes(m));
		device_end_long(e, &l);
	}
	for (int64_t tap = 0; tap < p->s.taps; tap++)
		one_round(p, tap, true);
	wgmma_wait(&m->group, 0);
	mma_async(m, "llvm.nvvm.cp.async.wait.all");
	device_block_barrier(e);
}

/* -- outputs ----------------------------------------------------------------------------------------- */

/* Can it be?  Outputs of a tile are made one pair after the other, with their positions, in code without a loop. */
static bool is_direct(const Mma *m)
{
	enum { MOST_LENGTH = 1024 };

	return !m->t.c->zero.sums && device_output_lanes(&m->t, 2) == 2 && device_output_length(&m->t) * m->t.rows / 8 * GROUP_SUMS <= MOST_LENGTH;
}

/* The thread's first row of the tile, which is a column of the product, and its first channel. */
static LLVMValueRef own_row(Pixels *p)
{
	Emit *e = p->m.t.e;

	return tile_mul(e, tile_rem(e, device_opaque(e, p->m.t.thread), 4), 2);
}

static LLVMValueRef own_channel(Pixels *p, int64_t behind)
{
	Emit *e = p->m.t.e;
	LLVMValueRef thread = device_opaque(e, p->m.t.thread), row = tile_div(e, tile_rem(e, thread, DEVICE_WARP), 4);

	row = tile_add(e, tile_mul(e, tile_div(e, thread, DEVICE_WARP), GROUP_ROWS / GROUP_WARPS), tile_addc(e, row, behind));
	return channel_of(p, row);
}

/* Rows that are neighbours are turned alike. */
static void finish_shared(Pixels *p)
{
	Mma *m = &p->m;
	Emit *e = m->t.e;
	LLVMValueRef row = own_row(p), at[2];

	for (int i = 0; i < 2; i++)
		at[i] = device_word(e, device_sum_at(&m->t, emit_index(e, 0), m->t.rows, row, own_channel(p, 8 * i)));
	for (int i = 0; i < m->t.rows / 8 * GROUP_SUMS; i++)
		wgmma_store(&m->group, i, 1, at[i / 2 % 2], ((int64_t)i / GROUP_SUMS * 8 + i % 2) * m->t.columns * 4);
	m->t.border = device_border_classes(m->t.c) > 0;
	m->t.border_words = p->border_at / 4;
	if (m->t.border)
		device_border_table(&m->t);
	device_epilogue(&m->t, 0, m->t.rows);
	m->t.border = false;
}

static void finish_direct(Pixels *p)
{
	Mma *m = &p->m;
	Emit *e = m->t.e;
	LLVMTypeRef type = emit_type(e, mlo_contract_sum(m->t.c));
	LLVMValueRef column = tile_add(e, m->t.column, own_channel(p, 0)), first = tile_add(e, m->t.row, own_row(p)), row, in, v;
	DevicePosition at;
	DeviceIf there;

	device_output_columns(&m->t, column, 2);
	for (int i = 0; i < m->t.rows / 4; i++) { /* rows of the thread: two of each eight */
		row = tile_addc(e, first, i / 2 * 8 + i % 2);
		in = device_output_inside(&m->t, &row, column, false);
		if (in)
			device_if(e, &there, in);
		at = device_position(&m->t, row);
		v = LLVMGetPoison(LLVMVectorType(type, 2));
		for (int k = 0; k < 2; k++)
			v = LLVMBuildInsertElement(e->b, v, wgmma_sum(&m->group, i / 2 * GROUP_SUMS + 2 * k + i % 2, type), emit_index(e, k), "");
		device_output(&m->t, &at, column, v);
		if (in)
			device_endif(e, &there);
	}
	device_output_columns_end(&m->t);
}

static void finish(Pixels *p)
{
	Emit *e = p->m.t.e;
	LLVMValueRef ok;
	DeviceIf i;

	if (!p->direct) {
		finish_shared(p);
		return;
	}
	ok = device_outputs_aligned(&p->m.t, 2);
	device_if(e, &i, ok);
	finish_direct(p);
	device_endif(e, &i);
	device_if(e, &i, LLVMBuildNot(e->b, ok, ""));
	p->m.t.scalar = true;
	finish_shared(p);
	p->m.t.scalar = false;
	device_endif(e, &i);
}

/* -- the kernel -------------------------------------------------------------------------------------- */

static void begin(Pixels *p)
{
	Mma *m = &p->m;
	Emit *e = m->t.e;
	LLVMTypeRef global = LLVMPointerTypeInContext(e->ctx, 1);
	LLVMValueRef group = wgmma_group(e, m->t.f->team.thread), piece;
	int along = m->words / PIECE_WORDS;

	m->group = (Wgmma){.e = e, .kind = m->kind, .columns = m->t.rows, .turned = true, .steps = m->words / STEP,
	                   .a_step = GROUP_STEP_BYTES, .b_step = GROUP_STEP_BYTES / PIECE * p->s.plane};
	wgmma_begin(&m->group);
	m->group.a = wgmma_turned_rows(e, tile_mul(e, group, (int64_t)GROUP_ROWS * m->words * 4), m->words);
	m->group.b = wgmma_planes(e, emit_index(e, p->pixels_at), p->s.plane);
	piece = tile_rem(e, m->t.thread, along);
	p->slot = tile_div(e, m->t.thread, along);
	p->weight_to = mma_piece_at(m, p->slot, piece);
	p->pixel_to = tile_addc(e, tile_add(e, tile_mul(e, piece, p->s.plane), tile_mul(e, p->slot, PIECE)), p->pixels_at);
	p->from = emit_alloca(e, global, "from");
	p->weights = emit_alloca(e, global, "weights");
	p->pixels = emit_alloca(e, e->index, "pixels");
	p->stage = emit_alloca(e, e->index, "stage");
	p->free = emit_alloca(e, e->index, "free");
}

static void take_plan(Pixels *p, const DevicePlan *plan)
{
	Mma *m = &p->m;

	m->t.rows = plan->rows;
	m->t.threads = plan->groups * GROUP_THREADS;
	m->t.slices = m->t.parts = 1;
	m->t.pairs = true;
	m->t.pitch_x = p->s.pitch_x;
	m->t.pitch_y = p->s.pitch_y;
	m->words = plan->words;
	m->stages = plan->stages;
	m->b_pieces = b_pieces(m);
	m->per_tap = p->s.chunks;
	m->all = p->s.chunks * p->s.taps;
	p->copies = (int)(p->s.slots * (m->words / PIECE_WORDS) / m->t.threads);
	p->ahead = m->stages - 2;
	p->pixels_at = stages_bytes(plan);
	p->table_at = staged_bytes(&p->s, plan);
	p->border_at = p->table_at + table_bytes(&p->s);
}

void device_pixels(LLVMModuleRef module, const MloKernel *k, const MloTarget *target, const char *symbol, const DevicePlan *plan, MloLaunch *launch)
{
	const KContract *c = k->body->contract;
	DeviceFrame f;
	Pixels p = {.m = {.t = {.f = &f, .e = &f.e, .s = k->body, .c = c, .columns = plan->columns, .depth = c->dot},
	                  .kind = mma_kind(target->gpu->capability, c->a.elem, c->b.elem)}};
	LLVMValueRef ok;
	DeviceIf fast;
	EmitLoop l;

	if (!device_pixels_shape(c, p.m.kind, plan, &p.s))
		MLO_BUG("a plan of pixels for another contraction");
	take_plan(&p, plan);
	f.e.k = k;
	p.direct = is_direct(&p.m);
	device_tile_kernel(&p.m.t, module, k, target, symbol);
	*launch = device_tile_launch(&p.m.t, k, device_pixels_shared(c, &p.s, plan), 0);
	launch->blocks = (uint32_t)device_pixels_blocks(c, &p.s, plan);
	begin(&p);
	ok = mma_aligned(&p.m);
	device_if(&f.e, &fast, ok);
	device_tile_begin(&p.m.t, &l);
	begin_tile(&p);
	all_rounds(&p);
	finish(&p);
	device_tile_end(&p.m.t, &l);
	device_endif(&f.e, &fast);
	device_unaligned(&p.m.t, ok);
	device_end(&f, launch);
}
