/* ir/base/arena.c -- bump allocation in growing blocks. */
#include "ir/base/arena.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/base/diag.h"

enum { ALIGN = 64, FIRST_BLOCK = 16 << 10, MAX_BLOCK = 4 << 20 };

typedef struct Block {
	struct Block *next;
	size_t used, cap;
	char *data;
} Block;

typedef struct Closer {
	struct Closer *next;
	void (*close)(void *);
	void *obj;
} Closer;

/* A running mlo_guarded(): the arenas made under it that are still alive. */
typedef struct Guard {
	jmp_buf jump;
	MloArena *live;
	struct Guard *outer;
	bool unwinding; /* closers run; memory stays, as they may reach into each other's arenas */
} Guard;

struct MloArena {
	Block *blocks;
	Closer *closers;
	jmp_buf *guard;
	Guard *owner; /* NULL: made outside any guard */
	MloArena *prev, *next; /* in owner->live */
	size_t bytes;
	unsigned fail_in; /* tests: blocks until failure, 0 = never */
};

static _Thread_local Guard *innermost;
static atomic_uint fail_any; /* tests: as fail_in, counting the blocks of all arenas */

static void enlist(MloArena *a, Guard *g)
{
	a->owner = g;
	a->prev = NULL;
	a->next = g ? g->live : NULL;
	if (a->next)
		a->next->prev = a;
	if (g)
		g->live = a;
}

static void delist(MloArena *a)
{
	if (a->next)
		a->next->prev = a->prev;
	if (a->prev)
		a->prev->next = a->next;
	else if (a->owner)
		a->owner->live = a->next;
	a->owner = NULL;
}

MloArena *mlo_arena_new(void)
{
	MloArena *a = calloc(1, sizeof *a);

	if (a)
		enlist(a, innermost);
	return a;
}

/* Newest first; a closer that frees this arena again finds the rest. */
static void run_closers(MloArena *a)
{
	for (Closer *c; (c = a->closers);) {
		a->closers = c->next;
		c->close(c->obj);
		free(c);
	}
}

bool mlo_guarded(void (*fn)(void *arg), void *arg)
{
	Guard g = {.outer = innermost};

	innermost = &g;
	if (setjmp(g.jump)) {
		g.unwinding = true;
		for (MloArena *a = g.live; a; a = a->next)
			run_closers(a);
		g.unwinding = false;
		while (g.live)
			mlo_arena_free(g.live);
		innermost = g.outer;
		return false;
	}
	fn(arg);
	innermost = g.outer;
	/* What outlives the call belongs to the guard around it. */
	for (MloArena *a = g.live, *next; a; a = next) {
		next = a->next;
		enlist(a, g.outer);
	}
	return true;
}

void mlo_arena_free(MloArena *a)
{
	if (!a)
		return;
	if (a->owner && a->owner->unwinding) {
		run_closers(a);
		return;
	}
	delist(a);
	run_closers(a);
	for (Block *b = a->blocks, *next; b; b = next) {
		next = b->next;
		free(b->data);
		free(b);
	}
	free(a);
}

static _Noreturn void out_of_memory(MloArena *a)
{
	if (a->guard)
		longjmp(*a->guard, 1);
	if (innermost)
		longjmp(innermost->jump, 1);
	MLO_BUG("out of memory without a guard");
}

/* Whether the countdown that a test has set ends at this block; it then stays at 1. */
static bool told_to_fail(MloArena *a)
{
	unsigned any = atomic_load_explicit(&fail_any, memory_order_relaxed);

	if (a->fail_in == 1 || any == 1)
		return true;
	if (a->fail_in)
		a->fail_in--;
	if (any)
		atomic_fetch_sub_explicit(&fail_any, 1, memory_order_relaxed);
	return false;
}

static Block *new_block(MloArena *a, size_t need)
{
	size_t cap = a->bytes < FIRST_BLOCK ? FIRST_BLOCK : a->bytes < MAX_BLOCK ? a->bytes : MAX_BLOCK;
	Block *b = NULL;

	cap = (cap + ALIGN - 1) / ALIGN * ALIGN;
	if (cap < need)
		cap = need;
	if (!told_to_fail(a))
		b = malloc(sizeof *b);
	if (!b)
		out_of_memory(a);
	b->data = aligned_alloc(ALIGN, cap);
	if (!b->data) {
		free(b);
		out_of_memory(a);
	}
	b->cap = cap;
	b->used = 0;
	b->next = a->blocks;
	a->blocks = b;
	a->bytes += cap;
	return b;
}

