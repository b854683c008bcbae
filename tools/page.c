/* tools/page.c -- HTML pages of reports. */
#include "tools/page.h"

static const char style[] =
	"body{font:14px/1.4 system-ui,sans-serif;margin:2em;max-width:1100px;color:#222}\n"
	"h2{margin-top:2em}table{border-collapse:collapse}th,td{padding:2px 8px;text-align:right;border-bottom:1px solid #ddd}\n"
	"th:first-child,td:first-child,.l{text-align:left}.s{font-size:12px;color:#555}.off td{color:#888}\n"
	"svg{font:11px system-ui,sans-serif;background:#fafafa}\n"
	".contract{fill:#3b73b9}.loops{fill:#2f9e62}.library{fill:#d97a29}.gone{fill:#bbb}\n"
	".e{fill:none;stroke:#999;stroke-opacity:.5}.roof{fill:none;stroke:#c33;stroke-width:2}.g{stroke:#ddd}\n";

void page_escaped(MloStr *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '<' || *s == '>' || *s == '&' || *s == '"')
			mlo_str_add(out, "&#%d;", *s);
		else
			mlo_str_add(out, "%c", *s);
	}
}

void page_begin(MloStr *out, const char *title)
{
	mlo_str_add(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title><style>\n%s</style></head>"
		    "<body>\n<h1>%s</h1>\n", title, style, title);
}

void page_end(MloStr *out)
{
	mlo_str_add(out, "</body></html>\n");
}
