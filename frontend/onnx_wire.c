/* frontend/onnx_wire.c -- protobuf bytes to protobuf-c structs, without copying tensor contents.
 *
 * protobuf-c copies every bytes field, and a model is nearly all raw_data.  So the bytes are first
 * rewritten to a skeleton in which each raw_data holds its place in the source instead of the
 * contents, and unknown fields are gone; the skeleton is what protobuf-c unpacks.  The rewriting
 * follows the generated descriptors, so it reaches every tensor wherever it stands. */
#include "frontend/onnx_wire.h"

#include <stdlib.h>
#include <string.h>

enum {
	MAX_DEPTH = 64, /* messages inside messages; protobuf-c itself recurses without limit */
	LEN_BYTES = 5,  /* room left for the length of a message, as a padded varint */
	CHUNK = 256 << 10,
	BUDGET_BASE = 64 << 20, /* unpacked structs may take this plus ... */
	BUDGET_FACTOR = 16,     /* ... this times the file's size */
};

typedef struct Place {
	uint64_t offset, length;
} Place;

typedef struct Skim {
	const uint8_t *src;
	uint8_t *out;
	size_t n, cap;
	size_t bad; /* where the first malformed field starts */
	bool deep, nomem;
} Skim;

static bool put(Skim *s, const void *p, size_t n)
{
	if (s->cap - s->n < n) {
		size_t cap = s->cap * 2 > s->n + n ? s->cap * 2 : s->n + n + 4096;
		uint8_t *out = realloc(s->out, cap);

		if (!out) {
			s->nomem = true;
			return false;
		}
		s->out = out;
		s->cap = cap;
	}
	if (n)
		memcpy(s->out + s->n, p, n);
	s->n += n;
	return true;
}

static bool varint(const uint8_t *p, size_t *pos, size_t end, uint64_t *v)
{
	*v = 0;
	for (int shift = 0; shift < 64 && *pos < end; shift += 7) {
		uint8_t b = p[(*pos)++];

		*v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return true;
	}
	return false;
}

static void put_length(uint8_t *at, uint64_t v)
{
	for (int i = 0; i < LEN_BYTES; i++, v >>= 7)
		at[i] = (uint8_t)((v & 0x7f) | (i + 1 < LEN_BYTES ? 0x80 : 0));
}

/* Steps over the payload of a field; *body is where it starts (after the length, if it has one). */
static bool payload(const uint8_t *p, size_t *pos, size_t end, unsigned wire, size_t *body)
{
	uint64_t v;

	*body = *pos;
	switch (wire) {
	case 0:
		return varint(p, pos, end, &v);
	case 1:
		v = 8;
		break;
	case 2:
		if (!varint(p, pos, end, &v))
			return false;
		*body = *pos;
		break;
	case 5:
		v = 4;
		break;
	default: /* groups are not used by ONNX */
		return false;
	}
	if (v > end - *pos)
		return false;
	*pos += v;
	return true;
}

static bool skim(Skim *s, const ProtobufCMessageDescriptor *desc, size_t pos, size_t end, int depth);

static bool skim_message(Skim *s, const ProtobufCMessageDescriptor *desc, size_t body, size_t end, int depth)
{
	static const uint8_t room[LEN_BYTES];
	size_t at = s->n;
	uint64_t n;

	if (!put(s, room, sizeof room) || !skim(s, desc, body, end, depth + 1))
		return false;
	n = s->n - at - LEN_BYTES;
	if (n > UINT32_MAX)
		return false;
	put_length(s->out + at, n);
	return true;
}

