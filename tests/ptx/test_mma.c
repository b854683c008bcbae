/* tests/ptx/test_mma.c -- every shape of mma and mma.sp against plain products of matrices. The kernels are written
 * here, one for each shape and type, and into a file, so that an assembler can judge them, too. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/ptx/test.h"

enum { DEPTH = 64, COLS = 8, LANES = 32 };

typedef struct Form {
	const char *shape, *a, *b, *sum; /* types of A, B, C and D */
	int rows, depth, bits, sm, selectors; /* selectors: 0 for dense ones */
} Form;

static const Form forms[] = {
	{"m16n8k8", "f16", "f16", "f32", 16, 8, 16, 75, 0},    {"m16n8k8", "f16", "f16", "f16", 16, 8, 16, 75, 0},
	{"m8n8k16", "s8", "s8", "s32", 8, 16, 8, 75, 0},       {"m8n8k16", "u8", "s8", "s32", 8, 16, 8, 75, 0},
	{"m8n8k32", "s4", "u4", "s32", 8, 32, 4, 75, 0},       {"m16n8k16", "f16", "f16", "f32", 16, 16, 16, 80, 0},
	{"m16n8k16", "f16", "f16", "f16", 16, 16, 16, 80, 0},  {"m16n8k8", "bf16", "bf16", "f32", 16, 8, 16, 80, 0},
	{"m16n8k16", "bf16", "bf16", "f32", 16, 16, 16, 80, 0}, {"m16n8k4", "tf32", "tf32", "f32", 16, 4, 32, 80, 0},
	{"m16n8k8", "tf32", "tf32", "f32", 16, 8, 32, 80, 0},  {"m16n8k16", "s8", "s8", "s32", 16, 16, 8, 80, 0},
	{"m16n8k32", "s8", "s8", "s32", 16, 32, 8, 80, 0},     {"m16n8k32", "u8", "u8", "s32", 16, 32, 8, 80, 0},
	{"m16n8k32", "u8", "s8", "s32", 16, 32, 8, 80, 0},     {"m16n8k32", "s4", "s4", "s32", 16, 32, 4, 80, 0},
	{"m16n8k64", "u4", "s4", "s32", 16, 64, 4, 80, 0},     {"m16n8k16", "f16", "f16", "f32", 16, 16, 16, 80, 4},
	{"m16n8k16", "f16", "f16", "f16", 16, 16, 16, 80, 4},  {"m16n8k32", "f16", "f16", "f32", 16, 32, 16, 80, 2},
	{"m16n8k16", "bf16", "bf16", "f32", 16, 16, 16, 80, 4}, {"m16n8k32", "bf16", "bf16", "f32", 16, 32, 16, 80, 2},
	{"m16n8k8", "tf32", "tf32", "f32", 16, 8, 32, 80, 4},  {"m16n8k16", "tf32", "tf32", "f32", 16, 16, 32, 80, 2},
	{"m16n8k32", "s8", "s8", "s32", 16, 32, 8, 80, 2},     {"m16n8k32", "u8", "s8", "s32", 16, 32, 8, 80, 2},
	{"m16n8k64", "s8", "s8", "s32", 16, 64, 8, 80, 1},     {"m16n8k64", "s8", "u8", "s32", 16, 64, 8, 80, 1},
};

static bool is_int(const Form *f)
{
	return f->bits <= 8;
}

static int kept(const Form *f)
{
	return f->selectors ? f->depth / 2 : f->depth;
}

static int regs_a(const Form *f)
{
	return f->rows * kept(f) * f->bits / 1024;
}

static int regs_b(const Form *f)
{
	return COLS * f->depth * f->bits / 1024;
}

static int regs_c(const Form *f)
{
	return strcmp(f->sum, "f16") ? f->rows / 4 : 2;
}

static void form_name(const Form *f, int selector, char *name)
{
	sprintf(name, "%s_%s_%s_%s%s%d", f->shape, f->a, f->b, f->sum, f->selectors ? "_sparse" : "_", selector);
}

