/* tools/cli.c -- options, messages and progress of the mlopt program. */
#include "tools/cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OPTIONS = 48, HELP_ID = 0x7000 };

static size_t count_options(const CliSpec *spec)
{
	size_t n = 0;

	while (spec->options[n].name)
		n++;
	MLO_ASSERT(n + 2 <= MAX_OPTIONS);
	return n;
}

static void print_help(const CliSpec *spec, const char *command)
{
	printf("Usage: mlopt %s %s\n\n%s\n\nOptions:\n", command, spec->usage, spec->about);
	for (const CliOption *o = spec->options;; o++) {
		static const CliOption help = {HELP_ID, "help", NULL, "show this text"};
		const CliOption *show = o->name ? o : &help;
		char left[64], dash[8] = "    ";

		if (show->id < 256)
			snprintf(dash, sizeof dash, "-%c, ", show->id);
		snprintf(left, sizeof left, "%s--%s%s%s", dash, show->name, show->arg ? " " : "",
			 show->arg ? show->arg : "");
		printf("  %-30s %s\n", left, show->help);
		if (!o->name)
			break;
	}
	printf("\nExamples:\n");
	for (const char *line = spec->examples; *line;) {
		size_t n = strcspn(line, "\n");

		printf("  %.*s\n", (int)n, line);
		line += n + (line[n] == '\n');
	}
}

static void unknown_option(const CliSpec *spec, const char *command, const char *word)
{
	const char *names[MAX_OPTIONS] = {NULL}, *near;
	char bare[64];
	size_t n = count_options(spec);

	for (size_t i = 0; i < n; i++)
		names[i] = spec->options[i].name;
	names[n] = "help";
	snprintf(bare, sizeof bare, "%.*s", (int)strcspn(word + strspn(word, "-"), "="),
		 word + strspn(word, "-"));
	near = cli_nearest(bare, names);
	cli_usage("unknown option '%s' of '%s'", word, command);
	if (near)
		cli_note("  hint: did you mean --%s?", near);
	else
		cli_note("  hint: mlopt %s --help", command);
}

int cli_next(const CliSpec *spec, int argc, char **argv)
{
	struct option longs[MAX_OPTIONS] = {{0}};
	char shorts[2 * MAX_OPTIONS + 2] = ":", *s = shorts + 1;
	size_t n = count_options(spec);
	int id, at = optind ? optind : 1;

	for (size_t i = 0; i < n; i++) {
		const CliOption *o = &spec->options[i];

		longs[i] = (struct option){o->name, o->arg ? required_argument : no_argument, NULL, o->id};
		if (o->id < 256) {
			*s++ = (char)o->id;
			if (o->arg)
				*s++ = ':';
		}
	}
	longs[n] = (struct option){"help", no_argument, NULL, HELP_ID};
	*s = 0;
	opterr = 0;
	id = getopt_long(argc, argv, shorts, longs, NULL);
	if (id == -1)
		return CLI_END;
	if (id == HELP_ID) {
		print_help(spec, argv[0]);
		return CLI_HELP;
	}
	if (id == ':') {
		cli_usage("option '%s' needs a value", argv[optind - 1]);
		return CLI_BAD;
	}
	if (id == '?') {
		char letter[3] = {'-', (char)optopt, 0};
		const char *word = argv[optind - 1 >= at ? optind - 1 : at];
		bool is_short = optopt > 0 && optopt < 256 && strncmp(word, "--", 2) != 0;

		unknown_option(spec, argv[0], is_short ? letter : word);
		return CLI_BAD;
	}
	return id;
}

bool cli_operands(const CliSpec *spec, int argc, char **argv, int lo, int hi)
{
	int n = argc - optind;

	if (n < lo)
		cli_usage("'%s' needs %s", argv[0], lo == 1 ? "an operand" : "more operands");
	else if (hi >= 0 && n > hi)
		cli_usage("'%s' takes no operand '%s'", argv[0], argv[optind + hi]);
	else
		return true;
	cli_note("  usage: mlopt %s %s", argv[0], spec->usage);
	return false;
}

