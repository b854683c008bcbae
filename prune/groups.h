/* prune/groups.h -- channels that can only be removed together: dependency groups.
 *
 * Each value has an axis of channels, a list of runs of channels, each of one group: convolutions and matrix products
 * with constant weights start a new group; what works element by element, pools, normalises by channel or flattens
 * carries it on; additions and products of two values make one group of two; a concatenation lists the groups of its
 * parts.  Whatever else reads or makes a value keeps its groups whole.  (The problem of DepGraph, Fang et al. 2023.) */
#ifndef MLO_PRUNE_GROUPS_H
#define MLO_PRUNE_GROUPS_H
#include "ir/graph.h"

/* Channels first .. first + n of a group. */
typedef struct MloChannelRun {
	size_t group;
	int64_t n;
} MloChannelRun;
/* The channels of a value: those of the runs, one after the other, each `repeat` elements along `axis`.
 * nruns 0: not known. */
typedef struct MloChannels {
	MloChannelRun *run;
	size_t nruns;
	int axis;
	int64_t repeat;
} MloChannels;

typedef struct MloChannelGroup {
	int64_t n;
	const char *whole;    /* why none of its channels can be removed; NULL: they can */
	MloNode **maker, **reader; /* convolutions (not depthwise) and products that give its channels, and that read them */
	size_t makers, readers;
	uint8_t *keep;        /* [n], all set at first */
} MloChannelGroup;

typedef struct MloGroups {
	MloArena *a;
	MloGraph *g;
	MloChannelGroup *group;
	size_t n;
	MloChannels *of;      /* by value id */
} MloGroups;

/* The groups of g, whose types are inferred. */
MloGroups *mlo_groups_new(MloArena *a, MloGraph *g);
/* keep[channels of v * repeat]: which elements along its axis stay; in a. */
const uint8_t *mlo_groups_keep(const MloGroups *s, const MloValue *v, int64_t *n);
int64_t mlo_group_left(const MloChannelGroup *c); /* channels that stay */
/* Is conv n one that works on each channel alone? */
bool mlo_conv_by_channel(const MloNode *n);

/* Removes channels that are not kept: weights, biases, whatever has an element per channel; types follow. */
MloStatus mlo_groups_remove(MloGroups *s, MloDiag *d) MLO_CHECKED;
#endif
