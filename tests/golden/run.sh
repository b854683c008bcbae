#!/bin/sh
# tests/golden/run.sh -- golden tests: runs `mlopt opt` on each *.ir below DIR and compares its output.
#
#   tests/golden/run.sh MLOPT DIR        BLESS=1 rewrites the expected parts
#
# A test file:  comments, among them '# RUN: OPTIONS' for `mlopt opt`; a graph; a line '# ----';
# what `mlopt opt` must print (standard output, then messages with the file's name taken out).
mlopt=$1 dir=$2
[ -x "$mlopt" ] && [ -d "$dir" ] || { echo "usage: $0 MLOPT DIR" >&2; exit 2; }
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
failed=0 count=0
find "$dir" -name '*.ir' | LC_ALL=C sort >"$tmp/tests"
while read -r test; do
	count=$((count + 1))
	run=$(sed -n 's/^# RUN: //p' "$test" | head -n 1)
	sed '/^# ----$/,$d' "$test" >"$tmp/in.ir"
	# shellcheck disable=SC2086 # the options are several words
	"$mlopt" opt "$tmp/in.ir" $run >"$tmp/got" 2>"$tmp/err" </dev/null
	sed "s|$tmp/in.ir|in.ir|" "$tmp/err" >>"$tmp/got"
	sed '1,/^# ----$/d' "$test" >"$tmp/want"
	if [ -n "$BLESS" ]; then
		{ cat "$tmp/in.ir"; echo '# ----'; cat "$tmp/got"; } >"$tmp/new"
		cmp -s "$tmp/new" "$test" || { cp "$tmp/new" "$test"; echo "blessed $test"; }
	elif ! grep -q '^# ----$' "$test" || ! diff -u "$tmp/want" "$tmp/got" >"$tmp/diff"; then
		echo "FAIL $test"
		sed 1,2d "$tmp/diff" 2>/dev/null
		failed=$((failed + 1))
	fi
done <"$tmp/tests"
[ "$count" -gt 0 ] || { echo "no tests in $dir" >&2; exit 2; }
echo "$((count - failed)) passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