/* -- the kernels -- */

static void print_kernel(FILE *o, const Form *f, int selector)
{
	const char *sum = strcmp(f->sum, "f32") ? "b32" : "f32";
	char name[128];

	form_name(f, selector, name);
	fprintf(o,
		"\n.visible .entry %s(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d, .param .u64 e)\n{\n",
		name);
	fprintf(o, "\t.reg .b32 %%l, %%a<8>, %%b<8>, %%e<1>;\n\t.reg .b64 %%p, %%offset;\n\t.reg .%s %%c<4>, %%d<4>;\n",
		sum);
	fprintf(o, "\tmov.u32 %%l, %%laneid;\n\tmul.wide.u32 %%offset, %%l, 4;\n");
	test_print_loads(o, "a", "b32", "a", regs_a(f), LANES);
	test_print_loads(o, "b", "b32", "b", regs_b(f), LANES);
	test_print_loads(o, "c", sum, "c", regs_c(f), LANES);
	if (f->selectors)
		test_print_loads(o, "e", "b32", "e", 1, LANES);
	fprintf(o, "\tmma%s.sync.aligned.%s.row.col.%s.%s.%s.%s ", f->selectors ? ".sp" : "", f->shape, f->sum, f->a,
		f->b, f->sum);
	test_print_list(o, "d", regs_c(f));
	fputs(", ", o);
	test_print_list(o, "a", regs_a(f));
	fputs(", ", o);
	test_print_list(o, "b", regs_b(f));
	fputs(", ", o);
	test_print_list(o, "c", regs_c(f));
	if (f->selectors)
		fprintf(o, ", %%e0, %d", selector);
	fprintf(o, ";\n\tld.param.u64 %%p, [d];\n\tadd.u64 %%p, %%p, %%offset;\n");
	for (int k = 0; k < regs_c(f); k++)
		fprintf(o, "\tst.global.%s [%%p+%d], %%d%d;\n", sum, k * LANES * 4, k);
	fputs("\tret;\n}\n", o);
}

/* All kernels for one target, also written to FOLDER/mma_SM.ptx. */
static char *write_kernels(const char *folder, int sm)
{
	char path[4096], name[64];
	FILE *o;

	sprintf(name, "mma_%d.ptx", sm);
	snprintf(path, sizeof path, "%s/%s", folder, name);
	o = fopen(path, "w");
	if (!o)
		return NULL;
	fprintf(o, ".version 7.1\n.target sm_%d\n.address_size 64\n", sm);
	for (size_t k = 0; k < sizeof forms / sizeof *forms; k++)
		for (int s = 0; forms[k].sm == sm && s < (forms[k].selectors ? forms[k].selectors : 1); s++)
			print_kernel(o, &forms[k], s);
	fclose(o);
	return test_read(folder, name);
}

/* -- values -- */

static uint32_t random_bits(void)
{
	static uint64_t state = 0x853c49e6748fea9b;

	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33);
}

/* A value that the type has, small enough for exact sums unless `fine`. */
static double value_of(const char *type, bool fine)
{
	const int r = (int)(random_bits() % 16);

	if (*type == 'u')
		return r % 16;
	if (*type == 's')
		return r - 8;
	if (!fine)
		return (r - 8) / 2.0;
	return ((int)(random_bits() % 255) - 127) / 64.0; /* 7 bits and a sign: bf16 has them */
}

static uint32_t bits_of(const char *type, double v)
{
	const float f = (float)v;
	uint32_t bits;
	int e;
	double m;

	if (*type == 'u' || *type == 's')
		return (uint32_t)(int)v;
	memcpy(&bits, &f, 4);
	if (!strcmp(type, "bf16"))
		return bits >> 16;
	if (strcmp(type, "f16"))
		return bits;
	if (v == 0)
		return 0;
	m = frexp(fabs(v), &e); /* normal numbers of float16 */
	return (v < 0 ? 0x8000u : 0) | (uint32_t)((e + 14) << 10) | ((uint32_t)(m * 2048) & 1023);
}

