/* tools/calib.c -- calibration samples from files and folders; one file is in memory at a time. */
#include "tools/calib.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "frontend/onnx.h"
#include "tools/dataset.h"
#include "tools/npz.h"

enum { MAX_FILES = 1 << 20 };

struct Calib {
	const Model *m;
	MloArena *a;      /* of the lists */
	MloArena *file_a; /* of the file that is read */
	struct {
		const char **items;
		size_t n, cap;
	} files;
	size_t next_file;
	MloPreprocess recipe, bound; /* as given; for the array at hand */
	MloTensor **array;           /* by input */
	const char *name;            /* of the file that is read */
	int64_t at, rows;            /* of the arrays: samples used, samples there are */
	bool whole;                  /* they are one batch */
	int64_t given, limit;
};

/* -- files ----------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static MloStatus list_folder(Calib *c, const char *path, MloDiag *d)
{
	struct dirent **list;
	int n = scandir(path, &list, NULL, alphasort);

	if (n < 0)
		return mlo_error(d, MLO_ERR_IO, "folder '%s' cannot be read", path);
	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.' && c->files.n < MAX_FILES)
			MLO_PUSH(c->a, &c->files, mlo_sprintf(c->a, "%s/%s", path, list[i]->d_name));
		free(list[i]);
	}
	free(list);
	if (!c->files.n)
		return mlo_error(d, MLO_ERR_MODEL, "folder '%s' is empty: there are no samples", path);
	return MLO_OK;
}

static bool ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n >= k && !strcmp(s + n - k, suffix);
}

static MloStatus read_array(Calib *c, const char *path, MloTensor **out, MloDiag *d)
{
	if (!ends(path, ".pb"))
		return mlo_dataset_read(c->file_a, path, out, d);
	*out = mlo_onnx_read_tensor(c->file_a, path, d);
	return *out ? MLO_OK : MLO_ERR_FORMAT;
}

static MloStatus only_input(const Calib *c, const char *path, MloDiag *d)
{
	if (c->m->nin == 1)
		return MLO_OK;
	mlo_error(d, MLO_ERR_MODEL, "'%s' holds one array, %s has %zu inputs", path, c->m->path, c->m->nin);
	mlo_hint(d, "give a .npz file with an array of each input's name");
	return MLO_ERR_MODEL;
}

static MloStatus from_npz(Calib *c, const char *path, MloDiag *d)
{
	MloNpz z;

	MLO_TRY(mlo_npz_read(c->file_a, path, &z, d));
	for (size_t i = 0; i < c->m->nin; i++) {
		for (size_t k = 0; k < z.n; k++)
			if (!strcmp(z.name[k], c->m->in[i].name))
				c->array[i] = z.array[k];
		if (!c->array[i] && c->m->nin == 1 && z.n == 1)
			c->array[i] = z.array[0];
		if (!c->array[i])
			return mlo_error(d, MLO_ERR_MODEL, "'%s' has no array '%s'", path, c->m->in[i].name);
	}
	return MLO_OK;
}

/* FOLDER/input_0.pb and so on, or FOLDER/NAME.npy */
static MloStatus from_folder(Calib *c, const char *path, MloDiag *d)
{
	for (size_t i = 0; i < c->m->nin; i++) {
		const char *pb = mlo_sprintf(c->file_a, "%s/input_%zu.pb", path, i);
		const char *npy = mlo_sprintf(c->file_a, "%s/%s.npy", path, c->m->in[i].name);
		struct stat st;

		MLO_TRY(read_array(c, stat(pb, &st) == 0 ? pb : npy, &c->array[i], d));
	}
	return MLO_OK;
}

/* -- shapes ---------------------------------------------------------------------------------------- */

static bool same_shape(const MloTensor *t, const ModelTensor *in)
{
	return t->rank == in->rank && !memcmp(t->dim, in->pick, sizeof *t->dim * (size_t)t->rank);
}

static int64_t batch_of(const ModelTensor *in)
{
	return in->rank && in->pick[0] > 0 ? in->pick[0] : 1;
}

static MloStatus check_types(const Calib *c, MloDiag *d)
{
	for (size_t i = 0; i < c->m->nin; i++) {
		MloElem have = c->array[i]->elem, want = c->m->in[i].elem;
		bool ok = mlo_elem_class(have) != EC_COMPLEX && have != EL_str && want != EL_str &&
			  (mlo_elem_is_float(want) || !mlo_elem_is_float(have));

		if (!ok)
			return mlo_error(d, MLO_ERR_MODEL, "'%s': input '%s' takes %s, the samples are %s", c->name,
					 c->m->in[i].name, mlo_elem_text(want), mlo_elem_text(have));
	}
	return MLO_OK;
}

static MloStatus bind_array(Calib *c, size_t i, MloDiag *d)
{
	static const MloPreprocess none = {.scale = 1, .std = {1}, .from_last = true};
	MloPreprocess p = i ? none : c->recipe;
	int64_t rows;

	MLO_TRY(mlo_preprocess_bind(&p, c->name, c->array[i], c->m->in[i].rank, c->m->in[i].pick, d));
	if (i == 0)
		c->bound = p;
	rows = c->array[i]->dim[0];
	if (i && rows != c->rows)
		return mlo_error(d, MLO_ERR_MODEL, "'%s': input '%s' has %lld samples, '%s' has %lld", c->name,
				 c->m->in[0].name, (long long)c->rows, c->m->in[i].name, (long long)rows);
	c->rows = rows;
	return MLO_OK;
}

