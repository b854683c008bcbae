/* tools/page.h -- HTML pages of reports: one file that needs nothing else, styles inline, no script. */
#ifndef MLO_TOOLS_PAGE_H
#define MLO_TOOLS_PAGE_H
#include "ir/base/arena.h"

/* Head and heading. */
void page_begin(MloStr *out, const char *title);
void page_end(MloStr *out);
/* Text as HTML has it: in elements and, quoted, in attributes. */
void page_escaped(MloStr *out, const char *s);
#endif
