/* tools/score.c -- top-K accuracy. */
#include "tools/score.h"

bool score_is_hit(const MloTensor *t, int64_t sample, int64_t classes, int64_t label, int top)
{
	int64_t at = sample * classes;
	double mine;
	int better = 0;

	if (classes == 1)
		return mlo_elem_is_int(t->elem) ? mlo_tensor_i64(t, at) == label : (mlo_tensor_f64(t, at) > 0.5) == (label != 0);
	if (label < 0 || label >= classes)
		return false;
	mine = mlo_tensor_f64(t, at + label);
	for (int64_t c = 0; c < classes; c++) {
		double v = mlo_tensor_f64(t, at + c);

		better += v > mine || (v == mine && c < label);
	}
	return mine == mine && better < top;
}
