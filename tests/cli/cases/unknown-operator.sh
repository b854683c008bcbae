# The operator, its node, its domain and opset are named.
"$mlopt" compile "$models/unknown.onnx" -o out.mlopt
s=$?
ls
exit $s
