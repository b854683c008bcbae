# A package gives what its model gives.
"$mlopt" compile "$models/two.onnx" -o two.mlopt 2>/dev/null && "$mlopt" run two.mlopt --input "a=$models/a.npy" --input "b=$models/b.npy"
