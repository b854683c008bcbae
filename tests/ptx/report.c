/* tests/ptx/report.c -- what kernels did, as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/ptx/driver.h"

typedef struct Sums {
	uint64_t classes[PTX_NCLASSES]; /* instructions of warps */
	uint64_t lanes;
	uint64_t products, multiplies, operand_bytes; /* of warpgroups */
	uint64_t global_requests, global_sectors, global_ideal, shared_requests, shared_conflicts, shared_cycles;
} Sums;

typedef struct Loop {
	struct Loop *next;
	uint32_t line, number, parent;
	uint64_t rounds; /* of warps, of loops with products of matrices */
	Sums sums;
} Loop;

struct CuKernelStats {
	CuKernelStats *next;
	char *name;
	uint64_t launches, warps;
	Sums sums;
	PtxCount main[PTX_NCLASSES];
	Loop *loops;
};

static CuKernelStats *kernels;

CuKernelStats *cu_stats(const char *kernel)
{
	CuKernelStats *s;

	for (s = kernels; s; s = s->next)
		if (!strcmp(s->name, kernel))
			return s;
	s = calloc(1, sizeof *s);
	if (!s || !(s->name = strdup(kernel)))
		abort();
	s->next = kernels;
	kernels = s;
	return s;
}

void cu_stats_launch(CuKernelStats *s)
{
	s->launches++;
}

PtxCount *cu_stats_main(CuKernelStats *s)
{
	return s->main;
}

static bool of_shared(unsigned cls)
{
	return cls == PTX_CLASS_LOAD_SHARED || cls == PTX_CLASS_STORE_SHARED || cls == PTX_CLASS_LDMATRIX;
}

static void add(Sums *s, unsigned cls, const PtxCount *c)
{
	s->classes[cls] += c->warps;
	s->lanes += c->lanes;
	s->products += c->products;
	s->multiplies += c->multiplies;
	s->operand_bytes += c->operand_bytes;
	if (!c->requests)
		return;
	s->shared_conflicts += c->conflicts;
	s->shared_cycles += c->cycles;
	s->global_sectors += c->sectors;
	s->global_ideal += c->ideal;
	if (of_shared(cls))
		s->shared_requests += c->requests;
	else
		s->global_requests += c->requests;
}

static Loop *find_loop(CuKernelStats *s, const PtxFunc *f, uint32_t n)
{
	Loop *l;

	for (l = s->loops; l; l = l->next)
		if (l->line == f->loops[n].line && l->number == n)
			return l;
	l = calloc(1, sizeof *l);
	if (!l)
		abort();
	l->line = f->loops[n].line;
	l->number = n;
	l->parent = f->loops[n].parent;
	l->next = s->loops;
	s->loops = l;
	return l;
}

/* Its rounds, where it multiplies: each of its products is of all of them. */
static void add_to_loop(Loop *l, const PtxInst *i, const PtxCount *c)
{
	add(&l->sums, i->cls, c);
	if ((i->cls == PTX_CLASS_MMA || i->cls == PTX_CLASS_WGMMA) && c->warps > l->rounds)
		l->rounds = c->warps;
}

void cu_stats_add(const PtxModule *m, const PtxCount *counts)
{
	if (!counts)
		return;
	for (const PtxFunc *f = m->funcs; f; f = f->next) {
		CuKernelStats *s = NULL;

		for (uint32_t k = 0; k < f->ncode; k++) {
			const PtxInst *i = &f->code[k];
			const PtxCount *c = &counts[i->id];

			if (!c->warps)
				continue;
			if (!s) {
				s = cu_stats(f->name);
				s->warps += c->warps; /* of the first instruction */
			}
			add(&s->sums, i->cls, c);
			if (i->loop)
				add_to_loop(find_loop(s, f, i->loop), i, c);
		}
	}
}

/* Of modules that are still loaded, too; nothing is added twice. */
static void add_loaded(void)
{
	for (CuObject *o = cu_state.objects; o; o = o->next) {
		CuModule *m = (CuModule *)o;

		if (o->kind != CU_MODULE || !o->alive || !m->counts)
			continue;
		cu_stats_add(&m->ptx, m->counts);
		memset(m->counts, 0, sizeof *m->counts * m->ptx.ninsts);
	}
}

