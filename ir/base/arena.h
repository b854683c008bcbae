/* ir/base/arena.h -- memory that is freed all at once.
 *
 * One arena per graph, kernel set or compilation.  Nothing in it is freed alone.  Allocation never
 * returns NULL: when memory ends, control goes (longjmp) to the guard of the arena, which returns
 * MLO_ERR_NOMEM to the user; without a guard the process aborts with a message.  Never allocate
 * from a callback that foreign code (LLVM) calls. */
#ifndef MLO_BASE_ARENA_H
#define MLO_BASE_ARENA_H
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct MloArena MloArena;

MloArena *mlo_arena_new(void); /* NULL when out of memory */
void mlo_arena_free(MloArena *a); /* runs the deferred closers, newest first; NULL is fine */

/* n * size bytes, zeroed, aligned to 64; the product is checked against overflow. */
void *mlo_alloc(MloArena *a, size_t n, size_t size);
#define MLO_NEW(a, type) ((type *)mlo_alloc((a), 1, sizeof(type)))
#define MLO_NEWN(a, type, n) ((type *)mlo_alloc((a), (n), sizeof(type)))
void *mlo_dup(MloArena *a, const void *p, size_t nbytes); /* copy of nbytes */
char *mlo_strdup(MloArena *a, const char *s);
char *mlo_strndup(MloArena *a, const char *s, size_t n);
char *mlo_sprintf(MloArena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Call close(obj) when the arena is freed; closes obj at once if that cannot be recorded. */
void mlo_defer(MloArena *a, void (*close)(void *obj), void *obj);

/* Where control goes when memory ends; NULL to remove. The buffer must outlive the allocations. */
void mlo_arena_guard(MloArena *a, jmp_buf *guard);
/* Runs fn(arg).  When memory ends in any arena without a guard of its own, every arena that this
 * thread made since the call is freed and the answer is false. Calls may nest. */
bool mlo_guarded(void (*fn)(void *arg), void *arg);
size_t mlo_arena_bytes(const MloArena *a); /* taken from the system so far */

/* Tests: the n-th block from now on (1 = next) and all after it fail to be allocated; 0 = never.
 * Without an arena the blocks of all arenas of the process count; one thread at a time allocates then. */
void mlo_arena_fail_block(MloArena *a, unsigned n);

/* A growable array: `T *items; size_t n, cap;` in any struct, pushed to with MLO_PUSH(arena, s, v). */
void *mlo_grow(MloArena *a, void *items, size_t n, size_t *cap, size_t size);
#define MLO_PUSH(a, s, v)                                                                        \
	do {                                                                                     \
		if ((s)->n == (s)->cap)                                                          \
			(s)->items = mlo_grow((a), (s)->items, (s)->n, &(s)->cap, sizeof *(s)->items); \
		(s)->items[(s)->n++] = (v);                                                      \
	} while (0)

/* Text built piece by piece in an arena. Zero-initialise with the arena set. */
typedef struct MloStr {
	MloArena *arena;
	char *s; /* NUL-terminated once anything was added, else NULL */
	size_t n, cap;
} MloStr;
void mlo_str_add(MloStr *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void mlo_str_addn(MloStr *s, const char *p, size_t n);
const char *mlo_str_text(MloStr *s); /* "" when empty */
#endif
