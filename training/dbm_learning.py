"""How a deep Boltzmann machine learns: variational stochastic maximum likelihood, centred.

data ──mean-field──► <h^{l-1} h^lᵀ>, <h^l> of the data ──┐
particles ──k sweeps──► the same of the model ───────────┴─► centred gradient ──► W, b ──► average

Salakhutdinov & Hinton (2009), §3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from training.dbm import Dbm, MeanField, Precision, mean_field, rounded
from training.dbm_gradient import (
    Statistics,
    centred_gradient,
    half_summed,
    posterior_statistics,
    statistics,
)
from training.rbm import draw


@dataclass(frozen=True)
class LearningRule:
    """What one update takes, apart from the learning rate.

    Attributes:
        sweeps: block Gibbs sweeps k between updates.
        mean_field: how far the posterior of the data is driven.
        posterior_sweeps: block Gibbs sweeps of the posterior from there; 0 learns from mean-field.
        offset_rate: share of the newest batch in the centring offsets' exponential average; None
            switches centring off.
        momentum: of the update.
        weight_decay: L2 penalty on the weights.
        ema_decay: of the averaged weights, which are the ones that are evaluated and exported.
        precision: `bfloat16` runs the products of chains and mean-field at half the cost; gradients
            stay in float32.
        upper_share: of the learning rate, for what is above the first hidden layer.
    """

    sweeps: int
    mean_field: MeanField = field(default_factory=MeanField)
    posterior_sweeps: int = 0
    offset_rate: float | None = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float = 0.999
    precision: Precision = "float32"
    upper_share: float = 1.0


@dataclass
class DbmLearner:
    """Everything that an update reads and writes, so everything that a checkpoint keeps.

    Attributes:
        dbm: the machine as it learns; updates are in place.
        averaged: its exponential average.
        velocity: of momentum.
        offsets: centring offsets of each layer.
        particles: odd layers of the persistent chains, [chains, units] each.
    """

    dbm: Dbm
    averaged: Dbm
    velocity: Dbm
    offsets: tuple[Float[Tensor, " units"], ...]
    particles: dict[int, Tensor]

    @classmethod
    def begin(
        cls, dbm: Dbm, *, data: Float[Tensor, "n visible"], chains: int, generator: torch.Generator
    ) -> DbmLearner:
        """The state before the first update: particles and offsets from the posterior of `data`."""
        mu = mean_field(dbm, data, MeanField(updates=20))
        learner = cls(
            dbm=dbm.copy(),
            averaged=dbm.copy(),
            velocity=Dbm(
                W=tuple(torch.zeros_like(W) for W in dbm.W),
                b=tuple(torch.zeros_like(b) for b in dbm.b),
            ),
            offsets=tuple(layer.mean(0) for layer in mu),
            particles={layer: draw(mu[layer], generator) for layer in dbm.odd},
        )
        learner.grow(chains)
        return learner

    def grow(self, chains: int) -> None:
        """Have this many particles: the first ones, or copies, which the next sweeps separate."""
        for layer, h in self.particles.items():
            repeats = -(-chains // len(h))
            self.particles[layer] = h.repeat(repeats, 1)[:chains].contiguous()

    @property
    def chains(self) -> int:
        """How many particles there are."""
        return len(self.particles[1])

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, for a checkpoint."""
        named = {f"particles.{layer}": h for layer, h in self.particles.items()}
        named |= {f"offset.{layer}": offset for layer, offset in enumerate(self.offsets)}
        for part in ("dbm", "averaged", "velocity"):
            named |= {f"{part}.{name}": t for name, t in named_tensors(getattr(self, part)).items()}
        return named

    @classmethod
    def restored(cls, named: Mapping[str, Tensor], device: torch.device) -> DbmLearner:
        """The state that `tensors` gave, on `device`."""
        kept = {name: tensor.to(device) for name, tensor in named.items()}
        return cls(
            dbm=dbm_of(_part(kept, "dbm")),
            averaged=dbm_of(_part(kept, "averaged")),
            velocity=dbm_of(_part(kept, "velocity")),
            offsets=tuple(t for _, t in sorted(_part(kept, "offset").items())),
            particles={int(layer): h for layer, h in _part(kept, "particles").items()},
        )


