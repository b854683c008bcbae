# The figures that programs rely on are there, and make sense.
"$mlopt" compile "$models/tiny.onnx" -o tiny.mlopt 2>/dev/null || exit
"$mlopt" bench "$models/tiny.onnx" tiny.mlopt --threads 1 --duration 0.1 --warmup 0.01 --json - 2>/dev/null >json || exit
for key in name threads latency_ms min median p90 p99 gflops peak_share load_ms peak_memory_bytes package_bytes speedup; do
	grep -q "\"$key\": " json || echo "no $key"
done
grep -c '"threads": 1,' json
! grep -E '"(median|gflops|peak_share|package_bytes|peak_memory_bytes)": (0|0\.0|-.*),?$' json
