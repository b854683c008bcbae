#!/usr/bin/env python3
"""bench/equality.py [OPTION]... MODEL.onnx... -- quantised models: which values equal those of ONNX Runtime.

Each model (QDQ form) runs compiled by mlopt and in ONNX Runtime, with its graph optimisations (operators in integers,
approximations of its own among them) and without (each operator alone, in float32 between the roundings). What is
compared are the results of all QuantizeLinear nodes that do not quantise constants, and the outputs:

  run      each runtime by itself: once a value differs, all that is computed from it may
  node     what mlopt makes of the very integers that ONNX Runtime has in front of each node: each node alone

Written: for each model and each way, how many elements are equal, and the largest difference in steps of the
quantization; of outputs, signal to noise. With --values, each tensor that is not equal, by the node that made it.

Needs numpy, onnx and Node.js with onnxruntime-node (NODE_PATH). `--input` is an array that the first input takes as it
is; `--data` with `--preprocess` are samples as for `mlopt eval`, --samples of them; else inputs are random.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx

HERE = os.path.dirname(os.path.abspath(__file__))
LEVELS = ("all", "disabled")


class Peer:
    """ONNX Runtime behind tools/ort_peer.js."""

    def __init__(self, folder):
        script = os.path.join(HERE, "..", "tools", "ort_peer.js")
        self.folder = folder
        self.process = subprocess.Popen(["node", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"ok":false,"error":"node with onnxruntime-node not found"}')
        if not answer["ok"]:
            raise RuntimeError("ONNX Runtime: " + answer["error"])
        return answer

    def run(self, model, inputs, level):
        """Outputs by name."""
        data, at, listed = os.path.join(self.folder, "values"), 0, []
        with open(data, "wb") as f:
            for name, value in inputs.items():
                listed.append({"name": name, "type": value.dtype.name, "dims": list(value.shape), "at": at})
                at += f.write(value.tobytes())
        self.ask(do="load", model=model, threads=1, data=data, inputs=listed, level=level)
        outputs = self.ask(do="values", data=data)["outputs"]
        raw = open(data, "rb").read()
        return {o["name"]: np.frombuffer(raw, o["type"], int(np.prod(o["dims"])), o["at"]).reshape(o["dims"])
                for o in outputs}


class Compiled:
    """A model compiled by mlopt."""

    def __init__(self, mlopt, folder, model, name):
        self.mlopt, self.folder, self.package = mlopt, os.path.join(folder, name), os.path.join(folder, name + ".mlopt")
        os.makedirs(self.folder, exist_ok=True)
        command([mlopt, "compile", model, "-o", self.package])

    def run(self, inputs):
        given = []
        for i, (name, value) in enumerate(inputs.items()):
            file = os.path.join(self.folder, "in%d.npy" % i)
            np.save(file, value)
            given += ["--input", name + "=" + file]
        command([self.mlopt, "run", self.package, "--output-dir", self.folder] + given)

    def output(self, name):
        return np.load(os.path.join(self.folder, name + ".npy"))


def command(argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or "exit status %d of %s" % (done.returncode, argv[0]))


# -- models -------------------------------------------------------------------------------------------

def rename(graph, names):
    """Names of values; a name is then one of a file, too."""
    for node in graph.node:
        node.input[:] = [names.get(i, i) for i in node.input]
        node.output[:] = [names.get(o, o) for o in node.output]
    for value in list(graph.output) + list(graph.value_info):
        value.name = names.get(value.name, value.name)


def quantised(graph):
    """QuantizeLinear nodes whose operand is no constant."""
    constant = {i.name for i in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "Constant" or (node.input and all(i in constant for i in node.input if i)):
            constant.update(node.output)
        elif node.op_type == "QuantizeLinear":
            found.append(node)
    return found


def revealed(path):
    """The model with what is quantised as further outputs q0, q1, ...; by name, what made their operands."""
    model = onnx.load(path)
    graph = model.graph
    rename(graph, {o.name: "out%d" % i for i, o in enumerate(graph.output)})
    nodes = quantised(graph)
    outputs = {o.name for o in graph.output}
    nodes = [n for n in nodes if n.output[0] not in outputs]
    rename(graph, {n.output[0]: "q%d" % i for i, n in enumerate(nodes)})
    made = {o: n for n in graph.node for o in n.output}
    zero = {i.name: i.data_type for i in graph.initializer}
    maker = {}
    for node in nodes:
        elem = zero.get(node.input[2], onnx.TensorProto.UINT8) if len(node.input) > 2 else onnx.TensorProto.UINT8
        graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], elem, None))
        by = made.get(node.input[0])
        maker[node.output[0]] = by.op_type if by is not None else "input"
    return model, maker


def forced(model, values):
    """The model with each q0, q1, ... as an input; what its node makes of the others is the output own_q0, ..."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] in values:
            node.output[0] = "own_" + node.output[0]
    for output in graph.output:
        if output.name in values:
            output.name = "own_" + output.name
    for name, value in values.items():
        elem = onnx.helper.mapping.NP_TYPE_TO_TENSOR_TYPE[value.dtype]
        graph.input.append(onnx.helper.make_tensor_value_info(name, elem, value.shape))
    return model


