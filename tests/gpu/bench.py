#!/usr/bin/env python3
"""tests/gpu/bench.py [OPTION]... LIST [NAME]... -- mlopt beside other runtimes on a GPU; tests/gpu/run calls it.

Each model of LIST that is there (MLOPT_MODELS, MLOPT_ZOO) is compiled for --target and measured by `mlopt bench`; in
turns with it ONNX Runtime's CUDA provider, else PyTorch by way of onnx2torch, where Python has them, with inputs of the
same sizes. Inputs and outputs of all are in ordinary memory, and a run ends when the outputs are there. Figures are
medians in ms, the better one of two turns; the ratio is theirs to ours. What cannot be measured is said.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

TURNS = 2


class Missing(Exception):
    """A runtime that is not there, or does not take a model."""


def read_list(path):
    with open(path) as f:
        return [line.split()[0] for line in f if line.strip() and not line.startswith("#")]


def find(name):
    """The file of a model, and names and files of its inputs; None: it is not there. Where nothing tells the names,
    those are None."""
    if "/" not in name:
        stem = os.path.join(os.environ.get("MLOPT_ZOO", ""), name)
        files = ["%s.in%d.npy" % (stem, i) for i in range(64)]
        there = os.path.exists(stem + ".onnx")
        return (stem + ".onnx", [(None, f) for f in files if os.path.exists(f)]) if there else None
    folder = os.path.join(os.environ.get("MLOPT_MODELS", ""), name)
    try:
        with open(os.path.join(folder, "meta.json")) as f:
            inputs = json.load(f)["inputs"]
    except OSError:
        return None
    return os.path.join(folder, "model.onnx"), [(k, os.path.join(folder, v)) for k, v in inputs.items()]


def shape_of(path):
    """The sizes in the header of a file of NumPy: text, padded, as its format says."""
    with open(path, "rb") as f:
        head = f.read(4096)
    at = head.index(b"'shape':") + 8
    text = head[head.index(b"(", at) + 1:head.index(b")", at)].decode()
    return [int(x) for x in text.split(",") if x.strip()]


def mlopt(command, options):
    done = subprocess.run([options.mlopt] + command, capture_output=True, text=True)
    if done.returncode:
        raise Missing((done.stderr.strip().splitlines() or ["status %d" % done.returncode])[-1])
    return done.stdout


class Ours:
    def __init__(self, model, inputs, folder, options):
        self.package = os.path.join(folder, "model.mlopt")
        self.options = options
        named = [(name, path) for name, path in inputs if name]
        self.inputs = [x for pair in named for x in ("--input", "%s=%s" % pair)]
        command = ["compile", model, "--target", options.target, "--precision", options.precision, "-o", self.package]
        for name, dims in [(name, shape_of(path)) for name, path in named]:
            if dims:  # a scalar has nothing to bind
                command += ["--shape", "%s=%s" % (name, "x".join(map(str, dims)))]
        mlopt(command, options)

    def turn(self, seconds):
        command = ["bench", self.package, "--no-peer", "--device", str(self.options.device), "--json", "-"]
        command += ["--duration", str(seconds), "--warmup", str(seconds / 6)]
        text = mlopt(command + self.inputs, self.options)
        return json.loads(text)["models"][0]["latency_ms"]["median"]


def timed(run, seconds):
    """The median of the times of run() in ms."""
    end = time.perf_counter() + seconds / 6
    while time.perf_counter() < end:
        run()
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


class OnnxRuntime:
    name = "ONNX Runtime"

    def __init__(self, model, inputs, options):
        try:
            import onnxruntime
            import numpy
        except ImportError as e:
            raise Missing(str(e))
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise Missing("onnxruntime %s has no CUDA provider" % onnxruntime.__version__)
        cuda = ("CUDAExecutionProvider", {"device_id": options.device, "use_tf32": 0})
        self.session = onnxruntime.InferenceSession(model, providers=[cuda, "CPUExecutionProvider"])
        if self.session.get_providers()[0] != cuda[0]:
            raise Missing("its CUDA provider does not start")
        names = [i.name for i in self.session.get_inputs()]
        self.feeds = {name or names[i]: numpy.load(path) for i, (name, path) in enumerate(inputs)}

    def turn(self, seconds):
        return timed(lambda: self.session.run(None, self.feeds), seconds)


class Torch:
    name = "PyTorch"

    def __init__(self, model, inputs, options):
        try:
            import torch
            import onnx2torch
            import numpy
        except ImportError as e:
            raise Missing(str(e))
        if not torch.cuda.is_available():
            raise Missing("torch %s finds no device" % torch.__version__)
        self.torch, self.device = torch, torch.device("cuda", options.device)
        self.module = onnx2torch.convert(model).eval().to(self.device)
        self.feeds = [torch.from_numpy(numpy.load(v)) for _, v in inputs]

    def run(self):
        with self.torch.no_grad():
            out = self.module(*[x.to(self.device) for x in self.feeds])
        return [x.cpu() for x in (out if isinstance(out, (list, tuple)) else [out])]

    def turn(self, seconds):
        return timed(self.run, seconds)


def peer_for(model, inputs, options):
    """The first runtime that takes the model, or why none does."""
    why = []
    if not inputs:
        raise Missing("there are no files with inputs")
    for kind in (OnnxRuntime, Torch):
        try:
            return kind(model, inputs, options)
        except Exception as e:  # what other runtimes raise is theirs
            why.append("%s: %s" % (kind.name, str(e).splitlines()[0] if str(e) else type(e).__name__))
    raise Missing("; ".join(why))


def measure(name, options, folder):
    """A line of the table. Missing: our part fails."""
    model, inputs = find(name)
    contestants = [Ours(model, inputs, folder, options)]
    note = ""
    try:
        contestants.append(peer_for(model, inputs, options))
    except Missing as e:
        note = "  (no peer: %s)" % e
    best = [min(times) for times in zip(*[[c.turn(options.seconds) for c in contestants] for _ in range(TURNS)])]
    theirs = "%10s %6s" % ("-", "-")
    if len(best) > 1:
        theirs = "%10.3f %6.2f  %s" % (best[1], best[1] / best[0], contestants[1].name)
    print("%-32s %10.3f %s%s" % (name, best[0], theirs, note), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("list")
    p.add_argument("names", nargs="*", help="only models whose name holds one of these")
    p.add_argument("--mlopt", required=True, help="the program")
    p.add_argument("--target", default="cuda")
    p.add_argument("--precision", default="f32")
    p.add_argument("--device", type=int, default=0)
    p.add_argument("--seconds", type=float, default=3)
    p.add_argument("--interpreted", action="store_true", help="the driver is no real one: say that times mean nothing")
    options = p.parse_args()
    if options.interpreted:
        print("the device is interpreted: its times say nothing")
    print("%-32s %10s %10s %6s  at %s, ms" % ("model", "ours", "theirs", "ratio", options.precision), flush=True)
    good = True
    for name in read_list(options.list):
        if options.names and not any(n in name for n in options.names):
            continue
        if not find(name):
            print("SKIP %s: not there" % name, flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                measure(name, options, folder)
            except Missing as e:
                print("FAIL %s: %s" % (name, e), flush=True)
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
