/* tests/dlr/refuse.c -- wrong use of DLR's interface: each is -1 with a reason, and the model goes on working. */
#include <stdio.h>
#include <string.h>

#include "tests/dlr/check.h"

static const int64_t square[] = {2, 2};

static void check_paths(void)
{
	DLRModelHandle m = (DLRModelHandle)1;
	char path[512], list[1200], other[512];

	REFUSED(CreateDLRModel(NULL, "x", 1, 0), "handle");
	REFUSED(CreateDLRModel(&m, NULL, 1, 0), "no model path");
	CHECK(m == NULL);
	REFUSED(CreateDLRModel(&m, "", 1, 0), "no model path");
	REFUSED(CreateDLRModel(&m, model_path(path, "missing"), 1, 0), "missing");
	REFUSED(CreateDLRModel(&m, model_path(path, "none"), 1, 0), "no file *.mlopt");
	REFUSED(CreateDLRModel(&m, model_path(path, "neo"), 1, 0), "compiled.params");
	REFUSED(CreateDLRModel(&m, model_path(path, "both"), 1, 0), "two packages");
	REFUSED(CreateDLRModel(&m, model_path(path, "cut"), 1, 0), "cut off");
	REFUSED(CreateDLRModel(&m, model_path(path, "two"), 2, 0), "device type 2");
	REFUSED(CreateDLRModel(&m, model_path(path, "two"), 1, -1), "device id -1");
	snprintf(list, sizeof list, "%s:%s", path, model_path(other, "tiny"));
	REFUSED(CreateDLRModel(&m, list, 1, 0), "two packages");
	snprintf(list, sizeof list, "%s:%s", model_path(other, "none"), path);
	if (CHECK(CreateDLRModel(&m, list, 1, 0) == 0))
		CHECK(DeleteDLRModel(&m) == 0);
	CHECK(GetDLRDeviceType(path) == 1);
	REFUSED(GetDLRDeviceType(model_path(other, "none")), "no file *.mlopt");
	REFUSED(DeleteDLRModel(&m), "NULL");
	REFUSED(DeleteDLRModel(NULL), "NULL");
	REFUSED(RunDLRModel(&m), "NULL");
}

static void check_nulls(DLRModelHandle m)
{
	DLRModelHandle none = NULL;
	int64_t size;
	int n;

	REFUSED(GetDLRNumInputs(&none, &n), "handle");
	REFUSED(GetDLRNumInputs(&m, NULL), "NULL");
	REFUSED(GetDLRNumOutputs(&m, NULL), "NULL");
	REFUSED(GetDLRNumWeights(&m, NULL), "NULL");
	REFUSED(GetDLRInputName(&m, 0, NULL), "NULL");
	REFUSED(GetDLRInputShape(&m, 0, NULL), "NULL");
	REFUSED(GetDLRInputSizeDim(&m, 0, &size, NULL), "NULL");
	REFUSED(GetDLROutputSizeDim(&m, 0, NULL, &n), "NULL");
	REFUSED(GetDLROutputIndex(&m, NULL, &n), "NULL");
	REFUSED(GetDLROutputIndex(&m, "sum", NULL), "NULL");
	REFUSED(GetDLRHasMetadata(&m, NULL), "NULL");
	REFUSED(GetDLRBackend(&m, NULL), "NULL");
	REFUSED(GetDLRVersion(NULL), "NULL");
	REFUSED(SetDLRInput(&m, NULL, square, square, 2), "NULL");
	REFUSED(SetDLRInput(&m, "a", NULL, square, 2), "shape is NULL");
	REFUSED(SetDLRInput(&m, "a", square, NULL, 2), "data is NULL");
	REFUSED(SetDLRInput(&none, "a", square, square, 2), "handle");
}

static void check_names_and_sizes(DLRModelHandle m)
{
	DLRModelHandle any = open_model("dynamic");
	const char *text;
	float x[8] = {0};

	REFUSED(GetDLRInputName(&m, 2, &text), "no input 2");
	REFUSED(GetDLRInputType(&m, -1, &text), "no input -1");
	REFUSED(GetDLROutputName(&m, 7, &text), "no output 7");
	REFUSED(GetDLRWeightName(&m, 0, &text), "weight 0");
	REFUSED(SetDLRInput(&m, "c", square, x, 2), "no input 'c'; the model has 'a', 'b'");
	REFUSED(GetDLROutputByName(&m, "total", x), "no output 'total'; the model has 'sum', 'a/b'");
	REFUSED(SetDLRInput(&m, "a", (int64_t[]){2, 3}, x, 2), "2x2, 2x3 was given");
	REFUSED(SetDLRInput(&m, "a", (int64_t[]){-2, -2}, x, 2), "?x? was given");
	REFUSED(SetDLRInput(&m, "a", square, x, -1), "-1 dimensions");
	REFUSED(SetDLRInput(&m, "a", square, x, 17), "17 dimensions");
	REFUSED(SetDLRInput(&any, "x", (int64_t[]){2, 3, 8, 9}, x, 4), "?x3x8x8, 2x3x8x9");
	REFUSED(SetDLRInput(&any, "x", (int64_t[]){3, 8, 8}, x, 3), "3x8x8 was given");
	REFUSED(SetDLRInput(&any, "x", (int64_t[]){INT64_MAX, 3, 8, 8}, x, 4), "was given");
	REFUSED(SetDLRInput(&any, "x", (int64_t[]){-1, 3, 8, 8}, x, 4), "?x3x8x8 was given");
	CHECK(DeleteDLRModel(&any) == 0);
}

static void check_order(DLRModelHandle m)
{
	const void *p;
	float x[4] = {1, 2, 3, 4}, out[4];

	REFUSED(RunDLRModel(&m), "input 'a' has not been set");
	REFUSED(GetDLRInput(&m, "a", x), "has not been set");
	REFUSED(GetDLROutput(&m, 0, x), "has not been run");
	REFUSED(GetDLROutputPtr(&m, 0, &p), "has not been run");
	CHECK(SetDLRInput(&m, "a", square, x, 2) == 0);
	REFUSED(RunDLRModel(&m), "input 'b' has not been set");
	REFUSED(SetDLRNumThreads(&m, 0), "at least 1");
	CHECK(UseDLRCPUAffinity(&m, 0) == 0);
	REFUSED(UseDLRCPUAffinity(&m, 1), "not bound");
	CHECK(SetDLRInput(&m, "b", square, x, 2) == 0 && RunDLRModel(&m) == 0);
	CHECK(GetDLROutput(&m, 0, out) == 0 && out[3] == 8);
	CHECK(SetDLRNumThreads(&m, 2) == 0);
	REFUSED(GetDLROutput(&m, 0, out), "has not been run");
	CHECK(RunDLRModel(&m) == 0 && GetDLROutput(&m, 0, out) == 0 && out[2] == 6);
}

void check_refusals(void)
{
	DLRModelHandle m = open_model("two");

	check_paths();
	check_nulls(m);
	check_names_and_sizes(m);
	check_order(m);
	CHECK(DeleteDLRModel(&m) == 0);
	m = NULL;
	{
		char path[512];

		REFUSED(CreateDLRModel(&m, model_path(path, "pieces"), 1, 0), "tensors of numbers");
	}
}
