/* frontend/onnx_extern.c -- external tensor data, confined to the folder of the model.
 *
 * A model is data from strangers and its `location` strings are paths.  A path must be relative,
 * stay inside the folder, and meet no link on its way: symbolic links are refused at every step
 * (openat with O_NOFOLLOW), so is a file that has a second name (a hard link to something else). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_PATH */
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/onnx_data.h"

typedef struct Mapping {
	void *p;
	size_t n;
} Mapping;

static void unmap(void *obj)
{
	Mapping *m = obj;

	munmap(m->p, m->n);
	free(m);
}

bool onnx_map_file(MloArena *owner, int fd, const char *what, OnnxBytes *out, MloDiag *d)
{
	struct stat st;
	Mapping *m;
	void *p;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		mlo_error(d, MLO_ERR_IO, "%s: not a regular file", what);
		return false;
	}
	*out = (OnnxBytes){(const uint8_t *)"", 0};
	if (st.st_size == 0) {
		close(fd);
		return true;
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	m = p == MAP_FAILED ? NULL : malloc(sizeof *m);
	if (!m) {
		mlo_error(d, MLO_ERR_IO, "%s: cannot be mapped: %s", what, strerror(errno));
		if (p != MAP_FAILED)
			munmap(p, (size_t)st.st_size);
		return false;
	}
	*m = (Mapping){p, (size_t)st.st_size};
	*out = (OnnxBytes){p, (size_t)st.st_size};
	mlo_defer(owner, unmap, m);
	return true;
}

/* Is it a path below a folder: relative, without "..", ending in a name? */
static bool stays_inside(const char *path)
{
	const char *s = path;

	if (*s == '/')
		return false;
	for (;;) {
		size_t n = strcspn(s, "/");
		bool dots = (n == 1 && *s == '.') || (n == 2 && s[0] == '.' && s[1] == '.');

		if (n == 2 && dots)
			return false;
		if (!s[n])
			return n > 0 && !dots;
		s += n + 1;
	}
}

/* Opens the first `n` bytes of `s` in the folder `fd`, which is closed. */
static int step(int fd, const char *s, size_t n, bool last)
{
	int flags = last ? O_RDONLY | O_NONBLOCK | O_NOCTTY : O_PATH | O_DIRECTORY;
	char part[256];
	int next, err;

	if (n >= sizeof part) {
		next = -1;
		errno = ENAMETOOLONG;
	} else {
		memcpy(part, s, n);
		part[n] = 0;
		next = openat(fd, part, flags | O_NOFOLLOW | O_CLOEXEC);
	}
	err = errno;
	close(fd);
	errno = err;
	return next;
}

/* Opens dir/location step by step; -1 with *why set when that is refused or fails. */
static int open_confined(const char *dir, const char *location, const char **why)
{
	const char *s = location;
	bool last = false;
	int fd;

	if (!stays_inside(location)) {
		*why = "the path must be relative and stay in the folder of the model";
		return -1;
	}
	fd = open(*dir ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && !last) {
		size_t n = strcspn(s, "/");

		last = !s[n];
		if (n > 0 && !(n == 1 && *s == '.'))
			fd = step(fd, s, n, last);
		s += n + !last;
	}
	if (fd < 0)
		*why = errno == ELOOP || errno == ENOTDIR ? "symbolic links are refused" : strerror(errno);
	return fd;
}

static const OnnxFile *map_external(OnnxSource *src, const char *location, const char *what, MloDiag *d)
{
	const char *why;
	struct stat st;
	OnnxFile *f;
	int fd;

	for (f = src->files; f; f = f->next)
		if (!strcmp(f->location, location))
			return f;
	fd = open_confined(src->dir, location, &why);
	if (fd >= 0 && fstat(fd, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_nlink > 1)) {
		why = S_ISREG(st.st_mode) ? "the file has hard links" : "not a regular file";
		close(fd);
		fd = -1;
	}
	if (fd < 0) {
		mlo_error(d, MLO_ERR_IO, "tensor '%s': external data '%s' in '%s': %s", what, location,
			  *src->dir ? src->dir : ".", why);
		return NULL;
	}
	f = MLO_NEW(src->owner, OnnxFile);
	f->location = mlo_strdup(src->owner, location);
	if (!onnx_map_file(src->owner, fd, location, &f->bytes, d))
		return NULL;
	f->next = src->files;
	src->files = f;
	return f;
}

static bool decimal(const char *s, uint64_t *v)
{
	*v = 0;
	if (!*s)
		return false;
	for (; *s; s++)
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(*v, 10, v) ||
		    __builtin_add_overflow(*v, (uint64_t)(*s - '0'), v))
			return false;
	return true;
}

bool onnx_external_bytes(OnnxSource *src, const Onnx__TensorProto *t, size_t nbytes, const char *what,
			 OnnxBytes *out, MloDiag *d)
{
	const char *location = NULL;
	uint64_t offset = 0, length = nbytes;
	const OnnxFile *f;

	for (size_t i = 0; i < t->n_external_data; i++) {
		const char *key = t->external_data[i]->key, *value = t->external_data[i]->value;
		uint64_t *number = NULL;

		if (!key || !value)
			continue;
		if (!strcmp(key, "location"))
			location = value;
		else if (!strcmp(key, "offset"))
			number = &offset;
		else if (!strcmp(key, "length"))
			number = &length;
		if (number && !decimal(value, number)) {
			mlo_error(d, MLO_ERR_FORMAT, "tensor '%s': external data %s '%s' is not a number",
				  what, key, value);
			return false;
		}
	}
	if (!location || !src->dir) {
		mlo_error(d, location ? MLO_ERR_UNSUPPORTED : MLO_ERR_FORMAT, "tensor '%s': external data %s",
			  what, location ? "is not allowed here" : "without a location");
		return false;
	}
	f = map_external(src, location, what, d);
	if (!f)
		return false;
	if (length != nbytes) {
		mlo_error(d, MLO_ERR_FORMAT,
			  "tensor '%s': external data '%s' has length %llu, its type needs %zu bytes", what,
			  location, (unsigned long long)length, nbytes);
		return false;
	}
	if (offset > f->bytes.n || length > f->bytes.n - offset) {
		mlo_error(d, MLO_ERR_FORMAT,
			  "tensor '%s': external data '%s': %llu bytes at offset %llu are beyond its end at "
			  "%zu",
			  what, location, (unsigned long long)length, (unsigned long long)offset, f->bytes.n);
		return false;
	}
	*out = (OnnxBytes){f->bytes.p + offset, nbytes};
	return true;
}
