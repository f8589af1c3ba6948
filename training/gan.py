"""Adversarial training: two players, a penalty on the discriminator, an average of the generator.

batch_rows ──► discriminator_step ──► generator_step ──► Average.follow ─┐
     └───────────────────── every so often: judge, keep best, save ◄─────┘

The default is R3GAN's recipe at small scale (Huang et al. 2024): the relativistic paired loss with
zero-centred gradient penalties on real and on generated images, Adam with β₁ = 0. All randomness
comes from one `torch.Generator`, whose state is in the checkpoint with the optimisers', so a
resumed run goes on bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from training.config import Table
from training.losses import LOSSES, input_gradient
from training.networks import Discriminator, Generator, Shape, of_class
from training.players import Players, follow
from training.run import Interrupted, Run, TrainingDiverged, check_finite

Images = Float[Tensor, "n c h w"]
Figures = dict[str, float]
# Standard deviation of a pixel between samples, averaged over pixels: digits have about 0.19. A
# network may well be blank before this many steps.
COLLAPSED_SPREAD = 0.01
COLLAPSE_AFTER = 500
Judgement = Callable[[Generator, int], Figures]
Stop = Callable[[], bool]


def never() -> bool:
    """No one asks the training to stop."""
    return False


class GanTraining(Table):
    """The `[train]` table of a GAN's recipe."""

    steps: int = Field(28_000, ge=1, description="Steps of both players.")
    batch: int = Field(64, ge=2, description="Images a step.")
    loss: Literal[
        "relativistic", "non_saturating", "minimax", "least_squares", "wasserstein", "hinge"
    ] = Field("relativistic", description="The game; see training/losses.py.")
    learning_rate: float = Field(4e-4, gt=0, description="Adam's, at the start.")
    final_rate: float = Field(0.1, gt=0, le=1, description="The last rate, as a share of it.")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's momentum; 0 for R3GAN.")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's decay of squares.")
    gamma_real: float = Field(0.5, ge=0, description="R₁'s γ at the start, for pixels in [0, 1].")
    gamma_fake: float = Field(0.5, ge=0, description="R₂'s γ at the start.")
    final_gamma: float = Field(0.1, gt=0, le=1, description="The last γ, as a share of the first.")
    penalty_every: int = Field(
        2, ge=1, description="Lazy regularisation (Karras et al. 2020): every k-th step, k-fold."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the convolutions; bfloat16 is 1.6 × faster on AVX512-BF16."
    )
    average: float = Field(0.999, ge=0, lt=1, description="Decay of the generator's average (EMA).")
    judge_every: int = Field(1000, ge=1, description="Steps between two judgements.")
    save_every: int = Field(1000, ge=1, description="Steps between two checkpoints.")
    log_every: int = Field(100, ge=1, description="Steps between two lines of the log.")


@dataclass(frozen=True)
class Examples:
    """Images in [0, 1], with their classes where the players know of any."""

    images: Images
    labels: Int[Tensor, " n"] | None = None

    def take(self, rows: Int[Tensor, " m"]) -> Examples:
        """Some rows."""
        at = rows.to(self.images.device)
        return Examples(self.images[at], None if self.labels is None else self.labels[at])

    def followed_by(self, other: Examples) -> Examples:
        """These, then the others, which have labels if these have."""
        images = torch.cat([self.images, other.images])
        if self.labels is None or other.labels is None:
            return Examples(images)
        return Examples(images, torch.cat([self.labels, other.labels]))


def train_gan(
    data: Examples,
    *,
    shape: Shape,
    config: GanTraining,
    seed: int,
    run: Run,
    judge: Judgement,
    stop: Stop = never,
) -> Players:
    """Train, or go on with, a GAN; `best` holds the generator to keep.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: a loss is not finite, or the generator has collapsed to one image.
    """
    players = Players.fresh(
        shape, betas=(config.beta1, config.beta2), seed=seed, device=data.images.device
    )
    saved = run.load()
    done = 0
    if saved is not None:
        players.restore(saved)
        done = int(saved["step"])
    began = time.monotonic() - players.seconds
    with run.progress("GAN", total=config.steps, done=done) as line:
        for step in range(done + 1, config.steps + 1):
            rows = batch_rows(len(data.images), batch=config.batch, step=step, seed=seed)
            figures = adversarial_step(players, data.take(rows), config=config, step=step)
            line.advance(images=config.batch, d=figures["loss__d"], g=figures["loss__g"])
            if step % config.log_every == 0:
                run.record(step, **figures)
            if step % config.judge_every == 0 or step == config.steps:
                judge_and_keep(players, judge=judge, step=step, run=run)
            players.seconds = time.monotonic() - began
            stopping = stop() and step < config.steps
            if stopping or step % config.save_every == 0 or step == config.steps:
                run.save(step, players.state())
            if stopping:
                raise Interrupted(f"stopped at step {step:,} of {config.steps:,}")
    return players


