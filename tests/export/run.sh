#!/bin/sh
# tests/export/run.sh -- graphs and models written as ONNX, read again and checked.  BUILD and SRC are set.
python=${MLOPT_PYTHON:-/usr/bin/python3}
out=$(mktemp -d "${TMPDIR:-/tmp}/mlopt-export-XXXXXX") || exit 1
trap 'rm -rf "$out"' EXIT
# The numbers of the last line of a log, as "PASSED FAILED SKIPPED".
counts() { sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$1"; }

find "$SRC/tests/data/models" "${MLOPT_MODELS:-$SRC/../shared/models}" -name model.onnx 2>/dev/null | sort >"$out/list"
"$BUILD/tests/export/run" "$SRC/tests/suite/cases" "$out" <"$out/list" >"$out/log"
sed '$d' "$out/log"
set -- $(counts "$out/log")
[ $# -eq 3 ] || { echo "FAIL the program did not end"; set -- 0 1 0; }
passed=$1 failed=$2 skipped=$3
if "$python" -c 'import onnx' 2>/dev/null; then
	"$python" "$SRC/tests/export/check.py" "$out" >"$out/log"
	sed '$d' "$out/log"
	set -- $(counts "$out/log")
	[ $# -eq 3 ] || { cat "$out/log"; set -- 0 1 0; }
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
else
	echo "SKIP no onnx for $python (Debian: python3-onnx)"
	skipped=$((skipped + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
