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

#if defined(__x86_64__) || defined(__aarch64__)
/* Which of the names, which lie one behind the other up to an empty one; -1: none. */
static int name_index(const char *list, const char *name)
{
	for (int i = 0; *list; i++, list += strlen(list) + 1) {
		const char *n = name;

		for (; *n && *n == *list; n++)
			list++;
		if (*n == *list)
			return i;
	}
	return -1;
}
#endif

#if defined(__x86_64__)
#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };
enum { LEAF_1, LEAF_7, LEAF_7_1, LEAF_AMD }; /* in pages[] */
enum { NO_STATE, YMM, ZMM, TILES }; /* in states[] */

/* Name, page and register of CPUID, bit, what the system must keep. */
#define FEATURES(F) \
	F("sse3", LEAF_1, ECX, 0, NO_STATE) F("pclmul", LEAF_1, ECX, 1, NO_STATE) F("ssse3", LEAF_1, ECX, 9, NO_STATE) \
	F("fma", LEAF_1, ECX, 12, YMM) F("cx16", LEAF_1, ECX, 13, NO_STATE) F("sse4.1", LEAF_1, ECX, 19, NO_STATE) \
	F("sse4.2", LEAF_1, ECX, 20, NO_STATE) F("movbe", LEAF_1, ECX, 22, NO_STATE) \
	F("popcnt", LEAF_1, ECX, 23, NO_STATE) F("aes", LEAF_1, ECX, 25, NO_STATE) F("avx", LEAF_1, ECX, 28, YMM) \
	F("f16c", LEAF_1, ECX, 29, YMM) F("bmi", LEAF_7, EBX, 3, NO_STATE) F("avx2", LEAF_7, EBX, 5, YMM) \
	F("bmi2", LEAF_7, EBX, 8, NO_STATE) F("avx512f", LEAF_7, EBX, 16, ZMM) F("avx512dq", LEAF_7, EBX, 17, ZMM) \
	F("rdseed", LEAF_7, EBX, 18, NO_STATE) F("adx", LEAF_7, EBX, 19, NO_STATE) \
	F("avx512ifma", LEAF_7, EBX, 21, ZMM) F("clflushopt", LEAF_7, EBX, 23, NO_STATE) \
	F("clwb", LEAF_7, EBX, 24, NO_STATE) F("avx512cd", LEAF_7, EBX, 28, ZMM) F("sha", LEAF_7, EBX, 29, NO_STATE) \
	F("avx512bw", LEAF_7, EBX, 30, ZMM) F("avx512vl", LEAF_7, EBX, 31, ZMM) F("avx512vbmi", LEAF_7, ECX, 1, ZMM) \
	F("avx512vbmi2", LEAF_7, ECX, 6, ZMM) F("gfni", LEAF_7, ECX, 8, NO_STATE) F("vaes", LEAF_7, ECX, 9, YMM) \
	F("vpclmulqdq", LEAF_7, ECX, 10, YMM) F("avx512vnni", LEAF_7, ECX, 11, ZMM) \
	F("avx512bitalg", LEAF_7, ECX, 12, ZMM) F("avx512vpopcntdq", LEAF_7, ECX, 14, ZMM) \
	F("movdiri", LEAF_7, ECX, 27, NO_STATE) F("avx512vp2intersect", LEAF_7, EDX, 8, ZMM) \
	F("amx-bf16", LEAF_7, EDX, 22, TILES) F("avx512fp16", LEAF_7, EDX, 23, ZMM) \
	F("amx-tile", LEAF_7, EDX, 24, TILES) F("amx-int8", LEAF_7, EDX, 25, TILES) F("avxvnni", LEAF_7_1, EAX, 4, YMM) \
	F("avx512bf16", LEAF_7_1, EAX, 5, ZMM) F("avxifma", LEAF_7_1, EAX, 23, YMM) \
	F("avxvnniint8", LEAF_7_1, EDX, 4, YMM) F("avxneconvert", LEAF_7_1, EDX, 5, YMM) \
	F("avxvnniint16", LEAF_7_1, EDX, 10, YMM) F("sahf", LEAF_AMD, ECX, 0, NO_STATE) \
	F("lzcnt", LEAF_AMD, ECX, 5, NO_STATE)
