/* bindings/dlr/paths.c -- which package a model path of DLR means. */
#include "bindings/dlr/paths.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bindings/dlr/internal.h"

#define SUFFIX ".mlopt"

typedef struct Search {
	char *found; /* "" before the first */
	size_t room;
	const char *path;           /* as the client gave it */
	char foreign[NAME_MAX + 1]; /* a file that DLR's own models have, or "" */
} Search;

static bool ends_with(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);

	return n > k && strcmp(name + n - k, suffix) == 0;
}

static int take_package(Search *s, const char *name)
{
	if (s->found[0])
		return dlr_fail("'%s' leads to two packages, %s and %s: name the one that is meant", s->path, s->found,
				name);
	if ((size_t)snprintf(s->found, s->room, "%s", name) >= s->room)
		return dlr_fail("path too long: %.100s...", name);
	return 0;
}

static int look_into(Search *s, const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *e;
	int bad = 0;

	if (!dir)
		return dlr_fail("cannot read the folder '%s': %s", folder, strerror(errno));
	while (!bad && (e = readdir(dir)) != NULL) {
		char name[PATH_MAX];

		if (ends_with(e->d_name, ".params") || ends_with(e->d_name, ".so") || ends_with(e->d_name, ".ro"))
			snprintf(s->foreign, sizeof s->foreign, "%s", e->d_name);
		if (!ends_with(e->d_name, SUFFIX))
			continue;
		if ((size_t)snprintf(name, sizeof name, "%s/%s", folder, e->d_name) >= sizeof name)
			bad = dlr_fail("path too long: %.100s...", folder);
		else
			bad = take_package(s, name);
	}
	closedir(dir);
	return bad;
}

/* One element of the list: a folder is looked into, a file is a package unless its name says that it goes with one. */
static int look_at(Search *s, const char *path, bool alone)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return dlr_fail("cannot find '%s': %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return look_into(s, path);
	return alone || !(ends_with(path, ".meta") || ends_with(path, ".json")) ? take_package(s, path) : 0;
}

static int look_at_all(Search *s)
{
	const char *p = s->path;
	struct stat st;
	int bad = 0;

	if (!strchr(p, ':') || stat(p, &st) == 0)
		return look_at(s, p, true);
	while (!bad && p) {
		const char *end = strchr(p, ':');
		size_t n = end ? (size_t)(end - p) : strlen(p);
		char one[PATH_MAX];

		if (n >= sizeof one)
			return dlr_fail("path too long: %.100s...", p);
		memcpy(one, p, n);
		one[n] = 0;
		if (n)
			bad = look_at(s, one, false);
		p = end ? end + 1 : NULL;
	}
	return bad;
}

int dlr_find_package(const char *path, char *out, size_t n)
{
	Search s = {.found = out, .room = n, .path = path};

	if (!path || !*path)
		return dlr_fail("no model path was given");
	out[0] = 0;
	if (look_at_all(&s))
		return -1;
	if (out[0])
		return 0;
	if (s.foreign[0])
		return dlr_fail("no file *%s in '%s': %s belongs to a model compiled for DLR itself; compile its ONNX "
				"model with "
				"'mlopt compile'",
				SUFFIX, path, s.foreign);
	return dlr_fail("no file *%s in '%s'", SUFFIX, path);
}
