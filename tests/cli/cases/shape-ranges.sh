# Ranges of named dimensions: what can be wrong with them, and that a run outside them is refused by name.
m="$models/dynamic.onnx"
for s in batch=64..1 batch=1.. batch=..4 batch=-1..4 batch=1..4..5 batch=1..4x3 batch=1..big =1..4 \
	batch=1..99999999999999999999 nothing=1..4 x=1..4; do
	"$mlopt" compile "$m" -o out.mlopt --shape $s; echo $?
done
"$mlopt" compile "$m" -o out.mlopt --shape batch=1..4 --shape batch=2..8; echo $?
"$mlopt" compile "$m" -o out.mlopt --shape batch=1..4 --shape batch=2; echo $?
"$mlopt" compile "$models/tiny.onnx" -o out.mlopt --shape batch=1..4; echo $?
"$mlopt" bench "$m" --shape batch=1..4; echo $?
"$mlopt" compile "$m" -o some.mlopt --shape batch=2..4 2>/dev/null; echo $?
for n in 0 1 2 4 5; do "$mlopt" run some.mlopt --shape batch=$n | sed 's/ min.*//'; done
"$mlopt" compile "$m" -o any.mlopt --shape batch=0..4 2>/dev/null; echo $?
"$mlopt" run any.mlopt --shape batch=0
"$mlopt" run any.mlopt --shape batch=9223372036854775807; echo $?
ls
