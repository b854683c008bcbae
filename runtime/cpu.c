/* runtime/cpu.c -- what this CPU can do, in LLVM's names of features.
 *
 * A feature counts only if the operating system keeps its registers too (XCR0 on x86-64), and where it wants to be asked
 * for them first, if it has agreed. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/internal.h"

MLRT_LOCAL int mlrt_arch_misaligned(const char *arch)
{
	return strcmp(arch, "x86_64") == 0 || strcmp(arch, "nvptx64") == 0 ? 0 : strcmp(arch, "aarch64") == 0 ? 3 : strcmp(arch, "riscv64") == 0 ? 1 : -1;
}

#if defined(__x86_64__)
#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };
/* Bits of XCR0 that must be set. */
enum { NO_STATE = 0, YMM = 0x06, ZMM = 0xe6, TILES = 0x60000 };

static const struct Feature {
	const char *name;
	uint32_t leaf, sub;
	uint8_t reg, bit;
	uint32_t state;
} features[] = {
	{"sse3", 1, 0, ECX, 0, NO_STATE},       {"pclmul", 1, 0, ECX, 1, NO_STATE},
	{"ssse3", 1, 0, ECX, 9, NO_STATE},      {"fma", 1, 0, ECX, 12, YMM},
	{"cx16", 1, 0, ECX, 13, NO_STATE},      {"sse4.1", 1, 0, ECX, 19, NO_STATE},
	{"sse4.2", 1, 0, ECX, 20, NO_STATE},    {"movbe", 1, 0, ECX, 22, NO_STATE},
	{"popcnt", 1, 0, ECX, 23, NO_STATE},    {"aes", 1, 0, ECX, 25, NO_STATE},
	{"avx", 1, 0, ECX, 28, YMM},            {"f16c", 1, 0, ECX, 29, YMM},
	{"bmi", 7, 0, EBX, 3, NO_STATE},        {"avx2", 7, 0, EBX, 5, YMM},
	{"bmi2", 7, 0, EBX, 8, NO_STATE},       {"avx512f", 7, 0, EBX, 16, ZMM},
	{"avx512dq", 7, 0, EBX, 17, ZMM},       {"rdseed", 7, 0, EBX, 18, NO_STATE},
	{"adx", 7, 0, EBX, 19, NO_STATE},       {"avx512ifma", 7, 0, EBX, 21, ZMM},
	{"clflushopt", 7, 0, EBX, 23, NO_STATE}, {"clwb", 7, 0, EBX, 24, NO_STATE},
	{"avx512cd", 7, 0, EBX, 28, ZMM},       {"sha", 7, 0, EBX, 29, NO_STATE},
	{"avx512bw", 7, 0, EBX, 30, ZMM},       {"avx512vl", 7, 0, EBX, 31, ZMM},
	{"avx512vbmi", 7, 0, ECX, 1, ZMM},      {"avx512vbmi2", 7, 0, ECX, 6, ZMM},
	{"gfni", 7, 0, ECX, 8, NO_STATE},       {"vaes", 7, 0, ECX, 9, YMM},
	{"vpclmulqdq", 7, 0, ECX, 10, YMM},     {"avx512vnni", 7, 0, ECX, 11, ZMM},
	{"avx512bitalg", 7, 0, ECX, 12, ZMM},   {"avx512vpopcntdq", 7, 0, ECX, 14, ZMM},
	{"movdiri", 7, 0, ECX, 27, NO_STATE},   {"avx512vp2intersect", 7, 0, EDX, 8, ZMM},
	{"amx-bf16", 7, 0, EDX, 22, TILES},     {"avx512fp16", 7, 0, EDX, 23, ZMM},
	{"amx-tile", 7, 0, EDX, 24, TILES},     {"amx-int8", 7, 0, EDX, 25, TILES},
	{"avxvnni", 7, 1, EAX, 4, YMM},
	{"avx512bf16", 7, 1, EAX, 5, ZMM},      {"avxifma", 7, 1, EAX, 23, YMM},
	{"avxvnniint8", 7, 1, EDX, 4, YMM},     {"avxneconvert", 7, 1, EDX, 5, YMM},
	{"avxvnniint16", 7, 1, EDX, 10, YMM},   {"sahf", 0x80000001, 0, ECX, 0, NO_STATE},
	{"lzcnt", 0x80000001, 0, ECX, 5, NO_STATE},
};

MLRT_LOCAL const char *mlrt_cpu_arch(void)
{
	return "x86_64";
}

/* Each cpuid leaves a virtual machine and comes back, which takes longer than all the rest of opening a small
 * package: the pages in use are read once. */
static struct Page {
	uint32_t leaf, sub, reg[4];
} pages[] = {{1, 0, {0}}, {7, 0, {0}}, {7, 1, {0}}, {0x80000001, 0, {0}}};
static uint32_t saved_state; /* XCR0 */
static pthread_once_t pages_read = PTHREAD_ONCE_INIT;

static void read_pages(void)
{
	uint32_t high, last = 0; /* of leaf 7: its last page */

	for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
		struct Page *p = &pages[i];

		if (p->sub > last ||
		    !__get_cpuid_count(p->leaf, p->sub, &p->reg[EAX], &p->reg[EBX], &p->reg[ECX], &p->reg[EDX]))
			continue;
		if (p->leaf == 7 && p->sub == 0)
			last = p->reg[EAX];
	}
	if (pages[0].reg[ECX] >> 27 & 1) /* OSXSAVE */
		__asm__ volatile("xgetbv" : "=a"(saved_state), "=d"(high) : "c"(0));
}

