/* targets/detect.c -- which variants the CPU under us runs, by LLVM's host detection. */
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Core.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "targets/target.h"

static char *host_features; /* "+avx2,-sse4a,...", never freed: it is constant */
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

static void host_read(void)
{
	host_features = LLVMGetHostCPUFeatures();
}

static const char *host_arch(void)
{
#if defined(__x86_64__)
	return "x86_64";
#elif defined(__aarch64__)
	return "aarch64";
#else
	return "unknown";
#endif
}

static bool host_has(const char *feature, size_t n)
{
	for (const char *p = host_features; *p;) {
		size_t len = strcspn(p, ",");

		if (p[0] == '+' && len == n + 1 && !strncmp(p + 1, feature, n))
			return true;
		p += len + (p[len] == ',');
	}
	return false;
}

bool mlo_target_runs_here(const MloTarget *t, char *why, size_t n)
{
	pthread_once(&host_once, host_read);
	if (strcmp(t->arch, host_arch())) {
		snprintf(why, n, "needs %s, this machine is %s", t->arch, host_arch());
		return false;
	}
	for (const char *p = t->needs; *p;) {
		size_t len = strcspn(p, ",");

		if (!host_has(p, len)) {
			snprintf(why, n, "needs %.*s", (int)len, p);
			return false;
		}
		p += len + (p[len] == ',');
	}
	return true;
}
