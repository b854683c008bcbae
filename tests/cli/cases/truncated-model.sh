# Every prefix of a model is refused with a message, status 1 and no file.
n=$(wc -c <"$models/tiny.onnx") i=1
while [ "$i" -lt "$n" ]; do
	head -c "$i" "$models/tiny.onnx" >cut.onnx
	"$mlopt" compile cut.onnx -o out.mlopt 2>err
	s=$?
	[ $s = 1 ] && grep -q '^mlopt: error: ' err && [ ! -e out.mlopt ] || { echo "prefix of $i bytes: status $s"; cat err; exit 1; }
	i=$((i + 997))
done
ls