static double half_value(uint32_t h)
{
	const double m = (h >> 10 & 31) ? ldexp(1024 + (h & 1023), (int)(h >> 10 & 31) - 25) : ldexp(h & 1023, -24);

	return h & 0x8000 ? -m : m;
}

typedef struct Matrices {
	double a[16][DEPTH], b[DEPTH][COLS], c[16][COLS], kept[16][DEPTH];
	unsigned places[16][DEPTH / 2]; /* 4 bits for each group of A */
} Matrices;

/* Half of each row of A: two of four, or one of two of float32. */
static void sparsify(const Form *f, Matrices *m)
{
	static const unsigned pairs[] = {0x4, 0x8, 0xc, 0x9, 0xd, 0xe}; /* second place, first place */
	const int group = f->bits == 32 ? 2 : 4;

	for (int r = 0; r < f->rows; r++)
		for (int g = 0; g < f->depth / group; g++) {
			const unsigned places = group == 2 ? (random_bits() & 1 ? 0xe : 0x4) : pairs[random_bits() % 6];
			const int first = group == 2 ? places == 0xe : (int)(places & 3), second = (int)(places >> 2);

			m->places[r][g] = places;
			for (int k = 0; k < group; k++)
				if (k != first && (group == 2 || k != second))
					m->a[r][g * group + k] = 0;
			m->kept[r][g * group / 2] = m->a[r][g * group + first];
			if (group == 4)
				m->kept[r][g * 2 + 1] = m->a[r][g * 4 + second];
		}
}

static void make(const Form *f, bool fine, Matrices *m)
{
	for (int r = 0; r < 16; r++)
		for (int k = 0; k < DEPTH; k++)
			m->a[r][k] = value_of(f->a, fine);
	for (int k = 0; k < DEPTH; k++)
		for (int c = 0; c < COLS; c++)
			m->b[k][c] = value_of(f->b, fine);
	for (int r = 0; r < 16; r++)
		for (int c = 0; c < COLS; c++)
			m->c[r][c] = value_of(f->sum, fine);
	memcpy(m->kept, m->a, sizeof m->a);
	if (f->selectors)
		sparsify(f, m);
}

/* Puts an element into register r of a lane, part e of it. */
static void put(TestBuffer *to, int r, int lane, int e, int bits, uint32_t v)
{
	uint32_t *reg = (uint32_t *)to->host + r * LANES + lane;

	*reg |= (bits == 32 ? v : v & ((1u << bits) - 1)) << e * bits;
}

static void pack(const Form *f, const Matrices *m, TestBuffer *a, TestBuffer *b, TestBuffer *c)
{
	const int n = 32 / f->bits;

	memset(a->host, 0, a->bytes);
	memset(b->host, 0, b->bytes);
	memset(c->host, 0, c->bytes);
	for (int r = 0; r < f->rows; r++)
		for (int k = 0; k < kept(f); k++) {
			/* rows 8 apart, and columns 4n apart, are in other registers of the same lane */
			const int reg = f->rows == 8 ? k / (4 * n) : r / 8 + 2 * (k / (4 * n));

			put(a, reg, r % 8 * 4 + k / n % 4, k % n, f->bits, bits_of(f->a, m->kept[r][k]));
		}
	for (int k = 0; k < f->depth; k++)
		for (int col = 0; col < COLS; col++)
			put(b, k / (4 * n), col * 4 + k / n % 4, k % n, f->bits, bits_of(f->b, m->b[k][col]));
	for (int r = 0; r < f->rows; r++)
		for (int col = 0; col < COLS; col++)
			if (!strcmp(f->sum, "f16"))
				put(c, r / 8, r % 8 * 4 + col / 2, col % 2, 16, bits_of("f16", m->c[r][col]));
			else
				put(c, r / 8 * 2 + col % 2, r % 8 * 4 + col / 2, 0, 32, bits_of(f->sum, m->c[r][col]));
}

