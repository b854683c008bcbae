/* targets/stack.c -- the stack that a call tree takes.
 *
 * LLVM reports a frame above a limit ("warn-stack-size") by the number that its .stack_sizes section would hold; a
 * limit of nothing makes it report all but the empty ones. */
#include "targets/stack.h"

#include <llvm-c/Core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "...stack frame size (N) exceeds limit (0) in function 'NAME'" */
static bool read_frame(const char *text, MloFrame *out)
{
	const char *size = strstr(text, "stack frame size ("), *name = strstr(text, "in function '"), *end;

	if (!size || !name)
		return false;
	name += strlen("in function '");
	end = strchr(name, '\'');
	if (!end)
		return false;
	out->bytes = strtoull(size + strlen("stack frame size ("), NULL, 10);
	out->name = strndup(name, (size_t)(end - name));
	return true;
}

static void note(LLVMDiagnosticInfoRef info, void *user)
{
	MloStack *s = user;
	char *text = LLVMGetDiagInfoDescription(info);
	MloFrame f = {0};

	if (read_frame(text, &f)) {
		if (s->n == s->cap) {
			size_t cap = 2 * s->cap + 64;
			MloFrame *more = realloc(s->frame, cap * sizeof *more);

			s->cap = more ? cap : s->cap;
			s->frame = more ? more : s->frame;
		}
		s->failed = s->failed || !f.name || s->n == s->cap;
		if (s->failed)
			free(f.name);
		else
			s->frame[s->n++] = f;
	} else if (LLVMGetDiagInfoSeverity(info) == LLVMDSError) {
		fprintf(stderr, "LLVM: %s\n", text);
	}
	LLVMDisposeMessage(text);
}

void mlo_stack_watch(LLVMModuleRef m, MloStack *s)
{
	LLVMContextRef ctx = LLVMGetModuleContext(m);
	LLVMAttributeRef all = LLVMCreateStringAttribute(ctx, "warn-stack-size", 15, "0", 1);

	LLVMContextSetDiagnosticHandler(ctx, note, s);
	for (LLVMValueRef f = LLVMGetFirstFunction(m); f; f = LLVMGetNextFunction(f))
		if (!LLVMIsDeclaration(f))
			LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, all);
}

/* Bytes that a frame may lose to alignment beyond the stack's own, which are not in its size. */
static uint64_t padding(const MloTarget *t, LLVMValueRef f)
{
	unsigned own = mlo_target_stack_align(t), align = own;

	/* vectors that are kept there; those of MVE need no more */
	if (mlo_target_pointer_bytes(t) == 8 && (unsigned)t->register_bytes > align)
		align = (unsigned)t->register_bytes;
	for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b; b = LLVMGetNextBasicBlock(b))
		for (LLVMValueRef i = LLVMGetFirstInstruction(b); i; i = LLVMGetNextInstruction(i))
			if (LLVMIsAAllocaInst(i) && LLVMGetAlignment(i) > align)
				align = LLVMGetAlignment(i);
	return align - own;
}

static uint64_t frame_of(const MloStack *s, LLVMValueRef f)
{
	size_t n;
	const char *name = LLVMGetValueName2(f, &n);

	for (size_t i = 0; i < s->n; i++)
		if (strlen(s->frame[i].name) == n && memcmp(s->frame[i].name, name, n) == 0)
			return s->frame[i].bytes;
	return 0;
}

static uint64_t depth(const MloTarget *t, const MloStack *s, LLVMValueRef f, int level)
{
	uint64_t own = frame_of(s, f), below = 0;

	MLO_ASSERT(level < 64);
	own += (own ? padding(t, f) : 0) + mlo_target_call_bytes(t);
	for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b; b = LLVMGetNextBasicBlock(b))
		for (LLVMValueRef i = LLVMGetFirstInstruction(b); i; i = LLVMGetNextInstruction(i)) {
			LLVMValueRef callee = LLVMIsACallInst(i) ? LLVMIsAFunction(LLVMGetCalledValue(i)) : NULL;
			uint64_t d = callee && !LLVMIsDeclaration(callee) ? depth(t, s, callee, level + 1) : 0;

			below = d > below ? d : below;
		}
	return own + below;
}

uint64_t mlo_stack_depth(const MloTarget *t, LLVMModuleRef m, const char *function, const MloStack *s)
{
	LLVMValueRef f = LLVMGetNamedFunction(m, function);

	MLO_ASSERT(f);
	return depth(t, s, f, 0);
}

void mlo_stack_free(MloStack *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->frame[i].name);
	free(s->frame);
	*s = (MloStack){0};
}
