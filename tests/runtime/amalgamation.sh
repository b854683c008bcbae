#!/bin/sh
# tests/runtime/amalgamation.sh -- the one-file runtime compiles alone, natively and for AArch64, and works.
#
#   sh tests/runtime/amalgamation.sh      from anywhere; CC, AARCH64_CC, QEMU_AARCH64 name the tools
# Its last line counts what passed, failed and was skipped.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 skipped=0
finish() { echo "$passed passed, $1 failed, $skipped skipped"; exit "$1"; }
fail() { echo "FAIL: amalgamation: $*"; finish 1; }

sh "$top/runtime/amalgamate.sh" "$work" || fail "amalgamate.sh"
mkdir "$work/mlopt"
cp "$work/mlopt_rt.h" "$work/mlopt/runtime.h"
flags="-std=c11 -D_DEFAULT_SOURCE -O1 -Wall -Wextra -Werror -pthread -I$work"
package=$top/tests/fuzz/corpus/package/good # x86-64 code

${CC:-cc} $flags "$work/mlopt_rt.c" "$top/examples/run_package.c" -o "$work/native" || fail "native build"
# One of its outputs tells which thread's scratch memory a task saw: on two threads runs may differ.
if "$work/native" -T 1 -n 3 "$package" > "$work/out" 2> "$work/err" && "$work/native" -T 2 "$package" >> "$work/out" 2> "$work/err"; then
	grep -q '^1 x 3 runs on 1 thread ' "$work/out" || fail "unexpected output: $(cat "$work/out")"
	grep -q '^1 x 1 runs on 2 threads' "$work/out" || fail "unexpected output: $(cat "$work/out")"
elif ! grep -q 'is for x86_64, this is' "$work/err"; then
	fail "native run: $(cat "$work/err")"
fi
"$work/native" "$top/tests/fuzz/corpus/package/cut" 2> "$work/err" && fail "a cut package was accepted"
grep -q 'cut off: has 700 bytes' "$work/err" || fail "unexpected message: $(cat "$work/err")"
${CC:-cc} $flags "$work/mlopt_rt.c" "$top/examples/run_dynamic.c" -o "$work/dynamic" || fail "native build of run_dynamic"
if "$work/dynamic" -d n=3 -s past=present -n 2 "$top/tests/fuzz/corpus/package/list-append" > "$work/out" 2> "$work/err"; then
	grep -q 'present: \[6\] 48 bytes' "$work/out" || fail "unexpected output: $(cat "$work/out")"
elif ! grep -q 'is for x86_64, this is' "$work/err"; then
	fail "native run of run_dynamic: $(cat "$work/err")"
fi
printf 'mlopt public key 1\nid 0000000000000000\nkey %064d\n' 0 > "$work/some.pub"
"$work/native" -k "$work/some.pub" "$package" 2> "$work/err" && fail "without libsodium, a package was opened that must be signed"
grep -q 'built without signatures' "$work/err" || fail "unexpected message: $(cat "$work/err")"
if printf '#include <sodium.h>\n' | ${CC:-cc} -E -x c - > /dev/null 2>&1; then
	${CC:-cc} $flags -DMLRT_WITH_SODIUM "$work/mlopt_rt.c" "$top/examples/run_package.c" -lsodium -o "$work/signed" || fail "build with libsodium"
	"$work/signed" -k "$work/some.pub" "$package" 2> "$work/err" && fail "a package nobody signed was opened"
	grep -q 'is of format 1.[0-3], which has no signatures' "$work/err" || fail "unexpected message: $(cat "$work/err")"
	# what the key in its header has signed
	signed=$top/tests/fuzz/corpus/package/signed
	printf 'mlopt public key 1\nid 0000000000000000\nkey %s\n' "$(od -An -v -tx1 -j 120 -N 32 "$signed" | tr -d ' \n')" > "$work/its.pub"
	if "$work/signed" -T 1 -g -k "$work/its.pub" "$signed" > "$work/out" 2> "$work/err"; then
		grep -q '^2 golden vectors: NMSE at most 0 of' "$work/out" || fail "unexpected output: $(cat "$work/out")"
	elif ! grep -q 'is for x86_64, this is' "$work/err"; then
		fail "opening a signed package: $(cat "$work/err")"
	fi
	"$work/signed" -k "$work/some.pub" "$signed" 2> "$work/err" && fail "a package by another key was opened"
	grep -q 'must be signed by' "$work/err" || fail "unexpected message: $(cat "$work/err")"
fi
${CC:-cc} $flags -DMLRT_WITH_CUDA "$work/mlopt_rt.c" "$top/examples/run_package.c" -o "$work/cuda" || fail "build with the part for GPUs"
"$work/cuda" -T 1 "$package" > "$work/out" 2> "$work/err" || grep -q 'is for x86_64, this is' "$work/err" || fail "native run: $(cat "$work/err")"
passed=1

arm_cc=${AARCH64_CC:-aarch64-linux-gnu-gcc}
qemu=${QEMU_AARCH64:-qemu-aarch64-static}
if ! command -v "$arm_cc" > /dev/null || ! command -v "$qemu" > /dev/null; then
	echo "SKIP: amalgamation, AArch64: $arm_cc or $qemu is missing"
	skipped=1
	finish 0
fi
"$arm_cc" $flags -DMLRT_WITHOUT_CUDA -static "$work/mlopt_rt.c" "$top/examples/run_package.c" -o "$work/arm" || fail "AArch64 build"
"$qemu" "$work/arm" "$package" 2> "$work/err" && fail "AArch64 ran x86-64 code"
grep -q "'plain' is for x86_64, this is aarch64" "$work/err" || fail "unexpected message: $(cat "$work/err")"
passed=2
finish 0
