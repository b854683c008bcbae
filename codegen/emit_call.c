/* codegen/emit_call.c -- calls of reference kernels, imported from the bitcode library.
 *
 * The kernel's descriptions (RefCall and what it points to) are built on the stack by stores, so
 * that the image needs no relocation; dimensions and attribute lists are constant data without
 * pointers.  The reference kernel is inlined into its caller: shapes and attributes propagate. */
#include <llvm-c/BitReader.h>
#include <llvm-c/Linker.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/device_internal.h"
#include "ir/exec.h"
#include "ir/ref/bitcode.h"
#include "targets/object.h"

static LLVMTypeRef ptr_type(Emit *e) { return LLVMPointerTypeInContext(e->ctx, 0); }
static LLVMTypeRef i64_type(Emit *e) { return LLVMInt64TypeInContext(e->ctx); }
static LLVMValueRef int64(Emit *e, int64_t v) { return LLVMConstInt(i64_type(e), (unsigned long long)v, true); }

/* -- import ------------------------------------------------------------------------------- */

/* Everything but `keep` becomes private to the module: the linker then takes over what `keep` needs, no more. */
static void hide(LLVMModuleRef m, const char *keep)
{
	for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f)) {
		size_t n;
		if (!LLVMIsDeclaration(f) && strcmp(LLVMGetValueName2(f, &n), keep))
			LLVMSetLinkage(f, LLVMInternalLinkage);
	}
	for (LLVMValueRef g = LLVMGetFirstGlobal(m); g; g = LLVMGetNextGlobal(g))
		if (!LLVMIsDeclaration(g))
			LLVMSetLinkage(g, LLVMInternalLinkage);
}

/* The library with its functions unread: each is when it is linked, which few are. */
static LLVMModuleRef open_library(Emit *e)
{
	size_t n;
	const void *bytes = mlo_ref_bitcode(e->t->arch, &n);
	LLVMModuleRef lib = NULL;
	if (!bytes) {
		mlo_error(e->diag, MLO_ERR_TARGET, "no kernel library for architecture %s", e->t->arch);
		return NULL;
	}
	/* the module owns the buffer from here on, also where it cannot be read */
	LLVMMemoryBufferRef buf = LLVMCreateMemoryBufferWithMemoryRange(bytes, n, "ref", false);
	if (LLVMGetBitcodeModuleInContext2(e->ctx, buf, &lib)) {
		mlo_error(e->diag, MLO_ERR_INTERNAL, "the kernel library cannot be read");
		return NULL;
	}
	return lib;
}

static void inline_always(Emit *e, LLVMValueRef fn)
{
	LLVMAttributeIndex at = (LLVMAttributeIndex)LLVMAttributeFunctionIndex;
	unsigned always = LLVMGetEnumAttributeKindForName("alwaysinline", 12);
	LLVMRemoveEnumAttributeAtIndex(fn, at, LLVMGetEnumAttributeKindForName("noinline", 8));
	LLVMAddAttributeAtIndex(fn, at, LLVMCreateEnumAttribute(e->ctx, always, 0));
}

/* The reference kernel or size kernel of c in the module being built; NULL after a diagnostic. */
static LLVMValueRef import(Emit *e, const KCall *c)
{
	char name[80];
	bool common = c->sizes && !mlo_op_has(c->op, TR_SIZED);
	snprintf(name, sizeof name, "%s_%s", c->sizes ? "size" : "ref", common ? "broadcast" : mlo_op_info(c->op)->name);
	LLVMModuleRef lib = open_library(e);
	if (!lib)
		return NULL;
	hide(lib, name);
	for (LLVMValueRef f = LLVMGetFirstFunction(lib); f; f = LLVMGetNextFunction(f))
		if (!LLVMIsDeclaration(f))
			mlo_object_function(e->t, f);
	LLVMSetTarget(lib, LLVMGetTarget(e->mod));
	LLVMSetDataLayout(lib, LLVMGetDataLayoutStr(e->mod));
	if (LLVMLinkModules2(e->mod, lib)) {
		mlo_error(e->diag, MLO_ERR_INTERNAL, "%s cannot be linked from the kernel library", name);
		return NULL;
	}
	LLVMValueRef fn = LLVMGetNamedFunction(e->mod, name);
	if (!fn || LLVMIsDeclaration(fn)) {
		mlo_error(e->diag, MLO_ERR_INTERNAL, "%s is missing in the kernel library", name);
		return NULL;
	}
	LLVMSetLinkage(fn, LLVMInternalLinkage);
	inline_always(e, fn);
	return fn;
}

