/* tests/conform/operators.c -- writes docs/OPERATORS.md to standard output.
 *
 * usage: operators FACTS...
 *
 * Facts of the reference executor come before those of what was compiled.
 * Which operators there are is told by the table of importers, everything else by the facts of conformance
 * runs (facts.h).  A case counts for the operator that is alone in its main graph, constants aside; an
 * operator for which there is no such case is counted in all cases where it occurs. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/onnx.h"
#include "tests/conform/facts.h"

enum { REFERENCE, NATIVE, RUNNERS, REASONS = 3 };
enum { GENERATED = 1, LIBRARY = 2 };

typedef struct Reason { const char *text; int n[RUNNERS]; } Reason;

/* What cases said of an operator. */
typedef struct Seen {
	int cases[RUNNERS], passed[RUNNERS];
	uint64_t elems; /* of cases that pass compiled, by MloElem */
	unsigned tiers;
	struct { Reason *items; size_t n, cap; } reasons;
} Seen;

typedef struct Row {
	const char *domain, *type;
	int since; /* 0: it cannot be read */
	MloOp op;
	const char *why;
	Seen alone, among;
} Row;

typedef struct Folder { const char *name; int cases[RUNNERS], passed[RUNNERS]; } Folder;

typedef struct Failure { const char *name, *why; } Failure;

typedef struct Page {
	MloArena *a;
	struct { Row *items; size_t n, cap; } rows;
	struct { Folder *items; size_t n, cap; } folders;
	struct { Failure *items; size_t n, cap; } failures; /* of the reference executor */
} Page;

/* One line of facts. */
typedef struct Fact {
	int runner;
	const char *name, *why;
	char *elems, *ops, *tiers;
} Fact;

/* -- gathering --------------------------------------------------------------------------------------- */

static Row *find_row(Page *p, const char *domain, const char *type)
{
	for (size_t i = 0; i < p->rows.n; i++)
		if (strcmp(p->rows.items[i].domain, domain) == 0 && strcmp(p->rows.items[i].type, type) == 0)
			return &p->rows.items[i];
	MLO_PUSH(p->a, &p->rows, ((Row){.domain = mlo_strdup(p->a, domain), .type = mlo_strdup(p->a, type)}));
	return &p->rows.items[p->rows.n - 1];
}

static void take_table(Page *p)
{
	MloOnnxOperator o;

	for (size_t i = 0; mlo_onnx_operator(i, &o); i++) {
		Row *r = find_row(p, o.domain, o.type);

		r->why = o.why;
		r->op = o.op;
		if (!o.why && (!r->since || o.since < r->since))
			r->since = o.since;
	}
}

static void add_reason(Page *p, Seen *s, const Fact *f)
{
	for (size_t i = 0; i < s->reasons.n; i++)
		if (strcmp(s->reasons.items[i].text, f->why) == 0) {
			s->reasons.items[i].n[f->runner]++;
			return;
		}
	MLO_PUSH(p->a, &s->reasons, ((Reason){.text = mlo_strdup(p->a, f->why)}));
	s->reasons.items[s->reasons.n - 1].n[f->runner] = 1;
}

