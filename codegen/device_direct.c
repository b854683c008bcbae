/* codegen/device_direct.c -- contractions with a thread for each output.
 *
 * Of any strides, sizes and groups: it is what depthwise convolutions take, contractions inside of loops, and those of open or
 * tiny sizes.  Neighbouring threads make outputs that lie beside each other in A where A's columns do, else in B. */
#include "codegen/contract.h"
#include "codegen/device_internal.h"

bool device_direct_takes(const KContract *c)
{
	return !c->wino && !c->depth && !c->sparse.spread;
}

int64_t device_direct_outputs(const MloKernel *k, const KContract *c)
{
	int64_t n = mlo_kernel_guess(k, c->nb0) * mlo_kernel_guess(k, c->nb1);

	return n * mlo_kernel_guess(k, c->ny) * mlo_kernel_guess(k, c->nx) * mlo_kernel_guess(k, c->nc);
}

typedef struct Direct {
	Emit *e;
	const KContract *c;
	LLVMValueRef b0, b1, y, x, ch;
	LLVMValueRef a_at, kk0, b_at; /* where A and B begin for this output; first channel of its group */
	LLVMValueRef zero, sum;       /* sum: alloca */
	LLVMTypeRef type;
} Direct;

static LLVMValueRef num(Emit *e, int64_t n)
{
	return n < 0 ? e->size[-1 - n] : emit_index(e, n);
}

static LLVMValueRef mul(Emit *e, LLVMValueRef a, int64_t n)
{
	return LLVMBuildNSWMul(e->b, a, num(e, n), "");
}

static LLVMValueRef add(Emit *e, LLVMValueRef a, LLVMValueRef b)
{
	return LLVMBuildNSWAdd(e->b, a, b, "");
}

static LLVMValueRef split(Emit *e, LLVMValueRef *i, LLVMValueRef n)
{
	LLVMValueRef r = LLVMBuildURem(e->b, *i, n, "");

	*i = LLVMBuildUDiv(e->b, *i, n, "");
	return r;
}

/* -- which output ------------------------------------------------------------------------------------ */

static LLVMValueRef rows_of(Direct *d)
{
	Emit *e = d->e;

	return d->c->y_lo ? LLVMBuildSub(e->b, emit_idx(e, d->c->y_hi), emit_idx(e, d->c->y_lo), "") : num(e, d->c->ny);
}

static LLVMValueRef outputs_of(Direct *d)
{
	Emit *e = d->e;
	const KContract *c = d->c;

	return mul(e, mul(e, mul(e, mul(e, rows_of(d), c->nb0), c->nb1), c->nx), c->nc);
}

static void find_output(Direct *d, LLVMValueRef i)
{
	Emit *e = d->e;
	const KContract *c = d->c;
	bool columns = c->a.x == 1 && c->b.packed; /* fastest */

	if (!columns)
		d->ch = split(e, &i, num(e, c->nc));
	d->x = split(e, &i, num(e, c->nx));
	d->y = split(e, &i, rows_of(d));
	if (c->y_lo)
		d->y = add(e, d->y, emit_idx(e, c->y_lo));
	if (columns)
		d->ch = split(e, &i, num(e, c->nc));
	d->b1 = split(e, &i, num(e, c->nb1));
	d->b0 = i;
	e->var[c->var[0]] = d->b0;
	e->var[c->var[1]] = d->b1;
	e->var[c->var[2]] = d->y;
	e->var[c->var[3]] = d->x;
	e->var[c->var[4]] = d->ch;
}

/* What stays the same for all terms. */
static void begin_output(Direct *d)
{
	Emit *e = d->e;
	const KContract *c = d->c;
	int64_t w = (int64_t)c->vecs * c->lanes, taps = c->nky * c->nkx;

	d->a_at = add(e, mul(e, d->b0, c->a.b0), mul(e, d->b1, c->a.b1));
	if (c->a_at)
		d->a_at = add(e, d->a_at, emit_idx(e, c->a_at));
	d->kk0 = c->group_k ? mul(e, LLVMBuildUDiv(e->b, d->ch, num(e, c->group_c), ""), c->group_k) : emit_index(e, 0);
	if (c->b.packed) {
		LLVMValueRef in = LLVMBuildURem(e->b, d->ch, emit_index(e, w), "");

		d->b_at = LLVMBuildUDiv(e->b, d->ch, emit_index(e, w), "");
		d->b_at = mul(e, d->b_at, taps * mlo_contract_steps(c) * w);
		d->b_at = mul(e, add(e, d->b_at, in), c->dot);
	} else {
		d->b_at = add(e, add(e, mul(e, d->b0, c->b.b0), mul(e, d->b1, c->b.b1)), d->ch);
	}
	if (c->b_at)
		d->b_at = add(e, d->b_at, emit_idx(e, c->b_at));
}

