# What a package says to inputs that are not what it was compiled for: status 1 or 2, and nothing written.
"$mlopt" compile "$models/two.onnx" -o two.mlopt 2>/dev/null || exit
"$mlopt" compile "$models/dynamic.onnx" -o dynamic.mlopt 2>/dev/null || exit
"$mlopt" run two.mlopt --input "a=$models/labels.npy" --output-dir out; echo $?
"$mlopt" run two.mlopt --input "a=$models/batch.npy" --output-dir out; echo $?
"$mlopt" run two.mlopt --input "b=$models/a.npy" --input "c=$models/a.npy" --output-dir out; echo $?
"$mlopt" run dynamic.mlopt --input "x=$models/batch.npy" --output-dir out; echo $?
"$mlopt" run dynamic.mlopt --input "x=$models/a.npy" --output-dir out; echo $?
"$mlopt" run dynamic.mlopt --shape x=1x3x9x9 --output-dir out; echo $?
"$mlopt" run dynamic.mlopt --shape y=1 --output-dir out; echo $?
"$mlopt" run dynamic.mlopt --shape batch=1099511627776 --output-dir out; echo $?
sh -c 'ulimit -v 2000000; "$mlopt" version; exit $?' >/dev/null 2>&1 && limit=2000000 || limit=unlimited # a sanitizer reserves more
(ulimit -v $limit; "$mlopt" run dynamic.mlopt --shape batch=1000000000 --output-dir out 2>err); echo $?
(ulimit -v $limit; "$mlopt" run "$models/dynamic.onnx" --reference --shape batch=1000000000 --output-dir out 2>>err); echo $?
[ $(grep -c '^mlopt: error: ' err) = 2 ] || cat err
rm err
head -c 100 "$models/a.npy" >cut.npy
"$mlopt" run two.mlopt --input a=cut.npy --output-dir out; echo $?
ls
