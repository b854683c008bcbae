#!/bin/sh
# tests/cli/run.sh -- command line tests: runs each cases/NAME.sh and compares what it does, exactly.
#
#   tests/cli/run.sh MLOPT DIR [NAME]...        BLESS=1 rewrites the expected files; DIR is this folder
#
# A test is a script; NAME.stdout, NAME.stderr and NAME.exit beside it are what it must print and return
# (a missing one: nothing, nothing, 0).  It runs in an empty folder with $mlopt, and $models, the folder
# of the test models; that folder reads MODELS in the expected files.  The warning of `mlopt bench` that measurements
# scatter is left out: whether it comes is the machine's doing.
# A script that cannot run here says why on standard output, "SKIP: ...", and exits with 77.
mlopt=$1
[ -x "$mlopt" ] && [ -d "$2/cases" ] || { echo "usage: $0 MLOPT DIR [NAME]..." >&2; exit 2; }
here=$(cd "$2" && pwd) || exit 2
shift 2
mlopt=$(cd "$(dirname "$mlopt")" && pwd)/$(basename "$mlopt")
models=$here/models cases=$here/cases
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
export mlopt models
XDG_CACHE_HOME=$tmp/cache LC_ALL=C
export XDG_CACHE_HOME LC_ALL
passed=0 failed=0 skipped=0

# compare WHAT: $tmp/got.WHAT with the expected file
compare() {
	want=$cases/$name.$1
	if [ -f "$want" ]; then cp "$want" "$tmp/want"; elif [ "$1" = exit ]; then echo 0 >"$tmp/want"; else : >"$tmp/want"; fi
	cmp -s "$tmp/want" "$tmp/got.$1" && return 0
	if [ -n "$BLESS" ]; then
		cp "$tmp/got.$1" "$want"
		if [ ! -s "$want" ] || { [ "$1" = exit ] && [ "$(cat "$want")" = 0 ]; }; then rm "$want"; fi
		echo "blessed $name.$1"
		return 0
	fi
	echo "FAIL $name: $1 differs"
	diff -u "$tmp/want" "$tmp/got.$1" | sed 1,2d
	return 1
}

if [ $# -eq 0 ]; then
	for test in "$cases"/*.sh; do
		set -- "$@" "$(basename "$test" .sh)"
	done
fi
for name; do
	rm -rf "$tmp/work" "$tmp/cache" && mkdir "$tmp/work" || exit 2
	(cd "$tmp/work" && sh "$cases/$name.sh") >"$tmp/out" 2>"$tmp/err" </dev/null
	echo $? >"$tmp/got.exit"
	if [ "$(cat "$tmp/got.exit")" = 77 ]; then
		echo "SKIP $name: $(sed -n 's/^SKIP: //p' "$tmp/out")"
		skipped=$((skipped + 1))
		continue
	fi
	for what in out err; do
		sed "s|$models|MODELS|g; /: warning: .*: the machine is noisy: /d" "$tmp/$what" >"$tmp/got.std$what"
	done
	ok=1
	for what in stdout stderr exit; do
		compare $what || ok=0
	done
	if [ $ok = 1 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
