/* tools/job_target.c -- OutputConfig of a compile job: which target its device or platform is. */
#include <string.h>

#include "targets/target.h"
#include "tools/job.h"

typedef struct Device {
	const char *name, *nearest, *what;
} Device;

static const Device devices[] = {
#define DEVICE(name, nearest, what) {name, nearest, what},
#include "tools/devices.def"
};
enum { NDEVICES = sizeof devices / sizeof *devices, MAX_NAMES = 256 };

/* What to write in the place of a device or platform that there is no target for. */
static void point_to(JobReader *r, const char *nearest)
{
	if (*nearest)
		mlo_hint(r->d, "its cores alone are nearest to target %s: --target %s", nearest, nearest);
	else
		mlo_hint(r->d, "no target is near; 'mlopt targets' lists them, --target NAME chooses one");
}

/* Names of all targets, their aliases, and of devices: what a wrong name may have meant. */
static void list_names(JobReader *r, const char **names)
{
	size_t n = 0;

	for (size_t i = 1; mlo_target_at(i); i++) {
		const char *alias = mlo_target_at(i)->aliases;

		if (n < MAX_NAMES - 1)
			names[n++] = mlo_target_at(i)->name;
		while (*alias && n < MAX_NAMES - 1) {
			size_t len = strcspn(alias, ",");

			names[n++] = mlo_strndup(r->a, alias, len);
			alias += len + (alias[len] == ',');
		}
	}
	for (size_t i = 0; i < NDEVICES && n < MAX_NAMES - 1; i++)
		names[n++] = devices[i].name;
	names[n] = NULL;
}

static const char *of_device(JobReader *r, const char *name)
{
	const char *names[MAX_NAMES];
	const MloTargetSet *set = mlo_target_find(name, NULL);

	if (set)
		return set->name;
	for (size_t i = 0; i < NDEVICES; i++) {
		if (strcmp(devices[i].name, name) != 0)
			continue;
		job_error(r, MLO_ERR_TARGET, "OutputConfig.TargetDevice '%s': there is no target for it (%s)", name,
			  devices[i].what);
		point_to(r, devices[i].nearest);
		return NULL;
	}
	list_names(r, names);
	job_error(r, MLO_ERR_TARGET, "OutputConfig.TargetDevice: there is no device '%s'", name);
	if (!job_suggest(r, name, names))
		mlo_hint(r->d, "'mlopt targets' lists what there is");
	return NULL;
}

/* -- platforms ------------------------------------------------------------------------------------------- */

/* What LLVM calls the CPU that a variant is made for. */
static const char *cpu_of(const MloTarget *t)
{
	return t->tune ? t->tune : t->cpu;
}

/* The target of the fewest variants one of which is for that CPU, or may be used on it. */
static const char *of_cpu(const char *arch, const char *cpu)
{
	const char *best = NULL;
	size_t least = SIZE_MAX;

	for (size_t i = 1; mlo_target_at(i); i++) {
		const MloTargetSet *s = mlo_target_at(i);
		bool has = false;
		size_t n = 0;

		for (; n < sizeof s->variant / sizeof *s->variant && s->variant[n]; n++)
			has |= !strcmp(s->variant[n]->arch, arch) &&
			       (!strcmp(cpu_of(s->variant[n]), cpu) || !strcmp(s->variant[n]->cpu, cpu));
		if (has && n < least) {
			least = n;
			best = s->name;
		}
	}
	return best;
}

static const char *refine(JobReader *r, const char *arch, const char *cpu)
{
	const char *names[MAX_NAMES] = {NULL}, *found = of_cpu(arch, cpu);
	MloStr all = {.arena = r->a};
	size_t n = 0;

	if (found)
		return found;
	for (size_t i = 1; mlo_target_at(i); i++) {
		const MloTargetSet *s = mlo_target_at(i);

		for (size_t k = 0; k < sizeof s->variant / sizeof *s->variant && s->variant[k]; k++) {
			size_t seen = 0;

			while (seen < n && strcmp(names[seen], cpu_of(s->variant[k])) != 0)
				seen++;
			if (seen < n || strcmp(s->variant[k]->arch, arch) != 0 || n == MAX_NAMES - 1)
				continue;
			names[n++] = cpu_of(s->variant[k]);
			mlo_str_add(&all, "%s%s", n > 1 ? ", " : "", names[n - 1]);
		}
	}
	job_error(r, MLO_ERR_TARGET, "OutputConfig.CompilerOptions: mcpu '%s': no target of %s is for it", cpu, arch);
	mlo_hint(r->d, "there are %s; without mcpu the package is for target %s", mlo_str_text(&all), arch);
	return NULL;
}

static const char *of_platform(JobReader *r, const json_t *platform, const char *cpu)
{
	const char *os = job_text(platform, "Os"), *arch = job_text(platform, "Arch");
	const char *unit = job_text(platform, "Accelerator");
	const char *known = strcmp(arch, "X86_64") == 0 ? "x86_64" : strcmp(arch, "ARM64") == 0 ? "aarch64" : NULL;

	if (!known) {
		job_error(r, MLO_ERR_TARGET,
			  "OutputConfig.TargetPlatform.Arch %s: there are targets for X86_64 and ARM64 only", arch);
		return NULL;
	}
	if (strcmp(os, "LINUX") != 0) {
		job_error(r, MLO_ERR_TARGET, "OutputConfig.TargetPlatform.Os %s: packages run on LINUX", os);
		point_to(r, known);
		return NULL;
	}
	if (unit) {
		job_error(r, MLO_ERR_TARGET,
			  "OutputConfig.TargetPlatform.Accelerator %s: there is no target with an accelerator", unit);
		point_to(r, known);
		return NULL;
	}
	return cpu ? refine(r, known, cpu) : known;
}