def named_tensors(dbm: Dbm) -> dict[str, Tensor]:
    """`weight.1 … weight.L` and `bias.0 … bias.L`, as weights.safetensors has them."""
    weights = {f"weight.{i}": W for i, W in enumerate(dbm.W, start=1)}
    return weights | {f"bias.{i}": b for i, b in enumerate(dbm.b)}


def dbm_of(named: Mapping[str, Tensor]) -> Dbm:
    """The machine of `named_tensors`; other names are left alone."""
    depth = sum(name.startswith("weight.") for name in named)
    return Dbm(
        W=tuple(named[f"weight.{i}"] for i in range(1, depth + 1)),
        b=tuple(named[f"bias.{i}"] for i in range(depth + 1)),
    )


def _part(named: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(f"{prefix}."): t for n, t in named.items() if n.startswith(f"{prefix}.")}


def update(
    learner: DbmLearner,
    v: Float[Tensor, "batch visible"],
    *,
    rule: LearningRule,
    learning_rate: float,
    generator: torch.Generator,
) -> None:
    """One step of variational stochastic maximum likelihood, in place.

    Args:
        learner: parameters, averages and particles.
        v: a batch of binary data.
        rule: what an update takes.
        learning_rate: > 0.
        generator: of the chains' noise.
    """
    quick = rounded(learner.dbm, rule.precision)
    data = _seen(quick, v, rule=rule, generator=generator)
    model = _dreamt(learner, quick, sweeps=rule.sweeps, generator=generator)
    if rule.offset_rate is None:
        for offset in learner.offsets:
            offset.zero_()
    else:
        for offset, mean in zip(learner.offsets, data.means, strict=True):
            offset.lerp_(mean, rule.offset_rate)
    gradient = centred_gradient(
        data=data, model=model, offsets=learner.offsets, upper_share=rule.upper_share
    )
    _ascend(learner, gradient, rule=rule, learning_rate=learning_rate)


def _seen(
    dbm: Dbm, v: Float[Tensor, "batch visible"], *, rule: LearningRule, generator: torch.Generator
) -> Statistics:
    """Of the data: what mean-field takes the posterior for, or what sweeps make of that."""
    mu = mean_field(dbm, v, rule.mean_field)
    if not rule.posterior_sweeps:
        return statistics(mu)
    return posterior_statistics(dbm, v, start=mu, sweeps=rule.posterior_sweeps, generator=generator)


def _dreamt(
    learner: DbmLearner, dbm: Dbm, *, sweeps: int, generator: torch.Generator
) -> Statistics:
    """Of the model: run the particles, and look at them."""
    odd = learner.particles
    for _ in range(sweeps - 1):
        _, odd = dbm.sweep(odd, generator)
    even = {layer: draw(torch.sigmoid(dbm.input(layer, odd)), generator) for layer in dbm.even}
    found, learner.particles = half_summed(dbm, even, generator)
    return found


def _ascend(
    learner: DbmLearner, gradient: Dbm, *, rule: LearningRule, learning_rate: float
) -> None:
    for i, (step, W) in enumerate(zip(gradient.W, learner.dbm.W, strict=True)):
        step.sub_(W, alpha=rule.weight_decay * (rule.upper_share if i else 1.0))
    parts = (learner.velocity, gradient, learner.dbm, learner.averaged)
    for kind in ("W", "b"):
        for velocity, step, value, average in zip(
            *(getattr(part, kind) for part in parts), strict=True
        ):
            velocity.mul_(rule.momentum).add_(step, alpha=learning_rate)
            value.add_(velocity)
            average.lerp_(value, 1 - rule.ema_decay)
