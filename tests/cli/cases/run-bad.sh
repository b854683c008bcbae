# What can be wrong with inputs.
"$mlopt" run "$models/two.onnx" --reference --input "c=$models/a.npy"; echo $?
"$mlopt" run "$models/two.onnx" --reference --input "$models/a.npy"; echo $?
"$mlopt" run "$models/two.onnx" --reference --input "a=nothing.npy"; echo $?
"$mlopt" run "$models/two.onnx" --reference --input "a=$models/labels.npy"; echo $?
head -c 140 "$models/a.npy" >cut.npy
"$mlopt" run "$models/two.onnx" --reference --input a=cut.npy; echo $?
"$mlopt" run "$models/two.onnx" --reference --input "a=$models/two.onnx"
