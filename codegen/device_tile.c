/* codegen/device_tile.c -- tiles of contractions: which outputs, where their terms lie, and what becomes of their sums. */
#include "codegen/device_tile.h"

enum { QUAD = 4 };

bool device_tile_fits(const KContract *c, int columns)
{
	if (c->wino || c->depth || c->sparse.spread || c->nk < 1 || c->nc < 1 || c->a_at || c->y_lo)
		return false;
	if (c->group_k && (c->group_c < 1 || c->group_c % columns))
		return false;
	if (c->b.packed)
		return c->dot == 1 && c->vecs * c->lanes == columns;
	return c->dot == 1;
}

/* -- which tile -------------------------------------------------------------------------------------- */

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

int64_t device_tile_count(const MloKernel *k, const KContract *c, int rows, int columns)
{
	int64_t n = mlo_kernel_guess(k, c->ny) * mlo_kernel_guess(k, c->nx), batches;

	batches = mlo_kernel_guess(k, c->nb0) * mlo_kernel_guess(k, c->nb1);
	return (c->b.packed ? ceil_div(n * batches, rows) : batches * ceil_div(n, rows)) * ceil_div(c->nc, columns);
}

void device_tile_kernel(DeviceTile *t, LLVMModuleRef m, const MloKernel *k, const MloTarget *target, const char *symbol)
{
	device_begin(t->f, m, k, target, symbol);
	device_team(t->f, 1, t->slices * t->threads);
	t->tiles = t->parts > 1 ? device_tile_count(k, t->c, t->rows, t->columns) : 0;
	t->f->team.alone = true;
	t->thread = tile_rem(t->e, t->f->team.thread, t->threads);
	t->slice = t->slices == 1 ? emit_index(t->e, 0) : tile_div(t->e, t->f->team.thread, t->threads);
	if (t->slices == 1)
		t->thread = t->f->team.thread;
}

MloLaunch device_tile_launch(const DeviceTile *t, const MloKernel *k, int64_t bytes, int64_t words)
{
	MloLaunch l = {.threads = (uint32_t)(t->slices * t->threads)};

	l.blocks = (uint32_t)(device_tile_count(k, t->c, t->rows, t->columns) * t->parts);
	if (t->parts > 1) {
		l.counters = l.blocks / (uint32_t)t->parts;
		l.scratch_bytes = (uint64_t)t->rows * (uint64_t)t->columns * 4;
	}
	l.tasks_per_block = k->ntasks < 0 ? 1 : 0;
	l.shared_bytes = (uint32_t)((bytes > 4 * words ? bytes : 4 * words) * t->slices);
	return l;
}

int device_tile_slices(const DeviceTile *t, const MloKernel *k, const MloGpu *gpu, int64_t stages, int64_t bytes, int registers)
{
	enum { MOST = 8, LEAST_STAGES = 4, ENOUGH_WARPS = 8, MOST_THREADS = 512 };
	int64_t tiles = device_tile_count(k, t->c, t->rows, t->columns) * t->parts, most = 96 << 10;
	int64_t room = gpu->block_shared < most ? gpu->block_shared : most;
	int n = 1;

	while (n < MOST && tiles * n * t->threads / DEVICE_WARP < (int64_t)gpu->sms * ENOUGH_WARPS && stages / (2 * n) >= LEAST_STAGES &&
	       2 * n * t->threads <= MOST_THREADS && 2 * n * t->threads * registers <= gpu->sm_registers && 2 * n * bytes <= room)
		n *= 2;
	return n;
}

int device_tile_parts(const DeviceTile *t, const MloKernel *k, const MloGpu *gpu, int64_t stages, int least)
{
	int64_t tiles = device_tile_count(k, t->c, t->rows, t->columns);
	int best = 1;

	for (int n = 2; n <= DEVICE_MOST_PARTS && k->ntasks >= 0 && tiles * n <= gpu->sms && stages / n >= least; n++)
		if (stages % n == 0)
			best = n;
	return best;
}

static LLVMValueRef split(DeviceTile *t, LLVMValueRef *i, LLVMValueRef n)
{
	LLVMValueRef r = LLVMBuildURem(t->e->b, *i, n, "");

	*i = LLVMBuildUDiv(t->e->b, *i, n, "");
	return r;
}

/* Where B begins for the tile. */
static LLVMValueRef weights_at(DeviceTile *t)
{
	const KContract *c = t->c;
	Emit *e = t->e;

	if (c->b.packed)
		return tile_mul(e, t->column, t->terms);
	return tile_add(e, tile_add(e, tile_mul(e, t->b0, c->b.b0), tile_mul(e, t->b1, c->b.b1)), t->column);
}

