/* codegen/tuned.h -- measured schedules, kept in the cache folder: one file per contraction and target.
 *
 * The key is the kernel's text without its schedule, with the target and the compiler's version (MloTunable).
 * A file holds every schedule that was measured, so that measuring goes on where it ended, and the best one once
 * it was confirmed.  Writers replace whole files: of two at a time, one's measurements stay. */
#ifndef MLO_CODEGEN_TUNED_H
#define MLO_CODEGEN_TUNED_H
#include "codegen/schedule.h"

/* ratio: its time to that of the cost model's schedule, measured in turns. */
typedef struct MloTrial { MloSchedule s; double ratio; } MloTrial;

typedef struct MloTuned {
	MloSchedule model; /* the cost model's, that the ratios are to */
	MloSchedule best;  /* confirmed as faster; else `model` */
	double gain;       /* share of the time that `best` saves; 0: it is `model` */
	bool done;         /* no candidate is left */
	struct { MloTrial *items; size_t n, cap; } trial;
} MloTuned;

/* What is known of a contraction.  False where nothing is, where the cost model chooses another schedule than
 * the one that the ratios are to, or where the file is damaged or says what the emitter cannot do: a warning. */
bool mlo_tuned_get(MloArena *a, const char *dir, const MloTunable *k, MloTuned *out, MloDiag *d);
MloStatus mlo_tuned_put(const char *dir, const MloTunable *k, const MloTuned *t, MloDiag *d) MLO_CHECKED;

/* A chooser that takes what is in the folder; user: an MloTunedStore. */
typedef struct MloTunedStore {
	MloArena *arena;
	const char *dir;
	MloDiag *diag;
} MloTunedStore;
MloChoice mlo_tuned_choose(void *user, const MloTunable *k, MloSchedule *s);
#endif
