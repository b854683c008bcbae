#!/usr/bin/env python3
"""bench/gpu.py [OPTION]... -- kernels of NVIDIA's GPUs beside what their tensor cores could do, without such a machine.

Layers of ResNet-50 and BERT are compiled for each capability and each form that its tensor cores have (--form f32: the ordinary
units), one ONNX model each, and run on the PTX interpreter of tests/ptx, which counts what warps execute: of the blocks of one tile,
in the middle of the grid. Of the kernel that multiplies, the table has, for a block: products of tensor cores (multiply-adds for
f32), cycles of shared memory and sectors of global memory, each of 32 bytes; of the steady state the share of products among its
math instructions (moves, accesses and control are none), and what was found there of bank conflicts and sectors that were not
filled; registers by NVIDIA's ptxas where there is one; blocks that a multiprocessor can hold at a time.

The steady state is the innermost loop that multiplies, if warps go through it twice or more often. Where terms are so few that there is no
such loop, it is what each warp executes from its first product to its last one: fragments, products, waiting, and what is staged
meanwhile, in code without a loop the same as a round of one. What begins and ends a tile lies outside of both.

A product of a group of four warps (wgmma) counts as the mma.sync of the same form that it stands for, of 16 x 8 sums and 32 bytes of terms,
each of which takes a multiprocessor of H100 one cycle; its operands as bytes of shared memory, 128 a cycle, each time that one is read:
64 rows of A and all columns of B. sm_90, which has mma.sync alone, is bound to two thirds of H100's peak.

The bound is the time that the slowest of these takes, if all else is hidden behind it, as a share of the device's peak for the
form (targets/gpus.def): products (tensor), instructions issued, four a cycle and integer ones two (issue), shared memory's 128
bytes a cycle (shared), the 48 bytes a cycle that a multiprocessor gets from L2 where all of them read (L2), and memory's bandwidth
for what the layer reads and writes once (memory); the first four on the multiprocessor that gets the most blocks, of which `filled`
says how evenly they are laid. Where blocks share a tile (`a tile`), the last of them also reads all their sums from L2, behind
everything else. It is modelled, not measured: latencies are assumed to be hidden, and ptxas may add or remove instructions.
`possible` is what the layer could reach on any code: its products at the peak, or its bytes at memory's bandwidth, if that takes
longer.

--update writes the table into docs/PERFORMANCE.md, between the marks that are there; that takes about four minutes on two cores.
"""
import argparse
import concurrent.futures
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
TARGETS = ["sm_75", "sm_80", "sm_86", "sm_90a"]
# as in bench/mca.py
LAYERS = [("7x7 3-64, 112 by 2", 7, 3, 64, 112, 2), ("1x1 64-256, 56", 1, 64, 256, 56, 1), ("1x1 256-64, 56", 1, 256, 64, 56, 1),
          ("3x3 64-64, 56", 3, 64, 64, 56, 1), ("3x3 128-128, 28", 3, 128, 128, 28, 1), ("1x1 512-128, 28", 1, 512, 128, 28, 1),
          ("3x3 256-256, 14", 3, 256, 256, 14, 1), ("1x1 1024-256, 14", 1, 1024, 256, 14, 1), ("1x1 256-1024, 14", 1, 256, 1024, 14, 1),
          ("3x3 512-512, 7", 3, 512, 512, 7, 1), ("1x1 2048-512, 7", 1, 2048, 512, 7, 1), ("matrix 768-768, 128", 0, 768, 768, 128, 1),
          ("matrix 768-3072, 128", 0, 768, 3072, 128, 1), ("matrix 3072-768, 128", 0, 3072, 768, 128, 1)]
IMAGES = [1, 8]  # or sequences
LARGE = 0.5e9    # operations of layers that the summary counts
# bytes of an activation, as kernels read and write it, and of a weight; activations may be as short as weights
SIZES = {"f32": (4, 4), "fp16": (2, 2), "bf16": (2, 2), "int8": (1, 1)}
TENSOR_FORMS = ["fp16", "bf16", "int8"]
FORMS = ["f32"] + TENSOR_FORMS
MARKS = ("<!-- bench/gpu.py -->", "<!-- end of bench/gpu.py -->")
MATH = ("int", "float", "fma", "mma", "convert", "compare")
ALU = ("int", "compare", "convert")  # half as many lanes as a warp has threads
SCHEDULERS, SHARED_BYTES, L2_BYTES, SECTOR, WARP, REGISTERS = 4, 128, 48, 32, 32, 64 << 10


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


