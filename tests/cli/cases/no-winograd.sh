# --no-winograd: the same model has no Winograd step, the package says so, and other results are near.
m="$models/../../../examples/models/fashion_cnn/model.onnx"
for o in --optimize=2 --no-winograd; do
	"$mlopt" compile "$m" --target ml_c6i $o -o out.mlopt 2>/dev/null || exit
	echo "$o: $("$mlopt" inspect out.mlopt --json >json; grep -c '"schedule": "Winograd' json) steps of Winograd"
	grep '"winograd"' json
done
rm json
"$mlopt" compile "$m" --no-winograd -o native.mlopt 2>/dev/null || exit
"$mlopt" compare "$m" native.mlopt >out 2>&1 || cat out
"$mlopt" inspect native.mlopt --json | grep -c Winograd
ls
