/* tools/model.c -- MODEL|PACKAGE: opening and running either. */
#include "tools/model.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "frontend/onnx.h"
#include "package/sign.h"
#include "runtime/format.h"
#include "tools/cli.h"
#include "tools/objects.h"
#include "tools/random.h"

bool model_is_package(const char *path)
{
	char magic[8];
	FILE *f = fopen(path, "rb");
	bool yes = f && fread(magic, 1, sizeof magic, f) == sizeof magic && memcmp(magic, MLRT_MAGIC, 8) == 0;

	if (f)
		fclose(f);
	return yes;
}

MloStatus model_runtime_error(MloDiag *d, const MlrtError *e)
{
	static const MloStatus status[] = {
		[MLRT_OK] = MLO_OK,
		[MLRT_ERR_IO] = MLO_ERR_IO,
		[MLRT_ERR_FORMAT] = MLO_ERR_FORMAT,
		[MLRT_ERR_VERSION] = MLO_ERR_FORMAT,
		[MLRT_ERR_TARGET] = MLO_ERR_TARGET,
		[MLRT_ERR_ARGUMENT] = MLO_ERR_USAGE,
		[MLRT_ERR_NOMEM] = MLO_ERR_NOMEM,
		[MLRT_ERR_THREAD] = MLO_ERR_IO,
		[MLRT_ERR_DAMAGED] = MLO_ERR_FORMAT,
		[MLRT_ERR_TRUNCATED] = MLO_ERR_FORMAT,
		[MLRT_ERR_MANIFEST] = MLO_ERR_FORMAT,
		[MLRT_ERR_ARCH] = MLO_ERR_TARGET,
		[MLRT_ERR_UNSIGNED] = MLO_ERR_FORMAT,
		[MLRT_ERR_DOWNGRADED] = MLO_ERR_FORMAT,
		[MLRT_ERR_KEY] = MLO_ERR_FORMAT,
		[MLRT_ERR_SIGNATURE] = MLO_ERR_FORMAT,
		[MLRT_ERR_NO_CRYPTO] = MLO_ERR_UNSUPPORTED,
		[MLRT_ERR_NO_DRIVER] = MLO_ERR_TARGET,
		[MLRT_ERR_DRIVER] = MLO_ERR_TARGET,
		[MLRT_ERR_NO_DEVICE] = MLO_ERR_TARGET,
		[MLRT_ERR_DEVICE_MEMORY] = MLO_ERR_NOMEM,
		[MLRT_ERR_KERNEL] = MLO_ERR_TARGET,
		[MLRT_ERR_NO_GOLDEN] = MLO_ERR_USAGE,
		[MLRT_ERR_REPLAY] = MLO_ERR_MODEL,
	};

	return mlo_error(d, status[e->status], "%s", e->text);
}

/* -- what a model has ----------------------------------------------------------------------- */

static MloStatus tensor_of_info(ModelTensor *t, const MlrtTensorInfo *info, MloDiag *d)
{
	*t = (ModelTensor){.name = info->name,
			   .elem = mlo_elem_from_text(info->elem, strlen(info->elem)),
			   .rank = info->rank,
			   .bytes = info->bytes};
	if (t->elem == EL_none)
		return mlo_error(d, MLO_ERR_UNSUPPORTED, "tensor '%s' has unknown element type '%s'",
				 info->name, info->elem);
	if (info->rank > MLO_MAX_RANK)
		return mlo_error(d, MLO_ERR_LIMIT, "tensor '%s' has %d dimensions, at most %d are handled",
				 info->name, info->rank, MLO_MAX_RANK);
	for (int i = 0; i < info->rank; i++) {
		t->dim[i] = info->dims[i];
		t->pick[i] = info->dims[i] < 0 ? 1 : info->dims[i];
		t->dim_name[i] = info->dim_names ? info->dim_names[i] : NULL;
	}
	if (strcmp(info->kind, "tensor") != 0)
		t->kind = info->kind;
	if (info->key)
		t->key = mlo_elem_from_text(info->key, strlen(info->key));
	return MLO_OK;
}

