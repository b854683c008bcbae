/* codegen/schedule.h -- schedules of contractions as values: what the cost model or a measurement decides.
 *
 * A contraction (KContract) says what is computed and, in its schedule members, how: that second part is an
 * MloSchedule.  The cost model (schedule.c, winograd.c) fills it without measuring; a chooser may put another
 * one in its place, from measurements (tuned.h) or as a candidate to be measured.  Results do not depend on
 * the schedule but for Winograd's rounding. */
#ifndef MLO_CODEGEN_SCHEDULE_H
#define MLO_CODEGEN_SCHEDULE_H
#include "codegen/kernel.h"
#include "codegen/key.h"
#include "targets/target.h"

/* The schedule members of KContract, with the meaning they have there. */
typedef struct MloSchedule {
	int vecs, cols, rows;
	int64_t y_chunk;
	bool c_outer;
	int wino;
	int64_t c_chunk; /* Winograd, matrix unit, strips, sparse weights; else 0 */
	int depth;
	bool strips;
	int spread;      /* of sparse weights, lanes side by side; else 0, and so are the others */
	int group;
	int64_t runs;
} MloSchedule;

MloSchedule mlo_schedule_of(const KContract *c);
void mlo_schedule_set(KContract *c, const MloSchedule *s);
bool mlo_schedule_same(const MloSchedule *a, const MloSchedule *b);
/* "vecs=2 cols=14 rows=1 y_chunk=28 c_outer=1 wino=0 c_chunk=0 depth=0 spread=0 group=0 runs=0 strips=0", and back: false where it is not that. */
void mlo_schedule_write(MloStr *out, const MloSchedule *s);
bool mlo_schedule_read(const char *text, MloSchedule *out);

/* How many steps of constant weights are not zero, for groups of 1, 2, ... channels a step of which is zero if it is for all of
 * them.  All 0: weights are not sparse, or nobody knows. */
enum { MLO_SPARSE_GROUPS = 3 };
typedef struct MloSparsity { int64_t n[MLO_SPARSE_GROUPS]; } MloSparsity;

/* A contraction whose schedule can be chosen: all sizes are numbers. */
typedef struct MloTunable {
	CacheKey key;        /* of the kernel's text without its schedule, and the target */
	const char *name;    /* the kernel's */
	const MloTarget *target;
	const KContract *c;  /* with the cost model's schedule */
	bool weights_stay;   /* in a core's caches, those of all layers (codegen/winograd.h) */
	MloSparsity weights;
	bool winograd;       /* may it be computed by pieces, where its form allows it? */
} MloTunable;

/* Where a schedule comes from. */
typedef struct MloChoice {
	enum { MLO_CHOICE_MODEL, MLO_CHOICE_MEASURED } from;
	double gain;         /* MEASURED: share of the time that the cost model's schedule takes which is saved */
	int trials;          /* schedules that were measured beside the cost model's; 0: none were */
} MloChoice;

/* Called for each tunable contraction: *s is the cost model's schedule and may become another one for which
 * mlo_schedule_fits() holds. */
typedef struct MloChooser {
	MloChoice (*choose)(void *user, const MloTunable *k, MloSchedule *s);
	void *user;
} MloChooser;

/* Can the emitter do it?  Also for schedules from files. */
bool mlo_schedule_fits(const MloTunable *k, const MloSchedule *s);

typedef struct MloScheduleList { MloSchedule *items; size_t n, cap; } MloScheduleList;
/* Schedules worth measuring, the most promising first; neither the cost model's nor any twice. */
void mlo_schedule_candidates(MloArena *a, const MloTunable *k, MloScheduleList *out);
/* Those that differ from s in one respect. */
void mlo_schedule_neighbours(MloArena *a, const MloTunable *k, const MloSchedule *s, MloScheduleList *out);
#endif
