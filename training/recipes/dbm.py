"""The recipe of a deep Boltzmann machine: train, export, check, evaluate, publish.

[data] ──► train_dbm ──► averaged weights ──► quantise ──► graphs ──parity──► draft package
                                                 └──► train_classifier ──► classify
draft package ──► figures, pictures, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from training.boltzmann_package import label_names
from training.config import ConfigError, Recipe, Workspace
from training.data import Dataset
from training.dbm import Dbm, MeanField
from training.dbm_card import TrainedDbm
from training.dbm_classifier import train_classifier, trained_classifier
from training.dbm_config import DbmConfig
from training.dbm_evaluation import bound_figures, package_figures
from training.dbm_export import check_parity, publish_dbm
from training.dbm_training import restore_averaged, train_dbm
from training.quantised_deep import QuantisedDbm, quantise_deep, stack_moments
from training.rbm import Rbm
from training.recipe_data import opened_run, published, rows, splits, training_data, training_set
from training.recipe_export import FLOAT_WEIGHTS, evaluation, finished, publish_measured


def train(config: DbmConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate and publish; returns the package's folder."""
    seen, held_out = splits(config)
    with opened_run(workspace, config.trained_part()) as (run, stop):
        dbm = train_dbm(
            training_data(seen, held_out, workspace.device),
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
    return export(config, workspace)


def export(config: DbmConfig, workspace: Workspace) -> Path:
    """Export, check, evaluate and publish the newest checkpoint.

    Raises:
        PackageError: there is no checkpoint of the joint training, or the graphs disagree with the
            machine.
    """
    found = finished(workspace, restore_averaged, whole="all layers together")
    seen, held_out = splits(config)
    whole = _whole(config, found.machine, seen)
    trained = TrainedDbm(
        dbm=found.machine,
        classifier=trained_classifier(whole.dequantised(), _posterior(config), workspace.run),
        steps=found.steps,
        seconds=found.seconds,
        train=seen,
        held_out=held_out,
    )
    updates = config.export.mean_field_updates
    return publish_measured(
        config,
        workspace,
        seen,
        publish=partial(
            publish_dbm, config=config, workspace=workspace, trained=trained, dbm=whole
        ),
        check=lambda draft: check_parity(draft, whole, updates=updates, seed=config.seed),
        figures=package_figures,
        float_figures=partial(
            bound_figures,
            trained.dbm.to(workspace.device),
            table=config.evaluate,
            name="test_bound_float_weights",
            weights=FLOAT_WEIGHTS,
        ),
        place=2,
    )


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
    evaluate=evaluation(package_figures),
    training_set=training_set,
)