static MloStatus list_package(Model *m, MloDiag *d)
{
	MlrtTensorInfo info;

	m->nin = mlrt_model_inputs(m->package);
	m->nout = mlrt_model_outputs(m->package);
	m->in = MLO_NEWN(m->arena, ModelTensor, m->nin);
	m->out = MLO_NEWN(m->arena, ModelTensor, m->nout);
	for (size_t i = 0; i < m->nin + m->nout; i++) {
		bool in = i < m->nin;
		MlrtStatus st = in ? mlrt_model_input(m->package, i, &info)
				   : mlrt_model_output(m->package, i - m->nin, &info);

		MLO_ASSERT(st == MLRT_OK);
		MLO_TRY(tensor_of_info(in ? &m->in[i] : &m->out[i - m->nin], &info, d));
		if (in)
			m->in[i].state = mlrt_model_state(m->package, i) >= 0;
	}
	return MLO_OK;
}

static MloStatus tensor_of_value(MloArena *a, ModelTensor *t, const char *name, const MloType *type, MloDiag *d)
{
	bool object = mlo_type_object(type);
	int64_t bytes = object ? 0 : mlo_type_bytes(type);

	*t = (ModelTensor){.name = name, .elem = type->elem, .rank = object ? 0 : type->rank, .key = type->key};
	t->bytes = bytes < 0 ? 0 : (size_t)bytes;
	t->kind = object ? mlo_kind_text(type->kind) : NULL;
	if (t->rank < 0)
		return mlo_error(d, MLO_ERR_UNSUPPORTED, "the number of dimensions of '%s' is not known", name);
	for (int i = 0; i < t->rank; i++) {
		MloStr s = {.arena = a};
		bool known = mlo_dim_known(type->dim[i]);

		if (!known)
			mlo_dim_print(&s, type->dim[i]);
		t->dim[i] = known ? type->dim[i].k : -1;
		t->pick[i] = known ? type->dim[i].k : 1;
		t->dim_name[i] = known ? NULL : mlo_str_text(&s);
	}
	return MLO_OK;
}

static MloStatus list_graph(Model *m, const MloGraph *g, MloDiag *d)
{
	m->nin = g->ninputs;
	m->nout = g->noutputs;
	m->in = MLO_NEWN(m->arena, ModelTensor, m->nin);
	m->out = MLO_NEWN(m->arena, ModelTensor, m->nout);
	for (size_t i = 0; i < m->nin; i++)
		MLO_TRY(tensor_of_value(m->arena, &m->in[i], g->inputs[i]->name, &g->inputs[i]->type, d));
	for (size_t i = 0; i < m->nout; i++)
		MLO_TRY(tensor_of_value(m->arena, &m->out[i], g->output_names[i], &g->outputs[i]->type, d));
	return MLO_OK;
}

/* -- opening -------------------------------------------------------------------------------- */

static MloStatus start_session(Model *m, const ModelOptions *opt, MloDiag *d)
{
	MlrtSessionOptions so = {.threads = opt->threads, .device = opt->device};
	MlrtError e = {0}, named;

	MLO_TRY(list_package(m, d));
	if (mlrt_session_new(m->package, &so, &m->session, &e) == MLRT_OK)
		return MLO_OK;
	named = e;
	snprintf(named.text, sizeof named.text, "%.150s: %.340s", m->path, e.text);
	return model_runtime_error(d, &named);
}

bool model_take_key(ModelOptions *opt)
{
	return cli_push("--key", opt->key, sizeof opt->key / sizeof *opt->key, &opt->nkeys);
}

