"""The reader: which class an image shows, from what a hole leaves of it.

images, bent a little ──random masks──► what is seen ──► reader ──cross-entropy──► the true class

A generator that takes labels must be told one before it can fill a hole. The reader shares nothing
with the rest of the encoder and learns in a stage of its own, for it takes far more images: with
the centre of a digit removed, whether the filled image still shows it is decided here.
"""

from __future__ import annotations

import time

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.bend import bent
from training.bodies import reader_body
from training.gan import Examples, Stop, batch_rows, never
from training.judge import JudgeTraining
from training.learner import Learner
from training.masks import random_masks
from training.networks import fast, seeded, visible
from training.run import Interrupted, Run, check_finite
from training.shapes import Shape


class ReaderTraining(JudgeTraining):
    """The `[reader]` table of a GAN's recipe; without labels, there is no reader."""

    epochs: int = Field(20, ge=1, description="Passes over the images.")
    batch: int = Field(256, ge=2, description="Images a step.")
    centre: float = Field(
        0.5, ge=0, le=1, description="Share of the masks that are the central square."
    )
    bend: bool = Field(default=False, description="Turn, stretch and bend images: for digits.")
    log_every: int = Field(100, ge=1, description="Steps between two lines of the log.")
    save_every: int = Field(500, ge=1, description="Steps between two checkpoints.")

    def steps(self, images: int) -> int:
        """Of AdamW, for so many images."""
        return self.epochs * max(images // self.batch, 1)


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

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: the loss is not finite.
    """
    reader = seeded(lambda: fast(reader_body(shape)), seed=seed + 5).to(data.images.device)
    learner = Learner(
        "reader",
        reader,
        optimizer=torch.optim.AdamW(reader.parameters(), weight_decay=config.weight_decay),
        noise=torch.Generator().manual_seed(seed + 6),
    )
    done, total = learner.restore(run.load()), config.steps(len(data.images))
    began = time.monotonic() - learner.seconds
    with run.progress("reader", total=total, done=done) as line:
        for step in range(done + 1, total + 1):
            rows = batch_rows(len(data.images), batch=config.batch, step=step, seed=seed)
            learner.optimizer.param_groups[0]["lr"] = config.rate((step - 1) / total)
            loss = _step(learner, data.take(rows), config=config, step=step)
            line.advance(images=config.batch, loss=loss)
            if step % config.log_every == 0:
                run.record(step, reader__loss=loss)
            learner.seconds = time.monotonic() - began
            stopping = stop() and step < total
            if stopping or step % config.save_every == 0 or step == total:
                run.save(step, learner.state())
            if stopping:
                raise Interrupted(f"stopped at step {step:,} of {total:,} of the reader")
    return reader.eval().requires_grad_(False)


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
