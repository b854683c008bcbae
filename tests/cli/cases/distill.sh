# A pruned student fitted to its teacher: zeros stay; what does not match is said.
data="--calib $models/batch.npy --preprocess layout=nchw"
"$mlopt" prune "$models/dynamic.onnx" -o p.onnx --sparsity 0.5 --method magnitude | tail -1
"$mlopt" distill "$models/dynamic.onnx" p.onnx -o d.onnx $data --exclude fc 2>err >out; echo $?
sed -E 's/SQNR [0-9.]+ dB/SQNR/; s/(%)( +[0-9.]+){1,2}( |$)/\1\3/' out; sed -E 's/at -?[0-9.]+ dB/at/' err
before=$(grep -o 'at -*[0-9]*' err | tr -dc 0-9-); after=$(sed -n 's/.*SQNR \([0-9]*\).*/\1/p' out | tail -1); [ "$after" -gt "$before" ] && echo better
"$mlopt" distill "$models/dynamic.onnx" p.onnx -o e.onnx $data --exclude fc --json 2>/dev/null | grep -E '"(node|sparsity|reason)"'
cmp d.onnx e.onnx && echo same

echo "-- a student that is the teacher stays as it is"
"$mlopt" distill "$models/dynamic.onnx" "$models/dynamic.onnx" -o s.onnx $data --sweeps 1 2>&1 >/dev/null | grep -c 'stays as it is'

echo "-- mistakes"
try() { "$mlopt" distill "$@" -o f.onnx >/dev/null; echo $? $(ls f.onnx 2>/dev/null); }
try "$models/dynamic.onnx" "$models/two.onnx" $data
try "$models/dynamic.onnx" "$models/norm.onnx" $data
try "$models/dynamic.onnx" p.onnx
try "$models/dynamic.onnx" $data
try "$models/dynamic.onnx" p.onnx $data --include 'nothing*'
try "$models/dynamic.onnx" p.onnx $data --sweeps 0
try "$models/dynamic.onnx" missing.onnx $data

echo "-- a student with fewer channels"
"$mlopt" prune "$models/dynamic.onnx" -o c.onnx $data --pattern channel --sparsity 0.4 >/dev/null 2>&1
"$mlopt" distill "$models/dynamic.onnx" c.onnx -o n.onnx $data 2>/dev/null | sed -E 's/SQNR [0-9.]+ dB/SQNR/; s/(%)( +-?[0-9.]+){1,2}( |$)/\1\3/; s/ +did not gain.*//; s/ +$//'
outputs() { sed -n 's/.*SQNR \(-*[0-9]*\).*/\1/p' | tail -1; }
plain=$("$mlopt" distill "$models/dynamic.onnx" p.onnx -o n.onnx $data --exclude fc 2>/dev/null | outputs)
steps=$("$mlopt" distill "$models/dynamic.onnx" p.onnx -o t.onnx $data --exclude fc --steps 20 2>/dev/null | outputs)
[ "$steps" -gt "$plain" ] && echo "steps gain" || echo "$plain dB, with steps $steps dB"
