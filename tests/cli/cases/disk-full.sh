# A full disk is an error of status 1, for files and for standard output.
[ -w /dev/full ] || { echo "SKIP: there is no /dev/full"; exit 77; }
"$mlopt" compile "$models/two.onnx" -o /dev/full; echo $?
"$mlopt" help >/dev/full; echo $?
"$mlopt" inspect "$models/two.onnx" --json >/dev/full; echo $?
