/* tests/ptx/access.c -- loads and stores, and what every access to memory goes through. */
#include "tests/ptx/memory.h"
#include "tests/ptx/ops.h"

void ptx_addresses(const PtxWarp *w, const PtxInst *i, uint64_t *address)
{
	if (i->flags & PTX_ADDR32)
		EACH address[l] = (uint32_t)(SLOT(uint32_t, i->a)[l] + (uint32_t)i->imm);
	else
		EACH address[l] = SLOT(uint64_t, i->a)[l] + (uint64_t)i->imm;
}

static const char *what(PtxAccess access)
{
	static const char *const names[] = {"reads", "writes", "updates", "copies from", "copies to"};

	return names[access];
}

/* -- one lane -- */

static bool in_range(uint64_t at, unsigned bytes, uint64_t size)
{
	return at < size && bytes <= size - at;
}

static uint8_t *local_host(PtxWarp *w, int lane, uint64_t at, unsigned bytes)
{
	const PtxFunc *k = w->x->kernel;

	if (in_range(at, bytes, k->local_bytes))
		return w->local + (uint64_t)lane * k->local_bytes + at;
	if (at >= PTX_LOCAL_DEVICE && in_range(at - PTX_LOCAL_DEVICE, bytes, k->module->device_local))
		return w->device_local + (uint64_t)lane * k->module->device_local + (at - PTX_LOCAL_DEVICE);
	return NULL;
}

static uint8_t *global_host(PtxWarp *w, const PtxInst *i, int lane, uint64_t at, unsigned bytes, PtxAccess access)
{
	const PtxAllocation *a = ptx_memory_find(at);

	if (!a) {
		ptx_finding(w, i, lane, PTX_ILLEGAL_ADDRESS, "%s %u bytes at %#llx, which is %s", what(access), bytes,
			    (unsigned long long)at, ptx_memory_within(at) ? "not allocated" : "no device memory");
		return NULL;
	}
	if (!in_range(at - a->base, bytes, a->size)) {
		ptx_finding(w, i, lane, PTX_ILLEGAL_ADDRESS,
			    "%s %u bytes at %#llx, offset %llu of an allocation of %llu", what(access), bytes,
			    (unsigned long long)at, (unsigned long long)(at - a->base), (unsigned long long)a->size);
		return NULL;
	}
	if (a->kind == PTX_MEMORY_CONST && (access == PTX_WRITE || access == PTX_ATOMIC)) {
		ptx_finding(w, i, lane, PTX_ILLEGAL_ADDRESS, "writes a constant");
		return NULL;
	}
	if (!ptx_check_global(w, i, lane, at, bytes, access))
		return NULL;
	return ptx_memory_host(at);
}

static uint8_t *shared_host(PtxWarp *w, const PtxInst *i, int lane, uint64_t at, unsigned bytes, PtxAccess access)
{
	const PtxBlock *b = w->block;

	if (!in_range(at, bytes, b->shared_bytes)) {
		ptx_finding(w, i, lane, PTX_ILLEGAL_ADDRESS, "%s %u bytes at %#llx of %u bytes of shared memory",
			    what(access), bytes, (unsigned long long)at, b->shared_bytes);
		return NULL;
	}
	return ptx_check_shared(w, i, lane, (uint32_t)at, bytes, access) ? b->shared + at : NULL;
}

static uint8_t *param_host(PtxWarp *w, const PtxInst *i, int lane, uint64_t at, unsigned bytes, PtxAccess access)
{
	const PtxFunc *k = w->x->kernel;

	if (access != PTX_READ || !in_range(at, bytes, k->param_bytes)) {
		ptx_finding(w, i, lane, PTX_ILLEGAL_ADDRESS, "%s %u bytes at %llu of %u bytes of parameters",
			    what(access), bytes, (unsigned long long)at, k->param_bytes);
		return NULL;
	}
	return (uint8_t *)(uintptr_t)w->x->params + at;
}

