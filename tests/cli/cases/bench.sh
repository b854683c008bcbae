# The figures that programs rely on are there, and make sense.
"$mlopt" compile "$models/tiny.onnx" -o tiny.mlopt 2>/dev/null || exit
"$mlopt" bench "$models/tiny.onnx" tiny.mlopt --threads 1 --duration 0.1 --warmup 0.01 --json - 2>/dev/null >json || exit
for key in name threads latency_ms min median p90 p99 gflops peak_share load_ms peak_memory_bytes package_bytes speedup; do
	grep -q "\"$key\": " json || echo "no $key"
done
grep -c '"threads": 1,' json
! grep -E '"(median|gflops|peak_share|package_bytes|peak_memory_bytes)": (0|0\.0|-.*),?$' json
# A page has the figures, a roofline, the nodes of the model and the steps; nothing is left of it when it cannot be written.
"$mlopt" bench "$models/tiny.onnx" --threads 1 --duration 0.1 --warmup 0.01 --no-peer --html page.html >/dev/null 2>&1 || exit
grep -c '<svg' page.html
grep -c 'Roofline\|Before and after fusion\|<h3>Steps' page.html
tail -n 1 page.html
"$mlopt" quantize "$models/tiny.onnx" -o q.onnx --calib "$models/batch.npy" --preprocess layout=nchw --json >report.json
"$mlopt" bench q.onnx --threads 1 --duration 0.1 --warmup 0.01 --no-peer --html page.html --layers report.json >/dev/null 2>&1 || exit
grep -c 'Quantization of\|u8 x s8/channel' page.html
"$mlopt" bench q.onnx --html page.html --layers "$models/make.py" 2>&1; echo "status $?"
echo '{}' >empty.json; "$mlopt" bench q.onnx --html page.html --layers empty.json 2>&1; echo "status $?"
"$mlopt" bench q.onnx --layers report.json 2>&1; echo "status $?"
"$mlopt" bench "$models/tiny.onnx" --threads 1 --duration 0.1 --warmup 0.01 --no-peer --html none/page.html >/dev/null 2>&1
echo "status $?"
