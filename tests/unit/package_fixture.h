/* tests/unit/package_fixture.h -- a small package with hand-made machine code, for the tests of the runtime.
 *
 * y = 2 * (x + w) for 40 floats, in two steps through the arena; `where` receives, for each of its
 * elements, the address of the scratch memory of the thread that computed it.  Two variants: the
 * first needs a feature that no CPU has. */
#ifndef PACKAGE_FIXTURE_H
#define PACKAGE_FIXTURE_H
#include "ir/base/arena.h"
#include "ir/base/piece.h"
#include "mlopt/runtime.h"
#include "runtime/format.h"

enum { FIX_N = 40, FIX_WHERE = 8, FIX_ADD_CODE = 0, FIX_WHERE_CODE = 64, FIX_CODE_BYTES = 128 };

typedef struct FixProgram {
	MlrtProgram head;
	MlrtStep step[3];
	MlrtArg arg[7];
} FixProgram;

/* What a test may change before it builds the package. */
typedef struct Fixture {
	MloArena *arena;
	char manifest[4096];
	FixProgram program;
	float weights[FIX_N];
	const void *golden; /* of blob 3; NULL: there is none */
	size_t ngolden;
	/* Of a variant for GPUs, blobs 3, 4 and 5, where ptx is not NULL: */
	const void *ptx, *launches;
	size_t nptx, nlaunches;
	FixProgram device;
	unsigned char *bytes; /* set by fix_build() */
	size_t n;
} Fixture;

void fix_init(Fixture *f);
void fix_build(Fixture *f);
/* The same with other weights, of which the last `lookup` bytes are tables (package/package.h). */
void fix_build_with(Fixture *f, const MloPiece *weights, size_t n, uint64_t lookup);
void fix_free(Fixture *f);
/* Writes the package to a new file; its name goes to path[64]. */
void fix_write(Fixture *f, char *path);
/* Replaces the first `from` of the manifest by `to`; fails the test if there is none. */
void fix_edit(Fixture *f, const char *from, const char *to);
/* Opens f->bytes; the model must come to be. */
MlrtModel *fix_open(Fixture *f);
/* Whether f->bytes open and a session begins; the first failure. */
MlrtStatus fix_starts(Fixture *f, const MlrtOpenOptions *opt);
/* Corrects the hash of the header after a change to it. */
void fix_seal(Fixture *f);

/* Inputs and outputs of one run. */
typedef struct FixData {
	float x[FIX_N], y[FIX_N];
	int64_t where[FIX_WHERE];
} FixData;
void fix_data(FixData *d, int seed);
MlrtStatus fix_run(MlrtSession *s, FixData *d, MlrtError *err);
int fix_right(const FixData *d); /* nonzero if y is what x demands */
#endif
