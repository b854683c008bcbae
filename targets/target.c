/* targets/target.c -- the tables of variants and targets, and their look-up. */
#include "targets/target.h"

#include <stdio.h>
#include <string.h>

#define DOTS(id, us, ss, pairs, bf, rnd) DOTS_MM(id, us, ss, pairs, bf, rnd, NULL, NULL, NULL)
#define DOTS_MM(id, us, ss, pairs, bf, rnd, mus, mss, mbf) \
	static const MloDots dots_##id = {.u8s8 = us, .s8s8 = ss, .i16 = pairs, .bf16 = bf, .round = rnd, .mm_u8s8 = mus, .mm_s8s8 = mss, .mm_bf16 = mbf};
#define DOTS_HALF(id, half, pairs) static const MloDots dots_##id = {.half_s8s8 = half, .neighbours = pairs};
#define MATRIX(id, cfg, rel, zr, ld, st, us, ss, bf, nreg, nrow, nbyte, cyc, lat, rcyc)                    \
	static const MloMatrix matrix_##id = {.config = cfg, .release = rel, .zero = zr, .load = ld, .store = st, .u8s8 = us, \
		.s8s8 = ss, .bf16 = bf, .registers = nreg, .rows = nrow, .row_bytes = nbyte, .product_cycles = cyc, \
		.product_latency = lat, .row_cycles = rcyc};
#define VARIANT(id, ...) VARIANT_ROW(id, __VA_ARGS__)
#define VARIANT_ROW(id, nm, ar, tr, cp, tn, ft, nd, vb, rb, vr, tv, bl, dt, mx, d1, dw, d2, d3, ghz, fma, bpc, fork)       \
	static const MloTarget variant_##id = {                                                                \
		.name = nm, .arch = ar, .triple = tr, .cpu = cp, .tune = tn, .features = ft, .needs = nd, .vector_bytes = vb, .register_bytes = rb, \
		.vector_regs = vr, .tile_vecs = tv, .block = bl, .dots = &dots_##dt, .matrix = mx, .l1d = d1, .l1d_ways = dw,            \
		.l2 = d2, .l3 = d3, .clock_ghz = ghz, .fma_per_cycle = fma, .bytes_per_cycle = bpc, .fork_ns = fork};
#include "targets/variants.def"

/* Vectors are four registers of a thread, as a load or store takes them. */
#define GPU(id, cc, version, dev, n, ghz, threads, shared, most, l2_bytes, gb, p32, ptf32, p16, p8, blocks, groups)                \
	static const MloGpu gpu_##id = {.capability = cc, .ptx = version, .device = dev, .sms = n, .clock_ghz = ghz,     \
		.sm_threads = threads, .sm_registers = 64 << 10, .sm_shared = (shared) << 10, .block_shared = (most) << 10, \
		.l2 = l2_bytes, .gbytes = gb, .f32 = p32, .tf32 = ptf32, .f16 = p16, .i8 = p8, .sm_blocks = blocks, .warpgroups = groups};     \
	static const MloTarget variant_##id = {                                                                         \
		.name = #id, .arch = "nvptx64", .triple = "nvptx64-nvidia-cuda", .cpu = #id, .features = "+ptx" #version, .needs = (groups) ? #id ",ptx_" #version : #id, \
		.vector_bytes = 16, .register_bytes = 4, .vector_regs = 16, .block = 32, .dots = &dots_none, .gpu = &gpu_##id, .l1d = (shared) << 10, \
		.l1d_ways = 4, .l2 = l2_bytes, .l3 = l2_bytes, .clock_ghz = ghz, .fma_per_cycle = 128 * (n), \
		.bytes_per_cycle = (gb) / (ghz), .fork_ns = 2000};
#include "targets/gpus.def"

static const MloTarget *const variants[] = {
#define DOTS(...)
#define DOTS_MM(...)
#define DOTS_HALF(...)
#define MATRIX(...)
#define VARIANT(id, ...) &variant_##id,
#include "targets/variants.def"
};

static const MloTargetSet sets[] = {
#define V(id) &variant_##id
#define TARGET(nm, al, sum, ...) {.name = nm, .aliases = al, .summary = sum, .variant = {__VA_ARGS__}},
#include "targets/targets.def"
#undef V
};
/* Each level by its own name. */
static const MloTargetSet levels[] = {
#define DOTS(...)
#define DOTS_MM(...)
#define DOTS_HALF(...)
#define MATRIX(...)
#define VARIANT(id, nm, ...) {.name = nm, .aliases = "", .summary = "that level alone", .variant = {&variant_##id}},
#include "targets/variants.def"
};
/* What a message lists. */
enum { KNOWN_NAMES = 1024 };
enum { NSETS = sizeof sets / sizeof *sets, NVARIANTS = sizeof variants / sizeof *variants };

bool mlo_target_bare(const MloTarget *t)
{
	return strstr(t->triple, "-none-") != NULL;
}

