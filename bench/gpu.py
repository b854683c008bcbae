#!/usr/bin/env python3
"""bench/gpu.py [OPTION]... -- kernels of NVIDIA's GPUs beside what their tensor cores could do, without such a machine.

Layers of ResNet-50 and BERT are compiled for each capability and each form that its tensor cores have (--form f32: the ordinary
units), one ONNX model each, and run on the PTX interpreter of tests/ptx, which counts what warps execute. Of the kernel that
multiplies, the table has, for a tile of one block: products of tensor cores (multiply-adds for f32), accesses of shared memory
and sectors of global memory, each of 32 bytes; of the innermost loop that multiplies the share of products among its math
instructions (moves, accesses and control are none), and what was found there of bank conflicts and sectors that were not filled;
registers by NVIDIA's ptxas where there is one; blocks that a multiprocessor can hold at a time.

The bound is the time that the slowest of these takes, if all else is hidden behind it, as a share of the device's peak for the
form (targets/gpus.def): products (tensor), instructions issued, four a cycle and integer ones two (issue), shared memory's 128
bytes a cycle (shared), the 64 bytes a cycle that a multiprocessor gets from L2 (L2), and memory's bandwidth for what the layer
reads and writes once (memory); the first four on the multiprocessor that gets the most blocks, of which `filled` says how evenly
they are laid. It is modelled, not measured: latencies are assumed to be hidden, and ptxas may add or remove instructions.

--update writes the table into docs/PERFORMANCE.md, between the marks that are there.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import onnx
from onnx import helper

import mca

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TARGETS = ["sm_75", "sm_80", "sm_86", "sm_90"]
# as in bench/mca.py, and images (sequences)
LAYERS = [(("1x1 256-64, 56", 1, 256, 64, 56, 1), 1), (("3x3 64-64, 56", 3, 64, 64, 56, 1), 1), (("3x3 128-128, 28", 3, 128, 128, 28, 1), 1),
          (("3x3 256-256, 14", 3, 256, 256, 14, 1), 1), (("1x1 1024-256, 14", 1, 1024, 256, 14, 1), 1),
          (("3x3 512-512, 7", 3, 512, 512, 7, 1), 1), (("3x3 256-256, 14", 3, 256, 256, 14, 1), 8),
          (("matrix 768-768, 128", 0, 768, 768, 128, 1), 1), (("matrix 768-3072, 128", 0, 768, 3072, 128, 1), 1),
          (("matrix 3072-768, 128", 0, 3072, 768, 128, 1), 8)]
TENSOR_FORMS = ["fp16", "bf16", "int8"]
FORMS = ["f32"] + TENSOR_FORMS
MARKS = ("<!-- bench/gpu.py -->", "<!-- end of bench/gpu.py -->")
MATH = ("int", "float", "fma", "mma", "convert", "compare")
ALU = ("int", "compare", "convert")  # half as many lanes as a warp has threads
SCHEDULERS, SHARED_BYTES, L2_BYTES, SECTOR, WARP, REGISTERS = 4, 128, 64, 32, 32, 64 << 10


def devices():
    """Rows of targets/gpus.def by target."""
    found = {}
    with open(os.path.join(ROOT, "targets", "gpus.def")) as f:
        for m in re.finditer(r"^GPU\((.*)\)$", f.read(), re.M):
            c = [x.strip().strip('"') for x in m.group(1).split(",")]
            found[c[0]] = dict(name=c[3], sms=int(c[4]), ghz=float(c[5]), threads=int(c[6]), shared=int(c[7]) << 10, gbytes=float(c[10]),
                               peak=dict(f32=float(c[11]), fp16=float(c[13]), bf16=float(c[13]), int8=float(c[14])))
    return found


def build(path, layer, images, form):
    """Its input is of the form that a layer in front would leave."""
    mca.build(path, layer, "bf16" if form == "fp16" else form)
    if images == 1:
        return
    model = onnx.load(path)
    for v in list(model.graph.input) + list(model.graph.output):
        v.type.tensor_type.shape.dim[0].dim_value = images
    onnx.save(model, path)


def call(command, **env):
    r = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, **env))
    if r.returncode:
        sys.exit("gpu: %s: %s" % (" ".join(command), r.stderr.strip()))
    return r.stdout


def find_step(build_dir, package):
    """The one that multiplies, as inspect knows it; registers where ptxas is found."""
    try:
        text = call([os.path.join(build_dir, "mlopt"), "inspect", package, "--json", "--ptxas"])
    except SystemExit:
        text = call([os.path.join(build_dir, "mlopt"), "inspect", package, "--json"])
    steps = [s for v in json.loads(text)["variants"] for s in v["steps"] if s["tier"] == "contract"]
    return steps[0] if len(steps) == 1 else None


def count(build_dir, package, target, folder):
    """What its kernel did in all, and in its steady loop."""
    report = os.path.join(folder, "report.json")
    call([os.path.join(build_dir, "mlopt"), "run", package], PTX_TEST_REPORT=report, PTX_TEST_SM=target[3:],
         LD_LIBRARY_PATH=os.path.join(build_dir, "tests", "ptx", ".libs"),
         MLRT_CUDA_LIBRARY=os.path.join(build_dir, ".libs", "libmlopt_rt_cuda.so.0"))
    with open(report) as f:
        kernels = json.load(f)["kernels"]
    which = "mma" if any("mma" in k["instructions"] for k in kernels) else "fma"
    kernel = max(kernels, key=lambda k: k["instructions"].get(which, 0))
    return kernel, max(kernel["loops"], key=lambda l: l["instructions"].get(which, 0)), which


def shared_cycles(c):
    """Pieces of 16 bytes, of which eight lanes' fill a cycle; words of fragments and sums take less."""
    n = c["instructions"]
    wide = n.get("ldmatrix", 0) + n.get("async_copy", 0) + n.get("store_shared", 0)
    return wide * WARP * 16 // SHARED_BYTES + n.get("load_shared", 0) + c["shared"]["conflicts"]