void device_tile_begin(DeviceTile *t, EmitLoop *l)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	int64_t across = ceil_div(c->nc, t->columns);
	LLVMValueRef down, all, i;

	t->together = c->b.packed;
	t->terms = c->nky * c->nkx * c->nk;
	t->all_rows = tile_mul(e, tile_num(e, c->ny), c->nx);
	if (t->pitch_x)
		t->all_rows = emit_index(e, ((c->nb0 * c->nb1 - 1) * t->pitch_y + c->ny - 1) * t->pitch_x + c->nx);
	else if (t->together)
		t->all_rows = tile_mul(e, tile_mul(e, t->all_rows, c->nb0), c->nb1);
	down = tile_div(e, tile_addc(e, t->all_rows, t->rows - 1), t->rows);
	all = tile_mul(e, down, across);
	if (!t->together)
		all = tile_mul(e, tile_mul(e, all, c->nb0), c->nb1);
	i = emit_for(e, l, device_special(e, "ctaid.x"), tile_mul(e, all, t->parts), device_special(e, "nctaid.x"), "tile");
	t->part = t->parts == 1 ? emit_index(e, 0) : split(t, &i, emit_index(e, t->parts));
	t->tile = i;
	t->column = tile_mul(e, split(t, &i, emit_index(e, across)), t->columns);
	t->row = i;
	if (!t->together) {
		t->row = split(t, &i, down);
		t->b1 = split(t, &i, tile_num(e, c->nb1));
		t->b0 = i;
	}
	t->row = tile_mul(e, t->row, t->rows);
	t->kk = c->group_k ? tile_mul(e, tile_div(e, t->column, c->group_c), c->group_k) : emit_index(e, 0);
	t->b_at = weights_at(t);
}

void device_tile_end(DeviceTile *t, EmitLoop *l)
{
	emit_end(t->e, l);
}

/* -- where terms lie --------------------------------------------------------------------------------- */

DevicePosition device_position(DeviceTile *t, LLVMValueRef row)
{
	const KContract *c = t->c;
	DevicePosition p = {.b0 = t->b0, .b1 = t->b1};

	p.x = split(t, &row, tile_num(t->e, t->pitch_x ? t->pitch_x : c->nx));
	p.y = row;
	if (t->together && c->nb0 == 1 && c->nb1 == 1) {
		p.b0 = p.b1 = emit_index(t->e, 0);
	} else if (t->together) {
		p.y = split(t, &row, tile_num(t->e, t->pitch_y ? t->pitch_y : c->ny));
		p.b1 = split(t, &row, tile_num(t->e, c->nb1));
		p.b0 = row;
	}
	return p;
}

/* Rows behind the last one are like it: what comes of them is not stored. */
DeviceRow device_row(DeviceTile *t, LLVMValueRef row)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef last = tile_addc(e, t->all_rows, -1), at = tile_add(e, t->row, row);
	DeviceRow r;
	DevicePosition p;

	at = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, at, last, ""), at, last, "");
	if (t->together && device_always_inside(c) && c->nb0 == 1 && c->nb1 == 1 && c->sy == 1 && c->sx == 1 && c->nx > 0 && c->a.y == c->nx * c->a.x)
		return (DeviceRow){tile_mul(e, at, c->a.x), emit_index(e, 0), emit_index(e, 0)}; /* pixels of an image, one behind the other */
	p = device_position(t, at);
	r.y = tile_addc(e, tile_mul(e, p.y, c->sy), -c->py);
	r.x = tile_addc(e, tile_mul(e, p.x, c->sx), -c->px);
	r.at = tile_add(e, tile_mul(e, p.b0, c->a.b0), tile_mul(e, p.b1, c->a.b1));
	r.at = tile_add(e, r.at, tile_add(e, tile_mul(e, r.y, c->a.y), tile_mul(e, r.x, c->a.x)));
	return r;
}

static LLVMValueRef both(Emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return a ? LLVMBuildAnd(e->b, a, b, "") : b;
}

LLVMValueRef device_term(DeviceTile *t, const DeviceRow *r, LLVMValueRef term, LLVMValueRef *inside)
{
	const KContract *c = t->c;
	Emit *e = t->e;
	LLVMValueRef tap = tile_div(e, term, c->nk), k = tile_rem(e, term, c->nk), y, x, at, kk;

	if (c->nky == 1 && c->nkx == 1) {
		tap = emit_index(e, 0);
		k = term;
	}
	y = tile_mul(e, tile_div(e, tap, c->nkx), c->dy);
	x = tile_mul(e, tile_rem(e, tap, c->nkx), c->dx);
	if (!device_always_inside(c)) {
		*inside = both(e, *inside, LLVMBuildICmp(e->b, LLVMIntULT, tile_add(e, r->y, y), tile_num(e, c->in_y), ""));
		*inside = both(e, *inside, LLVMBuildICmp(e->b, LLVMIntULT, tile_add(e, r->x, x), tile_num(e, c->in_x), ""));
	}
	at = tile_add(e, r->at, tile_add(e, tile_mul(e, y, c->a.y), tile_mul(e, x, c->a.x)));
	kk = tile_add(e, t->kk, k);
	if (!c->group_k && c->a.block >= c->nk)
		return tile_add(e, at, tile_mul(e, k, c->a.k));
	at = tile_add(e, at, tile_mul(e, tile_rem(e, kk, c->a.block), c->a.k));
	return tile_add(e, at, tile_mul(e, tile_div(e, kk, c->a.block), c->a.blk));
}

