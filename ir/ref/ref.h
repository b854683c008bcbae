/* ir/ref/ref.h -- the reference kernels: one plain, freestanding C function per operator.
 *
 * The same source is compiled natively (the reference executor, the oracle of every test) and to
 * LLVM bitcode per target architecture (the library tier of codegen).  So: no libc, no static
 * state, no allocation; fixed-size types; shapes and attributes as arguments; scalar math from
 * ref_math.h.  Written for clarity: this is the definition of the operator. */
#ifndef MLO_IR_REF_REF_H
#define MLO_IR_REF_REF_H
#include <stdint.h>

#include "ir/elem.h"

typedef struct RefTensor {
	void *data;         /* dense row-major, aligned to its element; NULL: absent optional operand */
	const int64_t *dim; /* rank entries */
	int32_t rank;
	int32_t elem;       /* MloElem */
} RefTensor;

/* Attribute values in table order (ATTR_<op>_<name> of ir/op.h), defaults filled in. */
typedef struct RefAttr {
	int64_t i;
	double f;
	const char *s;
	const int64_t *ints;
	const double *floats;
	int64_t n;          /* length of ints or floats; 0: absent */
} RefAttr;

typedef struct RefCall {
	const RefTensor *in;
	const RefTensor *out; /* shapes are set by the caller; the kernel fills data */
	const RefAttr *attr;
	int32_t nin, nout;
	/* Of an operator with TR_SHARES several callers, `parts` of them, each with its own number, make the results together; 0: one does.
	 * They write different elements, and read no results. */
	int64_t part, parts;
} RefCall;

typedef void RefKernel(const RefCall *c);

/* Sizes of results that depend on values of operands: dims[i * REF_SIZES + j] is dimension j of result i.
 * Of c->out only rank and elem are set.  Any negative size: the operands do not fit each other.  For
 * results of strings dims[i * REF_SIZES + REF_SIZES - 1] is the number of bytes of all their characters
 * (so their rank is at most 7): ref_<id> puts them right behind the elements, which are MloText. */
enum { REF_SIZES = 8 };
typedef void RefSizeKernel(const RefCall *c, int64_t *dims);

/* Declared for every row; defined as its traits say (TR_OBJECT: no ref_, TR_SIZED: a size_). */
#define OP(id, ...) void ref_##id(const RefCall *c); void size_##id(const RefCall *c, int64_t *dims);
#define ATTR(...)
#include "ir/ops.def"
void size_broadcast(const RefCall *c, int64_t *dims); /* TR_BCAST without a kernel of its own */

/* non_max_suppression takes this many boxes per image: its state is on the stack. */
enum { REF_NMS_BOXES = 1 << 18 };
#endif
