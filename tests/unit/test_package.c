/* tests/unit/test_package.c -- the package writer: same bytes, no blob twice, all or nothing. */
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "package/package.h"
#include "tests/unit/package_fixture.h"

void suite_package(void);

static void equal_blobs_are_kept_once(void)
{
	MloArena *a = mlo_arena_new();
	MloPackage *p = mlo_package_new(a);
	const char one[] = "weights", two[] = "weights", other[] = "Weights";

	CU_ASSERT_EQUAL(mlo_package_blob(p, MLRT_WEIGHTS, one, sizeof one), 0);
	CU_ASSERT_EQUAL(mlo_package_blob(p, MLRT_WEIGHTS, other, sizeof other), 1);
	CU_ASSERT_EQUAL(mlo_package_blob(p, MLRT_WEIGHTS, two, sizeof two), 0);
	CU_ASSERT_EQUAL(mlo_package_blob(p, MLRT_GOLDEN, two, sizeof two), 2); /* another kind */
	CU_ASSERT_EQUAL(mlo_package_blob(p, MLRT_WEIGHTS, NULL, 0), 3);
	CU_ASSERT_EQUAL(mlo_package_blob(p, MLRT_WEIGHTS, NULL, 0), 3);
	mlo_arena_free(a);
}

/* Bytes of a file into the arena. */
static unsigned char *slurp(MloArena *a, const char *path, size_t *n)
{
	int fd = open(path, O_RDONLY);
	struct stat info;
	unsigned char *bytes;

	CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &info) == 0);
	*n = (size_t)info.st_size;
	bytes = mlo_alloc(a, *n, 1);
	CU_ASSERT_EQUAL(read(fd, bytes, *n), (ssize_t)*n);
	close(fd);
	return bytes;
}

/* A package of three blobs, the last one of `n` bytes. */
static MloPackage *sample(MloArena *a, size_t n)
{
	MloPackage *p = mlo_package_new(a);

	mlo_package_blob(p, MLRT_CODE, "code", 4);
	mlo_package_blob(p, MLRT_WEIGHTS, NULL, 0);
	mlo_package_blob(p, MLRT_GOLDEN, mlo_alloc(a, n, 1), n);
	return p;
}

static int entries(const char *folder)
{
	DIR *dir = opendir(folder);
	int n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void same_calls_same_bytes(void)
{
	MloArena *a = mlo_arena_new();
	char folder[] = "package-XXXXXX", cwd[4096];
	unsigned char *first, *again, *memory;
	size_t n1, n2, n3;

	CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(cwd, sizeof cwd));
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	CU_ASSERT_EQUAL_FATAL(chdir(folder), 0);
	CU_ASSERT_EQUAL(mlo_package_write(sample(a, 999), "{}", "a", NULL), MLO_OK);
	CU_ASSERT_EQUAL(symlink("a", "link"), 0);
	first = slurp(a, "a", &n1);
	CU_ASSERT_EQUAL(mlo_package_write(sample(a, 5), "{}", "a", NULL), MLO_OK);    /* replaced */
	CU_ASSERT_EQUAL(mlo_package_write(sample(a, 999), "{}", "link", NULL), MLO_OK); /* through a link */
	again = slurp(a, "a", &n2);
	CU_ASSERT_EQUAL(mlo_package_bytes(sample(a, 999), "{}", a, &memory, &n3, NULL), MLO_OK);
	CU_ASSERT(n1 == n2 && n1 == n3 && memcmp(first, again, n1) == 0 && memcmp(first, memory, n1) == 0);
	CU_ASSERT_EQUAL(n1, 2 * MLRT_PAGE + 999); /* the empty blob takes no room */
	CU_ASSERT_EQUAL(entries("."), 2);
	unlink("link");
	unlink("a");
	CU_ASSERT_EQUAL(chdir(cwd), 0);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
	mlo_arena_free(a);
}

