# Decisions by speed come out the same when they are made again: measured times are kept, estimates are always the same.
compile() { "$mlopt" compile "$models/tiny.onnx" --int8 --calib "$models/batch.npy" --preprocess layout=nchw "$@" 2>&1; }
how() { sed -n 's/.*float32 ([0-9.]* ms, \([a-z ]*\)).*/\1/p'; }
kept() { find "$XDG_CACHE_HOME" -name '*.times' | wc -l; }

echo "-- measured"
compile -o a.mlopt | how
[ "$(kept)" -gt 0 ] && echo kept
compile -o b.mlopt | how
cmp a.mlopt b.mlopt && echo same
compile -o c.mlopt --times anew | how

echo "-- a damaged file"
for f in $(find "$XDG_CACHE_HOME" -name '*.times'); do echo >"$f"; done
compile -o d.mlopt | grep -E 'damaged|float32' | sed 's/.*float32 ([0-9.]* ms, \(.*\)).*/\1/' | sort -u
compile -o e.mlopt | how

echo "-- estimated, whatever the cache holds"
compile -o a.mlopt --times estimated | how
rm -rf "$XDG_CACHE_HOME"
compile -o b.mlopt --times estimated --no-cache | how
cmp a.mlopt b.mlopt && echo same
ls "$XDG_CACHE_HOME" 2>/dev/null
for i in 1 2; do compile -o $i.mlopt --target x86_64 --times estimated | grep -c estimated; done
cmp 1.mlopt 2.mlopt && echo same

echo "-- a variant that does not run here"
compile -o a.mlopt --target "$(uname -m | grep -q aarch64 && echo x86_64 || echo aarch64)" | grep -c 'are estimates of the cost model: it '
"$mlopt" quantize "$models/tiny.onnx" -o q.onnx --calib "$models/batch.npy" --preprocess layout=nchw --target native --times estimated --json 2>/dev/null |
	grep -E '"(times|ms|float_ms|speed_to_float)"' | sed 's/: [0-9][0-9.e-]*/: N/' | sort -u

echo "-- mistakes"
compile -o a.mlopt --times guessed; echo $?
"$mlopt" compile "$models/tiny.onnx" --times anew 2>&1; echo $?
"$mlopt" quantize "$models/tiny.onnx" -o q.onnx --calib "$models/batch.npy" --times anew 2>&1; echo $?
