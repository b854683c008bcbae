/* codegen/device_plan_model.h -- what models of the time of contractions on tensor cores share. */
#ifndef MLO_CODEGEN_DEVICE_PLAN_MODEL_H
#define MLO_CODEGEN_DEVICE_PLAN_MODEL_H
#include "codegen/device_mma_stage.h"
#include "codegen/device_plan.h"

/* Cycles, bytes a cycle and instructions that all capabilities share.  Shared memory: 32 banks of 4 bytes (CUDA C++ Programming Guide,
 * compute capabilities).  L2: what each multiprocessor gets where all of them read (NVIDIA A100 whitepaper: 5120 bytes a cycle for
 * 108); the others state nothing.  What follows is rounded from code that was looked at. */
enum {
	SHARED_BYTES = 128, L2_BYTES = 48, /* a cycle, of a multiprocessor */
	SCHEDULERS = 4,                    /* each issues an instruction a cycle */
	LATENCY = 700,                     /* from L2 and memory, with a barrier */
	START = 1500, MEET = 1500,         /* of a tile until it multiplies; of parts until the last one knows */
	OUTPUT_ISSUE = 8,                  /* of a warp's outputs, in an epilogue */
	STAGE_ISSUE = 6,                   /* of a warp, beside products and copies: it waits, and goes on */
	BARRIER = 40, FRAGMENTS = 20,      /* until all warps are there; until a warp alone has its fragments */
	MAX_STAGED_SUMS = 64, /* of a thread that also has pieces on their way in registers */
	MOST_THREADS = 512, MOST_REGISTERS = 255, OTHER = 64 /* registers of a thread beside sums, fragments and pieces */
};

typedef struct Model {
	const MloGpu *gpu;
	const MloKernel *k;
	const KContract *c;
	const MmaKind *kind;
	bool async, wide, inside;          /* inside: all taps are, always */
	double products;                   /* of a multiprocessor, a cycle */
	double there;                      /* share of the taps that are inside */
	double memory_ns;                  /* for what is read and written once */
} Model;

static inline int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

static inline double largest(double a, double b)
{
	return a > b ? a : b;
}

/* device_plan_groups.c: a plan with groups of warps, if it is faster than the best one; of columns and words as device_plan() has them. */
void device_plan_groups(const Model *m, int columns, int words, DevicePlan *best);
#endif
