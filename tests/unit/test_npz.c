/* tests/unit/test_npz.c -- .npz archives: stored and deflated arrays, and malformed ones. */
#include <CUnit/CUnit.h>
#include <string.h>
#include <zlib.h>

#include "tools/npz.h"

void suite_npz(void);

typedef struct Zip {
	unsigned char bytes[4096];
	size_t n, central_n, count;
	unsigned char central[1024];
} Zip;

static void put(unsigned char *p, uint32_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

/* Both headers have version, flags, method, time, crc, sizes and the length of the name in that order. */
static void header(unsigned char *p, uint32_t magic, int method, size_t packed, size_t size, size_t nname)
{
	int at = magic == 0x02014b50 ? 6 : 4;

	put(p, magic, 4);
	put(p + at + 4, (uint32_t)method, 2);
	put(p + at + 14, (uint32_t)packed, 4);
	put(p + at + 18, (uint32_t)size, 4);
	put(p + at + 22, (uint32_t)nname, 2);
}

static void add(Zip *z, const char *name, int method, const void *data, size_t packed, size_t size)
{
	size_t nname = strlen(name);
	unsigned char *c = z->central + z->central_n;

	header(c, 0x02014b50, method, packed, size, nname);
	put(c + 42, (uint32_t)z->n, 4);
	memcpy(c + 46, name, nname);
	z->central_n += 46 + nname;
	header(z->bytes + z->n, 0x04034b50, method, packed, size, nname);
	memcpy(z->bytes + z->n + 30, name, nname);
	memcpy(z->bytes + z->n + 30 + nname, data, packed);
	z->n += 30 + nname + packed;
	z->count++;
}

static void close_zip(Zip *z)
{
	size_t at = z->n;
	unsigned char *e;

	memcpy(z->bytes + z->n, z->central, z->central_n);
	z->n += z->central_n;
	e = z->bytes + z->n;
	put(e, 0x06054b50, 4);
	put(e + 10, (uint32_t)z->count, 2);
	put(e + 16, (uint32_t)at, 4);
	z->n += 22;
}

/* A vector of two float32 numbers as a .npy file of 88 bytes. */
static size_t npy(unsigned char *p, float a, float b)
{
	static const char head[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }             \n";
	float v[] = {a, b};
	size_t n = sizeof head - 1;

	memcpy(p, "\x93NUMPY\x01\x00", 8);
	put(p + 8, (uint32_t)n, 2);
	memcpy(p + 10, head, n);
	memcpy(p + 10 + n, v, sizeof v);
	return 10 + n + sizeof v;
}

static size_t deflated(unsigned char *to, size_t room, unsigned char *from, size_t n)
{
	z_stream s = {.next_in = from, .avail_in = (uInt)n, .next_out = to, .avail_out = (uInt)room};

	CU_ASSERT_EQUAL(deflateInit2(&s, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	CU_ASSERT_EQUAL(deflate(&s, Z_FINISH), Z_STREAM_END);
	deflateEnd(&s);
	return room - s.avail_out;
}

static void make(Zip *z)
{
	unsigned char a[256], packed[256];
	size_t n = npy(a, 1, 2);

	memset(z, 0, sizeof *z);
	add(z, "x.npy", 0, a, n, n);
	n = npy(a, 3, 4);
	add(z, "readme", 0, "hello", 5, 5);
	add(z, "y z.npy", 8, packed, deflated(packed, sizeof packed, a, n), n);
	close_zip(z);
}

static void both_kinds_are_read(void)
{
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloNpz got;
	Zip z;

	make(&z);
	CU_ASSERT_EQUAL_FATAL(mlo_npz_parse(a, z.bytes, z.n, "t.npz", &got, &d), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(got.n, 2);
	CU_ASSERT_STRING_EQUAL(got.name[0], "x");
	CU_ASSERT_STRING_EQUAL(got.name[1], "y z");
	CU_ASSERT_EQUAL(mlo_tensor_f64(got.array[0], 1), 2);
	CU_ASSERT_EQUAL(mlo_tensor_f64(got.array[1], 0), 3);
	mlo_arena_free(a);
	mlo_diag_free(&d);
}

/* Each prefix, and each byte changed in turn: an answer or a message, never a read outside (sanitizers look). */
static void damage_is_refused(void)
{
	MloDiag d = {0};
	MloNpz got;
	Zip z;
	int refused = 0;

	make(&z);
	for (size_t i = 0; i < 2 * z.n; i++) {
		MloArena *a = mlo_arena_new();
		size_t n = i < z.n ? i : z.n;
		unsigned char *p = mlo_alloc(a, n + 1, 1);
		MloStatus st;

		memcpy(p, z.bytes, n);
		if (i >= z.n)
			p[i - z.n] ^= 0xff;
		st = mlo_npz_parse(a, p, n, "t.npz", &got, &d);
		refused += st != MLO_OK;
		CU_ASSERT_EQUAL(st != MLO_OK, d.nerrors > 0);
		mlo_diag_free(&d);
		mlo_arena_free(a);
	}
	CU_ASSERT(refused > (int)z.n);
}

void suite_npz(void)
{
	CU_pSuite s = CU_add_suite("npz", NULL, NULL);

	CU_ADD_TEST(s, both_kinds_are_read);
	CU_ADD_TEST(s, damage_is_refused);
}
