/* tests/unit/test_trust.c -- signed packages, keys, golden vectors: what is accepted, and what each refusal is called. */
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "package/sign.h"
#include "tests/unit/package_fixture.h"

void suite_trust(void);

enum { KEYS = 3, HEADER = sizeof(MlrtHeader) + sizeof(MlrtSignatures) };

/* A package in memory that keys 0 and 1 have signed, but not key 2. */
typedef struct Signed {
	Fixture f;
	MloKey key[KEYS];
	MlrtPublicKey public_key[KEYS];
} Signed;

static void read_back(Fixture *f, const char *path)
{
	FILE *file = fopen(path, "rb");

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_EQUAL(fread(f->bytes, 1, f->n, file), f->n);
	CU_ASSERT_EQUAL(fgetc(file), EOF);
	fclose(file);
}

static void sign_with(Signed *s, int n)
{
	char path[64];

	fix_build(&s->f);
	fix_write(&s->f, path);
	for (int i = 0; i < n; i++)
		CU_ASSERT_EQUAL_FATAL(mlo_package_sign(s->f.arena, path, &s->key[i], NULL), MLO_OK);
	read_back(&s->f, path);
	unlink(path);
}

static void signed_new(Signed *s)
{
	fix_init(&s->f);
	for (int i = 0; i < KEYS; i++) {
		CU_ASSERT_EQUAL_FATAL(mlo_key_new(&s->key[i], NULL), MLO_OK);
		memcpy(s->public_key[i].bytes, s->key[i].public_key, sizeof s->public_key[i].bytes);
	}
	sign_with(s, 2);
}

/* Opens with keys [first, first + n), of which `needed` must have signed. */
static MlrtStatus open_with(Signed *s, int first, size_t n, size_t needed)
{
	const MlrtOpenOptions opt = {.keys = s->public_key + first, .nkeys = n, .keys_needed = needed};
	const MlrtStatus st = fix_starts(&s->f, &opt);

	if (!mlrt_checks_signatures() && n) /* nothing else may be said then */
		CU_ASSERT_EQUAL(st, MLRT_ERR_NO_CRYPTO);
	return st;
}

#define OPENS(st, first, n, needed)                                                                          \
	CU_ASSERT_EQUAL(open_with(&s, first, n, needed), mlrt_checks_signatures() ? st : MLRT_ERR_NO_CRYPTO)

static void enough_keys_must_have_signed(void)
{
	Signed s;

	signed_new(&s);
	CU_ASSERT_EQUAL(open_with(&s, 0, 0, 0), MLRT_OK);
	OPENS(MLRT_OK, 0, 1, 0);
	OPENS(MLRT_OK, 1, 1, 1);
	OPENS(MLRT_OK, 0, 2, 0);
	OPENS(MLRT_OK, 0, 3, 1);
	OPENS(MLRT_OK, 0, 3, 2);
	OPENS(MLRT_ERR_KEY, 0, 3, 0);
	OPENS(MLRT_ERR_KEY, 0, 3, 3);
	OPENS(MLRT_ERR_KEY, 2, 1, 0);
	OPENS(MLRT_ERR_ARGUMENT, 0, 2, 3);
	CU_ASSERT_EQUAL(open_with(&s, 0, 0, 1), MLRT_ERR_ARGUMENT); /* keys asked for and none given */
	s.public_key[2] = s.public_key[0]; /* the same key twice counts once */
	OPENS(MLRT_ERR_ARGUMENT, 0, 3, 3);
	OPENS(MLRT_OK, 0, 3, 0);
	fix_free(&s.f);
}