unsigned mlo_target_pointer_bytes(const MloTarget *t)
{
	return strcmp(t->arch, "arm") == 0 ? 4 : 8;
}

unsigned mlo_target_stack_align(const MloTarget *t)
{
	return strcmp(t->arch, "arm") == 0 ? 8 : 16;
}

unsigned mlo_target_call_bytes(const MloTarget *t)
{
	return strcmp(t->arch, "x86_64") == 0 ? 8 : 0;
}

bool mlo_target_sve(const MloTarget *t)
{
	return t->register_bytes > MLO_NEON_BYTES && !strcmp(t->arch, "aarch64");
}

bool mlo_target_by_lane(const MloTarget *t)
{
	return strcmp(t->arch, "aarch64") == 0 && !mlo_target_sve(t);
}

const MloTarget *mlo_target_native(void)
{
	char why[64];

	for (size_t i = NVARIANTS; i-- > 0;)
		if (mlo_target_runs_here(variants[i], why, sizeof why))
			return variants[i];
	return NULL;
}

/* `native` depends on the machine, so its set is made on demand; the same content every time. */
static const MloTargetSet *native_set(void)
{
	static MloTargetSet set = {.name = "native", .aliases = "", .summary = "this machine: the best level its CPU runs"};

	set.variant[0] = mlo_target_native();
	return &set;
}

const MloTargetSet *mlo_target_at(size_t i)
{
	return i == 0 ? native_set() : i <= NSETS ? &sets[i - 1] : NULL;
}

static bool in_list(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; *p;) {
		size_t len = strcspn(p, ",");

		if (len == n && !strncmp(p, name, n))
			return true;
		p += len + (p[len] == ',');
	}
	return false;
}

const MloTargetSet *mlo_target_find(const char *name, MloDiag *d)
{
	char known[KNOWN_NAMES] = "";

	for (size_t i = 0; mlo_target_at(i); i++) {
		const MloTargetSet *s = mlo_target_at(i);

		if (!strcmp(s->name, name) || in_list(s->aliases, name)) {
			if (s->variant[0])
				return s;
			mlo_error(d, MLO_ERR_TARGET, "target 'native': this machine's CPU is of no known level");
			return NULL;
		}
		snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", s->name);
	}
	for (size_t i = 0; i < NVARIANTS; i++)
		if (!strcmp(variants[i]->name, name))
			return &levels[i];
	mlo_error(d, MLO_ERR_USAGE, "unknown target '%s'", name);
	mlo_hint(d, "known targets: %s (mlopt targets tells more)", known);
	return NULL;
}

static bool has_variant(const MloTargetSet *set, const MloTarget *v)
{
	for (size_t i = 0; set->variant[i]; i++)
		if (set->variant[i] == v)
			return true;
	return false;
}

const MloTargetSet *mlo_target_find_list(MloArena *a, const char *names, MloDiag *d)
{
	MloTargetSet *all;
	size_t n = 0;

	if (!strchr(names, ','))
		return mlo_target_find(names, d);
	all = MLO_NEW(a, MloTargetSet);
	all->name = mlo_strdup(a, names);
	all->aliases = "";
	all->summary = "several targets in one package";
	for (const char *p = names; *p; p += strcspn(p, ","), p += *p == ',') {
		const MloTargetSet *one = mlo_target_find(mlo_strndup(a, p, strcspn(p, ",")), d);

		if (!one)
			return NULL;
		for (size_t i = 0; one->variant[i]; i++) {
			if (has_variant(all, one->variant[i]))
				continue;
			if (n == MLO_MAX_VARIANTS) {
				mlo_error(d, MLO_ERR_USAGE, "targets '%s' have more than %d levels", names, MLO_MAX_VARIANTS);
				return NULL;
			}
			all->variant[n++] = one->variant[i];
		}
	}
	return all;
}

double mlo_gpu_peak(const MloGpu *g, const char *products)
{
	const double peak = !strcmp(products, "tf32") ? g->tf32
	                    : !strcmp(products, "f16") || !strcmp(products, "bf16") ? g->f16
	                    : !strcmp(products, "i8") ? g->i8
	                                              : g->f32;

	return peak > 0 ? peak : g->f32;
}

int mlo_gpu_resident(const MloGpu *g, int threads, int registers, int64_t shared)
{
	enum { WARP = 32, UNIT = 256, OWN = 1 << 10 };
	const int warps = (threads + WARP - 1) / WARP, of_warp = (registers * WARP + UNIT - 1) / UNIT * UNIT;
	int n = g->sm_threads / (warps * WARP);

	shared += g->capability >= 80 ? OWN : 0;
	n = n < g->sm_blocks ? n : g->sm_blocks;
	if (of_warp && n > g->sm_registers / (of_warp * warps))
		n = g->sm_registers / (of_warp * warps);
	return shared > 0 && n > g->sm_shared / shared ? (int)(g->sm_shared / shared) : n;
}
