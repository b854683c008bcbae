/* tests/fuzz/fuzz_job.c -- libFuzzer target: compile jobs, alone and beside a command line that says all. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void parse(const uint8_t *data, size_t n, Job job)
{
	MloArena *a = mlo_arena_new();
	MloDiag d = {0};
	MloStatus st;

	if (!a)
		return;
	st = job_parse(a, (const char *)data, n, "folder/job.json", &job, &d);
	if ((st == MLO_OK) != (d.nerrors == 0))
		abort(); /* a refusal explains itself */
	if (st == MLO_OK && (!job.model || !job.output || !job.target || !job.name))
		abort(); /* a job that is accepted says all that a compilation needs */
	for (size_t i = 0; i < job.shapes.n; i++)
		for (int k = 0; k < job.shapes.items[i].rank; k++)
			if (job.shapes.items[i].dim[k].lo < 1 ||
			    job.shapes.items[i].dim[k].hi < job.shapes.items[i].dim[k].lo)
				abort();
	mlo_diag_free(&d);
	mlo_arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const shapes[] = {"x=1x3"};

	parse(data, n, (Job){.suffix = ".mlopt"});
	parse(data, n,
	      (Job){.suffix = ".mlopt",
		    .model = "m.onnx",
		    .output = "o",
		    .target = "x86_64",
		    .given = shapes,
		    .ngiven = 1});
	return 0;
}
