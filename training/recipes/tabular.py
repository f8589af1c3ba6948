"""The recipe of a tabular GAN: read, transform, train, match, export, check, evaluate, publish.

[data] ──split──► fit_columns ──► train_rows ──► best average ──► match_marginals ──► draft package
draft package ──► figures, picture, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from service.contract import PackageError, Quality, Reference, TableData, read_manifest
from service.domain.rows import TableCodec
from training.config import ConfigError, Recipe, Workspace
from training.data_files import DataError
from training.export import in_halves
from training.gan import Figures
from training.package import Package
from training.run import Run, newest_checkpoint, stop_on_signals
from training.tabular.conditions import Conditions
from training.tabular.config import TabularConfig
from training.tabular.export import (
    MATCHED_ROWS,
    TrainedRows,
    draw_encoded,
    folded,
    match_marginals,
    publish_rows,
)
from training.tabular.figures import RowSplits, row_figures
from training.tabular.learning import Judgement, train_rows
from training.tabular.likeness import likeness
from training.tabular.networks import RowGenerator
from training.tabular.reference import table_reference
from training.tabular.table import Splits, load_splits
from training.tabular.transform import cells_of, fit_columns
from training.tabular.usefulness import measure_of

JUDGED_ROWS = 4000
JUDGEMENT_SEED = 99


def train(config: TabularConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate and publish; returns the package's folder."""
    splits = load_splits(config.data, seed=config.seed)
    data = _columns(config, splits)
    for target in config.evaluate.utility:
        measure_of(data, target)  # before an hour of training, not after it
    shape = config.shape(data)
    rows = TableCodec(data).encode(cells_of(splits.train, data))
    conditions = Conditions(
        torch.from_numpy(rows).to(workspace.device),
        shape,
        one_known=config.train.one_known,
        some_known=config.train.some_known,
    )
    with stop_on_signals() as stop:
        run = Run(workspace.run, resume=workspace.resume, config=config.trained_part())
        try:
            train_rows(
                conditions,
                shape=shape,
                config=config.train,
                seed=config.seed,
                run=run,
                judge=judgement(config, data, splits, run=run),
                stop=stop,
            )
        finally:
            run.close()
    return export(config, workspace)


def export(config: TabularConfig, workspace: Workspace) -> Path:
    """Export, check, evaluate and publish the newest checkpoint.

    Raises:
        PackageError: there is no checkpoint.
        ExportError: the graph disagrees with its module.
    """
    splits = load_splits(config.data, seed=config.seed)
    trained = _trained(config, workspace, splits)
    console = Console(stderr=True)
    console.print("exporting a draft")
    draft = Package(publish_rows(workspace.run / "draft", config, workspace, trained, figures=()))
    console.print("evaluating the exported graph")
    figures = row_figures(
        draft,
        _cells(trained.data, splits),
        table=config.evaluate,
        command=f"reverie evaluate {config.name}@{config.version}",
    )
    return publish_rows(workspace.store, config, workspace, trained, figures=figures, draft=draft)


def evaluate(package: Path, config: TabularConfig, quick: bool, device: str) -> Sequence[Quality]:  # noqa: ARG001
    """A package's figures again, from its files; ONNX Runtime on the CPU, as it is served."""
    opened = Package(package)
    data = opened.manifest.data
    if not isinstance(data, TableData):
        raise PackageError(f"{opened.manifest.id} is no model of a table")
    table = config.evaluate.quick() if quick else config.evaluate
    command = f"reverie evaluate {opened.manifest.id}" + (" --quick" if quick else "")
    splits = load_splits(config.data, seed=config.seed)
    return row_figures(opened, _cells(data, splits), table=table, command=command)


def judgement(config: TabularConfig, data: TableData, splits: Splits, *, run: Run) -> Judgement:
    """How a generator is judged on the way: how like held-out rows its own are, as exported."""
    rows = _cells(data, splits)

    def judge(generator: RowGenerator, step: int) -> Figures:
        device = next(generator.parameters()).device
        plain = generator.eval()
        encoded = draw_encoded(
            plain.cpu(), data, z_size=plain.shape.z_size, n=JUDGED_ROWS, seed=JUDGEMENT_SEED
        )
        plain.to(device)
        exported = data
        if config.transform.match_marginals:
            exported = match_marginals(data, encoded, train=rows.train)
        made = TableCodec(exported).decode(encoded)
        found = likeness(data, real=rows.held_out, made=made)
        for name, score in found.shapes.items():
            run.record(step, **{f"column__{name}": score})
        return {
            "judge__column_shapes": found.column_shapes,
            "judge__pair_trends": found.pair_trends,
            "judge__overall": found.overall,
            "judge__different": len(np.unique(made, axis=0)) / len(made),
        }

    return judge


def _trained(config: TabularConfig, workspace: Workspace, splits: Splits) -> TrainedRows:
    state = newest_checkpoint(workspace.run)
    if state is None or not state["best"]:
        raise PackageError(f"{workspace.run} has no generator to export yet: train first")
    data = _columns(config, splits)
    generator = in_halves(folded(_restored(config, data, state["best"]["average"])))
    if config.transform.match_marginals:
        encoded = draw_encoded(
            generator, data, z_size=generator.shape.z_size, n=MATCHED_ROWS, seed=config.seed
        )
        data = match_marginals(data, encoded, train=cells_of(splits.train, data))
    return TrainedRows(
        generator=generator,
        data=data,
        splits=splits,
        steps=int(state["step"]),
        best_step=int(state["best"]["step"]),
        seconds=float(state["seconds"]),
    )


def _restored(config: TabularConfig, data: TableData, weights: dict[str, Any]) -> RowGenerator:
    generator = RowGenerator(config.shape(data))
    generator.load_state_dict(weights)
    return generator


def _columns(config: TabularConfig, splits: Splits) -> TableData:
    try:
        return fit_columns(
            splits.train, config=config.transform, target=config.data.target, seed=config.seed
        )
    except DataError as error:
        raise ConfigError(str(error)) from error


def _cells(data: TableData, splits: Splits) -> RowSplits:
    return RowSplits(
        train=cells_of(splits.train, data),
        held_out=cells_of(splits.held_out, data),
        test=cells_of(splits.test, data),
    )


def reference(config: TabularConfig, package: Path, asked: bool) -> tuple[bytes, Reference] | None:
    """Rows of the table, for a package of it; of your own table only if it is asked for.

    Raises:
        PackageError: the package is no model of a table.
        ConfigError: there are too few rows.
    """
    if config.data.path is not None and not asked:
        return None
    manifest = read_manifest(package)
    if not isinstance(manifest.data, TableData):
        raise PackageError(f"{manifest.id} is no model of a table")
    splits = load_splits(config.data, seed=config.seed)
    return table_reference(splits, manifest.data, title=config.data.title)


RECIPE = Recipe(
    config=TabularConfig, train=train, export=export, evaluate=evaluate, reference=reference
)
