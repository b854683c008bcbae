#!/bin/sh
# tests/conform/check.sh -- the ONNX backend cases against tests/conform/expected.txt.
# MLOPT_ONNX_CASES names the folder of cases; without it that of Debian's libonnx-testdata is used.
cases=${MLOPT_ONNX_CASES:-/usr/share/libonnx-testdata/data/node}
if test ! -d "$cases"; then
	echo "conform: no cases in $cases (Debian: libonnx-testdata), skipped"
	exit 77
fi
exec "${builddir:-.}/tests/conform/conform" "$cases" "${srcdir:-.}/tests/conform/expected.txt"
