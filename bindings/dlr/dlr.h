/* dlr.h -- the C interface of the DLR runtime (neo-ai/neo-ai-dlr, version 1.6), for packages of mlopt.
 *
 * Programs that were written for libdlr run packages that `mlopt compile` made, without being changed: names,
 * parameters and results are those of that interface.  docs/CLOUD.md says what each function does here.
 *
 *   DLRModelHandle model = NULL;
 *   if (CreateDLRModel(&model, "folder", 1, 0) != 0)
 *           fprintf(stderr, "%s\n", DLRGetLastError());
 *
 * Every function but DLRGetLastError() and GetDLRDeviceType() returns 0, or -1 with the reason in DLRGetLastError() of
 * the same thread.  A NULL pointer is such a reason.  `handle` is the address of a handle that a Create function has
 * filled.  One handle is for one thread at a time; different ones run at once.  Indices count from 0 in the order of
 * the model.  Shapes: the number of elements along each dimension; -1: open.  Data is dense, row-major. */
#ifndef MLOPT_DLR_H
#define MLOPT_DLR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifndef DLR_DLL
#define DLR_DLL __attribute__((visibility("default")))
#endif

/* Of the interface, not of this implementation. */
#define DLR_MAJOR 1
#define DLR_MINOR 6
#define DLR_PATCH 0
#define DLR_MAKE_VERSION(major, minor, patch) ((major) * 10000 + (minor) * 100 + (patch))
#define DLR_VERSION DLR_MAKE_VERSION(DLR_MAJOR, DLR_MINOR, DLR_PATCH)

typedef void *DLRModelHandle;

/* As malloc(), free() and aligned_alloc(): the alignment comes first. */
typedef void *(*DLRMallocFunctionPtr)(size_t bytes);
typedef void (*DLRFreeFunctionPtr)(void *p);
typedef void *(*DLRMemalignFunctionPtr)(size_t alignment, size_t bytes);

/* Parts that a model is made of: at `path`, or data_size bytes at `data`.  Here a package is TVM_LIB. */
typedef enum DLRModelElemType {
	HEXAGON_LIB,
	NEO_METADATA,
	TVM_GRAPH,
	TVM_LIB,
	TVM_PARAMS,
	RELAY_EXEC
} DLRModelElemType;
typedef struct ModelElem {
	const DLRModelElemType type;
	const char *path;
	const void *data;
	const size_t data_size;
} DLRModelElem;

/* -- models ------------------------------------------------------------------------------------------ */

/* model_path: a package, a folder that holds exactly one file *.mlopt, or several of these with ':' between them, one
 * of which leads to a package.  dev_type: DLDeviceType of DLPack; 1, the CPU, is the only one.  dev_id: from 0; says
 * nothing on a CPU.  *handle is for DeleteDLRModel(). */
DLR_DLL int CreateDLRModel(DLRModelHandle *handle, const char *model_path, int dev_type, int dev_id);
/* The same from exactly one element TVM_LIB, file or bytes, which are copied.  NEO_METADATA may be there, and says
 * nothing new; no other type may. */
DLR_DLL int CreateDLRModelFromModelElem(DLRModelHandle *handle, const DLRModelElem *model_elems,
					size_t model_elems_size, int dev_type, int dev_id);
/* Of one model; pipelines of several are refused. */
DLR_DLL int CreateDLRPipeline(DLRModelHandle *handle, int num_models, const char **model_paths, int dev_type,
			      int dev_id);
DLR_DLL int DeleteDLRModel(DLRModelHandle *handle); /* *handle becomes NULL */
/* Every input must have been set, but those that are states of the package (`mlopt compile --state`).  Values stay. */
DLR_DLL int RunDLRModel(DLRModelHandle *handle);

/* -- inputs ------------------------------------------------------------------------------------------ */

