# An unknown format is wrong usage; nothing is written. The default is named `package`.
"$mlopt" compile "$models/tiny.onnx" --format elf -o out.mlopt
echo $?
ls
"$mlopt" compile "$models/tiny.onnx" -o a.mlopt 2> /dev/null && "$mlopt" compile "$models/tiny.onnx" --format package -o b.mlopt 2> /dev/null &&
	cmp a.mlopt b.mlopt && echo same
