# Developers' views: the graph after a pass, kernels, LLVM IR, assembly; and counting passes.
"$mlopt" compile "$models/tiny.onnx" -o a.mlopt --no-cache --dump-after fuse --dump-kernels --dump-llvm --dump-asm >dump 2>/dev/null || exit
grep -o '^; ---- pass fuse' dump
for kind in kernels llvm asm; do
	grep -q "^; ---- $kind " dump || echo "no $kind"
done
"$mlopt" compile "$models/tiny.onnx" -o a.mlopt --time-passes --verify-each 2>&1 | grep -c '^fuse  *[0-9.]* ms'
