"""The recipe of a restricted Boltzmann machine: train, export, check, evaluate, publish.

[data] ──► train_rbm ──► averaged weights ──► quantise ──► graphs ──parity──► draft package
draft package ──► figures, pictures, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from service.contract import PackageError, Quality
from training.config import Recipe, Workspace
from training.data import Dataset, load, split_holdout
from training.package import Package
from training.quantised import quantise
from training.rbm_card import Trained
from training.rbm_config import RbmConfig
from training.rbm_evaluation import EvaluationData, ais_figure, package_figures
from training.rbm_export import check_parity, publish_rbm
from training.rbm_training import TrainingData, restore_averaged, train_rbm
from training.run import Run, newest_checkpoint, stop_on_signals


@dataclass(frozen=True)
class _Splits:
    """The data of a recipe: what is trained on, what is held out, what is tested on."""

    train: Dataset
    held_out: Dataset


def train(config: RbmConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate and publish; returns the package's folder."""
    splits = _splits(config)
    run = Run(workspace.run, resume=workspace.resume, config=config.trained_part())
    try:
        with stop_on_signals() as stop:
            train_rbm(
                TrainingData(
                    images=_rows(splits.train, workspace.device),
                    held_out=_rows(splits.held_out, workspace.device),
                    shape=splits.train.shape,
                ),
                model=config.model,
                train=config.train,
                seed=config.seed,
                run=run,
                stop=stop,
            )
    finally:
        run.close()
    return export(config, workspace)


def export(config: RbmConfig, workspace: Workspace) -> Path:
    """Export, check, evaluate and publish the newest checkpoint.

    Raises:
        PackageError: there is no checkpoint, or the graphs disagree with the machine.
    """
    checkpoint = newest_checkpoint(workspace.run)
    if checkpoint is None:
        raise PackageError(f"{workspace.run} has no checkpoint to export: train first")
    splits = _splits(config)
    trained = Trained(
        rbm=restore_averaged(checkpoint),
        steps=int(checkpoint["step"]),
        seconds=float(checkpoint["seconds"]),
        train=splits.train,
        held_out=splits.held_out,
    )
    console = Console(stderr=True)
    console.print("exporting a draft")
    draft = Package(publish_rbm(workspace.run / "draft", config, workspace, trained, figures=()))
    check_parity(draft, quantise(trained.rbm, bits=config.export.bits), seed=config.seed)
    console.print("evaluating the exported weights")
    data = EvaluationData(train=splits.train, test=load(config.data, "test"))
    figures = package_figures(
        draft,
        data,
        table=config.evaluate,
        device=workspace.device,
        command=f"reverie evaluate {config.name}@{config.version}",
    )
    unrounded = ais_figure(
        trained.rbm.to(workspace.device),
        data,
        table=config.evaluate,
        name="test_log_probability_float_weights",
        weights="averaged float32 weights, before rounding",
        command=f"reverie export {workspace.run}",
    )
    figures.insert(1, unrounded)
    return publish_rbm(workspace.store, config, workspace, trained, figures=figures, draft=draft)


def evaluate(package: Path, config: RbmConfig, quick: bool, device: str) -> Sequence[Quality]:
    """A package's figures again, from its files."""
    opened = Package(package)
    data = EvaluationData(train=_splits(config).train, test=load(config.data, "test"))
    table = config.evaluate.quick() if quick else config.evaluate
    command = f"reverie evaluate {opened.manifest.id}" + (" --quick" if quick else "")
    return package_figures(opened, data, table=table, device=device, command=command)


def _splits(config: RbmConfig) -> _Splits:
    whole = load(config.data, "train")
    train_part, held_out = split_holdout(whole, config.data.holdout, config.seed)
    return _Splits(train=train_part, held_out=held_out)


def _rows(data: Dataset, device: str) -> torch.Tensor:
    return torch.from_numpy(data.images.reshape(len(data), -1)).to(device)


RECIPE = Recipe(config=RbmConfig, train=train, export=export, evaluate=evaluate)
