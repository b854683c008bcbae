/* tests/unit/list_programs.c -- lists of programs that several tests of the runtime use. */
#include "tests/unit/list_programs.h"

#define IN_N(name) "{\"name\":\"" name "\",\"elem\":\"i64\",\"dims\":[-1],\"dim_names\":[\"n\"],\"bytes\":0}"
#define SCALAR(name) "{\"name\":\"" name "\",\"elem\":\"i64\",\"dims\":[],\"bytes\":8}"

static uint32_t bytes_of(const LfBody *b, uint32_t value)
{
	return b->arg[b->value[value].arg].bytes_slot;
}

/* The argument of a tensor once more, for a kernel: those of one kernel lie one behind the other. */
static uint32_t again(LfBody *b, uint32_t value)
{
	const MlrtBodyArg *a = &b->arg[b->value[value].arg];

	return lf_arg(b, a->space, a->index, a->offset, a->bytes, a->bytes_slot);
}

void lp_sums(ListFixture *f)
{
	LfBody *b;
	uint32_t x, z, y, zero, t, first;

	lf_init(f);
	lf_input(f, IN_N("x"));
	lf_input(f, IN_N("z"));
	lf_output(f, IN_N("y"));
	lf_step_name(f, "{\"name\":\"first\",\"nodes\":[\"add/x_z\"]}");
	lf_step_name(f, "{\"name\":\"second\",\"nodes\":[]}");
	b = lf_body(f);
	x = lf_in(b, LF_I64, 1);
	z = lf_in(b, LF_I64, 1);
	lf_check(b, MLRT_X_CHECK_EQ, lf_dim(b, z, 0), lf_dim(b, x, 0), z * 16);
	zero = lf_const(b, 0);
	t = lf_planned(b, bytes_of(b, x), zero);
	b->head.arena_slot = lf_expr(b, MLRT_X_ALIGN, bytes_of(b, x), MLRT_ABSENT, 64);
	y = lf_tensor(b, LF_I64, 1, LF_NONE);
	b->expr[b->head.nexprs++] = (MlrtExpr){MLRT_X_COPY, lf_dim(b, y, 0), lf_dim(b, x, 0), MLRT_ABSENT, 0};
	lf_prologue_ends(b);
	first = again(b, x);
	again(b, z);
	lf_arg(b, MLRT_BUFFER, t, 0, 0, bytes_of(b, x));
	lf_kernel(b, LF_ADD, first, 3, lf_dim(b, x, 0));
	first = lf_arg(b, MLRT_BUFFER, t, 0, 0, bytes_of(b, x));
	lf_arg(b, MLRT_BUFFER, t, 0, 0, bytes_of(b, x));
	b->value[y].arg = lf_arg(b, MLRT_OUTPUT, 0, 0, 0, bytes_of(b, x));
	lf_kernel(b, LF_ADD, first, 3, lf_dim(b, x, 0));
	lf_result(b, y);
	lf_build(f);
}

void lp_prefix(ListFixture *f)
{
	LfBody *b;
	uint32_t x, k, t, eight, first, bytes;
	MlrtBodyStep *step;

	lf_init(f);
	lf_input(f, IN_N("x"));
	lf_input(f, SCALAR("k"));
	lf_output(f, "{\"name\":\"t\",\"elem\":\"i64\",\"dims\":[-1],\"bytes\":0}");
	lf_step_name(f, "{\"name\":\"size\",\"nodes\":[\"how_many\"]}");
	lf_step_name(f, "{\"name\":\"slice\",\"nodes\":[\"the_slice\"]}");
	b = lf_body(f);
	x = lf_in(b, LF_I64, 1);
	k = lf_in(b, LF_I64, 0);
	eight = lf_const(b, 8);
	lf_prologue_ends(b);
	t = lf_own_tensor(b, LF_I64, 1);
	first = again(b, k);
	lf_arg(b, MLRT_SIZES, 0, 8 * lf_dim(b, t, 0), 8, MLRT_ABSENT);
	lf_kernel(b, LF_COPY, first, 2, MLRT_ABSENT);
	first = b->head.nexprs;
	lf_check(b, MLRT_X_CHECK_GE0, lf_dim(b, t, 0), MLRT_ABSENT, -1);
	bytes = b->buffer[0].bytes_slot;
	b->expr[b->head.nexprs++] = (MlrtExpr){MLRT_X_MUL, bytes, lf_dim(b, t, 0), eight, 0};
	step = lf_kernel(b, LF_ADD, lf_arg(b, MLRT_INPUT, 0, 0, 0, bytes), 3, lf_dim(b, t, 0));
	lf_arg(b, MLRT_INPUT, 0, 0, 0, bytes);
	b->arg[again(b, t)].flags = MLRT_ARG_RESERVE;
	step->first_expr = first;
	step->nexprs = 2;
	lf_result(b, t);
	lf_build(f);
	(void)x;
}