def resident(device, launch):
    """Blocks that a multiprocessor holds."""
    registers = (launch.get("registers", 128) + 7) // 8 * 8 * launch["threads"]
    shared = launch["shared"] + 1024
    return max(1, min(device["threads"] // launch["threads"], REGISTERS // registers, device["shared"] // shared))


def bound(device, form, step, kernel):
    """What limits it, its share of the peak, and how evenly blocks lie on multiprocessors."""
    n, blocks = kernel["instructions"], step["launch"]["blocks"]
    most = -(-blocks // device["sms"])
    hz, peak, total = device["ghz"] * 1e9, device["peak"][form] * 1e12, sum(n.values())
    share = most / blocks / hz  # of the busiest one, in seconds for a cycle of all
    times = {"tensor": step["flops"] / peak * most * device["sms"] / blocks,
             "issue": max(total, (sum(n.get(x, 0) for x in ALU) * 2)) / SCHEDULERS * share,
             "shared": shared_cycles(kernel) * share,
             "L2": kernel["global"]["sectors"] * SECTOR / L2_BYTES * share,
             "memory": step["bytes"] / (device["gbytes"] * 1e9)}
    slowest = max(times, key=times.get)
    return slowest, step["flops"] / peak / times[slowest], blocks / (most * device["sms"])


def row(build_dir, target, device, layer, images, form, folder):
    path, package = os.path.join(folder, "layer.onnx"), os.path.join(folder, "layer.mlopt")
    build(path, layer, images, form)
    call([os.path.join(build_dir, "mlopt"), "compile", path, "-o", package, "--target", target, "--no-cache", "--no-tuned", "--precision",
          form if form in ("bf16", "fp16") else "f32"])
    step = find_step(build_dir, package)
    kernel, loop, which = count(build_dir, package, target, folder)
    launch, blocks, n = step["launch"], step["launch"]["blocks"], loop["instructions"]
    slowest, share, filled = bound(device, form, step, kernel)
    math, held = sum(n.get(x, 0) for x in MATH), resident(device, launch)
    stray = loop["global"]["sectors"] - loop["global"]["ideal_sectors"]
    return "| %s | %s | %d | %s%s | %d x %d | %.0f | %s | %.0f%% | %d | %d | %d | %d%% | %d, %d | %.0f%% | %.0f%% %s |" % (
        device["name"], layer[0], images, form, "" if which == "mma" or form == "f32" else " (no tensor cores)", blocks, launch["threads"],
        launch["shared"] / 1024, launch.get("registers", "?"), 100 * held * launch["threads"] / device["threads"],
        kernel["instructions"].get(which, 0) // blocks, shared_cycles(kernel) // blocks, kernel["global"]["sectors"] // blocks,
        100 * n.get(which, 0) // math, loop["shared"]["conflicts"], stray, 100 * filled, 100 * share, slowest)


def table(o):
    lines = ["| device | layer | images | form | blocks x threads | KiB shared | registers | occupancy | products | cycles of shared memory | sectors "
             "| products of the loop's math | conflicts, stray sectors | filled | bound |", "|---" * 15 + "|"]
    gpus = devices()
    with tempfile.TemporaryDirectory() as folder:
        for target in o.target or TARGETS:
            for form in o.form or TENSOR_FORMS:
                if form == "bf16" and target == "sm_75":
                    continue  # multiplies none
                for layer, images in LAYERS:
                    if images > 1 and form == "f32":
                        continue  # a large one takes long there, and its loop is that of the others
                    lines.append(row(o.build, target, gpus[target], layer, images, form, folder))
                    print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build", help="where the program and the interpreter were built (make check-build)")
    p.add_argument("--target", action="append", choices=TARGETS)
    p.add_argument("--form", action="append", choices=FORMS)
    p.add_argument("--update", action="store_true")
    o = p.parse_args()
    text = table(o)
    if o.update:
        mca.update(os.path.join(ROOT, "docs", "PERFORMANCE.md"), text, MARKS)


if __name__ == "__main__":
    main()
