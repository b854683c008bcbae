/* targets/peak.c -- code that does nothing but multiply-adds, to measure what a machine can do. */
#include "targets/peak.h"

#include <llvm-c/Core.h>
#include <stdlib.h>

/* Enough independent chains to cover latency times units of every CPU known (4 x 4), and few enough
 * to stay in registers together with the two operands. */
enum { MAX_CHAINS = 24 };

static LLVMValueRef splat(LLVMBuilderRef b, LLVMTypeRef type, LLVMValueRef scalar)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(LLVMGetTypeContext(type));
	LLVMValueRef v = LLVMBuildInsertElement(b, LLVMGetPoison(type), scalar, LLVMConstInt(i32, 0, 0), "");

	return LLVMBuildShuffleVector(b, v, LLVMGetPoison(type),
				      LLVMConstNull(LLVMVectorType(i32, LLVMGetVectorSize(type))), "");
}

/* void burn(i64 n, float *sink): x[c] = x[c] * sink[0] + sink[1] in `chains` vectors, n times. */
static void build(LLVMModuleRef m, const MloTarget *t, int chains)
{
	LLVMContextRef ctx = LLVMGetModuleContext(m);
	LLVMBuilderRef b = LLVMCreateBuilderInContext(ctx);
	LLVMTypeRef i64 = LLVMInt64TypeInContext(ctx), f32 = LLVMFloatTypeInContext(ctx);
	LLVMTypeRef vec = LLVMVectorType(f32, (unsigned)t->vector_bytes / 4),
		    args[2] = {i64, LLVMPointerTypeInContext(ctx, 0)};
	LLVMValueRef fn =
		LLVMAddFunction(m, "mlopt_burn", LLVMFunctionType(LLVMVoidTypeInContext(ctx), args, 2, 0));
	LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(ctx, fn, "entry");
	LLVMBasicBlockRef loop = LLVMAppendBasicBlockInContext(ctx, fn, "loop");
	LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(ctx, fn, "done");
	LLVMValueRef sink = LLVMGetParam(fn, 1), one = LLVMConstInt(i64, 1, 0), scale, shift, i, next, sum,
		     x[MAX_CHAINS];
	unsigned id = LLVMLookupIntrinsicID("llvm.fmuladd", 12);
	LLVMValueRef fma = LLVMGetIntrinsicDeclaration(m, id, &vec, 1);
	LLVMTypeRef fma_type = LLVMIntrinsicGetType(ctx, id, &vec, 1);

	mlo_object_function(t, fn);
	LLVMPositionBuilderAtEnd(b, entry);
	scale = splat(b, vec, LLVMBuildLoad2(b, f32, sink, "scale"));
	shift = splat(b, vec, LLVMBuildLoad2(b, f32, LLVMBuildGEP2(b, f32, sink, &one, 1, ""), "shift"));
	LLVMBuildBr(b, loop);
	LLVMPositionBuilderAtEnd(b, loop);
	i = LLVMBuildPhi(b, i64, "i");
	for (int c = 0; c < chains; c++)
		x[c] = LLVMBuildPhi(b, vec, "x");
	next = LLVMBuildAdd(b, i, one, "next");
	LLVMAddIncoming(i, (LLVMValueRef[]){LLVMConstInt(i64, 0, 0), next},
			(LLVMBasicBlockRef[]){entry, loop}, 2);
	for (int c = 0; c < chains; c++) {
		/* Different starts, or the chains would be one. */
		LLVMValueRef lane = LLVMConstReal(f32, c), lanes[64], y;

		for (int k = 0; k < t->vector_bytes / 4; k++)
			lanes[k] = lane;
		y = LLVMBuildCall2(b, fma_type, fma, (LLVMValueRef[]){x[c], scale, shift}, 3, "");
		LLVMAddIncoming(x[c],
				(LLVMValueRef[]){LLVMConstVector(lanes, (unsigned)t->vector_bytes / 4), y},
				(LLVMBasicBlockRef[]){entry, loop}, 2);
		x[c] = y;
	}
	LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, LLVMGetParam(fn, 0), ""), loop, done);
	LLVMPositionBuilderAtEnd(b, done);
	sum = x[0];
	for (int c = 1; c < chains; c++)
		sum = LLVMBuildFAdd(b, sum, x[c], "");
	LLVMSetAlignment(LLVMBuildStore(b, sum, sink), 4);
	LLVMBuildRetVoid(b);
	LLVMDisposeBuilder(b);
}

MloStatus mlo_peak_code(const MloTarget *t, MloPeakCode *out, MloDiag *d)
{
	int chains = t->vector_regs >= 32 ? MAX_CHAINS : 12;
	LLVMContextRef ctx = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("peak", ctx);
	const char *symbol = "mlopt_burn";
	MloBytes object = {0};
	MloStatus st;

	*out = (MloPeakCode){.flops_per_round = 2.0 * chains * t->vector_bytes / 4};
	st = mlo_object_prepare(t, m, d);
	if (st == MLO_OK) {
		build(m, t, chains);
		st = mlo_object_emit(t, m, &object, NULL, d);
	}
	LLVMDisposeModule(m);
	LLVMContextDispose(ctx);
	if (st == MLO_OK)
		st = mlo_image_link(t, &object, 1, &symbol, 1, &out->image, &out->entry, d);
	free(object.data);
	return st;
}
