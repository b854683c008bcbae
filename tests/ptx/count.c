/* tests/ptx/count.c -- what warps execute, and what their accesses cost: sectors of global memory, conflicts of shared memory's banks. */
#include "tests/ptx/exec.h"

enum { SECTOR = 32, BANKS = 32 };

/* Distinct values among n; those that rise need no search. */
static unsigned distinct(const uint64_t *v, unsigned n)
{
	uint64_t seen[PTX_LANES], top = 0;
	unsigned count = 0;

	for (unsigned k = 0; k < n; k++) {
		unsigned s = count;

		if (!count || v[k] > top) {
			top = v[k];
		} else {
			while (s > 0 && seen[s - 1] != v[k])
				s--;
			if (s)
				continue;
		}
		seen[count++] = v[k];
	}
	return count;
}

/* Counts are numbers of 64 bits, one behind the other. */
static void add_counts(PtxCount *to, const PtxCount *from, unsigned n)
{
	uint64_t *a = (uint64_t *)to;
	const uint64_t *b = (const uint64_t *)from;

	for (unsigned k = 0; k < n * sizeof *from / (sizeof *b); k++)
		a[k] += b[k];
}

static void add(PtxWarp *w, const PtxInst *i, const PtxCount *more)
{
	add_counts(&w->x->counts[i->id], more, 1);
	if (w->multiplied)
		add_counts(&w->since[i->cls], more, 1);
}

/* What a warp has done since its last product lies between two of them. */
static void keep_main(PtxWarp *w)
{
	add_counts(w->x->main, w->since, PTX_NCLASSES);
	memset(w->since, 0, sizeof w->since);
}

void ptx_count_product(PtxWarp *w, const PtxInst *i, uint64_t multiplies, uint64_t operand_bytes)
{
	const PtxCount c = {.products = 1, .multiplies = multiplies, .operand_bytes = operand_bytes};

	add_counts(&w->x->counts[i->id], &c, 1);
	if (w->x->main)
		add_counts(&w->x->main[i->cls], &c, 1);
}

void ptx_count(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	const bool product = (i->cls == PTX_CLASS_MMA || i->cls == PTX_CLASS_WGMMA) && w->x->main;

	if (product && !w->multiplied) {
		w->multiplied = true;
		memset(w->since, 0, sizeof w->since);
	}
	add(w, i, &(PtxCount){.warps = 1, .lanes = (unsigned)__builtin_popcount(m)});
	if (product)
		keep_main(w);
}

void ptx_count_global(PtxWarp *w, const PtxInst *i, uint32_t m, const uint64_t *address, unsigned bytes)
{
	uint64_t at[PTX_LANES], sector[PTX_LANES];
	unsigned n = 0;

	for (; m; m &= m - 1) {
		at[n] = address[__builtin_ctz(m)];
		sector[n] = at[n] / SECTOR;
		n++;
	}
	add(w, i, &(PtxCount){.requests = 1, .sectors = distinct(sector, n), .ideal = (distinct(at, n) * bytes + SECTOR - 1) / SECTOR});
}

/* Lanes that access 8 bytes each go in two steps, those that access 16 in four. */
void ptx_count_shared(PtxWarp *w, const PtxInst *i, uint32_t m, const uint64_t *address, unsigned bytes)
{
	PtxCount c = {.requests = 1};
	const unsigned words = bytes > 4 ? bytes / 4 : 1, lanes = PTX_LANES / (words > 4 ? 4 : words);

	for (unsigned first = 0; first < PTX_LANES; first += lanes) {
		uint64_t of[BANKS][PTX_LANES];
		uint8_t n[BANKS] = {0};
		unsigned worst = 1;

		for (unsigned l = first; l < first + lanes; l++)
			for (unsigned k = 0; IN(m, l) && k < words; k++) {
				const uint64_t word = address[l] / 4 + k;
				const unsigned bank = word % BANKS;
				unsigned s = 0;

				while (s < n[bank] && of[bank][s] != word)
					s++;
				if (s < n[bank])
					continue;
				of[bank][n[bank]++] = word;
				if (n[bank] > worst)
					worst = n[bank];
			}
		c.conflicts += worst - 1;
		c.cycles += m >> first & (lanes < PTX_LANES ? (1u << lanes) - 1 : UINT32_MAX) ? worst : 0;
	}
	add(w, i, &c);
}
