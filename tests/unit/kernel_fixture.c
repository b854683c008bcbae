/* tests/unit/kernel_fixture.c -- kernels to machine code in this process. */
#include "tests/unit/kernel_fixture.h"

#include <llvm-c/Core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "codegen/emit.h"
#include "tests/unit/pairs.h"
#include "tests/unit/tiles.h"

static bool link_object(KernelImage *im, const MloTarget *t, const MloBytes *object, int n, MloDiag *d)
{
	const char **symbol = calloc((size_t)n, sizeof *symbol);
	uint64_t *offset = calloc((size_t)n, sizeof *offset);
	char *names = calloc((size_t)n, 16);
	MloBytes image = {0};
	bool ok = false;

	for (int i = 0; i < n; i++) {
		symbol[i] = names + i * 16;
		snprintf(names + i * 16, 16, "k%d", i);
	}
	if (mlo_image_link(t, object, 1, symbol, (size_t)n, &image, offset, d) == MLO_OK) {
		im->n = image.n;
		im->map = mmap(NULL, image.n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ok = im->map != MAP_FAILED;
	}
	if (ok) {
		memcpy(im->map, image.data, image.n);
		ok = mprotect(im->map, im->n, PROT_READ | PROT_EXEC) == 0;
		for (int i = 0; i < n; i++)
			im->fn[i] = (KernelFn *)((char *)im->map + offset[i]);
	}
	free(image.data);
	free(names);
	free(symbol);
	free(offset);
	return ok;
}

bool kernel_image_load(KernelImage *im, const MloTarget *t, MloKernel *const *k, int n, MloDiag *d)
{
	LLVMContextRef ctx = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("test", ctx);
	MloBytes object = {0};
	bool ok = mlo_object_prepare(t, m, d) == MLO_OK;

	*im = (KernelImage){.fn = calloc((size_t)n, sizeof(KernelFn *))};
	for (int i = 0; i < n && ok; i++) {
		char symbol[16];

		snprintf(symbol, sizeof symbol, "k%d", i);
		ok = mlo_emit_kernel(m, t, k[i], symbol, d) == MLO_OK;
	}
	if (ok && t == kernel_tile_target())
		tiles_emulate(m, t->matrix);
	if (ok && t == kernel_pair_target())
		pairs_emulate(m, t->dots);
	if (getenv("MLO_TEST_DUMP") && ok)
		LLVMDumpModule(m);
	ok = ok && mlo_object_emit(t, m, &object, NULL, d) == MLO_OK && link_object(im, t, &object, n, d);
	free(object.data);
	LLVMDisposeModule(m);
	LLVMContextDispose(ctx);
	return ok;
}

void kernel_image_free(KernelImage *im)
{
	if (im->map && im->map != MAP_FAILED)
		munmap(im->map, im->n);
	free(im->fn);
	*im = (KernelImage){0};
}

const MloTarget *kernel_test_target(int i)
{
	const MloTarget *native = mlo_target_native();
	const MloTargetSet *set;

	if (i == 0)
		return native;
	/* The baseline is the last variant of the set that is named as the architecture. */
	set = mlo_target_find(native->arch, NULL);
	for (const MloTarget *const *v = set->variant; *v; v++)
		native = *v;
	return native;
}

const MloTarget *kernel_tile_target(void)
{
	static const MloDots none;
	static MloTarget t;
	const MloTarget *native = mlo_target_native();

	if (t.name)
		return &t;
	t = *mlo_target_find("ml_m7i", NULL)->variant[0];
	t.arch = native->arch;
	t.triple = native->triple;
	t.cpu = native->cpu;
	t.features = native->features;
	t.needs = native->needs;
	t.dots = native->vector_bytes == t.vector_bytes ? native->dots : &none;
	return &t;
}

const MloTarget *kernel_pair_target(void)
{
	static MloDots dots;
	static MloTarget t;
	const MloTarget *native = mlo_target_native(), *arm;

	if (t.name)
		return &t;
	arm = mlo_target_find("graviton4", NULL)->variant[0];
	dots = (MloDots){.s8s8 = arm->dots->s8s8, .mm_u8s8 = arm->dots->mm_u8s8, .mm_s8s8 = arm->dots->mm_s8s8,
	                 .mm_bf16 = arm->dots->mm_bf16};
	t = *arm;
	t.arch = native->arch;
	t.triple = native->triple;
	t.cpu = native->cpu;
	t.features = native->features;
	t.tune = native->tune;
	t.needs = native->needs;
	t.dots = &dots;
	return &t;
}

uint32_t kernel_random(KernelRandom *r, uint32_t below)
{
	uint64_t z = r->s += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ z >> 31) >> 32) % below;
}

uint64_t kernel_test_seed(uint64_t fallback)
{
	const char *s = getenv("MLO_TEST_SEED");

	return s ? strtoull(s, NULL, 0) : fallback;
}
