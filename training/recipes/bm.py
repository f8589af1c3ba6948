"""The recipe of a Boltzmann machine: train, export, check, evaluate, publish.

[data] ──► train_bm ──► averaged weights ──► quantise ──► graphs ──parity──► draft package
                  └──► those of its rivals
draft package ──► figures, pictures, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from service.contract import PackageError, Quality
from training.bm_card import TrainedBm
from training.bm_config import BmConfig
from training.bm_connections import colour_blocks
from training.bm_evaluation import Measure, package_figures
from training.bm_export import blocks_of, check_parity, publish_bm
from training.bm_quantised import quantise_bm
from training.bm_training import restored, train_bm
from training.config import ConfigError, Recipe, Workspace
from training.data import load
from training.exact import MOST_UNITS
from training.package import Package
from training.rbm_evaluation import EvaluationData
from training.rbm_training import TrainingData
from training.recipe_data import rows, splits
from training.run import Run, newest_checkpoint, stop_on_signals

# A sweep is unrolled: beyond this its graph takes longer to load than to be of use.
MOST_BLOCKS = 2048


def train(config: BmConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate and publish; returns the package's folder.

    Raises:
        ConfigError: the machine is too large for an exact gradient, or for an exported sweep.
    """
    seen, held_out = splits(config)
    _check_size(config, seen.shape)
    run = Run(workspace.run, resume=workspace.resume, config=config.trained_part())
    try:
        with stop_on_signals() as stop:
            train_bm(
                TrainingData(
                    images=rows(seen, workspace.device),
                    held_out=rows(held_out, workspace.device),
                    shape=seen.shape,
                ),
                model=config.model,
                rivals=config.rivals,
                train=config.train,
                seed=config.seed,
                run=run,
                stop=stop,
            )
    finally:
        run.close()
    return export(config, workspace)


def export(config: BmConfig, workspace: Workspace) -> Path:
    """Export, check, evaluate and publish the newest checkpoint.

    Raises:
        PackageError: there is no checkpoint of the machine itself, or the graphs disagree with it.
    """
    trained = _trained(config, workspace)
    bm = quantise_bm(trained.machines.bm, bits=config.export.bits)
    console = Console(stderr=True)
    console.print("exporting a draft")
    draft = Package(publish_bm(workspace.run / "draft", config, workspace, trained, figures=()))
    check_parity(
        draft,
        bm,
        blocks=blocks_of(config, trained),
        posterior=config.export.posterior,
        seed=config.seed,
    )
    console.print("evaluating the exported weights")
    data = EvaluationData(train=trained.train, test=load(config.data, "test"))
    figures = package_figures(
        draft,
        data,
        table=config.evaluate,
        device=workspace.device,
        command=f"reverie evaluate {config.name}@{config.version}",
    )
    measure = Measure(data, config.evaluate, workspace.device, f"reverie export {workspace.run}")
    unrounded = measure.figure(
        measure.likelihood(trained.machines.bm),
        trained.machines.bm,
        name="test_log_probability_float_weights",
        weights="averaged float32 weights, before rounding",
    )
    figures.insert(1, unrounded)
    return publish_bm(workspace.store, config, workspace, trained, figures=figures, draft=draft)


def evaluate(package: Path, config: BmConfig, quick: bool, device: str) -> Sequence[Quality]:
    """A package's figures again, from its files."""
    opened = Package(package)
    data = EvaluationData(train=splits(config)[0], test=load(config.data, "test"))
    table = config.evaluate.quick() if quick else config.evaluate
    command = f"reverie evaluate {opened.manifest.id}" + (" --quick" if quick else "")
    return package_figures(opened, data, table=table, device=device, command=command)


def _trained(config: BmConfig, workspace: Workspace) -> TrainedBm:
    checkpoint = newest_checkpoint(workspace.run)
    seen, held_out = splits(config)
    visible = seen.images[0].size
    machines = None if checkpoint is None else restored(checkpoint, visible=visible)
    if checkpoint is None or machines is None:
        raise PackageError(
            f"{workspace.run} has no checkpoint of the machine itself to export: train on with "
            "--resume"
        )
    return TrainedBm(
        machines=machines,
        steps=int(checkpoint["step"]),
        seconds=float(checkpoint["seconds"]),
        train=seen,
        held_out=held_out,
    )


def _check_size(config: BmConfig, shape: tuple[int, int, int]) -> None:
    visible = shape[0] * shape[1] * shape[2]
    for model in (config.model, *config.rivals):
        units = visible + model.hidden
        counted = visible if model.hidden_links == "none" else units
        if config.train.gradient == "exact" and counted > MOST_UNITS:
            raise ConfigError(
                f"train.gradient='exact' would enumerate {counted} units, more than {MOST_UNITS}: "
                "use 'sampled'"
            )
    blocks = len(colour_blocks(config.model.links(shape), visible=visible))
    if blocks > MOST_BLOCKS:
        raise ConfigError(
            f"a sweep would have {blocks:,} steps, more than {MOST_BLOCKS:,}: use fewer units, or "
            "model.visible_links='neighbours'"
        )


RECIPE = Recipe(
    config=BmConfig,
    train=train,
    export=export,
    evaluate=evaluate,
    training_set=lambda config: splits(config)[0],
)
