"""Make random weights behave like trained ones, layer by layer, on one example input.

Convolutions and dense layers are scaled to outputs of unit variance, and batch normalisations get
the statistics of what really arrives. So no activation dies or explodes, whatever the depth, and
the logits have a spread of LOGIT_STD: neither uniform nor saturated after a softmax.
"""

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, helper, numpy_helper

LOGIT_STD = 2.0
CONTRACTIONS = ("Conv", "Gemm", "MatMul")
VIEWS = ("Reshape", "Unsqueeze")
SMALLEST_VARIANCE = 1e-2  # of a batch normalisation, so that a quiet channel is not blown up


class Evaluator:
    """Runs the nodes of a model one at a time; `values` holds every tensor by name."""

    def __init__(self, model: ModelProto, feed):
        self.opsets, self.values = model.opset_import, dict(feed)
        for tensor in model.graph.initializer:
            self.values[tensor.name] = numpy_helper.to_array(tensor)
        self.viewed = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type in VIEWS}

    def run(self, node):
        """Compute the outputs of `node` and return the first."""
        operands = {name: self.values[name] for name in node.input if name}
        infos = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in operands.items()
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = helper.make_graph([node], "node", infos, outputs)
        model = helper.make_model(graph, opset_imports=self.opsets, ir_version=8)
        session = ort.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in outputs]
        self.values.update(zip(names, session.run(names, operands)))
        return self.values[node.output[0]]


def fit_statistics(evaluator, node):
    """Set the mean and variance of a batch normalisation to those of its input."""
    x = evaluator.values[node.input[0]]
    axes = (0, *range(2, x.ndim))
    evaluator.values[node.input[3]] = x.mean(axes)
    evaluator.values[node.input[4]] = np.maximum(x.var(axes), SMALLEST_VARIANCE)


def scale_weights(evaluator, node, target):
    """Scale a layer's weight and bias so that its output has the standard deviation `target`."""
    result = evaluator.run(node)
    factor = np.float32(target / result.std())
    for name in node.input[1:]:
        while name:  # the weight itself, if this is a view of it
            evaluator.values[name] = evaluator.values[name] * factor
            name = evaluator.viewed.get(name)
    evaluator.values[node.output[0]] = result * factor


def calibrate(model, feed):
    """`model` with its weights adjusted for inputs like `feed`."""
    evaluator = Evaluator(model, feed)
    last = [n.output[0] for n in model.graph.node if n.op_type in CONTRACTIONS][-1]
    for node in model.graph.node:
        if node.op_type in CONTRACTIONS:
            scale_weights(evaluator, node, LOGIT_STD if node.output[0] == last else 1.0)
        else:
            if node.op_type == "BatchNormalization":
                fit_statistics(evaluator, node)
            evaluator.run(node)
    for tensor in model.graph.initializer:
        value = evaluator.values[tensor.name]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    return model
