# A model in an archive: unpacked, compiled, and gone again; archives that are not sound are refused.
mkdir tmp src
TMPDIR=$PWD/tmp
export TMPDIR
cp "$models/tiny.onnx" "$models/external.onnx" src
try() { # try ARCHIVE
	"$mlopt" compile "$1" 2>&1 | sed 's/; .* s$//; s/mlopt\.[A-Za-z0-9]*/mlopt.*/'
}
tar czf good.tar.gz -C src ./tiny.onnx && try good.tar.gz
(cd src && cp tiny.onnx ._tiny.onnx && mkdir deep && mv tiny.onnx deep/ && tar czf ../deep.tgz deep ._tiny.onnx) && try deep.tgz
tar czf two.tar.gz -C src external.onnx deep/tiny.onnx && try two.tar.gz
tar czf none.tar.gz -C src ._tiny.onnx && try none.tar.gz
tar cPzf out.tar.gz src/deep/../external.onnx && try out.tar.gz
tar cPzf root.tar.gz --transform 's|^|/|' src/external.onnx && try root.tar.gz
ln -s /etc/passwd src/weights.bin && tar czf link.tar.gz -C src weights.bin && try link.tar.gz
mkfifo src/pipe && tar czf pipe.tar.gz -C src pipe && try pipe.tar.gz
tar cf twice.tar -C src deep/tiny.onnx && tar rf twice.tar --transform 's|external.onnx|deep/x.bin|' -C src external.onnx &&
	tar rf twice.tar --transform 's|external.onnx|deep/x.bin|' -C src external.onnx && try twice.tar
truncate -s 17G src/huge.bin && tar cSzf huge.tar.gz -C src huge.bin && try huge.tar.gz
head -c 900 good.tar.gz >cut.tar.gz && try cut.tar.gz
cp src/deep/tiny.onnx wrong.tar.gz && try wrong.tar.gz
: >empty.tar.gz && try empty.tar.gz
try missing.tar.gz
ls tmp *.mlopt
