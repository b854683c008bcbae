/* tests/unit/list_fixture.c -- packages with lists of programs, put together by hand. */
#include "tests/unit/list_fixture.h"

#include <CUnit/CUnit.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "package/package.h"

#if defined(__x86_64__)
#define ARCH "x86_64"
static const unsigned char code_copy[] = {
	0x48, 0x8b, 0x07,       /*    mov (%rdi),%rax        from */
	0x48, 0x8b, 0x7f, 0x08, /*    mov 8(%rdi),%rdi       to */
	0x48, 0x39, 0xd6,       /* 1: cmp %rdx,%rsi */
	0x7d, 0x0d,             /*    jge 2f */
	0x4c, 0x8b, 0x04, 0xf0, /*    mov (%rax,%rsi,8),%r8 */
	0x4c, 0x89, 0x04, 0xf7, /*    mov %r8,(%rdi,%rsi,8) */
	0x48, 0xff, 0xc6,       /*    inc %rsi */
	0xeb, 0xee,             /*    jmp 1b */
	0xc3,                   /* 2: ret */
};
static const unsigned char code_add[] = {
	0x48, 0x8b, 0x07,       /*    mov (%rdi),%rax        a */
	0x48, 0x8b, 0x4f, 0x08, /*    mov 8(%rdi),%rcx       b */
	0x48, 0x8b, 0x7f, 0x10, /*    mov 16(%rdi),%rdi      sum */
	0x48, 0x39, 0xd6,       /* 1: cmp %rdx,%rsi */
	0x7d, 0x11,             /*    jge 2f */
	0x4c, 0x8b, 0x04, 0xf0, /*    mov (%rax,%rsi,8),%r8 */
	0x4c, 0x03, 0x04, 0xf1, /*    add (%rcx,%rsi,8),%r8 */
	0x4c, 0x89, 0x04, 0xf7, /*    mov %r8,(%rdi,%rsi,8) */
	0x48, 0xff, 0xc6,       /*    inc %rsi */
	0xeb, 0xea,             /*    jmp 1b */
	0xc3,                   /* 2: ret */
};
static const unsigned char code_less[] = {
	0x48, 0x8b, 0x07,       /*    mov (%rdi),%rax        a */
	0x48, 0x8b, 0x4f, 0x08, /*    mov 8(%rdi),%rcx       b */
	0x48, 0x8b, 0x7f, 0x10, /*    mov 16(%rdi),%rdi      to */
	0x48, 0x39, 0xd6,       /* 1: cmp %rdx,%rsi */
	0x7d, 0x11,             /*    jge 2f */
	0x4c, 0x8b, 0x04, 0xf0, /*    mov (%rax,%rsi,8),%r8 */
	0x4c, 0x3b, 0x04, 0xf1, /*    cmp (%rcx,%rsi,8),%r8 */
	0x0f, 0x9c, 0x04, 0x37, /*    setl (%rdi,%rsi) */
	0x48, 0xff, 0xc6,       /*    inc %rsi */
	0xeb, 0xea,             /*    jmp 1b */
	0xc3,                   /* 2: ret */
};
#elif defined(__aarch64__)
#define ARCH "aarch64"
static const uint32_t code_copy[] = {
	0xa9401003, /*    ldp x3, x4, [x0]      from, to */
	0xeb02003f, /* 1: cmp x1, x2 */
	0x5400004b, /*    b.lt 2f */
	0xd65f03c0, /*    ret */
	0xf8617865, /* 2: ldr x5, [x3, x1, lsl #3] */
	0xf8217885, /*    str x5, [x4, x1, lsl #3] */
	0x91000421, /*    add x1, x1, #1 */
	0x17fffffa, /*    b 1b */
};
static const uint32_t code_add[] = {
	0xa9401003, /*    ldp x3, x4, [x0]      a, b */
	0xf9400800, /*    ldr x0, [x0, #16]     sum */
	0xeb02003f, /* 1: cmp x1, x2 */
	0x5400004b, /*    b.lt 2f */
	0xd65f03c0, /*    ret */
	0xf8617865, /* 2: ldr x5, [x3, x1, lsl #3] */
	0xf8617886, /*    ldr x6, [x4, x1, lsl #3] */
	0x8b0600a5, /*    add x5, x5, x6 */
	0xf8217805, /*    str x5, [x0, x1, lsl #3] */
	0x91000421, /*    add x1, x1, #1 */
	0x17fffff8, /*    b 1b */
};
static const uint32_t code_less[] = {
	0xa9401003, /*    ldp x3, x4, [x0]      a, b */
	0xf9400800, /*    ldr x0, [x0, #16]     to */
	0xeb02003f, /* 1: cmp x1, x2 */
	0x5400004b, /*    b.lt 2f */
	0xd65f03c0, /*    ret */
	0xf8617865, /* 2: ldr x5, [x3, x1, lsl #3] */
	0xf8617886, /*    ldr x6, [x4, x1, lsl #3] */
	0xeb0600bf, /*    cmp x5, x6 */
	0x1a9fa7e5, /*    cset w5, lt */
	0x38216805, /*    strb w5, [x0, x1] */
	0x91000421, /*    add x1, x1, #1 */
	0x17fffff7, /*    b 1b */
};
#else
#error "no machine code for this architecture"
#endif

