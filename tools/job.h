/* tools/job.h -- compile jobs of a cloud service: the request of SageMaker's CreateCompilationJob, as JSON.
 *
 * Source: Amazon SageMaker API reference, CreateCompilationJob, InputConfig, OutputConfig, TargetPlatform.  Names are
 * written as that API documents them, and no other way.  Beyond it, S3Uri and S3OutputLocation may be file:// URIs or
 * paths, since nothing is fetched; paths start at the folder of the job's file.  What a local compile does not need is
 * said in notes, what is unknown or does not fit is an error that names the place ("OutputConfig.TargetPlatform.Arch")
 * and the value.
 *
 * RoleArn and StoppingCondition, which the service wants, may be missing: nothing here reads them. */
#ifndef MLO_TOOLS_JOB_H
#define MLO_TOOLS_JOB_H
#include <jansson.h>

#include "ir/base/arena.h"
#include "ir/base/diag.h"
#include "ir/graph.h"

/* What an input's dimension may be; lo == hi: a number. */
typedef struct JobDim {
	int64_t lo, hi;
} JobDim;
typedef struct JobShape {
	const char *input;
	JobDim dim[MLO_MAX_RANK];
	int rank;
} JobShape;

/* Before: what the command line says, or NULL.  After: that, and what the job says where the command line does not. The
 * command line wins; a note says so. */
typedef struct Job {
	const char *model, *output, *target, *name;
	const char *suffix; /* of the output */
	/* "INPUT=..." of the command line, ngiven of them: such inputs are not taken from the job */
	const char *const *given;
	size_t ngiven;
	struct {
		JobShape *items;
		size_t n, cap;
	} shapes; /* of the job */
} Job;

enum { JOB_MAX_BYTES = 1 << 20 };
/* text[0, n), of a file at `path`.  All strings are in `a`. */
MloStatus job_parse(MloArena *a, const char *text, size_t n, const char *path, Job *job, MloDiag *d) MLO_CHECKED;
MloStatus job_read(MloArena *a, const char *path, Job *job, MloDiag *d) MLO_CHECKED;
/* The job's shapes as values of --shape, appended to list[*n], which has room for `most`.  Where a dimension has a
 * range the model is looked at for the dimension's name. */
MloStatus job_bind(MloArena *a, const Job *job, const char **list, size_t *n, size_t most, MloDiag *d) MLO_CHECKED;

/* -- between the files of job*.c ------------------------------------------------------------------------ */

typedef enum JobKind { JOB_TEXT, JOB_NUMBER, JOB_OBJECT, JOB_LIST } JobKind;

/* What the API says about a field. */
typedef struct JobField {
	const char *name;
	JobKind kind;
	bool required;
	const char *idle;               /* why nothing here needs it; NULL: it is used, or its members say */
	const struct JobField *members; /* of an object; of a list, its elements (one row without a name) */
	const char *const *values;      /* texts that are allowed; NULL: any */
	long lo, hi;                    /* bytes of a text, a number's value, elements of a list; both 0: any */
} JobField;

typedef struct JobReader {
	MloArena *a;
	MloDiag *d;
	const char *path;
	Job *job;
	MloStatus st; /* of the first error; reading goes on, so that all are said */
} JobReader;

static inline void job_failed(JobReader *r, MloStatus st)
{
	r->st = r->st == MLO_OK ? st : r->st;
}
#define job_error(r, st, ...) job_failed((r), mlo_error((r)->d, st, __VA_ARGS__))
/* JSON of a text inside the job; NULL after an error that names the place.  `at`: its place, "" is the file. */
json_t *job_json(JobReader *r, const char *text, size_t n, const char *at);
/* Checks an object against its fields, and the fields inside; notes what is idle.  `at`: "" or its place. */
void job_check(JobReader *r, const json_t *object, const JobField *fields, const char *at);
const char *job_member(JobReader *r, const char *at, const char *name);     /* "at.name" */
const char *job_text(const json_t *object, const char *name);               /* NULL: not there, or no text */
bool job_suggest(JobReader *r, const char *word, const char *const *names); /* a hint, and true, where one is near */
extern const JobField job_fields[];
void job_target(JobReader *r, const json_t *output); /* OutputConfig: device or platform, and its options */
void job_shapes(JobReader *r, const char *text);     /* InputConfig.DataInputConfig */
/* The file at an S3 URI, if it is a local one; NULL: it is not, or an error was recorded. */
const char *job_local(JobReader *r, const char *uri, const char *at);
#endif
