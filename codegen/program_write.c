/* codegen/program_write.c -- a plan as bytes: the PROGRAM blob (runtime/format.h) and the weights. */
#include <stdlib.h>
#include <string.h>

#include "codegen/program.h"

/* -- weights -------------------------------------------------------------------------------- */

/* References, then the characters. */
static const void *string_bytes(const Plan *p, const Weight *w)
{
	const MloText *s = w->data->data;
	int64_t n = mlo_tensor_elems(w->data), at = n * (int64_t)sizeof(MlrtStringRef);
	char *out = mlo_alloc(p->arena, 1, (size_t)w->bytes + 1);
	MlrtStringRef *ref = (MlrtStringRef *)out;

	for (int64_t i = 0; i < n; i++) {
		ref[i] = (MlrtStringRef){w->offset + at, s[i].n};
		memcpy(out + at, s[i].s, (size_t)s[i].n);
		at += s[i].n;
	}
	return out;
}

const MloPiece *plan_weight_pieces(const Plan *p, size_t *n)
{
	MloPiece *piece = MLO_NEWN(p->arena, MloPiece, 2 * p->weight.n + 1);
	int64_t at = 0;

	*n = 0;
	for (size_t i = 0; i < 2 * p->weight.n; i++) {
		const Weight *w = &p->weight.items[i % p->weight.n];

		if (w->whole != (i < p->weight.n)) /* as plan_weights() places them */
			continue;
		if (w->offset > at)
			piece[(*n)++] = (MloPiece){NULL, (size_t)(w->offset - at)};
		piece[(*n)++] = (MloPiece){w->data->elem == EL_str ? string_bytes(p, w) : w->data->data, (size_t)w->bytes};
		at = w->offset + w->bytes;
	}
	if (p->weight_bytes > at)
		piece[(*n)++] = (MloPiece){NULL, (size_t)(p->weight_bytes - at)};
	return piece;
}

/* -- steps ---------------------------------------------------------------------------------- */

/* Nanoseconds of a task. */
static uint32_t task_cost(const MloTarget *t, const Step *s)
{
	double ns = program_step_ns(t, s) / (double)(s->info.ntasks > 0 ? s->info.ntasks : 1);

	return ns < 1 ? 1 : ns > MLRT_MAX_COST ? MLRT_MAX_COST : (uint32_t)(ns + 0.5);
}

static bool is_member(const Program *g, size_t step)
{
	return g->step.items[step].beside || (step + 1 < g->step.n && g->step.items[step + 1].beside);
}

static uint32_t flat_flags(const MloTarget *t, const Program *g, size_t step)
{
	const Step *s = &g->step.items[step];

	return (program_step_whole(t, s) ? MLRT_STEP_WHOLE : 0) | (s->beside ? MLRT_STEP_BESIDE : 0) |
	       (is_member(g, step) ? task_cost(t, s) << MLRT_STEP_COST : 0);
}

static uint32_t space_of(BufferKind k)
{
	static const uint32_t space[] = {[BUF_ARENA] = MLRT_ARENA, [BUF_WEIGHT] = MLRT_WEIGHT, [BUF_INPUT] = MLRT_INPUT,
	                                 [BUF_OUTPUT] = MLRT_OUTPUT, [BUF_PLANNED] = MLRT_BUFFER, [BUF_OWN] = MLRT_BUFFER};

	return space[k];
}

MlrtArg plan_flat_arg(const Plan *p, const Program *g, const StepArg *sa)
{
	const Buffer *b;
	int64_t base;

	if (sa->buffer < 0)
		return (MlrtArg){.space = MLRT_NONE};
	b = &g->buffer.items[sa->buffer];
	base = b->kind == BUF_WEIGHT ? p->weight.items[b->index].offset : b->offset;
	return (MlrtArg){space_of(b->kind), b->kind == BUF_WEIGHT ? 0 : b->index, (uint64_t)(base + sa->offset), (uint64_t)sa->bytes};
}

typedef struct Writer {
	unsigned char *data;
	size_t n, cap;
	bool failed;
} Writer;

/* Room for n bytes, zeroed, whose place is answered. */
static size_t grow(Writer *w, size_t n)
{
	size_t at = w->n;

	if (w->n + n > w->cap) {
		size_t cap = (w->n + n) * 2 + 256;
		unsigned char *more = realloc(w->data, cap);

		if (!more) {
			w->failed = true;
			return at;
		}
		w->data = more;
		w->cap = cap;
	}
	memset(w->data + at, 0, n);
	w->n += n;
	return at;
}

static void put(Writer *w, const void *what, size_t n)
{
	size_t at = grow(w, n);

	if (!w->failed && n)
		memcpy(w->data + at, what, n);
}

