/* codegen/device_loops.c -- the loop tier on GPUs.
 *
 * A team of threads runs a task: as many as its vec loops have rounds to give away.  A team is a part of a warp, a warp, or
 * a block; teams take one task after the other, as many of them at a time as the grid has.  In a vec loop of n rounds,
 * thread i of a team of T makes rounds i, i + T, ..., so that neighbouring threads touch neighbouring elements where the
 * loop runs along memory.  Accumulators of an outer context get a part in each thread, which are combined after the
 * loop: within a warp by shuffles, across warps through shared memory, always in the same order.  Where all that a loop reads and
 * writes lies beside each other, or is the same in all rounds, a thread makes four rounds at a time, and an access is of four
 * elements; the rounds that are left over, and all of them where an argument does not lie at a multiple of that, one by one.
 *
 * All threads of a team run what stands outside of its vec loops and find the same values; one of them stores. */
#include "codegen/device_internal.h"

enum { MAX_OUTER = 16, WIDE = 4 };

/* -- vec loops --------------------------------------------------------------------------------------- */

/* Accumulators of an outer context that a loop updates. */
typedef struct Outer {
	const KStmt *update[MAX_OUTER];
	LLVMValueRef whole[MAX_OUTER]; /* the accumulator outside */
	int n;
} Outer;

static bool initialised_in(const KStmt *s, int acc)
{
	for (; s; s = s->next)
		if ((s->kind == KS_ACC_INIT && s->acc == acc) || initialised_in(s->body, acc))
			return true;
	return false;
}

static void find_outer(Outer *o, const KStmt *loop, const KStmt *s)
{
	for (; s; s = s->next) {
		bool known = s->kind != KS_ACC || initialised_in(loop->body, s->acc);

		for (int i = 0; i < o->n; i++)
			known |= o->update[i]->acc == s->acc;
		if (!known) {
			MLO_ASSERT(o->n < MAX_OUTER);
			o->update[o->n++] = s;
		}
		find_outer(o, loop, s->body);
	}
}

static MloElem type_of(const Emit *e, const KStmt *update)
{
	return e->k->value.items[update->value].type;
}

static void outer_begin(Emit *e, Outer *o)
{
	for (int i = 0; i < o->n; i++) {
		const KStmt *s = o->update[i];
		LLVMValueRef part = emit_alloca(e, emit_type(e, type_of(e, s)), "part");

		LLVMBuildStore(e->b, emit_identity(e, s->accop, type_of(e, s), 0), part);
		o->whole[i] = e->acc[s->acc];
		e->acc[s->acc] = part;
	}
}

static void outer_end(Emit *e, Outer *o)
{
	for (int i = 0; i < o->n; i++) {
		const KStmt *s = o->update[i];
		LLVMValueRef v = device_reduce(e, s->accop, type_of(e, s), emit_accum(e, s->acc));

		e->acc[s->acc] = o->whole[i];
		LLVMBuildStore(e->b, emit_combine(e, s->accop, type_of(e, s), emit_accum(e, s->acc), v), o->whole[i]);
	}
}

/* Does a body touch arguments through which threads pass values on? */
static bool passes_on(const Emit *e, const KStmt *s)
{
	for (; s; s = s->next) {
		const KInst *in = s->kind == KS_LET ? &e->k->value.items[s->value] : NULL;

		if ((in && in->op == K_load && e->team->shared[in->arg]) || (s->kind == KS_STORE && e->team->shared[s->arg]))
			return true;
		if (s->kind == KS_CONTRACT && (e->team->shared[s->contract->a_arg] || e->team->shared[s->contract->b_arg]))
			return true;
		if (passes_on(e, s->body))
			return true;
	}
	return false;
}

static void rounds(Emit *e, const KStmt *s, LLVMValueRef lo, LLVMValueRef step)
{
	EmitLoop l;

	e->var[s->var] = emit_for(e, &l, lo, emit_idx(e, s->extent), step, "i");
	emit_stmts(e, s->body);
	emit_end(e, &l);
}

/* -- four rounds at a time -- */

/* Does a thread have accesses of four elements at such an index, or of one that is the same for all? */
static bool wide_access(const Emit *lanes, const KIdx *x, const KGuard *g, int arg, bool store)
{
	int64_t stride;

	if (g || !emit_idx_stride(lanes, x, &stride) || mlo_elem_bits(lanes->k->arg.items[arg].elem) > 32)
		return false;
	return stride == 1 ? emit_idx_multiple(lanes, x, WIDE) : stride == 0 && !store;
}

/* Of a loop of nothing but loads, arithmetic and stores. */
static bool is_wide(const MloKernel *k, const KStmt *loop)
{
	const Emit lanes = {.k = k, .lanes = WIDE, .vec_var = loop->var, .vec_aligned = true};

	for (const KStmt *s = loop->body; s; s = s->next) {
		const KInst *in = s->kind == KS_LET ? &k->value.items[s->value] : NULL;

		if (s->kind == KS_STORE ? !wide_access(&lanes, s->idx, s->guard, s->arg, true)
		                        : !in || mlo_elem_bits(in->type) > 32 ||
		                                  (in->op == K_load && !wide_access(&lanes, in->idx, in->guard, in->arg, false)))
			return false;
	}
	return true;
}