static void print_sums(FILE *f, const Sums *s, const char *indent)
{
	static const char *const names[] = {
#define X(name, text) text,
		PTX_CLASSES(X)
#undef X
	};

	fprintf(f, "%s\"instructions\": {", indent);
	for (unsigned k = 0, n = 0; k < PTX_NCLASSES; k++)
		if (s->classes[k])
			fprintf(f, "%s\"%s\": %llu", n++ ? ", " : "", names[k], (unsigned long long)s->classes[k]);
	fprintf(f, "},\n%s\"lane_operations\": %llu,\n", indent, (unsigned long long)s->lanes);
	if (s->products)
		fprintf(f,
			"%s\"wgmma\": {\"products\": %llu, \"multiply_adds\": %llu, \"shared_bytes\": "
			"%llu},\n",
			indent, (unsigned long long)s->products, (unsigned long long)s->multiplies,
			(unsigned long long)s->operand_bytes);
	fprintf(f, "%s\"global\": {\"requests\": %llu, \"sectors\": %llu, \"ideal_sectors\": %llu},\n", indent,
		(unsigned long long)s->global_requests, (unsigned long long)s->global_sectors,
		(unsigned long long)s->global_ideal);
	fprintf(f, "%s\"shared\": {\"requests\": %llu, \"conflicts\": %llu, \"cycles\": %llu}", indent,
		(unsigned long long)s->shared_requests, (unsigned long long)s->shared_conflicts, (unsigned long long)s->shared_cycles);
}

static void print_main(FILE *f, const CuKernelStats *s)
{
	Sums sums = {0};

	for (unsigned k = 0; k < PTX_NCLASSES; k++)
		add(&sums, k, &s->main[k]);
	fprintf(f, ",\n      \"main\": {\n");
	print_sums(f, &sums, "          ");
	fprintf(f, "\n      }");
}

static void print_kernel(FILE *f, const CuKernelStats *s)
{
	fprintf(f, "    {\n      \"name\": \"%s\",\n      \"launches\": %llu,\n      \"warps\": %llu,\n", s->name,
		(unsigned long long)s->launches, (unsigned long long)s->warps);
	print_sums(f, &s->sums, "      ");
	print_main(f, s);
	fprintf(f, ",\n      \"loops\": [");
	for (const Loop *l = s->loops; l; l = l->next) {
		fprintf(f,
			"%s\n        {\n          \"line\": %u,\n          \"loop\": %u,\n          \"rounds\": %llu,\n"
			"          \"inside\": %u,\n",
			l == s->loops ? "" : ",", l->line, l->number, (unsigned long long)l->rounds, l->parent);
		print_sums(f, &l->sums, "          ");
		fprintf(f, "\n        }");
	}
	fprintf(f, "%s]\n    }%s\n", s->loops ? "\n      " : "", s->next ? "," : "");
}

/* The file's name: %p is the number of this process. */
static void report_path(char *path, size_t room, const char *pattern)
{
	const char *at = strstr(pattern, "%p");

	if (at)
		snprintf(path, room, "%.*s%ld%s", (int)(at - pattern), pattern, (long)getpid(), at + 2);
	else
		snprintf(path, room, "%s", pattern);
}

void cu_report(void)
{
	const char *pattern = getenv("PTX_TEST_REPORT");
	char path[4096];
	FILE *f;

	if (!pattern || !*pattern)
		return;
	report_path(path, sizeof path, pattern);
	f = fopen(path, "w");
	if (!f) {
		perror(path);
		return;
	}
	add_loaded();
	fprintf(f, "{\n  \"launches\": %llu,\n  \"graph_launches\": %llu,\n  \"findings\": %llu,\n  \"leaks\": %llu,\n",
		(unsigned long long)cu_state.launches, (unsigned long long)cu_state.graph_launches,
		(unsigned long long)cu_state.findings, (unsigned long long)cu_state.leaks);
	fprintf(f, "  \"kernels\": [\n");
	for (const CuKernelStats *s = kernels; s; s = s->next)
		print_kernel(f, s);
	fprintf(f, "  ]\n}\n");
	fclose(f);
}
