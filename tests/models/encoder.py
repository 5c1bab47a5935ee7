"""The sentence encoder all-MiniLM-L6-v2 as a graph, from the weights of its safetensors file.

Opset 14, in the primitive operations that PyTorch's exporter writes; outputs are the last hidden
state and the normalised mean over the tokens.
"""

import json
import struct

import numpy as np
from onnx import TensorProto

from graph import Builder

LENGTH, HIDDEN, HEADS, LAYERS = 128, 384, 12, 6
EPSILON = 1e-12


def read_safetensors(path):
    """The float tensors of a file, by name."""
    raw = path.read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, row in header.items():
        if row["dtype"] == "F32":
            begin, end = (8 + size + offset for offset in row["data_offsets"])
            tensors[name] = np.frombuffer(raw[begin:end], "<f4").reshape(row["shape"])
    return tensors


class Encoder(Builder):
    """Builds the graph; methods take and return value names."""

    def __init__(self, tensors):
        super().__init__()
        self.tensors = tensors

    def parameter(self, name):
        """A tensor of the file as it is."""
        return self.weight(self.tensors[name], name)

    def linear(self, x, name):
        """x W^T + b."""
        weight = self.weight(self.tensors[f"{name}.weight"].T, f"{name}.weight")
        return self("Add", self("MatMul", x, weight), self.parameter(f"{name}.bias"))

    def layer_norm(self, x, name):
        """Layer normalisation over the last axis."""
        centred = self("Sub", x, self("ReduceMean", x, axes=[-1], keepdims=1))
        square = self("Pow", centred, self.scalar(2))
        variance = self("ReduceMean", square, axes=[-1], keepdims=1)
        deviation = self("Sqrt", self("Add", variance, self.scalar(EPSILON)))
        scaled = self("Mul", self("Div", centred, deviation), self.parameter(f"{name}.weight"))
        return self("Add", scaled, self.parameter(f"{name}.bias"))

    def embeddings(self):
        """Words, segments and positions."""
        words = self("Gather", self.parameter("embeddings.word_embeddings.weight"), "input_ids")
        table = self.parameter("embeddings.token_type_embeddings.weight")
        segments = self("Gather", table, "token_type_ids")
        positions = self.tensors["embeddings.position_embeddings.weight"][None, :LENGTH]
        total = self("Add", self("Add", words, segments), self.weight(positions))
        return self.layer_norm(total, "embeddings.LayerNorm")

    def mask_bias(self):
        """0 where a token is, a large negative number where none is."""
        wide = self("Unsqueeze", "attention_mask", self.ints(1, 2))
        absent = self("Sub", self.scalar(1), self("Cast", wide, to=TensorProto.FLOAT))
        return self("Mul", absent, self.scalar(-10000))

    def heads(self, x, perm):
        """Split the features into heads."""
        split = self("Reshape", x, self.ints(1, LENGTH, HEADS, HIDDEN // HEADS))
        return self("Transpose", split, perm=perm)

    def attention(self, x, bias, layer):
        """Multi-head self-attention."""
        name = f"{layer}.attention.self"
        query = self.heads(self.linear(x, f"{name}.query"), [0, 2, 1, 3])
        key = self.heads(self.linear(x, f"{name}.key"), [0, 2, 3, 1])
        value = self.heads(self.linear(x, f"{name}.value"), [0, 2, 1, 3])
        scores = self("Div", self("MatMul", query, key), self.scalar((HIDDEN / HEADS) ** 0.5))
        share = self("Softmax", self("Add", scores, bias), axis=-1)
        mixed = self("Transpose", self("MatMul", share, value), perm=[0, 2, 1, 3])
        return self("Reshape", mixed, self.ints(1, LENGTH, HIDDEN))

    def gelu(self, x):
        """x (1 + erf(x / sqrt 2)) / 2."""
        erf = self("Erf", self("Div", x, self.scalar(2**0.5)))
        product = self("Mul", x, self("Add", erf, self.scalar(1)))
        return self("Mul", product, self.scalar(0.5))

    def layer(self, x, bias, layer):
        """One transformer layer."""
        mixed = self.linear(self.attention(x, bias, layer), f"{layer}.attention.output.dense")
        x = self.layer_norm(self("Add", mixed, x), f"{layer}.attention.output.LayerNorm")
        wide = self.gelu(self.linear(x, f"{layer}.intermediate.dense"))
        narrow = self.linear(wide, f"{layer}.output.dense")
        return self.layer_norm(self("Add", narrow, x), f"{layer}.output.LayerNorm")

    def pool(self, x):
        """The mean over the tokens that are there, scaled to length 1."""
        mask = self("Unsqueeze", "attention_mask", self.ints(2))
        mask = self("Cast", mask, to=TensorProto.FLOAT)
        mask = self("Expand", mask, self.ints(1, LENGTH, HIDDEN))
        total = self("ReduceSum", self("Mul", x, mask), self.ints(1), keepdims=0)
        count = self("Clip", self("ReduceSum", mask, self.ints(1), keepdims=0), self.scalar(1e-9))
        mean = self("Div", total, count)
        norm = self("ReduceL2", mean, axes=[-1], keepdims=1)
        floor = self("Expand", self("Clip", norm, self.scalar(EPSILON)), self.ints(1, HIDDEN))
        return self("Div", mean, floor, output="sentence_embedding")


def minilm_l6(path):
    """The encoder for one sentence of LENGTH tokens; `path` is the safetensors file."""
    g = Encoder(read_safetensors(path))
    x, bias = g.embeddings(), g.mask_bias()
    for layer in range(LAYERS):
        x = g.layer(x, bias, f"encoder.layer.{layer}")
    g("Identity", x, output="last_hidden_state")
    g.pool(x)
    ids = (TensorProto.INT64, [1, LENGTH])
    return g.model(
        "minilm_l6",
        {"input_ids": ids, "attention_mask": ids, "token_type_ids": ids},
        {
            "last_hidden_state": (TensorProto.FLOAT, [1, LENGTH, HIDDEN]),
            "sentence_embedding": (TensorProto.FLOAT, [1, HIDDEN]),
        },
        opset=14,
    )