/* Of the arguments that it has such accesses to: do they lie where these may begin? */
static LLVMValueRef wide_aligned(Emit *e, const KStmt *loop)
{
	LLVMTypeRef i64 = LLVMInt64TypeInContext(e->ctx);
	LLVMValueRef any = emit_const_i(i64, 0);

	for (const KStmt *s = loop->body; s; s = s->next) {
		const KInst *in = s->kind == KS_LET ? &e->k->value.items[s->value] : NULL;
		const int arg = in && in->op == K_load ? in->arg : s->kind == KS_STORE ? s->arg : -1;
		LLVMValueRef at;

		if (arg < 0)
			continue;
		at = LLVMBuildPtrToInt(e->b, e->arg[arg], i64, "");
		at = LLVMBuildAnd(e->b, at, emit_const_i(i64, WIDE * (int64_t)mlo_elem_bits(e->k->arg.items[arg].elem) / 8 - 1), "");
		any = LLVMBuildOr(e->b, any, at, "");
	}
	return LLVMBuildICmp(e->b, LLVMIntEQ, any, emit_const_i(i64, 0), "");
}

static void wide_loop(Emit *e, const KStmt *s)
{
	LLVMValueRef n = emit_idx(e, s->extent), whole = LLVMBuildAnd(e->b, n, emit_index(e, -WIDE), ""), at;
	EmitLoop l;

	whole = LLVMBuildSelect(e->b, wide_aligned(e, s), whole, emit_index(e, 0), "");
	e->team->alone = true;
	at = LLVMBuildMul(e->b, e->team->lane, emit_index(e, WIDE), "");
	e->var[s->var] = emit_for(e, &l, at, whole, emit_index(e, (int64_t)WIDE * e->team->size), "v");
	e->lanes = WIDE;
	e->vec_var = s->var;
	e->vec_aligned = e->vec_whole = true;
	emit_stmts(e, s->body);
	e->lanes = 0;
	e->vec_var = -1;
	e->vec_aligned = e->vec_whole = false;
	emit_end(e, &l);
	rounds(e, s, LLVMBuildAdd(e->b, whole, e->team->lane, ""), emit_index(e, e->team->size));
	e->team->alone = false;
}

static void shared_loop(Emit *e, const KStmt *s)
{
	bool pass = passes_on(e, s->body);
	Outer o = {.n = 0};

	if (!pass && is_wide(e->k, s)) {
		wide_loop(e, s);
		return;
	}
	find_outer(&o, s, s->body);
	if (pass)
		device_barrier(e);
	outer_begin(e, &o);
	e->team->alone = true;
	rounds(e, s, e->team->lane, emit_index(e, e->team->size));
	e->team->alone = false;
	outer_end(e, &o);
	if (pass)
		device_barrier(e);
}

/* -- statements -------------------------------------------------------------------------------------- */

static void store_once(Emit *e, const KStmt *s)
{
	bool pass = e->team->shared[s->arg];
	DeviceIf i;

	if (pass)
		device_barrier(e);
	device_if(e, &i, LLVMBuildICmp(e->b, LLVMIntEQ, e->team->lane, emit_index(e, 0), ""));
	emit_store(e, s);
	device_endif(e, &i);
	if (pass)
		device_barrier(e);
}

static void contract_inside(Emit *e, const KStmt *s)
{
	bool alone = e->team->alone;

	if (alone) {
		device_direct(e, s, emit_index(e, 0), emit_index(e, 1));
		return;
	}
	device_barrier(e);
	e->team->alone = true;
	device_direct(e, s, e->team->lane, emit_index(e, e->team->size));
	e->team->alone = false;
	device_barrier(e);
}

bool device_stmt(Emit *e, const KStmt *s)
{
	bool shares = !e->team->alone && e->team->size > 1;

	if (s->kind == KS_CONTRACT)
		contract_inside(e, s);
	else if (s->kind == KS_LOOP && s->loop == KL_VEC && shares)
		shared_loop(e, s);
	else if (s->kind == KS_LOOP)
		rounds(e, s, emit_index(e, 0), emit_index(e, 1));
	else if (s->kind == KS_STORE && shares)
		store_once(e, s);
	else
		return false;
	return true;
}

/* -- which teams ------------------------------------------------------------------------------------- */

/* What threads can share out, in a task. */
typedef struct Work {
	int64_t most;   /* rounds of a vec loop, or outputs of a contraction */
	bool reduces;
	bool takes;     /* all of it */
	bool wide;      /* every vec loop takes four rounds at a time */
} Work;

