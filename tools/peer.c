/* tools/peer.c -- ONNX Runtime in a Node.js process, talked to over a pipe. */
#include "tools/peer.h"

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/cli.h"

enum { LOAD_SECONDS = 120, EXTRA_SECONDS = 60 };

static const char script[] =
#include "tools/ort_peer.inc"
	;

struct Peer {
	pid_t pid;
	FILE *to;
	int from;
	char *version;
	PeerFacts facts;
	char *buf; /* bytes of an answer that is not complete */
	size_t n, cap;
};

static void stop(void *obj)
{
	Peer *p = obj;

	if (p->to)
		fclose(p->to);
	close(p->from);
	kill(p->pid, SIGTERM);
	waitpid(p->pid, NULL, 0);
	free(p->buf);
	free(p->version);
	free(p);
}

static bool spawn(Peer *p)
{
	int down[2], up[2];

	if (pipe(down) != 0)
		return false;
	if (pipe(up) != 0) {
		close(down[0]);
		close(down[1]);
		return false;
	}
	p->pid = fork();
	if (p->pid == 0) {
		dup2(down[0], STDIN_FILENO);
		dup2(up[1], STDOUT_FILENO);
		if (!freopen("/dev/null", "w", stderr))
			_exit(127);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		execlp("node", "node", "-e", script, (char *)NULL);
		_exit(127);
	}
	close(down[0]);
	close(up[1]);
	p->from = up[0];
	p->to = p->pid > 0 ? fdopen(down[1], "w") : NULL;
	if (!p->to)
		close(down[1]);
	return p->to != NULL;
}

/* The next line, without its end; NULL when none comes in time. It stays valid until the next call. */
static char *read_line(Peer *p, double seconds)
{
	double end = cli_now() + seconds;

	for (;;) {
		char *newline = p->n ? memchr(p->buf, '\n', p->n) : NULL;
		struct pollfd poll_for = {.fd = p->from, .events = POLLIN};
		ssize_t got;

		if (newline) {
			*newline = 0;
			p->n = 0; /* one answer per request: nothing follows */
			return p->buf;
		}
		if (p->cap - p->n < 4096) {
			char *bigger = realloc(p->buf, p->cap + (1 << 20));

			if (!bigger)
				return NULL;
			p->buf = bigger;
			p->cap += 1 << 20;
		}
		if (poll(&poll_for, 1,
			 (int)(1000 * (end - cli_now())) > 0 ? (int)(1000 * (end - cli_now())) : 0) <= 0)
			return NULL;
		got = read(p->from, p->buf + p->n, p->cap - p->n);
		if (got <= 0)
			return NULL;
		p->n += (size_t)got;
	}
}

/* Sends a request (and frees it); the answer or NULL. */
static json_t *ask(Peer *p, json_t *request, double seconds)
{
	char *line = json_dumps(request, JSON_COMPACT), *answer = NULL;

	json_decref(request);
	if (line && fprintf(p->to, "%s\n", line) > 0 && fflush(p->to) == 0)
		answer = read_line(p, seconds);
	free(line);
	return answer ? json_loads(answer, 0, NULL) : NULL;
}

/* ONNX Runtime's name of an element type, as its JavaScript interface spells it. */
static const char *type_name(MloElem e)
{
	static const struct {
		MloElem elem;
		const char *name;
	} names[] = {
		{EL_f32, "float32"}, {EL_f64, "float64"}, {EL_u8, "uint8"},  {EL_i8, "int8"},
		{EL_u16, "uint16"},  {EL_i16, "int16"},   {EL_i32, "int32"}, {EL_u32, "uint32"},
		{EL_i64, "int64"},   {EL_u64, "uint64"},  {EL_bool, "bool"},
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (names[i].elem == e)
			return names[i].name;
	}
	return NULL;
}

static json_t *load_request(const char *model, const ModelTensor *in, size_t nin, int threads)
{
	json_t *request = json_object(), *inputs = json_array();

	for (size_t i = 0; i < nin; i++) {
		json_t *j = json_object(), *dims = json_array();

		for (int k = 0; k < in[i].rank; k++)
			json_array_append_new(dims, json_integer(in[i].pick[k]));
		json_object_set_new(j, "name", json_string(in[i].name));
		json_object_set_new(j, "type", json_string(type_name(in[i].elem)));
		json_object_set_new(j, "dims", dims);
		json_array_append_new(inputs, j);
	}
	json_object_set_new(request, "do", json_string("load"));
	json_object_set_new(request, "model", json_string(model));
	json_object_set_new(request, "threads", json_integer(threads));
	json_object_set_new(request, "inputs", inputs);
	return request;
}

Peer *peer_start(MloArena *a, const char *model, const ModelTensor *in, size_t nin, int threads, char *why,
		 size_t n)
{
	Peer *p = calloc(1, sizeof *p);
	json_t *answer;
	const char *version, *error;

	for (size_t i = 0; i < nin; i++) {
		if (!type_name(in[i].elem)) {
			snprintf(why, n, "input '%s' is %s", in[i].name, mlo_elem_text(in[i].elem));
			free(p);
			return NULL;
		}
	}
	if (!p || !spawn(p)) {
		snprintf(why, n, "cannot start node");
		free(p);
		return NULL;
	}
	mlo_defer(a, stop, p);
	answer = ask(p, load_request(model, in, nin, threads), LOAD_SECONDS);
	version = json_string_value(json_object_get(answer, "version"));
	error = json_string_value(json_object_get(answer, "error"));
	p->version = version ? strdup(version) : NULL;
	p->facts = (PeerFacts){.version = p->version,
			       .load_ms = json_number_value(json_object_get(answer, "load_ms")),
			       .first_ms = json_number_value(json_object_get(answer, "first_ms")),
			       .memory_bytes = json_number_value(json_object_get(answer, "memory"))};
	if (!p->version)
		snprintf(why, n, "%s",
			 error ? error
			       : "node with onnxruntime-node not found (NODE_PATH or ./node_modules)");
	json_decref(answer);
	return p->version ? p : NULL;
}

PeerFacts peer_facts(const Peer *p)
{
	return p->facts;
}

bool peer_run(Peer *p, double seconds, void (*add)(void *user, double ms), void *user)
{
	json_t *answer = ask(p, json_pack("{s:s,s:f}", "do", "run", "seconds", seconds),
			     seconds + EXTRA_SECONDS),
	       *ms;
	size_t i;

	json_array_foreach(json_object_get(answer, "ms"), i, ms) add(user, json_number_value(ms));
	i = json_array_size(json_object_get(answer, "ms"));
	json_decref(answer);
	return i > 0;
}
