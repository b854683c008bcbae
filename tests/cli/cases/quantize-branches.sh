# Layers in branches: quantised where samples take them, those of other branches stay float; an input that is always the same.
sample() { mkdir -p "$1/$2"; cp "$models/sound.npy" "$1/$2/x.npy"; cp "$models/$3.npy" "$1/$2/wide.npy"; cp "$models/$4.npy" "$1/$2/deep.npy"; }
report() { sed 's/ [0-9.]* *$//; s/SQNR [0-9.]* dB/SQNR/'; }
sample one 1 true true
sample all 1 true true; sample all 2 true false; sample all 3 false false
"$mlopt" quantize "$models/gated.onnx" -o one.onnx --calib one | report
"$mlopt" quantize "$models/gated.onnx" -o all.onnx --calib all --round | report
# Quantised inside; what is compiled of it computes what the reference executor does, whichever branch is taken.
"$mlopt" inspect all.onnx --graph | grep -o 'lstm_integer\|quantize_linear' | sort | uniq -c
for how in 'true true' 'true false' 'false true'; do
	"$mlopt" compare all.onnx -i "x=$models/sound.npy" -i "wide=$models/${how% *}.npy" -i "deep=$models/${how#* }.npy" | tail -1
done
# With a branch that is always taken nothing is left of the choice.
"$mlopt" quantize "$models/gated.onnx" -o fixed.onnx --calib one --const "wide=$models/true.npy" --const "deep=$models/true.npy" | report
"$mlopt" inspect fixed.onnx | sed -n 's/ *$//; /^input/,$p'
"$mlopt" quantize fixed.onnx -o again.onnx --calib one; echo $?
