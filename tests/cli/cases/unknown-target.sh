# An unknown target is wrong usage; nothing is written.
"$mlopt" compile "$models/tiny.onnx" --target ml_m55 -o out.mlopt
echo $?
ls
