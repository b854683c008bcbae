/* quant/speed.c -- which layers are worth having in integers. */
#include "quant/speed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Less than so much, and a share of the whole model, is taken for noise. */
#define SLOWER 1.05
#define MATTERS 0.002
enum { ROUNDS = 3 };

typedef struct Speed {
	MloPtq *q;
	MloPtqTimesFn *fn;
	void *user;
	MloPtqTimes times; /* of the last plan asked about */
} Speed;

static MloStatus ask(Speed *s)
{
	MloPtq *q = s->q;

	memset(s->times.layer, 0, q->nlayers * sizeof *s->times.layer);
	MLO_TRY(s->fn(s->user, &s->times));
	for (size_t i = 0; i < q->nlayers; i++) {
		const MloPtqTime *t = &s->times.layer[i];
		MloPtqLayer *l = &q->layer[i];

		if (!(t->float_ns > 0) || !l->on)
			continue;
		l->float_ns = t->float_ns;
		l->int_ns = t->float_ns * t->ratio;
	}
	return MLO_OK;
}

static void plan(MloPtq *q)
{
	mlo_ptq_plan(q);
	mlo_ptq_ranges(q);
}

/* Those that are slower go back to float; was[i]: what they were.  How many. */
static size_t turn_off(Speed *s, const char **was)
{
	MloPtq *q = s->q;
	size_t n = 0;

	for (size_t i = 0; i < q->nlayers; i++) {
		MloPtqLayer *l = &q->layer[i];

		was[i] = l->off;
		if (!l->on || !(l->int_ns > SLOWER * l->float_ns) ||
		    l->int_ns - l->float_ns < MATTERS * s->times.all.float_ns)
			continue;
		l->off = mlo_sprintf(q->a, "%.4f ms in integers, %.4f ms in float32", l->int_ns * 1e-6, l->float_ns * 1e-6);
		n++;
	}
	plan(q);
	return n;
}

static void stay_float(MloPtq *q, double ratio)
{
	for (size_t i = 0; i < q->nlayers; i++)
		if (mlo_ptq_contracts(q->layer[i].kind) && !q->layer[i].off)
			q->layer[i].off = mlo_sprintf(q->a, "the model takes %.2f times as long in integers", ratio);
	plan(q);
}

MloStatus mlo_ptq_by_speed(MloPtq *q, MloPtqTimesFn *times, void *user, MloPtqTime *all)
{
	Speed s = {q, times, user, {.layer = MLO_NEWN(q->a, MloPtqTime, q->nlayers + 1)}};
	const char **was = MLO_NEWN(q->a, const char *, q->nlayers + 1);

	MLO_TRY(ask(&s));
	*all = s.times.all;
	for (int i = 0; i < ROUNDS && turn_off(&s, was); i++) {
		MLO_TRY(ask(&s));
		if (s.times.all.ratio >= all->ratio) {
			for (size_t k = 0; k < q->nlayers; k++)
				q->layer[k].off = was[k];
			plan(q);
			break;
		}
		*all = s.times.all;
	}
	if (all->ratio > 1) {
		stay_float(q, all->ratio);
		all->ratio = 1;
	}
	return MLO_OK;
}

/* -- as text: a line for the model, then one for each layer that has times -------------------------------- */

static const char first_line[] = "times 1\n";

static bool read_time(const char **at, MloPtqTime *out)
{
	char *end;

	out->float_ns = strtod(*at, &end);
	if (end == *at || *end != ' ')
		return false;
	*at = end + 1;
	out->ratio = strtod(*at, &end);
	if (end == *at || *end != '\n')
		return false;
	*at = end + 1;
	return isfinite(out->float_ns) && isfinite(out->ratio) && out->float_ns >= 0 && out->ratio > 0;
}

bool mlo_ptq_times_read(const char *text, size_t nlayers, MloPtqTimes *out)
{
	const size_t n = strlen(first_line);

	memset(out->layer, 0, nlayers * sizeof *out->layer);
	if (strncmp(text, first_line, n) != 0)
		return false;
	text += n;
	if (!read_time(&text, &out->all))
		return false;
	while (*text) {
		char *end;
		unsigned long i = strtoul(text, &end, 10);

		if (end == text || *end != ' ' || i >= nlayers)
			return false;
		text = end + 1;
		if (!read_time(&text, &out->layer[i]))
			return false;
	}
	return true;
}

void mlo_ptq_times_write(MloStr *s, size_t nlayers, const MloPtqTimes *t)
{
	mlo_str_add(s, "%s%a %a\n", first_line, t->all.float_ns, t->all.ratio);
	for (size_t i = 0; i < nlayers; i++)
		if (t->layer[i].float_ns > 0)
			mlo_str_add(s, "%zu %a %a\n", i, t->layer[i].float_ns, t->layer[i].ratio);
}
