"""The training loop of a machine with Gaussian visible units.

grey rows ──whitened──► batches ──► update ──► checkpoints, AIS on held-out rows, filters, fantasies

The order of the rows follows from (seed, epoch); all other noise comes from one generator whose
state is in the checkpoint. So a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from training.alarms import check_chains, check_sane
from training.gaussian import GaussianRbm, initialise
from training.gaussian_ais import Base, ais
from training.gaussian_config import GaussianModelTable, GaussianTrainTable
from training.gaussian_data import Whitening
from training.gaussian_learning import GaussianLearner, update
from training.gaussian_pictures import SHEET_SIDE, filters_of, png_sheet
from training.rbm_training import Plan, Step
from training.run import Run
from training.sheets import png_bytes
from training.stages import Stages

MONITOR_ROWS = 2000
FIGURES_EVERY = 50
STAGE = "gaussian"


@dataclass(frozen=True)
class GaussianData:
    """Whitened rows to train on, held-out ones for monitors, and the way back.

    Attributes:
        rows, held_out: whitened.
        whitening: the map, and its inverse.
        shape: [1, H, W] of a row of pixels; None where it is one of a table.
        columns: the names of a table's columns.
    """

    rows: Float[Tensor, "n visible"]
    held_out: Float[Tensor, "m visible"]
    whitening: Whitening
    shape: tuple[int, int, int] | None
    columns: tuple[str, ...] = ()


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
        TrainingDiverged: a parameter is no longer finite or out of all bounds, or the chains have
            died.
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
    check_sane(learner.tensors(), step=step.number)
    if train.chains == "persistent":
        check_chains(learner.particles, step=step.number)
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
    _show(learner, data, run, step.number)


def _show(learner: GaussianLearner, data: GaussianData, run: Run, number: int) -> None:
    """Filters and fantasies as sheets; of a table, each column of the fantasies as a histogram."""
    means = learner.machine.visible_mean(learner.particles)
    fantasies = data.whitening.undone(means)
    if data.shape is None:
        for name, values in zip(data.columns, fantasies.T, strict=True):
            run.histogram(f"particles/{name}", values, number)
        return
    filters = png_sheet(filters_of(learner.averaged, data.whitening), data.shape)
    particles = png_sheet(fantasies[: SHEET_SIDE**2], data.shape)
    for name, picture in (("filters", filters), ("particles", particles)):
        run.sheet(name, png_bytes(picture), picture, number)
