/* tools/score.h -- is a classifier right? */
#ifndef MLO_TOOLS_SCORE_H
#define MLO_TOOLS_SCORE_H
#include "ir/type.h"

/* Is the label of sample `sample` among its `top` best of scores[samples, classes]?  Equal scores: the lower class
 * number is the better one; NaN is no score.  One class: integers name the class, others are a probability of 1. */
bool score_is_hit(const MloTensor *scores, int64_t sample, int64_t classes, int64_t label, int top);
#endif
