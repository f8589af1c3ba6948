"""A tiny model of a table: real files and digests, every kind of column, in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper

from service.contract import (
    CategoricalColumn,
    FunctionSpec,
    Labels,
    Latent,
    Manifest,
    Marginal,
    Mode,
    NumericColumn,
    Role,
    TableData,
    sha256_of,
    write_package,
)
from tests.packages import graph, tensor

DATA = TableData(
    label_column="kind",
    columns=(
        NumericColumn(
            name="size", integer=True, minimum=0, maximum=100, nullable=True, values=(0,),
            modes=(Mode(mean=20, std=5, weight=0.5), Mode(mean=70, std=10, weight=0.5)),
        ),
        NumericColumn(
            name="weight", decimals=1, minimum=-4, maximum=4,
            modes=(Mode(mean=0, std=1, weight=1),),
            marginal=Marginal(written=(-4, 0, 4), wanted=(-4, 0, 4)),
        ),
        NumericColumn(name="grade", integer=True, minimum=1, maximum=3, values=(1, 2, 3)),
        CategoricalColumn(name="kind", categories=("cat", "dog", "owl")),
        CategoricalColumn(name="home", categories=("barn, old", "tree"), nullable=True),
    ),
)  # fmt: skip
LATENT = 6
COLUMNS = tuple(column.name for column in DATA.columns)


def write_tiny_table(store: Path, *, name: str = "tiny-table", version: int = 1) -> Path:
    """tiny-table@1: generate(z, values, mask) = [z, values, mask] W, α's tanh left to decoding."""
    inputs = (
        tensor("z", LATENT, role=Role.LATENT),
        tensor("values", DATA.width, role=Role.CLAMP_VALUES),
        tensor("mask", len(COLUMNS), role=Role.CLAMP_MASK),
    )
    output = tensor("x", DATA.width, role=Role.DATA)
    total = LATENT + DATA.width + len(COLUMNS)
    W = np.random.default_rng(3).standard_normal((total, DATA.width)).astype(np.float32)
    nodes = [
        helper.make_node("Concat", ["z", "values", "mask"], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "W"], ["x"]),
    ]
    content = graph(nodes, inputs, (output,), {"W": W})
    manifest = Manifest(
        name=name,
        version=version,
        family="gan",
        data=DATA,
        latent=Latent(size=LATENT),
        labels=Labels(names=("cat", "dog", "owl")),
        functions={
            "generate": FunctionSpec(
                file="generate.onnx", sha256=sha256_of(content), inputs=inputs, outputs=(output,)
            )
        },
    )
    return write_package(store, manifest, {"generate.onnx": content})
