#!/bin/sh
# tests/parallel.sh COMMAND... -- one suite as one process for each core: each takes its share of the cases, which MLOPT_TEST_PART
# says as "I/N". Prints what they print, one after the other, lines that all of them print (SKIP) once, and a last line for all.
set -u
n=$(nproc)
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
i=0
while [ $i -lt "$n" ]; do
    MLOPT_TEST_PART=$i/$n "$@" >"$folder/$i" 2>&1 </dev/null &
    i=$((i + 1))
done
wait
i=0 passed=0 failed=0 skipped=0
while [ $i -lt "$n" ]; do
    set -- $(tail -n 1 "$folder/$i" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
    if [ $# -ne 3 ]; then
        cat "$folder/$i"
        echo "part $i of $n died"
        exit 1
    fi
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    [ $i -eq 0 ] && sed '$d' "$folder/$i" || sed -e '$d' -e '/^SKIP/d' "$folder/$i"
    i=$((i + 1))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
