# Kernels are kept: the second compilation generates none. --no-cache keeps and reads nothing.
"$mlopt" compile "$models/tiny.onnx" -o a.mlopt --target ml_c6i --cache-dir cache 2>&1 | grep -o '[0-9]* kernels ([0-9]* cached)'
"$mlopt" compile "$models/tiny.onnx" -o b.mlopt --target ml_c6i --cache-dir cache 2>&1 | grep -o '[0-9]* kernels ([0-9]* cached)'
"$mlopt" compile "$models/tiny.onnx" -o c.mlopt --target ml_c6i --no-cache 2>&1 | grep -o '[0-9]* kernels ([0-9]* cached)'
cmp a.mlopt b.mlopt && cmp a.mlopt c.mlopt
# A damaged cache does no harm.
for f in $(find cache -type f); do printf 'damage' >"$f"; done
"$mlopt" compile "$models/tiny.onnx" -o d.mlopt --target ml_c6i --cache-dir cache 2>/dev/null && cmp a.mlopt d.mlopt
