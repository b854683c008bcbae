# A package for another architecture is refused with a reason, not run.
case $(uname -m) in x86_64) t=aarch64 ;; *) t=ml_c6i ;; esac
"$mlopt" compile "$models/two.onnx" -o two.mlopt --target $t 2>/dev/null || exit
"$mlopt" run two.mlopt 2>err && exit 99
s=$?
grep -c '^mlopt: error: ' err
exit $s