def count(build_dir, package, target, folder, parts):
    """What the blocks of a tile did in all, in their steady state, and which instruction multiplies."""
    report = os.path.join(folder, "report.json")
    call([os.path.join(build_dir, "mlopt"), "run", package], PTX_TEST_REPORT=report, PTX_TEST_SM=target[3:].rstrip("a"), PTX_TEST_SAMPLE=str(parts),
         LD_LIBRARY_PATH=os.path.join(build_dir, "tests", "ptx", ".libs"),
         MLRT_CUDA_LIBRARY=os.path.join(build_dir, ".libs", "libmlopt_rt_cuda.so.0"))
    with open(report) as f:
        kernels = json.load(f)["kernels"]
    which = next(x for x in ("wgmma", "mma", "fma") if x == "fma" or any(x in k["instructions"] for k in kernels))
    kernel = max(kernels, key=lambda k: k["instructions"].get(which, 0))
    loop = max(kernel["loops"], key=lambda l: l["instructions"].get(which, 0), default=None)
    steady = loop if loop and (which == "fma" or loop["instructions"].get(which, 0) and loop["rounds"] >= 2 * kernel["warps"]) else kernel["main"]
    return kernel, steady, which


def products(c, which, form):
    """Instructions that multiply; of groups of warps those of single ones that they stand for."""
    if which != "wgmma":
        return c["instructions"].get(which, 0)
    return c.get("wgmma", {}).get("multiply_adds", 0) // (16 * 8 * 32 // SIZES[form][1])


def shared_cycles(c):
    """Of accesses, as their banks take them, and of operands of groups of warps."""
    return c["shared"]["cycles"] + c.get("wgmma", {}).get("shared_bytes", 0) // SHARED_BYTES


