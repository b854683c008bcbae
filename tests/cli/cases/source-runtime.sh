# A package, and the runtime as source beside it.
mkdir out
"$mlopt" compile "$models/tiny.onnx" --format source-runtime -o out/net.mlopt 2>&1 | tail -1
ls out
"$mlopt" compile "$models/tiny.onnx" -o net.mlopt 2> /dev/null && cmp net.mlopt out/net.mlopt && echo same
grep -c 'mlrt_model_open(' out/mlopt_rt.h
head -1 out/mlopt_rt.c | sed 's/[0-9][0-9.]*/N/'
