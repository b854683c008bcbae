/* tools/outfile.c -- output files that appear whole or not at all. */
#include "tools/outfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Temporary names that exist now, so that a signal handler can remove them. */
enum { MAX_TEMPS = 16, MAX_NAME = 4096 };
static char temps[MAX_TEMPS][MAX_NAME];

static void remember(const char *name)
{
	for (int i = 0; i < MAX_TEMPS; i++) {
		if (!temps[i][0] && strlen(name) < MAX_NAME) {
			strcpy(temps[i], name);
			return;
		}
	}
}

static void forget(const char *name)
{
	for (int i = 0; i < MAX_TEMPS; i++) {
		if (strcmp(temps[i], name) == 0)
			temps[i][0] = 0;
	}
}

void mlo_outfile_remove_all(void)
{
	for (int i = 0; i < MAX_TEMPS; i++) {
		if (temps[i][0])
			unlink(temps[i]);
	}
}

static MloStatus failed(MloOutFile *o, const char *what, MloDiag *d)
{
	int saved = errno;

	mlo_outfile_abandon(o);
	return mlo_error(d, MLO_ERR_IO, "cannot %s '%s': %s", what, o->path, strerror(saved));
}

MloStatus mlo_outfile_open(MloOutFile *o, const char *path, MloDiag *d)
{
	struct stat st;
	mode_t mask;
	int fd;

	*o = (MloOutFile){.path = path};
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		if (S_ISDIR(st.st_mode)) {
			errno = EISDIR;
			return failed(o, "write", d);
		}
		o->f = fopen(path, "wb");
		return o->f ? MLO_OK : failed(o, "write", d);
	}
	o->temp = malloc(strlen(path) + sizeof ".tmp.XXXXXX");
	if (!o->temp)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	sprintf(o->temp, "%s.tmp.XXXXXX", path);
	fd = mkstemp(o->temp);
	if (fd < 0) {
		free(o->temp);
		o->temp = NULL;
		return failed(o, "create", d);
	}
	remember(o->temp);
	mask = umask(0);
	umask(mask);
	o->f = fchmod(fd, 0666 & ~mask) == 0 ? fdopen(fd, "wb") : NULL;
	if (!o->f) {
		close(fd);
		return failed(o, "create", d);
	}
	return MLO_OK;
}

MloStatus mlo_outfile_write(MloOutFile *o, const void *bytes, size_t n, MloDiag *d)
{
	if (n && fwrite(bytes, 1, n, o->f) != n)
		return failed(o, "write", d);
	return MLO_OK;
}

MloStatus mlo_outfile_commit(MloOutFile *o, MloDiag *d)
{
	FILE *f = o->f;

	if (fflush(f) != 0)
		return failed(o, "write", d);
	o->f = NULL;
	if (fclose(f) != 0)
		return failed(o, "write", d);
	if (o->temp && rename(o->temp, o->path) != 0)
		return failed(o, "replace", d);
	if (o->temp)
		forget(o->temp);
	free(o->temp);
	o->temp = NULL;
	return MLO_OK;
}

void mlo_outfile_abandon(MloOutFile *o)
{
	if (o->f)
		fclose(o->f);
	if (o->temp) {
		unlink(o->temp);
		forget(o->temp);
	}
	free(o->temp);
	o->f = NULL;
	o->temp = NULL;
}

MloStatus mlo_write_file(const char *path, const void *bytes, size_t n, MloDiag *d)
{
	MloOutFile o;

	MLO_TRY(mlo_outfile_open(&o, path, d));
	MLO_TRY(mlo_outfile_write(&o, bytes, n, d));
	return mlo_outfile_commit(&o, d);
}

MloStatus mlo_write_json(const char *path, json_t *j, MloDiag *d)
{
	char *text = j ? json_dumps(j, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
	MloStatus st = MLO_OK;

	json_decref(j);
	if (!text)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	if (strcmp(path, "-") == 0)
		puts(text);
	else
		st = mlo_write_file(path, text, strlen(text), d);
	free(text);
	return st;
}
