/* tests/fuzz/replay.c -- runs a fuzz target over saved inputs, each in a process of its own.
 *
 * usage: replay FOLDER-OR-FILE...; the last line counts. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { LIMIT_SECONDS = 60 };

static int passed, failed;

/* In the child: the exit status of the process. */
static int feed(const char *path)
{
	struct stat st;
	FILE *f = fopen(path, "rb");
	uint8_t *data;
	size_t n;

	if (!f || fstat(fileno(f), &st))
		return 2;
	n = (size_t)st.st_size;
	data = malloc(n + !n); /* exactly as long, so that reading past the end is found */
	if (!data || fread(data, 1, n, f) != n)
		return 2;
	fclose(f);
	alarm(LIMIT_SECONDS);
	LLVMFuzzerTestOneInput(data, n);
	free(data);
	return 0;
}

static void replay(const char *path)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(feed(path));
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0) {
		passed++;
		return;
	}
	printf("FAIL %s: %s %d\n", path, WIFSIGNALED(status) ? "signal" : "status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	failed++;
}

static int visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int replay_folder(const char *folder)
{
	struct dirent **list;
	int n = scandir(folder, &list, visible, alphasort);
	char path[4096];

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, list[i]->d_name);
		replay(path);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return n;
}

int main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st)) {
			perror(argv[i]);
			return 2;
		}
		if (!S_ISDIR(st.st_mode))
			replay(argv[i]);
		else if (replay_folder(argv[i]) <= 0)
			printf("FAIL %s: no inputs\n", argv[i]), failed++;
	}
	printf("%d passed, %d failed, 0 skipped\n", passed, failed);
	return failed != 0;
}
