/* tools/job.c -- compile jobs of a cloud service: reading, and what the command line and the job say together. */
#include "tools/job.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools/cli.h"

const char *job_member(JobReader *r, const char *at, const char *name)
{
	return *at ? mlo_sprintf(r->a, "%s.%s", at, name) : name;
}

const char *job_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

/* The same word, but for case and for what stands between its parts: ml.m5 and ml_m5, role_arn and RoleArn. */
static bool alike(const char *a, const char *b)
{
	for (;;) {
		while (*a && !isalnum((unsigned char)*a))
			a++;
		while (*b && !isalnum((unsigned char)*b))
			b++;
		if (!*a || tolower((unsigned char)*a) != tolower((unsigned char)*b))
			return *a == *b;
		a++;
		b++;
	}
}

bool job_suggest(JobReader *r, const char *word, const char *const *names)
{
	const char *near = NULL;

	for (size_t i = 0; !near && names[i]; i++)
		near = alike(word, names[i]) ? names[i] : NULL;
	if (!near)
		near = cli_nearest(word, names);
	if (near)
		mlo_hint(r->d, "did you mean '%s'?", near);
	return near != NULL;
}

/* -- places in a text that may be no JSON ------------------------------------------------------------------- */

enum { MAX_LEVELS = 16, MAX_KEY = 64 };
typedef struct Level {
	bool object, value; /* value: of an object, what follows is the value of `key` */
	size_t index, key, nkey;
} Level;

/* Past the end of the string that begins at text[i], or the end of the text. */
static size_t skip_string(const char *text, size_t i, size_t n)
{
	for (i++; i < n && text[i] != '"'; i++)
		i += text[i] == '\\';
	return i < n ? i + 1 : n;
}

static void step_over(Level *level, size_t depth, char c)
{
	Level *l = depth && depth <= MAX_LEVELS ? &level[depth - 1] : NULL;

	if (!l)
		return;
	if (c == ':')
		l->value = true;
	if (c == ',') {
		l->value = false;
		l->index++;
		l->nkey = l->object ? 0 : l->nkey;
	}
}

/* "A.B[2]": where in the JSON the byte text[end] stands. */
static const char *place(MloArena *a, const char *text, size_t end, const char *at)
{
	Level level[MAX_LEVELS] = {{0}};
	MloStr s = {.arena = a};
	size_t depth = 0;

	for (size_t i = 0; i < end;) {
		char c = text[i];

		if (c == '"') {
			size_t stop = skip_string(text, i, end);
			Level *l = depth && depth <= MAX_LEVELS ? &level[depth - 1] : NULL;

			if (l && l->object && !l->value && stop > i + 1 && text[stop - 1] == '"') {
				l->key = i + 1;
				l->nkey = stop - i - 2;
			}
			i = stop;
			continue;
		}
		if ((c == '{' || c == '[') && depth++ < MAX_LEVELS)
			level[depth - 1] = (Level){.object = c == '{'};
		else if ((c == '}' || c == ']') && depth)
			depth--;
		step_over(level, depth, c);
		i++;
	}
	mlo_str_add(&s, "%s", at);
	for (size_t i = 0; i < depth && i < MAX_LEVELS; i++) {
		const Level *l = &level[i];

		if (!l->object)
			mlo_str_add(&s, "[%zu]", l->index);
		else if (l->nkey)
			mlo_str_add(&s, "%s%.*s", s.n ? "." : "", (int)(l->nkey < MAX_KEY ? l->nkey : MAX_KEY),
				    text + l->key);
	}
	return mlo_str_text(&s);
}

static void drop(void *j)
{
	json_decref(j);
}

json_t *job_json(JobReader *r, const char *text, size_t n, const char *at)
{
	json_error_t e;
	json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
	const char *where;

	if (j) {
		mlo_defer(r->a, drop, j);
		return j;
	}
	where = place(r->a, text, e.position > 0 && (size_t)e.position < n ? (size_t)e.position : n, at);
	job_error(r, MLO_ERR_FORMAT, "%s%sline %d, column %d: no JSON: %s", where, *where ? ", " : "", e.line, e.column,
		  e.text);
	if (memchr(text, '\'', n) && !memchr(text, '"', n))
		mlo_hint(r->d, "JSON has texts in double quotes");
	return NULL;
}

/* -- files --------------------------------------------------------------------------------------------------- */

/* What %20 and the like stand for; NULL: malformed. */
static const char *decode(MloArena *a, const char *text)
{
	char *out = mlo_strdup(a, text), *p = out;

	for (; *text; text++) {
		char hex[3] = {0};

		if (*text != '%') {
			*p++ = *text;
			continue;
		}
		if (!isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]))
			return NULL;
		memcpy(hex, text + 1, 2);
		*p = (char)strtol(hex, NULL, 16);
		if (!*p++)
			return NULL;
		text += 2;
	}
	*p = 0;
	return out;
}

const char *job_local(JobReader *r, const char *uri, const char *at)
{
	const char *slash = strrchr(r->path, '/'), *path;

	if (strncasecmp(uri, "file://", 7) == 0) {
		path = uri + 7;
		if (strncmp(path, "localhost/", 10) == 0)
			path += 9;
		path = *path == '/' ? decode(r->a, path) : NULL;
		if (!path)
			job_error(r, MLO_ERR_FORMAT,
				  "%s '%s' is no file URI: file:///folder/name, with %%20 and the like", at, uri);
		return path;
	}
	if (strstr(uri, "://"))
		return NULL;
	if (!*uri) {
		job_error(r, MLO_ERR_FORMAT, "%s is empty", at);
		return NULL;
	}
	return *uri == '/' || !slash ? uri : mlo_sprintf(r->a, "%.*s/%s", (int)(slash - r->path), r->path, uri);
}

