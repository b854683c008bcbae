# Outputs that cannot be written: no folder, a folder itself, a full disk. Nothing is left behind.
"$mlopt" compile "$models/two.onnx" -o no/such/out.mlopt; echo $?
mkdir folder
"$mlopt" compile "$models/two.onnx" -o folder; echo $?
"$mlopt" run "$models/two.onnx" --reference --input "a=$models/a.npy" --input "b=$models/b.npy" --output-dir no/such; echo $?
ls
