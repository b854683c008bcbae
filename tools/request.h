/* tools/request.h -- what 'prune', 'distill', 'quantize' and 'compile --int8' are asked alike: which samples, and which layers. */
#ifndef MLO_TOOLS_REQUEST_H
#define MLO_TOOLS_REQUEST_H
#include "quant/ptq.h"
#include "tools/cli.h"
#include "tools/probe.h"

enum { REQUEST_CALIB = 512, REQUEST_SAMPLES, REQUEST_PREPROCESS, REQUEST_SHAPE, REQUEST_EXCLUDE, REQUEST_INCLUDE, REQUEST_END };
enum { REQUEST_MOST = 64 }; /* values of an option that may be repeated */

/* Rows of a list of CliOption; texts are literals. */
#define REQUEST_SAMPLE_ROWS(what, most)                                                                                      \
	{REQUEST_CALIB, "calib", "DATA", what ": X.npy, X.npz (arrays named as the inputs), IDX, or a folder of such or .pb files"}, \
	{REQUEST_SAMPLES, "samples", "N", "use at most N samples (default: " most ")"},                                     \
	{REQUEST_PREPROCESS, "preprocess", "RECIPE", "how samples become inputs, as for 'eval'"}
#define REQUEST_SHAPE_ROW {REQUEST_SHAPE, "shape", "NAME=1x3x8x8", "shape of an input, or size of a dimension, while samples run"}
#define REQUEST_LAYER_ROWS(excluded, included)                                                                               \
	{REQUEST_EXCLUDE, "exclude", "PATTERN", excluded "; * and ? stand for any characters (repeatable)"},                \
	{REQUEST_INCLUDE, "include", "PATTERN", included " (repeatable)"}

/* Lists that options are appended to; zeroed at first, they live as long as what points to them. */
typedef struct RequestLists {
	const char *shape[REQUEST_MOST], *exclude[REQUEST_MOST + 1], *include[REQUEST_MOST + 1];
	size_t nexclude, ninclude;
} RequestLists;

static inline bool request_has(int option) /* is it one of these? */
{
	return option >= REQUEST_CALIB && option < REQUEST_END;
}
/* Takes such an option, its value in `optarg`.  False: an error was printed. */
bool request_take(RequestLists *l, int option, ProbeData *data, MloPtqOptions *ptq);
#endif
