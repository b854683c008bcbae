/* examples/run_dynamic.c -- a model whose sizes are open, or that carries states from run to run.
 *
 *   cc -std=gnu11 run_dynamic.c $(pkg-config --cflags --libs mlopt_rt) -o run_dynamic
 *   ./run_dynamic model.mlopt                       inputs and outputs, their sizes, their names
 *   ./run_dynamic -d batch=4 -d seq=17 model.mlopt  one run with these sizes (others: 1)
 *   ./run_dynamic -s past=present -n 5 model.mlopt  five runs; what `present` was is `past` of the next
 *
 * Outputs lie in the session's memory: nobody has to know their sizes before the run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mlopt/runtime.h>

enum { MAX_SIZES = 32, MAX_STATES = 32 };

/* NAME=VALUE of the command line. */
typedef struct Pair {
	char name[64];
	const char *value;
} Pair;

typedef struct Options {
	Pair size[MAX_SIZES], state[MAX_STATES];
	int nsizes, nstates, runs;
} Options;

static int add_pair(Pair *list, int *n, int max, const char *text)
{
	const char *equals = strchr(text, '=');

	if (!equals || *n == max || (size_t)(equals - text) >= sizeof list->name)
		return -1;
	memcpy(list[*n].name, text, (size_t)(equals - text));
	list[*n].name[equals - text] = 0;
	list[(*n)++].value = equals + 1;
	return 0;
}

/* What a dimension is in this run: what the model says, or what the command line says about its name. */
static int64_t size_of(const Options *o, const MlrtTensorInfo *info, int k)
{
	const char *name = info->dim_names ? info->dim_names[k] : NULL;

	if (info->dims[k] >= 0)
		return info->dims[k];
	for (int i = 0; name && i < o->nsizes; i++)
		if (strcmp(o->size[i].name, name) == 0)
			return strtoll(o->size[i].value, NULL, 10);
	return 1;
}

static void print_info(const char *what, const MlrtTensorInfo *info)
{
	printf("%s %s: ", what, info->name);
	if (strcmp(info->kind, "tensor") != 0) {
		printf("%s of %s%s%s\n", info->kind, info->key ? info->key : "", info->key ? " to " : "", info->elem);
		return;
	}
	printf("%s[", info->elem);
	for (int k = 0; k < info->rank; k++) {
		if (info->dims[k] >= 0)
			printf("%s%" PRId64, k ? "," : "", info->dims[k]);
		else
			printf("%s%s", k ? "," : "", info->dim_names && info->dim_names[k] ? info->dim_names[k] : "?");
	}
	printf("]\n");
}

/* Bytes of one element; strings are MlrtText. */
static size_t elem_bytes(const char *elem)
{
	static const struct { const char *name; size_t bytes; } wide[] = {
		{"f64", 8}, {"i64", 8}, {"u64", 8}, {"c64", 8},  {"f32", 4},  {"i32", 4},   {"u32", 4},
		{"f16", 2}, {"bf16", 2}, {"i16", 2}, {"u16", 2}, {"str", 16}, {"c128", 16},
	};

	for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
		if (strcmp(wide[i].name, elem) == 0)
			return wide[i].bytes;
	return 1;
}

/* An input of ones (f32) or zeros; an object without items. */
static int make_input(const Options *o, const MlrtTensorInfo *info, MlrtTensor *t)
{
	size_t n = 1;

	*t = (MlrtTensor){.rank = info->rank};
	if (strcmp(info->kind, "tensor") != 0) {
		t->object = mlrt_object_new(info->kind, info->elem, info->key);
		return t->object ? 0 : -1;
	}
	for (int k = 0; k < info->rank; k++) {
		t->dims[k] = size_of(o, info, k);
		n *= (size_t)t->dims[k];
	}
	t->bytes = n * elem_bytes(info->elem);
	t->data = calloc(1, t->bytes + 1);
	for (size_t i = 0; t->data && i < n && strcmp(info->elem, "f32") == 0; i++)
		((float *)t->data)[i] = 1;
	return t->data ? 0 : -1;
}

static void print_output(const MlrtTensorInfo *info, const MlrtTensor *t)
{
	printf("  %s:", info->name);
	if (t->object) {
		printf(" %s of %zu\n", mlrt_object_kind(t->object), mlrt_object_count(t->object));
		return;
	}
	for (int k = 0; k < t->rank; k++)
		printf("%s%" PRId64, k ? "," : " [", t->dims[k]);
	printf("%s %zu bytes", t->rank ? "]" : "", t->bytes);
	for (size_t i = 0; i < 4 && (i + 1) * sizeof(float) <= t->bytes && strcmp(info->elem, "f32") == 0; i++)
		printf(" %g", (double)((const float *)t->data)[i]);
	printf("\n");
}