static void see_types(Page *p, Seen *s, const Fact *f, const char *type)
{
	char *save, *list = mlo_strdup(p->a, f->elems);

	for (char *w = strtok_r(list, " ", &save); w; w = strtok_r(NULL, " ", &save))
		s->elems |= UINT64_C(1) << mlo_elem_from_text(w, strlen(w));
	list = mlo_strdup(p->a, f->tiers);
	for (char *w = strtok_r(list, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		char *eq = strrchr(w, '=');

		if (eq && strlen(type) == (size_t)(eq - w) && memcmp(w, type, (size_t)(eq - w)) == 0)
			s->tiers |= strcmp(eq + 1, "library") == 0 ? LIBRARY : GENERATED;
	}
}

static void see(Page *p, Seen *s, const Fact *f, const char *type)
{
	s->cases[f->runner]++;
	s->passed[f->runner] += !*f->why;
	if (*f->why)
		add_reason(p, s, f);
	else if (f->runner == NATIVE)
		see_types(p, s, f, type);
}

/* What fails in reference and compiled fails for the first one's reason. */
static void same_reason(Page *p, Fact *f)
{
	if (!*f->why)
		return;
	for (size_t i = 0; i < p->failures.n && f->runner == NATIVE; i++)
		if (strcmp(p->failures.items[i].name, f->name) == 0)
			f->why = p->failures.items[i].why;
	if (f->runner == REFERENCE)
		MLO_PUSH(p->a, &p->failures, ((Failure){mlo_strdup(p->a, f->name), mlo_strdup(p->a, f->why)}));
}

static void count_folder(Page *p, const Fact *f)
{
	const char *slash = strrchr(f->name, '/');
	const char *name = mlo_strndup(p->a, f->name, slash ? (size_t)(slash - f->name) : strlen(f->name));
	size_t i = 0;

	while (i < p->folders.n && strcmp(p->folders.items[i].name, name) != 0)
		i++;
	if (i == p->folders.n)
		MLO_PUSH(p->a, &p->folders, ((Folder){.name = name}));
	p->folders.items[i].cases[f->runner]++;
	p->folders.items[i].passed[f->runner] += !*f->why;
}

static void take_fact(Page *p, const Fact *f)
{
	char *save, *op[64], *constant = NULL;
	int n = 0;

	for (char *w = strtok_r(f->ops, " ", &save); w && n < 64; w = strtok_r(NULL, " ", &save)) {
		if (strcmp(w, ":Constant") == 0)
			constant = w;
		else
			op[n++] = w;
	}
	if (!n && constant)
		op[n++] = constant;
	for (int i = 0; i < n; i++) {
		char *colon = strrchr(op[i], ':');
		Row *r;

		*colon = 0;
		r = find_row(p, op[i], colon + 1);
		see(p, n == 1 ? &r->alone : &r->among, f, r->type);
	}
	count_folder(p, f);
}

static bool take_file(Page *p, const char *path)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0;

	if (!f) {
		fprintf(stderr, "operators: %s: %s\n", path, strerror(errno));
		return false;
	}
	while (getline(&line, &cap, f) > 0) {
		char *at = line, *runner = strsep(&at, "\t");
		Fact x = {.runner = strcmp(runner, "native") == 0 ? NATIVE : REFERENCE};

		line[strcspn(line, "\n")] = 0;
		x.name = strsep(&at, "\t");
		x.why = strsep(&at, "\t");
		x.elems = strsep(&at, "\t");
		x.ops = strsep(&at, "\t");
		x.tiers = strsep(&at, "\n");
		if (!x.tiers)
			continue;
		same_reason(p, &x);
		take_fact(p, &x);
	}
	free(line);
	return fclose(f) == 0;
}

/* -- printing ------------------------------------------------------------------------------------------ */

static int by_name(const void *x, const void *y)
{
	const Row *a = x, *b = y;
	int c = strcmp(a->domain, b->domain);

	return c ? c : strcmp(a->type, b->type);
}

/* Is the operator of our table the same word as the ONNX operator? */
static bool same_name(const char *type, const char *op)
{
	for (; *type; type++, op++) {
		op += *op == '_';
		if (tolower((unsigned char)*type) != *op)
			return false;
	}
	return !*op;
}

static void print_text(const char *s)
{
	for (; *s; s++)
		printf(*s == '|' ? "\\%c" : "%c", *s);
}

static void print_elems(uint64_t set)
{
	const char *between = "";

	for (int e = EL_none + 1; e < EL_COUNT; e++)
		if (set >> e & 1) {
			printf("%s%s", between, mlo_elem_text((MloElem)e));
			between = " ";
		}
}

static const char *tier(const Row *r, const Seen *s)
{
	if (!r->since || !s->passed[NATIVE])
		return "";
	if (mlo_op_has(r->op, TR_OBJECT))
		return "runtime";
	return s->tiers == (GENERATED | LIBRARY) ? "generated, library"
	       : s->tiers == GENERATED           ? "generated"
	       : s->tiers == LIBRARY             ? "library"
						 : "no code";
}

