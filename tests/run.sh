#!/bin/sh
# tests/run.sh BUILD SRC [LIST] -- every suite; each prints "N passed, N failed, N skipped" as its last line,
# and so does this script, summed up. Logs are kept in BUILD/tests/log/. Suites: tests/suites.list, or
# LIST: lines of `name command`; a command sees $BUILD and $SRC. SUITES="name..." runs only those.
set -u
BUILD=$1
SRC=$2
list=${3:-$SRC/tests/suites.list}
export BUILD SRC
log=$BUILD/tests/log
mkdir -p "$log"
passed=0 failed=0 skipped=0
only=${SUITES:-}

while read -r name command; do
    case $name in '' | '#'*) continue ;; esac
    [ -z "$only" ] || case " $only " in *" $name "*) ;; *) continue ;; esac
    start=$(date +%s)
    sh -c "$command" >"$log/$name.log" 2>&1 </dev/null
    status=$?
    last=$(tail -n 1 "$log/$name.log")
    set -- $(printf '%s\n' "$last" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
    if [ $# -ne 3 ]; then
        echo "suite $name died with status $status:"
        tail -n 20 "$log/$name.log"
        failed=$((failed + 1))
        continue
    fi
    printf 'suite %-14s %5d passed, %3d failed, %3d skipped, %4d s\n' "$name" "$1" "$2" "$3" $(($(date +%s) - start))
    grep -E '^SKIP' "$log/$name.log"
    if [ "$2" -ne 0 ] || [ $status -ne 0 ]; then
        grep -vE '^(SKIP|ok |pass)' "$log/$name.log" | tail -n 40
        [ "$2" -ne 0 ] || failed=$((failed + 1))
    fi
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
done <"$list"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
