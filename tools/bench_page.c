/* tools/bench_page.c -- measurements as a page: figures, roofline, nodes and what they were fused to, steps.
 *
 * Drawings are SVG.  The roofline is that of Williams, Waterman and Patterson, "Roofline: an insightful visual
 * performance model" (2009): what a step can reach is bounded by the multiply-add peak and by its flops per byte times the bandwidth of memory. */
#include <math.h>
#include <string.h>

#include "tools/bench.h"
#include "tools/cli.h"
#include "tools/manifest.h"
#include "tools/page.h"

/* Drawings, in pixels. */
enum {
	PLOT_W = 720,
	PLOT_H = 360,
	PLOT_MARGIN = 48,
	ROW_H = 18,
	ARC_W = 150,
	NODE_W = 330,
	GAP_W = 110,
	STEP_W = 330
};

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

/* -- what is known of a step ------------------------------------------------------------------ */

typedef struct Facts {
	const json_t *json;
	double ms, flops, bytes; /* of one run */
	double intensity;        /* flops per byte, 0 where it computes nothing */
	double peak, roof;       /* GFLOP/s of its products; that these and bandwidth allow it */
} Facts;

static Facts facts_of(const BenchResult *r, size_t i)
{
	Facts f = {.json = json_array_get(bench_steps(r), i), .ms = r->step[i].ms};

	f.flops = bench_flops(f.json);
	if (!json_is_true(json_object_get(f.json, "open")))
		f.bytes = json_number_value(json_object_get(f.json, "bytes"));
	f.intensity = f.bytes > 0 ? f.flops / f.bytes : 0;
	f.peak = bench_roof(r, f.json);
	f.roof = fmin(f.peak, f.intensity * r->bandwidth);
	return f;
}

static double gflops(const Facts *f)
{
	return f->ms > 0 ? f->flops / f->ms / 1e6 : 0;
}

static double gbytes(const Facts *f)
{
	return f->ms > 0 ? f->bytes / f->ms / 1e6 : 0;
}

/* Why a step takes the time it takes, in a word. */
static const char *bound_by(const BenchResult *r, const Facts *f)
{
	if (f->flops <= 0)
		return "movement";
	return f->intensity * r->bandwidth < f->peak ? "memory" : "compute";
}

/* -- tables ----------------------------------------------------------------------------------- */

static void latencies(MloStr *out, const BenchResult *r)
{
	mlo_str_add(out,
		    "<table><tr><th>latency, ms<th>min<th>median<th>p90<th>p99<th>runs<th>mlopt is</tr>\n");
	for (int who = 0; who < BENCH_CONTESTANTS; who++) {
		const Latency *l = &r->latency[who];

		if (!l->runs)
			continue;
		mlo_str_add(out, "<tr><td>%s<td>%.4f<td>%.4f<td>%.4f<td>%.4f<td>%zu", bench_contestant(who),
			    l->min, l->median, l->p90, l->p99, l->runs);
		if (who != BENCH_OURS && r->latency[BENCH_OURS].median > 0)
			mlo_str_add(out, "<td>%.2f times as fast", l->median / r->latency[BENCH_OURS].median);
		mlo_str_add(out, "</tr>\n");
	}
	mlo_str_add(out, "</table>\n<p>");
	if (r->gpu)
		mlo_str_add(out, "An %s by its data sheet: ", r->gpu->device);
	else
		mlo_str_add(out, "The machine at its best in the same time: ");
	mlo_str_add(out,
		    "%.0f GFLOP/s of %s multiply-adds, %.1f GB/s read from memory. Load %.2f ms, first result %.2f ms; package "
		    "%s, memory ",
		    r->roof, r->gpu && r->roof > r->peak ? "its tensor cores'" : "float32", r->bandwidth, r->load_ms, r->first_ms, cli_bytes((double)r->package_bytes));
	mlo_str_add(out, "%s.</p>\n", cli_bytes((double)r->memory_bytes));
}

