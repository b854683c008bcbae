#!/bin/sh
# tests/sanitized.sh -- the suites again under AddressSanitizer and UndefinedBehaviorSanitizer, and
# libFuzzer for a short time; from a build of its own in BUILD/sanitized.  BUILD, SRC, CC are set; with
# FUZZ_CC (a clang that has libFuzzer) that compiler is taken.  Leaks are not looked for: LLVM keeps
# what it made until the process ends.
set -eu
if [ -f "$SRC/config.status" ]; then
	echo "SKIP sanitized: the source folder itself is configured; build in another folder"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
fuzz=${FUZZ_CC:-no} flags=--enable-sanitizers
if [ "$fuzz" = no ]; then
	cc=${CC:-cc}
else
	cc=$fuzz flags="$flags --enable-fuzzers"
fi
mkdir -p "$BUILD/sanitized"
cd "$BUILD/sanitized"
{
	[ -f Makefile ] || "$SRC/configure" CC="$cc" CFLAGS="-O1 -g1" --disable-shared --enable-silent-rules $flags
	MAKEFLAGS= make -j"$(nproc)" frontend/onnx.pb-c.h tools/ort_peer.inc
	MAKEFLAGS= make -j"$(nproc)" check-core
} >build.log 2>&1 || { tail -n 40 build.log; echo "FAIL: the sanitized build"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
# a request that no machine can fill is an error to handle, not to stop at
export ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1:${ASAN_OPTIONS:-}" UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
# the emulated rows have been run by the plain build
SUITES= MLOPT_TEST_RUNNER= exec "$SRC/tests/run.sh" "$BUILD/sanitized" "$SRC" "$SRC/tests/sanitized.list"
