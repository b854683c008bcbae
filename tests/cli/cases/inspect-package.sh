# The names of the model survive fusion.
"$mlopt" compile "$models/tiny.onnx" -o tiny.mlopt 2>/dev/null || exit
"$mlopt" inspect tiny.mlopt --node block/relu2 | grep -o 'block/conv2(Conv) + block/relu2(Relu)'
"$mlopt" inspect tiny.mlopt --node nothing >/dev/null; echo $?
"$mlopt" inspect tiny.mlopt --json | grep -c '"tier"' | sed 's/[1-9][0-9]*/some/'
