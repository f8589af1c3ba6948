"""The recipe of a GAN: train, encode, export, check, calibrate, evaluate, publish.

[data] ──► train_gan ──► best average ──► train_encoder ──► graphs ──parity──► draft package
draft package ──► figures, pictures, card ──► models_store/<name>/<version>/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from service.contract import PackageError, Quality, sha256_of
from training.config import ConfigError, Recipe, Workspace
from training.data import Dataset, load
from training.encoder import Frozen, restore_encoder, train_encoder
from training.fidelity import class_shares, frechet_distance, kl_to_uniform
from training.gan import Examples, Figures, Judgement, Stop, train_gan
from training.gan_card import Trained
from training.gan_config import GanConfig
from training.gan_evaluation import EvaluationData, package_figures
from training.gan_export import publish_gan, without_batch_norm
from training.judge import load_judge
from training.networks import Discriminator, Generator, Shape
from training.package import Package
from training.run import Run, RunConflict, newest_checkpoint, stop_on_signals
from training.sheets import png_bytes, sheet

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
    with stop_on_signals() as stop:
        run = Run(workspace.run, resume=workspace.resume, config=config.trained_part())
        try:
            train_gan(
                Examples(images, _labels(config, splits, device=workspace.device)),
                shape=shape,
                config=config.train,
                seed=config.seed,
                run=run,
                judge=judgement(splits.selection.images, run=run),
                stop=stop,
            )
        finally:
            run.close()
        _train_encoder(config, workspace, images=images, shape=shape, stop=stop)
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


def judgement(selection: np.ndarray[Any, np.dtype[np.float32]], *, run: Run) -> Judgement:
    """How a generator is judged on the way: Fréchet distance to held-out images, classes, a sheet.

    Images of another size than the judge's are compared by their pixels instead, averaged to 7×7.
    """
    bench = load_judge() if selection.shape[1:] == (1, 28, 28) else None
    n = min(JUDGED_SAMPLES, len(selection))
    real = _features(bench, selection[:n])[0]

    def judge(generator: Generator, step: int) -> Figures:
        made = _samples(generator, n=n)
        features, classes = _features(bench, made)
        figures = {
            "judge__spread": float(made.std(0).mean()),
            "judge__frechet": frechet_distance(features, real),
        }
        if classes is not None:
            shares = class_shares(classes, n_classes=10)
            figures["judge__kl_to_uniform"] = kl_to_uniform(shares)
            figures["judge__least_class"] = float(shares.min())
            run.histogram("classes", torch.from_numpy(classes), step)
        shown = sheet(made[:100], columns=10)
        run.sheet("samples", png_bytes(shown), shown, step)
        return figures

    return judge


@torch.no_grad()
def _samples(generator: Generator, *, n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The same draws at every judgement, so that sheets show one latent growing up."""
    noise = torch.Generator().manual_seed(JUDGEMENT_SEED)
    z = torch.randn(n, generator.latent, generator=noise)
    device = next(generator.parameters()).device
    parts: list[Tensor] = [generator(part.to(device)).cpu() for part in torch.split(z, 500)]
    return torch.cat(parts).numpy()


def _features(bench: Any, images: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Any]:  # noqa: ANN401
    if bench is not None:
        verdict = bench.look(images)
        return verdict.features, verdict.classes
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(images), 7)
    return small.flatten(1).numpy(), None


def _train_encoder(
    config: GanConfig, workspace: Workspace, *, images: Tensor, shape: Shape, stop: Stop
) -> None:
    """Train the encoder of the chosen generator, or go on with it.

    A run for another generator, or of another `[encoder]` table, is begun again.
    """
    state = newest_checkpoint(workspace.run)
    assert state is not None, "the players have just been trained"
    frozen = _frozen(state, shape, device=workspace.device)
    part = config.encoder_part() | {"generator": _digest(state["best"]["average"])}
    folder = workspace.run / "encoder"
    try:
        run = Run(folder, resume=True, config=part)
    except RunConflict:
        Run.erase(folder)
        run = Run(folder, resume=True, config=part)
    try:
        train_encoder(
            images,
            frozen=frozen,
            shape=shape,
            config=config.encoder,
            seed=config.seed,
            run=run,
            stop=stop,
        )
    finally:
        run.close()


def _trained(config: GanConfig, workspace: Workspace, splits: _Splits) -> Trained:
    players = newest_checkpoint(workspace.run)
    if players is None or not players["best"]:
        raise PackageError(f"{workspace.run} has no generator to export yet: train first")
    encoder = newest_checkpoint(workspace.run / "encoder")
    if encoder is None:
        raise PackageError(f"{workspace.run} has no encoder yet: finish with --resume")
    shape = _shape(config, splits)
    frozen = _frozen(players, shape, device="cpu")
    return Trained(
        generator=frozen.generator,
        discriminator=frozen.discriminator,
        encoder=restore_encoder(encoder, shape),
        shape=shape,
        steps=int(players["step"]),
        best_step=int(players["best"]["step"]),
        seconds=float(players["seconds"]) + float(encoder["seconds"]),
        train=splits.train,
        calibration=splits.calibration,
    )


def _frozen(state: dict[str, Any], shape: Shape, *, device: str) -> Frozen:
    generator, discriminator = Generator(shape), Discriminator(shape)
    generator.load_state_dict(state["best"]["average"])
    discriminator.load_state_dict(state["discriminator"])
    discriminator.eval().requires_grad_(False)
    return Frozen(
        generator=without_batch_norm(generator).to(device),
        discriminator=discriminator.to(device),
        latent=shape.latent,
    )


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


def _digest(weights: dict[str, Tensor]) -> str:
    return sha256_of(b"".join(w.contiguous().numpy().tobytes() for w in weights.values()))


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


RECIPE = Recipe(config=GanConfig, train=train, export=export, evaluate=evaluate)