static void step_row(MloStr *out, const BenchResult *r, size_t i, double total)
{
	const Facts f = facts_of(r, i);
	char why[MLO_WHY_TEXT];
	const json_t *name;
	size_t k;

	mlo_str_add(out, "<tr><td>%zu<td class=\"l\">", i);
	page_escaped(out, text_of(f.json, "name"));
	mlo_str_add(out, "<div class=\"s\">");
	json_array_foreach(json_object_get(f.json, "nodes"), k, name)
	{
		mlo_str_add(out, k ? " + " : "");
		page_escaped(out, json_string_value(name) ? json_string_value(name) : "?");
	}
	mlo_str_add(out, "</div><td>%.4f<td>%.1f %%<td>%.1f<td>%.1f<td>", f.ms,
		    total > 0 ? 100 * f.ms / total : 0, gflops(&f), gbytes(&f));
	if (f.roof > 0)
		mlo_str_add(out, "%.0f %%", 100 * gflops(&f) / f.roof);
	else if (r->bandwidth > 0)
		mlo_str_add(out, "%.0f %%", 100 * gbytes(&f) / r->bandwidth);
	mlo_str_add(out, "<td class=\"l\">%s<td class=\"l\">", bound_by(r, &f));
	page_escaped(out, text_of(f.json, "tier"));
	mlo_str_add(out, "<td class=\"l s\">");
	page_escaped(out, text_of(f.json, "schedule"));
	if (*text_of(f.json, "schedule")) {
		mlo_manifest_why(f.json, why, sizeof why);
		mlo_str_add(out, "; %s", why);
	}
	mlo_str_add(out, "</tr>\n");
}

static void steps(MloStr *out, const BenchResult *r)
{
	double total = 0;

	for (size_t i = 0; i < r->nsteps; i++)
		total += r->step[i].ms;
	mlo_str_add(out,
		    "<h3>Steps</h3><table><tr><th>step<th class=\"l\">kernel, "
		    "nodes<th>ms<th>share<th>GFLOP/s<th>GB/s<th>of "
		    "its roof<th class=\"l\">bound by<th class=\"l\">tier<th class=\"l\">schedule</tr>\n");
	for (size_t i = 0; i < r->nsteps; i++)
		step_row(out, r, i, total);
	mlo_str_add(out, "</table><p class=\"s\">More than 100 %% of a roof: operands that caches still "
			 "hold, or a convolution by "
			 "Winograd's filtering, whose multiplications are fewer than those counted.</p>\n");
}

/* -- the roofline ----------------------------------------------------------------------------- */

typedef struct Axes {
	double x0, x1, y0, y1; /* decimal logarithms */
} Axes;

static double at_x(const Axes *a, double v)
{
	return PLOT_MARGIN + (log10(v) - a->x0) / (a->x1 - a->x0) * (PLOT_W - 2 * PLOT_MARGIN);
}

static double at_y(const Axes *a, double v)
{
	return PLOT_H - PLOT_MARGIN - (log10(v) - a->y0) / (a->y1 - a->y0) * (PLOT_H - 2 * PLOT_MARGIN);
}

/* Whole decades around all steps, the ridge and the peak. */
static Axes axes_of(const BenchResult *r)
{
	Axes a = {.x0 = -1,
		  .x1 = ceil(log10(fmax(r->roof / r->bandwidth, 10))),
		  .y0 = 0,
		  .y1 = ceil(log10(fmax(r->roof, 10)))};

	for (size_t i = 0; i < r->nsteps; i++) {
		const Facts f = facts_of(r, i);

		if (f.flops <= 0 || f.bytes <= 0 || f.ms <= 0)
			continue;
		a.x0 = fmin(a.x0, floor(log10(f.intensity)));
		a.x1 = fmax(a.x1, ceil(log10(f.intensity)));
		a.y0 = fmin(a.y0, floor(log10(gflops(&f))));
		a.y1 = fmax(a.y1, ceil(log10(gflops(&f))));
	}
	return a;
}

static void grid(MloStr *out, const Axes *a)
{
	for (double d = a->x0; d <= a->x1; d++)
		mlo_str_add(out,
			    "<line class=\"g\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text x=\"%.1f\" "
			    "y=\"%d\">%g</text>\n",
			    at_x(a, pow(10, d)), at_x(a, pow(10, d)), PLOT_MARGIN, PLOT_H - PLOT_MARGIN,
			    at_x(a, pow(10, d)), PLOT_H - PLOT_MARGIN + 16, pow(10, d));
	for (double d = a->y0; d <= a->y1; d++)
		mlo_str_add(out,
			    "<line class=\"g\" y1=\"%.1f\" y2=\"%.1f\" x1=\"%d\" x2=\"%d\"/><text x=\"8\" "
			    "y=\"%.1f\">%g</text>\n",
			    at_y(a, pow(10, d)), at_y(a, pow(10, d)), PLOT_MARGIN, PLOT_W - PLOT_MARGIN,
			    at_y(a, pow(10, d)), pow(10, d));
	mlo_str_add(out,
		    "<text x=\"%d\" y=\"%d\">flop per byte</text><text x=\"8\" y=\"%d\">GFLOP/s</text>\n",
		    PLOT_W / 2, PLOT_H - 8, PLOT_MARGIN - 16);
}