/* The space that a generic address lies in; *at becomes the address there. */
static PtxSpace resolve(PtxSpace space, uint64_t *at)
{
	if (space != PTX_GENERIC)
		return space;
	if (*at - PTX_SHARED_WINDOW < PTX_WINDOW) {
		*at -= PTX_SHARED_WINDOW;
		return PTX_SHARED;
	}
	if (*at - PTX_LOCAL_WINDOW < PTX_WINDOW) {
		*at -= PTX_LOCAL_WINDOW;
		return PTX_LOCAL;
	}
	if (*at - PTX_PARAM_WINDOW < PTX_WINDOW) {
		*at -= PTX_PARAM_WINDOW;
		return PTX_PARAM;
	}
	return PTX_GLOBAL;
}

static uint8_t *host_of(PtxWarp *w, const PtxInst *i, int lane, PtxSpace space, uint64_t at, unsigned bytes,
			PtxAccess access)
{
	uint8_t *host;

	if (at & (bytes - 1)) {
		ptx_finding(w, i, lane, PTX_MISALIGNED, "%s %u bytes at %#llx, not a multiple", what(access), bytes,
			    (unsigned long long)at);
		return NULL;
	}
	switch (resolve(space, &at)) {
	case PTX_SHARED:
		return shared_host(w, i, lane, at, bytes, access);
	case PTX_PARAM:
		return param_host(w, i, lane, at, bytes, access);
	case PTX_LOCAL:
		host = local_host(w, lane, at, bytes);
		if (!host)
			ptx_finding(w, i, lane, PTX_ILLEGAL_ADDRESS, "%s %u bytes at %#llx of local memory",
				    what(access), bytes, (unsigned long long)at);
		return host;
	default:
		return global_host(w, i, lane, at, bytes, access);
	}
}

/* -- a warp -- */

/* Lanes of one allocation, the usual case: one search for all. */
static bool global_at_once(PtxWarp *w, const PtxInst *i, uint32_t m, const uint64_t *address, unsigned bytes,
			   PtxAccess access, uint8_t **host)
{
	const PtxAllocation *a = ptx_memory_find(address[__builtin_ctz(m)]);
	uint64_t bad = 0;
	uintptr_t delta;

	if (!a || a->size < bytes || a->kind == PTX_MEMORY_CONST)
		return false;
	EACH bad |=
		(IN(m, l) ? UINT64_MAX : 0) & ((address[l] & (bytes - 1)) | (address[l] - a->base > a->size - bytes));
	if (bad)
		return false;
	delta = (uintptr_t)ptx_memory_host(a->base) - (uintptr_t)a->base;
	EACH host[l] = (uint8_t *)((uintptr_t)address[l] + delta); /* of lanes that are not in m, too: not followed */
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);

		if (!ptx_check_global(w, i, l, address[l], bytes, access))
			return true; /* the finding stops the warp */
	}
	return true;
}

/* Lanes in shared memory, all inside and aligned. */
static bool shared_at_once(PtxWarp *w, const PtxInst *i, uint32_t m, const uint64_t *address, unsigned bytes,
			   PtxAccess access, uint8_t **host)
{
	const uint64_t size = w->block->shared_bytes;
	uint64_t bad = size < bytes;

	EACH bad |= (IN(m, l) ? UINT64_MAX : 0) & ((address[l] & (bytes - 1)) | (address[l] > size - bytes));
	if (bad)
		return false;
	EACH host[l] = (uint8_t *)((uintptr_t)w->block->shared + (uintptr_t)address[l]);
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);

		if (bytes == 4 && ptx_shadow_seen(w, &w->block->shadow[address[l] / 4], access))
			continue;
		if (!ptx_check_shared(w, i, l, (uint32_t)address[l], bytes, access))
			return true; /* the finding stops the warp */
	}
	return true;
}

static void count_request(PtxWarp *w, const PtxInst *i, uint32_t m, PtxSpace space, const uint64_t *address,
			  unsigned bytes)
{
	const PtxSpace real = space == PTX_GENERIC ? resolve(space, &(uint64_t){address[__builtin_ctz(m)]}) : space;

	if (real == PTX_SHARED)
		ptx_count_shared(w, i, m, address, bytes);
	else if (real == PTX_GLOBAL)
		ptx_count_global(w, i, m, address, bytes);
}

