/* bindings/dlr/internal.h -- a model behind a handle: a package, its session, what was set and what came out. */
#ifndef MLOPT_DLR_INTERNAL_H
#define MLOPT_DLR_INTERNAL_H
#include "bindings/dlr/dlr.h"
#include "mlopt/runtime.h"

enum { DLR_CPU = 1 }; /* kDLCPU of DLPack */

typedef struct DlrType {
	const char *elem, *name; /* in packages; for clients */
	int bits, code;
} DlrType;

typedef struct DlrMemory { /* with what a model was made; NULL: the C library's */
	DLRMallocFunctionPtr malloc;
	DLRFreeFunctionPtr free;
	DLRMemalignFunctionPtr memalign;
} DlrMemory;

typedef struct DlrPort {
	MlrtTensorInfo info;
	const DlrType *type;
	bool state;       /* of inputs: what the run before put out, unless it is set */
	bool set;         /* of inputs */
	size_t room;      /* of inputs: bytes at `value.data` that are ours */
	MlrtTensor value; /* of inputs: as set; of outputs: of the last run */
} DlrPort;

typedef struct DlrModel {
	DlrMemory memory;
	MlrtModel *model;
	MlrtSession *session;
	void *bytes; /* a package in memory, ours; or NULL */
	int threads; /* 0: what this process may use */
	bool ran;    /* outputs are those of a run */
	bool begun;  /* there was a run in this session */
	DlrPort *in, *out;
	MlrtTensor *call_in, *call_out; /* as many */
	size_t nin, nout;
} DlrModel;

/* Keeps the message for DLRGetLastError() and returns -1. */
int dlr_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The model behind a handle; NULL after dlr_fail(). */
DlrModel *dlr_model(DLRModelHandle *handle);
/* n * size bytes, zeroed, or NULL after dlr_fail(); released with dlr_free() of the same memory. */
void *dlr_alloc(const DlrMemory *m, size_t n, size_t size);
void dlr_free(const DlrMemory *m, void *p);
#endif
