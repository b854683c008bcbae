/* ir/exec_dyn.h -- inside of the executor of graphs whose sizes come with the run.
 *
 * A frame is one run of a graph or body: a value per SSA value, and what each size turned out to be. */
#ifndef MLO_IR_EXEC_DYN_H
#define MLO_IR_EXEC_DYN_H
#include "ir/exec_internal.h"

typedef struct DynSize { const char *name; int64_t k; } DynSize;

typedef struct DynFrame {
	MloArena *arena;          /* of all results: lives as long as they do */
	const MloGraph *g;
	MloTensor **value;        /* by id; NULL: not there yet */
	DynSize *size;            /* hash table by the address of the name */
	size_t nsize, cap;
	bool blas;                /* OpenBLAS is used */
	MloExecTap tap;
	void *user;
	MloDiag *d;
} DynFrame;

/* Does g need this executor? */
bool mlo_dyn_needed(const MloGraph *g);
/* Runs g on inputs; outputs live in `a`, or are the inputs or constants themselves. */
MloStatus mlo_dyn_run(MloArena *a, const MloGraph *g, const MloTensor *const *in, const MloTensor **out,
                      bool blas, MloExecTap tap, void *user, MloDiag *d) MLO_CHECKED;

/* Operators on objects; control flow. out[] entries are to be set (NULL where nobody asks). */
MloStatus mlo_dyn_object(DynFrame *f, const MloNode *n, const MloTensor *const *in, MloTensor **out) MLO_CHECKED;
MloStatus mlo_dyn_if(DynFrame *f, const MloNode *n, const MloTensor *const *in, MloTensor **out) MLO_CHECKED;
MloStatus mlo_dyn_loop(DynFrame *f, const MloNode *n, const MloTensor *const *in, MloTensor **out) MLO_CHECKED;

/* A new tensor of that shape; an error that names the node when it is too large. */
MloStatus mlo_dyn_tensor(DynFrame *f, const MloNode *n, MloElem e, int rank, const int64_t *dims,
                         MloTensor **out) MLO_CHECKED;
#endif