static bool tiles_granted;
static pthread_once_t tiles_asked = PTHREAD_ONCE_INIT;

/* Linux keeps the 8 KiB of tile registers for processes that have asked for them: once, for all threads.  (Linux,
 * Documentation/arch/x86/xstate.rst.) */
static void ask_for_tiles(void)
{
	enum { ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };

	tiles_granted = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
}

/* Of registers that the system keeps. */
static bool may_use(uint32_t state)
{
	if (!(state & TILES))
		return true;
	pthread_once(&tiles_asked, ask_for_tiles);
	return tiles_granted;
}

MLRT_LOCAL CpuAnswer mlrt_cpu_has(const char *name)
{
	for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
		const struct Feature *f = &features[i];
		const struct Page *p = pages;

		if (strcmp(f->name, name) != 0)
			continue;
		pthread_once(&pages_read, read_pages);
		while (p->leaf != f->leaf || p->sub != f->sub)
			p++;
		if (!(p->reg[f->reg] >> f->bit & 1))
			return CPU_NO;
		return (saved_state & f->state) == f->state && may_use(f->state) ? CPU_YES : CPU_NO;
	}
	return CPU_UNKNOWN;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>
#include <sys/prctl.h>

/* Bits of the kernel's AT_HWCAP and AT_HWCAP2 (asm/hwcap.h), by number: old headers lack some. */
static const struct Feature {
	const char *name;
	unsigned long word, bit;
} features[] = {
	{"fp-armv8", AT_HWCAP, 0},   {"neon", AT_HWCAP, 1},       {"aes", AT_HWCAP, 3},
	{"sha2", AT_HWCAP, 6},       {"crc", AT_HWCAP, 7},        {"lse", AT_HWCAP, 8},
	{"fullfp16", AT_HWCAP, 10},  {"rdm", AT_HWCAP, 12},       {"jsconv", AT_HWCAP, 13},
	{"complxnum", AT_HWCAP, 14}, {"rcpc", AT_HWCAP, 15},      {"ccpp", AT_HWCAP, 16},
	{"sha3", AT_HWCAP, 17},      {"sm4", AT_HWCAP, 19},       {"dotprod", AT_HWCAP, 20},
	{"sve", AT_HWCAP, 22},       {"fp16fml", AT_HWCAP, 23},   {"flagm", AT_HWCAP, 27},
	{"ssbs", AT_HWCAP, 28},      {"pauth", AT_HWCAP, 30},     {"sve2", AT_HWCAP2, 1},
	{"sve2-aes", AT_HWCAP2, 2},  {"sve2-bitperm", AT_HWCAP2, 4}, {"sve2-sha3", AT_HWCAP2, 5},
	{"sve2-sm4", AT_HWCAP2, 6},  {"f32mm", AT_HWCAP2, 10},    {"f64mm", AT_HWCAP2, 11},
	{"i8mm", AT_HWCAP2, 13},     {"bf16", AT_HWCAP2, 14},     {"rand", AT_HWCAP2, 16},
	{"bti", AT_HWCAP2, 17},
};

MLRT_LOCAL const char *mlrt_cpu_arch(void)
{
	return "aarch64";
}

/* "sve256": SVE registers of exactly so many bits, for code of a fixed vector length. */
static CpuAnswer sve_length(const char *name)
{
	char *end;
	long bits = strtol(name + 3, &end, 10);
	int vl;

	if (*end || bits < 128 || bits > 2048)
		return CPU_UNKNOWN;
	if (mlrt_cpu_has("sve") != CPU_YES)
		return CPU_NO;
	vl = prctl(51 /* PR_SVE_GET_VL */, 0, 0, 0, 0);
	return vl >= 0 && (vl & 0xffff) * 8 == bits ? CPU_YES : CPU_NO;
}

MLRT_LOCAL CpuAnswer mlrt_cpu_has(const char *name)
{
	for (size_t i = 0; i < sizeof features / sizeof *features; i++)
		if (strcmp(features[i].name, name) == 0)
			return getauxval(features[i].word) >> features[i].bit & 1 ? CPU_YES : CPU_NO;
	return strncmp(name, "sve", 3) == 0 ? sve_length(name) : CPU_UNKNOWN;
}

#elif defined(__riscv) && __riscv_xlen == 64
#include <sys/auxv.h>

MLRT_LOCAL const char *mlrt_cpu_arch(void)
{
	return "riscv64";
}

/* Extensions of one letter are bits of AT_HWCAP, 'a' the lowest (Linux, arch/riscv/include/uapi/asm/hwcap.h). */
MLRT_LOCAL CpuAnswer mlrt_cpu_has(const char *name)
{
	if (name[0] < 'a' || name[0] > 'z' || name[1])
		return CPU_UNKNOWN;
	return getauxval(AT_HWCAP) >> (name[0] - 'a') & 1 ? CPU_YES : CPU_NO;
}

#else
MLRT_LOCAL const char *mlrt_cpu_arch(void)
{
	return "unknown";
}

MLRT_LOCAL CpuAnswer mlrt_cpu_has(const char *name)
{
	(void)name;
	return CPU_UNKNOWN;
}
#endif
