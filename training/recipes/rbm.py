"""The recipe of a restricted Boltzmann machine: train, export, check, evaluate, publish.

[data] ──► train_rbm ──► averaged weights ──► quantise ──► graphs ──parity──► draft package
draft package ──► figures, pictures, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from service.contract import PackageError, Quality
from training.boltzmann_package import label_names
from training.config import ConfigError, Recipe, Workspace
from training.data import Dataset
from training.label_units import with_label
from training.quantised import QuantisedRbm, quantise
from training.rbm import Rbm
from training.rbm_card import Trained
from training.rbm_config import RbmConfig
from training.rbm_evaluation import (
    EvaluationData,
    LadderChains,
    Machine,
    ais_figure,
    ladder_figure,
    package_figures,
)
from training.rbm_export import check_parity, publish_rbm
from training.rbm_training import TrainingData, restore_averaged, train_rbm
from training.recipe_data import opened_run, published, rows, splits, training_set
from training.recipe_export import FLOAT_WEIGHTS, evaluation, publish_measured
from training.rounding import layer_moments
from training.run import newest_checkpoint
from training.trajectory import Ladder, LadderRule


def train(config: RbmConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate and publish; returns the package's folder."""
    seen, held_out = splits(config)
    labels = _labels(config, seen)
    with opened_run(workspace, config.trained_part()) as (run, stop):
        train_rbm(
            TrainingData(
                images=_units(seen, workspace.device, labels=labels),
                held_out=_units(held_out, workspace.device, labels=labels),
                shape=seen.shape,
            ),
            model=config.model,
            train=config.train,
            seed=config.seed,
            run=run,
            stop=stop,
            start=_start(config, workspace),
            labels=labels,
        )
    return export(config, workspace)


def export(config: RbmConfig, workspace: Workspace) -> Path:
    """Export, check, evaluate and publish the newest checkpoint.

    Raises:
        PackageError: there is no checkpoint, or the graphs disagree with the machine.
    """
    checkpoint = newest_checkpoint(workspace.run)
    if checkpoint is None:
        raise PackageError(f"{workspace.run} has no checkpoint to export: train first")
    seen, held_out = splits(config)
    trained = Trained(
        rbm=restore_averaged(checkpoint),
        steps=int(checkpoint["step"]),
        seconds=float(checkpoint["seconds"]),
        train=seen,
        held_out=held_out,
        labels=_labels(config, seen),
    )
    whole = _whole(config, trained)
    return publish_measured(
        config,
        workspace,
        seen,
        publish=partial(
            publish_rbm, config=config, workspace=workspace, trained=trained, rbm=whole
        ),
        check=lambda draft: check_parity(draft, whole, seed=config.seed, labels=trained.labels),
        figures=package_figures,
        float_figures=partial(_float_figures, config, workspace, trained, checkpoint),
        place=1,
    )


def _whole(config: RbmConfig, trained: Trained) -> QuantisedRbm:
    """What is exported: rounded with an eye on what its units do with the training images."""
    units = _units(trained.train, "cpu", labels=trained.labels)
    moments = layer_moments(trained.rbm.to("cpu"), units)
    return quantise(trained.rbm, bits=config.export.bits, moments=moments)


def _float_figures(
    config: RbmConfig,
    workspace: Workspace,
    trained: Trained,
    checkpoint: dict[str, Any],
    data: EvaluationData,
    *,
    command: str,
) -> list[Quality]:
    """Figures of what was trained: by AIS, and by its ladder where it has one."""
    machine = Machine(trained.rbm.to(workspace.device), trained.labels)
    figures = [
        ais_figure(
            machine,
            data,
            table=config.evaluate,
            name="test_log_probability_float_weights",
            weights=FLOAT_WEIGHTS,
            command=command,
        )
    ]
    particles = checkpoint["tensors"]["particles"]
    if config.train.chains == "trajectory" and len(particles) > 1:
        device = torch.device(workspace.device)
        ladder = Ladder.restored(checkpoint["exchange"], device, rule=LadderRule())
        chains = LadderChains(ladder, particles.to(device))
        figures.append(ladder_figure(machine, data, chains, command=command))
    return figures


def _start(config: RbmConfig, workspace: Workspace) -> Rbm | None:
    """The published machine that the recipe goes on from.

    Raises:
        ConfigError: it has other layers than the recipe.
        PackageError: it is not in the store, or is damaged.
    """
    if config.model.start is None or workspace.smoke:  # a smoke run has a store of its own
        return None
    rbm = published(config.model.start, workspace)
    if len(rbm.c) != config.model.hidden:
        raise ConfigError(
            f"model.start={config.model.start} has {len(rbm.c)} hidden units: set model.hidden to "
            f"that, not to {config.model.hidden}"
        )
    return rbm


def _labels(config: RbmConfig, data: Dataset) -> int:
    return len(label_names(data)) if config.model.labels else 0


def _units(data: Dataset, device: str, *, labels: int) -> torch.Tensor:
    """Grey values, and 0/1 label units after them."""
    if not labels:
        return rows(data, device)
    assert data.labels is not None, "label_names has looked"
    return with_label(rows(data, "cpu"), torch.from_numpy(data.labels), labels=labels).to(device)


RECIPE = Recipe(
    config=RbmConfig,
    train=train,
    export=export,
    evaluate=evaluation(package_figures),
    training_set=training_set,
)
