/* targets/elf.c -- what is in a relocatable object: its sizes, and what it needs from elsewhere.
 *
 * Both classes are read through one form of the rows that matter. ELF: System V gABI, chapter 4. */
#include <elf.h>
#include <string.h>

#include "targets/object.h"

typedef struct Elf {
	const unsigned char *data;
	size_t n;
	bool wide;               /* ELFCLASS64 */
} Elf;

#define FIELD(e, type, at, member)                                                                                     \
	((e)->wide ? (uint64_t)((const Elf64_##type *)(const void *)((e)->data + (at)))->member                        \
		   : (uint64_t)((const Elf32_##type *)(const void *)((e)->data + (at)))->member)

static size_t section_at(const Elf *e, uint64_t i)
{
	return (size_t)(FIELD(e, Ehdr, 0, e_shoff) + i * FIELD(e, Ehdr, 0, e_shentsize));
}

/* The first symbol that the object does not define itself, or NULL. */
static const char *undefined(const Elf *e, size_t section)
{
	size_t size = e->wide ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
	size_t at = (size_t)FIELD(e, Shdr, section, sh_offset), end = at + (size_t)FIELD(e, Shdr, section, sh_size);
	size_t names = (size_t)FIELD(e, Shdr, section_at(e, FIELD(e, Shdr, section, sh_link)), sh_offset);

	for (at += size; at < end; at += size) /* the first one is of no symbol */
		if (FIELD(e, Sym, at, st_shndx) == SHN_UNDEF)
			return (const char *)e->data + names + FIELD(e, Sym, at, st_name);
	return NULL;
}

MloStatus mlo_object_facts(const MloBytes *object, MloObjectFacts *out, MloDiag *d)
{
	Elf e = {object->data, object->n, object->n > EI_CLASS && object->data[EI_CLASS] == ELFCLASS64};

	MLO_ASSERT(object->n > sizeof(Elf64_Ehdr) && memcmp(object->data, ELFMAG, SELFMAG) == 0);
	for (uint64_t i = 0; i < FIELD(&e, Ehdr, 0, e_shnum); i++) {
		size_t s = section_at(&e, i);
		uint64_t flags = FIELD(&e, Shdr, s, sh_flags), size = FIELD(&e, Shdr, s, sh_size);
		const char *missing = FIELD(&e, Shdr, s, sh_type) == SHT_SYMTAB ? undefined(&e, s) : NULL;

		if (missing)
			return mlo_error(d, MLO_ERR_UNSUPPORTED, "the code needs '%s', which the target has no instructions for",
					 missing);
		if (flags & SHF_EXECINSTR)
			out->code += size;
		else if (flags & SHF_ALLOC)
			out->constants += size;
		if ((flags & SHF_ALLOC) && (flags & SHF_WRITE) && size)
			return mlo_error(d, MLO_ERR_INTERNAL, "the object has writable data");
	}
	return MLO_OK;
}
