# The number of dimensions depends on an input: that can become part of the package.
"$mlopt" compile "$models/axes.onnx" -o out.mlopt; echo $?
"$mlopt" compile "$models/axes.onnx" -o out.mlopt --const "axes=$models/axes.npy" 2>/dev/null; echo $?
"$mlopt" inspect out.mlopt | grep '^\(in\|out\)put'
"$mlopt" run out.mlopt | sed 's/ min.*//'
rm out.mlopt
# What does not fit the model.
"$mlopt" compile "$models/axes.onnx" -o out.mlopt --const axes; echo $?
"$mlopt" compile "$models/axes.onnx" -o out.mlopt --const "axis=$models/axes.npy"; echo $?
"$mlopt" compile "$models/axes.onnx" -o out.mlopt --const "x=$models/axes.npy"; echo $?
"$mlopt" compile "$models/two.onnx" -o out.mlopt --const "a=$models/labels.npy"; echo $?
"$mlopt" compile "$models/axes.onnx" -o out.mlopt --const axes=nothing.npy; echo $?
ls
