"""The training loop of a restricted Boltzmann machine.

grey images ──fresh Bernoulli draws──► batches ──► update ──► checkpoints, monitors, sheets
                                          phases: batch and chains grow, the rate decays to its end

The order of the images in an epoch follows from (seed, epoch); all other noise comes from one
generator whose state is in the checkpoint. So a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from training.ais import ais, mean_log_probability
from training.rbm import Rbm, base_rate_bias, draw, initialise
from training.rbm_config import ModelTable, Phase, TrainTable
from training.rbm_learning import LearnerState, update
from training.run import Interrupted, ProgressLine, Run, TrainingDiverged, check_finite
from training.sheets import png_bytes, sheet

MONITOR_ROWS = 1000
FIGURES_EVERY = 50
LARGEST_SANE_WEIGHT = 1000.0


@dataclass(frozen=True)
class Step:
    """One update in the plan: which rows of which epoch, under which phase."""

    number: int
    epoch: int
    phase: Phase
    rows: Tensor
    learning_rate: float
    ends_epoch: bool


@dataclass(frozen=True)
class Plan:
    """Every update of a training, in order; a pure function of its fields."""

    train: TrainTable
    images: int
    seed: int

    @property
    def epochs(self) -> int:
        """Passes over the images."""
        return sum(phase.epochs for phase in self.train.phases)

    @property
    def total(self) -> int:
        """Updates in all."""
        return sum(phase.epochs * self._per_epoch(phase) for phase in self.train.phases)

    def steps(self, done: int) -> Iterator[Step]:
        """The updates after the first `done` ones."""
        number = epoch = 0
        for phase in self.train.phases:
            for _ in range(phase.epochs):
                per_epoch = self._per_epoch(phase)
                if number + per_epoch > done:
                    yield from self._epoch(epoch, phase, number, done)
                number, epoch = number + per_epoch, epoch + 1

    def _per_epoch(self, phase: Phase) -> int:
        return -(-self.images // phase.batch)

    def _epoch(self, epoch: int, phase: Phase, number: int, done: int) -> Iterator[Step]:
        shuffler = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.images, generator=shuffler)
        per_epoch = self._per_epoch(phase)
        for i, rows in enumerate(torch.split(order, phase.batch)):
            if number + i < done:
                continue
            progress = (epoch + i / per_epoch) / self.epochs
            first, last = self.train.learning_rate, self.train.final_learning_rate
            yield Step(
                number=number + i + 1,
                epoch=epoch,
                phase=phase,
                rows=rows,
                learning_rate=first + (last - first) * progress,
                ends_epoch=i + 1 == per_epoch,
            )


@dataclass(frozen=True)
class TrainingData:
    """What the loop sees: grey training images, held-out ones for monitors, and their shape."""

    images: Float[Tensor, "n visible"]
    held_out: Float[Tensor, "m visible"]
    shape: tuple[int, int, int]


def train_rbm(
    data: TrainingData,
    *,
    model: ModelTable,
    train: TrainTable,
    seed: int,
    run: Run,
    stop: Callable[[], bool],
) -> Rbm:
    """Train, or go on from the run's newest checkpoint; returns the averaged machine.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: the weights are no longer finite.
    """
    device = data.images.device
    generator = torch.Generator(device).manual_seed(seed)
    visible_mean = data.images.mean(0)
    rbm = initialise(
        visible_mean, hidden=model.hidden, scale=model.initial_scale, generator=generator
    )
    state = LearnerState.begin(rbm, chains=train.phases[0].chains, visible_mean=visible_mean)
    done, seconds = _restore(run, state, generator)
    plan = Plan(train=train, images=len(data.images), seed=seed)
    clock = _Clock(seconds)
    with run.progress(
        f"rbm {len(visible_mean)}-{model.hidden}", total=plan.total, done=done
    ) as bar:
        for step in plan.steps(done):
            _advance(step, state, data=data, train=train, generator=generator, bar=bar)
            if step.ends_epoch and (step.epoch + 1) % train.monitor_every == 0:
                _monitor(step, state, data=data, train=train, run=run, seed=seed)
            stopping = stop()
            last = step.number == plan.total
            if last or stopping or clock.since_save() > 60 * train.checkpoint_minutes:
                _check_weights(state, step)
                saved = {"tensors": state.tensors(), "generator": generator.get_state()}
                run.save(step.number, saved | {"seconds": clock.total()})
                clock.saved()
            if stopping and not last:
                raise Interrupted(f"stopped at step {step.number:,} of {plan.total:,}")
    return state.averaged.copy()


def _check_weights(state: LearnerState, step: Step) -> None:
    """A machine of this kind works with weights of a few units; thousands are no machine."""
    check_finite("the weight matrix", state.W, step=step.number)
    largest = float(state.W.abs().max())
    if largest > LARGEST_SANE_WEIGHT:
        raise TrainingDiverged(
            f"a weight is {largest:.3g} at step {step.number:,}: lower the learning rate "
            "(--set train.learning_rate=…) and start again with --fresh"
        )


class _Clock:
    """Seconds of training in all, over every resumption, and since the last checkpoint."""

    def __init__(self, before: float) -> None:
        self._before = before
        self._start = self._save = time.monotonic()

    def total(self) -> float:
        return self._before + time.monotonic() - self._start

    def since_save(self) -> float:
        return time.monotonic() - self._save

    def saved(self) -> None:
        self._save = time.monotonic()


def restore_averaged(checkpoint: dict[str, Any]) -> Rbm:
    """The averaged machine in a checkpoint."""
    tensors = checkpoint["tensors"]
    return Rbm(W=tensors["ema_W"], b=tensors["ema_b"], c=tensors["ema_c"])


def _restore(run: Run, state: LearnerState, generator: torch.Generator) -> tuple[int, float]:
    """Take up the newest checkpoint: (updates done, seconds spent)."""
    checkpoint = run.load()
    if checkpoint is None:
        return 0, 0.0
    for name, tensor in checkpoint["tensors"].items():
        setattr(state, name, tensor.to(state.W.device))
    generator.set_state(checkpoint["generator"])
    return int(checkpoint["step"]), float(checkpoint["seconds"])


def _advance(
    step: Step,
    state: LearnerState,
    *,
    data: TrainingData,
    train: TrainTable,
    generator: torch.Generator,
    bar: ProgressLine,
) -> None:
    if len(state.particles) != step.phase.chains:
        state.grow(step.phase.chains)
    v = draw(data.images[step.rows.to(data.images.device)], generator)
    update(
        state,
        v,
        rule=train.rule(step.phase),
        learning_rate=step.learning_rate,
        generator=generator,
    )
    shown: dict[str, float] = {}
    if step.number % FIGURES_EVERY == 0 or step.ends_epoch:
        shown = {"epoch": step.epoch + 1, "loss": state.rbm.reconstruction_error(v)}
    bar.advance(images=len(step.rows), **shown)


def _monitor(
    step: Step,
    state: LearnerState,
    *,
    data: TrainingData,
    train: TrainTable,
    run: Run,
    seed: int,
) -> None:
    """Log how the averaged machine does on held-out training images.

    It has its own generator: watching a training must not change it.
    """
    _check_weights(state, step)
    rbm = state.averaged
    generator = torch.Generator(data.images.device).manual_seed(seed + step.number)
    held_out = draw(data.held_out[:MONITOR_ROWS], generator)
    seen = draw(data.images[:MONITOR_ROWS], generator)
    base = base_rate_bias(data.images.mean(0))
    log_z = ais(rbm, base_bias=base, runs=100, betas=train.monitor_betas, generator=generator)
    run.record(
        step.number,
        epoch=step.epoch + 1,
        learning_rate=step.learning_rate,
        likelihood__held_out=mean_log_probability(rbm, held_out, log_z=log_z.value),
        likelihood__train=mean_log_probability(rbm, seen, log_z=log_z.value),
        likelihood__log_z=log_z.value,
        likelihood__interval=log_z.high - log_z.low,
        pseudo_likelihood__held_out=rbm.pseudo_likelihood(held_out, generator),
        reconstruction__held_out=rbm.reconstruction_error(held_out),
        weights__largest=float(rbm.W.abs().max()),
    )
    run.histogram("weights", rbm.W, step.number)
    run.histogram("visible_bias", rbm.b, step.number)
    run.histogram("hidden_activity", torch.sigmoid(rbm.hidden_input(held_out)).mean(0), step.number)
    shown = torch.sigmoid(state.rbm.visible_input(state.particles[:100]))
    particles = sheet(shown.reshape(-1, *data.shape).cpu().numpy(), columns=10)
    run.sheet("particles", png_bytes(particles), particles, step.number)
