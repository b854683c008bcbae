/* codegen/device_frame.c -- the function around device code: parameters, teams of threads, memory. */
#include <stdio.h>
#include <string.h>

#include <llvm-c/DebugInfo.h>

#include "codegen/device_internal.h"
#include "targets/object.h"

enum { GLOBAL_SPACE = 1, SHARED_SPACE = 3, PTX_KERNEL = 71 }; /* LLVM, "User Guide for NVPTX Back-end" */
enum { SCRATCH_SHARED = 32 << 10, SCRATCH_ALIGN = 64 };

/* -- indices of 32 bits ------------------------------------------------------------------------------ */

static bool idx_fits(const MloKernel *k, const KIdx *x)
{
	int64_t lo, hi;

	if (!x)
		return true;
	if (x->op == KI_VALUE || x->op == KI_SIZE)
		return false;
	kx_range(k, x, &lo, &hi);
	return lo > INT32_MIN / 2 && hi < INT32_MAX / 2 && idx_fits(k, x->a) && idx_fits(k, x->b);
}

static bool guard_fits(const MloKernel *k, const KGuard *g)
{
	for (; g; g = g->next)
		if (!idx_fits(k, g->e) || g->extent > INT32_MAX)
			return false;
	return true;
}

static bool stmts_fit(const MloKernel *k, const KStmt *s)
{
	for (; s; s = s->next) {
		const KAttention *t = s->attention;

		if (t && (!idx_fits(k, t->q_at) || !idx_fits(k, t->k_at) || !idx_fits(k, t->v_at) || !idx_fits(k, t->first)))
			return false;
		if (!idx_fits(k, s->extent) || !idx_fits(k, s->idx) || !guard_fits(k, s->guard) || !stmts_fit(k, s->body))
			return false;
		if (s->contract && (!idx_fits(k, s->contract->a_at) || !idx_fits(k, s->contract->b_at) ||
		                    !idx_fits(k, s->contract->y_lo) || !idx_fits(k, s->contract->y_hi)))
			return false;
	}
	return true;
}

bool device_index_fits(const MloKernel *k)
{
	if (k->size.n || k->ntasks < 0 || k->ntasks > INT32_MAX / 2)
		return false;
	for (size_t i = 0; i < k->arg.n; i++)
		if (k->arg.items[i].count < 0 || k->arg.items[i].count > INT32_MAX / 2)
			return false;
	for (size_t i = 0; i < k->value.n; i++)
		if (!idx_fits(k, k->value.items[i].idx) || !guard_fits(k, k->value.items[i].guard))
			return false;
	return stmts_fit(k, k->body);
}

/* -- the function ------------------------------------------------------------------------------------ */

static void new_function(DeviceFrame *f, const char *symbol)
{
	Emit *e = &f->e;
	LLVMTypeRef ptr = LLVMPointerTypeInContext(e->ctx, 0), i64 = LLVMInt64TypeInContext(e->ctx);
	unsigned n = (unsigned)e->k->arg.n, nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
	LLVMTypeRef *params = MLO_NEWN(e->arena, LLVMTypeRef, n + 2);

	for (unsigned i = 0; i < n + 2; i++)
		params[i] = i == n ? i64 : ptr;
	e->fn = LLVMAddFunction(e->mod, symbol, LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), params, n + 2, false));
	LLVMSetFunctionCallConv(e->fn, PTX_KERNEL);
	LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(e->ctx, nounwind, 0));
	mlo_object_function(e->t, e->fn);
	for (unsigned i = 0; i < n; i++)
		e->arg[i] = LLVMGetParam(e->fn, i);
	e->scratch = LLVMGetParam(e->fn, n + 1);
}

void device_begin(DeviceFrame *f, LLVMModuleRef m, const MloKernel *k, const MloTarget *t, const char *symbol)
{
	Emit *e = &f->e;

	*f = (DeviceFrame){.e = {.ctx = LLVMGetModuleContext(m), .mod = m, .t = t, .k = k, .vec_var = -1, .arena = mlo_arena_new()}};
	MLO_ASSERT(e->arena);
	e->index = device_index_fits(k) ? LLVMInt32TypeInContext(e->ctx) : LLVMInt64TypeInContext(e->ctx);
	emit_tables(e);
	new_function(f, symbol);
	f->entry = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "entry");
	f->body = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "start");
	LLVMPositionBuilderAtEnd(e->b, f->body);
	emit_bind_sizes(e);
	f->tasks = k->ntasks < 0 ? LLVMGetParam(e->fn, (unsigned)k->arg.n) : emit_index(e, k->ntasks);
}

