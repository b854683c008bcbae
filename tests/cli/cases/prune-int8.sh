# Pruning and quantization at once: QDQ form with zeros, by layers that are rounded as they are pruned.
data="--calib $models/batch.npy --preprocess layout=nchw"
digits() { sed -E 's/SQNR -?[0-9.]+ dB/SQNR/; s/(%) +-?[0-9.]+( |$)/\1\2/; s/ +$//'; }
score() { "$mlopt" eval $1 --data "$models/batch.npy" --labels "$models/labels.npy" --preprocess layout=nchw $2; }
trained=$models/../../data/models/trained

"$mlopt" prune "$models/dynamic.onnx" -o p.onnx $data --sparsity 0.5 --uniform --int8 2>err | digits; cat err
"$mlopt" inspect p.onnx | sed -n 's/ *$//; /^operator/,$p'
score p.onnx; score p.onnx --reference
"$mlopt" compile p.onnx -o p.mlopt 2>/dev/null && "$mlopt" inspect p.mlopt | grep -c 'conv_integer\|matmul_integer'
"$mlopt" prune "$models/dynamic.onnx" -o q.onnx $data --sparsity 0.5 --uniform --int8 --json 2>/dev/null | grep -E '"(node|sparsity|int8|reason)"'
cmp p.onnx q.onnx && echo same
"$mlopt" prune "$models/dynamic.onnx" -o m.onnx $data --sparsity 0.5 --method magnitude --int8 2>/dev/null | digits
"$mlopt" prune "$models/dynamic.onnx" -o n.onnx $data --pattern 2:4 --int8 --exclude fc 2>/dev/null | digits
bound="--eval $models/batch.npy --labels $models/labels.npy"
"$mlopt" prune "$models/dynamic.onnx" -o d.onnx $data --max-drop 100 $bound --int8 2>err | tail -1 | grep -o 'top1 .*'; grep -c zeros: err; ls d.onnx

echo "-- mistakes"
try() { "$mlopt" prune "$@" -o f.onnx >/dev/null; echo $? $(ls f.onnx 2>/dev/null); }
try "$models/dynamic.onnx" --sparsity 0.5 --method magnitude --int8
try "$models/dynamic.onnx" $data --sparsity 0.5 --pattern channel --int8
try "$models/dynamic.onnx" $data --target-speedup 2 --int8
try p.onnx $data --sparsity 0.5 --int8