/* -- terms ------------------------------------------------------------------------------------------- */

static LLVMValueRef element(Direct *d, int arg, LLVMValueRef at)
{
	Emit *e = d->e;
	MloElem elem = e->k->arg.items[arg].elem;
	LLVMTypeRef mem = emit_mem_type(e, elem);
	LLVMValueRef v = LLVMBuildLoad2(e->b, mem, LLVMBuildInBoundsGEP2(e->b, mem, e->arg[arg], &at, 1, ""), "");

	LLVMSetAlignment(v, mlo_elem_bits(elem) / 8);
	v = emit_from_memory(e, elem, v);
	return mlo_elem_is_float(elem) ? v : LLVMBuildIntCast2(e->b, v, d->type, mlo_elem_class(elem) == EC_INT, "");
}

static void zero_point(Direct *d)
{
	const KContract *c = d->c;

	d->zero = NULL;
	if (c->zero.at)
		d->zero = emit_const_i(d->type, c->zero.at);
	if (c->zero.given) {
		LLVMValueRef z = element(d, c->zero.z_arg, emit_index(d->e, 0));

		d->zero = d->zero ? LLVMBuildAdd(d->e->b, d->zero, z, "") : z;
	}
}

/* Where term k lies in A, behind the pixel. */
static LLVMValueRef term_at(Direct *d, LLVMValueRef k)
{
	Emit *e = d->e;
	const KContract *c = d->c;
	LLVMValueRef kk = add(e, d->kk0, k), in;

	if (!c->group_k && c->a.block >= c->nk && c->nk >= 0)
		return mul(e, k, c->a.k);
	in = mul(e, LLVMBuildURem(e->b, kk, num(e, c->a.block), ""), c->a.k);
	return add(e, mul(e, LLVMBuildUDiv(e->b, kk, num(e, c->a.block), ""), c->a.blk), in);
}

/* Where weight k of a tap lies in B. */
static LLVMValueRef weight_at(Direct *d, LLVMValueRef tap, LLVMValueRef k)
{
	Emit *e = d->e;
	const KContract *c = d->c;
	int64_t w = (int64_t)c->vecs * c->lanes;
	LLVMValueRef step, in;

	if (c->b.patch)
		return device_patch_weight(e, c, d->ch, tap, k);
	if (!c->b.packed)
		return add(e, d->b_at, mul(e, k, c->b.k));
	step = LLVMBuildUDiv(e->b, k, emit_index(e, c->dot), "");
	in = LLVMBuildURem(e->b, k, emit_index(e, c->dot), "");
	step = add(e, mul(e, tap, mlo_contract_steps(c)), step);
	return add(e, d->b_at, add(e, mul(e, step, w * c->dot), in));
}

/* A weight of half of the terms. */
static LLVMValueRef kept_weight(Direct *d, LLVMValueRef tap, LLVMValueRef k)
{
	Emit *e = d->e;
	const KContract *c = d->c;
	LLVMValueRef w = emit_index(e, (int64_t)c->vecs * c->lanes), dot = emit_index(e, c->dot), stage, v;

	stage = mul(e, LLVMBuildUDiv(e->b, d->ch, w, ""), c->nky * c->nkx);
	stage = mul(e, add(e, stage, tap), mlo_contract_steps(c));
	stage = add(e, stage, LLVMBuildUDiv(e->b, k, dot, ""));
	v = device_kept_weight(e, c, stage, LLVMBuildURem(e->b, d->ch, w, ""), LLVMBuildURem(e->b, k, dot, ""));
	return mlo_elem_is_float(c->b.elem) ? v : LLVMBuildIntCast2(e->b, v, d->type, true, "");
}

