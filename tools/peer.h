/* tools/peer.h -- another runtime, measured beside ours: ONNX Runtime in a Node.js process.
 *
 * Node finds `onnxruntime-node` through NODE_PATH or ./node_modules.  The peer runs only when asked,
 * so that measurements can be interleaved. */
#ifndef MLO_TOOLS_PEER_H
#define MLO_TOOLS_PEER_H
#include "tools/model.h"

typedef struct Peer Peer;
/* Runs `model` on `in`, the inputs of `m` (NULL: a state, zeros).  NULL with the reason in `why` when it is not
 * installed or cannot run the model.  Ends with `a`. */
Peer *peer_start(MloArena *a, const char *model, const Model *m, MloTensor *const *in, int threads, char *why, size_t n);
typedef struct PeerFacts {
	const char *version;      /* valid as long as the peer */
	double load_ms, first_ms; /* a session made; and its first run, too */
	double memory_bytes;      /* what its process has grown by until then */
} PeerFacts;
PeerFacts peer_facts(const Peer *p);
/* Runs for that long, at least once; adds milliseconds per run through `add`. False: the peer is gone. */
bool peer_run(Peer *p, double seconds, void (*add)(void *user, double ms), void *user);
#endif
