# Compile jobs that cannot be followed: each says where, what, and what may have been meant; nothing is written.
mkdir out
cp "$models/tiny.onnx" net.onnx
cat >good.json <<'END'
{"CompilationJobName": "j",
"InputConfig": {"S3Uri": "net.onnx", "DataInputConfig": "{\"x\": [1,3,8,8]}", "Framework": "ONNX"},
"OutputConfig": {"S3OutputLocation": "out", "TargetDevice": "ml_m5"}}
END
try() { # try WHAT SED...: the good job, changed
	echo "-- $1"
	shift
	sed "$@" good.json >job.json
	"$mlopt" compile --job job.json 2>&1
	echo "status $?"
}
options() { # options WHAT TEXT: with CompilerOptions for a platform
	text=$(printf '%s' "$2" | sed 's/"/\\\\"/g')
	try "$1" "s/\"TargetDevice\": \"ml_m5\"/\"TargetPlatform\": {\"Os\": \"LINUX\", \"Arch\": \"ARM64\"}, \"CompilerOptions\": \"$text\"/"
}
try 'empty' d
try 'truncated' '2,$s/"Target.*//'
try 'no object' -n '1s/.*/[1, 2]/p'
try 'twice' 's/"Framework": "ONNX"/"Framework": "ONNX", "S3Uri": "x"/'
try 'not UTF-8' "s/net.onnx/n$(printf '\377')t/"
try 'huge number' 's/"CompilationJobName": "j"/"CompilationJobName": 123456789012345678901234567890/'
echo '-- deep'
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "{\"a\":["; }' >deep.json
"$mlopt" compile --job deep.json 2>&1 | sed 's/\(\.a\[0\]\)*/*/'
try 'unknown fields' 's/"CompilationJobName"/"compilation_job_name"/; s/"S3Uri"/"S3URI"/; s/"OutputConfig": {/&"Weather": 1, /'
try 'missing' 's/"CompilationJobName": "j",//; s/"S3Uri": "net.onnx", //; s/"S3OutputLocation": "out", //'
try 'no configurations' -n 's/"j",/"j"}/p'
try 'wrong types' 's/"j"/7/; s/"DataInputConfig": "[^ ]* /"DataInputConfig": {"x": /; s/\[1,3,8,8\]}"/[1,3,8,8]}/; s/"ml_m5"/["ml_m5"]/'
try 'wrong values' 's/"ONNX"/"Onnx"/; s/"j"/""/; s/"S3OutputLocation"/"TargetPlatform": {"Os": "LINUX", "Arch": "X86-64"}, &/'
try 'another framework' 's/ONNX/PYTORCH/'
try 'remote' 's|net.onnx|s3://bucket/model.tar.gz|; s|"out"|"s3://bucket/out"|'
try 'file URI' 's|net.onnx|file://host/model.onnx|; s|"out"|"file:///%zz"|'
try 'registry' 's/"InputConfig.*/"ModelPackageVersionArn": "arn:aws:sagemaker:a:1:model-package\/x",/'
try 'no target' 's/, "TargetDevice": "ml_m5"//'
for device in jetson_nano coreml ml_m55 toaster-9000; do
	try "device $device" "s/ml_m5/$device/"
done
try 'platform' 's/"TargetDevice": "ml_m5"/"TargetPlatform": {"Os": "ANDROID", "Arch": "ARM64"}/'
try 'accelerator' 's/"TargetDevice": "ml_m5"/"TargetPlatform": {"Os": "LINUX", "Arch": "X86_64", "Accelerator": "NVIDIA"}/'
try '32 bits' 's/"TargetDevice": "ml_m5"/"TargetPlatform": {"Os": "LINUX", "Arch": "ARM_EABIHF"}/'
options 'quotes' "{'mcpu': 'cortex-a53'}"
options 'cpu' '{"mcpu": "cortex-a53"}'
options 'features' '{"mattr": ["-neon", "sve"]}'
options 'GPU' '{"gpu-code": "sm_72", "ANDROID_PLATFORM": 28}'
options 'unknown options' '{"DTYPE": "float32", "dtype": "float16"}'
options 'options of another kind' '[1]'
shapes() { # shapes WHAT TEXT
	text=$(printf '%s' "$2" | sed 's/"/\\\\"/g')
	try "$1" "s/\"DataInputConfig\": \"[^ ]* \[1,3,8,8\]}\"/\"DataInputConfig\": \"$text\"/"
}
shapes 'no names' '[[1,3,8,8]]'
shapes 'no shape' '{"x": 5, "y": {"type": "Tensor"}}'
shapes 'bad sizes' '{"x": [0], "y": [1.5], "z": ["4..1"], "w": [99999999999]}'
shapes 'to choose from' '{"x": {"shape": [[1,3,8,8],[2,3,8,8]]}}'
shapes 'image' '{"x": {"shape": [1,3,8,8], "type": "Image", "bias": [1], "scale": 2}}'
shapes 'another size' '{"x": [1,3,9,8]}'
shapes 'another range' '{"x": [1,"4..6",8,8]}'
shapes 'another input' '{"q": ["1..2",3,8,8]}'
shapes 'cut' '{"x": [1,3'
echo '-- no file'
"$mlopt" compile --job none.json 2>&1
echo "status $?"
echo '-- no model and no job'
"$mlopt" compile 2>&1
echo "status $?"
ls out
