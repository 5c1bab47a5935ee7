"""A small builder of ONNX graphs, and the helpers that every model shares."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Builder:
    """Collects nodes and weights; a value is its name."""

    def __init__(self, seed=0):
        self.nodes, self.weights, self.rng = [], [], np.random.default_rng(seed)

    def weight(self, array, name=None):
        """A constant tensor."""
        name = name or f"const_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def scalar(self, value):
        """A float constant of no dimensions."""
        name = f"const_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name

    def ints(self, *values):
        """An int64 vector."""
        return self.weight(np.array(values, np.int64))

    def random(self, shape):
        """Normal weights whose layer keeps the variance through a rectifier."""
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return self.weight((scale * self.rng.standard_normal(shape)).astype(np.float32))

    def noise(self, size, scale):
        """A bias of normal values."""
        return self.weight((scale * self.rng.standard_normal(size)).astype(np.float32))

    def __call__(self, kind, *operands, output=None, **attributes):
        """Append a node and return its output, which `output` may name."""
        name = f"/{kind}_{len(self.nodes)}"
        output = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(kind, operands, [output], name, **attributes))
        return output

    def model(self, name, inputs, outputs, opset):
        """The checked model; inputs and outputs are {name: (element type, shape)}."""
        infos = [
            [helper.make_tensor_value_info(n, *v) for n, v in values.items()]
            for values in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, name, *infos, self.weights)
        opsets = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def free_inputs(graph):
    """The graph inputs that are not weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def set_shape(value, dims):
    """Replace the shape of a graph input or output."""
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    for dim in dims:
        shape.dim.add(**{"dim_param" if isinstance(dim, str) else "dim_value": dim})


def fix_inputs(model, shapes):
    """Give the inputs named in `shapes` these shapes; what was inferred from others goes."""
    for value in free_inputs(model.graph):
        if value.name in shapes:
            set_shape(value, shapes[value.name])
    del model.graph.value_info[:]
    return model
