# What can be wrong with inputs.
"$mlopt" run "$models/two.onnx" --reference --input "c=$models/a.npy"; echo $?
"$mlopt" run "$models/two.onnx" --reference --input "$models/a.npy"; echo $?
"$mlopt" run "$models/two.onnx" --reference --input "a=nothing.npy"; echo $?
"$mlopt" run "$models/two.onnx" --reference --input "a=$models/labels.npy"; echo $?
head -c 140 "$models/a.npy" >cut.npy
"$mlopt" run "$models/two.onnx" --reference --input a=cut.npy; echo $?
"$mlopt" run "$models/two.onnx" --reference --input "a=$models/two.onnx"
echo $?
"$mlopt" run "$models/two.onnx" --variant x86_64-avx2; echo $?
"$mlopt" compile "$models/two.onnx" -o two.mlopt 2>/dev/null
"$mlopt" run two.mlopt --reference; echo $?
"$mlopt" run two.mlopt --variant nothing 2>/dev/null; echo $?
