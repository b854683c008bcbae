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
	mkdir "$work/$name" &&
		"$BUILD/mlopt" compile "$models/$name.onnx" -o "$work/$name/model.mlopt" "$@" >"$work/log" 2>&1 && return
	cat "$work/log"
	echo "FAIL: mlopt compile $name"
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
}

# The archive for model hosts, unpacked, is such a folder, too.
mkdir "$work/host"
"$BUILD/mlopt" compile "$models/two.onnx" --format sagemaker -o "$work/two.tar.gz" 2>/dev/null && tar xzf "$work/two.tar.gz" -C "$work/host"
compile two
compile tiny
compile dynamic
compile gated
compile append --state past=present
compile pieces
mkdir "$work/none" "$work/neo" "$work/both" "$work/cut"
echo '{}' >"$work/none/compiled.meta"
: >"$work/neo/compiled.params"
cp "$work/two/model.mlopt" "$work/both/a.mlopt"
cp "$work/two/model.mlopt" "$work/both/b.mlopt"
head -c 700 "$work/two/model.mlopt" >"$work/cut/model.mlopt"
"$BUILD/tests/dlr/client" "$work"
