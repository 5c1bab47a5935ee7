"""The onnx package's "light" graphs, real architectures without weights, with random weights.

In those files a weight is a ConstantOfShape node; here it becomes an initializer.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from calibrate import VIEWS, calibrate
from graph import free_inputs
from inputs import photograph, rng_for


def final_use(graph, name):
    """The operation that reads `name`, and as which operand; looks through changes of shape."""
    for node in graph.node:
        if name in node.input:
            if node.op_type in VIEWS and node.input[0] == name:
                return final_use(graph, node.output[0])
            return node.op_type, list(node.input).index(name)
    return "", 0


def random_weight(use, shape, rng):
    """Values for the weight that is used as `use`; `calibrate` does the fine adjustment."""
    noise = rng.standard_normal(shape).astype(np.float32)
    match use:
        case ("Conv" | "Gemm", 1):
            return noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        case ("BatchNormalization", 1) | ("Mul", _):
            return 1 + 0.1 * noise
        case ("BatchNormalization", 3):
            return np.zeros(shape, np.float32)
        case ("BatchNormalization", 4):
            return np.ones(shape, np.float32)
        case ("BatchNormalization", 2) | ("Add", _) | ("Conv" | "Gemm", 2):
            return 0.1 * noise
    raise ValueError(f"a weight of shape {shape} is used as operand {use[1]} of {use[0]!r}")


def fill_weights(graph, rng):
    """Turn the ConstantOfShape nodes into initializers; drop what nothing reads any more."""
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makers = [n for n in graph.node if n.op_type == "ConstantOfShape" and n.input[0] in shapes]
    for node in makers:
        shape = tuple(int(extent) for extent in shapes[node.input[0]])
        weight = random_weight(final_use(graph, node.output[0]), shape, rng)
        graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def light(name):
    """The light graph `name` with calibrated random weights."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.load(folder / f"light_{name}.onnx")
    graph = model.graph
    (image,) = free_inputs(graph)
    fill_weights(graph, np.random.default_rng(0))
    del graph.input[:]
    graph.input.append(image)
    model.ir_version = 8  # version 3 wants every initializer listed as an input
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    calibrate(model, {image.name: photograph(shape, rng_for(name, 0))})
    onnx.checker.check_model(model)
    return model
