"""Greedy layer-wise pre-training: a restricted machine on the activities of the one below.

images ──► RBM 1 ──h¹──► RBM 2 ──h²──► … ──► one Rbm a layer

For a deep Boltzmann machine a layer of an RBM stands twice where it has to stand in for what the
deep machine has on the other side: two copies with the same weights. Salakhutdinov & Hinton (2009),
§3.1. For a deep belief network none does: Hinton, Osindero & Teh (2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from training.rbm import Rbm, draw, initialise
from training.rbm_config import LearningTable, TrainTable
from training.rbm_learning import LearnerState, update
from training.rbm_monitor import check_alive
from training.rbm_training import Plan, Step, TrainingData
from training.run import Run
from training.sheets import png_bytes, sheet
from training.stages import Stages

FIGURES_EVERY = 50
MONITOR_ROWS = 1000

Doubling = Literal["none", "below", "above", "both"]


def doubled(rbm: Rbm, doubling: Doubling) -> Rbm:
    """The tied machine: its visible layer (below), hidden layer (above), or both, stand twice."""
    down, up = _copies(doubling)
    return Rbm(W=rbm.W.repeat(down, up), b=rbm.b.repeat(down), c=rbm.c.repeat(up))


def single(rbm: Rbm, doubling: Doubling) -> Rbm:
    """One copy of each layer of a tied machine: the mean of the copies."""
    down, up = _copies(doubling)
    visible, hidden = len(rbm.b) // down, len(rbm.c) // up
    return Rbm(
        W=rbm.W.reshape(down, visible, up, hidden).mean((0, 2)),
        b=rbm.b.reshape(down, visible).mean(0),
        c=rbm.c.reshape(up, hidden).mean(0),
    )


def tie(state: LearnerState, doubling: Doubling) -> None:
    """Make the copies in a learner equal again after an update: each takes their mean."""
    if doubling == "none":
        return
    for kind in ("", "ema_", "velocity_"):
        names = [f"{kind}{name}" for name in ("W", "b", "c")]
        mean = single(Rbm(*(getattr(state, name) for name in names)), doubling)
        again = doubled(mean, doubling)
        for name, tensor in zip(names, (again.W, again.b, again.c), strict=True):
            setattr(state, name, tensor)


def doublings(depth: int) -> tuple[Doubling, ...]:
    """Which layers stand twice in each RBM of a deep Boltzmann machine with `depth` of them."""
    assert depth >= 2, "a deep machine has two or more hidden layers"
    middle: list[Doubling] = ["both"] * (depth - 2)
    return ("below", *middle, "above")


def undoubled(depth: int) -> tuple[Doubling, ...]:
    """The same of a deep belief network: no layer stands twice."""
    once: list[Doubling] = ["none"] * depth
    return tuple(once)


def rise(
    v: Float[Tensor, "batch visible"],
    layers: Sequence[Rbm],
    doubling: Sequence[Doubling],
    generator: torch.Generator,
) -> Float[Tensor, "batch units"]:
    """Binary activities of the top of `layers`, each drawn given the one below."""
    for rbm, twice in zip(layers, doubling, strict=False):
        down, _ = _copies(twice)
        v = draw(torch.sigmoid(rbm.c + down * (v @ rbm.W)), generator)
    return v


def pretrain(
    data: TrainingData,
    *,
    hidden: Sequence[int],
    tables: Sequence[TrainTable],
    doubling: Sequence[Doubling],
    initial_scale: float,
    seed: int,
    run: Run,
    stages: Stages,
    generator: torch.Generator,
) -> list[Rbm]:
    """Train one machine a layer, or take up where the stages stand; averaged weights, one copy.

    Args:
        data: binary draws of its images are what the first layer sees.
        hidden: units of each hidden layer.
        tables: how each layer learns.
        doubling: which of its layers stand twice.
        initial_scale: standard deviation of the first weights.
        seed: of the order of the images.
        run: where figures go.
        stages: the checkpoints.
        generator: of all noise.
    """
    layers: list[Rbm] = []
    for depth, (units, table) in enumerate(zip(hidden, tables, strict=True)):
        stage = f"rbm-{depth + 1}"
        kept = stages.results(stage)
        if kept is None:
            plan = Plan(train=table, images=len(data.images), seed=seed + 7919 * depth)
            layer = _Layer(
                data,
                below=layers,
                doubling=doubling,
                initial_scale=initial_scale,
                generator=generator,
            )
            rbm = layer.learn(units, plan, run=run, stages=stages, stage=stage)
            kept = {"W": rbm.W, "b": rbm.b, "c": rbm.c}
            stages.finish(stage, kept)
        layers.append(Rbm(W=kept["W"], b=kept["b"], c=kept["c"]))
    return layers


class _Layer:
    """One stage of pre-training."""

    def __init__(
        self,
        data: TrainingData,
        *,
        below: Sequence[Rbm],
        doubling: Sequence[Doubling],
        initial_scale: float,
        generator: torch.Generator,
    ) -> None:
        self._data, self._below, self._doubling = data, below, doubling
        self._twice: Doubling = doubling[len(below)]
        self._scale, self._generator = initial_scale, generator

    def learn(self, units: int, plan: Plan, *, run: Run, stages: Stages, stage: str) -> Rbm:
        done, kept = stages.begin(stage)
        state = self._begin(units, plan) if kept is None else LearnerState(**kept)
        down, _ = _copies(self._twice)
        with run.progress(f"{stage} {len(state.b) // down}-{units}", total=plan.total,
                          done=done) as bar:  # fmt: skip
            for step in plan.steps(done):
                shown = self._update(step, state, plan.train)
                bar.advance(images=len(step.rows), **shown)
                if step.ends_epoch and (step.epoch + 1) % plan.train.monitor_every == 0:
                    self._monitor(state, plan, run, stage=stage, number=stages.updates + 1)
                stages.after_update(state.tensors, last=step.number == plan.total)
        return single(state.averaged, self._twice).copy()

    def _begin(self, units: int, plan: Plan) -> LearnerState:
        sample = self._activities(self._data.images[:10_000], self._generator)
        mean = sample.mean(0)
        rbm = initialise(mean, hidden=units, scale=self._scale, generator=self._generator)
        tied = doubled(rbm, self._twice)
        down, _ = _copies(self._twice)
        chains = plan.train.phases[0].chains
        return LearnerState.begin(tied, chains=chains, visible_mean=mean.repeat(down))

    def _update(self, step: Step, state: LearnerState, table: LearningTable) -> dict[str, float]:
        if len(state.particles) != step.phase.chains:
            state.grow(step.phase.chains)
        down, _ = _copies(self._twice)
        rows = self._data.images[step.rows.to(self._data.images.device)]
        x = self._activities(rows, self._generator).repeat(1, down)
        rule = table.rule(step.phase)
        update(state, x, rule=rule, learning_rate=step.learning_rate, generator=self._generator)
        tie(state, self._twice)
        if step.number % FIGURES_EVERY and not step.ends_epoch:
            return {}
        return {"epoch": step.epoch + 1, "loss": state.rbm.reconstruction_error(x)}

    def _activities(
        self, images: Float[Tensor, "batch visible"], generator: torch.Generator
    ) -> Float[Tensor, "batch units"]:
        return rise(draw(images, generator), self._below, self._doubling, generator)

    def _monitor(
        self, state: LearnerState, plan: Plan, run: Run, *, stage: str, number: int
    ) -> None:
        """Log how the averaged machine does on held-out activities of the layers below.

        It has its own generator: watching a training must not change it. Where a layer stands
        twice, the figures are those of the tied machine.
        """
        check_alive(state, persistent=plan.train.chains != "data", step=number)
        generator = torch.Generator(self._data.images.device).manual_seed(plan.seed + number)
        down, _ = _copies(self._twice)
        x = self._activities(self._data.held_out[:MONITOR_ROWS], generator).repeat(1, down)
        rbm = state.averaged
        figures = {
            "largest_weight": float(rbm.W.abs().max()),
            "reconstruction_held_out": rbm.reconstruction_error(x),
            "pseudo_likelihood_held_out": rbm.pseudo_likelihood(x, generator),
        }
        run.record(number, **{f"{stage}__{name}": value for name, value in figures.items()})
        run.histogram(f"{stage}/weights", rbm.W, number)
        run.histogram(f"{stage}/activity", torch.sigmoid(rbm.hidden_input(x)).mean(0), number)
        if not self._below:
            pixels = len(self._data.images[0])
            p = torch.sigmoid(state.rbm.visible_input(state.particles[:100]))[:, :pixels]
            shown = sheet(p.reshape(-1, *self._data.shape).cpu().numpy(), columns=10)
            run.sheet(f"{stage}-particles", png_bytes(shown), shown, number)


def _copies(doubling: Doubling) -> tuple[int, int]:
    """(copies of the visible layer, copies of the hidden layer)."""
    return 1 + (doubling in {"below", "both"}), 1 + (doubling in {"above", "both"})
