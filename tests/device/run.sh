#!/bin/sh
# tests/device/run.sh -- kernels of GPUs for each capability, on the PTX interpreter of tests/ptx.  BUILD and SRC are set.
passed=0 failed=0 skipped=0
export LD_LIBRARY_PATH="$BUILD/tests/ptx/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

for sm in 75 80 90; do
	out=$(PTX_TEST_SM=$sm MLO_TEST_SM=$sm "$BUILD/tests/device/run" 2>&1)
	printf '%s\n' "$out" | sed '$d'
	set -- $(printf '%s\n' "$out" | sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
	if [ $# -ne 3 ]; then
		echo "FAIL sm_$sm: the tests died: $out"
		set -- 0 1 0
	fi
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
