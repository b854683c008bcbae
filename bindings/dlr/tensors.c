/* bindings/dlr/tensors.c -- the interface of DLR: inputs, runs, outputs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/dlr/dlpack.h"
#include "bindings/dlr/internal.h"

enum { MAX_RANK = sizeof((MlrtTensor *)NULL)->dims / sizeof(int64_t) };

/* Elements of a shape; -1: a size is open; -2: too many to count. */
static int64_t count(const int64_t *dims, int rank)
{
	int64_t n = 1;

	for (int i = 0; i < rank; i++)
		if (dims[i] < 0)
			return -1;
	for (int i = 0; i < rank; i++)
		if (__builtin_mul_overflow(n, dims[i], &n))
			return -2;
	return n;
}

/* "1x3x?", into a buffer of the caller. */
static const char *shape_text(char *text, size_t room, const int64_t *dims, int rank)
{
	size_t n = 0;

	snprintf(text, room, "a scalar");
	for (int i = 0; i < rank && n < room; i++)
		n += (size_t)(dims[i] < 0 ? snprintf(text + n, room - n, "%s?", i ? "x" : "")
					  : snprintf(text + n, room - n, "%s%" PRId64, i ? "x" : "", dims[i]));
	return text;
}

static DlrPort *port_at(DLRModelHandle *handle, bool input, int index, const void *result)
{
	DlrModel *m = dlr_model(handle);
	size_t n = !m ? 0 : input ? m->nin : m->nout;

	if (!m)
		return NULL;
	if (!result)
		dlr_fail("%s %d: the result pointer is NULL", input ? "input" : "output", index);
	else if (index < 0 || (size_t)index >= n)
		dlr_fail("there is no %s %d: the model has %zu, counted from 0", input ? "input" : "output", index, n);
	else
		return input ? &m->in[index] : &m->out[index];
	return NULL;
}

static DlrPort *port_named(DLRModelHandle *handle, bool input, const char *name)
{
	DlrModel *m = dlr_model(handle);
	size_t n = !m ? 0 : input ? m->nin : m->nout, at = 0;
	char known[512] = "";

	if (!m)
		return NULL;
	if (!name) {
		dlr_fail("the name of an %s is NULL", input ? "input" : "output");
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		DlrPort *p = input ? &m->in[i] : &m->out[i];

		if (strcmp(p->info.name, name) == 0)
			return p;
		if (at < sizeof known)
			at += (size_t)snprintf(known + at, sizeof known - at, "%s'%s'", i ? ", " : "", p->info.name);
	}
	dlr_fail("there is no %s '%s'; the model has %s", input ? "input" : "output", name, known);
	return NULL;
}

/* -- what the model says ----------------------------------------------------------------------------- */

static int number(DLRModelHandle *handle, bool inputs, int *out)
{
	DlrModel *m = dlr_model(handle);

	if (!m)
		return -1;
	if (!out)
		return dlr_fail("number of %s: the result pointer is NULL", inputs ? "inputs" : "outputs");
	*out = (int)(inputs ? m->nin : m->nout);
	return 0;
}

int GetDLRNumInputs(DLRModelHandle *handle, int *num_inputs)
{
	return number(handle, true, num_inputs);
}

int GetDLRNumOutputs(DLRModelHandle *handle, int *num_outputs)
{
	return number(handle, false, num_outputs);
}

static int name_of(DLRModelHandle *handle, bool input, int index, const char **out)
{
	DlrPort *p = port_at(handle, input, index, out);

	if (p)
		*out = p->info.name;
	return p ? 0 : -1;
}

int GetDLRInputName(DLRModelHandle *handle, int index, const char **input_name)
{
	return name_of(handle, true, index, input_name);
}

int GetDLROutputName(DLRModelHandle *handle, const int index, const char **name)
{
	return name_of(handle, false, index, name);
}

static int type_of(DLRModelHandle *handle, bool input, int index, const char **out)
{
	DlrPort *p = port_at(handle, input, index, out);

	if (p)
		*out = p->type->name;
	return p ? 0 : -1;
}

int GetDLRInputType(DLRModelHandle *handle, int index, const char **input_type)
{
	return type_of(handle, true, index, input_type);
}