static void write_flat(const Plan *p, const uint64_t *code, Writer *w)
{
	const Program *g = p->program.items[0];
	MlrtProgram head = {.magic = MLRT_PROGRAM_MAGIC, .nsteps = (uint32_t)g->step.n,
	                    .arena_bytes = (uint64_t)g->arena_bytes, .scratch_bytes = (uint64_t)p->scratch_bytes};

	for (size_t i = 0; i < g->step.n; i++)
		head.nargs += (uint32_t)g->step.items[i].kernel->arg.n;
	put(w, &head, sizeof head);
	for (size_t i = 0, a = 0; i < g->step.n; i++) {
		const Step *s = &g->step.items[i];
		MlrtStep step = {code[s->unique], (uint32_t)a, (uint32_t)s->kernel->arg.n, (uint32_t)s->kernel->ntasks,
		                 flat_flags(p->target, g, i)};

		a += s->kernel->arg.n;
		put(w, &step, sizeof step);
	}
	for (size_t i = 0; i < g->step.n; i++)
		for (size_t k = 0; k < g->step.items[i].kernel->arg.n; k++) {
			MlrtArg a = plan_flat_arg(p, g, &g->step.items[i].arg[k]);

			if (is_member(g, i) && program_step_writes(&g->step.items[i], k))
				a.space |= MLRT_WRITTEN;
			put(w, &a, sizeof a);
		}
}

/* -- programs of a list --------------------------------------------------------------------------- */

static uint32_t slot_or_absent(int slot)
{
	return slot < 0 ? MLRT_ABSENT : (uint32_t)slot;
}

static MlrtBodyArg body_arg(const Plan *p, const Program *g, const StepArg *sa)
{
	MlrtBodyArg a = {.space = MLRT_NONE, .offset_slot = MLRT_ABSENT, .bytes_slot = slot_or_absent(sa->bytes_slot)};
	const Buffer *b;

	if (sa->buffer == STEP_SIZES) {
		a.space = MLRT_SIZES;
		a.offset = 8 * (uint64_t)sa->slot;
		a.bytes = (uint64_t)sa->bytes;
	}
	if (sa->buffer < 0)
		return a;
	b = &g->buffer.items[sa->buffer];
	a.space = space_of(b->kind);
	a.index = b->index;
	a.flags = sa->reserve ? MLRT_ARG_RESERVE : 0;
	a.offset = (uint64_t)(sa->offset + (b->kind == BUF_ARENA ? b->offset : 0));
	a.bytes = sa->bytes_slot < 0 ? (uint64_t)sa->bytes : 0;
	if (b->kind == BUF_WEIGHT && p->weight.items[b->index].data->elem == EL_str) {
		a.space = MLRT_STRINGS;
		a.index = p->weight.items[b->index].strings;
	} else if (b->kind == BUF_WEIGHT) {
		a.index = 0;
		a.offset += (uint64_t)p->weight.items[b->index].offset;
	}
	return a;
}

static MlrtBodyStep body_step(const Plan *p, const Program *g, const Step *s, const uint64_t *code, size_t first_late)
{
	MlrtBodyStep o = {
		.kind = s->kind,
		.first_expr = (uint32_t)(g->slots.early.n + first_late),
		.nexprs = (uint32_t)(s->late_end - first_late),
		.ntasks_slot = MLRT_ABSENT,
	};

	if (s->kind == MLRT_STEP_KERNEL) {
		o.flags = program_step_whole(p->target, s) ? MLRT_STEP_WHOLE : 0;
		o.n = (uint32_t)s->kernel->arg.n;
		o.ntasks = s->tasks_slot < 0 ? (uint32_t)s->kernel->ntasks : 0;
		o.ntasks_slot = slot_or_absent(s->tasks_slot);
		o.code = code[s->unique];
		return o;
	}
	o.n = s->nref;
	o.nresults = s->nresults;
	o.object = s->kind == MLRT_STEP_OBJECT ? s->object : 0;
	for (int i = 0; i < 2; i++) {
		o.program[i] = s->sub[i] ? s->sub[i]->number : 0;
		o.imm[i] = s->imm[i];
	}
	return o;
}

static MlrtValue run_value(const RunValue *v, uint32_t arg, const Program *g)
{
	bool tensor = v->kind == MLRT_V_TENSOR;

	return (MlrtValue){
		.kind = v->kind,
		.elem = (uint32_t)mlo_elem_onnx(v->elem),
		.key = v->key == EL_none ? 0 : (uint32_t)mlo_elem_onnx(v->key),
		.rank = tensor ? (uint32_t)v->rank : 0,
		.first_dim = tensor ? (uint32_t)v->first_dim : 0,
		.arg = tensor ? arg : MLRT_ABSENT,
		.buffer = v->own >= 0 ? g->buffer.items[v->own].index : MLRT_ABSENT,
		.object = tensor ? MLRT_ABSENT : (uint32_t)v->object,
	};
}