static MloStatus open_package(Model *m, const ModelOptions *opt, MloDiag *d)
{
	MlrtPublicKey key[sizeof opt->key / sizeof *opt->key];
	MlrtOpenOptions oo = {.variant = opt->variant, .keys = key, .nkeys = opt->nkeys};
	MlrtError e = {0};
	struct stat st;
	double start = cli_now();

	if (opt->reference) {
		mlo_error(d, MLO_ERR_USAGE, "'%s' is a package, which the reference executor cannot run",
			  m->path);
		mlo_hint(d, "give the ONNX model it was made from");
		return MLO_ERR_USAGE;
	}
	for (size_t i = 0; i < opt->nkeys; i++)
		MLO_TRY(mlo_key_read_public(opt->key[i], key[i].bytes, d));
	if (mlrt_model_open(m->path, &oo, &m->package, &e) != MLRT_OK)
		return model_runtime_error(d, &e);
	m->package_bytes = stat(m->path, &st) == 0 ? (size_t)st.st_size : 0;
	MLO_TRY(start_session(m, opt, d));
	m->load_seconds = cli_now() - start;
	return MLO_OK;
}

static MloStatus open_bytes(Model *m, const void *bytes, size_t n, const ModelOptions *opt, MloDiag *d)
{
	const MlrtOpenOptions oo = {.variant = opt->variant};
	const double start = cli_now();
	MlrtError e = {0};

	m->package_bytes = n;
	if (mlrt_model_open_memory(bytes, n, &oo, &m->package, &e) != MLRT_OK)
		return model_runtime_error(d, &e);
	MLO_TRY(start_session(m, opt, d));
	m->load_seconds = cli_now() - start;
	return MLO_OK;
}

static MloStatus compile_here(Model *m, const MloGraph *g, const ModelOptions *opt, MloDiag *d)
{
	MloptOptions co = MLOPT_OPTIONS_INIT;
	MloCompiled made;

	co.cache_dir = opt->no_cache ? NULL : opt->cache_dir ? opt->cache_dir : mlo_default_cache(m->arena);
	MLO_TRY(mlo_compile_graph(m->arena, g, &co, NULL, &made, d));
	m->compile_seconds = made.report.seconds;
	return open_bytes(m, made.bytes, made.n, opt, d);
}

static MloStatus open_graph(Model *m, const MloGraph *g, const ModelOptions *opt, MloDiag *d)
{
	size_t before = d->nerrors;

	if (!opt->reference)
		return compile_here(m, g, opt, d);
	MLO_TRY(list_graph(m, g, d));
	m->exec = mlo_exec_new(g, opt->threads, d);
	if (m->exec)
		return MLO_OK;
	return d->nerrors > before ? MLO_ERR_MODEL : mlo_error(d, MLO_ERR_NOMEM, "out of memory");
}

static MloStatus open_onnx(Model *m, const ModelOptions *opt, MloDiag *d)
{
	MloLoadOptions lo = {.shapes = opt->shapes, .nshapes = opt->nshapes, .quiet = opt->quiet,
			     .keep_symbols = opt->open && !opt->reference};

	if (opt->variant)
		return mlo_error(d, MLO_ERR_USAGE, "--variant is for packages, '%s' is a model", m->path);
	if (opt->nkeys)
		return mlo_error(d, MLO_ERR_USAGE, "--key is for packages, '%s' is a model, which nobody can sign", m->path);
	MLO_TRY(mlo_load_model(m->path, &lo, &m->graph, d));
	cli_flush_diag(d);
	d->where = m->path;
	return open_graph(m, m->graph, opt, d);
}

static MloStatus begin(Model *m, const char *path)
{
	*m = (Model){.arena = mlo_arena_new(), .path = path};
	return m->arena ? MLO_OK : MLO_ERR_NOMEM;
}

MloStatus model_open(Model *m, const char *path, const ModelOptions *opt, MloDiag *d)
{
	MloStatus st;

	MLO_TRY(begin(m, path));
	st = model_is_package(path) ? open_package(m, opt, d) : open_onnx(m, opt, d);
	d->where = NULL;
	if (st != MLO_OK)
		model_close(m);
	return st;
}

MloStatus model_open_graph(Model *m, const MloGraph *g, const ModelOptions *opt, MloDiag *d)
{
	MloStatus st;

	MLO_TRY(begin(m, g->name));
	st = open_graph(m, g, opt, d);
	if (st != MLO_OK)
		model_close(m);
	return st;
}