static bool skim_field(Skim *s, const ProtobufCMessageDescriptor *desc, size_t *pos, size_t end, int depth)
{
	size_t start = *pos, after_tag, body;
	const ProtobufCFieldDescriptor *f;
	uint64_t tag;

	if (!varint(s->src, pos, end, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
		return false;
	after_tag = *pos;
	if (!payload(s->src, pos, end, tag & 7, &body))
		return false;
	f = protobuf_c_message_descriptor_get_field(desc, (unsigned)(tag >> 3));
	if (!f)
		return true;
	if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
		if ((tag & 7) != 2 || !put(s, s->src + start, after_tag - start))
			return false;
		return skim_message(s, f->descriptor, body, *pos, depth);
	}
	if (desc == &onnx__tensor_proto__descriptor && (tag & 7) == 2 && !strcmp(f->name, "raw_data")) {
		Place place = {body, *pos - body};
		uint8_t len[LEN_BYTES];

		put_length(len, sizeof place);
		return put(s, s->src + start, after_tag - start) && put(s, len, sizeof len) &&
		       put(s, &place, sizeof place);
	}
	return put(s, s->src + start, *pos - start);
}

static bool skim(Skim *s, const ProtobufCMessageDescriptor *desc, size_t pos, size_t end, int depth)
{
	if (depth > MAX_DEPTH) {
		s->deep = true;
		s->bad = pos;
		return false;
	}
	while (pos < end) {
		size_t start = pos;

		if (!skim_field(s, desc, &pos, end, depth)) {
			if (!s->bad)
				s->bad = start;
			return false;
		}
	}
	return true;
}

/* A bounded bump allocator for protobuf-c; it gets NULL when the budget is spent. */
typedef struct Pool {
	struct Chunk {
		struct Chunk *next;
		max_align_t data[];
	} * chunks;
	size_t used, cap; /* of the newest chunk */
	size_t left;      /* budget */
} Pool;

static void pool_free(void *obj)
{
	Pool *p = obj;

	for (struct Chunk *c = p->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(p);
}

static void *pool_alloc(void *obj, size_t size)
{
	Pool *p = obj;
	void *r;

	if (size > p->left)
		return NULL;
	size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (!p->chunks || p->cap - p->used < size) {
		size_t cap = size > CHUNK ? size : CHUNK;
		struct Chunk *c = malloc(sizeof *c + cap);

		if (!c)
			return NULL;
		c->next = p->chunks;
		p->chunks = c;
		p->used = 0;
		p->cap = cap;
	}
	r = (char *)p->chunks->data + p->used;
	p->used += size;
	p->left -= size < p->left ? size : p->left;
	return r;
}

static void pool_release(void *obj, void *p)
{
	(void)obj;
	(void)p;
}

static void *unpack_skeleton(MloArena *a, const ProtobufCMessageDescriptor *desc, const Skim *s, size_t nsrc,
			     MloDiag *d)
{
	Pool *pool = calloc(1, sizeof *pool);
	ProtobufCAllocator alloc = {pool_alloc, pool_release, pool};
	void *msg;

	if (!pool) {
		mlo_error(d, MLO_ERR_NOMEM, "out of memory");
		return NULL;
	}
	pool->left = nsrc > (SIZE_MAX - BUDGET_BASE) / BUDGET_FACTOR ? SIZE_MAX
								     : BUDGET_BASE + nsrc * BUDGET_FACTOR;
	msg = protobuf_c_message_unpack(desc, &alloc, s->n, s->out);
	if (!msg) {
		if (pool->left < 1 << 20)
			mlo_error(d, MLO_ERR_LIMIT,
				  "the parts of the model need more than %u times the size of the file",
				  BUDGET_FACTOR);
		else
			mlo_error(d, MLO_ERR_FORMAT, "not an ONNX %s: a field has the wrong type",
				  desc->short_name);
		pool_free(pool);
		return NULL;
	}
	mlo_defer(a, pool_free, pool);
	return msg;
}

void *onnx_unpack(MloArena *a, const ProtobufCMessageDescriptor *desc, OnnxBytes src, MloDiag *d)
{
	Skim s = {.src = src.p};
	void *msg = NULL;

	if (src.n == 0)
		mlo_error(d, MLO_ERR_FORMAT, "the file is empty");
	else if (skim(&s, desc, 0, src.n, 0))
		msg = unpack_skeleton(a, desc, &s, src.n, d);
	else if (s.nomem)
		mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	else if (s.deep)
		mlo_error(d, MLO_ERR_LIMIT, "messages are nested more than %d deep at byte %zu", MAX_DEPTH,
			  s.bad);
	else
		mlo_error(d, MLO_ERR_FORMAT, "not an ONNX %s: malformed or cut short at byte %zu",
			  desc->short_name, s.bad);
	free(s.out);
	return msg;
}

OnnxBytes onnx_raw_bytes(const Onnx__TensorProto *t, OnnxBytes src)
{
	Place place;

	MLO_ASSERT(t->has_raw_data && t->raw_data.len == sizeof place);
	memcpy(&place, t->raw_data.data, sizeof place);
	MLO_ASSERT(place.offset <= src.n && place.length <= src.n - place.offset);
	return (OnnxBytes){src.p + place.offset, place.length};
}
