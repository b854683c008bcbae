/* ir/op.c -- the operator table, read from ops.def. */
#include "ir/op.h"

#include <string.h>

#include "ir/base/diag.h"

/* All attributes in one array: those of an operator are contiguous, its row says where they start. */
static const MloAttrInfo attrs[] = {
#define OP(id, ...)
#define ATTR(op, name, kind, def) {#name, AK_##kind, def},
#include "ir/ops.def"
	{NULL, AK_INT, NULL},
};

enum {
#define OP(id, ...) START_##id, SKIP_##id = START_##id - 1,
#define ATTR(op, name, kind, def) INDEX_##op##_##name,
#include "ir/ops.def"
};

/* One struct per operator with a byte per attribute: its size counts them in a constant expression. */
struct SlotsBegin {
	char none;
#define OP(id, ...) \
	};          \
	struct Slots_##id { char none;
#define ATTR(op, name, kind, def) char slot_##name;
#include "ir/ops.def"
};

static const MloOpInfo ops[OP_COUNT] = {
#define OP(id, lo, hi, olo, ohi, kind, traits, rule, meaning)                               \
	[OP_##id] = {#id, lo, hi, olo, ohi, OK_##kind, traits, meaning, attrs + START_##id, \
	             (int)sizeof(struct Slots_##id) - 1},
#define ATTR(op, name, kind, def)
#include "ir/ops.def"
};

const MloOpInfo *mlo_op_info(MloOp op)
{
	MLO_ASSERT((unsigned)op < OP_COUNT);
	return &ops[op];
}

bool mlo_op_find(const char *name, size_t n, MloOp *out)
{
	for (int i = 0; i < OP_COUNT; i++)
		if (strlen(ops[i].name) == n && !memcmp(ops[i].name, name, n)) {
			*out = (MloOp)i;
			return true;
		}
	return false;
}

int mlo_attr_slot(MloOp op, const char *name, size_t n)
{
	const MloOpInfo *info = mlo_op_info(op);

	for (int i = 0; i < info->nattr; i++)
		if (strlen(info->attr[i].name) == n && !memcmp(info->attr[i].name, name, n))
			return i;
	return -1;
}
