#!/bin/sh
# tests/device/run.sh -- kernels of GPUs for each capability, on the PTX interpreter of tests/ptx.  BUILD and SRC are set.
passed=0 failed=0 skipped=0
export LD_LIBRARY_PATH="$BUILD/tests/ptx/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

for sm in 75 80 90; do
	out=$(PTX_TEST_SM=$sm MLO_TEST_SM=$sm "$BUILD/tests/device/run" 2>&1)
	printf '%s\n' "$out" | sed '$d'
	set -- $(printf '%s\n' "$out" | sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
	if [ $# -ne 3 ]; then
		echo "FAIL sm_$sm: the tests died: $out"
		set -- 0 1 0
	fi
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
done
# Hopper's own instructions, on few multiprocessors: tiles are large.
for case in "bf16 " "fp16 " "u8 " "i8 " "tf32 "; do
	out=$(PTX_TEST_SM=90 MLO_TEST_SM=90a MLO_TEST_SMS=2 "$BUILD/tests/device/run" "$case" 2>&1)
	printf '%s\n' "$out" | sed '$d'
	set -- $(printf '%s\n' "$out" | sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
	[ $# -eq 3 ] || set -- 0 1 0
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
done
# Blocks that share a tile: the last one may be any of them.
for sm in 75 90; do
	if PTX_TEST_ORDER=backwards PTX_TEST_SM=$sm MLO_TEST_SM=$sm "$BUILD/tests/device/run" "few tiles" >/dev/null 2>&1; then
		passed=$((passed + 1))
	else
		echo "FAIL sm_$sm: few tiles, from the last block on"
		failed=$((failed + 1))
	fi
done
# What the steady state of contractions takes: the innermost loop that multiplies, if warps go through it twice, else what they do from
# their first product to their last one.  No bank conflicts, no more sectors than their elements fill, and, on tensor cores, at most one
# math instruction beside four products.  Without tensor cores it is the inner loops that multiply.
report=$(mktemp) || exit 2
steady() # capability, case, products for each math instruction
{
	PTX_TEST_REPORT=$report PTX_TEST_SM=$1 MLO_TEST_SM=$1 MLO_TEST_SMS=4 MLO_TEST_WHOLE=1 "$BUILD/tests/device/run" "$2" >/dev/null 2>&1
	if awk -v products="$3" 'function of(name, at) { return (at = index($0, "\"" name "\": ")) ? substr($0, at + length(name) + 4) + 0 : 0 }
		/"name"/ { much += less; less = 0; most = 0; hot = 0 }
		/"warps"/ { warps = of("warps"); loop = 0; main = 0 }
		/"main"/ { main = 1 }
		/"loops"/ { main = 0 }
		/"rounds"/ { rounds = of("rounds"); loop = 1 }
		/"inside"/ { inner = of("inside") > 0 }
		/"instructions"/ { mma = of("mma"); math = of("int") + of("float") + of("fma") + of("convert") + of("compare")
			hot = loop ? inner && (mma ? rounds >= 2 * warps : of("fma")) : main && mma && products; seen += hot > 0
			if (main || (loop && rounds >= 2 * warps && mma > most)) { less = mma < products * math; most = loop ? mma : 0 } }
		hot && /"global"/ { gsub(/[^0-9 ]/, ""); bad += $2 != $3 }
		hot && /"shared"/ { gsub(/[^0-9 ]/, ""); bad += $2 != 0 }
		END { exit bad || much + less || !seen }' "$report"; then
		passed=$((passed + 1))
	else
		echo "FAIL sm_$1 $2: bank conflicts, sectors that are not filled, or much math beside products"
		cat "$report"
		failed=$((failed + 1))
	fi
}
for case in "tf32 long rows" "fp16 deep 3x3" "bf16 deep 3x3" "bf16 long rows" "u8 3x3" "u8 deep 3x3" "i8 long rows" "bf16 rows" "i8 rows" "tf32 3x3"; do
	steady 80 "$case" 4
done
for case in "f32 rows" "bf16 half long rows" "i8 half long rows" "attention heads" "attention bf16"; do
	steady 80 "$case" 0
done
for case in "fp16 deep 3x3" "u8 deep 3x3" "i8 long rows"; do
	steady 75 "$case" 4
done
for case in "fp16 deep 3x3" "u8 deep 3x3" "bf16 long rows" "i8 rows"; do
	steady 86 "$case" 4
done
# Of few channels there is no loop but that over tiles; it has no bank conflicts.
for case in "patch fp16 7x7" "patch tf32 7x7" "patch u8 7x7" "patch fp16 3x3"; do
	if PTX_TEST_REPORT=$report PTX_TEST_SM=80 MLO_TEST_SM=80 "$BUILD/tests/device/run" "$case" >/dev/null 2>&1 &&
	   grep -q '"mma"' "$report" && ! grep -q '"conflicts": [1-9]' "$report"; then
		passed=$((passed + 1))
	else
		echo "FAIL sm_80 $case: bank conflicts, or no products of tensor cores"
		cat "$report"
		failed=$((failed + 1))
	fi
done
rm -f "$report"
# A model whose weights are half zero, from pruning to results: all layers that are pruned leave the zeros out.
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
for how in "2:4 bf16" "1:2 tf32"; do
	"$BUILD/mlopt" prune "$SRC/tests/data/models/trained/mlperf_resnet8/model.onnx" --pattern "${how% *}" --method magnitude -o "$work/half.onnx" >"$work/out" 2>&1
	"$BUILD/mlopt" compile "$work/half.onnx" --target sm_80 --precision "${how#* }" --golden random:1 --no-cache -o "$work/half.mlopt" >>"$work/out" 2>&1
	"$BUILD/mlopt" inspect "$work/half.mlopt" --variant sm_80 >"$work/steps" 2>>"$work/out"
	halved=$(grep -c 'half of the terms' "$work/steps")
	if PTX_TEST_SM=80 "$BUILD/mlopt" package verify --replay "$work/half.mlopt" >>"$work/out" 2>&1 && [ "$halved" -ge 9 ]; then
		passed=$((passed + 1))
	else
		echo "FAIL a model with ${how% *} zeros in ${how#* }: $halved layers leave them out"
		cat "$work/out" "$work/steps"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
