#!/bin/sh
# tests/conform/check.sh [RUNNER [LIST... [-- OPTION...]]] -- the ONNX backend cases on a runner of
# tests/conform/run.c (default: reference).  Those that may fail on any runner are in expected.txt of this folder,
# others in LISTs of it (default: expected-RUNNER.txt).  BUILD and SRC are set.
#
# MLOPT_ONNX_CASES names the folder with the folders of cases (node, simple, ...); without it that of Debian's
# libonnx-testdata is used, and the newer cases in the archive that MLOPT_CONFORMANCE names, else in
# ../shared/conformance, unpacked in the build folder.  Compiled objects are kept there, too: a second run is faster.
test "$MLRT_CUDA_LIBRARY" || export MLRT_CUDA_LIBRARY="$BUILD/.libs/libmlopt_rt_cuda.so"
old=${MLOPT_ONNX_CASES:-/usr/share/libonnx-testdata/data}
archive=${MLOPT_CONFORMANCE:-$SRC/../shared/conformance/onnx-1.23-backend.tar.xz}
new=$BUILD/tests/conform/onnx-1.23
runner=${1:-reference}
test $# -gt 0 && shift
test $# -gt 0 || set -- "expected-$runner.txt"
set -- "$@" end
options=
until test "$1" = end; do # each argument goes to the end of the list, as what it means
	if test "$options"; then
		set -- "$@" "$1"
	elif test "$1" = --; then
		options=yes
	else
		set -- "$@" --list "$SRC/tests/conform/$1"
	fi
	shift
done
shift
cases=
if test ! -d "$new" && test -f "$archive"; then
	rm -rf "$new.tmp" && mkdir -p "$new.tmp" && tar -xJf "$archive" -C "$new.tmp" && mv "$new.tmp" "$new"
fi
for folder in node simple pytorch-converted pytorch-operator light; do
	test -d "$old/$folder" && set -- "$@" "onnx-1.12/$folder=$old/$folder" && cases=yes
	for at in "$new/$folder" "$new"/*/"$folder"; do
		test -d "$at" && set -- "$@" "onnx-1.23/$folder=$at" && cases=yes
	done
done
if test -z "$cases"; then
	echo "SKIP no ONNX backend cases in $old (Debian: libonnx-testdata)"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
exec "$BUILD/tests/conform/run" --runner "$runner" --cache "$BUILD/tests/conform/cache" \
	--list "$SRC/tests/conform/expected.txt" --facts "$BUILD/tests/conform/facts-$runner.tsv" "$@"