int cli_usage(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("mlopt: error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CLI_USAGE;
}

void cli_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

bool cli_int(const char *option, const char *text, long lo, long hi, int *out)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < lo || v > hi) {
		cli_usage("%s expects a whole number from %ld to %ld, not '%s'", option, lo, hi, text);
		return false;
	}
	*out = (int)v;
	return true;
}

bool cli_push(const char *option, const char **list, size_t most, size_t *n)
{
	if (*n == most)
		return cli_usage("more than %zu %s options", most, option), false;
	list[(*n)++] = optarg;
	return true;
}

bool cli_real(const char *option, const char *text, double lo, double hi, double *out)
{
	char *end;
	double v;

	v = strtod(text, &end);
	if (end == text || *end || !(v >= lo && v <= hi)) {
		cli_usage("%s expects a number from %g to %g, not '%s'", option, lo, hi, text);
		return false;
	}
	*out = v;
	return true;
}

void cli_flush_diag(MloDiag *d)
{
	fflush(stdout);
	mlo_diag_print(d, "mlopt", stderr);
	mlo_diag_free(d);
}

int cli_status(MloStatus st)
{
	if (st == MLO_OK)
		return CLI_OK;
	return st == MLO_ERR_USAGE ? CLI_USAGE : st == MLO_ERR_INTERNAL ? CLI_INTERNAL : CLI_FAULT;
}

int cli_finish(MloDiag *d, MloStatus st)
{
	/* A failure always says something, even where no diagnostic could be recorded. */
	if (st != MLO_OK && d->nerrors == 0)
		mlo_error(d, st, "%s", mlo_status_text(st));
	cli_flush_diag(d);
	return cli_status(st);
}

int cli_close_stdout(int status)
{
	bool bad = ferror(stdout) != 0;

	errno = 0;
	if (fflush(stdout) != 0)
		bad = true;
	if (bad) {
		fprintf(stderr, "mlopt: error: standard output: %s\n",
			errno ? strerror(errno) : "write failed");
		return status == CLI_OK ? CLI_FAULT : status;
	}
	return status;
}

void cli_progress(const char *what, double done, double total)
{
	static double last;
	static bool shown;
	double now = cli_now();
	int percent = total > 0 ? (int)(100 * done / total) : 0;

	if (!isatty(STDERR_FILENO))
		return;
	if (done >= total) {
		if (shown)
			fputs("\r\033[K", stderr);
		shown = false;
	} else if (now - last > 0.1) {
		char bar[41] = {0};

		memset(bar, '.', 40);
		memset(bar, '#', (size_t)(percent < 0 ? 0 : percent > 100 ? 40 : percent * 40 / 100));
		fprintf(stderr, "\r%s [%s] %3d%%", what, bar, percent);
		last = now;
		shown = true;
	}
}

static char *ring(void)
{
	static char text[16][32];
	static unsigned next;

	return text[next++ % 16];
}

const char *cli_bytes(double n)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	char *s = ring();
	int u = 0;

	for (; n >= 1024 && u < 4; u++)
		n /= 1024;
	snprintf(s, 32, u == 0 ? "%.0f %s" : "%.1f %s", n, unit[u]);
	return s;
}

const char *cli_count(double n)
{
	static const char *const unit[] = {"", " k", " M", " G", " T"};
	char *s = ring();
	int u = 0;

	for (; fabs(n) >= 1000 && u < 4; u++)
		n /= 1000;
	snprintf(s, 32, u == 0 ? "%.0f%s" : "%.2f%s", n, unit[u]);
	return s;
}

/* Edit distance of short words (Wagner and Fischer 1974), one row at a time. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], na = strlen(a), nb = strlen(b);

	if (na >= 64 || nb >= 64)
		return 64;
	for (size_t j = 0; j <= nb; j++)
		row[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t best = corner + (a[i - 1] != b[j - 1]);

			corner = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[nb];
}

const char *cli_nearest(const char *word, const char *const *names)
{
	const char *best = NULL;
	size_t least = strlen(word) / 2 + 1;

	for (; *names; names++) {
		size_t d = distance(word, *names);

		if (d < least) {
			least = d;
			best = *names;
		}
	}
	return best;
}

double cli_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
