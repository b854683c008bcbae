# A full disk is an error of status 1, for files and for standard output, and leaves nothing behind.
[ -w /dev/full ] || { echo "SKIP: there is no /dev/full"; exit 77; }
"$mlopt" help >/dev/full; echo $?
(ulimit -f 64; "$mlopt" compile "$models/tiny.onnx" --no-cache -o out.mlopt; echo $?)
(ulimit -f 8; "$mlopt" run "$models/dynamic.onnx" --reference --shape x=1000x3x8x8 --output-dir out >/dev/null; echo $?)
ls . out
# So are the other files a user can ask for.
"$mlopt" compile "$models/body.onnx" -o out.mlopt --extract-failing /dev/full 2>err; echo $?
(ulimit -f 0; "$mlopt" compile "$models/body.onnx" -o out.mlopt --extract-failing part.onnx 2>&1; echo $?) | tail -n 2 | sed "s|'.*/mlopt-[^/]*|'FOLDER|"
"$mlopt" bench "$models/two.onnx" --duration 0.01 --warmup 0 --json /dev/full 2>>err >/dev/null; echo $?
(ulimit -f 0; "$mlopt" bench "$models/two.onnx" --duration 0.01 --warmup 0 --json part.json 2>&1 >/dev/null; echo $?) | tail -n 2 | sed "s|'.*/mlopt-[^/]*|'FOLDER|"
grep /dev/full err
rm err
# Kernels are linked in a folder of the system's, which is removed.
(ulimit -f 0; "$mlopt" compile "$models/two.onnx" --cache-dir cache -o out.mlopt 2>&1; echo $?) | tail -n 2 | sed "s|'.*/mlopt-[^/]*|'FOLDER|"
find . -type f
