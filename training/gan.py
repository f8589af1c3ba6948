"""Adversarial training: two players, a penalty on the discriminator, an average of the generator.

batch_rows ──► adversarial_step: discriminator, generator, average ─┐
     └─────────────── every so often: judge, keep best, save ◄──────┘

The default is R3GAN's recipe at small scale (Huang et al. 2024): the relativistic paired loss with
zero-centred gradient penalties on real and on generated images, Adam with β₁ = 0. All randomness
comes from one `torch.Generator`, whose state is in the checkpoint with the optimisers', so a
resumed run goes on bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from training.gan_moves import Examples, Figures, adversarial_step, cosine
from training.gan_options import GanTraining
from training.networks import Generator
from training.players import Players
from training.run import Interrupted, Run, TrainingDiverged
from training.shapes import PlayerShape
from training.turns import warnings

__all__ = [
    "Examples",
    "Figures",
    "GanTraining",
    "Judgement",
    "Stop",
    "adversarial_step",
    "batch_rows",
    "cosine",
    "never",
    "train_gan",
]

# Standard deviation of a pixel between samples, averaged over pixels: digits have about 0.19. A
# network may well be blank before this many steps.
COLLAPSED_SPREAD = 0.01
COLLAPSE_AFTER = 500
IN_THE_LINE = {
    "loss__d": "d",
    "loss__g": "g",
    "accuracy__pairs": "pairs",
    "judge__frechet": "frechet",
    "judge__recall": "recall",
    "judge__coverage": "coverage",
    "judge__modes": "modes",
    "judge__high_quality": "quality",
}
Judgement = Callable[[Generator, int], Figures]
Stop = Callable[[], bool]


def never() -> bool:
    """No one asks the training to stop."""
    return False


def train_gan(
    data: Examples,
    *,
    shape: PlayerShape,
    config: GanTraining,
    seed: int,
    run: Run,
    judge: Judgement,
    stop: Stop = never,
    start: tuple[str, dict[str, Any]] | None = None,
) -> Players:
    """Train, or go on with, a GAN; `best` holds the generator to keep.

    Args:
        data: images in [0, 1], or points; with labels if `shape` has classes.
        shape: `Shape` of images or `PointShape`.
        config: the game, its pace and its remedies.
        seed: of first weights, order and noise.
        run: where checkpoints and logs are.
        judge: of the averaged generator: gives at least judge__spread, the standard deviation of a
            number between samples, and judge__frechet, the lower the better.
        stop: asked after each step.
        start: name and checkpoint of a run whose players a fresh run begins with.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: a loss is not finite, or the generator has collapsed to one image.
        UnfitPlayers: the remedies, the networks and the start do not go together.
    """
    players = Players.fresh(shape, config, seed=seed, device=data.images.device)
    saved = run.load()
    done = 0
    if saved is not None:
        players.restore(saved)
        done = int(saved["step"])
    elif start is not None:
        players.begin_from(*start)
    began = time.monotonic() - players.seconds
    judged: Figures = {}
    with run.progress("GAN", total=config.steps, done=done) as line:
        for step in range(done + 1, config.steps + 1):
            rows = rows_of_step(len(data.images), config=config, step=step, seed=seed)
            figures = adversarial_step(players, data.take(rows), config=config, step=step)
            line.advance(images=len(rows), **short(figures), **judged)
            if step % config.log_every == 0:
                run.record(step, **figures)
            if step % config.judge_every == 0 or step == config.steps:
                judged = short(judge_and_keep(players, judge=judge, step=step, run=run))
            players.seconds = time.monotonic() - began
            stopping = stop() and step < config.steps
            if stopping or step % config.save_every == 0 or step == config.steps:
                run.save(step, players.state())
            if stopping:
                raise Interrupted(f"stopped at step {step:,} of {config.steps:,}")
    return players


def short(figures: Figures) -> Figures:
    """The figures that the progress line has room for, by their names there."""
    return {name: figures[key] for key, name in IN_THE_LINE.items() if key in figures}


def judge_and_keep(players: Players, *, judge: Judgement, step: int, run: Run) -> Figures:
    """Judge the average; keep it if its Fréchet distance is the least so far; tell what turns.

    Raises:
        TrainingDiverged: all its images look the same.
    """
    figures = judge(players.average, step)
    run.record(step, **figures)
    for text in warnings(run.log):
        run.warn(step, text)
    if step >= COLLAPSE_AFTER and figures["judge__spread"] < COLLAPSED_SPREAD:
        raise TrainingDiverged(
            f"the generator makes one image at step {step:,} (pixels differ by "
            f"{figures['judge__spread']:.4f} between samples): raise train.gamma_real and "
            "train.gamma_fake, or lower train.learning_rate, and start again"
        )
    if figures["judge__frechet"] < players.best.get("frechet", math.inf):
        weights = {k: v.clone() for k, v in players.average.state_dict().items()}
        players.best = {"frechet": figures["judge__frechet"], "step": step, "average": weights}
    return figures


def rows_of_step(n: int, *, config: GanTraining, step: int, seed: int) -> Int[Tensor, " many"]:
    """The rows of all moves of a step: n_critic batches, of which the last is G's too."""
    first = (step - 1) * config.n_critic
    batches = [
        batch_rows(n, batch=config.batch, step=first + move, seed=seed)
        for move in range(1, config.n_critic + 1)
    ]
    return torch.cat(batches)


def batch_rows(n: int, *, batch: int, step: int, seed: int) -> Int[Tensor, " batch"]:
    """The rows of step 1, 2, …: epochs in an order that is a function of the seed alone."""
    per_epoch = max(n // batch, 1)
    epoch, place = divmod(step - 1, per_epoch)
    generator = torch.Generator().manual_seed((seed << 20) + epoch)
    order = torch.randperm(n, generator=generator)
    return order[place * batch : (place + 1) * batch]
