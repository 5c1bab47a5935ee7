"""Measure one engine on one model, on request: worker.py ENGINE MODEL CASE THREADS FOLDER.

CASE holds inputs.npz and the right outputs.npz; FOLDER is for converted models. The first line on
stdout is JSON: {"load_ms": .., "error": ..}, or {"failed": why}. Then each line on stdin is a
number of nanoseconds, answered by {"samples_ns": [..]} after runs for about that long.

worker.py --memory ENGINE MODEL CASE FOLDER runs the model once on one thread and prints
{"imported_kib": .., "peak_kib": .., "error": ..}: the peak memory of this process once the engine is
imported, and once it has run. What an engine converts must be there already. For the engine tensmith
MODEL is a shared library.

worker.py --check FOUND.npz CASE prints {"error": ..} for outputs that are given by name.

An error is the largest absolute one over the largest reference magnitude, the worst of all outputs.
"""

import json
import os
import sys
from pathlib import Path
from time import perf_counter_ns

import numpy as np

WARM_UP_NS = 200_000_000
MAX_RUNS = 100_000


def load(path):
    """The tensors of an archive, by name."""
    with np.load(path) as archive:
        return {name: np.ascontiguousarray(archive[name]) for name in archive.files}


def difference(found, wanted):
    """The error of one output."""
    found, wanted = (np.asarray(a, np.float64).ravel() for a in (found, wanted))
    if not wanted.size:
        return 0.0
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-12))


def worst(found, wanted):
    """The error of the worst output. Converters reorder and reshape outputs, so each is compared
    with all of the same size, and the closest counts."""
    errors = []
    for reference in wanted:
        fitting = [f for f in found if np.size(f) == reference.size]
        if not fitting:
            shapes = [np.shape(f) for f in found]
            raise ValueError(f"no output has the size of {reference.shape}: {shapes}")
        errors.append(min(difference(f, reference) for f in fitting))
    return max(errors)


def measure(run, duration_ns):
    """Nanoseconds of single runs."""
    samples, start = [], perf_counter_ns()
    while True:
        before = perf_counter_ns()
        run()
        now = perf_counter_ns()
        samples.append(now - before)
        if now - start >= duration_ns or len(samples) == MAX_RUNS:
            return samples


def prepare(engine, model, inputs, wanted, threads, folder):
    """A function that runs the model, and what to say about it."""
    from engines import ENGINES

    Path(folder).mkdir(parents=True, exist_ok=True)
    start = perf_counter_ns()
    run, outputs = ENGINES[engine](Path(model), inputs, int(threads), Path(folder))
    load_ms = (perf_counter_ns() - start) / 1e6
    run()
    error = worst(outputs(), list(wanted.values()))
    return run, {"load_ms": load_ms, "error": error if np.isfinite(error) else None}


def serve(engine, model, case, threads, folder, out):
    """Answer requests until stdin ends."""
    # Engines may read the inputs where they are, so they must live as long as this function.
    inputs, wanted = load(Path(case) / "inputs.npz"), load(Path(case) / "outputs.npz")
    try:
        run, ready = prepare(engine, model, inputs, wanted, threads, folder)
        last = measure(run, WARM_UP_NS)[-1]
    except Exception as error:  # whatever an engine may raise is its answer
        reason = " ".join(str(error).split())[-300:]
        print(json.dumps({"failed": f"{type(error).__name__}: {reason}"}), file=out)
        return
    print(json.dumps(ready), file=out)
    for line in sys.stdin:
        duration_ns = int(line)
        if last < duration_ns / 8:
            run()  # wakes the engine's threads
        samples = measure(run, duration_ns)
        last = samples[-1]
        print(json.dumps({"samples_ns": samples}), file=out)


def peak_kib():
    """The peak memory of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def memory(engine, model, case, folder):
    """The peak memory of one run."""
    import importlib

    from engines import ENGINES, MODULES
    from own import tensmith

    for module in MODULES.get(engine, []):
        importlib.import_module(module)
    imported = peak_kib()
    inputs = load(Path(case) / "inputs.npz")
    try:
        run, outputs = {**ENGINES, "tensmith": tensmith}[engine](Path(model), inputs, 1, Path(folder))
        run()
        peak = peak_kib()
        wanted = load(Path(case) / "outputs.npz")
        error = worst(outputs(), list(wanted.values()))
    except Exception as error:  # whatever an engine may raise is its answer
        reason = " ".join(str(error).split())[-300:]
        return {"failed": f"{type(error).__name__}: {reason}"}
    error = error if np.isfinite(error) else None
    return {"imported_kib": imported, "peak_kib": peak, "error": error}


def check(found, case):
    """The error of outputs in a file."""
    found, wanted = load(found), load(Path(case) / "outputs.npz")
    missing = [name for name in wanted if name not in found]
    if missing:
        return {"failed": f"no output {missing}"}
    error = max(worst([found[name]], [wanted[name]]) for name in wanted)
    return {"error": error if np.isfinite(error) else None}


def main():
    if sys.argv[1] == "--check":
        print(json.dumps(check(*sys.argv[2:])))
        return
    # Engines print to stdout, too; what they print goes to stderr.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if sys.argv[1] == "--memory":
        print(json.dumps(memory(*sys.argv[2:])), file=out)
    else:
        serve(*sys.argv[1:], out)
    out.flush()
    os._exit(0)  # some engines hang or crash while they are taken down


if __name__ == "__main__":
    main()
