/* targets/ptx.c -- modules of PTX, as LLVM writes them, become one.  (PTX ISA, "Source Format" and "Linking Directives".) */
#include <llvm-c/Core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "targets/object.h"

static bool is_local(LLVMValueRef v)
{
	LLVMLinkage how = LLVMGetLinkage(v);

	return !LLVMIsDeclaration(v) && (how == LLVMInternalLinkage || how == LLVMPrivateLinkage);
}

/* LLVM makes its own of names that PTX does not have. */
static void rename_local(LLVMValueRef v, const char *prefix, unsigned *n)
{
	char name[128];

	if (is_local(v))
		LLVMSetValueName2(v, name, (size_t)snprintf(name, sizeof name, "%.100s_%u", prefix, (*n)++));
}

void mlo_ptx_local_names(LLVMModuleRef m, const char *prefix)
{
	unsigned n = 0;

	for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f))
		rename_local(f, prefix, &n);
	for (LLVMValueRef g = LLVMGetFirstGlobal(m); g; g = LLVMGetNextGlobal(g))
		rename_local(g, prefix, &n);
}

/* Behind the directives that a module begins with; n becomes what is left.  NULL: they are not as expected. */
static const unsigned char *body_of(const MloBytes *text, size_t *n)
{
	static const char last[] = ".address_size 64\n";
	const unsigned char *at = memmem(text->data, text->n, last, sizeof last - 1);

	if (!at)
		return NULL;
	at += sizeof last - 1;
	*n = text->n - (size_t)(at - text->data);
	return at;
}

MloStatus mlo_ptx_join(const MloTarget *t, const MloBytes *text, size_t n, MloBytes *module, MloDiag *d)
{
	char head[160];
	size_t room, at = (size_t)snprintf(head, sizeof head, ".version %d.%d\n.target %s\n.address_size 64\n", t->gpu->ptx / 10,
	                                   t->gpu->ptx % 10, t->cpu);

	room = at + 1;
	for (size_t i = 0; i < n; i++)
		room += text[i].n;
	module->data = malloc(room);
	if (!module->data)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory for a module of PTX");
	memcpy(module->data, head, at);
	for (size_t i = 0; i < n; i++) {
		size_t bytes = 0;
		const unsigned char *body = body_of(&text[i], &bytes);

		if (!body || memmem(body, bytes, ".extern", 7)) {
			free(module->data);
			*module = (MloBytes){0};
			return mlo_error(d, MLO_ERR_INTERNAL, "a kernel's PTX is unusable: %s",
			                 body ? "it needs a function of a library" : "no .address_size");
		}
		memcpy(module->data + at, body, bytes);
		at += bytes;
	}
	module->data[at] = 0;
	module->n = at + 1;
	return MLO_OK;
}
