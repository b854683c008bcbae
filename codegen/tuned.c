/* codegen/tuned.c -- files of measured schedules: lines of text behind the cache's checksum. */
#include "codegen/tuned.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cache.h"

/* The lines: this one, "model SCHEDULE", "best GAIN SCHEDULE", "done 0|1", then "trial RATIO SCHEDULE"s.
 * Numbers are hexadecimal, so that they come back as they were. */
static const char first_line[] = "schedules 1";
enum { MOST_TRIALS = 100000 };

typedef struct Lines { const char *at; } Lines;

/* The rest of the next line, if it begins with that word; else NULL. */
static const char *next_line(MloArena *a, Lines *l, const char *word)
{
	size_t n = strcspn(l->at, "\n"), w = strlen(word);
	const char *line;

	if (n < w || memcmp(l->at, word, w) != 0)
		return NULL;
	line = mlo_strndup(a, l->at + w, n - w);
	l->at += n + (l->at[n] == '\n');
	return line;
}

/* "NUMBER SCHEDULE" */
static bool read_scored(const char *text, double *number, MloSchedule *s)
{
	char *end;

	if (!text)
		return false;
	*number = strtod(text, &end);
	return end != text && isfinite(*number) && *end == ' ' && mlo_schedule_read(end + 1, s);
}

static bool read_tuned(MloArena *a, const char *content, MloTuned *t)
{
	Lines l = {content};
	const char *line = next_line(a, &l, first_line);

	if (!line || *line)
		return false;
	line = next_line(a, &l, "model ");
	if (!line || !mlo_schedule_read(line, &t->model))
		return false;
	if (!read_scored(next_line(a, &l, "best "), &t->gain, &t->best) || t->gain < 0 || t->gain >= 1)
		return false;
	line = next_line(a, &l, "done ");
	if (!line || (strcmp(line, "0") != 0 && strcmp(line, "1") != 0))
		return false;
	t->done = *line == '1';
	while (*l.at) {
		MloTrial one;

		if (t->trial.n >= MOST_TRIALS || !read_scored(next_line(a, &l, "trial "), &one.ratio, &one.s) || one.ratio <= 0)
			return false;
		MLO_PUSH(a, &t->trial, one);
	}
	return true;
}

static void warn(MloDiag *d, const MloTunable *k, const char *why)
{
	mlo_warn(d, "the measured schedule of kernel '%s' is not used: %s", k->name, why);
}

bool mlo_tuned_get(MloArena *a, const char *dir, const MloTunable *k, MloTuned *out, MloDiag *d)
{
	const MloSchedule model = mlo_schedule_of(k->c);
	MloBytes content;
	CacheFound found = cache_get(dir, k->key, CACHE_TUNED, &content);
	bool ok;

	*out = (MloTuned){.model = model, .best = model};
	if (found == CACHE_DAMAGED)
		warn(d, k, "its file in the cache was damaged");
	if (found != CACHE_FOUND)
		return false;
	ok = read_tuned(a, mlo_strndup(a, (const char *)content.data, content.n), out);
	free(content.data);
	if (!ok || !mlo_schedule_fits(k, &out->best)) {
		warn(d, k, ok ? "it does not fit" : "its file in the cache holds something else");
		*out = (MloTuned){.model = model, .best = model};
		return false;
	}
	if (!mlo_schedule_same(&out->model, &model)) { /* of another cost model */
		*out = (MloTuned){.model = model, .best = model};
		return false;
	}
	return true;
}

static void write_scored(MloStr *s, const char *word, double number, const MloSchedule *of)
{
	mlo_str_add(s, "%s %a ", word, number);
	mlo_schedule_write(s, of);
	mlo_str_add(s, "\n");
}

MloStatus mlo_tuned_put(const char *dir, const MloTunable *k, const MloTuned *t, MloDiag *d)
{
	MloArena *a = mlo_arena_new();
	MloStr s = {.arena = a};
	MloBytes content;
	bool ok;

	if (!a)
		return mlo_error(d, MLO_ERR_NOMEM, "out of memory");
	mlo_str_add(&s, "%s\nmodel ", first_line);
	mlo_schedule_write(&s, &t->model);
	mlo_str_add(&s, "\n");
	write_scored(&s, "best", t->gain, &t->best);
	mlo_str_add(&s, "done %d\n", t->done);
	for (size_t i = 0; i < t->trial.n; i++)
		write_scored(&s, "trial", t->trial.items[i].ratio, &t->trial.items[i].s);
	content = (MloBytes){(unsigned char *)mlo_str_text(&s), s.n};
	ok = cache_put(dir, k->key, CACHE_TUNED, &content);
	mlo_arena_free(a);
	return ok ? MLO_OK : mlo_error(d, MLO_ERR_IO, "cannot write measured schedules into '%s'", dir);
}

MloChoice mlo_tuned_choose(void *user, const MloTunable *k, MloSchedule *s)
{
	const MloTunedStore *store = user;
	MloTuned t;

	if (!mlo_tuned_get(store->arena, store->dir, k, &t, store->diag))
		return (MloChoice){.from = MLO_CHOICE_MODEL};
	*s = t.best;
	return (MloChoice){.from = t.gain > 0 ? MLO_CHOICE_MEASURED : MLO_CHOICE_MODEL, .gain = t.gain,
	                   .trials = (int)t.trial.n};
}