void lf_init(ListFixture *f)
{
	memset(f, 0, sizeof *f);
	f->arena = mlo_arena_new();
}

void lf_free(ListFixture *f)
{
	mlo_arena_free(f->arena);
}

static void add_item(char *list, size_t room, const char *json)
{
	const size_t n = strlen(list);

	CU_ASSERT_FATAL(n + strlen(json) + 2 < room);
	sprintf(list + n, "%s%s", n ? "," : "", json);
}

void lf_input(ListFixture *f, const char *json)
{
	add_item(f->inputs, sizeof f->inputs, json);
}

void lf_output(ListFixture *f, const char *json)
{
	add_item(f->outputs, sizeof f->outputs, json);
}

void lf_step_name(ListFixture *f, const char *json)
{
	add_item(f->steps, sizeof f->steps, json);
}

LfBody *lf_body(ListFixture *f)
{
	LfBody *b = &f->body[f->nbodies++];

	CU_ASSERT_FATAL(f->nbodies <= LF_BODIES);
	b->head.arena_slot = MLRT_ABSENT;
	b->head.nprologue = UINT32_MAX;
	return b;
}

uint64_t lf_weights(ListFixture *f, const void *data, size_t n)
{
	const size_t at = (f->nweights + 7) & ~(size_t)7;

	CU_ASSERT_FATAL(at + n <= sizeof f->weights);
	memcpy(f->weights + at, data, n);
	f->nweights = at + n;
	return at;
}

uint32_t lf_strings(ListFixture *f, const char *const *text, size_t n)
{
	MlrtStringRef ref[16];

	CU_ASSERT_FATAL(n <= 16 && f->nstrings < LF_STRINGS);
	for (size_t i = 0; i < n; i++)
		ref[i] = (MlrtStringRef){(int64_t)lf_weights(f, text[i], strlen(text[i])), (int64_t)strlen(text[i])};
	f->strings[f->nstrings] = (MlrtStrings){lf_weights(f, ref, n * sizeof *ref), n};
	return f->nstrings++;
}

uint32_t lf_slot(LfBody *b)
{
	return b->head.nslots++;
}

static void push_expr(LfBody *b, MlrtExpr x)
{
	CU_ASSERT_FATAL(b->head.nexprs < sizeof b->expr / sizeof *b->expr);
	b->expr[b->head.nexprs++] = x;
}

uint32_t lf_const(LfBody *b, int64_t v)
{
	return lf_expr(b, MLRT_X_CONST, MLRT_ABSENT, MLRT_ABSENT, v);
}

uint32_t lf_expr(LfBody *b, uint32_t op, uint32_t x, uint32_t y, int64_t imm)
{
	const uint32_t dst = lf_slot(b);

	push_expr(b, (MlrtExpr){op, dst, x, y, imm});
	return dst;
}

void lf_check(LfBody *b, uint32_t op, uint32_t x, uint32_t y, int64_t imm)
{
	push_expr(b, (MlrtExpr){op, MLRT_ABSENT, x, y, imm});
}

void lf_prologue_ends(LfBody *b)
{
	b->head.nprologue = b->head.nexprs;
}

uint32_t lf_planned(LfBody *b, uint32_t bytes, uint32_t offset)
{
	b->buffer[b->head.nbuffers] = (MlrtBuffer){MLRT_PLANNED, bytes, offset, 0};
	return b->head.nbuffers++;
}

uint32_t lf_own(LfBody *b, uint32_t bytes)
{
	b->buffer[b->head.nbuffers] = (MlrtBuffer){MLRT_OWN, bytes, MLRT_ABSENT, 0};
	return b->head.nbuffers++;
}

uint32_t lf_arg(LfBody *b, uint32_t space, uint32_t index, uint64_t offset, uint64_t bytes, uint32_t bytes_slot)
{
	CU_ASSERT_FATAL(b->head.nargs < sizeof b->arg / sizeof *b->arg);
	b->arg[b->head.nargs] = (MlrtBodyArg){space, index, 0, 0, offset, bytes, MLRT_ABSENT, bytes_slot};
	return b->head.nargs++;
}