static void roofline(MloStr *out, const BenchResult *r)
{
	const double ridge = r->bandwidth > 0 ? r->roof / r->bandwidth : 0;
	Axes a;

	if (ridge <= 0)
		return;
	a = axes_of(r);
	mlo_str_add(out, "<h3>Roofline</h3><svg width=\"%d\" height=\"%d\">\n", PLOT_W, PLOT_H);
	grid(out, &a);
	mlo_str_add(out, "<path class=\"roof\" d=\"M%.1f %.1f L%.1f %.1f L%.1f %.1f\"/>\n",
		    at_x(&a, pow(10, a.x0)), at_y(&a, fmax(pow(10, a.x0) * r->bandwidth, pow(10, a.y0))),
		    at_x(&a, ridge), at_y(&a, r->roof), at_x(&a, pow(10, a.x1)), at_y(&a, r->roof));
	for (size_t i = 0; i < r->nsteps; i++) {
		const Facts f = facts_of(r, i);

		if (f.flops <= 0 || f.bytes <= 0 || f.ms <= 0)
			continue;
		mlo_str_add(
			out,
			"<circle class=\"%s\" fill-opacity=\".6\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>",
			text_of(f.json, "tier"), at_x(&a, f.intensity), at_y(&a, gflops(&f)),
			3 + 3 * sqrt(f.ms / (r->latency[BENCH_OURS].median + 1e-9) * 10));
		mlo_str_add(out, "step %zu, ", i);
		page_escaped(out, text_of(f.json, "name"));
		mlo_str_add(out, ": %.4f ms, %.1f GFLOP/s</title></circle>\n", f.ms, gflops(&f));
	}
	mlo_str_add(out, "</svg><p class=\"s\">A dot is a step, its area its time: contractions blue, loops "
			 "green, library "
			 "orange.</p>\n");
}

/* -- nodes and steps -------------------------------------------------------------------------- */

static bool step_has(const json_t *step, const char *node)
{
	const json_t *name;
	size_t k;

	json_array_foreach(json_object_get(step, "nodes"), k,
			   name) if (json_string_value(name) &&
				     !strcmp(json_string_value(name), node)) return true;
	return false;
}

/* The step that computes a node, or -1: folded, or a view. */
static int step_of(const BenchResult *r, const char *node)
{
	for (size_t i = 0; i < r->nsteps; i++)
		if (step_has(json_array_get(bench_steps(r), i), node))
			return (int)i;
	return -1;
}

static double row_y(double row)
{
	return ROW_H * (row + 1);
}

/* A step lies beside the middle of its nodes, unless that place is taken: below the step before it. */
static double *place_steps(MloArena *a, const BenchResult *r, const int *step)
{
	double *y = MLO_NEWN(a, double, r->nsteps + 1), next = 0;

	for (size_t i = 0; i < r->nsteps; i++) {
		double sum = 0, n = 0;

		for (size_t k = 0; k < r->nnodes; k++)
			if (step[k] == (int)i) {
				sum += (double)k;
				n++;
			}
		y[i] = fmax(next, n > 0 ? sum / n : next);
		next = y[i] + 1;
	}
	y[r->nsteps] = next;
	return y;
}

/* The ends of long names tell more than their beginnings; no character is cut. */
static const char *name_end(const char *name)
{
	enum { LONGEST = 40 };
	const size_t n = strlen(name);

	if (n <= LONGEST)
		return name;
	for (name += n - LONGEST; ((unsigned char)*name & 0xc0) == 0x80;)
		name++;
	return name;
}

