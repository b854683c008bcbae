/* tools/quantize_page.c -- the report of a quantization as part of a page: what became of each layer, and why.
 *
 * It is made from the report's JSON, so that a page of measurements can have it, too. */
#include <string.h>

#include "tools/page.h"
#include "tools/quantize.h"

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

/* A cell with a number, if it is known. */
static void number(MloStr *out, const char *format, const json_t *v)
{
	mlo_str_add(out, "<td>");
	if (json_is_number(v))
		mlo_str_add(out, format, json_number_value(v)); /* format: one of ours, for a double */
}

static void layer_row(MloStr *out, const json_t *l, bool ranked, bool judged)
{
	const json_t *range = json_object_get(l, "input_range");
	const double ms = json_number_value(json_object_get(l, "ms")), before = json_number_value(json_object_get(l, "float_ms"));

	mlo_str_add(out, "<tr%s><td>", json_is_true(json_object_get(l, "quantized")) ? "" : " class=\"off\"");
	page_escaped(out, text_of(l, "node"));
	mlo_str_add(out, "<td class=\"l\">");
	page_escaped(out, text_of(l, "op"));
	mlo_str_add(out, "<td class=\"l\">");
	page_escaped(out, text_of(l, "scheme"));
	mlo_str_add(out, "<td>");
	if (json_array_size(range) == 2)
		mlo_str_add(out, "%.4g &#8230; %.4g", json_number_value(json_array_get(range, 0)),
			    json_number_value(json_array_get(range, 1)));
	number(out, "%.3g", json_object_get(l, "input_scale"));
	number(out, "%.0f", json_object_get(l, "input_zero_point"));
	number(out, "%.1f", json_object_get(l, "sqnr_db"));
	if (ranked)
		number(out, "%.1f", json_object_get(l, "alone_output_sqnr_db"));
	if (judged)
		number(out, "%.2f", json_object_get(l, "alone_accuracy"));
	number(out, "%.4f", json_object_get(l, "float_ms"));
	number(out, "%.4f", json_object_get(l, "ms"));
	mlo_str_add(out, "<td>");
	if (ms > 0 && before > 0)
		mlo_str_add(out, "%.2f", before / ms);
	mlo_str_add(out, "<td class=\"l s\">");
	page_escaped(out, text_of(l, "reason"));
	mlo_str_add(out, "</tr>\n");
}

static void figure(MloStr *out, const char *before, const json_t *v, const char *format)
{
	if (!json_is_number(v))
		return;
	mlo_str_add(out, "%s", before);
	mlo_str_add(out, format, json_number_value(v));
}

static void figures(MloStr *out, const json_t *report)
{
	const json_t *float_accuracy = json_object_get(report, "float_accuracy");

	mlo_str_add(out, "<p>%lld samples, ranges by ", (long long)json_integer_value(json_object_get(report, "samples")));
	page_escaped(out, text_of(report, "range_method"));
	figure(out, ". Outputs: SQNR ", json_object_get(report, "output_sqnr_db"), "%.1f dB");
	figure(out, ", cosine ", json_object_get(report, "output_cosine"), "%.6f");
	if (json_is_number(float_accuracy)) {
		mlo_str_add(out, ". ");
		page_escaped(out, text_of(report, "metric"));
		figure(out, ": ", json_object_get(report, "accuracy"), "%.2f%%");
		figure(out, ", in float32 ", float_accuracy, "%.2f%%");
	}
	figure(out, ". ", json_object_get(report, "speed_to_float"), "%.2f times as fast as float32 (");
	if (json_object_get(report, "speed_to_float")) {
		page_escaped(out, text_of(report, "times"));
		mlo_str_add(out, ")");
	}
	mlo_str_add(out, ".</p>\n");
}

static bool any(const json_t *layers, const char *key)
{
	const json_t *l;
	size_t i;

	json_array_foreach(layers, i, l)
		if (json_object_get(l, key))
			return true;
	return false;
}

void quantize_page(MloStr *out, const json_t *report)
{
	const json_t *layers = json_object_get(report, "layers"), *l;
	const bool ranked = any(layers, "alone_output_sqnr_db"), judged = any(layers, "alone_accuracy");
	size_t i;

	mlo_str_add(out, "<h2>Quantization of ");
	page_escaped(out, text_of(report, "model"));
	mlo_str_add(out, "</h2>\n");
	figures(out, report);
	mlo_str_add(out, "<table><tr><th>node<th class=\"l\">operator<th class=\"l\">scheme<th>range of the input<th>scale<th>zero point"
		    "<th>SQNR, dB%s", ranked ? "<th>outputs if alone, dB" : "");
	if (judged) {
		mlo_str_add(out, "<th>");
		page_escaped(out, text_of(report, "metric"));
		mlo_str_add(out, " if alone, %%");
	}
	mlo_str_add(out, "<th>float32, ms<th>integers, ms<th>ratio<th class=\"l\">reason</tr>\n");
	json_array_foreach(layers, i, l)
		layer_row(out, l, ranked, judged);
	mlo_str_add(out, "</table>\n<p class=\"s\">Grey: in float32. SQNR: of the node's result, all layers quantised as shown.%s</p>\n",
		    ranked ? " If alone: what the outputs have when that layer is the only quantised one." : "");
}
