#!/bin/sh
# tests/conform/check.sh [RUNNER [LIST]] -- the ONNX backend cases on a runner of tests/conform/run.c (default:
# reference) against a list of this folder (default: expected.txt).  BUILD and SRC are set; MLOPT_ONNX_CASES
# names the folder of cases, without it that of Debian's libonnx-testdata is used.  Compiled objects are kept
# in the build folder: a second run is faster.
cases=${MLOPT_ONNX_CASES:-/usr/share/libonnx-testdata/data/node}
if test ! -d "$cases"; then
	echo "SKIP no ONNX backend cases in $cases (Debian: libonnx-testdata)"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
exec "$BUILD/tests/conform/run" --runner "${1:-reference}" --cache "$BUILD/tests/conform/cache" "$cases" \
	"$SRC/tests/conform/${2:-expected.txt}"
