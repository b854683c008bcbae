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
programs="mlopt tests/suite/run tests/fuzz/replay-ir tests/fuzz/replay-npy tests/fuzz/replay-onnx tests/fuzz/replay-package"
[ "$fuzz" = no ] || programs="$programs tests/fuzz/fuzz-ir tests/fuzz/fuzz-npy tests/fuzz/fuzz-onnx tests/fuzz/fuzz-package"
{
	[ -f Makefile ] || "$SRC/configure" CC="$cc" CFLAGS="-O1 -g1" --disable-shared --enable-silent-rules $flags
	! grep -q '^HAVE_CUNIT_TRUE = *$' Makefile || programs="$programs tests/unit/unit"
	MAKEFLAGS= make -j"$(nproc)" frontend/onnx.pb-c.h tools/ort_peer.inc
	MAKEFLAGS= make -j"$(nproc)" $programs
} >build.log 2>&1 || { tail -n 40 build.log; echo "FAIL: the sanitized build"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}" UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
# the emulated rows have been run by the plain build
MLOPT_TEST_RUNNER= exec "$SRC/tests/run.sh" "$BUILD/sanitized" "$SRC" "$SRC/tests/sanitized.list"
