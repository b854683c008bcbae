/* targets/object.c -- LLVM modules to object code. */
#include "targets/object.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "targets/stack.h"

static pthread_once_t init_once = PTHREAD_ONCE_INIT;

static void init_llvm(void)
{
	LLVMInitializeX86TargetInfo();
	LLVMInitializeX86Target();
	LLVMInitializeX86TargetMC();
	LLVMInitializeX86AsmPrinter();
	LLVMInitializeAArch64TargetInfo();
	LLVMInitializeAArch64Target();
	LLVMInitializeAArch64TargetMC();
	LLVMInitializeAArch64AsmPrinter();
	LLVMInitializeRISCVTargetInfo();
	LLVMInitializeRISCVTarget();
	LLVMInitializeRISCVTargetMC();
	LLVMInitializeRISCVAsmPrinter();
	LLVMInitializeARMTargetInfo();
	LLVMInitializeARMTarget();
	LLVMInitializeARMTargetMC();
	LLVMInitializeARMAsmPrinter();
	LLVMInitializeNVPTXTargetInfo();
	LLVMInitializeNVPTXTarget();
	LLVMInitializeNVPTXTargetMC();
	LLVMInitializeNVPTXAsmPrinter();
}

static LLVMTargetMachineRef machine_new(const MloTarget *t, MloDiag *d)
{
	LLVMTargetRef target;
	char *text = NULL;
	LLVMTargetMachineRef tm;

	pthread_once(&init_once, init_llvm);
	if (LLVMGetTargetFromTriple(t->triple, &target, &text)) {
		mlo_error(d, MLO_ERR_TARGET, "target '%s': %s", t->name, text);
		LLVMDisposeMessage(text);
		return NULL;
	}
	tm = LLVMCreateTargetMachine(target, t->triple, t->cpu, t->features, LLVMCodeGenLevelAggressive,
	                             mlo_target_bare(t) ? LLVMRelocStatic : LLVMRelocPIC, LLVMCodeModelSmall);
	if (!tm)
		mlo_error(d, MLO_ERR_TARGET, "target '%s': LLVM has no machine for %s", t->name, t->triple);
	return tm;
}

MloStatus mlo_object_prepare(const MloTarget *t, LLVMModuleRef m, MloDiag *d)
{
	LLVMTargetMachineRef tm = machine_new(t, d);
	LLVMTargetDataRef layout;

	if (!tm)
		return MLO_ERR_TARGET;
	layout = LLVMCreateTargetDataLayout(tm);
	LLVMSetTarget(m, t->triple);
	LLVMSetModuleDataLayout(m, layout);
	LLVMDisposeTargetData(layout);
	LLVMDisposeTargetMachine(tm);
	return MLO_OK;
}

static void attribute(LLVMValueRef fn, const char *key, const char *value)
{
	LLVMContextRef ctx = LLVMGetModuleContext(LLVMGetGlobalParent(fn));

	LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
	                        LLVMCreateStringAttribute(ctx, key, (unsigned)strlen(key), value,
	                                                  (unsigned)strlen(value)));
}

/* LLVM makes SVE instructions of vectors of a known length where it knows how long registers are, in pieces of 16 bytes. */
static void register_length(const MloTarget *t, LLVMValueRef fn)
{
	static const char name[] = "vscale_range";
	unsigned kind = LLVMGetEnumAttributeKindForName(name, sizeof name - 1);
	uint64_t n = (uint64_t)t->register_bytes / MLO_NEON_BYTES;
	LLVMContextRef ctx = LLVMGetModuleContext(LLVMGetGlobalParent(fn));

	if (mlo_target_sve(t)) /* the least and the most */
		LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(ctx, kind, n << 32 | n));
}

void mlo_object_function(const MloTarget *t, LLVMValueRef fn)
{
	char width[16];

	snprintf(width, sizeof width, "%d", t->vector_bytes * 8);
	attribute(fn, "target-cpu", t->cpu);
	if (t->tune)
		attribute(fn, "tune-cpu", t->tune);
	register_length(t, fn);
	attribute(fn, "target-features", t->features);
	attribute(fn, "prefer-vector-width", width);
	attribute(fn, "min-legal-vector-width", width);
	attribute(fn, "no-builtins", "");
	attribute(fn, "frame-pointer", "none");
	if (mlo_target_bare(t)) /* code that lies in a few hundred kilobytes of flash */
		LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
		                        LLVMCreateEnumAttribute(LLVMGetModuleContext(LLVMGetGlobalParent(fn)),
		                                                LLVMGetEnumAttributeKindForName("optsize", 7), 0));
}

