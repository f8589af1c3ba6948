"""The recipe of a machine with Gaussian visible units: train, evaluate, keep.

images ──cut──┐
table ──rows──┴─whiten──► train_gaussian ──► averaged machine ──► figures, pictures, card
                                                           └──► runs/<name>/machine/

It is no package: sums of real numbers depend on their order, so that its sweeps would not be the
same bytes on every device, which is what a package's chains promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor

from service.contract import Quality
from training.card import ModelCard, Picture, duration, number, write_card
from training.config import ConfigError, Recipe, Workspace
from training.data import load, split_holdout
from training.gaussian import GaussianRbm
from training.gaussian_config import GaussianConfig
from training.gaussian_data import Whitening, cut, shape_of
from training.gaussian_evaluation import figures_of
from training.gaussian_learning import GaussianLearner, run_chains
from training.gaussian_pictures import SHEET_SIDE, columns_png, filters_of, png_sheet
from training.gaussian_table import table_rows
from training.gaussian_training import GaussianData, train_gaussian
from training.provenance import provenance
from training.recipe_data import opened_run
from training.run import newest_checkpoint
from training.sheets import png_bytes
from training.tabular.table import TableConfig

RESULT = "machine"
SAMPLE_SWEEPS = 1000
TEST_ROWS = 10_000
TABLE_SAMPLES = 2000


def train(config: GaussianConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate; returns the folder of the result."""
    data = _data(config, workspace)
    with opened_run(workspace, config.trained_part()) as (run, stop):
        train_gaussian(
            data, model=config.model, train=config.train, seed=config.seed, run=run, stop=stop
        )
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
    test = _test_rows(config).to(device)
    command = f"reverie export {workspace.run}"
    figures = figures_of(machine, data, data.whitening(test), table=config.evaluate,
                         command=command)  # fmt: skip
    folder = workspace.run / RESULT
    folder.mkdir(exist_ok=True)
    _keep(folder, machine, data, test, seed=config.seed)
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
    table, source = config.patches, config.data
    columns: tuple[str, ...] = ()
    shape: tuple[int, int, int] | None = None
    if isinstance(source, TableConfig):
        split = table_rows(source, seed=config.seed)
        rows, others, columns = split.train, split.held_out, split.names
    else:
        seen, held_out = split_holdout(load(source, "train"), source.holdout, config.seed)
        rows = cut(seen, table, count=table.count, seed=config.seed)
        others = cut(held_out, table, count=TEST_ROWS, seed=config.seed + 1)
        shape = shape_of(seen, table)
    whitening = Whitening.of(rows, table, scaled=bool(columns)).to(workspace.device)
    return GaussianData(
        rows=whitening(rows.to(workspace.device)),
        held_out=whitening(others.to(workspace.device)),
        whitening=whitening,
        shape=shape,
        columns=columns,
    )


def _test_rows(config: GaussianConfig) -> Float[Tensor, "n visible"]:
    """Rows of the test split as they are, not whitened."""
    if isinstance(config.data, TableConfig):
        return table_rows(config.data, seed=config.seed).test
    test = load(config.data, "test")
    return cut(test, config.patches, count=TEST_ROWS, seed=config.seed + 2)


def _keep(
    folder: Path,
    machine: GaussianRbm,
    data: GaussianData,
    test: Float[Tensor, "n visible"],
    *,
    seed: int,
) -> None:
    """weights.safetensors, preview.png (fresh samples), and of images filters.png."""
    whitening = data.whitening
    named = {"weight": machine.W, "visible_bias": machine.b, "hidden_bias": machine.c}
    named |= {"log_variance": machine.z, "mean": whitening.mean, "whitening": whitening.forward}
    save_file(
        {name: tensor.cpu().contiguous() for name, tensor in named.items()},
        folder / "weights.safetensors",
    )
    generator = torch.Generator(machine.b.device).manual_seed(seed)
    chains = TABLE_SAMPLES if data.shape is None else SHEET_SIDE**2
    h = machine.c.new_zeros(chains, len(machine.c))
    v, _ = run_chains(machine, h, sweeps=SAMPLE_SWEEPS, generator=generator)
    made = whitening.undone(v)
    if data.shape is None:
        pictures = {"preview": columns_png(data.columns, real=test, made=made)}
    else:
        rows = {"preview": made, "filters": filters_of(machine, whitening)}
        pictures = {name: png_bytes(png_sheet(x, data.shape)) for name, x in rows.items()}
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)


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
            f"{config.data.title}: {_units(data)}, whitened.",
            uses=("Features, densities and samples of real-valued data, offline.",),
            limits=("It is not served: its sweeps add real numbers, whose sums depend on order.",),
            training_data=f"{len(data.rows):,} rows of {config.data.title}, whitened by their own "
            f"mean and covariance; {config.data.holdout:g} {_held_out(data)} held out for "
            "monitoring.",
            training=f"{'PCD' if table.chains == 'persistent' else 'CD'}: {phases}. Learning rate "
            f"{table.learning_rate:g} to {table.final_learning_rate:g}; variance "
            f"{config.model.variance}; {duration(facts['training_seconds'])}.",
            quality=figures,
            pictures=_pictures(data),
            provenance=facts,
            notes={},
        )
    )


def _units(data: GaussianData) -> str:
    if data.shape is None:
        return f"the numeric columns {', '.join(data.columns)}"
    return f"{'×'.join(map(str, data.shape[1:]))} grey values"


def _held_out(data: GaussianData) -> str:
    return "of a table's rows" if data.shape is None else "images"


def _pictures(data: GaussianData) -> list[Picture]:
    if data.shape is None:
        words = (
            f"{TABLE_SAMPLES:,} samples after {SAMPLE_SWEEPS:,} sweeps (orange), test rows (grey)"
        )
        return [Picture("preview.png", f"Shares by column: {words}.")]
    return [
        Picture("preview.png", f"Samples after {SAMPLE_SWEEPS:,} sweeps, none chosen."),
        Picture("filters.png", "What each of the first hidden units adds to the pixels."),
    ]


RECIPE = Recipe(config=GaussianConfig, train=train, export=export, evaluate=evaluate)
