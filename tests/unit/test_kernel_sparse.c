/* tests/unit/test_kernel_sparse.c -- contractions by sparse weights: machine code and the interpreter against the interpreter's
 * dense sums of the same weights.  Small integers as data: sums are exact whatever their order. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/contract_lower.h"
#include "codegen/schedule.h"
#include "codegen/sparse.h"
#include "tests/unit/kernel_random.h"

enum { KERNELS = 40 };

/* The same contraction in both forms. */
typedef struct Pair {
	MloKernel *dense, *sparse;
	const MloTensor *weights[2], *sums, *places, *rows;
} Pair;

static int64_t pick(KernelRandom *r, int64_t lo, int64_t hi)
{
	return lo + kernel_random(r, (uint32_t)(hi - lo + 1));
}

static void taps(KernelRandom *r, KContract *c)
{
	bool plain = pick(r, 0, 2) == 0;

	c->nky = plain ? 1 : pick(r, 1, 3);
	c->nkx = plain ? 1 : pick(r, 1, 3);
	c->sy = pick(r, 1, 2);
	c->sx = pick(r, 1, 2);
	c->dy = pick(r, 1, 2);
	c->dx = pick(r, 1, 2);
	c->py = pick(r, 0, (c->nky - 1) * c->dy);
	c->px = pick(r, 0, (c->nkx - 1) * c->dx);
	c->in_y = (c->ny - 1) * c->sy + (c->nky - 1) * c->dy + 1 - c->py - pick(r, 0, c->py);
	c->in_x = (c->nx - 1) * c->sx + (c->nkx - 1) * c->dx + 1 - c->px - pick(r, 0, c->px);
	c->in_y = c->in_y < 1 ? 1 : c->in_y;
	c->in_x = c->in_x < 1 ? 1 : c->in_x;
}

/* Channels last or in blocks; answers the elements of A. */
static int64_t layout(KernelRandom *r, KContract *c, int block)
{
	bool blocks = pick(r, 0, 1);

	c->a.k = 1;
	c->a.block = c->a.x = blocks ? block : c->nk;
	c->a.y = c->in_x * c->a.x;
	c->a.blk = blocks ? c->in_y * c->a.y : 0;
	c->a.b1 = c->in_y * c->a.y * (blocks ? (c->nk + block - 1) / block : 1);
	c->a.b0 = c->a.b1 * c->nb1;
	return c->a.b0 * c->nb0;
}

static MloTensor *sparse_weights(MloArena *a, KernelRandom *r, const KContract *c)
{
	MloTensor *w = mlo_tensor_new(a, c->b.elem, 4, (int64_t[]){c->nc, c->nk, c->nky, c->nkx});
	uint32_t percent = (uint32_t)pick(r, 1, 60);

	for (int64_t i = 0; i < mlo_tensor_elems(w); i++)
		mlo_tensor_set_i64(w, i, i == 0 || kernel_random(r, 100) < percent ? pick(r, -4, 4) | 1 : 0);
	return w;
}

/* Steps that are not zero for their group of channels. */
static int64_t entries(const KContract *c, const MloTensor *w)
{
	int64_t each = c->nk * c->nky * c->nkx, taps = c->nky * c->nkx, n = 0;

	for (int64_t i = 0; i < (c->nc + c->sparse.group - 1) / c->sparse.group * (each / c->dot); i++) {
		int64_t first = i / (each / c->dot) * c->sparse.group, step = i % (each / c->dot) / taps;
		bool any = false;

		for (int64_t j = 0; j < c->sparse.group * c->dot; j++)
			if (first + j / c->dot < c->nc)
				any |= mlo_tensor_i64(w, (first + j / c->dot) * each + (step * c->dot + j % c->dot) * taps + i % taps) != 0;
		n += any;
	}
	return n;
}

