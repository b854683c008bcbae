/* runtime/session.h -- a session and its frames: what the files that run a model share.
 *
 * A flat program is a table of calls (call.c, sets.c).  A list of programs runs on frames (frame.c, steps.c):
 * sizes.c computes sizes, lists.h leads to control flow and sequences, tensors.c meets the application, state.c keeps
 * what one run leaves for the next. */
#ifndef MLRT_SESSION_H
#define MLRT_SESSION_H
#include <stdatomic.h>

#include "runtime/internal.h"
#include "runtime/object.h"

/* UBSan looks for a function's type in front of its first instruction; kernels carry none, and the
 * first one of an image has nothing in front of it. */
#if defined(__clang__)
#define CALLS_KERNELS __attribute__((no_sanitize("function")))
#else
#define CALLS_KERNELS
#endif

enum { MAX_THREADS = 1024, SCRATCH_LINE = 128 };

typedef void Kernel(void *const *args, int64_t begin, int64_t end, void *scratch);

typedef struct Call {
	Kernel *kernel;     /* NULL on a GPU */
	uint64_t code;      /* as the step says */
	uint32_t nargs;
	void *const *args;
	int64_t ntasks;
	int parts;          /* threads that share the tasks */
	/* Of a flat program's sets. */
	uint32_t members;   /* of the set that begins here; 0: a call by itself, or not the first one */
	uint32_t cost;      /* nanoseconds of a task, by the compiler's estimate */
	const int64_t *cut; /* thread i has the tasks [cut[i], cut[i + 1]) */
} Call;

/* An argument that follows an input or output of the run. */
typedef struct Patch {
	uint32_t slot, index;
	uint64_t offset;
} Patch;

/* What is left of one thread's part of a call, on a cache line of its own. */
typedef struct Share {
	_Alignas(MLRT_ALIGN) _Atomic int64_t next;
	int64_t end;
} Share;

/* Memory that only grows. */
typedef struct Block {
	unsigned char *data;
	size_t capacity;
} Block;

typedef struct Place {
	unsigned char *data;
	uint64_t bytes;
} Place;

/* A tensor somewhere in memory. */
typedef struct View {
	const void *data;
	const Elem *elem;
	int rank;
	int64_t dims[MLRT_MAX_DIMS];
	uint64_t bytes; /* of its elements, without the characters of strings */
} View;

/* A value that a loop hands from one iteration to the next: read from one half, written to the other. */
typedef struct Carried {
	Block half[2];
	View view, next;     /* what an iteration reads; what it left for the next */
	MlrtObject object;
} Carried;

/* What a loop collects from its iterations. */
typedef struct Scan {
	View item;           /* of the first iteration, for its sizes */
	unsigned char *data; /* where those so far lie */
	MlrtObject texts;    /* strings are collected here instead */
} Scan;

typedef struct Loop {
	_Alignas(8) int64_t iteration;
	unsigned char condition;
	uint32_t ncarried, nscans;
	Carried *carried;
	Scan *scan;
} Loop;

typedef struct FrameStep {
	Call call;
	uint32_t first_late, nlate; /* arguments that are resolved before each call */
	bool reserves;              /* one of them begins an OWN buffer */
	Loop *loop;
} FrameStep;

typedef struct Frame {
	MlrtSession *session;
	const Body *body;
	bool sized;          /* the prologue has run for the sizes that lie in the slots */
	int64_t *slot;
	Place *place;        /* enum PlaceIndex, strings, inputs, outputs, buffers */
	uint32_t inputs, outputs, buffers; /* where those begin in `place` */
	void **arg;
	uint32_t *arg_place, *late;
	FrameStep *step;
	Block arena, planned;
	Block *own;          /* per buffer */
	MlrtObject *object;
	Loop *loop;
	size_t nloops;
	Carried *carried;
	Scan *scan;
	size_t ncarried, nscans;
	size_t bytes;        /* of the block that holds all of the above */
} Frame;

enum PlaceIndex { PLACE_NONE, PLACE_ARENA, PLACE_WEIGHT, PLACE_SIZES, PLACE_FIXED };

/* Output `output` of one run is input `input` of the next. */
typedef struct State {
	size_t input, output;
	Block half[2];
	int current;         /* which half the next run reads */
	bool set;            /* a run has been made since the state was reset */
	int64_t dims[MLRT_MAX_RANK];
	MlrtObject object, next;
} State;

