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

MloStatus mlo_ptxas(const MloTarget *t, const MloBytes *module, MloBytes *cubin, MloBytes *said, MloDiag *d)
{
	const char *ptxas = find_ptxas();
	Assembly x;
	MloStatus st;

	if (!ptxas) {
		mlo_error(d, MLO_ERR_TARGET, "%s: there is no 'ptxas' to assemble with", t->name);
		mlo_hint(d, "it is part of CUDA's toolkit; the variable MLOPT_PTXAS names it where it is elsewhere");
		return MLO_ERR_TARGET;
	}
	MLO_TRY(mlo_tool_dir(x.dir, sizeof x.dir, d));
	snprintf(x.in, sizeof x.in, "%s/module.ptx", x.dir);
	snprintf(x.out, sizeof x.out, "%s/module.cubin", x.dir);
	snprintf(x.log, sizeof x.log, "%s/log", x.dir);
	st = assemble(&x, ptxas, t, module, d);
	if (st == MLO_OK && cubin)
		st = mlo_tool_read(x.out, cubin, d);
	if (st == MLO_OK && said)
		st = mlo_tool_read(x.log, said, d);
	unlink(x.in);
	unlink(x.out);
	unlink(x.log);
	rmdir(x.dir);
	return st;
}