MloStatus model_describe(Model *m, const MloGraph *g, MloDiag *d)
{
	MloStatus st;

	MLO_TRY(begin(m, g->name));
	st = list_graph(m, g, d);
	if (st != MLO_OK)
		model_close(m);
	return st;
}

MloStatus model_open_bytes(Model *m, const char *name, const void *bytes, size_t n, const ModelOptions *opt, MloDiag *d)
{
	MloStatus st;

	MLO_TRY(begin(m, name));
	st = open_bytes(m, bytes, n, opt, d);
	if (st != MLO_OK)
		model_close(m);
	return st;
}

void model_close(Model *m)
{
	mlrt_session_free(m->session);
	mlrt_model_close(m->package);
	if (m->exec)
		mlo_exec_free(m->exec);
	mlo_graph_free(m->graph);
	mlo_arena_free(m->arena);
	*m = (Model){0};
}

/* -- running -------------------------------------------------------------------------------- */

enum { MAX_IO = 4096 };

static MloStatus run_static(Model *m, MloTensor *const *in, MloTensor *const *out, MloDiag *d)
{
	const void *inputs[m->nin + 1];
	void *outputs[m->nout + 1];
	MlrtError e = {0};

	for (size_t i = 0; i < m->nin; i++)
		inputs[i] = in[i] ? in[i]->data : NULL;
	for (size_t i = 0; i < m->nout; i++)
		outputs[i] = (void *)out[i]->data;
	if (mlrt_session_run(m->session, inputs, outputs, &e) != MLRT_OK)
		return model_runtime_error(d, &e);
	return MLO_OK;
}

static MloStatus take_result(MloArena *a, const ModelTensor *t, const MlrtTensor *r, MloTensor *out, MloDiag *d)
{
	if (t->kind) {
		*out = *mlo_from_runtime(a, r, t->elem);
		return MLO_OK;
	}
	if (r->rank > MLO_MAX_RANK)
		return mlo_error(d, MLO_ERR_LIMIT, "output '%s' has %d dimensions, at most %d are handled", t->name, r->rank,
				 MLO_MAX_RANK);
	out->rank = r->rank;
	for (int i = 0; i < r->rank; i++)
		out->dim[i] = r->dims[i];
	out->nbytes = (size_t)((mlo_tensor_elems(out) * (int64_t)mlo_elem_bits(out->elem) + 7) / 8);
	out->data = r->data ? r->data : "";
	return MLO_OK;
}

static MloStatus run_open(Model *m, MloTensor *const *in, MloTensor *const *out, MloDiag *d)
{
	MlrtTensor *inputs, *outputs;
	MlrtError e = {0};
	MlrtStatus st = MLRT_OK;

	if (!m->call_in) {
		m->call_in = MLO_NEWN(m->arena, MlrtTensor, m->nin + 1);
		m->call_out = MLO_NEWN(m->arena, MlrtTensor, m->nout + 1);
	}
	inputs = memset(m->call_in, 0, m->nin * sizeof *inputs);
	outputs = memset(m->call_out, 0, m->nout * sizeof *outputs);
	for (size_t i = 0; i < m->nin && st == MLRT_OK; i++)
		st = in[i] ? mlo_to_runtime(in[i], &inputs[i], &e) : MLRT_OK;
	if (st == MLRT_OK)
		st = mlrt_session_run_tensors(m->session, inputs, outputs, &e);
	for (size_t i = 0; i < m->nin; i++) {
		mlrt_object_free(inputs[i].object);
		inputs[i].object = NULL;
	}
	if (st != MLRT_OK)
		return model_runtime_error(d, &e);
	for (size_t i = 0; i < m->nout; i++)
		MLO_TRY(take_result(m->arena, &m->out[i], &outputs[i], out[i], d));
	return MLO_OK;
}

/* Does every run have the same sizes? */
static bool is_static(const Model *m)
{
	for (size_t i = 0; i < m->nin; i++) {
		if (model_tensor_open(&m->in[i]) || m->in[i].elem == EL_str)
			return false;
	}
	for (size_t i = 0; i < m->nout; i++) {
		if (model_tensor_open(&m->out[i]) || m->out[i].elem == EL_str)
			return false;
	}
	return true;
}

