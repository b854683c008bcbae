/* tests/unit/test_runtime_sets.c -- steps that run side by side: what packages state of them, who runs what, and
 * whether short runs stay on one thread.
 *
 * The sources that share out and try out are compiled in here, so that the test sees their insides. */
#define MLRT_LOCAL static
#pragma GCC diagnostic ignored "-Wunused-function" /* not all of it is tested here */
#include "runtime/sets.c"
#include "runtime/pace.c"

#include <CUnit/CUnit.h>
#include <string.h>

#include "tests/unit/package_fixture.h"

void suite_runtime_sets(void);

/* -- packages --------------------------------------------------------------------------------------- */

enum { COST = 100 << MLRT_STEP_COST };

/* The second addition and `where` touch different memory. */
static void set_of_two(FixProgram *p)
{
	p->step[1].flags = COST | MLRT_STEP_WHOLE;
	p->step[2].flags = COST | MLRT_STEP_BESIDE;
	p->arg[5].space |= MLRT_WRITTEN;
	p->arg[6].space |= MLRT_WRITTEN;
}

static void set_of_split_ones(FixProgram *p)
{
	set_of_two(p);
	p->step[1].flags = COST;
}

typedef void Change(FixProgram *p);

static MlrtModel *open_changed(Fixture *f, Change *change)
{
	fix_init(f);
	change(&f->program);
	fix_build(f);
	return fix_open(f);
}

static void sets_run_on_any_number_of_threads(void)
{
	static Change *const changes[] = {set_of_two, set_of_split_ones};
	static const int threads[] = {1, 2, 3, 8};

	for (size_t c = 0; c < sizeof changes / sizeof *changes; c++) {
		Fixture f;
		MlrtModel *m = open_changed(&f, changes[c]);

		for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
			MlrtSession *s = NULL;
			FixData d;
			int wrong = 0;

			CU_ASSERT_EQUAL_FATAL(mlrt_session_new(m, &(MlrtSessionOptions){.threads = threads[t]}, &s, NULL), MLRT_OK);
			mlrt_session_profile(s, 1); /* times are kept, and no run is on one thread */
			for (int run = 0; run < 300; run++) {
				fix_data(&d, run);
				CU_ASSERT_EQUAL(fix_run(s, &d, NULL), MLRT_OK);
				wrong += !fix_right(&d);
				for (int i = 0; i < FIX_WHERE; i++)
					wrong += d.where[i] == 0;
			}
			CU_ASSERT_EQUAL(wrong, 0);
			for (size_t i = 0; i < 3; i++)
				CU_ASSERT(mlrt_session_step_ns(s, i) > 0);
			mlrt_session_free(s);
		}
		mlrt_model_close(m);
		fix_free(&f);
	}
}

static void first_beside(FixProgram *p) { p->step[0].flags = MLRT_STEP_BESIDE | COST; }
static void no_cost(FixProgram *p) { set_of_two(p); p->step[2].flags = MLRT_STEP_BESIDE; }
static void no_first_cost(FixProgram *p) { set_of_two(p); p->step[1].flags = MLRT_STEP_WHOLE; }
static void unknown_flag(FixProgram *p) { set_of_two(p); p->step[2].flags |= 4; }
static void written_input(FixProgram *p) { set_of_two(p); p->arg[0].space |= MLRT_WRITTEN; }
static void written_weight(FixProgram *p) { set_of_two(p); p->arg[1].space |= MLRT_WRITTEN; }

static void reads_what_is_made(FixProgram *p)
{
	p->step[0].flags = COST;
	p->step[1].flags = COST | MLRT_STEP_BESIDE;
	p->arg[2].space |= MLRT_WRITTEN;
	p->arg[5].space |= MLRT_WRITTEN;
}

static void both_write(FixProgram *p)
{
	set_of_two(p);
	p->arg[6] = p->arg[5];
	p->arg[6].offset = 96;
	p->arg[6].bytes = 64;
}

static void damaged_sets_are_refused(void)
{
	static const struct { Change *change; const char *says; } rows[] = {
		{first_beside, "step 0 runs beside none"},    {no_cost, "step 2 cannot run beside step 1"},
		{no_first_cost, "step 2 cannot run beside"},  {unknown_flag, "8 tasks, flags"},
		{written_input, "argument 0 is in space 258"}, {written_weight, "argument 1 is in space 257"},
		{reads_what_is_made, "steps 0 and 1 run side by side on the same memory"},
		{both_write, "steps 1 and 2 run side by side on the same memory"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		Fixture f;
		MlrtModel *m = NULL;
		MlrtError err = {0};

		fix_init(&f);
		rows[i].change(&f.program);
		fix_build(&f);
		CU_ASSERT_EQUAL(mlrt_model_open_memory(f.bytes, f.n, NULL, &m, &err), MLRT_ERR_FORMAT);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, rows[i].says));
		if (!strstr(err.text, rows[i].says))
			printf("\n  '%s' does not say '%s'\n", err.text, rows[i].says);
		fix_free(&f);
	}
}

/* -- shares ----------------------------------------------------------------------------------------- */

enum { MEMBERS = 4, MOST_THREADS = 8 };

