/* codegen/strips.h -- contractions whose steps are products of matrices (contract_pairs), from a copy of their input.
 *
 * Such an instruction takes a step of two columns side by side.  Where their pixels lie apart in A, something has to bring the two
 * together, and on Arm's cores that is an instruction of the pipes that multiply.  Here a task copies what its outputs read of A into
 * scratch memory first, as [row][step][phase][pixel][dot]: strips of one step of pixels that outputs beside each other read.  With
 * a stride, pixels of the same remainder lie in one strip, a phase, so that a tap is an offset whatever the stride.  Pads are filled
 * with the zero point, so that there are no edges.  What is left is a contraction of stride 1 over the copy (strips_form). */
#ifndef MLO_CODEGEN_STRIPS_H
#define MLO_CODEGEN_STRIPS_H
#include "codegen/contract.h"

enum { STRIPS_UNIT = 8 }; /* bytes of a step of a pixel */

int64_t strips_phases(const KContract *c);
int64_t strips_width(const KContract *c);  /* pixels of a strip, an even number */
int64_t strips_step(const KContract *c);   /* elements from a step to the next */
int64_t strips_height(const KContract *c, int64_t rows); /* copied rows of so many rows of outputs */
int64_t strips_scratch_bytes(const KContract *c);

/* The contraction over the copy of a chunk of c: A is the scratch argument, its phases lie strips_width() pixels apart; rows and
 * columns are counted as c counts them, from the chunk's first one on. */
KContract strips_form(const KContract *c);

/* Does a contraction of this form gain from a copy? */
bool strips_can(const KContract *c);
/* Is this a schedule that the emitter can do, for a contraction that has the form? */
bool strips_fits(const MloTarget *t, const KContract *c);
/* Estimated cycles of the contraction. */
double strips_cycles(const MloTarget *t, const KContract *c);
/* The fastest chunks for c's tile; answers the estimated cycles, more where threads are left idle.  Infinite, and c is left, where
 * there are none. */
double strips_schedule(const MloTarget *t, KContract *c);
/* Puts the fastest schedule with a copy in the place of one without, where it is estimated to be faster.  Sizes are those of k. */
void mlo_schedule_strips(const MloTarget *t, const MloKernel *k, KContract *c);
#endif
