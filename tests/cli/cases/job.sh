# A compile job of a cloud service: model, shapes, target and output come from it; what is not needed is said.
mkdir in out
cat >job.json <<'END'
{
 "CompilationJobName": "tiny-job",
 "RoleArn": "arn:aws:iam::123456789012:role/Compile",
 "InputConfig": {"S3Uri": "in/net.onnx", "DataInputConfig": "{\"x\": [2,3,8,8]}", "Framework": "ONNX", "FrameworkVersion": "1.8"},
 "OutputConfig": {"S3OutputLocation": "out", "TargetPlatform": {"Os": "LINUX", "Arch": "X86_64"},
  "CompilerOptions": "{\"mcpu\": \"skylake-avx512\", \"mattr\": [\"+avx512f\"], \"dtype\": \"float32\"}", "KmsKeyId": "k"},
 "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
 "StoppingCondition": {"MaxRuntimeInSeconds": 900, "MaxPendingTimeInSeconds": 7200},
 "Tags": [{"Key": "team", "Value": "a"}]
}
END
cp "$models/dynamic.onnx" in/net.onnx
short() { sed 's/ [0-9.]* \(B\|KiB\)/ N/g; s/[0-9.]* s$/N s/; s/([0-9]* cached)/(N cached)/' err; }
"$mlopt" compile --job job.json 2>err || exit
short
ls out
"$mlopt" inspect out/net-ml_m5.mlopt | sed -n 's/^\([^ ]*\): .*/\1/p; /^input/p'
# from another folder: paths start at the job's; file URIs do not
(mkdir elsewhere && cd elsewhere && sed "s|\"in/net|\"file://localhost$PWD/../in/%6Eet|" ../job.json >../second.json &&
	"$mlopt" compile --job ../second.json 2>&1 | tail -n 1 | sed 's/:.*//')
# the command line wins, and that is said
"$mlopt" compile "$models/dynamic.onnx" --job job.json --target ml_m6g --shape x=1x3x8x8 --name mine -o third.mlopt 2>err || exit
short
"$mlopt" inspect third.mlopt | sed -n 's/^\([^ ]*\): .*/\1/p; /^input/p'
# ranges go by the model's names for its dimensions
sed 's/\[2,3,8,8\]/{\\"shape\\": [\\"1..4\\",3,8,8], \\"default_shape\\": [1,3,8,8], \\"type\\": \\"Tensor\\"}/' job.json >range.json
"$mlopt" compile --job range.json -o range.mlopt 2>err || { cat err; exit 1; }
grep default_shape err
"$mlopt" inspect range.mlopt | grep -A 1 '^input'
"$mlopt" run range.mlopt --shape x=5x3x8x8 2>&1
# devices go by the names and aliases of targets
for device in ml_c5 ml_c4 ml_c7g rasp4b arm64; do
	sed "s/\"TargetPlatform.*/\"TargetDevice\": \"$device\"},/; /CompilerOptions/d" job.json >device.json
	"$mlopt" compile --job device.json 2>err || cat err
	tail -n 1 err | sed 's/:.*//'
done
# a model of another framework, or of a registry, that was exported to ONNX and is given here
sed 's/"ONNX"/"PYTORCH"/; s/"InputConfig/"ModelPackageVersionArn": "arn:x", &/' job.json >torch.json
"$mlopt" compile in/net.onnx --job torch.json -o torch.mlopt 2>&1 | grep -E 'PYTORCH|Arn'