static MloStatus run_package(Model *m, MloTensor *const *in, MloTensor *const *out, MloDiag *d)
{
	return is_static(m) ? run_static(m, in, out, d) : run_open(m, in, out, d);
}

static MloStatus run_reference(Model *m, MloTensor *const *in, MloTensor *const *out, MloDiag *d)
{
	const MloTensor *results[m->nout + 1];

	MLO_TRY(mlo_exec_run(m->exec, (const MloTensor *const *)in, results, d));
	for (size_t i = 0; i < m->nout; i++) {
		if (model_tensor_open(&m->out[i]))
			*out[i] = *results[i];
		else
			memcpy((void *)out[i]->data, results[i]->data, m->out[i].bytes);
	}
	return MLO_OK;
}

MloStatus model_run(Model *m, MloTensor *const *in, MloTensor *const *out, MloDiag *d)
{
	if (m->nin > MAX_IO || m->nout > MAX_IO)
		return mlo_error(d, MLO_ERR_LIMIT, "more than %d inputs or outputs", MAX_IO);
	return m->exec ? run_reference(m, in, out, d) : run_package(m, in, out, d);
}

/* Are operands and results of one run those of the next? */
static bool stay_same(const Model *m)
{
	for (size_t i = 0; i < m->nin; i++)
		if (m->in[i].kind || m->in[i].elem == EL_str || m->in[i].state)
			return false;
	for (size_t i = 0; i < m->nout; i++)
		if (m->out[i].kind)
			return false;
	return true;
}

MloStatus model_repeat(Model *m, MloTensor *const *in, MloTensor *const *out, MloDiag *d)
{
	MlrtError e = {0};

	if (!m->call_in || !stay_same(m))
		return model_run(m, in, out, d);
	if (mlrt_session_run_tensors(m->session, m->call_in, m->call_out, &e) != MLRT_OK)
		return model_runtime_error(d, &e);
	return MLO_OK;
}

/* -- tensors -------------------------------------------------------------------------------- */

bool model_tensor_open(const ModelTensor *t)
{
	for (int i = 0; i < t->rank; i++) {
		if (t->dim[i] < 0)
			return true;
	}
	return t->kind != NULL;
}

/* One --shape: all sizes of an input, or one of a name. `used`: it is for this tensor. */
static MloStatus pick_one(ModelTensor *t, const char *shape, const MloBindDim *b, bool *used, MloDiag *d)
{
	if (strcmp(t->name, b->name) == 0 && b->rank == t->rank) {
		*used = true;
		for (int i = 0; i < t->rank; i++) {
			if (b->dim[i] < 0)
				continue;
			if (t->dim[i] >= 0 && t->dim[i] != b->dim[i])
				return mlo_error(d, MLO_ERR_USAGE, "--shape %s: dimension %d of input '%s' is %lld, not %lld", shape,
						 i, t->name, (long long)t->dim[i], (long long)b->dim[i]);
			t->pick[i] = b->dim[i];
		}
		return MLO_OK;
	}
	for (int i = 0; i < t->rank && b->rank == 1; i++) {
		if (t->dim[i] < 0 && t->dim_name[i] && strcmp(t->dim_name[i], b->name) == 0) {
			t->pick[i] = b->dim[0];
			*used = true;
		}
	}
	return MLO_OK;
}

/* Can there be a tensor of these sizes? */
static MloStatus check_picked(const ModelTensor *t, MloDiag *d)
{
	int64_t n = 1;

	for (int i = 0; i < t->rank; i++) {
		if (__builtin_mul_overflow(n, t->pick[i], &n) || n > MLO_MAX_ELEMS)
			return mlo_error(d, MLO_ERR_LIMIT, "input '%s' would have more than 2^40 elements", t->name);
	}
	return MLO_OK;
}