static void term(Direct *d, LLVMValueRef pixel, LLVMValueRef tap, LLVMValueRef k)
{
	Emit *e = d->e;
	const KContract *c = d->c;
	LLVMValueRef a = element(d, c->a_arg, add(e, pixel, term_at(d, k)));
	LLVMValueRef b = c->b.kept ? kept_weight(d, tap, k) : element(d, c->b_arg, weight_at(d, tap, k)), sum = LLVMBuildLoad2(e->b, d->type, d->sum, "");

	if (d->zero)
		a = LLVMBuildSub(e->b, a, d->zero, "");
	if (c->scale.on)
		a = LLVMBuildFMul(e->b, a, element(d, c->scale.g_arg, add(e, mul(e, d->b0, c->scale.b0), k)), "");
	if (mlo_contract_sum(c) == EL_f32)
		sum = emit_fma(e, a, b, sum);
	else
		sum = LLVMBuildAdd(e->b, sum, LLVMBuildMul(e->b, a, b, ""), "");
	LLVMBuildStore(e->b, sum, d->sum);
}

/* Input row or column of a tap, and whether it lies inside (NULL: always). */
static LLVMValueRef input_at(Direct *d, LLVMValueRef out, LLVMValueRef tap, int64_t s, int64_t step, int64_t pad, int64_t n,
                             LLVMValueRef *in)
{
	Emit *e = d->e;
	LLVMValueRef at = LLVMBuildNSWSub(e->b, add(e, mul(e, out, s), mul(e, tap, step)), emit_index(e, pad), "");

	*in = LLVMBuildICmp(e->b, LLVMIntULT, at, num(e, n), "");
	return at;
}

static void end_loop(Emit *e, EmitLoop *l)
{
	if (e->team->rare)
		device_end_long(e, l);
	else
		emit_end(e, l);
}

/* Of many terms, whose number is known, ptxas would make one row, with more loads on their way than there are registers. */
static void end_terms(Direct *d, EmitLoop *l)
{
	enum { MANY = 32, AT_A_TIME = 8 };

	if (d->c->nk > MANY && !d->e->team->rare)
		device_end_unrolled(d->e, l, AT_A_TIME);
	else
		end_loop(d->e, l);
}

static void sum_terms(Direct *d)
{
	Emit *e = d->e;
	const KContract *c = d->c;
	LLVMValueRef zero = emit_index(e, 0), one = emit_index(e, 1), ky, kx, iy, ix, in_y, in_x, pixel, tap;
	EmitLoop ly, lx, lk;
	DeviceIf i;

	LLVMBuildStore(e->b, LLVMConstNull(d->type), d->sum);
	ky = emit_for(e, &ly, zero, emit_index(e, c->nky), one, "ky");
	iy = input_at(d, d->y, ky, c->sy, c->dy, c->py, c->in_y, &in_y);
	kx = emit_for(e, &lx, zero, emit_index(e, c->nkx), one, "kx");
	ix = input_at(d, d->x, kx, c->sx, c->dx, c->px, c->in_x, &in_x);
	tap = add(e, mul(e, ky, c->nkx), kx);
	device_if(e, &i, LLVMBuildAnd(e->b, in_y, in_x, ""));
	pixel = add(e, d->a_at, add(e, mul(e, iy, c->a.y), mul(e, ix, c->a.x)));
	term(d, pixel, tap, emit_for(e, &lk, zero, num(e, c->nk), one, "k"));
	end_terms(d, &lk);
	device_endif(e, &i);
	end_loop(e, &lx);
	end_loop(e, &ly);
}

void device_direct(Emit *e, const KStmt *s, LLVMValueRef first, LLVMValueRef step)
{
	Direct d = {.e = e, .c = s->contract};
	LLVMValueRef product = e->product;
	EmitLoop l;

	d.type = emit_type(e, mlo_contract_sum(d.c));
	d.sum = emit_alloca(e, d.type, "sum");
	zero_point(&d);
	find_output(&d, emit_for(e, &l, first, outputs_of(&d), step, "output"));
	begin_output(&d);
	sum_terms(&d);
	e->product = LLVMBuildLoad2(e->b, d.type, d.sum, "product");
	emit_stmts(e, s->body);
	emit_end(e, &l);
	e->product = product;
}