/* -- descriptions ------------------------------------------------------------------------- */

/* Private constant data; NULL pointer when empty. */
static LLVMValueRef data(Emit *e, LLVMValueRef init)
{
	LLVMValueRef g = LLVMAddGlobal(e->mod, LLVMTypeOf(init), "call.data");
	LLVMSetInitializer(g, init);
	LLVMSetGlobalConstant(g, true);
	LLVMSetLinkage(g, LLVMPrivateLinkage);
	LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
	return g;
}

static LLVMValueRef ints(Emit *e, const int64_t *v, int64_t n)
{
	LLVMValueRef item[64];
	if (!v || n <= 0)
		return LLVMConstNull(ptr_type(e));
	LLVMValueRef *items = n <= 64 ? item : malloc((size_t)n * sizeof *items);
	if (!items)
		return LLVMConstNull(ptr_type(e));
	for (int64_t i = 0; i < n; i++)
		items[i] = int64(e, v[i]);
	LLVMValueRef g = data(e, LLVMConstArray2(i64_type(e), items, (uint64_t)n));
	if (items != item)
		free(items);
	return g;
}

static LLVMValueRef floats(Emit *e, const double *v, int64_t n)
{
	LLVMValueRef items[64];
	if (!v || n <= 0 || n > 64)
		return LLVMConstNull(ptr_type(e));
	for (int64_t i = 0; i < n; i++)
		items[i] = LLVMConstReal(LLVMDoubleTypeInContext(e->ctx), v[i]);
	return data(e, LLVMConstArray2(LLVMDoubleTypeInContext(e->ctx), items, (uint64_t)n));
}

static LLVMValueRef string(Emit *e, const char *s)
{
	return s ? data(e, LLVMConstStringInContext2(e->ctx, s, strlen(s), false)) : LLVMConstNull(ptr_type(e));
}

static void put(Emit *e, LLVMTypeRef type, LLVMValueRef at, unsigned field, LLVMValueRef v)
{
	LLVMBuildStore(e->b, v, LLVMBuildStructGEP2(e->b, type, at, field, ""));
}

static LLVMValueRef element(Emit *e, LLVMTypeRef type, LLVMValueRef array, int i)
{
	LLVMValueRef n = emit_index(e, i);
	return LLVMBuildInBoundsGEP2(e->b, type, array, &n, 1, "");
}

static LLVMTypeRef struct_type(Emit *e, LLVMTypeRef *fields, unsigned n)
{
	return LLVMStructTypeInContext(e->ctx, fields, n, false);
}

static LLVMValueRef int32(Emit *e, int64_t v)
{
	return LLVMConstInt(LLVMInt32TypeInContext(e->ctx), (uint64_t)v, true);
}

/* The dimensions of t: constant data, or an array that is filled when the kernel runs. */
static LLVMValueRef dims(Emit *e, const KCallTensor *t)
{
	LLVMValueRef array;
	bool open = false;
	for (int i = 0; i < t->rank; i++)
		open = open || t->dim[i] < 0;
	if (!open)
		return ints(e, t->dim, t->rank);
	array = emit_alloca(e, LLVMArrayType2(i64_type(e), (uint64_t)t->rank), "dims");
	for (int i = 0; i < t->rank; i++)
		LLVMBuildStore(e->b, t->dim[i] < 0 ? LLVMBuildSExt(e->b, e->size[-1 - t->dim[i]], i64_type(e), "")
		                                   : int64(e, t->dim[i]),
		               element(e, i64_type(e), array, i));
	return array;
}