/* What was read becomes samples. */
static MloStatus bind(Calib *c, MloDiag *d)
{
	bool whole = true;

	MLO_TRY(check_types(c, d));
	for (size_t i = 0; i < c->m->nin; i++)
		whole &= same_shape(c->array[i], &c->m->in[i]);
	c->whole = whole && (c->m->nin > 1 || !c->m->in[0].rank);
	c->at = 0;
	c->rows = 1;
	for (size_t i = 0; i < c->m->nin && !c->whole; i++)
		MLO_TRY(bind_array(c, i, d));
	return MLO_OK;
}

/* A file may hold one sample, without a dimension that counts. */
static void count_one(MloTensor *t, const ModelTensor *in)
{
	int64_t sample = 1;

	for (int i = 1; i < in->rank; i++)
		sample *= in->pick[i];
	if (t->rank != in->rank - 1 || mlo_tensor_elems(t) != sample)
		return;
	memmove(t->dim + 1, t->dim, sizeof *t->dim * (size_t)t->rank++);
	t->dim[0] = 1;
}

static MloStatus read_file(Calib *c, const char *path, MloDiag *d)
{
	mlo_arena_free(c->file_a);
	c->file_a = mlo_arena_new();
	if (!c->file_a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	memset(c->array, 0, sizeof(MloTensor *) * c->m->nin);
	c->name = path;
	if (is_folder(path)) {
		MLO_TRY(from_folder(c, path, d));
	} else if (ends(path, ".npz")) {
		MLO_TRY(from_npz(c, path, d));
	} else {
		MLO_TRY(only_input(c, path, d));
		MLO_TRY(read_array(c, path, &c->array[0], d));
		count_one(c->array[0], &c->m->in[0]);
	}
	return bind(c, d);
}

/* -- samples --------------------------------------------------------------------------------------- */

MloStatus calib_open(MloArena *a, const Model *m, const char *path, const char *recipe, int64_t limit, Calib **out,
		     MloDiag *d)
{
	Calib *c = MLO_NEW(a, Calib);
	MloStatus st = MLO_OK;

	*c = (Calib){.m = m, .a = a, .limit = limit, .array = MLO_NEWN(a, MloTensor *, m->nin + 1)};
	MLO_TRY(mlo_preprocess_parse(&c->recipe, recipe, d));
	if (is_folder(path))
		st = list_folder(c, path, d);
	else
		MLO_PUSH(a, &c->files, path);
	*out = c;
	return st;
}

void calib_rewind(Calib *c)
{
	c->next_file = 0;
	c->at = c->rows = c->given = 0;
}

static void fill(Calib *c, size_t i, int64_t count, MloTensor *in)
{
	static const MloPreprocess none = {.scale = 1, .std = {1}, .from_last = true};
	MloPreprocess p = i ? none : c->bound;
	int64_t batch = batch_of(&c->m->in[i]);
	size_t sample = in->nbytes / (size_t)batch;

	if (c->whole) {
		for (int64_t k = 0; k < mlo_tensor_elems(in); k++)
			mlo_tensor_set_f64(in, k, mlo_tensor_f64(c->array[i], k));
		return;
	}
	if (i) {
		p.channels = 1;
		p.pixels = mlo_tensor_elems(in) / batch;
	}
	mlo_preprocess_apply(&p, c->array[i], c->at, count, in);
	for (int64_t k = count; k < batch && count; k++)
		memcpy((char *)(uintptr_t)in->data + (size_t)k * sample,
		       (const char *)in->data + (size_t)(k % count) * sample, sample);
}

MloStatus calib_next(Calib *c, MloTensor **in, int64_t *count, MloDiag *d)
{
	int64_t batch = c->m->nin ? batch_of(&c->m->in[0]) : 1, left;

	*count = 0;
	while (c->at >= c->rows) {
		if (c->next_file >= c->files.n)
			return MLO_OK;
		MLO_TRY(read_file(c, c->files.items[c->next_file++], d));
	}
	left = c->rows - c->at;
	*count = c->whole ? 1 : left < batch ? left : batch;
	*count = *count > c->limit - c->given ? c->limit - c->given : *count;
	if (*count <= 0)
		return MLO_OK;
	for (size_t i = 0; i < c->m->nin; i++)
		fill(c, i, *count, in[i]);
	c->at += *count;
	c->given += *count;
	return MLO_OK;
}

int64_t calib_given(const Calib *c)
{
	return c->given;
}

int64_t calib_limit(const Calib *c)
{
	int64_t left = c->rows - c->at;

	/* With one file it is known how many there are. */
	return c->files.n == 1 && c->rows && c->given + left < c->limit ? c->given + left : c->limit;
}

void calib_close(Calib *c)
{
	if (c)
		mlo_arena_free(c->file_a);
}
