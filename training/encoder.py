"""The encoder: from an image, or what is known of it, to the code that the generator makes it from.

real x, random masks ──► E(x, mask) ──► G ──► image and feature loss ─┐
z ──► G(z), no mask  ──► E          ──────► latent regression ────────┴► a step of Adam

The generator and the discriminator stay as they are. `izi_f` is f-AnoGAN's recipe and its anomaly
score (Schlegl et al. 2019, §2.2–2.3); the masks make the same network the start of inpainting.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from training.config import Table
from training.export import fold_batch_norm
from training.gan import Examples, Stop, batch_rows, cosine, never
from training.learner import Learner
from training.masks import random_masks
from training.networks import Discriminator, Encoder, Shape, fast, seeded
from training.run import Interrupted, Run, check_finite

Images = Float[Tensor, "n c h w"]
Scalar = Float[Tensor, ""]


class EncoderChoices(Table):
    """Choices of `[encoder]` that are left out of a run's record where they are not made."""

    width: int = Field(
        0, ge=0, le=512, description="Channels at half the resolution; 0: those of the players."
    )
    centre: float = Field(
        0.0, ge=0, le=1, description="Share of the masks that are the central square."
    )


class EncoderTraining(EncoderChoices):
    """The `[encoder]` table of a GAN's recipe."""

    steps: int = Field(3000, ge=1, description="Steps of Adam.")
    batch: int = Field(64, ge=2, description="Real images a step; half as many codes.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's, at the start.")
    kappa: float = Field(10.0, ge=0, description="Weight κ of the features, here and in izi_f.")
    known: float = Field(1.0, ge=0, description="Extra weight of the pixels outside the hole.")
    latent: float = Field(0.05, ge=0, description="Weight of the latent regression.")
    log_every: int = Field(100, ge=1, description="Steps between two lines of the log.")
    save_every: int = Field(500, ge=1, description="Steps between two checkpoints.")

    def shape(self, players: Shape) -> Shape:
        """The encoder's sizes, for these players."""
        return replace(players, width=self.width or players.width)


@dataclass(frozen=True)
class Frozen:
    """The trained players; the encoder learns to serve them."""

    generator: nn.Module
    discriminator: Discriminator
    latent: int


class IziF(nn.Module):
    """x ↦ (score [n], heatmap): izi_f and the absolute error of every pixel.

    A(x) = ‖x − G(E(x))‖²/n_pixels + κ‖f(x) − f(G(E(x)))‖²/n_features, f the discriminator's last
    feature map. Higher is more anomalous. Schlegl et al. (2019), eq. 4.
    """

    def __init__(
        self, *, generator: nn.Module, encoder: Encoder, discriminator: Discriminator, kappa: float
    ) -> None:
        super().__init__()
        self.generator, self.encoder = generator, encoder
        self.discriminator, self.kappa = discriminator, kappa

    def forward(self, x: Images) -> tuple[Float[Tensor, " n"], Images]:
        """The score of each image in [0, 1], and where it deviates."""
        made = self.generator(*self.encoder.understand(x, x[:, :1] * 0.0))
        error = x - made
        features = self.discriminator.features(x) - self.discriminator.features(made)
        izi = (error * error).mean((1, 2, 3))
        izi_f = izi + self.kappa * (features * features).mean((1, 2, 3))
        return izi_f, error.abs()