# -- inputs -------------------------------------------------------------------------------------------

def recipe(text):
    """As tools/preprocess.h says, without order=bgr."""
    parts = dict(p.split("=") for p in text.split(",") if p)
    top, _, bottom = parts.get("scale", "1").partition("/")
    numbers = lambda key, default: np.array([float(v) for v in parts.get(key, default).split(":")], np.float32)
    return float(top) / float(bottom or 1), numbers("mean", "0"), numbers("std", "1"), parts.get("layout") == "nchw"


def samples(options, model):
    """Lists of inputs by name."""
    first = model.graph.input[0]
    shapes = {i.name: [d.dim_value or 1 for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    shape = shapes[first.name]
    if options.input:
        return [{first.name: np.load(options.input)}]
    if not options.data:
        rng = np.random.default_rng(1)
        return [{n: rng.uniform(-1, 1, s).astype(np.float32) for n, s in shapes.items()} for _ in range(options.samples)]
    scale, mean, std, nchw = recipe(options.preprocess)
    x = (np.load(options.data)[:options.samples].astype(np.float32) * np.float32(scale) - mean) / std
    if nchw and x.ndim == 4:
        x = x.transpose(0, 3, 1, 2)
    return [{first.name: np.ascontiguousarray(v.reshape([1] + shape[1:]), np.float32)} for v in x]


# -- comparing ----------------------------------------------------------------------------------------

class Tally:
    """Elements, those that are equal, the largest difference; by operator those that are not."""

    def __init__(self):
        self.elems = self.equal = 0
        self.largest, self.least, self.by = 0, 1.0, {}

    def add(self, name, maker, want, have):
        if want.shape != have.shape or want.dtype != have.dtype:
            raise RuntimeError("%s: %s of %s, ONNX Runtime: %s of %s" % (name, have.shape, have.dtype, want.shape, want.dtype))
        diff = np.abs(want.astype(np.int64) - have.astype(np.int64))
        same = int((diff == 0).sum())
        self.elems += diff.size
        self.equal += same
        self.largest = max(self.largest, int(diff.max(initial=0)))
        if diff.size:
            self.least = min(self.least, same / diff.size)
        if same < diff.size:
            self.by.setdefault((name, maker), []).append((diff.size - same, diff.size, int(diff.max())))

    def text(self):
        share = 100 * self.equal / self.elems if self.elems else 100
        return "%9.5f %% of %8d equal, least %9.5f %%, up to %d steps" % (share, self.elems, 100 * self.least, self.largest)


def decibel(want, have):
    noise = float(((want.astype(np.float64) - have) ** 2).sum())
    return 10 * np.log10(float((want.astype(np.float64) ** 2).sum()) / noise) if noise else np.inf


def outputs_text(pairs):
    equal = sum(int((w == h).sum()) for w, h in pairs) / max(sum(w.size for w, _ in pairs), 1)
    largest = max(float(np.abs(w.astype(np.float64) - h).max(initial=0)) for w, h in pairs)
    return "%9.5f %% of outputs equal, largest difference %.3g, SQNR %.1f dB" % (
        100 * equal, largest, min(decibel(w, h) for w, h in pairs))


def compare(path, options, folder):
    model, maker = revealed(path)
    file = os.path.join(folder, "revealed.onnx")
    onnx.save(model, file)
    peer, ours = Peer(folder), Compiled(options.mlopt, folder, file, "ours")
    finals = [o.name for o in model.graph.output if o.name not in maker]
    tally = {(level, way): Tally() for level in LEVELS for way in ("run", "node")}
    final = {level: [] for level in LEVELS}
    alone = None
    for inputs in samples(options, model):
        ours.run(inputs)
        for level in LEVELS:
            want = peer.run(file, inputs, level)
            values = {name: want[name] for name in maker}
            if alone is None:
                onnx.save(forced(model, values), os.path.join(folder, "forced.onnx"))
                alone = Compiled(options.mlopt, folder, os.path.join(folder, "forced.onnx"), "alone")
            alone.run(dict(inputs, **values))
            for name in maker:
                tally[level, "run"].add(name, maker[name], want[name], ours.output(name))
                tally[level, "node"].add(name, maker[name], want[name], alone.output("own_" + name))
            final[level] += [(want[name], ours.output(name)) for name in finals]
    peer.process.stdin.close()
    print(path)
    for level in LEVELS:
        print("  ONNX Runtime, optimisations %s: %s" % (level, outputs_text(final[level])))
        for way in ("run", "node"):
            print("    %-4s %s" % (way, tally[level, way].text()))
            for (name, by), found in tally[level, way].by.items() if options.values else ():
                print("           %-6s %-18s %s" % (name, by, "; ".join("%d of %d, up to %d" % f for f in found)))
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--mlopt", default="mlopt")
    parser.add_argument("--input")
    parser.add_argument("--data")
    parser.add_argument("--preprocess", default="")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--values", action="store_true")
    options = parser.parse_args()
    for path in options.models:
        with tempfile.TemporaryDirectory() as folder:
            compare(path, options, folder)


if __name__ == "__main__":
    main()
