/* tests/unit/pairs.c -- see pairs.h: the instructions as functions of plain multiplications and additions. */
#include "tests/unit/pairs.h"

#include <string.h>

typedef struct Product {
	const char *name;
	bool matrix;    /* of 2 x 2 sums, else of lanes */
	bool a_signed;
	unsigned terms; /* of a sum */
} Product;

/* Element i of v as a number that is multiplied. */
static LLVMValueRef operand(LLVMBuilderRef b, LLVMTypeRef sum, LLVMValueRef v, unsigned i, bool sign)
{
	LLVMContextRef ctx = LLVMGetTypeContext(sum);
	LLVMTypeRef i32 = LLVMInt32TypeInContext(ctx);
	bool whole = LLVMGetTypeKind(sum) == LLVMIntegerTypeKind;
	LLVMValueRef x;

	if (!whole)
		v = LLVMBuildBitCast(b, v, LLVMVectorType(LLVMInt16TypeInContext(ctx), LLVMGetVectorSize(LLVMTypeOf(v))), "");
	x = LLVMBuildExtractElement(b, v, LLVMConstInt(i32, i, 0), "");
	if (whole)
		return sign ? LLVMBuildSExt(b, x, i32, "") : LLVMBuildZExt(b, x, i32, "");
	x = LLVMBuildShl(b, LLVMBuildZExt(b, x, i32, ""), LLVMConstInt(i32, 16, 0), "");
	return LLVMBuildBitCast(b, x, sum, "");
}

static void build(LLVMValueRef fn, const Product *p)
{
	LLVMTypeRef vec = LLVMTypeOf(LLVMGetParam(fn, 0)), sum = LLVMGetElementType(vec);
	LLVMContextRef ctx = LLVMGetTypeContext(vec);
	LLVMBuilderRef b = LLVMCreateBuilderInContext(ctx);
	LLVMValueRef all = LLVMGetParam(fn, 0);

	LLVMPositionBuilderAtEnd(b, LLVMAppendBasicBlockInContext(ctx, fn, "entry"));
	for (unsigned i = 0; i < LLVMGetVectorSize(vec); i++) {
		LLVMValueRef at = LLVMConstInt(LLVMInt32TypeInContext(ctx), i, 0), s = LLVMBuildExtractElement(b, all, at, "");
		unsigned from_a = p->matrix ? i / 2 : i, from_b = p->matrix ? i % 2 : i;

		for (unsigned k = 0; k < p->terms; k++) {
			LLVMValueRef x = operand(b, sum, LLVMGetParam(fn, 1), from_a * p->terms + k, p->a_signed);
			LLVMValueRef y = operand(b, sum, LLVMGetParam(fn, 2), from_b * p->terms + k, true);

			if (LLVMGetTypeKind(sum) == LLVMIntegerTypeKind)
				s = LLVMBuildAdd(b, s, LLVMBuildMul(b, x, y, ""), "");
			else
				s = LLVMBuildFAdd(b, s, LLVMBuildFMul(b, x, y, ""), "");
		}
		all = LLVMBuildInsertElement(b, all, s, at, "");
	}
	LLVMBuildRet(b, all);
	LLVMDisposeBuilder(b);
}

void pairs_emulate(LLVMModuleRef m, const MloDots *d)
{
	const Product known[] = {{d->s8s8, false, true, 4}, {d->mm_u8s8, true, false, 8}, {d->mm_s8s8, true, true, 8},
	                         {d->mm_bf16, true, true, 4}};

	for (LLVMValueRef fn = LLVMGetFirstFunction(m), next; fn; fn = next) {
		const char *name = LLVMGetValueName(fn);

		next = LLVMGetNextFunction(fn);
		for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
			size_t n = known[i].name ? strlen(known[i].name) : 0;
			LLVMValueRef own;

			if (!n || strncmp(name, known[i].name, n) != 0 || (name[n] && name[n] != '.'))
				continue;
			own = LLVMAddFunction(m, "product", LLVMGlobalGetValueType(fn));
			LLVMSetLinkage(own, LLVMInternalLinkage);
			build(own, &known[i]);
			LLVMReplaceAllUsesWith(fn, own);
			LLVMDeleteFunction(fn);
			break;
		}
	}
}
