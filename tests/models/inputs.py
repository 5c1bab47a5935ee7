"""Inputs like those that the models are made for, drawn by seed."""

import zlib

import numpy as np


def rng_for(model, seed):
    """The generator of the inputs of `model` for one seed."""
    return np.random.default_rng([zlib.crc32(model.encode()), seed])


def photograph(shape, rng):
    """A normalised image: large and small patches of colour, and noise."""
    image = 0.3 * rng.standard_normal(shape)
    for patch in (8, 32):
        grid = rng.standard_normal((*shape[:2], shape[2] // patch + 1, shape[3] // patch + 1))
        image += np.kron(grid, np.ones((patch, patch)))[:, :, : shape[2], : shape[3]]
    return image.astype(np.float32)


def text_image(shape, rng):
    """Strokes in lines, dark on white as -1 on 1, with a little noise."""
    image = np.ones(shape)
    for top in range(8, shape[2] - 31, 44):
        for left in range(6, shape[3] - 18, 15):
            if rng.random() < 0.15:
                continue  # a space
            for _ in range(3):
                y, x = top + rng.integers(0, 12), left + rng.integers(0, 8)
                height, width = (3, 10) if rng.random() < 0.5 else (20, 3)
                image[:, :, y : y + height, x : x + width] = -1
    return (image + 0.03 * rng.standard_normal(shape)).astype(np.float32)


def file_bytes(rng):
    """The begin and end of a file of words, as bytes; 256 marks the places after a short end."""
    words = [bytes(rng.integers(97, 123, n).astype(np.uint8)) for n in rng.integers(2, 10, 600)]
    content = np.frombuffer(b" ".join(words), np.uint8).astype(np.int32)
    begin, end = content[:1024], content[-int(rng.integers(600, 1024)) :]
    padding = np.full(1024 - len(end), 256, np.int32)
    return {"bytes": np.concatenate([begin, padding, end])[None]}


def audio(rng, with_rate):
    """A quiet tone in noise, and the state after some other signal."""
    time = np.arange(576) / 16000
    tone = 0.1 * np.sin(2 * np.pi * rng.uniform(80, 400) * time)
    feed = {
        "input": (tone + 0.03 * rng.standard_normal(576)).astype(np.float32)[None],
        "state": (0.1 * rng.standard_normal((2, 1, 128))).astype(np.float32),
    }
    return feed | {"sr": np.array(16000, np.int64)} if with_rate else feed


def tokens(rng, length, padding):
    """A sentence of one segment whose last `padding` places are empty."""
    used = length - padding
    ids = rng.integers(1000, 28000, (1, length))
    ids[0, [0, used - 1]] = 101, 102  # begin and end of a sentence
    ids[0, used:] = 0
    mask = (np.arange(length) < used).astype(np.int64)[None]
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def normal(name, shape, rng):
    """Standard normal values."""
    return {name: rng.standard_normal(shape).astype(np.float32)}