static void what_cannot_be_written_leaves_nothing(void)
{
	MloArena *a = mlo_arena_new();
	char folder[] = "package-XXXXXX", path[64];
	MloDiag d = {0};
	struct rlimit old, small;
	unsigned char *before, *after;
	size_t n1, n2;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	strcat(strcpy(path, folder), "/p");
	CU_ASSERT_EQUAL(mlo_package_write(sample(a, 5), "{}", path, &d), MLO_OK);
	before = slurp(a, path, &n1);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	/* No room: in the header, in padding, in a blob.  The older file stays as it was. */
	for (rlim_t size = 1; size < 6 * MLRT_PAGE; size += 10007) {
		small.rlim_cur = size;
		setrlimit(RLIMIT_FSIZE, &small);
		CU_ASSERT_EQUAL(mlo_package_write(sample(a, 4 * MLRT_PAGE), "{}", path, &d), MLO_ERR_IO);
		CU_ASSERT_EQUAL(entries(folder), 1);
	}
	setrlimit(RLIMIT_FSIZE, &old);
	CU_ASSERT_PTR_NOT_NULL(strstr(d.lines[0].text, strerror(EFBIG)));
	after = slurp(a, path, &n2);
	CU_ASSERT(n1 == n2 && memcmp(before, after, n1) == 0);
	unlink(path);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
	CU_ASSERT_EQUAL(mlo_package_write(sample(a, 5), "{}", path, &d), MLO_ERR_IO); /* no such folder */
	CU_ASSERT_EQUAL(mlo_package_write(sample(a, 5), "{}", ".", &d), MLO_ERR_IO);
	CU_ASSERT_EQUAL(mlo_package_write(sample(a, 5), "{}", "/dev/full", &d), MLO_ERR_IO);
	CU_ASSERT_EQUAL(access("/dev/full", F_OK), 0); /* a device is not replaced */
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

static void huge_manifests_are_refused(void)
{
	MloArena *a = mlo_arena_new();
	char *text = mlo_alloc(a, MLRT_MANIFEST_MAX + 2, 1);
	unsigned char *bytes;
	size_t n;

	memset(text, ' ', MLRT_MANIFEST_MAX + 1);
	CU_ASSERT_EQUAL(mlo_package_bytes(sample(a, 1), text, a, &bytes, &n, NULL), MLO_ERR_LIMIT);
	CU_ASSERT_EQUAL(mlo_package_write(sample(a, 1), text, "huge", NULL), MLO_ERR_LIMIT);
	mlo_arena_free(a);
}

static void files_can_be_inspected(void)
{
	MloPackageFile file;
	MloDiag d = {0};
	Fixture f;
	char path[64];

	fix_init(&f);
	fix_edit(&f, "\"plain\",\"arch\":\"", "\"plain\",\"arch\":\"un"); /* the runtime could not open it */
	fix_build(&f);
	fix_write(&f, path);
	CU_ASSERT_EQUAL(mlo_package_open(f.arena, path, &file, &d), MLO_OK);
	CU_ASSERT_STRING_EQUAL(file.manifest, f.manifest);
	CU_ASSERT_EQUAL(file.nblobs, 3);
	CU_ASSERT_EQUAL(file.blob[1].kind, MLRT_WEIGHTS);
	CU_ASSERT_EQUAL(memcmp(file.bytes + file.blob[1].offset, f.weights, sizeof f.weights), 0);
	CU_ASSERT_EQUAL(truncate(path, MLRT_PAGE), 0);
	CU_ASSERT_EQUAL(mlo_package_open(f.arena, path, &file, &d), MLO_ERR_FORMAT);
	unlink(path);
	CU_ASSERT_EQUAL(mlo_package_open(f.arena, path, &file, &d), MLO_ERR_IO);
	CU_ASSERT_EQUAL(d.n, 2);
	mlo_diag_free(&d);
	fix_free(&f);
}

void suite_package(void)
{
	CU_pSuite s = CU_add_suite("package", NULL, NULL);

	CU_ADD_TEST(s, equal_blobs_are_kept_once);
	CU_ADD_TEST(s, same_calls_same_bytes);
	CU_ADD_TEST(s, what_cannot_be_written_leaves_nothing);
	CU_ADD_TEST(s, huge_manifests_are_refused);
	CU_ADD_TEST(s, files_can_be_inspected);
}