bool device_terms_adjacent(const MloKernel *kernel, const KContract *c, int n)
{
	const int64_t whole[] = {c->nk, c->a.b0, c->a.b1, c->a.y, c->a.x, c->group_k, c->a.block < c->nk || c->group_k ? c->a.blk : 0};

	if (c->a.k != 1 || (c->a.block % n && (c->a.block < c->nk || c->group_k)))
		return false;
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
		if (mlo_dim_multiple(mlo_kernel_dim(kernel, whole[i])) % n)
			return false;
	return true;
}

/* -- memory ------------------------------------------------------------------------------------------ */

LLVMTypeRef device_load_type(DeviceTile *t, int arg, int n)
{
	return emit_vec(emit_type(t->e, t->e->k->arg.items[arg].elem), n > 1 ? n : 0);
}

LLVMValueRef device_load(DeviceTile *t, int arg, LLVMValueRef at, int n, LLVMValueRef inside)
{
	Emit *e = t->e;
	MloElem elem = e->k->arg.items[arg].elem;
	LLVMTypeRef mem = emit_mem_type(e, elem);
	LLVMValueRef v;

	if (inside) /* what is left out reads the first elements, which are there */
		at = LLVMBuildSelect(e->b, inside, at, emit_index(e, 0), "");
	v = LLVMBuildInBoundsGEP2(e->b, mem, e->arg[arg], &at, 1, "");
	v = LLVMBuildLoad2(e->b, emit_vec(mem, n > 1 ? n : 0), v, "");
	LLVMSetAlignment(v, (unsigned)n * mlo_elem_bits(elem) / 8);
	v = emit_from_memory(e, elem, v);
	return inside ? LLVMBuildSelect(e->b, inside, v, LLVMConstNull(LLVMTypeOf(v)), "") : v;
}

LLVMValueRef device_word(Emit *e, LLVMValueRef at)
{
	return LLVMBuildInBoundsGEP2(e->b, LLVMInt32TypeInContext(e->ctx), device_dynamic_shared(e), &at, 1, "");
}

/* -- sums -------------------------------------------------------------------------------------------- */

/* Four columns lie beside each other.  Rows are turned: eight columns of four rows lie in different banks, and so do columns of
 * eight rows. */
LLVMValueRef device_sum_at(DeviceTile *t, LLVMValueRef slice, int n, LLVMValueRef row, LLVMValueRef column)
{
	Emit *e = t->e;
	int halves = t->columns / (2 * QUAD) < QUAD ? t->columns / (2 * QUAD) : QUAD;
	LLVMValueRef turn = tile_mul(e, LLVMBuildAnd(e->b, row, emit_index(e, halves - 1), ""), 2 * QUAD);
	LLVMValueRef low = tile_mul(e, tile_rem(e, tile_div(e, row, QUAD), 2), QUAD);

	if (t->pairs) /* of pairs of rows, eight columns each lie in different banks */
		turn = tile_mul(e, LLVMBuildAnd(e->b, tile_div(e, row, 2), emit_index(e, halves - 1), ""), 2 * QUAD);
	else
		turn = LLVMBuildOr(e->b, turn, low, "");
	row = tile_add(e, tile_mul(e, slice, n), row);
	return tile_add(e, tile_mul(e, row, t->columns), LLVMBuildXor(e->b, column, turn, ""));
}

/* Of so many slices, in their order; of so many columns. */
static LLVMValueRef sum_of(DeviceTile *t, int slices, int n, LLVMValueRef row, LLVMValueRef column, int lanes)
{
	Emit *e = t->e;
	MloElem type = mlo_contract_sum(t->c);
	LLVMValueRef sum = NULL, v;

	for (int i = 0; i < slices; i++) {
		v = device_word(e, device_sum_at(t, emit_index(e, i), n, row, column));
		v = LLVMBuildLoad2(e->b, emit_vec(emit_type(e, type), lanes > 1 ? lanes : 0), v, "sum");
		LLVMSetAlignment(v, 4 * (unsigned)lanes);
		sum = sum ? emit_combine(e, K_add, type, sum, v) : v;
	}
	return sum;
}

