/* tools/bench.h -- one model measured against its baselines, and how that is reported. */
#ifndef MLO_TOOLS_BENCH_H
#define MLO_TOOLS_BENCH_H
#include <jansson.h>

#include "tools/machine.h"
#include "tools/model.h"
#include "tools/peer.h"
#include "tools/samples.h"

typedef struct BenchOptions {
	ModelOptions model;
	double duration, warmup; /* seconds per contestant */
	bool no_peer;            /* no baselines */
	bool profile;
	const char *baseline; /* the ONNX model of a package */
	const char *const *inputs; /* "NAME=FILE", see tools/inputs.h; all others are random */
	size_t ninputs;
} BenchOptions;

/* BENCH_SINGLE: ours with one thread, where more were asked for. */
enum { BENCH_OURS, BENCH_SINGLE, BENCH_REFERENCE, BENCH_ORT, BENCH_CONTESTANTS };

typedef struct BenchStep {
	double ms; /* of one run: the mean of the best window */
} BenchStep;

/* A node of the model as it was imported. */
typedef struct BenchNode {
	const char *name, *op;
	uint32_t *from; /* nodes whose results it reads */
	uint32_t nfrom;
} BenchNode;

typedef struct BenchResult {
	const char *name, *path, *variant;
	int threads;
	Latency latency[BENCH_CONTESTANTS]; /* runs == 0: was not measured */
	PeerFacts ort;                      /* version NULL: was not there */
	const char *ort_missing;            /* why */
	double flops;                       /* of one run */
	double peak;                        /* GFLOP/s of this machine, same threads, same time */
	const MloGpu *gpu;                  /* or, of a variant for GPUs, of this device by its data sheet; NULL: it runs on the CPU */
	double load_ms, compile_s;
	double first_ms; /* opened, a session made, run once */
	size_t package_bytes, memory_bytes, batch;
	BenchStep *step; /* with profile */
	size_t nsteps;
	double roof;      /* GFLOP/s, the most that the peak was in that time: for steps, whose best windows count */
	double bandwidth; /* with profile: GB/s read from memory at best, same threads */
	BenchNode *node;  /* with profile, of an ONNX model; in its order */
	size_t nnodes;
	json_t *manifest; /* borrowed: freed with the arena */
} BenchResult;

MloStatus bench_model(MloArena *a, const char *path, const BenchOptions *opt, const Machine *m,
		      BenchResult *r, MloDiag *d) MLO_CHECKED;
/* bench_memory.c: bytes by which a process grows at most when it opens the package, makes a session and runs it once
 * (in, out: as for model_run(), from before); 0: not known. */
size_t bench_memory(const char *path, const ModelOptions *opt, MloTensor *const *in, MloTensor *const *out);
void bench_print(const BenchResult *r);
json_t *bench_json(const BenchResult *r);
const char *bench_contestant(int who);
double bench_flops(const json_t *step);    /* of a run; 0 where its sizes are open: the manifest has but a guess */
/* GFLOP/s that the machine can do of a step's products, and the least ms that arithmetic and memory take it on a GPU (0: on a CPU, or
 * its sizes are open). */
double bench_roof(const BenchResult *r, const json_t *step);
double bench_bound(const BenchResult *r, const json_t *step);
json_t *bench_steps(const BenchResult *r); /* of the variant that ran, from the manifest; borrowed */

/* bench_page.c: the same as parts of one HTML page, which page_end() ends; models must have been profiled. */
void bench_page_begin(MloStr *out);
void bench_page_model(MloStr *out, const BenchResult *r);
#endif
