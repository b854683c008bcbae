/* codegen/schedule_space.c -- which schedules a contraction can have, and which of them are worth measuring. */
#include "codegen/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/contract.h"
#include "codegen/matrix.h"
#include "codegen/sparse.h"
#include "codegen/strips.h"
#include "codegen/winograd.h"

/* Tiles that the cost model expects to take longer than this many times its best are left out. */
#define TILE_SLACK 1.35
enum { MAX_TILES = 24, WINO_PER_SIZE = 3, WANTED_TASKS = 32, WANTED_SPLITS = 6, STRIPS_TILES = 4 };

/* -- schedules as values ------------------------------------------------------------------------ */

MloSchedule mlo_schedule_of(const KContract *c)
{
	return (MloSchedule){.vecs = c->vecs, .cols = c->cols, .rows = c->rows, .y_chunk = c->y_chunk,
	                     .c_outer = c->c_outer, .wino = c->wino, .depth = c->depth, .strips = c->strips,
	                     .c_chunk = c->wino || c->depth || c->strips || c->sparse.spread ? c->c_chunk : 0,
	                     .spread = c->sparse.spread, .group = c->sparse.group, .runs = c->sparse.runs};
}

void mlo_schedule_set(KContract *c, const MloSchedule *s)
{
	c->vecs = s->vecs;
	c->cols = s->cols;
	c->rows = s->rows;
	c->y_chunk = s->y_chunk;
	c->c_outer = s->c_outer;
	c->wino = s->wino;
	if (c->wino)
		wino_elements(c);
	c->c_chunk = s->c_chunk;
	c->depth = s->depth;
	c->strips = s->strips;
	if (s->spread)
		c->dot = contract_lane_dot(c);
	c->sparse.spread = s->spread;
	c->sparse.group = s->group;
	c->sparse.runs = s->runs;
}

bool mlo_schedule_same(const MloSchedule *a, const MloSchedule *b)
{
	return a->vecs == b->vecs && a->cols == b->cols && a->rows == b->rows && a->y_chunk == b->y_chunk &&
	       a->c_outer == b->c_outer && a->wino == b->wino && a->c_chunk == b->c_chunk &&
	       a->depth == b->depth && a->strips == b->strips && a->spread == b->spread && a->group == b->group && a->runs == b->runs;
}

void mlo_schedule_write(MloStr *out, const MloSchedule *s)
{
	mlo_str_add(out, "vecs=%d cols=%d rows=%d y_chunk=%lld c_outer=%d wino=%d c_chunk=%lld depth=%d spread=%d group=%d runs=%lld strips=%d",
	            s->vecs, s->cols, s->rows, (long long)s->y_chunk, s->c_outer, s->wino, (long long)s->c_chunk, s->depth,
	            s->spread, s->group, (long long)s->runs, s->strips);
}

/* "NAME=VALUE", VALUE a whole number from 0 on; answers what follows, or NULL. */
static const char *read_member(const char *at, const char *name, int64_t most, int64_t *value)
{
	size_t n = strlen(name);
	char *end;

	at += *at == ' ';
	if (strncmp(at, name, n) != 0 || at[n] != '=' || at[n + 1] < '0' || at[n + 1] > '9')
		return NULL;
	*value = strtoll(at + n + 1, &end, 10);
	return *value <= most ? end : NULL;
}

bool mlo_schedule_read(const char *text, MloSchedule *out)
{
	static const char *const name[] = {"vecs", "cols", "rows", "y_chunk", "c_outer", "wino", "c_chunk", "depth", "spread",
	                                   "group", "runs", "strips"};
	static const int64_t most[] = {64, 64, 64, INT64_MAX - 1, 1, WINO_MAX_M, INT64_MAX - 1, 64, 64, 64, INT64_MAX - 1, 1};
	int64_t v[12];

	for (int i = 0; i < 12; i++) {
		text = read_member(text, name[i], most[i], &v[i]);
		if (!text)
			return false;
	}
	*out = (MloSchedule){.vecs = (int)v[0], .cols = (int)v[1], .rows = (int)v[2], .y_chunk = v[3],
	                     .c_outer = v[4] != 0, .wino = (int)v[5], .c_chunk = v[6], .depth = (int)v[7],
	                     .spread = (int)v[8], .group = (int)v[9], .runs = v[10], .strips = v[11] != 0};
	return *text == 0 || *text == '\n';
}

