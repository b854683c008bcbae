# Same model and options: same bytes, with and without a cache, on one core or several.
"$mlopt" compile "$models/tiny.onnx" -o a.mlopt 2>/dev/null && "$mlopt" compile "$models/tiny.onnx" -o b.mlopt 2>/dev/null &&
"$mlopt" compile "$models/tiny.onnx" -o c.mlopt --no-cache --jobs 1 2>/dev/null && cmp a.mlopt b.mlopt && cmp a.mlopt c.mlopt
