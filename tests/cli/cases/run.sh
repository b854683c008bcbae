# Inputs from files, outputs to files with fit names; the same from compiled code and the reference.
"$mlopt" run "$models/two.onnx" --input "a=$models/a.npy" --input "b=$models/b.npy" --output-dir out
"$mlopt" run "$models/two.onnx" --input "a=$models/a.npy" --input "b=$models/b.npy" --output-dir ref --reference
ls out
cmp out/sum.npy ref/sum.npy && cmp out/a_b.npy ref/a_b.npy
