/* tools/main.c -- the mlopt program: finds the subcommand and runs it under a guard. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mlopt/mlopt.h"
#include "tools/cli.h"
#include "tools/outfile.h"

static const struct Command {
	const char *name;
	CliCommandFn *run;
	const char *summary;
} commands[] = {
#define COMMAND(name, function, summary) {#name, function, summary},
#include "tools/commands.def"
	{0},
};

static void print_overview(FILE *to)
{
	fprintf(to,
		"Usage: mlopt COMMAND [OPTION]... [OPERAND]...\n\n"
		"mlopt compiles trained ONNX models into native packages for a named target.\n\nCommands:\n");
	for (const struct Command *c = commands; c->name; c++)
		fprintf(to, "  %-10s %s\n", c->name, c->summary);
	fprintf(to, "\n'mlopt COMMAND --help' explains one command and shows examples.\n"
		    "Exit status: 0 success, 1 the model or data is at fault, 2 wrong usage, 3 internal "
		    "error.\n");
}

static const struct Command *find_command(const char *name)
{
	const char *names[sizeof commands / sizeof *commands] = {NULL}, *near;
	size_t n = 0;

	for (const struct Command *c = commands; c->name; c++) {
		if (strcmp(c->name, name) == 0)
			return c;
		names[n++] = c->name;
	}
	cli_usage("unknown command '%s'", name);
	near = cli_nearest(name, names);
	if (near)
		cli_note("  hint: did you mean 'mlopt %s'?", near);
	else
		cli_note("  hint: 'mlopt help' lists the commands");
	return NULL;
}

int cmd_help(int argc, char **argv)
{
	static char flag[] = "--help";
	const struct Command *c;
	char *call[3] = {NULL, flag, NULL};

	if (argc < 2 || strcmp(argv[1], "--help") == 0) {
		print_overview(stdout);
		return CLI_OK;
	}
	c = find_command(argv[1]);
	if (!c)
		return CLI_USAGE;
	if (c->run == cmd_help) {
		printf("Usage: mlopt help [COMMAND]\n\nExplains a command.\n\nExamples:\n  mlopt help "
		       "compile\n");
		return CLI_OK;
	}
	call[0] = argv[1];
	return c->run(2, call);
}

int cmd_version(int argc, char **argv)
{
	static const CliOption options[] = {{0}};
	static const CliSpec spec = {"", "Prints the version.", options, "mlopt version"};
	int o = cli_next(&spec, argc, argv);

	if (o != CLI_END)
		return cli_stop(o);
	if (!cli_operands(&spec, argc, argv, 0, 0))
		return CLI_USAGE;
	printf("mlopt %s\n", mlopt_version());
	return CLI_OK;
}

/* MLO_BUG() has printed its message: leave no file behind, and say "internal error" by the status. */
static void on_abort(int sig)
{
	mlo_outfile_remove_all();
	_exit(CLI_INTERNAL);
}

static void on_interrupt(int sig)
{
	mlo_outfile_remove_all();
	signal(sig, SIG_DFL);
	raise(sig);
}

typedef struct Call {
	CliCommandFn *run;
	int argc, status;
	char **argv;
} Call;

static void run_call(void *arg)
{
	Call *c = arg;

	c->status = c->run(c->argc, c->argv);
}

int main(int argc, char **argv)
{
	static char help[] = "help", version[] = "version";
	const struct Command *c;
	Call call;

	signal(SIGABRT, on_abort);
	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a write past the limit fails and is reported */
	if (argc < 2) {
		print_overview(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		argv[1] = help;
	else if (strcmp(argv[1], "--version") == 0)
		argv[1] = version;
	c = find_command(argv[1]);
	if (!c)
		return CLI_USAGE;
	call = (Call){c->run, argc - 1, CLI_INTERNAL, argv + 1};
	if (!mlo_guarded(run_call, &call)) {
		mlo_outfile_remove_all();
		fprintf(stderr, "mlopt: error: out of memory\n");
		return CLI_FAULT;
	}
	return cli_close_stdout(call.status);
}