static MloStatus take_buffer(LLVMTargetMachineRef tm, LLVMModuleRef m, LLVMCodeGenFileType type, MloBytes *out,
                             MloDiag *d)
{
	LLVMMemoryBufferRef buf = NULL;
	char *text = NULL;

	if (LLVMTargetMachineEmitToMemoryBuffer(tm, m, type, &text, &buf)) {
		mlo_error(d, MLO_ERR_TARGET, "code emission failed: %s", text ? text : "unknown reason");
		LLVMDisposeMessage(text);
		return MLO_ERR_TARGET;
	}
	out->n = LLVMGetBufferSize(buf);
	out->data = malloc(out->n + 1);
	if (out->data) {
		memcpy(out->data, LLVMGetBufferStart(buf), out->n);
		out->data[out->n] = 0;
	}
	LLVMDisposeMemoryBuffer(buf);
	return out->data ? MLO_OK : mlo_error(d, MLO_ERR_NOMEM, "out of memory for object code");
}

/* Generated code is vector code already: LLVM's vectorisers and unroller only cost time there. */
static MloStatus optimise(LLVMTargetMachineRef tm, LLVMModuleRef m, MloDiag *d)
{
	LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
	LLVMErrorRef err;
	MloStatus st = MLO_OK;

	LLVMPassBuilderOptionsSetLoopVectorization(o, 0);
	LLVMPassBuilderOptionsSetSLPVectorization(o, 0);
	LLVMPassBuilderOptionsSetLoopUnrolling(o, 0);
	LLVMPassBuilderOptionsSetLoopInterleaving(o, 0);
	err = LLVMRunPasses(m, "default<O2>", tm, o);
	if (err) {
		char *text = LLVMGetErrorMessage(err);

		st = mlo_error(d, MLO_ERR_INTERNAL, "optimisation failed: %s", text);
		LLVMDisposeErrorMessage(text);
	}
	LLVMDisposePassBuilderOptions(o);
	return st;
}

static MloStatus emit(const MloTarget *t, LLVMModuleRef m, MloBytes *object, MloBytes *asm_text, MloStack *stack, MloDiag *d)
{
	LLVMTargetMachineRef tm;
	char *text = NULL;
	MloStatus st;

	*object = (MloBytes){0};
	if (asm_text)
		*asm_text = (MloBytes){0};
	if (LLVMVerifyModule(m, LLVMReturnStatusAction, &text)) {
		st = mlo_error(d, MLO_ERR_INTERNAL, "generated code is malformed: %s", text);
		LLVMDisposeMessage(text);
		return st;
	}
	LLVMDisposeMessage(text);
	tm = machine_new(t, d);
	if (!tm)
		return MLO_ERR_TARGET;
	st = optimise(tm, m, d);
	if (st == MLO_OK && !t->gpu) { /* PTX has no library, and LLVM knows that */
		mlo_object_expand_memory(t, m);
		mlo_object_avoid(t, m);
	}
	if (st == MLO_OK && asm_text) {
		/* Emission changes the module, so the text comes from a copy. */
		LLVMModuleRef copy = LLVMCloneModule(m);

		st = take_buffer(tm, copy, LLVMAssemblyFile, asm_text, d);
		LLVMDisposeModule(copy);
	}
	if (st == MLO_OK && stack)
		mlo_stack_watch(m, stack);
	if (st == MLO_OK)
		st = take_buffer(tm, m, t->gpu ? LLVMAssemblyFile : LLVMObjectFile, object, d);
	LLVMDisposeTargetMachine(tm);
	return st;
}

void mlo_target_llvm(unsigned version[3])
{
	LLVMGetVersion(&version[0], &version[1], &version[2]);
}

MloStatus mlo_object_emit(const MloTarget *t, LLVMModuleRef m, MloBytes *object, MloBytes *asm_text, MloDiag *d)
{
	return emit(t, m, object, asm_text, NULL, d);
}

MloStatus mlo_object_emit_whole(const MloTarget *t, LLVMModuleRef m, const char *entry, MloBytes *object, MloBytes *asm_text,
				MloObjectFacts *facts, MloDiag *d)
{
	MloStack stack = {0};
	MloStatus st = emit(t, m, object, asm_text, &stack, d);

	*facts = (MloObjectFacts){0};
	if (st == MLO_OK && stack.failed)
		st = mlo_error(d, MLO_ERR_NOMEM, "out of memory for the frames of functions");
	if (st == MLO_OK)
		st = mlo_object_facts(object, facts, d);
	if (st == MLO_OK)
		facts->stack = mlo_stack_depth(t, m, entry, &stack);
	mlo_stack_free(&stack);
	if (st != MLO_OK) {
		free(object->data);
		*object = (MloBytes){0};
	}
	return st;
}
