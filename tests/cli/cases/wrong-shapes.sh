# A model that contradicts itself; and shapes that contradict the model.
"$mlopt" compile "$models/mismatch.onnx" -o out.mlopt; echo $?
"$mlopt" compile "$models/tiny.onnx" -o out.mlopt --shape x=1x3x9x9; echo $?
"$mlopt" compile "$models/tiny.onnx" -o out.mlopt --shape x=1x3; echo $?
"$mlopt" compile "$models/tiny.onnx" -o out.mlopt --shape y=1; echo $?
"$mlopt" compile "$models/tiny.onnx" -o out.mlopt --shape x; echo $?
"$mlopt" compile "$models/tiny.onnx" -o out.mlopt --shape x=1xbig; echo $?
ls
