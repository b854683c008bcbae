#!/bin/sh
# tests/fuzz/replay.sh -- the corpora through the fuzz targets.  BUILD and SRC are set.
passed=0 failed=0
for name in ir job npy onnx package; do
	out=$("$BUILD/tests/fuzz/replay-$name" "$SRC/tests/fuzz/corpus/$name")
	printf '%s\n' "$out" | sed '$d'
	set -- $(printf '%s\n' "$out" | sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, 0 skipped$/\1 \2/p')
	if [ $# -ne 2 ]; then
		echo "FAIL $name: the replay program died"
		set -- 0 1
	fi
	passed=$((passed + $1)) failed=$((failed + $2))
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
