#!/bin/sh
# tests/forms/run.sh -- models as one function: compiled, linked with a small program, run, compared with recorded outputs.
#
#   sh tests/forms/run.sh      BUILD and SRC name the two trees; MLOPT_MODELS the folder of trained models
#
# Hosted machines take the static and the shared form, emulated ones by QEMU's user mode; microcontrollers the static one, on
# QEMU's boards, without an operating system and a C library.  There the stack is painted: what the header states must be
# what was used, to the bytes of an alignment.  Small models have at most 40 KiB of code, on them and on every other CPU that users
# can name.  Its last line counts what passed, failed and was skipped.
set -u
BUILD=${BUILD:-build} SRC=${SRC:-.}
here=$SRC/tests/forms bare=$SRC/examples/embedded models=${MLOPT_MODELS:-$SRC/../shared/models}/trained
mlopt=$BUILD/mlopt forms=$BUILD/tests/forms/forms
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache
passed=0 failed=0 skipped=0
MOST_CODE=40960 MOST_RAM=65536

pass() { passed=$((passed + 1)); echo "ok $*"; }
fail() { failed=$((failed + 1)); echo "FAIL $*"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $*"; }
has() { command -v "$1" > /dev/null 2>&1; }

# number NAME: what the program printed behind NAME
number() { sed -n "s/^$1 //p" "$work/out"; }

# works CC: a compiler that makes programs
works() { echo 'int main(void) { return 0; }' > "$work/try.c" && $1 "$work/try.c" -o "$work/try" > /dev/null 2>&1; }

# compile TARGET FORMAT MODEL OUTPUT, and the program's source
compile() {
	"$mlopt" compile "$models/$3/model.onnx" --name m --target "$1" --format "$2" -o "$4" 2> "$work/err" || { cat "$work/err"; return 1; }
	"$forms" main m "$(basename "${4%.*}").h" 1 "$models/$3"/in/*.npy > "$work/main.c"
}

check_output() { "$forms" compare "$work/out" "$models/$1"/out/*.npy > "$work/errors" 2>&1 || { cat "$work/errors"; return 1; }; }

# hosted TARGET CC EMULATOR MODEL...
hosted() {
	target=$1 cc=$2 emulator=$3
	shift 3
	if ! works "$cc" || ! has "${emulator%% *}"; then
		skip "$target: $cc or $emulator is missing"
		return
	fi
	for model; do
		compile "$target" static "$model" "$work/m.o" && check_hosted "$model" m.o && pass "$target static $model" ||
			fail "$target static $model"
		compile "$target" shared "$model" "$work/libm_.so" && check_hosted "$model" "libm_.so -Wl,-rpath,$work" &&
			pass "$target shared $model" || fail "$target shared $model"
	done
}

# check_hosted MODEL LINKED: in the working folder
check_hosted() {
	static=
	[ "$2" != m.o ] || [ "$emulator" = env ] || static=-static
	(cd "$work" && $cc $static -O1 -Wall -I. -I"$here" main.c "$here/harness.c" "$here/hosted.c" $2 -o program &&
		$emulator ./program > out) && check_output "$1"
}

# board TARGET BOARD "FLAGS" VECTORS CODE LENGTH RAM LENGTH MODEL...
board() {
	target=$1 machine=$2 flags="$3 -mthumb -mfloat-abi=hard"
	if ! has "$arm_cc" || ! has "$qemu_arm"; then
		skip "$target: $arm_cc or $qemu_arm is missing"
		return
	fi
	echo "MEMORY { VECTORS : ORIGIN = $4, LENGTH = 1K CODE : ORIGIN = $5, LENGTH = $6 RAM : ORIGIN = $7, LENGTH = $8 }
		INCLUDE sections.ld" > "$work/board.ld"
	shift 8
	for model; do
		compile "$target" static "$model" "$work/m.o" && check_board "$model" && pass "$target $model: $(tr '\n' ' ' < "$work/sizes")" ||
			fail "$target $model"
	done
}

# in the working folder
bare_cc() {
	"$arm_cc" $flags -O1 -ffreestanding -nostdlib -Wall -I. -I"$bare" "$@" "$bare/start.c" -L"$bare" -Wl,-z,noexecstack -o program
}

check_board() {
	(cd "$work" && bare_cc -I"$here" main.c "$here/harness.c" "$here/bare.c" m.o -Wl,-T,board.ld && timeout 120 "$qemu_arm" -M "$machine" -nographic -monitor none -serial none \
		-semihosting -kernel program 2> out) || { tail -3 "$work/out"; return 1; }
	check_output "$1" || return 1
	grep -E '^(stack|arena|code)' "$work/out" > "$work/sizes"
	used=$(number stack) stated=$(number stack-stated)
	if [ "$used" -gt "$stated" ] || [ $((stated - used)) -gt 32 ]; then
		echo "stack: $used bytes used, $stated stated"
		return 1
	fi
	if [ "$(number code)" -gt $MOST_CODE ]; then
		echo "code: $(number code) bytes, more than $MOST_CODE"
		return 1
	fi
	case $1 in
	mlperf_kws_dscnn_int8qdq)
		if [ $(($(number arena) + stated)) -gt $MOST_RAM ]; then
			echo "RAM: $(($(number arena) + stated)) bytes, more than $MOST_RAM"
			return 1
		fi ;;
	esac
}

# check_sizes TARGET: the code of each variant, by the cost model's schedules
check_sizes() {
	large=0
	for model in $tiny; do
		"$mlopt" compile "$models/$model/model.onnx" --no-tuned --target "$1" -o "$work/m.mlopt" 2> "$work/err" || { cat "$work/err"; return 1; }
		"$mlopt" package list "$work/m.mlopt" > "$work/blobs" && grep -q ' code ' "$work/blobs" || return 1
		awk -v most=$MOST_CODE -v model="$model" '$2 == "code" && $4 > most {
			print model ": " $4 " bytes of code for " $6 ", more than " most; large = 1 } END { exit large }' "$work/blobs" || large=1
	done
	[ $large -eq 0 ]
}

# same bytes twice, and no symbol but the function
check_object() {
	"$mlopt" compile "$models/$1/model.onnx" --name m --target cortex-m4f --format static -o "$work/a.o" 2> /dev/null &&
		"$mlopt" compile "$models/$1/model.onnx" --name m --target cortex-m4f --format static -o "$work/b.o" 2> /dev/null &&
		cmp "$work/a.o" "$work/b.o" && [ "$(nm -g "$work/a.o" | sed 's/.* //' | tr '\n' ' ')" = "m_run " ]
}

# The example of docs/EMBEDDED.md.
check_example() {
	flags="-mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mthumb -mfloat-abi=hard"
	"$mlopt" compile "$models/mlperf_kws_dscnn_int8qdq/model.onnx" --name kws --target cortex-m4f --format static \
		-o "$work/kws.o" 2> /dev/null && (cd "$work" && bare_cc "$bare/main.c" kws.o -T mps2-an386.ld &&
		timeout 60 "$qemu_arm" -M mps2-an386 -nographic -monitor none -serial none -semihosting -kernel program 2> out) &&
		grep -q '^word [01][0-9]$' "$work/out"
}

tiny="mlperf_kws_dscnn_int8qdq mlperf_kws_dscnn mlperf_resnet8_int8qdq mlperf_resnet8 mlperf_vww_mobilenet_int8qdq
	mlperf_vww_mobilenet mlperf_autoencoder"
few="mlperf_kws_dscnn_int8qdq mlperf_resnet8"
arm_cc=${ARM_CC:-arm-none-eabi-gcc} qemu_arm=${QEMU_ARM:-qemu-system-arm}
if ! [ -d "$models/mlperf_resnet8" ]; then
	skip "all: no trained models in $models"
else
	host=$(uname -m)
	hosted native "${CC:-cc}" env $few
	[ "$host" = aarch64 ] || hosted aarch64 "${AARCH64_CC:-aarch64-linux-gnu-gcc}" "${QEMU_AARCH64:-qemu-aarch64-static} -L /usr/aarch64-linux-gnu" $few
	[ "$host" = riscv64 ] || hosted riscv64-gc "${RISCV64_CC:-riscv64-linux-gnu-gcc}" "${QEMU_RISCV64:-qemu-riscv64-static} -L /usr/riscv64-linux-gnu" $few
	board cortex-m4f mps2-an386 "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16" 0 0x400 4095K 0x20000000 4M $tiny
	board cortex-m7 mps2-an500 "-mcpu=cortex-m7 -mfpu=fpv5-d16" 0 0x400 4095K 0x20000000 4M $tiny
	board cortex-m55 mps3-an547 "-mcpu=cortex-m55" 0 0x01000000 2M 0x21000000 4M $tiny
	if has "$arm_cc" && has "$qemu_arm"; then
		if check_example; then pass "examples/embedded"; else fail "examples/embedded"; fi
	fi
	# CPUs with an operating system: the boards above, and what is no CPU, apart
	for target in $("$mlopt" targets | sed -n 's/^\([a-z0-9_-]*\).*/\1/p' | grep -Ev '^(native|cortex-m|cuda|sm_)'); do
		if check_sizes "$target"; then pass "$target: code of small models"; else fail "$target: code of small models"; fi
	done
	if check_object mlperf_kws_dscnn_int8qdq; then pass "the same bytes twice, one symbol"; else fail "the same bytes twice, one symbol"; fi
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
