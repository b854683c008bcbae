# Kernels of the later tiers alone, for comparing: slower, and the same results.
for t in contract loops library; do
	"$mlopt" compile "$models/tiny.onnx" --tier $t -o $t.mlopt 2>&1 | sed -n 's/.*(\(.*library\)).*/'$t': \1/p'
	"$mlopt" run $t.mlopt | sed 's/\(\.[0-9][0-9][0-9]\)[0-9]*/\1/g'
done
"$mlopt" compile "$models/tiny.onnx" --tier library -O 0 --target graviton3 -o zero.mlopt 2>&1 | sed -n 's/.*(\(.*library\)).*/\1/p'
"$mlopt" compile "$models/tiny.onnx" --tier fastest -o fastest.mlopt
