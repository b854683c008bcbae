#!/bin/sh
# tests/gpu/check.sh -- tests/gpu/run says what it finds: no GPU, results that are right (on the driver of the tests) or
# wrong, and a driver that fails. BUILD and SRC are set.
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
unset LD_LIBRARY_PATH MLOPT_MODELS MLOPT_ZOO # the models that come with the sources
XDG_CACHE_HOME=$work/cache
export XDG_CACHE_HOME
passed=0 failed=0 skipped=0

list=$SRC/tests/data/models/models.list

# ends WHAT STATUS PATTERN OPTION...: tests/gpu/run does, and some line is like that
ends() {
	what=$1 want=$2 pattern=$3
	shift 3
	"$SRC/tests/gpu/run" --build "$BUILD" --list "$list" --cases softmax --seconds 0.1 "$@" >"$work/out" 2>&1
	status=$?
	if [ $status -eq "$want" ] && grep -Eq "$pattern" "$work/out"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL $what: status $status, not $want, or no '$pattern' in"
		sed 's/^/    /' "$work/out"
	fi
}

if MLOPT_MODEL_LIST=$list "$BUILD/tests/models/run" --gpu sm_75 none 2>&1 | grep -q '^SKIP all models on GPUs'; then
	ends "no driver" 77 '^no GPU to test on: error 17 .*libcuda' mlp_tabular
else
	echo "SKIP no driver: this machine has one"
	skipped=$((skipped + 1))
fi
interpreted="--driver $BUILD/tests/ptx/.libs"
ends "all is right" 0 '^zoo/mlp_tabular +[0-9.]+ +' $interpreted mlp_tabular
ends "a name that is in no list" 1 '^FAIL nothing was run' $interpreted --cases none no_such_model
export PTX_TEST_FAIL=cuModuleLoadDataEx:1
ends "a driver that fails" 1 '^the GPU cannot be used: error ' $interpreted mlp_tabular
unset PTX_TEST_FAIL
# a recorded output whose last number is another
mkdir "$work/zoo" && cp -R "$SRC/tests/data/models/zoo/mlp_tabular" "$work/zoo" && chmod -R u+w "$work/zoo"
for f in "$work"/zoo/mlp_tabular/out/*.npy; do
	size=$(wc -c <"$f")
	printf '\000\000\200\102' | dd of="$f" bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
done
export MLOPT_MODELS="$work"
ends "another output than recorded" 1 '^FAIL zoo/mlp_tabular +sm_75' $interpreted --cases none mlp_tabular
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
