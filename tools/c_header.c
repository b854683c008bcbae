/* tools/c_header.c -- constants of sizes and shapes, and the declaration of the function. */
#include "tools/c_header.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

const char *c_identifier(MloArena *a, const char *name)
{
	char *out = mlo_sprintf(a, "%s%s", *name == 0 || isdigit((unsigned char)*name) ? "_" : "", name);

	for (char *p = out; *p; p++)
		if ((unsigned char)*p >= 0x80 || !(isalnum((unsigned char)*p) || *p == '_'))
			*p = '_';
	return out;
}

static const char *upper(MloArena *a, const char *name)
{
	char *out = mlo_strdup(a, name);

	for (char *p = out; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	return out;
}

/* What an element is in C; formats that C has no type for are bits. */
static const char *c_type(MloElem e)
{
	switch (e) {
	case EL_f32:
		return "float";
	case EL_f64:
		return "double";
	case EL_bool:
		return "uint8_t";
	default:
		break;
	}
	switch (mlo_elem_bits(e)) {
	case 64:
		return mlo_elem_class(e) == EC_INT ? "int64_t" : "uint64_t";
	case 32:
		return mlo_elem_class(e) == EC_INT ? "int32_t" : "uint32_t";
	case 16:
		return mlo_elem_class(e) == EC_INT ? "int16_t" : "uint16_t";
	default:
		return mlo_elem_class(e) == EC_INT && mlo_elem_bits(e) == 8 ? "int8_t" : "uint8_t";
	}
}

/* A C string literal: names of tensors may hold anything. */
static void quote(MloStr *s, const char *text)
{
	mlo_str_add(s, "\"");
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '"' || c == '\\' || c == '?' || c < 0x20 || c >= 0x7f)
			mlo_str_add(s, "\\%03o", c);
		else
			mlo_str_addn(s, p, 1);
	}
	mlo_str_add(s, "\"");
}

typedef struct Tensor {
	const char *name, *param;
	const MloType *type;
} Tensor;

/* Names of parameters begin with a letter of their own, so that no keyword comes out; equal ones get their number. */
static Tensor *tensors(MloArena *a, const MloGraph *g, bool output)
{
	uint32_t n = output ? g->noutputs : g->ninputs;
	Tensor *t = MLO_NEWN(a, Tensor, n + 1);

	for (uint32_t i = 0; i < n; i++) {
		bool twice = false;

		t[i].name = output ? g->output_names[i] : g->inputs[i]->name;
		t[i].type = output ? &g->outputs[i]->type : &g->inputs[i]->type;
		t[i].param = mlo_sprintf(a, "%s_%s", output ? "out" : "in", c_identifier(a, t[i].name));
		for (uint32_t k = 0; k < i; k++)
			twice = twice || strcmp(t[k].param, t[i].param) == 0;
		if (twice)
			t[i].param = mlo_sprintf(a, "%s_%" PRIu32, t[i].param, i);
	}
	return t;
}

static void describe(MloStr *s, const char *prefix, const char *what, const Tensor *t, uint32_t n)
{
	mlo_str_add(s, "\n#define %s_%sS %" PRIu32 "\n", prefix, what, n);
	for (uint32_t i = 0; i < n; i++) {
		const MloType *type = t[i].type;

		mlo_str_add(s, "#define %s_%s%" PRIu32 "_NAME ", prefix, what, i);
		quote(s, t[i].name);
		mlo_str_add(s, "\n#define %s_%s%" PRIu32 "_ELEM \"%s\"\n", prefix, what, i, mlo_elem_text(type->elem));
		mlo_str_add(s, "#define %s_%s%" PRIu32 "_BYTES %" PRId64 "\n", prefix, what, i, mlo_type_bytes(type));
		mlo_str_add(s, "#define %s_%s%" PRIu32 "_RANK %d\n", prefix, what, i, type->rank);
		mlo_str_add(s, "#define %s_%s%" PRIu32 "_DIMS {", prefix, what, i);
		for (int k = 0; k < type->rank; k++)
			mlo_str_add(s, "%s%" PRId64, k ? ", " : "", type->dim[k].k);
		mlo_str_add(s, "%s}\n", type->rank ? "" : "0");
	}
}

static void declare(MloStr *s, const CHeader *h, const char *big, const Tensor *in, const Tensor *out)
{
	mlo_str_add(s,
		    "\n/* One run. Tensors are dense, the last dimension fastest, aligned as their elements; outputs must not\n"
		    " * overlap anything. `arena`: %s_ARENA_BYTES of memory at a multiple of %s_ARENA_ALIGN, which need not\n"
		    " * be set and may be used for other things between runs. Runs with arenas of their own may overlap. */\n",
		    big, big);
	mlo_str_add(s, "void %s_run(", h->prefix);
	for (uint32_t i = 0; i < h->typed->ninputs; i++)
		mlo_str_add(s, "const %s *%s, ", c_type(in[i].type->elem), in[i].param);
	for (uint32_t i = 0; i < h->typed->noutputs; i++)
		mlo_str_add(s, "%s *%s, ", c_type(out[i].type->elem), out[i].param);
	mlo_str_add(s, "void *arena);\n");
}

const char *c_header_text(MloArena *a, const CHeader *h)
{
	const char *big = upper(a, h->prefix);
	Tensor *in = tensors(a, h->typed, false), *out = tensors(a, h->typed, true);
	MloStr s = {.arena = a};

	mlo_str_add(&s, "/* %s.h -- made by %s for %s. */\n#ifndef %s_H\n#define %s_H\n#include <stdint.h>\n\n", h->prefix, h->tool,
		    h->target, big, big);
	mlo_str_add(&s, "/* RAM: the arena, which holds activations and then scratch memory, and the stack below the call. */\n");
	mlo_str_add(&s, "#define %s_ARENA_BYTES %" PRIu64 "\n", big, h->arena_bytes + h->scratch_bytes);
	mlo_str_add(&s, "#define %s_ARENA_ALIGN 64\n", big);
	mlo_str_add(&s, "#define %s_SCRATCH_BYTES %" PRIu64 "\n", big, h->scratch_bytes);
	mlo_str_add(&s, "#define %s_STACK_BYTES %" PRIu64 "\n", big, h->stack_bytes);
	mlo_str_add(&s, "/* Read-only memory. */\n");
	mlo_str_add(&s, "#define %s_CODE_BYTES %" PRIu64 "\n", big, h->code_bytes);
	mlo_str_add(&s, "#define %s_CONSTANT_BYTES %" PRIu64 "\n", big, h->constant_bytes);
	mlo_str_add(&s, "#define %s_WEIGHT_BYTES %" PRIu64 "\n", big, h->weight_bytes);
	describe(&s, big, "INPUT", in, h->typed->ninputs);
	describe(&s, big, "OUTPUT", out, h->typed->noutputs);
	mlo_str_add(&s, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
	declare(&s, h, big, in, out);
	mlo_str_add(&s, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
	return mlo_str_text(&s);
}
