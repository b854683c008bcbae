# Keys, signatures, golden vectors and lists of packages.  Ids are random: they become the names of their keys.
named() { sed "s/$(sed -n 's/^id //p' ours.pub)/OURS/g; s/$(sed -n 's/^id //p' theirs.pub)/THEIRS/g; s/[0-9.]* KiB/N KiB/g; s/  *N KiB/ N KiB/"; }
"$mlopt" package keygen ours theirs >ids || exit
named <ids
"$mlopt" package keygen ours; echo $?
stat -c '%a %n' ours.key ours.pub
"$mlopt" compile "$models/two.onnx" -o two.mlopt --target aarch64 --name pair --model-version 1.9 --license MIT 2>/dev/null || exit
"$mlopt" compile "$models/two.onnx" -o three.mlopt --golden random:2 --name pair --model-version 1.10 2>/dev/null || exit
"$mlopt" package verify two.mlopt three.mlopt | sed 's/[0-9.]* KiB/N KiB/'
echo --- signatures
cp three.mlopt unsigned.mlopt
"$mlopt" package sign --key ours.key three.mlopt | named
"$mlopt" package sign --key theirs.key three.mlopt | named
cp three.mlopt once.mlopt
"$mlopt" package sign --key ours.key three.mlopt >/dev/null && cmp once.mlopt three.mlopt && echo signed again, the same
"$mlopt" package verify three.mlopt | named
"$mlopt" package verify --key theirs.pub three.mlopt | named
"$mlopt" package verify --key theirs.pub unsigned.mlopt; echo $?
"$mlopt" package keygen nobody >/dev/null
"$mlopt" package verify --key nobody.pub three.mlopt; echo $?
"$mlopt" package verify --key ours.pub --key nobody.pub three.mlopt; echo $?
"$mlopt" package verify --key ours.pub --key nobody.pub --any three.mlopt | named
"$mlopt" run three.mlopt --key ours.pub --key theirs.pub | cut -d' ' -f1,2
"$mlopt" run three.mlopt --key nobody.pub; echo $?
"$mlopt" run "$models/two.onnx" --key ours.pub; echo $?
"$mlopt" run three.mlopt --key ours.key; echo $?
"$mlopt" bench three.mlopt --key nobody.pub --duration 0.1; echo $?
"$mlopt" eval three.mlopt --key nobody.pub --data "$models/batch.npy" --labels "$models/labels.npy"; echo $?
printf 'X' | dd of=once.mlopt bs=1 seek=16400 conv=notrunc 2>/dev/null
"$mlopt" package verify --key ours.pub once.mlopt; echo $?
"$mlopt" package verify once.mlopt; echo $?
"$mlopt" package sign --key ours.key once.mlopt; echo $?
echo --- golden vectors
"$mlopt" package verify --replay --threads 1 three.mlopt --key ours.pub | sed '1d; s/by .*, NMSE at most/by VARIANT, NMSE at most/'
"$mlopt" package verify --replay two.mlopt >/dev/null; echo $?
"$mlopt" compile "$models/two.onnx" -o same.mlopt --golden random:2 --name pair --model-version 1.10 --jobs 3 2>/dev/null
cmp same.mlopt unsigned.mlopt && echo the same bytes
"$mlopt" compile "$models/tiny.onnx" -o data.mlopt --golden "$models/batch.npy" --preprocess layout=nchw 2>/dev/null
"$mlopt" package verify --replay data.mlopt | grep -c 'vector [0-3], '
"$mlopt" compile "$models/tiny.onnx" -o data.mlopt --calib "$models/batch.npy" --golden calib:2 --preprocess layout=nchw 2>/dev/null
"$mlopt" package verify --replay data.mlopt | grep -c 'vector [0-1], '
"$mlopt" compile "$models/two.onnx" --golden random:0 -o no.mlopt; echo $?
"$mlopt" compile "$models/two.onnx" --golden calib -o no.mlopt; echo $?
"$mlopt" compile "$models/tiny.onnx" --golden nothing.npy -o no.mlopt; echo $?
"$mlopt" compile "$models/two.onnx" --format static --golden random -o no.o; echo $?
echo --- lists
mkdir all
cp two.mlopt three.mlopt all
head -c 20000 two.mlopt >all/cut.mlopt
echo text >all/other.mlopt
"$mlopt" package list all --key ours.pub --key theirs.pub | sed 's/x86_64-[a-z0-9]*/HERE/g' | tr -s ' ' | sed 's/[0-9.]* KiB/N KiB/; s/says [0-9]*/says N/'
"$mlopt" package list three.mlopt | tail -n 1 | named
"$mlopt" package list nowhere; echo $?
echo --- usage
"$mlopt" package sign three.mlopt; echo $?
"$mlopt" package sign --key ours.pub three.mlopt; echo $?
"$mlopt" package verify --any three.mlopt; echo $?
"$mlopt" package list --replay three.mlopt; echo $?
"$mlopt" package verify --variant x three.mlopt; echo $?
"$mlopt" package keygen --key ours.pub x; echo $?
"$mlopt" package verify --key three.mlopt three.mlopt; echo $?
