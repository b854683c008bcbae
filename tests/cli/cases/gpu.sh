# Packages for GPUs, on a machine that has none: made, listed, refused, or run by the CPU where they have its code, too.
export MLRT_CUDA_LIBRARY=/nowhere/libmlopt_rt_cuda.so
"$mlopt" compile "$models/two.onnx" --target cuda -o gpu.mlopt 2>/dev/null; echo $?
"$mlopt" compile "$models/two.onnx" --target cuda -o again.mlopt 2>/dev/null && cmp gpu.mlopt again.mlopt && echo the same bytes
"$mlopt" package list gpu.mlopt | awk 'NR > 2 { print $2 }' | sort -u
"$mlopt" run gpu.mlopt; echo $?
"$mlopt" run gpu.mlopt --variant sm_75; echo $?
"$mlopt" run gpu.mlopt --variant sm_86; echo $?
"$mlopt" compile "$models/two.onnx" --target sm_90,native -o both.mlopt 2>/dev/null; echo $?
"$mlopt" compile "$models/two.onnx" -o cpu.mlopt 2>/dev/null; echo $?
"$mlopt" run both.mlopt --output-dir both >/dev/null && "$mlopt" run cpu.mlopt --output-dir cpu >/dev/null && diff -r both cpu && echo the same results
"$mlopt" compile "$models/two.onnx" --target cuda,nothing -o none.mlopt 2>&1 | head -n 1
"$mlopt" compile "$models/two.onnx" --target sm_75,cuda,sm_75 -o twice.mlopt 2>/dev/null; "$mlopt" package list twice.mlopt | awk '/launches/ { print $NF }'; rm twice.mlopt
"$mlopt" compile "$models/two.onnx" --target cuda,sm_86,sm_87,sm_89,x86_64,graviton,riscv64 -o none.mlopt; echo $?
"$mlopt" compile "$models/two.onnx" --target sm_80 --format static -o none.o; echo $?
MLOPT_PTXAS=/nowhere/ptxas "$mlopt" compile "$models/two.onnx" --target sm_80 --cubin -o none.mlopt; echo $?
"$mlopt" run both.mlopt --device x; echo $?
ls
