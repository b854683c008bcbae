/* ir/exec.h -- the reference executor: runs a graph node by node on dense tensors.
 *
 * Used for constant folding, calibration, `compare`, as test oracle and as the baseline of
 * `bench`.  Large float32 products and convolutions go to OpenBLAS (im2col), everything else to
 * the kernels of ir/ref/. */
#ifndef MLO_IR_EXEC_H
#define MLO_IR_EXEC_H
#include "ir/graph.h"
#include "ir/ref/ref.h"

/* The reference kernel of an operator; NULL for operators on objects (TR_OBJECT). */
RefKernel *mlo_ref_kernel(MloOp op);
/* What tells the sizes of its results: its own (TR_SIZED), or size_broadcast (TR_BCAST); else NULL. */
RefSizeKernel *mlo_size_kernel(MloOp op);

/* Fills attr[] (mlo_op_info(n->op)->nattr entries) for a reference call; pointers live in `n` and `a`. */
void mlo_ref_attrs(MloArena *a, const MloNode *n, RefAttr *attr);

/* Runs one node. in[i] may be NULL (absent); out[] have type, shape and data set by the caller.
 * `blas` allows OpenBLAS. Everything must be static. */
MloStatus mlo_exec_node(MloArena *scratch, const MloNode *n, const MloTensor *const *in,
                        MloTensor *const *out, bool blas, MloDiag *d) MLO_CHECKED;

/* Runs the whole graph.  inputs[] in graph order, checked against the input types; sizes that are not
 * known before, objects and control flow are no obstacle.  outputs[] receives tensors that live in `a`.
 * `tap` (may be NULL) sees every result. */
typedef void (*MloExecTap)(void *user, const MloNode *n, const MloValue *v, const MloTensor *t);
MloStatus mlo_exec_graph(MloArena *a, const MloGraph *g, const MloTensor *const *inputs,
                         MloTensor **outputs, MloExecTap tap, void *user, MloDiag *d) MLO_CHECKED;

/* For repeated runs (bench): buffers are allocated once, results stay valid until the next run. */
typedef struct MloExec MloExec;
MloExec *mlo_exec_new(const MloGraph *g, int nthreads, MloDiag *d); /* NULL on error */
MloStatus mlo_exec_run(MloExec *e, const MloTensor *const *inputs, const MloTensor **outputs, MloDiag *d) MLO_CHECKED;
/* Without OpenBLAS, whose sums depend on the machine: slower, and the same results everywhere. */
MloExec *mlo_exec_new_plain(const MloGraph *g, MloDiag *d);
void mlo_exec_free(MloExec *e); /* NULL is fine */
#endif
