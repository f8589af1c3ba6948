"""The recipe of a GAN: train, encode, export, check, calibrate, evaluate, publish.

[data] ──► train_gan ──► best average ──► train_encoding ──► graphs ──parity──► draft package
draft package ──► figures, pictures, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from service.contract import PackageError, Quality
from training.config import ConfigError, Recipe, Workspace
from training.data import Dataset, load
from training.export import in_halves
from training.gan import Examples, Figures, Judgement, train_gan
from training.gan_card import Trained
from training.gan_config import GanConfig
from training.gan_encoding import encoding, frozen_players, train_encoding
from training.gan_evaluation import EvaluationData, package_figures
from training.gan_export import publish_gan
from training.instruments import Instruments
from training.networks import Generator
from training.package import Package
from training.players import UnfitPlayers
from training.run import Run, newest_checkpoint, stop_on_signals
from training.shapes import Shape
from training.sheets import png_bytes, sheet

M = TypeVar("M", bound=nn.Module)
JUDGED_SAMPLES = 5000
JUDGEMENT_SEED = 99


@dataclass(frozen=True)
class _Splits:
    """Disjoint parts of the training set."""

    train: Dataset
    selection: Dataset
    calibration: Dataset


def train(config: GanConfig, workspace: Workspace) -> Path:
    """Train, or go on, then evaluate and publish; returns the package's folder."""
    splits = _splits(config)
    shape = _shape(config, splits)
    images = torch.from_numpy(splits.train.images).to(workspace.device)
    data = Examples(images, _labels(config, splits, device=workspace.device))
    with stop_on_signals() as stop:
        run = Run(workspace.run, resume=workspace.resume, config=config.trained_part())
        try:
            train_gan(
                data,
                shape=shape,
                config=config.train,
                seed=config.seed,
                run=run,
                judge=judgement(splits, run=run),
                stop=stop,
                start=_start(config, workspace),
            )
        except UnfitPlayers as error:
            raise ConfigError(str(error)) from error
        finally:
            run.close()
        train_encoding(config, workspace, data=data, shape=shape, stop=stop)
    return export(config, workspace)


def export(config: GanConfig, workspace: Workspace) -> Path:
    """Export, check, evaluate and publish the newest checkpoints.

    Raises:
        PackageError: there is no checkpoint of the players or of the encoder.
        ExportError: a graph disagrees with its module.
    """
    splits = _splits(config)
    trained = _trained(config, workspace, splits)
    console = Console(stderr=True)
    console.print("exporting a draft")
    draft = Package(publish_gan(workspace.run / "draft", config, workspace, trained, figures=()))
    console.print("evaluating the exported graphs")
    figures = package_figures(
        draft,
        _evaluation_data(config, splits),
        table=config.evaluate,
        steps=config.inpaint.steps,
        command=f"reverie evaluate {config.name}@{config.version}",
    )
    return publish_gan(workspace.store, config, workspace, trained, figures=figures, draft=draft)


def evaluate(package: Path, config: GanConfig, quick: bool, device: str) -> Sequence[Quality]:  # noqa: ARG001
    """A package's figures again, from its files; ONNX Runtime on the CPU, as it is served."""
    opened = Package(package)
    table = config.evaluate.quick() if quick else config.evaluate
    command = f"reverie evaluate {opened.manifest.id}" + (" --quick" if quick else "")
    steps = opened.manifest.defaults.inpaint_steps or 0
    data = _evaluation_data(config, _splits(config))
    return package_figures(opened, data, table=table, steps=steps, command=command)


def judgement(splits: _Splits, *, run: Run) -> Judgement:
    """How a generator is judged on the way: the instruments on held-out images, and a sheet."""
    held_out, data = splits.selection.images, splits.train.name
    instruments = Instruments.of(data, held_out=held_out, train=splits.train.images)
    n = min(JUDGED_SAMPLES, len(held_out))

    def judge(generator: Generator, step: int) -> Figures:
        asked = np.arange(n) % max(generator.classes, 1)
        made = _samples(generator, asked)
        seen = instruments.eye.look(made)
        figures = instruments.read(made, seen)
        if seen.classes is not None:
            if generator.labelled:
                figures["judge__read_as_asked"] = float((seen.classes == asked).mean())
            run.histogram("classes", torch.from_numpy(seen.classes), step)
        for name, images in (
            ("samples", made[:100]),
            ("neighbours", instruments.beside_nearest(made[:10])),
        ):
            shown = sheet(images, columns=10)
            run.sheet(name, png_bytes(shown), shown, step)
        return figures

    return judge