static void print_remarks(const Row *r, const Seen *s)
{
	const char *between = "";

	if (!r->since) {
		printf("not supported");
		between = "; ";
	}
	if (r->why) {
		printf("%s", between);
		print_text(r->why);
		between = "; ";
	}
	if (r->since && !same_name(r->type, mlo_op_info(r->op)->name)) {
		printf("by `%s`", mlo_op_info(r->op)->name);
		between = "; ";
	}
	if (s == &r->among && s->cases[NATIVE]) {
		printf("%samong others", between);
		between = "; ";
	}
	for (size_t i = 0; i < s->reasons.n && i < REASONS; i++, between = "; ") {
		const Reason *x = &s->reasons.items[i];

		printf("%s%d fail%s: ", between, x->n[REFERENCE] > x->n[NATIVE] ? x->n[REFERENCE] : x->n[NATIVE],
		       !x->n[REFERENCE] ? " compiled" : !x->n[NATIVE] ? " in reference" : "");
		print_text(x->text);
	}
	if (s->reasons.n > REASONS)
		printf("; %zu more reasons", s->reasons.n - REASONS);
}

static void print_row(const Row *r)
{
	const Seen *s = r->alone.cases[NATIVE] ? &r->alone : &r->among;

	printf("| %s | ", r->type);
	if (r->since)
		printf("%d+", r->since);
	printf(" | ");
	print_elems(s->elems);
	printf(" | %s | ", tier(r, s));
	if (s->cases[NATIVE])
		printf("%d | %d | %d", s->cases[NATIVE], s->passed[REFERENCE], s->passed[NATIVE]);
	else
		printf(" |  | ");
	printf(" | ");
	print_remarks(r, s);
	printf(" |\n");
}

static void print_head(const Page *p)
{
	printf("# Operators\n\n"
	       "Written by `make operators`, from the tables of importers and what the conformance suites see; do not edit.\n\n"
	       "- *Opsets*: the first that is read; of `ai.onnx` up to %d.\n"
	       "- *Types*: element types of the inputs and outputs of cases that pass compiled.\n"
	       "- *Tier*: who computes it in those cases: code that is *generated* for it, the *library* of reference\n"
	       "  kernels specialised to its shapes, the *runtime* (control flow, sequences), or *no code* (known when it\n"
	       "  is compiled, or only another view of memory).\n"
	       "- *Cases*: those in which it is the only operator (constants aside), else those where it occurs *among\n"
	       "  others*; how many the reference executor passes, and how many pass compiled.\n"
	       "- *by `x`*: it is rewritten, mainly into `x` of `ir/ops.def`.\n\n"
	       "| folder | cases | reference | compiled |\n|---|---|---|---|\n",
	       MLO_ONNX_OPSET_MAX);
	for (size_t i = 0; i < p->folders.n; i++) {
		const Folder *f = &p->folders.items[i];

		printf("| `%s` | %d | %d | %d |\n", f->name, f->cases[NATIVE], f->passed[REFERENCE], f->passed[NATIVE]);
	}
}

int main(int argc, char **argv)
{
	Page p = {.a = mlo_arena_new()};
	const char *domain = NULL;
	bool ok = p.a && argc > 1;

	if (!ok)
		fprintf(stderr, "usage: operators FACTS...\n");
	for (int i = 1; i < argc && ok; i++)
		ok = take_file(&p, argv[i]);
	if (ok) {
		take_table(&p);
		qsort(p.rows.items, p.rows.n, sizeof *p.rows.items, by_name);
		print_head(&p);
	}
	for (size_t i = 0; i < p.rows.n && ok; i++) {
		const Row *r = &p.rows.items[i];

		if (!domain || strcmp(domain, r->domain) != 0)
			printf("\n## %s\n\n| operator | opsets | types | tier | cases | reference | compiled | remarks |\n"
			       "|---|---|---|---|---|---|---|---|\n",
			       *r->domain ? r->domain : "ai.onnx");
		domain = r->domain;
		print_row(r);
	}
	mlo_arena_free(p.a);
	return ok ? 0 : 2;
}
