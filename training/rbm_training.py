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

from training.rbm import Rbm, draw, initialise
from training.rbm_config import LearningTable, ModelTable, Phase, RbmTrainTable
from training.rbm_exchange import Helpers, begin_exchange, restored_exchange
from training.rbm_learning import LearnerState, update
from training.rbm_monitor import Monitor, check_alive
from training.run import Interrupted, ProgressLine, Run

FIGURES_EVERY = 50


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

    train: LearningTable
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
            yield Step(
                number=number + i + 1,
                epoch=epoch,
                phase=phase,
                rows=rows,
                learning_rate=self.train.rate(progress),
                ends_epoch=i + 1 == per_epoch,
            )


@dataclass(frozen=True)
class TrainingData:
    """What the loop sees: grey training images, held-out ones for monitors, and their shape.

    A machine with label units sees them as the last columns, 0 or 1; `shape` is without them.
    """

    images: Float[Tensor, "n visible"]
    held_out: Float[Tensor, "m visible"]
    shape: tuple[int, int, int]


def train_rbm(
    data: TrainingData,
    *,
    model: ModelTable,
    train: RbmTrainTable,
    seed: int,
    run: Run,
    stop: Callable[[], bool],
    start: Rbm | None = None,
    labels: int = 0,
) -> Rbm:
    """Train, or go on from the run's newest checkpoint; returns the averaged machine.

    Args:
        data: the images.
        model: the machine.
        train: how it learns.
        seed: of everything random.
        run: where it writes, and where it resumes from.
        stop: says whether a person or the system asked the training to stop.
        start: the first machine, where it is not a fresh one.
        labels: how many of the last columns are label units.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: the weights are no longer finite, or the chains have died.
    """
    generator = torch.Generator(data.images.device).manual_seed(seed)
    state = _begin(data, model=model, train=train, start=start, generator=generator)
    helpers = begin_exchange(train, state, visible_mean=data.images.mean(0))
    checkpoint = run.load()
    if checkpoint is not None:
        helpers = _restore(checkpoint, state, train, generator)
    plan = Plan(train=train, images=len(data.images), seed=seed)
    clock = _Clock(0.0 if checkpoint is None else float(checkpoint["seconds"]))
    done = 0 if checkpoint is None else int(checkpoint["step"])
    monitor = Monitor(data.images, data.held_out, shape=data.shape, labels=labels, train=train,
                      run=run, seed=seed)  # fmt: skip
    with run.progress(f"rbm {len(state.b)}-{model.hidden}", total=plan.total, done=done) as bar:
        for step in plan.steps(done):
            _advance(step, state, helpers, data=data, train=train, labels=labels,
                     generator=generator, bar=bar)  # fmt: skip
            if step.ends_epoch and (step.epoch + 1) % train.monitor_every == 0:
                monitor.log(state, helpers, step=step.number, epoch=step.epoch + 1,
                            learning_rate=step.learning_rate)  # fmt: skip
            stopping = stop()
            last = step.number == plan.total
            if last or stopping or clock.since_save() > 60 * train.checkpoint_minutes:
                check_alive(state, persistent=train.chains != "data", step=step.number)
                kept = _kept(state, helpers, generator)
                run.save(step.number, kept | {"seconds": clock.total()})
                clock.saved()
            if stopping and not last:
                raise Interrupted(f"stopped at step {step.number:,} of {plan.total:,}")
    return state.averaged.copy()


def _begin(
    data: TrainingData,
    *,
    model: ModelTable,
    train: RbmTrainTable,
    start: Rbm | None,
    generator: torch.Generator,
) -> LearnerState:
    """The state before the first update; chains of a trained machine begin at the data."""
    mean, chains = data.images.mean(0), train.phases[0].chains
    if start is None:
        rbm = initialise(mean, hidden=model.hidden, scale=model.initial_scale, generator=generator)
        return LearnerState.begin(rbm, chains=chains, visible_mean=mean)
    state = LearnerState.begin(start, chains=chains, visible_mean=mean)
    rows = torch.arange(chains, device=mean.device) % len(data.images)
    p = torch.sigmoid(start.hidden_input(draw(data.images[rows], generator)))
    state.particles, state.hidden_offset = draw(p, generator), p.mean(0)
    return state


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


def _kept(state: LearnerState, helpers: Helpers, generator: torch.Generator) -> dict[str, Any]:
    """What a checkpoint holds."""
    exchange = {} if helpers is None else {"exchange": helpers.tensors()}
    return {"tensors": state.tensors(), "generator": generator.get_state()} | exchange


def _restore(
    checkpoint: dict[str, Any],
    state: LearnerState,
    train: RbmTrainTable,
    generator: torch.Generator,
) -> Helpers:
    """Take up a checkpoint: the learner in place, and its helpers."""
    for name, tensor in checkpoint["tensors"].items():
        setattr(state, name, tensor.to(state.W.device))
    generator.set_state(checkpoint["generator"])
    return restored_exchange(train, state, checkpoint.get("exchange", {}))


def _advance(
    step: Step,
    state: LearnerState,
    helpers: Helpers,
    *,
    data: TrainingData,
    train: RbmTrainTable,
    labels: int,
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
        labels=labels,
        exchange=helpers,
    )
    shown: dict[str, float] = {}
    if step.number % FIGURES_EVERY == 0 or step.ends_epoch:
        shown = {"epoch": step.epoch + 1, "loss": state.rbm.reconstruction_error(v)}
    bar.advance(images=len(step.rows), **shown)
