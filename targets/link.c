/* targets/link.c -- objects to one flat, relocation-free image, by lld.
 *
 * The objects are linked as a program without an entry, with one read+execute segment; that segment is the
 * image.  Whatever would need a dynamic relocation or a writable segment is refused here, so the
 * runtime has nothing to relocate.  ELF: System V gABI, chapters 4 and 5. */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "targets/object.h"
#include "targets/tool.h"

static MloStatus run_lld(const char *dir, const char *response, const char *image, MloDiag *d)
{
	const char *lld = getenv("MLOPT_LLD");
	char *argv[] = {"ld.lld", (char *)response, "-o", (char *)image, NULL};
	char log[4200], text[2048];
	int status;

	if (!lld || !*lld)
		lld = MLOPT_LLD;
	snprintf(log, sizeof log, "%s/log", dir);
	MLO_TRY(mlo_tool_run(lld, argv, log, &status, d));
	if (status == 0)
		return MLO_OK;
	mlo_tool_log(log, text, sizeof text);
	if (strstr(text, "No space left") || strstr(text, "Bus error"))
		return mlo_error(d, MLO_ERR_IO, "cannot link kernels in '%s': no space left on device", dir);
	text[strcspn(text, "\n")] = 0;
	return mlo_error(d, MLO_ERR_INTERNAL, "linking kernels failed: %s", text);
}

static MloStatus bad_elf(MloDiag *d, const char *what)
{
	return mlo_error(d, MLO_ERR_INTERNAL, "linked image is unusable: %s", what);
}

/* Finds symbol addresses in the symbol table. */
static MloStatus find_symbols(const MloBytes *elf, const char *const *symbols, size_t nsymbols, uint64_t *offsets,
                              uint64_t limit, MloDiag *d)
{
	const Elf64_Ehdr *eh = (const void *)elf->data;
	const Elf64_Shdr *sh = (const void *)(elf->data + eh->e_shoff);
	size_t found = 0;

	for (size_t i = 0; i < nsymbols; i++)
		offsets[i] = UINT64_MAX;
	for (unsigned s = 0; s < eh->e_shnum; s++) {
		const Elf64_Sym *sym = (const void *)(elf->data + sh[s].sh_offset);
		const char *names = (const char *)elf->data + sh[sh[s].sh_link].sh_offset;

		if (sh[s].sh_type != SHT_SYMTAB)
			continue;
		for (size_t k = 0; k < sh[s].sh_size / sizeof *sym; k++) {
			const char *name = names + sym[k].st_name;

			if (sym[k].st_shndx == SHN_UNDEF || ELF64_ST_TYPE(sym[k].st_info) != STT_FUNC)
				continue;
			/* symbols are few per image (hundreds): a scan is enough */
			for (size_t i = 0; i < nsymbols; i++) {
				if (offsets[i] == UINT64_MAX && !strcmp(symbols[i], name)) {
					offsets[i] = sym[k].st_value;
					found++;
				}
			}
		}
	}
	for (size_t i = 0; i < nsymbols; i++)
		if (offsets[i] >= limit)
			return bad_elf(d, "a kernel's symbol is missing or outside the code");
	return found >= nsymbols ? MLO_OK : bad_elf(d, "a kernel's symbol is missing");
}

/* Takes the only loadable content, the read+execute segment at address 0, out of the file. */
static MloStatus take_image(const MloBytes *elf, const char *const *symbols, size_t nsymbols, MloBytes *image,
                            uint64_t *offsets, MloDiag *d)
{
	const Elf64_Ehdr *eh = (const void *)elf->data;
	const Elf64_Phdr *ph;
	const Elf64_Shdr *sh;
	uint64_t end = 0;

	if (elf->n < sizeof *eh || memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_ident[EI_CLASS] != ELFCLASS64)
		return bad_elf(d, "not a 64-bit ELF file");
	ph = (const void *)(elf->data + eh->e_phoff);
	sh = (const void *)(elf->data + eh->e_shoff);
	for (unsigned s = 0; s < eh->e_shnum; s++) {
		bool writable = (sh[s].sh_flags & SHF_ALLOC) && (sh[s].sh_flags & SHF_WRITE);

		if ((sh[s].sh_type == SHT_RELA || sh[s].sh_type == SHT_REL) && (sh[s].sh_flags & SHF_ALLOC) && sh[s].sh_size)
			return bad_elf(d, "it needs relocations at load");
		if (writable && sh[s].sh_type != SHT_DYNAMIC && sh[s].sh_size &&
		    !(sh[s].sh_type == SHT_NOBITS && sh[s].sh_flags == (SHF_ALLOC | SHF_WRITE) && sh[s].sh_size < 65536))
			return bad_elf(d, "it has writable data");
	}
	for (unsigned i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD || !(ph[i].p_flags & PF_X))
			continue;
		if (end || ph[i].p_vaddr != 0 || ph[i].p_offset != 0)
			return bad_elf(d, "code is not one segment at address 0");
		end = ph[i].p_filesz;
	}
	if (!end || end > elf->n)
		return bad_elf(d, "no code");
	MLO_TRY(find_symbols(elf, symbols, nsymbols, offsets, end, d));
	image->data = malloc(end);
	if (!image->data)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory for the code image");
	memcpy(image->data, elf->data, end);
	image->n = end;
	return MLO_OK;
}

