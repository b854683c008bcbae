/* frontend/onnx_data.h -- TensorProto to MloTensor, from the model, a .pb file or external files. */
#ifndef MLO_FRONTEND_ONNX_DATA_H
#define MLO_FRONTEND_ONNX_DATA_H
#include "frontend/onnx_wire.h"
#include "ir/type.h"

/* A file of external data. */
typedef struct OnnxFile {
	struct OnnxFile *next;
	const char *location;
	OnnxBytes bytes;
} OnnxFile;

/* Where tensor contents come from. */
typedef struct OnnxSource {
	OnnxBytes bytes;        /* the message that the structs were unpacked from */
	bool borrow;            /* `bytes` outlive the tensors: point into them instead of copying */
	const char *dir;        /* folder that external data must lie in; NULL: none is allowed */
	MloArena *owner;        /* external files stay mapped until it is freed */
	OnnxFile *files;        /* those mapped so far */
} OnnxSource;

/* Both return NULL on error, with a diagnostic about the tensor `what`. Shapes are checked before
 * anything is allocated; what is allocated is bounded by what the file really holds. */
MloTensor *onnx_tensor(MloArena *a, OnnxSource *src, const Onnx__TensorProto *t, const char *what,
		       MloDiag *d);
MloTensor *onnx_sparse_tensor(MloArena *a, OnnxSource *src, const Onnx__SparseTensorProto *t,
			      const char *what, MloDiag *d);

/* A whole file, mapped read-only until `owner` is freed. `fd` is closed. */
bool onnx_map_file(MloArena *owner, int fd, const char *what, OnnxBytes *out, MloDiag *d);
/* The bytes of an external tensor: frontend/onnx_extern.c. */
bool onnx_external_bytes(OnnxSource *src, const Onnx__TensorProto *t, size_t nbytes, const char *what,
			 OnnxBytes *out, MloDiag *d);
#endif