static void measure(const MloKernel *k, const KStmt *s, Work *w)
{
	Outer o = {.n = 0};
	int64_t lo, hi = 0;

	for (; s; s = s->next) {
		bool vec = s->kind == KS_LOOP && s->loop == KL_VEC;

		w->takes &= s->kind != KS_FOREST && s->kind != KS_CALL;
		if (vec) {
			kx_range(k, s->extent, &lo, &hi);
			hi = mlo_kernel_plausible(lo, hi);
			find_outer(&o, s, s->body);
			w->reduces |= o.n > 0;
			w->wide &= is_wide(k, s);
		} else if (s->kind == KS_CONTRACT) {
			w->takes &= device_direct_takes(s->contract);
			hi = device_direct_outputs(k, s->contract);
			w->wide = false;
		}
		w->most = hi > w->most ? hi : w->most;
		if (!vec)
			measure(k, s->body, w);
	}
}

static int power_from(int64_t n, int most)
{
	int p = 1;

	while (p < n && p < most)
		p *= 2;
	return p;
}

/* Threads of a team.  Warps where there are enough rows for them, so that no barrier is needed. */
static int choose_team(const Work *w, int64_t tasks)
{
	enum { ENOUGH = 512, SHORT = 512, LONG = 8192, BLOCK = 256 };

	if (w->most <= DEVICE_WARP)
		return power_from(w->most, DEVICE_WARP);
	if (w->reduces && w->most <= SHORT && tasks >= ENOUGH)
		return DEVICE_WARP;
	if (tasks < ENOUGH / 8 && w->most >= LONG)
		return MLO_DEVICE_THREADS;
	return power_from((w->most + 1) / 2, BLOCK) < DEVICE_WARP ? DEVICE_WARP : power_from((w->most + 1) / 2, BLOCK);
}

/* Less of them where nine in ten would not have something to do in every round, and the device is full all the same; what they touch
 * is a cache line at least. */
static int fit_team(int team, int64_t rounds, int64_t tasks)
{
	enum { LEAST = 8, FULL = 1 << 16 };

	while (team > LEAST && tasks * team >= 2 * FULL && 10 * rounds < 9 * ((rounds + team - 1) / team * team))
		team /= 2;
	return team;
}

/* Blocks of a few warps, less where they would not fill a device. */
static int choose_threads(int team, int64_t tasks)
{
	enum { USUAL = 128, FILLED = 128 };
	int threads = USUAL;

	if (team > DEVICE_WARP)
		return team;
	while (threads > DEVICE_WARP && tasks * team / threads < FILLED)
		threads /= 2;
	return threads;
}

/* -- kernels ----------------------------------------------------------------------------------------- */

static void all_tasks(DeviceFrame *f)
{
	const KStmt *par[MLO_KERNEL_MAX_PAR], *body;
	Emit *e = &f->e;
	int64_t teams = f->team.threads / f->team.size;
	LLVMValueRef first = LLVMBuildMul(e->b, device_special(e, "ctaid.x"), emit_index(e, teams), ""), step;
	EmitLoop l;
	int n;

	first = LLVMBuildAdd(e->b, first, f->team.number, "");
	step = LLVMBuildMul(e->b, device_special(e, "nctaid.x"), emit_index(e, teams), "");
	body = mlo_kernel_nest(e->k, par, MLO_KERNEL_MAX_PAR, &n);
	for (const KStmt *s = e->k->body; n && s->kind == KS_LET; s = s->next)
		e->val[s->value] = emit_value(e, &e->k->value.items[s->value]);
	emit_bind_task(e, emit_for(e, &l, first, f->tasks, step, "task"), par, n);
	emit_stmts(e, body);
	emit_end(e, &l);
}

bool mlo_device_emit_loops(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch)
{
	const KStmt *par[MLO_KERNEL_MAX_PAR];
	const KStmt *body = mlo_kernel_nest(k, par, MLO_KERNEL_MAX_PAR, &(int){0});
	int64_t tasks = mlo_kernel_guess(k, k->ntasks);
	Work w = {.most = 1, .takes = true};
	DeviceFrame f;
	int team, threads;

	measure(k, k->body, &w);
	if (!w.takes || !body || body->kind == KS_CONTRACT)
		return false;
	w.most = 1;
	w.wide = true;
	measure(k, body, &w);
	w.most = w.wide ? (w.most + WIDE - 1) / WIDE : w.most;
	team = choose_team(&w, tasks);
	if (w.wide)
		team = fit_team(team, w.most, tasks);
	threads = choose_threads(team, tasks);
	device_begin(&f, module, k, t, symbol);
	device_team(&f, team, threads);
	*launch = (MloLaunch){.threads = (uint32_t)threads, .tasks_per_block = (uint32_t)(threads / team)};
	launch->blocks = (uint32_t)((tasks + launch->tasks_per_block - 1) / launch->tasks_per_block);
	device_scratch(&f, threads / team, launch);
	all_tasks(&f);
	device_end(&f, launch);
	return true;
}
