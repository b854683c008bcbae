/* tools/cmd_targets.c -- mlopt targets: what can be compiled for, and what is assumed. */
#include <string.h>

#include "targets/target.h"
#include "tools/cli.h"

static const CliOption options[] = {
	{'v', "verbose", NULL, "also show the variants of each target and their facts"},
	{0},
};
static const CliSpec spec = {
	"[--verbose]",
	"Lists the targets that 'compile --target' knows. A package holds one variant per machine level;\n"
	"the runtime takes the first one whose features the CPU has.",
	options,
	"mlopt targets\nmlopt targets --verbose",
};

static void print_variant(const MloTarget *t)
{
	char why[128] = "";
	bool here = mlo_target_runs_here(t, why, sizeof why);

	printf("    %-20s %s, %d-bit vectors, needs %s%s%s%s\n", t->name, t->cpu, 8 * t->vector_bytes,
	       t->needs && *t->needs ? t->needs : "nothing more",
	       here ? "; runs here" : "; not here: ", here ? "" : why, "");
}

static void print_set(const MloTargetSet *s, bool verbose)
{
	char names[128];

	snprintf(names, sizeof names, "%s%s%s", s->name, s->aliases && *s->aliases ? "," : "",
		 s->aliases ? s->aliases : "");
	printf("%-28s %s\n", names, s->summary);
	if (!verbose)
		return;
	for (size_t i = 0; i < sizeof s->variant / sizeof *s->variant && s->variant[i]; i++)
		print_variant(s->variant[i]);
}

int cmd_targets(int argc, char **argv)
{
	const MloTarget *native;
	bool verbose = false;
	int o;

	while ((o = cli_next(&spec, argc, argv)) != CLI_END) {
		if (o != 'v')
			return cli_stop(o);
		verbose = true;
	}
	if (!cli_operands(&spec, argc, argv, 0, 0))
		return CLI_USAGE;
	native = mlo_target_native();
	printf("%-28s this machine (default): %s\n", "native", native->name);
	for (size_t i = 0; mlo_target_at(i); i++) {
		const MloTargetSet *s = mlo_target_at(i);

		if (strcmp(s->name, "native") != 0)
			print_set(s, verbose);
	}
	return CLI_OK;
}
