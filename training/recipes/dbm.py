"""The recipe of a deep Boltzmann machine: train, export, check, evaluate, publish.

[data] ──► train_dbm ──► averaged weights ──► quantise ──► graphs ──parity──► draft package
                                                 └──► train_classifier ──► classify
draft package ──► figures, pictures, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from service.contract import PackageError, Quality
from training.boltzmann_package import label_names
from training.config import ConfigError, Recipe, Workspace
from training.data import Dataset, load
from training.dbm import Dbm, MeanField
from training.dbm_card import TrainedDbm
from training.dbm_classifier import train_classifier, trained_classifier
from training.dbm_config import DbmConfig
from training.dbm_evaluation import bound_figures, package_figures
from training.dbm_export import check_parity, publish_dbm
from training.dbm_training import restore_averaged, train_dbm
from training.package import Package
from training.quantised_deep import QuantisedDbm, quantise_deep, stack_moments
from training.rbm import Rbm
from training.rbm_evaluation import EvaluationData
from training.rbm_training import TrainingData
from training.recipe_data import published, rows, splits
from training.run import Run, newest_checkpoint, stop_on_signals


def train(config: DbmConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate and publish; returns the package's folder."""
    seen, held_out = splits(config)
    run = Run(workspace.run, resume=workspace.resume, config=config.trained_part())
    try:
        with stop_on_signals() as stop:
            dbm = train_dbm(
                TrainingData(
                    images=rows(seen, workspace.device),
                    held_out=rows(held_out, workspace.device),
                    shape=seen.shape,
                ),
                model=config.model,
                pretraining=config.pretrain,
                train=config.train,
                seed=config.seed,
                run=run,
                stop=stop,
                start=_start(config, workspace),
            )
            if config.classify is not None:
                _train_classifier(config, workspace, dbm, splits=(seen, held_out), stop=stop)
    finally:
        run.close()
    return export(config, workspace)


def export(config: DbmConfig, workspace: Workspace) -> Path:
    """Export, check, evaluate and publish the newest checkpoint.

    Raises:
        PackageError: there is no checkpoint of the joint training, or the graphs disagree with the
            machine.
    """
    checkpoint = newest_checkpoint(workspace.run)
    dbm = None if checkpoint is None else restore_averaged(checkpoint)
    if checkpoint is None or dbm is None:
        raise PackageError(
            f"{workspace.run} has no checkpoint of all layers together to export: train on with "
            "--resume"
        )
    seen, held_out = splits(config)
    whole = _whole(config, dbm, seen)
    trained = TrainedDbm(
        dbm=dbm,
        classifier=trained_classifier(whole.dequantised(), _posterior(config), workspace.run),
        steps=int(checkpoint["step"]),
        seconds=float(checkpoint["seconds"]),
        train=seen,
        held_out=held_out,
    )
    console = Console(stderr=True)
    console.print("exporting a draft")
    draft = Package(
        publish_dbm(workspace.run / "draft", config, workspace, trained, whole, figures=())
    )
    check_parity(draft, whole, updates=config.export.mean_field_updates, seed=config.seed)
    console.print("evaluating the exported weights")
    data = EvaluationData(train=seen, test=load(config.data, "test"))
    figures = package_figures(
        draft,
        data,
        table=config.evaluate,
        device=workspace.device,
        command=f"reverie evaluate {config.name}@{config.version}",
    )
    unrounded = bound_figures(
        dbm.to(workspace.device),
        data,
        table=config.evaluate,
        name="test_bound_float_weights",
        weights="averaged float32 weights, before rounding",
        command=f"reverie export {workspace.run}",
    )
    figures[2:2] = unrounded
    return publish_dbm(
        workspace.store, config, workspace, trained, whole, figures=figures, draft=draft
    )


def evaluate(package: Path, config: DbmConfig, quick: bool, device: str) -> Sequence[Quality]:
    """A package's figures again, from its files."""
    opened = Package(package)
    data = EvaluationData(train=splits(config)[0], test=load(config.data, "test"))
    table = config.evaluate.quick() if quick else config.evaluate
    command = f"reverie evaluate {opened.manifest.id}" + (" --quick" if quick else "")
    return package_figures(opened, data, table=table, device=device, command=command)


def _train_classifier(
    config: DbmConfig,
    workspace: Workspace,
    dbm: Dbm,
    *,
    splits: tuple[Dataset, Dataset],
    stop: Callable[[], bool],
) -> None:
    assert config.classify is not None, "the caller looked"
    seen, held_out = splits
    train_classifier(
        _whole(config, dbm, seen).dequantised().to(workspace.device),
        seen,
        held_out,
        labels=len(label_names(seen)),
        rule=_posterior(config),
        table=config.classify,
        seed=config.seed,
        directory=workspace.run,
        stop=stop,
    )


def _start(config: DbmConfig, workspace: Workspace) -> Rbm | None:
    """The published machine that is the first layer.

    Raises:
        ConfigError: it has other layers than the recipe.
        PackageError: it is not in the store, or is damaged.
    """
    if config.model.start is None or config.pretrain:
        return None
    rbm = published(config.model.start, workspace)
    if len(rbm.c) != config.model.hidden[0]:
        raise ConfigError(
            f"model.start={config.model.start} has {len(rbm.c)} hidden units: set model.hidden to "
            f"[{len(rbm.c)}, …], not to {list(config.model.hidden)}"
        )
    return rbm


def _whole(config: DbmConfig, dbm: Dbm, seen: Dataset) -> QuantisedDbm:
    """The machine as its package has it; the classifier's inputs come from its mean-field."""
    dbm = dbm.to("cpu")
    moments = stack_moments(dbm, rows(seen, "cpu"), _posterior(config))
    return quantise_deep(dbm, bits=config.export.bits, moments=moments)


def _posterior(config: DbmConfig) -> MeanField:
    """The mean-field of the exported graphs, which always make all their rounds."""
    return MeanField(updates=config.export.mean_field_updates, tolerance=0.0)


RECIPE = Recipe(
    config=DbmConfig,
    train=train,
    export=export,
    evaluate=evaluate,
    training_set=lambda config: splits(config)[0],
)
