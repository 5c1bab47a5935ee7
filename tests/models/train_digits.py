#!/usr/bin/env python3
"""Train the embedded digit reader and write assets/digits.onnx and assets/digits-heldout.npz.

A small convolutional network on the handwritten digits that scikit-learn ships (1,797 images of
8 x 8 pixels, values 0..16), trained with numpy alone. 360 images, drawn per class, are held out:
they choose nothing during training and are read once at the end, by onnxruntime, from the files
as written. The same seed on the same machine gives the same bytes.

Needs the packages of requirements.txt and train-requirements.txt.
"""

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

CLASSES, HELD_OUT, FULL_SCALE = 10, 360, 16
FILTERS_1, FILTERS_2 = 16, 32
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 60, 32, 2e-3, 1e-3
REQUIRED_ACCURACY = 0.97


# Data


def stratified_split(labels, held_out, rng):
    """Indices to train on and indices held out, with every class in its overall share."""
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    picked = (np.arange(held_out) * len(labels)) // held_out
    return np.delete(by_class, picked), by_class[picked]


def check_no_leak(train, held_out):
    """No held-out image may occur among the training images."""
    seen = {image.tobytes() for image in train}
    leaked = sum(image.tobytes() in seen for image in held_out)
    if leaked:
        raise SystemExit(f"{leaked} held-out images are also training images")


def shifted(images, rng):
    """Each image moved by up to one pixel both ways, as handwriting is never centred."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moves = rng.integers(0, 3, (len(images), 2))
    return np.stack([p[:, y : y + 8, x : x + 8] for p, (y, x) in zip(padded, moves)])


# Layers: each returns its result and a function from the result's gradient to the gradients of
# the layer's input and of its parameters.


def conv3x3(x, weight, bias):
    """3 x 3 convolution with one pixel of padding."""
    batch, channels, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, channels * 9)
    rows = columns @ weight.reshape(len(weight), -1).T + bias
    result = rows.reshape(batch, height, width, -1).transpose(0, 3, 1, 2)

    def backward(gradient):
        rows = gradient.transpose(0, 2, 3, 1).reshape(-1, len(weight))
        patches = (rows @ weight.reshape(len(weight), -1)).reshape(
            batch, height, width, channels, 3, 3
        )
        into = np.zeros_like(padded)
        for y in range(3):
            for x in range(3):
                patch = patches[..., y, x].transpose(0, 3, 1, 2)
                into[:, :, y : y + height, x : x + width] += patch
        return into[:, :, 1:-1, 1:-1], (rows.T @ columns).reshape(weight.shape), rows.sum(0)

    return result, backward


def relu(x):
    """max(x, 0)."""
    return np.maximum(x, 0), lambda gradient: gradient * (x > 0)


def max_pool(x):
    """2 x 2 maximum with stride 2; ties share the gradient."""
    batch, channels, height, width = x.shape
    tiles = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
    result = tiles.max((3, 5), keepdims=True)
    hit = tiles == result

    def backward(gradient):
        share = hit / hit.sum((3, 5), keepdims=True)
        return (share * gradient[:, :, :, None, :, None]).reshape(x.shape).astype(x.dtype)

    return result[:, :, :, 0, :, 0], backward


def dense(x, weight, bias):
    """x weight^T + bias."""

    def backward(gradient):
        return gradient @ weight, gradient.T @ x, gradient.sum(0)

    return x @ weight.T + bias, backward


# Training


def initial_parameters(rng):
    """Weights that keep the variance through the rectifiers, and zero biases."""
    shapes = {
        "conv1": (FILTERS_1, 1, 3, 3),
        "conv2": (FILTERS_2, FILTERS_1, 3, 3),
        "dense": (CLASSES, FILTERS_2 * 16),
    }
    parameters = {}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[1:]))
        parameters[f"{name}.weight"] = (scale * rng.standard_normal(shape)).astype(np.float32)
        parameters[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return parameters


def softmax_gradient(logits, labels):
    """The gradient of the mean cross-entropy."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    share = e / e.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    return share / len(labels)


