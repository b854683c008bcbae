/* ir/ref/ref_sizes.c -- sizes of results that follow from the sizes of operands only when they are known. */
#include "ir/ref/ref.h"

void size_broadcast(const RefCall *c, int64_t *dims)
{
	int32_t rank = c->out[0].rank;

	for (int32_t j = 0; j < rank; j++) {
		dims[j] = 1;
		for (int32_t i = 0; i < c->nin; i++) {
			int32_t at = j - (rank - c->in[i].rank);
			int64_t size = at < 0 ? 1 : c->in[i].dim[at];

			if (size != 1 && dims[j] != 1 && size != dims[j])
				dims[j] = -1;
			else if (size != 1)
				dims[j] = size;
		}
	}
}