#define NAME(name, page, reg, bit, state)  name "\0"
#define PLACE(name, page, reg, bit, state) (state) << 9 | (page) << 7 | (reg) << 5 | (bit),
static const char names[] = FEATURES(NAME);
static const uint16_t places[] = {FEATURES(PLACE)};
#undef FEATURES
#undef NAME
#undef PLACE
/* Bits of XCR0 that must be set. */
static const uint32_t states[] = {0, 0x06, 0xe6, 0x60000};

MLRT_LOCAL const char *mlrt_cpu_arch(void)
{
	return "x86_64";
}

/* Each cpuid leaves a virtual machine and comes back, which takes longer than all the rest of opening a small
 * package: the pages in use are read once. */
static struct Page {
	uint32_t leaf, sub, reg[4];
} pages[] = {[LEAF_1] = {1, 0, {0}}, [LEAF_7] = {7, 0, {0}}, [LEAF_7_1] = {7, 1, {0}}, [LEAF_AMD] = {0x80000001, 0, {0}}};
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
	if (pages[LEAF_1].reg[ECX] >> 27 & 1) /* OSXSAVE */
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
static bool may_use(int state)
{
	if (state != TILES)
		return true;
	pthread_once(&tiles_asked, ask_for_tiles);
	return tiles_granted;
}

MLRT_LOCAL CpuAnswer mlrt_cpu_has(const char *name)
{
	const int i = name_index(names, name), place = i < 0 ? 0 : places[i], state = place >> 9;

	if (i < 0)
		return CPU_UNKNOWN;
	pthread_once(&pages_read, read_pages);
	if (!(pages[place >> 7 & 3].reg[place >> 5 & 3] >> (place & 31) & 1))
		return CPU_NO;
	return (saved_state & states[state]) == states[state] && may_use(state) ? CPU_YES : CPU_NO;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>
#include <sys/prctl.h>

/* Names; whether AT_HWCAP2 has it or AT_HWCAP; which bit there (asm/hwcap.h), by number: old headers lack some. */
#define FEATURES(F) \
	F("fp-armv8", 0, 0) F("neon", 0, 1) F("aes", 0, 3) F("sha2", 0, 6) F("crc", 0, 7) F("lse", 0, 8) \
	F("fullfp16", 0, 10) F("rdm", 0, 12) F("jsconv", 0, 13) F("complxnum", 0, 14) F("rcpc", 0, 15) \
	F("ccpp", 0, 16) F("sha3", 0, 17) F("sm4", 0, 19) F("dotprod", 0, 20) F("sve", 0, 22) F("fp16fml", 0, 23) \
	F("flagm", 0, 27) F("ssbs", 0, 28) F("pauth", 0, 30) F("sve2", 1, 1) F("sve2-aes", 1, 2) \
	F("sve2-bitperm", 1, 4) F("sve2-sha3", 1, 5) F("sve2-sm4", 1, 6) F("f32mm", 1, 10) F("f64mm", 1, 11) \
	F("i8mm", 1, 13) F("bf16", 1, 14) F("rand", 1, 16) F("bti", 1, 17)
#define NAME(name, second, bit)  name "\0"
#define PLACE(name, second, bit) (second) << 5 | (bit),
static const char names[] = FEATURES(NAME);
static const unsigned char places[] = {FEATURES(PLACE)};
#undef FEATURES
#undef NAME
#undef PLACE

MLRT_LOCAL const char *mlrt_cpu_arch(void)
{
	return "aarch64";
}

/* "sve256": SVE registers of exactly so many bits, for code of a fixed vector length. */
static CpuAnswer sve_length(const char *name)
{
	char *end;
	long long bits = strtoll(name + 3, &end, 10);
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
	const int i = name_index(names, name);

	if (i >= 0)
		return getauxval(places[i] >> 5 ? AT_HWCAP2 : AT_HWCAP) >> (places[i] & 31) & 1 ? CPU_YES : CPU_NO;
	return name[0] == 's' && name[1] == 'v' && name[2] == 'e' ? sve_length(name) : CPU_UNKNOWN;
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
