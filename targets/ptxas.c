/* targets/ptxas.c -- PTX to the code of one GPU, by NVIDIA's assembler where it is installed and was asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "targets/tool.h"

static const char *find_ptxas(void)
{
	static const char usual[] = "/usr/local/cuda/bin/ptxas";
	const char *named = getenv("MLOPT_PTXAS");

	if (named && *named)
		return named;
	for (const char *p = getenv("PATH"); p && *p; p += strcspn(p, ":"), p += *p == ':') {
		char path[4200];

		snprintf(path, sizeof path, "%.*s/ptxas", (int)strcspn(p, ":"), p);
		if (access(path, X_OK) == 0)
			return "ptxas";
	}
	return access(usual, X_OK) == 0 ? usual : NULL;
}

bool mlo_ptxas_found(void)
{
	return find_ptxas() != NULL;
}

typedef struct Assembly {
	char dir[4096], in[4200], out[4200], log[4200];
} Assembly;

static MloStatus assemble(const Assembly *x, const char *ptxas, const MloTarget *t, const MloBytes *module, MloDiag *d)
{
	char arch[32], text[512];
	char *argv[] = {"ptxas", "-v", arch, "-o", (char *)x->out, (char *)x->in, NULL};
	int status;

	snprintf(arch, sizeof arch, "-arch=%s", t->cpu);
	MLO_TRY(mlo_tool_write(x->in, module->data, module->n - 1, d)); /* without its NUL */
	MLO_TRY(mlo_tool_run(ptxas, argv, x->log, &status, d));
	if (status == 0)
		return MLO_OK;
	mlo_tool_log(x->log, text, sizeof text);
	text[strcspn(text, "\n")] = 0;
	return mlo_error(d, MLO_ERR_TARGET, "%s: '%s' does not take the PTX: %s", t->name, ptxas, text);
}

static MloStatus no_ptxas(MloDiag *d)
{
	mlo_error(d, MLO_ERR_TARGET, "there is no 'ptxas' to assemble with");
	mlo_hint(d, "it is part of CUDA's toolkit; the variable MLOPT_PTXAS names it where it is elsewhere");
	return MLO_ERR_TARGET;
}

MloStatus mlo_ptxas(const MloTarget *t, const MloBytes *module, MloBytes *cubin, MloBytes *said, MloDiag *d)
{
	const char *ptxas = find_ptxas();
	Assembly x;
	MloStatus st;

	if (!ptxas)
		return no_ptxas(d);
	MLO_TRY(mlo_tool_dir(x.dir, sizeof x.dir, d));
	snprintf(x.in, sizeof x.in, "%s/module.ptx", x.dir);
	snprintf(x.out, sizeof x.out, "%s/module.cubin", x.dir);
	snprintf(x.log, sizeof x.log, "%s/log", x.dir);
	st = assemble(&x, ptxas, t, module, d);
	if (st == MLO_OK && cubin)
		st = mlo_tool_read(x.out, cubin, d);
	if (st == MLO_OK && said) {
		st = mlo_tool_read(x.log, said, d);
		if (st == MLO_OK)
			said->data[said->n] = 0;
	}
	unlink(x.in);
	unlink(x.out);
	unlink(x.log);
	rmdir(x.dir);
	return st;
}

MloStatus mlo_ptxas_version(MloBytes *said, MloDiag *d)
{
	const char *ptxas = find_ptxas();
	char *argv[] = {"ptxas", "--version", NULL}, dir[4096], log[4200];
	MloStatus st;
	int status;

	if (!ptxas)
		return no_ptxas(d);
	MLO_TRY(mlo_tool_dir(dir, sizeof dir, d));
	snprintf(log, sizeof log, "%s/log", dir);
	st = mlo_tool_run(ptxas, argv, log, &status, d);
	if (st == MLO_OK)
		st = mlo_tool_read(log, said, d);
	unlink(log);
	rmdir(dir);
	return st;
}

/* -- what it says ---------------------------------------------------------------------------------- */

/* "ptxas info    : Compiling entry function 'NAME' for 'sm_80'" */
static bool begins_entry(const char *line, char *name)
{
	const char *at = strstr(line, "entry function '");

	return at && sscanf(at, "entry function '%127[^']'", name) == 1;
}

/* "    0 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads"
 * "ptxas info    : Used 26 registers, used 1 barriers, 16 bytes cumulative stack size, 1024 bytes smem, 400 bytes cmem[0]" */
static void read_line(char *line, MloPtxasEntry *e)
{
	char *used = strstr(line, "Used "), *save = NULL;
	unsigned frame, stores, loads, n;

	if (sscanf(line, " %u bytes stack frame, %u bytes spill stores, %u bytes spill loads", &frame, &stores, &loads) == 3) {
		e->stack = frame > e->stack ? frame : e->stack;
		e->spilled += stores + loads;
	}
	for (char *part = used ? strtok_r(used, ",", &save) : NULL; part; part = strtok_r(NULL, ",", &save)) {
		char what[32] = "";

		if (sscanf(part, " Used %u", &n) == 1)
			e->registers = n;
		else if (sscanf(part, " %u bytes %31[a-z ]", &n, what) == 2 && !strcmp(what, "smem"))
			e->shared = n;
		else if (*what && !strcmp(what, "cumulative stack size"))
			e->stack = n;
	}
}

bool mlo_ptxas_next(const char **at, MloPtxasEntry *out)
{
	char line[512], name[sizeof out->name];
	bool begun = false;

	*out = (MloPtxasEntry){.registers = 0};
	while (**at) {
		const size_t n = strcspn(*at, "\n");
		snprintf(line, sizeof line, "%.*s", (int)n, *at);
		if (begins_entry(line, name)) {
			if (begun)
				return true;
			begun = true;
			memcpy(out->name, name, sizeof name);
		} else if (begun) {
			read_line(line, out);
		}
		*at += n + ((*at)[n] == '\n');
	}
	return begun;
}