/* Cuts rise from 0 to the number of tasks; what goes whole is in one piece. */
static bool is_dealt(const Call *c, const int64_t *cut, int threads)
{
	int pieces = 0;

	for (int i = 0; i < threads; i++) {
		if (cut[i] > cut[i + 1])
			return false;
		pieces += cut[i] < cut[i + 1];
	}
	return cut[0] == 0 && cut[threads] == c->ntasks && (c->parts > 1 || pieces == 1);
}

static double cost_of_thread(const Call *set, uint32_t n, const int64_t *cut, int threads, int i)
{
	double sum = 0;

	for (uint32_t m = 0; m < n; m++, cut += threads + 1)
		sum += (double)set[m].cost * (double)(cut[i + 1] - cut[i]);
	return sum;
}

static void shares_cost_the_same(void)
{
	static const Call set[MEMBERS] = {
		{.ntasks = 1000, .cost = 10, .parts = 8},
		{.ntasks = 1, .cost = 900, .parts = 1},
		{.ntasks = 7, .cost = 100, .parts = 1},
		{.ntasks = 500, .cost = 20, .parts = 8},
	};
	int64_t cut[MEMBERS * (MOST_THREADS + 1)];

	for (int threads = 2; threads <= MOST_THREADS; threads++) {
		const double fair = (10000.0 + 900 + 700 + 10000) / threads;

		deal_set(set, MEMBERS, threads, cut);
		for (int m = 0; m < MEMBERS; m++)
			CU_ASSERT(is_dealt(&set[m], cut + m * (threads + 1), threads));
		for (int i = 0; i < threads; i++) /* but for half a task at either end of two shares */
			CU_ASSERT_DOUBLE_EQUAL(cost_of_thread(set, MEMBERS, cut, threads, i), fair, 31);
	}
}

static void whole_ones_go_to_different_threads(void)
{
	static const Call set[3] = {
		{.ntasks = 1, .cost = 50, .parts = 1}, {.ntasks = 3, .cost = 30, .parts = 1}, {.ntasks = 1, .cost = 45, .parts = 1},
	};
	int64_t cut[3 * 4];

	deal_set(set, 3, 2, cut); /* 90 beside 50 + 45 */
	CU_ASSERT_EQUAL(cost_of_thread(set, 3, cut, 2, 0), 90);
	CU_ASSERT_EQUAL(cost_of_thread(set, 3, cut, 2, 1), 95);
	deal_set(set, 3, 3, cut);
	for (int i = 0; i < 3; i++)
		CU_ASSERT(cost_of_thread(set, 3, cut, 3, i) >= 45);
}

/* -- pace ------------------------------------------------------------------------------------------- */

/* `runs` runs that take so many ticks on all threads and alone; answers how many were alone. */
static int runs(Pace *p, int n, uint64_t together, uint64_t alone)
{
	int count = 0;

	for (int i = 0; i < n; i++) {
		count += p->alone;
		if (p->trying > 0)
			try_on(p, p->alone ? alone : together);
		else
			count_down(p, p->alone ? alone : together);
	}
	return count;
}

static Pace new_pace(void)
{
	MlrtSession s = {0};

	mlrt_pace_forget(&s);
	return s.pace;
}

static void the_faster_way_is_kept(void)
{
	Pace p = new_pace();

	CU_ASSERT(runs(&p, 10 * MOST, 1000, 1500) < 10 * MOST / 50);
	CU_ASSERT(runs(&p, 10 * MOST, 1000, 980) < 10 * MOST / 50); /* by too little */
	CU_ASSERT(runs(&p, 10 * MOST, 1000, 700) > 8 * MOST);
	CU_ASSERT(p.alone || p.trying);
	CU_ASSERT(runs(&p, 10 * MOST, 500, 700) < 2 * MOST);
}

static void long_runs_are_not_tried(void)
{
	Pace p = new_pace();

	CU_ASSERT_EQUAL(runs(&p, 5000, mlrt_ticks_of(LONG_US) + 1, 1), 0);
}

static void sleepers_are_no_measure(void)
{
	Pace p = new_pace();

	p.slept = true;
	CU_ASSERT_EQUAL(runs(&p, 5000, 1000, 1), 0);
	p.slept = false;
	CU_ASSERT(runs(&p, 5000, 1000, 1) > 4000);
	while (p.trying == 0)
		runs(&p, 1, 1000, 100);
	p.slept = true; /* the threads do not wake up: all stays as it was */
	CU_ASSERT_EQUAL(runs(&p, PATIENCE, 1, 100), 0);
	CU_ASSERT(p.alone && p.trying == 0);
}

void suite_runtime_sets(void)
{
	CU_pSuite s = CU_add_suite("runtime_sets", NULL, NULL);

	CU_ADD_TEST(s, sets_run_on_any_number_of_threads);
	CU_ADD_TEST(s, damaged_sets_are_refused);
	CU_ADD_TEST(s, shares_cost_the_same);
	CU_ADD_TEST(s, whole_ones_go_to_different_threads);
	CU_ADD_TEST(s, the_faster_way_is_kept);
	CU_ADD_TEST(s, long_runs_are_not_tried);
	CU_ADD_TEST(s, sleepers_are_no_measure);
}