bool ptx_access(PtxWarp *w, const PtxInst *i, uint32_t m, PtxSpace space, const uint64_t *address, unsigned bytes,
		PtxAccess access, uint8_t **host)
{
	if (access != PTX_READ && access != PTX_ASYNC_READ && (space == PTX_SHARED || space == PTX_GENERIC))
		w->unfenced |= m;
	if (w->x->counts)
		count_request(w, i, m, space, address, bytes);
	if ((space == PTX_GLOBAL || space == PTX_GENERIC) && global_at_once(w, i, m, address, bytes, access, host))
		return !w->x->error;
	if (space == PTX_SHARED && shared_at_once(w, i, m, address, bytes, access, host))
		return !w->x->error;
	for (uint32_t left = m; left; left &= left - 1) {
		const int l = __builtin_ctz(left);

		host[l] = host_of(w, i, l, space, address[l], bytes, access);
		if (!host[l])
			return false;
	}
	return true;
}

/* -- ld -- */

/* Element k of all lanes, extended to its register. */
static void load_element(PtxWarp *w, const PtxInst *i, uint32_t m, uint8_t *const *host, unsigned k)
{
	const unsigned bytes = i->bytes, width = i->widths[k];
	const bool is_signed = ptx_type_kind(i->type) == 's';
	uint8_t t[8 * PTX_LANES];

	if (width == bytes && width == 4) {
		for (uint32_t left = m; left; left &= left - 1)
			memcpy(t + 4 * __builtin_ctz(left), host[__builtin_ctz(left)] + 4 * k, 4);
	} else if (width == bytes && width == 8) {
		for (uint32_t left = m; left; left &= left - 1)
			memcpy(t + 8 * __builtin_ctz(left), host[__builtin_ctz(left)] + 8 * k, 8);
	} else {
		for (uint32_t left = m; left; left &= left - 1) {
			const unsigned l = (unsigned)__builtin_ctz(left), drop = 64 - 8 * bytes;
			uint64_t v = 0;

			memcpy(&v, host[l] + k * bytes, bytes);
			if (is_signed)
				v = (uint64_t)((int64_t)(v << drop) >> drop);
			memcpy(t + l * width, &v, width);
		}
	}
	if (i->list[k])
		ptx_put(w, i->list[k], t, width, m);
}

static void run_ld(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t address[PTX_LANES];
	uint8_t *host[PTX_LANES];

	ptx_addresses(w, i, address);
	if (!ptx_access(w, i, m, i->space, address, (unsigned)i->bytes * i->n, PTX_READ, host))
		return;
	for (unsigned k = 0; k < i->n; k++)
		load_element(w, i, m, host, k);
}

static void run_st(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint64_t address[PTX_LANES];
	uint8_t *host[PTX_LANES];

	ptx_addresses(w, i, address);
	if (!ptx_access(w, i, m, i->space, address, (unsigned)i->bytes * i->n, PTX_WRITE, host))
		return;
	for (uint32_t left = m; left; left &= left - 1) {
		const unsigned l = (unsigned)__builtin_ctz(left);

		for (unsigned k = 0; k < i->n; k++)
			memcpy(host[l] + k * i->bytes, w->file + i->list[k] + l * i->widths[k], i->bytes);
	}
}

/* Parameters of calls: a block of the file for each lane. */
static void run_ld_file(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint8_t *host[PTX_LANES];

	EACH host[l] = (uint8_t *)w->file + i->a + (uint32_t)l * (uint32_t)i->c + i->imm;
	for (unsigned k = 0; k < i->n; k++)
		load_element(w, i, m, host, k);
}

static void run_st_file(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	for (uint32_t left = m; left; left &= left - 1) {
		const unsigned l = (unsigned)__builtin_ctz(left);
		char *at = w->file + i->a + l * (uint32_t)i->c + i->imm;

		for (unsigned k = 0; k < i->n; k++)
			memcpy(at + k * i->bytes, w->file + i->list[k] + l * i->widths[k], i->bytes);
	}
}