static void what_was_signed_cannot_be_changed(void)
{
	const size_t at[] = {offsetof(MlrtHeader, reserved), HEADER + 30, MLRT_PAGE + 3, 2 * MLRT_PAGE + 7};
	Signed s;

	for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
		MlrtHeader h;

		signed_new(&s);
		s.f.bytes[at[i]] ^= 1; /* and the hashes of header and manifest put right */
		memcpy(&h, s.f.bytes, sizeof h);
		h.manifest_hash = XXH3_64bits(s.f.bytes + h.manifest_offset, h.manifest_bytes);
		memcpy(s.f.bytes, &h, sizeof h);
		fix_seal(&s.f);
		OPENS(MLRT_ERR_SIGNATURE, 0, 1, 0);
		OPENS(MLRT_ERR_SIGNATURE, 0, 2, 1);
		fix_free(&s.f);
	}
	signed_new(&s);
	s.f.bytes[sizeof(MlrtHeader) + offsetof(MlrtSignatures, item[1].signature)] ^= 4;
	fix_seal(&s.f);
	OPENS(MLRT_ERR_SIGNATURE, 0, 2, 0);
	OPENS(MLRT_OK, 0, 2, 1); /* the other one still holds */
	s.f.bytes[sizeof(MlrtHeader)] = 17;
	OPENS(MLRT_ERR_SIGNATURE, 0, 1, 0);
	fix_free(&s.f);
}

static void signatures_cannot_be_taken_away(void)
{
	MlrtHeader *h;
	Signed s;

	signed_new(&s);
	memset(s.f.bytes + sizeof *h, 0, sizeof(MlrtSignatures));
	fix_seal(&s.f);
	OPENS(MLRT_ERR_UNSIGNED, 0, 1, 0);
	CU_ASSERT_EQUAL(open_with(&s, 0, 0, 0), MLRT_OK); /* nobody asks */
	fix_free(&s.f);

	/* An older format, as it was before there were signatures: the table stays, the manifest moves. */
	signed_new(&s);
	h = (MlrtHeader *)(void *)s.f.bytes;
	h->minor = MLRT_SIGNED_MINOR - 1;
	fix_seal(&s.f);
	OPENS(MLRT_ERR_DOWNGRADED, 0, 1, 0);
	CU_ASSERT_EQUAL(open_with(&s, 0, 0, 0), MLRT_ERR_FORMAT); /* its header has a place that 1.3 has not */
	fix_free(&s.f);
}

static void other_files_are_no_signed_packages(void)
{
	Signed s;
	const size_t n = (signed_new(&s), s.f.n);

	for (size_t cut = 0; cut < n; cut += cut < 2000 ? 1 : 4001) {
		const unsigned char *all = s.f.bytes;

		s.f.n = cut;
		s.f.bytes = malloc(cut + 1); /* its own block: a sanitizer sees reads behind it */
		memcpy(s.f.bytes, all, cut);
		OPENS((cut < 8 ? MLRT_ERR_FORMAT : MLRT_ERR_TRUNCATED), 0, 1, 0);
		free(s.f.bytes);
		s.f.bytes = (unsigned char *)(uintptr_t)all;
	}
	s.f.n = n;
	s.f.bytes[offsetof(MlrtHeader, major)]++;
	OPENS(MLRT_ERR_VERSION, 0, 1, 0);
	fix_free(&s.f);
}

static void any_flipped_byte_is_refused_with_keys(void)
{
	size_t accepted[2] = {0}, tried = 0;
	Signed s;

	signed_new(&s);
	for (size_t i = 0; i < s.f.n; i++) {
		if (s.f.bytes[i] == 0 && i > HEADER && i % 23)
			continue; /* mostly padding, whose bytes are all alike */
		tried++;
		s.f.bytes[i] ^= (unsigned char)(1 << i % 8);
		accepted[0] += open_with(&s, 0, 1, 0) == MLRT_OK;
		accepted[1] += open_with(&s, 0, 0, 0) == MLRT_OK;
		s.f.bytes[i] ^= (unsigned char)(1 << i % 8);
	}
	CU_ASSERT(tried > 3000);
	CU_ASSERT_EQUAL(accepted[0], 0);
	CU_ASSERT_EQUAL(accepted[1], 0);
	OPENS(MLRT_OK, 0, 1, 0);
	fix_free(&s.f);
}

