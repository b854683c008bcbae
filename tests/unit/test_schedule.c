/* tests/unit/test_schedule.c -- schedules as values, the space of candidates, measured ones in the cache. */
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codegen/cache.h"
#include "codegen/matrix.h"
#include "codegen/tuned.h"
#include "codegen/winograd.h"
#include "tests/unit/ir_fixture.h"
#include "tests/unit/kernel_fixture.h"
#include "tools/compile.h"

void suite_schedule(void);

/* A convolution of 64 to 64 channels, 28x28, in blocks, with the cost model's schedule. */
static KContract convolution(const MloTarget *t, int taps, bool winograd)
{
	const int64_t lanes = t->vector_bytes / 4, n = 28;
	KContract c = {.nb0 = 1, .nb1 = 1, .ny = n, .nx = n, .nc = 64, .nk = 64, .nky = taps, .nkx = taps, .sy = 1, .sx = 1,
		       .dy = 1, .dx = 1, .py = taps / 2, .px = taps / 2, .in_y = n, .in_x = n, .group_c = 64,
		       .dot = 1,
		       .a = {.elem = EL_f32, .block = lanes, .blk = n * n * lanes, .k = 1, .x = lanes, .y = n * lanes, .b0 = 64 * n * n},
		       .b = {.elem = EL_f32, .packed = true}};

	mlo_schedule_contract(t, NULL, 1, &c);
	if (winograd)
		mlo_schedule_winograd(t, false, &c);
	return c;
}

static void texts_come_back(void)
{
	static const char *const wrong[] = {
		"", "vecs=2", "vecs=2 cols=14 rows=1 y_chunk=28 c_outer=1 wino=0 c_chunk=0 depth=0 spread=0 group=0 runs=0 more=1",
		"vecs=-2 cols=14 rows=1 y_chunk=28 c_outer=1 wino=0 c_chunk=0 depth=0 spread=0 group=0 runs=0",
		"vecs=2 cols=14 rows=1 y_chunk=28 c_outer=7 wino=0 c_chunk=0 depth=0 spread=0 group=0 runs=0",
		"vecs=2 cols=14 rows=1 y_chunk=99999999999999999999 c_outer=1 wino=0 c_chunk=0 depth=0 spread=0 group=0 runs=0",
	};
	const MloSchedule s = {.vecs = 2, .cols = 14, .rows = 2, .y_chunk = 28, .c_outer = true, .wino = 4, .c_chunk = 3};
	MloArena *a = mlo_arena_new();
	MloStr text = {.arena = a};
	MloSchedule back;

	mlo_schedule_write(&text, &s);
	CU_ASSERT(mlo_schedule_read(mlo_str_text(&text), &back) && mlo_schedule_same(&s, &back));
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		CU_ASSERT_FALSE(mlo_schedule_read(wrong[i], &back));
	mlo_arena_free(a);
}

static void what_cannot_be_is_refused(void)
{
	const MloTarget *t = kernel_test_target(0);
	KContract c = convolution(t, 3, false), flat = convolution(t, 1, false);
	const MloTunable image = {.target = t, .c = &c}, columns = {.target = t, .c = &flat};
	MloSchedule s = mlo_schedule_of(&c);

	flat.nx = flat.in_x = 28 * 28;
	flat.ny = flat.in_y = 1;
	mlo_schedule_contract(t, NULL, 1, &flat);
	CU_ASSERT(mlo_schedule_fits(&image, &s));
	s.cols = 0;
	CU_ASSERT_FALSE(mlo_schedule_fits(&image, &s));
	s.cols = t->vector_regs;
	CU_ASSERT_FALSE(mlo_schedule_fits(&image, &s));
	s = mlo_schedule_of(&c);
	s.y_chunk = 1000; /* more rows than there are */
	CU_ASSERT_FALSE(mlo_schedule_fits(&image, &s));
	s = mlo_schedule_of(&c);
	s.wino = 4; /* not allowed here */
	s.c_chunk = 1;
	s.y_chunk = 4;
	CU_ASSERT_FALSE(mlo_schedule_fits(&image, &s));
	s = mlo_schedule_of(&flat);
	CU_ASSERT(mlo_schedule_fits(&columns, &s));
	s.cols = 5;
	s.vecs = 1;
	s.y_chunk = 12; /* half a tile */
	CU_ASSERT_FALSE(mlo_schedule_fits(&columns, &s));
	s.y_chunk = 10;
	CU_ASSERT(mlo_schedule_fits(&columns, &s));
	s.rows = 2;
	CU_ASSERT_FALSE(mlo_schedule_fits(&columns, &s));
}

static bool has_winograd(const MloScheduleList *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].wino)
			return true;
	return false;
}

