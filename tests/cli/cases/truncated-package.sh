# Damaged packages are refused, by verify and by run.
"$mlopt" compile "$models/two.onnx" -o good.mlopt 2>/dev/null || exit
"$mlopt" package verify good.mlopt | sed 's/:.*ok.*/: ok/'
n=$(wc -c <good.mlopt)
for i in 100 1000 $((n / 2)) $((n - 1)); do
	head -c "$i" good.mlopt >cut.mlopt
	"$mlopt" package verify cut.mlopt >/dev/null 2>err && echo "verify took $i bytes"
	grep -q '^mlopt: error: ' err || cat err
	"$mlopt" run cut.mlopt >/dev/null 2>err && echo "run took $i bytes"
	grep -q '^mlopt: error: ' err || cat err
done
cp good.mlopt bad.mlopt
printf 'X' | dd of=bad.mlopt bs=1 seek=1700 conv=notrunc 2>/dev/null
"$mlopt" package verify bad.mlopt