def gradients(p, x, labels):
    """The gradient of every parameter for one batch."""
    a, conv1 = conv3x3(x, p["conv1.weight"], p["conv1.bias"])
    b, relu1 = relu(a)
    c, pool = max_pool(b)
    d, conv2 = conv3x3(c, p["conv2.weight"], p["conv2.bias"])
    e, relu2 = relu(d)
    logits, last = dense(e.reshape(len(x), -1), p["dense.weight"], p["dense.bias"])
    g = {}
    into, g["dense.weight"], g["dense.bias"] = last(softmax_gradient(logits, labels))
    into, g["conv2.weight"], g["conv2.bias"] = conv2(relu2(into.reshape(e.shape)))
    _, g["conv1.weight"], g["conv1.bias"] = conv1(relu1(pool(into)))
    return g


class Adam:
    """Adam with decoupled weight decay and a rate that falls to zero along a cosine."""

    def __init__(self, parameters, steps):
        self.parameters, self.steps, self.step = parameters, steps, 0
        self.mean = {k: np.zeros_like(v) for k, v in parameters.items()}
        self.square = {k: np.zeros_like(v) for k, v in parameters.items()}

    def update(self, grads):
        """One step."""
        rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * self.step / self.steps))
        self.step += 1
        for name, gradient in grads.items():
            mean, square = self.mean[name], self.square[name]
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient * gradient - square)
            direction = (mean / (1 - 0.9**self.step)) / (
                np.sqrt(square / (1 - 0.999**self.step)) + 1e-8
            )
            value = self.parameters[name]
            value -= np.float32(rate) * (direction + WEIGHT_DECAY * value).astype(np.float32)


def train(images, labels, rng):
    """Parameters after a fixed number of epochs; `images` are float32 in 0..1."""
    parameters = initial_parameters(rng)
    adam = Adam(parameters, EPOCHS * (len(images) // BATCH))
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            adam.update(gradients(parameters, shifted(images[batch], rng), labels[batch]))
    return parameters


# Files


def to_onnx(parameters):
    """The network as an opset 17 graph with a symbolic batch."""
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["a"], "conv1", **conv),
        helper.make_node("Relu", ["a"], ["b"], "relu1"),
        helper.make_node("MaxPool", ["b"], ["c"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "conv2.weight", "conv2.bias"], ["d"], "conv2", **conv),
        helper.make_node("Relu", ["d"], ["e"], "relu2"),
        helper.make_node("Flatten", ["e"], ["f"], "flatten", axis=1),
        helper.make_node(
            "Gemm", ["f", "dense.weight", "dense.bias"], ["logits"], "dense", transB=1
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in parameters.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tensmith")
    onnx.checker.check_model(model, full_check=True)
    return model


def write_npz(path, arrays):
    """Like `numpy.savez`, but with fixed time stamps, so that equal arrays give equal files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def held_out_accuracy(model_path, images_path):
    """The share of held-out images that onnxruntime reads right, from the written files."""
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    data = np.load(images_path)
    image = data["images"][:, None].astype(np.float32) / FULL_SCALE
    (logits,) = session.run(["logits"], {"image": image})
    return float((logits.argmax(1) == data["labels"]).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    assets = Path(__file__).resolve().parents[2] / "assets"
    parser.add_argument("--out", type=Path, default=assets, help="folder of the two files")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the training")
    options = parser.parse_args()

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    rng = np.random.default_rng(options.seed)
    kept, held_out = stratified_split(labels, HELD_OUT, rng)
    check_no_leak(images[kept], images[held_out])
    held_out = rng.permutation(held_out)
    parameters = train(images[kept][:, None].astype(np.float32) / FULL_SCALE, labels[kept], rng)

    model_path, images_path = options.out / "digits.onnx", options.out / "digits-heldout.npz"
    model_path.write_bytes(to_onnx(parameters).SerializeToString(deterministic=True))
    write_npz(images_path, {"images": images[held_out], "labels": labels[held_out]})
    accuracy = held_out_accuracy(model_path, images_path)
    print(f"held-out accuracy: {accuracy:.2%} of {HELD_OUT} images")
    if accuracy < REQUIRED_ACCURACY:
        sys.exit(f"below the required {REQUIRED_ACCURACY:.0%}")


if __name__ == "__main__":
    main()