static uint32_t push_value(LfBody *b, MlrtValue v)
{
	CU_ASSERT_FATAL(b->head.nvalues < sizeof b->value / sizeof *b->value);
	b->value[b->head.nvalues] = v;
	return b->head.nvalues++;
}

uint32_t lf_tensor(LfBody *b, uint32_t elem, uint32_t rank, int64_t arg)
{
	const uint32_t first = b->head.nslots;

	b->head.nslots += rank;
	return push_value(b, (MlrtValue){MLRT_V_TENSOR, elem, 0, rank, first, arg < 0 ? MLRT_ABSENT : (uint32_t)arg,
					 MLRT_ABSENT, MLRT_ABSENT});
}

uint32_t lf_own_tensor(LfBody *b, uint32_t elem, uint32_t rank)
{
	const uint32_t bytes = lf_slot(b), buffer = lf_own(b, bytes);
	const uint32_t v = lf_tensor(b, elem, rank, lf_arg(b, MLRT_BUFFER, buffer, 0, 0, bytes));

	b->value[v].buffer = buffer;
	return v;
}

uint32_t lf_object(LfBody *b, uint32_t kind, uint32_t elem, uint32_t key)
{
	return push_value(b, (MlrtValue){kind, elem, key, 0, MLRT_ABSENT, MLRT_ABSENT, MLRT_ABSENT, b->head.nobjects++});
}

uint32_t lf_dim(const LfBody *b, uint32_t value, uint32_t k)
{
	return b->value[value].first_dim + k;
}

uint32_t lf_in(LfBody *b, uint32_t elem, uint32_t rank)
{
	const uint32_t v = lf_tensor(b, elem, rank, LF_NONE);
	const int64_t size = elem == LF_BOOL ? 1 : elem == LF_STR ? 16 : 8;
	uint32_t bytes = lf_const(b, size);

	for (uint32_t k = 0; k < rank; k++)
		bytes = lf_expr(b, MLRT_X_MUL, bytes, lf_dim(b, v, k), 0);
	b->value[v].arg = lf_arg(b, MLRT_INPUT, b->head.ninputs, 0, 0, bytes);
	lf_give(b, v);
	return v;
}

void lf_give(LfBody *b, uint32_t value)
{
	b->input[b->head.ninputs++] = value;
}

void lf_result(LfBody *b, uint32_t value)
{
	b->output[b->head.noutputs++] = value;
}

static MlrtBodyStep *push_step(LfBody *b, MlrtBodyStep s)
{
	CU_ASSERT_FATAL(b->head.nsteps < sizeof b->step / sizeof *b->step);
	b->step[b->head.nsteps] = s;
	return &b->step[b->head.nsteps++];
}

MlrtBodyStep *lf_kernel(LfBody *b, uint32_t code, uint32_t first_arg, uint32_t nargs, uint32_t ntasks_slot)
{
	return push_step(b, (MlrtBodyStep){.kind = MLRT_STEP_KERNEL, .first = first_arg, .n = nargs,
					   .ntasks = ntasks_slot == MLRT_ABSENT, .ntasks_slot = ntasks_slot, .code = code});
}

MlrtBodyStep *lf_step(LfBody *b, uint32_t kind, uint32_t nresults, ...)
{
	const uint32_t first = b->head.nrefs;
	va_list ap;
	int v;

	va_start(ap, nresults);
	while ((v = va_arg(ap, int)) != LF_NONE) {
		CU_ASSERT_FATAL(b->head.nrefs < sizeof b->ref / sizeof *b->ref - 2 * LF_ENDS);
		b->ref[b->head.nrefs++] = v == LF_ABSENT ? MLRT_ABSENT : (uint32_t)v;
	}
	va_end(ap);
	return push_step(b, (MlrtBodyStep){.kind = kind, .first = first, .n = b->head.nrefs - first, .nresults = nresults,
					   .ntasks_slot = MLRT_ABSENT});
}

/* -- the package --------------------------------------------------------------------------------- */

static void put(ListFixture *f, const void *data, size_t n)
{
	memcpy(f->program + f->nprogram, data, n);
	f->nprogram += n;
	while (f->nprogram % 8)
		f->program[f->nprogram++] = 0;
}

