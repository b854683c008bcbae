# Activations of 16 bits: asked for by name, or where a bound needs them; they are plain ONNX.
data="--calib $models/batch.npy --preprocess layout=nchw"
report() { sed 's/  *[0-9.]* *$//; s/ [0-9.]*  asked/  asked/; s/SQNR [0-9.]* dB/SQNR/'; }
"$mlopt" quantize "$models/dynamic.onnx" -o q.onnx $data --range minmax --int16 'block/*' --int16 fc | report
"$mlopt" inspect q.onnx | sed -n 's/ *$//; /^operator/,$p'
"$mlopt" quantize "$models/dynamic.onnx" -o s.onnx $data --symmetric --int16 conv1 --json | grep -E '"scheme"|asked'

echo "-- the same results compiled and by the reference"
for model in q s; do
	for how in "" --reference; do
		"$mlopt" eval $model.onnx --data "$models/batch.npy" --labels "$models/labels.npy" --preprocess layout=nchw $how
	done
done
"$mlopt" compile "$models/dynamic.onnx" -o c.mlopt --int8 $data --int16 fc --target ml_m8a --times estimated 2>&1 |
	grep -o 'quantised, .* reading 16 bits'
"$mlopt" quantize "$models/dynamic.onnx" -o a.onnx $data --int16 '*' --no-correct-bias --save-profile p.json >/dev/null
"$mlopt" quantize "$models/dynamic.onnx" -o b.onnx --load-profile p.json --int16 '*' >/dev/null && cmp a.onnx b.onnx && echo same

echo "-- bounds"
sqnr() { sed -n 's/.*SQNR \([0-9]*\).*/\1/p' | tail -1; }
base=$("$mlopt" quantize "$models/dynamic.onnx" -o a.onnx $data | sqnr)
"$mlopt" quantize "$models/dynamic.onnx" -o b.onnx $data --min-sqnr $((base + 3)) --fallback int16 >out 2>err; echo $?
grep -c 'u16 x s8/channel .*alone it leaves' out; grep -c 'layers in 16 bits, [0-9]* in float: SQNR' err
[ "$(sqnr <out)" -ge $((base + 3)) ] && echo met
"$mlopt" quantize "$models/dynamic.onnx" -o c.onnx $data --min-sqnr 190 --fallback int16 >/dev/null 2>err; echo $?
grep -c 'budget cannot be met: with [0-9]* layers in 16 bits, [0-9]* in float, of 3' err

echo "-- mistakes"
"$mlopt" quantize "$models/dynamic.onnx" -o f.onnx $data --int16 'nothing*' >/dev/null; echo $?
"$mlopt" quantize "$models/dynamic.onnx" -o f.onnx $data --fallback int16; echo $?
"$mlopt" quantize "$models/dynamic.onnx" -o f.onnx $data --min-sqnr 20 --fallback int4; echo $?
"$mlopt" compile "$models/dynamic.onnx" -o f.mlopt --int16 fc; echo $?
