#!/usr/bin/env python3
"""bench/sparse.py [OPTION]... -- layers with sparse weights beside the same layers with dense ones.

For layers of ResNet-50 and BERT, one ONNX model each with dense weights and one for each sparsity and pattern, whose zeros are
chosen by chance, are compiled for this machine and measured one after the other, several rounds of it, on one thread: ten
minutes. A pattern RxC drops R outputs x C inputs together. Written to the output folder: sparse.json with every figure, sparse.md with the table.
"""
import argparse
import json
import math
import os
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# name, kernel (0: a matrix product), inputs, outputs, size of the result (rows of the matrix), stride
LAYERS = [("1x1 64-256, 56", 1, 64, 256, 56, 1), ("1x1 256-64, 56", 1, 256, 64, 56, 1), ("1x1 512-128, 28", 1, 512, 128, 28, 1),
          ("1x1 128-512, 28", 1, 128, 512, 28, 1), ("1x1 1024-256, 14", 1, 1024, 256, 14, 1),
          ("1x1 256-1024, 14", 1, 256, 1024, 14, 1), ("1x1 2048-512, 7", 1, 2048, 512, 7, 1),
          ("3x3 64-64, 56", 3, 64, 64, 56, 1), ("3x3 128-128, 28", 3, 128, 128, 28, 1), ("3x3 256-256, 14", 3, 256, 256, 14, 1),
          ("3x3 512-512, 7", 3, 512, 512, 7, 1), ("3x3 256-256, 14 by 2", 3, 256, 256, 14, 2),
          ("matrix 768-768, 128", 0, 768, 768, 128, 1), ("matrix 768-3072, 128", 0, 768, 3072, 128, 1),
          ("matrix 3072-768, 128", 0, 3072, 768, 128, 1)]
# name, 8 bits, pattern, sparsities
FORMS = [("f32 1x1", False, (1, 1), (0.7, 0.8, 0.85, 0.9)), ("f32 4x1", False, (4, 1), (0.5, 0.75, 0.9)),
         ("int8 1x4", True, (1, 4), (0.5, 0.75, 0.9)), ("int8 4x4", True, (4, 4), (0.5, 0.75, 0.9))]


