/* runtime/state.c -- states: what one run puts out and the next takes in, in two blocks that change places. */
#include <string.h>

#include "runtime/more.h"

static MlrtStatus add_state(MlrtSession *s, size_t input, size_t output, MlrtError *err)
{
	const More *more = mlrt_more("states", err);

	return more ? more->state_add(s, input, output, err) : err->status;
}

MLRT_LOCAL MlrtStatus mlrt_states_new(MlrtSession *s, MlrtError *err)
{
	const Manifest *m = &s->model->manifest;
	MlrtStatus st = MLRT_OK;

	for (size_t i = 0; !st && i < m->nstates; i++)
		st = add_state(s, m->state[i].input, m->state[i].output, err);
	return st;
}

MLRT_LOCAL void mlrt_states_free(MlrtSession *s)
{
	for (size_t i = 0; i < s->nstates; i++) {
		mlrt_block_free(s, &s->state[i].half[0]);
		mlrt_block_free(s, &s->state[i].half[1]);
	}
	if (s->state)
		s->allocator.release(s->allocator.user, s->state, s->model->manifest.ninputs * sizeof *s->state);
}

MlrtStatus mlrt_session_state(MlrtSession *s, size_t input, size_t output, MlrtError *err)
{
	MlrtError local;
	MlrtStatus st;

	if (!err)
		err = &local;
	if (!mlrt_session_enter(s, err))
		return MLRT_ERR_ARGUMENT;
	st = add_state(s, input, output, err);
	mlrt_session_leave(s);
	return st;
}

void mlrt_session_reset(MlrtSession *s)
{
	for (size_t i = 0; i < s->nstates; i++) {
		s->state[i].set = false;
		mlrt_object_empty(&s->state[i].object);
	}
}

MLRT_LOCAL MlrtStatus mlrt_state_room(MlrtSession *s, State *state, uint64_t bytes, void **out, MlrtError *err)
{
	Block *half = &state->half[1 - state->current];
	MlrtStatus st = mlrt_block_reserve(s, half, bytes, 0, err);

	*out = half->data;
	return st;
}

MLRT_LOCAL void mlrt_state_next(State *state, const MlrtTensor *out)
{
	state->current = 1 - state->current;
	state->set = true;
	memcpy(state->dims, out->dims, (size_t)out->rank * sizeof *out->dims);
	mlrt_object_swap(&state->object, &state->next);
}
