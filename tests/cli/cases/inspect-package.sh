# The names of the model survive fusion.
"$mlopt" compile "$models/tiny.onnx" -o tiny.mlopt --target ml_c6i 2>/dev/null || exit
"$mlopt" inspect tiny.mlopt --node block/relu2 | grep -o 'block/conv2(Conv) + block/relu2(Relu)'
"$mlopt" inspect tiny.mlopt --node nothing >/dev/null; echo $?
"$mlopt" inspect tiny.mlopt --variant nothing >/dev/null; echo $?
"$mlopt" inspect tiny.mlopt --json | grep -c '"tier": "contract"'
"$mlopt" package list tiny.mlopt | sed 's/  *[0-9]* *[0-9]* *[0-9a-f]\{16\}/ N N HASH/; s/, [0-9]* bytes, made by mlopt .*//; s/manifest  *[0-9]*  *[0-9]*/manifest N N/'
