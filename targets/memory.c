/* targets/memory.c -- images have no C library: fills and copies that LLVM would call it for become loops. */
#include <llvm-c/Core.h>
#include <string.h>

#include "targets/object.h"

/* What the target emits as a few stores, whatever the alignment. */
static uint64_t inline_bytes(const MloTarget *t)
{
	return strcmp(t->arch, "x86_64") == 0 || strcmp(t->arch, "aarch64") == 0 ? 64 : 0;
}

typedef struct Memory {
	const MloTarget *t;
	LLVMModuleRef m;
	LLVMContextRef ctx;
	LLVMValueRef fill, copy; /* made when first wanted */
} Memory;

/* void (p, value or source, bytes): stores one byte after the other. */
static LLVMValueRef loop_function(Memory *x, const char *name, bool fill)
{
	LLVMTypeRef i64 = LLVMInt64TypeInContext(x->ctx), i8 = LLVMInt8TypeInContext(x->ctx);
	LLVMTypeRef ptr = LLVMPointerTypeInContext(x->ctx, 0), params[] = {ptr, fill ? i8 : ptr, i64};
	LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(x->ctx), params, 3, false);
	LLVMValueRef fn = LLVMAddFunction(x->m, name, type), n = LLVMGetParam(fn, 2), v = LLVMGetParam(fn, 1);
	LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(x->ctx, fn, "entry");
	LLVMBasicBlockRef body = LLVMAppendBasicBlockInContext(x->ctx, fn, "body");
	LLVMBasicBlockRef end = LLVMAppendBasicBlockInContext(x->ctx, fn, "end");
	LLVMBuilderRef b = LLVMCreateBuilderInContext(x->ctx);
	LLVMValueRef zero = LLVMConstInt(i64, 0, false), i, next;

	LLVMSetLinkage(fn, LLVMInternalLinkage);
	mlo_object_function(x->t, fn);
	LLVMPositionBuilderAtEnd(b, entry);
	LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntEQ, n, zero, ""), end, body);
	LLVMPositionBuilderAtEnd(b, body);
	i = LLVMBuildPhi(b, i64, "");
	if (!fill)
		v = LLVMBuildLoad2(b, i8, LLVMBuildGEP2(b, i8, v, &i, 1, ""), "");
	LLVMSetAlignment(LLVMBuildStore(b, v, LLVMBuildGEP2(b, i8, LLVMGetParam(fn, 0), &i, 1, "")), 1);
	next = LLVMBuildAdd(b, i, LLVMConstInt(i64, 1, false), "");
	LLVMAddIncoming(i, (LLVMValueRef[]){zero, next}, (LLVMBasicBlockRef[]){entry, body}, 2);
	LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntEQ, next, n, ""), end, body);
	LLVMPositionBuilderAtEnd(b, end);
	LLVMBuildRetVoid(b);
	LLVMDisposeBuilder(b);
	return fn;
}

static void replace(Memory *x, LLVMValueRef call, LLVMValueRef fn)
{
	LLVMBuilderRef b = LLVMCreateBuilderInContext(x->ctx);
	LLVMValueRef args[3];

	LLVMPositionBuilderBefore(b, call);
	for (unsigned i = 0; i < 3; i++)
		args[i] = LLVMGetOperand(call, i);
	args[2] = LLVMBuildZExtOrBitCast(b, args[2], LLVMInt64TypeInContext(x->ctx), "");
	LLVMBuildCall2(b, LLVMGlobalGetValueType(fn), fn, args, 3, "");
	LLVMInstructionEraseFromParent(call);
	LLVMDisposeBuilder(b);
}

static void expand_call(Memory *x, LLVMValueRef call, unsigned fill_id, unsigned copy_id)
{
	unsigned id = LLVMGetIntrinsicID(LLVMGetCalledValue(call));
	LLVMValueRef n;

	if (id == 0 || (id != fill_id && id != copy_id))
		return;
	n = LLVMGetOperand(call, 2);
	if (LLVMIsAConstantInt(n) && LLVMConstIntGetZExtValue(n) <= inline_bytes(x->t))
		return;
	if (id == fill_id && !x->fill)
		x->fill = loop_function(x, "mlo.fill", true);
	if (id == copy_id && !x->copy)
		x->copy = loop_function(x, "mlo.copy", false);
	replace(x, call, id == fill_id ? x->fill : x->copy);
}

void mlo_object_expand_memory(const MloTarget *t, LLVMModuleRef m)
{
	Memory x = {.t = t, .m = m, .ctx = LLVMGetModuleContext(m)};
	unsigned fill = LLVMLookupIntrinsicID("llvm.memset", 11), copy = LLVMLookupIntrinsicID("llvm.memcpy", 11);

	for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f))
		for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b; b = LLVMGetNextBasicBlock(b))
			for (LLVMValueRef i = LLVMGetFirstInstruction(b), next; i; i = next) {
				next = LLVMGetNextInstruction(i);
				if (LLVMIsACallInst(i))
					expand_call(&x, i, fill, copy);
			}
}
