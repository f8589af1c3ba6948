"""How a Boltzmann machine learns: <x xᵀ> of the data minus <x xᵀ> of the model, centred.

data ──clamped: mean-field | Gibbs | enumeration──► <x xᵀ>, <x> ──┐
particles ──k sweeps──► <x xᵀ>, <x>   (or enumeration) ───────────┴─► gradient ──► W, b ──► average

Ackley, Hinton & Sejnowski (1985); with persistent chains and mean-field: Salakhutdinov & Hinton
(2009), "Deep Boltzmann machines", §2; centred: Melchior, Fischer & Wiskott (2016).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from training.bm import POSTERIOR, Bm, mean_field
from training.bm_connections import Blocks, Links, hidden_blocks, place
from training.bm_exact import Moments, data_moments, model_moments, moments
from training.bm_sampling import Scan, run_chains
from training.dbm import MeanField
from training.rbm import base_rate_bias, draw


@dataclass(frozen=True)
class LearningRule:
    """What one update takes, apart from the learning rate.

    Attributes:
        sweeps: Gibbs sweeps k of the persistent chains between updates.
        scan: colour blocks, their units one by one, or in a random order.
        gradient: `exact` enumerates both phases, for machines of 20 units or fewer.
        posterior: of the hidden units given data: `mean-field`, or `gibbs`, clamped sweeps that
            begin at draws of it. Where hidden units are free, mean-field is exact.
        posterior_sweeps: how many clamped sweeps.
        mean_field: how far the mean-field is driven.
        offset_rate: share of the newest batch in the centring offsets' exponential average; None
            switches centring off.
        momentum: of the update.
        weight_decay: L2 penalty on the weights.
        ema_decay: of the averaged weights, which are the ones that are evaluated and exported.
    """

    sweeps: int
    scan: Scan = "blocks"
    gradient: Literal["sampled", "exact"] = "sampled"
    posterior: Literal["mean-field", "gibbs"] = "mean-field"
    posterior_sweeps: int = 5
    mean_field: MeanField = field(default=POSTERIOR)
    offset_rate: float | None = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float = 0.999


@dataclass
class Parameters:
    """Weights and biases, or what is added to them; updates are in place."""

    W: Float[Tensor, "units units"]
    b: Float[Tensor, " units"]

    def copy(self) -> Parameters:
        """A copy that shares no memory."""
        return Parameters(W=self.W.clone(), b=self.b.clone())


@dataclass
class BmLearner:
    """Everything that an update reads and writes, so everything that a checkpoint keeps.

    Attributes:
        links: which units are connected.
        blocks: in which they are sampled; follows from the links.
        visible: how many units are visible.
        now: the machine as it learns.
        average: its exponential average.
        velocity: of momentum.
        offsets: centring offsets of the units.
        particles: the persistent chains, 0.0 or 1.0.
    """

    links: Links
    blocks: Blocks
    visible: int
    now: Parameters
    average: Parameters
    velocity: Parameters
    offsets: Float[Tensor, " units"]
    particles: Float[Tensor, "chains units"]

    @classmethod
    def begin(
        cls,
        links: Links,
        blocks: Blocks,
        *,
        visible_mean: Float[Tensor, " visible"],
        scale: float,
        chains: int,
        generator: torch.Generator,
    ) -> BmLearner:
        """Small Gaussian weights, visible biases and particles at the data's base rates."""
        units, visible = len(links), len(visible_mean)
        device = visible_mean.device
        drawn = torch.randn(units, units, generator=generator, device=device).triu(1)
        b = torch.zeros(units, device=device)
        b[:visible] = base_rate_bias(visible_mean)
        first = Parameters(W=scale * (drawn + drawn.T) * links.to(device), b=b)
        return cls(
            links=links.to(device),
            blocks=blocks,
            visible=visible,
            now=first,
            average=first.copy(),
            velocity=Parameters(W=torch.zeros_like(first.W), b=torch.zeros_like(b)),
            offsets=torch.sigmoid(b),
            particles=draw(torch.sigmoid(b).expand(chains, -1).contiguous(), generator),
        )

    @property
    def bm(self) -> Bm:
        """The machine as it learns; shares memory with the learner."""
        return Bm(W=self.now.W, b=self.now.b, visible=self.visible)

    @property
    def averaged(self) -> Bm:
        """The machine with averaged weights; shares memory with the learner."""
        return Bm(W=self.average.W, b=self.average.b, visible=self.visible)

    def grow(self, chains: int) -> None:
        """Have this many particles: the first ones, or copies, which the next sweeps separate."""
        repeats = -(-chains // len(self.particles))
        self.particles = self.particles.repeat(repeats, 1)[:chains].contiguous()

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, for a checkpoint; links and blocks follow from the recipe."""
        named = {"offsets": self.offsets, "particles": self.particles}
        for part in ("now", "average", "velocity"):
            of = getattr(self, part)
            named |= {f"{part}.W": of.W, f"{part}.b": of.b}
        return named

    def restore(self, named: dict[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        self.offsets, self.particles = named["offsets"], named["particles"]
        for part in ("now", "average", "velocity"):
            setattr(self, part, Parameters(W=named[f"{part}.W"], b=named[f"{part}.b"]))


def centred_gradient(
    *, data: Moments, model: Moments, offsets: Float[Tensor, " units"], links: Links
) -> Parameters:
    """The centred gradient in the parameters of the ordinary machine: ascend it.

    ∇W = <(x - o)(x - o)ᵀ>_data - the same under the model, where units are connected
    ∇b = <x>_data - <x>_model - ∇W o

    W_ij and W_ji are one parameter, and move together. With o = 0 it is the plain gradient.
    """
    d = data.means - model.means
    W = data.pairs - model.pairs - torch.outer(offsets, d) - torch.outer(d, offsets)
    # Products of matrices need not be symmetric to the last bit.
    W = (W + W.T) / 2 * links
    return Parameters(W=W, b=d - W @ offsets)


def update(
    learner: BmLearner,
    v: Float[Tensor, "batch visible"],
    *,
    rule: LearningRule,
    learning_rate: float,
    generator: torch.Generator,
) -> None:
    """One step of stochastic, or exact, maximum likelihood, in place.

    Args:
        learner: parameters, averages and particles.
        v: a batch of binary data.
        rule: what an update takes.
        learning_rate: > 0.
        generator: of all noise.

    Raises:
        ValueError: the gradient is to be exact, and the machine has more than 20 units.
    """
    if rule.gradient == "exact":
        data, model = data_moments(learner.bm, v), model_moments(learner.bm)
        data, model = _like(data, v), _like(model, v)
    else:
        data = _clamped(learner, v, rule, generator)
        model = _dreamt(learner, rule, generator)
    if rule.offset_rate is None:
        learner.offsets.zero_()
    else:
        learner.offsets.lerp_(data.means, rule.offset_rate)
    gradient = centred_gradient(
        data=data, model=model, offsets=learner.offsets, links=learner.links
    )
    _ascend(learner, gradient, rule=rule, learning_rate=learning_rate)


def _clamped(
    learner: BmLearner,
    v: Float[Tensor, "batch visible"],
    rule: LearningRule,
    generator: torch.Generator,
) -> Moments:
    """The positive phase: moments with the visible units held at data."""
    bm = learner.bm
    x = mean_field(bm, v, rule.mean_field)
    if rule.posterior == "mean-field" or bm.hidden_are_free:
        return moments(x)
    order = hidden_blocks(learner.blocks, visible=bm.visible)
    x = run_chains(bm, draw(x, generator), sweeps=rule.posterior_sweeps, blocks=order,
                   scan=rule.scan, generator=generator)  # fmt: skip
    return moments(x)


def _dreamt(learner: BmLearner, rule: LearningRule, generator: torch.Generator) -> Moments:
    """The negative phase: moments of the persistent chains.

    The last block's units are taken as probabilities given the others: they are not connected, so
    that products of two of them do not matter, and all others stay unbiased.
    """
    bm = learner.bm
    x = run_chains(bm, learner.particles, sweeps=rule.sweeps, blocks=learner.blocks,
                   scan=rule.scan, generator=generator)  # fmt: skip
    learner.particles = x
    last = place(learner.blocks[-1])
    x = x.clone()
    x[:, last] = torch.sigmoid(bm.input(x, last))
    return moments(x)


def _like(exact: Moments, v: Float[Tensor, "batch visible"]) -> Moments:
    return Moments(pairs=exact.pairs.to(v), means=exact.means.to(v))


def _ascend(
    learner: BmLearner, gradient: Parameters, *, rule: LearningRule, learning_rate: float
) -> None:
    gradient.W.sub_(learner.now.W, alpha=rule.weight_decay)
    for kind in ("W", "b"):
        velocity, step, value, average = (
            getattr(part, kind)
            for part in (learner.velocity, gradient, learner.now, learner.average)
        )
        velocity.mul_(rule.momentum).add_(step, alpha=learning_rate)
        value.add_(velocity)
        average.lerp_(value, 1 - rule.ema_decay)
