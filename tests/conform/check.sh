#!/bin/sh
# tests/conform/check.sh [RUNNER [LIST]] -- the ONNX backend cases on a runner of tests/conform/run.c (default:
# reference); those that may fail are in a list of this folder (default: expected.txt).  BUILD and SRC are set.
#
# MLOPT_ONNX_CASES names the folder of cases; without it that of Debian's libonnx-testdata is used, and the newer
# cases in the archive that MLOPT_CONFORMANCE names, else in ../shared/conformance, unpacked in the build
# folder.  Compiled objects are kept there, too: a second run is faster.
old=${MLOPT_ONNX_CASES:-/usr/share/libonnx-testdata/data/node}
archive=${MLOPT_CONFORMANCE:-$SRC/../shared/conformance/onnx-1.23-backend.tar.xz}
new=$BUILD/tests/conform/onnx-1.23
set -- "${1:-reference}" "${2:-expected.txt}"
runner=$1 list=$2
set --
if test -d "$old"; then
	set -- "$@" "onnx-1.12/node=$old"
fi
if test ! -d "$new" && test -f "$archive"; then
	rm -rf "$new.tmp" && mkdir -p "$new.tmp" && tar -xJf "$archive" -C "$new.tmp" && mv "$new.tmp" "$new"
fi
for folder in node simple pytorch-converted pytorch-operator light; do
	for at in "$new/$folder" "$new"/*/"$folder"; do
		test -d "$at" && set -- "$@" "onnx-1.23/$folder=$at"
	done
done
if test $# -eq 0; then
	echo "SKIP no ONNX backend cases in $old (Debian: libonnx-testdata)"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
exec "$BUILD/tests/conform/run" --runner "$runner" --cache "$BUILD/tests/conform/cache" \
	--list "$SRC/tests/conform/$list" --facts "$BUILD/tests/conform/facts-$runner.tsv" "$@"