/* RefTensor[n] */
static LLVMValueRef tensors(Emit *e, const KCallTensor *t, int n)
{
	LLVMTypeRef p = ptr_type(e), i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMTypeRef type = struct_type(e, (LLVMTypeRef[]){p, p, i32, i32}, 4);
	LLVMValueRef array = emit_alloca(e, LLVMArrayType2(type, (uint64_t)(n ? n : 1)), "tensors");
	for (int i = 0; i < n; i++) {
		LLVMValueRef at = element(e, type, array, i);
		bool here = t[i].arg != -1;
		put(e, type, at, 0, t[i].arg >= 0 ? e->arg[t[i].arg] : LLVMConstNull(p));
		put(e, type, at, 1, here ? dims(e, &t[i]) : LLVMConstNull(p));
		put(e, type, at, 2, int32(e, here ? t[i].rank : 0));
		put(e, type, at, 3, int32(e, here ? (int64_t)t[i].elem : 0));
	}
	return array;
}

/* RefAttr[n] */
static LLVMValueRef attributes(Emit *e, const KCall *c)
{
	int n = mlo_op_info(c->op)->nattr;
	RefAttr attr[64] = {{0}};
	MLO_ASSERT(n <= 64);
	mlo_ref_attrs(e->arena, c->node, attr); /* the kernel's arena is others', too, that are compiled at this time */
	LLVMTypeRef p = ptr_type(e), i64 = i64_type(e), f64 = LLVMDoubleTypeInContext(e->ctx);
	LLVMTypeRef type = struct_type(e, (LLVMTypeRef[]){i64, f64, p, p, p, i64}, 6);
	LLVMValueRef array = emit_alloca(e, LLVMArrayType2(type, (uint64_t)(n ? n : 1)), "attrs");
	for (int i = 0; i < n; i++) {
		LLVMValueRef at = element(e, type, array, i);
		put(e, type, at, 0, int64(e, attr[i].i));
		put(e, type, at, 1, LLVMConstReal(f64, attr[i].f));
		put(e, type, at, 2, string(e, attr[i].s));
		put(e, type, at, 3, ints(e, attr[i].ints, attr[i].n));
		put(e, type, at, 4, floats(e, attr[i].floats, attr[i].n));
		put(e, type, at, 5, int64(e, attr[i].n));
	}
	return array;
}

/* A special register of a GPU. */
static LLVMValueRef special(Emit *e, const char *name)
{
	return LLVMBuildIntCast2(e->b, device_special(e, name), i64_type(e), false, "");
}

/* The thread's number in the grid, and how many there are. */
static LLVMValueRef thread(Emit *e)
{
	return LLVMBuildAdd(e->b, LLVMBuildMul(e->b, special(e, "ctaid.x"), special(e, "ntid.x"), ""), special(e, "tid.x"), "");
}

static LLVMValueRef threads(Emit *e)
{
	return LLVMBuildMul(e->b, special(e, "nctaid.x"), special(e, "ntid.x"), "");
}

/* Two threads must not write parts of one byte. */
bool emit_call_shares(const MloTarget *t, const KCall *c)
{
	for (int i = 0; i < c->nout; i++)
		if (mlo_elem_bits(c->out[i].elem) < 8)
			return false;
	return t->gpu && !c->sizes && mlo_op_has(c->op, TR_SHARES);
}

void emit_call(Emit *e, const KStmt *s)
{
	const KCall *c = s->call;
	LLVMValueRef fn = import(e, c);
	if (!fn)
		return;
	EmitLoop l;
	LLVMTypeRef p = ptr_type(e), i32 = LLVMInt32TypeInContext(e->ctx);
	LLVMTypeRef type = struct_type(e, (LLVMTypeRef[]){p, p, p, i32, i32, i64_type(e), i64_type(e)}, 7);
	bool shares = emit_call_shares(e->t, c);
	emit_for(e, &l, e->begin, e->end, emit_index(e, 1), "task");
	LLVMValueRef call = emit_alloca(e, type, "call");
	put(e, type, call, 0, tensors(e, c->in, c->nin));
	put(e, type, call, 1, tensors(e, c->out, c->nout));
	put(e, type, call, 2, attributes(e, c));
	put(e, type, call, 3, int32(e, c->nin));
	put(e, type, call, 4, int32(e, c->nout));
	put(e, type, call, 5, shares ? thread(e) : int64(e, 0));
	put(e, type, call, 6, shares ? threads(e) : int64(e, 0));
	LLVMValueRef args[] = {call, c->sizes ? e->arg[c->sizes_arg] : NULL};
	LLVMBuildCall2(e->b, LLVMGlobalGetValueType(fn), fn, args, c->sizes ? 2 : 1, "");
	emit_end(e, &l);
}
