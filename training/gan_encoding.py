"""What is trained once the players are done: the encoder, and the reader where there are labels.

runs/<name>/checkpoints ──► Frozen ──train_encoder──► runs/<name>/encoder ─┐
training images and labels ──train_reader──► runs/<name>/reader ───────────┴─encoding──► Encoder
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from service.contract import PackageError, sha256_of
from training.config import Workspace
from training.encoder import Frozen, restore_encoder, train_encoder
from training.gan import Examples, Stop
from training.gan_config import GanConfig
from training.gan_export import without_batch_norm
from training.networks import Discriminator, Encoder, Generator, unbound
from training.reader import restore_reader, train_reader
from training.run import Run, RunConflict, newest_checkpoint
from training.shapes import Critic, Shape


@dataclass(frozen=True)
class Encoding:
    """A trained encoder, its reader within, and what both cost."""

    encoder: Encoder
    seconds: float


def train_encoding(
    config: GanConfig, workspace: Workspace, *, data: Examples, shape: Shape, stop: Stop
) -> None:
    """Train the encoder of the chosen generator and its reader, or go on with them.

    A run for another generator, or of another `[encoder]` or `[reader]` table, is begun again.
    """
    state = newest_checkpoint(workspace.run)
    assert state is not None, "the players have just been trained"
    frozen = frozen_players(state, shape, config.train.critic(), device=workspace.device)
    part = config.encoder_part() | {"generator": _digest(state["best"]["average"])}
    run = _run(workspace.run / "encoder", part)
    try:
        train_encoder(
            data,
            frozen=frozen,
            shape=shape,
            config=config.encoder,
            seed=config.seed,
            run=run,
            stop=stop,
        )
    finally:
        run.close()
    if shape.labelled:
        _train_reader(config, workspace, data=data, shape=shape, stop=stop)


def _train_reader(
    config: GanConfig, workspace: Workspace, *, data: Examples, shape: Shape, stop: Stop
) -> None:
    run = _run(workspace.run / "reader", config.reader_part())
    try:
        train_reader(data, shape=shape, config=config.reader, seed=config.seed, run=run, stop=stop)
    finally:
        run.close()


def encoding(config: GanConfig, workspace: Workspace, *, shape: Shape) -> Encoding:
    """The encoder of a finished run.

    Raises:
        PackageError: it, or its reader, has no checkpoint yet.
    """
    labelled = shape.labelled
    names = ("encoder", "reader") if labelled else ("encoder",)
    states: dict[str, dict[str, Any]] = {}
    for name in names:
        state = newest_checkpoint(workspace.run / name)
        if state is None:
            raise PackageError(f"{workspace.run} has no {name} yet: finish with --resume")
        states[name] = state
    reader = restore_reader(states["reader"], shape, config.reader) if labelled else None
    return Encoding(
        encoder=restore_encoder(states["encoder"], config.encoder.shape(shape), reader=reader),
        seconds=sum(float(state["seconds"]) for state in states.values()),
    )


def frozen_players(state: dict[str, Any], shape: Shape, critic: Critic, *, device: str) -> Frozen:
    """The generator that was kept, without batch norm, and the discriminator as it is."""
    generator, discriminator = Generator(shape), Discriminator(shape, critic)
    generator.load_state_dict(state["best"]["average"])
    discriminator.load_state_dict(state["discriminator"])
    return Frozen(
        generator=without_batch_norm(generator).to(device),
        discriminator=unbound(discriminator).requires_grad_(False).to(device),
        latent=shape.latent,
    )


def _run(folder: Path, part: dict[str, object]) -> Run:
    """The run in `folder`, or a new one where that was made from something else."""
    try:
        return Run(folder, resume=True, config=part)
    except RunConflict:
        Run.erase(folder)
        return Run(folder, resume=True, config=part)


def _digest(weights: dict[str, Tensor]) -> str:
    return sha256_of(b"".join(w.contiguous().numpy().tobytes() for w in weights.values()))