/* What a run on tensors needs beside the tensors, per input and output of the model. */
typedef struct Tensors {
	MlrtTensor *in, *out;     /* of this run: states put in, results to come out */
	MlrtTensor *given;        /* outputs as the application gave them */
	bool may_repeat;          /* the program is one whose runs resolve the same for the same tensors */
	bool repeats;             /* the last run is one that another like it may repeat */
	const void **in_data;
	void **out_data;
	Block *staged;            /* of a list on a GPU: inputs where kernels see them */
	Block *result;            /* outputs that the application has no memory for */
	Place *handed;            /* outputs of the last run that lie in our memory: they are no inputs */
	State **state_of_input, **state_of_output; /* NULL: none */
	size_t bytes;
} Tensors;

/* Whether runs take all threads or one (pace.c). */
typedef struct Pace {
	bool alone;           /* one, as of now */
	bool slept;           /* a thread slept when this run had work for it */
	uint64_t start;       /* of this run, ticks */
	uint64_t shortest[2]; /* run of the last ones on all threads, alone; ticks */
	uint32_t wait, left;  /* runs between two trials; until the next one */
	uint32_t trying;      /* runs left of a trial; 0: there is none */
	uint32_t patience;    /* of it, with threads asleep */
} Pace;

struct MlrtSession {
	const MlrtModel *model;
	MlrtAllocator allocator;
	MlrtPool foreign; /* threads of the application; parallel NULL: none */
	Pool *pool;       /* own threads, or NULL */
	int threads;
	int profiling; /* as of mlrt_session_profile() */
	atomic_flag running;
	Pace pace;
	size_t bytes;          /* of this block, tables included */
	unsigned char *memory; /* arena, then the scratch of each thread */
	size_t memory_bytes;
	unsigned char *scratch;
	size_t scratch_stride;
	Share *share;     /* one per thread and member of a set; NULL for one thread */
	int64_t *cut;     /* those of all members of sets */
	void **arg;
	Call *call;
	uint64_t *ns;
	Patch *input, *output;
	size_t ninputs, noutputs; /* patches */
	const struct DeviceApi *device; /* kernels run on a GPU, or NULL */
	struct DeviceSession *on;
	const unsigned char *weights; /* where kernels, and of a list also the host, see them */
	bool simple;      /* a flat program without states: nothing of the rest matters */
	/* Of a list of programs. */
	Store store;      /* memory of objects */
	Frame *frame;     /* one per program, or NULL */
	uint64_t inner_ns; /* profiling: what steps inside a control step took */
	bool blamed;      /* the error of this run names its step */
	Tensors *tensors; /* made when first needed */
	State *state;     /* room for one per input */
	size_t nstates;
};

/* call.c */
MLRT_LOCAL void mlrt_call(MlrtSession *s, const Call *c);
MLRT_LOCAL void mlrt_call_all(MlrtSession *s); /* of a flat program */
MLRT_LOCAL uint64_t mlrt_profile_ns(const MlrtSession *s);

/* pace.c: around a run that is as the last one was; before one that may be another. */
MLRT_LOCAL void mlrt_pace_begin(MlrtSession *s);
MLRT_LOCAL void mlrt_pace_end(MlrtSession *s);
MLRT_LOCAL void mlrt_pace_forget(MlrtSession *s);

/* sets.c */
/* Numbers that the cuts of the program's sets take, and members of its largest one (at least 1). */
MLRT_LOCAL size_t mlrt_set_cuts(const Program *p, int threads, size_t *most);
/* Shares the tasks of all sets out: s->call is complete but for the members' cuts, which go to s->cut. */
MLRT_LOCAL void mlrt_sets_deal(MlrtSession *s);

/* session.c */
MLRT_LOCAL void *mlrt_allocate(const MlrtAllocator *al, size_t bytes, MlrtError *err);
MLRT_LOCAL MlrtStatus mlrt_block_reserve(const MlrtSession *s, Block *b, uint64_t bytes, uint64_t keep,
					 MlrtError *err);