/* -- what can be --------------------------------------------------------------------------------- */

static bool fits_winograd(const MloTunable *k, const KContract *c)
{
	return k->winograd && wino_can(k->target, c) && (c->wino == 2 || c->wino == 4) && c->rows == 1 &&
	       c->y_chunk % wino_my(c) == 0 && c->y_chunk / wino_my(c) <= wino_down(c) && wino_cvecs(c) % c->vecs == 0 &&
	       c->c_chunk >= 1 && c->c_chunk <= mlo_contract_ctiles(c);
}

static bool fits_direct(const MloTunable *k, const KContract *c)
{
	bool by_columns = mlo_contract_by_columns(c);
	int64_t extent = by_columns ? c->nx : c->ny, unit = by_columns ? c->cols : c->rows;

	if (c->wino || c->c_chunk || contract_splits_group(c, c->vecs) || c->y_chunk % (by_columns ? unit : 1))
		return false;
	if (c->rows == 2 &&
	    (by_columns || contract_is_depthwise(c) || c->ny < 2 || !contract_two_rows_fit(k->target, c)))
		return false;
	return c->y_chunk <= (extent + unit - 1) / unit * unit;
}

static bool fits_matrix(const MloTunable *k, const KContract *c)
{
	bool by_columns = mlo_contract_by_columns(c);
	int64_t extent = by_columns ? c->nx : c->ny, unit = by_columns ? (int64_t)c->rows * c->cols : 1;

	return matrix_can(k->target, c) && matrix_fits(k->target, c) && c->y_chunk % unit == 0 &&
	       c->y_chunk <= (extent + unit - 1) / unit * unit;
}

bool mlo_schedule_fits(const MloTunable *k, const MloSchedule *s)
{
	KContract c = *k->c;

	if (s->vecs < 1 || s->vecs > CONTRACT_MAX_VECS || s->cols < 1 || s->cols > CONTRACT_MAX_COLS || s->rows < 1 ||
	    s->y_chunk < 1 || s->vecs > (c.nc + c.lanes - 1) / c.lanes)
		return false;
	mlo_schedule_set(&c, s);
	contract_choose_sign(k->target, &c);
	if (s->spread || s->group || s->runs)
		return s->spread && !s->depth && !s->strips && k->weights.n[0] && sparse_can(k->target, &c) && sparse_fits(k->target, &c);
	if (s->depth)
		return !s->strips && fits_matrix(k, &c);
	if (s->strips)
		return strips_can(&c) && strips_fits(k->target, &c);
	return s->rows <= 2 && contract_tile_fits(k->target, &c, s->cols, s->vecs) &&
	       (s->wino ? fits_winograd(k, &c) : fits_direct(k, &c));
}

/* -- what is worth trying -------------------------------------------------------------------------- */

typedef struct Space {
	MloArena *a;
	const MloTunable *k;
	KContract direct;   /* without a schedule */
	MloSchedule model;
	int64_t tasks;      /* of the cost model's schedule */
	MloScheduleList *out;
} Space;

static int64_t tasks_of(const KContract *c)
{
	return c->nb0 * c->nb1 * mlo_contract_chunks(c) * mlo_contract_csplits(c);
}

static Space space_of(MloArena *a, const MloTunable *k, MloScheduleList *out)
{
	Space s = {.a = a, .k = k, .direct = *k->c, .model = mlo_schedule_of(k->c), .tasks = tasks_of(k->c), .out = out};

	s.direct.wino = 0;
	s.direct.c_chunk = 0;
	s.direct.depth = 0;
	s.direct.strips = false;
	s.direct.sparse.spread = 0;
	s.direct.sparse.group = 0;
	s.direct.sparse.runs = 0;
	contract_choose_sign(k->target, &s.direct);
	return s;
}

/* Fewer tasks than several threads want would be quick on one thread alone. */
static bool feeds_threads(const Space *f, const MloSchedule *s)
{
	KContract c = f->direct;
	int64_t wanted = s->wino || s->depth || s->strips || s->spread ? WANTED_SPLITS : WANTED_TASKS;

	mlo_schedule_set(&c, s);
	return tasks_of(&c) >= (wanted < f->tasks ? wanted : f->tasks);
}

