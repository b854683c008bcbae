/* ir/type.h -- tensor types: element type, shape, symbolic dimensions; and constant tensors.
 *
 * A dimension is an integer or a symbolic expression over named sizes ("batch", "4*seq+1"), kept in
 * a canonical form so that equal expressions are equal pointers within one arena's symbol table. */
#ifndef MLO_IR_TYPE_H
#define MLO_IR_TYPE_H
#include <stdbool.h>
#include <stdint.h>

#include "ir/base/arena.h"
#include "ir/base/diag.h"
#include "ir/elem.h"

enum { MLO_MAX_RANK = 8 };
/* Larger tensors are refused (MLO_ERR_LIMIT) before anything is allocated for them: elements and bytes. */
#define MLO_MAX_ELEMS ((int64_t)1 << 40)

const char *mlo_elem_text(MloElem e);           /* "f32" */
MloElem mlo_elem_from_text(const char *s, size_t n); /* EL_none when unknown */
MloElem mlo_elem_from_onnx(int code);           /* EL_none when unknown */
int mlo_elem_onnx(MloElem e);
unsigned mlo_elem_bits(MloElem e);              /* storage bits of one element */
MloElemClass mlo_elem_class(MloElem e);
bool mlo_elem_is_float(MloElem e);
bool mlo_elem_is_int(MloElem e);                /* signed or unsigned, not bool */

/* A symbolic expression; opaque outside ir/dim*.c, read through mlo_dim_walk(). */
typedef struct MloExpr MloExpr;
typedef struct MloSymbols MloSymbols; /* the symbol table: names, ranges, interned expressions */

/* A dimension.  e == NULL: the integer k (>= 0).  Otherwise the expression e, and k is unused (-1). */
typedef struct MloDim {
	int64_t k;
	const MloExpr *e;
} MloDim;

MloSymbols *mlo_symbols_new(MloArena *a);
MloDim mlo_dim(int64_t k);
static inline bool mlo_dim_known(MloDim d) { return !d.e; }
MloDim mlo_dim_sym(MloSymbols *t, const char *name);          /* range 0..MLO_MAX_ELEMS until narrowed */
void mlo_sym_range(MloSymbols *t, const char *name, int64_t lo, int64_t hi);
MloDim mlo_dim_fresh(MloSymbols *t, const char *stem);        /* a new unknown size, "stem#1" */
/* t: NULL stands for the table of the operands. */
MloDim mlo_dim_add(MloSymbols *t, MloDim a, MloDim b);
MloDim mlo_dim_sub(MloSymbols *t, MloDim a, MloDim b);
MloDim mlo_dim_mul(MloSymbols *t, MloDim a, MloDim b);
MloDim mlo_dim_div(MloSymbols *t, MloDim a, MloDim b);        /* floor; exact quotients simplify */
MloDim mlo_dim_max(MloSymbols *t, MloDim a, MloDim b);
int64_t mlo_dim_multiple(MloDim d); /* the largest number that divides every value for sure: gcd of the coefficients */
/* d = *plus - *minus, where no term of either is negative. */
void mlo_dim_signs(MloSymbols *t, MloDim d, MloDim *plus, MloDim *minus);
bool mlo_dim_exact(MloSymbols *t, MloDim a, MloDim b, MloDim *q); /* does b divide a? *q: how often */
bool mlo_dim_same(MloDim a, MloDim b);                        /* provably equal */
bool mlo_dim_differ(MloDim a, MloDim b);                      /* provably different (ranges) */
bool mlo_dim_le(MloDim a, MloDim b);                          /* provably a <= b */
void mlo_dim_range(MloDim d, int64_t *lo, int64_t *hi);
void mlo_dim_print(MloStr *out, MloDim d);
/* Parses "3", "batch", "4*seq+1", "(a+b)/2". Returns false when malformed. */
bool mlo_dim_parse(MloSymbols *t, const char *s, size_t n, MloDim *out);

/* Is d a size by its bare name?  The name is unique per table: equal names are equal pointers. */
bool mlo_dim_symbol(MloDim d, const char **name);
/* Computes an expression bottom-up: what the callbacks return are handles of their own meaning.
 * combine: '+', '*', '/' (floor quotient), 'm' (maximum). */
