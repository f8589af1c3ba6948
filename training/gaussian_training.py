"""The training loop of a machine with Gaussian visible units.

grey rows ──whitened──► batches ──► update ──► checkpoints, AIS on held-out rows, filters, fantasies

The order of the rows follows from (seed, epoch); all other noise comes from one generator whose
state is in the checkpoint. So a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from training.gaussian import GaussianRbm, initialise
from training.gaussian_ais import Base, ais
from training.gaussian_config import GaussianModelTable, GaussianTrainTable
from training.gaussian_data import Whitening
from training.gaussian_learning import GaussianLearner, update
from training.rbm_training import Plan, Step
from training.run import Run
from training.sheets import png_bytes, sheet
from training.stages import Stages

MONITOR_ROWS = 2000
FIGURES_EVERY = 50
SHEET_SIDE = 10
STAGE = "gaussian"


@dataclass(frozen=True)
class GaussianData:
    """Whitened rows to train on, held-out ones for monitors, and the way back to pixels."""

    rows: Float[Tensor, "n visible"]
    held_out: Float[Tensor, "m visible"]
    whitening: Whitening
    shape: tuple[int, int, int]


def train_gaussian(
    data: GaussianData,
    *,
    model: GaussianModelTable,
    train: GaussianTrainTable,
    seed: int,
    run: Run,
    stop: Callable[[], bool],
) -> GaussianRbm:
    """Train, or go on from the run's newest checkpoint; returns the averaged machine.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: a parameter is no longer finite, or out of all bounds.
    """
    generator = torch.Generator(data.rows.device).manual_seed(seed)
    stages = Stages(run, generator, minutes=train.checkpoint_minutes, stop=stop)
    done, kept = stages.begin(STAGE)
    if kept is None:
        machine = initialise(
            visible=data.rows.shape[1],
            hidden=model.hidden,
            scale=model.initial_scale,
            generator=generator,
            hidden_bias=model.hidden_bias,
        )
        learner = GaussianLearner.begin(machine, chains=train.phases[0].chains)
    else:
        learner = GaussianLearner.restored(kept)
    plan = Plan(train=train, images=len(data.rows), seed=seed)
    variance_rate = train.variance_rate if model.variance == "learned" else 0.0
    with run.progress(f"gaussian {data.rows.shape[1]}-{model.hidden}", total=plan.total,
                      done=done) as bar:  # fmt: skip
        for step in plan.steps(done):
            shown = _advance(step, learner, data, train=train, variance_rate=variance_rate,
                             generator=generator)  # fmt: skip
            bar.advance(images=len(step.rows), **shown)
            if step.ends_epoch and (step.epoch + 1) % train.monitor_every == 0:
                _monitor(step, learner, data, train, run=run, seed=seed)
            stages.after_update(learner.tensors, last=step.number == plan.total)
    return learner.averaged


def _advance(
    step: Step,
    learner: GaussianLearner,
    data: GaussianData,
    *,
    train: GaussianTrainTable,
    variance_rate: float,
    generator: torch.Generator,
) -> dict[str, float]:
    if len(learner.particles) != step.phase.chains:
        learner.grow(step.phase.chains)
    v = data.rows[step.rows.to(data.rows.device)]
    update(
        learner,
        v,
        rule=train.rule(step.phase),
        learning_rate=step.learning_rate,
        variance_rate=variance_rate,
        generator=generator,
    )
    if step.number % FIGURES_EVERY and not step.ends_epoch:
        return {}
    return {"epoch": step.epoch + 1, "loss": learner.machine.reconstruction_error(v)}


def _monitor(
    step: Step,
    learner: GaussianLearner,
    data: GaussianData,
    train: GaussianTrainTable,
    *,
    run: Run,
    seed: int,
) -> None:
    """Log how the averaged machine does on held-out rows.

    It has its own generator: watching a training must not change it.
    """
    machine = learner.averaged
    generator = torch.Generator(data.rows.device).manual_seed(seed + step.number)
    held_out = data.held_out[:MONITOR_ROWS]
    log_z = ais(
        machine,
        base=Base.of(data.rows[:MONITOR_ROWS]),
        runs=100,
        betas=train.monitor_betas,
        generator=generator,
    )
    h = torch.sigmoid(machine.hidden_input(held_out))
    run.record(
        step.number,
        epoch=step.epoch + 1,
        learning_rate=step.learning_rate,
        likelihood__held_out=-float(machine.free_energy(held_out).double().mean()) - log_z.value,
        likelihood__log_z=log_z.value,
        likelihood__interval=log_z.high - log_z.low,
        reconstruction__held_out=machine.reconstruction_error(held_out),
        weights__largest=float(machine.W.abs().max()),
        variance__mean=float(machine.variance.mean()),
        hidden__mean_activity=float(h.mean()),
    )
    run.histogram("weights", machine.W, step.number)
    run.histogram("variance", machine.variance, step.number)
    run.histogram("hidden_activity", h.mean(0), step.number)
    filters = png_sheet(filters_of(machine, data.whitening), data.shape)
    particles = learner.machine.visible_mean(learner.particles[: SHEET_SIDE**2])
    fantasies = png_sheet(data.whitening.undone(particles), data.shape)
    for name, picture in (("filters", filters), ("particles", fantasies)):
        run.sheet(name, png_bytes(picture), picture, step.number)


def filters_of(machine: GaussianRbm, whitening: Whitening) -> Float[Tensor, "hidden visible"]:
    """What each hidden unit adds to the pixels, each stretched to [0, 1] about ½."""
    pixels = machine.W.T @ whitening.back
    return 0.5 + pixels / (2 * pixels.abs().amax(1, keepdim=True).clamp_min(1e-12))


def png_sheet(
    rows: Float[Tensor, "n visible"], shape: tuple[int, int, int]
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Rows of pixels as a sheet, ten a row, clipped to [0, 1]."""
    images = rows.clamp(0, 1).reshape(-1, *shape).cpu().numpy()
    return sheet(images, columns=SHEET_SIDE, scale=4)