static void offer(Space *f, MloSchedule s)
{
	if (!mlo_schedule_fits(f->k, &s) || mlo_schedule_same(&s, &f->model) || !feeds_threads(f, &s))
		return;
	for (size_t i = 0; i < f->out->n; i++)
		if (mlo_schedule_same(&s, &f->out->items[i]))
			return;
	MLO_PUSH(f->a, f->out, s);
}

typedef struct Tile {
	int cols, vecs;
	double cycles;
} Tile;

static int faster(const void *x, const void *y)
{
	const Tile *a = x, *b = y;

	if (a->cycles != b->cycles)
		return a->cycles < b->cycles ? -1 : 1;
	return a->vecs != b->vecs ? a->vecs - b->vecs : a->cols - b->cols;
}

/* All tiles for direct sums, the fastest by the cost model first. */
static size_t tiles_of(const Space *f, const KContract *c, Tile *tile)
{
	size_t n = 0;

	for (int vecs = 1; vecs <= CONTRACT_MAX_VECS; vecs++)
		for (int cols = 1; cols <= CONTRACT_MAX_COLS && cols <= c->nx; cols++)
			if (contract_tile_fits(f->k->target, c, cols, vecs) && !contract_splits_group(c, vecs))
				tile[n++] = (Tile){cols, vecs, contract_row_cycles(f->k->target, c, cols, vecs)};
	qsort(tile, n, sizeof *tile, faster);
	return n;
}

static void offer_tiles(Space *f, size_t most)
{
	Tile tile[CONTRACT_MAX_VECS * CONTRACT_MAX_COLS];
	KContract c = f->direct;
	size_t n = tiles_of(f, &c, tile);

	for (size_t i = 0; i < n && i < most && tile[i].cycles <= TILE_SLACK * tile[0].cycles; i++) {
		c.cols = tile[i].cols;
		c.vecs = tile[i].vecs;
		contract_schedule_rows(f->k->target, &c);
		offer(f, mlo_schedule_of(&c));
	}
}

/* The numbers of rows of pieces per chunk that the cost model finds best, for pieces of m. */
static void offer_winograd(Space *f, int m, int most)
{
	double before = 0;

	if (!f->k->winograd || !wino_can(f->k->target, &f->direct))
		return;
	for (int i = 0; i < most; i++) {
		KContract c = f->direct, best = c;
		double cycles = 0;

		c.wino = m;
		for (int64_t down = 1; down <= wino_down(&c); down++) {
			double one = wino_schedule(f->k->target, &c, f->k->weights_stay, m, down);

			if (one > before && (cycles == 0 || one < cycles)) {
				cycles = one;
				best = c;
			}
		}
		if (cycles == 0)
			return;
		offer(f, mlo_schedule_of(&best));
		before = cycles;
	}
}

/* The best on the matrix unit with each form of tiles. */
static void offer_matrix(Space *f)
{
	if (!matrix_can(f->k->target, &f->direct))
		return;
	for (int vecs = 1; vecs <= MATRIX_MAX_VECS; vecs++) {
		for (int rows = 1; rows <= MATRIX_MAX_ROWS; rows++) {
			KContract c = f->direct;

			if (isfinite(matrix_schedule(f->k->target, rows, vecs, &c)))
				offer(f, mlo_schedule_of(&c));
		}
	}
}

/* The best with copies, for each of the fastest tiles. */
static void offer_strips(Space *f, size_t most)
{
	KContract form;
	Tile tile[CONTRACT_MAX_VECS * CONTRACT_MAX_COLS];
	size_t n;

	if (!strips_can(&f->direct))
		return;
	form = strips_form(&f->direct);
	n = tiles_of(f, &form, tile);
	for (size_t i = 0; i < n && i < most && tile[i].cycles <= TILE_SLACK * tile[0].cycles; i++) {
		KContract c = f->direct;

		form.cols = c.cols = tile[i].cols;
		form.vecs = c.vecs = tile[i].vecs;
		contract_schedule_rows(f->k->target, &form);
		c.rows = form.rows;
		if (isfinite(strips_schedule(f->k->target, &c)))
			offer(f, mlo_schedule_of(&c));
	}
}

