/* ir/dim_impl.h -- inside of symbolic dimensions, shared by dim.c and dim_text.c only.
 *
 * An expression is a polynomial with integer coefficients over atoms: named sizes, floor quotients
 * and maxima that do not simplify.  Terms stand in one fixed order that depends on names alone, so
 * printing and parsing reproduce it, and equal polynomials are interned to one MloExpr per table. */
#ifndef MLO_IR_DIM_IMPL_H
#define MLO_IR_DIM_IMPL_H
#include "ir/type.h"

/* Past these limits an expression is replaced by a fresh unknown size, which is always sound. */
enum { DIM_MAX_TERMS = 24, DIM_MAX_DEGREE = 8, DIM_MAX_SIZE = 200 };

typedef enum AtomKind { ATOM_SYM, ATOM_DIV, ATOM_MAX } AtomKind;

typedef struct Atom {
	AtomKind kind;
	const char *name;   /* ATOM_SYM */
	int64_t lo, hi;     /* ATOM_SYM */
	MloDim a, b;        /* floor(a / b), max(a, b) */
	int size;           /* atoms in it when written out; bounds all recursion */
	struct Atom *next;  /* in its hash bucket */
	struct Atom *older; /* all atoms of the table */
} Atom;

/* coef * atom[0] * ... * atom[n-1]; atoms sorted, repeated for powers; n == 0: the constant. */
typedef struct Term {
	int64_t coef;
	int n;
	const Atom *atom[DIM_MAX_DEGREE];
} Term;

typedef struct Poly {
	int n; /* terms, sorted, no zero coefficients; -1: past a limit */
	Term t[DIM_MAX_TERMS];
} Poly;

struct MloExpr {
	MloSymbols *syms;
	struct MloExpr *next; /* in its hash bucket */
	int n, size;
	Term t[];
};

enum { DIM_BUCKETS = 256 };

struct MloSymbols {
	MloArena *arena;
	Atom *atoms;          /* newest first */
	Atom *atom_bucket[DIM_BUCKETS];
	MloExpr *expr_bucket[DIM_BUCKETS];
	uint64_t fresh;
};

int mlo_atom_cmp(const Atom *a, const Atom *b);
#endif
