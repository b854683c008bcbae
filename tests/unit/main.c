/* tests/unit/main.c -- runs every CUnit suite of suites.def; ends with the line the test summary reads. */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#define SUITE(name) void suite_##name(void);
#include "tests/unit/suites.def"
#undef SUITE

/* Arguments: names of suites to run; none: all. */
static int wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return 1;
	return argc < 2;
}

int main(int argc, char **argv)
{
	unsigned run, failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 3;
#define SUITE(name)                            \
	if (wanted(#name, argc, argv))         \
		suite_##name();
#include "tests/unit/suites.def"
#undef SUITE
	CU_basic_set_mode(CU_BRM_NORMAL);
	CU_basic_run_tests();
	run = CU_get_number_of_tests_run();
	failed = CU_get_number_of_tests_failed() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	printf("%u passed, %u failed, 0 skipped\n", run > failed ? run - failed : 0, failed);
	return failed != 0;
}