/* -- options --------------------------------------------------------------------------------------------- */

#define OPTIONS "OutputConfig.CompilerOptions"
#define ELSEWHERE(whose) "it is an option of " whose

static const JobField any_text[] = {{NULL, JOB_TEXT, .lo = 1, .hi = 64}};
static const JobField fields[] = {
	{"mcpu", JOB_TEXT, .lo = 1, .hi = 64},
	{"mattr", JOB_LIST, .members = any_text, .hi = 64,
	 .idle = "targets say which features their variants need, and the runtime takes the best variant that fits"},
	{"dtype", JOB_TEXT, .values = (const char *const[]){"float32", "float", "int64", "long", NULL},
	 .idle = "an ONNX model states the types of its inputs"},
	{"float_ABI", JOB_TEXT, .hi = 16, .idle = ELSEWHERE("32-bit Arm, which has two ways to pass numbers")},
	{"class_labels", JOB_TEXT, .hi = 1024, .idle = ELSEWHERE("Core ML")},
	{"signature_def_key", JOB_TEXT, .hi = 1024, .idle = ELSEWHERE("TensorFlow models")},
	{"output_names", JOB_LIST, .members = any_text, .hi = 64, .idle = ELSEWHERE("TensorFlow models")},
	{"gpu-code", JOB_TEXT, .hi = 64},
	{"gpu_code", JOB_TEXT, .hi = 64},
	{"trt-ver", JOB_TEXT, .hi = 64},
	{"cuda-ver", JOB_TEXT, .hi = 64},
	{"ANDROID_PLATFORM", JOB_NUMBER, .lo = 21, .hi = 29},
	{0},
};

/* Options that ask for what no target has. */
static void refuse(JobReader *r, const json_t *options)
{
	static const char *const gpu[] = {"gpu-code", "gpu_code", "trt-ver", "cuda-ver"};
	size_t i;
	json_t *v;

	for (i = 0; i < sizeof gpu / sizeof *gpu; i++)
		if (json_object_get(options, gpu[i]))
			job_error(r, MLO_ERR_TARGET,
				  OPTIONS ": %s is an option of NVIDIA GPUs, for which there is no target", gpu[i]);
	if (json_object_get(options, "ANDROID_PLATFORM"))
		job_error(r, MLO_ERR_TARGET, OPTIONS ": ANDROID_PLATFORM: packages run on Linux");
	json_array_foreach(json_object_get(options, "mattr"), i, v) {
		const char *text = json_string_value(v);

		if (*text == '-')
			job_error(r, MLO_ERR_UNSUPPORTED,
				  OPTIONS ": mattr[%zu] '%s': features cannot be taken away; choose a target without it", i, text);
		else if (*text != '+')
			job_error(r, MLO_ERR_FORMAT, OPTIONS ": mattr[%zu] '%s': a feature is '+NAME'", i, text);
	}
}

/* The options; *cpu: NULL, or the one they name. */
static void read_options(JobReader *r, const char *text, const char **cpu)
{
	json_t *options = text ? job_json(r, text, strlen(text), OPTIONS) : NULL;
	size_t before;

	if (!options)
		return;
	if (!json_is_object(options)) {
		job_error(r, MLO_ERR_FORMAT, OPTIONS " holds %.60s, not an object of options", text);
		return;
	}
	before = r->d->nerrors;
	job_check(r, options, fields, OPTIONS);
	if (r->d->nerrors == before)
		refuse(r, options);
	*cpu = job_text(options, "mcpu");
}

void job_target(JobReader *r, const json_t *output)
{
	const char *device = job_text(output, "TargetDevice"), *cpu = NULL, *found;
	const json_t *platform = json_object_get(output, "TargetPlatform");

	if (r->job->target) {
		if (device || platform || json_object_get(output, "CompilerOptions"))
			mlo_note(r->d, "%s: the target is %s, as the command line says, not what OutputConfig says",
				 r->path, r->job->target);
		return;
	}
	if (device && platform)
		job_error(r, MLO_ERR_FORMAT,
			  "OutputConfig has a TargetDevice and a TargetPlatform: one of them is allowed");
	if (!json_object_get(output, "TargetDevice") && !platform) {
		job_error(r, MLO_ERR_FORMAT, "OutputConfig has no TargetDevice and no TargetPlatform");
		mlo_hint(r->d, "'mlopt targets' lists what there is; --target NAME chooses one");
	}
	read_options(r, job_text(output, "CompilerOptions"), &cpu);
	if (device && cpu)
		mlo_note(r->d, "%s: " OPTIONS ".mcpu is not needed: TargetDevice says which CPU it is", r->path);
	found = device ? of_device(r, device) : json_is_object(platform) ? of_platform(r, platform, cpu) : NULL;
	r->job->target = found;
}