/* The kernel of c, whose arguments are A, B, sums of B, the result, streams, scratch memory. */
static MloKernel *kernel_of(MloArena *a, KContract c, const Pair *p, int64_t na, const MloTensor *b)
{
	MloKernel *k = mlo_kernel_new(a, "sparse");
	int64_t n[5] = {c.nb0, c.nb1, c.ny, c.nx, c.nc};
	KCursor top = kb_top(k), at;
	const KIdx *x = kx_const(k, 0);
	int out, v;

	c.a_arg = mlo_kernel_arg(k, KA_IN, c.a.elem, na);
	c.b_arg = mlo_kernel_arg(k, KA_IN, c.b.elem, mlo_tensor_elems(b));
	c.zero.s_arg = mlo_kernel_arg(k, KA_IN, EL_i32, p->sums ? mlo_tensor_elems(p->sums) : 1);
	out = mlo_kernel_arg(k, KA_OUT, EL_f32, c.nb0 * c.nb1 * c.ny * c.nx * c.nc);
	if (c.sparse.spread) {
		c.sparse.i_arg = mlo_kernel_arg(k, KA_IN, EL_u8, mlo_tensor_elems(p->places));
		c.sparse.n_arg = mlo_kernel_arg(k, KA_IN, EL_i32, mlo_tensor_elems(p->rows));
		c.w_arg = mlo_kernel_arg(k, KA_SCRATCH, EL_f32, sparse_scratch_bytes(&c) / 4);
	}
	for (int i = 0; i < 5; i++)
		c.var[i] = mlo_kernel_var(k, n[i]);
	at = kb_contract(&top, &c);
	for (int i = 0; i < 5; i++)
		x = kx_add(k, kx_mul(k, x, n[i]), kx_var(k, c.var[i]));
	v = kb_op(&at, K_product, mlo_contract_sum(&c), -1, -1, -1);
	if (mlo_contract_sum(&c) == EL_i32)
		v = kb_op(&at, K_cast, EL_f32, v, -1, -1);
	kb_store(&at, out, x, NULL, v);
	kb_finish(k);
	return k;
}

/* A schedule that the model likes for tiles of some size, or its parts by chance. */
static void schedule(KernelRandom *r, const MloTarget *t, int64_t weights, KContract *c)
{
	const KContract dense = *c;
	const MloTunable k = {.target = t, .c = &dense, .weights = {{weights, weights, weights}}};
	MloSchedule s;

	/* rows may be longer than few registers hold */
	while (!isfinite(sparse_schedule(t, (int)pick(r, 1, sparse_most_registers(t, c->sparse.group)), weights, c)))
		;
	for (int i = 0; i < 20; i++) {
		s = mlo_schedule_of(c);
		s.spread = (int)pick(r, 1, c->lanes);
		s.rows = mlo_contract_by_columns(c) ? 1 : (int)pick(r, 1, 3);
		s.cols = mlo_contract_by_columns(c) ? (int)pick(r, 1, 4) : (int)((c->nx + s.spread - 1) / s.spread);
		s.y_chunk = mlo_contract_by_columns(c) ? (int64_t)s.spread * s.cols : (int64_t)(c->lanes / s.spread) * s.rows;
		s.runs = pick(r, 1, 3);
		s.c_chunk = pick(r, 1, mlo_contract_ctiles(c));
		if (mlo_schedule_fits(&k, &s) && pick(r, 0, 1)) {
			mlo_schedule_set(c, &s);
			return;
		}
	}
}