/* acc + x, or acc as it came. */
static void branches(ListFixture *f)
{
	LfBody *b = lf_body(f);
	uint32_t acc = lf_in(b, LF_I64, 1), x = lf_in(b, LF_I64, 1), sum, first;

	sum = lf_tensor(b, LF_I64, 1, LF_NONE);
	b->expr[b->head.nexprs++] = (MlrtExpr){MLRT_X_COPY, lf_dim(b, sum, 0), lf_dim(b, x, 0), MLRT_ABSENT, 0};
	b->head.arena_slot = bytes_of(b, x);
	lf_planned(b, bytes_of(b, x), lf_const(b, 0));
	lf_prologue_ends(b);
	first = again(b, acc);
	again(b, x);
	b->value[sum].arg = lf_arg(b, MLRT_BUFFER, 0, 0, 0, bytes_of(b, x));
	lf_kernel(b, LF_ADD, first, 3, lf_dim(b, x, 0));
	lf_result(b, sum);

	b = lf_body(f);
	acc = lf_in(b, LF_I64, 1);
	lf_in(b, LF_I64, 1);
	lf_result(b, acc);
}

static void loop_body(ListFixture *f)
{
	LfBody *b = lf_body(f);
	const uint32_t i = lf_in(b, LF_I64, 0), cond = lf_in(b, LF_BOOL, 0), acc = lf_in(b, LF_I64, 1);
	const uint32_t seq = lf_object(b, MLRT_V_SEQ, LF_I64, 0);
	uint32_t limit, x, less, next, longer, first;
	MlrtBodyStep *step;

	lf_give(b, seq);
	limit = lf_in(b, LF_I64, 0);
	x = lf_in(b, LF_I64, 1);
	b->head.arena_bytes = 64;
	first = again(b, i);
	again(b, limit);
	less = lf_tensor(b, LF_BOOL, 0, lf_arg(b, MLRT_ARENA, 0, 8, 1, MLRT_ABSENT));
	lf_kernel(b, LF_LESS, first, 3, MLRT_ABSENT);
	next = lf_own_tensor(b, LF_I64, 1);
	step = lf_step(b, MLRT_STEP_IF, 1, less, acc, x, next, LF_NONE);
	step->program[0] = 2;
	step->program[1] = 3;
	longer = lf_object(b, MLRT_V_SEQ, LF_I64, 0);
	step = lf_step(b, MLRT_STEP_OBJECT, 1, seq, next, LF_ABSENT, longer, LF_NONE);
	step->object = MLRT_OBJ_SEQ_INSERT;
	lf_result(b, cond);
	lf_result(b, next);
	lf_result(b, longer);
	lf_result(b, next);
}