MloStatus model_pick(Model *m, const char *const *shapes, size_t n, MloDiag *d)
{
	for (size_t k = 0; k < n; k++) {
		bool used = false;
		MloBindDim b;

		MLO_TRY(mlo_bind_parse(m->arena, shapes[k], &b, d));
		for (size_t i = 0; i < m->nin; i++)
			MLO_TRY(pick_one(&m->in[i], shapes[k], &b, &used, d));
		if (!used)
			return mlo_error(d, MLO_ERR_USAGE, "--shape %s: %s has no input or open dimension of that name and rank",
					 shapes[k], m->path);
	}
	for (size_t i = 0; i < m->nin; i++)
		MLO_TRY(check_picked(&m->in[i], d));
	return MLO_OK;
}

MloType model_type(const ModelTensor *t)
{
	MloType type = {.elem = t->elem, .rank = t->rank, .key = t->key};

	for (int k = MLO_SEQ; t->kind && k <= MLO_SEQ_MAP; k++)
		if (strcmp(mlo_kind_text((MloTypeKind)k), t->kind) == 0)
			type.kind = (MloTypeKind)k;
	for (int i = 0; i < t->rank; i++)
		type.dim[i] = mlo_dim(t->dim[i] < 0 ? 0 : t->dim[i]);
	return type;
}

MloTensor *model_tensor(MloArena *a, const ModelTensor *t)
{
	return mlo_tensor_new(a, t->elem, t->rank, t->pick);
}

MloTensor **model_outputs(MloArena *a, const Model *m)
{
	MloTensor **out = MLO_NEWN(a, MloTensor *, m->nout);

	for (size_t i = 0; i < m->nout; i++) {
		out[i] = model_tensor_open(&m->out[i]) ? MLO_NEW(a, MloTensor) : model_tensor(a, &m->out[i]);
		out[i]->elem = m->out[i].elem;
	}
	return out;
}

MloTensor *model_random(MloArena *a, const ModelTensor *t, uint64_t seed)
{
	MloTensor *x = model_tensor(a, t);
	uint64_t state = seed;

	if (t->elem == EL_str || mlo_elem_class(t->elem) == EC_COMPLEX)
		return x;
	for (int64_t i = 0, n = mlo_tensor_elems(x); i < n; i++) {
		uint64_t r = mlo_random_next(&state);

		if (mlo_elem_is_float(t->elem))
			mlo_tensor_set_f64(x, i, (double)(r >> 40) / (1 << 23) - 1);
		else
			mlo_tensor_set_i64(x, i, (int64_t)(r >> 63));
	}
	return x;
}

void model_fill(MloArena *a, const Model *m, MloTensor **in, uint64_t seed)
{
	for (size_t i = 0; i < m->nin; i++)
		if (!in[i] && !m->in[i].state)
			in[i] = model_random(a, &m->in[i], seed + i * 1000003);
}

MloStatus model_find_input(const Model *m, const char *name, size_t *index, MloDiag *d)
{
	MloStr names = {.arena = m->arena};

	for (size_t i = 0; i < m->nin; i++) {
		if (strcmp(m->in[i].name, name) == 0) {
			*index = i;
			return MLO_OK;
		}
		mlo_str_add(&names, "%s'%s' %s", i ? ", " : "", m->in[i].name,
			    model_type_text(m->arena, &m->in[i]));
	}
	mlo_error(d, MLO_ERR_USAGE, "%s has no input '%s'", m->path, name);
	mlo_note(d, "its inputs are %s", mlo_str_text(&names));
	return MLO_ERR_USAGE;
}

const char *model_type_text(MloArena *a, const ModelTensor *t)
{
	MloStr s = {.arena = a};

	mlo_str_add(&s, "%s%s%s[", t->kind ? t->kind : "", t->kind ? " of " : "", mlo_elem_text(t->elem));
	for (int i = 0; i < t->rank; i++) {
		if (t->dim[i] >= 0)
			mlo_str_add(&s, "%s%lld", i ? "," : "", (long long)t->dim[i]);
		else
			mlo_str_add(&s, "%s%s", i ? "," : "", t->dim_name[i] ? t->dim_name[i] : "?");
	}
	mlo_str_add(&s, "]");
	return mlo_str_text(&s);
}