static void signing_again_replaces(void)
{
	char path[64];
	MloPackageFile p;
	struct stat info;
	Signed s;
	MloKey more;

	signed_new(&s);
	fix_write(&s.f, path);
	CU_ASSERT_EQUAL(chmod(path, 0640), 0);
	CU_ASSERT_EQUAL(mlo_package_sign(s.f.arena, path, &s.key[1], NULL), MLO_OK);
	CU_ASSERT_EQUAL_FATAL(mlo_package_open(s.f.arena, path, &p, NULL), MLO_OK);
	CU_ASSERT_EQUAL(p.signatures->count, 2);
	CU_ASSERT_EQUAL(mlo_package_signatures(&p, path, NULL), MLO_OK);
	CU_ASSERT(stat(path, &info) == 0 && (info.st_mode & 0777) == 0640 && (size_t)info.st_size == s.f.n);
	for (int i = 2; i <= MLRT_MAX_SIGNATURES; i++) {
		CU_ASSERT_EQUAL_FATAL(mlo_key_new(&more, NULL), MLO_OK);
		CU_ASSERT_EQUAL(mlo_package_sign(s.f.arena, path, &more, NULL), i < MLRT_MAX_SIGNATURES ? MLO_OK : MLO_ERR_LIMIT);
	}
	read_back(&s.f, path);
	OPENS(MLRT_OK, 0, 2, 0);
	s.f.bytes[HEADER + 20] ^= 1; /* damaged ones are not signed */
	unlink(path);
	fix_write(&s.f, path);
	CU_ASSERT_EQUAL(mlo_package_sign(s.f.arena, path, &s.key[1], NULL), MLO_ERR_FORMAT);
	unlink(path);
	fix_free(&s.f);
}

static void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

static void keys_go_through_files(void)
{
	const char *secret = "trust-test.key", *public_name = "trust-test.pub";
	char text[512] = "";
	MloKey k, back;
	struct stat info;
	FILE *f;

	unlink(secret);
	unlink(public_name);
	CU_ASSERT_EQUAL_FATAL(mlo_key_new(&k, NULL), MLO_OK);
	CU_ASSERT_EQUAL(mlo_key_write(&k, secret, public_name, NULL), MLO_OK);
	CU_ASSERT(stat(secret, &info) == 0 && (info.st_mode & 07777) == 0600);
	CU_ASSERT_EQUAL(mlo_key_read(secret, &back, NULL), MLO_OK);
	CU_ASSERT(back.secret && memcmp(&back, &k, sizeof k) == 0);
	CU_ASSERT_EQUAL(mlo_key_read(public_name, &back, NULL), MLO_OK);
	CU_ASSERT(!back.secret && memcmp(back.public_key, k.public_key, sizeof k.public_key) == 0);
	CU_ASSERT_EQUAL(mlo_key_write(&k, secret, "trust-other.pub", NULL), MLO_ERR_IO);
	CU_ASSERT_EQUAL(mlo_key_write(&k, "trust-other.key", public_name, NULL), MLO_ERR_IO);
	CU_ASSERT(access("trust-other.pub", F_OK) != 0 && access("trust-other.key", F_OK) != 0);
	f = fopen(public_name, "r");
	CU_ASSERT_FATAL(f && fread(text, 1, sizeof text - 1, f) > 0);
	fclose(f);
	for (size_t i = 0, n = strlen(text); i <= n; i++) { /* cut anywhere, or changed anywhere */
		char bad[512];

		snprintf(bad, sizeof bad, "%.*s", (int)i, text);
		write_text(public_name, bad);
		CU_ASSERT_EQUAL(mlo_key_read(public_name, &back, NULL), i == n ? MLO_OK : MLO_ERR_FORMAT);
		memcpy(bad, text, sizeof bad);
		bad[i < n ? i : 0] ^= 1;
		write_text(public_name, bad);
		CU_ASSERT_EQUAL(mlo_key_read(public_name, &back, NULL), MLO_ERR_FORMAT);
	}
	unlink(secret);
	unlink(public_name);
	CU_ASSERT_EQUAL(mlo_key_read(public_name, &back, NULL), MLO_ERR_IO);
}

