# Metrics of a classifier and of a regression, two models side by side, data that does not fit.
measure() { "$mlopt" eval "$@" --data "$models/batch.npy" --labels "$models/labels.npy" --preprocess layout=nchw; }
measure "$models/tiny.onnx" --metric accuracy,f1,specificity,confusion
measure "$models/tiny.onnx" --metric roc_auc,average_precision
measure "$models/tiny.onnx" "$models/dynamic.onnx" --metric top1,recall_macro --resamples 50 --seed 7
measure "$models/tiny.onnx" "$models/dynamic.onnx" --reference --resamples 0
measure "$models/tiny.onnx" "$models/dynamic.onnx" --metric top2,confusion --json - | tr -d ' \n'; echo
measure "$models/tiny.onnx" --metric mae; echo $?
measure "$models/tiny.onnx" --metric f1,mae; echo $?
# one picture of zeros; the model's own output as the target
printf '\223NUMPY\1\0\166\0%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 8, 8), }" >zero.npy
head -c 768 /dev/zero >>zero.npy
"$mlopt" run "$models/tiny.onnx" --input x=zero.npy --output-dir out >/dev/null
"$mlopt" eval "$models/tiny.onnx" --data zero.npy --labels out/scores_0.npy --metric regression
