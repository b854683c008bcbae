# A branch that does not fit the sizes that a model is compiled for: told then, and fails only when it is taken.
"$mlopt" compile "$models/branches.onnx" --shape x=2x2 -o b.mlopt 2>err; echo $?
grep -v ' groups ' err
"$mlopt" run b.mlopt --input "wide=$models/false.npy" --input "x=$models/a.npy" --output-dir out
"$mlopt" run "$models/branches.onnx" --shape x=2x2 --input "wide=$models/false.npy" --input "x=$models/a.npy" --output-dir ref \
	--reference 2>/dev/null
cmp out/y.npy ref/y.npy
"$mlopt" run b.mlopt --input "wide=$models/true.npy" --input "x=$models/a.npy"; echo $?
# No branch fits: an error. Sizes left open: both may be taken.
"$mlopt" compile "$models/branches.onnx" --shape x=2x3 2>&1; echo $?
"$mlopt" compile "$models/branches.onnx" -o open.mlopt 2>/dev/null || exit
"$mlopt" run open.mlopt --input "wide=$models/false.npy" --input "x=$models/a.npy"
"$mlopt" bench b.mlopt --input "wide=$models/false.npy" --no-peer --duration 0.01 --warmup 0 | grep -c '^branches: '
"$mlopt" bench b.mlopt --input "wide=$models/a.npy" --no-peer --duration 0.01 --warmup 0 2>&1; echo $?
