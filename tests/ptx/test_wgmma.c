/* tests/ptx/test_wgmma.c -- products of warpgroups against plain ones, for all types, sizes and layouts of
 * operands. The kernels are written here, and into files, so that an assembler can judge them, too. Kernels
 * that are wrong: test_wgmma_faults.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/test.h"

enum { ROWS = 64, COLS = 256, DEPTH = 32, THREADS = 128, REGS = 128, IMAGE = 160 << 10, ROOM = IMAGE / 2 };

typedef struct Form {
	const char *d, *a, *b; /* types */
	int bits;
	const int *cols; /* up to 0 */
} Form;

static const int few[] = {8, 136, 256, 0}, some[] = {8, 24, 64, 192, 256, 0};
static const int all[] = {8,   16,  24,  32,  40,  48,  56,  64,  72,  80,  88,  96,  104, 112, 120, 128, 136,
			  144, 152, 160, 168, 176, 184, 192, 200, 208, 216, 224, 232, 240, 248, 256, 0};
static const int bytes[] = {8,   16,  24,  32,  48,  64,  80,  96,  112, 128,
			    144, 160, 176, 192, 208, 224, 240, 256, 0};
static const Form forms[] = {
	{"f32", "f16", "f16", 16, all},   {"f16", "f16", "f16", 16, few}, {"f32", "bf16", "bf16", 16, some},
	{"f32", "tf32", "tf32", 32, all}, {"s32", "s8", "s8", 8, bytes},  {"s32", "u8", "u8", 8, some},
	{"s32", "u8", "s8", 8, some},     {"s32", "s8", "u8", 8, some},
};

/* One kernel: a form with a number of columns, and how the instruction has its operands. */
typedef struct Variant {
	const Form *form;
	int cols;
	bool registers, across[2], negated[2], saturates; /* registers: A is in them */
} Variant;

static int depth_of(const Form *f)
{
	return 256 / f->bits;
}

static int sums_of(const Variant *v)
{
	return strcmp(v->form->d, "f16") ? v->cols / 2 : v->cols / 4;
}

/* Which variants there are of a form: all of them for a few sizes, the plain ones for the others. Number n;
 * false: no more. */
static bool variant(const Form *f, int cols, int n, Variant *v)
{
	const bool halves = f->bits == 16, whole = !strcmp(f->d, "s32");
	const bool full = cols == 8 || cols == 64 || cols == 256;
	const int count = halves && full ? 6 : 2;

	*v = (Variant){.form = f, .cols = cols, .registers = n % 2};
	v->across[0] = n >= 4 && !v->registers;
	v->across[1] = n == 2 || n == 3 || n == 4;
	v->negated[0] = !whole && (n == 1 || n == 4);
	v->negated[1] = !whole && (n == 1 || n == 2);
	v->saturates = whole && n == 1;
	return n < count && (n < 5 || halves);
}

static void name_of(const Variant *v, char *name)
{
	sprintf(name, "n%d_%s_%s_%s_%d%d%d%d", v->cols, v->form->d, v->form->a, v->form->b, v->registers,
		v->across[0], v->across[1], v->negated[0] + 2 * v->negated[1] + 4 * v->saturates);
}

/* -- the kernels -- */

static void print_product(FILE *o, const Variant *v)
{
	const Form *f = v->form;

	fprintf(o, "\twgmma.mma_async.sync.aligned.m64n%dk%d%s.%s.%s.%s ", v->cols, depth_of(f),
		v->saturates ? ".satfinite" : "", f->d, f->a, f->b);
	test_print_list(o, "d", sums_of(v));
	fputs(", ", o);
	if (v->registers)
		test_print_list(o, "a", 4);
	else
		fputs("%da", o);
	fputs(", %db, %keep", o);
	if (strcmp(f->d, "s32"))
		fprintf(o, ", %d, %d", v->negated[0] ? -1 : 1, v->negated[1] ? -1 : 1);
	if (f->bits == 16 && !v->registers)
		fprintf(o, ", %d", v->across[0]);
	if (f->bits == 16)
		fprintf(o, ", %d", v->across[1]);
	fputs(";\n", o);
}