static const char *emulation(const MloTarget *t)
{
	return !strcmp(t->arch, "aarch64") ? "aarch64linux" : !strcmp(t->arch, "riscv64") ? "elf64lriscv" : "elf_x86_64";
}

/* The linker's output file for these objects; `flags` are lines. */
static MloStatus link_in(const char *dir, const MloTarget *t, const char *flags, const MloBytes *objects, size_t nobjects,
                         MloBytes *elf, MloDiag *d)
{
	char path[4200], response[4200], at[4201], out[4200];
	FILE *f;
	MloStatus st;

	snprintf(response, sizeof response, "%s/args", dir);
	snprintf(out, sizeof out, "%s/image", dir);
	f = fopen(response, "w");
	if (!f)
		return mlo_error(d, MLO_ERR_IO, "cannot write '%s': %s", response, strerror(errno));
	fprintf(f, "-Bsymbolic --no-undefined --build-id=none --hash-style=sysv -z max-page-size=16384 -z norelro\n"
	           "--no-call-graph-profile-sort --threads=1 -m %s\n%s\n", emulation(t), flags);
	st = MLO_OK;
	for (size_t i = 0; i < nobjects && st == MLO_OK; i++) {
		snprintf(path, sizeof path, "%s/%zu.o", dir, i);
		fprintf(f, "%s\n", path);
		st = mlo_tool_write(path, objects[i].data, objects[i].n, d);
	}
	if (fclose(f) && st == MLO_OK)
		st = mlo_error(d, MLO_ERR_IO, "cannot write '%s': %s", response, strerror(errno));
	if (st != MLO_OK)
		return st;
	snprintf(at, sizeof at, "@%s", response);
	MLO_TRY(run_lld(dir, at, out, d));
	return mlo_tool_read(out, elf, d);
}

static void remove_dir(const char *dir, size_t nobjects)
{
	static const char *const names[] = {"args", "image", "log"};
	char path[4200];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	for (size_t i = 0; i < nobjects; i++) {
		snprintf(path, sizeof path, "%s/%zu.o", dir, i);
		unlink(path);
	}
	rmdir(dir);
}

static MloStatus link_objects(const MloTarget *t, const char *flags, const MloBytes *objects, size_t nobjects, MloBytes *elf,
                              MloDiag *d)
{
	char dir[4096];
	MloStatus st;

	MLO_TRY(mlo_tool_dir(dir, sizeof dir, d));
	st = link_in(dir, t, flags, objects, nobjects, elf, d);
	remove_dir(dir, nobjects);
	return st;
}

/* As a program, for then symbols are not exported.  Kernels that differ only in what is not in their code become one, and so do their
 * constants: nothing asks whether addresses are equal. */
static const char image_flags[] = "-pie -e 0 --no-rosegment --no-dynamic-linker --strip-debug --icf=all --ignore-data-address-equality";

MloStatus mlo_image_link(const MloTarget *t, const MloBytes *objects, size_t nobjects, const char *const *symbols,
                         size_t nsymbols, MloBytes *image, uint64_t *offsets, MloDiag *d)
{
	MloBytes elf = {0};
	MloStatus st;

	*image = (MloBytes){0};
	MLO_TRY(link_objects(t, image_flags, objects, nobjects, &elf, d));
	st = take_image(&elf, symbols, nsymbols, image, offsets, d);
	free(elf.data);
	return st;
}

MloStatus mlo_shared_link(const MloTarget *t, const MloBytes *object, const char *soname, MloBytes *file, MloDiag *d)
{
	char flags[512];

	*file = (MloBytes){0};
	snprintf(flags, sizeof flags, "-shared --strip-all -soname \"%s\"", soname);
	return link_objects(t, flags, object, 1, file, d);
}
