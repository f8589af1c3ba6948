"""The recipe of a machine with Gaussian visible units: train, evaluate, keep.

[data] ──cut, whiten──► train_gaussian ──► averaged machine ──► figures, filters, samples, card
                                                          └──► runs/<name>/machine/

It is no package: sums of real numbers depend on their order, so that its sweeps would not be the
same bytes on every device, which is what a package's chains promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file

from service.contract import Quality
from training.card import ModelCard, Picture, duration, number, write_card
from training.config import ConfigError, Recipe, Workspace
from training.data import load, split_holdout
from training.gaussian import GaussianRbm
from training.gaussian_config import GaussianConfig
from training.gaussian_data import Whitening, cut, shape_of
from training.gaussian_evaluation import figures_of
from training.gaussian_learning import GaussianLearner, run_chains
from training.gaussian_training import (
    SHEET_SIDE,
    GaussianData,
    filters_of,
    png_sheet,
    train_gaussian,
)
from training.provenance import provenance
from training.run import Run, newest_checkpoint, stop_on_signals
from training.sheets import png_bytes

RESULT = "machine"
SAMPLE_SWEEPS = 1000
TEST_ROWS = 10_000


def train(config: GaussianConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate; returns the folder of the result."""
    data = _data(config, workspace)
    run = Run(workspace.run, resume=workspace.resume, config=config.trained_part())
    try:
        with stop_on_signals() as stop:
            train_gaussian(
                data, model=config.model, train=config.train, seed=config.seed, run=run, stop=stop
            )
    finally:
        run.close()
    return export(config, workspace)


def export(config: GaussianConfig, workspace: Workspace) -> Path:
    """Evaluate the newest checkpoint, and keep weights, pictures and a card in the run's folder.

    Raises:
        ConfigError: there is no checkpoint.
    """
    checkpoint = newest_checkpoint(workspace.run)
    if checkpoint is None:
        raise ConfigError(f"{workspace.run} has no checkpoint: train first")
    data = _data(config, workspace)
    device = torch.device(workspace.device)
    machine = GaussianLearner.restored(checkpoint["tensors"]).averaged.to(device)
    test = cut(load(config.data, "test"), config.patches, count=TEST_ROWS, seed=config.seed + 2)
    command = f"reverie export {workspace.run}"
    figures = figures_of(machine, data, data.whitening(test.to(device)), table=config.evaluate,
                         command=command)  # fmt: skip
    folder = workspace.run / RESULT
    folder.mkdir(exist_ok=True)
    _keep(folder, machine, data, seed=config.seed)
    facts = provenance(
        config, workspace, steps=int(checkpoint["step"]), seconds=float(checkpoint["seconds"])
    )
    (folder / "card.md").write_text(_card(config, machine, data, figures, facts), "utf-8")
    console = Console(stderr=True)
    for figure in figures:
        console.print(f"{figure.name}: {number(figure.value)} nats")
    return folder


def evaluate(package: Path, config: GaussianConfig, quick: bool, device: str) -> Sequence[Quality]:  # noqa: ARG001
    """It is no package, and has no figures of one.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{config.name} is no package: `reverie export RUN` tells its figures again")


def _data(config: GaussianConfig, workspace: Workspace) -> GaussianData:
    """Whitened rows; the whitening is that of the training rows."""
    seen, held_out = split_holdout(load(config.data, "train"), config.data.holdout, config.seed)
    table = config.patches
    rows = cut(seen, table, count=table.count, seed=config.seed)
    others = cut(held_out, table, count=TEST_ROWS, seed=config.seed + 1)
    whitening = Whitening.of(rows, table)
    return GaussianData(
        rows=whitening(rows).to(workspace.device),
        held_out=whitening(others).to(workspace.device),
        whitening=whitening,
        shape=shape_of(seen, table),
    )


def _keep(folder: Path, machine: GaussianRbm, data: GaussianData, *, seed: int) -> None:
    """weights.safetensors, preview.png (fresh samples), filters.png."""
    whitening = data.whitening
    named = {"weight": machine.W, "visible_bias": machine.b, "hidden_bias": machine.c}
    named |= {"log_variance": machine.z, "mean": whitening.mean, "whitening": whitening.forward}
    save_file(
        {name: tensor.cpu().contiguous() for name, tensor in named.items()},
        folder / "weights.safetensors",
    )
    generator = torch.Generator(machine.b.device).manual_seed(seed)
    h = machine.c.new_zeros(SHEET_SIDE**2, len(machine.c))
    v, _ = run_chains(machine, h, sweeps=SAMPLE_SWEEPS, generator=generator)
    pictures = {"preview": whitening.undone(v), "filters": filters_of(machine, whitening)}
    for name, rows in pictures.items():
        (folder / f"{name}.png").write_bytes(png_bytes(png_sheet(rows, data.shape)))


def _card(
    config: GaussianConfig,
    machine: GaussianRbm,
    data: GaussianData,
    figures: Sequence[Quality],
    facts: Mapping[str, Any],
) -> str:
    table = config.train
    phases = "; ".join(
        f"{p.epochs} epochs with batches of {p.batch}, {p.chains} chains and {p.sweeps} sweeps"
        for p in table.phases
    )
    size = f"{len(machine.b)}-{len(machine.c)}"
    return write_card(
        ModelCard(
            title=f"{config.name} {config.version}",
            summary=f"A restricted Boltzmann machine with Gaussian visible units, {size}, on "
            f"{config.data.title}: {'×'.join(map(str, data.shape[1:]))} grey values, whitened.",
            uses=("Features, densities and samples of real-valued data, offline.",),
            limits=("It is not served: its sweeps add real numbers, whose sums depend on order.",),
            training_data=f"{len(data.rows):,} rows of {config.data.title}, whitened by their own "
            f"mean and covariance; {config.data.holdout:,} images held out for monitoring.",
            training=f"{'PCD' if table.chains == 'persistent' else 'CD'}: {phases}. Learning rate "
            f"{table.learning_rate:g} to {table.final_learning_rate:g}; variance "
            f"{config.model.variance}; {duration(facts['training_seconds'])}.",
            quality=figures,
            pictures=[
                Picture("preview.png", f"Samples after {SAMPLE_SWEEPS:,} sweeps, none chosen."),
                Picture("filters.png", "What each of the first hidden units adds to the pixels."),
            ],
            provenance=facts,
            notes={},
        )
    )


RECIPE = Recipe(config=GaussianConfig, train=train, export=export, evaluate=evaluate)
