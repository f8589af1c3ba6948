"""From a trained generator of rows to a published package.

RowGenerator ──fold, match marginals──► generate.onnx + TableData ──parity──► package

`generate(z, values, mask) → x` is one graph; how x becomes cells is in the manifest, and is carried
out by `service/domain/rows.py`, in training and in the service alike.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from service.contract import (
    CategoricalColumn,
    Defaults,
    Labels,
    Latent,
    Marginal,
    NumericColumn,
    Quality,
    Role,
    TableData,
    TensorSpec,
)
from service.domain.rows import Cells, TableCodec, written
from training.config import Workspace
from training.export import parity, to_onnx
from training.networks import count_parameters
from training.package import Function, Package, publish
from training.provenance import provenance
from training.tabular.card import row_card, row_summary
from training.tabular.config import TabularConfig
from training.tabular.networks import RowGenerator
from training.tabular.pictures import marginals_png
from training.tabular.table import Splits

TOLERANCE = 1e-4  # logits are of order 10, and their Gumbel noise has logarithms of small numbers
QUANTILES = 129
MATCHED_ROWS = 40_000


@dataclass(frozen=True)
class TrainedRows:
    """A finished training: the folded generator, its table, and what it cost."""

    generator: nn.Module
    data: TableData
    splits: Splits
    steps: int
    best_step: int
    seconds: float


def folded(generator: RowGenerator) -> RowGenerator:
    """A copy for inference, each batch norm a part of the layer before it."""
    plain = copy.deepcopy(generator).eval().requires_grad_(False)
    for pair in (plain.entry, *plain.layers):
        assert isinstance(pair, nn.Sequential), "a layer is Linear, then BatchNorm1d"
        linear, norm = pair[0], pair[1]
        assert isinstance(linear, nn.Linear)
        assert isinstance(norm, nn.BatchNorm1d)
        pair[0], pair[1] = fuse_linear_bn_eval(linear, norm), nn.Identity()
    return plain


@torch.no_grad()
def draw_encoded(
    generator: nn.Module, data: TableData, *, z_size: int, n: int, seed: int
) -> np.ndarray:
    """Rows that the generator writes when nothing is known, encoded: float32 [n, width]."""
    noise = torch.Generator().manual_seed(seed)
    parts = []
    for rows in torch.split(torch.randn(n, z_size, generator=noise), 2000):
        nothing = torch.zeros(len(rows), data.width), torch.zeros(len(rows), len(data.columns))
        parts.append(generator(rows, *nothing))
    found: np.ndarray = torch.cat(parts).numpy()
    return found


def match_marginals(data: TableData, encoded: np.ndarray, *, train: Cells) -> TableData:
    """The table with each mode-written column mapped from the network's quantiles to training's.

    It is a monotone map of each column alone: ranks, and so most of what columns say of each other,
    stay as they were learned.
    """
    codec = TableCodec(data)
    columns = list(data.columns)
    for i, block in enumerate(codec.blocks):
        column = block.column
        if not isinstance(column, NumericColumn) or block.alpha is None:
            continue
        choice = np.argmax(encoded[:, block.choices], axis=1)
        modes = (choice >= len(column.values)) & (choice < len(column.values) + len(column.modes))
        made = written(column, choice, encoded[:, block.alpha].astype(np.float64))[modes]
        known = train[:, i][~np.isnan(train[:, i])]
        wanted = known[~np.isin(known, column.values)]
        marginal = _marginal(made, wanted)
        columns[i] = column.model_copy(update={"marginal": marginal})
    return TableData(columns=tuple(columns), label_column=data.label_column)


def _marginal(made: np.ndarray, wanted: np.ndarray) -> Marginal | None:
    """Quantile to quantile; None where the network writes too few values to have quantiles."""
    if len(made) < QUANTILES or len(wanted) < 2:
        return None
    at = np.linspace(0.0, 1.0, min(QUANTILES, len(wanted)))
    sources, targets = np.quantile(made, at), np.quantile(wanted, at)
    kept = np.concatenate([[True], np.diff(sources) > 0])
    if kept.sum() < 2:
        return None
    digits = 9  # of a float64 that stands in a manifest
    pairs = {
        float(f"{a:.{digits}g}"): float(f"{b:.{digits}g}")
        for a, b in zip(sources[kept], np.maximum.accumulate(targets[kept]), strict=True)
    }
    return Marginal(written=tuple(pairs), wanted=tuple(pairs.values())) if len(pairs) > 1 else None


def generate_function(
    generator: nn.Module, data: TableData, *, z_size: int
) -> tuple[Function, float]:
    """The function of the package, and its largest difference to torch.

    Raises:
        ExportError: the graph disagrees with its module.
    """
    noise = torch.Generator().manual_seed(0)
    examples = {
        "z": torch.randn(3, z_size, generator=noise),
        "values": torch.zeros(3, data.width),
        "mask": torch.zeros(3, len(data.columns)),
    }
    content = to_onnx(generator, examples, ["x"])
    other = {name: torch.cat([t, t.flip(0), t[:1]]) for name, t in examples.items()}
    worst = parity(generator, content, other, tolerance=TOLERANCE)
    roles = {"z": Role.LATENT, "values": Role.CLAMP_VALUES, "mask": Role.CLAMP_MASK}
    inputs = tuple(_tensor(n, t.shape[1], roles[n]) for n, t in examples.items())
    return Function(
        graph=content, inputs=inputs, outputs=(_tensor("x", data.width, Role.DATA),)
    ), worst


def _tensor(name: str, size: int, role: Role) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("n", size), role=role)


def publish_rows(
    store: Path,
    config: TabularConfig,
    workspace: Workspace,
    trained: TrainedRows,
    *,
    figures: Sequence[Quality],
    draft: Package | None = None,
) -> Path:
    """Write the package under `store`; with its picture, where a `draft` can draw it."""
    z_size = config.shape(trained.data).z_size
    function, worst = generate_function(trained.generator, trained.data, z_size=z_size)
    facts = provenance(
        config,
        workspace,
        steps=trained.steps,
        seconds=trained.seconds,
        best_step=trained.best_step,
        parameters=count_parameters(trained.generator),
        largest_difference_to_torch=worst,
    )
    summary = row_summary(config, trained.data, trained.generator)
    return publish(
        store,
        name=config.name,
        version=config.version,
        family="gan",
        description=summary,
        data=trained.data,
        latent=Latent(size=z_size),
        labels=_labels(trained.data),
        functions={"generate": function},
        defaults=Defaults(),
        quality=figures,
        provenance=facts,
        card=row_card(
            config,
            trained.data,
            summary=summary,
            splits=trained.splits,
            figures=figures,
            facts=facts,
        ),
        preview=marginals_png(trained.data, trained.splits.test, draft, seed=config.seed),
    )


def _labels(data: TableData) -> Labels | None:
    column = None if data.label_column is None else data.column(data.label_column)
    if not isinstance(column, CategoricalColumn) or len(column.categories) < 2:
        return None
    return Labels(names=column.categories)