/* The best for sparse weights with tiles of at most so many registers. */
static void offer_sparse(Space *f)
{
	if (!f->k->weights.n[0] || !sparse_can(f->k->target, &f->direct))
		return;
	for (int i = 0; i < MLO_SPARSE_GROUPS; i++) {
		for (int registers = sparse_most_registers(f->k->target, 1 << i); registers >= 1; registers /= 2) {
			KContract c = f->direct;

			c.sparse.group = 1 << i;
			if (isfinite(sparse_schedule(f->k->target, registers, f->k->weights.n[i], &c)))
				offer(f, mlo_schedule_of(&c));
		}
	}
}

void mlo_schedule_candidates(MloArena *a, const MloTunable *k, MloScheduleList *out)
{
	Space f = space_of(a, k, out);

	/* the best of each kind, then the others */
	offer_matrix(&f);
	offer_strips(&f, STRIPS_TILES);
	offer_sparse(&f);
	offer_winograd(&f, 4, 1);
	offer_winograd(&f, 2, 1);
	offer_tiles(&f, f.model.wino ? 1 : MAX_TILES);
	offer_winograd(&f, 4, WINO_PER_SIZE);
	offer_winograd(&f, 2, WINO_PER_SIZE);
	offer_tiles(&f, MAX_TILES / 4);
}

/* Another tile for s; chunks of columns stay whole tiles. */
static void offer_tile(Space *f, const MloSchedule *s, int cols, int vecs)
{
	MloSchedule o = *s;
	KContract c = f->direct;

	o.cols = cols;
	o.vecs = vecs;
	mlo_schedule_set(&c, &o);
	if (cols > 0 && mlo_contract_by_columns(&c))
		o.y_chunk = (s->y_chunk + cols - 1) / cols * cols;
	if ((o.wino || o.strips) && vecs > 0)
		o.c_chunk = (s->c_chunk * s->vecs + vecs - 1) / vecs;
	offer(f, o);
}

static void offer_chunk(Space *f, const MloSchedule *s, int64_t y_chunk, int64_t c_chunk)
{
	MloSchedule o = *s;

	o.y_chunk = y_chunk;
	o.c_chunk = c_chunk;
	offer(f, o);
}

static void offer_sparse_runs(Space *f, const MloSchedule *s)
{
	MloSchedule o = *s;

	o.runs = s->runs * 2;
	offer(f, o);
	o.runs = s->runs / 2;
	offer(f, o);
	offer_chunk(f, s, s->y_chunk, (s->c_chunk + 1) / 2);
	offer_chunk(f, s, s->y_chunk, s->c_chunk * 2);
}

void mlo_schedule_neighbours(MloArena *a, const MloTunable *k, const MloSchedule *s, MloScheduleList *out)
{
	Space f = space_of(a, k, out);
	KContract c = f.direct;
	MloSchedule o = *s;
	int64_t unit, units;

	mlo_schedule_set(&c, s);
	if (s->spread) {
		offer_sparse_runs(&f, s);
		return;
	}
	unit = s->wino                       ? wino_my(&c)
	       : mlo_contract_by_columns(&c) ? (int64_t)s->cols * (s->depth ? s->rows : 1)
	       : s->depth                    ? 1
	                                     : s->rows;
	units = (s->y_chunk + unit - 1) / unit;
	if (!s->wino && !s->depth && !s->strips) { /* their tasks make all channel tiles of a chunk */
		o.c_outer = !s->c_outer;
		offer(&f, o);
		o = *s;
		o.rows = 3 - s->rows;
		offer(&f, o);
	}
	offer_chunk(&f, s, (units + 1) / 2 * unit, s->c_chunk);
	offer_chunk(&f, s, units * 2 * unit, s->c_chunk);
	if (s->wino || s->depth || s->strips) {
		offer_chunk(&f, s, (units - 1) * unit, s->c_chunk);
		offer_chunk(&f, s, (units + 1) * unit, s->c_chunk);
		offer_chunk(&f, s, s->y_chunk, (s->c_chunk + 1) / 2);
		offer_chunk(&f, s, s->y_chunk, s->c_chunk * 2);
	}
	if (s->depth)
		return;
	offer_tile(&f, s, s->cols + 1, s->vecs);
	offer_tile(&f, s, s->cols - 1, s->vecs);
	offer_tile(&f, s, s->cols, s->vecs + 1);
	offer_tile(&f, s, s->cols, s->vecs - 1);
	offer_tile(&f, s, s->cols / 2, s->vecs * 2);
	offer_tile(&f, s, s->cols * 2, s->vecs / 2);
}
