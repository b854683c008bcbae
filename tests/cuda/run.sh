#!/bin/sh
# tests/cuda/run.sh -- packages for GPUs on the driver of the tests: what goes wrong, and what the application may hand over.
# BUILD and SRC are set.
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
unset MLRT_CUDA_LIBRARY # found beside libmlopt_rt.so
XDG_CACHE_HOME=$work/cache
export XDG_CACHE_HOME
models=$SRC/tests/cli/models
driver=$BUILD/tests/ptx/.libs
client=$BUILD/tests/cuda/client
passed=0 failed=0 skipped=0

pass() { passed=$((passed + 1)); }
fail() {
	failed=$((failed + 1))
	echo "FAIL $1"
	shift
	[ $# -eq 0 ] || sed 's/^/    /' "$@"
}

compile() { # compile NAME MODEL OPTION...
	to=$1 model=$2
	shift 2
	"$BUILD/mlopt" compile "$models/$model.onnx" -o "$work/$to.mlopt" "$@" >"$work/log" 2>&1 || fail "compile $to" "$work/log"
}

# on VARIABLE=VALUE... MODE PACKAGE: the client with the driver of the tests
on() {
	env LD_LIBRARY_PATH="$driver" PTX_TEST_REPORT="$work/report" "$@" >"$work/out" 2>"$work/err"
}

# says WHAT PATTERN: a line of the last output is like that
says() {
	if grep -Eq "$2" "$work/out"; then
		pass
	else
		fail "$1: no '$2' in" "$work/out" "$work/err"
	fi
}

# lines WHAT FIRST SECOND: what the first two attempts of `client try` said
lines() {
	if sed -n 1p "$work/out" | grep -Eq "$2" && sed -n 2p "$work/out" | grep -Eq "$3"; then
		pass
	else
		fail "$1: not '$2' and then '$3' but" "$work/out" "$work/err"
	fi
}

# once WHAT: at most one of the attempts has failed, and said why; the last has not
once() {
	if [ "$(grep -Ecv '^ok ' "$work/out")" -le 1 ] && ! grep -Evq '^(ok|error (2|6|18|19|20|21) [^N])' "$work/out" &&
		sed -n 3p "$work/out" | grep -q '^ok '; then
		pass
	else
		fail "$1" "$work/out" "$work/err"
	fi
}

clean() { # clean WHAT: the driver has found nothing wrong
	if grep -q '"findings": 0' "$work/report" && grep -q '"leaks": 0' "$work/report"; then
		pass
	else
		fail "$1: findings" "$work/err"
	fi
}

compile flat tiny --target sm_75
compile late tiny --target sm_90
compile both tiny --target sm_90,native
compile list dynamic --target sm_75
compile state append --target sm_75 --state past=present

# what is right, as the CPU has it
for name in flat list state; do
	case $name in flat) set -- tiny ;; list) set -- dynamic ;; state) set -- append --state past=present ;; esac
	compile cpu "$@" --target native
	"$client" try "$work/cpu.mlopt" >"$work/out" 2>&1
	want=$(sed -n 1p "$work/out")
	on "$client" try "$work/$name.mlopt"
	lines "$name: results" "^$want$" "^$want$"
	clean "$name"
	[ $name != flat ] || right=$want
done

# errors: 17 no driver, 18 the driver, 19 no device, 20 memory, 21 a kernel
if "$client" try "$work/flat.mlopt" >"$work/out" 2>&1 && grep -q '^error 17' "$work/out"; then
	says "no driver" "^error 17 .*no variant runs on this machine: 'sm_75' needs NVIDIA's driver: "
else
	echo "SKIP no driver: this machine has one"
	skipped=$((skipped + 1))
fi
on PTX_TEST_DRIVER=11000 "$client" try "$work/flat.mlopt"
lines "old driver" "^error 18 variant 'sm_75' is PTX 7.4, which the driver, of CUDA 11.0, does not take" '^error 18 '
on PTX_TEST_SM=75 "$client" try "$work/late.mlopt"
lines "old device" "^error 19 .*'sm_90' needs sm_90, the best of 1 devices is sm_75" '^error 19 '
on PTX_TEST_SM=75 "$client" try "$work/both.mlopt"
lines "old device and a CPU" '^ok ' '^ok '
on PTX_TEST_MEMORY=1024 "$client" try "$work/flat.mlopt"
lines "small device" '^error 20 .*no memory for [0-9]+ bytes of .*, [0-9]+ of 1024 are free' '^error 20 '
on PTX_TEST_FAIL=cuMemAlloc:2 "$client" try "$work/flat.mlopt"
lines "memory for the session" '^error 20 .*no memory for [0-9]+ bytes of activations' "^$right$"
clean "memory for the session"
on PTX_TEST_FAIL=cuStreamSynchronize:1:700 "$client" try "$work/flat.mlopt"
lines "a kernel fails" '^error 21 device 0 .*CUDA_ERROR_ILLEGAL_ADDRESS' "^$right$"

# whichever call of the driver fails: an error with a text or none, nothing left behind, and the next attempt works
for f in cuDeviceGet cuDeviceGetName cuDeviceGetAttribute cuDevicePrimaryCtxRetain cuCtxPushCurrent cuModuleLoadDataEx \
	cuModuleGetFunction cuMemAlloc cuMemHostAlloc cuMemcpyHtoD cuStreamCreate cuEventCreate cuStreamBeginCapture cuStreamEndCapture \
	cuMemcpyHtoDAsync cuMemcpyDtoHAsync cuLaunchKernel cuGraphInstantiateWithFlags cuGraphLaunch cuEventRecord cuStreamSynchronize \
	cuMemAllocManaged cuPointerGetAttribute; do
	for name in flat list; do
		for n in 1 2; do
			on PTX_TEST_FAIL=$f:$n "$client" try "$work/$name.mlopt"
			once "$name, $f fails the ${n}th time"
			clean "$name, $f fails the ${n}th time"
		done
	done
