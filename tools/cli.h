/* tools/cli.h -- what the subcommands share: options, messages, exit status, progress.
 *
 * Results go to stdout; everything else goes to stderr through these functions.  A subcommand is
 * int cmd_NAME(int argc, char **argv), argv[0] being its name; it returns an exit status. */
#ifndef MLO_TOOLS_CLI_H
#define MLO_TOOLS_CLI_H
#include "ir/base/arena.h"
#include "ir/base/diag.h"

enum CliExit {
	CLI_OK = 0,
	CLI_FAULT = 1,    /* the model or the data is at fault */
	CLI_USAGE = 2,    /* wrong usage */
	CLI_INTERNAL = 3, /* our mistake */
};

typedef int CliCommandFn(int argc, char **argv);
#define COMMAND(name, function, summary) CliCommandFn function;
#include "tools/commands.def"

/* One option.  id: the short option's letter, or a number from 256 on when there is none.
 * arg: what its value is called in the help text; NULL: it takes none. */
typedef struct CliOption {
	int id;
	const char *name, *arg, *help;
} CliOption;

/* What --help says and cli_next() accepts.  `options` ends with a row of zeroes. */
typedef struct CliSpec {
	const char *usage; /* "MODEL.onnx [-o OUT] [options]" */
	const char *about; /* a paragraph */
	const CliOption *options;
	const char *examples; /* one command line per line */
} CliSpec;

enum { CLI_END = -1, CLI_BAD = -2, CLI_HELP = -3 };
/* The next option's id; its value is in `optarg`.  CLI_END: only operands remain, from argv[optind]
 * on.  CLI_BAD: an error was printed, exit with CLI_USAGE.  CLI_HELP: help was printed, exit with 0. */
int cli_next(const CliSpec *spec, int argc, char **argv);
static inline int cli_stop(int next)
{
	return next == CLI_HELP ? CLI_OK : CLI_USAGE;
}
/* Checks that between lo and hi operands remain (hi < 0: any number); prints an error if not. */
bool cli_operands(const CliSpec *spec, int argc, char **argv, int lo, int hi);

/* "mlopt: error: ..." for wrong usage; returns CLI_USAGE. */
int cli_usage(const char *fmt, ...) MLO_PRINTF(1, 2);
void cli_note(const char *fmt, ...) MLO_PRINTF(1, 2); /* a plain line on stderr */
/* The value of an option as a number; false: an error was printed. */
bool cli_int(const char *option, const char *text, long lo, long hi, int *out);
/* Appends the value of an option that may be given often to list[*n]; false: an error was printed. */
bool cli_push(const char *option, const char **list, size_t most, size_t *n);
bool cli_real(const char *option, const char *text, double lo, double hi, double *out);

/* Prints and frees what `d` holds and turns the status into an exit status. */
int cli_finish(MloDiag *d, MloStatus st);
int cli_status(MloStatus st); /* only the exit status */
void cli_flush_diag(MloDiag *d); /* prints and empties it: warnings before long work */
/* Flushes stdout; CLI_FAULT with a message when that fails (disk full, closed pipe). */
int cli_close_stdout(int status);

/* A progress line on stderr, on a terminal only. done == total removes it. */
void cli_progress(const char *what, double done, double total);

/* "3.4 MiB", "12.3 k"; texts live in a small ring of static buffers. */
const char *cli_bytes(double n);
const char *cli_count(double n);

/* Closest of the names (NULL-terminated) to `word`, or NULL when none is near. */
const char *cli_nearest(const char *word, const char *const *names);
double cli_now(void); /* seconds, monotonic */
#endif