/* The model: what the command line names, else what S3Uri leads to. */
static void choose_model(JobReader *r, const json_t *input)
{
	const char *uri = job_text(input, "S3Uri"), *framework = job_text(input, "Framework"), *path;
	size_t before;

	if (framework && strcmp(framework, "ONNX") != 0) {
		if (r->job->model) {
			mlo_note(r->d, "%s: InputConfig.Framework is %s; the model of the command line must be ONNX",
				 r->path, framework);
		} else {
			job_error(r, MLO_ERR_UNSUPPORTED, "InputConfig.Framework %s: only ONNX models can be compiled",
				  framework);
			mlo_hint(r->d, "export it as ONNX, and give it on the command line: MODEL.onnx --job %s",
				 r->path);
		}
	}
	if (r->job->model) {
		if (uri)
			mlo_note(r->d, "%s: the model is %s, as the command line says, not InputConfig.S3Uri", r->path,
				 r->job->model);
		return;
	}
	if (!uri)
		return;
	before = r->d->nerrors;
	path = job_local(r, uri, "InputConfig.S3Uri");
	if (!path && r->d->nerrors == before) {
		job_error(r, MLO_ERR_USAGE, "InputConfig.S3Uri '%s': nothing is fetched", uri);
		mlo_hint(r->d, "copy it here and give it on the command line: MODEL.onnx --job %s; or say file:///...",
			 r->path);
	}
	r->job->model = path;
}

/* FOLDER/NAME-DEVICE and the suffix, as the service names what it writes.  device NULL: the target's name. */
static void choose_output(JobReader *r, const json_t *output, const char *device)
{
	const char *uri = job_text(output, "S3OutputLocation"), *path, *base;
	size_t n, before = r->d->nerrors;

	if (r->job->output) {
		if (uri)
			mlo_note(r->d,
				 "%s: the output is %s, as the command line says, not OutputConfig.S3OutputLocation",
				 r->path, r->job->output);
		return;
	}
	if (!uri)
		return;
	path = job_local(r, uri, "OutputConfig.S3OutputLocation");
	if (!path && r->d->nerrors == before) {
		job_error(r, MLO_ERR_USAGE, "OutputConfig.S3OutputLocation '%s': nothing is sent", uri);
		mlo_hint(r->d, "say on the command line where the output goes: -o FILE; or say file:///folder");
	}
	if (!path || !r->job->model || !r->job->target)
		return;
	base = strrchr(r->job->model, '/');
	base = base ? base + 1 : r->job->model;
	n = *base ? 1 + strcspn(base + 1, ".") : 0;
	r->job->output = mlo_sprintf(r->a, "%s%s%.*s-%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", (int)n,
				     base, device ? device : r->job->target, r->job->suffix);
}

/* -- the whole ------------------------------------------------------------------------------------------------ */

static void take(JobReader *r, const json_t *all)
{
	const json_t *input = json_object_get(all, "InputConfig"), *output = json_object_get(all, "OutputConfig");
	const char *shapes = job_text(input, "DataInputConfig"), *registry = job_text(all, "ModelPackageVersionArn");

	if (!r->job->name)
		r->job->name = job_text(all, "CompilationJobName");
	if (!input && !registry && !r->job->model)
		job_error(r, MLO_ERR_FORMAT, "InputConfig is missing");
	if (registry && r->job->model) {
		mlo_note(r->d, "%s: ModelPackageVersionArn is not needed: the model is %s", r->path, r->job->model);
	} else if (registry) {
		job_error(r, MLO_ERR_USAGE, "ModelPackageVersionArn '%s': nothing is fetched from a registry",
			  registry);
		mlo_hint(r->d, "give the model on the command line: MODEL.onnx --job %s", r->path);
	}
	if (json_is_object(input))
		choose_model(r, input);
	if (shapes)
		job_shapes(r, shapes);
	if (json_is_object(output)) {
		const char *device = r->job->target ? NULL : job_text(output, "TargetDevice");

		job_target(r, output);
		choose_output(r, output, device);
	}
}

MloStatus job_parse(MloArena *a, const char *text, size_t n, const char *path, Job *job, MloDiag *d)
{
	const char *where = d->where;
	JobReader r = {a, d, path, job, MLO_OK};
	json_t *all;

	d->where = path;
	all = job_json(&r, text, n, "");
	if (all && !json_is_object(all)) {
		job_error(&r, MLO_ERR_FORMAT, "a compile job is an object");
	} else if (all) {
		job_check(&r, all, job_fields, "");
		if (r.st == MLO_OK) /* what it asks for makes sense only where its form does */
			take(&r, all);
	}
	d->where = where;
	return r.st;
}

MloStatus job_read(MloArena *a, const char *path, Job *job, MloDiag *d)
{
	FILE *f = fopen(path, "rb");
	char *text = mlo_alloc(a, JOB_MAX_BYTES + 1, 1);
	size_t n = f ? fread(text, 1, JOB_MAX_BYTES + 1, f) : 0;
	bool bad = !f || ferror(f);
	int saved = errno;

	if (f)
		fclose(f);
	if (bad)
		return mlo_error(d, MLO_ERR_IO, "cannot read '%s': %s", path, strerror(saved));
	if (n > JOB_MAX_BYTES)
		return mlo_error(d, MLO_ERR_LIMIT, "%s: a compile job has up to %d bytes", path, JOB_MAX_BYTES);
	return job_parse(a, text, n, path, job, d);
}
