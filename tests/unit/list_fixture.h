/* tests/unit/list_fixture.h -- builds packages with lists of programs by hand, for the tests of the runtime.
 *
 * Three kernels of machine code work on i64: copy (from, to), add (a, b, sum), less (a, b, to bool). */
#ifndef LIST_FIXTURE_H
#define LIST_FIXTURE_H
#include "ir/base/arena.h"
#include "mlopt/runtime.h"
#include "runtime/format.h"

enum { LF_COPY = 0, LF_ADD = 64, LF_LESS = 128, LF_CODE_BYTES = 192, LF_NONE = -1, LF_I64 = 7, LF_STR = 8, LF_BOOL = 9 };
enum { LF_BODIES = 4, LF_ENDS = 16, LF_STRINGS = 4 };

typedef struct LfBody {
	MlrtBody head;
	MlrtBodyStep step[32];
	MlrtBodyArg arg[96];
	MlrtExpr expr[96];
	MlrtBuffer buffer[16];
	MlrtValue value[48];
	uint32_t ref[128];
	uint32_t input[LF_ENDS], output[LF_ENDS];
} LfBody;

typedef struct ListFixture {
	MloArena *arena;
	char inputs[2048], outputs[2048], more[256]; /* JSON: items of the lists; members such as "states" */
	char steps[1024];                            /* items of "steps" */
	LfBody body[LF_BODIES];
	uint32_t nbodies;
	MlrtStrings strings[LF_STRINGS];
	uint32_t nstrings;
	unsigned char weights[1024];
	size_t nweights;
	unsigned char *program; /* set by lf_build() */
	size_t nprogram;
	unsigned char *bytes;
	size_t n;
} ListFixture;

void lf_init(ListFixture *f);
void lf_free(ListFixture *f);
void lf_input(ListFixture *f, const char *json);  /* one more of main, in the manifest */
void lf_output(ListFixture *f, const char *json);
void lf_step_name(ListFixture *f, const char *json);
LfBody *lf_body(ListFixture *f);                  /* the next program; main first */
/* Bytes of weights, strings among them: their number, as an index or an offset. */
uint64_t lf_weights(ListFixture *f, const void *data, size_t n);
uint32_t lf_strings(ListFixture *f, const char *const *text, size_t n);

/* Slots.  Expressions belong to the prologue until lf_prologue_ends(). */
uint32_t lf_slot(LfBody *b);
uint32_t lf_const(LfBody *b, int64_t v);
uint32_t lf_expr(LfBody *b, uint32_t op, uint32_t x, uint32_t y, int64_t imm); /* the slot of its result */
void lf_check(LfBody *b, uint32_t op, uint32_t x, uint32_t y, int64_t imm);
void lf_prologue_ends(LfBody *b);

/* Buffers and arguments; slots may be MLRT_ABSENT. */
uint32_t lf_planned(LfBody *b, uint32_t bytes, uint32_t offset);
uint32_t lf_own(LfBody *b, uint32_t bytes);
uint32_t lf_arg(LfBody *b, uint32_t space, uint32_t index, uint64_t offset, uint64_t bytes, uint32_t bytes_slot);

/* Values: a tensor at an argument (LF_NONE: none), with fresh slots for its sizes; one in an OWN buffer; an object. */
uint32_t lf_tensor(LfBody *b, uint32_t elem, uint32_t rank, int64_t arg);
uint32_t lf_own_tensor(LfBody *b, uint32_t elem, uint32_t rank);
uint32_t lf_object(LfBody *b, uint32_t kind, uint32_t elem, uint32_t key);
uint32_t lf_dim(const LfBody *b, uint32_t value, uint32_t k); /* its slot */
/* An input tensor with its argument, which reads all of it: 8 bytes per element (i64), `elems` in a slot. */
uint32_t lf_in(LfBody *b, uint32_t elem, uint32_t rank);
void lf_give(LfBody *b, uint32_t value); /* the next input of the program */
void lf_result(LfBody *b, uint32_t value); /* the next output */

/* Steps. Lists of values end with LF_NONE; -2 is an absent operand. */
enum { LF_ABSENT = -2 };
MlrtBodyStep *lf_kernel(LfBody *b, uint32_t code, uint32_t first_arg, uint32_t nargs, uint32_t ntasks_slot);
MlrtBodyStep *lf_step(LfBody *b, uint32_t kind, uint32_t nresults, ...);

void lf_build(ListFixture *f);     /* f->program, f->bytes */
void lf_package(ListFixture *f);   /* f->bytes again, from f->program */
MlrtModel *lf_open(ListFixture *f);
MlrtSession *lf_session(MlrtModel *m, int threads);
MlrtTensor lf_ints(int64_t *data, int rank, ...); /* a tensor of i64 with these sizes */
#endif
