/* tests/unit/package_fixture.c -- builds the package that the tests of the runtime share. */
#include "tests/unit/package_fixture.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "package/package.h"

#if defined(__x86_64__)
#define ARCH "x86_64"
static const unsigned char code_add[] = {
	0x48, 0x8b, 0x07,             /*    mov (%rdi),%rax          a */
	0x48, 0x8b, 0x4f, 0x08,       /*    mov 8(%rdi),%rcx         b */
	0x48, 0x8b, 0x7f, 0x10,       /*    mov 16(%rdi),%rdi        out */
	0x48, 0x39, 0xd6,             /* 1: cmp %rdx,%rsi */
	0x7d, 0x14,                   /*    jge 2f */
	0xf3, 0x0f, 0x10, 0x04, 0xb0, /*    movss (%rax,%rsi,4),%xmm0 */
	0xf3, 0x0f, 0x58, 0x04, 0xb1, /*    addss (%rcx,%rsi,4),%xmm0 */
	0xf3, 0x0f, 0x11, 0x04, 0xb7, /*    movss %xmm0,(%rdi,%rsi,4) */
	0x48, 0xff, 0xc6,             /*    inc %rsi */
	0xeb, 0xe7,                   /*    jmp 1b */
	0xc3,                         /* 2: ret */
};
static const unsigned char code_where[] = {
	0x48, 0x8b, 0x07,       /*    mov (%rdi),%rax */
	0x48, 0x39, 0xd6,       /* 1: cmp %rdx,%rsi */
	0x7d, 0x0c,             /*    jge 2f */
	0x48, 0x89, 0x31,       /*    mov %rsi,(%rcx)          touch the scratch memory */
	0x48, 0x89, 0x0c, 0xf0, /*    mov %rcx,(%rax,%rsi,8) */
	0x48, 0xff, 0xc6,       /*    inc %rsi */
	0xeb, 0xef,             /*    jmp 1b */
	0xc3,                   /* 2: ret */
};
#elif defined(__aarch64__)
#define ARCH "aarch64"
static const uint32_t code_add[] = {
	0xa9401003, /*    ldp x3, x4, [x0]      a, b */
	0xf9400800, /*    ldr x0, [x0, #16]     out */
	0xeb02003f, /* 1: cmp x1, x2 */
	0x5400004b, /*    b.lt 2f */
	0xd65f03c0, /*    ret */
	0xbc617860, /* 2: ldr s0, [x3, x1, lsl #2] */
	0xbc617881, /*    ldr s1, [x4, x1, lsl #2] */
	0x1e212800, /*    fadd s0, s0, s1 */
	0xbc217800, /*    str s0, [x0, x1, lsl #2] */
	0x91000421, /*    add x1, x1, #1 */
	0x17fffff8, /*    b 1b */
};
static const uint32_t code_where[] = {
	0xf9400000, /*    ldr x0, [x0] */
	0xeb02003f, /* 1: cmp x1, x2 */
	0x5400004b, /*    b.lt 2f */
	0xd65f03c0, /*    ret */
	0xf9000061, /* 2: str x1, [x3]          touch the scratch memory */
	0xf8217803, /*    str x3, [x0, x1, lsl #3] */
	0x91000421, /*    add x1, x1, #1 */
	0x17fffffa, /*    b 1b */
};
#else
#error "no machine code for this architecture"
#endif

static const char manifest_text[] =
	"{\"format\":1,\"name\":\"fixture\",\"tool\":\"test\",\n"
	" \"inputs\":[{\"name\":\"x\",\"elem\":\"f32\",\"dims\":[5,8],\"bytes\":160}],\n"
	" \"outputs\":[{\"name\":\"y\",\"elem\":\"f32\",\"dims\":[5,8],\"bytes\":160},\n"
	"  {\"name\":\"w\\u00e4re \\ud83d\\ude00\",\"elem\":\"i64\",\"dims\":[8],\"bytes\":64}],\n"
	" \"variants\":[\n"
	"  {\"name\":\"better\",\"arch\":\"" ARCH "\",\"needs\":[\"time-travel\"],\"code\":0,\"weights\":1,\"program\":2,\n"
	"   \"arena_bytes\":256,\"scratch_bytes\":8},\n"
	"  {\"name\":\"plain\",\"arch\":\"" ARCH "\",\"needs\":[],\"code\":0,\"weights\":1,\"program\":2,\n"
	"   \"arena_bytes\":256,\"scratch_bytes\":8}],\n"
	" \"meta\":{\"pi\":3.14e0,\"ok\":true,\"none\":null}}";

void fix_init(Fixture *f)
{
	static const FixProgram program = {
		{MLRT_PROGRAM_MAGIC, 3, 7, 0, 256, 8},
		{{FIX_ADD_CODE, 0, 3, FIX_N, 0}, {FIX_ADD_CODE, 3, 3, FIX_N, 1}, {FIX_WHERE_CODE, 6, 1, FIX_WHERE, 0}},
		{{MLRT_INPUT, 0, 0, 160}, {MLRT_WEIGHT, 0, 0, 160}, {MLRT_ARENA, 0, 64, 160},
		 {MLRT_ARENA, 0, 64, 160}, {MLRT_ARENA, 0, 64, 160}, {MLRT_OUTPUT, 0, 0, 160},
		 {MLRT_OUTPUT, 1, 0, 64}},
	};

	*f = (Fixture){.arena = mlo_arena_new(), .program = program};
	memcpy(f->manifest, manifest_text, sizeof manifest_text);
	for (int i = 0; i < FIX_N; i++)
		f->weights[i] = (float)i / 2;
}

