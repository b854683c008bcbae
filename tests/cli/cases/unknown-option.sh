# Likewise for options, long and short, and values that are not numbers.
"$mlopt" compile --tarjet native "$models/tiny.onnx"; echo $?
"$mlopt" compile -x "$models/tiny.onnx"; echo $?
"$mlopt" compile --output; echo $?
"$mlopt" compile --jobs many "$models/tiny.onnx"; echo $?
"$mlopt" compile -O1 "$models/tiny.onnx"; echo $?
"$mlopt" compile --dump-after fusee "$models/tiny.onnx"; echo $?
"$mlopt" compile; echo $?
"$mlopt" compile a b; echo $?
"$mlopt" package frob x; echo $?
"$mlopt" eval "$models/tiny.onnx"
