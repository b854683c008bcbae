# All operators that are not known are named at once: node, domain, opset, the nearest one that is known.
"$mlopt" compile "$models/several.onnx" -o out.mlopt
s=$?
ls
exit $s