@torch.no_grad()
def _samples(
    generator: Generator, asked: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The same draws at every judgement, so that sheets show one latent growing up."""
    noise = torch.Generator().manual_seed(JUDGEMENT_SEED)
    z = torch.randn(len(asked), generator.latent, generator=noise)
    device = next(generator.parameters()).device
    labels = torch.from_numpy(asked)
    parts: list[Tensor] = [
        generator(part.to(device), label.to(device)).cpu()
        for part, label in zip(torch.split(z, 500), torch.split(labels, 500), strict=True)
    ]
    return torch.cat(parts).numpy()


def _trained(config: GanConfig, workspace: Workspace, splits: _Splits) -> Trained:
    players = newest_checkpoint(workspace.run)
    if players is None or not players["best"]:
        raise PackageError(f"{workspace.run} has no generator to export yet: train first")
    shape = _shape(config, splits)
    understood = encoding(config, workspace, shape=shape)
    frozen = frozen_players(players, shape, config.train.critic(), device="cpu")
    return Trained(
        generator=_as_kept(frozen.generator, config),
        discriminator=_as_kept(frozen.discriminator, config),
        encoder=_as_kept(understood.encoder, config),
        shape=shape,
        steps=int(players["step"]),
        best_step=int(players["best"]["step"]),
        origin=players.get("origin", {}),
        seconds=float(players["seconds"]) + understood.seconds,
        train=splits.train,
        calibration=splits.calibration,
    )


def _as_kept(network: M, config: GanConfig) -> M:
    """With the weights that are published: every figure is of these."""
    return in_halves(network) if config.export.weights == "float16" else network


def _start(config: GanConfig, workspace: Workspace) -> tuple[str, dict[str, Any]] | None:
    """The players to begin with, if the recipe names a run that has some."""
    if not config.start:
        return None
    folder = workspace.run.parent / config.start
    state = newest_checkpoint(folder)
    if state is None:
        raise ConfigError(
            f"start={config.start!r} is no run with a checkpoint: train it first, or set "
            "start to '' to begin with fresh players"
        )
    recorded = json.loads((folder / "config.json").read_text("utf-8"))
    mine = config.trained_part()
    if any(recorded[key] != mine[key] for key in ("seed", "data")):
        raise ConfigError(
            f"start={config.start!r} was trained with another seed or other [data]: it may have "
            "seen what is held out here; use its own"
        )
    return config.start, state


def _labels(config: GanConfig, splits: _Splits, *, device: str) -> Tensor | None:
    """The training images' labels, if the players are to know them."""
    if not config.model.classes:
        return None
    labels = splits.train.labels
    if labels is None or not 0 <= labels.min() <= labels.max() < config.model.classes:
        raise ConfigError(
            f"model.classes={config.model.classes} wants labels below it, which "
            f"{splits.train.name} does not have: set it to 0 to learn without labels"
        )
    return torch.from_numpy(labels).to(device)


def _splits(config: GanConfig) -> _Splits:
    """Selection, calibration and training rows, in this order of one seeded permutation."""
    whole = load(config.data, "train")
    held = config.data.holdout
    if held >= len(whole):
        raise ConfigError(f"data.holdout={held} leaves none of {len(whole):,} images to train on")
    order = np.random.default_rng(config.seed).permutation(len(whole))
    return _Splits(
        train=whole.take(order[held:]),
        selection=whole.take(order[: held // 2]),
        calibration=whole.take(order[held // 2 : held]),
    )


def _evaluation_data(config: GanConfig, splits: _Splits) -> EvaluationData:
    return EvaluationData(
        train=splits.train, held_out=splits.calibration, test=load(config.data, "test")
    )


def _shape(config: GanConfig, splits: _Splits) -> Shape:
    try:
        return config.shape(splits.train.shape)
    except ValueError as error:
        raise ConfigError(str(error)) from error


RECIPE = Recipe(
    config=GanConfig,
    train=train,
    export=export,
    evaluate=evaluate,
    training_set=lambda config: _splits(config).train,
)
