/* tools/request.c -- options about samples and layers. */
#include "tools/request.h"

#include <getopt.h>

bool request_take(RequestLists *l, int option, ProbeData *data, MloPtqOptions *ptq)
{
	switch (option) {
	case REQUEST_CALIB: data->calib = optarg; return true;
	case REQUEST_SAMPLES: return cli_int("--samples", optarg, 1, 2000000000, &data->samples);
	case REQUEST_PREPROCESS: data->preprocess = optarg; return true;
	case REQUEST_SHAPE:
		data->run.shapes = l->shape;
		return cli_push("--shape", l->shape, REQUEST_MOST, &data->run.nshapes);
	case REQUEST_EXCLUDE:
		ptq->exclude = l->exclude;
		return cli_push("--exclude", l->exclude, REQUEST_MOST, &l->nexclude);
	default:
		MLO_ASSERT(option == REQUEST_INCLUDE);
		ptq->include = l->include;
		return cli_push("--include", l->include, REQUEST_MOST, &l->ninclude);
	}
}
