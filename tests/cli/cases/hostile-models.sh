# Models that lie about themselves are refused with a message, in little memory and time, and leave no file.
sh -c 'ulimit -v 2000000; "$mlopt" version; exit $?' >/dev/null 2>&1 && limit=2000000 || limit=unlimited # a sanitizer reserves more
try() {
	(ulimit -v $limit; timeout 60 "$mlopt" "$@"); echo $?
}
for m in "$models"/hostile-*.onnx; do
	case $m in *-repeat.onnx) continue ;; esac
	try compile "$m" -o out.mlopt
done
# Four terabytes between two nodes: it compiles, since nothing of it is in the model, and a run says what it lacks.
try compile "$models/hostile-repeat.onnx" -o repeat.mlopt 2>/dev/null
try run repeat.mlopt 2>&1 | grep -v '^==' # a sanitizer warns
# Random bytes, and bytes of which the first are those of a model.
n=0
while [ $n -lt 40 ]; do
	n=$((n + 1))
	awk -v n=$n 'BEGIN { srand(n); for (i = 0; i < 40 * n; i++) printf "%c", int(rand() * 127) }' >noise
	{ head -c $((n * 30)) "$models/tiny.onnx"; cat noise; } >mixed
	for f in noise mixed; do
		try compile $f -o out.mlopt >status 2>err
		[ "$(cat status)" = 1 ] && grep -q '^mlopt: error: ' err || { echo "$f $n: $(cat status)"; cat err; }
		try inspect $f >status 2>err
		[ "$(cat status)" = 1 ] && grep -q '^mlopt: error: ' err || { echo "inspect $f $n: $(cat status)"; cat err; }
	done
done
rm -f noise mixed status err
ls
