#!/usr/bin/env python3
"""bench/run.py [OPTION]... [MODEL]... -- mlopt beside ONNX Runtime over a set of models.

Each model of bench/models.list (or those named) is compiled for this machine and measured by `mlopt bench`, in turns
with ONNX Runtime and with the plain graph on OpenBLAS, so that both see the same moods of the machine. Written to the
output folder: results.json with every figure, results.md with the tables. A model that comes with inputs of its own
gets those; all others are random.

ONNX Runtime is the npm package onnxruntime-node: it is installed in the output folder where Node.js does not find it
already. Models that bench/models.py makes are made there, too, where PyTorch is installed; models that are not there
are left out, with a line that says so.
"""
import argparse
import ast
import json
import math
import os
import platform
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = "onnxruntime-node@1.30.0"


def note(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def read_list(path):
    """Rows of (family, model, options)."""
    with open(path) as f:
        rows = [line.split() for line in f if line.strip() and not line.startswith("#")]
    return [(row[0], row[1], row[2:]) for row in rows]


def find_peer(output):
    """NODE_PATH with the peer in it, or None."""
    mine = os.path.join(output, "node_modules")
    path = os.pathsep.join(p for p in (os.environ.get("NODE_PATH"), mine) if p)
    check = ["node", "-e", "require('onnxruntime-node')"]
    try:
        if subprocess.run(check, env=dict(os.environ, NODE_PATH=path), capture_output=True).returncode == 0:
            return path
        note("installing " + PEER)
        install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", output, PEER]
        if subprocess.run(install, capture_output=True).returncode == 0:
            return path
    except FileNotFoundError:
        pass
    note("no Node.js with %s: mlopt is measured alone" % PEER)
    return None


def find_models(rows, options):
    """Adds the path of each model; makes what can be made; leaves out what is not there."""
    made = os.path.join(options.output, "models")
    wanted = [m for _, m, _ in rows if "/" not in m and not os.path.exists(os.path.join(made, m + ".onnx"))]
    if wanted:
        note("making " + " ".join(wanted))
        maker = [options.python, os.path.join(HERE, "models.py"), made] + wanted
        if subprocess.run(maker, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            note("bench/models.py did not make all of them (it needs PyTorch, torchvision and onnx)")
    found = []
    for family, model, extra in rows:
        path = os.path.join(options.models, model, "model.onnx") if "/" in model else os.path.join(made, model + ".onnx")
        if os.path.exists(path):
            found.append((family, model, extra, path))
        else:
            note("SKIP %s: no %s" % (model, path))
    return found


def recorded_inputs(path):
    """(name, file, shape) of the inputs that lie beside a model: meta.json says which file is whose."""
    folder = os.path.dirname(path)
    try:
        with open(os.path.join(folder, "meta.json")) as f:
            files = json.load(f)["inputs"]
        found = []
        for name, file in files.items():
            file = os.path.join(folder, file)
            with open(file, "rb") as f:
                head = f.read(4096)
            # magic, version, length of the header: a dictionary as Python writes it
            start = 10 if head[6] == 1 else 12
            end = start + int.from_bytes(head[8:start], "little")
            found.append((name, file, ast.literal_eval(head[start:end].decode("latin1"))["shape"]))
        return found
    except (OSError, KeyError, ValueError, SyntaxError):
        return []


def command(argv, env=None):
    """Runs; the output, or the last line of what it complained about."""
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["exit status %d" % done.returncode]
        raise RuntimeError(next((line for line in lines if "error" in line), lines[-1]))
    return done.stdout


def measure(model, extra, path, options, env):
    """One model: facts of the package, and a row of figures for each number of threads."""
    package = os.path.join(options.output, "packages", model.replace("/", "_") + ".mlopt")
    os.makedirs(os.path.dirname(package), exist_ok=True)
    inputs = recorded_inputs(path)
    shapes = sum((["--shape", "%s=%s" % (n, "x".join(map(str, s)))] for n, _, s in inputs if s), [])
    given = sum((["--input", "%s=%s" % (n, f)] for n, f, _ in inputs), [])
    usage = ["/usr/bin/time", "-f", "%e %M"] if os.path.exists("/usr/bin/time") else []
    done = subprocess.run(usage + [options.mlopt, "compile", path, "-o", package, "--no-cache"] + shapes + extra,
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[0])
    facts = {"model": model, "model_bytes": os.path.getsize(path), "package_bytes": os.path.getsize(package)}
    if usage:
        seconds, kib = done.stderr.strip().splitlines()[-1].split()
        facts["compile_s"], facts["compile_memory_bytes"] = float(seconds), 1024 * int(kib)
    facts["runs"] = []
    for threads in options.threads:
        rounds = []
        for _ in range(options.rounds):
            argv = [options.mlopt, "bench", package, "--baseline", path, "--threads", str(threads), "--json", "-",
                    "--duration", str(options.duration / options.rounds)] + given
            rounds.append(json.loads(command(argv, env))["models"][0])
        facts["runs"].append({"threads": threads, "rounds": rounds})
    return facts


def middle(values):
    values = sorted(values)
    return values[len(values) // 2]


def peer_of(one):
    return next((b for b in one["baselines"] if b["name"] == "onnxruntime"), None)


def row_of(run, call_ms):
    """Medians over the rounds; the ratio is the peer's time, less that of an empty call, to ours."""
    rounds, row = run["rounds"], {"threads": run["threads"]}
    row["ms"] = middle([r["latency_ms"]["median"] for r in rounds])
    for key in ("gflops", "peak_share", "load_ms", "first_ms", "peak_memory_bytes"):
        row[key] = middle([r[key] for r in rounds])
    pairs = [(r, peer_of(r)) for r in rounds if peer_of(r)]
    if pairs:
        ratios = [max(p["latency_ms"]["median"] - call_ms, 0) / r["latency_ms"]["median"] for r, p in pairs]
        row["peer_ms"] = middle([p["latency_ms"]["median"] for _, p in pairs])
        row["ratio"], row["ratio_min"], row["ratio_max"] = middle(ratios), min(ratios), max(ratios)
        row["peer_load_ms"] = middle([p["load_ms"] for _, p in pairs])
        row["peer_memory_bytes"] = middle([p["memory_bytes"] for _, p in pairs])
    return row


def summarise(results):
    """Rows per model, and geometric means per family and number of threads."""
    call = {}
    for entry in results:
        if entry["family"] == "call":
            call = {r["threads"]: row_of(r, 0).get("peer_ms", 0) for r in entry["runs"]}
    families = {}
    for entry in results:
        small = entry["family"] == "small"
        entry["rows"] = [row_of(r, call.get(r["threads"], 0) if small else 0) for r in entry["runs"]]
        for row in entry["rows"]:
            if row.get("ratio") and entry["family"] != "call":
                families.setdefault((entry["family"], row["threads"]), []).append(row["ratio"])
    return [{"family": f, "threads": t, "models": len(v), "ratio": math.exp(sum(map(math.log, v)) / len(v)),
             "worst": min(v)} for (f, t), v in sorted(families.items())]


def mib(n):
    return "%.1f" % (n / 2**20)


def tables(results, families, machine):
    out = ["Machine: %s, %d cores; %s. ratio: ONNX Runtime's time to ours (its spread over the rounds);" %
           (machine["cpu"], machine["cores"], machine["variant"]),
           "of small models the peer's time for an empty model is taken off first. Times in ms, sizes in MiB.", "",
           "| family | threads | models | geometric mean | worst |", "|---|---|---|---|---|"]
    out += ["| %s | %d | %d | %.2f | %.2f |" % (f["family"], f["threads"], f["models"], f["ratio"], f["worst"])
            for f in families]
    out += ["", "| model | threads | mlopt | peer | ratio | GFLOP/s | of peak | compile s | load | first result | "
            "peer's session | memory | peer's | package | model |", "|" + "---|" * 15]
    for entry in results:
        for row in entry["rows"]:
            peer = "ratio" in row
            cells = [entry["model"], str(row["threads"]), "%.3f" % row["ms"], "%.3f" % row["peer_ms"] if peer else "",
                     "%.2f (%.2f to %.2f)" % (row["ratio"], row["ratio_min"], row["ratio_max"]) if peer else "",
                     "%.0f" % row["gflops"], "%.0f %%" % (100 * row["peak_share"]),
                     "%.2f" % entry["compile_s"] if "compile_s" in entry else "", "%.1f" % row["load_ms"],
                     "%.1f" % row["first_ms"], "%.0f" % row["peer_load_ms"] if peer else "",
                     mib(row["peak_memory_bytes"]), mib(row["peer_memory_bytes"]) if peer else "",
                     mib(entry["package_bytes"]), mib(entry["model_bytes"])]
            out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def machine_of(options):
    version = command([options.mlopt, "version"]).splitlines()[0]
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as f:
            cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), cpu)
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "mlopt": version}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("only", nargs="*", metavar="MODEL", help="these models or families only")
    add("--mlopt", default=os.path.join(HERE, "..", "build", "mlopt"), help="the program (default: ../build/mlopt)")
    add("--models", default=os.environ.get("MLOPT_MODELS", os.path.join(HERE, "..", "..", "shared", "models")),
        help="folder of models (default: $MLOPT_MODELS)")
    add("--output", default="bench-results", help="folder for everything that is written (default: bench-results)")
    add("--threads", default="1,2", help="numbers of threads (default: 1,2)")
    add("--duration", type=float, default=6, help="seconds per model, contestant and number of threads (default: 6)")
    add("--rounds", type=int, default=3, help="into how many rounds that is split (default: 3)")
    add("--python", default=sys.executable, help="the Python that has PyTorch (default: this one)")
    options = parser.parse_args()
    options.threads = [int(t) for t in options.threads.split(",")]
    options.output = os.path.abspath(options.output)
    return options


