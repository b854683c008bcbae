# --precision: the package says it, of each variant; a target without the instructions gets a note, other names are refused.
m="$models/../../../examples/models/fashion_cnn/model.onnx"
for p in f32 bf16 fp16; do
	"$mlopt" compile "$m" --target ml_m7a --precision $p -o out.mlopt 2>/dev/null || exit
	"$mlopt" inspect out.mlopt --json | grep '"precision"'
done
"$mlopt" compile "$m" --target ml_c6i --precision bf16 -o out.mlopt 2>&1 | grep 'note' | sed 's/.*note/note/'
"$mlopt" compile "$m" --target ml_c6i -o wide.mlopt 2>/dev/null || exit
[ "$(stat -c %s out.mlopt)" -lt "$(stat -c %s wide.mlopt)" ] && echo smaller
"$mlopt" compile "$m" --target sm_80,sm_75,ml_c6i --precision tf32 -o out.mlopt 2>&1 | grep 'note' | sed 's/.*note/note/'
"$mlopt" inspect out.mlopt | sed -n 's/^variant *\([^:]*\):.*, precision \([^,]*\).*/\1 \2/p'
"$mlopt" compile "$m" --precision bf17 -o out.mlopt
echo "exit $?"
