# External data lies in the model's folder, and nothing leads out of it: no "..", no absolute path, no link.
mkdir m m/aa other
cp "$models/external.onnx" m/model.onnx
printf '\0\0\200\77\0\0\0\100' | tee ww.bin other/ww.bin >m/aa/ww.bin
try() { "$mlopt" compile m/$1.onnx -o out.mlopt 2>err; s=$?; grep -v 'groups' err >&2; echo "$2: $s"; }
try model inside && rm out.mlopt
sed 's|aa/ww.bin|../ww.bin|' m/model.onnx >m/up.onnx
try up "up"
sed 's|aa/ww.bin|a/../w.bi|' m/model.onnx >m/upper.onnx
try upper "up in the middle"
sed 's|aa/ww.bin|/tmp/w.bi|' m/model.onnx >m/absolute.onnx
try absolute "absolute"
rm m/aa/ww.bin && try model "absent"
mkdir m/aa/ww.bin && try model "a folder" && rmdir m/aa/ww.bin
ln -s ../../ww.bin m/aa/ww.bin && try model "symbolic link" && rm m/aa/ww.bin
ln ww.bin m/aa/ww.bin && try model "hard link" && rm m/aa/ww.bin
rmdir m/aa && ln -s ../other m/aa && try model "symbolic link to a folder" && rm m/aa
mkdir m/aa && printf '\0\0\200\77' >m/aa/ww.bin && try model "too short"
ls
