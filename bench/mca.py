#!/usr/bin/env python3
"""bench/mca.py [OPTION]... -- hot loops of Arm's cores beside what their multipliers could do, without such a machine.

Layers of ResNet-50 and BERT are compiled for each core in float32, int8 and bf16, one ONNX model each. Of the assembly that
`mlopt compile --dump-asm` prints, the innermost loop with the most multiply-adds that lies inside the image is given to
llvm-mca, which knows that core's pipes: cycles of an iteration, beside the multiply-adds in it divided by the pipes that take
them. Loops at the edges of images are reported where they are slower (the column `edges`). Counted, not measured: llvm-mca
assumes that loads hit the first-level cache.

--update writes the table into docs/PERFORMANCE.md, between the marks that are there.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# target, core as LLVM names it, pipes for multiply-adds of 128 bits and of SVE registers
CORES = [("rasp4b", "cortex-a72", 1, 1), ("graviton2", "neoverse-n1", 2, 2), ("graviton3", "neoverse-v1", 4, 2), ("graviton4", "neoverse-v2", 4, 4)]
# name, kernel (0: a matrix product), inputs, outputs, size of the result (rows of the matrix), stride
LAYERS = [("1x1 64-256, 56", 1, 64, 256, 56, 1), ("1x1 256-128, 56", 1, 256, 128, 56, 1), ("1x1 1024-256, 14", 1, 1024, 256, 14, 1),
          ("3x3 64-64, 56", 3, 64, 64, 56, 1), ("3x3 128-128, 28 by 2", 3, 128, 128, 28, 2), ("3x3 256-256, 14", 3, 256, 256, 14, 1),
          ("matrix 768-3072, 128", 0, 768, 3072, 128, 1)]
# Instructions of 8 (SMULL, SMLAL) or 4 (FMLA) products are counted alike: what one of them does, the column `by` says.
FORMS = ["f32", "int8", "bf16"]
MULTIPLY = re.compile(r"^\s+(fmla|fmad|smull2?|smlal2?|sdot|udot|usdot|sudot|smmla|ummla|usmmla|bfmmla|bfdot)\s")
MARKS = ("<!-- bench/mca.py -->", "<!-- end of bench/mca.py -->")


def build(path, layer, form):
    """A model of that layer alone. int8: its input is quantised, as that of a layer inside of a model is."""
    name, k, inputs, outputs, size, stride = layer
    rng = np.random.default_rng(1)
    shape = [1, size, inputs] if k == 0 else [1, inputs, size * stride, size * stride]
    weights = rng.standard_normal((inputs, outputs) if k == 0 else (outputs, inputs, k, k)).astype(np.float32) / 32
    constants = [numpy_helper.from_array(weights, "w")]
    nodes, a, w = [], "x", "w"
    if form == "int8":
        for value, constant in (("xs", np.float32(0.03)), ("xz", np.uint8(3)), ("ws", np.float32(0.01)), ("wz", np.int8(0))):
            constants.append(numpy_helper.from_array(np.array(constant), value))
        constants[0] = numpy_helper.from_array(np.clip(weights * 1000, -127, 127).astype(np.int8), "w")
        nodes = [helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]), helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
                 helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"])]
        a, w = "xd", "wd"
    if k == 0:
        if form == "bf16":  # what a layer in front stores rounded
            nodes.append(helper.make_node("Relu", ["x"], ["r"]))
            a = "r"
        nodes.append(helper.make_node("MatMul", [a, w], ["y"]))
        out = [1, size, outputs]
    else:
        nodes.append(helper.make_node("Conv", [a, w], ["c"], kernel_shape=[k, k], pads=[k // 2] * 4, strides=[stride, stride]))
        nodes.append(helper.make_node("Relu", ["c"], ["y"]))
        out = [1, outputs, size, size]
    graph = helper.make_graph(nodes, "layer", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def loops(text):
    """Bodies of innermost loops: from a label to the branch back to it, with no label between."""
    lines, label, found = text.split("\n"), {}, []
    for i, line in enumerate(lines):
        m = re.match(r"^(\.LBB\w+):", line)
        if m:
            label[m.group(1)] = i
        m = re.match(r"^\s+(?:b\.\w+|cbn?z\s.*,|tbn?z\s.*,)\s*(\.LBB\w+)", line)
        if m and m.group(1) in label:
            body = lines[label[m.group(1)] + 1:i + 1]
            if not any(re.match(r"^\.LBB", x) for x in body):
                found.append(body)
    return found


def cycles(body, core):
    """Of one iteration, in the steady state."""
    text = "\n".join(x for x in body if not re.match(r"^\s*(\.|//)", x))
    total = []
    for n in (100, 300):
        r = subprocess.run(["llvm-mca-19", "-mtriple=aarch64", "-mcpu=" + core, "-mattr=+sve,+i8mm,+bf16,+dotprod", "-iterations=%d" % n],
                           input=text, capture_output=True, text=True)
        m = re.search(r"Total Cycles:\s+(\d+)", r.stdout)
        if not m:
            sys.exit("mca: llvm-mca-19 -mcpu=%s: %s" % (core, r.stderr.strip()))
        total.append(int(m.group(1)))
    return (total[1] - total[0]) / 200


def judge(body, core):
    """Instructions, multiply-adds, cycles, share of the bound."""
    name, cpu, neon, sve = core
    multiplies = [x for x in body if MULTIPLY.match(x)]
    pipes = sve if any(re.search(r"\bz\d+\.", x) for x in multiplies) else neon
    taken = cycles(body, cpu)
    return sum(1 for x in body if re.match(r"\t[a-z]", x)), len(multiplies), taken, len(multiplies) / pipes / taken


def measure(mlopt, layer, form, core, folder):
    path, package = os.path.join(folder, "layer.onnx"), os.path.join(folder, "layer.mlopt")
    build(path, layer, form)
    r = subprocess.run([mlopt, "compile", path, "-o", package, "--target", core[0], "--no-winograd", "--no-cache", "--no-tuned", "--dump-asm",
                        "--precision", "bf16" if form == "bf16" else "f32"], capture_output=True, text=True)
    if r.returncode:
        sys.exit(r.stderr)
    tile = re.search(r"\[(?:strips, )?tile ([^,]*),", subprocess.run([mlopt, "inspect", package], capture_output=True, text=True).stdout)
    found = [x for x in loops(r.stdout) if sum(1 for y in x if MULTIPLY.match(y)) >= 8]
    if not found or not tile:
        return None
    most = max(sum(1 for y in x if MULTIPLY.match(y)) for x in found)
    judged = [judge(x, core) for x in found if sum(1 for y in x if MULTIPLY.match(y)) == most]
    inner = max(judged, key=lambda x: x[3])
    which = sorted({MULTIPLY.match(y).group(1) for x in found for y in x if MULTIPLY.match(y)})
    return tile.group(1), which, inner, min(x[3] for x in judged)


def table(mlopt):
    lines = ["| core | layer | form | tile | by | instructions | multiply-adds | cycles | of the bound | edges |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for core in CORES:
            for form in FORMS:
                if form == "bf16" and core[1] in ("cortex-a72", "neoverse-n1"):
                    continue  # multiplies none
                for layer in LAYERS:
                    m = measure(mlopt, layer, form, core, folder)
                    if not m:
                        lines.append("| %s | %s | %s | no such loop | | | | | | |" % (core[1], layer[0], form))
                        continue
                    tile, which, (count, multiplies, taken, share), edges = m
                    lines.append("| %s | %s | %s | %s | %s | %d | %d | %.1f | %.2f | %.2f |" % (
                        core[1], layer[0], form, tile, ", ".join(which), count, multiplies, taken, share, edges))
    return "\n".join(lines) + "\n"


def update(path, text, marks=MARKS):
    with open(path) as f:
        old = f.read()
    begin, end = (old.find(m) for m in marks)
    if begin < 0 or end < begin:
        sys.exit("%s has no '%s' and '%s'" % (path, *marks))
    with open(path, "w") as f:
        f.write(old[:begin] + marks[0] + "\n" + text + old[end:])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mlopt", default="build/mlopt")
    p.add_argument("--update", action="store_true")
    o = p.parse_args()
    text = table(o.mlopt)
    print(text, end="")
    if o.update:
        update(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "PERFORMANCE.md"), text)


if __name__ == "__main__":
    main()
