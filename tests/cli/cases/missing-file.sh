# A file that is not there, is a folder, is empty, or is something else.
"$mlopt" compile nothing.onnx; echo $?
mkdir folder
"$mlopt" compile folder; echo $?
: >empty.onnx
"$mlopt" compile empty.onnx; echo $?
echo 'This is no model.' >text.onnx
"$mlopt" compile text.onnx; echo $?
"$mlopt" package verify nothing.mlopt; echo $?
ls
