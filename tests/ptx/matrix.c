/* tests/ptx/matrix.c -- ldmatrix, stmatrix: matrices of 8 x 8 halves between shared memory and fragments. Lane 8j + r
 * has the address of row r of matrix j; lane 4r + c holds columns 2c and 2c + 1 of row r, or, transposed, rows 2c and
 * 2c + 1 of column r. */
#include "tests/ptx/mma.h"

enum { ROW = 16 }; /* bytes */

/* The rows' places; only the lanes that give addresses are asked. */
static bool rows(PtxWarp *w, const PtxInst *i, uint32_t m, PtxAccess access, uint8_t **host)
{
	const uint32_t givers = i->n == 4 ? PTX_FULL : (1u << 8 * i->n) - 1;
	uint64_t address[PTX_LANES];

	if (m != PTX_FULL) {
		ptx_finding(w, i, -1, PTX_LAUNCH_FAILED, "only lanes %#x of the warp are here", m);
		return false;
	}
	ptx_addresses(w, i, address);
	return ptx_access(w, i, givers, i->space, address, ROW, access, host);
}

static void run_ldmatrix(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint8_t *host[PTX_LANES];
	uint16_t t[2 * PTX_LANES];

	if (!rows(w, i, m, PTX_READ, host))
		return;
	for (unsigned j = 0; j < i->n; j++) {
		for (unsigned l = 0; l < PTX_LANES; l++)
			for (unsigned e = 0; e < 2; e++) {
				const unsigned row = l / 4, col = l % 4 * 2 + e;

				memcpy(&t[2 * l + e], host[8 * j + (i->mode ? col : row)] + 2 * (i->mode ? row : col),
				       2);
			}
		if (i->list[j])
			ptx_put(w, i->list[j], t, 4, m);
	}
}

static void run_stmatrix(PtxWarp *w, const PtxInst *i, uint32_t m)
{
	uint8_t *host[PTX_LANES];

	if (!rows(w, i, m, PTX_WRITE, host))
		return;
	for (unsigned j = 0; j < i->n; j++)
		for (unsigned l = 0; l < PTX_LANES; l++)
			for (unsigned e = 0; e < 2; e++) {
				const unsigned row = l / 4, col = l % 4 * 2 + e;

				memcpy(host[8 * j + (i->mode ? col : row)] + 2 * (i->mode ? row : col),
				       SLOT(uint16_t, i->list[j]) + 2 * l + e, 2);
			}
}

void ptx_decode_ldmatrix(PtxParse *p, PtxInst *i, const PtxOp *op)
{
	static const char *const counts[] = {"x1", "x2", "x4", NULL};
	PtxStmt *s = &p->stmt;
	const bool store = op->variant;
	int n;

	if (!ptx_take(s, "sync") || !ptx_take(s, "aligned") || !ptx_take(s, "m8n8"))
		ptx_fail(p, "%s: .sync.aligned.m8n8 is expected", s->text);
	n = ptx_take_one(s, counts);
	i->mode = ptx_take(s, "trans");
	i->space = (uint8_t)ptx_take_space(s);
	if (n < 0 || ptx_take_type(p) != PTX_B16)
		ptx_fail(p, "%s: .x1, .x2 or .x4 of .b16 is expected", s->text);
	ptx_need(p, store ? 90 : 75, store ? 78 : 65, store ? "stmatrix" : "ldmatrix");
	ptx_operands(p, 2);
	i->n = (uint8_t)(1 << n);
	i->cls = PTX_CLASS_LDMATRIX;
	i->run = store ? run_stmatrix : run_ldmatrix;
	i->list = ptx_list(p, ptx_operand(p, store ? 1 : 0), PTX_B32, !store, i->n);
	ptx_address(p, i, ptx_operand(p, store ? 0 : 1), i->space);
}