static void put_body(ListFixture *f, LfBody *b)
{
	const uint32_t ends = b->head.ninputs + b->head.noutputs;
	const size_t start = f->nprogram;
	MlrtBody head = b->head;
	MlrtBodyStep step[32];
	uint32_t ref[128 + 2 * LF_ENDS];

	head.nrefs += ends;
	if (head.nprologue == UINT32_MAX)
		head.nprologue = head.nexprs;
	memcpy(step, b->step, sizeof step);
	for (uint32_t i = 0; i < head.nsteps; i++)
		step[i].first += step[i].kind == MLRT_STEP_KERNEL ? 0 : ends;
	memcpy(ref, b->input, head.ninputs * sizeof *ref);
	memcpy(ref + head.ninputs, b->output, head.noutputs * sizeof *ref);
	memcpy(ref + ends, b->ref, b->head.nrefs * sizeof *ref);
	put(f, &head, sizeof head);
	put(f, step, head.nsteps * sizeof *step);
	put(f, b->arg, head.nargs * sizeof *b->arg);
	put(f, b->expr, head.nexprs * sizeof *b->expr);
	put(f, b->buffer, head.nbuffers * sizeof *b->buffer);
	put(f, b->value, head.nvalues * sizeof *b->value);
	put(f, ref, head.nrefs * sizeof *ref);
	head.bytes = f->nprogram - start;
	memcpy(f->program + start, &head, sizeof head);
}

void lf_build(ListFixture *f)
{
	MlrtProgramList list = {.magic = MLRT_LIST_MAGIC, .nprograms = f->nbodies, .nstrings = f->nstrings, .scratch_bytes = 8};

	f->program = mlo_alloc(f->arena, 1 << 17, 8);
	f->nprogram = 0;
	put(f, &list, sizeof list);
	put(f, f->strings, f->nstrings * sizeof *f->strings);
	for (uint32_t i = 0; i < f->nbodies; i++) {
		put_body(f, &f->body[i]);
		list.arena_bytes += f->body[i].head.arena_bytes;
	}
	list.bytes = f->nprogram;
	memcpy(f->program, &list, sizeof list);
	lf_package(f);
}

void lf_package(ListFixture *f)
{
	MloPackage *p = mlo_package_new(f->arena);
	unsigned char *code = mlo_alloc(f->arena, LF_CODE_BYTES, 1);
	MlrtProgramList list;

	memcpy(&list, f->program, sizeof list);
	memcpy(code + LF_COPY, code_copy, sizeof code_copy);
	memcpy(code + LF_ADD, code_add, sizeof code_add);
	memcpy(code + LF_LESS, code_less, sizeof code_less);
	CU_ASSERT_EQUAL_FATAL(mlo_package_blob(p, MLRT_CODE, code, LF_CODE_BYTES), 0);
	CU_ASSERT_EQUAL_FATAL(mlo_package_blob(p, MLRT_WEIGHTS, f->weights, f->nweights), 1);
	CU_ASSERT_EQUAL_FATAL(mlo_package_blob(p, MLRT_PROGRAM, f->program, f->nprogram), 2);
	const char *manifest = mlo_sprintf(
		f->arena,
		"{\"format\":1,\"name\":\"list\",\"inputs\":[%s],\"outputs\":[%s],%s\"variants\":[{\"name\":\"plain\","
		"\"arch\":\"" ARCH "\",\"needs\":[],\"code\":0,\"weights\":1,\"program\":2,\"arena_bytes\":%llu,"
		"\"scratch_bytes\":%llu,\"steps\":[%s]}]}",
		f->inputs, f->outputs, f->more, (unsigned long long)list.arena_bytes,
		(unsigned long long)list.scratch_bytes, f->steps);
	CU_ASSERT_EQUAL_FATAL(mlo_package_bytes(p, manifest, f->arena, &f->bytes, &f->n, NULL), MLO_OK);
}

MlrtModel *lf_open(ListFixture *f)
{
	MlrtModel *m = NULL;
	MlrtError err;

	if (mlrt_model_open_memory(f->bytes, f->n, NULL, &m, &err) != MLRT_OK) {
		puts(err.text);
		CU_FAIL("a package is refused");
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	return m;
}

MlrtSession *lf_session(MlrtModel *m, int threads)
{
	MlrtSession *s = NULL;
	MlrtError err;

	if (mlrt_session_new(m, &(MlrtSessionOptions){.threads = threads}, &s, &err) != MLRT_OK)
		puts(err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	return s;
}

MlrtTensor lf_ints(int64_t *data, int rank, ...)
{
	MlrtTensor t = {.data = data, .rank = rank, .bytes = sizeof *data};
	va_list ap;

	va_start(ap, rank);
	for (int k = 0; k < rank; k++) {
		t.dims[k] = va_arg(ap, int);
		t.bytes *= (size_t)t.dims[k];
	}
	va_end(ap);
	return t;
}
