#!/usr/bin/env python3
"""Build models and their cases under one folder.

ROOT/NAME.onnx and ROOT/cases/NAME/seed<K>/{inputs,outputs,interior}.npz, where PACKAGES holds the
unpacked packages of wheels.txt. A product is moved to its place when it is whole and checked.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx

from catalog import MODELS, SEEDS
from graph import set_shape
from inputs import rng_for
from reference import interior_names, run, write_npz

LOGIT_STD = 0.3, 10.0  # of one item's logits
INTERIOR_STD = 1e-3, 1e3
MOST_PROBABLE = 0.9  # at most; at least twice the uniform share
DIFFERENT = 1e-3  # of the largest output, between two inputs


class Unfit(Exception):
    """The outputs of a model would hide errors."""


def check_alive(values):
    """Every tensor is finite and varies."""
    for name, value in values.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise Unfit(f"{name} is not finite")
        if value.size > 1 and value.std() == 0:
            raise Unfit(f"{name} is the same everywhere")


def check_within(what, value, bounds):
    """`value` lies within the bounds."""
    if not bounds[0] <= value <= bounds[1]:
        raise Unfit(f"{what} is {value:.3g}, not within {bounds[0]:.3g} .. {bounds[1]:.3g}")


def check_spread(outputs, interior):
    """The classes of a network of random weights are neither equal nor decided."""
    for name, value in interior.items():
        check_within(f"standard deviation of {name}", value.std(), INTERIOR_STD)
    for name, value in outputs.items():
        rows = value.reshape(len(value), -1).astype(np.float64)
        if np.allclose(rows.sum(1), 1, atol=1e-4) and (rows >= 0).all():
            shares = rows
        else:
            check_within(f"standard deviation of {name}", rows.std(1).mean(), LOGIT_STD)
            exp = np.exp(rows - rows.max(1, keepdims=True))
            shares = exp / exp.sum(1, keepdims=True)
        bounds = 2 / rows.shape[1], MOST_PROBABLE
        check_within(f"mean largest probability of {name}", shares.max(1).mean(), bounds)


def check_different(cases):
    """Other inputs give other outputs."""
    for name, first in cases[0].items():
        for other in cases[1:]:
            gap = np.abs(first - other[name]).max() / np.abs(first).max()
            if gap < DIFFERENT:
                raise Unfit(f"{name} hardly depends on the inputs (relative change {gap:.1e})")


def set_output_shapes(model, outputs):
    """State the shapes of the outputs, unless they are symbolic by intention."""
    symbolic = any(d.dim_param for v in model.graph.input for d in v.type.tensor_type.shape.dim)
    for value in () if symbolic else model.graph.output:
        set_shape(value, outputs[value.name].shape)


def make_cases(name, model, folder):
    """Write the cases of a model; returns the outputs of each."""
    entry, cases, interior = MODELS[name], [], None
    names = [value.name for value in model.graph.output]
    for seed in SEEDS:
        feed = entry.feed(rng_for(name, seed), seed)
        interior = interior or interior_names(model, feed)
        values = run(model, feed, names + interior)
        outputs = {n: values[n] for n in names}
        inside = {n: values[n] for n in interior}
        check_alive(values)
        if entry.random:
            check_spread(outputs, inside)
        target = folder / f"seed{seed}"
        target.mkdir(parents=True)
        for file, arrays in (("inputs", feed), ("outputs", outputs), ("interior", inside)):
            write_npz(target / f"{file}.npz", arrays)
        cases.append(outputs)
    check_different(cases)
    return cases


def build(name, root, packages):
    """Build one model and its cases."""
    target, partial = root / "cases" / name, root / "cases" / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    model = MODELS[name].load(packages)
    cases = make_cases(name, model, partial)
    set_output_shapes(model, cases[0])
    onnx.save(model, partial / "model.onnx")
    (partial / "model.onnx").replace(root / f"{name}.onnx")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    shapes = {n: list(v.shape) for n, v in cases[0].items()}
    size = (root / f"{name}.onnx").stat().st_size >> 10
    print(f"{name}: {size} KiB, outputs {shapes}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the products")
    parser.add_argument("--packages", type=Path, help="folder of the unpacked packages")
    parser.add_argument("--list", action="store_true", help="print the names of the models")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to build")
    options = parser.parse_args()
    if options.list:
        print("\n".join(MODELS))
        return
    for name in options.names:
        if name not in MODELS:
            sys.exit(f"no model {name!r}; there are: {', '.join(MODELS)}")
        try:
            build(name, options.root, options.packages or options.root / "packages")
        except Unfit as reason:
            sys.exit(f"{name}: {reason}")


if __name__ == "__main__":
    main()