/* -- decoding -- */

/* What says how to cache, and for whom memory is in order: taken and not used. */
static void take_hints(PtxParse *p)
{
	static const char *const hints[] = {"weak", "volatile", "relaxed", "acquire", "release", "cta",
					    "gpu",  "sys",      "cluster", "ca",      "cg",      "cs",
					    "lu",   "cv",       "wb",      "wt",      NULL};

	while (ptx_take_one(&p->stmt, hints) >= 0)
		;
	ptx_take_cache_levels(p);
}

static PtxClass class_of(PtxSpace space, bool store)
{
	switch (space) {
	case PTX_SHARED:
		return store ? PTX_CLASS_STORE_SHARED : PTX_CLASS_LOAD_SHARED;
	case PTX_LOCAL:
		return PTX_CLASS_LOCAL;
	case PTX_PARAM:
		return PTX_CLASS_PARAM;
	default:
		return store ? PTX_CLASS_STORE_GLOBAL : PTX_CLASS_LOAD_GLOBAL;
	}
}

static void values(PtxParse *p, PtxInst *i, const PtxOperand *o, bool dest)
{
	const PtxOperand *parts = o->kind == PTX_OP_VECTOR ? &p->stmt.parts[o->first] : o;
	const unsigned n = o->kind == PTX_OP_VECTOR ? o->count : 1;
	int32_t *list = ptx_alloc(p->m, sizeof *list * (n + 1));
	uint8_t *widths = ptx_alloc(p->m, n + 1);

	if (n != i->n)
		ptx_fail(p, "%s: %u elements, not %u", p->stmt.text, n, i->n);
	for (unsigned k = 0; k < n; k++) {
		list[k] = dest ? ptx_dest(p, &parts[k], i->type, true) : ptx_source(p, &parts[k], i->type, true);
		widths[k] = (uint8_t)ptx_operand_bytes(&parts[k], i->type);
	}
	i->list = list;
	i->widths = widths;
}

static void decode_access(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	const bool store = op->variant;
	PtxStmt *s = &p->stmt;
	const PtxOperand *at;

	i->space = (uint8_t)ptx_take_space(s);
	i->flags |= !store && ptx_take(s, "nc") ? PTX_READONLY : 0;
	take_hints(p);
	i->n = ptx_take(s, "v2") ? 2 : ptx_take(s, "v4") ? 4 : ptx_take(s, "v8") ? 8 : 1;
	i->type = (uint8_t)ptx_take_type(p);
	i->bytes = (uint8_t)ptx_type_bytes(i->type);
	if (i->n * i->bytes > 16)
		ptx_fail(p, "%s: more than 16 bytes at once", s->text);
	/* a hint of the cache is one more operand */
	if (s->nops == 3 && ptx_operand(p, 2)->kind == PTX_OP_REG)
		s->nops = 2;
	ptx_operands(p, 2);
	at = ptx_operand(p, store ? 0 : 1);
	values(p, i, ptx_operand(p, store ? 1 : 0), !store);
	i->cls = class_of(i->space, store);
	if (i->space == PTX_PARAM && at->kind == PTX_OP_ADDRESS && at->sym && at->sym->in_file) {
		if (at->value < 0 || (uint64_t)at->value + i->n * i->bytes > at->sym->size)
			ptx_fail(p, "%s: outside of %s", s->text, at->sym->name);
		i->a = at->sym->slot;
		i->c = (int32_t)at->sym->stride;
		i->imm = at->value;
		i->run = store ? run_st_file : run_ld_file;
		return;
	}
	ptx_address(p, i, at, i->space);
	i->run = store ? run_st : run_ld;
}

const PtxOp ptx_access_ops[] = {
	{"ld", NULL, decode_access, 0, NULL},
	{"ldu", NULL, decode_access, 0, NULL},
	{"st", NULL, decode_access, 1, NULL},
	{0},
};