static void write_steps(const Plan *p, const Program *g, const uint64_t *code, Writer *w, MlrtBody *head)
{
	size_t late = 0;
	uint32_t arg = 0, ref = head->ninputs + head->noutputs;

	for (size_t i = 0; i < g->step.n; i++) {
		const Step *s = &g->step.items[i];
		MlrtBodyStep o = body_step(p, g, s, code, late);

		late = s->late_end;
		o.first = s->kind == MLRT_STEP_KERNEL ? arg : ref;
		*(s->kind == MLRT_STEP_KERNEL ? &arg : &ref) += o.n;
		put(w, &o, sizeof o);
	}
	for (size_t i = 0; i < g->step.n; i++)
		for (size_t k = 0; g->step.items[i].kernel && k < g->step.items[i].kernel->arg.n; k++) {
			MlrtBodyArg a = body_arg(p, g, &g->step.items[i].arg[k]);
			put(w, &a, sizeof a);
		}
	head->nrefs = ref;
	head->nargs = arg;
}

static void write_values(const Plan *p, const Program *g, Writer *w, MlrtBody *head)
{
	uint32_t first = head->nargs, arg = first;

	for (size_t i = 0; i < g->value.n; i++)
		if (g->value.items[i].kind == MLRT_V_TENSOR) {
			MlrtBodyArg a = body_arg(p, g, &g->value.items[i].arg);
			put(w, &a, sizeof a);
			head->nargs++;
		}
	put(w, g->slots.early.items, g->slots.early.n * sizeof(MlrtExpr));
	put(w, g->slots.late.items, g->slots.late.n * sizeof(MlrtExpr));
	for (size_t i = 0; i < g->buffer.n; i++) {
		const Buffer *b = &g->buffer.items[i];
		MlrtBuffer o = {b->kind == BUF_PLANNED ? MLRT_PLANNED : MLRT_OWN, slot_or_absent(b->bytes_slot),
		                slot_or_absent(b->offset_slot), 0};

		if (b->kind == BUF_PLANNED || b->kind == BUF_OWN)
			put(w, &o, sizeof o);
	}
	for (size_t i = 0; i < g->value.n; i++) {
		const RunValue *v = &g->value.items[i];
		MlrtValue o = run_value(v, arg, g);

		arg += v->kind == MLRT_V_TENSOR;
		put(w, &o, sizeof o);
	}
}

static void write_refs(const Program *g, Writer *w, const MlrtBody *head)
{
	static const unsigned char zero[8];

	put(w, g->input, head->ninputs * sizeof(uint32_t));
	put(w, g->output, head->noutputs * sizeof(uint32_t));
	for (size_t i = 0; i < g->step.n; i++)
		if (g->step.items[i].kind != MLRT_STEP_KERNEL)
			put(w, g->step.items[i].ref, g->step.items[i].nref * sizeof(uint32_t));
	put(w, zero, (8 - w->n % 8) % 8);
}

static void write_body(const Plan *p, const Program *g, const uint64_t *code, Writer *w)
{
	MlrtBody head = {
		.nsteps = (uint32_t)g->step.n,
		.nexprs = (uint32_t)(g->slots.early.n + g->slots.late.n),
		.nbuffers = g->nbuffers,
		.nvalues = (uint32_t)g->value.n,
		.ninputs = g->graph->ninputs,
		.noutputs = g->graph->noutputs,
		.nslots = (uint32_t)g->slots.slot.n,
		.nobjects = g->nobjects,
		.nprologue = (uint32_t)g->slots.early.n,
		.arena_slot = slot_or_absent(g->arena_slot),
		.arena_bytes = (uint64_t)g->arena_bytes,
	};
	size_t at = grow(w, sizeof head);

	write_steps(p, g, code, w, &head);
	write_values(p, g, w, &head);
	write_refs(g, w, &head);
	head.bytes = w->n - at;
	if (!w->failed)
		memcpy(w->data + at, &head, sizeof head);
}

static void write_list(const Plan *p, const uint64_t *code, Writer *w)
{
	MlrtProgramList head = {.magic = MLRT_LIST_MAGIC, .nprograms = (uint32_t)p->program.n, .nstrings = p->nstrings,
	                        .scratch_bytes = (uint64_t)p->scratch_bytes};

	grow(w, sizeof head);
	for (size_t i = 0; i < p->weight.n; i++) {
		const Weight *s = &p->weight.items[i];
		MlrtStrings row = {(uint64_t)s->offset, s->data->elem == EL_str ? (uint64_t)mlo_tensor_elems(s->data) : 0};

		if (s->data->elem == EL_str)
			put(w, &row, sizeof row);
	}
	for (size_t i = 0; i < p->program.n; i++) {
		head.arena_bytes += (uint64_t)p->program.items[i]->arena_bytes;
		write_body(p, p->program.items[i], code, w);
	}
	head.bytes = w->n;
	if (!w->failed)
		memcpy(w->data, &head, sizeof head);
}

MloStatus plan_write(const Plan *p, const uint64_t *code, MloBytes *out, MloDiag *d)
{
	Writer w = {0};

	if (p->flat)
		write_flat(p, code, &w);
	else
		write_list(p, code, &w);
	out->data = w.data;
	out->n = w.n;
	return w.failed ? mlo_error(d, MLO_ERR_NOMEM, "out of memory for the program") : MLO_OK;
}