int GetDLROutputType(DLRModelHandle *handle, int index, const char **output_type)
{
	return type_of(handle, false, index, output_type);
}

/* Sizes of an input are what the model says, those of an output what the last run says, if there was one. */
static const int64_t *sizes(DLRModelHandle *handle, bool input, const DlrPort *p)
{
	const DlrModel *m = *handle;

	return !input && m->ran ? p->value.dims : p->info.dims;
}

static int shape_of(DLRModelHandle *handle, bool input, int index, int64_t *shape)
{
	DlrPort *p = port_at(handle, input, index, shape);

	if (!p)
		return -1;
	for (int i = 0; i < p->info.rank; i++)
		shape[i] = sizes(handle, input, p)[i];
	return 0;
}

int GetDLRInputShape(DLRModelHandle *handle, int index, int64_t *shape)
{
	return shape_of(handle, true, index, shape);
}

int GetDLROutputShape(DLRModelHandle *handle, int index, int64_t *shape)
{
	return shape_of(handle, false, index, shape);
}

static int size_of(DLRModelHandle *handle, bool input, int index, int64_t *size, int *dim)
{
	DlrPort *p = port_at(handle, input, index, size && dim ? size : NULL);

	if (!p)
		return -1;
	*size = count(sizes(handle, input, p), p->info.rank);
	*dim = p->info.rank;
	return 0;
}

int GetDLRInputSizeDim(DLRModelHandle *handle, int index, int64_t *size, int *dim)
{
	return size_of(handle, true, index, size, dim);
}

int GetDLROutputSizeDim(DLRModelHandle *handle, int index, int64_t *size, int *dim)
{
	return size_of(handle, false, index, size, dim);
}

int GetDLROutputIndex(DLRModelHandle *handle, const char *name, int *index)
{
	DlrPort *p = port_named(handle, false, name);
	const DlrModel *m = p ? *handle : NULL;

	if (!p)
		return -1;
	if (!index)
		return dlr_fail("output '%s': the result pointer is NULL", name);
	*index = (int)(p - m->out);
	return 0;
}

/* -- inputs ------------------------------------------------------------------------------------------ */

static bool shape_fits(const MlrtTensorInfo *want, const int64_t *shape, int dim)
{
	int64_t all = count(want->dims, want->rank);

	if (all >= 0)
		return count(shape, dim) == all;
	for (int i = 0; dim == want->rank && i < dim; i++)
		if (shape[i] < 0 || (want->dims[i] >= 0 && shape[i] != want->dims[i]))
			return false;
	return dim == want->rank;
}

static int check_shape(const DlrPort *p, const int64_t *shape, int dim, size_t *bytes)
{
	char want[200], have[200];
	int64_t n;

	if (dim < 0 || dim > MAX_RANK)
		return dlr_fail("input '%s': %d dimensions; there can be up to %d", p->info.name, dim, MAX_RANK);
	if (!shape && dim)
		return dlr_fail("input '%s': the shape is NULL", p->info.name);
	n = count(shape, dim);
	if (!shape_fits(&p->info, shape, dim) || n < 0 ||
	    __builtin_mul_overflow((size_t)n, (size_t)(p->type->bits / 8), bytes))
		return dlr_fail("input '%s' has shape %s, %s was given", p->info.name,
				shape_text(want, sizeof want, p->info.dims, p->info.rank),
				shape_text(have, sizeof have, shape, dim));
	return 0;
}

static int set_input(DLRModelHandle *handle, DlrPort *p, const int64_t *shape, const void *data, int dim)
{
	const DlrModel *m = *handle;
	size_t bytes;

	if (check_shape(p, shape, dim, &bytes))
		return -1;
	if (!data && bytes)
		return dlr_fail("input '%s': the data is NULL", p->info.name);
	if (!p->value.data || bytes > p->room) {
		void *room = dlr_alloc(&m->memory, bytes, 1);

		if (!room)
			return -1;
		dlr_free(&m->memory, p->value.data);
		p->value.data = room;
		p->room = bytes;
	}
	if (bytes)
		memcpy(p->value.data, data, bytes);
	p->value.bytes = bytes;
	p->value.rank = p->info.rank;
	for (int i = 0; i < p->info.rank; i++)
		p->value.dims[i] = p->info.dims[i] < 0 ? shape[i] : p->info.dims[i];
	p->set = true;
	return 0;
}

