#!/bin/sh
# tests/ptx/run.sh -- the tests of the PTX interpreter; the PTX that they run is assembled, too, where NVIDIA's assembler is found.
# BUILD and SRC are set.
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
cases=$SRC/tests/ptx/cases
clang=${CLANG:-clang-19}
passed=0 failed=0 skipped=0

if ! "$clang" --target=nvptx64-nvidia-cuda -march=sm_75 -O2 -ffp-contract=off -S "$SRC/tests/ptx/kernels.c" -o "$work/kernels.ptx" \
	>"$work/log" 2>&1; then
	cat "$work/log"
	echo "FAIL kernels.c does not compile"
	failed=1
fi
for sm in 80 90; do
	PTX_TEST_SM=$sm "$BUILD/tests/ptx/run" "$cases" "$work/kernels.ptx" "$work" >"$work/out" 2>"$work/err"
	status=$?
	sed '$d' "$work/out"
	set -- $(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$work/out")
	if [ $# -ne 3 ]; then
		cat "$work/out" "$work/err"
		echo "FAIL the tests died with status $status"
		set -- 0 1 0
	fi
	[ "$2" -eq 0 ] || cat "$work/err"
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
done

# the parser and the real assembler agree on what is legal
ptxas=$(command -v ptxas || echo /usr/local/cuda/bin/ptxas)
if [ -x "$ptxas" ]; then
	for f in "$cases"/*.ptx "$work"/*.ptx; do
		target=$(sed -n 's/^\.target sm_\([0-9]*a*\).*/\1/p' "$f")
		case $target in
		*a) fits=$target ;;
		*) fits=$(for sm in 75 80 90; do [ "$sm" -lt "$target" ] || echo "$sm"; done) ;;
		esac
		for sm in $fits; do
			if "$ptxas" -arch="sm_$sm" "$f" -o "$work/out.cubin" >"$work/log" 2>&1; then
				passed=$((passed + 1))
			else
				echo "FAIL ptxas -arch=sm_$sm ${f##*/}:"
				cat "$work/log"
				failed=$((failed + 1))
			fi
		done
	done
	for f in "$work"/refused_*.txt; do
		case $f in
		*wgmma*) sm=90a ;;
		*) sm=80 ;;
		esac
		if "$ptxas" -arch="sm_$sm" "$f" -o "$work/out.cubin" >"$work/log" 2>&1; then
			echo "FAIL ptxas takes what the interpreter refuses:"
			cat "$f"
			failed=$((failed + 1))
		else
			passed=$((passed + 1))
		fi
	done
else
	echo "SKIP ptx: no ptxas to assemble the kernels with"
	skipped=$((skipped + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
