"""How a deep Boltzmann machine learns: variational stochastic maximum likelihood, centred.

data ──mean-field──► <h^{l-1} h^lᵀ>, <h^l> of the data ──┐
particles ──k sweeps──► the same of the model ───────────┴─► centred gradient ──► W, b ──► average

Salakhutdinov & Hinton (2009), §3; the centring is that of Melchior, Fischer & Wiskott (2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from training.dbm import Dbm, Layers, MeanField, Precision, mean_field, rounded
from training.rbm import draw


@dataclass(frozen=True)
class Statistics:
    """Means over a batch.

    Attributes:
        pairs: pairs[l - 1] = <h^{l-1} h^lᵀ>.
        means: means[l] = <h^l>.
    """

    pairs: tuple[Float[Tensor, "lower upper"], ...]
    means: tuple[Float[Tensor, " units"], ...]


def statistics(h: Layers) -> Statistics:
    """The sufficient statistics of layers that are independent given the batch's row."""
    return Statistics(
        pairs=tuple(lower.T @ upper / len(lower) for lower, upper in pairwise(h)),
        means=tuple(layer.mean(0) for layer in h),
    )


def centred_gradient(
    *, data: Statistics, model: Statistics, offsets: tuple[Float[Tensor, " units"], ...]
) -> Dbm:
    """The centred gradient in the parameters of the ordinary machine, in its shape: ascend it.

    ∇W^l = <(h^{l-1} - o^{l-1})(h^l - o^l)ᵀ>_data - the same under the model
    ∇b^l = <h^l>_data - <h^l>_model - (∇W^l)ᵀ o^{l-1} - ∇W^{l+1} o^{l+1}

    With o = 0 it is the plain gradient.
    """
    d = [seen - dreamt for seen, dreamt in zip(data.means, model.means, strict=True)]
    W, b = [], list(d)
    for i, (seen, dreamt) in enumerate(zip(data.pairs, model.pairs, strict=True)):
        step = seen - dreamt
        step = step - torch.outer(offsets[i], d[i + 1]) - torch.outer(d[i], offsets[i + 1])
        b[i] = b[i] - step @ offsets[i + 1]
        b[i + 1] = b[i + 1] - offsets[i] @ step
        W.append(step)
    return Dbm(W=tuple(W), b=tuple(b))


@dataclass(frozen=True)
class LearningRule:
    """What one update takes, apart from the learning rate.

    Attributes:
        sweeps: block Gibbs sweeps k between updates.
        mean_field: how far the posterior of the data is driven.
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
    data = statistics(mean_field(quick, v, rule.mean_field))
    model = statistics(_dream(learner, quick, sweeps=rule.sweeps, generator=generator))
    if rule.offset_rate is None:
        for offset in learner.offsets:
            offset.zero_()
    else:
        for offset, mean in zip(learner.offsets, data.means, strict=True):
            offset.lerp_(mean, rule.offset_rate)
    gradient = centred_gradient(data=data, model=model, offsets=learner.offsets)
    _ascend(learner, gradient, rule=rule, learning_rate=learning_rate)


def _dream(
    learner: DbmLearner, dbm: Dbm, *, sweeps: int, generator: torch.Generator
) -> list[Float[Tensor, "chains units"]]:
    """Run the particles; all layers at the end, the odd ones as probabilities given the even.

    Neighbouring layers have different parity, so that products of the two stay unbiased.
    """
    odd, even = learner.particles, {}
    for _ in range(sweeps - 1):
        _, odd = dbm.sweep(odd, generator)
    even = {layer: draw(torch.sigmoid(dbm.input(layer, odd)), generator) for layer in dbm.even}
    p = {layer: torch.sigmoid(dbm.input(layer, even)) for layer in dbm.odd}
    learner.particles = {layer: draw(p[layer], generator) for layer in dbm.odd}
    both = even | p
    return [both[layer] for layer in range(len(dbm.b))]


def _ascend(
    learner: DbmLearner, gradient: Dbm, *, rule: LearningRule, learning_rate: float
) -> None:
    for step, W in zip(gradient.W, learner.dbm.W, strict=True):
        step.sub_(W, alpha=rule.weight_decay)
    parts = (learner.velocity, gradient, learner.dbm, learner.averaged)
    # W[1] joins the first hidden layer to the second, of which b[2] are the biases.
    for kind, first_upper in (("W", 1), ("b", 2)):
        for i, (velocity, step, value, average) in enumerate(
            zip(*(getattr(part, kind) for part in parts), strict=True)
        ):
            rate = learning_rate * (rule.upper_share if i >= first_upper else 1.0)
            velocity.mul_(rule.momentum).add_(step, alpha=rate)
            value.add_(velocity)
            average.lerp_(value, 1 - rule.ema_decay)
