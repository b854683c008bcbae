# A full disk is an error of status 1, for files and for standard output, and leaves nothing behind.
[ -w /dev/full ] || { echo "SKIP: there is no /dev/full"; exit 77; }
"$mlopt" help >/dev/full; echo $?
(ulimit -f 64; "$mlopt" compile "$models/tiny.onnx" --no-cache -o out.mlopt; echo $?)
(ulimit -f 8; "$mlopt" run "$models/dynamic.onnx" --reference --shape x=1000x3x8x8 --output-dir out >/dev/null; echo $?)
ls . out
