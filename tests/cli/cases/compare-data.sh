# Two models over a data set: figures, bounds, what does not fit.
data="--data $models/batch.npy --preprocess layout=nchw"
"$mlopt" quantize "$models/tiny.onnx" -o q.onnx --calib "$models/batch.npy" --preprocess layout=nchw >/dev/null
"$mlopt" compile q.onnx -o q.mlopt 2>/dev/null
echo "-- a model and itself; its quantised form, as a model and as a package"
"$mlopt" compare "$models/tiny.onnx" "$models/tiny.onnx" $data
"$mlopt" compare q.onnx q.mlopt --reference $data --min-cosine 0.999999 --min-sqnr 120 >/dev/null && echo within
"$mlopt" compare "$models/tiny.onnx" q.onnx $data --min-cosine 0.9 --min-sqnr 20 >out && awk 'NR == 3 { print $1, $2, ($3 > 0.999), ($3 < 1), ($4 <= $3), ($5 > 20), ($6 > 0), $8 }' out
"$mlopt" compare "$models/dynamic.onnx" "$models/dynamic.onnx" $data --shape batch=3 --limit 5 --json - | grep -v '"models"\|onnx"\|npy"'
echo "-- bounds"
"$mlopt" compare "$models/tiny.onnx" q.mlopt $data --min-equal 0.9 >/dev/null 2>err; echo $?
sed 's/[0-9.]*% of/% of/' err
"$mlopt" compare "$models/tiny.onnx" q.mlopt $data --min-sqnr 399 >/dev/null 2>err; echo $?
sed 's/SQNR [0-9.]*/SQNR/' err
echo "-- mistakes"
"$mlopt" compare "$models/tiny.onnx" "$models/two.onnx" $data 2>&1; echo $?
"$mlopt" compare "$models/tiny.onnx" "$models/dynamic.onnx" $data --shape batch=3 2>&1; echo $?
"$mlopt" compare "$models/tiny.onnx" q.onnx 2>&1; echo $?
"$mlopt" compare "$models/tiny.onnx" $data 2>&1; echo $?
"$mlopt" compare "$models/tiny.onnx" q.mlopt --limit 3 2>&1; echo $?
"$mlopt" compare "$models/tiny.onnx" q.mlopt $data --all-values 2>&1; echo $?
