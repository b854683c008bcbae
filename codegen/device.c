/* codegen/device.c -- entries of a PTX module: which emitter takes a kernel, and the one that takes them all. */
#include "codegen/device.h"

#include <llvm-c/Core.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/emit.h"
#include "runtime/format.h"

/* What a launch takes: parameters of an entry (PTX ISA, "Kernel Function Parameters": 4352 bytes), and global memory for scratch. */
enum { MAX_POINTERS = 4352 / 8 - 2, MAX_SCRATCH = 256 << 20, TASK_THREADS = 128, WARP = 32 };

static LLVMValueRef special_register(LLVMBuilderRef b, LLVMModuleRef m, const char *name)
{
	LLVMContextRef ctx = LLVMGetModuleContext(m);
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
	LLVMValueRef fn = LLVMGetIntrinsicDeclaration(m, id, NULL, 0);

	return LLVMBuildZExt(b, LLVMBuildCall2(b, LLVMIntrinsicGetType(ctx, id, NULL, 0), fn, NULL, 0, ""),
	                     LLVMInt64TypeInContext(ctx), "");
}

void mlo_device_entry(LLVMValueRef fn, uint32_t threads)
{
	enum { PTX_KERNEL = 71 }; /* llvm/IR/CallingConv.h */
	LLVMModuleRef m = LLVMGetGlobalParent(fn);
	LLVMContextRef ctx = LLVMGetModuleContext(m);
	LLVMMetadataRef note[] = {LLVMValueAsMetadata(fn), LLVMMDStringInContext2(ctx, "maxntidx", 8),
	                          LLVMValueAsMetadata(LLVMConstInt(LLVMInt32TypeInContext(ctx), threads, false))};

	LLVMSetFunctionCallConv(fn, PTX_KERNEL);
	LLVMAddNamedMetadataOperand(m, "nvvm.annotations", LLVMMetadataAsValue(ctx, LLVMMDNodeInContext2(ctx, note, 3)));
}

/* -- a thread runs a task -------------------------------------------------------------------------- */

typedef struct Entry {
	LLVMModuleRef m;
	LLVMContextRef ctx;
	LLVMBuilderRef b;
	LLVMTypeRef i64;
	const MloKernel *k;
	MloArena *arena;         /* of this entry: kernels that are compiled at a time share theirs */
	LLVMValueRef fn, body;   /* the entry; what runs tasks */
	uint64_t scratch;        /* bytes of a thread */
} Entry;

static LLVMValueRef whole(const Entry *e, uint64_t v)
{
	return LLVMConstInt(e->i64, v, false);
}

/* body(arguments but scratch memory, task, task + 1, scratch memory of this thread) */
static void call_body(Entry *e, LLVMValueRef task, LLVMValueRef thread)
{
	LLVMValueRef *arg = MLO_NEWN(e->arena, LLVMValueRef, e->k->arg.n + 3), at;
	const unsigned last = (unsigned)e->k->arg.n + 1;
	unsigned n = 0;

	for (size_t i = 0; i < e->k->arg.n; i++)
		if (e->k->arg.items[i].dir != KA_SCRATCH)
			arg[n++] = LLVMGetParam(e->fn, (unsigned)i);
	arg[n++] = task;
	arg[n++] = LLVMBuildAdd(e->b, task, whole(e, 1), "");
	at = LLVMBuildMul(e->b, thread, whole(e, e->scratch), "");
	arg[n++] = LLVMBuildInBoundsGEP2(e->b, LLVMInt8TypeInContext(e->ctx), LLVMGetParam(e->fn, last), &at, 1, "scratch");
	LLVMBuildCall2(e->b, LLVMGlobalGetValueType(e->body), e->body, arg, n, "");
}

static bool shares(const MloKernel *k, const MloTarget *t)
{
	return k->body && k->body->kind == KS_CALL && emit_call_shares(t, k->body->call);
}