static Pair random_pair(MloArena *a, uint64_t seed, const MloTarget *t)
{
	KernelRandom r = {seed};
	KContract c = {.nb0 = pick(&r, 1, 2), .nb1 = pick(&r, 1, 2), .ny = pick(&r, 1, 9), .nx = pick(&r, 1, 40), .nc = pick(&r, 1, 40),
	               .nk = pick(&r, 1, 40), .dot = 1, .a.elem = EL_f32, .b.elem = EL_f32, .b.packed = true};
	ContractWeights w = {.kind = CW_CONV, .tile_groups = 1};
	Pair p = {0};
	int64_t na, weights = 0, counted;
	KContract s;

	if (pick(&r, 0, 1) && (t->dots->u8s8 || t->dots->s8s8)) {
		c.a.elem = pick(&r, 0, 1) ? EL_u8 : EL_i8;
		c.b.elem = EL_i8;
		c.dot = 4;
		c.nk = (c.nk + 3) / 4 * 4;
		c.zero.at = pick(&r, 0, 1) * pick(&r, 0, 127);
	}
	taps(&r, &c);
	c.group_c = w.ocg = c.nc;
	w.icg = c.nk;
	w.kh = c.nky;
	w.kw = c.nkx;
	na = layout(&r, &c, t->block);
	w.w = sparse_weights(a, &r, &c);
	mlo_schedule_contract(t, NULL, 1, &c);
	contract_choose_sign(t, &c);
	CU_ASSERT(sparse_can(t, &c));
	s = c;
	s.vecs = 1;
	s.sparse.group = 1 << pick(&r, 0, MLO_SPARSE_GROUPS - 1);
	if ((int64_t)sparse_most_registers(t, s.sparse.group) * s.lanes < s.nx) /* a row of outputs has to fit */
		s.sparse.group = 1;
	weights = entries(&s, w.w);
	counted = contract_sparsity(&c, &w).n[s.sparse.group == 1 ? 0 : s.sparse.group == 2 ? 1 : 2];
	CU_ASSERT(counted == weights || counted == 0); /* 0: too many to be worth counting */
	schedule(&r, t, weights, &s);
	p.weights[0] = contract_pack(a, &c, &w);
	p.sums = c.zero.sums ? contract_pack_sums(a, &c, &w) : NULL;
	p.dense = kernel_of(a, c, &p, na, p.weights[0]);
	p.weights[1] = contract_pack_sparse(a, &s, &w, &p.places, &p.rows);
	p.sums = c.zero.sums ? contract_pack_sums(a, &s, &w) : NULL;
	p.sparse = kernel_of(a, s, &p, na, p.weights[1]);
	return p;
}

static void put(KernelBuffers *b, int arg, const MloTensor *t)
{
	if (t)
		memcpy(b->arg[arg], t->data, (size_t)mlo_tensor_elems(t) * mlo_elem_bits(t->elem) / 8);
}

/* Both read the A of `from`, or, where that is NULL, what they have, in small numbers. */
static KernelBuffers buffers_of(MloArena *a, const MloKernel *k, const Pair *p, uint64_t seed, const KernelBuffers *from)
{
	const KContract *c = k->body->contract;
	KernelBuffers b = kernel_buffers_new(a, k, seed, seed & 1);
	KernelRandom r = {seed ^ 5};

	for (int64_t i = 0; i < k->arg.items[0].count; i++) {
		if (from)
			break;
		if (c->dot == 4)
			((uint8_t *)b.arg[0])[i] = (uint8_t)kernel_random(&r, 256);
		else
			((float *)b.arg[0])[i] = (float)pick(&r, -9, 9);
	}
	if (from)
		memcpy(b.arg[0], from->arg[0], (size_t)k->arg.items[0].count * mlo_elem_bits(c->a.elem) / 8);
	put(&b, c->b_arg, p->weights[c->sparse.spread > 0]);
	if (c->sparse.spread) {
		put(&b, c->sparse.i_arg, p->places);
		put(&b, c->sparse.n_arg, p->rows);
	}
	return b;
}

static bool same(const KernelBuffers *x, const KernelBuffers *y, const MloKernel *k)
{
	return !memcmp(x->arg[3], y->arg[3], (size_t)k->arg.items[3].count * sizeof(float));
}