void lp_loop(ListFixture *f)
{
	LfBody *b;
	uint32_t m, limit, x, empty, acc, seq, scan, all;
	MlrtBodyStep *step;

	lf_init(f);
	lf_input(f, SCALAR("m"));
	lf_input(f, SCALAR("limit"));
	lf_input(f, IN_N("x"));
	lf_output(f, IN_N("acc"));
	lf_output(f, "{\"name\":\"scan\",\"elem\":\"i64\",\"dims\":[-1,-1],\"dim_names\":[null,\"n\"],\"bytes\":0}");
	lf_output(f, "{\"name\":\"all\",\"elem\":\"i64\",\"dims\":[-1],\"bytes\":0}");
	lf_step_name(f, "{\"name\":\"empty\"},{\"name\":\"the_loop\"},{\"name\":\"the_concat\"}");
	b = lf_body(f);
	m = lf_in(b, LF_I64, 0);
	limit = lf_in(b, LF_I64, 0);
	x = lf_in(b, LF_I64, 1);
	empty = lf_object(b, MLRT_V_SEQ, LF_I64, 0);
	lf_step(b, MLRT_STEP_OBJECT, 1, empty, LF_NONE)->object = MLRT_OBJ_SEQ_EMPTY;
	acc = lf_own_tensor(b, LF_I64, 1);
	seq = lf_object(b, MLRT_V_SEQ, LF_I64, 0);
	scan = lf_own_tensor(b, LF_I64, 2);
	step = lf_step(b, MLRT_STEP_LOOP, 3, m, LF_ABSENT, x, empty, limit, x, acc, seq, scan, LF_NONE);
	step->program[0] = 1;
	step->imm[0] = 2;
	all = lf_own_tensor(b, LF_I64, 1);
	lf_step(b, MLRT_STEP_OBJECT, 1, seq, all, LF_NONE)->object = MLRT_OBJ_CONCAT;
	lf_result(b, acc);
	lf_result(b, scan);
	lf_result(b, all);
	loop_body(f);
	branches(f);
	lf_build(f);
}

static uint32_t object_step(LfBody *b, uint32_t op, uint32_t kind, int x, int y, int z)
{
	const uint32_t r = lf_object(b, kind, LF_I64, 0);
	MlrtBodyStep *s = z != LF_NONE   ? lf_step(b, MLRT_STEP_OBJECT, 1, x, y, z, r, LF_NONE)
			  : y != LF_NONE ? lf_step(b, MLRT_STEP_OBJECT, 1, x, y, r, LF_NONE)
					 : lf_step(b, MLRT_STEP_OBJECT, 1, x, r, LF_NONE);

	s->object = op;
	return r;
}