/* The image of shared memory comes from global memory; where its matrices lie in it is in the descriptors. */
static void print_kernel(FILE *o, const Variant *v)
{
	const char *sum = strcmp(v->form->d, "f32") ? "b32" : "f32";
	char name[128];

	name_of(v, name);
	fprintf(o,
		"\n.visible .entry %s(.param .u64 image, .param .u64 a, .param .u64 c, .param .u64 d, .param "
		".u64 da, .param .u64 db, "
		".param .u64 keep)\n{\n\t.reg .b32 %%t, %%r<8>, %%a<4>;\n\t.reg .b64 %%p, %%offset, %%da, "
		"%%db, %%base, %%n;\n"
		"\t.reg .%s %%d<%d>;\n\t.reg .pred %%keep, %%more;\n",
		name, sum, REGS);
	fprintf(o,
		"\tmov.u32 %%t, %%tid.x;\n\tmul.wide.u32 %%offset, %%t, 16;\n\tld.param.u64 %%p, "
		"[image];\n\tadd.u64 %%p, %%p, %%offset;\n"
		"\tmov.u32 %%r5, memory;\n\tshl.b32 %%r4, %%t, 4;\n\tadd.u32 %%r4, %%r4, %%r5;\n\tadd.u32 "
		"%%r6, %%r5, %d;\n"
		"fill:\n\tld.global.v4.b32 {%%r0, %%r1, %%r2, %%r3}, [%%p];\n\tst.shared.v4.b32 [%%r4], "
		"{%%r0, %%r1, %%r2, %%r3};\n"
		"\tadd.u64 %%p, %%p, %d;\n\tadd.u32 %%r4, %%r4, %d;\n\tsetp.lt.u32 %%more, %%r4, "
		"%%r6;\n\t@%%more bra fill;\n",
		IMAGE, 16 * THREADS, 16 * THREADS);
	fprintf(o, "\tfence.proxy.async;\n\tbar.sync 0;\n\tmul.wide.u32 %%offset, %%t, 4;\n\tshr.u32 %%r5, "
		   "%%r5, 4;\n"
		   "\tcvt.u64.u32 %%base, %%r5;\n\tld.param.u64 %%da, [da];\n\tadd.u64 %%da, %%da, "
		   "%%base;\n\tld.param.u64 %%db, [db];\n"
		   "\tadd.u64 %%db, %%db, %%base;\n\tld.param.u64 %%n, [keep];\n\tsetp.ne.u64 %%keep, %%n, "
		   "0;\n");
	if (v->registers)
		test_print_loads(o, "a", "b32", "a", 4, THREADS);
	test_print_loads(o, "d", sum, "c", sums_of(v), THREADS);
	fputs("\twgmma.fence.sync.aligned;\n", o);
	print_product(o, v);
	fputs("\twgmma.commit_group.sync.aligned;\n\twgmma.wait_group.sync.aligned 0;\n", o);
	fprintf(o, "\tld.param.u64 %%p, [d];\n\tadd.u64 %%p, %%p, %%offset;\n");
	for (int k = 0; k < sums_of(v); k++)
		fprintf(o, "\tst.global.%s [%%p+%d], %%d%d;\n", sum, k * THREADS * 4, k);
	fputs("\tret;\n}\n", o);
}

/* All kernels of a form, also written to FOLDER/wgmma_NUMBER.ptx. */
static char *write_kernels(const char *folder, int number)
{
	const Form *f = &forms[number];
	char path[4096], name[64];
	Variant v;
	FILE *o;

	sprintf(name, "wgmma_%d.ptx", number);
	snprintf(path, sizeof path, "%s/%s", folder, name);
	o = fopen(path, "w");
	if (!o)
		return NULL;
	fprintf(o, ".version 8.4\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 "
		   "memory[];\n");
	for (const int *c = f->cols; *c; c++)
		for (int n = 0; variant(f, *c, n, &v); n++)
			print_kernel(o, &v);
	fclose(o);
	return test_read(folder, name);
}

/* -- values -- */

static uint32_t random_bits(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33);
}

