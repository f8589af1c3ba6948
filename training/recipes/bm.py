"""The recipe of a Boltzmann machine: train, export, check, evaluate, publish.

[data] ──► train_bm ──► averaged weights ──► quantise ──► graphs ──parity──► draft package
                  └──► those of its rivals
draft package ──► figures, pictures, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from service.contract import Quality
from training.bm import Bm
from training.bm_card import TrainedBm
from training.bm_config import BmConfig
from training.bm_connections import colour_blocks
from training.bm_evaluation import Measure, package_figures
from training.bm_export import blocks_of, check_parity, publish_bm
from training.bm_quantised import quantise_bm
from training.bm_training import restored, train_bm
from training.config import ConfigError, Recipe, Workspace
from training.exact import MOST_UNITS
from training.rbm_evaluation import EvaluationData
from training.recipe_data import opened_run, splits, training_data, training_set
from training.recipe_export import FLOAT_WEIGHTS, evaluation, finished, publish_measured

# A sweep is unrolled: beyond this its graph takes longer to load than to be of use.
MOST_BLOCKS = 2048


def train(config: BmConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate and publish; returns the package's folder.

    Raises:
        ConfigError: the machine is too large for an exact gradient, or for an exported sweep.
    """
    seen, held_out = splits(config)
    _check_size(config, seen.shape)
    with opened_run(workspace, config.trained_part()) as (run, stop):
        train_bm(
            training_data(seen, held_out, workspace.device),
            model=config.model,
            rivals=config.rivals,
            train=config.train,
            seed=config.seed,
            run=run,
            stop=stop,
        )
    return export(config, workspace)


def export(config: BmConfig, workspace: Workspace) -> Path:
    """Export, check, evaluate and publish the newest checkpoint.

    Raises:
        PackageError: there is no checkpoint of the machine itself, or the graphs disagree with it.
    """
    trained = _trained(config, workspace)
    bm = quantise_bm(trained.machines.bm, bits=config.export.bits)
    return publish_measured(
        config,
        workspace,
        trained.train,
        publish=partial(publish_bm, config=config, workspace=workspace, trained=trained),
        check=lambda draft: check_parity(
            draft,
            bm,
            blocks=blocks_of(config, trained),
            posterior=config.export.posterior,
            seed=config.seed,
        ),
        figures=package_figures,
        float_figures=partial(_float_figures, config, workspace, trained.machines.bm),
        place=1,
    )


def _float_figures(
    config: BmConfig, workspace: Workspace, bm: Bm, data: EvaluationData, *, command: str
) -> list[Quality]:
    measure = Measure(data, config.evaluate, workspace.device, command)
    return [
        measure.figure(
            measure.likelihood(bm),
            bm,
            name="test_log_probability_float_weights",
            weights=FLOAT_WEIGHTS,
        )
    ]


def _trained(config: BmConfig, workspace: Workspace) -> TrainedBm:
    seen, held_out = splits(config)
    restore = partial(restored, visible=seen.images[0].size)
    found = finished(workspace, restore, whole="the machine itself")
    return TrainedBm(
        machines=found.machine,
        steps=found.steps,
        seconds=found.seconds,
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
    evaluate=evaluation(package_figures),
    training_set=training_set,
)
