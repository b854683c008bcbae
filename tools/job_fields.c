/* tools/job_fields.c -- the fields of a compile job, and the check of a request against them. */
#include <string.h>

#include "tools/job.h"

#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const JobField input_config[] = {
	{"S3Uri", JOB_TEXT, true, .hi = 1024},
	{"DataInputConfig", JOB_TEXT, .lo = 1, .hi = 16384},
	{"Framework", JOB_TEXT, true,
	 .values = TEXTS("TENSORFLOW", "KERAS", "MXNET", "ONNX", "PYTORCH", "XGBOOST", "TFLITE", "DARKNET", "SKLEARN")},
	{"FrameworkVersion", JOB_TEXT, .idle = "an ONNX model states its versions", .lo = 3, .hi = 10},
	{0},
};
static const JobField platform[] = {
	{"Os", JOB_TEXT, true, .values = TEXTS("ANDROID", "LINUX")},
	{"Arch", JOB_TEXT, true, .values = TEXTS("X86_64", "X86", "ARM64", "ARM_EABI", "ARM_EABIHF")},
	{"Accelerator", JOB_TEXT, .values = TEXTS("INTEL_GRAPHICS", "MALI", "NVIDIA", "NNA")},
	{0},
};
static const JobField output_config[] = {
	{"S3OutputLocation", JOB_TEXT, true, .hi = 1024},
	{"TargetDevice", JOB_TEXT, .lo = 1, .hi = 64},
	{"TargetPlatform", JOB_OBJECT, .members = platform},
	{"CompilerOptions", JOB_TEXT, .lo = 2, .hi = 1024},
	{"KmsKeyId", JOB_TEXT, .idle = "nothing is encrypted", .hi = 2048},
	{0},
};
static const JobField short_text[] = {{NULL, JOB_TEXT, .hi = 32}};
static const JobField vpc_config[] = {
	{"SecurityGroupIds", JOB_LIST, true, .members = short_text, .lo = 1, .hi = 5},
	{"Subnets", JOB_LIST, true, .members = short_text, .lo = 1, .hi = 16},
	{0},
};
static const JobField stopping[] = {
	{"MaxRuntimeInSeconds", JOB_NUMBER, .lo = 1, .hi = 2147483647},
	{"MaxWaitTimeInSeconds", JOB_NUMBER, .lo = 1, .hi = 2147483647},
	{"MaxPendingTimeInSeconds", JOB_NUMBER, .lo = 7200, .hi = 2419200},
	{0},
};
static const JobField tag[] = {
	{"Key", JOB_TEXT, true, .lo = 1, .hi = 128},
	{"Value", JOB_TEXT, true, .hi = 256},
	{0},
};
static const JobField tags[] = {{NULL, JOB_OBJECT, .members = tag}};

const JobField job_fields[] = {
	{"CompilationJobName", JOB_TEXT, true, .lo = 1, .hi = 63},
	{"RoleArn", JOB_TEXT, .idle = "no rights are asked for", .lo = 20, .hi = 2048},
	{"ModelPackageVersionArn", JOB_TEXT, .lo = 1, .hi = 2048},
	{"InputConfig", JOB_OBJECT, .members = input_config},
	{"OutputConfig", JOB_OBJECT, true, .members = output_config},
	{"VpcConfig", JOB_OBJECT, .idle = "no network is used", .members = vpc_config},
	{"StoppingCondition", JOB_OBJECT, .idle = "a compilation here ends by itself, or is stopped by who started it",
	 .members = stopping},
	{"Tags", JOB_LIST, .idle = "there is nothing to put them on", .members = tags, .hi = 50},
	{0},
};

static const char *kind_text(JobKind kind)
{
	static const char *const texts[] = {"a text", "a whole number", "an object", "a list"};

	return texts[kind];
}

static const char *type_text(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return "a text";
	case JSON_INTEGER:
		return "a whole number";
	case JSON_REAL:
		return "a number with a fraction";
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_NULL:
		return "null";
	default:
		return "true or false";
	}
}

