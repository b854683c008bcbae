#!/bin/sh
# tests/fuzz/fuzz.sh -- each libFuzzer program for FUZZ_SECONDS (default 15), from its corpus.
# BUILD (configured with --enable-fuzzers) and SRC are set.  What makes a target fail is kept in
# BUILD/tests/fuzz/found/; to replay it: tests/fuzz/replay-NAME FILE.
if [ ! -x "$BUILD/tests/fuzz/fuzz-ir" ]; then
	echo "SKIP libfuzzer: no clang with libFuzzer (Debian: libclang-rt-19-dev)"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
passed=0 failed=0
found=$BUILD/tests/fuzz/found
for name in ir job npy onnx package; do
	dict=$SRC/tests/fuzz/$name.dict
	[ -r "$dict" ] && dict=-dict=$dict || dict=-verbosity=1
	mkdir -p "$found/$name" "$BUILD/tests/fuzz/grown/$name"
	if "$BUILD/tests/fuzz/fuzz-$name" -max_total_time="${FUZZ_SECONDS:-15}" -timeout=30 -rss_limit_mb=3000 "$dict" \
		-artifact_prefix="$found/$name/" "$BUILD/tests/fuzz/grown/$name" "$SRC/tests/fuzz/corpus/$name" \
		>"$found/$name.log" 2>&1; then
		grep '^Done' "$found/$name.log" | sed "s/^/ok $name: /"
		passed=$((passed + 1))
	else
		echo "FAIL $name:"
		tail -n 40 "$found/$name.log"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
