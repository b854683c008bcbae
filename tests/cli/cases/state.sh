# An output bound to an input of the next run: begins with zeros, goes on from run to run, can be given once.
c="$models/accumulate.onnx"
"$mlopt" compile "$c" -o acc.mlopt --state total=total_next 2>/dev/null || exit
"$mlopt" inspect acc.mlopt | grep put
x="--input x=random --seed 3"
for n in 1 2 4; do "$mlopt" run acc.mlopt $x --runs $n | sed "s/^/$n runs: /"; done
"$mlopt" run acc.mlopt $x --input total=random --runs 2
# An open dimension grows; a sum that was never bound does not.
"$mlopt" compile "$models/append.onnx" -o app.mlopt --state past=present 2>/dev/null || exit
for n in 1 3; do "$mlopt" run app.mlopt --shape n=2 --runs $n | sed 's/ min.*//'; done
"$mlopt" compile "$c" -o plain.mlopt 2>/dev/null && "$mlopt" run plain.mlopt $x --runs 4
"$mlopt" bench acc.mlopt --duration 0.05 --warmup 0 >/dev/null 2>&1 || echo "bench: $?"
# What can be wrong with it.
for s in total total=nothing nothing=total_next =; do
	"$mlopt" compile "$c" -o out.mlopt --state $s; echo $?
done
"$mlopt" compile "$c" -o out.mlopt --state total=total_next --state total=sum; echo $?
"$mlopt" compile "$c" -o out.mlopt --state total=total_next --state x=total_next; echo $?
"$mlopt" compile "$models/tiny.onnx" -o out.mlopt --state x=scores:0; echo $?
"$mlopt" run acc.mlopt --runs 0; echo $?
ls