/* -- golden vectors -------------------------------------------------------------------------------------- */

typedef struct FixGolden {
	MlrtGolden head;
	MlrtGoldenTensor t[4]; /* two vectors of one input and one output */
	float data[4][48] __attribute__((aligned(64)));
} FixGolden;

/* The fixture's package with y as its only output, and these vectors. */
static void golden_build(Fixture *f, FixGolden *g)
{
	char *from, *to;

	fix_init(f);
	f->program.arg[6] = (MlrtArg){MLRT_ARENA, 0, 0, 64};
	from = strstr(f->manifest, ",\n  {\"name\":\"w");
	to = strstr(f->manifest, "],\n \"variants\"");
	CU_ASSERT_FATAL(from && to);
	memmove(from, to, strlen(to) + 1);
	fix_edit(f, "\"plain\",", "\"plain\",\"golden\":3,");
	memset(g, 0, sizeof *g);
	g->head = (MlrtGolden){MLRT_GOLDEN_MAGIC, 2, 1, 1, sizeof *g, 1e-6};
	for (int i = 0; i < 4; i++) {
		g->t[i] = (MlrtGoldenTensor){1, 2, (uint64_t)((char *)g->data[i] - (char *)g), 4 * FIX_N, {5, 8}};
		for (int k = 0; k < FIX_N; k++)
			g->data[i][k] = i % 2 ? 2 * (g->data[i - 1][k] + (float)k / 2) : (float)(i * 7 + k % 11);
	}
	f->golden = g;
	f->ngolden = sizeof *g;
}

static void count_calls(void *user, const MlrtReplay *one)
{
	CU_ASSERT_EQUAL(one->vector, (size_t) * (int *)user);
	++*(int *)user;
}

static MlrtStatus replayed(Fixture *f, MlrtReplay *sum)
{
	MlrtError err;
	MlrtModel *m;
	MlrtStatus st;
	int calls = 0;

	fix_build(f);
	m = fix_open(f);
	st = mlrt_model_replay(m, &(MlrtSessionOptions){.threads = 1}, count_calls, &calls, sum, &err);
	CU_ASSERT_EQUAL(st, err.status);
	CU_ASSERT_EQUAL(calls, st == MLRT_OK || st == MLRT_ERR_REPLAY ? 2 : 0);
	CU_ASSERT_EQUAL(st, mlrt_model_replay(m, NULL, NULL, NULL, NULL, NULL));
	mlrt_model_close(m);
	fix_free(f);
	return st;
}

static void golden_vectors_are_replayed(void)
{
	MlrtReplay sum;
	FixGolden g;
	Fixture f;

	golden_build(&f, &g);
	CU_ASSERT_EQUAL(replayed(&f, &sum), MLRT_OK);
	CU_ASSERT(sum.vectors == 2 && sum.failed == 0 && sum.nmse == 0 && sum.max_error == 0 && sum.nmse_allowed == 1e-6);
	golden_build(&f, &g);
	g.data[3][9] += 0.01f; /* near enough */
	CU_ASSERT_EQUAL(replayed(&f, &sum), MLRT_OK);
	CU_ASSERT(sum.vector == 1 && sum.nmse > 0 && fabs(sum.max_error - 0.01) < 1e-5);
	golden_build(&f, &g);
	g.data[3][9] += 2;
	CU_ASSERT_EQUAL(replayed(&f, &sum), MLRT_ERR_REPLAY);
	CU_ASSERT(sum.failed == 1 && sum.vector == 1 && sum.output == 0 && fabs(sum.max_error - 2) < 1e-5);
	golden_build(&f, &g);
	g.data[0][5] = g.data[1][5] = NAN; /* wanted and got */
	CU_ASSERT_EQUAL(replayed(&f, &sum), MLRT_OK);
	golden_build(&f, &g);
	g.data[1][5] = NAN;
	CU_ASSERT_EQUAL(replayed(&f, &sum), MLRT_ERR_REPLAY);
	CU_ASSERT(isinf(sum.nmse) && isinf(sum.max_error));
	golden_build(&f, &g);
	f.golden = NULL;
	fix_edit(&f, "\"golden\":3,", "");
	CU_ASSERT_EQUAL(replayed(&f, &sum), MLRT_ERR_NO_GOLDEN);
}

