"""A model unlike the shared tiny ones: colour, classes, a range of [−1, 1], no calibration."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
from onnx import helper

from service.api.encoding import png_bytes
from service.contract import (
    CARD_FILE,
    PREVIEW_FILE,
    FileEntry,
    FunctionSpec,
    ImageData,
    Labels,
    Latent,
    Manifest,
    Quality,
    Role,
    ScoreMethod,
    sha256_of,
    write_package,
)
from tests.packages import function, graph, tensor, write_tiny_gan

SHAPE = (3, 4, 5)
PIXELS = 60
LATENT = 6
NAMES = ("cat", "dog", "owl")


def write_colour(store: Path) -> Path:
    """colour@1: generate(z, label) → [3, 4, 5], classify, an uncalibrated score, card, preview."""
    draw = np.random.default_rng(5)
    node = helper.make_node
    z, label = (
        tensor("z", LATENT, role=Role.LATENT),
        tensor("label", role=Role.LABEL, dtype="int64"),
    )
    x = tensor("x", *SHAPE, role=Role.DATA)
    generate = graph(
        [
            node("MatMul", ["z", "W"], ["a"]),
            node("Gather", ["U", "label"], ["b"]),
            node("Add", ["a", "b"], ["c"]),
            node("Tanh", ["c"], ["t"]),
            node("Reshape", ["t", "image"], ["x"]),
        ],
        [z, label],
        [x],
        {
            "W": draw.standard_normal((LATENT, PIXELS)).astype(np.float32),
            "U": draw.standard_normal((len(NAMES), PIXELS)).astype(np.float32),
            "image": np.array([-1, *SHAPE], np.int64),
        },
    )
    probabilities = tensor("p", len(NAMES), role=Role.PROBABILITIES)
    classify = graph(
        [
            node("Reshape", ["x", "flat"], ["f"]),
            node("MatMul", ["f", "W"], ["a"]),
            node("Softmax", ["a"], ["p"]),
        ],
        [x],
        [probabilities],
        {
            "W": draw.standard_normal((PIXELS, len(NAMES))).astype(np.float32),
            "flat": np.array([-1, PIXELS], np.int64),
        },
    )
    score = tensor("s", role=Role.SCORE)
    judge = graph(
        [
            node("Reshape", ["x", "flat"], ["f"]),
            node("ReduceMean", ["f", "axes"], ["s"], keepdims=0),
        ],
        [x],
        [score],
        {"flat": np.array([-1, PIXELS], np.int64), "axes": np.int64([1])},
    )
    card = b"# colour\n\nA model for tests.\n"
    preview = png_bytes(np.zeros((4, 5, 3), np.uint8))
    functions: dict[str, FunctionSpec] = {
        "generate": function(generate, "generate.onnx", [z, label], [x]),
        "classify": function(classify, "classify.onnx", [x], [probabilities]),
        "score": function(judge, "score.onnx", [x], [score]),
    }
    contents = {
        "generate.onnx": generate,
        "classify.onnx": classify,
        "score.onnx": judge,
        CARD_FILE: card,
        PREVIEW_FILE: preview,
    }
    manifest = Manifest(
        name="colour",
        version=1,
        family="gan",
        data=ImageData(shape=SHAPE, range=(-1.0, 1.0)),
        latent=Latent(size=LATENT),
        labels=Labels(names=NAMES),
        functions=functions,
        scores=(ScoreMethod(method="mean", function="score", output="s"),),
        quality=(Quality(name="FID", value=1.5, floor=0.5, protocol="made up"),),
        provenance={"data": "none"},
        files={
            name: FileEntry(sha256=sha256_of(contents[name])) for name in (CARD_FILE, PREVIEW_FILE)
        },
    )
    return write_package(store, manifest, contents)


def write_digits(store: Path) -> Path:
    """digits@1: the tiny GAN's functions at 28 × 28."""
    with patch.multiple("tests.packages", SHAPE=(1, 28, 28), PIXELS=784):
        return write_tiny_gan(store, name="digits")


def write_eights(store: Path) -> Path:
    """eights@1: a classifier of 28 × 28, and nothing else."""
    x = tensor("x", 1, 28, 28, role=Role.DATA)
    probabilities = tensor("p", 2, role=Role.PROBABILITIES)
    classify = graph(
        [
            helper.make_node("Reshape", ["x", "flat"], ["f"]),
            helper.make_node("MatMul", ["f", "W"], ["a"]),
            helper.make_node("Softmax", ["a"], ["p"]),
        ],
        [x],
        [probabilities],
        {"W": np.ones((784, 2), np.float32), "flat": np.array([-1, 784], np.int64)},
    )
    manifest = Manifest(
        name="eights",
        version=1,
        family="classifier",
        data=ImageData(shape=(1, 28, 28)),
        labels=Labels(names=("other", "eight")),
        functions={"classify": function(classify, "classify.onnx", [x], [probabilities])},
    )
    return write_package(store, manifest, {"classify.onnx": classify})
