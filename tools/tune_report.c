/* tools/tune_report.c -- what tuning found, for people and for programs. */
#include <inttypes.h>
#include <stdio.h>

#include "codegen/contract.h"
#include "tools/cli.h"
#include "tools/tune.h"

static const char *schedule_text(MloArena *a, const TuneKernel *k, const MloSchedule *s)
{
	MloStr text = {.arena = a};
	KContract c = *k->id.c;

	mlo_schedule_set(&c, s);
	mlo_schedule_text(&text, &c);
	return mlo_str_text(&text);
}

static void print_kernel(MloArena *a, const TuneKernel *k)
{
	printf("%6.1f%% %9.4f %5zu %6zu ", 100 * k->share, k->ns / 1e6, k->steps, k->known.trial.n);
	if (k->known.gain > 0)
		printf("%5.1f%%", 100 * k->known.gain);
	else
		printf("%6s", k->known.trial.n ? "none" : "");
	printf("  %s %s: %s", k->id.name, k->shape, schedule_text(a, k, &k->known.model));
	if (k->known.gain > 0)
		printf(" -> %s", schedule_text(a, k, &k->known.best));
	putchar('\n');
}

void tune_print(const TuneResult *r)
{
	MloArena *a = mlo_arena_new();

	if (!a)
		return;
	printf("%s: %s, %zu contractions, %zu schedules measured in %.0f s%s\n", r->name, r->variant, r->n, r->measured,
	       r->seconds, r->complete ? ", none is left" : "");
	if (r->n)
		printf("%7s %9s %5s %6s %6s  %s\n", "share", "ms", "steps", "trials", "saved", "kernel: schedule");
	for (size_t i = 0; i < r->n; i++)
		print_kernel(a, &r->kernel[i]);
	if (r->before_ms > 0)
		printf("whole model: %.4f ms -> %.4f ms, %.3f times as fast (processor time of one thread)\n", r->before_ms,
		       r->before_ms * r->ratio, 1 / r->ratio);
	mlo_arena_free(a);
}

static json_t *kernel_json(MloArena *a, const TuneKernel *k)
{
	char key[33];

	snprintf(key, sizeof key, "%016" PRIx64 "%016" PRIx64, k->id.key.hi, k->id.key.lo);
	return json_pack("{s:s,s:s,s:s,s:I,s:f,s:f,s:s,s:s,s:f,s:I,s:I,s:b}", "key", key, "name", k->id.name, "shape", k->shape,
			 "steps", (json_int_t)k->steps, "ms", k->ns / 1e6, "share", k->share, "model",
			 schedule_text(a, k, &k->known.model), "best", schedule_text(a, k, &k->known.best), "gain",
			 k->known.gain, "trials", (json_int_t)k->known.trial.n, "measured", (json_int_t)k->measured, "done",
			 (int)k->known.done);
}

json_t *tune_json(const TuneResult *r)
{
	MloArena *a = mlo_arena_new();
	json_t *kernels = json_array();

	for (size_t i = 0; a && i < r->n; i++)
		json_array_append_new(kernels, kernel_json(a, &r->kernel[i]));
	mlo_arena_free(a);
	return json_pack("{s:s,s:s,s:f,s:I,s:I,s:b,s:f,s:f,s:f,s:o}", "model", r->name, "variant", r->variant, "seconds",
			 r->seconds, "races", (json_int_t)r->races, "measured", (json_int_t)r->measured, "complete",
			 (int)r->complete, "before_ms", r->before_ms, "after_ms", r->before_ms * r->ratio, "speedup",
			 1 / r->ratio, "kernels", kernels);
}
