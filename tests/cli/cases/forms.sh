# A model as one function: the files, what they take, and that the host's compiler makes a program of them.
m="$models/tiny.onnx"
for f in static shared; do
	"$mlopt" compile "$m" --name "tiny-2" --format $f -o net.bin 2> err || { cat err; exit 1; }
	grep -c '^net.h: code [0-9]*, constants [0-9]*, weights [0-9]* bytes; RAM: arena [0-9]* (of it scratch [0-9]*), stack [0-9]* bytes$' err
	ls
	grep -o 'void tiny_2_run(.*' net.h
	grep -c '^#define TINY_2_' net.h
	rm net.*
done
# The suffix of each format is its default; targets of several levels take the lowest.
cp "$m" net.onnx && "$mlopt" compile net.onnx --format static --target x86_64 2>&1 | grep -v '^net' && ls
# No package for machines without a system, no states, only sizes that are known, nothing that branches.
"$mlopt" compile "$m" --target cortex-m4f -o out.mlopt; echo $?
"$mlopt" compile "$m" --target cortex-m4f --format source-runtime -o out.mlopt; echo $?
"$mlopt" compile "$models/accumulate.onnx" --format static --state total=total_next -o out.o; echo $?
"$mlopt" compile "$models/dynamic.onnx" --format static -o out.o; echo $?
"$mlopt" compile "$models/dynamic.onnx" --format shared --shape batch=2 -o dynamic.so 2> /dev/null; echo $?
"$mlopt" compile "$models/branches.onnx" --shape n=2 --shape k=2 --format static -o out.o; echo $?
ls
