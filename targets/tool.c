/* targets/tool.c -- programs that the compiler runs: the linker, and NVIDIA's assembler where it is asked for. */
#include "targets/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

MloStatus mlo_tool_write(const char *path, const unsigned char *p, size_t n, MloDiag *d)
{
	FILE *f = fopen(path, "wb");
	bool ok = f && fwrite(p, 1, n, f) == n;

	if (f && fclose(f))
		ok = false;
	return ok ? MLO_OK : mlo_error(d, MLO_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
}

MloStatus mlo_tool_read(const char *path, MloBytes *out, MloDiag *d)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	bool ok = f && !fstat(fileno(f), &st);

	*out = (MloBytes){0};
	if (ok) {
		out->n = (size_t)st.st_size;
		out->data = malloc(out->n + 1);
		ok = out->data && fread(out->data, 1, out->n, f) == out->n;
	}
	if (f)
		fclose(f);
	if (ok)
		return MLO_OK;
	free(out->data);
	*out = (MloBytes){0};
	return mlo_error(d, MLO_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
}

MloStatus mlo_tool_dir(char *dir, size_t n, MloDiag *d)
{
	const char *tmp = getenv("TMPDIR");

	if (snprintf(dir, n, "%s/mlopt-XXXXXX", tmp && *tmp ? tmp : "/tmp") >= (int)n || !mkdtemp(dir))
		return mlo_error(d, MLO_ERR_IO, "cannot make a temporary folder '%s': %s", dir, strerror(errno));
	return MLO_OK;
}

MloStatus mlo_tool_run(const char *program, char *const *argv, const char *log, int *status, MloDiag *d)
{
	posix_spawn_file_actions_t fa;
	pid_t pid;
	int how = -1, err;

	*status = -1;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 1, log, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&fa, 1, 2);
	err = posix_spawnp(&pid, program, &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	if (err)
		return mlo_error(d, MLO_ERR_TARGET, "cannot run '%s': %s", program, strerror(err));
	while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(how))
		*status = WEXITSTATUS(how);
	return MLO_OK;
}

void mlo_tool_log(const char *log, char *text, size_t n)
{
	FILE *f = fopen(log, "r");
	size_t have = f ? fread(text, 1, n - 1, f) : 0;

	if (f)
		fclose(f);
	text[have] = 0;
}
