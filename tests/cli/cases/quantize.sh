# Quantising a small model: the report, the model that comes out, profiles, bounds, and data that is no good.
data="--preprocess layout=nchw"
"$mlopt" quantize "$models/dynamic.onnx" -o q.onnx --calib "$models/batch.npy" $data --range minmax | sed 's/ [0-9.]* *$//; s/SQNR [0-9.]* dB/SQNR/'
"$mlopt" inspect q.onnx | sed -n 's/ *$//; /^input/,$p'
"$mlopt" eval q.onnx --data "$models/batch.npy" --labels "$models/labels.npy" $data --reference
"$mlopt" eval "$models/dynamic.onnx" --data "$models/batch.npy" --labels "$models/labels.npy" $data --reference
"$mlopt" compile "$models/tiny.onnx" -o q.mlopt --int8 --calib "$models/batch.npy" $data 2>/dev/null
"$mlopt" eval q.mlopt --data "$models/batch.npy" --labels "$models/labels.npy" $data

echo "-- profiles"
"$mlopt" quantize "$models/tiny.onnx" -o a.onnx --calib "$models/batch.npy" $data --migrate 0.5 --no-correct-bias --save-profile p.json >/dev/null
"$mlopt" quantize "$models/tiny.onnx" -o b.onnx --load-profile p.json >/dev/null && cmp a.onnx b.onnx && echo same
sed '/channel_factors/,$ s/^   [0-9].*,/   -1,/' p.json >bad.json
"$mlopt" quantize "$models/tiny.onnx" -o b.onnx --load-profile bad.json 2>&1; echo $?
sed '/channel_factors/,$ s/^   [0-9].*,/   1, 1,/' p.json >bad.json
"$mlopt" quantize "$models/tiny.onnx" -o b.onnx --load-profile bad.json 2>&1; echo $?
mkdir in && cp "$models/batch.npy" in/1.npy && cp "$models/batch.npy" in/2.npy
"$mlopt" quantize "$models/tiny.onnx" -o c.onnx --calib in $data --samples 10 --exclude 'block/*' --json |
	grep -E 'samples|"node"|quantized|reason'

echo "-- bounds"
"$mlopt" quantize "$models/tiny.onnx" -o d.onnx --calib in $data --min-sqnr 190 >/dev/null 2>err; echo $? $(ls d.onnx 2>/dev/null)
grep -c 'budget cannot be met' err
"$mlopt" quantize "$models/tiny.onnx" -o d.onnx --calib in $data --min-sqnr 190 --keep-best >/dev/null 2>err; echo $? $(ls d.onnx)
"$mlopt" quantize "$models/tiny.onnx" -o e.onnx --calib in $data --max-drop 0 --eval "$models/batch.npy" --labels "$models/labels.npy" 2>/dev/null |
	tail -1 | sed 's/SQNR [0-9.]* dB/SQNR/'

echo "-- what each layer alone costs, as text and as a page"
"$mlopt" quantize "$models/tiny.onnx" -o r.onnx --calib in $data --rank --eval "$models/batch.npy" --labels "$models/labels.npy" --html page.html |
	sed 's/[0-9.]* dB, top1 [0-9.]*%/ dB, top1 %/; s/ [0-9.]*  (/ (/; s/SQNR [0-9.]* dB/SQNR/; s/-\{0,1\}[0-9.e-]* \.\. [0-9.e-]*/LO .. HI/; s/top1 [0-9.]*% (float/top1 % (float/'
cmp c.onnx r.onnx >/dev/null || "$mlopt" quantize "$models/tiny.onnx" -o c.onnx --calib in $data >/dev/null && cmp c.onnx r.onnx && echo same
grep -c '<h2>Quantization of\|if alone, dB<th>top1 if alone, %<th>' page.html
grep -c '<tr><td>' page.html
grep -c '<tr class="off">' page.html
"$mlopt" quantize "$models/tiny.onnx" -o r.onnx --load-profile p.json --rank 2>&1; echo $?
"$mlopt" quantize "$models/tiny.onnx" -o r.onnx --calib in $data --html none/page.html 2>&1 >/dev/null; echo $?

echo "-- weights alone"
"$mlopt" quantize "$models/tiny.onnx" -o w.onnx --weight-only 4 --block 16
"$mlopt" eval w.onnx --data "$models/batch.npy" --labels "$models/labels.npy" $data --reference
"$mlopt" quantize "$models/tiny.onnx" -o w.onnx --weight-only 3 2>&1; echo $?

echo "-- mistakes"
header() { printf '\223NUMPY\001\000\106\000%-69s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1), }"; }
{ header 1,3,8,8; head -c 764 /dev/zero; printf '\000\000\300\177'; } >nan.npy
{ header 0,3,8,8; } >none.npy
{ header 1,3,8,8; for i in $(seq 192); do printf '\000\000\177\103'; done; } >raw.npy
for x in "$models/labels.npy" nan.npy none.npy raw.npy missing.npy; do
	"$mlopt" quantize "$models/tiny.onnx" -o f.onnx --calib "$x" >/dev/null; echo $? $(ls f.onnx 2>/dev/null)
done
"$mlopt" quantize q.onnx -o f.onnx --calib "$models/batch.npy"; echo $?
"$mlopt" quantize "$models/two.onnx" -o f.onnx --calib "$models/a.npy"; echo $?
"$mlopt" quantize "$models/tiny.onnx" -o f.onnx; echo $?
"$mlopt" quantize "$models/tiny.onnx" -o f.onnx --calib in --max-drop 1; echo $?
"$mlopt" quantize "$models/tiny.onnx" -o f.onnx --calib in --range best; echo $?
"$mlopt" quantize "$models/dynamic.onnx" -o f.onnx --load-profile "$models/labels.npy"; echo $?
