# Schedules are measured, kept, taken by compile, and measuring goes on where it ended.
model=$models/tiny.onnx
"$mlopt" tune "$model" --budget 1 --json first.json 2>first.err | grep -c 'whole model: .* times as fast'
grep -c 'schedules measured' first.err
grep -q '"kernels"' first.json && echo report
"$mlopt" tune "$model" --budget 0.1s --json - -o tuned.mlopt 2>/dev/null | grep '^ "model"'
"$mlopt" compile "$model" -o again.mlopt 2>/dev/null
cmp tuned.mlopt again.mlopt && echo the same
"$mlopt" compile "$model" -o plain.mlopt --no-tuned 2>/dev/null
"$mlopt" compile "$model" -o new.mlopt --cache-dir empty 2>/dev/null
cmp plain.mlopt new.mlopt && echo the same without
"$mlopt" inspect plain.mlopt | grep -c '; cost model\]'
# in a folder that cannot be
"$mlopt" tune "$model" --budget 0.1 --cache-dir /dev/null/x >/dev/null; echo $?
"$mlopt" tune "$model" --budget soon; echo $?
"$mlopt" tune "$model" --target nothing; echo $?