static void draw_node(MloStr *out, const BenchResult *r, size_t k, int step, double step_y)
{
	const BenchNode *n = &r->node[k];
	const json_t *s = step >= 0 ? json_array_get(bench_steps(r), (size_t)step) : NULL;

	for (uint32_t i = 0; i < n->nfrom; i++) {
		double y0 = row_y(n->from[i]), y1 = row_y((double)k),
		       out_by = fmin(ARC_W - 8, 8 + 2 * fabs((double)k - n->from[i]));

		mlo_str_add(out, "<path class=\"e\" d=\"M%d %.1f C%.1f %.1f %.1f %.1f %d %.1f\"/>\n", ARC_W,
			    y0, ARC_W - out_by, y0, ARC_W - out_by, y1, ARC_W, y1);
	}
	mlo_str_add(out, "<circle class=\"%s\" cx=\"%d\" cy=\"%.1f\" r=\"4\"/><text x=\"%d\" y=\"%.1f\">",
		    s ? text_of(s, "tier") : "gone", ARC_W, row_y((double)k), ARC_W + 8,
		    row_y((double)k) + 4);
	page_escaped(out, n->op);
	mlo_str_add(out, " ");
	page_escaped(out, name_end(n->name));
	mlo_str_add(out, "</text>\n");
	if (s)
		mlo_str_add(out, "<path class=\"e\" d=\"M%d %.1f C%d %.1f %d %.1f %d %.1f\"/>\n",
			    ARC_W + NODE_W, row_y((double)k), ARC_W + NODE_W + GAP_W / 2, row_y((double)k),
			    ARC_W + NODE_W + GAP_W / 2, row_y(step_y), ARC_W + NODE_W + GAP_W, row_y(step_y));
}

static void fusion(MloStr *out, const BenchResult *r)
{
	MloArena *a = out->arena;
	int *step = MLO_NEWN(a, int, r->nnodes + 1);
	double *y, rows;

	if (!r->nnodes)
		return;
	for (size_t k = 0; k < r->nnodes; k++)
		step[k] = step_of(r, r->node[k].name);
	y = place_steps(a, r, step);
	rows = fmax((double)r->nnodes, y[r->nsteps]);
	mlo_str_add(out,
		    "<h3>Before and after fusion</h3><p class=\"s\">Left: the %zu nodes of the model, with "
		    "what they read. Right: "
		    "the %zu steps that run. Grey: folded away, or a mere view.</p>\n<svg width=\"%d\" "
		    "height=\"%.0f\">\n",
		    r->nnodes, r->nsteps, ARC_W + NODE_W + GAP_W + STEP_W, row_y(rows + 1));
	for (size_t k = 0; k < r->nnodes; k++)
		draw_node(out, r, k, step[k], step[k] >= 0 ? y[step[k]] : 0);
	for (size_t i = 0; i < r->nsteps; i++) {
		const Facts f = facts_of(r, i);

		mlo_str_add(out,
			    "<rect class=\"%s\" fill-opacity=\".25\" x=\"%d\" y=\"%.1f\" width=\"%d\" "
			    "height=\"%d\" rx=\"4\"/><text x=\"%d\" "
			    "y=\"%.1f\">%zu ",
			    text_of(f.json, "tier"), ARC_W + NODE_W + GAP_W, row_y(y[i]) - ROW_H / 2 + 1,
			    STEP_W, ROW_H - 2, ARC_W + NODE_W + GAP_W + 6, row_y(y[i]) + 4, i);
		page_escaped(out, text_of(f.json, "name"));
		mlo_str_add(out, " ");
		page_escaped(out, text_of(f.json, "shape"));
		mlo_str_add(out, ", %.4f ms</text>\n", f.ms);
	}
	mlo_str_add(out, "</svg>\n");
}

/* -- the page --------------------------------------------------------------------------------- */

void bench_page_begin(MloStr *out)
{
	page_begin(out, "mlopt bench");
	mlo_str_add(out, "<p>");
	page_escaped(out, machine_cpu(out->arena));
	mlo_str_add(out, "</p>\n");
}

void bench_page_model(MloStr *out, const BenchResult *r)
{
	mlo_str_add(out, "<h2>");
	page_escaped(out, r->name);
	mlo_str_add(out, ": %s, %d thread%s</h2>\n", r->variant, r->threads, r->threads == 1 ? "" : "s");
	latencies(out, r);
	roofline(out, r);
	fusion(out, r);
	steps(out, r);
}
