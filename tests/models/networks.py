"""The networks whose graphs and weights are made here: MobileNetV2 and a perceptron."""

from onnx import TensorProto

from calibrate import calibrate
from graph import Builder
from inputs import photograph, rng_for

# Of each stage: expansion, channels, blocks, stride of its first block.
STAGES = [
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
]  # fmt: skip


def convolve(g, x, channels_in, channels_out, size=1, stride=1, groups=1, clip=True):
    """A convolution, and the rectifier that stops at 6."""
    weight = g.random((channels_out, channels_in // groups, size, size))
    y = g(
        "Conv", x, weight, g.noise(channels_out, 0.05),
        kernel_shape=[size, size], strides=[stride, stride], pads=[size // 2] * 4,
        dilations=[1, 1], group=groups,
    )  # fmt: skip
    return g("Clip", y, g.scalar(0), g.scalar(6)) if clip else y


def inverted_residual(g, x, channels_in, channels_out, expansion, stride):
    """Widen, filter each channel, narrow; around it a shortcut where the shapes agree."""
    wide = channels_in * expansion
    y = convolve(g, x, channels_in, wide) if expansion > 1 else x
    y = convolve(g, y, wide, wide, 3, stride, groups=wide)
    y = convolve(g, y, wide, channels_out, clip=False)
    return g("Add", x, y) if stride == 1 and channels_in == channels_out else y


def mobilenet_v2():
    """MobileNetV2 of width 1 for 224 x 224 images, batch norms folded as exporters do."""
    g = Builder(seed=1)
    x, channels = convolve(g, "input", 3, 32, 3, 2), 32
    for expansion, width, blocks, stride in STAGES:
        for block in range(blocks):
            x = inverted_residual(g, x, channels, width, expansion, 1 if block else stride)
            channels = width
    x = g("Flatten", g("GlobalAveragePool", convolve(g, x, channels, 1280)), axis=1)
    g("Gemm", x, g.random((1000, 1280)), g.noise(1000, 0.05), transB=1, output="logits")
    shape = [1, 3, 224, 224]
    model = g.model(
        "mobilenet_v2",
        {"input": (TensorProto.FLOAT, shape)},
        {"logits": (TensorProto.FLOAT, [1, 1000])},
        opset=13,
    )
    return calibrate(model, {"input": photograph(shape, rng_for("mobilenet_v2", 0))})


def mlp():
    """Dense layers 784-1024-1024-512-10 with a symbolic batch."""
    g = Builder(seed=2)
    widths = [784, 1024, 1024, 512, 10]
    x = "x"
    for layer, (wide_in, wide_out) in enumerate(zip(widths, widths[1:])):
        last = layer == len(widths) - 2
        weight, bias = g.random((wide_out, wide_in)), g.noise(wide_out, 0.1)
        x = g("Gemm", x, weight, bias, transB=1, output="y" if last else None)
        x = x if last else g("Relu", x)
    return g.model(
        "mlp",
        {"x": (TensorProto.FLOAT, ["batch", widths[0]])},
        {"y": (TensorProto.FLOAT, ["batch", widths[-1]])},
        opset=13,
    )