def resident(device, launch):
    """Blocks that a multiprocessor holds."""
    registers = (launch.get("registers", 128) + 7) // 8 * 8 * launch["threads"]
    shared = launch["shared"] + 1024
    return max(1, min(device["threads"] // launch["threads"], REGISTERS // registers, device["shared"] // shared))


def traffic(layer, images, activation, weight):
    """Bytes that a layer reads and writes once, inside of a network."""
    name, k, inputs, outputs, size, stride = layer
    rows = size * size if k else size
    return images * rows * (stride * stride * inputs + outputs) * activation + max(k * k, 1) * inputs * outputs * weight


def bound(device, form, step, kernel, layer, images):
    """What limits it, its share of the peak, and how evenly blocks lie on multiprocessors."""
    n, launch = kernel["instructions"], step["launch"]
    blocks, parts = launch["blocks"], launch.get("parts", 1)
    most, total = -(-blocks // device["sms"]), sum(n.values())
    hz, peak = device["ghz"] * 1e9, device["peak"][form] * 1e12
    share = most / parts / hz  # of the busiest multiprocessor, in seconds for a cycle of a tile's blocks
    meet = parts * launch["kept"] / L2_BYTES if parts > 1 else 0  # of the last one, which others do not do
    times = {"tensor": step["flops"] / peak * most * device["sms"] / blocks,
             "issue": max(total, (sum(n.get(x, 0) for x in ALU) * 2)) / SCHEDULERS * share,
             "shared": shared_cycles(kernel) * share,
             "L2": (kernel["global"]["sectors"] * SECTOR / L2_BYTES - meet) * share}
    for name in times:
        times[name] += -(-blocks // parts // device["sms"]) * meet / hz
    times["memory"] = traffic(layer, images, *SIZES[form]) / (device["gbytes"] * 1e9)
    slowest = max(times, key=times.get)
    return slowest, step["flops"] / peak / times[slowest], blocks / (most * device["sms"])


def registers_of(launch):
    spills = launch.get("spills", 0)
    return "%s%s" % (launch.get("registers", "?"), ", %d bytes spilled" % spills if spills else "")


def possible(device, form, step, layer, images):
    size = SIZES[form][1]
    products, memory = step["flops"] / device["peak"][form] / 1e12, traffic(layer, images, size, size) / device["gbytes"] / 1e9
    return products / max(products, memory)


def row(o, target, form, layer, images):
    """A line of the table, and device, form, operations, bound and what is possible."""
    device = devices()[target]
    with tempfile.TemporaryDirectory() as folder:
        path, package = os.path.join(folder, "layer.onnx"), os.path.join(folder, "layer.mlopt")
        build(path, layer, images, form)
        call([os.path.join(o.build, "mlopt"), "compile", path, "-o", package, "--target", target, "--no-cache", "--no-tuned", "--precision",
              form if form in ("bf16", "fp16") else "f32"])
        step = find_step(o.build, package)
        launch = step["launch"]
        parts = launch.get("parts", 1)
        kernel, steady, which = count(o.build, package, target, folder, parts)
    n = steady["instructions"]
    slowest, share, filled = bound(device, form, step, kernel, layer, images)
    best = possible(device, form, step, layer, images)
    multiplied = products(steady, which, form)
    math, held = multiplied + sum(n.get(x, 0) for x in MATH if x != which), resident(device, launch)
    stray = steady["global"]["sectors"] - steady["global"]["ideal_sectors"]
    line = "| %s | %s | %d | %s%s | %d x %d | %s | %.0f | %s | %.0f%% | %d | %d | %d | %d%% | %d, %d | %.0f%% | %.0f%% %s | %.0f%% |" % (
        device["name"], layer[0], images, form, "" if which != "fma" or form == "f32" else " (no tensor cores)", launch["blocks"],
        launch["threads"], parts if parts > 1 else "", launch["shared"] / 1024, registers_of(launch),
        100 * held * launch["threads"] / device["threads"], products(kernel, which, form) // parts, shared_cycles(kernel) // parts,
        kernel["global"]["sectors"] // parts, 100 * multiplied // math, steady["shared"]["conflicts"], stray, 100 * filled,
        100 * share, slowest, 100 * best)
    return line, (device["name"], form, step["flops"], share, best)


def summary(found):
    """Of large layers, for each device and form, how many reach so much of the peak, or of what is possible."""
    lines = ["", "Layers above %g GFLOP whose bound is at least 70 %% of the peak, of those for which that is possible; and at least 70 %% of what is"
             " possible, of all:" % (LARGE / 1e9), "", "| device | form | of the peak | of what is possible |", "|---" * 4 + "|"]
    groups = {}
    for device, form, flops, share, best in found:
        if flops >= LARGE:
            groups.setdefault((device, form), []).append((share, best))
    for (device, form), g in groups.items():
        can = [share for share, best in g if best >= 0.7]
        lines.append("| %s | %s | %d of %d | %d of %d |" % (device, form, sum(x >= 0.7 for x in can), len(can),
                                                           sum(share >= 0.7 * best for share, best in g), len(g)))
    return lines


def table(o):
    lines = ["| device | layer | images | form | blocks x threads | a tile | KiB shared | registers | occupancy | products | cycles of shared memory "
             "| sectors | products of the steady math | conflicts, stray sectors | filled | bound | possible |", "|---" * 17 + "|"]
    wanted = [(o, target, form, layer, images) for target in o.target or TARGETS for form in o.form or TENSOR_FORMS
              if (target, form) != ("sm_75", "bf16")  # multiplies none
              for layer in LAYERS if not o.layer or o.layer in layer[0] for images in IMAGES]
    found = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for line, result in pool.map(lambda w: row(*w), wanted):
            lines.append(line)
            found.append(result)
            print(line, flush=True)
    lines += summary(found)
    print("\n".join(summary(found)))
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build", help="where the program and the interpreter were built (make check-build)")
    p.add_argument("--target", action="append", choices=TARGETS)
    p.add_argument("--form", action="append", choices=FORMS)
    p.add_argument("--layer", help="those whose names have this in them")
    p.add_argument("--update", action="store_true")
    o = p.parse_args()
    if o.update and (o.target or o.form or o.layer):
        p.error("--update writes the whole table")
    text = table(o)
    if o.update:
        mca.update(os.path.join(ROOT, "docs", "PERFORMANCE.md"), text, MARKS)


if __name__ == "__main__":
    main()