/* for (task = thread; task < tasks; task += threads of the grid) */
static void task_loop(Entry *e)
{
	LLVMBasicBlockRef head = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "head");
	LLVMBasicBlockRef run = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "run");
	LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "done");
	LLVMBasicBlockRef entry = LLVMGetInsertBlock(e->b);
	LLVMValueRef block = special_register(e->b, e->m, "llvm.nvvm.read.ptx.sreg.ntid.x");
	LLVMValueRef thread = LLVMBuildAdd(e->b, LLVMBuildMul(e->b, special_register(e->b, e->m, "llvm.nvvm.read.ptx.sreg.ctaid.x"), block, ""),
	                                   special_register(e->b, e->m, "llvm.nvvm.read.ptx.sreg.tid.x"), "thread");
	LLVMValueRef step = LLVMBuildMul(e->b, special_register(e->b, e->m, "llvm.nvvm.read.ptx.sreg.nctaid.x"), block, "step");
	LLVMValueRef task, next;

	LLVMBuildBr(e->b, head);
	LLVMPositionBuilderAtEnd(e->b, head);
	task = LLVMBuildPhi(e->b, e->i64, "task");
	LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, task, LLVMGetParam(e->fn, (unsigned)e->k->arg.n), ""), run, done);
	LLVMPositionBuilderAtEnd(e->b, run);
	call_body(e, task, thread);
	next = LLVMBuildAdd(e->b, task, step, "");
	LLVMBuildBr(e->b, head);
	LLVMAddIncoming(task, (LLVMValueRef[]){thread, next}, (LLVMBasicBlockRef[]){entry, run}, 2);
	LLVMPositionBuilderAtEnd(e->b, done);
	LLVMBuildRetVoid(e->b);
}

static void build_entry(Entry *e, const char *symbol, const MloTarget *t, uint32_t threads)
{
	const unsigned n = (unsigned)e->k->arg.n;
	LLVMTypeRef *param = MLO_NEWN(e->arena, LLVMTypeRef, n + 2), ptr = LLVMPointerTypeInContext(e->ctx, 0);

	for (unsigned i = 0; i < n + 2; i++)
		param[i] = i == n ? e->i64 : ptr;
	e->fn = LLVMAddFunction(e->m, symbol, LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), param, n + 2, false));
	mlo_object_function(t, e->fn);
	mlo_device_entry(e->fn, threads);
	LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->ctx, e->fn, "entry"));
	if (!shares(e->k, t)) {
		task_loop(e);
		return;
	}
	call_body(e, whole(e, 0), whole(e, 0));
	LLVMBuildRetVoid(e->b);
}

/* As many threads as there are tasks, unless their scratch memory would be too much. */
static MloLaunch task_launch(const MloKernel *k, uint64_t scratch)
{
	const bool open = k->ntasks < 0;
	const uint32_t threads = !open && k->ntasks < TASK_THREADS ? ((uint32_t)k->ntasks + WARP - 1) / WARP * WARP : TASK_THREADS;
	const uint64_t tasks = open ? UINT32_MAX : (uint64_t)k->ntasks, wanted = (tasks + threads - 1) / threads;
	uint64_t most = scratch ? MAX_SCRATCH / (scratch * threads) : wanted;
	MloLaunch l = {.threads = threads, .scratch_bytes = scratch * threads};

	if (open && !scratch)
		l.tasks_per_block = threads;
	most = most ? most : 1;
	l.blocks = (uint32_t)(open && !scratch ? 1 : wanted < most ? wanted : most);
	return l;
}

/* A thread for each element of the results, but not more than run at a time. */
static MloLaunch share_launch(const MloKernel *k, const MloGpu *gpu)
{
	const int64_t most = (int64_t)gpu->sms * gpu->sm_threads / TASK_THREADS;
	int64_t elements = 0;

	for (size_t i = 0; i < k->arg.n; i++)
		if (k->arg.items[i].dir == KA_OUT)
			elements += k->arg.items[i].count < 0 ? most * TASK_THREADS : k->arg.items[i].count;
	elements = (elements + TASK_THREADS - 1) / TASK_THREADS;
	return (MloLaunch){.threads = TASK_THREADS, .blocks = (uint32_t)(elements > most ? most : elements > 1 ? elements : 1)};
}