/* A value that the type has; sums of products of such are exact. */
static int value_of(const char *type)
{
	const int r = (int)random_bits();

	return !strcmp(type, "u8") ? r % 256 : !strcmp(type, "s8") ? r % 256 - 128 : r % 17 - 8;
}

static uint32_t bits_of(const char *type, int value)
{
	const float f = (float)value;
	uint32_t bits;

	memcpy(&bits, &f, 4);
	if (*type == 's' || *type == 'u')
		return (uint32_t)value;
	if (!strcmp(type, "bf16"))
		return bits >> 16;
	if (strcmp(type, "f16"))
		return strcmp(type, "tf32")
			       ? bits
			       : bits | (random_bits() & 0x1fff); /* of tf32 the last bits do not count */
	return value ? (bits >> 16 & 0x8000) | ((bits >> 13 & 0x3ffff) - (112 << 10)) : 0;
}

static int half_value(uint32_t h)
{
	const int e = (int)(h >> 10 & 31);
	const double m = e ? ldexp(1024 + (h & 1023), e - 25) : ldexp(h & 1023, -24);

	return (int)(h & 0x8000 ? -m : m);
}

typedef struct Matrices {
	int a[ROWS][DEPTH], b[COLS][DEPTH], c[ROWS][COLS]; /* b by column */
} Matrices;

static void make(const Variant *v, Matrices *m)
{
	for (int r = 0; r < ROWS; r++)
		for (int k = 0; k < DEPTH; k++)
			m->a[r][k] = value_of(v->form->a);
	for (int c = 0; c < COLS; c++)
		for (int k = 0; k < DEPTH; k++)
			m->b[c][k] = value_of(v->form->b);
	for (int r = 0; r < ROWS; r++)
		for (int c = 0; c < COLS; c++)
			m->c[r][c] = strcmp(v->form->d, "s32") ? value_of("f32")
							       : (int)(random_bits() << 1 ^ random_bits());
}

/* -- the image of shared memory -- */

/* How a matrix lies in it. The swizzle's pattern, 8 rows of `wide` bytes, begins at `begin`, the matrix
 * `skip` bytes further on. */
typedef struct Place {
	int wide; /* 16: no swizzle */
	int begin, skip, leading, stride;
	bool across;
} Place;

/* Where byte b of line n is. Side by side lie the depth, or, across, rows (columns). */
static int where(const Place *p, int n, int b)
{
	const int piece = (p->skip + b) / 16, row = n % 8;
	int at;

	if (p->wide == 16)
		return p->across ? p->begin + n / 8 * p->leading + row * 16 + b / 16 * p->stride + b % 16
				 : p->begin + n / 8 * p->stride + row * 16 + b / 16 * p->leading + b % 16;
	at = p->begin + n / 8 * p->stride + row * p->wide +
	     (p->across ? piece / (p->wide / 16) * p->leading : 0);
	return at + (piece % (p->wide / 16) ^ row * p->wide / 128) * 16 + b % 16;
}

/* A random way to lay out `extent` rows or columns, in one half of the image. */
static Place random_place(int extent, int depth, bool across, int bits, int half)
{
	static const int widths[] = {16, 32, 64, 128};
	Place p = {.wide = widths[random_bits() % 4], .begin = half * ROOM, .across = across};
	const int pattern = 8 * p.wide, line = across ? extent * bits / 8 : 32,
		  far = across ? depth / 8 : extent / 8;
	const int pad = (int)(random_bits() % 2) * (p.wide == 16 ? 16 : pattern);

	if (p.wide == 16) {
		const int cores = across ? line / 16 : 2; /* core matrices in a line */
		const bool line_first = random_bits() % 2;
		const int first = 128 + pad, second = first * (line_first ? cores : far) + pad;

		p.begin += 16 * (int)(random_bits() % 8);
		/* between core matrices of a line, and of a column */
		p.leading = (line_first ? first : second);
		p.stride = (line_first ? second : first);
		if (across) {
			const int swap = p.leading;

			p.leading = p.stride;
			p.stride = swap;
		}
		return p;
	}
	p.begin += 128 * (int)(random_bits() % (unsigned)(pattern / 128));
	if (across) { /* blocks of a swizzle's width, or parts of one */
		p.skip = line < p.wide ? (int)(random_bits() % (unsigned)(p.wide / line)) * line : 0;
		p.stride = pattern + pad;
		p.leading = p.stride * far + pad;
	} else {
		p.skip = 32 * (int)(random_bits() % (unsigned)(p.wide / 32));
		p.stride = pattern + pad;
		p.leading = 16 * (int)(random_bits() % 64); /* not looked at */
	}
	return p;
}