typedef struct MloDimWalk {
	int64_t (*number)(void *user, int64_t k);
	int64_t (*symbol)(void *user, const char *name);
	int64_t (*combine)(void *user, char op, int64_t a, int64_t b);
} MloDimWalk;
int64_t mlo_dim_walk(MloDim d, const MloDimWalk *w, void *user);
/* The value of d where `look` knows the sizes; false: a size is unknown, a quotient by zero, an overflow. */
typedef bool MloSymLookup(void *user, const char *name, int64_t *out);
bool mlo_dim_eval(MloDim d, MloSymLookup *look, void *user, int64_t *out) MLO_CHECKED;
/* d with sizes replaced: `find` gives the replacement, or returns false to keep the size. */
typedef bool MloSymReplace(void *user, const char *name, MloDim *out);
MloDim mlo_dim_subst(MloSymbols *t, MloDim d, MloSymReplace *find, void *user);

/* What a value is.  All but tensors are "objects": made and read by operators with TR_OBJECT only. */
typedef enum MloTypeKind {
	MLO_TENSOR,
	MLO_SEQ,     /* a sequence of tensors of `elem`; rank and dim say what all of them have in common */
	MLO_OPT,     /* a tensor or nothing */
	MLO_OPT_SEQ, /* a sequence of tensors or nothing */
	MLO_MAP,     /* from keys (`key`: i64 or str) to single values of `elem` */
	MLO_SEQ_MAP  /* a sequence of such maps */
} MloTypeKind;

/* The type of a value.  rank == MLO_RANK_UNKNOWN: nothing is known about the shape. */
#define MLO_RANK_UNKNOWN (-1)
typedef struct MloType {
	MloElem elem;
	int rank;
	MloTypeKind kind;
	MloElem key; /* of maps; else EL_none */
	MloDim dim[MLO_MAX_RANK];
} MloType;

MloType mlo_type(MloElem e, int rank, const int64_t *dims);
static inline bool mlo_type_object(const MloType *t) { return t->kind != MLO_TENSOR; }
bool mlo_type_static(const MloType *t);             /* a tensor, its rank and all dimensions known */
bool mlo_type_same(const MloType *a, const MloType *b);
static inline bool mlo_has_dim(const MloType *t, int i, int64_t k)
{
	return mlo_dim_known(t->dim[i]) && t->dim[i].k == k;
}
/* Product of the dimensions; -1 when not static or above MLO_MAX_ELEMS. */
int64_t mlo_type_elems(const MloType *t);
bool mlo_type_filled(const MloType *t); /* no dimension is 0 for sure, and the number of elements is not too large */
MloDim mlo_type_count(MloSymbols *syms, const MloType *t); /* elements of a type of known rank */
bool mlo_type_as_many(MloSymbols *syms, const MloType *a, const MloType *b); /* provably as many elements */
int64_t mlo_type_bytes(const MloType *t);           /* storage, packed for sub-byte types; -1 likewise */
void mlo_type_print(MloStr *out, const MloType *t); /* f32[1,batch]; f32[*] for unknown rank; seq(f32[n]) */

/* A constant tensor.  `data` may point into a mapped model file (not aligned!); whoever owns the
 * memory outlives the graph (mlo_defer on its arena).  Strings (EL_str) are an array of MloText. */
typedef struct MloText { const char *s; int64_t n; } MloText;
typedef struct MloTensor {
	MloElem elem;
	int rank;
	int64_t dim[MLO_MAX_RANK];
	const void *data;
	size_t nbytes;
	const struct MloObject *object; /* not NULL: no tensor but this, and everything else is unused */
} MloTensor;

/* The value of an object: what it holds, in order.  A sequence: its items; an optional: nothing or the
 * one tensor or sequence; a map: two tensors of rank 1, keys and values; a sequence of maps: maps. */
typedef struct MloObject {
	MloTypeKind kind;
	MloElem elem, key;
	int64_t n;
	const MloTensor *item;
} MloObject;

int64_t mlo_tensor_elems(const MloTensor *t);
MloType mlo_tensor_type(const MloTensor *t);
uint64_t mlo_tensor_hash(const MloTensor *t);       /* xxh3 over type, shape, bytes */
MloTensor *mlo_tensor_new(MloArena *a, MloElem e, int rank, const int64_t *dims); /* zeroed, owned by a */
/* A copy that shares nothing, characters of strings and items of objects included. */
MloTensor *mlo_tensor_copy(MloArena *a, const MloTensor *t);
/* Element i converted; the tensor must be numeric. Any alignment. */
double mlo_tensor_f64(const MloTensor *t, int64_t i);
int64_t mlo_tensor_i64(const MloTensor *t, int64_t i);
void mlo_tensor_set_f64(MloTensor *t, int64_t i, double v);  /* rounds and saturates as Cast does */
void mlo_tensor_set_i64(MloTensor *t, int64_t i, int64_t v);
bool mlo_tensor_equal(const MloTensor *a, const MloTensor *b); /* bitwise */
#endif
