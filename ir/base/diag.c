/* ir/base/diag.c -- the diagnostics sink. */
#include "ir/base/diag.h"

#include <stdlib.h>
#include <string.h>

static const char *const status_text[MLO_STATUS_COUNT] = {
#define MLO_STATUS(code, text) [MLO_##code] = text,
#include "ir/base/status.def"
};

const char *mlo_status_text(MloStatus st)
{
	return (unsigned)st < MLO_STATUS_COUNT ? status_text[st] : "unknown status";
}

void mlo_bug(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "mlopt: internal error: %s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

/* Counts a line; is there room to keep it? */
static bool room(MloDiag *d, MloSeverity sev)
{
	size_t cap = d->cap ? d->cap * 2 : 8;
	MloDiagLine *lines = d->lines;

	d->nerrors += sev == MLO_DIAG_ERROR;
	if (d->n < MLO_DIAG_MAX && d->n == d->cap) {
		lines = realloc(d->lines, cap * sizeof *lines);
		if (lines) {
			d->lines = lines;
			d->cap = cap;
		}
	}
	if (d->n < MLO_DIAG_MAX && lines)
		return true;
	d->dropped++;
	return false;
}

static void add(MloDiag *d, MloSeverity sev, MloStatus st, const char *fmt, va_list ap)
{
	char *text = NULL;
	int len;
	va_list measure;

	if (!d)
		return;
	if (!room(d, sev))
		return;
	va_copy(measure, ap);
	len = vsnprintf(NULL, 0, fmt, measure);
	va_end(measure);
	if (len >= 0)
		text = malloc((size_t)len + 1);
	if (text)
		vsnprintf(text, (size_t)len + 1, fmt, ap);
	d->lines[d->n++] = (MloDiagLine){sev, st, d->where ? strdup(d->where) : NULL, text};
}

MloStatus mlo_error(MloDiag *d, MloStatus st, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(d, MLO_DIAG_ERROR, st, fmt, ap);
	va_end(ap);
	return st;
}

#define SIMPLE(name, severity)                            \
	void name(MloDiag *d, const char *fmt, ...)       \
	{                                                 \
		va_list ap;                               \
		va_start(ap, fmt);                        \
		add(d, severity, MLO_OK, fmt, ap);        \
		va_end(ap);                               \
	}
SIMPLE(mlo_warn, MLO_DIAG_WARNING)
SIMPLE(mlo_note, MLO_DIAG_NOTE)
SIMPLE(mlo_hint, MLO_DIAG_HINT)

void mlo_diag_print(const MloDiag *d, const char *program, FILE *out)
{
	static const char *const word[] = {"error", "warning", "note", "hint"};

	for (size_t i = 0; i < d->n; i++) {
		const MloDiagLine *l = &d->lines[i];

		if (l->severity >= MLO_DIAG_NOTE)
			fprintf(out, "  %s: %s\n", word[l->severity], l->text ? l->text : "");
		else
			fprintf(out, "%s: %s: %s%s%s\n", program, word[l->severity], l->where ? l->where : "",
			        l->where ? ": " : "", l->text ? l->text : "");
	}
	if (d->dropped)
		fprintf(out, "%s: %zu further messages left out\n", program, d->dropped);
}

void mlo_diag_move(MloDiag *to, MloDiag *from)
{
	for (size_t i = 0; to && i < from->n; i++) {
		if (!room(to, from->lines[i].severity))
			continue;
		to->lines[to->n++] = from->lines[i];
		from->lines[i] = (MloDiagLine){0};
	}
	if (to)
		to->dropped += from->dropped;
	mlo_diag_free(from);
}

void mlo_diag_free(MloDiag *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->lines[i].where);
		free(d->lines[i].text);
	}
	free(d->lines);
	*d = (MloDiag){0};
}
