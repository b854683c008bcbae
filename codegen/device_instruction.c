/* codegen/device_instruction.c -- single instructions of PTX, and values that LLVM must not look through. */
#include <stdio.h>
#include <string.h>

#include "codegen/device_internal.h"

LLVMValueRef device_opaque(Emit *e, LLVMValueRef v)
{
	LLVMTypeRef t = LLVMTypeOf(v), call = LLVMFunctionType(t, &t, 1, false);
	bool wide = LLVMGetTypeKind(t) == LLVMPointerTypeKind || LLVMGetIntTypeWidth(t) == 64;
	const char *same = wide ? "=l,0" : "=r,0";
	LLVMValueRef nothing = LLVMGetInlineAsm(call, "", 0, same, strlen(same), true, false, LLVMInlineAsmDialectATT, false);

	return LLVMBuildCall2(e->b, call, nothing, &v, 1, "");
}

LLVMValueRef device_halves(Emit *e, LLVMValueRef v, MloElem elem)
{
	LLVMTypeRef i32 = LLVMInt32TypeInContext(e->ctx), i16 = LLVMInt16TypeInContext(e->ctx);
	const char *two = elem == EL_bf16 ? "llvm.nvvm.ff2bf16x2.rn" : "llvm.nvvm.ff2f16x2.rn";
	int n = emit_lanes(v);
	LLVMValueRef words, arg[2];

	if (e->t->gpu->capability < 80 || n % 2 || (n == 0 && elem == EL_f16))
		return NULL;
	if (n == 0)
		return LLVMBuildBitCast(e->b, emit_intrinsic(e, "llvm.nvvm.f2bf16.rn", NULL, 0, &v, 1), i16, "");
	words = LLVMGetPoison(LLVMVectorType(i32, (unsigned)n / 2));
	for (int i = 0; i < n; i += 2) { /* the first one is the upper half */
		arg[0] = LLVMBuildExtractElement(e->b, v, emit_index(e, i + 1), "");
		arg[1] = LLVMBuildExtractElement(e->b, v, emit_index(e, i), "");
		arg[0] = LLVMBuildBitCast(e->b, emit_intrinsic(e, two, NULL, 0, arg, 2), i32, "");
		words = LLVMBuildInsertElement(e->b, words, arg[0], emit_index(e, i / 2), "");
	}
	return LLVMBuildBitCast(e->b, words, LLVMVectorType(i16, (unsigned)n), "");
}

void device_settle(Emit *e)
{
	static const char text[] = "pmevent 0;";
	LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), NULL, 0, false);
	LLVMValueRef code = LLVMGetInlineAsm(type, text, sizeof text - 1, "~{memory}", strlen("~{memory}"), true, false,
	                                     LLVMInlineAsmDialectATT, false);

	LLVMBuildCall2(e->b, type, code, NULL, 0, "");
}

/* -- copies ------------------------------------------------------------------------------------------ */

/* LLVM's intrinsic takes no addresses of two sizes. */
void device_copy_piece(Emit *e, LLVMValueRef to, int64_t to_behind, LLVMValueRef from, int64_t from_behind, LLVMValueRef bytes)
{
	LLVMTypeRef nothing = LLVMVoidTypeInContext(e->ctx), global = LLVMPointerTypeInContext(e->ctx, 1), type;
	LLVMValueRef arg[3] = {to, LLVMBuildAddrSpaceCast(e->b, from, global, ""), bytes}, code;
	LLVMTypeRef param[3] = {LLVMTypeOf(to), global, LLVMInt32TypeInContext(e->ctx)};
	static const char with[] = "r,l,r,~{memory}", without[] = "r,l,~{memory}";
	char text[96];
	int n = snprintf(text, sizeof text, "cp.async.cg.shared.global [$0+%lld], [$1+%lld], 16%s;", (long long)to_behind,
	                 (long long)from_behind, bytes ? ", $2" : "");

	type = LLVMFunctionType(nothing, param, bytes ? 3 : 2, false);
	code = LLVMGetInlineAsm(type, text, (size_t)n, bytes ? with : without, bytes ? sizeof with - 1 : sizeof without - 1, true, false,
	                        LLVMInlineAsmDialectATT, false);
	LLVMBuildCall2(e->b, type, code, arg, bytes ? 3 : 2, "");
}

void device_code(Emit *e, const char *text, const char *registers, LLVMValueRef *arg, unsigned n)
{
	enum { MOST = 4 };
	LLVMTypeRef param[MOST], type;
	LLVMValueRef code;
	char constraints[64];
	int length = snprintf(constraints, sizeof constraints, "%s%s~{memory}", registers ? registers : "", registers ? "," : "");

	MLO_ASSERT(n <= MOST);
	for (unsigned i = 0; i < n; i++)
		param[i] = LLVMTypeOf(arg[i]);
	type = LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), param, n, false);
	code = LLVMGetInlineAsm(type, text, strlen(text), constraints, (size_t)length, true, false, LLVMInlineAsmDialectATT, false);
	code = LLVMBuildCall2(e->b, type, code, arg, n, "");
	LLVMAddCallSiteAttribute(code, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
	                         LLVMCreateEnumAttribute(e->ctx, LLVMGetEnumAttributeKindForName("convergent", 10), 0));
}

/* -- products of matrices ---------------------------------------------------------------------------- */

void device_product(Emit *e, const char *name, LLVMValueRef *a, int na, LLVMValueRef *b, int nb, LLVMValueRef *sum, int ns)
{
	LLVMValueRef arg[10], r;
	unsigned n = 0;

	MLO_ASSERT(na + nb + ns <= (int)(sizeof arg / sizeof *arg));
	for (int i = 0; i < na; i++)
		arg[n++] = a[i];
	for (int i = 0; i < nb; i++)
		arg[n++] = b[i];
	for (int i = 0; i < ns; i++)
		arg[n++] = sum[i];
	r = emit_intrinsic(e, name, NULL, 0, arg, n);
	for (int i = 0; i < ns; i++)
		sum[i] = LLVMBuildExtractValue(e->b, r, (unsigned)i, "");
}