class Encode(nn.Module):
    """x ↦ z[, label]: the encoder where nothing is missing."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, x: Images
    ) -> Float[Tensor, "n latent"] | tuple[Float[Tensor, "n latent"], Int[Tensor, " n"]]:
        """The code of each image in [0, 1], and its class if the generator has to be told."""
        z, label = self.encoder.understand(x, x[:, :1] * 0.0)
        return z if label is None else (z, label)


def train_encoder(
    data: Examples,
    *,
    frozen: Frozen,
    shape: Shape,
    config: EncoderTraining,
    seed: int,
    run: Run,
    stop: Stop = never,
) -> Encoder:
    """Train, or go on with, an encoder for a trained GAN.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: the loss is not finite.
    """
    encoder = seeded(lambda: fast(Encoder(config.shape(shape))), seed=seed + 3)
    encoder = encoder.to(data.images.device)
    learner = Learner(
        "encoder",
        encoder,
        optimizer=torch.optim.Adam(encoder.parameters()),
        noise=torch.Generator().manual_seed(seed + 4),
    )
    done = learner.restore(run.load())
    frozen = replace(
        frozen, generator=fast(frozen.generator), discriminator=fast(frozen.discriminator)
    )
    began = time.monotonic() - learner.seconds
    with run.progress("encoder", total=config.steps, done=done) as line:
        for step in range(done + 1, config.steps + 1):
            rows = batch_rows(len(data.images), batch=config.batch, step=step, seed=seed)
            losses = _encoder_step(learner, frozen, data.take(rows), config=config, step=step)
            line.advance(images=config.batch, loss=sum(losses.values()))
            if step % config.log_every == 0:
                run.record(step, **{f"encoder__{name}": value for name, value in losses.items()})
            learner.seconds = time.monotonic() - began
            stopping = stop() and step < config.steps
            if stopping or step % config.save_every == 0 or step == config.steps:
                run.save(step, learner.state())
            if stopping:
                raise Interrupted(f"stopped at step {step:,} of {config.steps:,} of the encoder")
    return encoder.eval().requires_grad_(False)


def _encoder_step(
    learner: Learner[Encoder], frozen: Frozen, real: Examples, *, config: EncoderTraining, step: int
) -> dict[str, float]:
    """One step of Adam on fresh masks and codes."""
    rate = config.learning_rate * cosine(step / config.steps, last=0.02)
    learner.optimizer.param_groups[0]["lr"] = rate
    device, n = real.images.device, len(real.images)
    masks = random_masks(
        n, side=real.images.shape[-1], generator=learner.noise, centre=config.centre
    )
    z = torch.randn(config.batch // 2, frozen.latent, generator=learner.noise)
    losses = encoder_losses(
        learner.network, frozen, real, masks=masks.to(device), z=z.to(device), config=config
    )
    total = torch.stack(list(losses.values())).sum()
    learner.optimizer.zero_grad()
    torch.autograd.backward([total])
    learner.optimizer.step()
    check_finite("the encoder's loss", total.detach(), step=step)
    return {name: float(value.detach()) for name, value in losses.items()}


def encoder_losses(
    encoder: Encoder,
    frozen: Frozen,
    real: Examples,
    *,
    masks: Float[Tensor, "n 1 h w"],
    z: Float[Tensor, "m latent"],
    config: EncoderTraining,
) -> dict[str, Scalar]:
    """Each a mean over rows and over pixels, features or latents.

    image: ‖x − x̂‖² + w‖(1 − mask)(x − x̂)‖²; feature: κ‖f(x) − f(x̂)‖²; latent: ‖E(G(z)) − z‖².
    A labelled generator is told the true class of x.
    """
    images, labels = real.images, None if encoder.reader is None else real.labels
    made = frozen.generator(encoder(images, masks), labels)
    error = (images - made).square()
    some = None if labels is None else labels[: len(z)]
    with torch.no_grad():
        target = frozen.discriminator.features(images)
        generated = frozen.generator(z, some)
    features = (frozen.discriminator.features(made) - target).square()
    back = encoder(generated, torch.zeros_like(generated[:, :1]))
    return {
        "image": error.mean() + config.known * ((1.0 - masks) * error).mean(),
        "feature": config.kappa * features.mean(),
        "latent": config.latent * (back - z).square().mean(),
    }


def restore_encoder(
    state: dict[str, Any], shape: Shape, *, reader: nn.Sequential | None
) -> Encoder:
    """The encoder in a checkpoint with the trained reader, ready for use and export."""
    encoder = Encoder(shape)
    encoder.load_state_dict(state["encoder"])
    if encoder.reader is not None:
        assert reader is not None, "a labelled generator's encoder has a reader"
        encoder.reader = reader
    folded = fold_batch_norm(encoder)
    assert isinstance(folded, Encoder)
    return folded