MLRT_LOCAL void mlrt_block_free(const MlrtSession *s, Block *b);
/* Memory of `bytes` for an input or output (`what`): there, and aligned. */
MLRT_LOCAL MlrtStatus mlrt_check_pointer(const Tensor *t, const char *what, const void *p, uint64_t bytes, MlrtError *err);
MLRT_LOCAL MlrtStatus mlrt_check_overlap(const Tensor *in, Place from, const Tensor *out, Place to, MlrtError *err);
/* Begins or ends the use of a session by one thread; its program must be flat for the run in between. */
MLRT_LOCAL bool mlrt_session_enter(MlrtSession *s, MlrtError *err);
MLRT_LOCAL void mlrt_session_leave(MlrtSession *s);
MLRT_LOCAL MlrtStatus mlrt_run_flat(MlrtSession *s, const void *const *inputs, void *const *outputs, MlrtError *err);

/* frame.c */
MLRT_LOCAL MlrtStatus mlrt_frames_new(MlrtSession *s, MlrtError *err);
MLRT_LOCAL void mlrt_frames_free(MlrtSession *s);
/* Where argument `arg` lies now. */
MLRT_LOCAL MlrtStatus mlrt_arg_place(const Frame *f, uint32_t arg, Place *out, MlrtError *err);
MLRT_LOCAL MlrtStatus mlrt_own_reserve(Frame *f, uint32_t buffer, uint64_t bytes, uint64_t keep,
				       MlrtError *err);
/* A tensor value as it is now. */
MLRT_LOCAL MlrtStatus mlrt_view(const Frame *f, uint32_t value, View *out, MlrtError *err);
/* Memory of `bytes` for a tensor result of these sizes, which go to its slots. */
MLRT_LOCAL MlrtStatus mlrt_result(Frame *f, uint32_t value, int rank, const int64_t *dims, uint64_t bytes,
				  unsigned char **out, MlrtError *err);
/* A copy of `src`, characters of strings included, becomes the value. */
MLRT_LOCAL MlrtStatus mlrt_store(Frame *f, uint32_t value, const View *src, MlrtError *err);
/* Value `to` of f becomes value `from` of `other`, which may be f. */
MLRT_LOCAL MlrtStatus mlrt_take_value(Frame *f, uint32_t to, const Frame *other, uint32_t from, MlrtError *err);
/* The sizes of input `i`; the frame forgets what it knew if they are new. */
MLRT_LOCAL void mlrt_set_dims(Frame *f, uint32_t i, const int64_t *dims);

/* sizes.c */
MLRT_LOCAL MlrtStatus mlrt_exprs_run(Frame *f, uint32_t first, uint32_t n, MlrtError *err);
/* Runs the prologue if it has to be, and places the PLANNED buffers. */
MLRT_LOCAL MlrtStatus mlrt_frame_size(Frame *f, MlrtError *err);

/* Before the host looks at what kernels of a GPU may have written. */
MLRT_LOCAL MlrtStatus mlrt_session_wait(MlrtSession *s, MlrtError *err);

/* steps.c: all steps of a frame whose inputs are set and whose prologue has run. */
MLRT_LOCAL MlrtStatus mlrt_frame_run(Frame *f, MlrtError *err);
/* Whether all that a run resolves follows from its inputs' sizes and from where inputs and outputs lie. */
MLRT_LOCAL bool mlrt_frame_repeats(const Frame *f);
/* The steps again, with everything as the last run, which went well, has resolved it. */
MLRT_LOCAL void mlrt_frame_repeat(Frame *f);

/* state.c */
MLRT_LOCAL MlrtStatus mlrt_states_new(MlrtSession *s, MlrtError *err); /* those of the manifest */
MLRT_LOCAL void mlrt_states_free(MlrtSession *s);
/* Into t: what the input of a state is in a run where the application gives none; in[]: the other inputs. */
MLRT_LOCAL MlrtStatus mlrt_state_input(MlrtSession *s, State *state, const MlrtTensor *in, MlrtTensor *t,
				       MlrtError *err);
/* Memory for what the next run reads. */
MLRT_LOCAL MlrtStatus mlrt_state_room(MlrtSession *s, State *state, uint64_t bytes, void **out, MlrtError *err);
MLRT_LOCAL void mlrt_state_next(State *state, const MlrtTensor *out); /* after a run that went well */

/* tensors.c: runs that are more than a flat program with all its pointers. */
MLRT_LOCAL MlrtStatus mlrt_tensors_new(MlrtSession *s, MlrtError *err); /* s->tensors, if there are none yet */
MLRT_LOCAL void mlrt_tensors_free(MlrtSession *s);
MLRT_LOCAL MlrtStatus mlrt_run_pointers(MlrtSession *s, const void *const *inputs, void *const *outputs,
					MlrtError *err);
#endif
