/* ir/text.h -- lexical pieces that the printers and parsers of the text form share. */
#ifndef MLO_IR_TEXT_H
#define MLO_IR_TEXT_H
#include <stdbool.h>
#include <stddef.h>

#include "ir/base/arena.h"
#include "ir/type.h"

/* "..." with \" \\ \n \t \r and \xHH for everything outside printable ASCII except UTF-8 bytes. */
void mlo_text_quote(MloStr *out, const char *s, size_t n);

/* *p stands on the opening quote; on success it is moved past the closing one.  NULL when malformed.
 * The result is NUL-terminated; *len (may be NULL: then a NUL inside is malformed) is its length. */
char *mlo_text_read_quoted(MloArena *a, const char **p, const char *end, size_t *len);

/* A name: bare when it is an identifier ([A-Za-z_][A-Za-z0-9_.#]*), else quoted. */
bool mlo_text_is_ident(const char *s, size_t n);
size_t mlo_text_ident_len(const char *p, const char *end); /* 0 when none stands there */
void mlo_text_symbol(MloStr *out, const char *name);
char *mlo_text_read_symbol(MloArena *a, const char **p, const char *end);

/* Bytes that the constants may have which one text abbreviates as fill() or random(). */
enum { MLO_TEXT_EXPAND_MAX = 256 << 20 };

/* "  sym NAME = LO..HI" lines of the sizes whose range was narrowed, by name; and all of them copied. */
void mlo_symbols_print(MloStr *out, const MloSymbols *t);
void mlo_symbols_copy(MloSymbols *to, const MloSymbols *from);
/* d rebuilt in another table. */
MloDim mlo_dim_copy(MloSymbols *to, MloDim d);

/* Numbers that read back exactly.  mlo_text_double adds the suffix f where the value is a float32
 * whose short form only reads back as one. */
void mlo_text_f32(MloStr *out, float v);
void mlo_text_f64(MloStr *out, double v);
void mlo_text_double(MloStr *out, double v);
#endif
