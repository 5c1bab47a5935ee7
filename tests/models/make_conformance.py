#!/usr/bin/env python3
"""Write the conformance cases of the onnx package as files.

ROOT/<kind>/<case>/model.onnx with test_data_set_<K>/{input,output}_<N>.pb in ONNX's own form, and
ROOT/index.json: a list of {"name", "kind", "rtol", "atol"}. The node cases are generated; the
others are copied from the package's data.
"""

import argparse
import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, OptionalProto, SequenceProto, TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
PROTOS = (TensorProto, SequenceProto, OptionalProto)
NODE_CASES = 1884  # that this version of the package generates


def to_proto(value, info):
    """The message that holds `value`, of the kind that the graph states for it."""
    if isinstance(value, PROTOS):
        return value
    kind = info.type.WhichOneof("value")
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name)
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    if kind == "map_type":
        return numpy_helper.from_dict(value, info.name)
    return numpy_helper.from_array(np.asarray(value), info.name)


def write_values(folder, side, values, infos):
    """The inputs or the outputs of one data set."""
    for k, (value, info) in enumerate(zip(values, infos)):
        (folder / f"{side}_{k}.pb").write_bytes(to_proto(value, info).SerializeToString())


def write_generated(case, folder):
    """A case that lives in memory."""
    model: ModelProto = case.model
    onnx.save(model, folder / "model.onnx")
    for k, (inputs, outputs) in enumerate(case.data_sets):
        target = folder / f"test_data_set_{k}"
        target.mkdir()
        write_values(target, "input", inputs, model.graph.input)
        write_values(target, "output", outputs, model.graph.output)


def write_case(case, folder):
    """One case; its row of the index."""
    folder.mkdir(parents=True)
    if case.model is not None:
        write_generated(case, folder)
    else:
        shutil.copytree(case.model_dir, folder, dirs_exist_ok=True)
    return {"name": case.name, "kind": case.kind, "rtol": case.rtol, "atol": case.atol}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder to write, made anew")
    root = parser.parse_args().root
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # cases overflow on purpose
        cases = [case for kind in KINDS for case in load_model_tests(kind=kind)]
    index = [write_case(case, partial / case.kind / case.name) for case in cases]
    count = {kind: sum(row["kind"] == kind for row in index) for kind in KINDS}
    print(f"conformance: {count}", file=sys.stderr)
    if count["node"] != NODE_CASES:
        sys.exit(f"{count['node']} node cases, expected {NODE_CASES}")
    (partial / "index.json").write_text(json.dumps(index, indent=1))
    shutil.rmtree(root, ignore_errors=True)
    partial.rename(root)


if __name__ == "__main__":
    main()
