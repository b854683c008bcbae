/* codegen/slots.h -- sizes that are known only when a program runs: where they lie, what computes them.
 *
 * A slot is set once per run: by an input's sizes, by an expression, or by a step (a size kernel, the
 * runtime).  Equal expressions share a slot.  What depends on sizes of inputs alone is `early`: the
 * runtime computes it once for all runs with the same sizes. */
#ifndef MLO_CODEGEN_SLOTS_H
#define MLO_CODEGEN_SLOTS_H
#include "ir/type.h"
#include "runtime/format.h"

typedef struct SlotInfo {
	bool early;
	int64_t guess;     /* a plausible value, for decisions about memory */
	MlrtExpr expr;     /* what computes it; dst is MLRT_ABSENT for slots that something else sets */
	int next;          /* in its hash bucket */
} SlotInfo;

enum { SLOT_BUCKETS = 1024 };

typedef struct Slots {
	MloArena *arena;
	struct { SlotInfo *items; size_t n, cap; } slot;
	struct { MlrtExpr *items; size_t n, cap; } early, late; /* in the order of evaluation */
	struct { struct { const char *name; int slot; } *items; size_t n, cap; } symbol;
	struct { struct { int first, n; } *items; size_t n, cap; } tuple;
	int bucket[SLOT_BUCKETS]; /* 1 + slot */
} Slots;

int slots_new(Slots *s, int n, bool early, int64_t guess); /* the first of n adjacent ones that a step or an input sets */
int slots_const(Slots *s, int64_t v);
/* One of MLRT_X_ADD ... MLRT_X_ALIGN; constants fold. */
int slots_expr(Slots *s, enum MlrtExprOp op, int a, int b, int64_t imm);
void slots_check(Slots *s, enum MlrtExprOp op, int a, int b, int64_t imm); /* not where it holds by itself */
static inline bool slots_is_check(uint32_t op) { return op >= MLRT_X_CHECK_EQ; }
static inline bool slots_holds(uint32_t op, int64_t a, int64_t b)
{
	return op == MLRT_X_CHECK_EQ ? a == b : op == MLRT_X_CHECK_LE ? a <= b : a >= (op == MLRT_X_CHECK_GE ? b : 0);
}
void slots_set(Slots *s, int dst, int from); /* late: dst, which a step may set again, gets the value of `from` */
bool slots_is_const(const Slots *s, int slot, int64_t *v);

/* The value of an expression; false: it does not fit, or divides by what is not positive. */
bool slots_compute(enum MlrtExprOp op, int64_t a, int64_t b, int64_t imm, int64_t *out);

void slots_bind(Slots *s, const char *symbol, int slot);
int slots_symbol(const Slots *s, const char *symbol); /* -1: not bound (yet) */
int slots_dim(Slots *s, MloDim d);                    /* -1: names a symbol that is not bound */
int slots_tuple(Slots *s, const int *slot, int n);    /* adjacent slots of these values */
#endif