static void candidates_fit_and_differ(void)
{
	for (int form = 0; form < 4; form++) {
		MloArena *a = mlo_arena_new();
		const MloTarget *t = kernel_test_target(0);
		KContract c = convolution(t, form < 2 ? 3 : 1, form == 1);
		const MloTunable k = {.target = t, .c = &c, .winograd = form == 1};
		const MloSchedule own = mlo_schedule_of(&c);
		MloScheduleList l = {0};

		mlo_schedule_candidates(a, &k, &l);
		CU_ASSERT(l.n > 3);
		mlo_schedule_neighbours(a, &k, &l.items[0], &l);
		for (size_t i = 0; i < l.n; i++) {
			CU_ASSERT(mlo_schedule_fits(&k, &l.items[i]));
			CU_ASSERT_FALSE(mlo_schedule_same(&own, &l.items[i]));
			for (size_t j = 0; j < i; j++)
				CU_ASSERT_FALSE(mlo_schedule_same(&l.items[j], &l.items[i]));
		}
		CU_ASSERT_EQUAL(has_winograd(&l), form == 1 && t->vector_regs >= 16);
		mlo_arena_free(a);
	}
}

/* -- the matrix unit -------------------------------------------------------------------------- */

/* Products of bytes: an image of n x n pixels, by taps x taps, with the cost model's schedule. */
static KContract bytes(const MloTarget *t, int64_t n, int64_t nk, int64_t nc, int taps, double *ratio)
{
	KContract c = {.nb0 = 1, .nb1 = 1, .ny = n, .nx = n, .nc = nc, .nk = nk, .nky = taps, .nkx = taps, .sy = 1, .sx = 1,
	               .dy = 1, .dx = 1, .py = taps / 2, .px = taps / 2, .in_y = n, .in_x = n, .group_c = nc, .dot = 4,
	               .a = {.elem = EL_u8, .block = 16, .blk = n * n * 16, .k = 1, .x = 16, .y = n * 16, .b0 = (nk + 15) / 16 * 16 * n * n},
	               .b = {.elem = EL_i8, .packed = true}};
	double vectors;

	mlo_schedule_contract(t, NULL, 1, &c);
	vectors = contract_row_cycles(t, &c, c.cols, c.vecs) * (double)n;
	mlo_schedule_matrix(t, NULL, &c);
	*ratio = c.depth ? vectors / matrix_cycles(t, &c) : 1;
	return c;
}

/* Only where it is faster: of many terms or channels, a good part of what the unit can do more; few of them leave it idle. */
static void the_unit_is_used_where_it_wins(void)
{
	const MloTargetSet *set = mlo_target_find("ml_m7i", NULL);
	double ratio;
	KContract c;

	CU_ASSERT_PTR_NOT_NULL_FATAL(set->variant[0]->matrix);
	CU_ASSERT_PTR_NULL(set->variant[1]->matrix);
	c = bytes(set->variant[0], 28, 256, 256, 3, &ratio);
	CU_ASSERT(c.depth == 16 && c.rows * c.vecs == 4 && ratio > 4 && ratio < 8);
	c = bytes(set->variant[0], 28, 256, 256, 1, &ratio);
	CU_ASSERT(c.depth == 16 && ratio > 2);
	c = bytes(set->variant[0], 1, 2048, 1000, 1, &ratio); /* its time is that of the weights' way from memory */
	CU_ASSERT_EQUAL(c.depth, 0);
	c = bytes(set->variant[0], 28, 3, 8, 1, &ratio);
	CU_ASSERT_EQUAL(c.depth, 0);
	c = bytes(set->variant[0], 28, 8, 16, 1, &ratio);
	CU_ASSERT_EQUAL(c.depth, 0);
	c = bytes(set->variant[1], 28, 256, 256, 3, &ratio);
	CU_ASSERT_EQUAL(c.depth, 0);
}

static void the_unit_has_candidates(void)
{
	const MloTarget *t = mlo_target_find("ml_m7i", NULL)->variant[0];
	MloArena *a = mlo_arena_new();
	MloScheduleList l = {0};
	double ratio;
	KContract c = bytes(t, 14, 128, 128, 3, &ratio);
	const MloTunable k = {.target = t, .c = &c};
	const MloSchedule own = mlo_schedule_of(&c);
	int units = 0, vectors = 0;

	CU_ASSERT(own.depth && mlo_schedule_fits(&k, &own));
	mlo_schedule_candidates(a, &k, &l);
	mlo_schedule_neighbours(a, &k, &own, &l);
	for (size_t i = 0; i < l.n; i++) {
		CU_ASSERT(mlo_schedule_fits(&k, &l.items[i]));
		CU_ASSERT_FALSE(mlo_schedule_same(&own, &l.items[i]));
		units += l.items[i].depth > 0;
		vectors += l.items[i].depth == 0;
	}
	CU_ASSERT(units > 3 && vectors > 3);
	mlo_arena_free(a);
}

