/* runtime/object.h -- sequences, optionals and maps: items that are counted, not copied.
 *
 * An item is a tensor or a map, and does not change once it is in an object; so objects share items, and
 * they share lists of items: each sees the first n of a list, and the one that sees all may add another.
 * So a loop that makes a sequence longer takes constant time for each step.
 * Memory of items comes from a store, which keeps what is given back for the next of that size.  Store,
 * items and counts are one session's: nothing here is atomic. */
#ifndef MLRT_OBJECT_H
#define MLRT_OBJECT_H
#include "runtime/internal.h"

enum { STORE_CLASSES = 48, STORE_SMALLEST = 256 };

typedef struct Item Item;
struct Item {
	uint32_t refs, size_class;
	Item *next;          /* in a free list */
	Item *every;         /* all blocks of the store */
	const Elem *elem;
	int rank;
	int64_t dims[MLRT_MAX_DIMS];
	uint64_t bytes;      /* of elements; of a list: items in it */
	bool is_list;
	Item *keys, *values; /* of a map, which has no data */
	_Alignas(MLRT_ALIGN) unsigned char data[];
};

typedef struct Store {
	MlrtAllocator allocator;
	Item *free[STORE_CLASSES];
	Item *every;
} Store;

struct MlrtObject {
	Store *store;
	uint32_t kind;       /* MlrtValueKind */
	const Elem *elem, *key;
	bool present;
	size_t n;
	Item *list;          /* its data: pointers to items, which it owns; NULL: n is 0 */
	Store own;           /* of an object that the application made */
};

MLRT_LOCAL void mlrt_store_free(Store *s);
MLRT_LOCAL Item *mlrt_item_new(Store *s, const Elem *e, int rank, const int64_t *dims, uint64_t bytes,
			       uint64_t room); /* one reference; NULL: no memory. room: bytes at `data` */
MLRT_LOCAL Item *mlrt_item_map(Store *s, Item *keys, Item *values); /* takes over both references */
MLRT_LOCAL Item *mlrt_item_keep(Item *i);
MLRT_LOCAL void mlrt_item_drop(Store *s, Item *i); /* NULL is fine */

MLRT_LOCAL Item *mlrt_object_at(const MlrtObject *o, size_t i);
MLRT_LOCAL void mlrt_object_empty(MlrtObject *o);
/* Takes over the reference, also where there is no memory; false then. NULL counts as no memory. */
MLRT_LOCAL bool mlrt_object_push(MlrtObject *o, Item *i);
/* dst, of the same type, becomes what src is; between stores items are copied. */
MLRT_LOCAL bool mlrt_object_assign(MlrtObject *dst, const MlrtObject *src);
/* As src without its last item. */
MLRT_LOCAL void mlrt_object_assign_shorter(MlrtObject *dst, const MlrtObject *src);
MLRT_LOCAL void mlrt_object_swap(MlrtObject *a, MlrtObject *b); /* contents of two of one store */

/* Strings: bytes of the elements and of all characters; a copy with its characters behind the elements. */
MLRT_LOCAL bool mlrt_deep_bytes(const Elem *e, const void *data, uint64_t bytes, uint64_t *total);
MLRT_LOCAL void mlrt_deep_copy(const Elem *e, void *to, const void *from, uint64_t bytes);
/* The same, the characters going to *chars, which advances. */
MLRT_LOCAL void mlrt_deep_copy_to(const Elem *e, void *to, const void *from, uint64_t bytes, char **chars);
#endif