void lp_objects(ListFixture *f)
{
	LfBody *b;
	uint32_t x, at, opt, rows, fewer, more, pair, n, one, table, some, none, has, hasnot, back, wide;
	MlrtBodyStep *step;

	lf_init(f);
	lf_input(f, "{\"name\":\"x\",\"elem\":\"i64\",\"dims\":[-1,2],\"bytes\":0}");
	lf_input(f, SCALAR("at"));
	lf_input(f, "{\"name\":\"opt\",\"kind\":\"opt_seq\",\"elem\":\"i64\",\"dims\":[],\"bytes\":0}");
	lf_output(f, "{\"name\":\"fewer\",\"kind\":\"seq\",\"elem\":\"i64\",\"dims\":[],\"bytes\":0}");
	lf_output(f, SCALAR("n"));
	lf_output(f, "{\"name\":\"one\",\"elem\":\"i64\",\"dims\":[2],\"bytes\":16}");
	lf_output(f, "{\"name\":\"table\",\"elem\":\"i64\",\"dims\":[2,-1],\"bytes\":0}");
	lf_output(f, "{\"name\":\"has\",\"elem\":\"bool\",\"dims\":[],\"bytes\":1}");
	lf_output(f, "{\"name\":\"hasnot\",\"elem\":\"bool\",\"dims\":[],\"bytes\":1}");
	lf_output(f, "{\"name\":\"wide\",\"elem\":\"i64\",\"dims\":[-1,-1],\"bytes\":0}");
	b = lf_body(f);
	x = lf_in(b, LF_I64, 2);
	at = lf_in(b, LF_I64, 0);
	opt = lf_object(b, MLRT_V_OPT_SEQ, LF_I64, 0);
	lf_give(b, opt);
	rows = object_step(b, MLRT_OBJ_SPLIT, MLRT_V_SEQ, x, LF_NONE, LF_NONE); /* axis 0, squeezed */
	fewer = object_step(b, MLRT_OBJ_SEQ_ERASE, MLRT_V_SEQ, rows, at, LF_NONE);
	one = lf_own_tensor(b, LF_I64, 1);
	lf_step(b, MLRT_STEP_OBJECT, 1, rows, at, one, LF_NONE)->object = MLRT_OBJ_SEQ_AT;
	more = object_step(b, MLRT_OBJ_SEQ_INSERT, MLRT_V_SEQ, fewer, one, at);
	n = lf_own_tensor(b, LF_I64, 0);
	lf_step(b, MLRT_STEP_OBJECT, 1, more, n, LF_NONE)->object = MLRT_OBJ_SEQ_LENGTH;
	table = lf_own_tensor(b, LF_I64, 2);
	step = lf_step(b, MLRT_STEP_OBJECT, 1, more, table, LF_NONE); /* the transpose of x */
	step->object = MLRT_OBJ_CONCAT;
	step->imm[0] = -1;
	step->imm[1] = 1;
	some = object_step(b, MLRT_OBJ_OPTIONAL, MLRT_V_OPT, one, LF_NONE, LF_NONE);
	none = lf_object(b, MLRT_V_OPT_SEQ, LF_I64, 0);
	lf_step(b, MLRT_STEP_OBJECT, 1, none, LF_NONE)->object = MLRT_OBJ_OPTIONAL; /* of nothing */
	has = lf_own_tensor(b, LF_BOOL, 0);
	lf_step(b, MLRT_STEP_OBJECT, 1, some, has, LF_NONE)->object = MLRT_OBJ_OPTIONAL_HAS;
	hasnot = lf_own_tensor(b, LF_BOOL, 0);
	lf_step(b, MLRT_STEP_OBJECT, 1, none, hasnot, LF_NONE)->object = MLRT_OBJ_OPTIONAL_HAS;
	lf_step(b, MLRT_STEP_OBJECT, 1, some, one, LF_NONE)->object = MLRT_OBJ_OPTIONAL_GET;
	pair = object_step(b, MLRT_OBJ_OPTIONAL_GET, MLRT_V_SEQ, opt, LF_NONE, LF_NONE);
	back = object_step(b, MLRT_OBJ_SEQ_CONSTRUCT, MLRT_V_SEQ, x, x, LF_NONE);
	(void)back;
	wide = lf_own_tensor(b, LF_I64, 2);
	step = lf_step(b, MLRT_STEP_OBJECT, 1, pair, wide, LF_NONE);
	step->object = MLRT_OBJ_CONCAT;
	step->imm[0] = 1;
	lf_result(b, fewer);
	lf_result(b, n);
	lf_result(b, one);
	lf_result(b, table);
	lf_result(b, has);
	lf_result(b, hasnot);
	lf_result(b, wide);
	lf_build(f);
}

/* Gives text as a scan; strings all the way. */
static void text_body(ListFixture *f)
{
	LfBody *b = lf_body(f);
	uint32_t cond, text;

	lf_in(b, LF_I64, 0);
	cond = lf_in(b, LF_BOOL, 0);
	text = lf_in(b, LF_STR, 1);
	lf_result(b, cond);
	lf_result(b, text);
	lf_result(b, text);
	lf_result(b, text); /* of no use to anyone */
}