/* -- the store -------------------------------------------------------------------------------- */

static void remove_all(const char *dir)
{
	char path[600];
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (unlink(path))
			remove_all(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

static void new_folder(char *dir)
{
	strcpy(dir, "/tmp/mlopt-tuned-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
}

static MloTuned known(const MloTunable *k, MloArena *a)
{
	MloTuned t = {.model = mlo_schedule_of(k->c), .gain = 0.125, .done = true};
	MloScheduleList l = {0};

	mlo_schedule_candidates(a, k, &l);
	t.best = l.items[0];
	MLO_PUSH(a, &t.trial, ((MloTrial){l.items[0], 0.875}));
	MLO_PUSH(a, &t.trial, ((MloTrial){l.items[1], 1.1}));
	return t;
}

static void what_is_stored_is_found(void)
{
	const MloTarget *t = kernel_test_target(0);
	MloArena *a = mlo_arena_new();
	KContract c = convolution(t, 3, false), other = c;
	MloTunable k = {.key = {0x1234, 5}, .name = "conv", .target = t, .c = &c}, moved = k;
	MloTuned put = known(&k, a), got;
	MloTunedStore store;
	MloDiag d = {0};
	MloSchedule s = put.model;
	MloChoice choice;
	char dir[40];

	new_folder(dir);
	store = (MloTunedStore){a, dir, &d};
	CU_ASSERT_FALSE(mlo_tuned_get(a, dir, &k, &got, &d));
	CU_ASSERT(mlo_schedule_same(&got.best, &put.model) && got.gain == 0);
	CU_ASSERT_EQUAL_FATAL(mlo_tuned_put(dir, &k, &put, &d), MLO_OK);
	CU_ASSERT(mlo_tuned_get(a, dir, &k, &got, &d));
	CU_ASSERT(mlo_schedule_same(&got.best, &put.best) && got.gain == 0.125 && got.done && got.trial.n == 2);
	CU_ASSERT(got.trial.items[1].ratio == 1.1 && mlo_schedule_same(&got.trial.items[1].s, &put.trial.items[1].s));
	choice = mlo_tuned_choose(&store, &k, &s);
	CU_ASSERT(choice.from == MLO_CHOICE_MEASURED && choice.gain == 0.125 && choice.trials == 2);
	CU_ASSERT(mlo_schedule_same(&s, &put.best));
	/* gains are to another schedule than the cost model's */
	mlo_schedule_set(&other, &put.trial.items[1].s);
	moved.c = &other;
	CU_ASSERT_FALSE(mlo_tuned_get(a, dir, &moved, &got, &d));
	CU_ASSERT_EQUAL(d.n, 0);
	remove_all(dir);
	mlo_arena_free(a);
}

static void what_cannot_be_written_is_said(void)
{
	const MloTarget *t = kernel_test_target(0);
	MloArena *a = mlo_arena_new();
	KContract c = convolution(t, 3, false);
	const MloTunable k = {.key = {1, 2}, .name = "conv", .target = t, .c = &c};
	const MloTuned put = known(&k, a);
	MloDiag d = {0};

	CU_ASSERT_EQUAL(mlo_tuned_put("/dev/null/x", &k, &put, &d), MLO_ERR_IO);
	CU_ASSERT(ir_said(&d, "/dev/null/x"));
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

/* The only file below dir. */
static void find_file(const char *dir, char *path)
{
	struct stat st;
	DIR *d = opendir(dir);

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			snprintf(path, 600, "%s/%s", dir, e->d_name);
	closedir(d);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		char sub[600];

		memcpy(sub, path, sizeof sub);
		find_file(sub, path);
	}
}

static void damage_is_told_and_forgotten(void)
{
	const MloTarget *t = kernel_test_target(0);
	MloArena *a = mlo_arena_new();
	KContract c = convolution(t, 3, false);
	const MloTunable k = {.key = {0xff00, 7}, .name = "conv", .target = t, .c = &c};
	MloTuned put = known(&k, a), got;
	MloBytes other = {(unsigned char *)"schedules 1\nmodel x", 19};
	MloDiag d = {0};
	char dir[40], path[600];
	FILE *f;

	new_folder(dir);
	CU_ASSERT_EQUAL_FATAL(mlo_tuned_put(dir, &k, &put, &d), MLO_OK);
	find_file(dir, path);
	f = fopen(path, "r+b");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fseek(f, -3, SEEK_END);
	fputc('#', f);
	fclose(f);
	CU_ASSERT_FALSE(mlo_tuned_get(a, dir, &k, &got, &d));
	CU_ASSERT(ir_said(&d, "damaged") && d.nerrors == 0);
	CU_ASSERT(mlo_schedule_same(&got.best, &put.model));
	CU_ASSERT_FALSE(mlo_tuned_get(a, dir, &k, &got, &d)); /* it is gone */
	CU_ASSERT_EQUAL(d.n, 1);
	/* whole, but not what we write */
	CU_ASSERT(cache_put(dir, k.key, CACHE_TUNED, &other));
	CU_ASSERT_FALSE(mlo_tuned_get(a, dir, &k, &got, &d));
	CU_ASSERT(ir_said(&d, "something else"));
	put.best.y_chunk = 12345;
	CU_ASSERT_EQUAL_FATAL(mlo_tuned_put(dir, &k, &put, &d), MLO_OK);
	CU_ASSERT_FALSE(mlo_tuned_get(a, dir, &k, &got, &d));
	CU_ASSERT(ir_said(&d, "does not fit"));
	remove_all(dir);
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

/* -- in the compiler ---------------------------------------------------------------------------- */

static const char conv_model[] = "graph @conv(%x: f32[1,32,14,14]) -> (%y) {\n"
				 "  const %w: f32[32,32,3,3] = random(8)\n"
				 "  %y = conv(%x, %w) {pads=[1, 1, 1, 1]}\n"
				 "}\n";

typedef struct Met {
	MloArena *a;
	MloTunable k;
	int n;
} Met;

static MloChoice meet(void *user, const MloTunable *k, MloSchedule *s)
{
	Met *m = user;

	(void)s;
	m->n++;
	m->k = *k;
	m->k.c = mlo_dup(m->a, k->c, sizeof *k->c);
	m->k.name = mlo_strdup(m->a, k->name);
	return (MloChoice){.from = MLO_CHOICE_MODEL};
}

static MloCompiled compile(MloArena *a, const MloGraph *g, const char *dir, bool no_tuned, const MloCompileHooks *hooks)
{
	MloptOptions opt = MLOPT_OPTIONS_INIT;
	MloCompiled out;
	MloDiag d = {0};

	opt.cache_dir = dir;
	opt.no_tuned = no_tuned;
	CU_ASSERT_EQUAL_FATAL(mlo_compile_hooked(a, g, &opt, hooks, NULL, &out, &d), MLO_OK);
	CU_ASSERT_EQUAL(d.n, 0);
	return out;
}

static bool same_bytes(const MloCompiled *x, const MloCompiled *y)
{
	return x->n == y->n && memcmp(x->bytes, y->bytes, x->n) == 0;
}

static void the_compiler_takes_what_was_measured(void)
{
	MloArena *a = mlo_arena_new();
	MloGraph *g = ir_graph(conv_model);
	Met met = {.a = a};
	const MloCompileHooks hooks = {.chooser = {meet, &met}};
	MloCompiled plain, tuned, again, without;
	MloTuned put;
	char dir[40];

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	new_folder(dir);
	plain = compile(a, g, dir, false, NULL);
	CU_ASSERT_EQUAL(plain.report.tuned, 0);
	compile(a, g, dir, false, &hooks);
	CU_ASSERT_FATAL(met.n == 1 && met.k.c->nk == 32 && met.k.winograd);
	put = known(&met.k, a);
	CU_ASSERT_EQUAL_FATAL(mlo_tuned_put(dir, &met.k, &put, NULL), MLO_OK);
	tuned = compile(a, g, dir, false, NULL);
	again = compile(a, g, dir, false, NULL);
	without = compile(a, g, dir, true, NULL);
	CU_ASSERT_EQUAL(tuned.report.tuned, 1);
	CU_ASSERT(same_bytes(&tuned, &again) && same_bytes(&plain, &without) && !same_bytes(&plain, &tuned));
	CU_ASSERT_PTR_NOT_NULL(memmem(tuned.bytes, tuned.n, "\"chosen\":\"measured\",\"gain\":0.125,\"trials\":2", 42));
	CU_ASSERT_PTR_NULL(memmem(plain.bytes, plain.n, "\"chosen\"", 8));
	remove_all(dir);
	mlo_graph_free(g);
	mlo_arena_free(a);
}

void suite_schedule(void)
{
	CU_pSuite s = CU_add_suite("schedule", NULL, NULL);

	CU_add_test(s, "texts come back", texts_come_back);
	CU_add_test(s, "what cannot be is refused", what_cannot_be_is_refused);
	CU_add_test(s, "candidates fit and differ", candidates_fit_and_differ);
	CU_add_test(s, "the matrix unit is used where it wins", the_unit_is_used_where_it_wins);
	CU_add_test(s, "the matrix unit has candidates", the_unit_has_candidates);
	CU_add_test(s, "what is stored is found", what_is_stored_is_found);
	CU_add_test(s, "what cannot be written is said", what_cannot_be_written_is_said);
	CU_add_test(s, "damage is told and forgotten", damage_is_told_and_forgotten);
	CU_add_test(s, "the compiler takes what was measured", the_compiler_takes_what_was_measured);
}