static uint64_t descriptor(const Place *p)
{
	const uint64_t mode = p->wide == 128 ? 1 : p->wide == 64 ? 2 : p->wide == 32 ? 3 : 0;
	const int first = p->begin + p->skip;

	return (uint64_t)(first >> 4) | (uint64_t)(p->leading >> 4) << 16 | (uint64_t)(p->stride >> 4) << 32 |
	       (mode ? (uint64_t)(p->begin >> 7 & (p->wide / 16 - 1)) << 49 : 0) | mode << 62;
}

static void lay(uint8_t *image, const Place *p, const char *type, int bits, int extent, int depth,
		int (*m)[DEPTH])
{
	for (int n = 0; n < extent; n++)
		for (int k = 0; k < depth; k++) {
			const uint32_t v = bits_of(type, m[n][k]);
			const int line = p->across ? k : n, b = (p->across ? n : k) * bits / 8;

			memcpy(image + where(p, line, b), &v, (size_t)bits / 8);
		}
}

/* -- fragments -- */

static uint32_t *word(const TestBuffer *b, int reg, int row, int pair)
{
	return (uint32_t *)b->host + reg * THREADS + row / 16 * 32 + row % 8 * 4 + pair;
}

static void lay_fragments(const Variant *v, const Matrices *m, TestBuffer *a)
{
	const int bits = v->form->bits, n = 32 / bits;

	memset(a->host, 0, a->bytes);
	for (int r = 0; r < ROWS; r++)
		for (int k = 0; k < depth_of(v->form); k++) {
			const uint32_t mask = bits == 32 ? ~0u : (1u << bits) - 1;

			*word(a, r / 8 % 2 + k / (4 * n) * 2, r, k / n % 4) |=
				(bits_of(v->form->a, m->a[r][k]) & mask) << k % n * bits;
		}
}

static void lay_sums(const Variant *v, const Matrices *m, TestBuffer *c)
{
	memset(c->host, 0, c->bytes);
	for (int r = 0; r < ROWS; r++)
		for (int k = 0; k < v->cols; k++)
			if (!strcmp(v->form->d, "f16"))
				*word(c, r / 8 % 2 + k / 8 * 2, r, k / 2 % 4) |= bits_of("f16", m->c[r][k])
										 << k % 2 * 16;
			else
				*word(c, k % 2 + r / 8 % 2 * 2 + k / 8 * 4, r, k / 2 % 4) =
					bits_of(v->form->d, m->c[r][k]);
}

static double result(const Variant *v, const TestBuffer *d, int r, int c)
{
	const uint32_t one = *word(d, c % 2 + r / 8 % 2 * 2 + c / 8 * 4, r, c / 2 % 4);
	float f;

	if (!strcmp(v->form->d, "f16"))
		return half_value(*word(d, r / 8 % 2 + c / 8 * 2, r, c / 2 % 4) >> c % 2 * 16 & 0xffff);
	memcpy(&f, &one, 4);
	return strcmp(v->form->d, "s32") ? (double)f : (int32_t)one;
}

static double expected(const Variant *v, const Matrices *m, int r, int c, bool keep)
{
	long sum = 0;

	for (int k = 0; k < depth_of(v->form); k++)
		sum += (long)m->a[r][k] * m->b[c][k];
	sum = (v->negated[0] != v->negated[1] ? -sum : sum) + (keep ? m->c[r][c] : 0);
	if (!strcmp(v->form->d, "s32"))
		return !v->saturates     ? (int32_t)(uint32_t)sum
		       : sum > INT32_MAX ? INT32_MAX
		       : sum < INT32_MIN ? INT32_MIN
					 : (double)sum;
	return (double)sum;
}

