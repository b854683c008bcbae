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

static json_t *load_request(const char *model, const Model *m, MloTensor *const *in, int threads, const char *data)
{
	json_t *request = json_object(), *inputs = json_array();
	size_t at = 0;

	for (size_t i = 0; i < m->nin; i++) {
		json_t *j = json_object(), *dims = json_array();
		const ModelTensor *t = &m->in[i];

		for (int k = 0; k < t->rank; k++)
			json_array_append_new(dims, json_integer(in[i] ? in[i]->dim[k] : t->pick[k]));
		json_object_set_new(j, "name", json_string(t->name));
		json_object_set_new(j, "type", json_string(type_name(t->elem)));
		json_object_set_new(j, "dims", dims);
		json_object_set_new(j, "at", json_integer(in[i] ? (json_int_t)at : -1)); /* a state */
		json_array_append_new(inputs, j);
		at += in[i] ? in[i]->nbytes : 0;
	}
	json_object_set_new(request, "do", json_string("load"));
	json_object_set_new(request, "model", json_string(model));
	json_object_set_new(request, "threads", json_integer(threads));
	json_object_set_new(request, "data", json_string(data));
	json_object_set_new(request, "inputs", inputs);
	return request;
}

/* The inputs, one behind the other, in a new file. */
static bool save_inputs(char *path, MloTensor *const *in, size_t n)
{
	int fd = mkstemp(path);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
	bool ok = f;

	for (size_t i = 0; ok && i < n; i++)
		ok = !in[i] || fwrite(in[i]->data, 1, in[i]->nbytes, f) == in[i]->nbytes;
	if (f)
		ok = fclose(f) == 0 && ok;
	return ok;
}

/* Our own data, so that both compute the same. */
static bool load(Peer *p, const char *model, const Model *m, MloTensor *const *in, int threads, char *why, size_t n)
{
	const char *folder = getenv("TMPDIR"), *version, *error;
	char path[4096];
	json_t *answer = NULL;

	snprintf(path, sizeof path, "%s/mlopt-inputs-XXXXXX", folder ? folder : "/tmp");
	if (save_inputs(path, in, m->nin))
		answer = ask(p, load_request(model, m, in, threads, path), LOAD_SECONDS);
	else
		snprintf(why, n, "cannot write '%.200s'", path);
	unlink(path);
	version = json_string_value(json_object_get(answer, "version"));
	error = json_string_value(json_object_get(answer, "error"));
	p->version = version ? strdup(version) : NULL;
	p->facts = (PeerFacts){.version = p->version,
			       .load_ms = json_number_value(json_object_get(answer, "load_ms")),
			       .first_ms = json_number_value(json_object_get(answer, "first_ms")),
			       .memory_bytes = json_number_value(json_object_get(answer, "memory"))};
	if (error || (!version && !*why))
		snprintf(why, n, "%s", error ? error : "node with onnxruntime-node not found (NODE_PATH or ./node_modules)");
	json_decref(answer);
	return p->version;
}

Peer *peer_start(MloArena *a, const char *model, const Model *m, MloTensor *const *in, int threads, char *why, size_t n)
{
	Peer *p = calloc(1, sizeof *p);

	for (size_t i = 0; i < m->nin; i++) {
		if (m->in[i].kind || !type_name(m->in[i].elem)) {
			snprintf(why, n, "input '%s' is %s", m->in[i].name, model_type_text(a, &m->in[i]));
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
	*why = 0;
	return load(p, model, m, in, threads, why, n) ? p : NULL;
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