static void note(Emit *e, const char *what, unsigned n)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMMetadataRef part[3] = {LLVMValueAsMetadata(e->fn), LLVMMDStringInContext2(e->ctx, what, strlen(what)),
	                           LLVMValueAsMetadata(LLVMConstInt(i32, n, false))};

	LLVMAddNamedMetadataOperand(e->mod, "nvvm.annotations", LLVMMetadataAsValue(e->ctx, LLVMMDNodeInContext2(e->ctx, part, 3)));
}

/* The most threads that a block is started with, and how many blocks are wanted at a time: registers are given out accordingly (PTX
 * ISA, .maxntid, .minnctapersm).  A thread has as many as it can have: sums of a tile stay in them. */
static void note_threads(Emit *e, unsigned threads)
{
	enum { REGISTERS = 255 };
	unsigned blocks = (unsigned)e->t->gpu->sm_registers / (REGISTERS * threads);

	note(e, "maxntidx", threads);
	note(e, "minctasm", blocks ? blocks : 1);
}

void device_end(DeviceFrame *f, const MloLaunch *launch)
{
	Emit *e = &f->e;

	LLVMBuildRetVoid(e->b);
	LLVMPositionBuilderAtEnd(e->b, f->entry);
	LLVMBuildBr(e->b, f->body);
	note_threads(e, launch->threads);
	mlo_arena_free(e->arena);
}

/* -- threads ----------------------------------------------------------------------------------------- */

LLVMValueRef device_special(Emit *e, const char *name)
{
	char text[64];

	snprintf(text, sizeof text, "llvm.nvvm.read.ptx.sreg.%s", name);
	return LLVMBuildIntCast2(e->b, emit_intrinsic(e, text, NULL, 0, NULL, 0), e->index, false, "");
}

static void note_shared(DeviceFrame *f, const KStmt *s, bool *read, bool *written)
{
	for (; s; s = s->next) {
		if (s->kind == KS_STORE)
			written[s->arg] = true;
		if (s->kind == KS_LET && f->e.k->value.items[s->value].op == K_load)
			read[f->e.k->value.items[s->value].arg] = true;
		if (s->kind == KS_CONTRACT)
			read[s->contract->a_arg] = read[s->contract->b_arg] = true;
		note_shared(f, s->body, read, written);
	}
}

static void find_shared(DeviceFrame *f)
{
	size_t n = f->e.k->arg.n;
	bool *read = MLO_NEWN(f->e.arena, bool, n + 1), *written = MLO_NEWN(f->e.arena, bool, n + 1);

	note_shared(f, f->e.k->body, read, written);
	for (size_t i = 0; i < n; i++)
		read[i] = read[i] && written[i];
	f->team.shared = read;
}

void device_team(DeviceFrame *f, int size, int threads)
{
	Emit *e = &f->e;
	Team *t = &f->team;
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMValueRef first, mask = emit_const_i(i32, size < DEVICE_WARP ? ((int64_t)1 << size) - 1 : -1);

	*t = (Team){.size = size, .threads = threads, .thread = device_special(e, "tid.x"), .members = mask};
	t->lane = LLVMBuildAnd(e->b, t->thread, emit_index(e, size - 1), "lane");
	t->number = LLVMBuildUDiv(e->b, t->thread, emit_index(e, size), "team");
	if (size < DEVICE_WARP) {
		first = LLVMBuildAnd(e->b, t->thread, emit_index(e, DEVICE_WARP - size), "");
		t->members = LLVMBuildShl(e->b, mask, LLVMBuildIntCast2(e->b, first, i32, false, ""), "members");
	}
	find_shared(f);
	e->team = t;
}

/* -- memory ------------------------------------------------------------------------------------------ */

LLVMValueRef device_dynamic_shared(Emit *e)
{
	LLVMTypeRef t = LLVMArrayType2(LLVMInt8TypeInContext(e->ctx), 0);
	MloStr s = {.arena = e->arena};
	const char *name;
	LLVMValueRef g;

	mlo_str_add(&s, "%s_shared", LLVMGetValueName(e->fn));
	name = mlo_str_text(&s);
	g = LLVMGetNamedGlobal(e->mod, name);
	if (g)
		return g;
	g = LLVMAddGlobalInAddressSpace(e->mod, t, name, SHARED_SPACE);
	LLVMSetAlignment(g, 16);
	return g;
}

