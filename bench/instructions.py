#!/usr/bin/env python3
"""bench/instructions.py [OPTION]... [MODEL]... -- instructions of one run on Arm: our kernels beside plain C loops.

Where there is no Arm machine, what an emulated one executes can be counted, though not timed. Each model is compiled for
each level of tests/support/levels.def, and, for the same machine, of the reference kernels alone (`--tier library`): plain C
loops that LLVM has optimised for that machine and the model's sizes. Both run once under QEMU. It logs the blocks of
instructions that it translates and each block that it enters; the sum of their lengths is the count, the same as that of
single steps. Only kernels are
counted: QEMU is told to leave out the program around them, so that loading and checking are not in it.

MODEL: GROUP/NAME, a folder in MLOPT_MODELS, or an ONNX file; without one, small models of the former. Models whose sizes are open
cannot be counted. Needed: qemu-aarch64-static and a cross compiler. --update rewrites the table in docs/PERFORMANCE.md.
"""
import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODELS = ["trained/" + name for name in ("fashion_cnn", "mlperf_autoencoder", "mlperf_kws_dscnn", "mlperf_kws_dscnn_int8qdq",
                                         "mlperf_vww_mobilenet", "mlperf_resnet8", "mlperf_resnet8_int8qdq")]
BEGIN, END = "<!-- bench/instructions.py --update: begin -->\n", "<!-- bench/instructions.py --update: end -->\n"
# The program is linked to addresses below; the model's code is mapped above.
KERNELS = "0x1000000000+0xffffffffff"


def note(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def read_levels(wanted):
    """(target, precision, processor as QEMU names it or None) of each level of those targets, or of all."""
    with open(os.path.join(SOURCE, "tests", "support", "levels.def")) as f:
        rows = [ast.literal_eval(row.replace("NULL", "None")) for row in re.findall(r"^LEVEL(\(.*\))$", f.read(), re.M)]
    return [row[1:] for row in rows if not wanted or row[1] in wanted]


def build_program(options, folder):
    """examples/run_package.c for Arm, with the runtime in it."""
    subprocess.run(["sh", os.path.join(SOURCE, "runtime", "amalgamate.sh"), folder], check=True)
    os.mkdir(os.path.join(folder, "mlopt"))
    shutil.copy(os.path.join(folder, "mlopt_rt.h"), os.path.join(folder, "mlopt", "runtime.h"))
    program = os.path.join(folder, "run_package")
    subprocess.run([options.cc, "-std=gnu11", "-O2", "-static", "-no-pie", "-pthread", "-I" + folder, os.path.join(folder, "mlopt_rt.c"),
                    os.path.join(SOURCE, "examples", "run_package.c"), "-o", program], check=True)
    return program


def count_blocks(log):
    """Sum of the lengths of the blocks that QEMU entered, from the lines of its log."""
    total, length, block = 0, {}, None
    other = []
    for line in log:
        if line.startswith(b"Trace "):  # Trace 0: HOST [BASE/ADDRESS/FLAGS/FLAGS]
            total += length[int(line.split(b"/", 2)[1], 16)]
        elif line.startswith(b"IN:"):
            block = None
        elif line.startswith(b"0x"):  # ADDRESS:  CODE  TEXT
            address = int(line[:line.index(b":")], 16)
            block = address if block is None else block
            length[block] = 1 if block == address else length[block] + 1
        elif line.strip() and not line.startswith(b"---"):
            other.append(line.decode(errors="replace"))
    return total, "".join(other)


def count(options, program, package, processor):
    env = dict(os.environ)
    env.pop("QEMU_CPU", None)
    if processor:
        env["QEMU_CPU"] = processor
    command = [options.qemu, "-d", "nochain,exec,in_asm", "-dfilter", KERNELS, program, "-T", "1", package]
    run = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    total, other = count_blocks(run.stderr)
    if run.wait() or not total:
        sys.exit("bench: %s: nothing counted: %s" % (" ".join(command), other))
    return total


def compile_model(options, path, target, precision, tier, folder):
    package = os.path.join(folder, "model.mlopt")
    subprocess.run([options.mlopt, "compile", path, "--target", target, "--precision", precision, "--tier", tier, "-o", package],
                   check=True, capture_output=True)
    return package


def measure(options, program, path, levels, folder):
    """(target, precision, instructions of our kernels, of plain C loops) for each level whose package is one of its own."""
    plain, rows = {}, []
    for target, precision, processor in levels:
        if target not in plain:
            plain[target] = count(options, program, compile_model(options, path, target, "f32", "library", folder), processor)
        ours = count(options, program, compile_model(options, path, target, precision, "contract", folder), processor)
        if rows and rows[-1][0] == target and abs(rows[-1][2] - ours) < ours / 1000:
            continue  # nothing in it has that precision; a few instructions depend on addresses
        rows.append((target, precision, ours, plain[target]))
        note("%s, %s, %s: %d of %d" % ((path, target, precision) + rows[-1][2:]))
    return rows


def millions(n):
    return "%.3g" % (n / 1e6) if n < 1e9 else "%.0f" % (n / 1e6)


def table(results):
    lines = ["| model | level | our kernels, millions | plain C loops, millions | ratio |", "|---|---|---|---|---|"]
    for name, rows in results:
        for target, precision, ours, plain in rows:
            level = target if precision == "f32" else "%s, %s" % (target, precision)
            lines.append("| %s | %s | %s | %s | %.1f |" % (name, level, millions(ours), millions(plain), plain / ours))
    return "\n".join(lines) + "\n"


def update(text):
    path = os.path.join(SOURCE, "docs", "PERFORMANCE.md")
    with open(path) as f:
        page = f.read()
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    with open(path, "w") as f:
        f.write(page[:begin] + text + page[end:])


def find_model(name):
    """(name in the table, file) of an argument, or None."""
    if name.endswith(".onnx"):
        return os.path.basename(name)[:-len(".onnx")], name
    path = os.path.join(os.environ.get("MLOPT_MODELS", ""), name, "model.onnx")
    if os.path.exists(path):
        return name.split("/")[-1], path
    note("%s is not in MLOPT_MODELS: left out" % name)
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*", metavar="MODEL")
    p.add_argument("--target", action="append", help="the levels of this target alone (repeatable)")
    p.add_argument("--mlopt", default="mlopt")
    p.add_argument("--qemu", default="qemu-aarch64-static")
    p.add_argument("--cc", default="aarch64-linux-gnu-gcc", help="the cross compiler")
    p.add_argument("--update", action="store_true")
    options = p.parse_args()
    levels = read_levels(options.target)
    models = [m for m in map(find_model, options.models or MODELS) if m]
    if not levels or not models:
        sys.exit("bench: nothing to count")
    with tempfile.TemporaryDirectory() as folder:
        program = build_program(options, folder)
        results = [(name, measure(options, program, path, levels, folder)) for name, path in models]
    print(table(results), end="")
    if options.update:
        update(table(results))


if __name__ == "__main__":
    main()
