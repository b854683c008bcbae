#!/bin/sh
# tests/conform/operators.sh -- is docs/OPERATORS.md what the conformance suites see?  WRITE=1 writes the page.
# BUILD and SRC are set. The suites are run where their facts are older than the programs.
facts="facts-reference.tsv facts-native.tsv facts-contrib.tsv facts-contrib-native.tsv"
suites="conform conform-native contrib contrib-native"
page=$SRC/docs/OPERATORS.md
made=$BUILD/tests/conform/OPERATORS.md
cd "$BUILD/tests/conform" || exit 2

stale=
for f in $facts; do
	[ -f "$f" ] && [ -z "$(find run -newer "$f")" ] || stale=1
done
[ -z "$stale" ] || SUITES=$suites "$SRC/tests/run.sh" "$BUILD" "$SRC" >operators.log 2>&1
for f in $facts; do
	if [ ! -f "$f" ]; then
		echo "SKIP no ONNX backend cases to count"
		echo "0 passed, 0 failed, 1 skipped"
		exit 0
	fi
done
./operators $facts >"$made" || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }

if [ -n "${WRITE:-}" ]; then
	cp "$made" "$page" && echo "wrote $page"
	exit
fi
# The folders of cases that the page counts must all be here.
folders() { sed -n 's/^| `\([^`]*\/[^`]*\)` |.*/\1/p;s/^| `\(contrib\)` |.*/\1/p' "$1"; }
for f in $(folders "$page"); do
	if ! folders "$made" | grep -qxF "$f"; then
		echo "SKIP docs/OPERATORS.md counts the cases of $f, which are not here"
		echo "0 passed, 0 failed, 1 skipped"
		exit 0
	fi
done
if diff -u "$page" "$made"; then
	echo "1 passed, 0 failed, 0 skipped"
else
	echo "FAIL docs/OPERATORS.md is out of date: make operators"
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
fi
