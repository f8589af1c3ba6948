"""Adversarial training on rows: each move on real rows of which some cells are known.

Conditions.draw ──► real rows, what is known ──► critic's move ──► generator's move ──► average ─┐
     └───────────────────────── every so often: judge, keep best, save ◄───────────────────────┘

The generator is shown a part of a real row and writes the rest. Nothing known is plain sampling;
one known choice, drawn by the logarithm of its frequency, is CTGAN's training by sampling (Xu et
al. 2019, §4.3); any other part is what filling in missing cells needs. The critic sees packs of
rows with their masks (PacGAN). All randomness is in one `torch.Generator`, so that a resumed run
goes on bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from training.config import Table
from training.gan import Figures, Stop, never
from training.gan_moves import cosine
from training.losses import LOSSES, input_gradient
from training.players import follow
from training.run import Interrupted, Run, TrainingDiverged, check_finite
from training.tabular.conditions import Conditions, Known
from training.tabular.networks import RowCritic, RowGenerator, RowShape, held, soften
from training.tabular.players import RowPlayers

Judgement = Callable[[RowGenerator, int], Figures]
COLLAPSED_DIFFERENT = 0.01  # share of a judgement's rows that differ from each other
COLLAPSE_AFTER = 1000


class TabularTraining(Table):
    """The `[train]` table of a tabular GAN's recipe."""

    steps: int = Field(20_000, ge=1, description="Steps of both players.")
    batch: int = Field(500, ge=2, description="Rows a step, a multiple of model.pack.")
    loss: Literal["relativistic", "wasserstein", "non_saturating"] = Field(
        "relativistic", description="The game; see training/losses.py. wasserstein: WGAN-GP."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Adam's, at the start.")
    final_rate: float = Field(0.05, gt=0, le=1, description="The last rate, as a share of it.")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's momentum.")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's decay of squares.")
    gamma: float = Field(1.0, ge=0, description="Of R₁ and R₂, or WGAN-GP's λ.")
    penalty_every: int = Field(
        2, ge=1, description="Lazy regularisation: the penalty every k-th step, k-fold."
    )
    temperature: float = Field(0.2, gt=0, description="τ of the Gumbel-softmax.")
    one_known: float = Field(0.25, ge=0, le=1, description="Share of rows with one choice known.")
    some_known: float = Field(
        0.25, ge=0, le=1, description="Share of rows with a random part known."
    )
    average: float = Field(0.999, ge=0, lt=1, description="Decay of the generator's average (EMA).")
    judge_every: int = Field(500, ge=1, description="Steps between two judgements.")
    save_every: int = Field(1000, ge=1, description="Steps between two checkpoints.")
    log_every: int = Field(100, ge=1, description="Steps between two lines of the log.")

    @model_validator(mode="after")
    def _leaves_rows_unknown(self) -> TabularTraining:
        if self.one_known + self.some_known > 1:
            raise ValueError("one_known + some_known exceed 1: they are shares of the same rows")
        return self


def train_rows(
    conditions: Conditions,
    *,
    shape: RowShape,
    config: TabularTraining,
    seed: int,
    run: Run,
    judge: Judgement,
    stop: Stop = never,
) -> RowPlayers:
    """Train, or go on with, a tabular GAN; `best` holds the generator to keep.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: a loss is not finite, or the generator has collapsed to a few rows.
    """
    players = RowPlayers.fresh(
        shape, betas=(config.beta1, config.beta2), seed=seed, device=conditions.device
    )
    saved, done = run.load(), 0
    if saved is not None:
        players.restore(saved)
        done = int(saved["step"])
    began = time.monotonic() - players.seconds
    with run.progress("tabular GAN", total=config.steps, done=done) as line:
        for step in range(done + 1, config.steps + 1):
            known = conditions.draw(config.batch, players.noise)
            figures = row_step(players, known, config=config, step=step)
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


def row_step(players: RowPlayers, known: Known, *, config: TabularTraining, step: int) -> Figures:
    """One move of each player on one draw of z, and a step of the average."""
    shape = players.generator.shape
    rate = config.learning_rate * cosine(step / config.steps, last=config.final_rate)
    for optimizer in players.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = rate
    z = torch.randn(len(known.rows), shape.z_size, generator=players.noise).to(known.rows.device)
    mask = held(known.mask, shape=shape)
    values = known.rows * mask
    written = players.generator(z, values, known.mask)
    fake = soften(written, shape=shape, temperature=config.temperature)
    completed = values + (1.0 - mask) * fake
    figures = critic_step(
        players.critic,
        players.optimizers["critic"],
        real=torch.cat([known.rows, known.mask], dim=1),
        fake=torch.cat([completed.detach(), known.mask], dim=1),
        mix=torch.rand(len(mask) // shape.pack, generator=players.noise).to(mask.device),
        config=config,
        penalised=step % config.penalty_every == 0,
    )
    figures |= generator_step(players, known, completed, config=config)
    for name in ("loss__d", "loss__g"):
        check_finite(name, figures[name], step=step)
    follow(players.average, players.generator, decay=min(config.average, step / (step + 10.0)))
    return figures


def critic_step(
    critic: RowCritic,
    optimizer: torch.optim.Adam,
    *,
    real: Float[Tensor, "n seen"],
    fake: Float[Tensor, "n seen"],
    mix: Float[Tensor, " packs"],
    config: TabularTraining,
    penalised: bool,
) -> Figures:
    """D's move: its loss, and, every so often, its penalty; `mix` is WGAN-GP's ε."""
    both = torch.cat([real, fake]).requires_grad_(penalised)
    logits = critic(both)
    on_real, on_fake = logits.chunk(2)
    loss = LOSSES[config.loss].discriminator(real=on_real, fake=on_fake)
    total = loss
    if penalised and config.gamma > 0:
        strength = config.gamma * config.penalty_every
        if config.loss == "wasserstein":
            total = loss + strength * _slope_penalty(critic, real=real, fake=fake, mix=mix)
        else:
            gradient = input_gradient(logits=logits, images=both)
            # γ/2 of the mean of either half is γ/2 · 2 of the mean of both: R₁ + R₂.
            total = loss + strength * gradient.reshape(len(logits), -1).square().sum(1).mean()
    norm = _move(optimizer, critic, total)
    return {
        "loss__d": float(loss.detach()),
        "accuracy__pairs": float((on_real > on_fake).float().mean()),
        "gradient__d": norm,
    }


def generator_step(
    players: RowPlayers,
    known: Known,
    completed: Float[Tensor, "n width"],
    *,
    config: TabularTraining,
) -> Figures:
    """G's move, against the critic that has just moved."""
    game = LOSSES[config.loss]
    players.critic.requires_grad_(False)
    on_fake = players.critic(torch.cat([completed, known.mask], dim=1))
    on_real = torch.zeros_like(on_fake)
    if game.generator_sees_real:
        with torch.no_grad():
            on_real = players.critic(torch.cat([known.rows, known.mask], dim=1))
    loss = game.generator(real=on_real, fake=on_fake)
    norm = _move(players.optimizers["generator"], players.generator, loss)
    players.critic.requires_grad_(True)
    return {"loss__g": float(loss.detach()), "gradient__g": norm}


def judge_and_keep(players: RowPlayers, *, judge: Judgement, step: int, run: Run) -> None:
    """Judge the average; keep it if it is the likest so far.

    Raises:
        TrainingDiverged: nearly all its rows are the same.
    """
    figures = judge(players.average, step)
    run.record(step, **figures)
    if step >= COLLAPSE_AFTER and figures["judge__different"] < COLLAPSED_DIFFERENT:
        raise TrainingDiverged(
            f"the generator makes the same rows again and again at step {step:,} (only "
            f"{figures['judge__different']:.1%} differ): raise train.gamma or model.pack, or lower "
            "train.learning_rate, and start again"
        )
    if figures["judge__overall"] > players.best.get("overall", -math.inf):
        weights = {k: v.clone() for k, v in players.average.state_dict().items()}
        players.best = {"overall": figures["judge__overall"], "step": step, "average": weights}


def _slope_penalty(
    critic: RowCritic,
    *,
    real: Float[Tensor, "n seen"],
    fake: Float[Tensor, "n seen"],
    mix: Float[Tensor, " packs"],
) -> Float[Tensor, ""]:
    """E(‖∇D(x̂)‖ − 1)², x̂ = εx + (1 − ε)G(z) for each pack. Gulrajani et al. (2017), eq. 3."""
    epsilon = mix.repeat_interleave(critic.pack)[:, None]
    between = (epsilon * real + (1.0 - epsilon) * fake).requires_grad_(True)
    gradient = input_gradient(logits=critic(between), images=between)
    length = gradient.reshape(len(mix), -1).square().sum(1).sqrt()
    return (length - 1.0).square().mean()


def _move(optimizer: torch.optim.Adam, player: nn.Module, loss: Tensor) -> float:
    optimizer.zero_grad()
    torch.autograd.backward([loss])
    gradients = [p.grad for p in player.parameters() if p.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients))
    optimizer.step()
    return norm
