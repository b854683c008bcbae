#!/bin/sh
# tests/dlr/run.sh -- models compiled and used through the interface of DLR.  BUILD and SRC are set.
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
XDG_CACHE_HOME=$work/cache
export XDG_CACHE_HOME
models=$SRC/tests/cli/models

compile() { # compile NAME [OPTION]...
	name=$1
	shift
	mkdir "$name" &&
		"$BUILD/mlopt" compile "$models/$name.onnx" -o "$name/model.mlopt" --target "$target" "$@" >"$work/log" 2>&1 &&
		return
	cat "$work/log"
	echo "FAIL: mlopt compile $name"
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
}

# run TARGET CLIENT...: packages for that target, and the client on them; its last line counts
run() {
	target=$1
	shift
	rm -rf "$work/models"
	mkdir -p "$work/models"
	cd "$work/models" || exit 2
	# The archive for model hosts, unpacked, is such a folder, too.
	mkdir host
	"$BUILD/mlopt" compile "$models/two.onnx" --target "$target" --format sagemaker -o two.tar.gz 2>/dev/null &&
		tar xzf two.tar.gz -C host
	compile two
	compile tiny
	compile dynamic
	compile gated
	compile append --state past=present
	compile pieces
	mkdir none neo both cut
	echo '{}' >none/compiled.meta
	: >neo/compiled.params
	cp two/model.mlopt both/a.mlopt
	cp two/model.mlopt both/b.mlopt
	head -c 700 two/model.mlopt >cut/model.mlopt
	"$@" "$work/models" >"$work/out" 2>&1
	sed '$d' "$work/out"
	set -- $(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, 0 skipped$/\1 \2/p' "$work/out")
	if [ $# -ne 2 ]; then
		echo "FAIL $target: the client died"
		cat "$work/out"
		set -- 0 1
	fi
	passed=$((passed + $1)) failed=$((failed + $2))
}

passed=0 failed=0 skipped=0
run native "$BUILD/tests/dlr/client"

arm_cc=${AARCH64_CC:-aarch64-linux-gnu-gcc}
qemu=${QEMU_AARCH64:-qemu-aarch64-static}
if [ -z "${MLOPT_TEST_RUNNER-unset}" ]; then
	: # no emulated machines in this run
elif ! command -v "$arm_cc" >/dev/null || ! command -v "$qemu" >/dev/null; then
	echo "SKIP dlr, AArch64: $arm_cc or $qemu is missing"
	skipped=1
elif "$arm_cc" -std=gnu11 -D_GNU_SOURCE -O2 -static -pthread -w -I"$SRC" -I"$SRC/include" -I"$BUILD" -I"$SRC/bindings/dlr" \
	"$SRC"/runtime/*.c "$SRC"/bindings/dlr/*.c "$SRC"/tests/dlr/*.c -o "$work/client" >"$work/log" 2>&1; then
	run aarch64 "$qemu" "$work/client"
else
	cat "$work/log"
	echo "FAIL dlr, AArch64: the client does not build"
	failed=$((failed + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
