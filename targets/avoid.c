/* targets/avoid.c -- forms of code that LLVM 19 makes wrong instructions of, replaced by equal ones.
 *
 * Helium converts between floats and fixed-point numbers (VCVT with a number of fraction bits), and LLVM uses that for a
 * product of a converted integer with a power of two. It hands the number of bits on as an ordinary constant, which
 * becomes a register wherever another instruction needs the same number in one: the instruction then has the
 * register's number in it. A fused multiply-add of nothing is the same product, to the sign of zero. */
#include <llvm-c/Core.h>
#include <math.h>
#include <string.h>

#include "targets/object.h"

/* Is v a vector of the same power of two? */
static bool is_power(LLVMValueRef v)
{
	LLVMValueRef one = LLVMIsConstant(v) ? LLVMGetAggregateElement(v, 0) : NULL;
	LLVMBool lost;
	int exponent;

	return one && LLVMIsAConstantFP(one) && frexp(LLVMConstRealGetDouble(one, &lost), &exponent) == 0.5;
}

static bool makes_float(LLVMValueRef v)
{
	LLVMOpcode op = LLVMIsAInstruction(v) ? LLVMGetInstructionOpcode(v) : 0;

	return op == LLVMSIToFP || op == LLVMUIToFP;
}

static bool becomes_int(LLVMValueRef v)
{
	for (LLVMUseRef u = LLVMGetFirstUse(v); u; u = LLVMGetNextUse(u)) {
		LLVMOpcode op = LLVMGetInstructionOpcode(LLVMGetUser(u));

		if (op == LLVMFPToSI || op == LLVMFPToUI)
			return true;
	}
	return false;
}

static void as_multiply_add(LLVMValueRef product)
{
	LLVMModuleRef m = LLVMGetGlobalParent(LLVMGetBasicBlockParent(LLVMGetInstructionParent(product)));
	LLVMContextRef ctx = LLVMGetModuleContext(m);
	LLVMBuilderRef b = LLVMCreateBuilderInContext(ctx);
	LLVMTypeRef type = LLVMTypeOf(product);
	unsigned id = LLVMLookupIntrinsicID("llvm.fma", 8), n = LLVMGetVectorSize(type);
	LLVMValueRef zero = LLVMConstReal(LLVMGetElementType(type), -0.0), lane[64], args[3];

	MLO_ASSERT(n <= 64);
	for (unsigned i = 0; i < n; i++)
		lane[i] = zero;
	args[0] = LLVMGetOperand(product, 0);
	args[1] = LLVMGetOperand(product, 1);
	args[2] = LLVMConstVector(lane, n);
	LLVMPositionBuilderBefore(b, product);
	LLVMReplaceAllUsesWith(product, LLVMBuildCall2(b, LLVMIntrinsicGetType(ctx, id, &type, 1),
						       LLVMGetIntrinsicDeclaration(m, id, &type, 1), args, 3, ""));
	LLVMInstructionEraseFromParent(product);
	LLVMDisposeBuilder(b);
}

void mlo_object_avoid(const MloTarget *t, LLVMModuleRef m)
{
	if (strncmp(t->triple, "thumbv8.1m", 10) != 0)
		return;
	for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f))
		for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b; b = LLVMGetNextBasicBlock(b))
			for (LLVMValueRef i = LLVMGetFirstInstruction(b), next; i; i = next) {
				next = LLVMGetNextInstruction(i);
				if (LLVMGetInstructionOpcode(i) == LLVMFMul && is_power(LLVMGetOperand(i, 1)) &&
				    (makes_float(LLVMGetOperand(i, 0)) || becomes_int(i)))
					as_multiply_add(i);
			}
}
