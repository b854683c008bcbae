#!/bin/sh
# bench/same.sh -- are packages the same bytes, whichever build of mlopt makes them?
#
#   bench/same.sh MLOPT OTHER MODEL.onnx...        TARGETS: "graviton x86_64 riscv64" if not set
#
# MLOPT and OTHER are commands: OTHER may be a build for another host under its emulator, for instance
# "qemu-aarch64-static -L ROOT build-arm/mlopt", ROOT being a folder with the libraries of that host.
[ $# -ge 3 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
one=$1 other=$2 bad=0
shift 2
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
for model; do
	for target in ${TARGETS:-graviton x86_64 riscv64}; do
		rm -f "$tmp"/*.mlopt
		$one compile "$model" --target "$target" --no-cache --no-tuned -o "$tmp/one.mlopt" 2>"$tmp/log" &&
			$other compile "$model" --target "$target" --no-cache --no-tuned -o "$tmp/other.mlopt" 2>"$tmp/log" ||
			{ echo "failed   $target  $model: $(tail -n 1 "$tmp/log")"; bad=1; continue; }
		if cmp -s "$tmp/one.mlopt" "$tmp/other.mlopt"; then
			echo "same     $target  $model"
		else
			echo "DIFFERS  $target  $model"
			bad=1
		fi
	done
done
exit $bad