static size_t find(const MlrtModel *m, const char *name, MlrtStatus (*get)(const MlrtModel *, size_t, MlrtTensorInfo *))
{
	MlrtTensorInfo info;

	for (size_t i = 0; get(m, i, &info) == MLRT_OK; i++)
		if (strcmp(info.name, name) == 0)
			return i;
	return SIZE_MAX; /* which mlrt_session_state() refuses */
}

/* The inputs of states are left out: `in` has neither data nor object there. */
static int make_inputs(const Options *o, const MlrtModel *m, MlrtTensor *in)
{
	MlrtTensorInfo info;

	for (size_t i = 0; mlrt_model_input(m, i, &info) == MLRT_OK; i++) {
		int state = 0;

		for (int k = 0; k < o->nstates; k++)
			state |= strcmp(o->state[k].name, info.name) == 0;
		in[i] = (MlrtTensor){0};
		if (!state && make_input(o, &info, &in[i]) != 0)
			return -1;
	}
	return 0;
}

static MlrtStatus run(const Options *o, const MlrtModel *m, MlrtSession *s, const MlrtTensor *in, MlrtTensor *out,
		      MlrtError *err)
{
	MlrtTensorInfo info;
	MlrtStatus st = MLRT_OK;

	for (int k = 0; !st && k < o->nstates; k++)
		st = mlrt_session_state(s, find(m, o->state[k].name, mlrt_model_input),
					find(m, o->state[k].value, mlrt_model_output), err);
	for (int n = 0; !st && n < o->runs; n++) {
		memset(out, 0, mlrt_model_outputs(m) * sizeof *out); /* data NULL: the session has the memory */
		st = mlrt_session_run_tensors(s, in, out, err);
		printf("run %d\n", n + 1);
		for (size_t i = 0; !st && mlrt_model_output(m, i, &info) == MLRT_OK; i++)
			print_output(&info, &out[i]);
	}
	return st;
}

int main(int argc, char **argv)
{
	Options o = {.runs = 1};
	MlrtModel *m;
	MlrtSession *s = NULL;
	MlrtTensorInfo info;
	MlrtTensor *in, *out;
	MlrtError err;
	int option, bad = 0;

	while ((option = getopt(argc, argv, "d:s:n:")) != -1) {
		if (option == 'd')
			bad |= add_pair(o.size, &o.nsizes, MAX_SIZES, optarg);
		else if (option == 's')
			bad |= add_pair(o.state, &o.nstates, MAX_STATES, optarg);
		else if (option == 'n')
			o.runs = atoi(optarg);
		else
			bad = 1;
	}
	if (bad || optind != argc - 1) {
		fputs("usage: run_dynamic [-d NAME=SIZE]... [-s INPUT=OUTPUT]... [-n RUNS] MODEL.mlopt\n", stderr);
		return 2;
	}
	if (mlrt_model_open(argv[optind], NULL, &m, &err) != MLRT_OK) {
		fprintf(stderr, "run_dynamic: %s\n", err.text);
		return 1;
	}
	for (size_t i = 0; mlrt_model_input(m, i, &info) == MLRT_OK; i++)
		print_info("input ", &info);
	for (size_t i = 0; mlrt_model_output(m, i, &info) == MLRT_OK; i++)
		print_info("output", &info);
	in = calloc(mlrt_model_inputs(m) + 1, sizeof *in);
	out = calloc(mlrt_model_outputs(m) + 1, sizeof *out);
	err = (MlrtError){MLRT_ERR_NOMEM, "no memory for the inputs"};
	bad = !in || !out || make_inputs(&o, m, in) != 0 || mlrt_session_new(m, NULL, &s, &err) != MLRT_OK ||
	      run(&o, m, s, in, out, &err) != MLRT_OK;
	if (bad)
		fprintf(stderr, "run_dynamic: %s\n", err.text);
	mlrt_session_free(s);
	for (size_t i = 0; in && i < mlrt_model_inputs(m); i++) {
		free(in[i].data);
		mlrt_object_free(in[i].object);
	}
	free(in);
	free(out);
	mlrt_model_close(m);
	return bad;
}