void *mlo_alloc(MloArena *a, size_t n, size_t size)
{
	size_t need;
	Block *b = a->blocks;
	void *p;

	if (__builtin_mul_overflow(n, size, &need) || need > SIZE_MAX / 2)
		out_of_memory(a);
	need = (need + ALIGN - 1) / ALIGN * ALIGN;
	if (need == 0)
		need = ALIGN;
	if (!b || b->cap - b->used < need)
		b = new_block(a, need);
	p = b->data + b->used;
	b->used += need;
	return memset(p, 0, need);
}

void *mlo_dup(MloArena *a, const void *p, size_t nbytes)
{
	void *copy = mlo_alloc(a, 1, nbytes);

	if (nbytes)
		memcpy(copy, p, nbytes);
	return copy;
}

char *mlo_strndup(MloArena *a, const char *s, size_t n)
{
	char *copy = mlo_alloc(a, n + 1, 1);

	if (n)
		memcpy(copy, s, n);
	return copy;
}

char *mlo_strdup(MloArena *a, const char *s)
{
	return mlo_strndup(a, s, strlen(s));
}

static char *vprint(MloArena *a, const char *fmt, va_list ap, size_t *len_out)
{
	va_list measure;
	int len;
	char *s;

	va_copy(measure, ap);
	len = vsnprintf(NULL, 0, fmt, measure);
	va_end(measure);
	MLO_ASSERT(len >= 0);
	s = mlo_alloc(a, (size_t)len + 1, 1);
	vsnprintf(s, (size_t)len + 1, fmt, ap);
	*len_out = (size_t)len;
	return s;
}

char *mlo_sprintf(MloArena *a, const char *fmt, ...)
{
	va_list ap;
	size_t len;
	char *s;

	va_start(ap, fmt);
	s = vprint(a, fmt, ap, &len);
	va_end(ap);
	return s;
}

void mlo_defer(MloArena *a, void (*close)(void *obj), void *obj)
{
	Closer *c = malloc(sizeof *c);

	if (!c) {
		close(obj);
		out_of_memory(a);
	}
	*c = (Closer){a->closers, close, obj};
	a->closers = c;
}

void mlo_arena_guard(MloArena *a, jmp_buf *guard)
{
	a->guard = guard;
}

size_t mlo_arena_bytes(const MloArena *a)
{
	return a->bytes;
}

void mlo_arena_fail_block(MloArena *a, unsigned n)
{
	if (a)
		a->fail_in = n;
	else
		atomic_store(&fail_any, n);
}

void *mlo_grow(MloArena *a, void *items, size_t n, size_t *cap, size_t size)
{
	size_t bigger = *cap ? *cap * 2 : 8;
	void *p = mlo_alloc(a, bigger, size);

	if (n)
		memcpy(p, items, n * size);
	*cap = bigger;
	return p;
}

void mlo_str_addn(MloStr *s, const char *p, size_t n)
{
	if (s->n + n + 1 > s->cap) {
		size_t cap = (s->n + n + 1) * 2;
		char *bigger = mlo_alloc(s->arena, cap < 256 ? 256 : cap, 1);

		if (s->n)
			memcpy(bigger, s->s, s->n);
		s->s = bigger;
		s->cap = cap < 256 ? 256 : cap;
	}
	memcpy(s->s + s->n, p, n);
	s->n += n;
	s->s[s->n] = 0;
}

void mlo_str_add(MloStr *s, const char *fmt, ...)
{
	char small[512];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	MLO_ASSERT(len >= 0);
	if ((size_t)len < sizeof small) {
		mlo_str_addn(s, small, (size_t)len);
	} else {
		size_t n;
		char *text;

		va_start(ap, fmt);
		text = vprint(s->arena, fmt, ap, &n);
		va_end(ap);
		mlo_str_addn(s, text, n);
	}
}

const char *mlo_str_text(MloStr *s)
{
	return s->s ? s->s : "";
}
