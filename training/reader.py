"""The reader: which class an image shows, from what a hole leaves of it.

images, bent a little ──random masks──► what is seen ──► reader ──cross-entropy──► the true class

A generator that takes labels must be told one before it can fill a hole. The reader shares nothing
with the rest of the encoder and learns in a stage of its own, for it takes far more images: with
the centre of a digit removed, whether the filled image still shows it is decided here.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.bend import bent
from training.bodies import ReaderKind, reader_body
from training.config import Table
from training.gan import Examples, Stop, batch_rows, never
from training.judge import JudgeTraining
from training.learner import Learner
from training.masks import random_masks
from training.networks import fast, seeded, visible
from training.players import follow
from training.run import Interrupted, Run, check_finite
from training.shapes import Shape


class ReaderChoices(Table):
    """Choices of `[reader]` that are left out of a run's record where they are not made."""

    body: ReaderKind = Field(
        "strides", description="Its layers: strides, or patches; see training/bodies.py."
    )
    average_epochs: int = Field(
        0,
        ge=0,
        description="Passes after `epochs`, not bent, over which the weights are averaged.",
    )
    average_rate: float = Field(0.001, gt=0, description="AdamW's meanwhile; it stays the same.")


class ReaderTraining(ReaderChoices, JudgeTraining):
    """The `[reader]` table of a GAN's recipe; without labels, there is no reader."""

    epochs: int = Field(20, ge=1, description="Passes over the images.")
    batch: int = Field(256, ge=2, description="Images a step.")
    centre: float = Field(
        0.5, ge=0, le=1, description="Share of the masks that are the central square."
    )
    bend: bool = Field(default=False, description="Turn, stretch and bend images: for digits.")
    log_every: int = Field(100, ge=1, description="Steps between two lines of the log.")
    save_every: int = Field(500, ge=1, description="Steps between two checkpoints.")

    def steps(self, images: int, *, epochs: int) -> int:
        """Of AdamW, for so many images."""
        return epochs * max(images // self.batch, 1)


def train_reader(
    data: Examples,
    *,
    shape: Shape,
    config: ReaderTraining,
    seed: int,
    run: Run,
    stop: Stop = never,
) -> nn.Sequential:
    """Train, or go on with, a reader of images [n, C, side, side] in [0, 1] and their labels.

    After the cycle of the rate may come epochs at a small one, of images that are not bent: what
    is read are such. The mean of their weights, and of batch norm's statistics, is the reader
    (Izmailov et al. 2018, stochastic weight averaging).

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: the loss is not finite.
    """
    reader = seeded(lambda: fast(reader_body(shape, config.body)), seed=seed + 5)
    reader = reader.to(data.images.device)
    learner = Learner(
        "reader",
        reader,
        optimizer=torch.optim.AdamW(reader.parameters(), weight_decay=config.weight_decay),
        noise=torch.Generator().manual_seed(seed + 6),
    )
    kept, n = run.load(), len(data.images)
    done, mean = learner.restore(kept), copy.deepcopy(reader)
    mean.load_state_dict(_weights(kept) if kept else reader.state_dict())
    cycle = config.steps(n, epochs=config.epochs)
    total = cycle + config.steps(n, epochs=config.average_epochs)
    began = time.monotonic() - learner.seconds
    with run.progress("reader", total=total, done=done) as line:
        for step in range(done + 1, total + 1):
            rows = batch_rows(n, batch=config.batch, step=step, seed=seed)
            rate = config.rate((step - 1) / cycle) if step <= cycle else config.average_rate
            learner.optimizer.param_groups[0]["lr"] = rate
            how = config if step <= cycle else config.model_copy(update={"bend": False})
            loss = _step(learner, data.take(rows), config=how, step=step)
            follow(mean, reader, decay=1.0 - 1.0 / max(step - cycle, 1))
            line.advance(images=config.batch, loss=loss)
            if step % config.log_every == 0:
                run.record(step, reader__loss=loss)
            learner.seconds = time.monotonic() - began
            stopping = stop() and step < total
            if stopping or step % config.save_every == 0 or step == total:
                run.save(step, learner.state() | {"mean": mean.state_dict()})
            if stopping:
                raise Interrupted(f"stopped at step {step:,} of {total:,} of the reader")
    return mean.eval().requires_grad_(False)


def restore_reader(state: dict[str, Any], shape: Shape, config: ReaderTraining) -> nn.Sequential:
    """The reader in a checkpoint."""
    reader = reader_body(shape, config.body)
    reader.load_state_dict(_weights(state))
    return reader


def _weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """Those that are published: the mean; checkpoints from before there was one have none."""
    weights: dict[str, Tensor] = state.get("mean", state["reader"])
    return weights


def _step(
    learner: Learner[nn.Sequential], real: Examples, *, config: ReaderTraining, step: int
) -> float:
    """One step of AdamW on fresh masks; returns the loss."""
    loss = reading_loss(learner.network, real, config=config, noise=learner.noise)
    learner.optimizer.zero_grad()
    torch.autograd.backward([loss])
    learner.optimizer.step()
    found = float(loss.detach())
    check_finite("the reader's loss", found, step=step)
    return found


def reading_loss(
    reader: nn.Sequential, real: Examples, *, config: ReaderTraining, noise: torch.Generator
) -> Float[Tensor, ""]:
    """Cross-entropy on images of which masks hide a part, in nats."""
    assert real.labels is not None, "a labelled generator has labelled images"
    images, n = real.images, len(real.images)
    if config.bend:
        images = bent(images, generator=noise)
    if config.flip:
        mirrored = (torch.rand(n, 1, 1, 1, generator=noise) < 0.5).to(images.device)
        images = torch.where(mirrored, images.flip(3), images)
    masks = random_masks(n, side=images.shape[-1], generator=noise, centre=config.centre)
    seen = visible(images, masks.to(images.device))
    lower = config.precision == "bfloat16"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=lower):
        logits = reader(seen.contiguous(memory_format=torch.channels_last)).flatten(1)
    return cross_entropy(logits.float(), real.labels, label_smoothing=config.label_smoothing)
