#!/bin/sh
# tests/conform/check.sh -- the ONNX backend cases against tests/conform/expected.txt.  BUILD and SRC are
# set; MLOPT_ONNX_CASES names the folder of cases, without it that of Debian's libonnx-testdata is used.
cases=${MLOPT_ONNX_CASES:-/usr/share/libonnx-testdata/data/node}
if test ! -d "$cases"; then
	echo "SKIP no ONNX backend cases in $cases (Debian: libonnx-testdata)"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
exec "$BUILD/tests/conform/run" "$cases" "$SRC/tests/conform/expected.txt"