def main():
    options = parse()
    known = {name for row in read_list(os.path.join(HERE, "models.list")) for name in row[:2]}
    unknown = [name for name in options.only if name not in known]
    if unknown or not os.access(options.mlopt, os.X_OK):
        note("bench/models.list has no " + " ".join(unknown) if unknown else "no program %s" % options.mlopt)
        return 2
    rows = [r for r in read_list(os.path.join(HERE, "models.list"))
            if not options.only or r[0] in options.only or r[1] in options.only or r[0] == "call"]
    os.makedirs(options.output, exist_ok=True)
    node_path = find_peer(options.output)
    env = dict(os.environ, NODE_PATH=node_path) if node_path else dict(os.environ)
    results, failed = [], 0
    for family, model, extra, path in find_models(rows, options):
        try:
            entry = dict(measure(model, extra, path, options, env), family=family)
        except (RuntimeError, OSError) as e:
            note("FAIL %s: %s" % (model, e))
            failed += 1
            continue
        results.append(entry)
        shown = [row_of(r, 0) for r in entry["runs"]]
        note("%-28s %s" % (model, "  ".join("%d: %.3f ms, %.2f" % (r["threads"], r["ms"], r.get("ratio", 0)) for r in shown)))
    families = summarise(results)
    if results:
        machine = machine_of(options)
        machine["variant"] = results[0]["runs"][0]["rounds"][0]["variant"]
        with open(os.path.join(options.output, "results.json"), "w") as f:
            json.dump({"machine": machine, "families": families, "models": results}, f, indent=1)
        text = tables(results, families, machine)
        with open(os.path.join(options.output, "results.md"), "w") as f:
            f.write(text)
        print(text, end="")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