typedef void Spoil(FixGolden *g);
static void g_magic(FixGolden *g) { g->head.magic++; }
static void g_bytes(FixGolden *g) { g->head.bytes--; }
static void g_none(FixGolden *g) { g->head.nvectors = 0; }
static void g_many(FixGolden *g) { g->head.nvectors = UINT32_MAX; }
static void g_inputs(FixGolden *g) { g->head.ninputs = 2; }
static void g_nan(FixGolden *g) { g->head.nmse = NAN; }
static void g_elem(FixGolden *g) { g->t[0].elem = 7; }
static void g_no_elem(FixGolden *g) { g->t[0].elem = 99; }
static void g_rank(FixGolden *g) { g->t[1].rank = 9; }
static void g_dims(FixGolden *g) { g->t[1].dims[1] = 9; }
static void g_negative(FixGolden *g) { g->t[1].dims[1] = INT64_MIN; }
static void g_short(FixGolden *g) { g->t[2].bytes--; }
static void g_odd(FixGolden *g) { g->t[2].offset++; }
static void g_far(FixGolden *g) { g->t[3].offset = UINT64_MAX - 63; }

static void hostile_golden_vectors_are_refused(void)
{
	static Spoil *const spoil[] = {g_magic, g_bytes, g_none, g_many, g_inputs, g_nan, g_elem,
				       g_no_elem, g_rank, g_dims, g_negative, g_short, g_odd, g_far};
	MlrtReplay sum;
	FixGolden g;
	Fixture f;

	for (size_t i = 0; i < sizeof spoil / sizeof *spoil; i++) {
		golden_build(&f, &g);
		spoil[i](&g);
		CU_ASSERT_EQUAL(replayed(&f, &sum), MLRT_ERR_FORMAT);
	}
	golden_build(&f, &g);
	f.ngolden = sizeof g.head - 1;
	CU_ASSERT_EQUAL(replayed(&f, &sum), MLRT_ERR_FORMAT);
}

static void variants_for_others_have_codes_of_their_own(void)
{
	MlrtModel *m = NULL;
	MlrtError err;
	Fixture f;

	fix_init(&f);
	fix_edit(&f, "\"better\",\"arch\":\"", "\"better\",\"arch\":\"un");
	fix_edit(&f, "\"plain\",\"arch\":\"", "\"plain\",\"arch\":\"un");
	fix_build(&f);
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, NULL, &m, &err), MLRT_ERR_ARCH);
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, &(MlrtOpenOptions){.variant = "plain"}, &m, &err), MLRT_ERR_ARCH);
	fix_free(&f);
	fix_init(&f);
	fix_edit(&f, "\"needs\":[],", "\"needs\":[\"time-travel\"],");
	fix_build(&f);
	CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, NULL, &m, &err), MLRT_ERR_TARGET);
	fix_free(&f);
}

void suite_trust(void)
{
	CU_pSuite s = CU_add_suite("trust", NULL, NULL);

	CU_ADD_TEST(s, enough_keys_must_have_signed);
	CU_ADD_TEST(s, what_was_signed_cannot_be_changed);
	CU_ADD_TEST(s, signatures_cannot_be_taken_away);
	CU_ADD_TEST(s, other_files_are_no_signed_packages);
	CU_ADD_TEST(s, any_flipped_byte_is_refused_with_keys);
	CU_ADD_TEST(s, signing_again_replaces);
	CU_ADD_TEST(s, keys_go_through_files);
	CU_ADD_TEST(s, golden_vectors_are_replayed);
	CU_ADD_TEST(s, hostile_golden_vectors_are_refused);
	CU_ADD_TEST(s, variants_for_others_have_codes_of_their_own);
}