def adversarial_step(
    players: Players, real: Examples, *, config: GanTraining, step: int
) -> Figures:
    """One move of each player on one draw of z, and a step of the average.

    With labels, each generated image is of the class of the real one that it is paired with.
    """
    progress = step / config.steps
    for optimizer in players.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * cosine(progress, last=config.final_rate)
    z = torch.randn(len(real.images), players.generator.latent, generator=players.noise)
    if real.labels is not None:
        z = of_class(z, real.labels.cpu(), classes=players.generator.classes)
    penalised = step % config.penalty_every == 0
    strength = cosine(progress, last=config.final_gamma) * config.penalty_every * penalised
    device = real.images.device
    lower = config.precision == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=lower):
        fake = Examples(players.generator(z.to(device)).float(), real.labels)
        seen = Examples(fake.images.detach(), real.labels)
        figures = discriminator_step(players, real, seen, config=config, strength=strength)
        figures |= generator_step(players, real, fake, config=config)
    for name in ("loss__d", "loss__g"):
        check_finite(name, figures[name], step=step)
    follow(players.average, players.generator, decay=min(config.average, step / (step + 10.0)))
    return figures


def discriminator_step(
    players: Players, real: Examples, fake: Examples, *, config: GanTraining, strength: float
) -> Figures:
    """D's move: its loss, and R₁ and R₂ times `strength` where that is not 0."""
    both = real.followed_by(fake)
    both.images.requires_grad_(strength > 0)
    logits = logits_of(players.discriminator, both)
    on_real, on_fake = logits.chunk(2)
    loss = LOSSES[config.loss].discriminator(real=on_real, fake=on_fake)
    total = loss
    if strength > 0:
        # E over each half: one penalty a row, weighed by its kind, then the mean of each half.
        gradient = input_gradient(logits=logits, images=both.images)
        r1, r2 = gradient.flatten(1).square().sum(1).chunk(2)
        total = loss + 0.5 * strength * (
            config.gamma_real * r1.mean() + config.gamma_fake * r2.mean()
        )
    norm = _move(players.optimizers["discriminator"], players.discriminator, total)
    return {
        "loss__d": float(loss.detach()),
        "accuracy__pairs": float((on_real > on_fake).float().mean()),
        "gradient__d": norm,
    }


def generator_step(
    players: Players, real: Examples, fake: Examples, *, config: GanTraining
) -> Figures:
    """G's move, against the discriminator that has just moved."""
    game = LOSSES[config.loss]
    players.discriminator.requires_grad_(False)
    on_fake = logits_of(players.discriminator, fake)
    on_real = torch.zeros_like(on_fake)
    if game.generator_sees_real:
        with torch.no_grad():
            on_real = logits_of(players.discriminator, real)
    loss = game.generator(real=on_real, fake=on_fake)
    norm = _move(players.optimizers["generator"], players.generator, loss)
    players.discriminator.requires_grad_(True)
    return {"loss__g": float(loss.detach()), "gradient__g": norm}


def logits_of(discriminator: Discriminator, x: Examples) -> Float[Tensor, " n"]:
    """D(x), the last sum in float32: bfloat16 would round the differences of logits away."""
    features = discriminator.features(x.images)
    with torch.autocast(x.images.device.type, enabled=False):
        return discriminator.realism(features.float(), x.labels)


def judge_and_keep(players: Players, *, judge: Judgement, step: int, run: Run) -> None:
    """Judge the average; keep it if its Fréchet distance is the least so far.

    Raises:
        TrainingDiverged: all its images look the same.
    """
    figures = judge(players.average, step)
    run.record(step, **figures)
    if step >= COLLAPSE_AFTER and figures["judge__spread"] < COLLAPSED_SPREAD:
        raise TrainingDiverged(
            f"the generator makes one image at step {step:,} (pixels differ by "
            f"{figures['judge__spread']:.4f} between samples): raise train.gamma_real and "
            "train.gamma_fake, or lower train.learning_rate, and start again"
        )
    if figures["judge__frechet"] < players.best.get("frechet", math.inf):
        weights = {k: v.clone() for k, v in players.average.state_dict().items()}
        players.best = {"frechet": figures["judge__frechet"], "step": step, "average": weights}


def batch_rows(n: int, *, batch: int, step: int, seed: int) -> Int[Tensor, " batch"]:
    """The rows of step 1, 2, …: epochs in an order that is a function of the seed alone."""
    per_epoch = max(n // batch, 1)
    epoch, place = divmod(step - 1, per_epoch)
    generator = torch.Generator().manual_seed((seed << 20) + epoch)
    order = torch.randperm(n, generator=generator)
    return order[place * batch : (place + 1) * batch]


def cosine(progress: float, *, last: float) -> float:
    """From 1 at progress 0 to `last` at progress 1, along half a cosine."""
    return last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def _move(optimizer: torch.optim.Adam, player: nn.Module, loss: Tensor) -> float:
    optimizer.zero_grad()
    torch.autograd.backward([loss])
    gradients = [p.grad for p in player.parameters() if p.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients))
    optimizer.step()
    return norm
