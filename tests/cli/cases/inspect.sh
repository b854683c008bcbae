# Reports on models, for people and for programs.
"$mlopt" inspect "$models/tiny.onnx"
"$mlopt" inspect "$models/tiny.onnx" --node block/conv2
"$mlopt" inspect "$models/tiny.onnx" --node block/conv3; echo $?
"$mlopt" inspect "$models/two.onnx" --json
"$mlopt" inspect "$models/two.onnx" --graph
"$mlopt" inspect "$models/mismatch.onnx" --node layer1/conv1
