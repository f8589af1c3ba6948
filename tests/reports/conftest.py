"""Forests of few trees, for speed, and a store whose models have references."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from service.contract import (
    ImageData,
    Labels,
    Manifest,
    Role,
    read_manifest,
    read_verified,
    sha256_of,
    write_package,
)
from service.reports import learners
from tests.packages import PIXELS, SHAPE, function, graph, tensor, write_tiny_gan
from training.data import Dataset
from training.reference import reference_of


@pytest.fixture(autouse=True, scope="session")
def _few_trees() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learners, "TREES", 10)
        yield


def write_tiny_judge(store: Path, *, name: str = "tiny-judge", version: int = 1) -> Path:
    """Features are the pixels; the class is whether the upper left pixel is bright."""
    x = tensor("x", *SHAPE, role=Role.DATA)
    features = tensor("features", PIXELS, role=Role.HIDDEN)
    chances = tensor("probabilities", 2, role=Role.PROBABILITIES)
    flat = {"flat": np.array([-1, PIXELS], np.int64)}
    weights = np.zeros((PIXELS, 2), np.float32)
    weights[0] = (-5.0, 5.0)
    node = helper.make_node
    encode = graph([node("Reshape", ["x", "flat"], ["features"])], [x], [features], flat)
    classify = graph(
        [
            node("Reshape", ["x", "flat"], ["f"]),
            node("Sub", ["f", "half"], ["d"]),
            node("MatMul", ["d", "W"], ["a"]),
            node("Softmax", ["a"], ["probabilities"], axis=1),
        ],
        [x],
        [chances],
        {**flat, "W": weights, "half": np.float32([0.5])},
    )
    manifest = Manifest(
        name=name,
        version=version,
        family="classifier",
        data=ImageData(shape=SHAPE),
        labels=Labels(names=("0", "1")),
        functions={
            "encode": function(encode, "encode.onnx", [x], [features]),
            "classify": function(classify, "classify.onnx", [x], [chances]),
        },
    )
    return write_package(store, manifest, {"encode.onnx": encode, "classify.onnx": classify})


def referenced(package: Path, *, judge: str | None = "tiny-judge") -> Path:
    """A package of 4×4 images with a reference of noise."""
    manifest = read_manifest(package)
    contents = {n: read_verified(package, n, d) for n, d in manifest.digests().items()}
    draw = np.random.default_rng(0)

    def noise(n: int) -> Dataset:
        images = draw.random((n, *SHAPE), np.float32)
        return Dataset(images, (images[:, 0, 0, 0] > 0.5).astype(np.int64), "noise")

    content, reference = reference_of(noise(150), noise(240), judge=judge, rows=120)
    contents[reference.file] = content
    assert sha256_of(content) == reference.sha256
    with_it = manifest.model_copy(update={"reference": reference})
    return write_package(package.parent.parent, with_it, contents)


@pytest.fixture(scope="session")
def reported_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny-gan with a reference, and tiny-judge, which it names."""
    store = tmp_path_factory.mktemp("reported")
    referenced(write_tiny_gan(store))
    write_tiny_judge(store)
    return store
