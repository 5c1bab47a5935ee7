"""Reference outputs and interior tensors, by onnxruntime without any graph optimisation."""

import zipfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

INTERIOR = 8  # tensors stored per model
LEAST_INTERIOR = 5
LARGEST, SMALLEST = 4 << 20, 8  # elements of a tensor worth storing
SHAPE_ONLY = ("Shape", "Size", "ConstantOfShape")


def session(model):
    """The model as it is written."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def with_outputs(model, names):
    """A copy of the model that also gives the tensors `names`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return copy


def computed_tensors(graph, inputs):
    """Names of the tensors that depend on the values of the inputs, in topological order."""
    reached, names = set(inputs), []
    for node in graph.node:
        if node.op_type not in SHAPE_ONLY and reached.intersection(node.input):
            reached.update(node.output)
            names.extend(name for name in node.output if name)
    outputs = {value.name for value in graph.output}
    return [name for name in names if name not in outputs]


def interior_names(model, feed):
    """Float tensors of a useful size, evenly spaced over the topological order."""
    names = computed_tensors(model.graph, feed)
    typed = session(with_outputs(model, names)).get_outputs()
    floats = {value.name for value in typed if value.type == "tensor(float)"}
    names = [name for name in names if name in floats]
    values = run(model, feed, names)
    names = [name for name in names if SMALLEST <= values[name].size <= LARGEST]
    count = min(INTERIOR, len(names))
    if count < LEAST_INTERIOR:
        raise ValueError(f"only {count} interior float tensors of a useful size")
    return [names[int((k + 0.5) * len(names) / count)] for k in range(count)]


def run(model, feed, names):
    """The values of the tensors `names`."""
    outputs = [value.name for value in model.graph.output]
    extra = [name for name in names if name not in outputs]
    return dict(zip(names, session(with_outputs(model, extra)).run(names, feed)))


def write_npz(path, arrays):
    """Like `numpy.savez`, with any tensor name as a key, and equal bytes for equal arrays."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
