# Accuracy, with compiled code in batches and with the reference.
"$mlopt" eval "$models/dynamic.onnx" --data "$models/batch.npy" --labels "$models/labels.npy" --preprocess layout=nchw --reference
"$mlopt" eval "$models/dynamic.onnx" --data "$models/batch.npy" --labels "$models/labels.npy" --preprocess layout=nchw --shape batch=3
"$mlopt" eval "$models/tiny.onnx" --data "$models/batch.npy" --labels "$models/labels.npy" --preprocess layout=nchw --metric top5 --limit 5
"$mlopt" eval "$models/tiny.onnx" --reference --data "$models/batch.npy" --labels "$models/labels.npy"; echo $?
"$mlopt" eval "$models/tiny.onnx" --reference --data "$models/batch.npy" --labels "$models/a.npy"; echo $?
"$mlopt" eval "$models/tiny.onnx" --reference --data "$models/batch.npy" --labels "$models/labels.npy" --preprocess gamma=2; echo $?
"$mlopt" eval "$models/tiny.onnx" --reference --data "$models/batch.npy" --labels "$models/labels.npy" --metric best