/* So many columns of one of n rows whose sums are in shared memory, row and column of these, if they are there. */
static void output_at(DeviceTile *t, int slices, LLVMValueRef first, int n, LLVMValueRef row, LLVMValueRef column, int lanes)
{
	Emit *e = t->e;
	LLVMValueRef in, sum = sum_of(t, slices, n, row, column, lanes);
	DevicePosition p;
	DeviceIf there;

	row = tile_add(e, t->row, tile_add(e, row, first));
	column = tile_add(e, t->column, column);
	in = device_output_inside(t, &row, column, false);
	if (in)
		device_if(e, &there, in);
	p = device_position(t, row);
	p.border = t->border && lanes >= QUAD ? device_border_at(t, &p) : NULL;
	device_output(t, &p, column, sum);
	if (in)
		device_endif(e, &there);
}

/* The epilogue of n rows whose sums are in shared memory, so many columns at a time.  What lies beside each other in the result goes to
 * neighbouring threads; each stays in its columns, or row, where that is possible, so that the loop has the less to compute. */
static void outputs_in(DeviceTile *t, int slices, LLVMValueRef first, int n, int lanes)
{
	Emit *e = t->e;
	bool across = lanes > 1 || device_columns_adjacent(t);
	int inner = across ? t->columns / lanes : n, outer = across ? n : t->columns, threads = t->f->team.threads;
	int wide = inner < threads ? inner : threads;
	LLVMValueRef i, o, self = device_opaque(e, t->f->team.thread);
	EmitLoop along, down;

	if (inner % wide || threads % wide) {
		i = emit_for(e, &along, self, emit_index(e, (int64_t)inner * outer), emit_index(e, threads), "output");
		o = tile_div(e, i, inner);
		i = tile_mul(e, tile_rem(e, i, inner), lanes);
		output_at(t, slices, first, n, across ? o : i, across ? i : o, lanes);
		emit_end(e, &along);
		return;
	}
	i = emit_for(e, &along, tile_rem(e, self, wide), emit_index(e, inner), emit_index(e, wide), "along");
	i = tile_mul(e, i, lanes);
	if (across)
		device_output_columns(t, tile_add(e, t->column, i), lanes);
	o = emit_for(e, &down, tile_div(e, self, wide), emit_index(e, outer), emit_index(e, threads / wide), "output");
	output_at(t, slices, first, n, across ? o : i, across ? i : o, lanes);
	emit_end(e, &down);
	emit_end(e, &along);
	device_output_columns_end(t);
}

static void outputs(DeviceTile *t, int slices, LLVMValueRef first, int n)
{
	enum { MOST_LENGTH = 24 }; /* more at a time takes too many registers */
	Emit *e = t->e;
	int lanes = t->scalar || device_output_length(t) > MOST_LENGTH ? 1 : device_output_lanes(t, QUAD);
	LLVMValueRef aligned;
	DeviceIf i;

	if (lanes == 1) {
		outputs_in(t, slices, first, n, 1);
		return;
	}
	aligned = device_outputs_aligned(t, lanes);
	device_if(e, &i, aligned);
	outputs_in(t, slices, first, n, lanes);
	device_endif(e, &i);
	device_if(e, &i, LLVMBuildNot(e->b, aligned, ""));
	outputs_in(t, slices, first, n, 1);
	device_endif(e, &i);
}

void device_epilogue(DeviceTile *t, int first, int n)
{
	device_block_barrier(t->e);
	if (t->parts > 1)
		device_split_put(t, emit_index(t->e, first), n);
	else
		outputs(t, t->slices, emit_index(t->e, first), n);
	device_block_barrier(t->e);
}

void device_tile_finish(DeviceTile *t, int n)
{
	Emit *e = t->e;
	LLVMValueRef first;
	DeviceIf last;
	EmitLoop l;

	if (t->parts == 1)
		return;
	device_if(e, &last, device_split_last(t));
	first = emit_for(e, &l, emit_index(e, 0), emit_index(e, t->rows), emit_index(e, n), "rows");
	device_split_get(t, first, n);
	device_block_barrier(e);
	outputs(t, 1, first, n);
	device_block_barrier(e);
	emit_end(e, &l);
	device_endif(e, &last);
}

void device_unaligned(DeviceTile *t, LLVMValueRef aligned)
{
	Emit *e = t->e;
	LLVMValueRef first = LLVMBuildMul(e->b, device_special(e, "ctaid.x"), emit_index(e, t->f->team.threads), "");
	LLVMValueRef step = LLVMBuildMul(e->b, device_special(e, "nctaid.x"), emit_index(e, t->f->team.threads), "");
	DeviceIf slow;

	device_if(e, &slow, LLVMBuildNot(e->b, aligned, ""));
	t->f->team.rare = true;
	device_direct(e, t->s, tile_add(e, first, t->f->team.thread), step);
	device_endif(e, &slow);
}
