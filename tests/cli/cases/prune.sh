# Pruning a small model: the report, the model that comes out, patterns, plans, bounds, and what cannot be done.
data="--calib $models/batch.npy --preprocess layout=nchw"
digits() { sed -E 's/SQNR [0-9.]+ dB/SQNR/; s/(%) +[0-9.]+( |$)/\1\2/; s/[0-9.]+ ms/T ms/g; s/on [^ ]*, [0-9.]+ times/on CPU, X times/'; }
report() { "$mlopt" prune "$models/dynamic.onnx" "$@" | digits; }
score() { "$mlopt" eval "$1" --data "$models/batch.npy" --labels "$models/labels.npy" --preprocess layout=nchw $2; }

report -o p.onnx $data --sparsity 0.5 --uniform
"$mlopt" inspect p.onnx | sed -n 's/ *$//; /^input/,$p'
score p.onnx; score p.onnx --reference
report -o m.onnx --sparsity 0.5 --method magnitude
report -o b.onnx $data --sparsity 0.5 --pattern block --uniform
report -o r.onnx $data --sparsity 0.5 --pattern block=2x4 --exclude conv1
report -o n.onnx $data --pattern 2:4
report -o i.onnx $data --sparsity 0.5 --include conv1
report -o j.onnx $data --sparsity 0.5 --uniform --method magnitude --json | grep -E '"(node|weights|sparsity|pattern|method|samples|reason)"'
"$mlopt" prune "$models/dynamic.onnx" -o q.onnx $data --sparsity 0.5 --uniform >/dev/null && cmp p.onnx q.onnx && echo same

echo "-- channels"
report -o c.onnx $data --pattern channel --sparsity 0.4
"$mlopt" inspect c.onnx | sed -n 's/ *$//; /^input/,$p'
score c.onnx; score c.onnx --reference
report --dry-run $data --pattern channel --target-speedup 1.01 | grep -c '%'
report -o c.onnx $data --pattern channel --sparsity 0.4 --exclude conv1

echo "-- plans and bounds"
report --dry-run $data --sparsity 0.5 --uniform | tail -1
"$mlopt" prune "$models/dynamic.onnx" --dry-run $data --sparsity 0.5 --target ml_m5 --json | grep -cE '"(predicted_ms|dense_ms|ms|predicted_speedup|variant)"'
"$mlopt" prune "$models/dynamic.onnx" -o s.onnx $data --target-speedup 500 2>err; echo $? $(ls s.onnx 2>/dev/null); sed -E 's/[0-9.]+ is predicted on .*/X is predicted on CPU/' err
bound="--eval $models/batch.npy --labels $models/labels.npy"
"$mlopt" prune "$models/dynamic.onnx" -o d.onnx $data --max-drop 100 $bound 2>err | tail -1 | grep -o 'top1 .*'; grep -c zeros: err; ls d.onnx

echo "-- mistakes"
header() { printf '\223NUMPY\001\000\106\000%-69s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1), }"; }
{ header 1,3,8,8; head -c 764 /dev/zero; printf '\000\000\300\177'; } >nan.npy
{ header 1,3,8,8; head -c 768 /dev/zero; } >zero.npy
try() { "$mlopt" prune "$models/dynamic.onnx" -o f.onnx "$@" >/dev/null; echo $? $(ls f.onnx 2>/dev/null); rm -f f.onnx; }
for s in 0 1 1.5 -0.1 x nan; do try $data --sparsity $s; done
for p in blocks block=0x4 block=4 4:4 2:; do try $data --sparsity 0.5 --pattern $p; done
try $data --pattern 2:4 --sparsity 0.5
try $data
try $data --sparsity 0.5 --target-speedup 2
try --sparsity 0.5
try --target-speedup 2 --method magnitude
try $data --max-drop 1
try $data --sparsity 0.5 --method best
try $data --sparsity 0.5 --target none
try $data --sparsity 0.99
try $data --sparsity 0.5 --pattern block=64x64
try $data --sparsity 0.5 --pattern block=3x3 --include fc
try $data --sparsity 0.5 --exclude '*'
try $data --sparsity 0.99 --pattern channel
try $data --target-speedup 900 --pattern channel 2>/dev/null
try $data --sparsity 0.5 --pattern channel --exclude '*conv*'
try $data --sparsity 0.5 --pattern channel --uniform
trained=$models/../../data/models/trained
"$mlopt" prune "$trained/mlperf_resnet8/model.onnx" -o f.onnx $data --sparsity 0.3 --pattern channel --exclude conv2d_2 2>&1; echo $?
try $data --sparsity 0.5 --exclude 'nothing*'
try $data --sparsity 0.5 --samples 1
for x in nan.npy zero.npy missing.npy; do try --sparsity 0.5 --calib $x; done
"$mlopt" prune "$models/dynamic.onnx" --sparsity 0.5 $data; echo $?
