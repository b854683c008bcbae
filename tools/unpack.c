/* tools/unpack.c -- a model inside an archive. */
#include "tools/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Unpacker {
	MloArena *a;
	MloDiag *d;
	const char *path;
	char *folder;
	struct archive *in;
	const char *model; /* name in the archive */
	int64_t bytes;
	size_t entries;
} Unpacker;

size_t unpack_stem(const char *path)
{
	static const char *const suffix[] = {".tar.gz", ".tgz", ".tar"};
	size_t n = strlen(path);

	for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
		size_t k = strlen(suffix[i]);

		if (n > k && strcasecmp(path + n - k, suffix[i]) == 0)
			return n - k;
	}
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static void remove_folder(void *folder)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void close_archive(void *in)
{
	archive_read_free(in);
}

static MloStatus refuse(Unpacker *u, MloStatus st, const char *name, const char *why)
{
	return mlo_error(u->d, st, "%s: entry '%s' %s", u->path, name, why);
}

static bool leads_out(const char *name)
{
	if (*name == '/')
		return true;
	for (const char *p = name; *p; p += *p == '/') {
		size_t n = strcspn(p, "/");

		if (n == 2 && memcmp(p, "..", 2) == 0)
			return true;
		p += n;
	}
	return false;
}

/* The folders of a name, below the unpacker's. */
static MloStatus make_folders(Unpacker *u, const char *name, char *full)
{
	for (char *slash = strchr(full + strlen(u->folder) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int bad;

		*slash = 0;
		bad = mkdir(full, 0700) != 0 && errno != EEXIST;
		*slash = '/';
		if (bad)
			return mlo_error(u->d, MLO_ERR_IO, "%s: cannot unpack '%s': %s", u->path, name,
					 strerror(errno));
	}
	return MLO_OK;
}

static MloStatus count_bytes(Unpacker *u, const char *name, int64_t n)
{
	if (n > UNPACK_MAX_BYTES - u->bytes)
		return mlo_error(u->d, MLO_ERR_LIMIT, "%s: with entry '%s' it holds more than %lld bytes", u->path,
				 name, (long long)UNPACK_MAX_BYTES);
	u->bytes += n;
	return MLO_OK;
}

static MloStatus copy_data(Unpacker *u, const char *name, int fd)
{
	const void *block;
	la_int64_t offset;
	size_t n;
	int got;

	while ((got = archive_read_data_block(u->in, &block, &n, &offset)) == ARCHIVE_OK) {
		MLO_TRY(count_bytes(u, name, (int64_t)n));
		while (n) {
			ssize_t put = pwrite(fd, block, n, offset);

			if (put <= 0)
				return mlo_error(u->d, MLO_ERR_IO, "%s: cannot unpack '%s': %s", u->path, name,
						 strerror(errno));
			block = (const char *)block + put;
			offset += put;
			n -= (size_t)put;
		}
	}
	if (got != ARCHIVE_EOF)
		return mlo_error(u->d, MLO_ERR_FORMAT, "%s: entry '%s': %s", u->path, name,
				 archive_error_string(u->in));
	return MLO_OK;
}

static MloStatus unpack_file(Unpacker *u, struct archive_entry *e, const char *name)
{
	char *full = mlo_sprintf(u->a, "%s/%s", u->folder, name);
	MloStatus st;
	int fd;

	if (archive_entry_size_is_set(e) && archive_entry_size(e) > UNPACK_MAX_BYTES - u->bytes)
		return count_bytes(u, name, archive_entry_size(e)); /* before anything of it is written */
	MLO_TRY(make_folders(u, name, full));
	fd = open(full, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return refuse(u, MLO_ERR_FORMAT, name, "is there twice");
	if (fd < 0)
		return mlo_error(u->d, MLO_ERR_IO, "%s: cannot unpack '%s': %s", u->path, name, strerror(errno));
	st = copy_data(u, name, fd);
	if (close(fd) != 0 && st == MLO_OK)
		st = mlo_error(u->d, MLO_ERR_IO, "%s: cannot unpack '%s': %s", u->path, name, strerror(errno));
	return st;
}

/* Of files that some archivers put beside others ("._model.onnx") none is a model. */
static bool is_model(const char *name)
{
	const char *base = strrchr(name, '/');
	size_t n;

	base = base ? base + 1 : name;
	n = strlen(base);
	return n > 5 && strcasecmp(base + n - 5, ".onnx") == 0 && strncmp(base, "._", 2) != 0;
}

static MloStatus unpack_entry(Unpacker *u, struct archive_entry *e)
{
	const char *name = archive_entry_pathname(e);
	mode_t type = archive_entry_filetype(e);

	if (++u->entries > UNPACK_MAX_ENTRIES)
		return mlo_error(u->d, MLO_ERR_LIMIT, "%s: more than %d entries", u->path, UNPACK_MAX_ENTRIES);
	while (name && strncmp(name, "./", 2) == 0)
		name += 2;
	if (!name || (!*name && type != AE_IFDIR))
		return mlo_error(u->d, MLO_ERR_FORMAT, "%s: entry %zu has no usable name", u->path, u->entries);
	if (leads_out(name))
		return refuse(u, MLO_ERR_FORMAT, name, "leads out of the archive");
	name = mlo_strdup(u->a, name); /* the entry is the archive's, which reads on */
	if (archive_entry_hardlink(e) || (type != AE_IFREG && type != AE_IFDIR))
		return refuse(u, MLO_ERR_FORMAT, name, "is neither a file nor a folder");
	if (type == AE_IFDIR)
		return MLO_OK;
	if (is_model(name) && u->model)
		return mlo_error(u->d, MLO_ERR_FORMAT, "%s: two models, '%s' and '%s'; it must hold one", u->path,
				 u->model, name);
	if (is_model(name))
		u->model = name;
	return unpack_file(u, e, name);
}

static MloStatus unpack_all(Unpacker *u)
{
	struct archive_entry *e;
	int got;

	while ((got = archive_read_next_header(u->in, &e)) == ARCHIVE_OK || got == ARCHIVE_WARN)
		MLO_TRY(unpack_entry(u, e));
	if (got != ARCHIVE_EOF)
		return mlo_error(u->d, MLO_ERR_FORMAT, "%s: damaged, or no .tar.gz: %s", u->path,
				 archive_error_string(u->in));
	if (!u->model)
		return mlo_error(u->d, MLO_ERR_FORMAT, "%s: none of its %zu entries is a model (*.onnx)", u->path,
				 u->entries);
	return MLO_OK;
}

static MloStatus make_folder(Unpacker *u)
{
	const char *tmp = getenv("TMPDIR");

	u->folder = mlo_sprintf(u->a, "%s/mlopt.XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp");
	if (!mkdtemp(u->folder))
		return mlo_error(u->d, MLO_ERR_IO, "cannot create '%s': %s", u->folder, strerror(errno));
	mlo_defer(u->a, remove_folder, u->folder);
	return MLO_OK;
}

MloStatus unpack_model(MloArena *a, const char *path, const char **model, MloDiag *d)
{
	Unpacker u = {.a = a, .d = d, .path = path, .in = archive_read_new()};
	struct stat st;

	if (!u.in)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	mlo_defer(a, close_archive, u.in);
	if (stat(path, &st) != 0)
		return mlo_error(d, MLO_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
	if (archive_read_support_format_tar(u.in) != ARCHIVE_OK ||
	    archive_read_support_filter_gzip(u.in) != ARCHIVE_OK ||
	    archive_read_open_filename(u.in, path, 1 << 16) != ARCHIVE_OK)
		return mlo_error(d, MLO_ERR_FORMAT, "%s: damaged, or no .tar.gz: %s", path, archive_error_string(u.in));
	MLO_TRY(make_folder(&u));
	MLO_TRY(unpack_all(&u));
	*model = mlo_sprintf(a, "%s/%s", u.folder, u.model);
	return MLO_OK;
}