static bool is_kind(const json_t *v, JobKind kind)
{
	return kind == JOB_TEXT     ? json_is_string(v)
	       : kind == JOB_NUMBER ? json_is_integer(v)
	       : kind == JOB_OBJECT ? json_is_object(v)
				    : json_is_array(v);
}

static bool in_range(long long v, const JobField *f)
{
	return (!f->lo && !f->hi) || (v >= f->lo && v <= f->hi);
}

static void check_text(JobReader *r, const char *text, const JobField *f, const char *at)
{
	if (!in_range((long long)strlen(text), f))
		job_error(r, MLO_ERR_FORMAT, "%s has %zu characters, %ld to %ld are allowed", at, strlen(text), f->lo,
			  f->hi);
	for (size_t i = 0; f->values; i++) {
		if (!f->values[i]) {
			MloStr all = {.arena = r->a};

			for (size_t k = 0; k < i; k++)
				mlo_str_add(&all, "%s%s", k ? ", " : "", f->values[k]);
			job_error(r, MLO_ERR_FORMAT, "%s: there is no '%s', but %s", at, text, mlo_str_text(&all));
			job_suggest(r, text, f->values);
			return;
		}
		if (strcmp(text, f->values[i]) == 0)
			return;
	}
}

static void check_value(JobReader *r, const json_t *v, const JobField *f, const char *at)
{
	if (!is_kind(v, f->kind)) {
		char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

		job_error(r, MLO_ERR_FORMAT, "%s is %s, %.60s; it must be %s", at, type_text(v), text ? text : "",
			  kind_text(f->kind));
		free(text);
		if (f->kind == JOB_TEXT && (json_is_object(v) || json_is_array(v)))
			mlo_hint(r->d, "the API has JSON in a text here: \"{\\\"name\\\": ...}\"");
	} else if (f->kind == JOB_TEXT) {
		check_text(r, json_string_value(v), f, at);
	} else if (f->kind == JOB_NUMBER) {
		if (!in_range(json_integer_value(v), f))
			job_error(r, MLO_ERR_FORMAT, "%s is %lld; it must be %ld to %ld", at,
				  (long long)json_integer_value(v), f->lo, f->hi);
	} else if (f->kind == JOB_OBJECT) {
		job_check(r, v, f->members, at);
	} else {
		if (!in_range((long long)json_array_size(v), f))
			job_error(r, MLO_ERR_FORMAT, "%s has %zu elements, %ld to %ld are allowed", at,
				  json_array_size(v), f->lo, f->hi);
		for (size_t i = 0; i < json_array_size(v); i++)
			check_value(r, json_array_get(v, i), f->members, mlo_sprintf(r->a, "%s[%zu]", at, i));
	}
}

static void unknown(JobReader *r, const JobField *fields, const char *name, const char *at)
{
	const char *names[16] = {NULL};
	MloStr all = {.arena = r->a};

	for (size_t i = 0; fields[i].name; i++) {
		MLO_ASSERT(i + 1 < sizeof names / sizeof *names);
		names[i] = fields[i].name;
		mlo_str_add(&all, "%s%s", i ? ", " : "", fields[i].name);
	}
	job_error(r, MLO_ERR_FORMAT, "%s is no field of a compile job", job_member(r, at, name));
	if (!job_suggest(r, name, names))
		mlo_hint(r->d, "known here: %s", mlo_str_text(&all));
}

void job_check(JobReader *r, const json_t *object, const JobField *fields, const char *at)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)object, name, v) {
		const JobField *f = fields;

		while (f->name && strcmp(f->name, name) != 0)
			f++;
		if (!f->name) {
			unknown(r, fields, name, at);
			continue;
		}
		check_value(r, v, f, job_member(r, at, name));
		if (f->idle)
			mlo_note(r->d, "%s: %s is not needed: %s", r->path, job_member(r, at, name), f->idle);
	}
	for (const JobField *f = fields; f->name; f++)
		if (f->required && !json_object_get(object, f->name))
			job_error(r, MLO_ERR_FORMAT, "%s is missing", job_member(r, at, f->name));
}