done

on "$client" ends "$work/flat.mlopt"
says "where inputs and outputs lie" '^28 passed, 0 failed$'
clean "where inputs and outputs lie"
compile heavy ../../data/models/zoo/mlp_tabular/model --target sm_75 # more weights than activations
on "$client" share "$work/heavy.mlopt"
says "what is shared" '^5 passed, 0 failed$'
clean "what is shared"

# blocks that share tiles: the same numbers whichever comes last, from run to run and session to session; counters that are not cleared
"$BUILD/mlopt" inspect "$work/heavy.mlopt" >"$work/out"
says "blocks share a tile" ' a tile, '
on "$client" try "$work/heavy.mlopt"
first=$(sed -n 1p "$work/out")
lines "blocks in order" '^ok .' "^$first$"
on PTX_TEST_ORDER=backwards "$client" try "$work/heavy.mlopt"
lines "blocks backwards" "^$first$" "^$first$"
clean "blocks backwards"
for n in 1 2; do
	on PTX_TEST_FAIL=cuMemsetD8Async:$n "$client" try "$work/heavy.mlopt"
	once "counters are not cleared the ${n}th time"
	clean "counters are not cleared the ${n}th time"
done
on PTX_TEST_FAIL=cuMemAlloc:2 "$client" try "$work/heavy.mlopt"
lines "memory for parts of tiles" '^error 20 .*no memory for [0-9]+ bytes of activations' "^$first$"
# golden vectors: by the GPU's variant, at the precision's tolerance; errors are errors
replay() { # replay WHAT STATUS PATTERN VARIABLE=VALUE... OPTION... PACKAGE
	what=$1 want=$2 pattern=$3
	shift 3
	on "$@"
	status=$?
	cat "$work/err" >>"$work/out"
	[ $status -eq "$want" ] || fail "golden vectors, $what: status $status" "$work/out"
	says "golden vectors, $what" "$pattern"
}
verify="$BUILD/mlopt package verify --replay"
for precision in f32:1e-06 bf16:0.01 fp16:0.0001; do
	compile golden ../../data/models/zoo/mlp_tabular/model --target sm_80,native --golden random:2 --precision ${precision%:*}
	replay "$precision" 0 "^  replay: ok, 2 vectors by sm_80, NMSE at most [0-9.e-]+ of ${precision#*:}$" $verify "$work/golden.mlopt"
	clean "golden vectors, $precision"
	[ $precision != f32:1e-06 ] || cp "$work/golden.mlopt" "$work/exact.mlopt"
done
replay "the CPU's variant" 0 '^  replay: ok, 2 vectors by (x86_64|aarch64)' PTX_TEST_SM=75 $verify "$work/golden.mlopt"
replay "that variant on an older device" 1 "variant 'sm_80' does not run on this machine: it needs sm_80, the best of 1 devices is sm_75" \
	PTX_TEST_SM=75 $verify --variant sm_80 "$work/golden.mlopt"
replay "another device" 1 'device 3' $verify --device 3 "$work/golden.mlopt"
replay "a device that computes something else" 1 \
	'2 of 2 outputs differ from the golden ones: NMSE up to [0-9.e+inf-]+, 1e-06 is allowed, by output 0 of vector 0$' \
	PTX_TEST_SAMPLE=1 $verify --device 0 --variant sm_80 "$work/exact.mlopt"
clean "golden vectors, a device that computes something else"
replay "a device that fails" 1 'CUDA_ERROR_ILLEGAL_ADDRESS' PTX_TEST_FAIL=cuStreamSynchronize:1:700 $verify "$work/golden.mlopt"
# of all variants the best one that the device takes, and the driver: code of Hopper alone runs on no later device
compile golden ../../data/models/zoo/mlp_tabular/model --target cuda --golden random:1
for case in 75:12060:sm_75 89:12060:sm_80 90:12060:sm_90a 90:12030:sm_90 100:12060:sm_90; do
	sm=${case%%:*} best=${case##*:} version=${case#*:}
	replay "the best for sm_$sm" 0 "^  replay: ok, 1 vector by $best" PTX_TEST_SM="$sm" PTX_TEST_DRIVER="${version%:*}" $verify "$work/golden.mlopt"
	clean "the best for sm_$sm"
done
replay "Hopper's code on a later device" 1 "it needs sm_90a and no later one, the best of 1 devices is sm_100" \
	PTX_TEST_SM=100 $verify --variant sm_90a "$work/golden.mlopt"
replay "Hopper's code and an older driver" 1 "it needs ptx_84, which the driver, of CUDA 12.3, does not take" \
	PTX_TEST_SM=90 PTX_TEST_DRIVER=12030 $verify --variant sm_90a "$work/golden.mlopt"
compile golden dynamic --target sm_75 --golden random:1
replay "open sizes" 0 '^  replay: ok, 1 vector by sm_75' $verify "$work/golden.mlopt"

# one graph launch for a run: those of `client try` (6), made once for each session
on "$client" try "$work/flat.mlopt"
if grep -q '"graph_launches": 6,' "$work/report"; then pass; else fail "launches of graphs" "$work/report"; fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