def weights(rng, layer, pattern, sparsity):
    """[outputs, taps, inputs], in steps of 1/64 so that 8 bits hold them."""
    _, k, inputs, outputs, _, _ = layer
    w = np.clip(rng.standard_normal((outputs, max(k, 1) ** 2, inputs)) * 30, -127, 127).round() / 64
    rows, cols = pattern
    keep = rng.random((outputs // rows, w.shape[1], inputs // cols)) >= sparsity
    w[w == 0] = 1 / 64
    return (w * keep.repeat(rows, 0).repeat(cols, 2)).astype(np.float32)


def constant(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def model(layer, w, bytes_):
    """One layer with a bias and a Relu; of 8 bits, between quantizations."""
    _, k, inputs, outputs, size, stride = layer
    nodes, x, weight, inits = [], "x", "w", [constant("b", np.zeros(outputs, np.float32))]
    shape = [1, size, inputs] if k == 0 else [1, inputs, size * stride, size * stride]
    value = w[:, 0].T if k == 0 else w.reshape(outputs, k, k, inputs).transpose(0, 3, 1, 2)
    if bytes_:
        inits += [constant("w8", np.ascontiguousarray(value * 64).astype(np.int8)), constant("ws", np.float32(1 / 64)),
                  constant("xs", np.float32(0.02)), constant("xz", np.uint8(120)), constant("ys", np.float32(0.3)),
                  constant("yz", np.uint8(0))]
        nodes += [helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["xd"]),
                  helper.make_node("DequantizeLinear", ["w8", "ws"], ["w"])]
        x = "xd"
    else:
        inits.append(constant("w", np.ascontiguousarray(value)))
    if k == 0:
        nodes += [helper.make_node("MatMul", [x, weight], ["m"]), helper.make_node("Add", ["m", "b"], ["c"])]
    else:
        nodes.append(helper.make_node("Conv", [x, weight, "b"], ["c"], pads=[k // 2] * 4, strides=[stride] * 2))
    nodes.append(helper.make_node("Relu", ["c"], ["r" if bytes_ else "y"]))
    if bytes_:
        nodes.append(helper.make_node("QuantizeLinear", ["r", "ys", "yz"], ["y"]))
    kind = TensorProto.UINT8 if bytes_ else TensorProto.FLOAT
    graph = helper.make_graph(nodes, "layer", [helper.make_tensor_value_info("x", kind, shape)],
                              [helper.make_tensor_value_info("y", kind, None)], inits)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def package(options, name, m):
    path = os.path.join(options.output, name)
    onnx.save(m, path + ".onnx")
    subprocess.run([options.mlopt, "compile", path + ".onnx", "-o", path + ".mlopt"], check=True, capture_output=True)
    return path + ".mlopt"


def measure(options, layer, bytes_, pattern, sparsities):
    """Per sparsity: how much faster than dense, and the package's size."""
    rng = np.random.default_rng(1)
    packages = [package(options, "dense", model(layer, weights(rng, layer, (1, 1), 0), bytes_))]
    for s in sparsities:
        packages.append(package(options, "sparse%d" % (s * 100), model(layer, weights(rng, layer, pattern, s), bytes_)))
    command = [options.mlopt, "bench", "--threads", "1", "--no-peer", "--profile", "--json", "-", "--warmup", "0.05",
               "--duration", str(options.duration)] + packages
    rounds = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["models"]
              for _ in range(options.rounds)]
    # the layer itself: its inputs and outputs are turned to and from the order of other layers by steps of their own
    times = [min(max(r[i]["step_ms"]) for r in rounds) for i in range(len(packages))]
    sizes = [os.path.getsize(p) for p in packages]
    return [{"sparsity": s, "speedup": times[0] / t, "size": n / sizes[0]} for s, t, n in zip(sparsities, times[1:], sizes[1:])]


def table(results):
    lines = []
    for form, _, _, sparsities in FORMS:
        if not any(r["form"] == form for r in results):
            continue
        lines += ["", "| %s | " % form + " | ".join("%d%%" % round(s * 100) for s in sparsities) + " |", "|---" * (len(sparsities) + 1) + "|"]
        rows = [r for r in results if r["form"] == form]
        for r in rows:
            lines.append("| %s | " % r["layer"] + " | ".join("%.2f" % p["speedup"] for p in r["points"]) + " |")
        for kind in ("1x1", "3x3", "matrix"):
            some = [r for r in rows if r["layer"].startswith(kind)]
            if some:
                means = [math.exp(sum(math.log(r["points"][i]["speedup"]) for r in some) / len(some)) for i in range(len(sparsities))]
                lines.append("| **%s, geometric mean** | " % kind + " | ".join("**%.2f**" % m for m in means) + " |")
        sizes = [max(r["points"][i]["size"] for r in rows) for i in range(len(sparsities))]
        lines.append("| package, of the dense one, at most | " + " | ".join("%.2f" % s for s in sizes) + " |")
    return "\n".join(lines[1:]) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("forms", nargs="*", metavar="FORM", help="of: " + ", ".join(f[0] for f in FORMS))
    p.add_argument("--mlopt", default="mlopt")
    p.add_argument("--output", default="bench-sparse")
    p.add_argument("--duration", type=float, default=0.15, help="seconds per package and round")
    p.add_argument("--rounds", type=int, default=3)
    options = p.parse_args()
    os.makedirs(options.output, exist_ok=True)
    results = []
    for form, bytes_, pattern, sparsities in FORMS:
        if options.forms and form not in options.forms:
            continue
        for layer in LAYERS:
            points = measure(options, layer, bytes_, pattern, sparsities)
            results.append({"form": form, "layer": layer[0], "points": points})
            print("bench: %s, %s: %s" % (form, layer[0], ", ".join("%.2f" % q["speedup"] for q in points)), file=sys.stderr, flush=True)
    with open(os.path.join(options.output, "sparse.json"), "w") as f:
        json.dump(results, f, indent=1)
    with open(os.path.join(options.output, "sparse.md"), "w") as f:
        f.write(table(results))
    print(table(results), end="")


if __name__ == "__main__":
    main()
