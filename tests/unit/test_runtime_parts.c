/* tests/unit/test_runtime_parts.c -- parts of the runtime that are not exported: CPU count, CPU features, the hash.
 *
 * The sources are compiled in here, so that the test sees them whichever way the library is linked. */
#define MLRT_LOCAL static
#pragma GCC diagnostic ignored "-Wunused-function" /* not all of it is tested here */
#include "runtime/quota.c" /* first: it asks for the GNU parts of the headers */
#include "runtime/cpu.c"
#include "runtime/xxh3.c"

#include <CUnit/CUnit.h>
#include <sys/stat.h>
#include <xxhash.h>

void suite_runtime_parts(void);

/* Writes root/path, making the folders on the way. */
static void put(const char *root, const char *path, const char *text)
{
	char name[512];
	FILE *f;

	snprintf(name, sizeof name, "%s%s", root, path);
	for (char *p = name + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = 0;
		mkdir(name, 0700);
	}
	f = fopen(name, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

static void erase(const char *root)
{
	char command[600];

	snprintf(command, sizeof command, "rm -r './%s'", root);
	CU_ASSERT_EQUAL(system(command), 0);
}

/* CPUs counted in a file system with these files (NULL: left out); the mask allows two or more. */
static int count_with(const char *mounts, const char *cgroup, const char *file, const char *text, const char *file2,
                      const char *text2)
{
	char root[] = "cgroup-XXXXXX";
	int n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
	put(root, "/proc/self/mounts", mounts);
	put(root, "/proc/self/cgroup", cgroup);
	if (file)
		put(root, file, text);
	if (file2)
		put(root, file2, text2);
	n = mlrt_cpu_count(root);
	erase(root);
	return n;
}

static void quotas_limit_threads(void)
{
	static const char v2[] = "tmpfs /run tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
	static const char v1[] = "cgroup /cg/mem cgroup rw,memory 0 0\ncgroup /cg/cpu cgroup rw,cpuacct,cpu 0 0\n";
	const int all = affinity_count();

	CU_ASSERT(all >= 1);
	CU_ASSERT_EQUAL(mlrt_cpu_count("no-such-folder"), all);
	CU_ASSERT_EQUAL(count_with(v2, "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max", "max 100000\n", NULL, NULL), all);
	CU_ASSERT_EQUAL(count_with(v2, "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n", NULL, NULL), 1);
	CU_ASSERT_EQUAL(count_with(v2, "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max", "5000 100000\n", NULL, NULL), 1);
	/* a level above is stricter; a path that only the host knows; the root of a container */
	CU_ASSERT_EQUAL(count_with(v2, "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max", "900000 100000\n",
	                           "/sys/fs/cgroup/a/cpu.max", "100000 100000\n"), 1);
	CU_ASSERT_EQUAL(count_with(v2, "0::/host/x\n", "/sys/fs/cgroup/cpu.max", "100000 100000\n", NULL, NULL), 1);
	CU_ASSERT_EQUAL(count_with(v2, "0::/\n", "/sys/fs/cgroup/cpu.max", "100000 100000\n", NULL, NULL), 1);
	CU_ASSERT_EQUAL(count_with(v2, "0::/\n", "/sys/fs/cgroup/cpu.max", "nonsense\n", NULL, NULL), all);
	CU_ASSERT_EQUAL(count_with(v1, "4:memory:/m\n3:cpuacct,cpu:/d\n", "/cg/cpu/d/cpu.cfs_quota_us", "100000\n",
	                           "/cg/cpu/d/cpu.cfs_period_us", "100000\n"), 1);
	CU_ASSERT_EQUAL(count_with(v1, "3:cpuacct,cpu:/d\n", "/cg/cpu/d/cpu.cfs_quota_us", "-1\n",
	                           "/cg/cpu/d/cpu.cfs_period_us", "100000\n"), all);
}

static void quotas_are_rounded_down(void)
{
	char root[] = "cgroup-XXXXXX";

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
	put(root, "/g/cpu.max", "399999 100000\n");
	CU_ASSERT_EQUAL(quota_at(root, "/g", true), 3);
	put(root, "/g/cpu.max", "1 100000\n");
	CU_ASSERT_EQUAL(quota_at(root, "/g", true), 1);
	CU_ASSERT_EQUAL(quota_at(root, "/g", false), 0);
	erase(root);
}

static void features_are_those_of_the_kernel(void)
{
	/* The kernel's list of what it lets programs use, where it has one word for the same thing. */
	static const struct { const char *llvm, *kernel; } same[] = {
		{"avx", " avx "}, {"avx2", " avx2 "}, {"fma", " fma "}, {"f16c", " f16c "}, {"bmi2", " bmi2 "},
		{"lzcnt", " abm "}, {"movbe", " movbe "}, {"popcnt", " popcnt "}, {"sse4.2", " sse4_2 "},
		{"avx512f", " avx512f "}, {"avx512bw", " avx512bw "}, {"avx512cd", " avx512cd "},
		{"avx512dq", " avx512dq "}, {"avx512vl", " avx512vl "}, {"avx512vnni", " avx512_vnni "},
		{"avx512bf16", " avx512_bf16 "}, {"avx512fp16", " avx512_fp16 "}, {"avxvnni", " avx_vnni "},
		{"avx512vbmi2", " avx512_vbmi2 "}, {"gfni", " gfni "}, {"vaes", " vaes "}, {"adx", " adx "},
		{"pclmul", " pclmulqdq "}, {"dotprod", " asimddp "}, {"neon", " asimd "}, {"sve", " sve "},
		{"amx-int8", " amx_int8 "}, {"amx-bf16", " amx_bf16 "}, {"i8mm", " i8mm "}, {"bf16", " bf16 "}, {"lse", " atomics "},
	};
	char line[8192];
	FILE *f = fopen("/proc/cpuinfo", "r");
	bool found = false;
	int compared = 0;

	CU_ASSERT_EQUAL(mlrt_cpu_has("no-such-feature"), CPU_UNKNOWN);
	CU_ASSERT_EQUAL(mlrt_cpu_has(""), CPU_UNKNOWN);
	while (f && !found && fgets(line, sizeof line, f))
		found = strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0;
	if (f)
		fclose(f);
	if (!found || !strstr(line, strcmp(mlrt_cpu_arch(), "x86_64") == 0 ? " sse2 " : " asimd ")) {
		puts("\n  skipped: /proc/cpuinfo does not tell of this architecture");
		return;
	}
	line[strcspn(line, "\n")] = ' ';
	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		CpuAnswer answer = mlrt_cpu_has(same[i].llvm);

		if (answer == CPU_UNKNOWN)
			continue; /* of the other architecture */
		CU_ASSERT_EQUAL(answer == CPU_YES, strstr(line, same[i].kernel) != NULL);
		compared++;
	}
	CU_ASSERT(compared >= 6);
}

/* All ways through it: each length up to several blocks, at odd addresses, and each loop over long data. */
static void the_hash_is_xxh3(void)
{
	enum { MOST = 5000, ODD = 7 };
	static unsigned char data[MOST + ODD];
	int wrong = 0;

	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (unsigned char)(i * 2654435761u >> 13);
	for (size_t n = 0; n <= MOST; n++) {
		const unsigned char *p = data + n % ODD;
		const uint64_t want = XXH3_64bits(p, n);

		wrong += mlrt_hash(p, n) != want || (n > 240 && hash_long(p, n, stripes_baseline) != want);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

void suite_runtime_parts(void)
{
	CU_pSuite s = CU_add_suite("runtime_parts", NULL, NULL);

	CU_ADD_TEST(s, quotas_limit_threads);
	CU_ADD_TEST(s, quotas_are_rounded_down);
	CU_ADD_TEST(s, features_are_those_of_the_kernel);
	CU_ADD_TEST(s, the_hash_is_xxh3);
}
