/* quant/speed.h -- which layers are worth having in integers: the decision, from times that somebody else knows.
 *
 * Layers that take longer in integers go back to float; then the model as it is now, with what it converts between the
 * two, is compared with the float model again.  What does not gain is undone, and a model that is slower in the end
 * than the float one stays float as a whole. */
#ifndef MLO_QUANT_SPEED_H
#define MLO_QUANT_SPEED_H
#include "quant/ptq.h"

/* In nanoseconds in float; times that in integers. */
typedef struct MloPtqTime { double float_ns, ratio; } MloPtqTime;

/* The model as the plan has it now beside the float model; a layer without steps of its own has float_ns 0. */
typedef struct MloPtqTimes {
	MloPtqTime all;    /* with what belongs to no layer: conversions, too */
	MloPtqTime *layer; /* one for each of the plan, which the caller of a MloPtqTimesFn owns */
} MloPtqTimes;
typedef MloStatus MloPtqTimesFn(void *user, MloPtqTimes *out);

/* Turns layers of q off (MloPtqLayer.off says why), and fills float_ns and int_ns of those that were compared; asks for
 * times after each change of the plan.  *all: of the model as it is in the end, ratio 1 if it stays float. */
MloStatus mlo_ptq_by_speed(MloPtq *q, MloPtqTimesFn *times, void *user, MloPtqTime *all) MLO_CHECKED;

/* Times as text, exactly, and back; false: the text is something else. */
void mlo_ptq_times_write(MloStr *s, size_t nlayers, const MloPtqTimes *t);
bool mlo_ptq_times_read(const char *text, size_t nlayers, MloPtqTimes *out);
#endif
