# Every group agrees with the reference, and so does a package; another model's package does not pass.
"$mlopt" compare "$models/tiny.onnx" >out || { cat out; exit 1; }
sed -n 's/^all [0-9]* values/all values/p' out
grep -c scores:0 out
"$mlopt" compile "$models/tiny.onnx" -o tiny.mlopt 2>/dev/null && "$mlopt" compare "$models/tiny.onnx" tiny.mlopt | tail -n 1
"$mlopt" compare "$models/two.onnx" tiny.mlopt