int SetDLRInput(DLRModelHandle *handle, const char *name, const int64_t *shape, const void *input, int dim)
{
	DlrPort *p = port_named(handle, true, name);

	return p ? set_input(handle, p, shape, input, dim) : -1;
}

int GetDLRInput(DLRModelHandle *handle, const char *name, void *input)
{
	DlrPort *p = port_named(handle, true, name);

	if (!p)
		return -1;
	if (!p->set)
		return dlr_fail("input '%s' has not been set", name);
	if (!input)
		return dlr_fail("input '%s': the result pointer is NULL", name);
	memcpy(input, p->value.data, p->value.bytes);
	return 0;
}

/* -- runs and outputs -------------------------------------------------------------------------------- */

int RunDLRModel(DLRModelHandle *handle)
{
	DlrModel *m = dlr_model(handle);
	MlrtError err = {0};

	if (!m)
		return -1;
	for (size_t i = 0; i < m->nin; i++) {
		DlrPort *p = &m->in[i];

		if (!p->set && !p->state)
			return dlr_fail("input '%s' has not been set", p->info.name);
		m->call_in[i] = p->set ? p->value : (MlrtTensor){0};
	}
	memset(m->call_out, 0, m->nout * sizeof *m->call_out);
	m->ran = false;
	m->begun = true;
	if (mlrt_session_run_tensors(m->session, m->call_in, m->call_out, &err))
		return dlr_fail("%s", err.text);
	for (size_t i = 0; i < m->nin; i++)
		m->in[i].set &= !m->in[i].state; /* takes the place of the state once */
	for (size_t i = 0; i < m->nout; i++)
		m->out[i].value = m->call_out[i];
	m->ran = true;
	return 0;
}

/* The output with its data; NULL after dlr_fail(). */
static const MlrtTensor *result_at(DLRModelHandle *handle, int index, const void *result)
{
	DlrPort *p = port_at(handle, false, index, result);
	const DlrModel *m = p ? *handle : NULL;

	if (!p)
		return NULL;
	if (m->ran)
		return &p->value;
	dlr_fail("output '%s': the model has not been run", p->info.name);
	return NULL;
}

int GetDLROutput(DLRModelHandle *handle, int index, void *out)
{
	const MlrtTensor *t = result_at(handle, index, out);

	if (!t)
		return -1;
	if (t->bytes)
		memcpy(out, t->data, t->bytes);
	return 0;
}

int GetDLROutputByName(DLRModelHandle *handle, const char *name, void *out)
{
	int index;

	return GetDLROutputIndex(handle, name, &index) ? -1 : GetDLROutput(handle, index, out);
}

int GetDLROutputPtr(DLRModelHandle *handle, int index, const void **out)
{
	const MlrtTensor *t = result_at(handle, index, out);

	if (t)
		*out = t->data;
	return t ? 0 : -1;
}

/* -- DLPack ------------------------------------------------------------------------------------------ */

static uint8_t dlpack_bits(const DlrType *t)
{
	return strcmp(t->name, "bool") == 0 ? 1 : (uint8_t)t->bits;
}

/* DLPack got a code for bool, of 8 bits, later than TVM had types of one bit. */
static bool dlpack_is(DLDataType have, const DlrType *want)
{
	enum { DLPACK_BOOL = 6 };
	bool is_bool = strcmp(want->name, "bool") == 0;

	if (have.lanes != 1)
		return false;
	if (is_bool && have.code == DLPACK_BOOL)
		return have.bits == 8;
	return have.code == want->code && (have.bits == want->bits || (is_bool && have.bits == 1));
}

static bool is_dense(const DLTensor *t)
{
	int64_t step = 1;

	for (int i = t->ndim; t->strides && i-- > 0;) {
		if (t->shape[i] != 1 && t->strides[i] != step)
			return false;
		if (__builtin_mul_overflow(step, t->shape[i], &step))
			return false;
	}
	return true;
}

