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
