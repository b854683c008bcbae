# Variants that pack weights alike share their blob; those of another vector length have their own; without weights all share an empty one.
users() { "$mlopt" package list "$1" | awk '$2 == "weights" {print $NF}'; }
"$mlopt" compile "$models/tiny.onnx" -o arm.mlopt --target graviton 2>/dev/null; users arm.mlopt
"$mlopt" compile "$models/tiny.onnx" -o any.mlopt --target x86_64 2>/dev/null; users any.mlopt
"$mlopt" compile "$models/append.onnx" -o none.mlopt --target x86_64 2>/dev/null; users none.mlopt
"$mlopt" package verify none.mlopt | grep -c ok
"$mlopt" compile "$models/tiny.onnx" -o one.mlopt --target x86_64 2>/dev/null; cmp one.mlopt any.mlopt && echo same
"$mlopt" run any.mlopt --variant x86_64 --input random --output-dir o >/dev/null 2>&1; echo $?