static int check_tensor(const DLTensor *t, const DlrPort *p, const char *what)
{
	if (t->device.type != DLR_CPU)
		return dlr_fail("%s '%s': the tensor is on device type %d, not in main memory (%d)", what, p->info.name,
				(int)t->device.type, DLR_CPU);
	if (t->ndim < 0 || t->ndim > MAX_RANK || (t->ndim && !t->shape))
		return dlr_fail("%s '%s': the tensor has %d dimensions, or no shape", what, p->info.name, (int)t->ndim);
	if (!dlpack_is(t->dtype, p->type))
		return dlr_fail("%s '%s' is %s, the tensor has type code %d of %d bits, %d lanes", what, p->info.name,
				p->type->name, t->dtype.code, t->dtype.bits, t->dtype.lanes);
	if (!is_dense(t))
		return dlr_fail("%s '%s': the tensor has strides, a dense one is needed", what, p->info.name);
	return 0;
}

static void *first_element(const DLTensor *t)
{
	return t->data ? (char *)t->data + t->byte_offset : NULL;
}

int SetDLRInputTensor(DLRModelHandle *handle, const char *name, void *tensor)
{
	DlrPort *p = port_named(handle, true, name);
	const DLTensor *t = tensor;

	if (!p)
		return -1;
	if (!t)
		return dlr_fail("input '%s': the tensor is NULL", name);
	if (check_tensor(t, p, "input"))
		return -1;
	return set_input(handle, p, t->shape, first_element(t), t->ndim);
}

int GetDLROutputTensor(DLRModelHandle *handle, int index, void *tensor)
{
	const MlrtTensor *r = result_at(handle, index, tensor);
	const DLTensor *t = tensor;
	const DlrPort *p = r ? &((DlrModel *)*handle)->out[index] : NULL;
	char want[200], have[200];

	if (!r || check_tensor(t, p, "output"))
		return -1;
	if (count(t->shape, t->ndim) != count(r->dims, r->rank))
		return dlr_fail("output '%s' has shape %s, the tensor %s", p->info.name,
				shape_text(want, sizeof want, r->dims, r->rank),
				shape_text(have, sizeof have, t->shape, t->ndim));
	if (!r->bytes)
		return 0;
	if (!t->data)
		return dlr_fail("output '%s': the tensor's data is NULL", p->info.name);
	memcpy(first_element(t), r->data, r->bytes);
	return 0;
}

/* A managed tensor with its sizes and a copy of the data, which may outlive the model. */
typedef struct Managed {
	DLManagedTensor managed;
	int64_t dims[MAX_RANK];
	DlrMemory memory;
} Managed;

static void delete_managed(DLManagedTensor *self)
{
	Managed *m = self->manager;
	const DlrMemory memory = m->memory;

	dlr_free(&memory, m->managed.tensor.data);
	dlr_free(&memory, m);
}

int GetDLROutputManagedTensorPtr(DLRModelHandle *handle, int index, const void **tensor)
{
	const MlrtTensor *r = result_at(handle, index, tensor);
	const DlrModel *model = r ? *handle : NULL;
	const DlrType *type = r ? model->out[index].type : NULL;
	Managed *m;
	void *data;

	if (!r || !(m = dlr_alloc(&model->memory, 1, sizeof *m)))
		return -1;
	data = dlr_alloc(&model->memory, r->bytes, 1);
	if (!data) {
		dlr_free(&model->memory, m);
		return -1;
	}
	if (r->bytes)
		memcpy(data, r->data, r->bytes);
	memcpy(m->dims, r->dims, (size_t)r->rank * sizeof *r->dims);
	m->memory = model->memory;
	m->managed.tensor = (DLTensor){.data = data, .device = {DLR_CPU, 0}, .ndim = r->rank, .shape = m->dims};
	m->managed.tensor.dtype = (DLDataType){(uint8_t)type->code, dlpack_bits(type), 1};
	m->managed.manager = m;
	m->managed.deleter = delete_managed;
	*tensor = &m->managed;
	return 0;
}
