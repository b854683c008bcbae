# A model that cannot be measured does not keep the others from it, but is told by the status.
"$mlopt" bench "$models/unknown.onnx" "$models/tiny.onnx" --no-peer --duration 0.01 --warmup 0 >out 2>err
s=$?
grep '^mlopt: error: ' err
grep -c '^tiny: ' out
exit $s
