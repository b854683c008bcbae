/* codegen/device_schedule.h -- how contractions are made on a GPU. */
#ifndef MLO_CODEGEN_DEVICE_SCHEDULE_H
#define MLO_CODEGEN_DEVICE_SCHEDULE_H
#include "codegen/kernel.h"
#include "targets/target.h"

/* Fills the schedule members of c, sizes of which are those of k: lanes are the columns of a block's tile. */
void mlo_schedule_device(const MloTarget *t, const MloKernel *k, KContract *c);
#endif
