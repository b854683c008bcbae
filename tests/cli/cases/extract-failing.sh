# What cannot be compiled is written as a model of its own, which says the same about the same node.
first() { grep ' error: ' "$1" | head -n 1 | sed 's/.*onnx: //; s/ and [0-9]* more//'; }
for m in several body function mismatch; do
	"$mlopt" compile "$models/$m.onnx" -o out.mlopt --extract-failing "$m.onnx" 2>err
	echo "$m: $?"
	cat err >&2
	"$mlopt" compile "$m.onnx" -o out.mlopt 2>again
	echo "alone: $?"
	[ "$(first err)" = "$(first again)" ] && echo "the same error"
	[ "$(wc -c <"$m.onnx")" -le "$(wc -c <"$models/$m.onnx")" ] && [ "$(grep -c ' error: ' again)" = 1 ] && echo "and no other"
done
rm -f err again
ls
# Where no node is at fault nothing is written; a model that compiles needs none.
head -c 100 "$models/tiny.onnx" >cut.onnx
"$mlopt" compile cut.onnx -o out.mlopt --extract-failing none.onnx; echo $?
"$mlopt" compile "$models/two.onnx" -o two.mlopt --extract-failing none.onnx 2>/dev/null; echo $?
"$mlopt" compile "$models/body.onnx" -o out.mlopt --extract-failing no/such/file.onnx; echo $?
ls
