/* runtime/state_set.c -- states: which output becomes which input, and what an input is in the next run. */
#include <string.h>

#include "runtime/session.h"

static MlrtStatus states_misfit(const Tensor *in, const Tensor *out, const char *why, MlrtError *err)
{
	return mlrt_fail(err, MLRT_ERR_ARGUMENT, "output '%.150s' cannot be input '%.150s' of the next run: %s",
			 out->info.name, in->info.name, why);
}

static MlrtStatus check_pair(const MlrtSession *s, size_t input, size_t output, MlrtError *err)
{
	const Manifest *m = &s->model->manifest;
	const Tensor *in, *out;

	if (input >= m->ninputs || output >= m->noutputs)
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "input %zu of %zu, output %zu of %zu", input, m->ninputs,
				 output, m->noutputs);
	in = &m->input[input];
	out = &m->output[output];
	for (size_t i = 0; i < s->nstates; i++)
		if (s->state[i].input == input || s->state[i].output == output)
			return states_misfit(in, out, "one of them is a state already", err);
	if (in->kind != out->kind || in->elem != out->elem || in->key != out->key)
		return states_misfit(in, out, "their types differ", err);
	if (in->info.rank != out->info.rank)
		return states_misfit(in, out, "their ranks differ", err);
	for (int k = 0; k < in->info.rank; k++)
		if (in->dims[k] != out->dims[k] && in->dims[k] >= 0 && out->dims[k] >= 0)
			return states_misfit(in, out, "their sizes differ", err);
	return MLRT_OK;
}

MLRT_LOCAL MlrtStatus mlrt_state_add(MlrtSession *s, size_t input, size_t output, MlrtError *err)
{
	const Manifest *m = &s->model->manifest;
	const Tensor *in;
	State *state;
	MlrtStatus st = check_pair(s, input, output, err);

	if (!st)
		st = mlrt_tensors_new(s, err);
	if (st)
		return st;
	if (!s->state) {
		s->state = mlrt_allocate(&s->allocator, m->ninputs * sizeof *s->state, err);
		if (!s->state)
			return err->status;
	}
	state = &s->state[s->nstates++];
	in = &m->input[input];
	*state = (State){.input = input, .output = output};
	state->object = (MlrtObject){.store = &s->store, .kind = in->kind, .elem = in->elem, .key = in->key};
	state->next = state->object;
	s->tensors->state_of_input[input] = s->tensors->state_of_output[output] = state;
	s->simple = false;
	/* What has its size now is never allocated in a run. */
	for (int k = 0; !st && k < 2 && !in->kind && !in->open; k++)
		st = mlrt_block_reserve(s, &state->half[k], in->info.bytes, 0, err);
	return st;
}

/* A size that nobody has told: that of the same name in an input that the application gives, or none. */
static int64_t open_size(const MlrtSession *s, const char *name, const MlrtTensor *in)
{
	const Manifest *m = &s->model->manifest;

	for (size_t i = 0; name && i < m->ninputs; i++) {
		for (int k = 0; k < m->input[i].info.rank; k++)
			if (in[i].data && m->input[i].dim_names[k] && strcmp(m->input[i].dim_names[k], name) == 0)
				return in[i].dims[k];
	}
	return 0;
}

MLRT_LOCAL MlrtStatus mlrt_state_input(MlrtSession *s, State *state, const MlrtTensor *in, MlrtTensor *t,
				       MlrtError *err)
{
	const Tensor *info = &s->model->manifest.input[state->input];
	Block *half = &state->half[state->current];
	uint64_t bytes;
	MlrtStatus st;

	*t = (MlrtTensor){.rank = info->info.rank};
	if (info->kind) {
		t->object = &state->object;
		return MLRT_OK;
	}
	for (int k = 0; k < info->info.rank; k++)
		t->dims[k] = state->set           ? state->dims[k]
			     : info->dims[k] >= 0 ? info->dims[k]
						  : open_size(s, info->dim_names[k], in);
	if (!mlrt_tensor_bytes(info->elem, t->rank, t->dims, &bytes))
		return mlrt_fail(err, MLRT_ERR_ARGUMENT, "the state of input '%.200s' is too large", info->info.name);
	if (!state->set) {
		st = mlrt_block_reserve(s, half, bytes, 0, err);
		if (st)
			return st;
		if (bytes > 0)
			memset(half->data, 0, bytes);
	}
	t->data = half->data;
	t->bytes = bytes;
	return MLRT_OK;
}