DLR_DLL int GetDLRNumInputs(DLRModelHandle *handle, int *num_inputs);
/* Names live as long as the model. */
DLR_DLL int GetDLRInputName(DLRModelHandle *handle, int index, const char **input_name);
DLR_DLL int GetDLRInputType(DLRModelHandle *handle, int index, const char **input_type); /* "float32", "int64", ... */
DLR_DLL int GetDLRInputShape(DLRModelHandle *handle, int index, int64_t *shape); /* `dim` numbers, of the next one */
/* size: elements, -1 where a dimension is open. */
DLR_DLL int GetDLRInputSizeDim(DLRModelHandle *handle, int index, int64_t *size, int *dim);
/* Copies an input of type GetDLRInputType(): `dim` numbers at `shape`.  For an input of known sizes any shape of as
 * many elements will do; else the known dimensions must agree. */
DLR_DLL int SetDLRInput(DLRModelHandle *handle, const char *name, const int64_t *shape, const void *input, int dim);
/* The same from a DLTensor of DLPack in main memory. */
DLR_DLL int SetDLRInputTensor(DLRModelHandle *handle, const char *name, void *tensor);
DLR_DLL int GetDLRInput(DLRModelHandle *handle, const char *name, void *input); /* copies what was set */

/* -- outputs ----------------------------------------------------------------------------------------- */

/* Sizes are those of the last run, and before it what the model says; data is there after a run. */
DLR_DLL int GetDLRNumOutputs(DLRModelHandle *handle, int *num_outputs);
DLR_DLL int GetDLROutputName(DLRModelHandle *handle, const int index, const char **name);
DLR_DLL int GetDLROutputIndex(DLRModelHandle *handle, const char *name, int *index);
DLR_DLL int GetDLROutputType(DLRModelHandle *handle, int index, const char **output_type);
DLR_DLL int GetDLROutputShape(DLRModelHandle *handle, int index, int64_t *shape);
DLR_DLL int GetDLROutputSizeDim(DLRModelHandle *handle, int index, int64_t *size, int *dim);
DLR_DLL int GetDLROutput(DLRModelHandle *handle, int index, void *out); /* copies all of it */
DLR_DLL int GetDLROutputByName(DLRModelHandle *handle, const char *name, void *out);
DLR_DLL int GetDLROutputPtr(DLRModelHandle *handle, int index, const void **out); /* stays until the next run */
/* Copies into a DLTensor of the output's type and of as many elements. */
DLR_DLL int GetDLROutputTensor(DLRModelHandle *handle, int index, void *tensor);
/* A DLManagedTensor with a copy of the output; its deleter releases it. */
DLR_DLL int GetDLROutputManagedTensorPtr(DLRModelHandle *handle, int index, const void **tensor);

/* -- facts and settings ------------------------------------------------------------------------------ */

/* Always true: packages name their outputs. */
DLR_DLL int GetDLRHasMetadata(DLRModelHandle *handle, bool *has_metadata);
/* Weights are packed into the code's order and have no names: there are 0 of them, and asking for a name fails. */
DLR_DLL int GetDLRNumWeights(DLRModelHandle *handle, int *num_weights);
DLR_DLL int GetDLRWeightName(DLRModelHandle *handle, int index, const char **weight_name);
DLR_DLL int GetDLRBackend(DLRModelHandle *handle, const char **name); /* "mlopt" */
DLR_DLL int GetDLRDeviceType(const char *model_path);                 /* 1, the CPU; -1: no package is there */
DLR_DLL int GetDLRVersion(const char **out);                          /* of the interface: "1.6.0" */
/* At first as many as this process may use.  Results of the last run are gone; a model with states takes this before
 * its first run only. */
DLR_DLL int SetDLRNumThreads(DLRModelHandle *handle, int threads);
DLR_DLL int UseDLRCPUAffinity(DLRModelHandle *handle, int use); /* threads are not bound to cores: 0 alone succeeds */
/* For models created from now on; NULL: the C library's.  free goes with both others: the Create functions fail where
 * malloc or memalign is set without it.  memalign serves what runs use, malloc what a handle holds. */
DLR_DLL int SetDLRCustomAllocatorMalloc(DLRMallocFunctionPtr custom_malloc_fn);
DLR_DLL int SetDLRCustomAllocatorFree(DLRFreeFunctionPtr custom_free_fn);
DLR_DLL int SetDLRCustomAllocatorMemalign(DLRMemalignFunctionPtr custom_memalign_fn);
DLR_DLL const char *DLRGetLastError(void); /* of this thread; "" before the first; stays until the next one */
#ifdef __cplusplus
}
#endif
#endif
