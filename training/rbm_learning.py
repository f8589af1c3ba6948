"""How a restricted Boltzmann machine learns: stochastic maximum likelihood, centred.

data ──────────────────► <v hᵀ>, <v>, <h> of the data ──┐
particles ──k sweeps──► <v hᵀ>, <v>, <h> of the model ──┴─► centred gradient ──► W, b, c ──► average
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from training.label_units import draw_visible
from training.rbm import Rbm, draw
from training.rbm_gradient import (
    Gradient,
    Statistics,
    centred_gradient,
    limit_norms,
    sparsity_gradient,
    statistics,
)

ChainKind = Literal["persistent", "data", "tempering", "trajectory"]
Precision = Literal["float32", "bfloat16"]


@runtime_checkable
class Exchange(Protocol):
    """Chains of helpers beside the particles, which trade states with them."""

    def advance(
        self,
        rbm: Rbm,
        particles: Float[Tensor, "chains hidden"],
        *,
        sweeps: int,
        precision: Precision,
        generator: torch.Generator,
        labels: int = 0,
    ) -> tuple[Float[Tensor, "chains visible"], Float[Tensor, "chains hidden"]]:
        """The machine's last (v, h) after `sweeps` sweeps."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, for a checkpoint."""
        ...


@dataclass(frozen=True)
class LearningRule:
    """What one update takes, apart from the learning rate.

    Attributes:
        sweeps: Gibbs sweeps k between updates.
        chains: `persistent` (PCD, Tieleman 2008), `data` (CD, Hinton 2002), or persistent ones with
            an exchange: `tempering` (Desjardins et al. 2010), `trajectory` (Béreux et al. 2026).
        offsets: centring offsets follow the `data` means, or the `average` of data and model
            (the enhanced gradient, Cho, Raiko & Ilin 2013); `none` switches centring off.
        offset_rate: share of the newest batch in the offsets' exponential average.
        momentum: of the update.
        weight_decay: L2 penalty on W.
        ema_decay: of the averaged weights, which are the ones that are evaluated and exported.
        chain_precision: `bfloat16` runs the chains' matrix products at half the cost; gradients
            stay in float32.
        sparsity_target: mean activity that the hidden units are drawn to.
        sparsity_cost: how strongly; 0 for not at all.
        max_norm: of the weights into a hidden unit; None for any.
    """

    sweeps: int
    chains: ChainKind = "persistent"
    offsets: Literal["data", "average", "none"] = "data"
    offset_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float = 0.999
    chain_precision: Precision = "float32"
    sparsity_target: float = 0.1
    sparsity_cost: float = 0.0
    max_norm: float | None = None