static MloStatus emit_tasks(Entry *e, const MloTarget *t, const char *symbol, MloLaunch *launch, MloDiag *d)
{
	const MloKernel *k = e->k;
	const char *name = mlo_sprintf(e->arena, "%s.tasks", symbol);
	const LLVMAttributeIndex at = (LLVMAttributeIndex)LLVMAttributeFunctionIndex;

	if (k->arg.n > MAX_POINTERS)
		return mlo_error(d, MLO_ERR_UNSUPPORTED, "%zu arguments, kernels of GPUs take %d at most", k->arg.n, MAX_POINTERS);
	MLO_TRY(mlo_emit_direct(e->m, t, k, name, d));
	e->i64 = LLVMInt64TypeInContext(e->ctx);
	e->body = LLVMGetNamedFunction(e->m, name);
	LLVMSetLinkage(e->body, LLVMInternalLinkage);
	LLVMAddAttributeAtIndex(e->body, at, LLVMCreateEnumAttribute(e->ctx, LLVMGetEnumAttributeKindForName("alwaysinline", 12), 0));
	*launch = shares(k, t) ? share_launch(k, t->gpu) : task_launch(k, e->scratch);
	e->b = LLVMCreateBuilderInContext(e->ctx);
	build_entry(e, symbol, t, launch->threads);
	LLVMDisposeBuilder(e->b);
	return MLO_OK;
}

MloStatus mlo_device_emit_tasks(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch,
                                MloDiag *d)
{
	Entry e = {.m = module, .ctx = LLVMGetModuleContext(module), .k = k, .arena = mlo_arena_new(), .scratch = mlo_kernel_scratch(k)};
	MloStatus st = emit_tasks(&e, t, symbol, launch, d);

	mlo_arena_free(e.arena);
	return st;
}

MloStatus mlo_device_emit(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch,
                          MloDiag *d)
{
	if (mlo_device_emit_contract(module, k, t, symbol, launch) || mlo_device_emit_attention(module, k, t, symbol, launch) ||
	    mlo_device_emit_loops(module, k, t, symbol, launch))
		return MLO_OK;
	return mlo_device_emit_tasks(module, k, t, symbol, launch, d);
}

/* -- how they are started, as bytes ---------------------------------------------------------------- */

MloStatus mlo_device_records(const MloLaunch *launch, const char *const *symbol, size_t n, MloBytes *out, MloDiag *d)
{
	MlrtLaunches head = {.magic = MLRT_LAUNCHES_MAGIC, .nlaunches = (uint32_t)n};
	size_t names = 0, at = 0;
	MlrtLaunch *record;
	char *text;

	for (size_t i = 0; i < n; i++)
		names += strlen(symbol[i]) + 1;
	out->n = head.bytes = sizeof head + n * sizeof *record + names;
	out->data = calloc(1, out->n);
	if (!out->data)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory for the launches of kernels");
	memcpy(out->data, &head, sizeof head);
	record = (MlrtLaunch *)(void *)(out->data + sizeof head);
	text = (char *)(record + n);
	for (size_t i = 0; i < n; at += strlen(symbol[i++]) + 1) {
		record[i] = (MlrtLaunch){.name = (uint32_t)at, .threads = launch[i].threads, .blocks = launch[i].blocks,
		                         .tasks_per_block = launch[i].tasks_per_block, .shared_bytes = launch[i].shared_bytes,
		                         .counters = launch[i].counters, .scratch_bytes = launch[i].scratch_bytes};
		strcpy(text + at, symbol[i]);
	}
	return MLO_OK;
}
