/* runtime/launch.c -- kernels of a GPU: the module and how each is started, checked. */
#include <string.h>

#include "runtime/device.h"

enum { MOST_SCRATCH = 1 << 30, MOST_BLOCKS = 0x7fffffff };

static bool launch_fits(const MlrtLaunch *l, uint64_t names)
{
	return l->name < names && l->threads > 0 && l->threads % 32 == 0 && l->threads <= MLRT_MAX_THREADS && l->blocks > 0 &&
	       l->blocks <= MOST_BLOCKS && l->shared_bytes <= MLRT_MAX_SHARED && l->counters <= MLRT_MAX_COUNTERS && l->scratch_bytes <= MOST_SCRATCH &&
	       ((l->scratch_bytes == 0 && l->counters == 0) || l->tasks_per_block == 0);
}

/* One text, with its NUL at the end and nowhere else. */
static bool is_text(const unsigned char *p, uint64_t n)
{
	return n > 0 && memchr(p, 0, n) == p + n - 1;
}

MLRT_LOCAL MlrtStatus mlrt_launches_read(const Container *c, const Variant *v, Launches *out, MlrtError *err)
{
	const MlrtBlob *b = &c->blob[v->launches], *code = &c->blob[v->code];
	const unsigned char *data = c->file + b->offset;
	MlrtLaunches head = {0};
	uint64_t records;

	if (!is_text(c->file + code->offset, code->bytes))
		return mlrt_damaged(err, v->name, "PTX of %llu bytes is no text", (unsigned long long)code->bytes);
	if (b->bytes >= sizeof head)
		memcpy(&head, data, sizeof head);
	records = (uint64_t)head.nlaunches * sizeof(MlrtLaunch);
	if (head.magic != MLRT_LAUNCHES_MAGIC || head.bytes != b->bytes || records > b->bytes - sizeof head)
		return mlrt_damaged(err, v->name, "%u launches in %llu bytes", (unsigned)head.nlaunches, (unsigned long long)b->bytes);
	*out = (Launches){.record = data + sizeof head, .n = head.nlaunches, .names = (const char *)data + sizeof head + records,
			  .name_bytes = b->bytes - sizeof head - records};
	if (head.nlaunches > 0 && (out->name_bytes == 0 || out->names[out->name_bytes - 1]))
		return mlrt_damaged(err, v->name, "names of kernels do not end");
	for (uint32_t i = 0; i < out->n; i++) {
		const MlrtLaunch l = mlrt_launch_at(out, i);

		if (!launch_fits(&l, out->name_bytes))
			return mlrt_damaged(err, v->name, "kernel %u with %u threads, %u blocks, %u bytes of shared memory", (unsigned)i,
					    (unsigned)l.threads, (unsigned)l.blocks, (unsigned)l.shared_bytes);
	}
	return MLRT_OK;
}
