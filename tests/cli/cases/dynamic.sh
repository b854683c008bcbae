# An open dimension becomes 1, with a warning that shows how to choose it; --shape and files choose it.
"$mlopt" run "$models/dynamic.onnx" --reference
"$mlopt" run "$models/dynamic.onnx" --reference --shape x=2x3x8x8
"$mlopt" run "$models/dynamic.onnx" --reference --shape batch=3 | sed 's/ min.*//'