void lp_texts(ListFixture *f)
{
	static const char *const words[] = {"ant", "", "gnu's not"}, *const wanted[] = {"gnu's not", "none", "ant"};
	LfBody *b;
	uint32_t text, x, m, key, want, maps, first, row, out, last, scan, copy, zero;
	MlrtBodyStep *step;

	lf_init(f);
	lf_input(f, "{\"name\":\"text\",\"elem\":\"str\",\"dims\":[-1],\"bytes\":0}");
	lf_input(f, "{\"name\":\"x\",\"elem\":\"i64\",\"dims\":[-1,3],\"bytes\":0}");
	lf_input(f, SCALAR("m"));
	lf_output(f, "{\"name\":\"maps\",\"kind\":\"seq_map\",\"key\":\"str\",\"elem\":\"i64\",\"dims\":[],\"bytes\":0}");
	lf_output(f, "{\"name\":\"found\",\"elem\":\"i64\",\"dims\":[1,3],\"bytes\":24}");
	lf_output(f, "{\"name\":\"last\",\"elem\":\"str\",\"dims\":[-1],\"bytes\":0}");
	lf_output(f, "{\"name\":\"scan\",\"elem\":\"str\",\"dims\":[-1,-1],\"bytes\":0}");
	lf_output(f, "{\"name\":\"words\",\"elem\":\"str\",\"dims\":[3],\"bytes\":48}");
	lf_strings(f, words, 3);
	lf_strings(f, wanted, 3);
	zero = (uint32_t)lf_weights(f, &(int64_t){0}, 8);
	b = lf_body(f);
	text = lf_in(b, LF_STR, 1);
	x = lf_in(b, LF_I64, 2);
	m = lf_in(b, LF_I64, 0);
	key = lf_tensor(b, LF_STR, 1, lf_arg(b, MLRT_STRINGS, 0, 0, 48, MLRT_ABSENT));
	want = lf_tensor(b, LF_STR, 1, lf_arg(b, MLRT_STRINGS, 1, 0, 48, MLRT_ABSENT));
	b->expr[b->head.nexprs++] = (MlrtExpr){MLRT_X_CONST, lf_dim(b, key, 0), MLRT_ABSENT, MLRT_ABSENT, 3};
	b->expr[b->head.nexprs++] = (MlrtExpr){MLRT_X_CONST, lf_dim(b, want, 0), MLRT_ABSENT, MLRT_ABSENT, 3};
	lf_prologue_ends(b);
	maps = lf_object(b, MLRT_V_SEQ_MAP, LF_I64, LF_STR);
	lf_step(b, MLRT_STEP_OBJECT, 1, x, key, maps, LF_NONE)->object = MLRT_OBJ_ZIP_MAP;
	row = lf_object(b, MLRT_V_MAP, LF_I64, LF_STR);
	first = lf_tensor(b, LF_I64, 0, lf_arg(b, MLRT_WEIGHT, 0, zero, 8, MLRT_ABSENT));
	lf_step(b, MLRT_STEP_OBJECT, 1, maps, first, row, LF_NONE)->object = MLRT_OBJ_SEQ_AT;
	out = lf_own_tensor(b, LF_I64, 2);
	lf_step(b, MLRT_STEP_OBJECT, 1, row, want, out, LF_NONE)->object = MLRT_OBJ_DICT_VECTORIZER;
	last = lf_own_tensor(b, LF_STR, 1);
	scan = lf_own_tensor(b, LF_STR, 2);
	step = lf_step(b, MLRT_STEP_LOOP, 3, m, LF_ABSENT, text, last, scan, LF_ABSENT, LF_NONE);
	step->program[0] = 1;
	step->imm[0] = 1;
	step->first_expr = b->head.nexprs; /* the width, should there be no iteration */
	step->nexprs = 1;
	b->expr[b->head.nexprs++] = (MlrtExpr){MLRT_X_COPY, lf_dim(b, scan, 1), lf_dim(b, text, 0), MLRT_ABSENT, 0};
	copy = lf_own_tensor(b, LF_STR, 1);
	lf_step(b, MLRT_STEP_COPY, 1, key, copy, LF_NONE);
	lf_result(b, maps);
	lf_result(b, out);
	lf_result(b, last);
	lf_result(b, scan);
	lf_result(b, copy);
	text_body(f);
	lf_build(f);
}

void lp_append(ListFixture *f)
{
	LfBody *b;
	uint32_t x, past, both, present;

	lf_init(f);
	lf_input(f, IN_N("x"));
	lf_input(f, "{\"name\":\"past\",\"elem\":\"i64\",\"dims\":[-1],\"dim_names\":[\"p\"],\"bytes\":0}");
	lf_output(f, "{\"name\":\"present\",\"elem\":\"i64\",\"dims\":[-1],\"dim_names\":[\"n+p\"],\"bytes\":0}");
	b = lf_body(f);
	x = lf_in(b, LF_I64, 1);
	past = lf_in(b, LF_I64, 1);
	both = object_step(b, MLRT_OBJ_SEQ_CONSTRUCT, MLRT_V_SEQ, past, x, LF_NONE);
	present = lf_own_tensor(b, LF_I64, 1);
	lf_step(b, MLRT_STEP_OBJECT, 1, both, present, LF_NONE)->object = MLRT_OBJ_CONCAT;
	lf_result(b, present);
	lf_build(f);
}