static void check_pair(MloArena *a, const Pair *p, KernelFn *fn, uint64_t seed, MloDiag *d)
{
	KernelBuffers want = buffers_of(a, p->dense, p, seed, NULL), run = buffers_of(a, p->sparse, p, seed, &want);
	KernelBuffers interp = buffers_of(a, p->sparse, p, seed, &want);
	const KContract *c = p->sparse->body->contract;
	void *scratch = aligned_alloc(64, (size_t)mlo_kernel_scratch(p->sparse));
	MloStr text = {.arena = a};
	bool ok;

	/* the sums of both differ in order, not in content: those of the dense form follow from its weights */
	if (c->zero.sums)
		for (int64_t i = 0; i < p->sparse->arg.items[c->zero.s_arg].count; i++)
			((int32_t *)run.arg[c->zero.s_arg])[i] = ((int32_t *)interp.arg[c->zero.s_arg])[i] = ((const int32_t *)p->sums->data)[i];
	CU_ASSERT_FATAL(scratch != NULL);
	memset(scratch, 0xa5, (size_t)mlo_kernel_scratch(p->sparse));
	ok = mlo_kernel_interp(p->dense, want.arg, 0, p->dense->ntasks, d) == MLO_OK &&
	     mlo_kernel_interp(p->sparse, interp.arg, 0, p->sparse->ntasks, d) == MLO_OK && same(&want, &interp, p->sparse);
	for (int64_t t = p->sparse->ntasks; ok && t-- > 0 && seed & 2;)
		fn(run.arg, t, t + 1, scratch);
	if (ok && !(seed & 2))
		fn(run.arg, 0, p->sparse->ntasks, scratch);
	ok = ok && same(&want, &run, p->sparse);
	if (!ok) {
		mlo_kernel_print(&text, p->sparse, true);
		printf("\n  seed %llu is not as expected:\n%s", (unsigned long long)seed, mlo_str_text(&text));
	}
	CU_ASSERT(ok);
	free(scratch);
	kernel_buffers_free(&want);
	kernel_buffers_free(&run);
	kernel_buffers_free(&interp);
}

static void differential(const MloTarget *t, uint64_t first)
{
	MloArena *a = mlo_arena_new();
	MloKernel *k[KERNELS];
	Pair p[KERNELS];
	KernelImage im;
	MloDiag d = {0};

	for (int i = 0; i < KERNELS; i++) {
		MloStr text = {.arena = a};

		p[i] = random_pair(a, first + (uint64_t)i, t);
		k[i] = p[i].sparse;
		CU_ASSERT_EQUAL(mlo_kernel_verify(k[i], &d), MLO_OK);
		mlo_kernel_print(&text, k[i], true);
		CU_ASSERT_PTR_NOT_NULL(mlo_kernel_parse(a, mlo_str_text(&text), text.n, &d));
	}
	if (!kernel_image_load(&im, t, k, KERNELS, &d)) {
		mlo_diag_print(&d, "test", stdout);
		CU_FAIL_FATAL("compilation failed");
	}
	for (int i = 0; i < KERNELS; i++)
		check_pair(a, &p[i], im.fn[i], first + (uint64_t)i, &d);
	mlo_diag_print(&d, "test", stdout);
	kernel_image_free(&im);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

static void native(void)
{
	for (uint64_t i = 0; i < 3; i++)
		differential(kernel_test_target(0), kernel_test_seed(900) + i * KERNELS);
}

static void baseline(void)
{
	differential(kernel_test_target(1), kernel_test_seed(1100));
}

/* Streams that do not belong together, and forms that have none. */
static void wrong(void)
{
	MloArena *a = mlo_arena_new();
	Pair p = random_pair(a, 1, kernel_test_target(0));
	KContract *c = p.sparse->body->contract, was = *c;
	MloDiag d = {0};

	CU_ASSERT_EQUAL(mlo_kernel_verify(p.sparse, &d), MLO_OK);
	for (int i = 0; i < 7; i++) {
		*c = was;
		c->vecs += i == 0;
		c->sparse.runs = i == 1 ? 0 : c->sparse.runs;
		c->sparse.spread = i == 2 ? c->lanes + 1 : c->sparse.spread;
		c->sparse.n_arg = i == 3 ? c->sparse.i_arg : c->sparse.n_arg;
		c->sparse.group = i == 6 ? 3 : c->sparse.group;
		p.sparse->arg.items[c->sparse.i_arg].count += i == 4;
		p.sparse->arg.items[c->w_arg].count -= i == 5;
		CU_ASSERT_NOT_EQUAL(mlo_kernel_verify(p.sparse, &d), MLO_OK);
		p.sparse->arg.items[c->sparse.i_arg].count -= i == 4;
		p.sparse->arg.items[c->w_arg].count += i == 5;
	}
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

void suite_kernel_sparse(void);
void suite_kernel_sparse(void)
{
	CU_pSuite s = CU_add_suite("kernel_sparse", NULL, NULL);

	CU_add_test(s, "machine code for this machine", native);
	CU_add_test(s, "machine code for the baseline", baseline);
	CU_add_test(s, "what the verifier refuses", wrong);
}
