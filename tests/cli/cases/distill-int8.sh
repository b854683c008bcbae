# Quantised students fitted to a float teacher: in QDQ form before and after, zeros kept; what has no such form is said.
data="--calib $models/batch.npy --preprocess layout=nchw"
poor="--range percentile --percentile 80 --per-tensor --migrate 0 --no-correct-bias"
teacher=$models/dynamic.onnx
digits() { sed -E 's/SQNR -?[0-9.]+ dB/SQNR/; s/(%) +-?[0-9.]+ +-?[0-9.]+/\1 dB dB/; s/ +did not gain.*//'; }
better() { # ERR OUT: outputs are at least 3 dB better
	before=$(sed -n 's/.* at \(-*[0-9]*\)\..*/\1/p' $1); after=$(sed -n 's/.*SQNR \(-*[0-9]*\).*/\1/p' $2 | tail -1)
	[ "$after" -ge $((before + 3)) ] && echo better || echo "$before dB, $after dB"
}
operators() { "$mlopt" inspect $1 | sed -n 's/ *$//; /^operator/,$p'; }
score() { "$mlopt" eval $1 --data "$models/batch.npy" --labels "$models/labels.npy" --preprocess layout=nchw $2; }

"$mlopt" prune "$teacher" -o p.onnx --sparsity 0.5 --method magnitude >/dev/null
"$mlopt" quantize p.onnx -o q.onnx $data $poor | tail -1 | digits
"$mlopt" distill "$teacher" q.onnx -o d.onnx $data 2>err >out; echo $?
digits <out
better err out
operators q.onnx >before; operators d.onnx | diff before - && echo "same operators"
score d.onnx; score d.onnx --reference
"$mlopt" compile d.onnx -o d.mlopt 2>/dev/null && "$mlopt" inspect d.mlopt | grep -c 'conv_integer\|matmul_integer'
"$mlopt" distill "$teacher" q.onnx -o e.onnx $data --json 2>/dev/null | grep -cE '"(before_sqnr_db|sqnr_db)"'
cmp d.onnx e.onnx && echo same

echo "-- signed activations, one layer in float"
"$mlopt" quantize "$teacher" -o s.onnx $data $poor --symmetric --exclude conv1 >/dev/null
"$mlopt" distill "$teacher" s.onnx -o t.onnx $data --sweeps 1 2>err >out; echo $?
better err out
score t.onnx; score t.onnx --reference

echo "-- mistakes"
try() { "$mlopt" distill "$@" -o f.onnx >/dev/null; echo $? $(ls f.onnx 2>/dev/null); }
try "$teacher" q.onnx $data --samples 3
"$mlopt" quantize "$teacher" -o w.onnx --weight-only 8 >/dev/null
try "$teacher" w.onnx $data --include fc
try "$models/norm.onnx" q.onnx $data
