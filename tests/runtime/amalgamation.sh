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

header=$(printf '#include <xxhash.h>\n' | ${CC:-cc} -E -x c - 2>/dev/null | sed -n 's/^# 1 "\(.*xxhash\.h\)".*/\1/p' | head -1)
[ -n "$header" ] || fail "no xxhash.h"
XXHASH_H=$header sh "$top/runtime/amalgamate.sh" "$work" || fail "amalgamate.sh"
mkdir "$work/mlopt"
cp "$work/mlopt_rt.h" "$work/mlopt/runtime.h"
flags="-std=gnu11 -O1 -Wall -Wextra -Werror -pthread -I$work"
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
grep -q 'damaged: has 700 bytes' "$work/err" || fail "unexpected message: $(cat "$work/err")"
${CC:-cc} $flags "$work/mlopt_rt.c" "$top/examples/run_dynamic.c" -o "$work/dynamic" || fail "native build of run_dynamic"
if "$work/dynamic" -d n=3 -s past=present -n 2 "$top/tests/fuzz/corpus/package/list-append" > "$work/out" 2> "$work/err"; then
	grep -q 'present: \[6\] 48 bytes' "$work/out" || fail "unexpected output: $(cat "$work/out")"
elif ! grep -q 'is for x86_64, this is' "$work/err"; then
	fail "native run of run_dynamic: $(cat "$work/err")"
fi
passed=1

arm_cc=${AARCH64_CC:-aarch64-linux-gnu-gcc}
qemu=${QEMU_AARCH64:-qemu-aarch64-static}
if ! command -v "$arm_cc" > /dev/null || ! command -v "$qemu" > /dev/null; then
	echo "SKIP: amalgamation, AArch64: $arm_cc or $qemu is missing"
	skipped=1
	finish 0
fi
"$arm_cc" $flags -static "$work/mlopt_rt.c" "$top/examples/run_package.c" -o "$work/arm" || fail "AArch64 build"
"$qemu" "$work/arm" "$package" 2> "$work/err" && fail "AArch64 ran x86-64 code"
grep -q "'plain' is for x86_64, this is aarch64" "$work/err" || fail "unexpected message: $(cat "$work/err")"
passed=2
finish 0
