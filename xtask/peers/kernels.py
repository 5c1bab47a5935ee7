"""Models of one kernel each, with inputs and right outputs: kernels.py FOLDER.

Writes FOLDER/<name>.onnx and FOLDER/cases/<name>/{inputs,outputs}.npz. The outputs are those of
onnxruntime without any graph optimisation.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

SEED = 1
OPSET = 20


class Builder:
    """A graph in the making; each method gives the name of a value."""

    def __init__(self):
        self.rng = np.random.default_rng(SEED)
        self.nodes, self.weights, self.inputs, self.feed = [], [], [], {}

    def input(self, *shape):
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        self.feed[name] = self.rng.standard_normal(shape).astype(np.float32)
        return name

    def weight(self, *shape, scale=1.0):
        return self.constant(scale * self.rng.standard_normal(shape))

    def constant(self, value):
        name = f"w{len(self.weights)}"
        value = np.asarray(value, np.float32)
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def model(self, output):
        out = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "kernel", self.inputs, [out], self.weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return onnx.shape_inference.infer_shapes(model)


def matmul(rows, inner, columns):
    """A product with a constant matrix."""

    def build(b):
        return b.node("MatMul", b.input(rows, inner), b.weight(inner, columns, scale=inner**-0.5))

    return build


def conv(channels, filters, side, kernel=3, stride=1):
    """A convolution with padding that keeps the size."""

    def build(b):
        scale = (channels * kernel * kernel) ** -0.5
        weight = b.weight(filters, channels, kernel, kernel, scale=scale)
        bias, pads = b.weight(filters), [kernel // 2] * 4
        x = b.input(1, channels, side, side)
        return b.node("Conv", x, weight, bias, pads=pads, strides=[stride] * 2)

    return build


def depthwise_chain(b, channels=32, side=112, length=8):
    """As in a network, since a single one is mostly a change of layout for some engines."""
    value = b.input(1, channels, side, side)
    for _ in range(length):
        weight = b.weight(channels, 1, 3, 3, scale=1 / 3)
        value = b.node("Conv", value, weight, b.weight(channels), pads=[1] * 4, group=channels)
        value = b.node("Relu", value)
    return value


def scaled_gelu(b, rows=128, columns=3072):
    """gelu(x * s + b)"""
    scaled = b.node("Mul", b.input(rows, columns), b.weight(columns))
    return b.node("Gelu", b.node("Add", scaled, b.weight(columns)))


def layer_norm(b, rows=128, columns=384):
    x, scale, bias = b.input(rows, columns), b.weight(columns), b.weight(columns)
    return b.node("LayerNormalization", x, scale, bias, axis=-1)


def attention(batch, heads, tokens, size):
    """Scaled dot products over all tokens, with a bias as windows have it."""

    def build(b):
        q, k, v = (b.input(batch, heads, tokens, size) for _ in range(3))
        scores = b.node("MatMul", q, b.node("Transpose", k, perm=[0, 1, 3, 2]))
        scores = b.node("Mul", scores, b.constant(size**-0.5))
        scores = b.node("Add", scores, b.weight(1, heads, tokens, tokens))
        return b.node("MatMul", b.node("Softmax", scores, axis=-1), v)

    return build


def conv_transpose(channels, filters, side, kernel=2, stride=2):
    def build(b):
        weight = b.weight(channels, filters, kernel, kernel, scale=channels**-0.5)
        x, bias = b.input(1, channels, side, side), b.weight(filters)
        return b.node("ConvTranspose", x, weight, bias, strides=[stride] * 2)

    return build


def audio_conv(b, filters=512, kernel=10, stride=5, samples=16000):
    """The first layer of a network on samples of sound."""
    x, weight = b.input(1, 1, samples), b.weight(filters, 1, kernel, scale=kernel**-0.5)
    return b.node("Relu", b.node("Conv", x, weight, b.weight(filters), strides=[stride]))


def cumulative_sum(b, rows=1000, columns=128):
    axis = b.node("Cast", b.constant(0), to=TensorProto.INT64)
    return b.node("CumSum", b.input(rows, columns), axis)


def max_pool(b, channels=256, side=20, kernel=5):
    pads, shape = [kernel // 2] * 4, [kernel] * 2
    return b.node("MaxPool", b.input(1, channels, side, side), kernel_shape=shape, pads=pads)


def transpose(perm, *shape):
    return lambda b: b.node("Transpose", b.input(*shape), perm=perm)


KERNELS = {
    "call": lambda b: b.node("Relu", b.input(1, 8)),
    "matmul_512": matmul(512, 512, 512),
    "matmul_1024": matmul(1024, 1024, 1024),
    "matmul_196x512x1024": matmul(196, 512, 1024),
    "matmul_3136x64x576": matmul(3136, 64, 576),
    "matmul_1x1024x1024": matmul(1, 1024, 1024),
    "conv3x3_64_56": conv(64, 64, 56),
    "conv3x3_256_14": conv(256, 256, 14),
    "conv1x1_256_28": conv(256, 256, 28, kernel=1),
    "conv7x7_3_224": conv(3, 64, 224, kernel=7, stride=2),
    "depthwise_chain_32_112": depthwise_chain,
    "gelu_128x3072": scaled_gelu,
    "softmax_128x768": lambda b: b.node("Softmax", b.input(128, 768), axis=-1),
    "layer_norm_128x384": layer_norm,
    "attention_64x3x49x32": attention(64, 3, 49, 32),
    "attention_1x8x256x64": attention(1, 8, 256, 64),
    "conv_transpose_64_32_56": conv_transpose(64, 32, 56),
    "conv3x3_64_1_112": conv(64, 1, 112),
    "conv1d_1_512_16000": audio_conv,
    "cumsum_1000x128": cumulative_sum,
    "max_pool5x5_256_20": max_pool,
    "softmax_9408x49": lambda b: b.node("Softmax", b.input(9408, 49), axis=-1),
    "channels_last_64_112": transpose([0, 2, 3, 1], 1, 64, 112, 112),
    "channels_last_3_224": transpose([0, 2, 3, 1], 1, 3, 224, 224),
    "transpose_1024": lambda b: b.node("Transpose", b.input(1024, 1024), perm=[1, 0]),
}


def reference(model, feed):
    """The right outputs by name."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = ["CPUExecutionProvider"]
    session = ort.InferenceSession(model.SerializeToString(), options, providers=providers)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def main():
    folder = Path(sys.argv[1])
    for name, build in KERNELS.items():
        builder = Builder()
        model = builder.model(build(builder))
        onnx.checker.check_model(model)
        case = folder / "cases" / name
        case.mkdir(parents=True, exist_ok=True)
        onnx.save(model, folder / f"{name}.onnx")
        np.savez(case / "inputs.npz", **builder.feed)
        np.savez(case / "outputs.npz", **reference(model, builder.feed))


if __name__ == "__main__":
    main()
