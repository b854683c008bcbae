# A range for an open dimension: sizes inside it run, others are refused; the result's shape is the run's.
"$mlopt" compile "$models/dynamic.onnx" --shape batch=2..64 -o d.mlopt 2>/dev/null
for n in 2 7 64; do
	"$mlopt" run d.mlopt --shape batch=$n | sed 's/ min.*//'
done
for n in 1 65; do
	"$mlopt" run d.mlopt --shape batch=$n || echo "exit $?"
done
# OpenBLAS adds in an order that depends on the machine
"$mlopt" compare "$models/dynamic.onnx" d.mlopt --shape batch=5 --tolerance 1e-10 | sed 's/[0-9.]*e-[0-9]* *[0-9.]*e-[0-9]*/small     small/'
"$mlopt" compile "$models/dynamic.onnx" --shape batch=9..2 -o e.mlopt || echo "exit $?"
