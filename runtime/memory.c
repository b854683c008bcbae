/* runtime/memory.c -- mapping files and code, and the allocator used when the application has none. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/internal.h"

MLRT_LOCAL MlrtStatus mlrt_map_file(const char *path, int *fd, Mapping *m, MlrtError *err)
{
	struct stat info;
	void *p;

	*m = (Mapping){0};
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without writer must not hang us */
	if (*fd < 0)
		return mlrt_fail(err, MLRT_ERR_IO, "cannot open: %s", strerror(errno));
	if (fstat(*fd, &info) != 0)
		return mlrt_fail(err, MLRT_ERR_IO, "cannot examine: %s", strerror(errno));
	if (!S_ISREG(info.st_mode))
		return mlrt_fail(err, MLRT_ERR_IO, "not a regular file");
	if (info.st_size <= 0 || (uintmax_t)info.st_size > SIZE_MAX)
		return mlrt_fail(err, MLRT_ERR_FORMAT, "not a package (%lld bytes)", (long long)info.st_size);
	p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, *fd, 0);
	if (p == MAP_FAILED)
		return mlrt_fail(err, MLRT_ERR_IO, "cannot map: %s", strerror(errno));
	*m = (Mapping){p, (size_t)info.st_size, p, (size_t)info.st_size};
	return MLRT_OK;
}

/* A copy in anonymous memory that is made executable after it was written. */
static void *copy_to_anonymous(const unsigned char *src, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	memcpy(p, src, bytes);
	if (mprotect(p, bytes, PROT_READ | PROT_EXEC) == 0)
		return p;
	munmap(p, bytes);
	return NULL;
}

/* For systems that forbid turning written memory into code: the same through a file in memory. */
static void *copy_to_memfd(const unsigned char *src, size_t bytes)
{
	int fd = memfd_create("mlopt-code", MFD_CLOEXEC);
	size_t done = 0;
	void *p = MAP_FAILED;

	while (fd >= 0 && done < bytes) {
		ssize_t n = write(fd, src + done, bytes - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (fd >= 0 && done == bytes)
		p = mmap(NULL, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	if (fd >= 0)
		close(fd);
	return p == MAP_FAILED ? NULL : p;
}

MLRT_LOCAL MlrtStatus mlrt_map_code(int fd, uint64_t offset, const unsigned char *src, size_t bytes,
				    Mapping *m, MlrtError *err)
{
	const uint64_t page = getauxval(AT_PAGESZ);
	void *p = NULL;

	*m = (Mapping){0};
	if (bytes == 0)
		return MLRT_OK;
	/* Pages of 64 KiB do not divide every blob's place, and a file system may be mounted noexec. */
	if (fd >= 0 && page > 0 && offset % page == 0) {
		p = mmap(NULL, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, (off_t)offset);
		if (p == MAP_FAILED)
			p = NULL;
	}
	if (!p)
		p = copy_to_anonymous(src, bytes);
	if (!p)
		p = copy_to_memfd(src, bytes);
	if (!p)
		return mlrt_fail(err, MLRT_ERR_IO, "cannot map %zu bytes of code: %s", bytes,
				 strerror(errno));
	__builtin___clear_cache((char *)p, (char *)p + bytes);
	*m = (Mapping){p, bytes, p, bytes};
	return MLRT_OK;
}

MLRT_LOCAL void mlrt_unmap(Mapping *m)
{
	if (m->base)
		munmap(m->base, m->base_bytes);
	*m = (Mapping){0};
}

/* What older headers lack; older systems refuse it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { MOST_POPULATED = 64 << 20 };

MLRT_LOCAL void mlrt_populate(void *p, size_t bytes)
{
	const uintptr_t page = getauxval(AT_PAGESZ);
	const uintptr_t from = (uintptr_t)p / page * page, to = (uintptr_t)p + bytes;

	if (bytes >= 4 * page && bytes <= MOST_POPULATED)
		(void)madvise((void *)from, to - from, MADV_POPULATE_WRITE);
}

MLRT_LOCAL void mlrt_forget(const void *p, size_t bytes)
{
	(void)madvise((void *)(uintptr_t)p, bytes, MADV_DONTNEED); /* fails, and changes nothing, within a page */
}

enum { HUGE_PAGE = 2 << 20 };

static void *default_alloc(void *user, size_t bytes)
{
	/* Activations are walked in strides that miss small TLBs: ask for large pages where they pay. */
	const size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : MLRT_ALIGN;
	void *p;

	(void)user;
	if (posix_memalign(&p, align, bytes) != 0)
		return NULL;
	if (align == HUGE_PAGE)
		madvise(p, bytes & ~(size_t)(HUGE_PAGE - 1), MADV_HUGEPAGE); /* only a wish */
	return p;
}

static void default_release(void *user, void *p, size_t bytes)
{
	(void)user;
	(void)bytes;
	free(p);
}

MLRT_LOCAL MlrtAllocator mlrt_default_allocator(void)
{
	return (MlrtAllocator){NULL, default_alloc, default_release};
}