@dataclass
class LearnerState:
    """Everything that an update reads and writes, so everything that a checkpoint keeps."""

    W: Float[Tensor, "visible hidden"]
    b: Float[Tensor, " visible"]
    c: Float[Tensor, " hidden"]
    ema_W: Float[Tensor, "visible hidden"]  # noqa: N815
    ema_b: Float[Tensor, " visible"]
    ema_c: Float[Tensor, " hidden"]
    velocity_W: Float[Tensor, "visible hidden"]  # noqa: N815
    velocity_b: Float[Tensor, " visible"]
    velocity_c: Float[Tensor, " hidden"]
    visible_offset: Float[Tensor, " visible"]
    hidden_offset: Float[Tensor, " hidden"]
    particles: Float[Tensor, "chains hidden"]

    @classmethod
    def begin(
        cls, rbm: Rbm, *, chains: int, visible_mean: Float[Tensor, " visible"]
    ) -> LearnerState:
        """The state before the first update: particles at all hidden units off."""
        hidden = len(rbm.c)
        return cls(
            W=rbm.W.clone(),
            b=rbm.b.clone(),
            c=rbm.c.clone(),
            ema_W=rbm.W.clone(),
            ema_b=rbm.b.clone(),
            ema_c=rbm.c.clone(),
            velocity_W=torch.zeros_like(rbm.W),
            velocity_b=torch.zeros_like(rbm.b),
            velocity_c=torch.zeros_like(rbm.c),
            visible_offset=visible_mean.clone(),
            hidden_offset=torch.full_like(rbm.c, 0.5),
            particles=torch.zeros(chains, hidden, device=rbm.c.device),
        )

    @property
    def rbm(self) -> Rbm:
        """The machine as it learns; shares memory with the state."""
        return Rbm(W=self.W, b=self.b, c=self.c)

    @property
    def averaged(self) -> Rbm:
        """The machine with averaged weights; shares memory with the state."""
        return Rbm(W=self.ema_W, b=self.ema_b, c=self.ema_c)

    def tensors(self) -> dict[str, Tensor]:
        """Field name → tensor, for a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def grow(self, chains: int) -> None:
        """Have this many particles: the first ones, or copies, which the next sweeps separate."""
        repeats = -(-chains // len(self.particles))
        self.particles = self.particles.repeat(repeats, 1)[:chains].contiguous()


def update(
    state: LearnerState,
    v: Float[Tensor, "batch visible"],
    *,
    rule: LearningRule,
    learning_rate: float,
    generator: torch.Generator,
    labels: int = 0,
    exchange: Exchange | None = None,
) -> None:
    """One step of stochastic maximum likelihood, in place.

    Args:
        state: parameters, averages and particles.
        v: a batch of binary data.
        rule: what an update takes.
        learning_rate: > 0.
        generator: of the chains' noise.
        labels: how many of the last visible units are label units, of which one is on.
        exchange: the helpers of `tempering` and `trajectory`.
    """
    rbm = state.rbm
    data = statistics(rbm, v)
    fantasy = _dream(state, v, rule=rule, generator=generator, labels=labels, exchange=exchange)
    model = statistics(rbm, fantasy)
    _move_offsets(state, data=data, model=model, rule=rule)
    gradient = centred_gradient(
        data=data,
        model=model,
        visible_offset=state.visible_offset,
        hidden_offset=state.hidden_offset,
    )
    if rule.sparsity_cost:
        gradient += sparsity_gradient(
            rbm,
            v,
            target=rule.sparsity_target,
            cost=rule.sparsity_cost,
            visible_offset=state.visible_offset,
            hidden_offset=state.hidden_offset,
        )
    _ascend(state, gradient, rule=rule, learning_rate=learning_rate)


def _dream(
    state: LearnerState,
    v: Float[Tensor, "batch visible"],
    *,
    rule: LearningRule,
    generator: torch.Generator,
    labels: int,
    exchange: Exchange | None,
) -> Float[Tensor, "chains visible"]:
    """States of the model, by the chains that the rule asks for; they go on where they persist."""
    rbm = state.rbm
    if exchange is not None:
        fantasy, state.particles = exchange.advance(
            rbm,
            state.particles,
            sweeps=rule.sweeps,
            precision=rule.chain_precision,
            generator=generator,
            labels=labels,
        )
        return fantasy
    assert rule.chains in {"persistent", "data"}, f"{rule.chains} needs an exchange"
    persistent = rule.chains == "persistent"
    start = state.particles if persistent else draw(torch.sigmoid(rbm.hidden_input(v)), generator)
    fantasy, particles = run_chains(
        rbm,
        start,
        sweeps=rule.sweeps,
        precision=rule.chain_precision,
        generator=generator,
        labels=labels,
    )
    if persistent:
        state.particles = particles
    return fantasy


def run_chains(
    rbm: Rbm,
    h: Float[Tensor, "chains hidden"],
    *,
    sweeps: int,
    precision: Precision,
    generator: torch.Generator,
    labels: int = 0,
) -> tuple[Float[Tensor, "chains visible"], Float[Tensor, "chains hidden"]]:
    """`sweeps` Gibbs sweeps from `h`: the last (v, h), as float32."""
    v = h.new_empty(0)
    # Only the products are rounded: log-odds and probabilities stay in float32.
    W = rbm.W if precision == "float32" else rbm.W.bfloat16()
    for _ in range(sweeps):
        down = (h.to(W.dtype) @ W.T).to(h.dtype) + rbm.b
        v = draw_visible(down, labels=labels, generator=generator)
        h = draw(torch.sigmoid((v.to(W.dtype) @ W).to(h.dtype) + rbm.c), generator)
    return v, h


def _move_offsets(
    state: LearnerState, *, data: Statistics, model: Statistics, rule: LearningRule
) -> None:
    if rule.offsets == "none":
        state.visible_offset.zero_()
        state.hidden_offset.zero_()
        return
    share = 0.0 if rule.offsets == "data" else 0.5
    state.visible_offset.lerp_(torch.lerp(data.v, model.v, share), rule.offset_rate)
    state.hidden_offset.lerp_(torch.lerp(data.h, model.h, share), rule.offset_rate)


def _ascend(
    state: LearnerState, gradient: Gradient, *, rule: LearningRule, learning_rate: float
) -> None:
    step_W = gradient.W.sub_(state.W, alpha=rule.weight_decay)
    state.velocity_W.mul_(rule.momentum).add_(step_W, alpha=learning_rate)
    state.velocity_b.mul_(rule.momentum).add_(gradient.b, alpha=learning_rate)
    state.velocity_c.mul_(rule.momentum).add_(gradient.c, alpha=learning_rate)
    state.W.add_(state.velocity_W)
    if rule.max_norm is not None:
        limit_norms(state.W, most=rule.max_norm)
    state.b.add_(state.velocity_b)
    state.c.add_(state.velocity_c)
    newest = 1 - rule.ema_decay
    state.ema_W.lerp_(state.W, newest)
    state.ema_b.lerp_(state.b, newest)
    state.ema_c.lerp_(state.c, newest)