/* Metadata as the selector wants it; words that nobody may read are not valid. */
static void pack_metadata(const Form *f, const Matrices *m, int selector, TestBuffer *e)
{
	uint32_t *words = e->host;
	const int groups = f->depth / (f->bits == 32 ? 2 : 4);

	memset(words, 0, e->bytes);
	for (int r = 0; r < 16; r++)
		for (int g = 0; g < groups; g++) {
			const int quad = r % 8 * 4;

			if (f->bits >= 16 && groups == 4)
				words[quad + selector] |= m->places[r][g] << (r / 8 * 16 + g * 4);
			else if (f->bits >= 16)
				words[quad + 2 * selector + g / 4] |= m->places[r][g] << (r / 8 * 16 + g % 4 * 4);
			else
				words[quad + (groups == 8 ? 2 * selector : g / 8 * 2) + r / 8] |= m->places[r][g]
												  << g % 8 * 4;
		}
}

static double result(const Form *f, const TestBuffer *d, int r, int c)
{
	const uint32_t *words = d->host;
	const uint32_t half = words[r / 8 * LANES + r % 8 * 4 + c / 2],
		       word = words[(r / 8 * 2 + c % 2) * LANES + r % 8 * 4 + c / 2];
	float v;

	if (!strcmp(f->sum, "f16"))
		return half_value(half >> c % 2 * 16 & 0xffff);
	if (is_int(f))
		return (int32_t)word;
	memcpy(&v, &word, 4);
	return v;
}

static void compare(const Form *f, const Matrices *m, const TestBuffer *d, const char *name, bool fine)
{
	const double allowed = !fine || is_int(f) ? 0 : strcmp(f->sum, "f16") ? 1e-5 : 0.02;
	double worst = 0;

	for (int r = 0; r < f->rows; r++)
		for (int c = 0; c < COLS; c++) {
			double sum = m->c[r][c];

			for (int k = 0; k < f->depth; k++)
				sum += m->a[r][k] * m->b[k][c];
			worst = fmax(worst, fabs(sum - result(f, d, r, c)));
		}
	CHECK_THAT(worst <= allowed, "%s: wrong by %g", name, worst);
}

static void test_form(void *module, const Form *f, int selector, TestBuffer *b)
{
	const uint64_t args[] = {b[0].device, b[1].device, b[2].device, b[3].device, b[4].device};
	Matrices *m = calloc(1, sizeof *m);
	char name[128];

	form_name(f, selector, name);
	for (int fine = 0; m && fine < 2; fine++) {
		make(f, fine, m);
		pack(f, m, &b[0], &b[1], &b[2]);
		pack_metadata(f, m, selector, &b[4]);
		for (int k = 0; k < 5; k++)
			test_put(&b[k]);
		CALL(test_run(module, name, 1, LANES, 0, 5, args));
		test_get(&b[3]);
		compare(f, m, &b[3], name, fine);
	}
	free(m);
}

void test_mma(const char *folder)
{
	TestBuffer b[5];

	for (int k = 0; k < 5; k++)
		b[k] = test_buffer(8 * LANES * 4);
	for (int sm = 75; sm <= 80; sm += 5) {
		char *text = write_kernels(folder, sm);
		void *module = test_load(text);

		for (size_t k = 0; module && k < sizeof forms / sizeof *forms; k++)
			for (int s = 0; forms[k].sm == sm && s < (forms[k].selectors ? forms[k].selectors : 1); s++)
				test_form(module, &forms[k], s, b);
		if (module)
			CALL(cuModuleUnload(module));
		free(text);
	}
	for (int k = 0; k < 5; k++)
		test_free(&b[k]);
}
