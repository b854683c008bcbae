# An archive for model hosts: the same bytes each time, nobody's ids, no times; what it says of the model; scripts beside it.
mkdir -p code/sub a
echo 'def model_fn(folder): pass' >code/inference.py
echo x >code/sub/data
"$mlopt" compile "$models/two.onnx" --target aarch64 --format sagemaker --code code -o a/one.tar.gz 2>/dev/null || exit
touch -d '2001-01-01' code/inference.py
chmod 700 code/inference.py
"$mlopt" compile "$models/two.onnx" --target aarch64 --format sagemaker --code code -o a/two.tar.gz 2>/dev/null || exit
cmp a/one.tar.gz a/two.tar.gz && TZ=UTC tar tvzf a/one.tar.gz | sed 's/[0-9]* \(1970.*mlopt\)/N \1/'
tar xzOf a/one.tar.gz compiled.meta | tr -d ' \n'
echo
tar xzf a/one.tar.gz -C a && "$mlopt" package verify a/model.mlopt | sed 's/, [0-9.]* KiB//; s/[0-9]* blobs/N blobs/'
# open sizes are -1; the archive is named after the model, and a model's archive is not written over
cp "$models/dynamic.onnx" .
"$mlopt" compile dynamic.onnx --format sagemaker 2>/dev/null && tar xzOf dynamic.tar.gz compiled.meta | tr -d ' \n' | grep -o '"shape":[^]]*]'
mkdir net && tar czf net/m.tar.gz dynamic.onnx && cp net/m.tar.gz before && "$mlopt" compile net/m.tar.gz --format sagemaker 2>/dev/null
cmp before net/m.tar.gz && ls net
"$mlopt" compile dynamic.onnx --code code
"$mlopt" compile dynamic.onnx --format sagemaker --code missing -o no.tar.gz
"$mlopt" compile dynamic.onnx --format sagemaker --code dynamic.onnx -o no.tar.gz
ln -s . code/circle
"$mlopt" compile dynamic.onnx --format sagemaker --code code -o no.tar.gz 2>&1 | sed 's|\(circle/\)*circle|*|'
ls