void fix_build(Fixture *f)
{
	const MloPiece weights = {f->weights, sizeof f->weights};

	fix_build_with(f, &weights, 1, 0);
}

void fix_build_with(Fixture *f, const MloPiece *weights, size_t n, uint64_t lookup)
{
	MloPackage *p = mlo_package_new(f->arena);
	unsigned char *code = mlo_alloc(f->arena, FIX_CODE_BYTES, 1);

	memcpy(code + FIX_ADD_CODE, code_add, sizeof code_add);
	memcpy(code + FIX_WHERE_CODE, code_where, sizeof code_where);
	CU_ASSERT_EQUAL_FATAL(mlo_package_blob(p, MLRT_CODE, code, FIX_CODE_BYTES), 0);
	CU_ASSERT_EQUAL_FATAL(mlo_package_pieces(p, MLRT_WEIGHTS, weights, n, lookup), 1);
	CU_ASSERT_EQUAL_FATAL(mlo_package_blob(p, MLRT_PROGRAM, &f->program, sizeof f->program), 2);
	if (f->golden)
		CU_ASSERT_EQUAL_FATAL(mlo_package_blob(p, MLRT_GOLDEN, f->golden, f->ngolden), 3);
	if (f->ptx) {
		CU_ASSERT_EQUAL_FATAL(mlo_package_blob(p, MLRT_PTX, f->ptx, f->nptx), 3);
		CU_ASSERT_EQUAL_FATAL(mlo_package_blob(p, MLRT_LAUNCHES, f->launches, f->nlaunches), 4);
		CU_ASSERT_EQUAL_FATAL(mlo_package_blob(p, MLRT_PROGRAM, &f->device, sizeof f->device), 5);
	}
	CU_ASSERT_EQUAL_FATAL(mlo_package_bytes(p, f->manifest, f->arena, &f->bytes, &f->n, NULL), MLO_OK);
}

void fix_free(Fixture *f)
{
	mlo_arena_free(f->arena);
}

void fix_write(Fixture *f, char *path)
{
	int fd;

	strcpy(path, "fixture-XXXXXX");
	fd = mkstemp(path);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(write(fd, f->bytes, f->n), (ssize_t)f->n);
	close(fd);
}

void fix_edit(Fixture *f, const char *from, const char *to)
{
	char *at = strstr(f->manifest, from);
	char rest[sizeof f->manifest];

	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	strcpy(rest, at + strlen(from));
	CU_ASSERT_FATAL((size_t)(at - f->manifest) + strlen(to) + strlen(rest) < sizeof f->manifest);
	strcpy(at, to);
	strcat(at, rest);
}

void fix_seal(Fixture *f)
{
	const size_t at = offsetof(MlrtHeader, header_hash);
	MlrtHeader h;

	memcpy(&h, f->bytes, sizeof h);
	memset(f->bytes + at, 0, sizeof h.header_hash);
	h.header_hash = XXH3_64bits(f->bytes, h.header_bytes);
	memcpy(f->bytes + at, &h.header_hash, sizeof h.header_hash);
}

MlrtModel *fix_open(Fixture *f)
{
	MlrtModel *m = NULL;
	MlrtError err;

	if (mlrt_model_open_memory(f->bytes, f->n, NULL, &m, &err) != MLRT_OK)
		CU_FAIL(err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	return m;
}

MlrtStatus fix_starts(Fixture *f, const MlrtOpenOptions *opt)
{
	MlrtModel *m = NULL;
	MlrtSession *s = NULL;
	MlrtError err = {0};
	MlrtStatus st = mlrt_model_open_memory(f->bytes, f->n, opt, &m, &err);

	CU_ASSERT_EQUAL((st == MLRT_OK), (m != NULL));
	if (!st)
		st = mlrt_session_new(m, &(MlrtSessionOptions){.threads = 1}, &s, &err);
	CU_ASSERT_EQUAL(st, err.status);
	CU_ASSERT_EQUAL(st != MLRT_OK, err.text[0] != 0);
	mlrt_session_free(s);
	mlrt_model_close(m);
	return st;
}

void fix_data(FixData *d, int seed)
{
	memset(d, 0, sizeof *d);
	for (int i = 0; i < FIX_N; i++)
		d->x[i] = (float)(seed * 7 + i * 3 % 17);
}

MlrtStatus fix_run(MlrtSession *s, FixData *d, MlrtError *err)
{
	const void *inputs[] = {d->x};
	void *outputs[] = {d->y, d->where};

	return mlrt_session_run(s, inputs, outputs, err);
}

int fix_right(const FixData *d)
{
	for (int i = 0; i < FIX_N; i++)
		if (d->y[i] != 2 * (d->x[i] + (float)i / 2))
			return 0;
	return 1;
}
