/* targets/detect.c -- which variants the CPU under us runs, by LLVM's host detection. */
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Core.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "targets/target.h"

#ifdef __aarch64__
#include <sys/prctl.h>
#endif

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
#elif defined(__riscv) && __riscv_xlen == 64
	return "riscv64";
#else
	return "unknown";
#endif
}

/* "sve256": registers of so many bits (Linux, Documentation/arch/arm64/sve.rst). */
static bool host_sve_length(const char *feature)
{
#ifdef __aarch64__
	enum { PR_SVE_GET_VL_ = 51, LENGTH = 0xffff };
	int vl = prctl(PR_SVE_GET_VL_, 0, 0, 0, 0);

	return vl >= 0 && (vl & LENGTH) * 8 == atoi(feature + 3);
#else
	return false;
#endif
}

static bool host_has(const char *feature, size_t n)
{
	if (n > 3 && !strncmp(feature, "sve", 3) && strspn(feature + 3, "0123456789") >= 3) /* not sve2 */
		return host_sve_length(feature);
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