/* -- */

typedef struct Buffers {
	TestBuffer image, a, c, d;
} Buffers;

static void test_variant(void *module, const Variant *v, Buffers *b, Matrices *m)
{
	const int bits = v->form->bits, depth = depth_of(v->form);
	const Place a = random_place(ROWS, depth, v->across[0], bits, 0),
		    w = random_place(v->cols, depth, v->across[1], bits, 1);
	const bool keep = random_bits() % 4;
	const uint64_t args[] = {b->image.device, b->a.device,    b->c.device, b->d.device,
				 descriptor(&a),  descriptor(&w), keep};
	char name[128];
	int wrong = 0;

	name_of(v, name);
	make(v, m);
	memset(b->image.host, 0xff, b->image.bytes); /* no number */
	lay(b->image.host, &a, v->form->a, bits, ROWS, depth, m->a);
	lay(b->image.host, &w, v->form->b, bits, v->cols, depth, m->b);
	lay_fragments(v, m, &b->a);
	lay_sums(v, m, &b->c);
	test_put(&b->image);
	test_put(&b->a);
	test_put(&b->c);
	CALL(test_run(module, name, 1, THREADS, IMAGE, 7, args));
	test_get(&b->d);
	for (int r = 0; r < ROWS; r++)
		for (int c = 0; c < v->cols; c++)
			wrong += result(v, &b->d, r, c) != expected(v, m, r, c, keep);
	CHECK_THAT(!wrong, "%s: %d wrong; A %d wide at %d+%d, %d, %d; B %d wide at %d+%d, %d, %d", name,
		   wrong, a.wide, a.begin, a.skip, a.leading, a.stride, w.wide, w.begin, w.skip, w.leading,
		   w.stride);
}

static void allow_shared(void *module, const Variant *v)
{
	enum { MAX_DYNAMIC = 8 };
	char name[128];
	void *function;

	name_of(v, name);
	CALL(cuModuleGetFunction(&function, module, name));
	CALL(cuFuncSetAttribute(function, MAX_DYNAMIC, IMAGE));
}

static void test_form(const char *folder, int number, Buffers *b, Matrices *m)
{
	const Form *f = &forms[number];
	char *text = write_kernels(folder, number);
	void *module = test_load(text);
	Variant v;

	free(text);
	if (!module)
		return;
	for (const int *c = f->cols; *c; c++)
		for (int n = 0; variant(f, *c, n, &v); n++) {
			allow_shared(module, &v);
			for (int k = 0; k < (v.cols == 64 || v.cols == 256 ? 8 : 2); k++)
				test_variant(module, &v, b, m);
		}
	CALL(cuModuleUnload(module));
}

/* Of a kernel that ran twice: four warps issue its product, and both operands come from shared memory. */
static void counted(void)
{
	const char *kernel = "\"name\": \"n24_s32_u8_s8_0000\"";
	char *text;

	test_context();
	text = test_read(getenv("PTX_TEST_REPORT"), NULL);
	CHECK(test_number(text, kernel, "\"launches\"") == 2);
	CHECK(test_number(text, kernel, "\"wgmma\"") == 2 * 4);
	CHECK(test_number(text, kernel, "\"products\"") == 2);
	CHECK(test_number(text, kernel, "\"multiply_adds\"") == 2 * ROWS * 24 * 32);
	CHECK(test_number(text, kernel, "\"shared_bytes\"") == 2 * (ROWS + 24) * 32);
	free(text);
}

void test_wgmma(const char *folder)
{
	Buffers b = {test_buffer(IMAGE), test_buffer(4 * THREADS * 4), test_buffer(REGS * THREADS * 4),
		     test_buffer(REGS * THREADS * 4)};
	Matrices *m = calloc(1, sizeof *m);

	for (size_t k = 0; m && k < sizeof forms / sizeof *forms; k++)
		test_form(folder, (int)k, &b, m);
	free(m);
	test_free(&b.image);
	test_free(&b.a);
	test_free(&b.c);
	test_free(&b.d);
	counted();
}
