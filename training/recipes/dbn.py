"""The recipe of a deep belief network: train, export, check, evaluate, publish.

[data] ──► train_dbn ──► averaged weights ──► quantise ──► graphs ──parity──► draft package
                                         ├──► fine_tune ──► classify
                                         └──► train_guide ──► chains that hold a label
draft package ──► figures, samples, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from training.boltzmann_package import label_names
from training.classifier import (
    Classifier,
    LabelledData,
    distorted,
    fine_tune,
    restored_classifier,
    with_softmax,
)
from training.config import ConfigError, Recipe, Workspace
from training.data import Dataset
from training.dbn import Dbn
from training.dbn_card import TrainedDbn
from training.dbn_config import DbnConfig
from training.dbn_evaluation import bound_figure, package_figures
from training.dbn_export import check_parity, publish_dbn
from training.dbn_training import LabelledImages, restore_averaged, train_dbn
from training.guide import Guide, restored_guide, train_guide
from training.quantised_network import QuantisedDbn, network_moments, quantise_network
from training.rbm import Rbm
from training.recipe_data import opened_run, published, rows, splits, training_set
from training.recipe_export import FLOAT_WEIGHTS, evaluation, finished, publish_measured
from training.run import Run

CLASSIFIER_FOLDER = "classifier"
GUIDE_FOLDER = "guide"


def train(config: DbnConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate and publish; returns the package's folder."""
    seen, held_out = splits(config)
    with opened_run(workspace, config.trained_part()) as (run, stop):
        dbn = train_dbn(
            LabelledImages(
                images=rows(seen, workspace.device),
                held_out=rows(held_out, workspace.device),
                shape=seen.shape,
                labels=_labels(seen, workspace.device),
                held_out_labels=_labels(held_out, workspace.device),
            ),
            model=config.model,
            pretraining=config.pretrain,
            train=config.train,
            seed=config.seed,
            run=run,
            stop=stop,
            start=_start(config, workspace),
        )
        _train_guide(config, workspace, dbn, seen, stop=stop)
        _train_classifier(config, workspace, dbn, splits=(seen, held_out), stop=stop)
    return export(config, workspace)


def export(config: DbnConfig, workspace: Workspace) -> Path:
    """Export, check, evaluate and publish the newest checkpoint.

    Raises:
        PackageError: there is no checkpoint of the whole network, or the graphs disagree with it.
    """
    seen, held_out = splits(config)
    labels = len(label_names(seen)) if config.model.labels else 0
    found = finished(workspace, partial(restore_averaged, labels=labels), whole="the whole network")
    trained = TrainedDbn(
        dbn=found.machine,
        classifier=restored_classifier(workspace.run / CLASSIFIER_FOLDER),
        guide=_guide(config, workspace),
        steps=found.steps,
        seconds=found.seconds,
        train=seen,
        held_out=held_out,
    )
    whole = _whole(config, trained.dbn, seen, guide=trained.guide)
    return publish_measured(
        config,
        workspace,
        seen,
        publish=partial(
            publish_dbn, config=config, workspace=workspace, trained=trained, dbn=whole
        ),
        check=lambda draft: check_parity(draft, whole, seed=config.seed),
        figures=package_figures,
        float_figures=lambda data, command: [
            bound_figure(
                trained.dbn.to(workspace.device),
                data,
                table=config.evaluate,
                name="test_bound_float_weights",
                weights=FLOAT_WEIGHTS,
                command=command,
            )
        ],
        place=1,
    )


def _whole(
    config: DbnConfig, dbn: Dbn, seen: Dataset, *, guide: Guide | None = None
) -> QuantisedDbn:
    """What is exported: rounded with an eye on what its units do with the training images."""
    dbn = dbn.to("cpu")
    moments = network_moments(dbn, rows(seen, "cpu"), _labels(seen, "cpu"))
    return quantise_network(dbn, bits=config.export.bits, guide=guide, moments=moments)


def _guide(config: DbnConfig, workspace: Workspace) -> Guide | None:
    """The guide of the run, as strong as the recipe has it."""
    if config.guide is None:
        return None
    learned = restored_guide(workspace.run / GUIDE_FOLDER)
    return None if learned is None else learned.times(config.guide.strength)


def _train_guide(
    config: DbnConfig, workspace: Workspace, dbn: Dbn, seen: Dataset, *, stop: Callable[[], bool]
) -> None:
    """Learn what chains that hold a label are guided by, or go on; on the weights as exported."""
    if config.guide is None:
        return
    run = Run(
        workspace.run / GUIDE_FOLDER,
        resume=True,
        config=config.guide.model_dump(mode="json", exclude={"strength"}),
    )
    try:
        train_guide(
            _whole(config, dbn, seen).dequantised().to(workspace.device),
            rows(seen, workspace.device),
            _labels(seen, workspace.device),
            table=config.guide,
            seed=config.seed,
            run=run,
            stop=stop,
        )
    finally:
        run.close()


def _train_classifier(
    config: DbnConfig,
    workspace: Workspace,
    dbn: Dbn,
    *,
    splits: tuple[Dataset, Dataset],
    stop: Callable[[], bool],
) -> None:
    """Fine-tune the recognition weights and a softmax, or go on."""
    if config.classify is None:
        return
    seen, held_out = splits
    run = Run(
        workspace.run / CLASSIFIER_FOLDER,
        resume=True,
        config=config.classify.deciding(),
    )
    change = distorted(config.classify, seen.shape)
    try:
        fine_tune(
            unrolled(dbn, labels=len(label_names(seen))),
            LabelledData([rows(seen, workspace.device)], _labels(seen, workspace.device)),
            LabelledData([rows(held_out, workspace.device)], _labels(held_out, workspace.device)),
            table=config.classify,
            seed=config.seed,
            run=run,
            stop=stop,
            views=None if change is None else lambda x, noise: [change(x, noise)],
        )
    finally:
        run.close()


def unrolled(dbn: Dbn, *, labels: int) -> Classifier:
    """The recognition weights, the top machine's without its label units, and a fresh softmax."""
    units = len(dbn.top.b) - dbn.labels
    layers = [(layer.up, layer.c) for layer in dbn.layers]
    return with_softmax([*layers, (dbn.top.W[:units], dbn.top.c)], labels=labels)


def _start(config: DbnConfig, workspace: Workspace) -> Rbm | None:
    """The published machine that is the directed layer.

    Raises:
        ConfigError: it has other layers than the recipe.
        PackageError: it is not in the store, or is damaged.
    """
    if config.model.start is None or config.pretrain:
        return None
    rbm = published(config.model.start, workspace)
    visible, hidden = rbm.W.shape
    if hidden != config.model.hidden[0] or visible > config.model.hidden[1]:
        raise ConfigError(
            f"model.start={config.model.start} has {visible} visible and {hidden} hidden units: "
            f"set model.hidden to [{hidden}, {visible} or more], not to {list(config.model.hidden)}"
        )
    return rbm


def _labels(data: Dataset, device: str) -> torch.Tensor:
    if data.labels is None:
        return torch.zeros(len(data), dtype=torch.int64, device=device)
    return torch.from_numpy(data.labels).to(device)


RECIPE = Recipe(
    config=DbnConfig,
    train=train,
    export=export,
    evaluate=evaluation(package_figures),
    training_set=training_set,
)