/* (LLVM Language Reference, llvm.loop.) */
static void end_told(Emit *e, EmitLoop *l, LLVMMetadataRef how)
{
	LLVMMetadataRef part[2], loop;
	LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);

	part[0] = LLVMTemporaryMDNode(e->ctx, NULL, 0); /* becomes the node itself */
	part[1] = how;
	loop = LLVMMDNodeInContext2(e->ctx, part, 2);
	LLVMMetadataReplaceAllUsesWith(part[0], loop);
	emit_end(e, l);
	LLVMSetMetadata(LLVMGetBasicBlockTerminator(latch), LLVMGetMDKindIDInContext(e->ctx, "llvm.loop", 9),
	                LLVMMetadataAsValue(e->ctx, loop));
}

void device_end_long(Emit *e, EmitLoop *l)
{
	static const char disable[] = "llvm.loop.unroll.disable";
	LLVMMetadataRef word = LLVMMDStringInContext2(e->ctx, disable, sizeof disable - 1);

	end_told(e, l, LLVMMDNodeInContext2(e->ctx, &word, 1));
}

void device_end_unrolled(Emit *e, EmitLoop *l, unsigned times)
{
	static const char count[] = "llvm.loop.unroll.count";
	LLVMMetadataRef how[2] = {LLVMMDStringInContext2(e->ctx, count, sizeof count - 1)};

	how[1] = LLVMValueAsMetadata(LLVMConstInt(LLVMInt32TypeInContext(e->ctx), times, false));
	end_told(e, l, LLVMMDNodeInContext2(e->ctx, how, 2));
}

LLVMValueRef device_static_shared(Emit *e, LLVMTypeRef t, const char *name)
{
	MloStr s = {.arena = e->arena};
	LLVMValueRef g;

	mlo_str_add(&s, "%s_%s", LLVMGetValueName(e->fn), name);
	g = LLVMAddGlobalInAddressSpace(e->mod, t, mlo_str_text(&s), SHARED_SPACE);
	LLVMSetInitializer(g, LLVMGetUndef(t));
	LLVMSetLinkage(g, LLVMInternalLinkage);
	LLVMSetAlignment(g, 16);
	return g;
}

static uint64_t scratch_bytes(const KArg *a)
{
	return ((uint64_t)a->count * mlo_elem_bits(a->elem) / 8 + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
}

void device_scratch(DeviceFrame *f, int teams, MloLaunch *launch)
{
	Emit *e = &f->e;
	LLVMTypeRef i8 = LLVMInt8TypeInContext(e->ctx), i64 = LLVMInt64TypeInContext(e->ctx), ptr = LLVMPointerTypeInContext(e->ctx, 0);
	uint64_t each = mlo_kernel_scratch(e->k), at = 0;
	bool shared = each * (uint64_t)teams + launch->shared_bytes <= SCRATCH_SHARED;
	LLVMValueRef base, n, number;

	if (each == 0)
		return;
	number = LLVMBuildIntCast2(e->b, f->team.number, i64, false, "");
	n = LLVMBuildMul(e->b, number, LLVMConstInt(i64, each, false), "");
	if (shared) {
		base = LLVMBuildAddrSpaceCast(e->b, device_dynamic_shared(e), ptr, "");
		n = LLVMBuildAdd(e->b, n, LLVMConstInt(i64, launch->shared_bytes, false), "");
		launch->shared_bytes += (uint32_t)(each * (uint64_t)teams);
	} else {
		LLVMValueRef block = LLVMBuildIntCast2(e->b, device_special(e, "ctaid.x"), i64, false, "");

		launch->scratch_bytes = each * (uint64_t)teams;
		block = LLVMBuildMul(e->b, block, LLVMConstInt(i64, launch->scratch_bytes, false), "");
		base = e->scratch;
		n = LLVMBuildAdd(e->b, n, block, "");
	}
	for (size_t i = 0; i < e->k->arg.n; i++) {
		LLVMValueRef off = LLVMBuildAdd(e->b, n, LLVMConstInt(i64, at, false), "");

		if (e->k->arg.items[i].dir != KA_SCRATCH)
			continue;
		e->arg[i] = LLVMBuildInBoundsGEP2(e->b, i8, base, &off, 1, "scratch");
		at += scratch_bytes(&e->k->arg.items[i]);
	}
}
