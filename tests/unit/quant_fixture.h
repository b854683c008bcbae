/* tests/unit/quant_fixture.h -- graphs out of text, calibrated on random inputs and quantised. */
#ifndef MLO_TESTS_QUANT_FIXTURE_H
#define MLO_TESTS_QUANT_FIXTURE_H
#include "quant/ptq.h"

typedef struct QuantFix {
	MloGraph *g, *out; /* out: quantised; NULL before that */
	MloPtq *q, *at;    /* of g and of out */
	MloDiag d;
} QuantFix;

void quant_begin(QuantFix *f, const char *text, const MloPtqOptions *opt);
/* Calibrates on `runs` random inputs and quantises a copy. */
void quant_quantise(QuantFix *f, int runs);
void quant_end(QuantFix *f);
/* Noise of the first output, as a share of its power. */
double quant_noise(QuantFix *f);
int quant_count(const MloGraph *g, MloOp op); /* nodes of g */
#endif
